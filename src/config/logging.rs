//! What is written down, and how, as plain values.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    pub format: LogFormat,
    pub level: LogLevel,
    /// Between two reports of one flood. 1 second to 1 day.
    pub flood_interval: Duration,
    /// Without an event for this long, a flood has ended. 1 second to 1 day.
    pub flood_quiet: Duration,
    /// This many events within `flood_quiet` begin a flood. At most 1,000.
    pub flood_events: NonZeroU32,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON lines elsewhere.
    Auto,
    Text,
    Json,
}

impl LogFormat {
    pub const ALL: [Self; 3] = [Self::Auto, Self::Text, Self::Json];

    /// The word for it in TOML.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// One line for each exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// There is a file unless this is [`AccessFormat::Off`].
    pub format: AccessFormat,
    /// `-` is standard output. A relative path is relative to the working directory.
    pub file: Option<PathBuf>,
}

/// How a line of the access log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessFormat {
    Off,
    /// The Common Log Format.
    Common,
    /// The same with referer and user agent.
    Combined,
    Json,
}

impl AccessFormat {
    pub const ALL: [Self; 4] = [Self::Off, Self::Common, Self::Combined, Self::Json];

    /// The word for it in TOML.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Common => "common",
            Self::Combined => "combined",
            Self::Json => "json",
        }
    }
}

/// The least important lines that are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
}

impl LogLevel {
    pub const ALL: [Self; 4] = [Self::Error, Self::Warn, Self::Info, Self::Debug];

    /// The word for it in TOML.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}
