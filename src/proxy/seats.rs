//! How many connections there are, in all and for each client; shared by all cores.
//!
//! It promises that nobody has more than its share, and that who waits for nothing but its own
//! client makes room: at the cap the connections that have waited longest for a request are closed
//! first, and only if there is none is the newest refused. A flood of connections that say nothing
//! therefore keeps nobody out. It refuses to know what is said on a connection.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::seat::Seat;
use crate::guard::client::Client;
use crate::guard::moment::Moment;

/// A connection is shed only after it has waited for its client as long as this. Who would keep
/// them all must send a request on each so often that answering them is more than a core can do.
const MOMENT: Duration = Duration::from_millis(100);
/// After a look that found fewer to shed than it could have, there is no other for this long, for
/// each connection that was looked at: that costs some tens of nanoseconds, and a flood must not be
/// able to ask for a look with each connection of its own.
const LOOK_PAUSE: Duration = Duration::from_micros(5);
/// One look sheds this part of the connections that were looked at, if as many wait.
const BATCH: usize = 16;

/// Whose connections are counted together: one client's, or those of all trusted proxies, which
/// have no cap of their own.
pub type Group = Option<Client>;

/// The connections of all cores.
#[derive(Debug)]
pub struct Seats {
    most: AtomicUsize,
    most_for_client: AtomicUsize,
    /// As in the table, to be read without its lock.
    taken: AtomicUsize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    groups: HashMap<Group, Sharing>,
    taken: usize,
    /// Exchanges of connections that may have several at once.
    exchanges: usize,
    barren_until: Option<Moment>,
}

/// The connections of one group.
#[derive(Debug, Default)]
struct Sharing {
    seats: Vec<Arc<Seat>>,
    exchanges: usize,
    barren_until: Option<Moment>,
}

/// Why a connection was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// There are `connections` of them.
    All,
    /// There are `connections_per_client` of this client.
    Client(Client),
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("there are as many connections as allowed"),
            Self::Client(client) => {
                write!(f, "client {client} has as many connections as allowed")
            }
        }
    }
}

impl Seats {
    /// None is taken.
    pub fn new(most: usize, most_for_client: usize) -> Self {
        Self {
            most: AtomicUsize::new(most),
            most_for_client: AtomicUsize::new(most_for_client),
            taken: AtomicUsize::new(0),
            table: Mutex::default(),
        }
    }

    /// Changes how many there may be. Nobody is sent away for it: where there are more, none is
    /// added.
    pub fn resize(&self, most: usize, most_for_client: usize) {
        self.most.store(most, Ordering::Relaxed);
        self.most_for_client.store(most_for_client, Ordering::Relaxed);
    }

    /// Takes a place for a connection, at the expense of others that wait if need be.
    pub fn take(self: &Arc<Self>, group: Group, seat: Seat, now: Moment) -> Result<Taken, Full> {
        let mut guard = self.lock();
        let table = &mut *guard;
        let most_for_client = self.most_for_client.load(Ordering::Relaxed);
        if table.taken >= self.most.load(Ordering::Relaxed) {
            table.make_room_for(group, most_for_client, now)?;
            if table.taken >= self.most.load(Ordering::Relaxed) && table.shed(now) == 0 {
                return Err(Full::All);
            }
        }
        let seat = Arc::new(seat);
        table.add(group, most_for_client, &seat, now)?;
        table.taken += 1;
        self.taken.store(table.taken, Ordering::Relaxed);
        Ok(Taken { seats: Arc::clone(self), group, seat })
    }

    /// Sheds a part of the connections that wait; how many that were.
    pub fn make_room(&self, now: Moment) -> usize {
        let mut table = self.lock();
        let freed = table.shed(now);
        self.taken.store(table.taken, Ordering::Relaxed);
        freed
    }

    /// How many places are taken.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    fn leave(&self, group: Group, seat: &Seat) {
        let Table { groups, taken, .. } = &mut *self.lock();
        let Entry::Occupied(mut sharing) = groups.entry(group) else { return };
        if sharing.get_mut().remove(seat) {
            *taken -= 1;
            self.taken.store(*taken, Ordering::Relaxed);
        }
        if sharing.get().is_empty() {
            sharing.remove();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Nothing panics between the steps of one change.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Sheds of a client's connections what stands in the way of another one.
    fn make_room_for(&mut self, group: Group, most: usize, now: Moment) -> Result<(), Full> {
        match self.groups.get_mut(&group) {
            Some(sharing) => sharing.make_room(&mut self.taken, group, most, now),
            None => Ok(()),
        }
    }

    /// Adds a connection of a client that may have so many, at the expense of others if need be. It
    /// is not counted yet.
    fn add(
        &mut self,
        group: Group,
        most: usize,
        seat: &Arc<Seat>,
        now: Moment,
    ) -> Result<(), Full> {
        let sharing = match self.groups.entry(group) {
            Entry::Occupied(sharing) => {
                let sharing = sharing.into_mut();
                sharing.make_room(&mut self.taken, group, most, now)?;
                sharing
            }
            Entry::Vacant(none) => none.insert(Sharing::default()),
        };
        seat.place.store(sharing.seats.len(), Ordering::Relaxed);
        sharing.seats.push(Arc::clone(seat));
        Ok(())
    }

    fn shed(&mut self, now: Moment) -> usize {
        if self.barren_until.is_some_and(|until| now < until) {
            return 0;
        }
        let looked_at = self.taken;
        let all = self
            .groups
            .iter()
            .flat_map(|(group, sharing)| sharing.seats.iter().map(move |seat| (*group, seat)));
        let mut freed = 0;
        for (group, seat) in oldest(all, part(looked_at), now) {
            if let Some(sharing) = self.groups.get_mut(&group) {
                freed += usize::from(sharing.remove(&seat));
            }
            self.tidy(group);
        }
        self.taken -= freed;
        self.barren_until = barren_until(looked_at, freed, now);
        freed
    }

    /// Forgets a group without connections.
    fn tidy(&mut self, group: Group) {
        if self.groups.get(&group).is_some_and(Sharing::is_empty) {
            self.groups.remove(&group);
        }
    }
}

impl Sharing {
    fn is_empty(&self) -> bool {
        self.seats.is_empty() && self.exchanges == 0
    }

