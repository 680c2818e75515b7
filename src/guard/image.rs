//! What outlives the process, as bytes: a snapshot of everything, and a journal of what changed
//! since. Both carry checksums; times in them are of the wall clock.
//!
//! The journal may be replayed over a snapshot that already has part of it: every record says what
//! is, not what changed, and dead is final.

mod told;
mod wire;

use std::time::Duration;

use cookie::SameSite;

use self::wire::{Reader, Writer};
use super::Guard;
use super::budget::{Budgets, Owed};
use super::fact::Missed;
use super::key::{CellHash, KeyHash, Secret, SessionKey};
use super::ledger::{KeyRecord, Ledger, Room, seconds};
use super::moment::Moment;
use super::policy::{KeyShape, Policy};
use super::set_cookie::Dress;
use super::spares::Saved;
use super::warmth::WarmUp;

/// Where the monotonic clock's origin lies on the wall clock, in nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wall {
    pub origin_unix_nanos: i128,
}

impl Wall {
    /// A moment in nanoseconds since 1970, by this wall clock.
    pub fn unix_nanos(self, moment: Moment) -> u64 {
        let nanos = self.origin_unix_nanos + i128::from(moment.as_nanos());
        u64::try_from(nanos.max(0)).unwrap_or(u64::MAX)
    }

    pub(super) fn moment(self, unix_nanos: u64) -> Moment {
        let nanos = i128::from(unix_nanos) - self.origin_unix_nanos;
        Moment::from_nanos(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX))
    }

    /// Seconds are kept in 32 bits, which lasts until 2106.
    fn key_to_wall(self, record: KeyRecord) -> KeyRecord {
        let moment = Moment::from_nanos(u64::from(record.expires) * NANOS);
        let expires = u32::try_from(self.unix_nanos(moment).div_ceil(NANOS)).unwrap_or(u32::MAX);
        KeyRecord { expires, ..record }
    }

    fn key_from_wall(self, record: KeyRecord) -> KeyRecord {
        let moment = self.moment(u64::from(record.expires) * NANOS);
        KeyRecord { expires: seconds(moment.after(Duration::from_nanos(NANOS - 1))), ..record }
    }
}

const NANOS: u64 = 1_000_000_000;

/// Why bytes are not an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damaged {
    /// They do not begin as one, or are of another version.
    Foreign,
    /// They end too early, or say what cannot be.
    Malformed,
    /// The checksum does not fit.
    Checksum,
}

impl std::fmt::Display for Damaged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Foreign => "it is not a Floodwall state file of this version",
            Self::Malformed => "it is cut short or says what cannot be",
            Self::Checksum => "its checksum does not fit",
        })
    }
}

impl std::error::Error for Damaged {}

/// Bytes of a snapshot of full tables of these capacities, but for paths and spares: 13 for each
/// key and 16 for each client, in as many places as there are for them.
pub fn bytes(sessions: usize, clients: usize) -> usize {
    Ledger::places(sessions) * 13 + Budgets::places(clients) * 16
}

/// A snapshot, checked. Keys and debts are read from its bytes when they are taken in, so that
/// there is no second copy of millions of them.
pub struct Image<'a> {
    /// Which journals follow it: those of this generation and later ones.
    pub generation: u64,
    /// When it was written, in nanoseconds since 1970.
    pub written: u64,
    /// Whether it was written at a clean stop: no journal belongs to it.
    pub clean: bool,
    secret: Secret,
    warm_up: [u64; WarmUp::FIELDS],
    /// `None` where it was written before there were names in it: those of now.
    cookies: Option<Cookies>,
    signed: bool,
    dress: Dress,
    keys: &'a [u8],
    owed: &'a [u8],
    paths: Vec<SavedPath>,
}

/// Of which cookies the keys were.
struct Cookies {
    /// Whose keys are hashed with the secret itself.
    home: String,
    session: String,
    shape: Option<KeyShape>,
}

/// A proved path, whether it deletes, and its spares with their expiry on the wall clock.
type SavedPath = (Vec<u8>, bool, Vec<(SessionKey, u64)>);

impl<'a> Image<'a> {
    const MAGIC: &'static [u8; 8] = b"FLOODWL3";
    /// That of the version before, which does not say of which cookie its keys are.
    const BEFORE: &'static [u8; 8] = b"FLOODWL2";

