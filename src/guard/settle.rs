//! Settlement: what an answer proves, and what follows for the ledger, the budgets, the spares and
//! the cookie. The rules of keys in one place:
//!
//! | the answer's session cookie | key known | key unknown, dead, or none |
//! |---|---|---|
//! | none, status < 500 | nothing written | nothing written |
//! | none, status ≥ 500, or no answer | uncertain; a second flush is charged | uncertain: the charge stays |
//! | same key | renewed | **created** |
//! | another key | rotated, free, once for each key; then **created** | **created** |
//! | empty value | deleted | nothing written |

mod lessons;

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Guard;
use super::exchange::{Facts, Outcome, RelayCookie, Sent, Settlement, Ticket, WaitFor};
use super::fact::{Event, Notice, Write};
use super::key::{KeyHash, SessionKey};
use super::ledger::{KeyRecord, Renewal, Room, Rotation, Successor};
use super::moment::Moment;
use super::policy::AfterLogout;
use super::route::Effect;
use super::set_cookie::{Evidence, SetSession};
use super::spares::{End, Nature, Spares, Taken};

impl Guard {
    /// Settles an exchange, however it ended.
    pub fn settle(
        &self,
        ticket: impl Into<Box<Ticket>>,
        outcome: Outcome<'_>,
        now: Moment,
    ) -> Settlement {
        self.settle_ticket(ticket.into(), outcome, now)
    }

    fn settle_ticket(
        &self,
        mut ticket: Box<Ticket>,
        outcome: Outcome<'_>,
        now: Moment,
    ) -> Settlement {
        if let Outcome::Answered(first, second) = outcome {
            self.learn(first, ticket.carried);
            self.learn_login(&ticket, first);
            if let Some(second) = second {
                self.learn(second, ticket.carried);
            }
        }
        let sent = std::mem::replace(&mut ticket.sent, Sent::Nothing);
        let mut settling = Settling {
            guard: self,
            // The application was spared a cookie that the client still has; unless it was
            // replaced: the client may have the new one by now, and a deletion would take that.
            removed: matches!(sent, Sent::Nothing | Sent::Proof(_))
                && ticket.carried
                && !ticket.replaced,
            redirects: match outcome {
                Outcome::Answered(first, _) => (300..400).contains(&first.status),
                Outcome::Unsent | Outcome::NoAnswer => false,
            },
            facts: Facts::none(ticket.route, ticket.debtor.client, ticket.standing),
            notice: None,
            records: [None; 2],
            now,
        };
        if ticket.passes {
            self.learned.passed();
        }
        let (cookie, wake) = match sent {
            Sent::Spare(lease) => {
                let cookie = settling.spare(&mut ticket, Taken::Spare(lease), outcome);
                // Who cannot have a turn yet is not to ask for it.
                (cookie, self.spares.allows(now).then_some(WaitFor::Spare))
            }
            Sent::Proof(lease) => {
                let cookie = settling.spare(&mut ticket, Taken::Proof(lease), outcome);
                (cookie, Some(WaitFor::Spare))
            }
            Sent::Known(key, lease) => {
                let hash = lease.key;
                let cookie = settling.ordinary(&mut ticket, Some((key, hash)), true, outcome);
                // The key is judged before the next exchange of it begins.
                self.ledger.leave(lease);
                (cookie, Some(WaitFor::Key(hash)))
            }
            Sent::Unknown(key) => {
                let hash = self.keys.key(&key);
                (settling.ordinary(&mut ticket, Some((key, hash)), false, outcome), None)
            }
            Sent::Nothing | Sent::Foreign => {
                let cookie = settling.ordinary(&mut ticket, None, false, outcome);
                (cookie, None)
            }
        };
        let Settling { facts, mut notice, records, .. } = settling;
        if let (Some(page), Outcome::Answered(evidence, _)) = (&ticket.page, outcome) {
            let learned = self.learn_class(page, evidence, &facts, now);
            notice = notice.or(learned);
        }
        let cookie = if ticket.observe { RelayCookie::Keep } else { cookie };
        Settlement { cookie, facts, notice, records, wake }
    }

    /// Charges what an exchange holds, because it takes too long: what is held does not leak. There
    /// is no refund any more, whatever its answer says.
    pub fn charge(&self, ticket: &mut Ticket, now: Moment) {
        if let Some(hold) = ticket.hold.take() {
            self.budgets.keep(hold, now);
            ticket.charged = true;
        }
    }
}

