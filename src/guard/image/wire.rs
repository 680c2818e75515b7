//! Numbers, bytes and lists as the snapshot has them: little-endian, with lengths in front.

use super::super::key::{CellHash, KeyHash};
use super::super::ledger::KeyRecord;

#[derive(Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    /// A part of a list: how many, and they. A part with none of them ends the list.
    pub(super) fn part<T>(items: Vec<T>, mut write: impl FnMut(&mut Self, T)) -> Vec<u8> {
        let mut out = Self::default();
        out.u64(items.len() as u64);
        items.into_iter().for_each(|item| write(&mut out, item));
        out.0
    }

    pub(super) fn is_end(part: &[u8]) -> bool {
        part.iter().all(|byte| *byte == 0)
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// A length and the bytes; what is longer than four gigabytes is not written here.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.u32(u32::try_from(bytes.len()).unwrap_or(0));
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn list<T>(&mut self, items: Vec<T>, write: impl FnMut(&mut Self, T)) {
        if !items.is_empty() {
            self.0.extend(Self::part(items, write));
        }
        self.u64(0);
    }
}

pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*first)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.u32()?).ok()?;
        let (first, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(first)
    }

    pub(super) fn text(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?.to_vec()).ok()
    }

    pub(super) fn key(&mut self) -> Option<KeyRecord> {
        let key = KeyHash(self.u64()?);
        Some(KeyRecord { key, expires: self.u32()?, flags: self.u8()? })
    }

    pub(super) fn owed(&mut self) -> Option<(CellHash, u64)> {
        Some((CellHash(self.u64()?), self.u64()?))
    }

    /// The bytes of what `read` reads.
    pub(super) fn span(&mut self, read: impl FnOnce(&mut Self) -> Option<()>) -> Option<&'a [u8]> {
        let begun = self.0;
        read(self)?;
        begun.get(..begun.len() - self.0.len())
    }

    /// Reads all parts of a list. The counts are not believed: each item must be there.
    pub(super) fn list(&mut self, mut read: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        loop {
            let count = self.u64()?;
            if count == 0 {
                return Some(());
            }
            for _ in 0..count {
                read(self)?;
            }
        }
    }
}
