//! What is a request, where it ends, and what becomes of what is behind it (RFC 9112, 6), for a client
//! that sends bytes as a test says.

mod bodies;
mod client;
mod ends;
mod heads;

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;

use http_body_util::Full;

use super::*;
use client::Client;

/// Limits that no test meets without meaning to.
const AMPLE: Limits = Limits { head_bytes: 65_536, headers: 100 };
/// What is behind a request: another, if its end is where it was meant to be.
const BEHIND: &str = "GET /behind HTTP/1.1\r\nHost: a\r\n\r\n";

/// What is done with the body of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// It is read to its end, then there is an answer.
    Whole,
    /// Nobody wants it.
    Never,
    /// The service keeps it, and answers.
    Kept,
    /// The service keeps it, and answers when it is polled again.
    Later,
    /// There is no answer.
    Waits,
}

/// What a service has found of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    /// Method, target and version.
    line: String,
    headers: HeaderMap,
    body: Vec<u8>,
    trailers: Option<HeaderMap>,
    /// None while it is not at its end.
    end: Option<Result<(), String>>,
}

/// Everything that came of a connection.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    found: Vec<Found>,
    answers: String,
    /// None while it goes on.
    ended: Option<Result<End, String>>,
    /// Whether the client was told that nothing follows.
    closed: bool,
}

impl Outcome {
    fn targets(&self) -> Vec<&str> {
        self.found.iter().filter_map(|found| found.line.split(' ').nth(1)).collect()
    }

    /// Of all answers, informational ones too.
    fn statuses(&self) -> Vec<&str> {
        self.answers.split("HTTP/1.").skip(1).map(|answer| &answer[2..5]).collect()
    }

    /// Whether the last answer says that it is the last.
    fn is_told_last(&self) -> bool {
        let last = self.answers.rfind("HTTP/1.").map_or("", |at| &self.answers[at..]);
        last.contains("\r\nconnection: close\r\n")
    }
}

/// What serves a connection, and what it finds.
struct Rig {
    client: Client,
    connection: Http1<Client, Service, Answer, Full<Bytes>>,
    found: Rc<RefCell<Vec<Found>>>,
    kept: Rc<RefCell<Vec<Incoming>>>,
    ended: Option<Result<End, String>>,
}

type Service = Box<dyn FnMut(Request<Incoming>) -> Answer>;
type Answer = Pin<Box<dyn Future<Output = Response<Full<Bytes>>>>>;

impl Rig {
    fn new(limits: Limits, reading: Reading) -> Self {
        let client = Client::default();
        let found: Rc<RefCell<Vec<Found>>> = Rc::default();
        let kept: Rc<RefCell<Vec<Incoming>>> = Rc::default();
        let (finding, keeping) = (Rc::clone(&found), Rc::clone(&kept));
        let service: Service = Box::new(move |request| {
            let (parts, body) = request.into_parts();
            let number = finding.borrow().len();
            finding.borrow_mut().push(Found {
                line: format!("{} {} {:?}", parts.method, parts.uri, parts.version),
                headers: parts.headers,
                body: Vec::new(),
                trailers: None,
                end: None,
            });
            let (finding, keeping) = (Rc::clone(&finding), Rc::clone(&keeping));
            Box::pin(async move {
                match reading {
                    Reading::Whole => read(body, &finding, number).await,
                    Reading::Never => drop(body),
                    Reading::Kept => keeping.borrow_mut().push(body),
                    Reading::Later => {
                        keeping.borrow_mut().push(body);
                        let mut polled = false;
                        let again = |_: &mut Context<'_>| match std::mem::replace(&mut polled, true)
                        {
                            true => Poll::Ready(()),
                            false => Poll::Pending,
                        };
                        poll_fn(again).await;
                    }
                    Reading::Waits => std::future::pending().await,
                }
                Response::new(Full::from("ok"))
            })
        });
        let connection = Http1::new(client.clone(), limits, Clock::start(), service);
        Self { client, connection, found, kept, ended: None }
    }

    /// Serves as long as something was to do: who is not woken is not polled.
    fn run(&mut self) {
        let waker = self.client.waker();
        self.client.wake();
        while self.ended.is_none() && self.client.is_woken() {
            if let Poll::Ready(ended) = self.connection.poll(&mut Context::from_waker(&waker)) {
                self.ended = Some(ended.map_err(|broken| format!("{broken:?}")));
            }
        }
    }

    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.client.send(bytes.as_ref());
        self.run();
    }

    fn hang_up(&mut self) {
        self.client.hang_up();
        self.run();
    }

    fn outcome(&self) -> Outcome {
        Outcome {
            found: self.found.borrow().clone(),
            answers: self.client.received(),
            ended: self.ended.clone(),
            closed: self.client.is_told_the_end(),
        }
    }
}

async fn read(mut body: Incoming, found: &RefCell<Vec<Found>>, number: usize) {
    loop {
        let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        let found = &mut found.borrow_mut()[number];
        match frame {
            None => return found.end = Some(Ok(())),
            Some(Err(flaw)) => return found.end = Some(Err(format!("{flaw:?}"))),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => found.body.extend_from_slice(&data),
                Err(frame) => found.trailers = frame.into_trailers().ok(),
            },
        }
    }
}

/// What comes of bytes in these pieces.
fn served(pieces: &[&[u8]], limits: Limits, reading: Reading) -> Outcome {
    let mut rig = Rig::new(limits, reading);
    pieces.iter().for_each(|piece| rig.send(piece));
    rig.outcome()
}

/// The same in one piece, in two wherever they are cut, and byte by byte.
fn served_in_pieces(bytes: &str) -> Outcome {
    let bytes = bytes.as_bytes();
    let whole = served(&[bytes], AMPLE, Reading::Whole);
    let undated = |mut outcome: Outcome| {
        outcome.answers =
            outcome.answers.lines().filter(|line| !line.starts_with("date")).collect();
        outcome
    };
    for cut in 1..bytes.len() {
        let (one, other) = bytes.split_at(cut);
        let cut = undated(served(&[one, other], AMPLE, Reading::Whole));
        let whole = undated(served(&[bytes], AMPLE, Reading::Whole));
        assert_eq!(cut, whole, "{} and then {}", one.escape_ascii(), other.escape_ascii());
    }
    let single: Vec<_> = bytes.chunks(1).collect();
    let single = undated(served(&single, AMPLE, Reading::Whole));
    let refused = whole.statuses().last().is_some_and(|status| *status >= "400");
    // What is refused is looked at sooner when it is all there.
    if !refused {
        assert_eq!(single, undated(served(&[bytes], AMPLE, Reading::Whole)));
    }
    whole
}

fn post(headers: &str, body: &str) -> String {
    format!("POST /own HTTP/1.1\r\nHost: a\r\n{headers}\r\n{body}")
}

fn chunked(body: &str) -> String {
    post("Transfer-Encoding: chunked\r\n", body)
}
