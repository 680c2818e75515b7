//! Either server, before a client by a script.

use std::cell::RefCell;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker, ready};

use floodwall::proxy::clock::Clock;
use floodwall::proxy::http1::{self, Broken, Flaw, Http1};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use crate::client::{Client, Script};
use crate::plans::Plans;
use crate::service::{Answer, Found, Service};

/// How large a head may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub head_bytes: usize,
    pub headers: usize,
}

impl Limits {
    /// As they are where nothing else is configured, or so small that they are met.
    pub const fn of(small: bool) -> Self {
        if small {
            Self { head_bytes: 200, headers: 5 }
        } else {
            Self { head_bytes: 65_536, headers: 100 }
        }
    }
}

/// What came of a connection.
#[derive(Debug)]
pub struct Outcome {
    pub found: Vec<Found>,
    /// What the client received.
    pub answers: Vec<u8>,
    pub ended: Ended,
    /// Why, where ours says so.
    pub flaw: Option<Flaw>,
    /// Whether its client was told that nothing follows.
    pub closed: bool,
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It has not: it waits.
    Not,
    Well,
    /// Something else follows on it: these bytes.
    Switched(Vec<u8>),
    /// There was no head of a request, or too large a one.
    Head,
    HeadBytes,
    /// Otherwise.
    Broken,
}

impl Ended {
    pub const fn of_own(flaw: &Flaw) -> Self {
        match flaw {
            Flaw::HeadBytes | Flaw::Headers => Self::HeadBytes,
            Flaw::Head(_)
            | Flaw::RequestLine
            | Flaw::TargetBytes
            | Flaw::Length
            | Flaw::TransferCoding => Self::Head,
            Flaw::Broken(_) | Flaw::Gone | Flaw::Body(_) | Flaw::Response(_) => Self::Broken,
        }
    }

    fn of_hyper(error: &hyper::Error) -> Self {
        if error.is_parse_too_large() {
            Self::HeadBytes
        } else if error.is_parse() {
            Self::Head
        } else {
            Self::Broken
        }
    }
}

trait Server {
    /// Serves on. Ready at its end.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(Ended, Option<Flaw>)>;

    /// Tells it to end after the exchange that is running.
    fn stop(&mut self);
}

/// Whether somebody is to be polled.
#[derive(Debug, Default)]
struct Woken(AtomicBool);

impl Woken {
    fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Serves a client to the end of his script. Who is not woken is not polled.
fn serve(
    mut server: impl Server,
    client: &Client,
    service: &Service,
    mut stop: Option<usize>,
) -> Outcome {
    let (woken, readers) = (Arc::new(Woken::default()), Arc::new(Woken::default()));
    let (waker, reading) = (Waker::from(Arc::clone(&woken)), Waker::from(Arc::clone(&readers)));
    let (cx, reading) = (&mut Context::from_waker(&waker), &mut Context::from_waker(&reading));
    let mut ended = server.poll(cx);
    for step in 0.. {
        let mut polls = 0;
        while ended.is_pending() {
            if readers.take() || service.has_new_readers() {
                service.read_on(reading);
            } else if woken.take() {
                ended = server.poll(cx);
            } else {
                break;
            }
            polls += 1;
            assert!(polls < 20_000, "it turns in circles");
        }
        if ended.is_ready() {
            break;
        }
        if stop.is_some_and(|stop| stop <= step) {
            stop = None;
            server.stop();
            ended = server.poll(cx);
        } else if !client.step() && stop.is_none() {
            break;
        }
    }
    // What they were given before its end they still have.
    service.read_on(reading);
    service.end();
    drop(server);
    service.read_on(reading);
    let (mut ended, flaw) = match ended {
        Poll::Ready(ended) => ended,
        Poll::Pending => (Ended::Not, None),
    };
    if let Ended::Switched(behind) = &mut ended {
        behind.extend(client.unread());
    }
    Outcome {
        found: service.found(),
        answers: client.received(),
        ended,
        flaw,
        closed: client.is_told_the_end(),
    }
}

struct Hyper<C, F> {
    connection: Pin<Box<C>>,
    stop: F,
    service: Service,
    upgrade: Rc<RefCell<Option<OnUpgrade>>>,
}

impl<C, F> Server for Hyper<C, F>
where
    C: Future<Output = hyper::Result<()>>,
    F: FnMut(Pin<&mut C>),
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(Ended, Option<Flaw>)> {
        let ended = match ready!(self.connection.as_mut().poll(cx)) {
            Ok(()) if self.service.has_switched() => {
                let mut upgrade = self.upgrade.borrow_mut();
                match upgrade.as_mut().map(|upgrade| Pin::new(upgrade).poll(cx)) {
                    Some(Poll::Ready(Ok(upgraded))) => {
                        let parts = upgraded.downcast::<TokioIo<Client>>();
                        Ended::Switched(parts.expect("it is the client's").read_buf.to_vec())
                    }
                    _ => Ended::Broken,
                }
            }
            Ok(()) => Ended::Well,
            Err(error) => Ended::of_hyper(&error),
        };
        Poll::Ready((ended, None))
    }

