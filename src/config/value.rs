//! Readers of single values: each takes an entry and gives the value, or reports the mistake.

use std::fmt::Display;
use std::num::IntErrorKind;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::de::DeValue;

use super::fault::{Fault, Faults, Unfit, quote};
use super::quantity::{self, DURATION_FORM, SIZE_FORM, Written};
use super::table::Entry;

/// A string.
pub(super) fn string<'a>(entry: &Entry<'a, '_>, faults: &mut Faults) -> Option<&'a str> {
    match entry.value.get_ref() {
        DeValue::String(text) => Some(text),
        _ => {
            faults.add(entry.wrong_type("a string"));
            None
        }
    }
}

/// `true` or `false`.
pub(super) fn boolean(entry: &Entry<'_, '_>, faults: &mut Faults) -> Option<bool> {
    match entry.value.get_ref() {
        DeValue::Boolean(value) => Some(*value),
        _ => {
            faults.add(entry.wrong_type("true or false, without quotes"));
            None
        }
    }
}

/// An integer within `bounds`, in any base that TOML has.
pub(super) fn integer<T>(
    bounds: RangeInclusive<T>,
) -> impl Fn(&Entry<'_, '_>, &mut Faults) -> Option<T>
where
    T: TryFrom<i128> + PartialOrd + Display + Copy,
{
    move |entry, faults| {
        let allowed = format!("{} to {}", bounds.start(), bounds.end());
        let DeValue::Integer(digits) = entry.value.get_ref() else {
            faults.add(entry.wrong_type("an integer").allowed(allowed));
            return None;
        };
        let number = i128::from_str_radix(digits.as_str(), digits.radix());
        let value = number.as_ref().ok().and_then(|&number| T::try_from(number).ok());
        let value = value.filter(|value| bounds.contains(value));
        if value.is_none() {
            let shown = quote(digits.as_str());
            // The parser lets some through that are not digits.
            let what = match number.map_err(|error| *error.kind()) {
                Err(IntErrorKind::InvalidDigit | IntErrorKind::Empty) => "not an integer",
                Err(_) | Ok(_) => "out of bounds",
            };
            faults.add(entry.fault(format_args!("{shown} is {what}")).allowed(allowed));
        }
        value
    }
}

/// A duration within `bounds`.
pub(super) fn duration(
    bounds: RangeInclusive<Duration>,
) -> impl Fn(&Entry<'_, '_>, &mut Faults) -> Option<Duration> {
    move |entry, faults| {
        let (from, to) = (Written(*bounds.start()), Written(*bounds.end()));
        let allowed = format!("{DURATION_FORM}, from \"{from}\" to \"{to}\"");
        let text = match entry.value.get_ref() {
            DeValue::Integer(number) => {
                let fault = entry.fault("a duration without a unit").allowed(allowed);
                let digits = number.as_str();
                faults.add(match digits.bytes().all(|b| b.is_ascii_digit()) {
                    true => fault.remedy(format!("write \"{digits}s\" for seconds")),
                    false => fault,
                });
                return None;
            }
            DeValue::String(text) => text,
            _ => {
                faults.add(entry.wrong_type("a duration").allowed(allowed));
                return None;
            }
        };
        match quantity::duration(text) {
            Ok(value) if bounds.contains(&value) => return Some(value),
            Ok(_) => {
                let what = format_args!("{} is out of bounds", quote(text));
                faults.add(entry.fault(what).allowed(allowed));
            }
            Err(unfit) => faults.add(unfit_fault(entry, text, unfit).allowed(allowed)),
        }
        None
    }
}

/// A size in bytes within `bounds`.
pub(super) fn size(
    bounds: RangeInclusive<usize>,
) -> impl Fn(&Entry<'_, '_>, &mut Faults) -> Option<usize> {
    move |entry, faults| {
        let allowed = format!("{SIZE_FORM}, from {} to {} bytes", bounds.start(), bounds.end());
        let text = match entry.value.get_ref() {
            DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
            DeValue::String(text) => text,
            _ => {
                faults.add(entry.wrong_type("a size").allowed(allowed));
                return None;
            }
        };
        match quantity::size(text) {
            Ok(value) if bounds.contains(&value) => return Some(value),
            Ok(_) => {
                let what = format_args!("{} is out of bounds", quote(text));
                faults.add(entry.fault(what).allowed(allowed));
            }
            Err(unfit) => faults.add(unfit_fault(entry, text, unfit).allowed(allowed)),
        }
        None
    }
}

/// A string that `check` finds fit; what it gives instead is what is read.
pub(super) fn text<T>(
    check: impl Fn(&str) -> Result<T, Unfit>,
) -> impl Fn(&Entry<'_, '_>, &mut Faults) -> Option<T> {
    move |entry, faults| {
        let text = string(entry, faults)?;
        check(text).map_err(|unfit| faults.add(unfit_fault(entry, text, unfit))).ok()
    }
}

/// The mistake in a text, with its remedy.
pub(super) fn unfit_fault(entry: &Entry<'_, '_>, text: &str, unfit: Unfit) -> Fault {
    let fault = entry.fault(format_args!("{}: {}", quote(text), unfit.what));
    match unfit.remedy {
        Some(remedy) => fault.remedy(remedy),
        None => fault,
    }
}

/// One of the words of an enum.
pub(super) fn word<T: Copy>(
    all: &'static [T],
    name: fn(T) -> &'static str,
) -> impl Fn(&Entry<'_, '_>, &mut Faults) -> Option<T> {
    move |entry, faults| {
        let text = string(entry, faults)?;
        let found = all.iter().copied().find(|&one| name(one) == text);
        if found.is_none() {
            let words = || all.iter().map(|&one| name(one));
            let what = format_args!("{} is not one of its words", quote(text));
            faults.add(entry.fault(what).nearest(text, words()).allowed(quoted(words())));
        }
        found
    }
}

/// Words as they are written in the file, separated by commas.
pub(super) fn quoted<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")
}

/// One value or a list of values, none of them twice. `None` where any is wrong, or where
/// `empty` is refused and the list is.
pub(super) fn list<'a, 'i, T: PartialEq>(
    entry: &Entry<'a, 'i>,
    faults: &mut Faults,
    empty: Empty,
    read: impl Fn(&Entry<'a, 'i>, &mut Faults) -> Option<T>,
) -> Option<Vec<T>> {
    let (members, is_list) = entry.members();
    match empty {
        Empty::Refused(remedy) if is_list && members.is_empty() => {
            faults.add(entry.fault("an empty list").remedy(remedy));
            return None;
        }
        Empty::Refused(_) | Empty::Allowed => {}
    }
    let mut values = Vec::new();
    let mut whole = true;
    for member in &members {
        match read(member, faults) {
            Some(value) if values.contains(&value) => {
                faults.add(member.fault("named twice").remedy("leave one of them out"));
                whole = false;
            }
            Some(value) => values.push(value),
            None => whole = false,
        }
    }
    whole.then_some(values)
}

/// Whether a list may be empty.
#[derive(Clone, Copy)]
pub(super) enum Empty {
    Allowed,
    /// What to do instead.
    Refused(&'static str),
}
