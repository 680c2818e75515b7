//! Learned routes: path classes that no rule names, and how requests without a live session were
//! answered there, by method and standing.
//!
//! It owns the classes, and says of one whether it creates, is clean, or is neither: *unproven*.
//! Only a client out of budget is asked for its class: a clean one lets it pass without a hold. So
//! what is learned opens pages that create nothing while a budget is spent, and nothing else; what
//! is unknown, forgotten or finds no place is unproven and opens nothing.
//!
//! **The bound.** A page that was clean may create: for another query, header or cookie, or because
//! the site changed. At most `passes` exchanges go on at once for a clean class, and never more than
//! the burst of the site's budget. What they create is charged late. As soon as one of them was
//! charged beyond a burst, client and site are in debt, and nothing passes until that is paid off;
//! nor does anything until the site's rate has given back what those that passed have created; and a class that created lets nobody pass for `quiet`, twice as long each time that it creates
//! again soon, up to 32 times. So in no window of time do the classes, however many there are, let
//! more records through than `passes` above what the budgets allow.
//!
//! **Sharing.** Segments with a digit are one class (`/item/1/`, `/item/2/`, UUIDs). Under a parent
//! with [`Learned::CHILDREN`] known children all further ones are one class, `*`, which creates if
//! any of them does; those known before stay exact. What lies deeper than [`Learned::DEPTH`]
//! segments is one class with everything beside it. Two spellings of one view that
//! `path::decode` does not make one are two classes: each has to be clean by its own answers.
//!
//! **Memory.** A fixed table of 32 bytes for each class ([`Learned::CLASS_BYTES`]); folders on the
//! way to a class count as one. A creating class is never forgotten while it counts as creating.
//! For anything else unproven classes make room first, then those longest out of use.

mod table;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use self::table::{Class, Table};
use super::key::{ClassHash, PageHash, Secret};
use super::ledger::seconds;
use super::moment::Moment;
use super::policy::LearnedPolicy;
use super::route::StandingWord;
use super::sharded::Locked;

/// The classes of a site.
pub struct Learned {
    secret: Secret,
    policy: LearnedPolicy,
    memory: Arc<Memory>,
}

struct Memory {
    table: Locked<Table>,
    passing: AtomicUsize,
    /// None passes before this moment, in nanoseconds.
    owed_until: AtomicU64,
}

/// A request as the classes see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<'a> {
    method: &'static str,
    standing: StandingWord,
    path: Cow<'a, [u8]>,
}

/// What an answer said of its class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lesson {
    Clean,
    Created,
}

/// Whether a class counts among the children of its folder.
#[derive(Clone, Copy)]
enum Child {
    Own,
    Shared,
}

/// What became of a lesson.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noted {
    /// It changed nothing that is worth telling.
    Silent,
    /// The class creates from now on; it did not before.
    TurnedCreating,
    /// Everything that could make room for it creates: it stays unproven.
    NoPlace,
}

/// What is known of a class, for whoever only looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looked {
    /// It creates, and counts as doing so for this long.
    pub creates: Option<Duration>,
    /// Clean answers since it last created, up to 255; as many as `enough` make it clean.
    pub clean: u8,
    pub enough: u8,
    /// Whether an exchange of a client out of budget would go on without a hold.
    pub passes: bool,
}

/// How many classes there are of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Classes {
    pub creating: usize,
    pub clean: usize,
    /// Folders on the way to other classes included.
    pub unproven: usize,
    /// Room for all of them.
    pub capacity: usize,
}

impl Looked {
    /// The word for it: whether it is known to create, to be clean, or neither.
    pub const fn word(&self) -> &'static str {
        match (self.creates, self.clean >= self.enough) {
            (Some(_), _) => "creating",
            (None, true) => "clean",
            (None, false) => "unproven",
        }
    }
}

impl<'a> Page<'a> {
    /// `path` is decoded by `path::decode`. HEAD is answered by the view that answers GET, and
    /// methods that nobody has heard of are one: made-up ones would fill the table.
    pub fn new(method: &str, standing: StandingWord, path: &'a [u8]) -> Self {
        let method = match method {
            "GET" | "HEAD" => "GET",
            "POST" => "POST",
            "PUT" => "PUT",
            "PATCH" => "PATCH",
            "DELETE" => "DELETE",
            "OPTIONS" => "OPTIONS",
            _ => "other",
        };
        Self { method, standing, path: Cow::Borrowed(path) }
    }

