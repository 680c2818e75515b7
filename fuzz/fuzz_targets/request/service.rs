//! What answers requests, the same for either server, and what it finds of them.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::error::Error;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{self, CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderValue, TRAILER, UPGRADE};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};

use crate::client::Client;
use crate::plans::{Kind, Plan, Plans, Reading};

pub type Failure = Box<dyn Error + Send + Sync>;

/// Of all answers.
pub const DATE: &str = "Mon, 23 Nov 2026 12:00:00 GMT";
const TEXT: &[u8] = b"0123456789";
/// More than goes with a head.
const LARGE: &[u8] = &[b'x'; 20_000];

/// A request, as far as it was found.
#[derive(Clone, Debug)]
pub struct Found {
    pub head: Parts,
    /// What its body was said to be when it began.
    pub length: Option<u64>,
    pub empty: bool,
    pub body: Vec<u8>,
    pub trailers: Option<HeaderMap>,
    pub read: Read,
    /// Why no more of it was read.
    pub flaw: Option<Rc<Failure>>,
}

/// How far a body was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// No further than was wanted, or than came.
    Left,
    Whole,
    Flawed,
}

/// A body that somebody reads beside the connection, or keeps. Ready when he is done with it.
type Reader = Pin<Box<dyn Future<Output = ()>>>;

/// What answers the requests of one connection.
#[derive(Clone)]
pub struct Service {
    client: Client,
    plans: Plans,
    found: Rc<RefCell<Vec<Found>>>,
    beside: Rc<RefCell<Vec<Reader>>>,
    /// Those who have not been polled yet.
    new: Rc<RefCell<Vec<Reader>>>,
    switched: Rc<Cell<bool>>,
    /// Whether the connection is over: what is found of bodies then is not told.
    over: Rc<Cell<bool>>,
}

impl Service {
    pub fn new(client: Client, plans: Plans) -> Self {
        Self {
            client,
            plans,
            found: Rc::default(),
            beside: Rc::default(),
            new: Rc::default(),
            switched: Rc::default(),
            over: Rc::default(),
        }
    }

    /// Whether something else than HTTP follows.
    pub fn has_switched(&self) -> bool {
        self.switched.get()
    }

    /// The connection is over.
    pub fn end(&self) {
        self.over.set(true);
    }

    pub fn has_new_readers(&self) -> bool {
        !self.new.borrow().is_empty()
    }

    pub fn found(&self) -> Vec<Found> {
        self.found.borrow().clone()
    }

    /// Those who read bodies beside the connection read on.
    pub fn read_on(&self, cx: &mut Context<'_>) {
        self.beside.borrow_mut().append(&mut self.new.borrow_mut());
        self.beside.borrow_mut().retain_mut(|reader| reader.as_mut().poll(cx).is_pending());
    }

    /// Takes a request; what comes of it answers it.
    pub fn take<I>(&self, request: Request<I>) -> impl Future<Output = Response<Answer<I>>> + use<I>
    where
        I: Body<Data = Bytes> + Unpin + 'static,
        I::Error: Into<Failure>,
    {
        let (mut head, body) = request.into_parts();
        head.extensions.clear();
        let number = self.found.borrow().len();
        self.found.borrow_mut().push(Found {
            head: head.clone(),
            length: body.size_hint().exact(),
            empty: body.is_end_stream(),
            body: Vec::new(),
            trailers: None,
            read: Read::Left,
            flaw: None,
        });
        let (service, plan) = (self.clone(), self.plans.of(number));
        let (found, over) = (Rc::clone(&self.found), Rc::clone(&self.over));
        let body = Watched { body, found, number, over };
        async move { service.answer(&plan, &head, body).await }
    }

