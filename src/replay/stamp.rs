//! The times that logs are written with, as milliseconds since 1970.

/// A time in any of the ways that servers write it: `10/Oct/2000:13:55:36 -0700`, with or without
/// brackets, RFC 3339, or a number of seconds (with or without a fraction), milliseconds,
/// microseconds or nanoseconds since 1970. `None` for anything else, and for times before 1970 or after 2199.
pub fn read(bytes: &[u8]) -> Option<u64> {
    any(bytes).filter(|ms| *ms < LATEST_MS)
}

/// The year 2200: what is later is damaged, and would not fit into a moment.
const LATEST_MS: u64 = 7_258_118_400_000;

fn any(bytes: &[u8]) -> Option<u64> {
    let bytes = bytes.strip_prefix(b"[").unwrap_or(bytes);
    let bytes = bytes.strip_suffix(b"]").unwrap_or(bytes);
    match bytes {
        [_, _, b'/', ..] => of_common_log(bytes),
        [_, _, _, _, b'-', ..] => of_rfc_3339(bytes),
        _ => of_number(bytes),
    }
}

/// `10/Oct/2000:13:55:36 -0700`; a fraction behind the seconds is read too.
fn of_common_log(bytes: &[u8]) -> Option<u64> {
    let [d1, d2, b'/', m1, m2, m3, b'/', y1, y2, y3, y4, b':', rest @ ..] = bytes else {
        return None;
    };
    let month = match [m1, m2, m3].map(u8::to_ascii_lowercase) {
        [b'j', b'a', b'n'] => 1,
        [b'f', b'e', b'b'] => 2,
        [b'm', b'a', b'r'] => 3,
        [b'a', b'p', b'r'] => 4,
        [b'm', b'a', b'y'] => 5,
        [b'j', b'u', b'n'] => 6,
        [b'j', b'u', b'l'] => 7,
        [b'a', b'u', b'g'] => 8,
        [b's', b'e', b'p'] => 9,
        [b'o', b'c', b't'] => 10,
        [b'n', b'o', b'v'] => 11,
        [b'd', b'e', b'c'] => 12,
        _ => return None,
    };
    let year = digits(&[*y1, *y2, *y3, *y4])?;
    let (second, ms, zone) = clock(rest)?;
    at(year, month, digits(&[*d1, *d2])?, second, ms, of_zone(zone.trim_ascii_start())?)
}

/// `2000-10-10T13:55:36.123-07:00`, also with a space for the `T`; without a zone it is UTC.
fn of_rfc_3339(bytes: &[u8]) -> Option<u64> {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T' | b't' | b' ', rest @ ..] = bytes else {
        return None;
    };
    let (second, ms, zone) = clock(rest)?;
    let (year, month) = (digits(&[*y1, *y2, *y3, *y4])?, digits(&[*m1, *m2])?);
    at(year, month, digits(&[*d1, *d2])?, second, ms, of_zone(zone)?)
}

/// By its size a number tells what it counts.
fn of_number(bytes: &[u8]) -> Option<u64> {
    let dot = bytes.iter().position(|byte| *byte == b'.').unwrap_or(bytes.len());
    let whole = super::scan::number(&bytes[..dot])?;
    let ms = match whole {
        0..100_000_000_000 => {
            let fraction = bytes.get(dot + 1..).unwrap_or_default();
            return Some(whole * 1_000 + thousandths(fraction)?);
        }
        100_000_000_000..100_000_000_000_000 => whole,
        100_000_000_000_000..100_000_000_000_000_000 => whole / 1_000,
        _ => whole / 1_000_000,
    };
    Some(ms)
}

