//! What browsers and applications say again and again: such a value is neither checked nor counted, as
//! each that is its own is.

use bytes::Bytes;
use http::header::{HeaderValue, InvalidHeaderValue};

macro_rules! values {
    ($($name:ident: $($value:literal),+;)+) => {
        $(pub static $name: [HeaderValue; [$($value),+].len()] =
            [$(HeaderValue::from_static($value)),+];)+
        #[cfg(test)]
        const ALL: &[&[HeaderValue]] = &[$(&$name),+];
    };
}

values! {
    ACCEPT: "*/*",
        "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8",
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7",
        "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8";
    CODINGS: "gzip, deflate, br, zstd", "gzip, deflate, br", "gzip, deflate";
    LANGUAGES: "en-US,en;q=0.9", "en-US,en;q=0.5";
    CACHE_CONTROL: "max-age=0", "no-cache";
    CONNECTION: "keep-alive", "close";
    CONTENT_TYPE: "text/html; charset=utf-8", "application/json",
        "application/x-www-form-urlencoded";
    FETCH_DEST: "document", "empty", "image", "script", "style";
    FETCH_MODE: "navigate", "no-cors", "cors";
    FETCH_SITE: "same-origin", "none", "cross-site", "same-site";
    FETCH_USER: "?1";
    FRAME_OPTIONS: "DENY", "SAMEORIGIN";
    MOBILE: "?0", "?1";
    NOSNIFF: "nosniff";
    ONE: "1";
    PLATFORM: "\"Windows\"", "\"macOS\"", "\"Android\"", "\"Linux\"";
    PRIORITY: "u=0, i", "u=1, i";
    VARY: "Cookie", "Accept-Language, Cookie", "Accept-Encoding";
}

/// The value of a line that is part of `bytes`, or that of `usual` which says the same.
///
/// # Errors
/// It has bytes that no value may have (RFC 9110, 5.5).
///
/// # Panics
/// `value` is no part of `bytes`.
pub fn value(
    bytes: &Bytes,
    value: &[u8],
    usual: &[HeaderValue],
) -> Result<HeaderValue, InvalidHeaderValue> {
    match usual.iter().find(|usual| usual.as_bytes() == value) {
        Some(usual) => Ok(usual.clone()),
        None => HeaderValue::from_maybe_shared(bytes.slice_ref(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_what_it_says_whether_it_is_usual_or_not() {
        for usual in ALL {
            for said in usual.iter().map(HeaderValue::as_bytes) {
                let bytes = Bytes::copy_from_slice(said);
                let value = |range: &[u8]| super::value(&bytes, range, usual).expect("a value");
                assert_eq!(value(&bytes), said);
                assert_ne!(value(&bytes).as_bytes().as_ptr(), bytes.as_ptr(), "it is ours");
                // Nearly the same is not the same.
                assert_eq!(value(&bytes[1..]), said[1..]);
                assert_eq!(value(&bytes[..said.len() - 1]), said[..said.len() - 1]);
            }
        }
        let bytes = Bytes::from_static(b"a\nb");
        assert!(value(&bytes, &bytes, &[]).is_err());
    }
}
