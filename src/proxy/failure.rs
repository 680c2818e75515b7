//! What went wrong in an exchange, on which side and at what stage.

use std::error::Error;
use std::fmt;
use std::io;

use http::StatusCode;

use super::headers::Fault;
use super::http1;
use super::introduction::Refusal;
use super::link::Cause;
use super::seats::Full;
use super::tls::client;
use super::tunnels::NoTunnel;
use super::upload;

/// A failed exchange. Sources are kept; nothing of them is told to the client.
#[derive(Debug)]
pub enum Failure {
    /// A connection was closed as soon as it came.
    Refused(Full),
    /// A connection could not be accepted.
    Accept(io::Error),
    /// A client did not finish the handshake of TLS in time; its connection was closed.
    HandshakeTimeout,
    /// The handshake of TLS with a client failed.
    Handshake(io::Error),
    /// A peer that introduces its clients did not do it well; its connection was closed.
    Introduction(Refusal),
    /// The head of a request did not come in time; its connection was closed.
    HeadTimeout,
    /// The head of a request is larger than allowed; it was answered with 414 or 431.
    HeadTooLarge(http1::Flaw),
    /// The head of a request could not be read; it was answered with 400.
    Head(http1::Flaw),
    /// A client broke the rules of HTTP/2; h2 has told it which.
    Frames(hyper::Error),
    /// A client reset more requests than it may; its connection was closed.
    Resets,
    /// The request is not taken as it is.
    Request(Fault),
    /// The client broke off, or framed its body wrongly, while uploading.
    Upload(upload::Cause),
    /// The client sent its body too slowly, or not at all.
    UploadStalled,
    /// The client sent more than it may, without having said so before.
    UploadTooLarge,
    /// No connection to the application.
    Connect(io::Error),
    /// The handshake of TLS with the application failed, or it is not to be believed.
    Untrusted(io::Error),
    /// No connection to the application within the connect timeout.
    ConnectTimeout,
    /// The server has as many connections as it may, and as many wait for one as may.
    QueueFull,
    /// No connection became free within the queue timeout.
    QueueTimeout,
    /// The client hung up while it waited for a connection.
    Abandoned,
    /// The connection to the application was closed before the request was written to it.
    Unsent(Cause),
    /// The connection ended or broke, or spoke no HTTP, before the head of a response.
    Closed(Cause),
    /// No head of a response within the response timeout.
    ResponseTimeout,
    /// The head of the response cannot be relayed.
    Unrelayable(Unrelayable),
    /// The response's body broke off.
    Body(Cause),
    /// Nothing of the response's body came for the response timeout.
    BodyStalled,
    /// The client took the response too slowly, or not at all.
    SendStalled,
    /// There was no place for a tunnel.
    NoTunnel(NoTunnel),
    /// The application's end of a tunnel broke.
    TunnelBroken(io::Error),
    /// The application took nothing of what came through a tunnel.
    TunnelStalled,
}

/// Why the head of a response cannot be relayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unrelayable {
    /// 101, though no upgrade was asked for, or not this one.
    Switched,
    /// A transfer coding other than `chunked`, though none was asked for.
    TransferCoding,
}

/// Whose failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Downstream,
    Upstream,
}

/// How far the exchange had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Nothing of the request had left the proxy.
    Request,
    /// The same: there was no connection to send it on.
    Connect,
    /// The request was on its way: the application may have acted on it.
    Forward,
    /// The head of the response was there, and mostly relayed.
    Relay,
}

impl Failure {
    /// The words for what the upstream fails by.
    pub const UPSTREAM_WORDS: [&str; 13] = [
        "body",
        "body-stalled",
        "closed",
        "connect",
        "connect-timeout",
        "queue-full",
        "queue-timeout",
        "response-timeout",
        "tunnel-broken",
        "tunnel-stalled",
        "unrelayable",
        "unsent",
        "upstream-tls",
    ];

    /// The words for the limits that clients are held to.
    pub const LIMIT_WORDS: [&str; 15] = [
        "accept",
        "body-bytes",
        "client-connections",
        "client-tunnels",
        "connections",
        "handshake-timeout",
        "head-bytes",
        "head-timeout",
        "headers",
        "proxy-header",
        "resets",
        "send-stalled",
        "target-bytes",
        "tunnels",
        "upload-stalled",
    ];

    /// Whose failure it is.
    pub const fn side(&self) -> Side {
        match self {
            Self::Refused(_)
            | Self::Accept(_)
            | Self::HandshakeTimeout
            | Self::Handshake(_)
            | Self::Introduction(_)
            | Self::HeadTimeout
            | Self::HeadTooLarge(_)
            | Self::Head(_)
            | Self::Frames(_)
            | Self::Resets
            | Self::Request(_)
            | Self::Upload(_)
            | Self::UploadStalled
            | Self::UploadTooLarge
            | Self::Abandoned
            | Self::SendStalled
            | Self::NoTunnel(_) => Side::Downstream,
            Self::Connect(_)
            | Self::Untrusted(_)
            | Self::ConnectTimeout
            | Self::QueueFull
            | Self::QueueTimeout
            | Self::Unsent(_)
            | Self::Closed(_)
            | Self::ResponseTimeout
            | Self::Unrelayable(_)
            | Self::Body(_)
            | Self::BodyStalled
            | Self::TunnelBroken(_)
            | Self::TunnelStalled => Side::Upstream,
        }
    }

