//! What Python's `http.cookies` reads from a `Cookie` line, written anew from its source
//! (Lib/http/cookies.py of 3.11, `_CookiePattern` and `__parse_string`; Lib/Cookie.py of 2.7.18).
//!
//! Left out is the pattern's special case for dates, which needs a space behind a comma: no clean
//! line has one outside of quotes.

/// Names and raw values, in their order; `None` where every cookie is lost. 2.7 keeps what it has
/// read before the first malformed piece, 3.11 does not.
pub fn read(line: &[u8], strict: bool) -> Option<Vec<(&[u8], &[u8])>> {
    let mut pairs = Vec::new();
    let mut at = 0;
    while at < line.len() {
        let Some(Piece { name, value, end }) = piece(line, at) else {
            return (!strict).then_some(pairs);
        };
        at = end;
        let attribute = RESERVED.iter().any(|reserved| name.eq_ignore_ascii_case(reserved));
        match value {
            _ if name[0] == b'$' => {}
            _ if attribute && strict && pairs.is_empty() => return None,
            _ if attribute => {}
            Some(value) => {
                // `Morsel.set` raises CookieError, which Django answers by reading no cookie.
                if !name.iter().all(is_token) {
                    return None;
                }
                pairs.push((name, value));
            }
            None if strict => return None,
            None => {}
        }
    }
    Some(pairs)
}

const RESERVED: [&[u8]; 10] = [
    b"expires",
    b"path",
    b"comment",
    b"domain",
    b"max-age",
    b"secure",
    b"httponly",
    b"version",
    b"samesite",
    b"partitioned",
];

struct Piece<'a> {
    name: &'a [u8],
    value: Option<&'a [u8]>,
    end: usize,
}

/// A match of the pattern: the shortest name, then a value if there can be one.
fn piece(line: &[u8], at: usize) -> Option<Piece<'_>> {
    let start = blanks(line, at);
    let legal = line[start..].iter().take_while(|byte| is_legal_name(byte)).count();
    (start + 1..=start + legal).find_map(|name_end| {
        let name = &line[start..name_end];
        let equals = blanks(line, name_end);
        let with_value = || {
            let behind = (line.get(equals) == Some(&b'=')).then_some(equals + 1)?;
            let furthest = blanks(line, behind);
            (behind..=furthest).rev().find_map(|from| {
                [quoted(line, from), Some(bare(line, from))].into_iter().flatten().find_map(|to| {
                    let value = Some(&line[from..to]);
                    Some(Piece { name, value, end: tail(line, to)? })
                })
            })
        };
        with_value().or_else(|| Some(Piece { name, value: None, end: tail(line, name_end)? }))
    })
}

/// `\s*(\s+|;|$)`
fn tail(line: &[u8], at: usize) -> Option<usize> {
    let behind = blanks(line, at);
    match line.get(behind) {
        None => Some(behind),
        Some(b';') => Some(behind + 1),
        Some(_) => (behind > at).then_some(behind),
    }
}

/// `"(?:[^\\"]|\\.)*"`
fn quoted(line: &[u8], from: usize) -> Option<usize> {
    let mut at = (line.get(from) == Some(&b'"')).then_some(from + 1)?;
    loop {
        at += match line.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => 2,
            _ => 1,
        };
    }
}

fn bare(line: &[u8], from: usize) -> usize {
    from + line[from..]
        .iter()
        .take_while(|byte| is_legal_name(byte) || b"[]".contains(byte))
        .count()
}

fn blanks(line: &[u8], from: usize) -> usize {
    let blank = |byte: &&u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c);
    from + line[from..].iter().take_while(blank).count()
}

fn is_legal_name(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_!#%&'~`><@,:/$*+-.^|)(?}{=".contains(byte)
}

fn is_token(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)
}
