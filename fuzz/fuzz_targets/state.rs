#![no_main]
//! The state file. Input: two bytes for the length of a snapshot's inside, the inside, then the
//! insides of journal records. Checksums are put on here: no fuzzer guesses them.

use std::sync::LazyLock;

use floodwall::config::{Config, Overrides};
use floodwall::guard::Guard;
use floodwall::guard::image::{Entry, Image, Wall};
use floodwall::guard::key::Secret;
use floodwall::guard::moment::Moment;
use floodwall::guard::policy::Policy;
use libfuzzer_sys::fuzz_target;

const NOW: Moment = Moment::from_nanos(1 << 59);
/// Seconds and nothing below: expiries are kept in seconds, rounded up.
const WALL: Wall = Wall { origin_unix_nanos: 1_200_000_000 * 1_000_000_000 };
/// Of a record without its checksum.
const INSIDE: usize = Entry::LEN - 4;
/// What the record of a debt begins with.
const DEBT: u8 = 2;

static POLICY: LazyLock<Policy> = LazyLock::new(|| {
    // Room for everything that an input can hold: what is forgotten for lack of room depends on
    // the order.
    let text = b"[session]\ncapacity = 100_000\n[client]\ncapacity = 4_000\n";
    let config = Config::parse("fuzz", text, Overrides::default());
    config.unwrap_or_else(|mistakes| panic!("{mistakes}")).sites()[0].policy().clone()
});

static MAGIC: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let guard = Guard::new(POLICY.clone(), Secret::new([7; 16]), 1, NOW);
    guard.snapshot(1, WALL, false, NOW)[..8].to_vec()
});

fuzz_target!(|data: &[u8]| {
    // As it is: hardly ever more than a few bytes are looked at.
    let _ = Image::decode(data);
    let Some((length, rest)) = data.split_first_chunk::<2>() else { return };
    let (inside, journal) = rest.split_at(rest.len().min(u16::from_le_bytes(*length).into()));
    let sum = crc32fast::hash(inside).to_le_bytes();
    let bytes = [&MAGIC[..], inside, &sum].concat();
    let loaded = || Image::decode(&bytes).ok().map(revived);
    let Some(guard) = loaded() else {
        return;
    };

    // What loads and is saved again loads the same.
    same(&guard, &again(&guard));

    // A journal may be replayed over what has it already. But for debts: which of them find a place
    // in a full bucket depends on those that were there before.
    let (records, _) = journal.as_chunks::<INSIDE>();
    let (debts, others): (Vec<_>, Vec<_>) = records.iter().partition(|inside| inside[0] == DEBT);
    replay(&guard, &others);
    let once = saved(&guard);
    replay(&guard, &others);
    assert!(alike(&once, &saved(&guard)), "replayed twice it says something else");
    replay(&guard, &debts);
    same(&guard, &again(&guard));
    guard.deletion();
    guard.warmth(NOW);
});

fn revived(image: Image) -> Guard {
    Guard::restored(POLICY.clone(), image, WALL, 1, NOW)
}

fn saved(guard: &Guard) -> Vec<u8> {
    guard.snapshot(1, WALL, true, NOW)
}

fn again(guard: &Guard) -> Guard {
    revived(Image::decode(&saved(guard)).expect("what was saved can be loaded"))
}

fn same(one: &Guard, other: &Guard) {
    assert_eq!(one.warmth(NOW), other.warmth(NOW));
    assert_eq!(one.deletion(), other.deletion());
    assert_eq!(one.sizes(), other.sizes());
    assert!(alike(&saved(one), &saved(other)), "saved and loaded it says something else");
}

/// Whether two snapshots say the same, in whatever order: they are made of the same bytes, but for
/// their checksums.
fn alike(one: &[u8], other: &[u8]) -> bool {
    let count = |bytes: &[u8]| {
        let mut counts = [0_usize; 256];
        bytes[..bytes.len() - 4].iter().for_each(|byte| counts[usize::from(*byte)] += 1);
        counts
    };
    count(one) == count(other)
}

fn replay(guard: &Guard, insides: &[&[u8; INSIDE]]) {
    for inside in insides {
        let mut record = [0; Entry::LEN];
        record[..INSIDE].copy_from_slice(&inside[..]);
        record[INSIDE..].copy_from_slice(&crc32fast::hash(&inside[..]).to_le_bytes());
        let entry = Entry::decode(&record).expect("its checksum fits");
        assert_eq!(entry.encode(), record);
        guard.replay(entry, WALL, NOW);
        record[0] ^= 1;
        assert_eq!(Entry::decode(&record), None);
    }
}
