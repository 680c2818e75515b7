//! Who uses the site: honest users who browse, log in and out, one request at a time, and
//! attackers who do everything else.

use super::super::client::Client;
use super::support::{Ask, Random, key, text, v4, v6};
use super::world::{Done, Ended, World};

/// Attackers act together under this name: they share what they know.
pub const ATTACKER: u32 = 0;

/// What attackers are up to, all mixed.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Whether attackers come from many IPv4 addresses, or else from one.
    pub addresses: u32,
    /// Whether records vanish behind the ledger's back.
    pub vanishing: bool,
    /// Whether they also use views that no profile names: clear(), cycle_key(), failing pages.
    pub odd_views: bool,
}

/// All that attackers have ever been given.
#[derive(Default)]
pub struct Loot {
    keys: Vec<String>,
    made_up: u64,
}

impl Loot {
    pub fn take(&mut self, done: &Done) {
        if let Ended::Answered { set: Some(set), .. } = &done.end
            && !set.is_empty()
        {
            self.keys.push(set.clone());
        }
    }

    fn some(&self, rng: &mut Random) -> Option<String> {
        // The newest are the most useful.
        let newest = self.keys.len().saturating_sub(6);
        let from = if rng.percent(70) { &self.keys[newest..] } else { &self.keys[..] };
        (!from.is_empty()).then(|| from[rng.below(from.len())].clone())
    }
}

fn address(rng: &mut Random, plan: Plan) -> Client {
    if plan.addresses > 1 && rng.percent(20) {
        return v6(rng.below(2) as u16, rng.below(500) as u16);
    }
    v4(rng.below(plan.addresses as usize) as u32)
}

/// One move of the attackers: one request, or several at once.
pub fn attack(world: &mut World, loot: &mut Loot, plan: Plan) {
    const LOGOUTS: [&str; 9] = [
        "/logout/",
        "/en%2Flogout/",
        "//logout/",
        "/%6Cogout/",
        "/logout/%0A",
        "/logout/?next=/",
        "/logout/?next=http://[",
        "/en/logout/",
        "/junk/logout/",
    ];
    let client = address(&mut world.rng, plan);
    let odd = if plan.odd_views { 15 } else { 10 };
    match world.rng.below(odd) {
        0 | 1 => {
            for _ in 0..8 {
                let target = world.rng.pick(&LOGOUTS);
                let client = address(&mut world.rng, plan);
                world.send(ATTACKER, Ask::get(client, target));
            }
        }
        2 => {
            loot.made_up += 1;
            let fresh = key((1 << 40) + loot.made_up);
            let target = world.rng.pick(&["/read/", "/logout/", "/cart/", "/login/", "/static/"]);
            world.send(ATTACKER, Ask::get(client, target).with(&fresh));
        }
        3 => world.send(ATTACKER, Ask::get(client, "/logout/").with(&key(1 << 41))),
        4 => world.send(ATTACKER, Ask::get(client, "/cart/")),
        5 => login_many(world, loot, client),
        6 => {
            // A write races a logout of the same key, and the key is used for ever after.
            if let Some(known) = loot.some(&mut world.rng) {
                for target in ["/cart/", "/logout/", "/cart/", "/read/", "/logout/?next=http://["] {
                    world.send(ATTACKER, Ask::get(client, target).with_text(&known));
                }
            }
        }
        7 => {
            if let Some(known) = loot.some(&mut world.rng) {
                if plan.vanishing {
                    world.django.store.remove(&known);
                }
                for _ in 0..16 {
                    let target = world.rng.pick(&["/cart/", "/read/"]);
                    world.send(ATTACKER, Ask::get(client, target).with_text(&known));
                }
            }
        }
        8 => {
            let any = format!("/any/{}/logout/", world.rng.below(30));
            let targets = ["/cart/logout/", "/confirm/logout/", "/logout/", &any, &any];
            let target = world.rng.pick(&targets);
            let method = world.rng.pick(&["GET", "HEAD", "OPTIONS", "DELETE"]);
            world.send(ATTACKER, Ask::get(client, target).method(method));
        }
        9 => {
            let target = world.rng.pick(&["/login/", "/login/?right"]);
            let known = loot.some(&mut world.rng);
            let post = Ask { cookie: known, body: true, ..Ask::get(client, target) };
            world.send(ATTACKER, post.method("POST"));
        }
        _ => {
            let target = world.rng.pick(&["/clear/", "/cycle/", "/broken/", "/none/"]);
            loot.made_up += 1;
            let cookie = match world.rng.below(4) {
                0 => loot.some(&mut world.rng),
                1 => Some(text(&key((1 << 42) + loot.made_up))),
                2 => Some(format!("a:b:{}", loot.made_up)),
                _ => None,
            };
            world.send(ATTACKER, Ask { cookie, ..Ask::get(client, target) });
        }
    }
}

/// As many logins as fit at once with one anonymous key, then with each key won.
fn login_many(world: &mut World, loot: &Loot, client: Client) {
    let Some(known) = loot.some(&mut world.rng) else {
        return world.send(ATTACKER, Ask::get(client, "/login/"));
    };
    for _ in 0..16 {
        let post = Ask { body: true, ..Ask::get(client, "/login/?right").with_text(&known) };
        world.send(ATTACKER, post.method("POST"));
    }
}

/// Someone who uses the site as it was meant to be used.
pub struct Honest {
    pub who: u32,
    pub client: Client,
    pub jar: Option<String>,
    busy: bool,
    stage: usize,
    pub refused: usize,
    pub finished: usize,
}

impl Honest {
    const VISIT: [(&'static str, &'static str); 8] = [
        ("GET", "/read/"),
        ("GET", "/login/"),
        ("POST", "/login/?right"),
        ("GET", "/read/"),
        ("GET", "/cart/"),
        ("GET", "/read/"),
        ("GET", "/logout/"),
        ("GET", "/static/"),
    ];

    pub fn new(who: u32, client: Client) -> Self {
        Self { who, client, jar: None, busy: false, stage: 0, refused: 0, finished: 0 }
    }

    pub fn act(&mut self, world: &mut World) {
        if !self.busy {
            self.busy = true;
            let (method, target) = Self::VISIT[self.stage];
            let ask = Ask {
                cookie: self.jar.clone(),
                body: method == "POST",
                ..Ask::get(self.client, target)
            };
            world.send(self.who, ask.method(method));
        }
    }

    pub fn take(&mut self, done: &Done) {
        self.busy = false;
        match &done.end {
            Ended::Refused => self.refused += 1,
            Ended::NoAnswer => {}
            Ended::Answered { set } => {
                match set.as_deref() {
                    None => {}
                    Some("") => self.jar = None,
                    Some(key) => self.jar = Some(String::from(key)),
                }
                self.stage = (self.stage + 1) % Self::VISIT.len();
                self.finished += usize::from(self.stage == 0);
            }
        }
    }
}
