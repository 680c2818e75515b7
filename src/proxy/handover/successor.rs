//! The process that takes over.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use serde_json::{Value, json};

use super::wire::{self, Came, Frame};
use super::{Link, Outbox, PATIENCE, TELL_INTERVAL, end, take, tell};
use crate::proxy::passed::{Passed, PassedSocket};
use crate::proxy::site::Site;
use crate::proxy::socket::Listening;

/// No answer of a predecessor is longer.
const LONGEST: usize = 64 << 10;

/// What a predecessor has given.
#[derive(Debug)]
pub struct Successor {
    stream: UnixStream,
    /// The sites that it has handed over, with their snapshots, in the order of the wire.
    sites: Vec<(String, Vec<u8>)>,
}

/// Why nothing could be taken over.
#[derive(Debug)]
pub enum TakeOverError {
    /// Nobody is there to take over from.
    NoPredecessor { path: PathBuf, source: io::Error },
    /// It does not hand over.
    Refused(String),
    /// It broke off.
    Broken(io::Error),
}

impl Successor {
    /// Asks the process at the control socket `path` for its sockets, and for what it knows of
    /// these sites.
    pub fn ask(path: &Path, sites: &[&str]) -> Result<(Self, Passed), TakeOverError> {
        let unreached = |source| TakeOverError::NoPredecessor { path: path.to_owned(), source };
        let mut stream = UnixStream::connect(path).map_err(unreached)?;
        let (sockets, sites) = take_all(&mut stream, sites)?;
        Ok((Self { stream, sites }, Passed::by_predecessor(sockets)))
    }

    /// The snapshot of a site, once; `None` if the predecessor has no such site.
    pub fn snapshot(&mut self, name: &str) -> Option<Vec<u8>> {
        let site = self.sites.iter_mut().find(|(site, _)| site == name)?;
        Some(std::mem::take(&mut site.1))
    }

    /// This process serves: the predecessor may drain. What it still tells is taken in, on a thread
    /// of its own, until it is gone.
    pub fn serve(self, all: &[Arc<Site>]) -> io::Result<()> {
        let Self { mut stream, sites } = self;
        let found = |name: &String| all.iter().find(|site| site.name == *name).map(Arc::clone);
        let sites: Vec<Arc<Site>> = sites.iter().filter_map(|(name, _)| found(name)).collect();
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_read_timeout(Some(TELL_INTERVAL))?;
        let link = Arc::new(Link::new(stream.try_clone()?));
        for (site, number) in sites.iter().zip(0..) {
            site.shield.outbox.store(Some(Outbox::new(&link, number, false)));
        }
        link.send(Frame::Serving);
        thread::Builder::new().name(String::from("handover")).spawn(move || {
            let mut bytes = Vec::new();
            let gone = loop {
                link.flush();
                match Came::read(&mut stream, &mut bytes) {
                    Ok(Came::Told(site)) => take(&sites, site, &bytes),
                    Ok(Came::Gone) => break true,
                    Ok(Came::Snapshot(_) | Came::Ready | Came::Serving) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => tell(&sites),
                    Err(_) => break false,
                }
            };
            end(&sites);
            if gone {
                tracing::info!("the predecessor has gone");
            } else {
                tracing::warn!("the predecessor has gone without a word: it was killed");
            }
        })?;
        Ok(())
    }
}

type Given = (Vec<PassedSocket>, Vec<(String, Vec<u8>)>);

fn take_all(stream: &mut UnixStream, sites: &[&str]) -> Result<Given, TakeOverError> {
    let broken = TakeOverError::Broken;
    stream.set_read_timeout(Some(PATIENCE * 12)).map_err(broken)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(broken)?;
    let order = json!({ "do": "take-over", "sites": sites });
    stream.write_all(format!("{order}\n").as_bytes()).map_err(broken)?;
    let answer = line(stream).map_err(broken)?;
    let foreign = || TakeOverError::Refused("its answer cannot be understood".to_owned());
    let answer: Value = serde_json::from_slice(&answer).map_err(|_| foreign())?;
    if answer.get("ok").and_then(Value::as_bool) != Some(true) {
        let why = answer.get("error").and_then(Value::as_str).unwrap_or("it does not say why");
        return Err(TakeOverError::Refused(why.to_owned()));
    }
    let list = |key: &str| answer.get(key).and_then(Value::as_array).ok_or_else(foreign);
    let mut sockets = Vec::new();
    for socket in list("sockets")? {
        let owns_file = socket.get("owns_file").and_then(Value::as_bool).unwrap_or(false);
        let passed = wire::receive(stream).map_err(broken)?;
        let listening = Listening::of(passed).map_err(broken)?;
        sockets.push(PassedSocket { listening, owns_file });
    }
    let names = list("sites")?.iter().filter_map(Value::as_str);
    let mut sites: Vec<(String, Vec<u8>)> =
        names.map(|name| (name.to_owned(), Vec::new())).collect();
    let mut bytes = Vec::new();
    loop {
        match Came::read(stream, &mut bytes).map_err(broken)? {
            Came::Snapshot(site) => {
                let site = usize::try_from(site).ok().and_then(|site| sites.get_mut(site));
                site.ok_or_else(foreign)?.1.extend_from_slice(&bytes);
            }
            Came::Ready => return Ok((sockets, sites)),
            Came::Serving | Came::Told(_) | Came::Gone => return Err(foreign()),
        }
    }
}

/// One line, and not a byte more: sockets come behind it.
fn line(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let (mut line, mut byte) = (Vec::new(), [0]);
    while line.len() < LONGEST {
        stream.read_exact(&mut byte)?;
        if byte[0] == b'\n' {
            return Ok(line);
        }
        line.push(byte[0]);
    }
    Err(io::ErrorKind::InvalidData.into())
}

impl fmt::Display for TakeOverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPredecessor { path, source } => write!(
                f,
                "there is nobody to take over from at {}: {source}; start without --take-over. Where \
                 `control` or `state` was changed, only a restart puts that in force",
                path.display()
            ),
            Self::Refused(why) => write!(f, "the running process does not hand over: {why}"),
            Self::Broken(source) => {
                write!(f, "the running process broke off the handover: {source}; look at its log")
            }
        }
    }
}

impl std::error::Error for TakeOverError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NoPredecessor { source, .. } | Self::Broken(source) => Some(source),
            Self::Refused(_) => None,
        }
    }
}
