//! What is read of a history: sums over a span, as it was at one moment, while others may write on.

mod error;

use std::path::Path;

use rusqlite::{Connection, ErrorCode, OpenFlags, Params, Row, params};

pub use self::error::ReadError;
use super::file::BUSY;
use super::schema::{self, VERSION, Whose};

/// A history that is open to be read.
pub struct Reader {
    connection: Connection,
}

/// Minutes since 1970, the last one not included, cut into slots of `step` minutes; and whose.
#[derive(Clone, Debug)]
pub struct Span {
    pub from: u64,
    pub until: u64,
    pub step: u64,
    /// `None`: all sites.
    pub site: Option<String>,
}

/// Exchanges in a slot, which is known by its first minute.
#[derive(Clone, Debug)]
pub struct Exchanges {
    pub slot: u64,
    pub site: String,
    pub standing: String,
    pub verdict: String,
    pub status: String,
    pub count: u64,
}

/// What happened on a route in a slot.
#[derive(Clone, Debug, Default)]
pub struct Route {
    pub slot: u64,
    pub site: String,
    pub route: String,
    pub refused: u64,
    pub recycled: u64,
    pub answered: u64,
    pub removed: u64,
    pub challenged: u64,
    pub would: u64,
    pub created: u64,
    pub uncertain: u64,
}

impl Route {
    /// Requests without a live session that never reached the application, or whose write replaced
    /// a record: each could have left one. A request is one of these once.
    pub fn stopped(&self) -> u64 {
        self.refused + self.recycled + self.answered
    }
}

/// Refusals for one reason, or those that there would have been.
#[derive(Clone, Debug)]
pub struct Reason {
    pub kind: String,
    pub reason: String,
    pub count: u64,
}

/// How many exchanges of known sessions took how long.
#[derive(Clone, Debug)]
pub struct Durations {
    pub slot: u64,
    /// In a minute that had a flood of the same site.
    pub flooded: bool,
    /// 0: longer than all bounds.
    pub upto_us: u64,
    pub count: u64,
}

/// Exchanges of known sessions, and those of them that failed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    pub flooded: bool,
    pub exchanges: u64,
    pub failed: u64,
}

/// How full a table was at most.
#[derive(Clone, Debug)]
pub struct MostFilled {
    pub site: String,
    pub what: String,
    pub most: u64,
    pub capacity: u64,
}

/// A time in which a process ran, in seconds since 1970.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    pub began: u64,
    pub seen: u64,
    pub over: bool,
}

/// A flood.
#[derive(Clone, Debug)]
pub struct Flood {
    pub site: String,
    pub route: String,
    /// Seconds since 1970.
    pub began: u64,
    pub last: u64,
    /// `running`, `ended`, or `cut`: its process ended before it did.
    pub state: String,
    pub events: u64,
    pub observed: u64,
    pub clients: u64,
    pub clients_exact: bool,
    pub mean_rate: f64,
    pub peak_rate: f64,
    /// Kind, detail and count.
    pub tally: Vec<(String, String, u64)>,
    /// The clients with most events: prefix, at least, at most.
    pub top: Vec<(String, u64, u64)>,
}

/// A condition that every query has: the span `?1` to `?2`, and the site `?3`.
const WITHIN: &str =
    "minute >= ?1 AND minute < ?2 AND (?3 IS NULL OR site = (SELECT id FROM word WHERE text = ?3))";

/// Whether a minute of a site had a flood.
const FLOODED: &str =
    "EXISTS (SELECT 1 FROM temp.flooded f WHERE f.minute = m.minute AND f.site = m.site)";

