//! The thread that keeps a history: when it looks, when it writes, and what it does when it cannot.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::file::{self, OpenError};
use super::minutes::{Flood, Look, Minute, Minutes};
use super::store::{Run, Store};
use super::{Order, Settings};
use crate::telemetry::kept::KeptCounts;
use crate::telemetry::snapshot::Snapshot;

/// Between two looks at the process. A site forgets floods when twenty more have ended.
const LOOK: Duration = Duration::from_secs(15);

/// So many minutes wait for a file that cannot be written.
const MOST_WAITING: usize = 60;

/// And so many floods.
const MOST_FLOODS: usize = 1_000;

/// Others may keep a file locked for so many writes before the operator is told.
const PATIENT_WRITES: u32 = 2;

/// Between two looks for what is older than it is to be, in seconds.
const BETWEEN_FORGETTING: u64 = 3_600;

pub(super) struct Writer {
    settings: Settings,
    counts: Arc<KeptCounts>,
    run: Run,
    store: Option<Store>,
    minutes: Minutes,
    /// What is to be written, oldest first.
    waiting: VecDeque<Minute>,
    floods: HashMap<(String, String, u64), Flood>,
    lost: u64,
    failed_in_a_row: u32,
    told: bool,
    forgot_unix: Option<u64>,
    ends: bool,
}

impl Writer {
    pub(super) fn new(settings: Settings, counts: Arc<KeptCounts>, first: &Snapshot) -> Self {
        let unix_ms = first.unix_ms;
        Self {
            settings,
            counts,
            run: Run {
                process: first.process,
                began: (unix_ms / 1_000).saturating_sub(first.uptime.as_secs()),
            },
            store: None,
            minutes: Minutes::new(unix_ms),
            waiting: VecDeque::new(),
            floods: HashMap::new(),
            lost: 0,
            failed_in_a_row: 0,
            told: false,
            forgot_unix: None,
            ends: false,
        }
    }

