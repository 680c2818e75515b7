//! What is asked, how often, and from where.

use std::net::SocketAddrV4;
use std::time::Duration;

use crate::messages::Message;

/// Which session cookie a request carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Cookie {
    None,
    /// That of a login, once for each connection
    Known,
    /// Another that nobody has issued, each time
    Invented,
    /// What the last answer set, once one has
    Issued,
}

pub struct Load {
    pub target: SocketAddrV4,
    pub connections: usize,
    pub cookie: Cookie,
    /// Requests a second.
    pub rate: Option<f64>,
    pub renew: bool,
    pub tls: bool,
    pub resume: bool,
    pub addresses: u32,
    pub forwarded: u32,
    pub requests: Option<u64>,
    pub seconds: Duration,
    pub warmup: Duration,
    pub timeout: Duration,
    /// Empty: any status.
    pub expect: Vec<u16>,
    pub to_head: bool,
    pub messages: Messages,
}

pub struct Messages {
    pub without_session: Message,
    pub with_session: Message,
    pub login: Message,
    pub body: Vec<u8>,
}
