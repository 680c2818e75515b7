//! How the process stands, for people and for programs: `floodwall status`, and `/status` of the
//! admin listener.

use std::fmt::Write;

use serde_json::{Value, json};

use super::kept::Kept;
use super::snapshot::{SiteSnapshot, Snapshot};
use crate::guard::fact::Warmth;

/// Some lines.
pub fn text(snapshot: &Snapshot) -> String {
    let Snapshot { version, process, connections, .. } = snapshot;
    let connections = connections.used;
    let mut text = format!("floodwall {version}, process {process}, {connections} connections\n");
    for site in &snapshot.sites {
        let ledger = if is_warm(site) { "warm" } else { "not warm" };
        let (keys, spares, clients) = (site.guard.keys, site.guard.spares, site.guard.clients);
        // A string takes everything.
        let _ = writeln!(
            text,
            "site {}: ledger {ledger}, {} of {} keys, {} of {} spares, {} of {} clients in debt, \
             {} sessions held",
            site.name,
            keys.used,
            keys.capacity,
            spares.used,
            spares.capacity,
            clients.used,
            clients.capacity,
            site.under_way.held,
        );
    }
    text
}

/// The same as one object.
pub fn json(snapshot: &Snapshot) -> Value {
    let sites: Vec<Value> = snapshot.sites.iter().map(site).collect();
    json!({
        "version": snapshot.version,
        "process": snapshot.process,
        "uptime_s": snapshot.uptime.as_secs(),
        "draining": snapshot.draining,
        "connections": snapshot.connections.used,
        "connections_capacity": snapshot.connections.capacity,
        "history": snapshot.history.map(history),
        "sites": sites,
    })
}

fn history(kept: Kept) -> Value {
    json!({
        "rows": kept.rows,
        "minutes": kept.minutes,
        "minutes_lost": kept.minutes_lost,
        "failures": kept.failures,
        "failing": kept.failing,
        "last_unix": kept.last_unix,
    })
}

fn site(site: &SiteSnapshot) -> Value {
    let (keys, spares, clients) = (site.guard.keys, site.guard.spares, site.guard.clients);
    let tally = site.tally();
    json!({
        "site": site.name,
        "mode": site.mode,
        "warm": is_warm(site),
        "keys": keys.used,
        "keys_capacity": keys.capacity,
        "spares": spares.used,
        "spares_capacity": spares.capacity,
        "clients": clients.used,
        "clients_capacity": clients.capacity,
        "held": site.under_way.held,
        "exchanges": site.exchanges.total(),
        "refused": tally.refused(),
        "floods": site.floods.len(),
    })
}

fn is_warm(site: &SiteSnapshot) -> bool {
    site.guard.warmth == Warmth::Warm
}
