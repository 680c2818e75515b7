//! Why a history cannot be read, and what to do about it.

use std::fmt;
use std::io;

use rusqlite::ErrorCode;

use crate::history::file::is_damage;
use crate::history::schema::VERSION;

/// Why a history cannot be read.
#[derive(Debug)]
pub enum ReadError {
    /// There is none.
    Missing,
    /// It is just being begun.
    Blank,
    /// The file is something else.
    Others,
    /// A later program wrote it: its version.
    Newer(i64),
    File(io::Error),
    Sql(rusqlite::Error),
}

impl ReadError {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Missing | Self::Blank => {
                "Floodwall writes it while it runs, a minute after its start at the latest; \
                 --config or --file says where it is"
            }
            Self::Others => "--file names the history, as history.file of the configuration does",
            Self::Newer(_) => "use the `floodwall report` of that Floodwall",
            Self::File(_) => "run it as the user that Floodwall runs as, or as root",
            Self::Sql(error) => match error.sqlite_error_code() {
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                    "another program keeps it locked: end that, or wait"
                }
                _ if is_damage(error) => {
                    "a running Floodwall sets a damaged history aside and begins anew; sqlite3's \
                     .recover may save some of it"
                }
                _ => "run it as the user that Floodwall runs as, or as root",
            },
        }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there is no such file"),
            Self::Blank => f.write_str("there is nothing in it yet"),
            Self::Others => f.write_str("it is no history of Floodwall"),
            Self::Newer(version) => write!(
                f,
                "a later Floodwall wrote it, in version {version}; this one knows version {VERSION}"
            ),
            Self::File(error) => error.fmt(f),
            Self::Sql(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File(error) => Some(error),
            Self::Sql(error) => Some(error),
            Self::Missing | Self::Blank | Self::Others | Self::Newer(_) => None,
        }
    }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::File(error)
    }
}

impl From<rusqlite::Error> for ReadError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}