    fn stop(&mut self) {
        (self.stop)(self.connection.as_mut());
    }
}

/// By hyper, as the proxy has used it.
pub fn hyper(script: Script, plans: Plans, limits: Limits, stop: Option<usize>) -> Outcome {
    let client = Client::new(script);
    let service = Service::new(client.clone(), plans);
    let upgrade = Rc::new(RefCell::default());
    let (taking, upgrading) = (service.clone(), Rc::clone(&upgrade));
    let answering = service_fn(move |mut request: Request<Incoming>| {
        *upgrading.borrow_mut() = Some(hyper::upgrade::on(&mut request));
        let answer = taking.take(request);
        async { Ok::<_, Infallible>(answer.await) }
    });
    let connection = conn::http1::Builder::new()
        .keep_alive(true)
        .half_close(false)
        .max_buf_size(limits.head_bytes.max(8192))
        .max_header_size(limits.head_bytes)
        .max_headers(limits.headers)
        .serve_connection(TokioIo::new(client.clone()), answering)
        .with_upgrades();
    let server = Hyper {
        connection: Box::pin(connection),
        stop: |connection: Pin<&mut conn::http1::UpgradeableConnection<_, _>>| {
            connection.graceful_shutdown()
        },
        service: service.clone(),
        upgrade,
    };
    serve(server, &client, &service, stop)
}

struct Own<F, R> {
    connection: Option<Http1<Client, F, R, Answer<http1::Incoming>>>,
}

impl<F, R> Server for Own<F, R>
where
    F: FnMut(Request<http1::Incoming>) -> R,
    R: Future<Output = Response<Answer<http1::Incoming>>>,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(Ended, Option<Flaw>)> {
        let Some(connection) = &mut self.connection else { unreachable!("it has ended") };
        Poll::Ready(match ready!(connection.poll(cx)) {
            Ok(http1::End::Closed) => (Ended::Well, None),
            Ok(http1::End::Switched) => {
                let parts = self.connection.take().and_then(Http1::into_parts);
                let (_, read) = parts.expect("nobody has a part of it");
                (Ended::Switched(read.to_vec()), None)
            }
            Err(Broken::Flaw(flaw)) => (Ended::of_own(&flaw), Some(flaw)),
            Err(Broken::Body(_)) => (Ended::Broken, None),
        })
    }

    fn stop(&mut self) {
        self.connection.iter_mut().for_each(Http1::graceful_shutdown);
    }
}

/// By our own.
pub fn own(script: Script, plans: Plans, limits: Limits, stop: Option<usize>) -> Outcome {
    let client = Client::new(script);
    let service = Service::new(client.clone(), plans);
    let taking = service.clone();
    let limits = http1::Limits { head_bytes: limits.head_bytes, headers: limits.headers };
    let connection =
        Http1::new(client.clone(), limits, Clock::start(), move |request| taking.take(request));
    serve(Own { connection: Some(connection) }, &client, &service, stop)
}
