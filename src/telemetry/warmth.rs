//! The warmth of the ledger in words: what was seen, of how much, until when, and why not before.

use std::time::Duration;

use crate::guard::fact::{Missed, Warmth};

/// What a line says of a ledger that is not warm.
pub(super) struct Progress {
    /// As in `3d12h`.
    pub(super) seen: String,
    pub(super) of: String,
    /// RFC 3339, in UTC.
    pub(super) warm_at: String,
    pub(super) why: String,
}

impl Progress {
    /// `warm_at` in seconds since 1970. `None` where there is nothing to wait for.
    pub(super) fn of(warmth: Warmth, warm_at: u64) -> Option<Self> {
        let why = match warmth {
            Warmth::Warm => return None,
            Warmth::Cold { missed, .. } => why(missed),
            Warmth::Overflowed { .. } => "a live session was forgotten for lack of room".to_owned(),
            Warmth::IssuedElsewhere { .. } => {
                "a session that was not issued through Floodwall was alive".to_owned()
            }
        };
        let (remaining, whole) = warmth.span();
        let seen = span(whole.saturating_sub(remaining));
        Some(Self { seen, of: span(whole), warm_at: rfc3339(warm_at), why })
    }
}

/// The warmth in one line, for `floodwall check`. `warm_at` in seconds since 1970.
pub fn describe(warmth: Warmth, warm_at: u64) -> String {
    match Progress::of(warmth, warm_at) {
        None => "warm".to_owned(),
        Some(Progress { seen, of, warm_at, why }) => {
            format!("not warm: {seen} of {of} seen, warm at {warm_at}; {why}")
        }
    }
}

fn why(missed: Missed) -> String {
    match missed {
        Missed::Everything => "no session was known at the start".to_owned(),
        Missed::Damaged => "the state file was damaged".to_owned(),
        Missed::Absence(away) => format!("it was not running for {}", span(away)),
        Missed::ClockSetBack => {
            "it was not running, and the wall clock was set back meanwhile".to_owned()
        }
        Missed::Journal => "a part of the journal is missing or damaged".to_owned(),
        Missed::Crash => "the machine went down while it was running".to_owned(),
        Missed::LongerLifetime => "session.lifetime is longer than it was".to_owned(),
        Missed::LongerAge => "a session cookie of this age was seen".to_owned(),
        Missed::OtherCookie => "session.cookie or its key_shape was another one".to_owned(),
    }
}

/// The two largest units of a time, rounded down: `3d12h`, `3h12m`, `45s`.
pub fn span(span: Duration) -> String {
    const UNITS: [(u64, char); 4] = [(86_400, 'd'), (3_600, 'h'), (60, 'm'), (1, 's')];
    let mut rest = span.as_secs();
    let mut text = String::new();
    let first = UNITS.iter().position(|(unit, _)| rest >= *unit).unwrap_or(UNITS.len() - 1);
    for (unit, letter) in UNITS.iter().skip(first).take(2) {
        let count = rest / unit;
        rest %= unit;
        if count > 0 || text.is_empty() {
            text += &format!("{count}{letter}");
        }
    }
    text
}

/// Milliseconds since 1970 as RFC 3339 writes them, in UTC.
pub(super) fn rfc3339_ms(unix_ms: u64) -> String {
    let Civil { year, month, day, hour, minute, second } = Civil::of(unix_ms / 1_000);
    let ms = unix_ms % 1_000;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// Seconds since 1970 as RFC 3339 writes them, in UTC.
pub fn rfc3339(unix: u64) -> String {
    let Civil { year, month, day, hour, minute, second } = Civil::of(unix);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// A moment as calendar and clock on the wall have it, in UTC; months and days begin at 1.
pub struct Civil {
    pub year: u64,
    pub month: u64,
    pub day: u64,
    pub hour: u64,
    pub minute: u64,
    pub second: u64,
}

impl Civil {
    /// Of seconds since 1970. The days are turned into a date by the method of Howard Hinnant's
    /// `civil_from_days`: years begin in March, 400 of them have 146,097 days.
    pub fn of(unix: u64) -> Self {
        let (days, second) = (unix / 86_400 + 719_468, unix % 86_400);
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        Self { year, month, day, hour, minute, second }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `date -u -d @SECONDS +%FT%TZ` says.
    #[test]
    fn wall_time_is_written_as_rfc_3339_has_it() {
        for (unix, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_078_012_800, "2004-02-29T00:00:00Z"),
            (1_798_761_599, "2026-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(unix), text);
        }
        assert!(rfc3339(u64::MAX).ends_with('Z'));
    }

    #[test]
    fn a_span_is_told_in_its_two_largest_units() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (61, "1m1s"),
            (11_520, "3h12m"),
            (86_399, "23h59m"),
            (86_400, "1d"),
            (86_459, "1d"),
            (1_209_600 + 3_600, "14d1h"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn a_ledger_that_is_not_warm_says_how_far_it_is_and_why() {
        let whole = Duration::from_secs(14 * 86_400);
        let remaining = Duration::from_secs(10 * 86_400);
        let missed = Missed::Absence(Duration::from_secs(11_520));
        let cold = Warmth::Cold { missed, remaining, whole };
        assert_eq!(
            describe(cold, 0),
            "not warm: 4d of 14d seen, warm at 1970-01-01T00:00:00Z; it was not running for 3h12m"
        );
        assert_eq!(describe(Warmth::Warm, 0), "warm");
        let reasons: std::collections::BTreeSet<String> =
            Missed::ALL.into_iter().map(why).collect();
        assert_eq!(reasons.len(), Missed::ALL.len());
    }
}
