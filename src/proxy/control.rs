//! The control socket: how a running process is told what to do, and asked how it stands.
//!
//! A Unix socket that nobody but its owner may use. One JSON object on a line each way, then the
//! connection ends; a successor's connection goes on, for the [handover](super::handover). It
//! refuses to know what an order means.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::Mode;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// No order is longer.
const LONGEST: u64 = 64 << 10;
/// The pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long whoever has connected may take to say what it wants, and to take the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A control socket that listens. Its file goes when this is dropped, unless it is another's by
/// then.
#[derive(Debug)]
pub struct Control {
    listener: StdListener,
    path: PathBuf,
    /// Device and inode of the file.
    identity: Option<(u64, u64)>,
}

/// Why there is no control socket.
#[derive(Debug)]
pub enum ControlError {
    /// Another process listens there.
    InUse {
        path: PathBuf,
    },
    /// There is a file that is no socket.
    NoSocket {
        path: PathBuf,
    },
    Bind {
        path: PathBuf,
        source: io::Error,
    },
}

/// What has come by the control socket.
#[derive(Debug)]
pub struct Order {
    /// A JSON object with what is to be done under `do`.
    pub order: Value,
    stream: UnixStream,
}

impl Control {
    /// Listens at `path`. What a process left there that is gone is replaced; a `successor`
    /// replaces its predecessor's too.
    pub fn bind(path: &Path, successor: bool) -> Result<Self, ControlError> {
        let failed = |source| ControlError::Bind { path: path.to_owned(), source };
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
            Ok(file) if !file.file_type().is_socket() => {
                return Err(ControlError::NoSocket { path: path.to_owned() });
            }
            Ok(_) if !successor && StdStream::connect(path).is_ok() => {
                return Err(ControlError::InUse { path: path.to_owned() });
            }
            Ok(_) => {}
        }
        // Beside it, then renamed: nobody ever finds nothing there, and nobody but the owner can
        // connect in between.
        let mut beside = path.as_os_str().to_os_string();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        let _ = fs::remove_file(&beside);
        let mask = rustix::process::umask(Mode::RWXG | Mode::RWXO | Mode::XUSR);
        let bound = StdListener::bind(&beside);
        rustix::process::umask(mask);
        let listener = bound.map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        fs::rename(&beside, path).map_err(failed)?;
        Ok(Self { listener, path: path.to_owned(), identity: identity(path) })
    }

    /// Takes orders, and hands them to `orders`; what is none is answered here. Ends when nobody
    /// takes them any more. To be spawned: it needs a runtime.
    pub async fn serve(listener: UnixListener, orders: mpsc::Sender<Order>) {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // Out of descriptors, or memory.
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let Ok(permit) = orders.clone().reserve_owned().await else { return };
            tokio::spawn(async move {
                if let Ok(Ok(order)) = timeout(PATIENCE, read(stream)).await {
                    permit.send(order);
                }
            });
        }
    }

    /// Whether its file is its own still.
    pub fn is_there(&self) -> bool {
        identity(&self.path) == self.identity
    }

    /// The listener, for a runtime's own use.
    pub fn listener(&self) -> io::Result<UnixListener> {
        UnixListener::from_std(self.listener.try_clone()?)
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if self.is_there() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

async fn read(stream: UnixStream) -> io::Result<Order> {
    let mut line = Vec::new();
    let mut reader = BufReader::new(stream).take(LONGEST);
    reader.read_until(b'\n', &mut line).await?;
    let stream = reader.into_inner().into_inner();
    match serde_json::from_slice::<Value>(&line) {
        Ok(order) if order.is_object() => Ok(Order { order, stream }),
        Ok(_) | Err(_) => {
            Order { order: Value::Null, stream }.refuse("not a JSON object on one line").await;
            Err(io::ErrorKind::InvalidData.into())
        }
    }
}

impl Order {
    /// What is to be done.
    pub fn word(&self) -> &str {
        self.order.get("do").and_then(Value::as_str).unwrap_or_default()
    }

    /// It was done; `text` is for people, the rest for programs.
    pub async fn answer(self, text: &str, mut rest: Value) {
        if let Some(rest) = rest.as_object_mut() {
            rest.insert("ok".into(), true.into());
            rest.insert("text".into(), text.into());
        }
        self.write(&rest).await;
    }

    /// It was not done.
    pub async fn refuse(self, error: &str) {
        self.write(&json!({ "ok": false, "error": error })).await;
    }

    /// The connection, for what goes on by it.
    pub fn into_stream(self) -> io::Result<StdStream> {
        let stream = self.stream.into_std()?;
        stream.set_nonblocking(false)?;
        Ok(stream)
    }

    /// Whose process it is.
    pub fn process(&self) -> Option<i32> {
        let credentials = rustix::net::sockopt::socket_peercred(self.stream.as_fd()).ok()?;
        Some(credentials.pid.as_raw_nonzero().get())
    }

    async fn write(mut self, answer: &Value) {
        let line = format!("{answer}\n");
        // Who does not wait for the answer misses it.
        let _ = timeout(PATIENCE, self.stream.write_all(line.as_bytes())).await;
    }
}

impl std::fmt::Display for ControlError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::InUse { path } => write!(
                f,
                "the control socket {} is in use by another floodwall: stop that one, replace it \
                 by `floodwall upgrade`, or give this one another with `control`",
                path.display()
            ),
            Self::NoSocket { path } => write!(
                f,
                "{} is there and no socket: remove it, or give `control` another path",
                path.display()
            ),
            Self::Bind { path, source } => write!(
                f,
                "cannot listen on the control socket {}: {source}; its folder must exist and be \
                 writable: it is that of `state`, unless `control` names a path, or \"\" for none",
                path.display()
            ),
        }
    }
}

impl std::error::Error for ControlError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Bind { source, .. } => Some(source),
            Self::InUse { .. } | Self::NoSocket { .. } => None,
        }
    }
}
