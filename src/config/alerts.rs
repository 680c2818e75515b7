//! Who is told of floods, and of clients that are refused: `[alerts]` and `[refusal_sample]`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;

use super::address::{self, Authority};
use super::fault::{Fault, Faults, Unfit};
use super::table::Table;
use super::value::{boolean, duration, integer, text};
use super::watching::file;

/// Where a flood's beginning and end are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alerts {
    /// Its scheme is `http` or `https`, and it has a host.
    pub webhook: Option<Uri>,
    pub webhook_secret_file: Option<PathBuf>,
    /// The authorities that are trusted, in PEM; `None`: those of the system.
    pub webhook_ca: Option<PathBuf>,
    pub syslog: Option<Syslog>,
    /// journald's socket. Absolute.
    pub journald: Option<PathBuf>,
    /// How many wait for each of the three. 1 to 10,000.
    pub queue: usize,
    /// How long one attempt may take. 100 milliseconds to 1 minute.
    pub timeout: Duration,
    /// For how long an alert is tried again. At most 1 day.
    pub retry_for: Duration,
}

/// Where a syslog listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Syslog {
    /// Absolute, and fits into `sun_path`.
    Unix(PathBuf),
    Udp(Authority),
}

/// Which refusals are told, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusalSample {
    /// Between two lines of one client. 1 second to 1 day.
    pub per_client: Duration,
    /// Lines at most. 0 to 1,000.
    pub per_second: u32,
    /// `None`: the ordinary log.
    pub file: Option<PathBuf>,
    /// Whether clients that were challenged are told of too.
    pub challenged: bool,
}

pub(super) fn alerts(mut table: Table<'_, '_>, alerts: &mut Alerts, faults: &mut Faults) {
    table.read("webhook", &mut alerts.webhook, faults, text(webhook));
    let files = text(|text| file(text, "secret"));
    let secret = table.read("webhook_secret_file", &mut alerts.webhook_secret_file, faults, files);
    let files = text(|text| file(text, "ca.pem"));
    let ca = table.read("webhook_ca", &mut alerts.webhook_ca, faults, files);
    table.read("syslog", &mut alerts.syslog, faults, text(syslog));
    table.read("journald", &mut alerts.journald, faults, text(journald));
    table.read("queue", &mut alerts.queue, faults, integer(1..=10_000));
    let timeout = duration(Duration::from_millis(100)..=Duration::from_secs(60));
    table.read("timeout", &mut alerts.timeout, faults, timeout);
    let retry = duration(Duration::ZERO..=Duration::from_secs(86_400));
    table.read("retry_for", &mut alerts.retry_for, faults, retry);
    let https = alerts.webhook.as_ref().is_some_and(|url| url.scheme() == Some(&Scheme::HTTPS));
    let of_webhook = [
        (secret, alerts.webhook_secret_file.is_some(), alerts.webhook.is_some(), "webhook"),
        (ca, alerts.webhook_ca.is_some(), https, "webhook that begins with https://"),
    ];
    for (place, is_set, is_of_use, wanted) in of_webhook {
        if let Some(place) = place
            && is_set
            && !is_of_use
        {
            let fault = Fault::new(place, format!("alerts: there is no {wanted}"));
            faults.add(fault.remedy("set it, or leave this out"));
        }
    }
    table.finish(faults);
}

pub(super) fn refusal_sample(
    mut table: Table<'_, '_>,
    sample: &mut RefusalSample,
    faults: &mut Faults,
) {
    let span = duration(Duration::from_secs(1)..=Duration::from_secs(86_400));
    table.read("per_client", &mut sample.per_client, faults, span);
    table.read("per_second", &mut sample.per_second, faults, integer(0..=1_000));
    let files = text(|text| file(text, "refused.log"));
    table.read("file", &mut sample.file, faults, files);
    table.read("challenged", &mut sample.challenged, faults, boolean);
    table.finish(faults);
}

/// The address of a webhook; the empty string has none.
fn webhook(text: &str) -> Result<Option<Uri>, Unfit> {
    if text.is_empty() {
        return Ok(None);
    }
    let unfit = |what: &str| Unfit::new(what).remedy("write \"https://host/path\"");
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
    let url: Uri = text.parse().map_err(|_| unfit("not the address of a webhook"))?;
    let scheme = url.scheme_str().unwrap_or_default();
    let authority = url.authority().filter(|_| is_plain && !text.contains('#'));
    let authority = authority.ok_or_else(|| unfit("not the address of a webhook"))?.as_str();
    if !matches!(scheme, "http" | "https") {
        return Err(unfit("not a scheme that is spoken"));
    }
    if authority.contains('@') {
        let remedy = "sign what is posted instead: webhook_secret_file";
        return Err(Unfit::new("a user name or password has no place here").remedy(remedy));
    }
    address::host_and_port(authority, 80).map_err(Unfit::new)?;
    Ok(Some(url))
}

fn syslog(text: &str) -> Result<Option<Syslog>, Unfit> {
    if text.is_empty() {
        return Ok(None);
    }
    if let Some(authority) = text.strip_prefix("udp://") {
        let authority = address::host_and_port(authority, 514).map_err(Unfit::new)?;
        return Ok(Some(Syslog::Udp(authority)));
    }
    let path = text.strip_prefix("unix:").unwrap_or(text);
    if !path.starts_with('/') {
        let remedy = "write \"/dev/log\", \"unix:/path\" or \"udp://host:514\"";
        return Err(Unfit::new("not where a syslog listens").remedy(remedy));
    }
    let path = address::unix(path).map_err(Unfit::new)?;
    Ok(Some(Syslog::Unix(path)))
}

fn journald(text: &str) -> Result<Option<PathBuf>, Unfit> {
    match text {
        "" => Ok(None),
        path if Path::new(path).is_absolute() => address::unix(path).map(Some).map_err(Unfit::new),
        _ => {
            Err(Unfit::new("not the path of a socket")
                .remedy("write \"/run/systemd/journal/socket\""))
        }
    }
}