    /// How far the exchange had come. Before [`Stage::Forward`] nothing can have been written.
    pub const fn stage(&self) -> Stage {
        match self {
            Self::Refused(_)
            | Self::Accept(_)
            | Self::HandshakeTimeout
            | Self::Handshake(_)
            | Self::Introduction(_)
            | Self::HeadTimeout
            | Self::HeadTooLarge(_)
            | Self::Head(_)
            | Self::Frames(_)
            | Self::Resets
            | Self::Request(_)
            | Self::NoTunnel(_) => Stage::Request,
            Self::Connect(_)
            | Self::Untrusted(_)
            | Self::ConnectTimeout
            | Self::QueueFull
            | Self::QueueTimeout
            | Self::Abandoned
            | Self::Unsent(_) => Stage::Connect,
            Self::Upload(_)
            | Self::UploadStalled
            | Self::UploadTooLarge
            | Self::Closed(_)
            | Self::ResponseTimeout => Stage::Forward,
            Self::Unrelayable(_)
            | Self::Body(_)
            | Self::BodyStalled
            | Self::SendStalled
            | Self::TunnelBroken(_)
            | Self::TunnelStalled => Stage::Relay,
        }
    }

    /// The status of the reply to it. Where the response is already being relayed there is none
    /// to send any more, and the connection is broken off instead.
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Request(fault) => fault.status(),
            Self::HeadTooLarge(http1::Flaw::TargetBytes) => StatusCode::URI_TOO_LONG,
            Self::HeadTooLarge(_) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Introduction(_)
            | Self::Handshake(_)
            | Self::Head(_)
            | Self::Frames(_)
            | Self::Upload(_) => StatusCode::BAD_REQUEST,
            Self::HandshakeTimeout
            | Self::HeadTimeout
            | Self::UploadStalled
            | Self::SendStalled => StatusCode::REQUEST_TIMEOUT,
            Self::Resets => StatusCode::TOO_MANY_REQUESTS,
            Self::UploadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Refused(_)
            | Self::Accept(_)
            | Self::NoTunnel(_)
            | Self::QueueFull
            | Self::QueueTimeout
            | Self::Abandoned => StatusCode::SERVICE_UNAVAILABLE,
            Self::ConnectTimeout
            | Self::ResponseTimeout
            | Self::BodyStalled
            | Self::TunnelStalled => StatusCode::GATEWAY_TIMEOUT,
            Self::Connect(_)
            | Self::Untrusted(_)
            | Self::Unsent(_)
            | Self::Closed(_)
            | Self::Unrelayable(_)
            | Self::Body(_)
            | Self::TunnelBroken(_) => StatusCode::BAD_GATEWAY,
        }
    }

    /// Whether trying another server is of no use.
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::QueueTimeout | Self::Abandoned)
    }

    /// Whether the client may try again soon.
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::QueueFull | Self::QueueTimeout)
    }

    /// Whether a client was held to a limit of ours: that is worth a line of the log, now and then.
    pub const fn is_limit(&self) -> bool {
        match self {
            Self::Refused(_)
            | Self::Accept(_)
            | Self::HandshakeTimeout
            | Self::Introduction(_)
            | Self::HeadTimeout
            | Self::HeadTooLarge(_)
            | Self::Request(Fault::TargetBytes | Fault::BodyBytes | Fault::Headers)
            | Self::Resets
            | Self::UploadStalled
            | Self::UploadTooLarge
            | Self::SendStalled
            | Self::NoTunnel(_) => true,
            Self::Handshake(_)
            | Self::Head(_)
            | Self::Frames(_)
            | Self::Request(
                Fault::Tunnel
                | Fault::Protocol
                | Fault::Target
                | Fault::Host
                | Fault::TransferCoding
                | Fault::Length
                | Fault::Field
                | Fault::UnknownHost
                | Fault::UnknownPath
                | Fault::NotTls,
            )
            | Self::Upload(_)
            | Self::Connect(_)
            | Self::Untrusted(_)
            | Self::ConnectTimeout
            | Self::QueueFull
            | Self::QueueTimeout
            | Self::Abandoned
            | Self::Unsent(_)
            | Self::Closed(_)
            | Self::ResponseTimeout
            | Self::Unrelayable(_)
            | Self::Body(_)
            | Self::BodyStalled
            | Self::TunnelBroken(_)
            | Self::TunnelStalled => false,
        }
    }

    /// The word for it in logs and metrics.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Refused(Full::All) => "connections",
            Self::Refused(Full::Client(_)) => "client-connections",
            Self::Accept(_) => "accept",
            Self::HandshakeTimeout => "handshake-timeout",
            Self::Handshake(_) => "handshake",
            Self::Introduction(_) => "proxy-header",
            Self::HeadTimeout => "head-timeout",
            Self::HeadTooLarge(_) => "head-bytes",
            Self::Head(_) => "head",
            Self::Frames(_) => "http2",
            Self::Resets => "resets",
            Self::Request(fault) => fault.word(),
            Self::Upload(_) => "upload",
            Self::UploadTooLarge => Fault::BodyBytes.word(),
            Self::SendStalled => "send-stalled",
            Self::UploadStalled => "upload-stalled",
            Self::Connect(_) => "connect",
            Self::Untrusted(_) => "upstream-tls",
            Self::ConnectTimeout => "connect-timeout",
            Self::QueueFull => "queue-full",
            Self::QueueTimeout => "queue-timeout",
            Self::Abandoned => "abandoned",
            Self::Unsent(_) => "unsent",
            Self::Closed(_) => "closed",
            Self::ResponseTimeout => "response-timeout",
            Self::Unrelayable(_) => "unrelayable",
            Self::Body(_) => "body",
            Self::BodyStalled => "body-stalled",
            Self::NoTunnel(NoTunnel::All) => "tunnels",
            Self::NoTunnel(NoTunnel::Client(_)) => "client-tunnels",
            Self::TunnelBroken(_) => "tunnel-broken",
            Self::TunnelStalled => "tunnel-stalled",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused(full) => return fmt::Display::fmt(full, f),
            Self::Accept(error) => return write!(f, "connections cannot be accepted: {error}"),
            Self::HandshakeTimeout => "a client did not finish the handshake of TLS in time",
            Self::Handshake(error) => {
                return write!(f, "the handshake of TLS with a client failed: {error}");
            }
            Self::Introduction(refusal) => return fmt::Display::fmt(refusal, f),
            Self::HeadTimeout => "the head of a request did not come in time",
            Self::HeadTooLarge(_) => "the head of a request is larger than allowed",
            Self::Head(_) => "the head of a request could not be parsed",
            Self::Frames(_) => "a client broke the rules of HTTP/2",
            Self::Resets => "a client resets more requests than allowed",
            Self::Request(fault) => return fmt::Display::fmt(fault, f),
            Self::Upload(_) => "the client broke off while uploading",
            Self::UploadStalled => "the client uploads too slowly",
            Self::UploadTooLarge => "the client uploads more than allowed",
            Self::SendStalled => "the client takes the response too slowly",
            Self::Connect(_) => "no connection to the application",
            Self::Untrusted(error) => {
                return write!(f, "TLS with the application: {}", client::remedy(error));
            }
            Self::ConnectTimeout => "no connection to the application in time",
            Self::QueueFull => "too many wait for a connection to the application",
            Self::QueueTimeout => "no connection to the application became free in time",
            Self::Abandoned => "the client hung up while it waited for the application",
            Self::Unsent(_) => "the application closed connections before they could be used",
            Self::Closed(_) => "the application closed the connection without a response",
            Self::ResponseTimeout => "no response from the application in time",
            Self::Unrelayable(Unrelayable::Switched) => {
                "the application switched to a protocol that was not asked for"
            }
            Self::Unrelayable(Unrelayable::TransferCoding) => {
                "the application used a transfer coding that was not asked for"
            }
            Self::Body(_) => "the application broke off its response",
            Self::BodyStalled => "the application stopped sending its response",
            Self::NoTunnel(full) => return fmt::Display::fmt(full, f),
            Self::TunnelBroken(_) => "the application broke off a tunnel",
            Self::TunnelStalled => "the application takes nothing of what comes by a tunnel",
        })
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::HeadTooLarge(flaw) | Self::Head(flaw) => Some(flaw),
            Self::Upload(upload::Cause::Http1(flaw)) => Some(flaw),
            Self::Upload(upload::Cause::Http2(error)) | Self::Frames(error) => Some(error),
            Self::Unsent(cause) | Self::Closed(cause) | Self::Body(cause) => Some(cause),
            Self::Accept(error)
            | Self::TunnelBroken(error)
            | Self::Handshake(error)
            | Self::Connect(error)
            | Self::Untrusted(error) => Some(error),
            Self::Refused(_)
            | Self::HandshakeTimeout
            | Self::Introduction(_)
            | Self::HeadTimeout
            | Self::Resets
            | Self::Request(_)
            | Self::UploadStalled
            | Self::UploadTooLarge
            | Self::SendStalled
            | Self::ConnectTimeout
            | Self::QueueFull
            | Self::QueueTimeout
            | Self::Abandoned
            | Self::ResponseTimeout
            | Self::Unrelayable(_)
            | Self::BodyStalled
            | Self::NoTunnel(_)
            | Self::TunnelStalled => None,
        }
    }
}
