//! The tables of fixed keys. Each key stands once, with its bounds.

use std::num::{NonZeroU8, NonZeroU32};
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use super::fault::{Fault, Faults, Unfit};
use super::table::{Entry, Table};
use super::value::{self, Empty, boolean, duration, integer, size, text, word};
use super::{
    AcceptHeader, AccessFormat, AccessLog, DownstreamLimits, Http2, Log, LogFormat, LogLevel,
    ProxyProtocol, SendHeader, UpgradeProtocols, Upgrades, UpstreamLimits,
};
use super::{address, clients, pattern};
use crate::guard::policy::{AfterLogout, LearnedPolicy, RecyclePolicy, SessionPolicy, Unknown};
use crate::guard::protocol::carries_requests;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// Bounds of every table of keys, sessions or clients: below, the site would refuse its own
/// users; above, the memory is not there.
pub(super) const CAPACITY: std::ops::RangeInclusive<usize> = 1_000..=100_000_000;

pub(super) fn session(mut table: Table<'_, '_>, session: &mut SessionPolicy, faults: &mut Faults) {
    table.read("cookie", &mut session.cookie, faults, text(pattern::cookie_name));
    table.read("lifetime", &mut session.lifetime, faults, duration(MINUTE..=DAY * 400));
    table.read("unknown", &mut session.unknown, faults, word(&Unknown::ALL, Unknown::word));
    let after = word(&AfterLogout::ALL, AfterLogout::word);
    table.read("after_logout", &mut session.after_logout, faults, after);
    table.read("cookie_path", &mut session.cookie_path, faults, text(cookie_path));
    table.read("cookie_domain", &mut session.cookie_domain, faults, text(cookie_domain));
    table.read("cookie_secure", &mut session.cookie_secure, faults, boolean);
    table.read("capacity", &mut session.capacity, faults, integer(CAPACITY));
    table.read("in_flight_per_key", &mut session.in_flight_per_key, faults, integer(1..=1_024));
    let anonymous = integer(1..=1_024);
    table.read("in_flight_anonymous", &mut session.in_flight_anonymous, faults, anonymous);
    table.read("key_wait", &mut session.key_wait, faults, duration(Duration::ZERO..=SECOND * 30));
    table.finish(faults);
}

/// The Path attribute of a cookie (RFC 6265, 4.1.1): anything but controls and semicolons.
fn cookie_path(text: &str) -> Result<String, Unfit> {
    let fits = text.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b';');
    if fits && text.starts_with('/') {
        Ok(text.to_owned())
    } else {
        Err(Unfit::new("not a cookie's path: a slash, then ASCII without \";\""))
    }
}

/// The Domain attribute of a cookie; the empty string sends none.
fn cookie_domain(text: &str) -> Result<Option<String>, Unfit> {
    if text.is_empty() {
        return Ok(None);
    }
    if address::is_host(text.strip_prefix('.').unwrap_or(text)) {
        return Ok(Some(text.to_owned()));
    }
    Err(Unfit::new("not a domain").remedy("write it as Django's SESSION_COOKIE_DOMAIN has it"))
}

pub(super) fn recycle(mut table: Table<'_, '_>, recycle: &mut RecyclePolicy, faults: &mut Faults) {
    table.read("spares", &mut recycle.spares, faults, integer(1..=1_024));
    table.read("slot_wait", &mut recycle.slot_wait, faults, duration(Duration::ZERO..=SECOND * 30));
    table.read("spacing", &mut recycle.spacing, faults, integer(0..=100));
    table.read("gate_for", &mut recycle.gate_for, faults, duration(SECOND..=DAY));
    table.finish(faults);
}

pub(super) fn learned(mut table: Table<'_, '_>, learned: &mut LearnedPolicy, faults: &mut Faults) {
    table.read("capacity", &mut learned.capacity, faults, integer(256..=1_000_000));
    table.read("clean_answers", &mut learned.clean_answers, faults, |entry, faults| {
        integer(1..=255)(entry, faults).and_then(NonZeroU8::new)
    });
    table.read("quiet", &mut learned.quiet, faults, duration(SECOND..=DAY));
    table.read("passes", &mut learned.passes, faults, integer(0..=1_024));
    table.finish(faults);
}

