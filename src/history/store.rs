//! What is written to a history, each time in one transaction: all of it is there, or nothing.
//!
//! Counts are added to those that are there, so that processes which share a file, and minutes that
//! come again, add up.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::file::{self, Inode, OpenError, Opened};
use super::minutes::{Flood, Minute};

/// A run that was not seen for so long has died; each leaves a sign once a minute.
const DEAD_AFTER: u64 = 150;

/// So many minutes are removed at once: whoever reads does not wait long.
const MINUTES_REMOVED: u64 = 1_440;

/// A process, as a history has it.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) process: u32,
    /// Seconds since 1970.
    pub(super) began: u64,
}

/// A history that is open.
pub(super) struct Store {
    path: PathBuf,
    connection: Connection,
    inode: Inode,
    run: i64,
    words: HashMap<String, i64>,
}

impl Store {
    /// Opens it for a run, at `unix` seconds since 1970; and where a damaged one went that was in its
    /// place. Floods of runs that have died end here.
    pub(super) fn open(
        path: &Path,
        run: &Run,
        unix: u64,
    ) -> Result<(Self, Option<PathBuf>), OpenError> {
        let Opened { connection, inode, aside } = file::open(path, unix)?;
        let (path, words) = (path.to_owned(), HashMap::new());
        let mut store = Self { path, connection, inode, run: 0, words };
        let transaction = store.begin()?;
        let others = transaction
            .prepare("SELECT id, process FROM run WHERE NOT over AND (process, began) != (?1, ?2)")?
            .query_map(params![run.process, number(run.began)], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?
            .collect::<rusqlite::Result<Vec<(i64, u32)>>>()?;
        for (id, process) in others {
            if process == run.process || !runs(process) {
                end_run(&transaction, id)?;
            }
        }
        let id = transaction.query_row(
            "INSERT INTO run (process, version, began, seen) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET seen = excluded.seen RETURNING id",
            params![run.process, env!("CARGO_PKG_VERSION"), number(run.began), number(unix)],
            |row| row.get(0),
        )?;
        transaction.commit()?;
        store.run = id;
        Ok((store, aside))
    }

    /// Whether it still is the file of its name: somebody may have moved it, or set it aside.
    pub(super) fn is_there(&self) -> io::Result<bool> {
        match Inode::of(&self.path) {
            Ok(inode) => Ok(inode == self.inode),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes minutes and floods, at `unix` seconds since 1970; how many rows it was. With `last`
    /// the run is over.
    pub(super) fn write<'a>(
        &mut self,
        minutes: impl IntoIterator<Item = &'a Minute>,
        floods: impl IntoIterator<Item = &'a Flood>,
        unix: u64,
        last: bool,
    ) -> rusqlite::Result<u64> {
        let written = self.write_all(minutes, floods, unix, last);
        if written.is_err() {
            // Some of them may have been undone.
            self.words.clear();
        }
        written
    }

    fn write_all<'a>(
        &mut self,
        minutes: impl IntoIterator<Item = &'a Minute>,
        floods: impl IntoIterator<Item = &'a Flood>,
        unix: u64,
        last: bool,
    ) -> rusqlite::Result<u64> {
        let behavior = TransactionBehavior::Immediate;
        let transaction = self.connection.transaction_with_behavior(behavior)?;
        let mut writing = Writing { transaction: &transaction, words: &mut self.words, rows: 0 };
        for minute in minutes {
            writing.minute(minute)?;
        }
        for flood in floods {
            writing.flood(self.run, flood)?;
        }
        let rows = writing.rows;
        // Whoever cannot see this process may have taken it for dead.
        let seen = "UPDATE run SET seen = ?2, over = 0 WHERE id = ?1";
        transaction.execute(seen, params![self.run, number(unix)])?;
        if last {
            end_run(&transaction, self.run)?;
        }
        let dead = transaction
            .prepare("SELECT id FROM run WHERE NOT over AND seen < ?1")?
            .query_map([number(unix.saturating_sub(DEAD_AFTER))], |row| row.get(0))?
            .collect::<rusqlite::Result<Vec<i64>>>()?;
        for run in dead {
            end_run(&transaction, run)?;
        }
        transaction.commit()?;
        Ok(rows)
    }

    /// Removes what is older than `keep`, and gives the room back.
    pub(super) fn forget(&mut self, keep: Duration, unix: u64) -> rusqlite::Result<()> {
        let limit = unix.saturating_sub(keep.as_secs());
        let oldest = "SELECT min(minute) FROM (SELECT min(minute) AS minute FROM minute_exchange
            UNION ALL SELECT min(minute) FROM minute_event
            UNION ALL SELECT min(minute) FROM minute_duration
            UNION ALL SELECT min(minute) FROM minute_fill)";
        let oldest = self.connection.query_row(oldest, [], |row| row.get::<_, Option<i64>>(0))?;
        let mut upto = oldest.map_or(limit / 60, |oldest| u64::try_from(oldest).unwrap_or(0));
        loop {
            upto = upto.saturating_add(MINUTES_REMOVED).min(limit / 60);
            let transaction = self.begin()?;
            for table in ["minute_exchange", "minute_event", "minute_duration", "minute_fill"] {
                let remove = format!("DELETE FROM {table} WHERE minute < ?1");
                transaction.execute(&remove, [number(upto)])?;
            }
            if upto >= limit / 60 {
                let old = "SELECT id FROM flood WHERE last < ?1 AND state != 'running'";
                for table in ["flood_event", "flood_client"] {
                    let remove = format!("DELETE FROM {table} WHERE flood IN ({old})");
                    transaction.execute(&remove, [number(limit)])?;
                }
                let remove = format!("DELETE FROM flood WHERE id IN ({old})");
                transaction.execute(&remove, [number(limit)])?;
                let runs = "DELETE FROM run WHERE seen < ?1 AND over
                    AND id NOT IN (SELECT run FROM flood)";
                transaction.execute(runs, [number(limit)])?;
            }
            transaction.commit()?;
            if upto >= limit / 60 {
                break;
            }
        }
        // Each step gives one page back.
        let mut vacuum = self.connection.prepare("PRAGMA incremental_vacuum")?;
        let mut steps = vacuum.query([])?;
        while steps.next()?.is_some() {}
        Ok(())
    }

