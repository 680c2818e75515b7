use std::net::IpAddr;

use super::*;
use crate::proxy::clock::Clock;

const CLIENTS: [&str; 3] = ["192.0.2.1", "192.0.2.2", "2001:db8::"];

fn client(number: usize) -> Group {
    Some(Client::new(CLIENTS[number].parse::<IpAddr>().unwrap(), 64))
}

/// Places, and a time that a test moves.
struct Room {
    seats: Arc<Seats>,
    clock: Clock,
    now: Moment,
}

impl Room {
    fn new(most: usize, most_for_client: usize) -> Self {
        let clock = Clock::start();
        Self { seats: Arc::new(Seats::new(most, most_for_client)), clock, now: clock.now() }
    }

    fn pass(&mut self, span: Duration) {
        self.now = self.now.after(span);
    }

    /// A connection that waits from now on.
    fn take(&self, group: Group) -> Result<Taken, Full> {
        let taken = self.seats.take(group, Seat::new(self.clock, self.now), self.now)?;
        taken.seat().served_by(tokio::spawn(std::future::pending::<()>()).abort_handle());
        Ok(taken)
    }

    /// A connection on which an exchange runs.
    fn busy(&self, group: Group) -> Taken {
        let taken = self.take(group).unwrap();
        std::mem::forget(taken.seat().begin().unwrap());
        taken
    }
}

fn is_shed(taken: &Taken) -> bool {
    taken.seat().phase() == super::super::seat::Phase::Shed
}

#[tokio::test]
async fn exactly_as_many_as_allowed_are_let_in() {
    let room = Room::new(4, 3);
    let mut held: Vec<_> = (0..3).map(|_| room.busy(client(0))).collect();
    let Group::Some(first) = client(0) else { panic!() };
    assert_eq!(room.take(client(0)).unwrap_err(), Full::Client(first));
    held.push(room.busy(client(1)));
    assert_eq!(room.take(client(2)).unwrap_err(), Full::All);
    assert_eq!(room.seats.taken(), 4);
    held.remove(0);
    assert_eq!(room.seats.taken(), 3);
    assert!(room.take(client(0)).is_ok());
    drop(held);
    assert_eq!(room.seats.taken(), 0);
    assert!(room.seats.lock().groups.is_empty(), "nothing is kept of those who are gone");
}

#[tokio::test]
async fn trusted_proxies_have_no_cap_of_their_own() {
    let room = Room::new(6, 2);
    let _held: Vec<_> = (0..6).map(|_| room.busy(None)).collect();
    assert_eq!(room.take(None).unwrap_err(), Full::All);
}

#[tokio::test]
async fn who_waited_longest_makes_room_and_who_works_never() {
    let mut room = Room::new(3, 3);
    let busy = room.busy(client(0));
    let older = room.take(client(0)).unwrap();
    room.pass(Duration::from_millis(10));
    let newer = room.take(client(1)).unwrap();
    room.pass(MOMENT - Duration::from_millis(1));
    let latest = room.take(client(2)).unwrap();
    assert_eq!((is_shed(&older), is_shed(&newer), is_shed(&busy)), (true, false, false));
    assert_eq!(room.seats.taken(), 3, "a place that was given away is taken once");
    drop(older);
    assert_eq!(room.seats.taken(), 3, "and is not given back a second time");
    room.pass(MOMENT);
    drop((newer, latest, busy));
    assert_eq!(room.seats.taken(), 0);
}

#[tokio::test]
async fn a_client_at_its_cap_makes_room_for_itself_only() {
    let mut room = Room::new(10, 2);
    let other = room.take(client(1)).unwrap();
    let own = [room.take(client(0)).unwrap(), room.take(client(0)).unwrap()];
    room.pass(MOMENT);
    let _third = room.take(client(0)).unwrap();
    assert_eq!(own.iter().filter(|taken| is_shed(taken)).count(), 1);
    assert!(!is_shed(&other));
}

/// A small request on each connection, twice a second: that is cheap, and each of them is idle
/// nearly all the time.
#[tokio::test]
async fn requests_now_and_then_on_all_connections_keep_nobody_out() {
    let mut room = Room::new(100, 50);
    let mut held = Vec::new();
    for number in 0..100 {
        held.push(room.take(client(number % 2)).unwrap());
        room.pass(Duration::from_millis(5));
    }
    assert!(room.take(client(2)).is_ok());
}

#[tokio::test]
async fn who_came_just_now_is_not_shed_and_vain_looks_are_rare() {
    let mut room = Room::new(2, 2);
    let held = [room.take(client(0)).unwrap(), room.take(client(1)).unwrap()];
    room.pass(MOMENT - LOOK_PAUSE);
    assert_eq!(room.take(client(2)).unwrap_err(), Full::All);
    room.pass(LOOK_PAUSE);
    assert_eq!(room.take(client(2)).unwrap_err(), Full::All, "nobody looks again so soon");
    assert!(!held.iter().any(is_shed));
    room.pass(LOOK_PAUSE);
    assert!(room.take(client(2)).is_ok());
}

/// Where one connection after the other has waited for long enough, each newcomer would find one:
/// the table must not be looked through for each of them.
#[tokio::test]
async fn looks_that_find_little_are_rare_too() {
    const PLACES: u32 = 2_000;
    let each = MOMENT / PLACES;
    for (most, most_for_client) in [(PLACES, PLACES + 1), (PLACES + 1, PLACES)] {
        let mut room = Room::new(most as usize, most_for_client as usize);
        let mut held = Vec::new();
        for _ in 0..PLACES {
            held.push(room.take(client(0)).unwrap());
            room.pass(each);
        }
        let mut looks = 0;
        for _ in 0..PLACES {
            held.extend(room.take(client(0)));
            let before = held.len();
            held.retain(|taken| !is_shed(taken));
            looks += u32::from(held.len() < before);
            room.pass(each);
        }
        // Those that found as many as one look sheds, and those that were followed by a pause.
        let (full, pause) = (PLACES / u32::try_from(BATCH).unwrap(), LOOK_PAUSE * PLACES);
        let most = PLACES / full + u32::try_from(MOMENT.as_nanos() / pause.as_nanos()).unwrap();
        assert!((1..=most + 1).contains(&looks), "{looks} looks, at most {most}");
    }
}

#[tokio::test]
async fn room_is_made_by_parts() {
    let mut room = Room::new(1_000, 1_000);
    let mut held: Vec<_> = (0..160).map(|_| room.take(client(0)).unwrap()).collect();
    room.pass(MOMENT);
    assert_eq!(room.seats.make_room(room.now), 160 / BATCH + 1);
    assert_eq!(held.iter().filter(|taken| is_shed(taken)).count(), 160 / BATCH + 1);
    assert_eq!(room.seats.taken(), 160 - 11);
    held.retain(|taken| !is_shed(taken));
    assert_eq!(room.seats.taken(), held.len());
}