pub(super) fn upstream_limits(
    mut table: Table<'_, '_>,
    limits: &mut UpstreamLimits,
    faults: &mut Faults,
) {
    let connect = duration(MILLISECOND * 10..=MINUTE * 5);
    table.read("connect_timeout", &mut limits.connect_timeout, faults, connect);
    let response = duration(MILLISECOND * 100..=HOUR);
    table.read("response_timeout", &mut limits.response_timeout, faults, response);
    let idle = duration(MILLISECOND * 100..=HOUR);
    table.read("idle_timeout", &mut limits.idle_timeout, faults, idle);
    table.read("idle_connections", &mut limits.idle_connections, faults, integer(0..=65_536));
    table.read("connections", &mut limits.connections, faults, integer(0..=65_536));
    table.read("queue", &mut limits.queue, faults, integer(0..=65_536));
    let queue = duration(MILLISECOND * 10..=MINUTE * 5);
    table.read("queue_timeout", &mut limits.queue_timeout, faults, queue);
    table.finish(faults);
}

pub(super) fn downstream_limits(
    mut table: Table<'_, '_>,
    limits: &mut DownstreamLimits,
    faults: &mut Faults,
) {
    let header = duration(MILLISECOND * 100..=MINUTE * 5);
    table.read("header_timeout", &mut limits.header_timeout, faults, header);
    let wait = || duration(MILLISECOND * 100..=HOUR);
    table.read("idle_timeout", &mut limits.idle_timeout, faults, wait());
    table.read("body_timeout", &mut limits.body_timeout, faults, wait());
    table.read("send_timeout", &mut limits.send_timeout, faults, wait());
    table.read("body_rate", &mut limits.body_rate, faults, size(0..=1 << 20));
    let pause = duration(Duration::ZERO..=SECOND);
    table.read("refusal_pause", &mut limits.refusal_pause, faults, pause);
    // Others take as much: with less, requests that reached the application before would not.
    table.read("head_bytes", &mut limits.head_bytes, faults, size(8 << 10..=1 << 20));
    table.read("headers", &mut limits.headers, faults, integer(16..=1_024));
    // `http` takes 65,534 bytes (`uri::MAX_LEN`).
    table.read("target_bytes", &mut limits.target_bytes, faults, size(256..=60 << 10));
    table.read("body_bytes", &mut limits.body_bytes, faults, size(1 << 10..=1 << 40));
    let connections = || integer(16..=1_000_000);
    table.read("connections", &mut limits.connections, faults, connections());
    table.read("connections_per_client", &mut limits.connections_per_client, faults, connections());
    table.finish(faults);
}

pub(super) fn upgrades(mut table: Table<'_, '_>, upgrades: &mut Upgrades, faults: &mut Faults) {
    table.read("protocols", &mut upgrades.protocols, faults, protocols);
    table.read("idle_timeout", &mut upgrades.idle_timeout, faults, duration(SECOND..=DAY));
    let tunnels = || integer(1..=1_000_000);
    table.read("tunnels", &mut upgrades.tunnels, faults, tunnels());
    table.read("tunnels_per_client", &mut upgrades.tunnels_per_client, faults, tunnels());
    table.finish(faults);
}

/// Names of protocols as `Upgrade` has them (RFC 9110, 7.8), or "*" alone.
fn protocols(entry: &Entry<'_, '_>, faults: &mut Faults) -> Option<UpgradeProtocols> {
    let names = value::list(entry, faults, Empty::Allowed, text(protocol))?;
    match names.as_slice() {
        [any] if any == "*" => Some(UpgradeProtocols::Any),
        names if names.iter().any(|name| name == "*") => {
            let fault = entry.fault("\"*\" stands beside other names");
            faults.add(fault.remedy("leave them out: it is any protocol"));
            None
        }
        _ => Some(UpgradeProtocols::Named(names)),
    }
}

fn protocol(text: &str) -> Result<String, Unfit> {
    let is_token = |part: &str| {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        !part.is_empty() && part.bytes().all(fits)
    };
    let (name, version) = text.split_once('/').unwrap_or((text, "1"));
    if !is_token(name) || !is_token(version) {
        return Err(Unfit::new("not the name of a protocol")
            .remedy("write it as the Upgrade header has it, as in \"websocket\""));
    }
    if carries_requests(name) {
        return Err(Unfit::new("a tunnel of it would pass requests that nobody looks at")
            .remedy("leave it out: HTTP and TLS are never tunnelled"));
    }
    Ok(text.to_ascii_lowercase())
}

