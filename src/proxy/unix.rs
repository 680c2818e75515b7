//! Unix sockets that are listened on, and their files.
//!
//! It promises that the file of a process that is gone is replaced, and that one which somebody
//! listens on is not; that nobody can connect with other permissions than the configured ones; and
//! that only our own file is removed. It refuses to know what is said on the socket.

use std::fs::{self, File, Permissions, TryLockError};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use super::settings::DoorAddress;

/// How often the directory's lock is tried, and the pause between: another start holds it for less
/// than a millisecond.
const LOCK_ATTEMPTS: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// The file of a socket that this process listens on. Removed when this is dropped.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Device and inode: who replaces the file makes another.
    identity: (u64, u64),
    removed: AtomicBool,
}

impl SocketFile {
    /// The file of a socket that a predecessor has bound and passed. It stays the predecessor's
    /// until this process serves, and says so by [`Self::own`]. `None`: it is gone.
    pub fn adopt(path: &Path) -> Option<Self> {
        let identity = identity(&fs::symlink_metadata(path).ok()?);
        Some(Self { path: path.to_owned(), identity, removed: AtomicBool::new(true) })
    }

    /// From here on it is this process's to remove.
    pub fn own(&self) {
        self.removed.store(false, Ordering::Release);
    }

    /// Whether it is the file of the socket at this address.
    pub fn is_at(&self, address: &DoorAddress) -> bool {
        matches!(address, DoorAddress::Unix(path) if *path == self.path)
    }

    /// Leaves the file to a successor, who has the socket now.
    pub fn leave(&self) {
        self.removed.store(true, Ordering::Release);
    }

    /// Removes the file, unless it is another's by now. While the socket is open nobody else's
    /// file can have the same inode: call this before it is closed.
    pub fn remove(&self) {
        if self.removed.swap(true, Ordering::AcqRel) {
            return;
        }
        if fs::symlink_metadata(&self.path).is_ok_and(|found| identity(&found) == self.identity)
            && let Err(error) = fs::remove_file(&self.path)
        {
            // The next start replaces it.
            tracing::warn!(path = %self.path.display(), %error, "the socket's file stays");
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.remove();
    }
}

fn identity(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Binds a Unix socket with these permissions, and lets `backlog` connections wait.
///
/// # Errors
/// `AddrInUse` if somebody listens there, `AlreadyExists` if there is a file that is no socket.
pub fn bind(path: &Path, mode: u32, backlog: i32) -> io::Result<(UnixListener, SocketFile)> {
    // Two starts at the same moment would both find nobody there, and the later one would remove
    // the earlier one's file.
    let _lock = lock(path.parent().unwrap_or(Path::new("/")));
    make_room(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // The file is made with the permissions of the socket (less those of the umask, which are
    // added below): at no moment has it more.
    let socket = File::from(OwnedFd::from(socket));
    socket.set_permissions(Permissions::from_mode(mode))?;
    let socket = Socket::from(OwnedFd::from(socket));
    socket.bind(&SockAddr::unix(path)?)?;
    let identity = identity(&fs::symlink_metadata(path)?);
    let file = SocketFile { path: path.to_owned(), identity, removed: AtomicBool::new(false) };
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    socket.listen(backlog)?;
    socket.set_nonblocking(true)?;
    Ok((OwnedFd::from(socket).into(), file))
}

/// Removes the file of a process that is gone.
fn make_room(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !found.file_type().is_socket() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    match connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            tracing::info!(path = %path.display(), "the socket of a process that is gone is replaced");
            fs::remove_file(path)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
        // Somebody is there; also where the queue is full.
        Ok(()) | Err(_) => Err(io::ErrorKind::AddrInUse.into()),
    }
}

/// Whether somebody listens there. Does not wait where the queue is full.
fn connect(path: &Path) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)
}

/// The directory's lock, if it can be had: without it, two starts at the same moment may go wrong.
fn lock(directory: &Path) -> Option<File> {
    let directory = File::open(directory).ok()?;
    for _ in 0..LOCK_ATTEMPTS {
        match directory.try_lock() {
            Ok(()) => return Some(directory),
            Err(TryLockError::WouldBlock) => thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(_)) => return None,
        }
    }
    None
}