    /// The same, to be kept until the answer is there.
    pub fn into_owned(self) -> Page<'static> {
        let Self { method, standing, path } = self;
        Page { method, standing, path: Cow::Owned(path.into_owned()) }
    }

    /// One of seven words.
    pub fn method(&self) -> &'static str {
        self.method
    }

    pub fn standing(&self) -> StandingWord {
        self.standing
    }

    /// The path, for the log, which has to make it fit for a line.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.path).into_owned()
    }

    /// The steps from the root to the page. A slash belongs to the segment in front of it, so that
    /// a page and the folder of that name are one step.
    fn steps(&self) -> impl Iterator<Item = Step<'_>> {
        let path = self.path.strip_prefix(b"/").unwrap_or(&self.path);
        let segments = path.split_inclusive(|byte| *byte == b'/').enumerate();
        let deepest = segments.take(Learned::DEPTH + 1);
        deepest.map(|(depth, segment)| {
            if depth == Learned::DEPTH {
                Step::Rest
            } else if segment.iter().any(u8::is_ascii_digit) {
                Step::Number { folder: segment.ends_with(b"/") }
            } else {
                Step::Named(segment)
            }
        })
    }
}

/// One step on the way to a class.
#[derive(Clone, Copy)]
enum Step<'a> {
    Named(&'a [u8]),
    /// A segment with a digit in it.
    Number {
        folder: bool,
    },
    /// All that is deeper than classes go.
    Rest,
}

const fn slash(folder: bool) -> &'static [u8] {
    if folder { b"/" } else { b"" }
}

/// The classes from the root to a page, each entered.
#[derive(Clone, Copy)]
struct Way {
    /// One for the root, one for each segment that counts, one for the rest.
    classes: [u32; Learned::DEPTH + 2],
    length: u32,
}

impl Way {
    const EMPTY: Self = Self { classes: [0; Learned::DEPTH + 2], length: 0 };

    fn push(&mut self, index: usize) {
        // There are no more steps than places, and a million classes at most.
        if let Some(place) = self.classes.get_mut(self.length as usize) {
            *place = index as u32;
            self.length += 1;
        }
    }

    fn all(&self) -> impl DoubleEndedIterator<Item = usize> {
        self.classes[..self.length as usize].iter().map(|index| *index as usize)
    }
}

impl Learned {
    /// Named children that a folder has of its own; further ones share the class `*`.
    pub const CHILDREN: u8 = 32;
    /// Segments of a path that tell classes apart.
    pub const DEPTH: usize = 8;
    /// Bytes for each of `capacity` classes, all of the table.
    pub const CLASS_BYTES: usize = size_of::<Class>();
    /// A class that creates again within this time of having been quiet is quiet for twice as long.
    const RECENT: Duration = Duration::from_secs(12 * 3600);
    /// The longest quiet is two to the power of this times the configured one.
    const DOUBLINGS: u8 = 5;

    /// Bytes of everything that is kept of so many classes.
    pub const fn bytes(capacity: usize) -> usize {
        capacity * Self::CLASS_BYTES + Table::FIXED
    }

    /// Classes of which nothing is known.
    pub fn new(policy: &LearnedPolicy, secret: Secret) -> Self {
        Self {
            secret,
            policy: *policy,
            memory: Arc::new(Memory {
                table: Locked::new(Table::new(policy.capacity)),
                passing: AtomicUsize::new(0),
                owed_until: AtomicU64::new(0),
            }),
        }
    }

    /// The same classes under another policy; but for their number, which stays.
    pub fn reconfigured(&self, policy: &LearnedPolicy) -> Self {
        Self { secret: self.secret, policy: *policy, memory: Arc::clone(&self.memory) }
    }