/// A settlement in the making.
struct Settling<'a> {
    guard: &'a Guard,
    removed: bool,
    /// The client is sent elsewhere.
    redirects: bool,
    facts: Facts,
    notice: Option<Notice>,
    records: [Option<KeyRecord>; 2],
    now: Moment,
}

impl Settling<'_> {
    /// The end of an exchange that had a spare, or that could prove its path.
    fn spare(&mut self, ticket: &mut Ticket, lane: Taken, outcome: Outcome<'_>) -> RelayCookie {
        let spares = &self.guard.spares;
        let evidence = match outcome {
            Outcome::Unsent => {
                if spares.give_back(lane) {
                    self.keep(ticket);
                    self.wrote(Write::Uncertain);
                } else {
                    self.refund(ticket);
                }
                return RelayCookie::Keep;
            }
            Outcome::NoAnswer => None,
            Outcome::Answered(first, _) => Some(first),
        };
        let doubtful = match (&lane, outcome) {
            (Taken::Proof(_), Outcome::Answered(first, second)) => {
                let failed = second.is_none_or(Evidence::failed);
                Spares::proof_wanted(first).filter(|_| failed)
            }
            (Taken::Proof(_) | Taken::Spare(_), _) => None,
        };
        let (end, notice) = match lane {
            Taken::Spare(lease) => spares.settle(lease, evidence, ticket.debtor.client, self.now),
            Taken::Proof(lease) => {
                let second = match outcome {
                    Outcome::Answered(_, second) => second,
                    Outcome::Unsent | Outcome::NoAnswer => None,
                };
                spares.settle_proof(lease, evidence, second, self.now)
            }
        };
        self.notice = notice;
        let silent = evidence.is_none_or(|evidence| evidence.session == SetSession::Nothing);
        let withheld = match (ticket.carried, silent) {
            (true, _) => RelayCookie::Delete,
            (false, true) => RelayCookie::Keep,
            (false, false) => RelayCookie::Strip,
        };
        let cookie = match end {
            End::Whole => {
                self.refund(ticket);
                if !silent {
                    self.facts = self.facts.and(Event::Recycled);
                    self.told_of(withheld);
                }
                withheld
            }
            End::Lost => {
                self.keep(ticket);
                self.wrote(Write::Uncertain);
                self.told_of(withheld);
                withheld
            }
            End::Created => {
                if let Some(Evidence { session: SetSession::Key { key, max_age }, .. }) = evidence {
                    self.created(ticket, self.guard.keys.key(key), *max_age);
                }
                RelayCookie::Keep
            }
            End::Ordinary => self.ordinary(ticket, None, false, outcome),
        };
        // The second request may have ended what the first one began, and left a record that
        // nobody sees: one record was paid for, so the key is not worth another.
        if let Some(key) = doubtful {
            let (_, record) = self.guard.ledger.uncertain(self.guard.keys.key(&key), Effect::Flush);
            self.records[0] = record.or(self.records[0]);
        }
        cookie
    }

    /// The end of every other exchange. `sent` is the key that the application got; `known`
    /// whether the ledger held it alive when the exchange began.
    fn ordinary(
        &mut self,
        ticket: &mut Ticket,
        sent: Option<(SessionKey, KeyHash)>,
        known: bool,
        outcome: Outcome<'_>,
    ) -> RelayCookie {
        let evidence = match outcome {
            Outcome::Unsent => {
                self.refund(ticket);
                return RelayCookie::Keep;
            }
            Outcome::NoAnswer => {
                self.uncertain(ticket, sent);
                return RelayCookie::Keep;
            }
            Outcome::Answered(evidence, _) => evidence,
        };
        let silent = if self.removed { RelayCookie::Delete } else { RelayCookie::Keep };
        match &evidence.session {
            SetSession::Nothing if evidence.failed() => {
                self.uncertain(ticket, sent);
                silent
            }
            SetSession::Nothing => {
                self.nothing_written(ticket, evidence);
                silent
            }
            SetSession::Deletion => {
                if let Some((_, hash)) = sent.filter(|_| known) {
                    self.records[0] = self.guard.ledger.kill(hash);
                    self.wrote(Write::Deleted);
                    if ticket.effect == Effect::Flush {
                        self.guard.spares.saw_deletion();
                    }
                }
                self.refund(ticket);
                RelayCookie::Delete
            }
            // Stored under the name that the client made up.
            SetSession::Signed { .. } if !self.guard.issues_signed() => self.other_shape(ticket),
            SetSession::Signed { empty } => {
                self.refund(ticket);
                match (empty, ticket.carried) {
                    (false, _) => RelayCookie::Keep,
                    (true, false) => self.told_of(RelayCookie::Strip),
                    (true, true) => self.told_of(RelayCookie::Delete),
                }
            }
            SetSession::OtherShape => self.other_shape(ticket),
            SetSession::Key { key, max_age } => match sent {
                Some((same, hash)) if same == *key => self.same_key(ticket, hash, known, *max_age),
                Some((_, old)) => self.other_key(ticket, Some((old, known)), key, *max_age),
                None => self.other_key(ticket, None, key, *max_age),
            },
        }
    }

    fn other_shape(&mut self, ticket: &mut Ticket) -> RelayCookie {
        self.pay(ticket);
        self.wrote(Write::Created);
        self.notice = Some(Notice::KeyOfOtherShape { route: ticket.route });
        RelayCookie::Keep
    }

    fn nothing_written(&mut self, ticket: &mut Ticket, evidence: &Evidence) {
        match &evidence.lookalike {
            // The cookie name is probably wrong: refunds would be blind, so there are none.
            Some(cookie) if ticket.hold.is_some() => {
                self.keep(ticket);
                let (route, cookie) = (ticket.route, cookie.clone());
                self.notice = Some(Notice::OtherCookieLooksLikeKey { route, cookie });
            }
            Some(_) | None => self.refund(ticket),
        }
    }

    /// The first flush of a known key that ends so has replaced a record by one that nobody sees;
    /// every further one has added one. What passed because its class is clean has proved nothing.
    fn uncertain(&mut self, ticket: &mut Ticket, sent: Option<(SessionKey, KeyHash)>) {
        if let Some((_, hash)) = sent {
            let (gone, record) = self.guard.ledger.uncertain(hash, ticket.effect);
            self.records[0] = record;
            if gone && ticket.effect == Effect::Flush {
                self.pay(ticket);
            }
        }
        if ticket.passes {
            self.pay(ticket);
        }
        self.keep(ticket);
        self.wrote(Write::Uncertain);
    }

    fn same_key(
        &mut self,
        ticket: &mut Ticket,
        hash: KeyHash,
        known: bool,
        max_age: Option<Duration>,
    ) -> RelayCookie {
        // What an unpaid key held is what makes it paid.
        let pays = ticket.hold.is_some() || ticket.charged;
        let expires = self.expiry(max_age);
        match self.guard.ledger.renew(hash, expires, pays, self.now) {
            Renewal::Alive(record) => {
                self.records[0] = record;
                self.keep(ticket);
                self.wrote(Write::Renewed);
            }
            Renewal::NotAlive => {
                // Where another process serves the site, that may have issued it.
                if !known && !self.guard.is_shared() {
                    self.guard.warm_up.lock().elsewhere = Some(self.now);
                }
                self.created(ticket, hash, max_age);
            }
        }
        RelayCookie::Keep
    }

    fn other_key(
        &mut self,
        ticket: &mut Ticket,
        old: Option<(KeyHash, bool)>,
        key: &SessionKey,
        max_age: Option<Duration>,
    ) -> RelayCookie {
        let new = self.guard.keys.key(key);
        let withheld = self.is_after_logout(ticket, old);
        let rotation = match old {
            Some((old, true)) => {
                let successor = if withheld { Successor::Withheld } else { Successor::Relayed };
                let (rotation, record) = self.guard.ledger.rotate(old, successor);
                self.records[1] = record;
                rotation
            }
            Some((_, false)) | None => Rotation::Further,
        };
        match rotation {
            Rotation::Free { paid, alone, logged_in } => {
                let inherits = alone || ticket.effect != Effect::Write || !self.in_debt(ticket);
                let paid = (paid && inherits) || ticket.hold.is_some() || ticket.charged;
                self.keep(ticket);
                if !withheld {
                    let logged_in = self.may_be_login(ticket) || logged_in;
                    self.issue(new, paid, logged_in, max_age);
                }
                self.wrote(Write::Rotated);
            }
            Rotation::Further if withheld => {
                self.pay(ticket);
                self.wrote(Write::Created);
            }
            Rotation::Further => self.created(ticket, new, max_age),
        }
        if withheld { self.told_of(RelayCookie::Delete) } else { RelayCookie::Keep }
    }

    /// Whether a new key is the empty session that an old Django hands out after a logout. A
    /// request with content may be a login to the same path, a view that was seen to write fills
    /// the session, and so did the view of an application that would have deleted an empty one:
    /// their keys are relayed.
    fn is_after_logout(&self, ticket: &Ticket, old: Option<(KeyHash, bool)>) -> bool {
        let flushed = match (old, ticket.nature) {
            (Some((_, true)), nature) => nature != Nature::Writes,
            (Some((_, false)), nature) => nature == Nature::Flushes,
            (None, _) => false,
        };
        flushed
            && !ticket.observe
            && ticket.effect == Effect::Flush
            && !ticket.body
            && !self.guard.spares.application_deletes()
            && self.guard.policy.session.after_logout == AfterLogout::Delete
    }

    /// A record came into being, and the client gets its key.
    fn created(&mut self, ticket: &mut Ticket, key: KeyHash, max_age: Option<Duration>) {
        let paid = self.pay(ticket);
        let alone = !ticket.carried && self.guard.habits.bare_logins.load(Ordering::Relaxed);
        let logged_in = alone && self.redirects && self.may_be_login(ticket);
        self.issue(key, paid, logged_in, max_age);
        self.wrote(Write::Created);
        if let Some(path) = &ticket.path {
            self.guard.spares.created_on(path);
        }
    }

    /// A new session after content was sent to a login: of somebody whose session was known, or who
    /// had none, got none with the login page, and is sent elsewhere. A wrong password brings neither: Django 1.4 begins a session
    /// with it, but shows the form again. A made-up cookie proves nothing.
    fn may_be_login(&self, ticket: &Ticket) -> bool {
        let login = ticket.effect == Effect::Rotate && ticket.body && !ticket.observe;
        if login {
            self.guard.regulars.note(ticket.debtor.client, self.now);
        }
        login
    }

    fn issue(&mut self, key: KeyHash, paid: bool, logged_in: bool, max_age: Option<Duration>) {
        let expires = self.expiry(max_age);
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let flags = flag(paid, KeyRecord::PAID) | flag(logged_in, KeyRecord::LOGGED_IN);
        let (record, room) = self.guard.ledger.issue(key, expires, flags, self.now);
        self.records[0] = Some(record);
        if room == Room::Overflowed {
            self.guard.warm_up.lock().overflowed = Some(self.now);
            self.notice.get_or_insert(Notice::LedgerOverflowed);
        }
    }

    fn expiry(&self, max_age: Option<Duration>) -> Moment {
        // As the ledger's warmth has it, whatever was in force when the exchange began.
        let age = max_age.unwrap_or_else(|| self.guard.warm_up.lock().lifetime);
        self.now.after(age.min(Guard::LONGEST_AGE))
    }

    /// Charges what was written, from the hold or late; says whether a budget had it.
    fn pay(&self, ticket: &mut Ticket) -> bool {
        match ticket.hold.take() {
            Some(hold) => {
                self.guard.budgets.keep(hold, self.now);
                true
            }
            None if ticket.charged || ticket.observe || ticket.exempt => true,
            None => {
                if ticket.passes {
                    let site = self.guard.policy.budgets[ticket.budget].site;
                    self.guard.learned.owe(site.period(), self.now);
                }
                self.guard.budgets.charge_late(ticket.budget, ticket.debtor, self.now)
            }
        }
    }

    /// Of several exchanges of a key on a route that nobody said rotates, each may bring another
    /// key. Where those of before are not paid off, being paid is not passed on: else one paid key
    /// would bring records for ever.
    fn in_debt(&self, ticket: &Ticket) -> bool {
        !ticket.observe
            && !ticket.exempt
            && self.guard.budgets.in_debt(ticket.budget, ticket.debtor, self.now)
    }

    fn keep(&self, ticket: &mut Ticket) {
        if let Some(hold) = ticket.hold.take() {
            self.guard.budgets.keep(hold, self.now);
        }
    }

    fn refund(&self, ticket: &mut Ticket) {
        if let Some(hold) = ticket.hold.take() {
            self.guard.budgets.refund(hold);
        }
    }

    fn wrote(&mut self, write: Write) {
        self.facts = self.facts.and(Event::Wrote(write));
    }

    fn told_of(&mut self, cookie: RelayCookie) -> RelayCookie {
        self.facts = match cookie {
            RelayCookie::Keep => self.facts,
            RelayCookie::Strip => self.facts.and(Event::Stripped),
            RelayCookie::Delete => self.facts.and(Event::Deleted),
        };
        cookie
    }
}