    /// Reads a snapshot.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Damaged> {
        let (body, named) = match bytes.strip_prefix(Self::MAGIC) {
            Some(body) => (body, true),
            None => (bytes.strip_prefix(Self::BEFORE).ok_or(Damaged::Foreign)?, false),
        };
        let (body, sum) = body.split_last_chunk::<4>().ok_or(Damaged::Malformed)?;
        if crc32fast::hash(body) != u32::from_le_bytes(*sum) {
            return Err(Damaged::Checksum);
        }
        let mut reader = Reader(body);
        let image = Self::read(&mut reader, named).ok_or(Damaged::Malformed)?;
        if reader.0.is_empty() { Ok(image) } else { Err(Damaged::Malformed) }
    }

    fn read(from: &mut Reader<'a>, named: bool) -> Option<Self> {
        let generation = from.u64()?;
        let (written, clean) = (from.u64()?, from.u8()? != 0);
        let secret = Secret::new(from.array()?);
        let mut warm_up = [0; WarmUp::FIELDS];
        for field in &mut warm_up {
            *field = from.u64()?;
        }
        let cookies = if named { Some(Cookies::read(from)?) } else { None };
        let signed = from.u8()? != 0;
        let dress = Dress {
            path: from.text()?,
            domain: Some(from.text()?).filter(|domain| !domain.is_empty()),
            secure: from.u8()? != 0,
            same_site: match from.u8()? {
                1 => Some(SameSite::Strict),
                2 => Some(SameSite::Lax),
                3 => Some(SameSite::None),
                _ => None,
            },
        };
        let keys = from.span(|from| from.list(|from| from.key().map(|_| ())))?;
        let owed = from.span(|from| from.list(|from| from.owed().map(|_| ())))?;
        let mut paths = Vec::new();
        from.list(|from| {
            paths.push(read_path(from)?);
            Some(())
        })?;
        Some(Self {
            generation,
            written,
            clean,
            secret,
            warm_up,
            cookies,
            signed,
            dress,
            keys,
            owed,
            paths,
        })
    }
}

fn read_path(from: &mut Reader<'_>) -> Option<SavedPath> {
    let path = from.bytes()?.to_vec();
    let deletes = from.u8()? != 0;
    let mut spares = Vec::new();
    from.list(|from| {
        let key = SessionKey::parse(&from.array::<32>()?, KeyShape::Alnum32)?;
        spares.push((key, from.u64()?));
        Some(())
    })?;
    Some((path, deletes, spares))
}

fn write_path(out: &mut Writer, saved: &Saved, wall: Wall) {
    out.bytes(&saved.path);
    out.u8(saved.deletes.into());
    out.list(saved.spares.clone(), |out, (key, expires)| {
        out.0.extend_from_slice(key.as_bytes());
        out.u64(wall.unix_nanos(expires));
    });
}

impl Cookies {
    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let (home, session, shape) = (from.text()?, from.text()?, from.text()?);
        let shape = KeyShape::ALL.into_iter().find(|known| known.word() == shape);
        Some(Self { home, session, shape })
    }

    fn write(guard: &Guard, out: &mut Writer) {
        let session = &guard.policy.session;
        out.bytes(guard.home.as_bytes());
        out.bytes(session.cookie.as_bytes());
        out.bytes(session.key_shape.word().as_bytes());
    }
}

impl Guard {
    /// A snapshot of everything that must outlive the process, as bytes. Spares only at a clean
    /// stop: they are the only raw keys.
    pub fn snapshot(&self, generation: u64, wall: Wall, with_spares: bool, now: Moment) -> Vec<u8> {
        self.snapshot_pieces(generation, wall, with_spares, now).flatten().collect()
    }

