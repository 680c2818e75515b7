//! The refusal sample: which clients are refused, for programs that keep them out by address.
//!
//! One line for each client in a while, and so many in a second of all; at most half of these tell of
//! refusals that others have brought about, so that a flood from many addresses leaves room for the
//! clients that are refused for what they do themselves. It promises that a line holds nothing that a
//! stranger chose but his address, and that a refusal that gets no line costs its core a hash and some
//! loads of memory that is seldom written: nobody waits, for another core or for the disk.
//!
//! What was told of is remembered in a table of fixed size. Where a client finds no place in it,
//! there is no line for it: lines are never more than promised.

mod writer;

use std::hash::Hasher;
use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use siphasher::sip::SipHasher13;

use self::writer::Writer;
use super::repeat::Repeat;
use super::target::OpenError;
use super::warmth::rfc3339_ms;
use crate::guard::client::Client;
use crate::guard::fact::Refusal;
use crate::guard::moment::Moment;

/// Clients that are remembered, 8 bytes each: a thousandth of it is used where ten lines a second
/// are told of clients that have one each minute.
const SLOTS: usize = 1 << 16;

/// A client has its place in one of these.
const WAYS: usize = 8;

/// Of a slot: when its client was told of, in milliseconds. The rest tells clients apart.
const TIME_BITS: u32 = 40;

/// Between two lines of the ordinary log that tell of lines that could not be written.
const TOLD_SPAN: Duration = Duration::from_secs(60);

/// How much is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Between two lines of one client.
    pub per_client: Duration,
    /// Lines at most; 0: none.
    pub per_second: u32,
    /// Whether challenges are told of too.
    pub challenged: bool,
}

/// What was done with a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treated {
    Refused(Refusal),
    Challenged,
}

impl Treated {
    /// Whether the client has brought it about alone. Everything else happens to honest visitors
    /// while others flood the site.
    const fn is_its_own(self) -> bool {
        match self {
            Self::Refused(Refusal::ClientBudget | Refusal::Ceiling) => true,
            Self::Refused(
                Refusal::WideBudget
                | Refusal::SiteShort
                | Refusal::SiteBudget
                | Refusal::TableFull
                | Refusal::NoSpare,
            )
            | Self::Challenged => false,
        }
    }
}

/// One client that was refused.
#[derive(Clone, Copy, Debug)]
pub struct Refused<'a> {
    pub client: Client,
    /// As it was seen.
    pub address: IpAddr,
    pub treated: Treated,
    /// A name of the operator's, as routes and sites have it; `None`: no rule.
    pub route: Option<&'a str>,
    pub site: &'a str,
}

/// The sample of a process. Shared by the cores.
pub struct Refusals {
    per_client_ms: AtomicU64,
    /// With [`CHALLENGED`], in one word.
    per_second: AtomicU32,
    /// The second, and how many lines there were in it: 32 bits; 16 of clients' own doing; 16.
    spent: AtomicU64,
    /// [`WAYS`] for each hash.
    slots: Box<[AtomicU64]>,
    secret: [u64; 2],
    writer: Writer,
    told: Mutex<Told>,
}

/// Marks that challenges are told of too.
const CHALLENGED: u32 = 1 << 31;

#[derive(Default)]
struct Told {
    repeat: Repeat,
    dropped: u64,
}

impl Refusals {
    /// No line, until [`Refusals::put`] is called.
    pub fn off() -> Self {
        let random = || getrandom::u64().unwrap_or_default();
        Self {
            per_client_ms: AtomicU64::new(0),
            per_second: AtomicU32::new(0),
            spent: AtomicU64::new(0),
            slots: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
            secret: [random(), random()],
            writer: Writer::default(),
            told: Mutex::default(),
        }
    }

    /// Puts settings in force, and a file; `None`: lines go to the ordinary log. What was told before
    /// goes to the file before.
    ///
    /// # Errors
    /// The file cannot be opened: then all stays as it was.
    pub fn put(&self, settings: Settings, file: Option<&Path>) -> Result<(), OpenError> {
        self.writer.put(file.filter(|_| settings.per_second > 0))?;
        let per_client = u64::try_from(settings.per_client.as_millis()).unwrap_or(u64::MAX);
        self.per_client_ms.store(per_client, Ordering::Relaxed);
        let challenged = if settings.challenged { CHALLENGED } else { 0 };
        self.per_second.store(settings.per_second | challenged, Ordering::Relaxed);
        Ok(())
    }

    /// Whether there would be a line now: if not, there is no need to look any closer at a client.
    pub fn is_due(&self, client: Client, treated: Treated, now: Moment) -> bool {
        self.free(client, treated, now).is_some()
    }

    /// Tells of a client, unless enough was told. `unix_ms` is the wall clock.
    pub fn tell(&self, refused: &Refused<'_>, now: Moment, unix_ms: impl FnOnce() -> u64) {
        if self.admit(refused.client, refused.treated, now) {
            self.writer.write(&line(refused), unix_ms);
        }
    }

    /// Opens the file anew: a rotation renames it first, and then asks for this.
    pub fn reopen(&self) {
        self.writer.reopen();
    }

    /// Lines that could not be written so far.
    pub fn lines_dropped(&self) -> u64 {
        self.writer.dropped()
    }

