//! Durations, sizes and rates as they are written, and their bounds.
//!
//! Pure functions from text; an error is one sentence, with the remedy where there is one.

use std::fmt;
use std::time::Duration;

use super::fault::Unfit;

/// How a duration is written.
pub(super) const DURATION_FORM: &str = "\"250ms\", \"10s\", \"5m\", \"12h\" or \"14d\"";
/// How a size is written.
pub(super) const SIZE_FORM: &str = "bytes, \"64KiB\", \"1MiB\" or \"1GiB\"";
/// How a rate is written.
pub(super) const RATE_FORM: &str = "\"5/s\", \"30/min\", \"100/h\" or \"1000/d\"";

/// The same on a command line; `None` of what is no duration.
pub fn span(text: &str) -> Option<Duration> {
    duration(text).ok()
}

/// Reads "250ms", "10s", "5m", "12h", "14d".
pub(super) fn duration(text: &str) -> Result<Duration, Unfit> {
    let (digits, unit) = split(text);
    if digits.is_empty() {
        return Err(Unfit::new("not a duration"));
    }
    let too_long = || Unfit::new("longer than any duration may be");
    let number: u64 = digits.parse().map_err(|_| too_long())?;
    let seconds = match unit {
        "ms" => return Ok(Duration::from_millis(number)),
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "" => {
            return Err(Unfit::new("a duration without a unit")
                .remedy(format!("write \"{number}s\" for seconds")));
        }
        other => return Err(bad_duration_unit(number, other)),
    };
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(too_long)
}

fn bad_duration_unit(number: u64, unit: &str) -> Unfit {
    let right = match unit.trim().to_ascii_lowercase().as_str() {
        "ms" | "msec" | "msecs" | "millisecond" | "milliseconds" => "ms",
        "s" | "sec" | "secs" | "second" | "seconds" => "s",
        "m" | "min" | "mins" | "minute" | "minutes" => "m",
        "h" | "hour" | "hours" => "h",
        "d" | "day" | "days" => "d",
        _ => return Unfit::new("not a duration: one whole number, then one unit"),
    };
    Unfit::new("not a duration").remedy(format!("write \"{number}{right}\""))
}

/// Reads "4096", "64KiB", "1MiB", "1GiB".
pub(super) fn size(text: &str) -> Result<usize, Unfit> {
    let (digits, unit) = split(text);
    if digits.is_empty() {
        return Err(Unfit::new("not a size"));
    }
    let too_large = || Unfit::new("larger than any size may be");
    let number: usize = digits.parse().map_err(|_| too_large())?;
    let factor: usize = match unit {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        other => {
            let right = match other.trim().to_ascii_lowercase().as_str() {
                "b" | "byte" | "bytes" => "",
                "k" | "kb" | "kib" => "KiB",
                "m" | "mb" | "mib" => "MiB",
                "g" | "gb" | "gib" => "GiB",
                _ => return Err(Unfit::new("not a size: one whole number, then one unit")),
            };
            return Err(Unfit::new("not a size").remedy(format!("write \"{number}{right}\"")));
        }
    };
    number.checked_mul(factor).ok_or_else(too_large)
}

/// Reads "30/min", "5/s", "100/h", "1000/d" as the time between one and the next, rounded up to
/// the nanosecond: never more is granted than is written.
pub(super) fn rate(text: &str) -> Result<Duration, Unfit> {
    let not_a_rate = || Unfit::new("not a rate: a whole number, a slash, a unit of time");
    let (number, unit) = text.split_once('/').ok_or_else(not_a_rate)?;
    let (number, unit) = (number.trim(), unit.trim());
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
        return Err(not_a_rate());
    }
    let seconds = match unit {
        "s" | "sec" | "second" => 1,
        "m" | "min" | "minute" => 60,
        "h" | "hour" => 3_600,
        "d" | "day" => 86_400,
        _ => return Err(not_a_rate()),
    };
    let fastest = || Unfit::new("more than a million a second");
    let number: u64 = number.parse().map_err(|_| fastest())?;
    if number == 0 {
        return Err(Unfit::new("a rate of nothing never pays a session back")
            .remedy("write at least \"1/d\""));
    }
    let nanos = Duration::from_secs(seconds).as_nanos().div_ceil(u128::from(number));
    let period = u64::try_from(nanos).map(Duration::from_nanos).map_err(|_| not_a_rate())?;
    if period < crate::guard::policy::Quota::SHORTEST { Err(fastest()) } else { Ok(period) }
}

/// Leading digits, and what follows them.
fn split(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

/// A duration as the file would have it, in the largest unit that holds it whole.
pub struct Written(pub Duration);

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        if !self.0.subsec_nanos().is_multiple_of(1_000_000) {
            return write!(f, "{:?}", self.0);
        }
        for (unit, length) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
            if millis != 0 && millis.is_multiple_of(length) {
                return write!(f, "{}{unit}", millis / length);
            }
        }
        match millis {
            0 => f.write_str("0s"),
            millis => write!(f, "{millis}ms"),
        }
    }
}
