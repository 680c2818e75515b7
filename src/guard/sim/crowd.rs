//! A crowd: any number of attackers, each with an address and a strategy of its own, and of users
//! in offices, with several connections each, behind a flooder's address, and back after weeks.

use std::collections::HashMap;
use std::time::Duration;

use super::super::client::Client;
use super::support::{Ask, Random, key, text, v4, v6};
use super::world::{Done, Ended, Fate, World};

/// Attackers who share what they know act under this name; the others under their own.
const GANG: u32 = 0;

/// The address from which most logouts come, and behind which some users are.
const FLOODER: u32 = 7;

/// What an attacker does, again and again.
#[derive(Clone, Copy, Debug)]
enum Strategy {
    /// Logouts without a cookie, in every spelling.
    Logout,
    /// Reads, logouts and logins with made-up keys.
    MadeUp,
    /// Keys that were logged out, for ever.
    Replay,
    /// As many logins at once with one key as there are connections.
    Rotate,
    /// `?next=http://[`: a status 500 after the flush, so that the spare is lost.
    LoseSpares,
    /// Sessions that the budget allows.
    Cart,
    /// A page that is clean until it creates.
    Flip,
    /// Another /64 of the same few /48s each time.
    Walk,
    /// Gone before the answer.
    HangUp,
    /// Requests that take minutes to end.
    Drip,
    /// The key of a spare, as if somebody had learned it.
    SpareKey,
    /// Writes race a logout of the same key.
    Race,
}

impl Strategy {
    const ALL: [Self; 12] = [
        Self::Logout,
        Self::MadeUp,
        Self::Replay,
        Self::Rotate,
        Self::LoseSpares,
        Self::Cart,
        Self::Flip,
        Self::Walk,
        Self::HangUp,
        Self::Drip,
        Self::SpareKey,
        Self::Race,
    ];
}

const LOGOUTS: [&str; 8] = [
    "/logout/",
    "/en%2Flogout/",
    "//logout/",
    "/%6Cogout/",
    "/logout/%0A",
    "/logout/?next=/",
    "/en/logout/",
    "/junk/logout/",
];

/// Everybody, and what they know.
pub struct Crowd {
    attackers: u32,
    pub users: Vec<User>,
    /// What the gang was given lately.
    loot: Vec<String>,
    /// The newest session of each attacker who has some use for it.
    jars: HashMap<u32, String>,
    made_up: u64,
}

impl Crowd {
    /// Keys that the gang remembers.
    const LOOT: usize = 1024;

    pub fn new(attackers: u32, users: u32) -> Self {
        let users = (1..=users).map(User::new).collect();
        Self { attackers, users, loot: Vec::new(), jars: HashMap::new(), made_up: 0 }
    }

    /// A user's turn: the next thing that they do, if nothing of theirs is under way.
    pub fn visit(&mut self, world: &mut World) {
        let index = world.rng.below(self.users.len());
        self.users[index].act(world);
    }