    /// Lets an exchange pass without a hold, if its class is clean and not too many do already:
    /// `burst` is that of the site's share in the budget that pays if it creates all the same. Must
    /// be given back with [`Learned::passed`].
    pub fn pass(&self, page: &Page<'_>, burst: u32, now: Moment) -> bool {
        let most = self.passes(burst);
        let owed = self.memory.owed_until.load(Ordering::Relaxed) > now.as_nanos();
        if most == 0 || owed || !self.is_clean(page, now) {
            return false;
        }
        let room = self.memory.passing.fetch_add(1, Ordering::Relaxed) < most;
        if !room {
            self.passed();
        }
        room
    }

    /// What is known of the class of a page, and whether an exchange would pass. Changes nothing
    /// that is known.
    pub fn look(&self, page: &Page<'_>, burst: u32, now: Moment) -> Looked {
        let mut table = self.memory.table.lock();
        let way = self.find(&mut table, page);
        let at = seconds(now);
        let class = way.all().next_back().map(|index| table.class(index));
        let clean = class.map_or(0, |class| class.clean);
        let creates = class.filter(|class| class.creates(at));
        let creates = creates.map(|class| Duration::from_secs(u64::from(class.until - at)));
        let enough = self.policy.clean_answers.get();
        let owed = self.memory.owed_until.load(Ordering::Relaxed) > now.as_nanos();
        let room = self.passing() < self.passes(burst) && !owed;
        let passes = room && creates.is_none() && clean >= enough;
        Looked { creates, clean, enough, passes }
    }

    /// Exchanges that may pass at once, where the site's burst is this.
    pub fn passes(&self, burst: u32) -> usize {
        usize::from(self.policy.passes).min(usize::try_from(burst).unwrap_or(usize::MAX))
    }

    /// An exchange that passed has been settled.
    pub fn passed(&self) {
        self.memory.passing.fetch_sub(1, Ordering::Relaxed);
    }

