//! What a supervisor is told (sd_notify(3)), by one that the test plays.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::raw::Wire;
use crate::support::address::own_address;
use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;
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
    let address = own_address();
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

/// Stops a thread as a debugger does, says so, and lets it go on when its input ends.
const STOPS_A_THREAD: &str = "
import ctypes, sys
libc, thread = ctypes.CDLL(None, use_errno=True), int(sys.argv[1])
PTRACE_SEIZE, PTRACE_INTERRUPT, WALL = 0x4206, 0x4207, 0x40000000
for request in PTRACE_SEIZE, PTRACE_INTERRUPT:
    if libc.ptrace(request, thread, None, None):
        sys.exit(f'ptrace: error {ctypes.get_errno()}: this test needs to be allowed it')
libc.waitpid(thread, None, WALL)
print(flush=True)
sys.stdin.read()
";

#[test]
fn a_watchdog_is_fed_only_while_every_core_runs() {
    let folder = Folder::new("supervised");
    let notify = folder.path().join("notify");
    let supervisor = Supervisor(UnixDatagram::bind(&notify).unwrap());
    supervisor.0.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let (state, address) = (folder.path().join("state"), own_address());
    let configuration = format!("listen = '{address}'\nstate = '{}'\n", state.display());
    let log = fs::File::create(folder.path().join("log")).unwrap();
    let mut process = Floodwall::supervised(&notify, WATCHDOG, &folder, &configuration, log.into());
    assert_eq!(supervisor.told(), "READY=1\n");
    // It counts from here on.
    supervisor.0.set_read_timeout(Some(WATCHDOG)).unwrap();
    for _ in 0..4 {
        assert_eq!(supervisor.any().as_deref(), Some("WATCHDOG=1\n"), "every core runs");
    }
    let threads = fs::read_dir(format!("/proc/{}/task", process.id())).unwrap();
    let core = threads
        .map(|thread| thread.unwrap())
        .find(|thread| fs::read_to_string(thread.path().join("comm")).unwrap() == "core-0\n")
        .expect("a core has its name");
    let mut debugger = Command::new("python3")
        .args(["-c", STOPS_A_THREAD])
        .arg(core.file_name())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stopped = [0];
    debugger.stdout.as_mut().unwrap().read_exact(&mut stopped).expect("it has stopped");
    let fed = (0..20).take_while(|_| supervisor.any().is_some()).count();
    assert!(fed < 20, "it is fed while a core hangs");
    drop(debugger.stdin.take());
    assert!(debugger.wait().unwrap().success());
    supervisor.0.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    assert_eq!(supervisor.any().as_deref(), Some("WATCHDOG=1\n"), "every core runs again");
    process.kill().unwrap();
    process.wait().unwrap();
}

#[test]
fn a_reader_of_the_log_that_stalls_stops_no_core() {
    let folder = Folder::new("supervised");
    let notify = folder.path().join("notify");
    let supervisor = Supervisor(UnixDatagram::bind(&notify).unwrap());
    supervisor.0.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let shop = Recorder::start(|_| {
        let key = "a".repeat(32);
        format!("HTTP/1.1 200 OK\r\nSet-Cookie: sessionid={key}\r\nContent-Length: 0\r\n\r\n")
    });
    let (state, address) = (folder.path().join("state"), own_address());
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
    let filler = thread::spawn(move || {
        let mut writer = writer;
        // Until there is no reader.
        while writer.write_all(&[b' '; 4096]).is_ok() {}
    });
    await_that("the pipe is full", || rustix::io::ioctl_fionread(&reader).unwrap() >= 61_440);
    let mut wire = Wire::tcp(TcpStream::connect(address).unwrap());
    for _ in 0..3 {
        // "path creates sessions"
        wire.send("GET /cart HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(wire.head().starts_with("HTTP/1.1 200 "));
    }
    // What was said waits for its reader.
    let mut log = Vec::new();
    while !String::from_utf8_lossy(&log).contains("path creates sessions") {
        let mut piece = [0; 4096];
        let length = reader.read(&mut piece).unwrap();
        log.extend_from_slice(&piece[..length]);
    }
    process.kill().unwrap();
    process.wait().unwrap();
    drop(reader);
    filler.join().unwrap();
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
    let configuration = format!("listen = '{}'\nstate = '{}'\n", own_address(), state.display());
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
