//! The command line.

use std::net::SocketAddrV4;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::load::{Cookie, Load, Messages};
use crate::messages::{Ask, Headers, MAX_FORWARDED, Message};

const MAX_BODY: u64 = 64 << 20;

/// The upstream and the load generator of benches/compare
#[derive(Parser)]
#[command(max_term_width = 100)]
pub struct Options {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    Upstream(UpstreamOptions),
    Drive(Box<DriveOptions>),
    /// The same with TLS and another connection for each request
    Handshakes(Box<DriveOptions>),
    Hold(HoldOptions),
}

/// A fixed fast site, with a session store that grows as that of an unpatched Django does
///
/// Prints the address that it listens on. GET /-/counts tells of requests and records, GET /-/reset forgets
/// them, the records too.
#[derive(Args)]
pub struct UpstreamOptions {
    /// An address in 127.0.0.0/8; port 0: any free port
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = loopback)]
    pub listen: SocketAddrV4,

    /// Requests a second that it can serve, one after the other
    #[arg(long, value_name = "R", value_parser = rate)]
    pub capacity: Option<f64>,

    /// Run on this core only
    #[arg(long, value_name = "N")]
    pub core: Option<usize>,
}

/// Asks for one page over and over, and prints a line of JSON about it
#[derive(Args, Clone)]
pub struct DriveOptions {
    /// An address in 127.0.0.0/8 and a port; nothing else is driven at
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = loopback)]
    pub target: SocketAddrV4,

    #[arg(long, default_value = "/small")]
    pub path: String,

    /// Default: POST with a body, GET without
    #[arg(long)]
    pub method: Option<String>,

    /// For Host
    #[arg(long, default_value = "localhost")]
    pub host: String,

    #[arg(long, value_enum, default_value_t = Headers::Few)]
    pub headers: Headers,

    #[arg(long, value_enum, default_value_t = Cookie::None)]
    pub cookie: Cookie,

    /// Length of the body
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(..=MAX_BODY))]
    pub body: Option<u64>,

    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub connections: u32,

    /// Open loop: so many requests a second, whatever the answers do
    #[arg(long, value_name = "R", value_parser = rate)]
    pub rate: Option<f64>,

    /// Another connection for each request
    #[arg(long)]
    pub new_connections: bool,

    #[arg(long)]
    pub tls: bool,

    /// Resume TLS sessions
    #[arg(long)]
    pub resume: bool,

    /// Come from so many addresses in 127.1.0.0/16, in turn
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=60_000))]
    pub addresses: u32,

    /// Tell of so many addresses in X-Forwarded-For, in turn
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=i64::from(MAX_FORWARDED)))]
    pub forwarded: u32,

    /// End after so many requests
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u64).range(1..))]
    pub requests: Option<u64>,

    /// End after so long [default: 10, and 600 where requests are counted]
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub seconds: Option<Duration>,

    /// What happens before is not counted
    #[arg(long, value_name = "S", default_value = "0", value_parser = seconds)]
    pub warmup: Duration,

    /// A request without an answer after so long is an error
    #[arg(long, value_name = "S", default_value = "10", value_parser = seconds)]
    pub timeout: Duration,

    /// Other statuses are errors
    #[arg(long, value_name = "STATUS,...", value_delimiter = ',')]
    pub expect: Vec<u16>,

    /// Tell what CPU time these processes use in the measured window
    #[arg(long, value_name = "PID,...", value_delimiter = ',')]
    pub watch: Vec<u32>,

    /// Run on this core only
    #[arg(long, value_name = "N")]
    pub core: Option<usize>,
}

/// Opens connections, asks for a small page on each, and keeps them
///
/// Prints a line of JSON when all are open, and one at the end: that of standard input, or of the time.
#[derive(Args)]
pub struct HoldOptions {
    /// An address in 127.0.0.0/8 and a port
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = loopback)]
    pub target: SocketAddrV4,

    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub connections: u32,

    /// Come from so many addresses in 127.1.0.0/16, in turn
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub addresses: u32,

    /// End after so long
    #[arg(long, value_name = "S", default_value = "60", value_parser = seconds)]
    pub seconds: Duration,

    /// Run on this core only
    #[arg(long, value_name = "N")]
    pub core: Option<usize>,
}

impl Options {
    pub fn core(&self) -> Option<usize> {
        match &self.command {
            Command::Upstream(upstream) => upstream.core,
            Command::Drive(drive) | Command::Handshakes(drive) => drive.core,
            Command::Hold(hold) => hold.core,
        }
    }
}

impl DriveOptions {
    pub fn load(&self) -> Result<Load, String> {
        let method =
            self.method.as_deref().unwrap_or(if self.body.is_some() { "POST" } else { "GET" });
        if [method, &self.path, &self.host]
            .iter()
            .any(|word| !word.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            return Err("methods, paths and hosts are of visible ASCII".to_owned());
        }
        if self.resume && !self.tls {
            return Err("--resume needs --tls".to_owned());
        }
        let plain = Ask {
            method,
            path: &self.path,
            host: &self.host,
            headers: self.headers,
            body: self.body.or((method == "POST").then_some(0)),
            session: false,
            forwarded: self.forwarded > 0,
            close: self.new_connections,
        };
        let login = Ask { method: "POST", path: "/login/", body: Some(0), ..plain };
        let body = usize::try_from(self.body.unwrap_or(0)).map_err(|error| error.to_string())?;
        let limit = if self.requests.is_some() { 600 } else { 10 };
        Ok(Load {
            target: self.target,
            connections: self.connections as usize,
            cookie: self.cookie,
            rate: self.rate,
            renew: self.new_connections,
            tls: self.tls,
            resume: self.resume,
            addresses: self.addresses,
            forwarded: self.forwarded,
            requests: self.requests,
            seconds: self.seconds.unwrap_or(Duration::from_secs(limit)),
            warmup: self.warmup,
            timeout: self.timeout,
            expect: self.expect.clone(),
            to_head: method == "HEAD",
            messages: Messages {
                without_session: Message::new(&plain),
                login: Message::new(&login),
                with_session: Message::new(&Ask { session: true, ..plain }),
                body: vec![b'b'; body],
            },
        })
    }
}

fn loopback(text: &str) -> Result<SocketAddrV4, String> {
    let address: SocketAddrV4 = text.parse().map_err(|_| "it is to be ADDRESS:PORT".to_owned())?;
    if !address.ip().is_loopback() {
        return Err("it is to be in 127.0.0.0/8: nothing leaves this machine".to_owned());
    }
    Ok(address)
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.1..=10_000_000.0).contains(&rate) => Ok(rate),
        Ok(_) | Err(_) => Err("it is to be from 0.1 to 10000000".to_owned()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) if (0.0..=3600.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        Ok(_) | Err(_) => Err("it is to be from 0 to 3600".to_owned()),
    }
}