    /// One that passed may have created all the same: none passes for as long as the site's budget
    /// takes to give back one, whosever it was. Newcomers would else get by it, one class after the
    /// other, what of that budget is kept for those who are none.
    pub fn owe(&self, period: Duration, now: Moment) {
        let later = |until| Some(Moment::from_nanos(until).max(now).after(period).as_nanos());
        let _ = self.memory.owed_until.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later);
    }

    /// Exchanges that pass at the moment.
    pub fn passing(&self) -> usize {
        self.memory.passing.load(Ordering::Relaxed)
    }

    /// Notes an answer.
    pub fn note(&self, page: &Page<'_>, lesson: Lesson, now: Moment) -> Noted {
        let mut table = self.memory.table.lock();
        let Some(way) = self.enter(&mut table, page, now) else { return Noted::NoPlace };
        let mut folders = way.all();
        // The root, if there is no other.
        let Some(class) = folders.next_back() else { return Noted::NoPlace };
        let at = seconds(now);
        let noted = match lesson {
            Lesson::Clean => {
                let class = table.used(class, at);
                class.clean = class.clean.saturating_add(1);
                Noted::Silent
            }
            Lesson::Created => self.created(table.used(class, at), now),
        };
        if self.is_proven(table.class(class)) {
            for folder in folders {
                table.used(folder, at).leads = true;
            }
        }
        noted
    }

    /// Whether anything is known of a class that is worth keeping.
    fn is_proven(&self, class: &Class) -> bool {
        class.until != 0 || class.clean >= self.policy.clean_answers.get()
    }

    fn created(&self, class: &mut Class, now: Moment) -> Noted {
        let at = seconds(now);
        let creates = class.creates(at);
        let soon = class.until != 0
            && at.saturating_sub(class.until) <= seconds(Moment::from_nanos(0).after(Self::RECENT));
        class.doublings = match (creates, soon) {
            (true, _) => class.doublings,
            (false, true) => (class.doublings + 1).min(Self::DOUBLINGS),
            (false, false) => 0,
        };
        // Rounded up: never quiet for less.
        let quiet = self.policy.quiet.saturating_mul(1 << class.doublings);
        class.until = seconds(now.after(quiet)).saturating_add(1);
        class.clean = 0;
        if creates { Noted::Silent } else { Noted::TurnedCreating }
    }

    fn is_clean(&self, page: &Page<'_>, now: Moment) -> bool {
        let mut table = self.memory.table.lock();
        let way = self.find(&mut table, page);
        let now = seconds(now);
        way.all().next_back().is_some_and(|index| {
            let class = table.used(index, now);
            class.clean >= self.policy.clean_answers.get() && !class.creates(now)
        })
    }

    /// The way to a page, as far as it is in the table, which ends with its class; none where that is
    /// not there.
    fn find(&self, table: &mut Table, page: &Page<'_>) -> Way {
        let hash = self.hash(page);
        if let Some(way) = table.found(hash) {
            return *way;
        }
        let (way, whole) = self.search(table, page);
        if whole {
            table.note_found(hash, way);
        }
        way
    }

    /// The same, gone step by step; and whether nothing is missing on it.
    fn search(&self, table: &Table, page: &Page<'_>) -> (Way, bool) {
        let (mut way, mut whole) = (Way::EMPTY, true);
        let mut node = self.root(page);
        let mut index = table.find(node);
        for step in page.steps() {
            match index {
                Some(index) => way.push(index),
                None => whole = false,
            }
            (node, _) = self.next(table, node, step);
            index = table.find(node);
        }
        match index {
            Some(index) => {
                way.push(index);
                (way, whole)
            }
            None => (Way::EMPTY, true),
        }
    }

    fn hash(&self, page: &Page<'_>) -> PageHash {
        self.secret.page(page.method, page.standing.word(), &page.path)
    }

    /// Where a step leads from a folder; a class that is not in the table where the folder has
    /// room for it, or is not there itself.
    fn next(&self, table: &Table, node: ClassHash, step: Step<'_>) -> (ClassHash, Child) {
        let exact = self.exact(node, step);
        let Step::Named(segment) = step else { return (exact, Child::Shared) };
        let full = |index| table.class(index).children >= Self::CHILDREN;
        if table.find(exact).is_none() && table.find(node).is_some_and(full) {
            let shared = self.secret.class(node, b"*", slash(segment.ends_with(b"/")));
            return (shared, Child::Shared);
        }
        (exact, Child::Own)
    }

    /// Finds the class of a page, and enters it with everything on the way to it. `None` where one
    /// of them finds no place.
    fn enter(&self, table: &mut Table, page: &Page<'_>, now: Moment) -> Option<Way> {
        let now = seconds(now);
        let enough = self.policy.clean_answers.get();
        let hash = self.hash(page);
        if let Some(way) = table.found(hash).filter(|way| way.length > 0).copied() {
            for index in way.all() {
                table.used(index, now);
            }
            return Some(way);
        }
        let before = table.changes();
        let mut way = Way::EMPTY;
        let mut node = self.root(page);
        way.push(table.find_or_add(node, None, enough, now)?);
        for step in page.steps() {
            let (next, child) = self.next(table, node, step);
            let folder = match child {
                Child::Own => Some(node),
                Child::Shared => None,
            };
            way.push(table.find_or_add(next, folder, enough, now)?);
            node = next;
        }
        // Whoever found a place may have taken it from another on the same way.
        if table.changes() == before {
            table.note_found(hash, way);
        }
        Some(way)
    }

    fn root(&self, page: &Page<'_>) -> ClassHash {
        self.secret.class(ClassHash(0), page.method.as_bytes(), page.standing.word().as_bytes())
    }

    /// Where a step leads in a folder with room for it.
    fn exact(&self, node: ClassHash, step: Step<'_>) -> ClassHash {
        match step {
            Step::Named(segment) => self.secret.class(node, b"", segment),
            Step::Number { folder } => self.secret.class(node, b"#", slash(folder)),
            Step::Rest => self.secret.class(node, b"**", b""),
        }
    }

    /// How many classes there are. Looks at all of the table, piece by piece.
    pub fn classes(&self, now: Moment) -> Classes {
        let now = seconds(now);
        let capacity = self.memory.table.lock().capacity();
        let mut classes = Classes { capacity, ..Classes::default() };
        for piece in 0.. {
            let table = self.memory.table.lock();
            let Some(piece) = table.piece(piece) else { break };
            for class in piece {
                if class.creates(now) {
                    classes.creating += 1;
                } else if class.clean >= self.policy.clean_answers.get() {
                    classes.clean += 1;
                } else {
                    classes.unproven += 1;
                }
            }
        }
        classes
    }
}

#[cfg(test)]
#[path = "learned_tests.rs"]
mod tests;
