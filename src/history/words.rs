//! What events are called in the history, where anybody may read them with SQL.

use crate::guard::fact::{Event, Refusal, Write};

/// Of everything that is counted by route: its kind; and its reason, or what was written.
pub const fn words(event: Event) -> (&'static str, &'static str) {
    match event {
        Event::Refused(refusal) => ("refused", refusal.word()),
        Event::WouldRefuse(refusal) => ("would-refuse", refusal.word()),
        Event::WouldAbsorb => ("would-absorb", ""),
        Event::Recycled => ("recycled", ""),
        Event::Answered => ("answered", ""),
        Event::Challenged => ("challenged", ""),
        Event::Stripped => ("stripped", ""),
        Event::Deleted => ("deleted", ""),
        Event::Removed => ("removed", ""),
        Event::Wrote(write) => ("wrote", write.word()),
    }
}

/// One of each.
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
