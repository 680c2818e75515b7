//! The path as the application's router sees it.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// Decodes a request target's path as WSGI servers make `PATH_INFO` of it (PEP 3333; waitress,
/// gunicorn and wsgiref decode once and leave what is no escape as it is), then counts as one what
/// was measured to reach the same view: leading slashes are one slash (waitress), and a final
/// newline is none (a regular expression's `$` matches before it).
pub fn decode(path: &str) -> Cow<'_, [u8]> {
    let mut decoded: Cow<'_, [u8]> = match path.as_bytes().contains(&b'%') {
        true => percent_decode_str(path).into(),
        // As nearly all are: a look at each byte takes longer.
        false => path.as_bytes().into(),
    };
    let doubled = decoded.iter().take_while(|byte| **byte == b'/').count().saturating_sub(1);
    let newline = usize::from(decoded.last() == Some(&b'\n'));
    if doubled + newline > 0 {
        decoded = match decoded {
            Cow::Borrowed(bytes) => Cow::Borrowed(&bytes[doubled..bytes.len() - newline]),
            Cow::Owned(mut bytes) => {
                bytes.truncate(bytes.len() - newline);
                bytes.drain(..doubled);
                Cow::Owned(bytes)
            }
        };
    }
    decoded
}

/// The last segment that is not empty, whether or not a slash stands behind it.
pub fn last_segment(path: &[u8]) -> &[u8] {
    let path = path.strip_suffix(b"/").unwrap_or(path);
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

/// Whether a query string has no parameter but the `allowed` ones. A name that is spelled with
/// escapes is not allowed: no browser writes it so.
pub fn only_parameters(query: Option<&str>, allowed: &[String]) -> bool {
    query.unwrap_or("").split(['&', ';']).filter(|pair| !pair.is_empty()).all(|pair| {
        let name = pair.split('=').next().unwrap_or(pair);
        allowed.iter().any(|allowed| allowed == name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_that_reaches_the_view_is_one_path() {
        for spelling in [
            "/accounts/logout/",
            "/accounts/%6Cogout/",
            "/accounts%2Flogout/",
            "/accounts/logout/%0A",
            "//accounts/logout/",
            "/%2Faccounts/logout/%0a",
        ] {
            assert_eq!(&*decode(spelling), b"/accounts/logout/", "{spelling}");
        }
    }

    #[test]
    fn what_reaches_another_view_stays_another_path() {
        for (spelling, path) in [
            ("/accounts/logout", &b"/accounts/logout"[..]),
            ("/accounts//logout/", b"/accounts//logout/"),
            ("/accounts/./logout/", b"/accounts/./logout/"),
            ("/accounts/%256Cogout/", b"/accounts/%6Cogout/"),
            ("/accounts/logout/%0A%0A", b"/accounts/logout/\n"),
            ("/%zz%4", b"/%zz%4"),
            ("/", b"/"),
            ("//", b"/"),
            ("%0a", b""),
        ] {
            assert_eq!(&*decode(spelling), path, "{spelling}");
        }
    }

    #[test]
    fn the_last_segment_ignores_one_final_slash() {
        assert_eq!(last_segment(b"/accounts/logout/"), b"logout");
        assert_eq!(last_segment(b"/accounts/logout"), b"logout");
        assert_eq!(last_segment(b"/"), b"");
        assert_eq!(last_segment(b""), b"");
    }

    #[test]
    fn parameters_are_allowed_by_name_only() {
        let next = [String::from("next")];
        assert!(only_parameters(None, &next));
        assert!(only_parameters(Some("next=/a/&next=http://["), &next));
        assert!(!only_parameters(Some("next=/&x=1"), &next));
        assert!(!only_parameters(Some("next=/;x"), &next));
        assert!(!only_parameters(Some("n%65xt=/"), &next));
    }
}
