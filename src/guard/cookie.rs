//! The request's cookies: one clean line, and what it says of the session.
//!
//! The line is made so that the parsers of all supported applications read the same from it:
//! Python 2.7's and Python 3's `http.cookies` (which drop every cookie, or those behind, at one
//! malformed piece), and browsers' own idea (RFC 6265, section 4.2). What they could read
//! differently is left out. Standing is decided on the clean line and no other.

use std::borrow::Cow;
use std::ops::Range;

use super::key::SessionKey;
use super::policy::KeyShape;

/// What the session cookie of a request holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presented {
    /// There is no session cookie.
    Nothing,
    Key(SessionKey),
    /// The shape of a value of Django's `signed_cookies` backend, which keeps nothing in a store.
    Signed,
    /// It cannot be a session key.
    Malformed,
}

/// The cookies of a request, cleaned.
#[derive(Debug)]
pub struct Cookies<'a> {
    line: Cow<'a, [u8]>,
    /// Where the session cookie's pair stands in `line`.
    session: Option<Range<usize>>,
    presented: Presented,
    /// Whether the request carried anything under the session cookie's name.
    carried: bool,
    /// Whether the one line that came is the clean one already.
    as_came: bool,
}

impl<'a> Cookies<'a> {
    /// Reads all `Cookie` lines of a request. Several are read as one (RFC 9113, section 8.2.3).
    pub fn read(
        mut lines: impl Iterator<Item = &'a [u8]>,
        name: &str,
        shape: KeyShape,
    ) -> Cookies<'a> {
        let first = lines.next();
        match (first, lines.next()) {
            (None, _) => Self::empty(true),
            (Some(line), None) => Self::as_it_came(line, name, shape)
                .unwrap_or_else(|| Self::cleaned(std::iter::once(line), name, shape)),
            (Some(line), Some(second)) => {
                Self::cleaned([line, second].into_iter().chain(lines), name, shape)
            }
        }
    }

    fn empty(as_came: bool) -> Self {
        Self {
            line: Cow::Borrowed(b""),
            session: None,
            presented: Presented::Nothing,
            carried: false,
            as_came,
        }
    }

    /// The line as it came, where there is nothing to clean: the common case, without a copy.
    fn as_it_came(line: &'a [u8], name: &str, shape: KeyShape) -> Option<Self> {
        let mut cookies = Self { line: Cow::Borrowed(line), ..Self::empty(true) };
        let mut start = 0;
        for (index, piece) in pieces(line).enumerate() {
            let piece_start = start;
            start += piece.len() + 1;
            let bare = if index == 0 { piece } else { piece.strip_prefix(b" ")? };
            let pair = Pair::parse(bare)?;
            if pair.name.len() + 1 + pair.value.len() != bare.len() {
                return None;
            }
            if pair.name == name.as_bytes() {
                if cookies.carried || pair.value.first() == Some(&b'"') {
                    return None;
                }
                let from = piece_start + (piece.len() - bare.len());
                cookies.carried = true;
                cookies.session = Some(from..from + bare.len());
                cookies.presented = classify(pair.value, shape);
            }
        }
        Some(cookies)
    }

    /// Well-formed pairs only, in their order; of several session cookies the last, which is the
    /// one that Python's parser keeps.
    fn cleaned(lines: impl Iterator<Item = &'a [u8]>, name: &str, shape: KeyShape) -> Self {
        let mut clean = Vec::new();
        let mut cookies = Self::empty(false);
        for piece in lines.flat_map(pieces) {
            cookies.carried |= names(piece, name);
            let Some(pair) = Pair::parse(piece.trim_ascii()) else { continue };
            let is_session = pair.name == name.as_bytes();
            let value = if is_session { unquoted(pair.value) } else { Some(pair.value) };
            let Some(value) = value else { continue };
            if is_session {
                if let Some(earlier) = cookies.session.take() {
                    cut(&mut clean, earlier);
                }
                cookies.presented = classify(value, shape);
            }
            if !clean.is_empty() {
                clean.extend_from_slice(b"; ");
            }
            let from = clean.len();
            clean.extend_from_slice(pair.name);
            clean.push(b'=');
            clean.extend_from_slice(value);
            if is_session {
                cookies.session = Some(from..clean.len());
            }
        }
        cookies.line = Cow::Owned(clean);
        cookies
    }

    /// What the session cookie holds.
    pub fn presented(&self) -> Presented {
        self.presented
    }

    /// Whether the request carried anything under the session cookie's name, even if the clean
    /// line does not.
    pub fn carried(&self) -> bool {
        self.carried
    }

    /// Whether the request has no `Cookie` line, or one that is clean as it came.
    pub fn as_came(&self) -> bool {
        self.as_came
    }

    /// The clean line; empty where there is nothing to send.
    pub fn line(&self) -> &[u8] {
        &self.line
    }

    /// The clean line without the session cookie.
    pub fn without_session(&self) -> Vec<u8> {
        let mut line = self.line.to_vec();
        if let Some(session) = self.session.clone() {
            cut(&mut line, session);
        }
        line
    }

    /// The clean line with this session key in place of what the client sent.
    pub fn with_session(&self, name: &str, key: &SessionKey) -> Vec<u8> {
        let mut line = self.without_session();
        if !line.is_empty() {
            line.extend_from_slice(b"; ");
        }
        line.extend_from_slice(name.as_bytes());
        line.push(b'=');
        line.extend_from_slice(key.as_bytes());
        line
    }
}