    /// Keeps the history until told to end.
    pub(super) fn run(mut self, look: &dyn Fn() -> Snapshot, orders: &Receiver<Order>) {
        let mut unix_ms = look().unix_ms;
        // What a run before left is put in order now, and what is wrong with the file is told.
        self.write(unix_ms / 1_000, false);
        loop {
            let rest_of_minute = Duration::from_millis(60_000 - unix_ms % 60_000);
            let told = match orders.recv_timeout(rest_of_minute.min(LOOK)) {
                Err(RecvTimeoutError::Timeout) => {
                    let snapshot = look();
                    unix_ms = snapshot.unix_ms;
                    self.look(&snapshot);
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
                Ok(order) => order,
            };
            // What has been told since is written with it: a disk may be slower than whoever tells.
            for order in std::iter::once(told).chain(orders.try_iter()) {
                unix_ms = self.obey(order).unwrap_or(unix_ms);
            }
            self.write(unix_ms / 1_000, self.ends);
            if self.ends {
                return;
            }
        }
    }

    /// Takes down what it is told, and when that was, in milliseconds since 1970.
    fn obey(&mut self, order: Order) -> Option<u64> {
        match order {
            Order::Keep(keep) => {
                if keep < self.settings.keep {
                    self.forgot_unix = None;
                }
                self.settings.keep = keep;
                None
            }
            Order::Note(snapshot) => {
                self.note(&snapshot);
                Some(snapshot.unix_ms)
            }
            Order::End(snapshot) => {
                self.ends = true;
                self.note(&snapshot);
                Some(snapshot.unix_ms)
            }
        }
    }

    /// Looks at the process, and writes where there is something to write.
    fn look(&mut self, snapshot: &Snapshot) {
        let look = self.minutes.look(snapshot);
        let due = look.over.is_some() || look.news;
        self.queue(look);
        if due {
            self.write(snapshot.unix_ms / 1_000, false);
        }
    }

    /// Takes down how the process stands, in the middle of a minute.
    fn note(&mut self, snapshot: &Snapshot) {
        let mut look = self.minutes.look(snapshot);
        if let Some(over) = look.over.take() {
            self.wait(over);
        }
        look.over = Some(self.minutes.take(snapshot)).filter(|minute| minute.rows() > 0);
        self.queue(look);
    }

    fn queue(&mut self, look: Look) {
        for flood in look.floods {
            let key = (flood.site.clone(), flood.route.clone(), flood.first_ns);
            if self.floods.len() < MOST_FLOODS || self.floods.contains_key(&key) {
                self.floods.insert(key, flood);
            }
        }
        if let Some(minute) = look.over {
            self.wait(minute);
        }
    }

    fn wait(&mut self, minute: Minute) {
        if self.waiting.len() == MOST_WAITING {
            self.waiting.pop_front();
            self.lost += 1;
            self.counts.lost_minute();
        }
        self.waiting.push_back(minute);
    }

    /// Writes all that waits. What cannot be written waits on.
    fn write(&mut self, unix: u64, last: bool) {
        match self.try_write(unix, last) {
            Ok(rows) => {
                self.counts.wrote(rows, self.waiting.len() as u64, unix);
                self.waiting.clear();
                self.floods.clear();
                self.failed_in_a_row = 0;
                if std::mem::take(&mut self.told) {
                    let minutes_lost = std::mem::take(&mut self.lost);
                    tracing::info!(
                        file = %self.settings.file.display(), minutes_lost,
                        "the history is written again"
                    );
                }
            }
            Err(error) => {
                self.counts.failed();
                self.tell(&error, last);
            }
        }
    }

    fn try_write(&mut self, unix: u64, last: bool) -> Result<u64, OpenError> {
        if let Some(store) = &self.store
            && !store.is_there()?
        {
            tracing::warn!(
                file = %self.settings.file.display(),
                "the history is gone, moved or replaced: it is begun anew"
            );
            self.store = None;
        }
        let path = &self.settings.file;
        let open = || {
            let (store, aside) = Store::open(path, &self.run, unix)?;
            tell_aside(path, aside);
            Ok::<_, OpenError>(store)
        };
        let store = match &mut self.store {
            Some(store) => store,
            none => none.insert(open()?),
        };
        let mut written = store.write(&self.waiting, self.floods.values(), unix, last);
        if let Err(error) = &written
            && file::is_damage(error)
        {
            self.store = None;
            tell_aside(path, Some(file::set_aside(path, unix)?));
            let store = self.store.insert(open()?);
            written = store.write(&self.waiting, self.floods.values(), unix, last);
        }
        let rows = written?;
        let Some(store) = &mut self.store else { return Ok(rows) };
        let due = |before: u64| unix.abs_diff(before) >= BETWEEN_FORGETTING;
        if !last && self.forgot_unix.is_none_or(due) {
            self.forgot_unix = Some(unix);
            if let Err(error) = store.forget(self.settings.keep, unix) {
                // It is tried again in an hour; what is there was written all the same.
                tracing::warn!(
                    file = %path.display(), %error,
                    remedy = file::remedy_of_sql(&error),
                    "what is older than history.keep cannot be removed"
                );
            }
        }
        Ok(rows)
    }

    /// Once, until it can be written again.
    fn tell(&mut self, error: &OpenError, last: bool) {
        self.failed_in_a_row += 1;
        let patient = error.is_busy() && self.failed_in_a_row <= PATIENT_WRITES;
        if (self.told || patient) && !last {
            return;
        }
        self.told = true;
        tracing::warn!(
            file = %self.settings.file.display(), %error, remedy = error.remedy(),
            "the history cannot be written: requests are served all the same"
        );
    }
}

fn tell_aside(file: &Path, aside: Option<PathBuf>) {
    if let Some(aside) = aside {
        tracing::warn!(
            file = %file.display(), aside = %aside.display(),
            "the history was damaged: it is set aside, and begun anew"
        );
    }
}
