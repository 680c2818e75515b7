//! An application that writes down what reaches it, judged by a reader of its own.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use super::inside::await_that;
use super::strict::{Request, Rules, Stop, read};

/// What came over a connection.
#[derive(Clone, Debug)]
pub enum Seen {
    Request(Request),
    /// It ended within a request: no application takes that for one.
    Cut,
    Malformed(&'static str, Vec<u8>),
}

pub struct Recorder {
    upstream: String,
    log: Arc<Log>,
}

#[derive(Default)]
struct Log {
    seen: Mutex<Vec<Seen>>,
    open: AtomicUsize,
}

impl Recorder {
    /// Answers each request with what `answer` makes of it, and takes the next.
    pub fn start(answer: impl Fn(&Request) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let upstream = format!("http://{}", listener.local_addr().expect("it is bound"));
        let log = Arc::new(Log::default());
        let (kept, answer) = (Arc::clone(&log), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (log, answer) = (Arc::clone(&kept), Arc::clone(&answer));
                log.open.fetch_add(1, Ordering::SeqCst);
                thread::spawn(move || {
                    log.record(stream, &*answer);
                    log.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { upstream, log }
    }

    /// Answers each request with what came: its line, and its headers, names in lower case.
    pub fn echo() -> Self {
        Self::start(|request| {
            let lines = request.headers.iter().map(|(name, value)| format!("{name}: {value}\n"));
            let body =
                format!("{} {}\n{}", request.method, request.target, lines.collect::<String>());
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        })
    }

    /// As in `--upstream`.
    pub fn upstream(&self) -> &str {
        &self.upstream
    }

    /// What has come so far. A request is in it before its answer is out.
    pub fn seen(&self) -> Vec<Seen> {
        self.log.seen.lock().expect("no thread panicked").clone()
    }

    /// The same, once every connection to it has ended: only after that of its proxy.
    pub fn finish(self) -> Vec<Seen> {
        await_that("a connection to the application stays open", || {
            self.log.open.load(Ordering::SeqCst) == 0
        });
        self.seen()
    }
}

impl Log {
    fn record(&self, mut stream: TcpStream, answer: &dyn Fn(&Request) -> String) {
        let (mut bytes, mut piece) = (Vec::new(), [0; 16 * 1024]);
        stream.set_nodelay(true).expect("it is connected");
        loop {
            match read(&bytes, Rules::Sent) {
                Ok((request, length)) => {
                    bytes.drain(..length);
                    let answer = answer(&request);
                    self.note(Seen::Request(request));
                    if stream.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
                Err(Stop::Malformed(why)) => return self.note(Seen::Malformed(why, bytes)),
                Err(Stop::Partial) => match stream.read(&mut piece) {
                    Ok(0) | Err(_) if bytes.is_empty() => return,
                    Ok(0) | Err(_) => return self.note(Seen::Cut),
                    Ok(length) => bytes.extend_from_slice(&piece[..length]),
                },
            }
        }
    }

    fn note(&self, seen: Seen) {
        self.seen.lock().expect("no thread panicked").push(seen);
    }
}