    /// Sheds what stands in the way of another connection of a client that may have so many, all of
    /// which are among the `taken`.
    fn make_room(
        &mut self,
        taken: &mut usize,
        group: Group,
        most: usize,
        now: Moment,
    ) -> Result<(), Full> {
        if let Some(client) = group
            && self.seats.len() >= most
        {
            let freed = self.shed(now);
            *taken -= freed;
            if freed == 0 {
                return Err(Full::Client(client));
            }
        }
        Ok(())
    }

    fn shed(&mut self, now: Moment) -> usize {
        if self.barren_until.is_some_and(|until| now < until) {
            return 0;
        }
        let looked_at = self.seats.len();
        let doomed = oldest(self.seats.iter().map(|seat| ((), seat)), part(looked_at), now);
        let freed = doomed.iter().filter(|((), seat)| self.remove(seat)).count();
        self.barren_until = barren_until(looked_at, freed, now);
        freed
    }

    fn remove(&mut self, seat: &Seat) -> bool {
        let place = seat.place.swap(usize::MAX, Ordering::Relaxed);
        if place >= self.seats.len() {
            return false;
        }
        self.seats.swap_remove(place);
        if let Some(moved) = self.seats.get(place) {
            moved.place.store(place, Ordering::Relaxed);
        }
        true
    }
}

/// How many of so many connections one look sheds.
const fn part(looked_at: usize) -> usize {
    looked_at / BATCH + 1
}

/// Until when there is no other look: who waited for long enough has been shed, unless that were
/// as many as one look sheds.
fn barren_until(looked_at: usize, freed: usize, now: Moment) -> Option<Moment> {
    let pause = LOOK_PAUSE.saturating_mul(u32::try_from(looked_at).unwrap_or(u32::MAX));
    (freed < part(looked_at)).then(|| now.after(pause))
}

/// Sheds up to `count` of those that have waited for a moment, the longest first; which.
fn oldest<'a, T>(
    seats: impl Iterator<Item = (T, &'a Arc<Seat>)>,
    count: usize,
    now: Moment,
) -> Vec<(T, Arc<Seat>)> {
    let mut waiting: Vec<(Moment, T, &Arc<Seat>)> = seats
        .filter_map(|(of, seat)| Some((seat.waiting_since()?, of, seat)))
        .filter(|(since, _, _)| now.since(*since) >= MOMENT)
        .collect();
    if count < waiting.len() {
        waiting.select_nth_unstable_by_key(count, |(since, _, _)| *since);
        waiting.truncate(count);
    }
    waiting.retain(|(since, _, seat)| seat.shed(*since));
    waiting.into_iter().map(|(_, of, seat)| (of, Arc::clone(seat))).collect()
}

/// An exchange that [`Taken::enter`] has counted, until this is dropped.
#[derive(Debug)]
pub struct Entered {
    seats: Arc<Seats>,
    group: Group,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut table = self.seats.lock();
        table.exchanges -= 1;
        if let Some(sharing) = table.groups.get_mut(&self.group) {
            sharing.exchanges -= 1;
        }
        table.tidy(self.group);
    }
}

/// A connection's place. Given back when this is dropped.
#[derive(Debug)]
pub struct Taken {
    seats: Arc<Seats>,
    group: Group,
    seat: Arc<Seat>,
}

impl Taken {
    /// Counts an exchange on a connection that may have many at once: a client may have as many of
    /// them as connections, and all clients together too. What an exchange takes of memory, and of
    /// the application, is then bounded as it is in HTTP/1. `None` if there are as many.
    pub fn enter(&self) -> Option<Entered> {
        let seats = &self.seats;
        let most_for_client = seats.most_for_client.load(Ordering::Relaxed);
        let mut guard = seats.lock();
        let table = &mut *guard;
        let sharing = table.groups.entry(self.group).or_default();
        let client_is_full = self.group.is_some() && sharing.exchanges >= most_for_client;
        if client_is_full || table.exchanges >= seats.most.load(Ordering::Relaxed) {
            table.tidy(self.group);
            return None;
        }
        sharing.exchanges += 1;
        table.exchanges += 1;
        Some(Entered { seats: Arc::clone(seats), group: self.group })
    }

    /// The state of the connection.
    pub fn seat(&self) -> &Arc<Seat> {
        &self.seat
    }
}

impl Taken {
    /// Counts the connection with another group from now on: whose it is has come out.
    pub fn regroup(&mut self, group: Group, now: Moment) -> Result<(), Full> {
        if group == self.group {
            return Ok(());
        }
        let mut guard = self.seats.lock();
        let table = &mut *guard;
        let most = self.seats.most_for_client.load(Ordering::Relaxed);
        table.make_room_for(group, most, now)?;
        // Where it has been shed, its task is being ended.
        if table.groups.get_mut(&self.group).is_some_and(|sharing| sharing.remove(&self.seat)) {
            table.tidy(self.group);
            table.add(group, most, &self.seat, now)?;
        }
        self.seats.taken.store(table.taken, Ordering::Relaxed);
        self.group = group;
        Ok(())
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.seats.leave(self.group, &self.seat);
    }
}

#[cfg(test)]
#[path = "seats_tests.rs"]
mod tests;
