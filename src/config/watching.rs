//! How operators see what goes on: the admin listener and the history of floods.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::address;
use super::fault::{Fault, Faults, Unfit};
use super::listen::{self, Listen};
use super::table::Table;
use super::value::{self, Empty, duration, text};
use super::{Config, Site};

const DAY: Duration = Duration::from_secs(86_400);

/// Where Floodwall shows how it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Each a Unix socket, whose path may be relative to the working directory, or an address. One
    /// that others than this machine reach only with a token. Empty: nowhere.
    pub listen: Vec<Listen>,
    /// Whoever asks must know what is in it.
    pub token_file: Option<PathBuf>,
}

/// What is kept of floods and of each minute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// `None` keeps nothing. A relative path is relative to the working directory.
    pub file: Option<PathBuf>,
    /// What is older is removed. 1 hour to 10 years.
    pub keep: Duration,
}

/// What the file says of both, where it says something.
#[derive(Default)]
pub(super) struct Written {
    listen: Option<Vec<Listen>>,
    /// Where `admin.listen` is.
    pub(super) place: Option<Range<usize>>,
    file: Option<Option<PathBuf>>,
}

impl Written {
    /// Puts what is not written beside the state.
    pub(super) fn put(self, admin: &mut Admin, history: &mut History, state: Option<&Path>) {
        let beside = |what| state.map(|state| address::beside(state, what));
        admin.listen =
            self.listen.unwrap_or_else(|| beside(".admin").map(Listen::Unix).into_iter().collect());
        history.file = self.file.unwrap_or_else(|| beside(".history"));
    }
}

pub(super) fn admin(
    mut table: Table<'_, '_>,
    admin: &mut Admin,
    written: &mut Written,
    faults: &mut Faults,
) {
    let mut listen = Vec::new();
    let place = table.read("listen", &mut listen, faults, |entry, faults| {
        value::list(entry, faults, Empty::Allowed, text(address_of_admin))
    });
    table.read("token_file", &mut admin.token_file, faults, text(token_file));
    table.finish(faults);
    let Some(place) = place else { return };
    let listen: Vec<Listen> = listen.into_iter().flatten().collect();
    let open = listen.iter().filter_map(Listen::tcp).find(|address| !address.ip().is_loopback());
    if let Some(address) = open.filter(|_| admin.token_file.is_none()) {
        let what = format!("admin.listen: {address} is reached by others than this machine");
        let remedy = "write token_file = \"/etc/floodwall/admin.token\", a file with a long random \
                      token, or listen on 127.0.0.1 or a Unix socket";
        faults.add(Fault::new(place.clone(), what).remedy(remedy));
    }
    written.listen = Some(listen);
    written.place = Some(place);
}

/// The admin listener has its addresses for itself, and no site's application is there.
pub(super) fn alone(config: &Config, sites: &[Site], place: Range<usize>, faults: &mut Faults) {
    let tls = config.tls.listen.iter().map(|address| ("tls.listen", Listen::Tcp(*address)));
    let redirect = config.tls.redirect.iter().map(|one| ("tls.redirect", Listen::Tcp(*one)));
    let plain = config.listen.iter().cloned().map(|listen| ("listen", listen));
    let control = config.control.iter().cloned().map(|path| ("control", Listen::Unix(path)));
    let others: Vec<(&str, Listen)> = plain.chain(tls).chain(redirect).chain(control).collect();
    for own in &config.admin.listen {
        if let Some((key, other)) = others.iter().find(|(_, other)| own.collides_with(other)) {
            let what = format!("admin.listen: {own} is taken: {key} has {other}");
            let remedy =
                "give the admin listener an address of its own: listen = \"127.0.0.1:9180\"";
            faults.add(Fault::new(place.clone(), what).remedy(remedy));
        }
        let servers = |site: &Site| site.servers.iter().any(|server| server.upstream.is(own));
        if let Some(site) = sites.iter().find(|site| servers(site)) {
            let what = match site.name.as_str() {
                Site::ONLY => format!("admin.listen: {own} is named as upstream, too"),
                name => format!("admin.listen: {own} is named as upstream of site {name}, too"),
            };
            let remedy = "what is shown there is for operators, not for the web: give one of the \
                          two another address";
            faults.add(Fault::new(place.clone(), what).remedy(remedy));
        }
    }
}

/// What is written to is for one thing: two logs in one file are none, and neither is a history that
/// is a state file. Terminals and pipes may have several.
pub(super) fn files_alone(config: &Config, sites: &[Site], faults: &mut Faults) {
    let logs = [
        ("access_log.file", &config.access_log.file),
        ("refusal_sample.file", &config.refusal_sample.file),
        ("history.file", &config.history.file),
    ];
    let logs = logs.into_iter().filter_map(|(key, file)| Some((key, file.as_deref()?)));
    let states = sites.iter().filter_map(|site| Some(("state", site.state.as_deref()?)));
    let is_shared = |file: &Path| file == Path::new("-") || file.starts_with("/dev");
    let mut seen: Vec<(&str, &Path)> = Vec::new();
    for (key, file) in states.chain(logs).filter(|(_, file)| !is_shared(file)) {
        match seen.iter().find(|(_, other)| *other == file) {
            // Two states are told of where sites are read.
            Some((other, _)) if *other == key => {}
            Some((other, _)) => {
                let what = format!("{key}: {} is that of `{other}`, too", file.display());
                faults.add(Fault::new(0..0, what).remedy("give each a file of its own"));
            }
            None => seen.push((key, file)),
        }
    }
}

pub(super) fn history(
    mut table: Table<'_, '_>,
    history: &mut History,
    written: &mut Written,
    faults: &mut Faults,
) {
    table.read("file", &mut written.file, faults, |entry, faults| {
        text(history_file)(entry, faults).map(Some)
    });
    table.read("keep", &mut history.keep, faults, duration(DAY / 24..=DAY * 3_650));
    table.finish(faults);
}

/// Where to show it; the empty string is nowhere.
fn address_of_admin(text: &str) -> Result<Option<Listen>, Unfit> {
    match text.strip_prefix("unix:") {
        _ if text.is_empty() => Ok(None),
        Some("") => Err(Unfit::new("no path behind \"unix:\"")),
        Some(path) => Ok(address::control_path(path)?.map(Listen::Unix)),
        None => listen::listen(text).map(Some).map_err(Unfit::new),
    }
}

fn token_file(text: &str) -> Result<Option<PathBuf>, Unfit> {
    file(text, "admin.token")
}

fn history_file(text: &str) -> Result<Option<PathBuf>, Unfit> {
    file(text, "floodwall.history")
}

/// The path of a file that is called `name`, say; the empty string has none.
pub(super) fn file(text: &str, name: &str) -> Result<Option<PathBuf>, Unfit> {
    if text.contains('\0') {
        return Err(Unfit::new("a path cannot hold a NUL byte"));
    }
    if text.ends_with('/') {
        let remedy = format!("write \"{text}{name}\"");
        return Err(Unfit::new("a directory, not a file").remedy(remedy));
    }
    Ok((!text.is_empty()).then(|| PathBuf::from(text)))
}
