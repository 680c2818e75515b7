//! What a client speaks where nothing else says it: HTTP/2 begins with a preface that no request of
//! HTTP/1 begins with (RFC 9113, 3.4).

use std::io;

use tokio::io::AsyncReadExt;

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
    let mut begun = Vec::with_capacity(READ_BYTES);
    let spoken = loop {
        let read = stream.read_buf(&mut begun).await?;
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