/// What stands between the semicolons of a line.
pub fn pieces(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut from = 0;
    memchr::memchr_iter(b';', line).chain([line.len()]).map(move |end| {
        let piece = &line[from..end];
        from = end + 1;
        piece
    })
}

/// Removes a pair together with the separator beside it.
fn cut(line: &mut Vec<u8>, pair: Range<usize>) {
    let behind = if pair.start == 0 { (pair.end + 2).min(line.len()) } else { pair.end };
    line.drain(pair.start.saturating_sub(2)..behind);
}

/// Whether a piece, well-formed or not, is written under this name.
fn names(piece: &[u8], name: &str) -> bool {
    piece.split(|byte| *byte == b'=').next().is_some_and(|n| n.trim_ascii() == name.as_bytes())
}

struct Pair<'a> {
    name: &'a [u8],
    value: &'a [u8],
}

impl<'a> Pair<'a> {
    /// A pair whose name and value every parser reads alike; `None` for everything else.
    fn parse(piece: &'a [u8]) -> Option<Self> {
        let equals = piece.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (piece[..equals].trim_ascii(), piece[equals + 1..].trim_ascii());
        let well_formed = !name.is_empty()
            && all_of(Kinds::TOKEN, name)
            && name[0] != b'$'
            && !is_reserved(name)
            && is_value(value);
        well_formed.then_some(Self { name, value })
    }
}

/// Of which kinds each byte is: looked up, for each byte of each cookie is asked for.
struct Kinds([u8; 256]);

impl Kinds {
    const TOKEN: u8 = 1;
    const VALUE: u8 = 1 << 1;
    const OF: Self = {
        let mut kinds = [0; 256];
        let mut byte = 0;
        while byte < kinds.len() {
            // Less than 256.
            let is = byte as u8;
            if is_token(is) {
                kinds[byte] |= Self::TOKEN;
            }
            if is_token(is) || is_value_alone(is) {
                kinds[byte] |= Self::VALUE;
            }
            byte += 1;
        }
        Self(kinds)
    };
}

/// Whether all bytes are of a kind.
fn all_of(kind: u8, bytes: &[u8]) -> bool {
    let common = bytes.iter().fold(kind, |common, byte| common & Kinds::OF.0[usize::from(*byte)]);
    common == kind
}

/// RFC 9110, section 5.6.2, which is also what `http.cookies` takes in names, but for the colon.
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// What `http.cookies` takes in values, beside what it takes in names.
const fn is_value_alone(byte: u8) -> bool {
    matches!(
        byte,
        b'(' | b')'
            | b','
            | b'/'
            | b':'
            | b'<'
            | b'='
            | b'>'
            | b'?'
            | b'@'
            | b'{'
            | b'}'
            | b'['
            | b']'
    )
}

/// Names that `http.cookies` takes for attributes of the cookie in front.
fn is_reserved(name: &[u8]) -> bool {
    const RESERVED: [&[u8]; 10] = [
        b"path",
        b"expires",
        b"comment",
        b"domain",
        b"max-age",
        b"secure",
        b"httponly",
        b"version",
        b"samesite",
        b"partitioned",
    ];
    RESERVED.iter().any(|reserved| name.eq_ignore_ascii_case(reserved))
}

/// What both patterns of `http.cookies` take whole: legal characters, or a closed quoted string.
fn is_value(value: &[u8]) -> bool {
    match value {
        [b'"', quoted @ .., b'"'] => is_quoted(quoted),
        bare => all_of(Kinds::VALUE, bare),
    }
}

/// Visible ASCII and spaces, with quotes and backslashes escaped.
fn is_quoted(quoted: &[u8]) -> bool {
    let mut bytes = quoted.iter();
    while let Some(byte) = bytes.next() {
        let fits = match byte {
            b'"' => false,
            b'\\' => bytes.next().is_some_and(|next| (0x21..=0x7e).contains(next)),
            byte => (0x20..=0x7e).contains(byte),
        };
        if !fits {
            return false;
        }
    }
    true
}

/// A session cookie's value without quotes; `None` where it is spelled with escapes, as no
/// browser and no Django writes it.
fn unquoted(value: &[u8]) -> Option<&[u8]> {
    match value {
        [b'"', quoted @ .., b'"'] => {
            (!quoted.contains(&b'\\') && is_value(quoted)).then_some(quoted)
        }
        bare => Some(bare),
    }
}

fn classify(value: &[u8], shape: KeyShape) -> Presented {
    match SessionKey::parse(value, shape) {
        Some(key) => Presented::Key(key),
        None if is_signed(value) => Presented::Signed,
        None => Presented::Malformed,
    }
}

/// `payload:timestamp:signature` in URL-safe base64 (django/core/signing.py).
pub(super) fn is_signed(value: &[u8]) -> bool {
    let mut parts = value.split(|byte| *byte == b':');
    let base64 = |part: &[u8]| {
        !part.is_empty()
            && part.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_=.".contains(byte))
    };
    let three = (parts.next(), parts.next(), parts.next(), parts.next());
    matches!(three, (Some(a), Some(b), Some(c), None) if base64(a) && base64(b) && base64(c))
}

#[cfg(test)]
#[path = "cookie_tests.rs"]
mod tests;
