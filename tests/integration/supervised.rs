//! What a supervisor is told (sd_notify(3)), by one that the test plays.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::raw::Wire;
use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;
use crate::support::front::free_address;
use crate::support::inside::await_that;
use crate::support::recorder::Recorder;

/// The shortest that is promised to work.
const WATCHDOG: Duration = Duration::from_secs(3);

struct Supervisor(UnixDatagram);

impl Supervisor {
    /// What is told next, without the signs of life.
    fn told(&self) -> String {
        loop {
            let told = self.any().expect("it is told something");
            if told != "WATCHDOG=1\n" {
                return told;
            }
        }
    }

    /// What is told next, within the time of the watchdog.
    fn any(&self) -> Option<String> {
        let mut told = [0; 256];
        let length = self.0.recv(&mut told).ok()?;
        Some(String::from_utf8(told[..length].to_vec()).expect("UTF-8"))
    }
}

#[test]
fn it_is_told_of_start_reload_upgrade_and_stop() {
    let folder = Folder::new("supervised");
    let notify = folder.path().join("notify");
    let supervisor = Supervisor(UnixDatagram::bind(&notify).unwrap());
    supervisor.0.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let (state, log) = (folder.path().join("state"), folder.path().join("log"));
    let address = free_address();
    let configuration = format!("listen = '{address}'\nstate = '{}'\n", state.display());
    let stderr = fs::File::create(log).unwrap();
    let mut old = Floodwall::supervised(&notify, WATCHDOG, &folder, &configuration, stderr.into());
    assert_eq!(supervisor.told(), "READY=1\n");
    let tell = |order: &str| {
        let control = folder.path().join("state.control");
        let mut program = Floodwall::program();
        assert!(program.arg(order).arg("--control").arg(control).status().unwrap().success());
    };
    tell("reload");
    let reloading = supervisor.told();
    let since = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect(&reloading);
    assert!(since.trim_end().parse::<u64>().is_ok_and(|since| since > 0), "{reloading}");
    assert_eq!(supervisor.told(), "READY=1\n");
    tell("upgrade");
    // In whichever order: from two processes.
    let told = [supervisor.told(), supervisor.told()];
    assert!(told.contains(&"READY=1\n".to_owned()), "{told:?}");
    let main = told.iter().find_map(|told| told.strip_prefix("MAINPID=")).expect("it is told");
    let new: u32 = main.trim_end().parse().expect("a number");
    assert!(new != old.id());
    assert!(old.wait().unwrap().success());
    assert!(Command::new("kill").arg(new.to_string()).status().unwrap().success());
    // Of the end of the old one nothing was told: it is no end of the service.
    assert_eq!(supervisor.told(), "STOPPING=1\n");
}

/// A core waits for a reader of the log that has stalled: nothing else can make one hang.
#[test]
fn a_watchdog_is_fed_only_while_every_core_runs() {
    let folder = Folder::new("supervised");
    let notify = folder.path().join("notify");
    let supervisor = Supervisor(UnixDatagram::bind(&notify).unwrap());
    supervisor.0.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let shop = Recorder::start(|_| {
        let key = "a".repeat(32);
        format!("HTTP/1.1 200 OK\r\nSet-Cookie: sessionid={key}\r\nContent-Length: 0\r\n\r\n")
    });
    let (state, address) = (folder.path().join("state"), free_address());
    let configuration = format!(
        "listen = '{address}'\nstate = '{}'\nupstream = '{}'\n",
        state.display(),
        shop.upstream()
    );
    let (mut reader, writer) = std::io::pipe().unwrap();
    let stderr = writer.try_clone().unwrap();
    let mut process =
        Floodwall::supervised(&notify, WATCHDOG, &folder, &configuration, stderr.into());
    assert_eq!(supervisor.told(), "READY=1\n");
    // It counts from here on.
    supervisor.0.set_read_timeout(Some(WATCHDOG)).unwrap();
    for _ in 0..4 {
        assert_eq!(supervisor.any().as_deref(), Some("WATCHDOG=1\n"), "every core runs");
    }
    // The pipe is filled until this blocks, or the core does.
    let full = Arc::new(AtomicBool::new(false));
    let filler = {
        let full = Arc::clone(&full);
        thread::spawn(move || {
            let mut writer = writer;
            while !full.load(Ordering::Relaxed) {
                writer.write_all(&[b' '; 4096]).unwrap();
            }
        })
    };
    let mut wire = Wire::tcp(TcpStream::connect(address).unwrap());
    // "path creates sessions"
    wire.send("GET /cart HTTP/1.1\r\nHost: a\r\n\r\n");
    let fed = (0..20).take_while(|_| supervisor.any().is_some()).count();
    assert!(fed < 20, "it is fed while a core hangs");
    // The reader goes on: so does the core.
    full.store(true, Ordering::Relaxed);
    let drained = thread::spawn(move || {
        let mut piece = [0; 4096];
        while reader.read(&mut piece).is_ok_and(|length| length > 0) {}
    });
    assert!(wire.head().starts_with("HTTP/1.1 200 "));
    supervisor.0.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    assert_eq!(supervisor.any().as_deref(), Some("WATCHDOG=1\n"), "every core runs again");
    process.kill().unwrap();
    process.wait().unwrap();
    filler.join().unwrap();
    drained.join().unwrap();
}

/// logrotate knows nothing of a start that takes long.
#[test]
fn a_reload_and_a_rotation_during_the_start_wait_for_its_end() {
    let folder = Folder::new("supervised");
    let notify = folder.path().join("notify");
    let supervisor = Supervisor(UnixDatagram::bind(&notify).unwrap());
    supervisor.0.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let (state, log) = (folder.path().join("state"), folder.path().join("log"));
    // It waits for what stands in its state file.
    assert!(Command::new("mkfifo").arg(&state).status().unwrap().success());
    let configuration = format!("listen = '{}'\nstate = '{}'\n", free_address(), state.display());
    let stderr = fs::File::create(&log).unwrap();
    let mut process =
        Floodwall::supervised(&notify, WATCHDOG, &folder, &configuration, stderr.into());
    let writer = fs::File::options().write(true).open(&state).unwrap();
    let signal = |signal: &str| {
        let sent = Command::new("kill").args([signal, &process.id().to_string()]).status();
        assert!(sent.unwrap().success());
    };
    signal("-USR1");
    signal("-HUP");
    drop(writer);
    assert_eq!(supervisor.told(), "READY=1\n", "{}", fs::read_to_string(&log).unwrap());
    assert!(supervisor.told().starts_with("RELOADING=1\n"));
    assert_eq!(supervisor.told(), "READY=1\n");
    await_that("the rotation", || {
        fs::read_to_string(&log).unwrap().contains("\"message\":\"status\"")
    });
    signal("-TERM");
    assert!(process.wait().unwrap().success());
}
