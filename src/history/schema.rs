//! The tables of a history.
//!
//! Words stand in them as numbers; the views `exchanges`, `events`, `durations`, `fills` and `floods`
//! have them in full, for whoever reads a history with SQL. Minutes and seconds are since 1970.

use rusqlite::Connection;

/// What SQLite's header says of a history (`PRAGMA application_id`): "Fwal".
pub(super) const APPLICATION: i32 = 0x4677_616c;

/// Each brings a history from one version to the next (`PRAGMA user_version`); the first makes one.
const STEPS: [&str; 1] = ["
CREATE TABLE word (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
CREATE TABLE run (
    id INTEGER PRIMARY KEY, process INTEGER NOT NULL, version TEXT NOT NULL,
    began INTEGER NOT NULL, seen INTEGER NOT NULL, over INTEGER NOT NULL DEFAULT 0,
    UNIQUE (process, began)
);
CREATE TABLE minute_exchange (
    minute INTEGER, site INTEGER, standing INTEGER, verdict INTEGER, status INTEGER,
    count INTEGER NOT NULL, PRIMARY KEY (minute, site, standing, verdict, status)
) WITHOUT ROWID;
CREATE TABLE minute_event (
    minute INTEGER, site INTEGER, route INTEGER, kind INTEGER, detail INTEGER,
    count INTEGER NOT NULL, PRIMARY KEY (minute, site, route, kind, detail)
) WITHOUT ROWID;
CREATE TABLE minute_duration (
    minute INTEGER, site INTEGER, kind INTEGER, upto_us INTEGER,
    count INTEGER NOT NULL, PRIMARY KEY (minute, site, kind, upto_us)
) WITHOUT ROWID;
CREATE TABLE minute_fill (
    minute INTEGER, site INTEGER, what INTEGER,
    most INTEGER NOT NULL, capacity INTEGER NOT NULL, PRIMARY KEY (minute, site, what)
) WITHOUT ROWID;
CREATE TABLE flood (
    id INTEGER PRIMARY KEY, run INTEGER NOT NULL, site INTEGER NOT NULL, route INTEGER NOT NULL,
    first_ns INTEGER NOT NULL, began INTEGER NOT NULL, last INTEGER NOT NULL, state TEXT NOT NULL,
    events INTEGER NOT NULL, observed INTEGER NOT NULL, clients INTEGER NOT NULL,
    clients_exact INTEGER NOT NULL, mean_rate REAL NOT NULL, peak_rate REAL NOT NULL,
    UNIQUE (run, site, route, first_ns)
);
CREATE INDEX flood_last ON flood (last);
CREATE TABLE flood_event (
    flood INTEGER, kind INTEGER, detail INTEGER, count INTEGER NOT NULL,
    PRIMARY KEY (flood, kind, detail)
) WITHOUT ROWID;
CREATE TABLE flood_client (
    flood INTEGER, client TEXT, at_least INTEGER NOT NULL, at_most INTEGER NOT NULL,
    PRIMARY KEY (flood, client)
) WITHOUT ROWID;
CREATE VIEW exchanges AS SELECT datetime(minute * 60, 'unixepoch') AS at, s.text AS site,
    d.text AS standing, v.text AS verdict, c.text AS status, count
    FROM minute_exchange JOIN word s ON s.id = site JOIN word d ON d.id = standing
    JOIN word v ON v.id = verdict JOIN word c ON c.id = status;
CREATE VIEW events AS SELECT datetime(minute * 60, 'unixepoch') AS at, s.text AS site,
    r.text AS route, k.text AS kind, d.text AS detail, count
    FROM minute_event JOIN word s ON s.id = site JOIN word r ON r.id = route
    JOIN word k ON k.id = kind JOIN word d ON d.id = detail;
CREATE VIEW durations AS SELECT datetime(minute * 60, 'unixepoch') AS at, s.text AS site,
    k.text AS kind, upto_us, count
    FROM minute_duration JOIN word s ON s.id = site JOIN word k ON k.id = kind;
CREATE VIEW fills AS SELECT datetime(minute * 60, 'unixepoch') AS at, s.text AS site,
    w.text AS what, most, capacity
    FROM minute_fill JOIN word s ON s.id = site JOIN word w ON w.id = what;
CREATE VIEW floods AS SELECT flood.id, datetime(began, 'unixepoch') AS began,
    datetime(last, 'unixepoch') AS last, state, s.text AS site, r.text AS route, events, observed,
    clients, clients_exact, mean_rate, peak_rate
    FROM flood JOIN word s ON s.id = site JOIN word r ON r.id = route;
"];

/// The version that this program reads and writes.
pub(super) const VERSION: i64 = STEPS.len() as i64;

/// Whose file it is: what its header says, and whether there is anything in it.
pub(super) enum Whose {
    /// Ours, of this version.
    Ours(i64),
    /// Nobody's: it is empty.
    Nobodys,
    /// Another program's.
    Others,
}

impl Whose {
    pub(super) fn of(connection: &Connection) -> rusqlite::Result<Self> {
        let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get(0));
        let (application, version): (i64, i64) =
            (number("application_id")?, number("user_version")?);
        let things = "SELECT count(*) FROM sqlite_schema";
        let things: i64 = connection.query_row(things, [], |row| row.get(0))?;
        Ok(match application {
            application if application == i64::from(APPLICATION) => Self::Ours(version),
            0 if things == 0 => Self::Nobodys,
            _ => Self::Others,
        })
    }
}

/// Whether the tables that are read are tables of the file: views and virtual tables are programs, and
/// may run for ever.
pub(super) fn has_tables(connection: &Connection) -> rusqlite::Result<bool> {
    let tables = "SELECT count(*) FROM sqlite_schema WHERE type = 'table'
        AND sql LIKE 'CREATE TABLE %' AND name IN ('word', 'run', 'minute_exchange', 'minute_event',
            'minute_duration', 'minute_fill', 'flood', 'flood_event', 'flood_client')";
    connection.query_row(tables, [], |row| Ok(row.get::<_, i64>(0)? == 9))
}

/// Brings a history to our version, within the caller's transaction.
pub(super) fn bring_up(connection: &Connection, version: i64) -> rusqlite::Result<()> {
    let done = usize::try_from(version).unwrap_or(STEPS.len());
    for step in STEPS.iter().skip(done) {
        connection.execute_batch(step)?;
    }
    connection.pragma_update(None, "application_id", APPLICATION)?;
    connection.pragma_update(None, "user_version", VERSION)
}
