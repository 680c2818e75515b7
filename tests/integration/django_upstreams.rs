//! Genuine servers behind: several gunicorns that are killed and come back under load, answers that
//! come before the request was read, and checks of a site that saves its session on every request.

use std::collections::HashMap;
use std::fs;
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::raw::Wire;
use crate::support::address::own_address;
use crate::support::attack::bounded;
use crate::support::django::{Django, Release, python};
use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;
use crate::support::inside::{Inside, await_that};
use crate::support::load::http::Connection;
use crate::support::sending::try_on;

/// What gunicorn runs with, and what both servers do here.
const RELEASE: Release = Release::V1_7_9;

/// Says of each request when it has begun and when it ends, a line at a time, which no kill tears.
const APPLICATION: &str = "
import os, time
log = os.open(os.environ['RIG_LOG'], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def application(environ, start):
    name = environ['PATH_INFO']
    if name == '/early/':
        start('413 Too Large', [('Content-Length', '3')])
        return [b'413']
    os.write(log, ('begin %s\\n' % name).encode())
    time.sleep(0.002)
    os.write(log, ('end %s\\n' % name).encode())
    start('200 OK', [('Content-Length', '2')])
    return [b'ok']
";

/// One gunicorn with threads, as a process group of its own.
struct Gunicorn {
    port: u16,
    log: PathBuf,
    folder: PathBuf,
    child: Option<Child>,
}

impl Gunicorn {
    fn new(folder: &Folder, number: usize) -> Self {
        fs::write(folder.path().join("rig_app.py"), APPLICATION).expect("it can be written");
        let port = own_address().port();
        let log = folder.path().join(format!("served-{number}"));
        let mut server = Self { port, log, folder: folder.path().to_owned(), child: None };
        server.start();
        server
    }

    /// Serves again, at the same port.
    fn start(&mut self) {
        // Of its time, it brings a module that newer Pythons have themselves.
        let program = "import sys, types, selectors; \
                       sys.modules['pkg_resources'] = types.ModuleType('p'); import gunicorn; \
                       gunicorn.selectors = sys.modules['gunicorn.selectors'] = selectors; \
                       from gunicorn.app.wsgiapp import run; run()";
        let child = Command::new(python(RELEASE))
            .args(["-c", program, "-b", &format!("127.0.0.1:{}", self.port)])
            .args(["-w", "1", "-k", "gthread", "--threads", "8", "--keep-alive", "30"])
            .args(["--log-level", "critical", "rig_app:application"])
            .current_dir(&self.folder)
            .env("RIG_LOG", &self.log)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("gunicorn starts");
        self.child = Some(child);
        await_that("gunicorn does not listen", || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok()
        });
    }

    /// SIGKILL to all of it, within whatever it does.
    fn kill(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let group = rustix::process::Pid::from_child(&child);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = child.wait();
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// How often each request began, and how often one ended.
    fn served(&self) -> (HashMap<String, usize>, HashMap<String, usize>) {
        let said = fs::read_to_string(&self.log).unwrap_or_default();
        let of = |word: &str| {
            let mut numbers = HashMap::new();
            for name in said.lines().filter_map(|line| line.strip_prefix(word)) {
                *numbers.entry(name.to_owned()).or_default() += 1;
            }
            numbers
        };
        (of("begin "), of("end "))
    }
}

impl Drop for Gunicorn {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Three servers, eight clients, of which each asks as soon as it has its answer; each server is
/// killed and started again. Lost is at most what a server had begun and not ended, or had been
/// sent on a new connection, when it was killed: as many as there are clients for each kill.
#[test]
fn servers_that_are_killed_under_load_lose_what_they_had_and_nothing_else() {
    const CLIENTS: usize = 8;
    const ROUNDS: usize = 2;
    const CUT: u16 = 0;
    if !RELEASE.available() {
        return;
    }
    let folder = Folder::new("killed");
    let mut servers: Vec<Gunicorn> = (0..3).map(|n| Gunicorn::new(&folder, n)).collect();
    let urls: Vec<String> = servers.iter().map(|one| format!("'{}'", one.url())).collect();
    let configuration = format!(
        "upstream = [{}]\n[balance]\neject_after = 2\neject_for = '200ms'\nslow_start = '0s'\n\
         [[rule]]\nname = 'static'\nprefix = '/'\naction = 'forward'\n",
        urls.join(", ")
    );
    let floodwall = Inside::before(&configuration, |settings| settings.cores = 2);
    let (over, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let answers = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = Connection::new(floodwall.target(), Ipv4Addr::LOCALHOST);
                while !over.load(Ordering::SeqCst) {
                    let number = asked.fetch_add(1, Ordering::SeqCst);
                    // Every other one is not to be sent twice, whatever becomes of it.
                    let (name, head) = match number % 2 {
                        0 => (format!("/get/{number}"), format!("GET /get/{number}")),
                        _ => (
                            format!("/post/{number}"),
                            format!("POST /post/{number}\nContent-Length: 0"),
                        ),
                    };
                    let answer = try_on(&mut client, floodwall.target(), &head, "");
                    // A server may die between the head of its response and the body.
                    let status = answer.map_or(CUT, |answer| answer.status);
                    answers.lock().expect("no panic").push((name, status));
                }
            });
        }
        let more = |number: usize| {
            let until = asked.load(Ordering::SeqCst) + number;
            await_that("nothing is served", || asked.load(Ordering::SeqCst) >= until);
        };
        for _ in 0..ROUNDS {
            for server in &mut servers {
                more(200);
                server.kill();
                more(200);
                server.start();
                let before = server.served().1.len();
                await_that("it is not used again", || server.served().1.len() > before);
            }
        }
        over.store(true, Ordering::SeqCst);
    });
    let answers = answers.into_inner().expect("no panic");
    let (mut begun, mut ended) = (HashMap::new(), HashMap::new());
    for server in &servers {
        let (one, other) = server.served();
        one.into_iter().for_each(|(name, number)| *begun.entry(name).or_insert(0) += number);
        other.into_iter().for_each(|(name, number)| *ended.entry(name).or_insert(0) += number);
    }
    let of = |numbers: &HashMap<String, usize>, name: &str| numbers.get(name).copied().unwrap_or(0);
    let lost: Vec<_> = answers.iter().filter(|(_, status)| *status != 200).collect();
    assert!(lost.iter().all(|(_, status)| matches!(*status, 502 | CUT)), "{lost:?}");
    let twice = begun.iter().filter(|(name, number)| name.starts_with("/post/") && **number > 1);
    bounded("kills of gunicorns under load", "forms sent again", 0, twice.count() as u64);
    for (name, _) in answers.iter().filter(|(_, status)| *status == 200) {
        assert!(of(&ended, name) >= 1, "{name} was answered by nobody");
    }
    println!(
        "{} requests, {} kills, {} lost of which {} had begun",
        answers.len(),
        ROUNDS * 3,
        lost.len(),
        lost.iter().filter(|(name, _)| of(&begun, name) > 0).count()
    );
    let kills = (ROUNDS * 3) as u64;
    let attack = format!("{kills} kills of 3 gunicorns under 8 clients");
    bounded(&attack, "requests lost", kills * CLIENTS as u64, lost.len() as u64);
}

