//! The pieces of a line, appended to it.
//!
//! Not by `format!`: a line costs the core that carries the exchange, and three quarters of that went
//! into the machinery of formatting. Nothing here looks at what a piece means.

use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

use super::super::warmth::Civil;

/// A whole number.
pub(super) fn number(value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// A number of so many digits, up to 4; what is above is cut.
fn digits<const COUNT: usize>(mut value: u64, out: &mut Vec<u8>) {
    let mut text = [b'0'; COUNT];
    for digit in text.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
    out.extend_from_slice(&text);
}

/// So many digits of base 16, the lowest ones.
pub(super) fn hex<const COUNT: usize>(mut value: u64, out: &mut Vec<u8>) {
    let mut text = [b'0'; COUNT];
    for digit in text.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(value & 15) as usize];
        value >>= 4;
    }
    out.extend_from_slice(&text);
}

/// An address as everybody writes it.
pub(super) fn address(address: IpAddr, out: &mut Vec<u8>) {
    match address {
        IpAddr::V4(address) => {
            for (index, octet) in address.octets().into_iter().enumerate() {
                if index > 0 {
                    out.push(b'.');
                }
                number(octet.into(), out);
            }
        }
        // A write into memory does not fail.
        IpAddr::V6(address) => {
            let _ = write!(out, "{address}");
        }
    }
}

/// Milliseconds, to the microsecond.
pub(super) fn millis(time: Duration, out: &mut Vec<u8>) {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    number(micros / 1_000, out);
    out.push(b'.');
    digits::<3>(micros % 1_000, out);
}

/// A time in UTC, to the millisecond (RFC 3339).
pub(super) fn time(unix_ms: u64, out: &mut Vec<u8>) {
    let Civil { year, month, day, hour, minute, second } = Civil::of(unix_ms / 1_000);
    digits::<4>(year, out);
    for (before, value) in
        [(b'-', month), (b'-', day), (b'T', hour), (b':', minute), (b':', second)]
    {
        out.push(before);
        digits::<2>(value, out);
    }
    out.push(b'.');
    digits::<3>(unix_ms % 1_000, out);
    out.push(b'Z');
}

const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

/// The same to the second, as the Common Log Format has it.
pub(super) fn common_time(unix_ms: u64, out: &mut Vec<u8>) {
    let Civil { year, month, day, hour, minute, second } = Civil::of(unix_ms / 1_000);
    digits::<2>(day, out);
    out.push(b'/');
    out.extend_from_slice(MONTHS[(month as usize).saturating_sub(1) % MONTHS.len()]);
    out.push(b'/');
    digits::<4>(year, out);
    for value in [hour, minute, second] {
        out.push(b':');
        digits::<2>(value, out);
    }
    out.extend_from_slice(b" +0000");
}

/// A name within a JSON object, behind other fields. It is a word of our own.
#[inline(always)]
pub(super) fn key(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

/// A JSON string, with U+FFFD for what is not UTF-8.
pub(super) fn string(value: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    if all_themselves(value) {
        out.extend_from_slice(value);
    } else {
        for chunk in value.utf8_chunks() {
            chunk.valid().chars().for_each(|char| escaped(char, out));
            if !chunk.invalid().is_empty() {
                out.extend_from_slice("\u{fffd}".as_bytes());
            }
        }
    }
    out.push(b'"');
}

/// Whether all of these stand for themselves in a JSON string: nearly all that is ever logged.
fn all_themselves(value: &[u8]) -> bool {
    let (eights, rest) = value.as_chunks::<8>();
    eights.iter().all(|eight| all_eight_themselves(u64::from_ne_bytes(*eight)))
        && rest.iter().all(|byte| is_itself(*byte))
}

/// The same of eight bytes at once. A byte with its highest bit set may make its neighbour look like
/// one that does not, and does not stand for itself either.
const fn all_eight_themselves(eight: u64) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    // The highest bit of each byte that is zero, if none above it borrows.
    const fn zeros(bytes: u64) -> u64 {
        bytes.wrapping_sub(ONES) & !bytes
    }
    let control = eight.wrapping_sub(ONES * 0x20);
    let delete = eight.wrapping_add(ONES);
    let quote = zeros(eight ^ (ONES * b'"' as u64));
    let backslash = zeros(eight ^ (ONES * b'\\' as u64));
    (eight | control | delete | quote | backslash) & HIGH == 0
}

/// Whether a byte stands for itself in a JSON string.
const fn is_itself(byte: u8) -> bool {
    (byte >= b' ') & (byte <= b'~') & (byte != b'"') & (byte != b'\\')
}

/// A character within a JSON string: what drives terminals or turns the direction of writing is
/// spelled out.
fn escaped(char: char, out: &mut Vec<u8>) {
    match char {
        '"' | '\\' => out.extend_from_slice(&[b'\\', char as u8]),
        _ if char.is_control()
            || matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}') =>
        {
            // A write into memory does not fail.
            let _ = write!(out, "\\u{:04x}", char as u32);
        }
        _ => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// As nginx escapes a variable in its log (`ngx_http_log_escape`).
pub(super) fn plain(value: &[u8], out: &mut Vec<u8>) {
    if all_themselves(value) {
        out.extend_from_slice(value);
        return;
    }
    for byte in value {
        match *byte {
            byte if is_itself(byte) => out.push(byte),
            byte => {
                let _ = write!(out, "\\x{byte:02X}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn put(what: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        what(&mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    proptest! {
        #[test]
        fn pieces_are_what_format_makes_of_them(value: u64, micros in 0..u64::from(u32::MAX), ip: [u8; 4], wide: [u8; 16]) {
            prop_assert_eq!(put(|out| number(value, out)), format!("{value}"));
            prop_assert_eq!(put(|out| hex::<16>(value, out)), format!("{value:016x}"));
            let time = Duration::from_micros(micros);
            let expected = format!("{}.{:03}", micros / 1_000, micros % 1_000);
            prop_assert_eq!(put(|out| millis(time, out)), expected);
            for ip in [IpAddr::from(ip), IpAddr::from(wide)] {
                prop_assert_eq!(put(|out| address(ip, out)), ip.to_string());
            }
        }

        #[test]
        fn a_string_is_read_as_it_was_written(value: Vec<u8>) {
            let text = put(|out| string(&value, out));
            let read: String = serde_json::from_str(&text).expect("JSON");
            prop_assert_eq!(read, String::from_utf8_lossy(&value).into_owned());
        }
    }

    /// Every byte, in every place, among others.
    #[test]
    fn eight_bytes_at_once_are_looked_at_as_one_by_one() {
        for byte in 0..=u8::MAX {
            for place in 0..8 {
                for other in [b' ', b'~', b'a', b'!', b'#', b'[', b']'] {
                    let mut eight = [other; 8];
                    eight[place] = byte;
                    let all = all_eight_themselves(u64::from_ne_bytes(eight));
                    assert_eq!(all, is_itself(byte), "{eight:?}");
                }
            }
        }
    }

    #[test]
    fn times_are_told_in_both_ways() {
        let at = 1_790_000_000_007;
        assert_eq!(put(|out| time(at, out)), "2026-09-21T14:13:20.007Z");
        assert_eq!(put(|out| common_time(at, out)), "21/Sep/2026:14:13:20 +0000");
    }
}
