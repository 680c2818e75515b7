use std::num::NonZeroU8;
use std::thread;

use super::super::path::decode;
use super::super::sim::support::Random;
use super::*;

const NOW: Moment = Moment::from_nanos(1 << 59);
/// Of a site: it has more than may pass.
const BURST: u32 = 600;
const QUIET: Duration = Duration::from_secs(600);
const SECOND: Duration = Duration::from_secs(1);

fn policy(capacity: usize) -> LearnedPolicy {
    let clean_answers = NonZeroU8::new(8).expect("not zero");
    LearnedPolicy { capacity, clean_answers, quiet: QUIET, passes: 32 }
}

fn learned() -> Learned {
    Learned::new(&policy(4096), Secret::new([5; 16]))
}

fn page(path: &str) -> Page<'_> {
    Page::new("GET", StandingWord::None, path.as_bytes())
}

fn learn(learned: &Learned, path: &str, lesson: Lesson, times: usize, now: Moment) -> Noted {
    let notes = (0..times).map(|_| learned.note(&page(path), lesson, now));
    notes.fold(Noted::Silent, |_, last| last)
}

/// Whether an exchange passes; it has ended when this returns.
fn passes(learned: &Learned, path: &str, now: Moment) -> bool {
    let passes = learned.pass(&page(path), BURST, now);
    if passes {
        learned.passed();
    }
    passes
}

/// The `number`-th word without a digit in it.
fn word(number: usize) -> String {
    number.to_string().bytes().map(|digit| char::from(digit + 49)).collect()
}

#[test]
fn a_class_passes_after_enough_clean_answers_and_not_while_it_creates() {
    let learned = learned();
    learn(&learned, "/item/1/", Lesson::Clean, 7, NOW);
    assert!(!passes(&learned, "/item/1/", NOW));
    learn(&learned, "/item/22/", Lesson::Clean, 1, NOW);
    assert!(passes(&learned, "/item/333/", NOW));
    assert_eq!(learn(&learned, "/item/1/", Lesson::Created, 1, NOW), Noted::TurnedCreating);
    assert_eq!(learn(&learned, "/item/1/", Lesson::Created, 1, NOW), Noted::Silent);
    learn(&learned, "/item/1/", Lesson::Clean, 100, NOW);
    assert!(!passes(&learned, "/item/1/", NOW.after(QUIET)));
    assert!(passes(&learned, "/item/1/", NOW.after(QUIET + SECOND)));
    // What was clean before does not count.
    learn(&learned, "/item/1/", Lesson::Created, 1, NOW);
    assert!(!passes(&learned, "/item/1/", NOW.after(QUIET + SECOND)));
}

#[test]
fn a_class_that_creates_again_and_again_stays_creating_for_longer_but_not_for_ever() {
    let learned = learned();
    let mut now = NOW;
    for doublings in [0, 1, 2, 3, 4, 5, 5, 5] {
        let noted = learn(&learned, "/search/", Lesson::Created, 3, now);
        assert_eq!(noted, Noted::Silent, "said once");
        learn(&learned, "/search/", Lesson::Clean, 8, now);
        now = now.after(QUIET * (1 << doublings));
        assert!(!passes(&learned, "/search/", now), "{doublings}");
        now = now.after(SECOND);
        assert!(passes(&learned, "/search/", now), "{doublings}");
    }
    // Once a day is not again and again.
    now = now.after(Duration::from_secs(86_400));
    learn(&learned, "/search/", Lesson::Created, 1, now);
    learn(&learned, "/search/", Lesson::Clean, 8, now);
    assert!(passes(&learned, "/search/", now.after(QUIET + SECOND)));
}