impl Reader {
    /// Opens a history. What others write from now on is not seen.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        if !path.try_exists()? {
            return Err(ReadError::Missing);
        }
        match Self::open_with(path, OpenFlags::SQLITE_OPEN_READ_ONLY) {
            // A process was killed while it wrote. Whoever reads has to undo that, and then may not
            // only read.
            Err(ReadError::Sql(error)) if must_write(&error) => {
                Self::open_with(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
            }
            other => other,
        }
    }

    fn open_with(path: &Path, flags: OpenFlags) -> Result<Self, ReadError> {
        let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        connection.execute_batch("BEGIN")?;
        match Whose::of(&connection)? {
            Whose::Ours(version) if version > VERSION => Err(ReadError::Newer(version)),
            Whose::Ours(_) if !schema::has_tables(&connection)? => Err(ReadError::Others),
            Whose::Ours(_) => Ok(Self { connection }),
            Whose::Nobodys => Err(ReadError::Blank),
            Whose::Others => Err(ReadError::Others),
        }
    }

    /// The sites that it has, of any time.
    pub fn sites(&self) -> rusqlite::Result<Vec<String>> {
        let sites = "SELECT text FROM word WHERE text != '' AND (
            id IN (SELECT DISTINCT site FROM minute_exchange)
            OR id IN (SELECT DISTINCT site FROM minute_event)
            OR id IN (SELECT DISTINCT site FROM flood)) ORDER BY text";
        self.rows(sites, [], |row| row.get(0))
    }

    /// The first and the last minute that it has anything of.
    pub fn minutes(&self) -> rusqlite::Result<Option<(u64, u64)>> {
        let ends = "SELECT min(minute), max(minute) FROM minute_exchange";
        self.connection.query_row(ends, [], |row| {
            let ends: (Option<i64>, Option<i64>) = (row.get(0)?, row.get(1)?);
            Ok(ends.0.zip(ends.1).map(|(first, last)| (count(first), count(last))))
        })
    }

    /// Notes which minutes of which sites had one of these floods: what follows tells them apart.
    pub fn note_floods(&self, span: &Span) -> rusqlite::Result<()> {
        self.connection.execute_batch(
            "CREATE TEMP TABLE IF NOT EXISTS flooded (site INTEGER, minute INTEGER,
                PRIMARY KEY (site, minute)) WITHOUT ROWID; DELETE FROM temp.flooded",
        )?;
        let floods = self.rows(
            "SELECT site, began / 60, last / 60 FROM flood WHERE last / 60 >= ?1 AND began / 60 < ?2",
            params![number(span.from), number(span.until)],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )?;
        let put = "INSERT OR IGNORE INTO temp.flooded VALUES (?1, ?2)";
        let mut put = self.connection.prepare(put)?;
        for (site, first, last) in floods {
            let (site, first, last): (i64, i64, i64) = (site, first, last);
            for minute in first.max(number(span.from))..=last.min(number(span.until)) {
                put.execute([site, minute])?;
            }
        }
        Ok(())
    }

    pub fn exchanges(&self, span: &Span) -> rusqlite::Result<Vec<Exchanges>> {
        let sums = format!(
            "SELECT x.slot, s.text, d.text, v.text, c.text, x.count FROM (
                SELECT minute / ?4 * ?4 AS slot, site, standing, verdict, status,
                    sum(count) AS count FROM minute_exchange WHERE {WITHIN}
                GROUP BY slot, site, standing, verdict, status) x
             JOIN word s ON s.id = x.site JOIN word d ON d.id = x.standing
             JOIN word v ON v.id = x.verdict JOIN word c ON c.id = x.status
             ORDER BY x.slot"
        );
        self.within(&sums, span, |row| {
            Ok(Exchanges {
                slot: count(row.get(0)?),
                site: row.get(1)?,
                standing: row.get(2)?,
                verdict: row.get(3)?,
                status: row.get(4)?,
                count: count(row.get(5)?),
            })
        })
    }

    /// What happened, by slot and route.
    pub fn routes(&self, span: &Span) -> rusqlite::Result<Vec<Route>> {
        let sums = format!(
            "SELECT slot, s.text, r.text, sum(refused), sum(recycled), sum(answered),
                sum(removed), sum(challenged), sum(would), sum(created), sum(uncertain)
             FROM (
                SELECT minute / ?4 * ?4 AS slot, site, route,
                    total(count) FILTER (WHERE k.text = 'refused') AS refused,
                    total(count) FILTER (WHERE k.text = 'recycled') AS recycled,
                    total(count) FILTER (WHERE k.text = 'answered') AS answered,
                    total(count) FILTER (WHERE k.text = 'removed') AS removed,
                    total(count) FILTER (WHERE k.text = 'challenged') AS challenged,
                    total(count) FILTER (WHERE k.text IN ('would-refuse', 'would-absorb')) AS would,
                    total(count) FILTER (WHERE k.text = 'wrote' AND d.text = 'created') AS created,
                    total(count) FILTER (WHERE k.text = 'wrote' AND d.text = 'uncertain')
                        AS uncertain
                FROM minute_event JOIN word k ON k.id = kind JOIN word d ON d.id = detail
                WHERE {WITHIN} GROUP BY minute, site, route) x
             JOIN word s ON s.id = x.site JOIN word r ON r.id = x.route
             GROUP BY slot, x.site, x.route ORDER BY slot"
        );
        self.within(&sums, span, |row| {
            let sum = |index| row.get(index).map(|sum: f64| (sum as u64).min(HIGHEST));
            Ok(Route {
                slot: count(row.get(0)?),
                site: row.get(1)?,
                route: row.get(2)?,
                refused: sum(3)?,
                recycled: sum(4)?,
                answered: sum(5)?,
                removed: sum(6)?,
                challenged: sum(7)?,
                would: sum(8)?,
                created: sum(9)?,
                uncertain: sum(10)?,
            })
        })
    }

    /// Refusals by reason, most first.
    pub fn reasons(&self, span: &Span) -> rusqlite::Result<Vec<Reason>> {
        let sums = format!(
            "SELECT k.text, d.text, sum(count) AS sum, ?4 FROM minute_event
             JOIN word k ON k.id = kind JOIN word d ON d.id = detail
             WHERE {WITHIN} AND k.text IN ('refused', 'would-refuse')
             GROUP BY kind, detail ORDER BY sum DESC, d.text"
        );
        self.within(&sums, span, |row| {
            Ok(Reason { kind: row.get(0)?, reason: row.get(1)?, count: count(row.get(2)?) })
        })
    }

    /// How long exchanges of known sessions took; after [`Self::note_floods`].
    pub fn known_durations(&self, span: &Span) -> rusqlite::Result<Vec<Durations>> {
        let sums = format!(
            "SELECT minute / ?4 * ?4 AS slot, {FLOODED} AS flooded, upto_us, sum(count)
             FROM minute_duration m WHERE {WITHIN}
                AND kind = (SELECT id FROM word WHERE text = 'known')
             GROUP BY slot, flooded, upto_us ORDER BY slot"
        );
        self.within(&sums, span, |row| {
            Ok(Durations {
                slot: count(row.get(0)?),
                flooded: row.get(1)?,
                upto_us: count(row.get(2)?),
                count: count(row.get(3)?),
            })
        })
    }

    /// How exchanges of known sessions went; after [`Self::note_floods`].
    pub fn known(&self, span: &Span) -> rusqlite::Result<Vec<Known>> {
        let sums = format!(
            "SELECT {FLOODED} AS flooded, sum(count),
                total(count) FILTER (WHERE status = (SELECT id FROM word WHERE text = '5xx')), ?4
             FROM minute_exchange m WHERE {WITHIN}
                AND standing = (SELECT id FROM word WHERE text = 'known')
             GROUP BY flooded"
        );
        self.within(&sums, span, |row| {
            Ok(Known {
                flooded: row.get(0)?,
                exchanges: count(row.get(1)?),
                failed: (row.get::<_, f64>(2)? as u64).min(HIGHEST),
            })
        })
    }

    pub fn fills(&self, span: &Span) -> rusqlite::Result<Vec<MostFilled>> {
        let most = format!(
            "SELECT s.text, w.text, max(most), max(capacity), ?4 FROM minute_fill
             JOIN word s ON s.id = site JOIN word w ON w.id = what
             WHERE {WITHIN} GROUP BY site, what ORDER BY s.text, w.text"
        );
        self.within(&most, span, |row| {
            Ok(MostFilled {
                site: row.get(0)?,
                what: row.get(1)?,
                most: count(row.get(2)?),
                capacity: count(row.get(3)?),
            })
        })
    }

    /// The processes that ran in the span.
    pub fn runs(&self, span: &Span) -> rusqlite::Result<Vec<Run>> {
        let runs =
            "SELECT began, seen, over FROM run WHERE seen >= ?1 AND began < ?2 ORDER BY began";
        self.rows(runs, seconds(span), |row| {
            let (began, seen) = (count(row.get(0)?), count(row.get(1)?));
            Ok(Run { began, seen, over: row.get(2)? })
        })
    }

    /// The floods that there were in the span, oldest first; also those that began before it, or
    /// went on after it.
    pub fn floods(&self, span: &Span) -> rusqlite::Result<Vec<Flood>> {
        let floods =
            "SELECT flood.id, s.text, r.text, began, last, state, events, observed, clients,
                clients_exact, mean_rate, peak_rate
             FROM flood JOIN word s ON s.id = site JOIN word r ON r.id = route
             WHERE last >= ?1 AND began < ?2 AND (?3 IS NULL OR s.text = ?3)
             ORDER BY began, flood.id";
        let of_span = params![number(span.from * 60), number(span.until * 60), span.site];
        let floods = self.rows(floods, of_span, |row| {
            let flood = Flood {
                site: row.get(1)?,
                route: row.get(2)?,
                began: count(row.get(3)?),
                last: count(row.get(4)?),
                state: row.get(5)?,
                events: count(row.get(6)?),
                observed: count(row.get(7)?),
                clients: count(row.get(8)?),
                clients_exact: row.get(9)?,
                mean_rate: row.get(10)?,
                peak_rate: row.get(11)?,
                tally: Vec::new(),
                top: Vec::new(),
            };
            let last = flood.last.max(flood.began);
            Ok((row.get(0)?, Flood { last, ..flood }))
        })?;
        floods.into_iter().map(|(id, flood)| self.with_details(id, flood)).collect()
    }

    fn with_details(&self, id: i64, flood: Flood) -> rusqlite::Result<Flood> {
        let tally = "SELECT k.text, d.text, count FROM flood_event
             JOIN word k ON k.id = kind JOIN word d ON d.id = detail
             WHERE flood = ?1 ORDER BY count DESC, k.text, d.text";
        let tally =
            self.rows(tally, [id], |row| Ok((row.get(0)?, row.get(1)?, count(row.get(2)?))))?;
        let top = "SELECT client, at_least, at_most FROM flood_client WHERE flood = ?1
             ORDER BY at_least DESC, client";
        let top =
            self.rows(top, [id], |row| Ok((row.get(0)?, count(row.get(1)?), count(row.get(2)?))))?;
        Ok(Flood { tally, top, ..flood })
    }

    fn within<T>(
        &self,
        query: &str,
        span: &Span,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Vec<T>> {
        let step = number(span.step.max(1));
        self.rows(query, params![number(span.from), number(span.until), span.site, step], read)
    }

    fn rows<T>(
        &self,
        query: &str,
        parameters: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Vec<T>> {
        self.connection.prepare(query)?.query_map(parameters, read)?.collect()
    }
}

fn seconds(span: &Span) -> [i64; 2] {
    [number(span.from.saturating_mul(60)), number(span.until.saturating_mul(60))]
}

/// No honest count, minute or second is higher; sums of some thousands of these fit.
const HIGHEST: u64 = 1 << 48;

/// A count of SQLite's, none of which is below zero.
fn count(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0).min(HIGHEST)
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Whether SQLite has something to mend before it can read.
fn must_write(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen))
}