    fn begin(&mut self) -> rusqlite::Result<Transaction<'_>> {
        self.connection.transaction_with_behavior(TransactionBehavior::Immediate)
    }
}

/// Ends a run, and what floods it had.
fn end_run(transaction: &Transaction<'_>, run: i64) -> rusqlite::Result<()> {
    transaction.execute("UPDATE run SET over = 1 WHERE id = ?1", [run])?;
    let cut = "UPDATE flood SET state = 'cut' WHERE run = ?1 AND state = 'running'";
    transaction.execute(cut, [run]).map(drop)
}

/// Whether there is such a process, as far as can be seen.
fn runs(process: u32) -> bool {
    let process = i32::try_from(process).ok().and_then(rustix::process::Pid::from_raw);
    process.is_some_and(|process| {
        // Of another user's we learn that we may not signal it.
        rustix::process::test_kill_process(process) != Err(rustix::io::Errno::SRCH)
    })
}

/// What SQLite's integers hold of a count.
fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A transaction that is being filled.
struct Writing<'a> {
    transaction: &'a Transaction<'a>,
    words: &'a mut HashMap<String, i64>,
    rows: u64,
}

impl Writing<'_> {
    fn minute(&mut self, minute: &Minute) -> rusqlite::Result<()> {
        let at = number(minute.minute);
        let add = "ON CONFLICT DO UPDATE SET count = count + excluded.count";
        let transaction = self.transaction;
        let mut insert = transaction.prepare(&format!(
            "INSERT INTO minute_exchange VALUES (?1, ?2, ?3, ?4, ?5, ?6) {add}"
        ))?;
        for row in &minute.exchanges {
            let (site, standing) = (self.word(&row.site)?, self.word(row.standing)?);
            let (verdict, status) = (self.word(row.verdict)?, self.word(row.status)?);
            insert.execute(params![at, site, standing, verdict, status, number(row.count)])?;
        }
        let mut insert = transaction
            .prepare(&format!("INSERT INTO minute_event VALUES (?1, ?2, ?3, ?4, ?5, ?6) {add}"))?;
        for row in &minute.events {
            let (site, route) = (self.word(&row.site)?, self.word(&row.route)?);
            let (kind, detail) = (self.word(row.kind)?, self.word(row.detail)?);
            insert.execute(params![at, site, route, kind, detail, number(row.count)])?;
        }
        let mut insert = transaction
            .prepare(&format!("INSERT INTO minute_duration VALUES (?1, ?2, ?3, ?4, ?5) {add}"))?;
        for row in &minute.durations {
            let (site, kind) = (self.word(&row.site)?, self.word(row.kind)?);
            insert.execute(params![at, site, kind, number(row.upto_us), number(row.count)])?;
        }
        let mut insert = transaction.prepare(
            "INSERT INTO minute_fill VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO UPDATE
                SET most = max(most, excluded.most), capacity = excluded.capacity",
        )?;
        for row in &minute.fills {
            let (site, what) = (self.word(&row.site)?, self.word(row.what)?);
            insert.execute(params![at, site, what, number(row.most), number(row.capacity)])?;
        }
        self.rows += minute.rows() as u64;
        Ok(())
    }

    fn flood(&mut self, run: i64, flood: &Flood) -> rusqlite::Result<()> {
        let (site, route) = (self.word(&flood.site)?, self.word(&flood.route)?);
        let id: i64 = self.transaction.query_row(
            "INSERT INTO flood (run, site, route, first_ns, began, last, state, events, observed,
                clients, clients_exact, mean_rate, peak_rate)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
             ON CONFLICT DO UPDATE SET last = excluded.last, state = excluded.state,
                events = excluded.events, observed = excluded.observed,
                clients = excluded.clients, clients_exact = excluded.clients_exact,
                mean_rate = excluded.mean_rate, peak_rate = excluded.peak_rate
             RETURNING id",
            params![
                run,
                site,
                route,
                number(flood.first_ns),
                number(flood.began),
                number(flood.last),
                if flood.ended { "ended" } else { "running" },
                number(flood.events),
                number(flood.observed),
                number(flood.clients),
                flood.clients_exact,
                flood.mean_rate,
                flood.peak_rate,
            ],
            |row| row.get(0),
        )?;
        for (kind, detail, count) in &flood.tally {
            let (kind, detail) = (self.word(kind)?, self.word(detail)?);
            let put = "INSERT OR REPLACE INTO flood_event VALUES (?1, ?2, ?3, ?4)";
            self.transaction.execute(put, params![id, kind, detail, number(*count)])?;
        }
        self.transaction.execute("DELETE FROM flood_client WHERE flood = ?1", [id])?;
        for top in &flood.top {
            let (client, least) = (top.client.to_string(), number(top.at_least));
            let put = "INSERT INTO flood_client VALUES (?1, ?2, ?3, ?4)";
            self.transaction.execute(put, params![id, client, least, number(top.at_most)])?;
        }
        self.rows += 1 + (flood.tally.len() + flood.top.len()) as u64;
        Ok(())
    }

    /// The number that stands for a word.
    fn word(&mut self, word: &str) -> rusqlite::Result<i64> {
        if let Some(id) = self.words.get(word) {
            return Ok(*id);
        }
        let put = "INSERT INTO word (text) VALUES (?1) ON CONFLICT DO NOTHING";
        self.transaction.execute(put, [word])?;
        let find = "SELECT id FROM word WHERE text = ?1";
        let id = self.transaction.query_row(find, [word], |row| row.get(0))?;
        self.words.insert(word.to_owned(), id);
        Ok(id)
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
