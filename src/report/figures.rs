//! Numbers, times and spans as people read them, and quantiles of what is known by buckets.

use crate::telemetry::meter::{BOUNDS_US, Histogram};
use crate::telemetry::warmth::Civil;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// At most four characters or so: `950`, `1.2k`, `34k`, `5.6M`.
pub fn short(number: f64) -> String {
    const UNITS: [(f64, &str); 3] = [(1e9, "G"), (1e6, "M"), (1e3, "k")];
    let (unit, name) = UNITS.into_iter().find(|(unit, _)| number >= *unit).unwrap_or((1.0, ""));
    let scaled = (number / unit * 10.0).round() / 10.0;
    if scaled < 10.0 && scaled.fract() > 0.0 {
        format!("{scaled:.1}{name}")
    } else {
        format!("{scaled:.0}{name}")
    }
}

/// A part of a whole in percent. Never rounded to all or nothing: `99.99%` of a million is not all.
pub fn percent(part: u64, whole: u64) -> String {
    if part == 0 || whole == 0 {
        return "0%".to_owned();
    }
    if part >= whole {
        return "100%".to_owned();
    }
    let percent = part as f64 * 100.0 / whole as f64;
    match percent {
        percent if percent < 0.01 => "< 0.01%".to_owned(),
        percent if percent > 99.99 => "> 99.99%".to_owned(),
        percent if !(1.0..=99.0).contains(&percent) => format!("{percent:.2}%"),
        percent => format!("{percent:.1}%"),
    }
}

/// `2026-11-23 09:05`, of seconds since 1970.
pub fn minute(unix: u64) -> String {
    let Civil { year, month, day, hour, minute, .. } = Civil::of(unix);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}")
}

/// `23 Nov 2026, 09:05`.
pub fn friendly(unix: u64) -> String {
    let Civil { year, hour, minute, .. } = Civil::of(unix);
    format!("{} {year}, {hour:02}:{minute:02}", day(unix))
}

/// `23 Nov`.
pub fn day(unix: u64) -> String {
    let Civil { month, day, .. } = Civil::of(unix);
    format!("{day} {}", MONTHS[(month as usize).saturating_sub(1) % MONTHS.len()])
}

/// `09:05`.
pub fn hour(unix: u64) -> String {
    let Civil { hour, minute, .. } = Civil::of(unix);
    format!("{hour:02}:{minute:02}")
}

/// RFC 3339.
pub fn rfc3339(unix: u64) -> String {
    crate::telemetry::warmth::rfc3339(unix)
}

/// The two largest units: `3d 12h`, `3h 12m`, `45s`.
pub fn span(seconds: u64) -> String {
    let text = crate::telemetry::warmth::span(std::time::Duration::from_secs(seconds));
    let second = text.find(|c: char| c.is_ascii_alphabetic()).map_or(text.len(), |at| at + 1);
    let (first, second) = text.split_at(second);
    [first, second].join(" ").trim_end().to_owned()
}

/// The same in words: `3 days 12 hours`, `less than a second`.
pub fn long_span(seconds: u64) -> String {
    const UNITS: [(u64, &str); 4] =
        [(86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")];
    let mut rest = seconds;
    let first = UNITS.iter().position(|(unit, _)| rest >= *unit).unwrap_or(UNITS.len());
    let mut words = Vec::new();
    for (unit, name) in UNITS.iter().skip(first).take(2) {
        let count = rest / unit;
        rest %= unit;
        if count > 0 {
            words.push(format!("{count} {name}{}", if count == 1 { "" } else { "s" }));
        }
    }
    if words.is_empty() { "less than a second".to_owned() } else { words.join(" ") }
}

/// How long something took, by its bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Time {
    /// About so many microseconds.
    About(u64),
    /// Longer than this, the longest that is told apart.
    Above(u64),
}

impl Time {
    /// `850 us`, `12 ms`, `1.2 s`, `> 30 s`.
    pub fn words(self) -> String {
        match self {
            Self::About(us) => microseconds(us),
            Self::Above(us) => format!("> {}", microseconds(us)),
        }
    }

    /// In milliseconds, to the tenth.
    pub fn ms(self) -> f64 {
        let (Self::About(us) | Self::Above(us)) = self;
        (us as f64 / 100.0).round() / 10.0
    }
}

fn microseconds(us: u64) -> String {
    match us {
        0 => "0".to_owned(),
        1..1_000 => format!("{us} us"),
        1_000..10_000 => format!("{:.1} ms", us as f64 / 1e3),
        10_000..1_000_000 => format!("{:.0} ms", us as f64 / 1e3),
        _ => format!("{:.1} s", us as f64 / 1e6),
    }
}

/// How often something took how long.
#[derive(Clone, Debug, Default)]
pub struct Buckets(Histogram);

impl Buckets {
    /// So many took so long at most, in microseconds; 0 stands for what is above all bounds. Bounds
    /// of another version are taken as the next that there is.
    pub fn add(&mut self, upto_us: u64, count: u64) {
        let bound = if upto_us == 0 { u64::MAX } else { upto_us };
        self.0.counts[BOUNDS_US.partition_point(|known| *known < bound)] += count;
    }

    pub fn count(&self) -> u64 {
        self.0.count()
    }

    /// The time that so large a part took at most; `None` of nothing.
    pub fn quantile(&self, part: f64) -> Option<Time> {
        let us = self.0.quantile_us(part)? as u64;
        let [.., above] = self.0.counts;
        let told_apart = (self.count() - above) as f64;
        let is_above = part * self.count() as f64 > told_apart;
        Some(if is_above { Time::Above(us) } else { Time::About(us) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_at_a_glance() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
        for (number, text) in [(0.0, "0"), (0.5, "0.5"), (950.0, "950"), (1_250.0, "1.3k")] {
            assert_eq!(short(number), text);
        }
        assert_eq!((short(34_400.0), short(5.6e6)), ("34k".to_owned(), "5.6M".to_owned()));
    }

    #[test]
    fn a_part_is_neither_all_nor_nothing() {
        for (part, whole, text) in [
            (0, 0, "0%"),
            (0, 5, "0%"),
            (5, 5, "100%"),
            (1, 1_000_000, "< 0.01%"),
            (999_999, 1_000_000, "> 99.99%"),
            (1, 200, "0.50%"),
            (1, 3, "33.3%"),
        ] {
            assert_eq!(percent(part, whole), text);
        }
    }

    #[test]
    fn spans_are_told_in_two_units() {
        for (seconds, text, words) in [
            (0, "0s", "less than a second"),
            (60, "1m", "1 minute"),
            (3_900, "1h 5m", "1 hour 5 minutes"),
            (86_460, "1d", "1 day"),
            (180_000, "2d 2h", "2 days 2 hours"),
        ] {
            assert_eq!((span(seconds).as_str(), long_span(seconds).as_str()), (text, words));
        }
    }

    #[test]
    fn a_quantile_is_in_the_bucket_that_has_it() {
        let mut buckets = Buckets::default();
        assert_eq!(buckets.quantile(0.5), None);
        buckets.add(1_000, 98);
        buckets.add(5_000, 1);
        buckets.add(0, 1);
        assert_eq!(buckets.quantile(0.5), Some(Time::About(755)));
        assert_eq!(buckets.quantile(0.99), Some(Time::About(5_000)));
        assert_eq!(buckets.quantile(1.0), Some(Time::Above(30_000_000)));
        assert_eq!(Time::Above(30_000_000).words(), "> 30.0 s");
        assert_eq!(Time::About(12_345).words(), "12 ms");
    }
}
