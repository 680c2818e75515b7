//! A file that lines are appended to, and opened anew when it was rotated.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A new file: its owner writes, its group reads, nobody else does.
const MODE: u32 = 0o640;

/// Where lines go.
pub(super) struct Target {
    file: File,
    /// Opened anew when asked to; `None` where a stream of the process's own is written to.
    path: Option<PathBuf>,
}

impl Target {
    /// Opens it to append to; `-` and `/dev/stdout` are standard output, `/dev/stderr` standard
    /// error. A FIFO is opened for reading too, so that nobody waits for its reader, and so that a
    /// reader may come and go; what does not fit into it is dropped.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let own = |stream: io::Result<OwnedFd>| Ok(Self { file: stream?.into(), path: None });
        match path.to_str() {
            Some("-" | "/dev/stdout") => return own(io::stdout().as_fd().try_clone_to_owned()),
            Some("/dev/stderr") => return own(io::stderr().as_fd().try_clone_to_owned()),
            _ => {}
        }
        let file = if fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo()) {
            let file = File::options().read(true).write(true).open(path)?;
            rustix::io::ioctl_fionbio(&file, true)?;
            file
        } else {
            File::options().create(true).append(true).mode(MODE).open(path)?
        };
        Ok(Self { file, path: Some(path.to_owned()) })
    }

    /// What has its path now; `None` where it has none.
    pub(super) fn again(&self) -> io::Result<Option<Self>> {
        self.path.as_deref().map(Self::open).transpose()
    }

    pub(super) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    #[cfg(test)]
    pub(super) fn blocking(file: File) -> Self {
        Self { file, path: None }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => path.display().fmt(f),
            None => f.write_str("-"),
        }
    }
}

/// A file of lines could not be opened.
#[derive(Debug)]
pub struct OpenError {
    key: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl OpenError {
    /// `key` is the one that names the file.
    pub(super) fn new(key: &'static str, path: &Path, source: io::Error) -> Self {
        Self { key, path: path.to_owned(), source }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, path, source } = self;
        write!(f, "{key}: {}: cannot be opened: {source}\n  = ", path.display())?;
        match source.kind() {
            io::ErrorKind::NotFound => write!(f, "make its folder, or correct {key}"),
            io::ErrorKind::IsADirectory => f.write_str("name a file in it"),
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                f.write_str("let the user that Floodwall runs as write there")
            }
            _ => write!(f, "correct {key}"),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}
