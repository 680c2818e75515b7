//! The client's half of the control socket: one question, one answer, each a JSON object on a
//! line.

use std::fmt;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use socket2::{Domain, SockAddr, Socket, Type};

use super::Trouble;
use super::line::{Asked, Running};

/// For what is answered from memory.
const SOON: Duration = Duration::from_secs(10);
/// For a configuration that is read, checked and put in force.
const RELOAD: Duration = Duration::from_secs(60);
/// For a new process that starts, reads the state and says that it serves.
const UPGRADE: Duration = Duration::from_secs(180);
/// For three receivers, each of which may take a minute.
const ALERT: Duration = Duration::from_secs(200);
/// No answer is longer.
const LONGEST: u64 = 4 << 20;

/// `floodwall reload`.
pub fn reload(running: &Running) -> Result<String, Trouble> {
    // The file is checked here too: its mistakes are told even where nothing runs.
    let socket = socket(running)?;
    let answer = ask(&socket, &json!({ "do": "reload" }), RELOAD)?;
    told(answer, false).map_err(|error| Trouble::Misconfigured(error.to_string()))
}

/// `floodwall upgrade`.
pub fn upgrade(running: &Running) -> Result<String, Trouble> {
    let answer = ask(&socket(running)?, &json!({ "do": "upgrade" }), UPGRADE)?;
    Ok(told(answer, false)?)
}

/// `floodwall status`.
pub fn status(asked: &Asked) -> Result<String, Trouble> {
    let answer = ask(&socket(&asked.running)?, &json!({ "do": "status" }), SOON)?;
    Ok(told(answer, asked.json)?)
}

/// `floodwall test-alert`.
pub fn test_alert(running: &Running) -> Result<String, Trouble> {
    match ask(&socket(running)?, &json!({ "do": "test-alert" }), ALERT) {
        Err(error) if error.is_nobody() => match running.config()? {
            Some(config) => floodwall::proxy::start::test_alerts(&config)
                .map_err(Trouble::Failed)
                .map(|text| format!("{text}(sent from here: no running process was found)\n")),
            None => Err(error.into()),
        },
        answer => Ok(told(answer?, false)?),
    }
}

/// What a running process says to this; soon, or not at all.
pub fn question(socket: &Path, question: &Value, json: bool) -> Result<String, NoAnswer> {
    told(ask(socket, question, SOON)?, json)
}

/// Where the running process listens.
pub fn socket(running: &Running) -> Result<PathBuf, Trouble> {
    let config = running.config()?.unwrap_or_default();
    if let Some(path) = &running.control {
        return Ok(path.clone());
    }
    config.control().map(Path::to_owned).ok_or_else(|| {
        Trouble::Misconfigured(
            "floodwall: the configuration has no control socket, so that no process can be asked\n  \
             = give `control` a path and restart; send SIGHUP to have the file read again"
                .to_owned(),
        )
    })
}

/// What a person, or a program, is to see of an answer.
fn told(mut answer: Value, json: bool) -> Result<String, NoAnswer> {
    if answer.get("ok").and_then(Value::as_bool) != Some(true) {
        let error = answer.get("error").and_then(Value::as_str).map(str::to_owned);
        return Err(error.map_or(NoAnswer::Foreign, NoAnswer::Refused));
    }
    let text = answer.as_object_mut().and_then(|answer| answer.remove("text"));
    if json {
        return Ok(format!("{answer}\n"));
    }
    match text {
        Some(Value::String(text)) => Ok(format!("{}\n", text.trim_end())),
        _ => Err(NoAnswer::Foreign),
    }
}

/// Asks, and waits for so long at most.
fn ask(socket: &Path, question: &Value, patience: Duration) -> Result<Value, NoAnswer> {
    #[allow(clippy::disallowed_methods, reason = "a person waits by the real clock")]
    let now = Instant::now;
    let until = now() + patience;
    let mut stream = connect(socket)?;
    let lost = |error: io::Error| match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => NoAnswer::Late(patience),
        _ => NoAnswer::Lost,
    };
    stream.set_write_timeout(Some(patience)).map_err(lost)?;
    stream.write_all(format!("{question}\n").as_bytes()).map_err(lost)?;
    let (mut line, mut piece) = (Vec::new(), [0; 4096]);
    while !line.contains(&b'\n') {
        let left = until.saturating_duration_since(now());
        if left.is_zero() {
            return Err(NoAnswer::Late(patience));
        }
        stream.set_read_timeout(Some(left)).map_err(lost)?;
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => line.extend_from_slice(&piece[..length]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(lost(error)),
        }
        if line.len() as u64 > LONGEST {
            return Err(NoAnswer::Foreign);
        }
    }
    if line.is_empty() {
        return Err(NoAnswer::Lost);
    }
    serde_json::from_slice(&line).map_err(|_| NoAnswer::Foreign)
}

