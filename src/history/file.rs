//! The file of a history: whether it is one, how it is opened to be written, and what becomes of a
//! damaged one.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::schema::{self, APPLICATION, VERSION, Whose};

/// How long to wait for whoever else reads or writes.
pub(super) const BUSY: Duration = Duration::from_secs(2);

/// Where SQLite's header has the application (<https://sqlite.org/fileformat.html>, 1.3).
const APPLICATION_AT: usize = 68;
/// How long it is, and how it begins.
const HEADER: usize = 100;
const MAGIC: &[u8] = b"SQLite format 3\0";

/// A connection, and which file it has: that of the name may be another one by now.
pub(super) struct Opened {
    pub(super) connection: Connection,
    pub(super) inode: Inode,
    /// Where a damaged file went that was in its place.
    pub(super) aside: Option<PathBuf>,
}

/// A file, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Inode(u64, u64);

impl Inode {
    /// Of what is at `path` itself.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        fs::symlink_metadata(path).map(|found| Self(found.dev(), found.ino()))
    }
}

/// Opens a history to be written, and makes one where there is none. A damaged one is renamed, at
/// `unix` seconds since 1970.
pub(super) fn open(path: &Path, unix: u64) -> Result<Opened, OpenError> {
    match whole(path) {
        Err(OpenError::Sql(error)) if is_damage(&error) => {
            let aside = set_aside(path, unix)?;
            Ok(Opened { aside: Some(aside), ..whole(path)? })
        }
        other => other,
    }
}

fn whole(path: &Path) -> Result<Opened, OpenError> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => return Err(OpenError::Link),
        Ok(found) if !found.is_file() => return Err(OpenError::NoFile),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(path)?,
        Err(error) => return Err(error.into()),
    }
    let header = header(path)?;
    if !(header.is_empty() || header.len() == HEADER && header.starts_with(MAGIC)) {
        // SQLite would take a short one for empty, and write over it.
        return Err(match is_ours(&header) {
            true => damage("its header is destroyed".to_owned()).into(),
            false => OpenError::Others,
        });
    }
    let inode = Inode::of(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    if matches!(Whose::of(&connection)?, Whose::Nobodys) {
        // Before the first table, or never.
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    match Whose::of(&transaction)? {
        Whose::Others => return Err(OpenError::Others),
        Whose::Ours(version) if version > VERSION => return Err(OpenError::Newer(version)),
        Whose::Ours(version) => {
            let check = |row: &rusqlite::Row<'_>| row.get::<_, String>(0);
            let found = transaction.query_row("PRAGMA quick_check(1)", [], check)?;
            if found != "ok" {
                return Err(damage(found).into());
            }
            if version < VERSION {
                schema::bring_up(&transaction, version)?;
            }
        }
        Whose::Nobodys => schema::bring_up(&transaction, 0)?,
    }
    transaction.commit()?;
    Ok(Opened { connection, inode, aside: None })
}

/// Nobody but its owner is to read which clients came. What SQLite puts beside it has its
/// permissions.
fn make(path: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map(drop)
}

pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(code, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

fn damage(found: String) -> rusqlite::Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    rusqlite::Error::SqliteFailure(code, Some(found))
}

/// The first bytes of a file.
fn header(path: &Path) -> io::Result<Vec<u8>> {
    let mut header = Vec::new();
    File::open(path)?.take(HEADER as u64).read_to_end(&mut header)?;
    Ok(header)
}

/// Whether a file was a history once. What `history.file` names by mistake stays where it is.
fn is_ours(header: &[u8]) -> bool {
    match header.get(APPLICATION_AT..APPLICATION_AT + 4) {
        Some(application) if application == APPLICATION.to_be_bytes() => true,
        Some(_) => header.iter().all(|byte| *byte == 0),
        None => MAGIC.starts_with(&header[..header.len().min(MAGIC.len())]),
    }
}

/// Renames a damaged file, with the journal that belongs to it. Nothing is thrown away: some of it
/// may still be read.
pub(super) fn set_aside(path: &Path, unix: u64) -> Result<PathBuf, OpenError> {
    if !is_ours(&header(path)?) {
        return Err(OpenError::Others);
    }
    let with = |path: &Path, suffix: &str| {
        let mut name = path.as_os_str().to_os_string();
        name.push(suffix);
        PathBuf::from(name)
    };
    let aside = with(path, &format!(".damaged-{unix}"));
    // First, lest it be taken for that of the new file.
    match fs::rename(with(path, "-journal"), with(&aside, "-journal")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        Ok(()) | Err(_) => {}
    }
    fs::rename(path, &aside)?;
    Ok(aside)
}

/// Why a history cannot be written.
#[derive(Debug)]
pub(super) enum OpenError {
    Link,
    NoFile,
    Others,
    /// A later program wrote it: its version.
    Newer(i64),
    File(io::Error),
    Sql(rusqlite::Error),
}

impl OpenError {
    /// Whether somebody else just uses it.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self, Self::Sql(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy))
    }

    /// What to do about it.
    pub(super) fn remedy(&self) -> &'static str {
        match self {
            Self::Link => "have history.file name the file itself",
            Self::NoFile | Self::Others => "give history.file a path of its own",
            Self::Newer(_) => {
                "start the later Floodwall again, or move the file away: a new one is begun"
            }
            Self::File(error) => remedy_of(error.kind()),
            Self::Sql(error) => remedy_of_sql(error),
        }
    }
}

fn remedy_of(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::NotFound => "make its folder, or correct history.file",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "let the user that Floodwall runs as write to it and to its folder, or correct \
             history.file"
        }
        _ => "mend the disk, or correct history.file",
    }
}

/// What to do about what SQLite says.
pub(super) fn remedy_of_sql(error: &rusqlite::Error) -> &'static str {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "make room",
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "end the program that keeps it locked"
        }
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            remedy_of(io::ErrorKind::PermissionDenied)
        }
        _ => "make room, mend the disk, or correct history.file",
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link => f.write_str("it is a symbolic link"),
            Self::NoFile => f.write_str("it is no file"),
            Self::Others => f.write_str("it is another program's file"),
            Self::Newer(version) => write!(
                f,
                "a later Floodwall wrote it, in version {version}; this one knows version {VERSION}"
            ),
            Self::File(error) => error.fmt(f),
            Self::Sql(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File(error) => Some(error),
            Self::Sql(error) => Some(error),
            Self::Link | Self::NoFile | Self::Others | Self::Newer(_) => None,
        }
    }
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::File(error)
    }
}

impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}
