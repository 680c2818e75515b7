#![no_main]
//! Lines of access logs, of whatever server. Input: a log.

use std::net::IpAddr;

use floodwall::config::{Config, Overrides};
use floodwall::replay::fields::{self, Unread};
use floodwall::replay::lines::{Format, Reader};
use floodwall::replay::world::{Kind, World};
use floodwall::replay::{Setting, own, scan, stamp};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for line in data.split(|byte| *byte == b'\n') {
        // What is read stands in the line, and a line that was cut never says more.
        for read in [fields::of_text, fields::of_json] {
            if let Ok(found) = read(line) {
                assert!(found.client.is_some() && found.unix_ms.is_some());
                for part in [found.method, found.target, found.agent] {
                    assert!(part.len() <= line.len());
                }
            }
        }
        // What an address says of itself is read again.
        if let Some(address) = fields::address(line) {
            let text = address.to_string();
            assert_eq!(text.parse::<IpAddr>().ok(), Some(address));
            assert_eq!(fields::address(text.as_bytes()), Some(address));
        }
        if let Some(ms) = stamp::read(line) {
            assert!(ms < 300_000_000_000_000_000);
        }
        let mut plain = Vec::new();
        scan::unescape(line, &mut plain);
        assert!(plain.len() <= line.len());
        match own::read(line, "default") {
            Ok(Some(told)) => {
                assert!(line.starts_with(b"{") || line[0].is_ascii_whitespace(), "{told:?}")
            }
            Ok(None)
            | Err(Unread::Shape | Unread::Client | Unread::Time | Unread::Status | Unread::Long) => {
            }
        }
    }

    // Each line is a request, or is counted as none; and the worlds take all of them.
    let config = Config::parse(
        "fuzz",
        b"[session]\ncapacity = 1000\n[client]\ncapacity = 1000\n",
        Overrides::default(),
    );
    let Ok(config) = config else { panic!("the configuration is right") };
    let setting = Setting::new(&config, &config.sites()[0]);
    for format in Format::ALL {
        let mut reader = Reader::new(&setting);
        reader.reads(format);
        let batch = reader.batch(data.to_vec());
        let counts = &reader.counts;
        let unread: u64 = counts.unread.iter().sum();
        assert_eq!(counts.lines, counts.requests + unread + counts.requestless + counts.elsewhere);
        assert_eq!(counts.requests, batch.lines.len() as u64);
        let Some(first) = batch.lines.first() else { continue };
        for kind in Kind::ALL {
            let mut world = World::new(kind, &setting, first.unix_ms);
            world.take(&batch);
            world.end();
            assert_eq!(world.tables.whole().seen, counts.requests);
        }
    }
});
