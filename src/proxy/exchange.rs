//! The story of a request, told by one function.

use std::net::SocketAddr;
use std::sync::Arc;

use http::header::EXPECT;
use http::{Request, Response};
use hyper::body::{Body, Incoming};

use super::body::{self, DownstreamBody, UpstreamBody};
use super::core::Core;
use super::detached::Observed;
use super::replies::{self, Accepts};
use super::{forwarded, headers};

/// Identify the client, clean the request, forward it, relay the response.
pub async fn exchange(
    core: &Arc<Core>,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Response<DownstreamBody> {
    let (mut parts, body) = request.into_parts();
    let accepts = Accepts::of(&parts.headers);
    let unread = Unread { expects: parts.headers.contains_key(EXPECT), body };

    // Before the headers are cleaned: `Connection` must not take the client's address away.
    let origin = forwarded::origin(peer.ip(), &parts.headers, &core.settings.trusted_proxies);
    if let Err(fault) = headers::clean_request(&mut parts, &unread.body, &core.nameless) {
        return unread.refuse(replies::status(fault.status(), &accepts));
    }
    forwarded::announce(&mut parts.headers, &origin);

    let uploads = !unread.body.is_end_stream();
    let pause = core.settings.upstream_limits.response_timeout;
    let body = UpstreamBody::new(unread.body, pause, core.clock);
    let request = Request::from_parts(parts, body);
    let forwarding = Observed::new(&core.detached, {
        let core = Arc::clone(core);
        async move { core.upstream.send(request).await }
    });
    match forwarding.await {
        Ok(response) => response,
        Err(failure) => {
            core.failed(&failure);
            let reply = replies::status(failure.status(), &accepts);
            // Of an upload that was cut short nobody knows where the next request would begin.
            if uploads { replies::closing(reply) } else { reply }
        }
    }
}

/// The body of a request that may yet be refused.
struct Unread {
    /// The client waits for 100 before it sends the body.
    expects: bool,
    body: Incoming,
}

impl Unread {
    /// Refuses the request in such a way that the client can read the refusal. A client that
    /// expects 100 has sent no body, and one whose body is too long to be discarded must not send
    /// another request behind it: their connections are closed.
    fn refuse(self, reply: Response<DownstreamBody>) -> Response<DownstreamBody> {
        if self.body.is_end_stream() {
            return reply;
        }
        if self.expects {
            return replies::closing(reply);
        }
        let keep = body::discardable(&self.body);
        tokio::spawn(body::discard(self.body));
        if keep { reply } else { replies::closing(reply) }
    }
}