#[test]
fn method_and_standing_make_classes_of_their_own() {
    let learned = learned();
    let clean = |method, standing| {
        for _ in 0..8 {
            learned.note(&Page::new(method, standing, b"/a/"), Lesson::Clean, NOW);
        }
    };
    let passes = |method, standing| {
        let passes = learned.pass(&Page::new(method, standing, b"/a/"), BURST, NOW);
        if passes {
            learned.passed();
        }
        passes
    };
    clean("GET", StandingWord::None);
    assert!(passes("HEAD", StandingWord::None));
    for (method, standing) in [
        ("POST", StandingWord::None),
        ("get", StandingWord::None),
        ("GET", StandingWord::Unknown),
        ("GET", StandingWord::Malformed),
        ("GET", StandingWord::Known),
    ] {
        assert!(!passes(method, standing), "{method} {standing:?}");
    }
    clean("XYZ", StandingWord::None);
    assert!(passes("get", StandingWord::None));
}

/// Each pair reaches one view, as measured behind waitress with the URL resolvers of Django.
#[test]
fn spellings_that_reach_one_view_are_one_class() {
    for (one, other) in [
        ("/cart/add/", "/cart/%61dd/"),
        ("/cart/add/", "/cart%2Fadd/"),
        ("/cart/add/", "//cart/add/"),
        ("/cart/add/", "/%2F/cart/add/"),
        ("/cart/add/", "/cart/add/%0A"),
        ("/cart/add/", "/cart/add/%0a"),
        ("/item/7/", "/item/%37/"),
        ("/caf%C3%A9/", "/caf%c3%a9/"),
        ("/", "//"),
        ("/", "/%0A"),
    ] {
        for (first, second) in [(one, other), (other, one)] {
            let learned = learned();
            let paths = [decode(first), decode(second)];
            let [mine, same] =
                paths.each_ref().map(|path| Page::new("GET", StandingWord::None, path));
            for _ in 0..8 {
                learned.note(&mine, Lesson::Clean, NOW);
            }
            assert!(learned.pass(&same, BURST, NOW), "{first} {second}");
            learned.note(&same, Lesson::Created, NOW);
            assert!(!learned.pass(&mine, BURST, NOW), "{first} {second}");
        }
    }
}

/// A view may be reached under names that no proxy can tell to be one: with or without a final
/// slash, in another case, in another language. What was learned of one opens no other.
#[test]
fn of_spellings_that_only_the_application_knows_to_be_one_each_is_proven_apart() {
    let learned = learned();
    let spellings = ["/cart/add/", "/cart/add", "/Cart/add/", "/cart//add/", "/cart/./add/"];
    for (index, clean) in spellings.iter().enumerate() {
        learn(&learned, clean, Lesson::Clean, 8, NOW);
        for (number, other) in spellings.iter().enumerate() {
            assert_eq!(passes(&learned, other, NOW), number <= index, "{clean} {other}");
        }
    }
}

#[test]
fn further_children_of_a_folder_share_a_class_that_creates_if_one_of_them_does() {
    let learned = learned();
    let shirt = |number| format!("/product/{}/", word(number));
    for number in 0..usize::from(Learned::CHILDREN) {
        learn(&learned, &shirt(number), Lesson::Clean, 8, NOW);
    }
    assert!(!passes(&learned, "/product/new/", NOW), "children that are exact prove nothing of it");
    for number in 100..108 {
        learn(&learned, &shirt(number), Lesson::Clean, 1, NOW);
    }
    assert!(passes(&learned, "/product/new/", NOW));
    assert!(!passes(&learned, "/product/new", NOW), "that may be another view");
    assert!(!passes(&learned, "/product/new/reviews/", NOW));

    assert_eq!(learn(&learned, "/product/odd/", Lesson::Created, 1, NOW), Noted::TurnedCreating);
    assert!(!passes(&learned, "/product/new/", NOW));
    assert!(passes(&learned, &shirt(1), NOW), "what is known exactly stays exact");
    learn(&learned, &shirt(1), Lesson::Created, 1, NOW);
    assert!(!passes(&learned, &shirt(1), NOW));
    assert!(passes(&learned, &shirt(2), NOW));
}

