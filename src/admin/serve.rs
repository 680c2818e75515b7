//! Connections of the admin listener, and what is answered.

use std::convert::Infallible;
use std::io::{self, Write};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, VARY, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::access::{Barred, check};
use super::metrics::negotiation::{Format, takes_gzip};
use super::page::Events;
use super::patience::Patient;
use super::visits::{Farewell, Visit};
use super::{Admin, REST, Readiness, metrics};
use crate::telemetry::status;

/// How long a request's head may take, and how long a connection may be idle.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);

/// For how long nothing of a reply may be read.
const READ_PATIENCE: Duration = Duration::from_secs(20);

/// Between two looks at the process.
const LOOK_SPAN: Duration = Duration::from_secs(1);

/// Either all of it, or what comes as it happens.
pub(super) type Reply = Response<Either<Full<Bytes>, Events>>;

impl Admin {
    /// Answers on one connection until it ends. It has its place when this returns; who has lost
    /// one has gone as soon as the runtime has been round.
    pub fn serve<S>(self: Arc<Self>, stream: S) -> impl Future<Output = ()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let visit = self.visits.enter();
        self.visited(stream, visit)
    }

    async fn visited<S>(self: Arc<Self>, stream: S, visit: Visit)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let answer = service_fn(|request: Request<Incoming>| {
            let mut reply = self.answer(&request, &visit);
            if self.visits.has_ended() {
                reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            async move { Ok::<_, Infallible>(reply) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_PATIENCE)
            .max_buf_size(16 << 10)
            .serve_connection(TokioIo::new(Patient::new(stream, READ_PATIENCE)), answer);
        let mut connection = pin!(connection);
        loop {
            tokio::select! {
                // What goes wrong on a connection is its client's affair.
                _ = connection.as_mut() => return,
                farewell = visit.farewell() => match farewell {
                    Farewell::Now => return,
                    Farewell::WhenAnswered => connection.as_mut().graceful_shutdown(),
                },
            }
        }
    }

    fn answer(&self, request: &Request<Incoming>, visit: &Visit) -> Reply {
        visit.asks();
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut reply = plain(StatusCode::METHOD_NOT_ALLOWED, "nothing is changed here\n");
            reply.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return reply;
        }
        let path = request.uri().path();
        // Whoever balances load knows no token, and these tell nothing else.
        match path {
            "/healthz" => return self.health(),
            "/readyz" => return self.readiness(),
            _ => {}
        }
        match check(request.uri(), request.headers(), self.token.load().as_deref()) {
            Ok(()) => visit.is_trusted(),
            Err(Barred::Token) => {
                let mut reply = plain(
                    StatusCode::UNAUTHORIZED,
                    "the token of admin.token_file, as a bearer's or as a password\n",
                );
                let ask = HeaderValue::from_static("Basic realm=\"floodwall\", charset=\"UTF-8\"");
                reply.headers_mut().insert(WWW_AUTHENTICATE, ask);
                return reply;
            }
            Err(Barred::Host) => {
                return plain(
                    StatusCode::FORBIDDEN,
                    "ask for localhost or an address; other names need an admin.token_file\n",
                );
            }
        }
        match path {
            "/metrics" => self.metrics(request.headers()),
            "/status" => {
                let json = status::json(&self.snapshot());
                typed(StatusCode::OK, "application/json", format!("{json}\n"))
            }
            _ => self.page.answer(request).unwrap_or_else(|| {
                let there = "there are /, /healthz, /metrics, /readyz and /status\n";
                plain(StatusCode::NOT_FOUND, there)
            }),
        }
    }

    /// Looks at the process once a second, for ever: the page has a past when it is opened. Where
    /// that takes long it is done less often. What is asked for is looked at anew.
    pub async fn look(self: Arc<Self>) {
        loop {
            let began = self.source.now();
            self.page.take(Arc::new(self.source.snapshot()));
            let took = self.source.now().since(began);
            tokio::time::sleep(LOOK_SPAN.max(took * REST)).await;
        }
    }

    fn metrics(&self, headers: &HeaderMap) -> Reply {
        let format = Format::asked(headers);
        let ready = self.source.readiness() == Readiness::Ready;
        let Ok(page) = metrics::render(self.snapshot(), ready, format) else {
            return plain(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written\n");
        };
        let packed = takes_gzip(headers).then(|| packed(&page)).and_then(Result::ok);
        let is_packed = packed.is_some();
        let body = packed.unwrap_or_else(|| page.into_bytes());
        let mut reply = typed(StatusCode::OK, format.content_type(), body);
        let vary = HeaderValue::from_static("Accept, Accept-Encoding");
        reply.headers_mut().insert(VARY, vary);
        if is_packed {
            let gzip = HeaderValue::from_static("gzip");
            reply.headers_mut().insert(CONTENT_ENCODING, gzip);
        }
        reply
    }

    fn health(&self) -> Reply {
        match self.source.is_alive() {
            true => plain(StatusCode::OK, "alive\n"),
            false => plain(StatusCode::SERVICE_UNAVAILABLE, "a core hangs\n"),
        }
    }

    fn readiness(&self) -> Reply {
        match self.source.readiness() {
            Readiness::Ready => plain(StatusCode::OK, "ready\n"),
            Readiness::Not(why) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        }
    }
}

fn packed(page: &str) -> io::Result<Vec<u8>> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(page.as_bytes())?;
    packer.finish()
}

pub(super) fn plain(status: StatusCode, text: impl Into<Bytes>) -> Reply {
    typed(status, "text/plain; charset=utf-8", text)
}

fn typed(status: StatusCode, kind: &'static str, text: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Either::Left(Full::new(text.into())));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    reply
}
