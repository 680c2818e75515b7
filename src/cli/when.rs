//! Times on the command line: `24h` ago, `today`, `2026-11-23`, `2026-11-23T09:05Z`. UTC, where
//! nothing else is said.

use floodwall::config;

const DAY: u64 = 86_400;

const FORMS: &str = "write 24h, 7d, today, yesterday, 2026-11-23 or 2026-11-23T09:05Z";

/// A time, or a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Seconds ago.
    Ago(u64),
    /// Seconds since 1970.
    At(u64),
    /// The day that begins then.
    Day(u64),
    /// So many days before today.
    DaysAgo(u64),
}

impl When {
    /// Reads one; the error says what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "now" => return Ok(Self::Ago(0)),
            "today" => return Ok(Self::DaysAgo(0)),
            "yesterday" => return Ok(Self::DaysAgo(1)),
            _ => {}
        }
        if let Some(span) = config::span(text) {
            return Ok(Self::Ago(span.as_secs()));
        }
        written(text).ok_or_else(|| FORMS.to_owned())
    }

    /// Its beginning, in seconds since 1970.
    pub fn first(self, now: u64) -> u64 {
        match self {
            Self::Ago(span) => now.saturating_sub(span),
            Self::At(unix) | Self::Day(unix) => unix,
            Self::DaysAgo(days) => (now / DAY).saturating_sub(days) * DAY,
        }
    }

    /// Its end: of a day, that day's.
    pub fn last(self, now: u64) -> u64 {
        match self {
            Self::Ago(_) | Self::At(_) => self.first(now),
            Self::Day(_) | Self::DaysAgo(_) => self.first(now) + DAY,
        }
    }
}

/// A date, or a date and a time (RFC 3339, 5.6), whose seconds and offset may be missing.
fn written(text: &str) -> Option<When> {
    if !text.is_ascii() || text.len() < 10 {
        return None;
    }
    let (date, rest) = text.split_at(10);
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let day = days(year, month, day)? * DAY;
    if rest.is_empty() {
        return Some(When::Day(day));
    }
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let (time, offset) = match rest.find(['Z', 'z', '+', '-']) {
        Some(at) => rest.split_at(at),
        None => (rest, "Z"),
    };
    // Fractions of seconds make no difference to minutes.
    let time = time.split('.').next()?;
    let [hour, minute, second] = match time.len() {
        5 => {
            let [hour, minute] = numbers(time, ':', [2, 2])?;
            [hour, minute, 0]
        }
        _ => numbers(time, ':', [2, 2, 2])?,
    };
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let unix = day + hour * 3_600 + minute * 60 + second;
    let unix = match offset.split_at(1) {
        ("Z" | "z", "") => unix,
        (sign, offset) => {
            let [hours, minutes] = numbers(offset, ':', [2, 2])?;
            let offset = hours * 3_600 + minutes * 60;
            match (sign, hours, minutes) {
                (_, 24.., _) | (_, _, 60..) => return None,
                ("+", ..) => unix.checked_sub(offset)?,
                ("-", ..) => unix + offset,
                _ => return None,
            }
        }
    };
    Some(When::At(unix))
}

/// Numbers of so many digits each.
fn numbers<const N: usize>(text: &str, between: char, digits: [usize; N]) -> Option<[u64; N]> {
    let mut numbers = [0; N];
    let mut parts = text.split(between);
    for (number, digits) in numbers.iter_mut().zip(digits) {
        let part = parts.next()?;
        let fits = part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit());
        *number = if fits { part.parse().ok()? } else { return None };
    }
    parts.next().is_none().then_some(numbers)
}

/// Days since 1970 of a date that there is, by Howard Hinnant's `days_from_civil`.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let longest = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if year < 1970 || !(1..=longest).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let of_era = of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    (era * 146_097 + of_era).checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_are_written() {
        for (text, when) in [
            ("24h", When::Ago(86_400)),
            ("90s", When::Ago(90)),
            ("now", When::Ago(0)),
            ("today", When::DaysAgo(0)),
            ("yesterday", When::DaysAgo(1)),
            ("1970-01-01", When::Day(0)),
            ("2000-02-29", When::Day(951_782_400)),
            ("2026-12-31T23:59:59Z", When::At(1_798_761_599)),
            ("2026-12-31 23:59:59", When::At(1_798_761_599)),
            ("2026-12-31T23:59:59.999Z", When::At(1_798_761_599)),
            ("2027-01-01T01:59:59+02:00", When::At(1_798_761_599)),
            ("2026-12-31T18:29:59-05:30", When::At(1_798_761_599)),
            ("2026-12-31T23:59", When::At(1_798_761_540)),
        ] {
            assert_eq!(When::parse(text), Ok(when), "{text}");
        }
        for text in [
            "",
            "24",
            "24 hours",
            "tomorrow",
            "2026-02-29",
            "2026-13-01",
            "2026-11-31",
            "26-11-23",
            "2026-11-23T",
            "2026-11-23T24:00Z",
            "2026-11-23T09:5Z",
            "2026-11-23T09:05+2",
            "2026-11-23T09:05+24:00",
            "1970-01-01T00:00+01:00",
            "2026-11-23T09:05ZZ",
            "2026-11-2é",
            "1969-12-31",
            "-1h",
        ] {
            assert!(When::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_day_is_whole() {
        let now = 1_798_761_599;
        let today = When::DaysAgo(0);
        assert_eq!((today.first(now), today.last(now)), (1_798_675_200, 1_798_761_600));
        let yesterday = When::DaysAgo(1);
        assert_eq!(yesterday.last(now), today.first(now));
        assert_eq!(When::Day(951_782_400).last(now), 951_868_800);
        assert_eq!(When::Ago(60).last(now), now - 60);
    }
}
