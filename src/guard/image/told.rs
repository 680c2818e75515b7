//! What two processes tell each other of one site while one takes over from the other, as bytes.

use super::wire::{Reader, Writer};
use super::{Damaged, Entry, Wall, read_path, write_path};
use crate::guard::Guard;
use crate::guard::budget::Told;
use crate::guard::ledger::KeyRecord;
use crate::guard::moment::Moment;
use crate::guard::spares::Saved;

impl Guard {
    /// A snapshot for the process that takes over; see [`Guard::hand_over`].
    pub(in crate::guard) fn handed_over(
        &self,
        wall: Wall,
        now: Moment,
    ) -> impl Iterator<Item = Vec<u8>> + '_ {
        let owed = self.budgets.open_diary(now);
        self.pieces(0, wall, true, owed, move || self.spares.hand_over(now), now)
    }

    /// What is to be told as bytes, with a checksum; none where there is nothing.
    pub(in crate::guard) fn telling(
        keys: &[KeyRecord],
        (names, cells): (Vec<String>, Vec<Told>),
        spares: Vec<Saved>,
        wall: Wall,
    ) -> Vec<u8> {
        if keys.is_empty() && cells.is_empty() && spares.is_empty() {
            return Vec::new();
        }
        let mut out = Writer::default();
        out.list(keys.to_vec(), |out, key| {
            out.0.extend_from_slice(&Entry::key(key, wall).encode());
        });
        let names = if cells.is_empty() { Vec::new() } else { names };
        out.list(names, |out, name| out.bytes(name.as_bytes()));
        out.list(cells, |out, told| {
            out.u64(told.budget as u64);
            told.numbers.into_iter().for_each(|number| out.u64(number));
        });
        out.list(spares, |out, saved| write_path(out, &saved, wall));
        let sum = crc32fast::hash(&out.0);
        out.u32(sum);
        out.0
    }

    /// Takes in such bytes, all of them or none.
    pub(in crate::guard) fn take_told(
        &self,
        bytes: &[u8],
        wall: Wall,
        now: Moment,
    ) -> Result<Vec<Entry>, Damaged> {
        if bytes.is_empty() {
            return Ok(Vec::new());
        }
        let (body, sum) = bytes.split_last_chunk::<4>().ok_or(Damaged::Malformed)?;
        if crc32fast::hash(body) != u32::from_le_bytes(*sum) {
            return Err(Damaged::Checksum);
        }
        let mut reader = Reader(body);
        let read = Read::all(&mut reader).ok_or(Damaged::Malformed)?;
        if !reader.0.is_empty() {
            return Err(Damaged::Malformed);
        }
        for entry in &read.keys {
            self.replay(*entry, wall, now);
        }
        for (budget, told) in read.cells {
            self.budgets.take(&budget, told, now);
        }
        for (path, deletes, spares) in read.spares {
            let spares = spares.into_iter().map(|(key, expires)| (key, wall.moment(expires)));
            self.spares.take(Saved { path, deletes, spares: spares.collect() }, now);
        }
        Ok(read.keys)
    }
}

/// What was told.
struct Read {
    keys: Vec<Entry>,
    /// With the names of their budgets.
    cells: Vec<(String, Told)>,
    spares: Vec<super::SavedPath>,
}

impl Read {
    fn all(from: &mut Reader<'_>) -> Option<Self> {
        let (mut keys, mut names, mut cells, mut spares) = (vec![], vec![], vec![], vec![]);
        from.list(|from| {
            keys.push(Entry::decode(&from.array()?)?);
            Some(())
        })?;
        from.list(|from| {
            names.push(from.text()?);
            Some(())
        })?;
        from.list(|from| {
            let budget = usize::try_from(from.u64()?).ok()?;
            let mut numbers = [0; Told::NUMBERS];
            for number in &mut numbers {
                *number = from.u64()?;
            }
            cells.push((String::clone(names.get(budget)?), Told { budget, numbers }));
            Some(())
        })?;
        from.list(|from| {
            spares.push(read_path(from)?);
            Some(())
        })?;
        Some(Self { keys, cells, spares })
    }
}