/// Connects without waiting for a process that accepts nothing.
fn connect(path: &Path) -> Result<UnixStream, NoAnswer> {
    let unreached = |source: io::Error| {
        let is_socket = fs::metadata(path).is_ok_and(|file| file.file_type().is_socket());
        let why = match source.kind() {
            ErrorKind::NotFound => Unreached::Absent,
            ErrorKind::PermissionDenied => Unreached::Forbidden,
            ErrorKind::ConnectionRefused if !is_socket => Unreached::NoSocket,
            ErrorKind::ConnectionRefused => Unreached::Nobody,
            ErrorKind::WouldBlock => Unreached::Busy,
            _ => Unreached::Otherwise(source),
        };
        NoAnswer::Unreached { path: path.to_owned(), why }
    };
    let address = SockAddr::unix(path).map_err(unreached)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(unreached)?;
    // It stands at once, or the queue of the listener is full.
    socket.set_nonblocking(true).map_err(unreached)?;
    socket.connect(&address).map_err(unreached)?;
    socket.set_nonblocking(false).map_err(unreached)?;
    Ok(OwnedFd::from(socket).into())
}

/// Why a running process has not answered as it was asked to.
#[derive(Debug)]
pub enum NoAnswer {
    /// There is none at the socket.
    Unreached { path: PathBuf, why: Unreached },
    /// It answered nothing in this time.
    Late(Duration),
    /// The connection ended without an answer.
    Lost,
    /// Its answer cannot be understood.
    Foreign,
    /// It says why not.
    Refused(String),
}

/// Why nobody was reached.
#[derive(Debug)]
pub enum Unreached {
    Absent,
    Nobody,
    NoSocket,
    Forbidden,
    Busy,
    Otherwise(io::Error),
}

impl NoAnswer {
    /// Whether no process runs there, as far as can be told.
    pub fn is_nobody(&self) -> bool {
        match self {
            Self::Unreached { why, .. } => matches!(why, Unreached::Absent | Unreached::Nobody),
            Self::Late(_) | Self::Lost | Self::Foreign | Self::Refused(_) => false,
        }
    }
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, why) = match self {
            Self::Refused(error) => return f.write_str(error),
            Self::Unreached { path, why } => (path.display(), why),
            Self::Late(patience) => {
                return write!(
                    f,
                    "floodwall: no answer within {} seconds\n  \
                     = the running process is overloaded or hangs: look at its log",
                    patience.as_secs()
                );
            }
            Self::Lost => {
                return f.write_str(
                    "floodwall: the connection ended without an answer\n  \
                     = the running process was just stopping: look at its log, and try again",
                );
            }
            Self::Foreign => {
                return f.write_str(
                    "floodwall: the answer cannot be understood\n  \
                     = the running process is of another version, or no Floodwall: compare \
                     `floodwall --version` with the first line of its log",
                );
            }
        };
        match why {
            Unreached::Absent => write!(
                f,
                "floodwall: there is no control socket at {path}\n  \
                 = start Floodwall, or name its socket by --control PATH, or its configuration by \
                 --config FILE; where `control` or `state` was changed there, it is still at the old one"
            ),
            Unreached::Nobody => write!(
                f,
                "floodwall: nobody listens at {path}: the process that made it has gone\n  \
                 = start Floodwall again"
            ),
            Unreached::NoSocket => write!(
                f,
                "floodwall: {path} is no socket\n  = name the control socket by --control PATH"
            ),
            Unreached::Forbidden => write!(
                f,
                "floodwall: {path} is another user's\n  \
                 = run this as the user that Floodwall runs as, or as root"
            ),
            Unreached::Busy => {
                write!(f, "floodwall: too many others wait at {path}\n  = try again in a moment")
            }
            Unreached::Otherwise(source) => write!(
                f,
                "floodwall: {path} cannot be connected to: {source}\n  \
                 = name the control socket by --control PATH"
            ),
        }
    }
}

impl From<NoAnswer> for Trouble {
    fn from(why: NoAnswer) -> Self {
        Self::Failed(why.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// One that hangs, and one that goes on for ever.
    #[test]
    fn nobody_is_waited_for_for_longer_than_patience_and_nothing_endless_is_read() {
        let path = std::env::temp_dir().join(format!("floodwall-late-{}", std::process::id()));
        let _ = fs::remove_file(&path);
        let listener = UnixListener::bind(&path).expect("a socket");
        let patience = Duration::from_millis(100);
        let asked = ask(&path, &json!({}), patience);
        assert!(matches!(asked, Err(NoAnswer::Late(_))), "{asked:?}");
        let endless = std::thread::spawn(move || {
            drop(listener.accept().expect("the one before"));
            let (mut stream, _) = listener.accept().expect("a client");
            while stream.write_all(&[b' '; 4096]).is_ok() {}
        });
        let asked = ask(&path, &json!({}), Duration::from_secs(30));
        assert!(matches!(asked, Err(NoAnswer::Foreign)), "{asked:?}");
        endless.join().expect("no panic");
        fs::remove_file(path).expect("it is there");
    }

    /// A listener whose queue is full, because nobody accepts.
    #[test]
    fn nobody_waits_to_be_accepted() {
        let path = std::env::temp_dir().join(format!("floodwall-busy-{}", std::process::id()));
        let _ = fs::remove_file(&path);
        let listener = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
        listener.bind(&SockAddr::unix(&path).expect("a short path")).expect("a free path");
        listener.listen(0).expect("it is bound");
        let mut waiting = Vec::new();
        let refused = loop {
            match connect(&path) {
                Ok(stream) => waiting.push(stream),
                Err(refused) => break refused,
            }
            assert!(waiting.len() < 10, "the queue has no end");
        };
        assert!(matches!(refused, NoAnswer::Unreached { why: Unreached::Busy, .. }), "{refused}");
        fs::remove_file(path).expect("it is there");
    }
}
