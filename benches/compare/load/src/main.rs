//! `load`: the fixed fast upstream and the load generator of `benches/compare`.
//!
//! Both are one thread each with epoll and no runtime, so cheap that one core carries them while a proxy fills the
//! other. Everything stays on this machine, and ends by itself.

#![allow(clippy::disallowed_methods, reason = "a load is measured by the real clock")]

mod cpu;
mod drive;
mod engine;
mod hold;
mod keys;
mod link;
mod load;
mod messages;
mod options;
mod pace;
mod pages;
mod poll;
mod store;
mod tally;
mod upstream;
mod wire;

use std::process::ExitCode;

use clap::Parser;

use crate::options::{Command, DriveOptions, Options};
use crate::tally::Tally;
use crate::upstream::Upstream;

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    cpu::raise_descriptors().map_err(failed)?;
    if let Some(core) = options.core() {
        cpu::pin(core).map_err(|error| format!("cannot run on core {core}: {error}"))?;
    }
    match &options.command {
        Command::Upstream(upstream) => {
            let served = Upstream::listen(upstream.listen, upstream.capacity).map_err(failed)?;
            println!("{}", served.address().map_err(failed)?);
            served.run().map_err(failed)
        }
        Command::Drive(drive) => drive_at(drive),
        Command::Handshakes(drive) => {
            drive_at(&DriveOptions { tls: true, new_connections: true, ..drive.as_ref().clone() })
        }
        Command::Hold(hold) => hold::run(hold),
    }
}

fn drive_at(drive: &DriveOptions) -> Result<(), String> {
    let tally = Tally::new(drive.core, drive.watch.clone());
    println!("{}", drive::run(&drive.load()?, tally)?.report());
    Ok(())
}