    /// The same in pieces, a shard of a table at a time: the whole may have millions of keys.
    pub fn snapshot_pieces(
        &self,
        generation: u64,
        wall: Wall,
        with_spares: bool,
        now: Moment,
    ) -> impl Iterator<Item = Vec<u8>> + '_ {
        let owed = self.budgets.owed(now);
        let saved = move || self.spares.saved(with_spares, now);
        self.pieces(generation, wall, with_spares, owed, saved, now)
    }

    /// A snapshot with these debts, and these spares.
    fn pieces<'a>(
        &'a self,
        generation: u64,
        wall: Wall,
        clean: bool,
        owed: impl Iterator<Item = Vec<Owed>> + 'a,
        saved: impl Fn() -> Vec<Saved> + 'a,
        now: Moment,
    ) -> impl Iterator<Item = Vec<u8>> + 'a {
        let key = move |out: &mut Writer, record| {
            let record = wall.key_to_wall(record);
            out.u64(record.key.0);
            out.u32(record.expires);
            out.u8(record.flags);
        };
        let cell = move |out: &mut Writer, owed: Owed| {
            out.u64(owed.cell.0);
            out.u64(wall.unix_nanos(owed.until));
        };
        let path = move |out: &mut Writer, saved: Saved| write_path(out, &saved, wall);
        let head = std::iter::once_with(move || self.head(generation, wall, clean, now));
        let keys = self.ledger.records(now).map(move |keys| Writer::part(keys, key));
        let owed = owed.map(move |cells| Writer::part(cells, cell));
        let paths = std::iter::once_with(move || Writer::part(saved(), path));
        let end = || std::iter::once_with(|| Writer::part(Vec::new(), |_, ()| {}));
        let body = head
            .chain(keys.filter(|part| !Writer::is_end(part)).chain(end()))
            .chain(owed.filter(|part| !Writer::is_end(part)).chain(end()))
            .chain(paths.filter(|part| !Writer::is_end(part)).chain(end()));
        let mut sum = crc32fast::Hasher::new();
        let summed = body.map(Some).chain([None]).map(move |part| match part {
            Some(part) => {
                sum.update(&part);
                part
            }
            None => sum.clone().finalize().to_le_bytes().to_vec(),
        });
        std::iter::once_with(|| Image::MAGIC.to_vec()).chain(summed)
    }

    fn head(&self, generation: u64, wall: Wall, clean: bool, now: Moment) -> Vec<u8> {
        let mut out = Writer::default();
        out.u64(generation);
        out.u64(wall.unix_nanos(now));
        out.u8(clean.into());
        out.0.extend_from_slice(&self.secret.bytes());
        for field in self.warm_up.lock().on_wall(wall) {
            out.u64(field);
        }
        Cookies::write(self, &mut out);
        out.u8(self.issues_signed().into());
        let dress = self.dress.lock().clone();
        out.bytes(dress.path.as_bytes());
        out.bytes(dress.domain.as_deref().unwrap_or("").as_bytes());
        out.u8(dress.secure.into());
        out.u8(match dress.same_site {
            None => 0,
            Some(SameSite::Strict) => 1,
            Some(SameSite::Lax) => 2,
            Some(SameSite::None) => 3,
        });
        out.0
    }

    /// A guard that remembers what an image says. A changed lifetime or capacity is the policy's.
    pub fn restored(policy: Policy, image: Image<'_>, wall: Wall, seed: u64, now: Moment) -> Self {
        let session = &policy.session;
        let (renamed, reshaped) = image.cookies.as_ref().map_or((false, false), |cookies| {
            (cookies.session != session.cookie, cookies.shape != Some(session.key_shape))
        });
        let home = image.cookies.as_ref().map_or(&session.cookie, |cookies| &cookies.home);
        let home = std::sync::Arc::from(&**home);
        let lifetime = session.lifetime;
        let guard = Self::begun(policy, image.secret, home, seed, now);
        *guard.warm_up.lock() = WarmUp::from_wall(image.warm_up, lifetime, wall, now);
        if renamed || reshaped {
            guard.missed(Missed::OtherCookie, now);
        }
        if !renamed {
            guard.set_issues_signed(image.signed);
            *guard.dress.lock() = image.dress;
        }
        // Both were read before: they have no end too early.
        let _ = Reader(image.keys).list(|from| {
            guard.restore_key(wall.key_from_wall(from.key()?), now);
            Some(())
        });
        let _ = Reader(image.owed).list(|from| {
            let (cell, until) = from.owed()?;
            guard.budgets.restore(Owed { cell, until: wall.moment(until) }, now);
            Some(())
        });
        let paths = image.paths.into_iter().filter_map(|(path, deletes, spares)| {
            let spares = spares.into_iter().map(|(key, expires)| (key, wall.moment(expires)));
            let spares = spares.filter(|(_, expires)| *expires > now).collect();
            // A path that no rule recycles any more needs no slots, and the spares of another cookie
            // are none.
            (!renamed && guard.recycles(&path)).then_some(Saved { path, deletes, spares })
        });
        guard.spares.restore(paths.collect(), now);
        guard
    }

    fn recycles(&self, path: &[u8]) -> bool {
        self.policy.rules.iter().any(|rule| {
            rule.action == super::route::Action::Recycle
                && rule.paths.iter().any(|pattern| pattern.matches(path))
        })
    }

    /// A ledger that has less room than it had forgets.
    fn restore_key(&self, record: KeyRecord, now: Moment) {
        if self.ledger.restore(record, now) == Room::Overflowed {
            self.warm_up.lock().overflowed = Some(now);
        }
    }

    /// Sessions may have been issued, or ended, that the ledger did not see: it is cold, for a
    /// whole lifetime from now on.
    pub fn missed(&self, missed: Missed, now: Moment) {
        self.warm_up.lock().start_anew(missed, now);
    }

    /// What changed in the budgets since this was last asked, and the warm-up, as journal records.
    pub fn changes(&self, wall: Wall, now: Moment) -> impl Iterator<Item = Entry> + '_ {
        let owed = self.budgets.changed(now).flatten().map(move |owed| Entry::owed(owed, wall));
        let [_, longest, overflowed, elsewhere, ..] = self.warm_up.lock().on_wall(wall);
        let said =
            [(0, longest), (1, overflowed), (2, elsewhere), (3, self.issues_signed().into())];
        owed.chain(said.map(|(field, value)| Entry { tag: Entry::WARM_UP, a: field, b: value }))
    }

    /// Takes in a record of the journal.
    pub fn replay(&self, entry: Entry, wall: Wall, now: Moment) {
        match entry.tag {
            Entry::KEY => {
                // The upper bits are the expiry, the lowest eight the flags.
                let record = KeyRecord {
                    key: KeyHash(entry.a),
                    expires: (entry.b >> 8) as u32,
                    flags: (entry.b & 0xff) as u8,
                };
                self.restore_key(wall.key_from_wall(record), now);
            }
            Entry::OWED => {
                let until = wall.moment(entry.b);
                self.budgets.restore(Owed { cell: CellHash(entry.a), until }, now);
            }
            Entry::WARM_UP => {
                let past = |unix_nanos: u64| Some(wall.moment(unix_nanos).min(now));
                let mut warm_up = self.warm_up.lock();
                // What is later stands, in whatever order it is told: the snapshot may be newer.
                match entry.a {
                    0 => {
                        let longest = Duration::from_secs(entry.b).min(Guard::LONGEST_AGE);
                        warm_up.longest = warm_up.longest.max(longest);
                    }
                    1 if entry.b != 0 => warm_up.overflowed = warm_up.overflowed.max(past(entry.b)),
                    2 if entry.b != 0 => warm_up.elsewhere = warm_up.elsewhere.max(past(entry.b)),
                    3 => self.set_issues_signed(entry.b != 0),
                    // Signs of life are for who replays the journal, and others a later version's.
                    _ => {}
                }
            }
            // A later version's; what it says is not lost to that version.
            _ => {}
        }
    }
}

