//! What a running process is told, over the control socket and by signals.

use std::io;

use sd_notify::NotifyState;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::control::{Control, ControlError, Order};
use super::core::App;
use super::upgrade::Program;
use super::{explain, supervisor};
use crate::admin::Source;
use crate::telemetry::alerts::{Alerts, told};
use crate::telemetry::status;

/// What a running process can be told to do.
pub struct Orders<'a> {
    /// Opens the socket by which it is told; `None`: by signals only. Called once all addresses are
    /// bound; again where a successor has taken its place, and failed.
    pub control: &'a dyn Fn() -> Result<Option<Control>, ControlError>,
    /// Reads the configuration again and puts it in force: what there is to tell, or why the old
    /// one stays.
    pub reload: &'a dyn Fn() -> Result<String, String>,
    /// How to start a successor.
    pub program: Option<Program>,
    /// Told when this process serves.
    pub serving: &'a dyn Fn() -> io::Result<()>,
}

/// The signals that are obeyed.
pub(super) struct Signals {
    pub(super) term: Signal,
    pub(super) int: Signal,
    pub(super) hup: Signal,
    pub(super) usr1: Signal,
}

/// Those that are no reason to end, which they else are.
pub(super) struct EarlySignals {
    hup: Signal,
    usr1: Signal,
}

impl EarlySignals {
    pub(super) fn caught() -> io::Result<Self> {
        let (hup, usr1) = (SignalKind::hangup(), SignalKind::user_defined1());
        Ok(Self { hup: signal(hup)?, usr1: signal(usr1)? })
    }

    /// The others too: before, they end the process.
    pub(super) fn and_those_that_end(self) -> io::Result<Signals> {
        let Self { hup, usr1 } = self;
        let (term, int) = (SignalKind::terminate(), SignalKind::interrupt());
        Ok(Signals { term: signal(term)?, int: signal(int)?, hup, usr1 })
    }
}

/// Carries out what needs nothing but what is in force.
pub(super) fn obey(order: Order, app: &App, orders: &Orders<'_>) {
    match order.word() {
        "reload" => {
            let outcome = reload(orders);
            tokio::spawn(async move {
                match outcome {
                    Ok(text) => order.answer(&text, json!({})).await,
                    Err(error) => order.refuse(&error).await,
                }
            });
        }
        "status" => {
            let snapshot = app.snapshot();
            let (text, json) = (status::text(&snapshot), status::json(&snapshot));
            tokio::spawn(async move { order.answer(&text, json).await });
        }
        "explain" => {
            let in_force = app.in_force.load();
            let limits = &in_force.settings.downstream_limits;
            let outcome = explain::explain(&in_force.sites, limits, app.clock, &order.order);
            tokio::spawn(async move {
                match outcome {
                    Ok((text, json)) => order.answer(&text, json).await,
                    Err(error) => order.refuse(&error).await,
                }
            });
        }
        "test-alert" => {
            let (alerts, clock) = (app.alerts.settings(), app.clock);
            tokio::spawn(async move {
                let tried = tokio::task::spawn_blocking(move || {
                    told(&Alerts::test(&alerts, &move || (clock.now(), clock.unix_ms())))
                });
                match tried.await {
                    Ok(Ok(text)) => order.answer(&text, json!({})).await,
                    Ok(Err(error)) => order.refuse(&error).await,
                    Err(error) => order.refuse(&error.to_string()).await,
                }
            });
        }
        _ => {
            let orders = "reload, status, explain, test-alert, upgrade and take-over";
            tokio::spawn(async move {
                order.refuse(&format!("not an order; there are {orders}")).await;
            });
        }
    }
}

/// Reloads, and tells everybody how that went.
pub(super) fn reload(orders: &Orders<'_>) -> Result<String, String> {
    supervisor::reloading();
    let outcome = (orders.reload)();
    supervisor::tell(&[NotifyState::Ready]);
    match &outcome {
        Ok(text) => tracing::info!("reloaded: {text}"),
        Err(error) => tracing::error!(%error, "not reloaded: the old configuration stays"),
    }
    outcome
}

/// Writes a line for each site.
pub(super) fn tell_status(app: &App) {
    app.in_force.load().sites.all().iter().for_each(|site| site.shield.tell_status());
}
