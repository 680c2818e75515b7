//! Path patterns, tokens and names: what of a rule can be judged by its text alone.

use super::fault::Unfit;

/// A `path` or `prefix`: begins with a slash, and stands as the application sees it.
pub(super) fn path(text: &str) -> Result<String, Unfit> {
    common(text)?;
    if !text.starts_with('/') {
        return Err(Unfit::new("a path begins with \"/\"").remedy(format!("write \"/{text}\"")));
    }
    leading_slashes(text)?;
    if text.contains('?') {
        return Err(Unfit::new("a path has no query; rules do not look at it"));
    }
    if text.contains('*') {
        return Err(Unfit::new("`*` means itself here")
            .remedy("use `glob` for wildcards; a glob matches a star itself with `[*]`"));
    }
    Ok(text.to_owned())
}

/// A glob: begins with a slash or a star, and `**` is a whole segment.
pub(super) fn glob(text: &str) -> Result<String, Unfit> {
    common(text)?;
    if !text.starts_with(['/', '*']) {
        return Err(Unfit::new("a glob begins with \"/\" or \"*\"")
            .remedy(format!("write \"/{text}\" or \"**/{text}\"")));
    }
    leading_slashes(text)?;
    fast_glob::validate(text).map_err(|error| Unfit::new(error.to_string()))?;
    if joined_globstar(text) {
        return Err(Unfit::new("`**` beside other characters would not cross a slash")
            .remedy("let it stand between slashes, as in \"/shop/**\" or \"/**/add\""));
    }
    Ok(text.to_owned())
}

/// A member of `last_segment`.
pub(super) fn segment(text: &str) -> Result<String, Unfit> {
    common(text)?;
    if text.is_empty() {
        return Err(Unfit::new("an empty segment matches nothing"));
    }
    if text.contains('/') {
        let bare = text.trim_matches('/');
        return Err(Unfit::new("one segment holds no slash").remedy(match bare.contains('/') {
            false => format!("write \"{bare}\": a slash behind it is matched anyway"),
            true => "use `path`, `prefix` or `glob`".to_owned(),
        }));
    }
    if text.contains('?') {
        return Err(Unfit::new("a path has no query; rules do not look at it"));
    }
    if text.contains('*') {
        return Err(Unfit::new("`*` means itself here").remedy("use `glob` for wildcards"));
    }
    Ok(text.to_owned())
}

/// What holds for all of them: they are matched against the decoded path.
fn common(text: &str) -> Result<(), Unfit> {
    if text.chars().any(char::is_control) {
        return Err(Unfit::new("control characters match nothing that an application serves"));
    }
    let is_escape = |window: &[u8]| {
        window[0] == b'%' && window[1].is_ascii_hexdigit() && window[2].is_ascii_hexdigit()
    };
    if text.as_bytes().windows(3).any(is_escape) {
        let decoded = percent_encoding::percent_decode_str(text).decode_utf8_lossy();
        return Err(Unfit::new("paths are matched after percent-decoding").remedy(format!(
            "write {decoded:?}; a glob matches a percent sign itself with `[%]`"
        )));
    }
    Ok(())
}

fn leading_slashes(text: &str) -> Result<(), Unfit> {
    if text.starts_with("//") {
        let one = text.trim_start_matches('/');
        return Err(
            Unfit::new("leading slashes are matched as one").remedy(format!("write \"/{one}\""))
        );
    }
    Ok(())
}

/// Whether a `**` outside a class has anything but a slash, a brace, a comma between braces or the
/// end beside it: it would then match as a single `*` does.
fn joined_globstar(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut at = 0;
    let mut in_class = false;
    let mut braces = 0_usize;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 1,
            b'[' if !in_class => in_class = true,
            b']' => in_class = false,
            b'{' if !in_class => braces += 1,
            b'}' if !in_class => braces = braces.saturating_sub(1),
            b'*' if !in_class => {
                let stars = bytes[at..].iter().take_while(|&&b| b == b'*').count();
                let before = at.checked_sub(1).map(|i| bytes[i]);
                let behind = bytes.get(at + stars).copied();
                let ends = |byte, brace| match byte {
                    None | Some(b'/') => true,
                    Some(b',') => braces > 0,
                    Some(byte) => byte == brace,
                };
                let alone = ends(before, b'{') && ends(behind, b'}');
                if stars > 2 || (stars == 2 && !alone) {
                    return true;
                }
                at += stars - 1;
            }
            _ => {}
        }
        at += 1;
    }
    false
}