    /// Tells of lines that could not be written. To be called once a second.
    pub fn tick(&self, now: Moment) {
        let mut told = self.told();
        let dropped = self.writer.dropped();
        if dropped == told.dropped || told.repeat.admit(now, TOLD_SPAN).is_none() {
            return;
        }
        let more = dropped - std::mem::replace(&mut told.dropped, dropped);
        drop(told);
        tracing::warn!(
            dropped = more,
            why = self.writer.trouble(),
            remedy = "make room, or mend refusal_sample.file",
            "lines of the refusal sample were dropped"
        );
    }

    /// Writes what is left, for some seconds at most. To be called once, after the last exchange.
    pub fn finish(&self) {
        self.writer.finish();
    }

    /// Whether there is to be a line; it is counted then.
    fn admit(&self, client: Client, treated: Treated, now: Moment) -> bool {
        let Some(Free { slots, tag, time }) = self.free(client, treated, now) else { return false };
        let most = self.per_second.load(Ordering::Relaxed) & !CHALLENGED;
        let spend = |spent| after(spent, second(now), treated.is_its_own(), most);
        let taken = self.spent.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend);
        if taken.is_err() {
            return false;
        }
        // Looked at again: another core may have told of this client just now. Who is too late for
        // the slot that it found gets no line.
        self.free_slot(slots, tag, time).is_some_and(|(slot, seen)| {
            let entry = tag << TIME_BITS | time;
            let (relaxed, again) = (Ordering::Relaxed, Ordering::Relaxed);
            slot.compare_exchange(seen, entry, relaxed, again).is_ok()
        })
    }

    /// Where a client has a place; `None` where there is to be no line. Changes nothing.
    fn free(&self, client: Client, treated: Treated, now: Moment) -> Option<Free<'_>> {
        let settings = self.per_second.load(Ordering::Relaxed);
        let most = settings & !CHALLENGED;
        if most == 0 || (treated == Treated::Challenged && settings & CHALLENGED == 0) {
            return None;
        }
        after(self.spent.load(Ordering::Relaxed), second(now), treated.is_its_own(), most)?;
        let (slots, tag) = self.place(client);
        let time = milliseconds(now) & ((1 << TIME_BITS) - 1);
        self.free_slot(slots, tag, time)?;
        Some(Free { slots, tag, time })
    }

    /// Where a client may stand, and what tells it from others there.
    fn place(&self, client: Client) -> (&[AtomicU64], u64) {
        let mut hasher = SipHasher13::new_with_keys(self.secret[0], self.secret[1]);
        hasher.write(&client.bytes());
        let hash = hasher.finish();
        let set = hash as usize % (SLOTS / WAYS);
        (&self.slots[set * WAYS..][..WAYS], hash >> TIME_BITS)
    }

    /// A slot that nobody needs any more, and what is in it; `None` where the client was told of, or
    /// where there is none.
    fn free_slot<'a>(
        &self,
        slots: &'a [AtomicU64],
        tag: u64,
        time: u64,
    ) -> Option<(&'a AtomicU64, u64)> {
        let per_client = self.per_client_ms.load(Ordering::Relaxed);
        let mut free = None;
        for slot in slots {
            let entry = slot.load(Ordering::Relaxed);
            let told = entry & ((1 << TIME_BITS) - 1);
            // Another core may be a little ahead.
            let fresh = entry != 0 && time.saturating_sub(told) < per_client;
            if !fresh {
                free = free.or(Some((slot, entry)));
            } else if entry >> TIME_BITS == tag {
                return None;
            }
        }
        free
    }

    /// Nothing is inconsistent between two steps.
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a client may stand, what tells it from others there, and the time.
struct Free<'a> {
    slots: &'a [AtomicU64],
    tag: u64,
    time: u64,
}

fn milliseconds(now: Moment) -> u64 {
    now.as_nanos() / 1_000_000
}

/// As it stands in what is spent.
fn second(now: Moment) -> u64 {
    (milliseconds(now) / 1_000) & 0xffff_ffff
}

/// What is spent with one line more in this second; `None` where that would be too many.
fn after(spent: u64, second: u64, own: bool, most: u32) -> Option<u64> {
    let most = u64::from(most);
    let (mut of_own, mut of_others) = match spent >> 32 == second {
        true => (spent >> 16 & 0xffff, spent & 0xffff),
        false => (0, 0),
    };
    if of_own + of_others >= most || (!own && of_others >= most / 2) {
        return None;
    }
    of_own += u64::from(own);
    of_others += u64::from(!own);
    Some(second << 32 | of_own << 16 | of_others)
}

/// The line, without time and newline. Its words and their order are what filters rely on.
fn line(refused: &Refused<'_>) -> String {
    let Refused { client, address, treated, route, site } = refused;
    let address = address.to_canonical();
    let route = route.unwrap_or("unnamed");
    match treated {
        Treated::Refused(why) => format!(
            "refused client={client} address={address} reason={} site={site} route={route}",
            why.word()
        ),
        Treated::Challenged => {
            format!("challenged client={client} address={address} site={site} route={route}")
        }
    }
}

/// The line with its time, as it stands in a file.
fn dated(line: &str, unix_ms: u64) -> String {
    format!("{} floodwall {line}\n", rfc3339_ms(unix_ms))
}

impl std::fmt::Debug for Refusals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Refusals").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
