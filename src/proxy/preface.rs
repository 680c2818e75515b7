//! What a client speaks where nothing else says it: HTTP/2 begins with a preface that no request of
//! HTTP/1 begins with (RFC 9113, 3.4).

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

use super::downstream::Downstream;

/// RFC 9113, 3.4.
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What is read at once; most heads fit.
const READ_BYTES: usize = 4096;

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    Http1,
    Http2,
}

/// Reads until it is certain what is spoken, and puts back what was read. Of HTTP/1 that is
/// certain with the first byte that differs, which is in what the first read brings.
pub async fn read(stream: &mut Downstream) -> io::Result<Spoken> {
    let mut begun = Vec::new();
    let spoken = loop {
        let read = poll_fn(|cx| read_some(stream, cx, &mut begun)).await?;
        if begun.starts_with(PREFACE) {
            break Spoken::Http2;
        }
        if read == 0 || !PREFACE.starts_with(&begun) {
            break Spoken::Http1;
        }
    };
    stream.unread(begun.into());
    Ok(spoken)
}

/// Reads once; how much. A client that says nothing takes no buffer: this one is on the stack.
fn read_some(
    stream: &mut Downstream,
    cx: &mut Context<'_>,
    begun: &mut Vec<u8>,
) -> Poll<io::Result<usize>> {
    let mut piece = [MaybeUninit::uninit(); READ_BYTES];
    let mut piece = ReadBuf::uninit(&mut piece);
    ready!(Pin::new(stream).poll_read(cx, &mut piece))?;
    begun.extend_from_slice(piece.filled());
    Poll::Ready(Ok(piece.filled().len()))
}
