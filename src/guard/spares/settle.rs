//! How an exchange on a recycling path ends: what its answer proves of the spare, and of the path.

use super::super::client::Client;
use super::super::fact::Notice;
use super::super::key::SessionKey;
use super::super::moment::Moment;
use super::super::set_cookie::{Evidence, SetSession};
use super::table::{Slot, Stage, Table};
use super::{End, ProofLease, SpareLease, Spares, Taken};

impl Spares {
    /// Gives a slot back, with what the answer proves; `None` where there was no answer.
    pub fn settle(
        &self,
        lease: SpareLease,
        evidence: Option<&Evidence>,
        client: Client,
        now: Moment,
    ) -> (End, Option<Notice>) {
        let owes = lease.owes;
        match self.settle_slot(lease, evidence, client, now) {
            (End::Whole, notice) if owes => (End::Lost, notice),
            settled => settled,
        }
    }

    fn settle_slot(
        &self,
        lease: SpareLease,
        evidence: Option<&Evidence>,
        client: Client,
        now: Moment,
    ) -> (End, Option<Notice>) {
        let mut table = self.table.lock();
        table.spacing.end(lease.began, now);
        let Table { paths, keys, deletes: application_deletes, .. } = &mut *table;
        let (path, route) = (&mut paths[lease.path], lease.route);
        let Stage::Proved { slots, deletes, writers, .. } = &mut path.stage else {
            // A lease is only given on a proved path, which stays one while a slot is leased.
            return (End::Lost, None);
        };
        let slot = &mut slots[lease.slot];
        slot.leased = false;
        let mut empty = |slot: &mut Slot| {
            if let Some((key, _)) = slot.spare.take() {
                keys.remove(&self.secret.key(&key));
            }
        };
        let Some(evidence) = evidence else {
            empty(slot);
            return (End::Lost, None);
        };
        match &evidence.session {
            SetSession::Nothing if evidence.failed() => {
                empty(slot);
                (End::Lost, None)
            }
            SetSession::Nothing | SetSession::Signed { .. } => (End::Whole, None),
            SetSession::Deletion => {
                empty(slot);
                *deletes = true;
                (End::Whole, None)
            }
            SetSession::Key { key, .. } if *key == lease.sent => {
                empty(slot);
                // A request that was turned away before the view (405, a missing CSRF token) says
                // nothing of the view: where every answer saves the session, anybody could switch
                // recycling off with one.
                let gated = (evidence.status < 400).then(|| self.gate(path, route, now));
                (End::Lost, gated)
            }
            SetSession::Key { .. } if *deletes || *application_deletes => {
                empty(slot);
                if !writers.contains(&client) && writers.len() < Self::WRITERS {
                    writers.push(client);
                }
                let habit = writers.len() >= Self::WRITERS;
                (End::Created, habit.then(|| self.gate_habit(path, route, now)))
            }
            SetSession::Key { key, .. } => {
                empty(slot);
                slot.spare = Some((*key, now.after(self.lifetime)));
                keys.insert(self.secret.key(key));
                (End::Whole, None)
            }
            SetSession::OtherShape => {
                empty(slot);
                (End::Lost, None)
            }
        }
    }

    /// Whether a first answer on an unproved path is worth a second look: the key to send.
    pub fn proof_wanted(first: &Evidence) -> Option<SessionKey> {
        match &first.session {
            SetSession::Key { key, .. } if !first.failed() => Some(*key),
            SetSession::Key { .. }
            | SetSession::Nothing
            | SetSession::Deletion
            | SetSession::Signed { .. }
            | SetSession::OtherShape => None,
        }
    }

    /// Ends the exchange of an unproved path: `first` is the answer without a session, `second`
    /// the one to the same request with the key that the first one brought.
    pub fn settle_proof(
        &self,
        lease: ProofLease,
        first: Option<&Evidence>,
        second: Option<&Evidence>,
        now: Moment,
    ) -> (End, Option<Notice>) {
        let mut table = self.table.lock();
        let table = &mut *table;
        let (path, route) = (&mut table.paths[lease.path], lease.route);
        if let Stage::Unproved { busy, clean, quiet } = &mut path.stage {
            *busy = false;
            let nothing = first.is_some_and(|e| e.session == SetSession::Nothing && !e.failed());
            *clean = if nothing { *clean + 1 } else { 0 };
            *quiet = *clean >= Self::CLEAN;
            if *quiet {
                *clean = 0;
                path.gated = Some(now.after(self.policy.gate_for));
            }
        }
        let Some(SetSession::Key { key: first_key, .. }) = first.map(|e| &e.session) else {
            return (End::Ordinary, None);
        };
        let Some(second) = second else { return (End::Ordinary, None) };
        let (spare, deletes, end) = match &second.session {
            SetSession::Deletion => {
                table.deletes = true;
                (None, true, End::Whole)
            }
            // It flushes, and then fills the new session, which nobody gets.
            SetSession::Key { key, .. }
                if table.deletes && key != first_key && !second.failed() =>
            {
                (None, true, End::Lost)
            }
            SetSession::Key { key, .. } if key != first_key && !second.failed() => {
                (Some((*key, now.after(self.lifetime))), false, End::Whole)
            }
            SetSession::Key { .. }
            | SetSession::Nothing
            | SetSession::Signed { .. }
            | SetSession::OtherShape => return (End::Created, Some(self.gate(path, route, now))),
        };
        let (share, end) = match Table::share_of(table.limit, &mut table.promised) {
            0 => match table.take_slot(now, self.policy.gate_for, false, self.secret) {
                Some(Slot { spare: None, .. }) => (1, end),
                // Its record stays in the store, and nobody will use it any more: it is paid for.
                Some(Slot { spare: Some(_), .. }) => (1, End::Lost),
                // All are in use just now.
                None => return (if spare.is_none() { end } else { End::Lost }, None),
            },
            share => (share, end),
        };
        let path = &mut table.paths[lease.path];
        if let Some((key, _)) = &spare {
            table.keys.insert(self.secret.key(key));
        }
        path.prove(share, deletes, spare);
        (end, Some(Notice::PathFlushes { route, path: path.text() }))
    }

    /// Gives back what an exchange took and did not use; says whether it is to be charged for it
    /// all the same.
    pub fn give_back(&self, lane: Taken) -> bool {
        let mut table = self.table.lock();
        match lane {
            Taken::Spare(lease) => {
                table.spacing.give_back();
                if let Stage::Proved { slots, .. } = &mut table.paths[lease.path].stage {
                    slots[lease.slot].leased = false;
                }
                lease.owes
            }
            Taken::Proof(lease) => {
                if let Stage::Unproved { busy, .. } = &mut table.paths[lease.path].stage {
                    *busy = false;
                }
                false
            }
        }
    }
}
