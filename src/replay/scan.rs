//! JSON as log lines have it, read from bytes in place: objects, texts and numbers, and nothing is
//! kept. What is no JSON is damaged; what strangers wrote into a text stays in it.
//!
//! Lenient in one thing: escapes in texts are not looked at before a text is wanted, as Apache writes
//! `\xHH` into what is meant to be JSON.

use memchr::memchr2;

/// A line that is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged;

/// A place in a line.
pub struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// A value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// Between its quotes, escapes as they were written.
    Text(&'a [u8]),
    /// A number, `true`, `false` or `null`, as it was written.
    Bare(&'a [u8]),
    /// An object or an array, which [`Scan::skip`] or [`Scan::object`] reads.
    Nested,
}

impl<'a> Value<'a> {
    /// What stands there, whether it is a text or not; `None` for what is nothing.
    pub fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Self::Text(text) => Some(text),
            Self::Bare(b"null") | Self::Nested => None,
            Self::Bare(bare) => Some(bare),
        }
    }

    /// A whole number.
    pub fn number(self) -> Option<u64> {
        number(self.bytes()?)
    }

    pub fn is_true(self) -> bool {
        self == Self::Bare(b"true")
    }
}

/// A whole number of decimal digits.
pub fn number(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() || bytes.len() > 19 {
        return None;
    }
    bytes.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit < 10).then(|| number * 10 + u64::from(digit))
    })
}

/// What is done with a member of an object: its name and its value.
pub type Each<'a, 'b, R> =
    dyn FnMut(&mut R, &mut Scan<'a>, &'a [u8], Value<'a>) -> Result<(), Damaged> + 'b;

impl<'a> Scan<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn next(&mut self) -> Result<u8, Damaged> {
        while let Some(byte) = self.bytes.get(self.at) {
            self.at += 1;
            if !matches!(byte, b' ' | b'\t' | b'\r') {
                return Ok(*byte);
            }
        }
        Err(Damaged)
    }

    /// Reads an object, whose `{` comes next: `each` gets the name and the value of each member, and
    /// reads what is nested, by [`Self::object`] or [`Self::skip`].
    pub fn object<R>(
        &mut self,
        reading: &mut R,
        each: &mut Each<'a, '_, R>,
    ) -> Result<(), Damaged> {
        if self.next()? != b'{' {
            return Err(Damaged);
        }
        let mut first = true;
        loop {
            match (self.next()?, first) {
                (b'}', _) => return Ok(()),
                (b',', false) => {
                    if self.next()? != b'"' {
                        return Err(Damaged);
                    }
                }
                (b'"', true) => {}
                _ => return Err(Damaged),
            }
            first = false;
            let name = self.text()?;
            if self.next()? != b':' {
                return Err(Damaged);
            }
            let value = self.value()?;
            each(reading, self, name, value)?;
        }
    }

    /// Reads an array of whole numbers, whose `[` comes next.
    pub fn numbers<const N: usize>(&mut self) -> Result<[u64; N], Damaged> {
        let mut numbers = [0; N];
        if self.next()? != b'[' {
            return Err(Damaged);
        }
        for (index, number) in numbers.iter_mut().enumerate() {
            if index > 0 && self.next()? != b',' {
                return Err(Damaged);
            }
            *number = self.value()?.number().ok_or(Damaged)?;
        }
        if self.next()? == b']' { Ok(numbers) } else { Err(Damaged) }
    }

    /// Whether an object comes next, and not an array.
    pub fn opens_object(&self) -> bool {
        self.bytes.get(self.at) == Some(&b'{')
    }

    /// Passes over an object or an array, however deep it is.
    pub fn skip(&mut self) -> Result<(), Damaged> {
        let mut depth = 0_usize;
        loop {
            match self.next()? {
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.checked_sub(1).ok_or(Damaged)?,
                b'"' => {
                    self.text()?;
                }
                _ => {}
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }

    fn value(&mut self) -> Result<Value<'a>, Damaged> {
        match self.next()? {
            b'"' => self.text().map(Value::Text),
            b'{' | b'[' => {
                self.at -= 1;
                Ok(Value::Nested)
            }
            _ => {
                let start = self.at - 1;
                let rest = &self.bytes[self.at..];
                let end = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t');
                self.at += rest.iter().position(end).ok_or(Damaged)?;
                Ok(Value::Bare(&self.bytes[start..self.at]))
            }
        }
    }

    /// Behind its first quote.
    fn text(&mut self) -> Result<&'a [u8], Damaged> {
        let start = self.at;
        let length = quoted(&self.bytes[start..]).ok_or(Damaged)?;
        self.at = start + length + 1;
        Ok(&self.bytes[start..start + length])
    }
}

