//! What is wrong with a request, or with the connection that it was to come on.

use std::error::Error;
use std::fmt;
use std::io;

use http::StatusCode;

use crate::proxy::leg;

/// Why there is no request, or not all of it.
#[derive(Debug)]
pub enum Flaw {
    /// The connection broke.
    Broken(io::Error),
    /// The client has gone, within a head or before it was answered.
    Gone,
    /// The head is not one of HTTP/1 (RFC 9112, 3 and 5).
    Head(httparse::Error),
    /// A method or a target that is none (RFC 9112, 3.1 and 3.2).
    RequestLine,
    /// The head is longer than allowed.
    HeadBytes,
    /// More header lines than allowed.
    Headers,
    /// The target is longer than any may be.
    TargetBytes,
    /// A length that is none, or several that differ (RFC 9112, 6.3).
    Length,
    /// `chunked` is not the last transfer coding, or there is one in HTTP/1.0 (RFC 9112, 6.1 and 6.3).
    TransferCoding,
    /// The body is not framed as its head says, or broke off.
    Body(leg::Flaw),
    /// The response is not as long as its head says.
    Response(leg::Flaw),
}

impl Flaw {
    /// The status of the reply to a head that is not taken; none where nobody waits for one.
    pub const fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Head(_) | Self::RequestLine | Self::Length | Self::TransferCoding => {
                Some(StatusCode::BAD_REQUEST)
            }
            Self::HeadBytes | Self::Headers => Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
            Self::TargetBytes => Some(StatusCode::URI_TOO_LONG),
            Self::Broken(_) | Self::Gone | Self::Body(_) | Self::Response(_) => None,
        }
    }

    /// Whether it is a limit of ours that is exceeded.
    pub const fn is_limit(&self) -> bool {
        matches!(self, Self::HeadBytes | Self::Headers | Self::TargetBytes)
    }
}

impl From<io::Error> for Flaw {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Broken(error) => return write!(f, "the connection broke: {error}"),
            Self::Gone => "the client has gone",
            Self::Head(error) => return write!(f, "the request has no head of HTTP/1: {error}"),
            Self::RequestLine => "the request's method or target is none",
            Self::HeadBytes => "the request's head is longer than allowed",
            Self::Headers => "the request has more header lines than allowed",
            Self::TargetBytes => "the request's target is longer than any may be",
            Self::Length => "the request's length is none",
            Self::TransferCoding => "the request's transfer coding does not end with chunked",
            Self::Body(flaw) => return write!(f, "the request's body: {flaw}"),
            Self::Response(flaw) => return write!(f, "the response to the request: {flaw}"),
        })
    }
}

impl Error for Flaw {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Broken(error) => Some(error),
            Self::Head(error) => Some(error),
            Self::Body(flaw) | Self::Response(flaw) => Some(flaw),
            Self::Gone
            | Self::RequestLine
            | Self::HeadBytes
            | Self::Headers
            | Self::TargetBytes
            | Self::Length
            | Self::TransferCoding => None,
        }
    }
}
