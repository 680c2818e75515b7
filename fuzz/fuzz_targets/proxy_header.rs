#![no_main]
//! What a connection begins with: a PROXY header or none. Input: its first bytes.

use floodwall::proxy::proxy_header::{Beginning, Header, MOST_BYTES, Version, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let whole = read(data);
    // However it is split, nothing is decided before it is certain.
    for end in (0..data.len().min(300)).chain(data.len().saturating_sub(3)..data.len()) {
        let part = read(&data[..end]);
        assert!(part == Ok(Beginning::Partial) || part == whole, "{part:?} {whole:?}");
    }
    match whole {
        Ok(Beginning::Header { length, named }) => {
            assert!(length <= data.len() && length <= MOST_BYTES);
            // What we would say of it is understood.
            for version in [Version::V1, Version::V2] {
                let bytes = Header { version, named }.bytes();
                let said = read(&bytes).expect("our own");
                let Beginning::Header { length, named: again } = said else { panic!("{said:?}") };
                assert_eq!(length, bytes.len());
                assert_eq!(again.is_some(), named.is_some());
                for (one, other) in named.into_iter().zip(again) {
                    let pairs = [(one.source, other.source), (one.destination, other.destination)];
                    for (one, other) in pairs {
                        assert_eq!(one.ip().to_canonical(), other.ip().to_canonical());
                        assert_eq!(one.port(), other.port());
                    }
                }
            }
        }
        Ok(Beginning::Partial) => assert!(data.len() < MOST_BYTES),
        Ok(Beginning::Other) | Err(_) => {}
    }
});
