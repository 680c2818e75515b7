use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use tracing::dispatcher::{self, Dispatch};

use super::access::Verdict;
use super::logs::{Format, Level, dispatch};
use super::meter::Measured;
use super::*;
use crate::guard::client::Client;
use crate::guard::fact::{Missed, Refusal, RouteId, Warmth};
use crate::guard::route::StandingWord;

/// Lines as they would be written, by the real formatter, on this thread only.
pub(super) struct Capture {
    dispatch: Dispatch,
    written: Written,
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `tracing` remembers for each line of code whether anybody listens to it, and forgets to ask
/// the threads that listen for themselves while there is only one of them. So there are two more.
static LISTENERS: LazyLock<[Dispatch; 2]> =
    LazyLock::new(|| [(); 2].map(|()| dispatch(Format::Text, Level::Debug, false, io::sink)));

impl Capture {
    pub(super) fn new(format: Format, level: Level) -> Self {
        Self::of_terminal(format, level, false)
    }

    fn of_terminal(format: Format, level: Level, terminal: bool) -> Self {
        LazyLock::force(&LISTENERS);
        let written = Written::default();
        let writer = written.clone();
        Self { dispatch: dispatch(format, level, terminal, move || writer.clone()), written }
    }

    /// The lines that `work` wrote.
    pub(super) fn lines(&self, work: impl FnOnce()) -> Vec<String> {
        dispatcher::with_default(&self.dispatch, work);
        let bytes = std::mem::take(&mut *self.written.0.lock().expect("no panic"));
        String::from_utf8(bytes).expect("UTF-8").split_terminator('\n').map(String::from).collect()
    }
}

/// The lines of `work` in a format, at level "info".
fn lines(format: Format, work: impl FnOnce(&Telemetry)) -> Vec<String> {
    let telemetry = telemetry();
    Capture::new(format, Level::Info).lines(|| work(&telemetry))
}

fn telemetry() -> Telemetry {
    let floods = FloodSettings {
        events: 20,
        quiet: Duration::from_secs(30),
        interval: Duration::from_secs(60),
    };
    Telemetry::new(vec!["logout".into(), "cart \"add\"\n".into()], floods, at(0))
}

pub(super) fn at(millis: u64) -> Moment {
    Moment::from_nanos(0).after(Moment::HEADROOM).after(Duration::from_millis(millis))
}

fn client(number: u32) -> Client {
    Client::new(IpAddr::V4(Ipv4Addr::from_bits(0xC633_6400 + number)), 32)
}

pub(super) fn refused(rule: u16, number: u32) -> Fact {
    Fact {
        route: RouteId::Rule(rule),
        client: client(number),
        event: Event::Refused(Refusal::ClientBudget),
    }
}

const WEEK: Duration = Duration::from_secs(7 * 86_400);
pub(super) const COLD: Warmth = Warmth::Cold {
    missed: Missed::Everything,
    remaining: WEEK,
    whole: Duration::from_secs(14 * 86_400),
};

pub(super) fn warmth(warmth: Warmth) -> Notice {
    Notice::Warmth { warmth, warm_at: 1_000_000_000 }
}

pub(super) fn path_writes(rule: u16, path: &str) -> Notice {
    let gated = Duration::from_secs(600);
    Notice::PathWrites { route: RouteId::Rule(rule), path: path.into(), gated }
}

#[test]
fn a_flood_is_told_in_text_and_in_json() {
    let flood = |telemetry: &Telemetry| {
        for number in 0..20 {
            telemetry.record(&[refused(0, number % 2)], at(u64::from(number) * 100));
        }
        telemetry.finish(at(2_000));
    };
    let text = lines(Format::Text, flood);
    assert_eq!(text.len(), 3, "{text:#?}");
    let expected = "  WARN flood started route=\"logout\" events=20 rate_per_s=10.5 \
                    mean_rate_per_s=10.5 duration_s=1.9 clients=2 \
                    top_clients=\"198.51.100.0=10 198.51.100.1=10\" enforced=20 observed=0 \
                    refused=20 refused_by=\"client-budget=20\" created=0 uncertain=0";
    assert!(text[0].ends_with(expected), "{text:#?}");
    assert!(text[1].contains("flood ended"), "{text:#?}");
    assert!(text[2].contains("INFO stopped uptime_s=2 exchanges=0"), "{text:#?}");
    let json = lines(Format::Json, flood);
    assert_eq!(json.len(), 3, "{json:#?}");
    assert!(json[0].starts_with("{\"timestamp\":\"2"), "{json:#?}");
    let expected = "Z\",\"level\":\"WARN\",\"message\":\"flood started\",\"route\":\"logout\",\
                    \"events\":20,\"rate_per_s\":10.5,\"mean_rate_per_s\":10.5,\"duration_s\":1.9,\
                    \"clients\":2,\"top_clients\":\"198.51.100.0=10 198.51.100.1=10\",\
                    \"enforced\":20,\"observed\":0,\"refused\":20,\
                    \"refused_by\":\"client-budget=20\",\"created\":0,\"uncertain\":0}";
    assert!(json[0].ends_with(expected), "{json:#?}");
}

#[test]
fn ten_million_refusals_write_some_tens_of_lines() {
    let text = lines(Format::Json, |telemetry| {
        // 10,000 a second for 1,000 seconds, on two routes.
        for second in 0..1_000 {
            for number in 0..10_000 {
                let fact = refused((number % 2) as u16, number % 7);
                telemetry.record(&[fact], at(second * 1_000 + u64::from(number) / 10));
            }
            telemetry.tick(at(second * 1_000 + 1_000));
        }
        for second in 1_000..1_100 {
            telemetry.tick(at(second * 1_000));
        }
    });
    let having = |words: &str| text.iter().filter(|line| line.contains(words)).count();
    assert_eq!((having("flood started"), having("flood ended")), (2, 2), "{text:#?}");
    assert_eq!((having("flood continues"), having("\"events\":5000000,")), (34, 4), "{text:#?}");
    assert_eq!(text.len(), 38, "{text:#?}");
}

#[test]
fn strangers_forge_no_line_no_field_and_no_colour() {
    let path = "/a\n2026-01-01T00:00:00Z  WARN forged\r\u{1b}[31m\" route=\"x\\\u{9b}2J\u{2028}";
    let encoded =
        "/a%0A2026-01-01T00:00:00Z  WARN forged%0D%1B[31m%22 route=%22x%5C%C2%9B2J%E2%80%A8";
    let attack = |telemetry: &Telemetry| {
        telemetry.notice(&path_writes(1, path), at(0));
        telemetry.upstream_failed("connect", &path, at(0));
        let cookie = path.repeat(1_000);
        telemetry
            .notice(&Notice::OtherCookieLooksLikeKey { route: RouteId::Unnamed, cookie }, at(0));
    };
    let text = lines(Format::Text, attack);
    assert_eq!(text.len(), 3, "{text:#?}");
    assert!(text[0].contains(&format!(" route=\"cart %22add%22%0A\" path=\"{encoded}\" ")));
    assert!(text[1].ends_with(&format!(" upstream failed kind=\"connect\" detail=\"{encoded}\"")));
    let json = lines(Format::Json, attack);
    assert_eq!(json.len(), 3, "{json:#?}");
    assert!(json[0].contains(&format!("\"path\":\"{encoded}\",\"gated_s\":600,")), "{json:#?}");
    assert!(json[1].ends_with(&format!("\"detail\":\"{encoded}\"}}")), "{json:#?}");
    for line in text.iter().chain(&json) {
        assert!(line.len() < 512 && !line.contains(char::is_control), "{line:?}");
    }
    let telemetry = telemetry();
    let terminal = Capture::of_terminal(Format::Text, Level::Info, true);
    let coloured = terminal.lines(|| attack(&telemetry));
    assert_eq!(coloured.len(), 3, "{coloured:#?}");
    for line in &coloured {
        assert!(line.contains("%1B[31m") && !line.contains("\u{1b}[31m"), "{line:?}");
    }
}

#[test]
fn a_notice_says_what_to_do() {
    let notices = [
        path_writes(0, "/a/"),
        Notice::WritesAfterLogout {
            route: RouteId::Rule(0),
            path: "/logout/".into(),
            gated: Duration::from_secs(600),
        },
        Notice::OtherCookieLooksLikeKey { route: RouteId::Rule(0), cookie: "sid".into() },
        Notice::KeyOfOtherShape { route: RouteId::Rule(0) },
        Notice::LedgerOverflowed,
        Notice::ClientTableFull,
        Notice::ClassesFull,
        warmth(Warmth::Overflowed { remaining: WEEK, whole: WEEK }),
        warmth(Warmth::IssuedElsewhere { remaining: WEEK, whole: WEEK }),
    ];
    let text = lines(Format::Text, |telemetry| {
        for (minute, notice) in notices.iter().enumerate() {
            telemetry.notice(notice, at(minute as u64 * 60_000));
        }
    });
    assert_eq!(text.len(), notices.len(), "{text:#?}");
    assert!(text.iter().all(|line| line.contains(" WARN ")), "{text:#?}");
    assert!(text.iter().all(|line| line.contains(" remedy=\"")), "{text:#?}");
    assert!(text[2].contains("cookie=\"sid\" remedy=\"if it is the session cookie"), "{text:#?}");
    let news = lines(Format::Text, |telemetry| {
        let path = "/logout/".into();
        telemetry.notice(&Notice::PathFlushes { route: RouteId::Rule(0), path }, at(0));
        telemetry.notice(&warmth(Warmth::Warm), at(0));
        telemetry.notice(&warmth(COLD), at(60_000));
    });
    assert!(news.iter().all(|line| line.contains(" INFO ")), "{news:#?}");
    let progress = "are forwarded seen=\"7d\" of=\"14d\" warm_at=\"2001-09-09T01:46:40Z\" \
                    why=\"no session was known at the start\"";
    assert!(news[2].ends_with(progress), "{news:#?}");
}

/// What was learned of a path is told in one line, whatever the path and however many there are.
#[test]
fn a_path_that_creates_is_told_so_that_nobody_can_spoof_or_flood() {
    let creates = |number: usize| Notice::PathCreates {
        method: "GET",
        standing: StandingWord::Unknown,
        path: format!("/{}/\n\u{1b}[31m\" INFO {number}", "x".repeat(number)),
    };
    let text = lines(Format::Text, |telemetry| {
        for number in 0..1_000 {
            telemetry.notice(&creates(number), at(0));
        }
    });
    assert_eq!(text.len(), 1, "{text:#?}");
    let line = "path creates sessions: only clients with budget reach it \
                route=\"(no rule)\" method=\"GET\" standing=\"unknown\" path=\"//%0A%1B[31m%22 INFO 0\"";
    assert!(text[0].contains(" INFO ") && text[0].ends_with(line), "{text:#?}");
    let late = lines(Format::Json, |telemetry| {
        (0..1_000).for_each(|number| telemetry.notice(&creates(number), at(0)));
        telemetry.tick(at(60_000));
    });
    assert_eq!(late.len(), 2, "{late:#?}");
    assert!(late[1].contains("\"suppressed\":998") && late[1].len() < 500, "{late:#?}");
}

#[test]
fn a_notice_is_told_once_a_minute_for_each_route_and_the_last_one_is_never_lost() {
    let text = lines(Format::Text, |telemetry| {
        for second in 0..50 {
            telemetry.notice(&path_writes(0, &format!("/{second}/")), at(second * 1_000));
            telemetry.tick(at(second * 1_000));
        }
        telemetry.notice(&path_writes(1, "/other/"), at(50_000));
        telemetry.notice(&Notice::LedgerOverflowed, at(50_000));
        for second in 51..200 {
            telemetry.tick(at(second * 1_000));
        }
    });
    assert_eq!(text.len(), 4, "{text:#?}");
    assert!(text[0].contains("path=\"/0/\"") && !text[0].contains("suppressed"), "{text:#?}");
    assert!(text[1].contains("path=\"/other/\""), "{text:#?}");
    assert!(text[2].contains("the ledger was full"), "{text:#?}");
    assert!(
        text[3].contains("path=\"/49/\"") && text[3].ends_with("suppressed=48 ago_s=11"),
        "{text:#?}"
    );
}

#[test]
fn the_state_of_the_ledger_that_is_told_last_is_the_one_it_is_in() {
    let text = lines(Format::Text, |telemetry| {
        telemetry.notice(&warmth(COLD), at(0));
        telemetry.notice(&warmth(Warmth::Warm), at(10_000));
        let elsewhere = Warmth::IssuedElsewhere { remaining: WEEK, whole: WEEK };
        telemetry.notice(&warmth(elsewhere), at(20_000));
        for second in 21..200 {
            telemetry.tick(at(second * 1_000));
        }
    });
    assert_eq!(text.len(), 2, "{text:#?}");
    assert!(text[0].contains("ledger cold"), "{text:#?}");
    assert!(text[1].contains("issued through Floodwall was alive"), "{text:#?}");
    assert!(text[1].ends_with("suppressed=1 ago_s=40"), "{text:#?}");
}

#[test]
fn what_was_suppressed_is_told_at_the_end() {
    let text = lines(Format::Text, |telemetry| {
        for _ in 0..3 {
            telemetry.notice(&Notice::ClientTableFull, at(0));
            telemetry.upstream_failed("connect", &"refused", at(0));
        }
        telemetry.finish(at(10));
    });
    assert_eq!(text.len(), 5, "{text:#?}");
    assert!(
        text[2].ends_with("remedy=\"raise client.capacity\" suppressed=1 ago_s=0"),
        "{text:#?}"
    );
    assert!(text[3].ends_with("upstream failed kind=\"connect\" suppressed=2"), "{text:#?}");
}

#[test]
fn an_upstream_that_fails_each_request_is_told_once_a_second() {
    let text = lines(Format::Text, |telemetry| {
        for millis in 0..10_000 {
            telemetry.upstream_failed("connect", &"connection refused", at(millis));
            if millis % 1_000 == 0 {
                telemetry.tick(at(millis));
            }
        }
        telemetry.upstream_failed("timeout", &"no head", at(10_000));
        assert_eq!(telemetry.upstream_failures(), [("connect", 10_000), ("timeout", 1)]);
        for second in 10..30 {
            telemetry.tick(at(second * 1_000));
        }
    });
    assert_eq!(text.len(), 12, "{text:#?}");
    let detail = "upstream failed kind=\"connect\" detail=\"connection refused\"";
    assert!(text[0].ends_with(detail), "{text:#?}");
    assert!(text[1].ends_with(&format!("{detail} suppressed=999")), "{text:#?}");
    assert!(text[10].ends_with("kind=\"timeout\" detail=\"no head\""), "{text:#?}");
    assert!(text[11].ends_with("kind=\"connect\" suppressed=999"), "{text:#?}");
}

/// A refusal.
fn measured(standing: StandingWord) -> Measured {
    let (standing, verdict) = (Some(standing), Some(Verdict::Refused));
    Measured { standing, verdict, status: 429, duration: Duration::ZERO, upstream: None }
}

#[test]
fn the_summary_counts_the_whole_life() {
    let text = lines(Format::Text, |telemetry| {
        for standing in StandingWord::ALL {
            telemetry.meter(0).count(&measured(standing));
        }
        telemetry.meter(1).count(&measured(StandingWord::Known));
        let created = Fact { event: Event::Wrote(Write::Created), ..refused(0, 1) };
        telemetry.record(&[refused(0, 1), created], at(1_000));
        telemetry.finish(at(90_000));
    });
    let expected = " INFO stopped uptime_s=90 exchanges=5 standing_none=1 standing_known=2 \
                    standing_unknown=1 standing_malformed=1 refused=1 would_refuse=0 \
                    would_absorb=0 recycled=0 answered=0 challenged=0 removed=0 stripped=0 deleted=0 \
                    created=1 rotated=0 renewed=0 records_deleted=0 uncertain=0";
    assert!(text[0].ends_with(expected), "{text:#?}");
}
