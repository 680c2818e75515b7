//! What Floodwall takes with every table at its cap. The only test of its binary: it measures the
//! process that it runs in.

mod full;

use full::{PROMISED, Resident, Site};

/// 1,000,000 clients and 2,000,000 sessions, everything that is learned, kept and told; a snapshot
/// of it written, and read again. And each table takes what it is said to take, no more, and not
/// much less: else what `floodwall check` prints would say nothing.
#[test]
fn with_the_defaults_and_every_table_full_it_stays_within_256_mib() {
    let folder = std::env::temp_dir().join(format!("floodwall-memory-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for temporary files");
    let mut site = Site::open(&folder);
    let footprint = site.footprint();
    let table = |name| *footprint.iter().find(|table| table.table == name).expect("it is there");
    let (clients, sessions) = (table("clients"), table("sessions"));
    assert_eq!((clients.entries, sessions.entries), (1_000_000, 2_000_000));
    let start = Resident::read().now;
    assert!(start < PROMISED / 16, "{start} bytes before the first request");

    site.clients(clients.entries);
    let each = (Resident::read().now - start) as usize / clients.entries;
    // Each of them has a session.
    let client = each.saturating_sub(sessions.bytes / sessions.entries);
    println!("{client} bytes a client");
    assert!(client <= 64, "{client} bytes a client");
    site.sessions(sessions.entries);
    site.spares();
    site.learned_paths();
    site.telemetry();
    assert!(site.guard.sizes().0 >= sessions.entries);
    Resident::forget_peak();
    let full = Resident::read().peak - start;
    let said: usize = footprint.iter().map(|table| table.bytes).sum();
    let said = (said - table("state file").bytes) as u64;
    println!("{full} bytes, {said} said; {start} before");
    // The last pages of tables, the allocator's own, and stacks: not what anybody sent.
    let slack = 4 << 20;
    assert!(full <= said + slack, "{full} bytes, and {said} are said");
    assert!(full >= said - said / 8, "{full} bytes, and {said} are said");

    site.passers_by(1_000_000);
    let later = Resident::read().now - start;
    assert!(later <= said + slack, "{later} bytes after passers-by, {full} before");

    site.save();
    site.close();
    let site = Site::open(&folder);
    assert!(site.guard.sizes().0 >= sessions.entries - sessions.entries / 1000);
    drop(site);
    let peak = Resident::read().peak;
    std::fs::remove_dir_all(&folder).expect("it is ours");
    println!("{peak} bytes at most");
    assert!(peak <= PROMISED, "{peak} bytes");
}