/// `13:55:36`, with a fraction or not: seconds of the day, milliseconds, and what follows.
fn clock(bytes: &[u8]) -> Option<(u64, u64, &[u8])> {
    let [h1, h2, b':', m1, m2, b':', s1, s2, rest @ ..] = bytes else { return None };
    let (hour, minute) = (digits(&[*h1, *h2])?, digits(&[*m1, *m2])?);
    let second = digits(&[*s1, *s2])?;
    // A leap second is the one after it.
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let seconds = hour * 3_600 + minute * 60 + second;
    match rest {
        [b'.' | b',', fraction @ ..] => {
            let end = fraction.iter().position(|byte| !byte.is_ascii_digit());
            let (fraction, rest) = fraction.split_at(end.unwrap_or(fraction.len()));
            Some((seconds, thousandths(fraction)?, rest))
        }
        _ => Some((seconds, 0, rest)),
    }
}

/// Minutes east of UTC.
fn of_zone(bytes: &[u8]) -> Option<i64> {
    let (sign, h1, h2, m1, m2) = match bytes {
        [] | [b'Z' | b'z'] => return Some(0),
        [sign, h1, h2, b':', m1, m2] | [sign, h1, h2, m1, m2] => (sign, h1, h2, m1, m2),
        _ => return None,
    };
    let (hours, minutes) = (digits(&[*h1, *h2])?, digits(&[*m1, *m2])?);
    // Two digits each.
    let span = i64::try_from(hours * 60 + minutes).ok().filter(|_| hours < 24 && minutes < 60)?;
    match sign {
        b'+' => Some(span),
        b'-' => Some(-span),
        _ => None,
    }
}

fn digits(bytes: &[u8]) -> Option<u64> {
    super::scan::number(bytes)
}

/// The first three digits of a fraction.
fn thousandths(fraction: &[u8]) -> Option<u64> {
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let place = |(digit, worth): (&u8, u64)| u64::from(digit - b'0') * worth;
    Some(fraction.iter().zip([100, 10, 1]).map(place).sum())
}

/// The days are counted by the method of Howard Hinnant's `days_from_civil`: years begin in March.
fn at(year: u64, month: u64, day: u64, second: u64, ms: u64, east: i64) -> Option<u64> {
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let from_march = if month > 2 { month - 3 } else { month + 9 };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let seconds = (era * 146_097 + day_of_era).checked_sub(719_468)? * 86_400 + second;
    let seconds = i64::try_from(seconds).ok()?.checked_sub(east * 60)?;
    Some(u64::try_from(seconds).ok()? * 1_000 + ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `date -u -d TIME +%s` has it.
    #[test]
    fn every_way_of_writing_a_time_is_read() {
        for (text, ms) in [
            ("10/Oct/2000:13:55:36 -0700", 971_211_336_000),
            ("[29/Feb/2024:23:59:59 +0530]", 1_709_231_399_000),
            ("01/Jan/1970:00:00:00 +0000", 0),
            ("31/Dec/2026:23:59:59.042 +0000", 1_798_761_599_042),
            ("2026-12-31T23:59:59.042Z", 1_798_761_599_042),
            ("2026-12-31T23:59:59+00:00", 1_798_761_599_000),
            ("2026-12-31 16:59:59,5-0700", 1_798_761_599_500),
            ("2000-03-01T00:00:00", 951_868_800_000),
            ("1798761599.042", 1_798_761_599_042),
            ("1798761599", 1_798_761_599_000),
            ("1798761599042", 1_798_761_599_042),
            ("1798761599042999", 1_798_761_599_042),
            ("1798761599042999000", 1_798_761_599_042),
        ] {
            assert_eq!(read(text.as_bytes()), Some(ms), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "-",
            "10/Oct/2000",
            "10/Okt/2000:13:55:36 -0700",
            "10/Oct/2000:13:55:36",
            "10/Oct/2000:25:55:36 -0700",
            "10/Oct/2000:13:55:36 0700x",
            "32/Oct/2000:13:55:36 -0700",
            "2000-13-01T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "01/Jan/1970:00:00:00 +0100",
            "12a",
            "1.x",
            "99999999999999999999",
            "01/Jan/2200:00:00:00 +0000",
            "2026-12-31T23:59:59.04xZ",
        ] {
            let known = text == "10/Oct/2000:13:55:36";
            assert_eq!(read(text.as_bytes()).is_some(), known, "{text}");
        }
    }
}
