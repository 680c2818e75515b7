//! What is wrong with a response, or with the connection that it was to come on.

use std::error::Error;
use std::fmt;
use std::io;

/// Why there is no response, or not all of it.
#[derive(Debug)]
pub enum Flaw {
    /// The connection broke.
    Broken(io::Error),
    /// It ended before the head of a response did.
    Ended,
    /// It ended within a response's body.
    Cut,
    /// Bytes before the status line: they belong to no request of ours.
    Before,
    /// The head is not one of HTTP/1 (RFC 9112, 4 and 5).
    Head(httparse::Error),
    /// A line of the head ends with a bare LF: some end it there, others do not.
    LineFeed,
    /// The head is longer than is read of one.
    HeadBytes,
    /// More informational responses than are read.
    Interim,
    /// A length that is none, or several that differ (RFC 9112, 6.3).
    Length,
    /// A transfer coding that is not just `chunked`, or any in HTTP/1.0 (RFC 9112, 6.1).
    TransferCoding,
    /// A chunk's size is none, or its line is not whole (RFC 9112, 7.1).
    ChunkSize,
    /// More chunk extensions than are read.
    Extensions,
    /// There is something else behind a chunk than the end of a line.
    ChunkEnd,
    /// The trailers are not header lines, or more than are read.
    Trailers,
    /// The body that was to be sent broke off, or is not as long as its head says.
    Upload,
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
            Self::Ended => "the connection ended without a response",
            Self::Cut => "the connection ended within a response",
            Self::Before => "there are bytes before the response",
            Self::Head(error) => return write!(f, "the response has no head of HTTP/1: {error}"),
            Self::LineFeed => "a line of the response ends with a bare line feed",
            Self::HeadBytes => "the response's head is longer than is read of one",
            Self::Interim => "too many informational responses",
            Self::Length => "the response's length is none",
            Self::TransferCoding => "the response has another transfer coding than chunked",
            Self::ChunkSize => "a chunk of the response has no proper size",
            Self::Extensions => "the response has more chunk extensions than are read",
            Self::ChunkEnd => "a chunk of the response is longer than its size",
            Self::Trailers => "the response's trailers are no header lines, or too many",
            Self::Upload => "the request's body broke off",
        })
    }
}

impl Error for Flaw {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Broken(error) => Some(error),
            Self::Head(error) => Some(error),
            Self::Ended
            | Self::Cut
            | Self::Before
            | Self::LineFeed
            | Self::HeadBytes
            | Self::Interim
            | Self::Length
            | Self::TransferCoding
            | Self::ChunkSize
            | Self::Extensions
            | Self::ChunkEnd
            | Self::Trailers
            | Self::Upload => None,
        }
    }
}
