//! A body in chunks (RFC 9112, 7.1), read piece by piece.
//!
//! Extensions are read over and their number of bytes is bounded, as is that of trailers.

use bytes::{Buf, Bytes};
use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::flaw::Flaw;
use super::head::HEADERS;

/// Of extensions, and of blanks before them and zeros before sizes, in all of a body.
const EXTENSION_BYTES: u32 = 16 << 10;
/// Of all trailers, with the empty line behind them.
const TRAILER_BYTES: usize = 16 << 10;
/// Digits of a size behind its zeros: as many as 64 bits have.
const SIZE_DIGITS: u8 = 16;

/// How far a chunked body has been read.
#[derive(Debug)]
pub struct Chunks {
    at: At,
    /// Of the chunk that is being read.
    size: u64,
    /// Of extensions, so far.
    extensions: u32,
    trailers: Vec<u8>,
}

impl Default for Chunks {
    fn default() -> Self {
        Self { at: At::Size(0), size: 0, extensions: 0, trailers: Vec::new() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Behind so many digits that count.
    Size(u8),
    /// Blanks behind the size.
    Blank,
    Extension,
    SizeLineFeed,
    Data,
    DataReturn,
    DataLineFeed,
    Trailers,
}

/// What comes of reading on.
#[derive(Debug)]
pub enum Step {
    /// All bytes are read.
    More,
    Data(Bytes),
    End(Option<HeaderMap>),
}

impl Chunks {
    /// Reads on in `bytes`, which are advanced; what is behind the body is left.
    pub fn next(&mut self, bytes: &mut Bytes) -> Result<Step, Flaw> {
        while let Some(&byte) = bytes.first() {
            if self.at == At::Data {
                let length = usize::try_from(self.size).unwrap_or(usize::MAX).min(bytes.len());
                // A length is no more than 64 bits.
                self.size -= length as u64;
                if self.size == 0 {
                    self.at = At::DataReturn;
                }
                return Ok(Step::Data(bytes.split_to(length)));
            }
            bytes.advance(1);
            self.at = match self.at {
                At::Size(digits) => self.size_byte(digits, byte)?,
                At::Blank => match byte {
                    b' ' | b'\t' => self.extended(At::Blank)?,
                    b';' => self.extended(At::Extension)?,
                    b'\r' => At::SizeLineFeed,
                    _ => return Err(Flaw::ChunkSize),
                },
                At::Extension => match byte {
                    b'\r' => At::SizeLineFeed,
                    b'\t' | b' '..=b'~' | 0x80.. => self.extended(At::Extension)?,
                    _ => return Err(Flaw::ChunkSize),
                },
                At::SizeLineFeed if byte != b'\n' => return Err(Flaw::ChunkSize),
                At::SizeLineFeed if self.size == 0 => At::Trailers,
                At::SizeLineFeed => At::Data,
                At::DataReturn if byte != b'\r' => return Err(Flaw::ChunkEnd),
                At::DataReturn => At::DataLineFeed,
                At::DataLineFeed if byte != b'\n' => return Err(Flaw::ChunkEnd),
                At::Data | At::DataLineFeed => At::Size(0),
                At::Trailers => match self.trailer_byte(byte)? {
                    Some(end) => return Ok(end),
                    None => At::Trailers,
                },
            };
        }
        Ok(Step::More)
    }

    /// A byte of a size's line, behind so many digits.
    fn size_byte(&mut self, digits: u8, byte: u8) -> Result<At, Flaw> {
        if let Some(digit) = (byte as char).to_digit(16) {
            if digits > 0 && self.size == 0 {
                // Zeros in front say nothing.
                self.size = u64::from(digit);
                return self.extended(At::Size(1));
            }
            if digits == SIZE_DIGITS {
                return Err(Flaw::ChunkSize);
            }
            // As many digits as fit.
            self.size = self.size << 4 | u64::from(digit);
            return Ok(At::Size(digits + 1));
        }
        match byte {
            _ if digits == 0 => Err(Flaw::ChunkSize),
            b' ' | b'\t' => self.extended(At::Blank),
            b';' => self.extended(At::Extension),
            b'\r' => Ok(At::SizeLineFeed),
            _ => Err(Flaw::ChunkSize),
        }
    }

    /// A byte of the trailers, or of the empty line behind them. What cannot be a line's end is
    /// told at once: the end would never be found.
    fn trailer_byte(&mut self, byte: u8) -> Result<Option<Step>, Flaw> {
        let returned = self.trailers.last() == Some(&b'\r');
        if returned != (byte == b'\n') || self.trailers.len() >= TRAILER_BYTES {
            return Err(Flaw::Trailers);
        }
        self.trailers.push(byte);
        if byte != b'\n' {
            return Ok(None);
        }
        if self.trailers == b"\r\n" {
            return Ok(Some(Step::End(None)));
        }
        if self.trailers.ends_with(b"\r\n\r\n") {
            return Ok(Some(Step::End(Some(trailers(&self.trailers)?))));
        }
        let lines = memchr::memchr_iter(b'\n', &self.trailers).count();
        if lines > HEADERS { Err(Flaw::Trailers) } else { Ok(None) }
    }

    /// One more byte that is read over.
    fn extended(&mut self, at: At) -> Result<At, Flaw> {
        self.extensions += 1;
        if self.extensions >= EXTENSION_BYTES { Err(Flaw::Extensions) } else { Ok(at) }
    }
}

/// Reads trailers, the empty line behind them included.
fn trailers(lines: &[u8]) -> Result<HeaderMap, Flaw> {
    let mut read = [httparse::EMPTY_HEADER; HEADERS];
    let Ok(httparse::Status::Complete((length, read))) = httparse::parse_headers(lines, &mut read)
    else {
        return Err(Flaw::Trailers);
    };
    if length != lines.len() {
        return Err(Flaw::Trailers);
    }
    let mut trailers = HeaderMap::with_capacity(read.len());
    for line in read {
        let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| Flaw::Trailers)?;
        let value = HeaderValue::from_bytes(line.value).map_err(|_| Flaw::Trailers)?;
        trailers.append(name, value);
    }
    Ok(trailers)
}