/// One record of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    tag: u8,
    a: u64,
    b: u64,
}

impl Entry {
    const KEY: u8 = 1;
    const OWED: u8 = 2;
    const WARM_UP: u8 = 3;

    /// Of the records of the warm-up; the others are told by `Guard::changes`.
    const SIGN_OF_LIFE: u64 = 4;

    /// Bytes of an encoded record.
    pub const LEN: usize = 21;

    /// Whether it tells of the warm-up, which changes rarely.
    pub fn is_warm_up(&self) -> bool {
        self.tag == Self::WARM_UP
    }

    /// A sign of life: the process runs, and what was issued until now is in the journal.
    pub fn sign_of_life(wall: Wall, now: Moment) -> Self {
        Self { tag: Self::WARM_UP, a: Self::SIGN_OF_LIFE, b: wall.unix_nanos(now) }
    }

    /// The time of a sign of life, in nanoseconds since 1970; of the snapshot or the journal before
    /// it for every other record.
    pub fn last_seen(&self, before: u64) -> u64 {
        let is_sign = self.tag == Self::WARM_UP && self.a == Self::SIGN_OF_LIFE;
        if is_sign { self.b } else { before }
    }

    /// A key that was issued, renewed or ended.
    pub fn key(record: KeyRecord, wall: Wall) -> Self {
        let record = wall.key_to_wall(record);
        let b = u64::from(record.expires) << 8 | u64::from(record.flags);
        Self { tag: Self::KEY, a: record.key.0, b }
    }

    fn owed(owed: Owed, wall: Wall) -> Self {
        Self { tag: Self::OWED, a: owed.cell.0, b: wall.unix_nanos(owed.until) }
    }

    /// The record as bytes, with its checksum.
    pub fn encode(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[0] = self.tag;
        bytes[1..9].copy_from_slice(&self.a.to_le_bytes());
        bytes[9..17].copy_from_slice(&self.b.to_le_bytes());
        let sum = crc32fast::hash(&bytes[..17]);
        bytes[17..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Reads a record; `None` where the checksum does not fit, as at the end of a journal that a
    /// kill cut short.
    pub fn decode(bytes: &[u8; Self::LEN]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let entry = Self { tag: reader.u8()?, a: reader.u64()?, b: reader.u64()? };
        (crc32fast::hash(&bytes[..17]) == reader.u32()?).then_some(entry)
    }
}

#[cfg(test)]
#[path = "image_tests.rs"]
mod tests;
