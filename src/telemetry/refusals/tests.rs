//! What is told, of whom, and how often.

use std::net::Ipv4Addr;
use std::sync::atomic::AtomicUsize;
use std::thread;

use super::*;

fn refusals(per_client: Duration, per_second: u32) -> Refusals {
    let refusals = Refusals::off();
    let settings = Settings { per_client, per_second, challenged: false };
    refusals.put(settings, None).expect("no file");
    refusals
}

fn client(number: u32) -> Client {
    Client::new(IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + number)), 32)
}

fn at(ms: u64) -> Moment {
    Moment::from_nanos(0).after(Moment::HEADROOM).after(Duration::from_millis(ms))
}

const OWN: Treated = Treated::Refused(Refusal::ClientBudget);
const OTHERS: Treated = Treated::Refused(Refusal::SiteBudget);

#[test]
fn a_client_has_one_line_in_its_time() {
    let refusals = refusals(Duration::from_secs(60), 1_000);
    let told = |number, ms| refusals.admit(client(number), OWN, at(ms));
    assert!(told(1, 0));
    assert!(!told(1, 0) && !told(1, 59_999));
    assert!(told(2, 59_999));
    assert!(told(1, 60_000));
    assert!(!told(2, 60_000) && !told(1, 119_999));
    // Another core's clock may be a little behind.
    assert!(!told(1, 59_000));
}

#[test]
fn so_many_are_told_in_a_second_and_half_of_them_may_be_of_others_doing() {
    let refusals = refusals(Duration::from_secs(3_600), 10);
    let told = |treated, clients: std::ops::Range<u32>, ms| {
        clients.filter(|number| refusals.admit(client(*number), treated, at(ms))).count()
    };
    assert_eq!(told(OTHERS, 0..100, 0), 5);
    assert_eq!(told(OWN, 100..200, 10), 5, "room is left for those who are to blame");
    assert_eq!(told(OWN, 200..300, 999), 0);
    assert_eq!(told(OWN, 300..400, 1_000), 10);
    assert_eq!(told(OTHERS, 400..500, 1_999), 0);
    assert_eq!(told(OTHERS, 500..600, 2_000), 5);
}

#[test]
fn nothing_is_told_where_nothing_is_wanted() {
    let refusals = refusals(Duration::from_secs(1), 0);
    assert!(!refusals.admit(client(1), OWN, at(0)));
    let settings =
        Settings { per_client: Duration::from_secs(1), per_second: 2, challenged: false };
    refusals.put(settings, None).expect("no file");
    assert!(!refusals.admit(client(1), Treated::Challenged, at(0)));
    refusals.put(Settings { challenged: true, ..settings }, None).expect("no file");
    assert!(refusals.admit(client(1), Treated::Challenged, at(0)));
    assert!(refusals.admit(client(2), OWN, at(0)));
}

/// However many clients there are, and on however many cores: no line too many.
#[test]
fn cores_at_once_tell_no_more_than_one() {
    let refusals = refusals(Duration::from_secs(60), 1_000);
    let lines: Vec<AtomicUsize> = (0..2_000).map(|_| AtomicUsize::new(0)).collect();
    for second in 0..4 {
        let now = at(second * 1_000);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for (number, lines) in (0..).zip(&lines) {
                        if refusals.admit(client(number), OWN, now) {
                            lines.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        let lines = lines.iter().map(|lines| lines.load(Ordering::Relaxed));
        assert!(lines.clone().all(|lines| lines <= 1), "a client was told of twice");
        assert!(lines.sum::<usize>() <= (second as usize + 1) * 1_000, "too many lines");
    }
    let told: usize = lines.iter().map(|lines| lines.load(Ordering::Relaxed)).sum();
    assert!(told >= 1_990, "{told} of 2,000 were told of");
}

/// More clients than there are slots for: those who find none get no line, and nobody gets two.
#[test]
fn a_full_table_tells_less_and_not_more() {
    let refusals = refusals(Duration::from_secs(86_400), 1_000);
    let mut told = 0;
    for number in 0..4 * SLOTS as u32 {
        let now = at(u64::from(number) * 10);
        told += usize::from(refusals.admit(client(number), OWN, now));
    }
    assert!(told <= SLOTS && told > SLOTS / 10 * 9, "{told}");
    let now = at(u64::from(4 * SLOTS as u32) * 10);
    let again = (0..1_000).filter(|number| refusals.admit(client(*number), OWN, now)).count();
    assert_eq!(again, 0, "who was told of is remembered");
}

#[test]
fn a_line_has_its_words_in_their_order() {
    let address: IpAddr = "2001:db8:1:2::7".parse().expect("an address");
    let refused = Refused {
        client: Client::new(address, 64),
        address,
        treated: Treated::Refused(Refusal::WideBudget),
        route: Some("logout"),
        site: "shop",
    };
    assert_eq!(
        line(&refused),
        "refused client=2001:db8:1:2::/64 address=2001:db8:1:2::7 reason=wide-budget site=shop \
         route=logout"
    );
    let mapped: IpAddr = "::ffff:203.0.113.7".parse().expect("an address");
    let challenged = Refused {
        client: client(1),
        address: mapped,
        treated: Treated::Challenged,
        route: None,
        site: "default",
    };
    assert_eq!(
        line(&challenged),
        "challenged client=10.0.0.1 address=203.0.113.7 site=default route=unnamed"
    );
    assert_eq!(dated("x", 1_798_761_599_042), "2026-12-31T23:59:59.042Z floodwall x\n");
}