#[test]
fn folders_below_a_shared_class_share_as_well() {
    let learned = learned();
    for number in 0..60 {
        learn(&learned, &format!("/shop/{}/cart/", word(number)), Lesson::Created, 1, NOW);
        learn(&learned, &format!("/shop/{}/", word(number)), Lesson::Clean, 1, NOW);
    }
    assert!(passes(&learned, "/shop/anything/", NOW));
    let later = NOW.after(QUIET + SECOND);
    assert!(!passes(&learned, "/shop/anything/cart/", later), "it was never clean");
    // The folder, its 32 children and the shared one, a cart below each; and the root.
    assert_eq!(learned.classes(NOW).creating, 33);
    assert!(learned.memory.table.lock().all().count() <= 1 + 1 + 33 + 33);
}

#[test]
fn what_lies_deeper_than_classes_go_is_one_class() {
    let learned = learned();
    let deep = |tail: &str| format!("{}{tail}", "/a".repeat(Learned::DEPTH));
    learn(&learned, &deep("/x/y/z/"), Lesson::Clean, 8, NOW);
    assert!(passes(&learned, &deep("/other/"), NOW));
    assert!(!passes(&learned, &deep(""), NOW));
    learn(&learned, &deep("/b"), Lesson::Created, 1, NOW);
    assert!(!passes(&learned, &deep("/x/y/z/"), NOW));
    let long = "/a".repeat(30_000);
    learn(&learned, &long, Lesson::Clean, 1, NOW);
    assert!(learned.memory.table.lock().all().count() < 2 * Learned::DEPTH);
}

#[test]
fn only_so_many_pass_at_once_and_never_more_than_the_sites_burst() {
    for (configured, burst, expected) in [(32, 600, 32), (32, 5, 5), (0, 600, 0), (1, 1, 1)] {
        let policy = LearnedPolicy { passes: configured, ..policy(256) };
        let learned = Learned::new(&policy, Secret::new([5; 16]));
        learn(&learned, "/a/", Lesson::Clean, 8, NOW);
        let pass = || learned.pass(&page("/a/"), burst, NOW);
        let passed = (0..100).filter(|_| pass()).count();
        assert_eq!((passed, learned.passing()), (expected, expected));
        if passed > 0 {
            learned.passed();
            assert!(pass());
        }
    }
}

#[test]
fn threads_together_never_have_more_passes_than_there_are() {
    let learned = learned();
    learn(&learned, "/a/", Lesson::Clean, 8, NOW);
    let most = AtomicUsize::new(0);
    let under_way = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut mine = 0;
                for round in 0..20_000 {
                    if learned.pass(&page("/a/"), BURST, NOW) {
                        mine += 1;
                        let all = under_way.fetch_add(1, Ordering::SeqCst) + 1;
                        most.fetch_max(all, Ordering::SeqCst);
                    }
                    if mine > 10 || round == 19_999 {
                        for _ in 0..std::mem::take(&mut mine) {
                            under_way.fetch_sub(1, Ordering::SeqCst);
                            learned.passed();
                        }
                    }
                }
            });
        }
    });
    let most = most.into_inner();
    assert!((1..=32).contains(&most), "{most} at once");
    assert_eq!(learned.passing(), 0);
}

/// Many folders of many children each, so that sharing alone does not bound them.
fn junk(number: usize) -> String {
    format!("/{}/{}/{}/", word(number % 31), word(number / 31 % 31), word(number / 961))
}

#[test]
fn no_paths_however_many_push_a_creating_class_out_or_make_it_clean() {
    for lesson in [Lesson::Clean, Lesson::Created] {
        let learned = Learned::new(&policy(256), Secret::new([5; 16]));
        learn(&learned, "/cart/", Lesson::Created, 1, NOW);
        let mut no_place = 0;
        for number in 0..5_000 {
            let noted = learn(&learned, &junk(number), lesson, 8, NOW);
            no_place += usize::from(noted == Noted::NoPlace);
        }
        learn(&learned, "/cart/", Lesson::Clean, 100, NOW);
        assert!(!passes(&learned, "/cart/", NOW), "{lesson:?}");
        assert_eq!(no_place > 0, lesson == Lesson::Created);
        let classes = learned.classes(NOW);
        assert!(classes.creating + classes.clean + classes.unproven <= classes.capacity);
        assert_eq!(classes.capacity, 256);
        // What found no place is not clean, whatever it answers.
        let passing = (0..5_000).filter(|number| passes(&learned, &junk(*number), NOW)).count();
        assert!(passing <= 256, "{passing}");
        if lesson == Lesson::Created {
            assert_eq!(passing, 0);
        }
    }
}