    /// An attacker's turn.
    pub fn attack(&mut self, world: &mut World, turn: u32) {
        let attacker = turn % self.attackers;
        let strategy = Strategy::ALL[attacker as usize % Strategy::ALL.len()];
        let who = self.users.len() as u32 + 1 + attacker;
        let client = v4((1 << 20) + attacker);
        match strategy {
            Strategy::Logout => {
                let client = if attacker.is_multiple_of(5) { v4(FLOODER) } else { client };
                for _ in 0..4 {
                    let target = world.rng.pick(&LOGOUTS);
                    world.send(who, Ask::at(client, target));
                }
            }
            Strategy::MadeUp => {
                const TARGETS: [&str; 5] = ["/read/", "/logout/", "/cart/", "/login/", "/static/"];
                let fresh = self.make_up();
                let target = world.rng.pick(&TARGETS);
                world.send(who, Ask::at(client, target).with_text(&fresh));
            }
            Strategy::Replay => self.replay(world, client),
            Strategy::Rotate => match self.jars.remove(&who) {
                Some(mine) => {
                    for _ in 0..16 {
                        let ask = Ask::at(client, "/login/?right").with_text(&mine);
                        world.send(who, Ask { body: true, ..ask.method("POST") });
                    }
                }
                None => world.send(who, Ask::at(client, "/cart/")),
            },
            Strategy::LoseSpares => world.send(who, Ask::at(client, "/logout/?next=http://[")),
            Strategy::Cart => world.send(who, Ask::at(client, "/cart/")),
            Strategy::Flip => {
                // Now and then more at once than may pass.
                let requests = if world.rng.percent(10) { 48 } else { 4 };
                for _ in 0..requests {
                    world.send(who, Ask::at(client, "/flip/"));
                }
            }
            Strategy::Walk => {
                // The remainder is a /48 of four, the rest one of its /64s.
                let client = v6((attacker / 12 % 4) as u16, (turn / 48) as u16);
                let target = world.rng.pick(&["/cart/", "/login/", "/logout/"]);
                world.send(who, Ask::at(client, target));
            }
            Strategy::HangUp => {
                let target = world.rng.pick(&["/cart/", "/logout/", "/login/"]);
                world.send_to(who, Ask::at(client, target), Fate::HungUp);
            }
            Strategy::Drip => {
                let span = Duration::from_secs(world.rng.below(300) as u64);
                let target = world.rng.pick(&["/cart/", "/logout/"]);
                let ask = Ask { body: true, ..Ask::at(client, target).method("POST") };
                world.send_to(who, ask, Fate::Dripped(span));
            }
            Strategy::SpareKey => {
                let saved = world.guard.spares.saved(true, world.now);
                let spares: Vec<_> = saved.iter().flat_map(|path| &path.spares).collect();
                let target = world.rng.pick(&["/read/", "/cart/", "/logout/", "/static/"]);
                let learned = (!spares.is_empty()).then(|| text(&world.rng.pick(&spares).0));
                let ask = Ask { cookie: learned, ..Ask::at(client, target) };
                world.send(who, ask);
            }
            Strategy::Race => match self.jars.remove(&who) {
                Some(mine) => {
                    for target in ["/cart/", "/logout/", "/cart/", "/read/", "/cart/"] {
                        world.send(who, Ask::at(client, target).with_text(&mine));
                    }
                }
                None => world.send(who, Ask::at(client, "/cart/")),
            },
        }
    }

    fn make_up(&mut self) -> String {
        self.made_up += 1;
        text(&key((1 << 40) + self.made_up))
    }

    fn replay(&mut self, world: &mut World, client: Client) {
        if self.loot.is_empty() || world.rng.percent(10) {
            return world.send(GANG, Ask::at(client, "/cart/"));
        }
        let mine = self.loot[world.rng.below(self.loot.len())].clone();
        let target = world.rng.pick(&["/logout/", "/read/", "/cart/", "/logout/?next=http://["]);
        world.send(GANG, Ask::at(client, target).with_text(&mine));
    }

    /// Everybody takes notice of what came back.
    pub fn deliver(&mut self, world: &mut World) {
        let mut done = std::mem::take(&mut world.done);
        for done in done.drain(..) {
            let user = (done.who as usize).wrapping_sub(1);
            if let Some(user) = self.users.get_mut(user) {
                user.take(done, world);
                continue;
            }
            let Ended::Answered { set: Some(set) } = done.end else { continue };
            if set.is_empty() {
                self.jars.remove(&done.who);
            } else if done.who != GANG {
                self.jars.insert(done.who, set);
            } else if self.loot.len() < Self::LOOT {
                self.loot.push(set);
            } else {
                let oldest = self.made_up as usize % Self::LOOT;
                self.loot[oldest] = set;
            }
        }
        // Its memory is used again.
        world.done = done;
    }
}

/// How a user uses the site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Habit {
    /// One page after the other, from an address of their own.
    Plain,
    /// Behind one address with up to 499 others.
    Office,
    /// Six connections at once, as browsers have.
    Parallel,
    /// Behind the address that floods.
    Neighbour,
    /// Never logs out.
    Returning,
}

impl Habit {
    const ALL: [Self; 5] =
        [Self::Plain, Self::Office, Self::Parallel, Self::Neighbour, Self::Returning];
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Look,
    Form,
    Login,
    Page,
    Cart,
    Again,
    Logout,
    Leave,
}

/// Someone who uses the site as it was meant to be used.
pub struct User {
    who: u32,
    client: Client,
    habit: Habit,
    jar: Option<String>,
    stage: Stage,
    open: usize,
    /// Something of this stage was refused or lost: it is to be done again.
    failed: bool,
    /// They are logged in, as far as they know.
    inside: bool,
    pub refused: usize,
    pub logins: usize,
}

