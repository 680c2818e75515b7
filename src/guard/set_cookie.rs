//! What an answer's `Set-Cookie` lines prove, and the deletion that stands in for one.

use std::time::Duration;

use cookie::{Cookie, SameSite};

use super::cookie::is_signed;
use super::key::SessionKey;
use super::policy::{KeyShape, SessionPolicy};

/// What the session cookie in an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetSession {
    /// The answer sets no session cookie.
    Nothing,
    /// An empty value. Only this is a deletion: a non-empty one with `Max-Age=0` is a record all
    /// the same (measured on Django 1.4 and 1.7, expire-at-browser-close).
    Deletion,
    /// A key. `max_age` is the cookie's, where it has one that is not zero.
    Key { key: SessionKey, max_age: Option<Duration> },
    /// A value of the `signed_cookies` backend; nothing is stored.
    Signed { empty: bool },
    /// A value that is no key of this profile.
    OtherShape,
}

/// What was read from the head of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    pub status: u16,
    pub session: SetSession,
    /// The name of another cookie that looks like one that holds a session key.
    pub lookalike: Option<String>,
    /// How the application dresses its session cookie, where it set one that is not a deletion.
    pub dress: Option<Dress>,
}

/// The attributes with which a browser files a cookie: a deletion must repeat them to hit it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dress {
    pub path: String,
    pub domain: Option<String>,
    pub secure: bool,
    pub same_site: Option<SameSite>,
}

impl Dress {
    /// The attributes that the configuration gives, until the application has shown its own.
    pub fn configured(policy: &SessionPolicy) -> Self {
        Self {
            path: policy.cookie_path.clone(),
            domain: policy.cookie_domain.clone(),
            secure: policy.cookie_secure,
            same_site: None,
        }
    }

    /// The value of a `Set-Cookie` line that makes a browser forget the session cookie
    /// (RFC 6265, section 3.1: same name, path and domain, and an expiry in the past).
    pub fn deletion(&self, name: &str) -> String {
        // Said outright: with `SameSite=None` it would be added where it is not.
        let mut cookie = Cookie::build((name, "")).path(self.path.as_str()).secure(self.secure);
        if let Some(domain) = &self.domain {
            cookie = cookie.domain(domain.as_str());
        }
        if let Some(same_site) = self.same_site {
            cookie = cookie.same_site(same_site);
        }
        format!("{cookie}; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT")
    }
}

impl Evidence {
    /// Reads all `Set-Cookie` lines of an answer. Where several set the session cookie, the last
    /// one that holds a value counts: a browser may keep it, so a record must be assumed.
    pub fn read<'a>(
        status: u16,
        lines: impl Iterator<Item = &'a [u8]>,
        policy: &SessionPolicy,
    ) -> Self {
        let mut evidence =
            Self { status, session: SetSession::Nothing, lookalike: None, dress: None };
        for line in lines {
            let Some((name, value)) = name_and_value(line) else { continue };
            if name == policy.cookie.as_bytes() {
                if value.is_empty() {
                    if evidence.session == SetSession::Nothing {
                        evidence.session = SetSession::Deletion;
                    }
                } else {
                    let cookie = parse(line);
                    evidence.session = classify(value, cookie.as_ref(), policy.key_shape);
                    evidence.dress = cookie.as_ref().map(dress);
                }
            } else if looks_like_key(name, value, line) {
                evidence.lookalike = Some(String::from_utf8_lossy(name).into_owned());
            }
        }
        evidence
    }

    /// Whether an application would still have stored without saying so: Django skips the cookie
    /// on a failing answer (django/contrib/sessions/middleware.py, 1.7).
    pub fn failed(&self) -> bool {
        self.status >= 500
    }
}

/// Whether a `Set-Cookie` line sets the cookie of this name.
pub fn sets(line: &[u8], name: &str) -> bool {
    name_and_value(line).is_some_and(|(set, _)| set == name.as_bytes())
}

/// RFC 6265, section 5.2, steps 1 to 5; quotes around the value are not part of it.
fn name_and_value(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let pair = line.split(|byte| *byte == b';').next()?;
    let equals = pair.iter().position(|byte| *byte == b'=')?;
    let value = pair[equals + 1..].trim_ascii();
    let value = match value {
        [b'"', quoted @ .., b'"'] => quoted,
        bare => bare,
    };
    Some((pair[..equals].trim_ascii(), value))
}

/// Of a value that is not empty, in such a cookie.
fn classify(value: &[u8], cookie: Option<&Cookie<'_>>, shape: KeyShape) -> SetSession {
    if let Some(key) = SessionKey::parse(value, shape) {
        return SetSession::Key { key, max_age: cookie.and_then(max_age) };
    }
    if is_signed(value) {
        return SetSession::Signed { empty: is_empty_signed(value) };
    }
    SetSession::OtherShape
}

/// The payloads of an empty session, as measured: JSON, and pickle on Python 2.7 and on 3.11.
fn is_empty_signed(value: &[u8]) -> bool {
    const EMPTY: [&[u8]; 3] = [b"e30:", b"gAJ9cQEu:", b"gAV9lC4:"];
    EMPTY.iter().any(|empty| value.starts_with(empty))
}

fn parse(line: &[u8]) -> Option<Cookie<'_>> {
    Cookie::parse(std::str::from_utf8(line).ok()?).ok()
}

fn max_age(cookie: &Cookie<'_>) -> Option<Duration> {
    let seconds = cookie.max_age()?.whole_seconds();
    u64::try_from(seconds).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs)
}

