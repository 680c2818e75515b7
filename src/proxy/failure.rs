//! What went wrong in an exchange, on which side and at what stage.

use std::error::Error;
use std::fmt;
use std::io;

use http::StatusCode;

/// A failed exchange. Sources are kept; nothing of them is told to the client.
#[derive(Debug)]
pub enum Failure {
    /// The head of a request could not be parsed; hyper has answered it with 400, 414 or 431.
    Head(hyper::Error),
    /// The client broke off, or framed its body wrongly, while uploading.
    Upload(hyper::Error),
    /// The client sent nothing of its body for the response timeout.
    UploadStalled,
    /// No connection to the application.
    Connect(io::Error),
    /// No connection to the application within the connect timeout.
    ConnectTimeout,
    /// The connection to the application was closed before the request was written to it.
    Unsent(hyper::Error),
    /// The connection ended or broke, or spoke no HTTP, before the head of a response.
    Closed(hyper::Error),
    /// No head of a response within the response timeout.
    ResponseTimeout,
    /// The head of the response cannot be relayed.
    Unrelayable(Unrelayable),
    /// The response's body broke off.
    Body(hyper::Error),
    /// Nothing of the response's body came for the response timeout.
    BodyStalled,
}

/// Why the head of a response cannot be relayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unrelayable {
    /// 101, though no upgrade was asked for.
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
    /// Whose failure it is.
    pub const fn side(&self) -> Side {
        match self {
            Self::Head(_) | Self::Upload(_) | Self::UploadStalled => Side::Downstream,
            Self::Connect(_)
            | Self::ConnectTimeout
            | Self::Unsent(_)
            | Self::Closed(_)
            | Self::ResponseTimeout
            | Self::Unrelayable(_)
            | Self::Body(_)
            | Self::BodyStalled => Side::Upstream,
        }
    }

    /// How far the exchange had come. Before [`Stage::Forward`] nothing can have been written.
    pub const fn stage(&self) -> Stage {
        match self {
            Self::Head(_) => Stage::Request,
            Self::Connect(_) | Self::ConnectTimeout | Self::Unsent(_) => Stage::Connect,
            Self::Upload(_) | Self::UploadStalled | Self::Closed(_) | Self::ResponseTimeout => {
                Stage::Forward
            }
            Self::Unrelayable(_) | Self::Body(_) | Self::BodyStalled => Stage::Relay,
        }
    }

    /// The status of the reply to it. Where the response is already being relayed there is none
    /// to send any more, and the connection is broken off instead.
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Head(_) | Self::Upload(_) => StatusCode::BAD_REQUEST,
            Self::UploadStalled => StatusCode::REQUEST_TIMEOUT,
            Self::ConnectTimeout | Self::ResponseTimeout | Self::BodyStalled => {
                StatusCode::GATEWAY_TIMEOUT
            }
            Self::Connect(_)
            | Self::Unsent(_)
            | Self::Closed(_)
            | Self::Unrelayable(_)
            | Self::Body(_) => StatusCode::BAD_GATEWAY,
        }
    }

    /// The word for it in logs and metrics.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Head(_) => "head",
            Self::Upload(_) => "upload",
            Self::UploadStalled => "upload-stalled",
            Self::Connect(_) => "connect",
            Self::ConnectTimeout => "connect-timeout",
            Self::Unsent(_) => "unsent",
            Self::Closed(_) => "closed",
            Self::ResponseTimeout => "response-timeout",
            Self::Unrelayable(_) => "unrelayable",
            Self::Body(_) => "body",
            Self::BodyStalled => "body-stalled",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Head(_) => "the head of a request could not be parsed",
            Self::Upload(_) => "the client broke off while uploading",
            Self::UploadStalled => "the client stopped uploading",
            Self::Connect(_) => "no connection to the application",
            Self::ConnectTimeout => "no connection to the application in time",
            Self::Unsent(_) => "the application closed connections before they could be used",
            Self::Closed(_) => "the application closed the connection without a response",
            Self::ResponseTimeout => "no response from the application in time",
            Self::Unrelayable(Unrelayable::Switched) => {
                "the application switched protocols, though not asked to"
            }
            Self::Unrelayable(Unrelayable::TransferCoding) => {
                "the application used a transfer coding that was not asked for"
            }
            Self::Body(_) => "the application broke off its response",
            Self::BodyStalled => "the application stopped sending its response",
        })
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Head(error)
            | Self::Upload(error)
            | Self::Unsent(error)
            | Self::Closed(error)
            | Self::Body(error) => Some(error),
            Self::Connect(error) => Some(error),
            Self::UploadStalled
            | Self::ConnectTimeout
            | Self::ResponseTimeout
            | Self::Unrelayable(_)
            | Self::BodyStalled => None,
        }
    }
}
