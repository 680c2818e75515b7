//! A process that has itself replaced: by a new start of its own program, or by a successor that
//! somebody else has started.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::thread;

use sd_notify::NotifyState;
use serde_json::json;
use tokio::sync::mpsc::UnboundedSender;

use super::control::Order;
use super::core::App;
use super::handover::predecessor::Predecessor;
use super::orders::Orders;
use super::run::Running;
use super::supervisor;

/// The flag that makes a start a takeover.
pub const TAKE_OVER: &str = "--take-over";

/// What happens while a process is replaced.
#[derive(Debug)]
pub enum Event {
    /// The successor serves, or has failed before it did.
    Serving(bool),
    /// The new process that was started has ended.
    Ended(io::Result<ExitStatus>),
}

/// How this process was started, to be started again.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// As this process was started. To be asked before its file can have been replaced.
    pub fn own() -> io::Result<Self> {
        let arguments = std::env::args_os().skip(1).filter(|one| one != TAKE_OVER).collect();
        Ok(Self { path: std::env::current_exe()?, arguments })
    }

    /// Starts it again, as the successor of this process; its number. `events` is told of its end.
    pub fn start(&self, events: UnboundedSender<Event>) -> io::Result<u32> {
        let mut child = Command::new(&self.path)
            .args(&self.arguments)
            .arg(TAKE_OVER)
            // These were for this process, by its number.
            .env_remove("LISTEN_PID")
            .env_remove("LISTEN_FDS")
            .env_remove("LISTEN_FDNAMES")
            .env_remove("WATCHDOG_PID")
            .spawn()?;
        let number = child.id();
        thread::Builder::new().name(String::from("successor")).spawn(move || {
            // Nobody listens when this process has ended before.
            let _ = events.send(Event::Ended(child.wait()));
        })?;
        Ok(number)
    }
}

/// What whoever tells such a process something is answered.
pub(super) const UNDER_WAY: &str = "this process is just being replaced: tell its successor";

const SHARED: &str = "the process before this one has not gone yet: it drains, for its drain_timeout \
                      at most; try again then";

/// Whether a predecessor is still there, and tells what it does.
fn is_shared(app: &App) -> bool {
    app.in_force.load().sites.all().iter().any(|site| site.shield.guard.is_shared())
}

/// How far this process is from being replaced.
#[derive(Default)]
pub(super) struct Replacement {
    /// Who asked for it, and the process that was started for it.
    asked: Option<(Order, u32)>,
    /// The number of the successor, once it has asked for everything.
    successor: Option<i32>,
    handover: Option<Predecessor>,
    done: bool,
}

impl Replacement {
    pub(super) fn is_under_way(&self) -> bool {
        self.asked.is_some() || self.handover.is_some()
    }

    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// Starts a successor, whose number the order is answered with when it serves.
    pub(super) fn upgrade(
        &mut self,
        order: Order,
        app: &App,
        orders: &Orders<'_>,
        events: &UnboundedSender<Event>,
    ) {
        let started = match &orders.program {
            _ if self.is_under_way() => Err(UNDER_WAY.to_owned()),
            _ if is_shared(app) => Err(SHARED.to_owned()),
            None => Err("this process does not know its own program".to_owned()),
            Some(program) => program
                .start(events.clone())
                .map_err(|error| format!("the new process cannot be started: {error}")),
        };
        match started {
            Ok(number) => {
                tracing::info!(process = number, "a successor was started");
                self.asked = Some((order, number));
            }
            Err(error) => {
                tokio::spawn(async move { order.refuse(&error).await });
            }
        }
    }

    pub(super) fn hand_over(
        &mut self,
        order: Order,
        app: &App,
        running: &Running,
        events: &UnboundedSender<Event>,
    ) {
        if self.handover.is_some() {
            tokio::spawn(order.refuse(UNDER_WAY));
            return;
        }
        if is_shared(app) {
            tokio::spawn(order.refuse(SHARED));
            return;
        }
        self.successor = order.process();
        let events = events.clone();
        let serving = move |serves| {
            // Nobody listens when this process has ended before.
            let _ = events.send(Event::Serving(serves));
        };
        let in_force = app.in_force.load();
        let question = order.order.clone();
        let begun = running.pass().and_then(|sockets| {
            let stream = order.into_stream()?;
            Predecessor::begin(stream, &question, in_force.sites.all(), sockets, serving)
        });
        match begun {
            Ok(handover) => self.handover = Some(handover),
            Err(error) => tracing::error!(%error, "nothing can be handed over"),
        }
    }

    /// Whether this process is to drain now.
    pub(super) async fn happened(&mut self, event: Event) -> bool {
        match event {
            Event::Serving(true) => {
                let number = self.successor.unwrap_or_default();
                tracing::info!(process = number, "the successor serves");
                if let Ok(number) = u32::try_from(number) {
                    supervisor::tell(&[NotifyState::MainPid(number)]);
                }
                if let Some((order, _)) = self.asked.take() {
                    let own = std::process::id();
                    let text = format!("process {number} serves; process {own} drains and ends");
                    order.answer(&text, json!({ "process": number })).await;
                }
                self.done = true;
            }
            Event::Serving(false) => {
                self.handover = None;
                self.successor = None;
            }
            Event::Ended(status) => {
                if let Some((order, _)) = self.asked.take() {
                    let how = status.map_or_else(|error| error.to_string(), |how| how.to_string());
                    let error = format!(
                        "the new process has ended ({how}): its log says why; this one goes on"
                    );
                    tracing::error!("{error}");
                    order.refuse(&error).await;
                }
            }
        }
        self.done
    }

    /// Nothing runs any more: the successor is told the rest.
    pub(super) fn finish(self) {
        if let Some(handover) = self.handover.filter(|_| self.done) {
            handover.finish();
        }
    }
}
