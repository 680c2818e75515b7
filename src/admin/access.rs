//! Who may look: whoever knows the token, where there is one; else whoever can connect, but no web
//! page that has its name point here.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use base64ct::{Base64, Encoding};
use http::header::{AUTHORIZATION, HOST};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Uri};
use sha2::{Digest, Sha256};

/// What whoever asks must know. Only a digest of it is kept, so that comparing tells nothing.
pub struct Token([u8; 32]);

impl Token {
    /// From the text of a file: one line.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let token = text.trim_ascii();
        let fits = (16..=1_024).contains(&token.len()) && token.iter().all(u8::is_ascii_graphic);
        fits.then(|| Self(digest(token)))
    }

    fn is(&self, said: &[u8]) -> bool {
        self.0 == digest(said)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

fn digest(text: &[u8]) -> [u8; 32] {
    Sha256::digest(text).into()
}

/// A token's file that is of no use.
#[derive(Debug)]
pub struct TokenError {
    file: PathBuf,
    source: io::Error,
}

impl TokenError {
    pub(super) fn new(file: &Path, source: io::Error) -> Self {
        Self { file: file.to_owned(), source }
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        write!(f, "admin.token_file: {file}: cannot be used: {}", self.source)?;
        match self.source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::InvalidData => {
                write!(f, "\n  = make one: openssl rand -hex 32 > {file} && chmod 0640 {file}")
            }
            _ => write!(f, "\n  = let the user that Floodwall runs as read it: chgrp, chmod 0640"),
        }
    }
}

impl std::error::Error for TokenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Why somebody may not look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Barred {
    /// No token, or another.
    Token,
    /// Another name than this machine's: a web page of that name may be asking.
    Host,
}

/// Whether a request may be answered. The token is taken as a bearer's (RFC 6750, 2.1), and as the
/// password of anybody (RFC 7617), which is what a browser asks its user for. A target may name a
/// host too (RFC 9112, 3.2.2).
pub(super) fn check(
    target: &Uri,
    headers: &HeaderMap,
    token: Option<&Token>,
) -> Result<(), Barred> {
    let Some(token) = token else {
        let mut hosts = headers.get_all(HOST).iter();
        return match hosts.all(is_here) && target.authority().is_none_or(is_this_machine) {
            true => Ok(()),
            false => Err(Barred::Host),
        };
    };
    let mut said = headers.get_all(AUTHORIZATION).iter();
    match said.next().and_then(credentials) {
        Some(said_token) if said.next().is_none() && token.is(&said_token) => Ok(()),
        Some(_) | None => Err(Barred::Token),
    }
}

/// What an `Authorization` header says (RFC 9110, 11.6.2).
fn credentials(header: &HeaderValue) -> Option<Vec<u8>> {
    let (scheme, said) = header.to_str().ok()?.split_once(' ')?;
    let said = said.trim_start_matches(' ');
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(said.as_bytes().to_vec());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = Base64::decode_vec(said).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    Some(decoded[colon + 1..].to_vec())
}

/// Whether a `Host` is an address, which no name server can change, or this machine's own name.
fn is_here(host: &HeaderValue) -> bool {
    host.is_empty() || Authority::try_from(host.as_bytes()).is_ok_and(|host| is_this_machine(&host))
}

fn is_this_machine(host: &Authority) -> bool {
    let name = host.host();
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    // A port is all that may stand beside it.
    let rest = host.as_str().strip_prefix(name);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
        && (name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(headers: &HeaderMap, token: Option<&Token>) -> Result<(), Barred> {
        super::check(&Uri::from_static("/"), headers, token)
    }

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).expect("a value"));
        }
        headers
    }

    #[test]
    fn a_token_is_asked_for_as_bearers_and_browsers_say_it() {
        let token = Token::parse(b"0123456789abcdef\n").expect("a token");
        let may = |lines: &[_]| check(&headers(lines), Some(&token)).is_ok();
        assert!(may(&[("authorization", "Bearer 0123456789abcdef")]));
        assert!(may(&[("authorization", "bearer  0123456789abcdef"), ("host", "any.example")]));
        let basic = Base64::encode_string(b"me:0123456789abcdef");
        let basic = format!("Basic {basic}");
        assert!(may(&[("authorization", &basic)]));
        let twice = ("authorization", "Bearer 0123456789abcdef");
        for wrong in [
            &[][..],
            &[("authorization", "0123456789abcdef")],
            &[("authorization", "Bearer 0123456789abcde")],
            &[("authorization", "Bearer 0123456789abcdef0")],
            &[("authorization", "Basic 0123456789abcdef")],
            &[twice, twice],
        ] {
            assert!(!may(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn without_a_token_only_this_machines_names_are_answered() {
        for host in ["127.0.0.1:9180", "localhost", "LOCALHOST:80", "[::1]:9180", "10.0.0.1", ""] {
            assert_eq!(check(&headers(&[("host", host)]), None), Ok(()), "{host}");
        }
        assert_eq!(check(&headers(&[]), None), Ok(()));
        for host in [
            "evil.example",
            "evil.example:9180",
            "127.0.0.1.evil.example",
            "localhost.x",
            "[::1]evil",
        ] {
            assert_eq!(check(&headers(&[("host", host)]), None), Err(Barred::Host), "{host}");
        }
        let both = headers(&[("host", "localhost"), ("host", "evil.example")]);
        assert_eq!(check(&both, None), Err(Barred::Host));
        let here = headers(&[("host", "localhost")]);
        for (target, may) in [
            ("http://evil.example/", Err(Barred::Host)),
            ("http://localhost:9180/", Ok(())),
            ("http://[::1]:9180/", Ok(())),
        ] {
            assert_eq!(super::check(&Uri::from_static(target), &here, None), may, "{target}");
        }
    }

    #[test]
    fn what_is_guessed_soon_is_no_token() {
        for text in [&b""[..], b"\n", b"short", b"two words are not one", b"0123456789abcde\xff"] {
            assert!(Token::parse(text).is_none(), "{text:?}");
        }
    }
}
