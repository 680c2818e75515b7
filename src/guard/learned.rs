//! Learned routes: path classes that no rule names, and how requests without a live session were
//! answered there.
//!
//! This much is needed so that a drained budget does not shut the pages that create nothing. A
//! class counts as clean after enough clean answers in a row, never while it creates, and an
//! exchange that passes on the strength of it is charged late if it created all the same; at most
//! [`Learned::PASSES`] of them are under way at once, which bounds what a class that turns from
//! clean to creating can let through.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::key::{ClassHash, Secret};
use super::moment::Moment;
use super::route::StandingWord;
use super::sharded::Locked;

/// The classes of a site.
#[derive(Default)]
pub struct Learned {
    classes: Locked<HashMap<ClassHash, Class>>,
    passes: AtomicUsize,
}

#[derive(Clone, Copy)]
struct Class {
    /// Clean answers in a row.
    clean: u8,
    created: Option<Moment>,
}

/// What an answer said of its class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lesson {
    Clean,
    Created,
}

impl Learned {
    /// Classes remembered at most, 66 bytes each.
    pub(super) const CAPACITY: usize = 4096;
    /// Bytes of all classes. A hash map has up to twice as many places as classes, with a byte for
    /// each.
    pub fn bytes() -> usize {
        2 * Self::CAPACITY * (size_of::<(ClassHash, Class)>() + 1)
    }

    /// Clean answers in a row that make a class clean.
    const ENOUGH: u8 = 8;
    /// How long a class that created is taken for creating.
    pub(super) const QUIET: Duration = Duration::from_secs(600);
    /// Exchanges at once that pass because their class is clean.
    pub const PASSES: usize = 32;

    /// The class of a request. Segments with a digit in them are taken for identifiers, so that
    /// `/item/1/` and `/item/2/` are one class. HEAD is answered by the view that answers GET, and
    /// methods that nobody has heard of are one: made-up ones would fill the table.
    pub fn class(secret: Secret, method: &str, standing: StandingWord, path: &[u8]) -> ClassHash {
        let method = match method {
            "GET" | "HEAD" => "GET",
            "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS" => method,
            _ => "other",
        };
        let segments = path.split(|byte| *byte == b'/').map(|segment| {
            if segment.iter().any(u8::is_ascii_digit) { &b"#"[..] } else { segment }
        });
        secret.class(method, standing.word(), segments)
    }

    /// Lets an exchange pass without a hold, if its class is clean and not too many do already.
    /// Must be given back with [`Learned::passed`].
    pub fn pass(&self, class: ClassHash, now: Moment) -> bool {
        let clean = self.classes.lock().get(&class).is_some_and(|class| class.is_clean(now));
        if !clean {
            return false;
        }
        let room = self.passes.fetch_add(1, Ordering::Relaxed) < Self::PASSES;
        if !room {
            self.passed();
        }
        room
    }

    /// An exchange that passed has been settled.
    pub fn passed(&self) {
        self.passes.fetch_sub(1, Ordering::Relaxed);
    }

    /// Exchanges that pass at the moment.
    pub fn passing(&self) -> usize {
        self.passes.load(Ordering::Relaxed)
    }

    /// Notes an answer. Creating classes are never forgotten for others: made-up paths cannot
    /// push them out.
    pub fn note(&self, class: ClassHash, lesson: Lesson, now: Moment) {
        let mut classes = self.classes.lock();
        if !classes.contains_key(&class) && classes.len() >= Self::CAPACITY {
            let idle = classes.iter().find(|(_, class)| !class.creates(now));
            let Some(idle) = idle.map(|(hash, _)| *hash) else { return };
            classes.remove(&idle);
        }
        let class = classes.entry(class).or_insert(Class { clean: 0, created: None });
        match lesson {
            Lesson::Clean => class.clean = class.clean.saturating_add(1),
            Lesson::Created => *class = Class { clean: 0, created: Some(now) },
        }
    }
}

impl Class {
    fn creates(self, now: Moment) -> bool {
        self.created.is_some_and(|when| now.since(when) < Learned::QUIET)
    }

    fn is_clean(self, now: Moment) -> bool {
        self.clean >= Learned::ENOUGH && !self.creates(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::from_nanos(1 << 59);

    fn class(path: &str) -> ClassHash {
        Learned::class(Secret::new([5; 16]), "GET", StandingWord::None, path.as_bytes())
    }

    fn learn(learned: &Learned, path: &str, lesson: Lesson, times: usize) {
        for _ in 0..times {
            learned.note(class(path), lesson, NOW);
        }
    }

    #[test]
    fn a_class_passes_after_enough_clean_answers_and_not_while_it_creates() {
        let learned = Learned::default();
        learn(&learned, "/item/1/", Lesson::Clean, 7);
        assert!(!learned.pass(class("/item/1/"), NOW));
        learn(&learned, "/item/22/", Lesson::Clean, 1);
        assert!(learned.pass(class("/item/333/"), NOW));
        learn(&learned, "/item/1/", Lesson::Created, 1);
        learn(&learned, "/item/1/", Lesson::Clean, 100);
        assert!(!learned.pass(class("/item/1/"), NOW));
        assert!(learned.pass(class("/item/1/"), NOW.after(Learned::QUIET)));
    }

    #[test]
    fn method_and_standing_make_classes_of_their_own() {
        let of = |method, standing| Learned::class(Secret::new([5; 16]), method, standing, b"/a/");
        assert_eq!(of("GET", StandingWord::None), of("HEAD", StandingWord::None));
        assert_ne!(of("GET", StandingWord::None), of("POST", StandingWord::None));
        assert_eq!(of("XYZ", StandingWord::None), of("get", StandingWord::None));
        assert_ne!(of("XYZ", StandingWord::None), of("GET", StandingWord::None));
        assert_ne!(of("GET", StandingWord::None), of("GET", StandingWord::Unknown));
    }

    #[test]
    fn only_so_many_pass_at_once() {
        let learned = Learned::default();
        learn(&learned, "/a/", Lesson::Clean, 8);
        let passed = (0..100).filter(|_| learned.pass(class("/a/"), NOW)).count();
        assert_eq!((passed, learned.passing()), (Learned::PASSES, Learned::PASSES));
        learned.passed();
        assert!(learned.pass(class("/a/"), NOW));
    }

    #[test]
    fn made_up_paths_cannot_push_a_creating_class_out() {
        let learned = Learned::default();
        learn(&learned, "/cart/", Lesson::Created, 1);
        for number in 0..3 * Learned::CAPACITY {
            let letters: String = number.to_string().bytes().map(|b| char::from(b + 49)).collect();
            learn(&learned, &format!("/{letters}/"), Lesson::Clean, 1);
        }
        learn(&learned, "/cart/", Lesson::Clean, 100);
        assert!(!learned.pass(class("/cart/"), NOW));
        assert!(learned.classes.lock().len() <= Learned::CAPACITY);
    }
}
