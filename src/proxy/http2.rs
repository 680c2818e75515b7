//! A connection of HTTP/2: many exchanges at once, each told by the same story as in HTTP/1.
//!
//! It promises that the exchanges of one connection which run, those that their client has reset
//! included, are never more than the streams that it may have; that the client is told (GOAWAY)
//! when no other request is taken; and that frames which are no request keep no connection open.
//! h2 does the frames, and answers floods of its own with GOAWAY: resets of what was not begun
//! yet, tiny DATA frames, CONTINUATION without end, header lists far beyond the limit.

use std::error::Error;
use std::sync::Arc;

use h2::Reason;
use http::header::CONTENT_LENGTH;
use http::{Method, Request, StatusCode};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::account::Account;
use super::connection::{Arrival, Connection, Place};
use super::ending::Stop;
use super::exchange::{Arrived, exchange};
use super::failure::Failure;
use super::replies::{self, Accepts};
use super::seat::{Overdue, Phase};
use super::settings::Http2Limits;
use super::stream::{Stream, Streams};
use super::stream_body::StreamBody;
use super::upload::{self, Upload};

/// What a client may send before the application takes it: on one stream, and on all of a
/// connection together. A stream gets 5 MB/s where a round trip takes 50 ms, a connection 20; what
/// nobody takes costs no more memory than this. Windows that adapt would grow to 16 MiB for who
/// asks for it.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// What is taken of a response before the client's windows have room for it, on one stream.
const SEND_BUFFER: usize = 64 << 10;

impl Connection {
    /// Serves HTTP/2 until the client has gone, or has been told to.
    pub(super) async fn serve_http2<S>(&self, stream: S, arrival: Arrival, mut stop: Stop)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (core, seat) = (&self.core, self.taken.seat());
        seat.multiplex();
        let settings = &self.in_force.settings;
        let limits = &settings.http2;
        let streams = Streams::new(core, seat, &settings.downstream_limits, limits.resets);
        let places = Arc::new(Semaphore::new(limits.streams as usize));
        let service = service_fn(|request: Request<Incoming>| {
            let (core, places) = (Arc::clone(core), Arc::clone(&places));
            let (counted, running) = (core.exchanges.token(), seat.begin());
            let arrival = arrival.clone();
            let entered = self.taken.enter();
            // Here and not below: hyper may drop what it has not polled yet.
            let account = match (&running, &entered) {
                (Some(_), Some(_)) => Account::begin(&core, &arrival, &request, core.clock.now()),
                _ => Account::default(),
            };
            async move {
                let stream = Stream::current();
                let (Some(running), Some(entered)) = (running, entered) else {
                    return Err(refused(&stream));
                };
                // Only exchanges whose clients have reset them can hold places that no stream has.
                let Ok(place) = places.acquire_owned().await else {
                    return Err(refused(&stream));
                };
                let place = Place::Stream(Arc::new((place, entered)));
                let in_force = core.in_force();
                let limits = &in_force.settings.downstream_limits;
                let (mut parts, body) = request.into_parts();
                let switched = parts.extensions.remove::<OnUpgrade>();
                let body = upload::Incoming::Http2(body);
                let head = parts.method == Method::HEAD;
                let connects = parts.method == Method::CONNECT;
                let request = (parts, Upload::new(body, limits, core.clock, &running));
                let arrived = Arrived { by: &arrival, place: place.clone() };
                let mut response = exchange(&core, in_force, arrived, request, account).await;
                if let Some(tunnel) = response.body_mut().take_tunnel() {
                    let held = place.clone();
                    tokio::spawn(async move {
                        let counted = (counted, running);
                        if let Some((switched, patience)) = switched.zip(tunnel.patience())
                            && let Ok(Ok(near)) = timeout(patience.idle, switched).await
                        {
                            tunnel.run(&core, counted, TokioIo::new(near), None).await;
                        }
                        drop(held);
                    });
                    return Ok(response.map(|_| StreamBody::new(None, stream, place)));
                }
                if connects && response.status().is_success() {
                    // To the client that would be a tunnel, and there is none.
                    let accepts = Accepts::of(response.headers());
                    response = replies::status(StatusCode::BAD_GATEWAY, &accepts);
                }
                let bodiless = head || matches!(response.status().as_u16(), 204 | 304);
                // hyper leaves both to HTTP/1: the length that a body would have, and no body.
                if head
                    && !response.body().is_end_stream()
                    && let Some(length) = response.body().size_hint().exact()
                {
                    response.headers_mut().entry(CONTENT_LENGTH).or_insert(length.into());
                }
                Ok(response.map(|mut body| {
                    body.holding(counted, running);
                    StreamBody::new((!bodiless).then_some(body), stream, place)
                }))
            }
        });
        let serving =
            builder(limits, streams.clone()).serve_connection(TokioIo::new(stream), service);
        tokio::pin!(serving);
        let mut watch = self.watch();
        let outcome = loop {
            tokio::select! {
                biased;
                outcome = serving.as_mut() => break outcome,
                // Gently or not: GOAWAY loses no request that is just being sent.
                () = stop.asked() => {
                    serving.as_mut().graceful_shutdown();
                    watch.told();
                }
                () = seat.called() => {
                    if streams.resets_too_much() {
                        core.failed(&Failure::Resets, None);
                    } else if seat.phase() != Phase::Shed {
                        continue;
                    }
                    // Its last words, if the client takes them.
                    serving.as_mut().graceful_shutdown();
                    let mut serving = serving.as_mut();
                    return std::future::poll_fn(|cx| {
                        let _ = serving.as_mut().poll(cx);
                        std::task::Poll::Ready(())
                    })
                    .await;
                }
                overdue = std::future::poll_fn(|cx| watch.poll(cx)) => match overdue {
                    Overdue::Idle if !watch.is_told() && !seat.chatters() => {
                        serving.as_mut().graceful_shutdown();
                        watch.told();
                    }
                    Overdue::Idle | Overdue::Head | Overdue::Send => return self.cut_off(overdue),
                }
            }
        };
        if let Err(error) = outcome {
            self.failed(error);
        }
    }
}

/// Not begun: the client may send it again, on another connection (RFC 9113, 8.7).
fn refused(stream: &Stream) -> h2::Error {
    stream.end();
    Reason::REFUSED_STREAM.into()
}

/// What a connection failed by, if its client is to blame.
pub(super) fn failure(error: hyper::Error) -> Option<Failure> {
    let told = error.source().and_then(|source| source.downcast_ref::<h2::Error>())?;
    match told.reason() {
        // h2 has counted resets, or other frames that cost more than they bring.
        Some(Reason::ENHANCE_YOUR_CALM) if told.is_library() => Some(Failure::Resets),
        Some(_) if told.is_library() => Some(Failure::Frames(error)),
        _ => None,
    }
}

fn builder(limits: &Http2Limits, streams: Streams) -> http2::Builder<Streams> {
    let mut builder = http2::Builder::new(streams);
    builder
        .enable_connect_protocol()
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(limits.header_list_bytes)
        .max_pending_accept_reset_streams(limits.resets as usize)
        .max_local_error_reset_streams(limits.resets as usize)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER);
    builder
}