pub(super) fn upstream_proxy_protocol(
    mut table: Table<'_, '_>,
    send: &mut SendHeader,
    faults: &mut Faults,
) {
    table.read("send", send, faults, word(&SendHeader::ALL, SendHeader::word));
    table.finish(faults);
}

/// Reads `[proxy_protocol]`; where the list stands, if it does.
pub(super) fn proxy_protocol(
    mut table: Table<'_, '_>,
    settings: &mut ProxyProtocol,
    faults: &mut Faults,
) -> Range<usize> {
    let accept = word(&AcceptHeader::ALL, AcceptHeader::word);
    let accept = table.read("accept", &mut settings.accept, faults, accept);
    let prefixes = clients::prefixes(Empty::Allowed);
    let from = table.read("from", &mut settings.from, faults, prefixes);
    let place = from.or(accept).unwrap_or_else(|| table.span());
    table.finish(faults);
    place
}

pub(super) fn http2(mut table: Table<'_, '_>, http2: &mut Http2, faults: &mut Faults) {
    table.read("enabled", &mut http2.enabled, faults, boolean);
    table.read("streams", &mut http2.streams, faults, integer(1..=1_024));
    let list = size(8 << 10..=1 << 20);
    table.read("header_list_bytes", &mut http2.header_list_bytes, faults, list);
    table.read("resets", &mut http2.resets, faults, integer(16..=100_000));
    table.finish(faults);
}

pub(super) fn log(mut table: Table<'_, '_>, log: &mut Log, faults: &mut Faults) {
    table.read("format", &mut log.format, faults, word(&LogFormat::ALL, LogFormat::word));
    table.read("level", &mut log.level, faults, word(&LogLevel::ALL, LogLevel::word));
    table.read("flood_interval", &mut log.flood_interval, faults, duration(SECOND..=DAY));
    table.read("flood_quiet", &mut log.flood_quiet, faults, duration(SECOND..=DAY));
    table.read("flood_events", &mut log.flood_events, faults, |entry: &Entry<'_, '_>, faults| {
        integer(1..=1_000)(entry, faults).and_then(NonZeroU32::new)
    });
    table.finish(faults);
}

pub(super) fn access_log(mut table: Table<'_, '_>, log: &mut AccessLog, faults: &mut Faults) {
    let format = word(&AccessFormat::ALL, AccessFormat::word);
    let written = table.read("format", &mut log.format, faults, format);
    let file = table.read("file", &mut log.file, faults, text(access_file));
    let span = table.span();
    match (written, file) {
        // Who names a file wants lines in it.
        (None, Some(_)) if log.file.is_some() => {
            let what = "access_log.format: missing, so that nothing is logged";
            let remedy = "write format = \"combined\", \"common\", \"json\", or \"off\"";
            faults.add(Fault::missing(span, what).remedy(remedy));
        }
        (Some(_), _) if log.format != AccessFormat::Off && log.file.is_none() => {
            let what = "access_log.file: missing, so that there is nowhere to log to";
            let remedy =
                "write file = \"/var/log/floodwall/access.log\", or \"-\" for standard output";
            faults.add(Fault::missing(span, what).remedy(remedy));
        }
        _ => {}
    }
    table.finish(faults);
}

/// The file of the access log; the empty string has none.
fn access_file(text: &str) -> Result<Option<PathBuf>, Unfit> {
    if text.contains('\0') {
        return Err(Unfit::new("a path cannot hold a NUL byte"));
    }
    if text.ends_with('/') {
        let remedy = format!("write \"{text}access.log\"");
        return Err(Unfit::new("a directory; the log is one file").remedy(remedy));
    }
    Ok((!text.is_empty()).then(|| PathBuf::from(text)))
}

pub(super) fn save(mut table: Table<'_, '_>, interval: &mut Duration, faults: &mut Faults) {
    table.read("interval", interval, faults, duration(MILLISECOND * 100..=HOUR));
    table.finish(faults);
}
