//! Logs as blocks of whole lines, from files, packed or not, and from standard input.
//!
//! It promises to hold no more than a block and one line, whatever is in the log.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;
use memchr::{memchr, memrchr};

/// What is read at a time.
const BLOCK: usize = 1 << 20;

/// Longer lines are passed over: no server writes such.
pub const LONGEST_LINE: usize = 64 * 1024;

/// A log that cannot be read.
#[derive(Debug)]
pub struct InputError {
    name: String,
    source: io::Error,
    remedy: &'static str,
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}\n  = {}", self.name, self.source, self.remedy)
    }
}

impl std::error::Error for InputError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// A log.
pub struct Log {
    pub name: String,
    /// In the file; `None` where it cannot be known.
    pub bytes: Option<u64>,
    path: Option<PathBuf>,
    blocks: Option<Blocks>,
    /// The first block, where it was looked at before.
    first: Option<Block>,
}

/// Whole lines.
pub struct Block {
    pub bytes: Vec<u8>,
    /// Lines that were longer than [`LONGEST_LINE`].
    pub too_long: u64,
}

impl Log {
    /// A file, or standard input for `-`. `read` counts what was read of it, as it stands on the
    /// disk.
    ///
    /// # Errors
    /// It cannot be opened, or is packed in another way than by gzip.
    pub fn open(path: &Path, read: &Arc<AtomicU64>) -> Result<Self, InputError> {
        let mut log = if path == Path::new("-") {
            let blocks = Blocks::new(io::stdin(), "standard input", read)?;
            let name = String::from("standard input");
            Self { name, bytes: None, path: None, blocks: Some(blocks), first: None }
        } else {
            let name = path.display().to_string();
            let failed = |source: io::Error| {
                let remedy = match source.kind() {
                    io::ErrorKind::NotFound => "correct the name; - is standard input",
                    io::ErrorKind::PermissionDenied => "ask who may read it, or pipe it in as -",
                    _ => "name a file that can be read",
                };
                InputError { name: name.clone(), source, remedy }
            };
            let metadata = std::fs::metadata(path).map_err(failed)?;
            if metadata.is_dir() {
                let is_folder = io::Error::from(io::ErrorKind::IsADirectory);
                return Err(InputError { name, source: is_folder, remedy: "name the logs in it" });
            }
            let file = File::open(path).map_err(failed)?;
            let bytes = metadata.is_file().then_some(metadata.len());
            let blocks = Blocks::new(file, &name, read)?;
            Self { name, bytes, path: Some(path.to_owned()), blocks: Some(blocks), first: None }
        };
        log.first = log.block()?;
        // There may be more logs than files can be open.
        if log.bytes.is_some() {
            log.blocks = None;
            let counted = log.first.take();
            read.store(0, Ordering::Relaxed);
            return Ok(Self { first: counted, ..log });
        }
        Ok(log)
    }

    /// The first lines.
    pub fn start(&self) -> &[u8] {
        self.first.as_ref().map_or(b"", |first| &first.bytes)
    }

    /// To be read from the beginning.
    ///
    /// # Errors
    /// It cannot be opened any more.
    pub fn begin(&mut self, read: &Arc<AtomicU64>) -> Result<(), InputError> {
        if let (None, Some(path)) = (&self.blocks, &self.path) {
            let failed = |source| InputError {
                name: self.name.clone(),
                source,
                remedy: "it could be opened before: try again",
            };
            let file = File::open(path).map_err(failed)?;
            self.first = None;
            self.blocks = Some(Blocks::new(file, &self.name, read)?);
        }
        Ok(())
    }

    /// The next block; `None` at the end.
    ///
    /// # Errors
    /// It cannot be read, or unpacked, any further.
    pub fn block(&mut self) -> Result<Option<Block>, InputError> {
        if self.first.is_some() {
            return Ok(self.first.take());
        }
        let Some(blocks) = &mut self.blocks else { return Ok(None) };
        let block = blocks.block().map_err(|source| InputError {
            name: self.name.clone(),
            source,
            remedy: "it is damaged or was cut; leave it out, or give what can be unpacked as -",
        })?;
        if block.is_none() {
            self.blocks = None;
        }
        Ok(block)
    }
}

struct Blocks {
    reader: Box<dyn Read + Send>,
    /// The beginning of a line whose end was not read yet.
    rest: Vec<u8>,
    /// The line that is being read is too long.
    passing: bool,
    ended: bool,
}

