//! Reading a file from top to bottom: its syntax, its top level, and its tables in turn.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::time::Duration;

use toml::de::DeTable;

use super::fault::{Fault, Faults, Unfit};
use super::site::{self, Places};
use super::table::{Entry, Table};
use super::value::{self, Empty, duration, integer, text};
use super::{
    CIRCLE_REMEDY, Config, Listen, Overrides, address, alerts, clients, listen, sections, tls,
    watching,
};

/// Reads `bytes`. The text that is returned is the one that the faults have their places in; the
/// configuration is good if there are none.
pub(super) fn read(bytes: &[u8], overrides: Overrides) -> (String, Config, Faults) {
    let mut faults = Faults::default();
    let text = decode(bytes, &mut faults);
    let mut config = Config::default();
    {
        let (root, errors) = DeTable::parse_recoverable(&text);
        for error in errors {
            let whole = error.span().unwrap_or(0..0);
            faults.add(syntax(whole, error.message()));
        }
        top_level(root.get_ref(), &mut config, overrides, &mut faults);
    }
    (text, config, faults)
}

/// The bytes as text. What is not UTF-8 is reported and becomes a replacement character.
fn decode(bytes: &[u8], faults: &mut Faults) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if let [first, ..] = chunk.invalid() {
            let start = text.len();
            text.push(char::REPLACEMENT_CHARACTER);
            let what = format!("not UTF-8: the byte 0x{first:02x}");
            let remedy = "save the file as UTF-8";
            faults.add(Fault::syntax(start..text.len(), what).remedy(remedy));
        }
    }
    text
}

/// What the TOML parser found. A key written twice swallows nothing, so it hides no mistakes.
fn syntax(span: Range<usize>, message: &str) -> Fault {
    match message {
        "duplicate key" => {
            Fault::new(span, message).remedy("it stands above already: leave one of them out")
        }
        message if message.starts_with("string values must be quoted") && span.is_empty() => {
            Fault::syntax(span, "no value behind `=`")
        }
        message if message.starts_with("string values must be quoted") => {
            Fault::syntax(span, "not a number, nor true or false, nor text in double quotes")
                .remedy("write text, durations and sizes in double quotes")
        }
        message => Fault::syntax(span, message),
    }
}

