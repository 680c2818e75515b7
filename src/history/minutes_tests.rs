use super::super::made::{BEGAN, Process, flood};
use super::*;
use crate::guard::fact::{Event, Refusal, Write};
use crate::telemetry::snapshot::PastFlood;

const REFUSED: Event = Event::Refused(Refusal::ClientBudget);
const START_MS: u64 = BEGAN * 1_000;

fn total(minute: &Minute) -> u64 {
    minute.exchanges.iter().map(|row| row.count).sum()
}

#[test]
fn every_event_has_words_of_its_own() {
    let words: std::collections::BTreeSet<_> = events().map(words).collect();
    assert_eq!(words.len(), events().count());
    let mut tally = Tally::default();
    events().for_each(|event| tally.add(event));
    assert_eq!(counts(&Tally::default(), &tally).map(|(_, _, count)| count).sum::<u64>(), 27);
}

#[test]
fn each_exchange_is_in_one_minute_whenever_somebody_looks() {
    let mut process = Process::new();
    let mut minutes = Minutes::new(START_MS);
    let (mut told, mut refused) = (0, 0);
    for second in 1..=600 {
        process.serve(second % 7, StandingWord::Known, Verdict::Forwarded, 200);
        process.happen(second % 3, "logout", REFUSED);
        // Looks come when they come.
        if second % 13 == 0 || second % 60 == 0 {
            let look = minutes.look(&process.at(second));
            assert_eq!(look.over.is_some(), second % 60 == 0);
            if let Some(over) = look.over {
                assert_eq!(over.minute, START_MS / 60_000 + second / 60 - 1);
                told += total(&over);
                refused += over.events.iter().map(|row| row.count).sum::<u64>();
            }
        }
    }
    assert_eq!(told, (1..=600).map(|second| second % 7).sum::<u64>());
    assert_eq!(refused, (1..=600).map(|second| second % 3).sum::<u64>());
}

#[test]
fn what_did_not_happen_takes_no_row() {
    let mut process = Process::new();
    process.keys = 5;
    let mut minutes = Minutes::new(START_MS);
    let over = minutes.look(&process.at(60)).over.expect("a minute");
    assert_eq!(over.rows(), 0);
    process.serve(3, StandingWord::None, Verdict::Refused, 429);
    process.happen(3, "logout", REFUSED);
    process.happen(1, "logout", Event::Wrote(Write::Created));
    let over = minutes.look(&process.at(120)).over.expect("a minute");
    // The four tables are told of a site where something happened.
    assert_eq!((over.exchanges.len(), over.events.len(), over.fills.len()), (1, 2, 4));
    assert!(over.durations.is_empty(), "what was not sent on took no time");
}

#[test]
fn a_clock_that_is_set_back_costs_nothing() {
    let process = Process::new();
    let mut minutes = Minutes::new(START_MS);
    process.serve(5, StandingWord::None, Verdict::Forwarded, 200);
    let mut back = process.at(30);
    back.unix_ms -= 3_600_000;
    let over = minutes.look(&back).over.expect("another minute");
    assert_eq!((over.minute, total(&over)), (START_MS / 60_000, 5));
    process.serve(2, StandingWord::None, Verdict::Forwarded, 200);
    let mut on = process.at(90);
    on.unix_ms -= 3_600_000;
    let over = minutes.look(&on).over.expect("the next minute");
    assert_eq!((over.minute, total(&over)), (START_MS / 60_000 - 60, 2));
}

#[test]
fn the_fullest_look_at_a_table_is_told() {
    let mut process = Process::new();
    let mut minutes = Minutes::new(START_MS);
    for (second, keys) in [(10, 3), (20, 90), (30, 40)] {
        process.keys = keys;
        minutes.look(&process.at(second));
    }
    process.serve(1, StandingWord::None, Verdict::Forwarded, 200);
    let over = minutes.look(&process.at(60)).over.expect("a minute");
    let keys = over.fills.iter().find(|fill| fill.what == "keys").expect("the ledger");
    assert_eq!((keys.most, keys.capacity), (90, 100));
}

#[test]
fn a_flood_is_told_from_its_beginning_to_its_end_and_once_then() {
    let mut process = Process::new();
    let mut minutes = Minutes::new(START_MS);
    process.floods = vec![("logout".to_owned(), flood(2, 3, 60))];
    let look = minutes.look(&process.at(5));
    assert!(look.news);
    let first = &look.floods[0];
    assert_eq!((first.began, first.last), (START_MS / 1_000 + 2, START_MS / 1_000 + 5));
    assert_eq!((first.events, first.peak_rate), (60, 20.0));
    process.floods = vec![("logout".to_owned(), flood(2, 13, 1_060))];
    let look = minutes.look(&process.at(15));
    assert!(!look.news);
    assert_eq!(look.floods[0].peak_rate, 100.0);
    // It has ended; and has been among the last ones for a while.
    let ended = FloodRecord { phase: Phase::Ended, ..flood(2, 14, 1_070) };
    let mut snapshot = process.at(30);
    snapshot.sites[0].floods.clear();
    snapshot.sites[0].past_floods = vec![PastFlood { route: "logout".to_owned(), record: ended }];
    let look = minutes.look(&snapshot);
    assert!(look.news && look.floods[0].ended);
    assert_eq!((look.floods[0].began, look.floods[0].peak_rate), (START_MS / 1_000 + 2, 100.0));
    assert!(minutes.look(&snapshot).floods.is_empty());
}