/// How long a text is up to the quote that ends it.
pub fn quoted(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

/// Appends what a text with escapes stands for: those of JSON, of nginx and of Apache. What is no
/// escape stays as it is.
pub fn unescape(text: &[u8], out: &mut Vec<u8>) {
    let hex = |digits: &[u8]| {
        let digits = std::str::from_utf8(digits).ok()?;
        u32::from_str_radix(digits, 16).ok()
    };
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at + 1..];
        let (plain, taken) = match rest {
            [b'n', ..] => (b'\n', 1),
            [b'r', ..] => (b'\r', 1),
            [b't', ..] => (b'\t', 1),
            [b'b', ..] => (8, 1),
            [b'f', ..] => (12, 1),
            [b'v', ..] => (11, 1),
            [byte @ (b'"' | b'\\' | b'/'), ..] => (*byte, 1),
            [b'x', high, low, ..] => match hex(&[*high, *low]) {
                // Two digits.
                Some(byte) => (byte as u8, 3),
                None => (b'\\', 0),
            },
            [b'u', digits @ ..] => {
                let unit = |digits: &[u8]| digits.get(..4).and_then(hex);
                let first = unit(digits);
                let second = match digits.get(4..6) {
                    Some(b"\\u") => unit(&digits[6..]),
                    _ => None,
                };
                let (char, taken) = match (first, second) {
                    (Some(high @ 0xd800..=0xdbff), Some(low @ 0xdc00..=0xdfff)) => {
                        (char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)), 11)
                    }
                    (Some(unit), _) => (char::from_u32(unit), 5),
                    (None, _) => {
                        out.push(b'\\');
                        continue;
                    }
                };
                let char = char.unwrap_or(char::REPLACEMENT_CHARACTER);
                out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
                rest = &rest[taken..];
                continue;
            }
            _ => (b'\\', 0),
        };
        out.push(plain);
        rest = &rest[taken..];
    }
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(line: &str) -> Result<Vec<(String, String)>, Damaged> {
        let mut found = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Scan::new(line.as_bytes()).object(&mut found, &mut |found, scan, name, value| {
            let said = match value {
                Value::Nested => scan.skip().map(|()| String::from("nested"))?,
                Value::Text(bytes) | Value::Bare(bytes) => text(bytes),
            };
            found.push((text(name), said));
            Ok(())
        })?;
        Ok(found)
    }

    #[test]
    fn members_are_found_with_whatever_stands_in_them() {
        let line = r#"{ "a":1 ,"b":"x\"}\\","c":{"d":["}",{}]},"e":null,"f":[],"g":-1.5e3}"#;
        let found = members(line).expect("JSON");
        let expected = [
            ("a", "1"),
            ("b", r#"x\"}\\"#),
            ("c", "nested"),
            ("e", "null"),
            ("f", "nested"),
            ("g", "-1.5e3"),
        ];
        let found: Vec<_> = found.iter().map(|(name, said)| (&**name, &**said)).collect();
        assert_eq!(found, expected);
        assert_eq!(members("{}"), Ok(Vec::new()));
    }

    #[test]
    fn a_line_that_was_cut_anywhere_is_damaged() {
        let line = r#"{"a":1,"b":"x\"","c":{"d":[1,2]},"e":null}"#;
        for length in 0..line.len() {
            assert_eq!(members(&line[..length]), Err(Damaged), "{}", &line[..length]);
        }
        for wrong in ["{\"a\"1}", "{,\"a\":1}", "{\"a\":1 \"b\":2}", "[1]", "{a:1}"] {
            assert_eq!(members(wrong), Err(Damaged), "{wrong}");
        }
    }

    #[test]
    fn escapes_of_all_writers_are_read() {
        for (text, plain) in [
            (r#"a\x22b\"c\\d\/e"#, "a\"b\"c\\d/e"),
            (r"\u00fc\ud83d\ude00\ud83dx", "ü😀\u{fffd}x"),
            (r"\x4\q\u12\", r"\x4\q\u12\"),
            (r"\n\t\r", "\n\t\r"),
        ] {
            let mut out = Vec::new();
            unescape(text.as_bytes(), &mut out);
            assert_eq!(String::from_utf8_lossy(&out), plain, "{text}");
        }
    }
}
