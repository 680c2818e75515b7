//! The way to the application.
//!
//! It owns the connections to it, and speaks HTTP/1.1 with `Host` as received and targets in
//! origin-form. It promises that a request is written at most once: what may have reached the
//! application is never sent again, because a second logout is a second session. A request is
//! sent on another connection only if hyper hands it back, not a byte of it written.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use tokio::time::timeout;

use super::body::{DownstreamBody, Progress, UpstreamBody};
use super::clock::Clock;
use super::connect::{Sender, connect};
use super::descriptors;
use super::failure::{Failure, Unrelayable};
use super::headers;
use super::pool::{Lease, Pool};
use super::seats::Seats;
use super::settings::{Address, UpstreamLimits};

/// How many pooled connections may turn out to be closed before a new one is made.
const POOLED_ATTEMPTS: usize = 2;

/// The pause before another attempt when there was no file descriptor.
const ROOM_PAUSE: Duration = Duration::from_millis(20);

/// The application, as all cores share it.
#[derive(Debug)]
pub struct Upstream {
    address: Address,
    limits: UpstreamLimits,
    clock: Clock,
    /// The idle connections of each core.
    pools: Box<[Arc<Pool>]>,
    seats: Arc<Seats>,
}

/// Why there is no response, and the request if nothing of it was written.
enum Refused {
    Unsent(Box<Request<UpstreamBody>>, hyper::Error),
    Failed(Failure),
}

impl Upstream {
    /// No connection is made yet, on any of so many `cores`. `seats` make room when there is no
    /// file descriptor for one.
    pub fn new(
        address: Address,
        limits: UpstreamLimits,
        cores: usize,
        clock: Clock,
        seats: Arc<Seats>,
    ) -> Self {
        let pool = |_| {
            let UpstreamLimits { idle_connections, idle_timeout, response_timeout, .. } = limits;
            Arc::new(Pool::new(clock, idle_connections, idle_timeout, response_timeout))
        };
        Self { address, limits, clock, pools: (0..cores).map(pool).collect(), seats }
    }

    /// The idle connections of a core.
    pub fn pool(&self, core: usize) -> &Arc<Pool> {
        &self.pools[core]
    }

    /// Sends a request and waits for the head of its response, whose hop-by-hop headers are gone.
    /// The connection is pooled again when the response's body has been read to its end; it is
    /// closed if that body is dropped before, or if this future is.
    pub async fn send(
        &self,
        core: usize,
        mut request: Request<UpstreamBody>,
    ) -> Result<Response<DownstreamBody>, Failure> {
        *request.version_mut() = Version::HTTP_11;
        let progress = request.body().progress();
        for _ in 0..POOLED_ATTEMPTS {
            let Some(sender) = self.pool(core).take() else { break };
            match self.attempt(core, sender, request, &progress).await {
                Ok(response) => return Ok(response),
                Err(Refused::Failed(failure)) => return Err(failure),
                Err(Refused::Unsent(unsent, _)) => request = *unsent,
            }
        }
        let sender = self.connect(core).await?;
        match self.attempt(core, sender, request, &progress).await {
            Ok(response) => Ok(response),
            Err(Refused::Failed(failure)) => Err(failure),
            Err(Refused::Unsent(_, error)) => Err(Failure::Unsent(error)),
        }
    }

    async fn attempt(
        &self,
        core: usize,
        mut sender: Sender,
        request: Request<UpstreamBody>,
        progress: &Progress,
    ) -> Result<Response<DownstreamBody>, Refused> {
        progress.moved(self.clock.now());
        let head = sender.try_send_request(request);
        match self.within_response_timeout(head, progress).await {
            Some(Ok(response)) => self.received(core, sender, response).map_err(Refused::Failed),
            Some(Err(mut refused)) => Err(match refused.take_message() {
                Some(request) => Refused::Unsent(Box::new(request), refused.into_error()),
                None => Refused::Failed(
                    progress
                        .take_failure()
                        .unwrap_or_else(|| Failure::Closed(refused.into_error())),
                ),
            }),
            None => Err(Refused::Failed(Failure::ResponseTimeout)),
        }
    }

    /// Awaits the head of a response. The time counts from the last piece of the request's body
    /// that the connection took, so that a long upload is not cut off; and not while the client is
    /// the one to wait for, which the body itself bounds.
    async fn within_response_timeout<T>(
        &self,
        head: impl Future<Output = T>,
        progress: &Progress,
    ) -> Option<T> {
        tokio::pin!(head);
        let mut left = self.limits.response_timeout;
        loop {
            if let Ok(outcome) = timeout(left, head.as_mut()).await {
                return Some(outcome);
            }
            let waited = self.clock.now().since(progress.last());
            left = match self.limits.response_timeout.checked_sub(waited) {
                Some(left) if !left.is_zero() => left,
                _ if progress.awaits_client() => self.limits.response_timeout,
                _ => return None,
            };
        }
    }

    fn received(
        &self,
        core: usize,
        sender: Sender,
        response: Response<Incoming>,
    ) -> Result<Response<DownstreamBody>, Failure> {
        let (mut parts, body) = response.into_parts();
        if parts.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Failure::Unrelayable(Unrelayable::Switched));
        }
        headers::clean_response(&mut parts.headers).map_err(Failure::Unrelayable)?;
        // hyper would speak HTTP/1.0 on a connection that has answered so, and would then drop
        // bodies without a length.
        let again = parts.version == Version::HTTP_11;
        parts.version = Version::HTTP_11;
        let lease = Lease::new(sender, Arc::clone(self.pool(core)), again);
        let body = DownstreamBody::relayed(body, self.limits.response_timeout, lease);
        Ok(Response::from_parts(parts, body))
    }

    /// Connects. Where there is no file descriptor for it, what is idle on both sides is closed,
    /// and it is tried again within the connect timeout.
    async fn connect(&self, core: usize) -> Result<Sender, Failure> {
        let until = self.clock.now().after(self.limits.connect_timeout);
        loop {
            let outcome = connect(&self.address, self.limits.connect_timeout, ()).await;
            let Err(Failure::Connect(error)) = &outcome else { return outcome };
            let now = self.clock.now();
            if !descriptors::are_exhausted(error) || now >= until {
                return outcome;
            }
            self.pool(core).clear();
            self.seats.make_room(now);
            tokio::time::sleep(ROOM_PAUSE).await;
        }
    }
}