    async fn answer<I>(
        &self,
        plan: &Plan,
        head: &Parts,
        mut body: Watched<I>,
    ) -> Response<Answer<I>>
    where
        I: Body<Data = Bytes> + Unpin + 'static,
        I::Error: Into<Failure>,
    {
        let (client, number, empty) = (&self.client, body.number, body.body.is_end_stream());
        client.wait(plan.waits[0]).await;
        let mut echo = None;
        match plan.reading {
            Reading::Whole => poll_fn(|cx| body.poll_end(cx)).await,
            Reading::Never => drop(body),
            Reading::First => {
                let _ = poll_fn(|cx| body.poll_frame(cx)).await;
                drop(body);
            }
            Reading::Beside => {
                let reading = async move { poll_fn(|cx| body.poll_end(cx)).await };
                self.new.borrow_mut().push(Box::pin(reading));
            }
            Reading::Kept => {
                let client = client.clone();
                let keeping = async move {
                    client.wait(4).await;
                    drop(body);
                };
                self.new.borrow_mut().push(Box::pin(keeping));
            }
            Reading::Echo => echo = Some(body),
        }
        client.wait(plan.waits[1]).await;
        let switches = head.headers.contains_key(UPGRADE) && head.version == Version::HTTP_11;
        let kind = match plan.kind {
            Kind::Switch if !switches || !empty => Kind::Fixed,
            Kind::Said if head.method == Method::HEAD => Kind::Empty,
            kind => kind,
        };
        // What another finds while this is answered depends on who is first.
        let beside = matches!(plan.reading, Reading::Beside);
        let flawed = !beside && self.found.borrow()[number].read == Read::Flawed;
        let mut response = Response::new(Answer::new(kind, plan.waits[2], client));
        *response.status_mut() = match kind {
            Kind::Switch => StatusCode::SWITCHING_PROTOCOLS,
            _ if flawed => StatusCode::BAD_REQUEST,
            // A client of hyper's would take it for a tunnel, and so does hyper.
            _ if head.method == Method::CONNECT => StatusCode::METHOD_NOT_ALLOWED,
            Kind::NoContent => StatusCode::NO_CONTENT,
            Kind::NotModified => StatusCode::NOT_MODIFIED,
            _ => StatusCode::OK,
        };
        let headers = response.headers_mut();
        headers.insert(header::DATE, HeaderValue::from_static(DATE));
        match plan.kind {
            Kind::Said => drop(headers.insert(CONTENT_LENGTH, HeaderValue::from(TEXT.len()))),
            Kind::Trailers => {
                headers.insert(TRAILER, HeaderValue::from_static("x-sum, x-more"));
            }
            _ => {}
        }
        if kind == Kind::Switch {
            self.switched.set(true);
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static("echo/1"));
            return response;
        }
        if let Some(body) = echo {
            headers.remove(CONTENT_LENGTH);
            *response.body_mut() = Answer::echo(body, client);
        }
        // As the proxy does: what is endless ends with the connection.
        let endless = response.body().size_hint().exact().is_none();
        if plan.closes || endless && head.version == Version::HTTP_10 {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// A request's body, and what is found of it.
struct Watched<I> {
    body: I,
    found: Rc<RefCell<Vec<Found>>>,
    number: usize,
    over: Rc<Cell<bool>>,
}

impl<I> Watched<I>
where
    I: Body<Data = Bytes> + Unpin,
    I::Error: Into<Failure>,
{
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if self.over.get() {
            return Poll::Ready(Some(Err("the connection is over".into())));
        }
        let found = &mut self.found.borrow_mut()[self.number];
        assert_eq!(found.read, Read::Left, "something is behind the end of a body");
        Poll::Ready(match frame {
            None => {
                found.read = Read::Whole;
                None
            }
            Some(Err(flaw)) => {
                found.read = Read::Flawed;
                found.flaw = Some(Rc::new(flaw.into()));
                Some(Err("the request breaks off".into()))
            }
            Some(Ok(frame)) => {
                assert!(found.trailers.is_none(), "something is behind the trailers of a body");
                match (frame.data_ref(), frame.trailers_ref()) {
                    (Some(data), _) => found.body.extend_from_slice(data),
                    (None, trailers) => found.trailers = trailers.cloned(),
                }
                Some(Ok(frame))
            }
        })
    }

    /// Reads it to its end, whatever that is.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match ready!(self.poll_frame(cx)) {
                Some(Ok(_)) => {}
                None | Some(Err(_)) => return Poll::Ready(()),
            }
        }
    }
}

enum Piece {
    Data(&'static [u8]),
    Trailers,
    Failure,
}

/// The body of an answer.
pub struct Answer<I> {
    pieces: VecDeque<Piece>,
    length: Option<u64>,
    echo: Option<Watched<I>>,
    client: Client,
    /// Steps in front of each piece.
    wait: usize,
    waiting: Option<Reader>,
}

impl<I> Answer<I> {
    fn new(kind: Kind, wait: usize, client: &Client) -> Self {
        let halves = || [Piece::Data(&TEXT[..4]), Piece::Data(b""), Piece::Data(&TEXT[4..])];
        let ten = Some(TEXT.len() as u64);
        let (pieces, length) = match kind {
            Kind::Empty | Kind::Switch => (VecDeque::new(), Some(0)),
            Kind::Fixed | Kind::Said | Kind::NotModified => (halves().into(), ten),
            Kind::Large => {
                ([Piece::Data(LARGE), Piece::Data(TEXT)].into(), Some(LARGE.len() as u64 + 10))
            }
            Kind::Unknown | Kind::NoContent => (halves().into(), None),
            Kind::Trailers => ([Piece::Data(TEXT), Piece::Trailers].into(), None),
            Kind::Broken => ([Piece::Data(TEXT), Piece::Failure].into(), None),
            Kind::Short => ([Piece::Data(&TEXT[..4])].into(), ten),
            Kind::Long => ([Piece::Data(TEXT), Piece::Data(TEXT)].into(), ten),
        };
        Self { pieces, length, echo: None, client: client.clone(), wait, waiting: None }
    }

    fn echo(body: Watched<I>, client: &Client) -> Self {
        Self { echo: Some(body), ..Self::new(Kind::Empty, 0, client) }
    }
}

impl<I> Body for Answer<I>
where
    I: Body<Data = Bytes> + Unpin,
    I::Error: Into<Failure>,
{
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        if let Some(echo) = &mut self.echo {
            return echo.poll_frame(cx);
        }
        let (client, wait) = (self.client.clone(), self.wait);
        let waiting =
            self.waiting.get_or_insert_with(|| Box::pin(async move { client.wait(wait).await }));
        ready!(waiting.as_mut().poll(cx));
        self.waiting = None;
        Poll::Ready(self.pieces.pop_front().map(|piece| match piece {
            Piece::Data(data) => Ok(Frame::data(Bytes::from_static(data))),
            Piece::Trailers => {
                let mut trailers = HeaderMap::new();
                for name in ["x-sum", "x-other"] {
                    trailers.insert(name, HeaderValue::from_static("1"));
                }
                Ok(Frame::trailers(trailers))
            }
            Piece::Failure => Err("it breaks off".into()),
        }))
    }

    fn is_end_stream(&self) -> bool {
        match &self.echo {
            Some(echo) => echo.body.is_end_stream(),
            None => self.pieces.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.echo {
            Some(echo) => echo.body.size_hint(),
            None => self.length.map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}