fn dress(cookie: &Cookie<'_>) -> Dress {
    Dress {
        path: cookie.path().unwrap_or("/").to_owned(),
        domain: cookie.domain().map(str::to_owned),
        secure: cookie.secure().unwrap_or(false),
        same_site: cookie.same_site(),
    }
}

/// A cookie of another name that is probably the session cookie: the shape of a key, and either
/// closed to scripts, as session cookies are by default and CSRF cookies are not, or named so.
fn looks_like_key(name: &[u8], value: &[u8], line: &[u8]) -> bool {
    SessionKey::parse(value, KeyShape::Alnum32).is_some()
        && !name.eq_ignore_ascii_case(b"csrftoken")
        && (name.to_ascii_lowercase().windows(4).any(|part| part == b"sess")
            || parse(line).is_some_and(|cookie| cookie.http_only() == Some(true)))
}

#[cfg(test)]
mod tests {
    use super::super::policy::{AfterLogout, Unknown};
    use super::*;

    const KEY: &str = "0123456789abcdefghijklmnopqrstuv";

    fn policy() -> SessionPolicy {
        SessionPolicy {
            cookie: String::from("sessionid"),
            key_shape: KeyShape::Alnum32,
            lifetime: Duration::from_secs(14 * 86_400),
            unknown: Unknown::Auto,
            after_logout: AfterLogout::Delete,
            cookie_path: String::from("/"),
            cookie_domain: None,
            cookie_secure: false,
            capacity: 1000,
            in_flight_per_key: 16,
            in_flight_anonymous: 6,
            key_wait: Duration::ZERO,
        }
    }

    fn read(lines: &[&str]) -> Evidence {
        Evidence::read(200, lines.iter().map(|line| line.as_bytes()), &policy())
    }

    #[test]
    fn only_an_empty_value_is_a_deletion() {
        for deletion in [
            "sessionid=\"\"; expires=Thu, 01-Jan-1970 00:00:00 GMT; Max-Age=0; Path=/",
            "sessionid=; expires=Thu, 01-Jan-1970 00:00:00 GMT; Max-Age=0; Path=/",
            "  sessionid=",
        ] {
            assert_eq!(read(&[deletion]).session, SetSession::Deletion, "{deletion}");
        }
        let expired = format!("sessionid={KEY}; expires=Thu, 01-Jan-1970 00:00:00 GMT; Max-Age=0");
        assert!(matches!(read(&[&expired]).session, SetSession::Key { max_age: None, .. }));
    }

    #[test]
    fn a_new_key_is_read_with_its_age_and_dress() {
        let line = format!(
            "sessionid={KEY}; expires=Sun, 06-Dec-2026 21:11:01 GMT; httponly; Max-Age=1209600; \
             Path=/app; Domain=.example.org; Secure"
        );
        let evidence = read(&["csrftoken=x; Path=/", &line]);
        let SetSession::Key { key, max_age } = evidence.session else { panic!("no key") };
        assert_eq!(key.as_bytes(), KEY.as_bytes());
        assert_eq!(max_age, Some(Duration::from_secs(1_209_600)));
        let dress = evidence.dress.expect("dressed");
        assert_eq!((dress.path.as_str(), dress.secure), ("/app", true));
        let deletion = dress.deletion("sessionid");
        for part in ["sessionid=;", "Path=/app", "Domain=example.org", "Secure", "Max-Age=0"] {
            assert!(deletion.contains(part), "{part} in {deletion}");
        }
        assert_eq!(read(&[&deletion]).session, SetSession::Deletion);
    }

    #[test]
    fn a_deletion_is_as_secure_as_the_cookie_and_no_more() {
        // A browser takes a `Secure` one over HTTP for no deletion at all.
        for attributes in ["", "; SameSite=None", "; SameSite=Lax"] {
            let dress = read(&[&format!("sessionid={KEY}{attributes}")]).dress.expect("dressed");
            assert!(!dress.deletion("sessionid").contains("Secure"), "{attributes}");
        }
    }

    #[test]
    fn of_several_lines_the_one_that_may_be_a_record_counts() {
        let key = format!("sessionid={KEY}");
        for lines in [[key.as_str(), "sessionid="], ["sessionid=", key.as_str()]] {
            assert!(matches!(read(&lines).session, SetSession::Key { .. }));
        }
    }

    #[test]
    fn signed_values_are_told_from_keys_and_junk() {
        for (value, session) in [
            ("e30:1abc:sig", SetSession::Signed { empty: true }),
            ("\"gAJ9cQEu:1abc:sig\"", SetSession::Signed { empty: true }),
            (".eJwx:1abc:sig", SetSession::Signed { empty: false }),
            ("0123", SetSession::OtherShape),
        ] {
            assert_eq!(read(&[&format!("sessionid={value}; Path=/")]).session, session, "{value}");
        }
    }

    #[test]
    fn a_session_cookie_under_another_name_is_noticed_and_a_csrf_cookie_is_not() {
        let lookalike = |line: String| read(&[&line]).lookalike;
        assert_eq!(lookalike(format!("sid={KEY}; HttpOnly")), Some(String::from("sid")));
        assert_eq!(lookalike(format!("mysession={KEY}")), Some(String::from("mysession")));
        assert_eq!(lookalike(format!("csrftoken={KEY}; Max-Age=1")), None);
        assert_eq!(lookalike(format!("xsrf={KEY}")), None);
    }
}