/// Junk that was seen a few times makes room before pages that are known to be clean; and of those
/// the ones that nobody asks for any more go before the ones in use.
#[test]
fn pages_in_use_are_not_pushed_out_by_made_up_ones() {
    let learned = Learned::new(&policy(1024), Secret::new([5; 16]));
    let pages = ["/", "/about/", "/product/shirt/", "/news/today/", "/help/"];
    for path in pages {
        learn(&learned, path, Lesson::Clean, 8, NOW);
    }
    let mut now = NOW;
    for number in 0..10_000 {
        learn(&learned, &junk(number), Lesson::Clean, 7, now);
        now = now.after(Duration::from_millis(1));
    }
    for path in pages {
        assert!(passes(&learned, path, now), "{path} was pushed out by what is unproven");
    }
    // Now by clean ones, at eight answers each. The pages are asked for before as many of those as
    // there is room for have come.
    let mut rng = Random(1);
    for number in 0..10_000 {
        learn(&learned, &junk(rng.below(100_000)), Lesson::Clean, 8, now);
        now = now.after(Duration::from_millis(10));
        if number % 100 == 0 {
            for path in pages {
                learn(&learned, path, Lesson::Clean, 1, now);
            }
        }
    }
    for path in pages {
        assert!(passes(&learned, path, now), "{path} was pushed out although it is in use");
    }
}

/// A folder whose children were forgotten takes others.
#[test]
fn a_folder_counts_only_the_children_that_are_still_known() {
    let learned = Learned::new(&policy(256), Secret::new([5; 16]));
    for number in 0..40 {
        learn(&learned, &format!("/{}/", word(number)), Lesson::Clean, 1, NOW);
    }
    let later = NOW.after(SECOND);
    for number in 0..4_000 {
        let deep = format!("/{}/{}/", word(number % 32), word(number));
        learn(&learned, &deep, Lesson::Clean, 1, later);
    }
    let table = learned.memory.table.lock();
    let sum: usize = table.all().map(|class| usize::from(class.children)).sum();
    assert!(sum <= table.all().count(), "{sum} children of {} classes", table.all().count());
}

/// What is remembered of where pages were found changes nothing: the same is done to two, one of
/// which never remembers it. In a table so small that classes push each other out.
#[test]
fn pages_are_found_where_a_search_would_find_them() {
    for seed in 1..20 {
        let mut rng = Random(seed);
        let pair = [(); 2].map(|()| Learned::new(&policy(64), Secret::new([5; 16])));
        let mut now = NOW;
        for _ in 0..2_000 {
            now = now.after(SECOND * u32::try_from(rng.below(90)).expect("few"));
            let segments: String =
                (0..rng.below(4)).map(|_| format!("{}/", word(rng.below(6)))).collect();
            let (wide, path) = (word(rng.below(50)), format!("/{segments}"));
            let path = if rng.below(3) == 0 { format!("{path}{wide}/") } else { path };
            let lesson = if rng.below(40) == 0 { Lesson::Created } else { Lesson::Clean };
            let asks = rng.below(3) == 0;
            let [same, other] = pair.each_ref().map(|learned| {
                if std::ptr::eq(learned, &pair[1]) {
                    learned.memory.table.lock().forget_found();
                }
                if asks {
                    (None, passes(learned, &path, now))
                } else {
                    (Some(learn(learned, &path, lesson, 1, now)), false)
                }
            });
            assert_eq!(same, other, "{path} with seed {seed}");
        }
        let classes = pair.each_ref().map(|learned| {
            let table = learned.memory.table.lock();
            table.all().map(|class| format!("{class:?}")).collect::<Vec<_>>()
        });
        assert!(!classes[0].is_empty());
        assert_eq!(classes[0], classes[1], "seed {seed}");
    }
}

#[test]
fn a_class_costs_what_is_stated() {
    assert_eq!(Learned::CLASS_BYTES, 32);
}