fn top_level(root: &DeTable<'_>, config: &mut Config, overrides: Overrides, faults: &mut Faults) {
    let mut top = Table::new("", 0..0, Some(root));
    let before = faults.len();
    let listen = top.read("listen", &mut config.listen, faults, |entry, faults| {
        value::list(entry, faults, Empty::Allowed, text(address))
    });
    top.read("unix_mode", &mut config.unix_mode, faults, text(listen::mode));
    let mut base = Config::default().sites.swap_remove(0);
    top.read("state", &mut base.state, faults, text(site::state));
    let mut control = None;
    top.read("control", &mut control, faults, |entry, faults| {
        text(address::control_path)(entry, faults).map(Some)
    });
    top.read("trusted_proxies", &mut config.trusted_proxies, faults, |entry, faults| {
        clients::prefixes(Empty::Allowed)(entry, faults)
    });
    top.read("cores", &mut config.cores, faults, |entry: &Entry<'_, '_>, faults| {
        integer(0..=1_024)(entry, faults).map(NonZeroUsize::new)
    });
    let drain = duration(Duration::ZERO..=Duration::from_secs(3_600));
    top.read("drain_timeout", &mut config.drain_timeout, faults, drain);
    let introduced = top.table("proxy_protocol", faults);
    let introduced = sections::proxy_protocol(introduced, &mut config.proxy_protocol, faults);
    let mut all = site::Budgets::default();
    let Places { upstream } = site::keys(&mut top, &mut base, &mut all, faults);
    sections::downstream_limits(
        top.table("downstream_limits", faults),
        &mut config.downstream_limits,
        faults,
    );
    sections::upgrades(top.table("upgrades", faults), &mut config.upgrades, faults);
    sections::http2(top.table("http2", faults), &mut config.http2, faults);
    let tls = tls::read(top.table("tls", faults), &mut config.tls, faults);
    if faults.len() == before {
        listeners(config, &listen, &tls, &overrides, faults);
    }
    sections::log(top.table("log", faults), &mut config.log, faults);
    sections::access_log(top.table("access_log", faults), &mut config.access_log, faults);
    alerts::alerts(top.table("alerts", faults), &mut config.alerts, faults);
    let sample = top.table("refusal_sample", faults);
    alerts::refusal_sample(sample, &mut config.refusal_sample, faults);
    let mut written = watching::Written::default();
    watching::admin(top.table("admin", faults), &mut config.admin, &mut written, faults);
    watching::history(top.table("history", faults), &mut config.history, &mut written, faults);
    sections::save(top.table("save", faults), &mut config.save_interval, faults);

    // Sites inherit what the command line says.
    let keeps_nothing = overrides.state == Some(None);
    let of_admin = written.place.clone().unwrap_or(0..0);
    config.put(overrides, &mut base, control, written);
    let entry = top.entry("site", faults);
    let sites = site::read(entry, base, keeps_nothing, &mut all, faults);
    top.finish(faults);
    all.finish(faults);
    // A default that stands where a mistake is shall not make another mistake.
    let addresses_are_good = faults.len() == before;
    if addresses_are_good && config.awaits_nobodys_header() {
        let what = "proxy_protocol.from: nobody's PROXY header would be read";
        let remedy = "name the proxies that send it: from = [\"10.0.0.5\"]";
        faults.add(Fault::new(introduced, what).remedy(remedy));
    }
    let mut states = BTreeSet::new();
    for (site, places) in &sites {
        if let Some(state) = &site.state
            && !states.insert(state)
            && addresses_are_good
        {
            let what = format!("two sites have the state file {}", state.display());
            faults.add(Fault::new(0..0, what).remedy("give each a file of its own"));
        }
        if let Some((address, _)) = config.circle(site).filter(|_| addresses_are_good) {
            let what = format!("upstream: Floodwall itself listens on {address}");
            let place = places.upstream.clone().or(upstream.clone());
            let place = place.or(listen.clone()).unwrap_or(0..0);
            faults.add(Fault::new(place, what).remedy(CIRCLE_REMEDY));
        }
    }
    config.sites = sites.into_iter().map(|(site, _)| site).collect();
    if addresses_are_good {
        watching::alone(config, &config.sites, of_admin, faults);
        watching::files_alone(config, &config.sites, faults);
    }
}

/// Each address is for one thing, and there is one at all.
fn listeners(
    config: &Config,
    listen: &Option<Range<usize>>,
    places: &tls::Places,
    overrides: &Overrides,
    faults: &mut Faults,
) {
    let plain = if overrides.listen.is_empty() { &config.listen } else { &overrides.listen };
    if plain.is_empty() && config.tls.listen.is_empty() {
        let fault = Fault::new(listen.clone().unwrap_or(0..0), "listen: an empty list");
        faults.add(fault.remedy("name at least one address, here or as `listen` in [tls]"));
    }
    let mut taken: BTreeSet<SocketAddr> = plain.iter().filter_map(Listen::tcp).collect();
    let of_tls = [
        ("tls.listen", &config.tls.listen, &places.listen),
        ("tls.redirect", &config.tls.redirect, &places.redirect),
    ];
    for (key, addresses, place) in of_tls {
        for address in addresses.iter().filter(|address| address.port() != 0) {
            if !taken.insert(*address) {
                let what = format!("{key}: {address} is listened on for something else already");
                let fault = Fault::new(place.clone().unwrap_or(0..0), what);
                faults.add(fault.remedy("give each its own port; plain HTTP is `listen`"));
            }
        }
    }
}

fn address(text: &str) -> Result<Listen, Unfit> {
    listen::listen(text).map_err(Unfit::new)
}
