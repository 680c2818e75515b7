use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::columns::names;
use super::recent::{COARSE, FINE, Recent, SPAN, Taken};
use super::render;
use crate::admin::metrics::tests::{Size, site, snapshot};
use crate::guard::moment::Moment;
use crate::telemetry::lessons::{Learned, Lesson};
use crate::telemetry::snapshot::{SiteSnapshot, Snapshot};

const SIZE: Size = Size { rules: 2, budgets: 1, servers: 1 };

/// How things stand after so many seconds, of which each has prevented one write more.
fn after(seconds: u64, sites: &[SiteSnapshot]) -> Arc<Snapshot> {
    let mut sites = sites.to_vec();
    sites.iter_mut().for_each(|site| site.prevented = seconds);
    let mut now = Arc::unwrap_or_clone(snapshot(&sites));
    now.at = Moment::from_nanos(0).after(Duration::from_secs(seconds));
    now.unix_ms = (1_000_000 + seconds) * 1_000;
    Arc::new(now)
}

fn taken(seconds: std::ops::Range<u64>, sites: &[SiteSnapshot]) -> Recent {
    let mut recent = Recent::default();
    for second in seconds {
        assert_eq!(recent.take(after(second, sites)), Taken::Now);
    }
    recent
}

/// The object of an event; there is nothing else in it that could be one.
fn data(event: &[u8]) -> Value {
    let text = std::str::from_utf8(event).expect("UTF-8");
    assert!(text.ends_with("\n\n") && !text.trim_end().contains("\n\n"), "{text}");
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let data = serde_json::from_str(lines.next().expect("data")).expect("JSON");
    assert_eq!(lines.next(), None);
    data
}

/// A column of rows.
fn column(rows: &Value, name: &str) -> Vec<u64> {
    let index = names().iter().position(|column| *column == name).expect("a column");
    let rows = rows.as_array().expect("rows").iter();
    rows.map(|row| row[index].as_u64().expect("a count")).collect()
}

#[test]
fn an_hour_is_kept_and_no_more() {
    let recent = taken(0..5_000, &[site("a", SIZE)]);
    let told = data(&render::backlog(&recent, "a", None));
    let (fine, coarse) = (column(&told["fine"], "prevented"), column(&told["coarse"], "prevented"));
    assert_eq!(fine, vec![1; FINE]);
    assert_eq!(coarse, vec![SPAN.as_secs(); COARSE]);
    let times = column(&told["fine"], "t");
    assert_eq!((times[0], times[FINE - 1]), (1_004_700_000, 1_004_999_000));
    println!("{} bytes for each site", Recent::site_bytes());
    assert!(Recent::site_bytes() < 128 << 10, "{}", Recent::site_bytes());
}

/// Where looking takes long, looks are rare.
#[test]
fn spans_are_by_the_clock() {
    let sites = [site("a", SIZE)];
    let mut recent = Recent::default();
    for look in 0..100 {
        recent.take(after(look * 4, &sites));
    }
    let told = data(&render::backlog(&recent, "a", None));
    assert_eq!(column(&told["fine"], "span"), vec![4_000; 99]);
    assert_eq!(column(&told["coarse"], "span"), vec![12_000; 33]);
}

#[test]
fn the_last_minute_is_what_it_is_called() {
    let minute = |seconds: u64| {
        let recent = taken(0..seconds + 1, &[site("a", SIZE)]);
        let told = data(&render::news(&recent, "a").expect("news"));
        let row = Value::Array(vec![told["now"]["site"]["minute"].clone()]);
        (column(&row, "prevented")[0], column(&row, "span")[0] / 1_000)
    };
    assert_eq!(minute(0), (0, 0));
    assert_eq!(minute(7), (7, 7));
    for seconds in 100..120 {
        let (prevented, span) = minute(seconds);
        assert_eq!(prevented, span);
        assert!((50..=60).contains(&span), "{span}");
    }
}

#[test]
fn a_look_that_is_not_new_is_not_told_twice() {
    let sites = [site("a", SIZE)];
    let mut recent = taken(0..3, &sites);
    assert_eq!(recent.take(after(2, &sites)), Taken::Before);
    assert_eq!(recent.sequence(), 3);
}

#[test]
fn counts_that_go_back_are_nothing() {
    let sites = [site("a", SIZE)];
    let mut recent = taken(0..3, &sites);
    let mut back = Arc::unwrap_or_clone(after(3, &sites));
    back.sites[0].prevented = 0;
    recent.take(Arc::new(back));
    let told = data(&render::news(&recent, "a").expect("news"));
    assert_eq!(column(&told["fine"], "prevented"), [0]);
}

#[test]
fn a_site_that_goes_is_forgotten_and_one_that_comes_begins_anew() {
    let (a, b) = (site("a", SIZE), site("b", SIZE));
    let mut recent = taken(0..5, &[a.clone(), b.clone()]);
    assert!(render::news(&recent, "b").is_some());
    recent.take(after(5, std::slice::from_ref(&a)));
    assert!(render::news(&recent, "b").is_none());
    assert_eq!(&*recent.site(Some("b")), "a");
    recent.take(after(6, &[a, b]));
    assert_eq!(data(&render::backlog(&recent, "b", None))["fine"], serde_json::json!([]));
}

#[test]
fn floods_that_have_ended_are_told_when_there_are_others() {
    let mut sites = [site("a", SIZE)];
    let mut recent = taken(0..3, &sites);
    let past = |recent: &Recent| data(&render::news(recent, "a").expect("news"))["now"].clone();
    assert!(past(&recent)["site"]["past"].is_null());
    let (route, record) = sites[0].floods.remove(0);
    sites[0].past_floods.push(crate::telemetry::snapshot::PastFlood { route, record });
    recent.take(after(3, &sites));
    assert_eq!(past(&recent)["site"]["past"][0]["route"], "rule %220%22");
    recent.take(after(4, &sites));
    assert!(past(&recent)["site"]["past"].is_null());
    assert!(data(&render::backlog(&recent, "a", None))["now"]["site"]["past"].is_array());
}

/// The path of a lesson is a stranger's.
#[test]
fn an_event_stays_one_event_whatever_is_in_it() {
    let mut sites = [site("a", SIZE)];
    let path = "/\r\n\r\ndata: {}\n\nevent: x\u{2028}".to_owned();
    let at = Moment::from_nanos(0);
    sites[0].lessons.push(Lesson { at, what: Learned::Writes, of: None, path: path.clone() });
    let recent = taken(0..2, &sites);
    let told = data(&render::backlog(&recent, "a", None));
    assert_eq!(told["now"]["site"]["lessons"][0]["path"], path);
}

#[test]
fn who_comes_again_is_told_what_came_since() {
    let recent = taken(0..100, &[site("a", SIZE), site("b", SIZE)]);
    let id = |sequence: u64, site: &str| format!("{:x}/{sequence}/{site}", recent.boot());
    let missed = |id: &str| {
        let told = data(&render::backlog(&recent, "a", Some(id)));
        (told["continues"] == true).then(|| column(&told["fine"], "t").len())
    };
    assert_eq!(missed(&id(100, "a")), Some(0));
    assert_eq!(missed(&id(90, "a")), Some(10));
    for other in [id(90, "b"), id(101, "a"), "0/90/a".into(), "90".into(), String::new()] {
        assert_eq!(missed(&other), None, "{other}");
    }
    let big = format!("{:x}/{}/a", recent.boot(), "9".repeat(99));
    assert_eq!(missed(&big), None);
}