impl Blocks {
    fn new(
        reader: impl Read + Send + 'static,
        name: &str,
        read: &Arc<AtomicU64>,
    ) -> Result<Self, InputError> {
        let mut reader = Counted { reader, read: Arc::clone(read) };
        let mut magic = Vec::with_capacity(8);
        let failed = |source| InputError {
            name: name.to_owned(),
            source,
            remedy: "name a file that can be read",
        };
        reader.by_ref().take(6).read_to_end(&mut magic).map_err(failed)?;
        let unpacked = |remedy| {
            let source = io::Error::new(io::ErrorKind::InvalidData, "packed, and not by gzip");
            Err(InputError { name: name.to_owned(), source, remedy })
        };
        let packed = magic.starts_with(&[0x1f, 0x8b]);
        match &*magic {
            [0x28, 0xb5, 0x2f, 0xfd, ..] => {
                return unpacked("zstdcat FILE | floodwall replay ... -");
            }
            [b'B', b'Z', b'h', ..] => return unpacked("bzcat FILE | floodwall replay ... -"),
            [0xfd, b'7', b'z', b'X', ..] => return unpacked("xzcat FILE | floodwall replay ... -"),
            _ => {}
        }
        let whole = io::Cursor::new(magic).chain(reader);
        let reader: Box<dyn Read + Send> = if packed {
            Box::new(MultiGzDecoder::new(BufReader::with_capacity(BLOCK / 4, whole)))
        } else {
            Box::new(whole)
        };
        Ok(Self { reader, rest: Vec::new(), passing: false, ended: false })
    }

    fn block(&mut self) -> io::Result<Option<Block>> {
        let mut too_long = 0;
        loop {
            if self.ended {
                return Ok(None);
            }
            let mut bytes = std::mem::take(&mut self.rest);
            bytes.reserve_exact(BLOCK);
            let new = bytes.len();
            let wanted = (BLOCK - new.min(BLOCK / 2)) as u64;
            let got = self.reader.by_ref().take(wanted).read_to_end(&mut bytes);
            // What cannot be read any further has ended.
            self.ended = got.is_err();
            let got = got?;
            if self.passing {
                // Behind the end of the line that was too long, if it has come.
                let end = memchr(b'\n', &bytes);
                self.passing = end.is_none();
                bytes.drain(..end.map_or(bytes.len(), |end| end + 1));
            }
            if got == 0 {
                self.ended = true;
                // The last line has no end yet, or was cut: what it says is looked at.
                if !bytes.is_empty() {
                    bytes.push(b'\n');
                }
                return Ok((!bytes.is_empty() || too_long > 0).then_some(Block { bytes, too_long }));
            }
            let end = memrchr(b'\n', &bytes).map_or(0, |end| end + 1);
            self.rest = bytes.split_off(end);
            if self.rest.len() > LONGEST_LINE {
                self.rest = Vec::new();
                self.passing = true;
                too_long += 1;
            }
            if !bytes.is_empty() {
                return Ok(Some(Block { bytes, too_long }));
            }
        }
    }
}

/// Counts what is read.
struct Counted<R> {
    reader: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn lines(reader: impl Read + Send + 'static) -> (Vec<Vec<u8>>, u64) {
        let mut blocks = Blocks::new(reader, "log", &Arc::default()).expect("it is read");
        let (mut lines, mut too_long) = (Vec::new(), 0);
        while let Some(block) = blocks.block().expect("it is read") {
            too_long += block.too_long;
            assert!(block.bytes.len() <= BLOCK + LONGEST_LINE + 1);
            let whole = block.bytes.strip_suffix(b"\n").unwrap_or(&block.bytes);
            if !block.bytes.is_empty() {
                lines.extend(whole.split(|byte| *byte == b'\n').map(<[u8]>::to_vec));
            }
        }
        (lines, too_long)
    }

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).expect("memory");
        encoder.finish().expect("memory")
    }

    #[test]
    fn every_line_comes_once_whatever_its_length_and_the_block() {
        let mut log = Vec::new();
        let mut expected = Vec::new();
        for number in 0..60_000_usize {
            let line = vec![b'a' + (number % 26) as u8; number * 7919 % 97];
            log.extend_from_slice(&line);
            log.push(b'\n');
            expected.push(line);
        }
        log.extend_from_slice(b"the last has no end");
        expected.push(b"the last has no end".to_vec());
        assert_eq!(lines(io::Cursor::new(log.clone())), (expected.clone(), 0));
        let (one, other) = log.split_at(log.len() / 3);
        let members = [packed(one), packed(other)].concat();
        assert_eq!(lines(io::Cursor::new(members)), (expected, 0));
    }

    #[test]
    fn lines_that_are_too_long_are_counted_and_cost_no_memory() {
        let mut log = b"a\n".to_vec();
        for _ in 0..2 {
            log.extend(std::iter::repeat_n(b'x', 3 * BLOCK));
            log.extend_from_slice(b"\nb\n");
        }
        let expected: Vec<Vec<u8>> = [b"a", b"b", b"b"].map(|line| line.to_vec()).into();
        assert_eq!(lines(io::Cursor::new(log)), (expected, 2));
    }

    #[test]
    fn a_packed_log_that_was_cut_is_no_end() {
        let mut log = packed(&b"a line\n".repeat(1000));
        log.truncate(log.len() / 2);
        let mut blocks = Blocks::new(io::Cursor::new(log), "log", &Arc::default()).expect("a log");
        let read = std::iter::from_fn(|| blocks.block().transpose());
        assert!(read.last().expect("something").is_err());
    }

    #[test]
    fn who_packs_otherwise_is_told_what_to_do() {
        let error = Blocks::new(io::Cursor::new(b"\x28\xb5\x2f\xfd..."), "a.zst", &Arc::default());
        let said = error.err().expect("it is not read").to_string();
        assert!(said.starts_with("a.zst: packed") && said.contains("zstdcat"), "{said}");
    }
}
