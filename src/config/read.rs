//! Reading a file from top to bottom: its syntax, its top level, and its tables in turn.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeTable;

use super::fault::{Fault, Faults, Unfit};
use super::table::{Entry, Table};
use super::value::{self, Empty, boolean, duration, integer, text, word};
use super::{CIRCLE_REMEDY, Config, Overrides, Profile, Upstream, address};
use super::{budgets, clients, rules, sections};
use crate::guard::policy::{Challenge, Mode};

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
        value::list(entry, faults, Empty::Refused("name at least one address"), text(listen))
    });
    let upstream = top.read("upstream", &mut config.upstream, faults, text(upstream));
    // A default that stands where a mistake is shall not make another mistake.
    let addresses_are_good = faults.len() == before;
    top.read("state", &mut config.state, faults, text(state));
    top.read("mode", &mut config.policy.mode, faults, word(&Mode::ALL, Mode::word));
    top.read("profile", &mut config.profile, faults, word(&Profile::ALL, Profile::word));
    config.policy.session.key_shape = config.profile.key_shape();
    let mut profile_rules = true;
    top.read("profile_rules", &mut profile_rules, faults, boolean);
    top.read("trusted_proxies", &mut config.trusted_proxies, faults, |entry, faults| {
        clients::prefixes(Empty::Allowed)(entry, faults)
    });
    top.read("cores", &mut config.cores, faults, |entry: &Entry<'_, '_>, faults| {
        integer(0..=1_024)(entry, faults).map(NonZeroUsize::new)
    });
    let drain = duration(Duration::ZERO..=Duration::from_secs(3_600));
    top.read("drain_timeout", &mut config.drain_timeout, faults, drain);

    let policy = &mut config.policy;
    sections::session(top.table("session", faults), &mut policy.session, faults);
    sections::recycle(top.table("recycle", faults), &mut policy.recycle, faults);
    clients::client(top.table("client", faults), &mut policy.client, faults);
    top.read("exempt", &mut policy.client.exempt, faults, clients::prefixes(Empty::Allowed));
    top.read("challenge", &mut policy.challenge, faults, word(&Challenge::ALL, Challenge::word));
    let table = top.table("challenge_cookie", faults);
    clients::challenge_cookie(table, &mut policy.challenge_cookie, &policy.session, faults);
    sections::learned(top.table("learned", faults), &mut policy.learned, faults);
    let own = budgets::read(top.table("budget", faults), &mut policy.budgets, faults);
    let profile = if profile_rules { config.profile.rules() } else { Vec::new() };
    let mut used = BTreeSet::new();
    let rule = top.entry("rule", faults);
    policy.rules = rules::read(rule, &policy.budgets, &mut used, profile, faults);
    let network = top.entry("network", faults);
    policy.client.networks = clients::networks(network, &policy.budgets, &mut used, faults);
    budgets::unused(own, &policy.budgets, &used, faults);
    sections::upstream_limits(
        top.table("upstream_limits", faults),
        &mut config.upstream_limits,
        faults,
    );
    sections::downstream_limits(
        top.table("downstream_limits", faults),
        &mut config.downstream_limits,
        faults,
    );
    sections::log(top.table("log", faults), &mut config.log, faults);
    sections::save(top.table("save", faults), &mut config.save_interval, faults);
    top.finish(faults);

    config.put(overrides);
    if let Some(address) = config.circle().filter(|_| addresses_are_good) {
        let what = format!("upstream: Floodwall itself listens on {address}");
        let place = upstream.or(listen).unwrap_or(0..0);
        faults.add(Fault::new(place, what).remedy(CIRCLE_REMEDY));
    }
}

fn listen(text: &str) -> Result<std::net::SocketAddr, Unfit> {
    address::listen(text).map_err(Unfit::new)
}

fn upstream(text: &str) -> Result<Upstream, Unfit> {
    text.parse().map_err(|what: String| Unfit::new(what))
}

/// A path; the empty string keeps nothing.
fn state(text: &str) -> Result<Option<PathBuf>, Unfit> {
    if text.contains('\0') {
        return Err(Unfit::new("a path cannot hold a NUL byte"));
    }
    if text.ends_with('/') {
        return Err(Unfit::new("a directory; the state is one file")
            .remedy(format!("write \"{text}floodwall.state\"")));
    }
    Ok((!text.is_empty()).then(|| PathBuf::from(text)))
}
