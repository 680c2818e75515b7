//! The process that is replaced.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use serde_json::{Value, json};

use super::wire::{self, Came, Frame};
use super::{Link, Outbox, PATIENCE, TELL_INTERVAL, end, take, tell};
use crate::proxy::passed::PassedSocket;
use crate::proxy::site::Site;
use crate::proxy::state::StateError;

/// So often a state file is asked for before somebody is told: for five seconds.
const ATTEMPTS: usize = 100;

/// A handover under way.
#[derive(Debug)]
pub struct Predecessor {
    link: Arc<Link>,
    done: Arc<AtomicBool>,
    thread: JoinHandle<()>,
    sites: Vec<Arc<Site>>,
}

impl Predecessor {
    /// Hands over to whoever is at the other end of `stream` and has said in `order` which sites it
    /// has. `serving` is called once it serves, or with `false` if it has failed before: then all
    /// is as it was.
    pub fn begin(
        stream: UnixStream,
        order: &Value,
        all: &[Arc<Site>],
        sockets: Vec<PassedSocket>,
        serving: impl FnOnce(bool) + Send + 'static,
    ) -> io::Result<Self> {
        let names = order.get("sites").and_then(Value::as_array);
        let names = names.into_iter().flatten().filter_map(Value::as_str);
        let sites: Vec<Arc<Site>> = names
            .filter_map(|name| all.iter().find(|site| site.name == name))
            .map(Arc::clone)
            .collect();
        stream.set_write_timeout(Some(PATIENCE))?;
        let link = Arc::new(Link::new(stream.try_clone()?));
        let done = Arc::new(AtomicBool::new(false));
        let thread = {
            let (link, done, sites) = (Arc::clone(&link), Arc::clone(&done), sites.clone());
            thread::Builder::new()
                .name(String::from("handover"))
                .spawn(move || hand_over(stream, &link, &sites, &sockets, &done, serving))?
        };
        Ok(Self { link, done, thread, sites })
    }

    /// Nothing runs here any more: the rest is told.
    pub fn finish(self) {
        tell(&self.sites);
        self.link.send(Frame::Gone);
        self.link.finish();
        self.done.store(true, Ordering::Release);
        // A panic there was told; nothing is left to hand over.
        let _ = self.thread.join();
    }
}

fn hand_over(
    mut stream: UnixStream,
    link: &Arc<Link>,
    sites: &[Arc<Site>],
    sockets: &[PassedSocket],
    done: &AtomicBool,
    serving: impl FnOnce(bool),
) {
    let given = give(&mut stream, link, sites, sockets);
    let served = given.and_then(|()| await_serving(&mut stream, link, sites));
    if let Err(error) = served {
        end(sites);
        tracing::error!(%error, "the successor has failed: this process goes on");
        sites.iter().for_each(|site| take_back(site));
        serving(false);
        return;
    }
    serving(true);
    let mut bytes = Vec::new();
    while !done.load(Ordering::Acquire) {
        link.flush();
        match Came::read(&mut stream, &mut bytes) {
            Ok(Came::Told(site)) => take(sites, site, &bytes),
            Ok(Came::Snapshot(_) | Came::Ready | Came::Serving | Came::Gone) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => tell(sites),
            // It has failed after it served. Nothing is left to do here but to drain.
            Err(_) => return end(sites),
        }
    }
}

/// Passes the sockets, then the snapshots, and lets go of the state files.
fn give(
    stream: &mut UnixStream,
    link: &Arc<Link>,
    sites: &[Arc<Site>],
    sockets: &[PassedSocket],
) -> io::Result<()> {
    let told: Vec<Value> =
        sockets.iter().map(|socket| json!({ "owns_file": socket.owns_file })).collect();
    let names: Vec<&str> = sites.iter().map(|site| &*site.name).collect();
    let answer = json!({ "ok": true, "sockets": told, "sites": names });
    stream.write_all(format!("{answer}\n").as_bytes())?;
    for socket in sockets {
        wire::pass(stream, socket.listening.as_fd())?;
    }
    for (site, number) in sites.iter().zip(0..) {
        let shield = &site.shield;
        shield.outbox.store(Some(Outbox::new(link, number, true)));
        let (wall, now) = (shield.clock.wall(), shield.clock.now());
        for piece in shield.guard.hand_over(wall, now) {
            // An empty piece would end it.
            if !piece.is_empty() {
                Frame::Snapshot { site: number, bytes: &piece }.write(stream)?;
            }
        }
        Frame::Snapshot { site: number, bytes: &[] }.write(stream)?;
        if let Some(state) = &shield.state {
            state.release();
        }
    }
    Frame::Ready.write(stream)?;
    for site in sites {
        if let Some(outbox) = &*site.shield.outbox.load() {
            outbox.open(&site.shield);
        }
    }
    Ok(())
}

/// Takes the state file back. Whoever fails closes the connection before the last of what it has:
/// until it is gone, the file is its.
fn take_back(site: &Site) {
    let Some(state) = &site.shield.state else { return };
    for attempt in 0.. {
        match state.take_back(&site.shield.guard) {
            Ok(()) => return,
            Err(error @ StateError::InUse { .. }) => {
                if attempt == ATTEMPTS {
                    tracing::error!(
                        site = site.name, %error,
                        "the successor has failed and does not end: until it is killed nothing is saved"
                    );
                }
                thread::sleep(TELL_INTERVAL);
            }
            Err(error) => {
                tracing::error!(site = site.name, %error, "the state is taken back, and not saved yet");
                return;
            }
        }
    }
}

fn await_serving(stream: &mut UnixStream, link: &Link, sites: &[Arc<Site>]) -> io::Result<()> {
    stream.set_read_timeout(Some(TELL_INTERVAL))?;
    let mut bytes = Vec::new();
    loop {
        link.flush();
        match Came::read(stream, &mut bytes) {
            Ok(Came::Serving) => return Ok(()),
            Ok(Came::Told(site)) => take(sites, site, &bytes),
            Ok(Came::Snapshot(_) | Came::Ready | Came::Gone) => {
                return Err(io::ErrorKind::InvalidData.into());
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => tell(sites),
            Err(error) => return Err(error),
        }
    }
}
