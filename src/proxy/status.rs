//! How a process stands, for whoever asks by the control socket.

use std::fmt::Write;

use serde_json::{Value, json};

use super::core::App;

/// Some lines for people, and the same for programs.
pub fn of(app: &App) -> (String, Value) {
    let in_force = app.in_force.load();
    let (version, pid) = (env!("CARGO_PKG_VERSION"), std::process::id());
    let connections = app.seats.taken();
    let mut text = format!("floodwall {version}, process {pid}, {connections} connections\n");
    let mut sites = Vec::new();
    for site in in_force.sites.all() {
        let shield = &site.shield;
        let status = shield.guard.status(app.clock.now());
        let warm = status.warmth == crate::guard::fact::Warmth::Warm;
        let ledger = if warm { "warm" } else { "not warm" };
        let (keys, spares, clients) = (status.keys, status.spares, status.clients);
        let held = shield.guard.under_way().held;
        // A string takes everything.
        let _ = writeln!(
            text,
            "site {}: ledger {ledger}, {} of {} keys, {} of {} spares, {} of {} clients in debt, \
             {held} sessions held",
            site.name,
            keys.used,
            keys.capacity,
            spares.used,
            spares.capacity,
            clients.used,
            clients.capacity,
        );
        sites.push(json!({
            "site": site.name,
            "warm": warm,
            "keys": keys.used,
            "keys_capacity": keys.capacity,
            "spares": spares.used,
            "spares_capacity": spares.capacity,
            "clients": clients.used,
            "clients_capacity": clients.capacity,
            "held": held,
        }));
    }
    let json = json!({
        "version": version, "process": pid, "connections": connections, "sites": sites,
    });
    (text, json)
}
