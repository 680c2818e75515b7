//! The thread of the admin listener: it accepts, and has [`Admin`] answer.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::socket::{Listener, Socket};
use crate::admin::Admin;

/// The pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The thread, and what ends it.
#[derive(Debug)]
pub(super) struct Watched {
    thread: JoinHandle<()>,
    end: watch::Sender<bool>,
}

impl Watched {
    /// Serves on these sockets, which are registered with the runtime.
    pub(super) fn start(
        runtime: Runtime,
        listeners: Vec<Listener>,
        admin: Arc<Admin>,
    ) -> io::Result<Self> {
        let (end, ended) = watch::channel(false);
        let thread = thread::Builder::new().name("admin".to_owned()).spawn(move || {
            runtime.block_on(serve(listeners, admin, ended));
            runtime.shutdown_background();
        })?;
        Ok(Self { thread, end })
    }

    /// Accepts nothing any more, and lets answers end that are on their way.
    pub(super) fn end(&self) {
        self.end.send_replace(true);
    }

    /// Waits until it has ended.
    pub(super) fn join(self) -> thread::Result<()> {
        self.end();
        self.thread.join()
    }
}

async fn serve(listeners: Vec<Listener>, admin: Arc<Admin>, mut ended: watch::Receiver<bool>) {
    let mut accepting = JoinSet::new();
    accepting.spawn(Arc::clone(&admin).look());
    for listener in listeners {
        accepting.spawn(accept(listener, Arc::clone(&admin)));
    }
    // An error says that the other end is gone, which is an end, too.
    let _ = ended.wait_for(|ended| *ended).await;
    drop(accepting);
    admin.end().await;
}

/// Accepts connections until it is dropped; they go on.
async fn accept(listener: Listener, admin: Arc<Admin>) {
    loop {
        let admin = Arc::clone(&admin);
        match listener.accept().await {
            Ok((Socket::Tcp(stream), _)) => drop(tokio::spawn(admin.serve(stream))),
            Ok((Socket::Unix(stream), _)) => drop(tokio::spawn(admin.serve(stream))),
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
        // Who has lost a place to this one goes first.
        tokio::task::yield_now().await;
    }
}