/// A method: a token (RFC 9110, 9.1) in upper case, for methods are case-sensitive.
pub(super) fn method(text: &str) -> Result<String, Unfit> {
    if !is_token(text) {
        return Err(Unfit::new("not a method").remedy("write one as in \"POST\""));
    }
    let upper = text.to_ascii_uppercase();
    if upper != text {
        return Err(Unfit::new("methods are in upper case").remedy(format!("write \"{upper}\"")));
    }
    Ok(upper)
}

/// A query parameter's name.
pub(super) fn parameter(text: &str) -> Result<String, Unfit> {
    match text.split_once(['=', '&']) {
        _ if text.is_empty() || text.chars().any(char::is_control) => {
            Err(Unfit::new("not the name of a parameter"))
        }
        Some((name, _)) => {
            Err(Unfit::new("the name only, whatever its value is")
                .remedy(format!("write {name:?}")))
        }
        None => Ok(text.to_owned()),
    }
}

/// A rule's name, fit to stand in logs.
pub(super) fn rule_name(text: &str) -> Result<String, Unfit> {
    let fits = (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    match text {
        "unnamed" => Err(Unfit::new("logs call so what no rule names").remedy("choose another")),
        _ if fits => Ok(text.to_owned()),
        _ => Err(Unfit::new("not a name").remedy("write 1 to 64 of a-z A-Z 0-9 . _ -")),
    }
}

/// A budget's name: `[a-z][a-z0-9_-]*`, for it becomes a metric's label.
pub(super) fn is_budget_name(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
}

/// A token of RFC 9110, 5.6.2; cookie names are one too (RFC 6265, 4.1.1).
pub(super) fn is_token(text: &str) -> bool {
    let tchar = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(tchar)
}

/// The attribute names that Python's `http.cookies` (`Morsel._reserved`) refuses as cookies.
const RESERVED: [&str; 10] = [
    "expires",
    "path",
    "comment",
    "domain",
    "max-age",
    "secure",
    "httponly",
    "version",
    "samesite",
    "partitioned",
];

/// The session cookie's name.
pub(super) fn cookie_name(text: &str) -> Result<String, Unfit> {
    if !is_token(text) {
        return Err(Unfit::new("not a cookie's name")
            .remedy("write it as Django's SESSION_COOKIE_NAME has it: letters, digits, - and _"));
    }
    if text.starts_with('$') {
        return Err(Unfit::new("Python takes a name with `$` in front for an attribute"));
    }
    if RESERVED.iter().any(|word| word.eq_ignore_ascii_case(text)) {
        return Err(Unfit::new("Python reserves this name for an attribute of cookies"));
    }
    Ok(text.to_owned())
}

/// Where a redirection leads: an absolute path or an `http`/`https` URL, in visible ASCII. A
/// backslash is refused: browsers read `/\host` as they read `//host`.
pub(super) fn location(text: &str) -> Result<String, Unfit> {
    if !text.bytes().all(|b| b.is_ascii_graphic() && b != b'\\') {
        return Err(Unfit::new("a location is visible ASCII without backslashes")
            .remedy("percent-encode everything else"));
    }
    if text.starts_with("//") {
        return Err(Unfit::new("leads to another host, without saying how")
            .remedy("begin with one \"/\", or with \"https://\""));
    }
    let url = text.parse::<http::Uri>().ok();
    let is_url = url.is_some_and(|url| {
        matches!(url.scheme_str(), Some("http" | "https")) && url.authority().is_some()
    });
    if text.starts_with('/') || is_url {
        Ok(text.to_owned())
    } else {
        Err(Unfit::new("not a location").remedy("write \"/path\" or \"https://host/path\""))
    }
}