impl User {
    /// How many have one address.
    const OFFICE: u32 = 500;

    fn new(who: u32) -> Self {
        let habit = Habit::ALL[who as usize % Habit::ALL.len()];
        let client = match habit {
            Habit::Office => v4(100 + who / (Self::OFFICE * Habit::ALL.len() as u32)),
            Habit::Neighbour => v4(FLOODER),
            Habit::Plain | Habit::Parallel | Habit::Returning => v4(1000 + who),
        };
        Self {
            who,
            client,
            habit,
            jar: None,
            stage: Stage::Look,
            open: 0,
            failed: false,
            inside: false,
            refused: 0,
            logins: 0,
        }
    }

    fn act(&mut self, world: &mut World) {
        if self.open > 0 {
            return;
        }
        let page: &[&'static str] = match (self.stage, self.habit) {
            (Stage::Look | Stage::Page | Stage::Again, Habit::Parallel) => {
                &["/read/", "/static/", "/read/", "/static/", "/read/", "/static/"]
            }
            (Stage::Cart, Habit::Parallel) => &["/cart/", "/read/", "/cart/", "/read/"],
            (Stage::Look | Stage::Page | Stage::Again, _) => &["/read/"],
            (Stage::Form, _) => &["/login/"],
            (Stage::Login, _) => &["/login/?right"],
            (Stage::Cart, _) => &["/cart/"],
            (Stage::Logout, _) => &["/logout/"],
            (Stage::Leave, _) => &["/static/"],
        };
        if matches!(self.stage, Stage::Login | Stage::Logout) {
            self.inside = false;
        }
        self.open = page.len();
        for target in page {
            let ask = Ask { cookie: self.jar.clone(), ..Ask::at(self.client, target) };
            let post = self.stage == Stage::Login;
            let ask = if post { Ask { body: true, ..ask.method("POST") } } else { ask };
            world.send(self.who, ask);
        }
    }

    fn take(&mut self, done: Done, world: &World) {
        self.open -= 1;
        match done.end {
            Ended::Refused => {
                self.refused += 1;
                self.failed = true;
            }
            Ended::NoAnswer => self.failed = true,
            Ended::Answered { set: None } => {}
            Ended::Answered { set: Some(set) } => {
                self.jar = (!set.is_empty()).then_some(set);
            }
        }
        self.stays(world);
        if self.open == 0 {
            self.stage = self.next(world);
            self.failed = false;
        }
    }

    /// Whoever is logged in stays so, until the session has expired.
    fn stays(&mut self, world: &World) {
        if !self.inside {
            return;
        }
        let record = self.jar.as_ref().and_then(|jar| world.django.store.get(jar));
        match record {
            Some((_, expires)) if *expires <= world.now => self.inside = false,
            Some((data, _)) => assert_eq!(data.user, Some(self.who), "user {}", self.who),
            None => panic!("user {} was logged out at {:?}", self.who, self.stage),
        }
    }

    fn next(&mut self, world: &World) -> Stage {
        let live = |jar: &String| world.is_live(self.who, jar);
        match (self.stage, self.failed) {
            // The answer may have been lost, and the key in it.
            (Stage::Login, _) => {
                self.inside = self.jar.as_ref().is_some_and(live);
                self.logins += usize::from(self.inside);
                if self.inside { Stage::Page } else { Stage::Form }
            }
            (Stage::Logout, _) => Stage::Leave,
            (stage, true) => stage,
            (Stage::Look | Stage::Leave, false) if self.inside => Stage::Page,
            (Stage::Look | Stage::Leave, false) => Stage::Form,
            (Stage::Form, false) => Stage::Login,
            (Stage::Page, false) => Stage::Cart,
            (Stage::Cart, false) => Stage::Again,
            (Stage::Again, false) if self.habit != Habit::Returning => Stage::Logout,
            (Stage::Again, false) => Stage::Look,
        }
    }
}

/// A source of choices of its own for each move, so that leaving one out changes no other.
pub fn choices(seed: u64, number: u32) -> Random {
    let mut rng = Random(seed ^ u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    rng.next();
    rng
}
