//! Tallies: how often each kind of event happened. One list of kinds serves floods and the whole
//! process.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::guard::fact::{Event, Refusal, Write};

/// How many kinds of events there are.
const KINDS: usize = 27;

/// Counts of events by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally([u64; KINDS]);

impl Tally {
    /// Counts one more.
    pub fn add(&mut self, event: Event) {
        self.0[index(event)] += 1;
    }

    /// Counts what another one has counted.
    pub fn add_all(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count += more;
        }
    }

    /// Counts one more of each kind in `set`.
    pub(super) fn add_set(&mut self, set: EventSet) {
        for (index, count) in self.0.iter_mut().enumerate() {
            *count += u64::from(set.0 >> index & 1);
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(mut self, other: &Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(sum, count)| *sum += count);
        self
    }

    /// How often `event` happened.
    pub fn count(&self, event: Event) -> u64 {
        self.0[index(event)]
    }

    /// Requests that were not forwarded, whatever the reason.
    pub fn refused(&self) -> u64 {
        Refusal::ALL.map(|refusal| self.count(Event::Refused(refusal))).iter().sum()
    }

    /// Requests that were forwarded in observe mode though they would have been refused.
    pub fn would_refuse(&self) -> u64 {
        Refusal::ALL.map(|refusal| self.count(Event::WouldRefuse(refusal))).iter().sum()
    }

    /// How often a write of this kind reached the store.
    pub fn wrote(&self, write: Write) -> u64 {
        self.count(Event::Wrote(write))
    }

    /// The refusals by reason, `client-budget=12 no-spare=3`; `None` without any.
    pub(super) fn refused_by(&self) -> Option<String> {
        self.by_reason(Event::Refused)
    }

    /// The same of the requests that would have been refused.
    pub(super) fn would_refuse_by(&self) -> Option<String> {
        self.by_reason(Event::WouldRefuse)
    }

    fn by_reason(&self, event: fn(Refusal) -> Event) -> Option<String> {
        let reasons: Vec<String> = Refusal::ALL
            .into_iter()
            .map(|refusal| (refusal.word(), self.count(event(refusal))))
            .filter(|(_, count)| *count > 0)
            .map(|(word, count)| format!("{word}={count}"))
            .collect();
        (!reasons.is_empty()).then(|| reasons.join(" "))
    }
}

/// Kinds of events, each in it or not: what one exchange did, in four bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct EventSet(u32);

impl EventSet {
    pub(super) fn insert(&mut self, event: Event) {
        self.0 |= 1 << index(event);
    }
}

/// A tally that all cores add to. Each addition is one relaxed atomic, which costs some tens of
/// nanoseconds where cores contend for it.
#[derive(Debug, Default)]
pub(super) struct SharedTally([AtomicU64; KINDS]);

impl SharedTally {
    pub(super) fn add(&self, event: Event) {
        self.0[index(event)].fetch_add(1, Ordering::Relaxed);
    }

    /// The counts as they are now; they are not read at one instant.
    pub(super) fn tally(&self) -> Tally {
        Tally(std::array::from_fn(|index| self.0[index].load(Ordering::Relaxed)))
    }
}

/// One event of each kind.
pub fn events() -> impl Iterator<Item = Event> {
    let plain = [
        Event::WouldAbsorb,
        Event::Recycled,
        Event::Answered,
        Event::Challenged,
        Event::Stripped,
        Event::Deleted,
        Event::Removed,
    ];
    let refused = Refusal::ALL.into_iter().map(Event::Refused);
    let would_refuse = Refusal::ALL.into_iter().map(Event::WouldRefuse);
    refused.chain(would_refuse).chain(plain).chain(Write::ALL.into_iter().map(Event::Wrote))
}

/// Where a kind of event is counted.
const fn index(event: Event) -> usize {
    match event {
        Event::Refused(refusal) => refusal as usize,
        Event::WouldRefuse(refusal) => 7 + refusal as usize,
        Event::WouldAbsorb => 14,
        Event::Recycled => 15,
        Event::Answered => 16,
        Event::Challenged => 17,
        Event::Stripped => 18,
        Event::Deleted => 19,
        Event::Removed => 20,
        Event::Wrote(write) => 21 + write as usize,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_a_place_of_its_own_and_none_is_left_over() {
        let mut indices: Vec<usize> = events().map(index).collect();
        indices.sort_unstable();
        assert_eq!(indices, (0..KINDS).collect::<Vec<_>>());
    }

    #[test]
    fn a_set_adds_one_of_each_kind_in_it() {
        let (mut tally, mut set) = (Tally::default(), EventSet::default());
        set.insert(Event::Removed);
        set.insert(Event::Refused(Refusal::NoSpare));
        set.insert(Event::Refused(Refusal::NoSpare));
        tally.add_set(set);
        let mut expected = Tally::default();
        expected.add(Event::Removed);
        expected.add(Event::Refused(Refusal::NoSpare));
        assert_eq!(tally, expected);
    }

    #[test]
    fn reasons_are_told_only_where_there_are_any() {
        let mut tally = Tally::default();
        assert_eq!(tally.refused_by(), None);
        tally.add(Event::Refused(Refusal::SiteBudget));
        tally.add(Event::Refused(Refusal::ClientBudget));
        tally.add(Event::Refused(Refusal::ClientBudget));
        assert_eq!(tally.refused_by().as_deref(), Some("client-budget=2 site-budget=1"));
        assert_eq!((tally.refused(), tally.would_refuse()), (3, 0));
    }
}
