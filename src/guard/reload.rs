//! Another policy for what a guard remembers: nothing is forgotten, and no budget is refilled.

use std::sync::Arc;

use super::Guard;
use super::fact::Missed;
use super::learned::Learned;
use super::moment::Moment;
use super::policy::Policy;
use super::route::Glances;
use super::set_cookie::Dress;
use super::sharded::Locked;
use super::spares::Spares;

impl Policy {
    /// Keys of the configuration that `new` has other values for than `self`, and that only a
    /// restart can change: they are as large as a table is, or say where in it a client stands.
    pub fn needs_restart(&self, new: &Self) -> Vec<&'static str> {
        let widest = |policy: &Self| policy.client.ipv6_tiers.last().map(|tier| tier.prefix);
        let stands_elsewhere = widest(self) != widest(new);
        let differing = [
            ("session.capacity", self.session.capacity != new.session.capacity),
            ("client.capacity", self.client.capacity != new.client.capacity),
            ("client.ipv6_tiers", stands_elsewhere),
            // Tiers are wider than it.
            (
                "client.ipv6_prefix",
                stands_elsewhere && self.client.ipv6_prefix != new.client.ipv6_prefix,
            ),
            ("learned.capacity", self.learned.capacity != new.learned.capacity),
        ];
        differing.into_iter().filter_map(|(key, differs)| differs.then_some(key)).collect()
    }

    /// `new`, with the values of `self` wherever only a restart can change them.
    fn followed_by(&self, mut new: Self) -> Self {
        if self.needs_restart(&new).contains(&"client.ipv6_tiers") {
            new.client.ipv6_tiers.clone_from(&self.client.ipv6_tiers);
            new.client.ipv6_prefix = self.client.ipv6_prefix;
        }
        new.session.capacity = self.session.capacity;
        new.client.capacity = self.client.capacity;
        new.learned.capacity = self.learned.capacity;
        new
    }
}

impl Guard {
    /// A guard of another policy that shares the memory of this one. Both may be used at the same
    /// time: exchanges that this one admitted are settled by it.
    ///
    /// What was owed in sessions stays owed, at the new rates, and the limits are in force for both
    /// guards from now on. Keys, spares, regular clients, challenges and what was learned of paths
    /// are kept. What [`Policy::needs_restart`] names is as it was.
    ///
    /// A longer `session.lifetime` makes the ledger cold, as it does after a restart, and so does
    /// another `session.cookie` or `session.key_shape`. Keys are known by the cookie that they were
    /// issued in: under another one those of before are unknown, and known again when it is back;
    /// spares and what was learned of paths were of that cookie too, and are not taken along.
    ///
    /// The state file should get a new snapshot after it.
    pub fn reconfigured(&self, policy: Policy, now: Moment) -> Self {
        let policy = self.policy.followed_by(policy);
        let (before, session) = (&self.policy.session, &policy.session);
        let renamed = before.cookie != session.cookie;
        {
            let mut warm_up = self.warm_up.lock();
            warm_up.reconfigure(session.lifetime, now);
            if renamed || before.key_shape != session.key_shape {
                warm_up.start_anew(Missed::OtherCookie, now);
            }
        }
        let keys = self.secret.of_keys(&self.home, &session.cookie);
        let dress = Dress::configured(session);
        let (spares, learned) = if renamed {
            let seed = self.spares.other_seed();
            (
                Spares::new(&policy.recycle, session.lifetime, keys, seed),
                Learned::new(&policy.learned, self.secret),
            )
        } else {
            (
                self.spares.reconfigured(&policy.recycle, session.lifetime, now),
                self.learned.reconfigured(&policy.learned),
            )
        };
        Self {
            ledger: self
                .ledger
                .reconfigured(session.in_flight_per_key, session.in_flight_anonymous),
            budgets: self.budgets.reconfigured(
                &policy.budgets,
                &policy.client,
                &policy.challenge_cookie,
                now,
            ),
            spares,
            learned,
            regulars: self.regulars.clone(),
            tokens: self.tokens.reconfigured(policy.challenge_cookie.max_age),
            challenges: policy.challenges(),
            warm_up: Arc::clone(&self.warm_up),
            shared: Arc::clone(&self.shared),
            dress: if renamed || dress != Dress::configured(before) {
                Arc::new(Locked::new(dress))
            } else {
                Arc::clone(&self.dress)
            },
            habits: if renamed { Arc::default() } else { Arc::clone(&self.habits) },
            secret: self.secret,
            home: Arc::clone(&self.home),
            keys,
            trace: self.trace,
            run: self.run,
            glances: Glances::new(&policy.rules),
            policy,
        }
    }
}