/// The application does not read what is sent; gunicorn may, or close.
#[test]
fn an_early_answer_of_gunicorn_is_relayed() {
    if !RELEASE.available() {
        return;
    }
    let folder = Folder::new("early");
    let server = Gunicorn::new(&folder, 0);
    let floodwall = Inside::start(&server.url(), "");
    for _ in 0..10 {
        let stream = TcpStream::connect(floodwall.target().address()).expect("it listens");
        let mut client = Wire::tcp(stream);
        let length = 10 << 20;
        client
            .send(format!("POST /early/ HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"));
        client.send(vec![b'x'; length]);
        assert!(client.head().starts_with("HTTP/1.1 413 "));
        assert_eq!(client.exactly(3), b"413");
    }
}

/// Each check of such a site would add a record.
#[test]
fn checks_of_a_site_that_saves_on_every_request_keep_one_record() {
    const CHECKS: usize = 12;
    if !RELEASE.available() {
        return;
    }
    let options = ["--option", "SESSION_SAVE_EVERY_REQUEST=true"];
    let site = Django::start_with(RELEASE, &options);
    let folder = Folder::new("checks");
    // Two servers, each check on a connection of its own.
    let (first, second) = (counting(site.target().address()), counting(site.target().address()));
    let configuration = format!(
        "listen = '127.0.0.1:0'\nstate = ''\nupstream = ['{}', '{}']\n\
         [health]\npath = '/'\nhost = 'localhost'\ninterval = '100ms'\n",
        first.0, second.0
    );
    let mut floodwall = Floodwall::start_by_file(&folder, &configuration);
    floodwall.await_said("health checks begin a session");
    await_that("they are not checked", || {
        [&first.1, &second.1].iter().all(|checks| checks.load(Ordering::SeqCst) > CHECKS / 2)
    });
    assert!(!floodwall.log().contains("server down"), "{}", floodwall.log());
    bounded("12 health checks, SESSION_SAVE_EVERY_REQUEST", "records, 1.7.9", 1, site.rows());
}

/// Another address of a server, and how many connections came by it.
fn counting(to: SocketAddrV4) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    thread::spawn(move || {
        for downstream in listener.incoming().map_while(Result::ok) {
            counted.fetch_add(1, Ordering::SeqCst);
            let upstream = TcpStream::connect(to).expect("it listens");
            for (mut from, mut to) in [
                (downstream.try_clone().expect("a descriptor"), upstream.try_clone().expect("one")),
                (upstream, downstream),
            ] {
                thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Write);
                });
            }
        }
    });
    (url, count)
}
