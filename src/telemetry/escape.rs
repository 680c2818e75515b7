//! Strings that strangers chose, made fit for a log line.
//!
//! Whatever a path, a cookie name or an error text holds, it stays within one line, one field and
//! [`LIMIT`] bytes, and it drives no terminal. Percent-encoding is used because these are bytes
//! of the web, and because neither log format escapes its result a second time, so that a reader
//! finds the same characters in text and in JSON.

use std::fmt::{self, Display, Write};

/// The longest that [`visible`] makes anything, in bytes.
pub const LIMIT: usize = 128;

/// What stands for the rest of a string that was too long.
const CUT: char = '…';

/// `value` with everything percent-encoded that is not plainly visible (controls, line breaks,
/// direction marks, lone combining marks) or that a format would have to escape (`%`, `"`, `\`),
/// cut to [`LIMIT`] bytes. No more of `value` is formatted than that takes.
pub fn visible(value: impl Display) -> String {
    let mut line = Line { text: String::with_capacity(LIMIT), fits: 0 };
    // An error says that the line is full, or that `value` gave up: what there is will do.
    let _ = write!(line, "{value}");
    line.text
}

struct Line {
    text: String,
    /// How much of `text` leaves room for [`CUT`].
    fits: usize,
}

impl Line {
    fn push(&mut self, piece: &str) -> fmt::Result {
        if self.text.len() + piece.len() > LIMIT {
            self.text.truncate(self.fits);
            self.text.push(CUT);
            return Err(fmt::Error);
        }
        self.text.push_str(piece);
        if self.text.len() + CUT.len_utf8() <= LIMIT {
            self.fits = self.text.len();
        }
        Ok(())
    }
}

impl Write for Line {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        for char in part.chars() {
            let mut buffer = [0; 4];
            let plain: &str = char.encode_utf8(&mut buffer);
            if is_plain(char) {
                self.push(plain)?;
            } else {
                let mut encoded = String::with_capacity(12);
                for byte in plain.bytes() {
                    write!(encoded, "%{byte:02X}")?;
                }
                self.push(&encoded)?;
            }
        }
        Ok(())
    }
}

/// Whether both formats print `char` as it is, and a terminal shows it.
fn is_plain(char: char) -> bool {
    match char {
        '%' | '"' | '\\' => false,
        _ => is_visible(char),
    }
}

/// Whether a terminal shows `char`, and does nothing else with it.
pub fn is_visible(char: char) -> bool {
    match char {
        '"' | '\\' | '\'' => true,
        // The standard library knows which characters are printable and tells it in this way only.
        _ => char.escape_debug().len() == 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_plain_stays_as_it_is() {
        assert_eq!(visible("/konto/prüfen/it's a path/"), "/konto/prüfen/it's a path/");
    }

    #[test]
    fn nothing_that_breaks_a_line_or_a_field_or_drives_a_terminal_is_left() {
        assert_eq!(visible("a\r\nb\u{1b}[2J"), "a%0D%0Ab%1B[2J");
        assert_eq!(visible(r#"x" route="y\"#), "x%22 route=%22y%5C");
        assert_eq!(visible("\u{9b}31m\u{202e}\u{2028}\0"), "%C2%9B31m%E2%80%AE%E2%80%A8%00");
        assert_eq!(visible("50%0A"), "50%250A");
    }

    #[test]
    fn nothing_is_longer_than_the_limit_and_what_just_fits_is_not_cut() {
        assert_eq!(visible("a".repeat(LIMIT)), "a".repeat(LIMIT));
        assert_eq!(visible("a".repeat(LIMIT + 1)), format!("{}…", "a".repeat(LIMIT - 3)));
        for hostile in ["\n", "ü", "a\n", "\u{202e}x", "𝄞"] {
            let text = visible(hostile.repeat(10_000));
            assert!(text.len() <= LIMIT && text.ends_with(CUT), "{hostile:?}: {text}");
        }
    }
}
