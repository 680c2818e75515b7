//! The files of a state: what they are called, how they are opened, read and set aside.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::super::clock::Clock;
use super::PIECE_BYTES;
use crate::guard::image::Entry;

/// Whether a process ran on another boot of the machine, and did not end as it should.
pub(super) fn crashed(path: &Path) -> Result<bool, StateError> {
    let before = read(&lock_path(path))?.unwrap_or_default();
    Ok(!before.is_empty() && before != boot())
}

/// On which boot of the machine this process runs. Only Linux tells; without it a crash of the
/// machine counts as a kill.
fn boot() -> Vec<u8> {
    fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}

/// Writes that down, once what a crash may have lost is in the snapshot.
pub(super) fn note_boot(mut lock: &File) -> io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    lock.write_all(&boot())?;
    lock.sync_all()
}

pub(super) fn lock(path: &Path) -> Result<File, StateError> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(lock_path(path))
        .map_err(StateError::at(path, "open"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StateError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(StateError::at(path, "lock")(source)),
    }
}

pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, StateError> {
    let mut bytes = Vec::new();
    match File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)) {
        Ok(_) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StateError::at(path, "read")(source)),
    }
}

/// Reads a journal record by record; `None` stands for the rest of one that was cut short.
pub(super) fn read_journal(
    path: &Path,
    mut tell: impl FnMut(Option<&[u8; Entry::LEN]>),
) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut piece = Vec::with_capacity(PIECE_BYTES);
    loop {
        piece.clear();
        Read::by_ref(&mut file).take(PIECE_BYTES as u64).read_to_end(&mut piece)?;
        let (records, rest) = piece.as_chunks();
        records.iter().for_each(|record| tell(Some(record)));
        if !rest.is_empty() {
            tell(None);
        }
        if piece.len() < PIECE_BYTES {
            return Ok(());
        }
    }
}

/// Renames a damaged file and the journals that belong to it. Nothing is thrown away: what is in
/// them may still be of use to somebody.
pub(super) fn set_aside(path: &Path, clock: Clock) -> Result<PathBuf, StateError> {
    let suffix = format!(".damaged-{}", clock.unix(clock.now()));
    let aside = with_suffix(path, &suffix);
    fs::rename(path, &aside).map_err(StateError::at(path, "rename"))?;
    for (_, journal) in journals(path)? {
        fs::rename(&journal, with_suffix(&journal, &suffix))
            .map_err(StateError::at(&journal, "rename"))?;
    }
    Ok(aside)
}

/// The journals beside a state file, in the order of their generations.
pub(super) fn journals(path: &Path) -> Result<Vec<(u64, PathBuf)>, StateError> {
    let mut prefix = path.file_name().unwrap_or_default().to_os_string();
    prefix.push(".journal.");
    let failed = StateError::at(path, "list the folder of");
    let entries = fs::read_dir(folder(path)).map_err(failed)?;
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(StateError::at(path, "list the folder of"))?;
        let name = entry.file_name();
        let number = name
            .as_encoded_bytes()
            .strip_prefix(prefix.as_encoded_bytes())
            .and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        if let Some(number) = number {
            found.push((number, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

pub(super) fn create(path: &Path, anew: bool) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(anew).write(anew).append(!anew).mode(0o600).open(path)
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    }
}

/// A rename is there after a power cut only when its folder was synced.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder(path))?.sync_all()
}

pub(super) fn lock_path(path: &Path) -> PathBuf {
    with_suffix(path, ".lock")
}

pub(super) fn journal_path(path: &Path, generation: u64) -> PathBuf {
    with_suffix(path, &format!(".journal.{generation}"))
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(suffix);
    PathBuf::from(name)
}

/// Why there is no state to work with.
#[derive(Debug)]
pub enum StateError {
    /// Another process has it.
    InUse {
        path: PathBuf,
    },
    File {
        path: PathBuf,
        what: &'static str,
        source: io::Error,
    },
    /// The operating system gave no random bytes.
    Random,
}

impl StateError {
    pub(super) fn at(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::File { path, what, source }
    }
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse { path } => write!(
                f,
                "the state file {} is in use by another floodwall: stop that one, or give this \
                 one another file with --state",
                path.display()
            ),
            Self::File { path, what, source } => write!(
                f,
                "cannot {what} the state file {}: {source}; its folder must exist and be writable, \
                 `state` or --state names another file, and \"\" keeps no state",
                path.display()
            ),
            Self::Random => f.write_str("the operating system gave no random bytes"),
        }
    }
}

impl std::error::Error for StateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File { source, .. } => Some(source),
            Self::InUse { .. } | Self::Random => None,
        }
    }
}
