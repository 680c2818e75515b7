//! What events are called in the history, where anybody may read them with SQL.

use crate::guard::fact::Event;

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
