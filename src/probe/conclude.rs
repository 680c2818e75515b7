//! What the answers prove, and what they do not.
//!
//! The releases differ in what a logout answers to a visitor without a session, to a made-up cookie,
//! and in what a page that only reads the session answers to a made-up cookie:
//!
//! | release | logout, no cookie | logout, made-up | page, made-up |
//! |---|---|---|---|
//! | to 1.4.20, 1.5, 1.6, to 1.7.8 | new key | new key | new key |
//! | 1.4.21, 1.7.9 | new key | new key | nothing |
//! | 1.8 to 1.8.2 | new key | deletion | new key |
//! | 1.8.3 | new key | deletion | deletion |
//! | 1.4.22, 1.7.10, 1.8.4 and later | nothing | deletion | deletion |
//!
//! Not exposed is said only where a deletion proves that the session cookie was meant and that an
//! emptied session is not kept; what is merely not seen is no proof.

use super::plan::{Logout, Plan, reads};
use super::seen::{Carried, Exchange, Outcome, Part, Sight, Told};
use crate::guard::key::SessionKey;
use crate::guard::policy::KeyShape;

/// What it comes to. What pages write for anybody does not count: no release changes that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// To at least one of the CVEs.
    Exposed,
    /// To none of them.
    NotExposed,
    CannotTell,
    /// No answer came.
    Failed,
}

impl Verdict {
    pub const ALL: [Self; 4] = [Self::Exposed, Self::NotExposed, Self::CannotTell, Self::Failed];

    /// The word for it in the report.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Exposed => "exposed",
            Self::NotExposed => "not exposed",
            Self::CannotTell => "cannot tell",
            Self::Failed => "failed",
        }
    }
}

/// The weaknesses that a probe asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cve {
    /// A logout by somebody without a session creates an empty one.
    Logout,
    /// So does one with a cookie: `flush()` itself creates. Django 1.8 has not that.
    Flush,
    /// A page that reads the session creates one for a made-up key.
    MadeUpKey,
}

impl Cve {
    pub const ALL: [Self; 3] = [Self::Logout, Self::Flush, Self::MadeUpKey];

    pub const fn word(self) -> &'static str {
        match self {
            Self::Logout => "CVE-2015-5963",
            Self::Flush => "CVE-2015-5964",
            Self::MadeUpKey => "CVE-2015-5143",
        }
    }
}

/// Whether a site has a weakness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Exposed,
    NotExposed,
    CannotTell,
}

impl Standing {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Exposed => "exposed",
            Self::NotExposed => "not exposed",
            Self::CannotTell => "cannot tell",
        }
    }
}

/// What is known of one weakness, and by which exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    pub cve: Cve,
    pub standing: Standing,
    /// Index of the exchange that shows it.
    pub shown_by: Option<usize>,
}

/// What a path that is called a logout does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Character {
    /// It creates an empty session for visitors without one; with a cookie as well, or not.
    Creates { with_cookie: bool },
    /// It writes to the session, and ends none.
    Writes,
    /// It writes to the session after it has ended the one before: so would a patched release.
    WritesAfter,
    /// As a patched release does.
    Patched,
    /// There is no telling.
    Unclear(Why),
}

/// Why there is no telling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It was not answered, or not well.
    Failing,
    /// It keeps the session that it is given.
    KeepsSession,
    /// Nothing in its answers has to do with sessions.
    NoSign,
    /// It only reads the session.
    OnlyReads,
    /// An answer came out of a cache, and tells of another request than ours.
    Cached,
    /// Keys are exchanged on any page, so that an exchanged one says nothing.
    Rotates,
    /// Sessions are kept in cookies, or are not Django's.
    NotStored,
}

/// The session records that a probe leaves in the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// Seen to begin.
    pub created: usize,
    /// Seen to end.
    pub ended: usize,
    /// Requests that may have begun one unseen.
    pub unsure: usize,
}

impl Records {
    /// How many are left at most; where nothing is unsure, exactly so many.
    pub fn left(self) -> usize {
        self.created.saturating_sub(self.ended) + self.unsure
    }
}

/// What a probe has found.
#[derive(Clone, Debug)]
pub struct Conclusion {
    pub verdict: Verdict,
    pub findings: [Finding; 3],
    /// The releases that behave so.
    pub release: Option<&'static str>,
    /// Each logout, with its character.
    pub logouts: Vec<(Logout, Character)>,
    /// Exchanges that show a page which writes to the session of anybody.
    pub writers: Vec<usize>,
    /// Exchanges that show a page which takes a made-up key for its own.
    pub adopters: Vec<usize>,
    /// Whether an emptied session's cookie is deleted, where that was seen.
    pub deletes: Option<bool>,
    pub records: Records,
    /// Floodwall stands in front.
    pub shielded: bool,
}

impl Conclusion {
    pub fn of(plan: &Plan<'_>) -> Self {
        let sight = plan.sight;
        let reading = Reading::of(sight);
        let logouts: Vec<(Logout, Character)> = plan
            .found()
            .into_iter()
            .map(|logout| {
                let character = character(sight, &logout, reading.deletes);
                (logout, character)
            })
            .collect();
        let findings = findings(sight, &logouts, &reading);
        let of = |cve: Cve| standing(&findings, cve);
        let exposed = findings.iter().any(|finding| finding.standing == Standing::Exposed);
        let patched = logouts.iter().any(|(_, character)| *character == Character::Patched);
        let first = sight.exchanges().first();
        let silent = first.is_none_or(|exchange| exchange.answer().is_none());
        let verdict = match (exposed, patched, silent) {
            (true, _, _) => Verdict::Exposed,
            (false, true, _) => Verdict::NotExposed,
            (false, false, true) => Verdict::Failed,
            (false, false, false) => Verdict::CannotTell,
        };
        let hex = sight.first_key().map(|key| is_hex(&key));
        Self {
            verdict,
            findings,
            release: release(of(Cve::Logout), of(Cve::Flush), of(Cve::MadeUpKey), hex),
            logouts,
            writers: writers(sight),
            adopters: reading.adopters,
            deletes: deletes(sight),
            records: records(sight),
            shielded: sight.is_shielded(),
        }
    }

    pub fn standing(&self, cve: Cve) -> Standing {
        standing(&self.findings, cve)
    }
}

fn standing(findings: &[Finding], cve: Cve) -> Standing {
    let of = findings.iter().find(|finding| finding.cve == cve);
    of.map_or(Standing::CannotTell, |finding| finding.standing)
}

/// Whether a key has the shape of Django 1.4 alone; by chance one of a later release has it once in
/// two hundred billion.
pub fn is_hex(key: &SessionKey) -> bool {
    SessionKey::parse(key.as_bytes(), KeyShape::Hex32).is_some()
}

/// What made-up cookies do on pages that only read the session.
struct Reading {
    created: Option<usize>,
    /// One was deleted.
    deletes: Option<usize>,
    /// The session was read, and nothing came of it.
    nothing: Option<usize>,
    adopters: Vec<usize>,
}

impl Reading {
    fn of(sight: &Sight<'_>) -> Self {
        let mut reading =
            Self { created: None, deletes: None, nothing: None, adopters: Vec::new() };
        for (index, exchange) in sight.exchanges().iter().enumerate() {
            let question = &exchange.question;
            let invented = matches!(question.carried, Carried::MadeUp(_));
            if !invented || !exchange.good() {
                continue;
            }
            // Without an invented cookie the same page has set none.
            let page = |other: &&Exchange| !matches!(other.question.carried, Carried::MadeUp(_));
            let about = || sight.about(&question.path, question.method).filter(page);
            let quiet = about().any(Exchange::good)
                && about().all(|other| matches!(sight.told(other), Told::Nothing | Told::Deleted));
            let logout = question.part == Part::Logout;
            match sight.told(exchange) {
                Told::Other(_) if quiet => reading.created = reading.created.or(Some(index)),
                Told::Same => reading.adopters.push(index),
                Told::Deleted if !logout => reading.deletes = reading.deletes.or(Some(index)),
                Told::Nothing if !logout && reads(exchange) => {
                    reading.nothing = reading.nothing.or(Some(index));
                }
                _ => {}
            }
        }
        reading
    }
}

/// The last exchange about a logout with a cookie of this kind.
fn about<'a>(
    sight: &Sight<'a>,
    logout: &Logout,
    carried: fn(Carried) -> bool,
) -> Option<&'a Exchange> {
    let all = sight.about(&logout.path, logout.method);
    all.filter(|exchange| carried(exchange.question.carried)).last()
}

fn bare(carried: Carried) -> bool {
    carried == Carried::Nothing
}

fn made_up(carried: Carried) -> bool {
    matches!(carried, Carried::MadeUp(_))
}

fn live(carried: Carried) -> bool {
    matches!(carried, Carried::Live(_))
}

fn character(sight: &Sight<'_>, logout: &Logout, reading_deletes: Option<usize>) -> Character {
    let told = |exchange: &Exchange| sight.told(exchange);
    let without = about(sight, logout, bare);
    let with = about(sight, logout, made_up).map(told);
    let own = about(sight, logout, live);
    let Some(without) = without else { return Character::Unclear(Why::Failing) };
    let mut all = sight.about(&logout.path, logout.method).filter_map(Exchange::answer);
    if all.any(|answer| answer.cached) {
        return Character::Unclear(Why::Cached);
    }
    let own = own.filter(|exchange| exchange.good()).map(told);
    match told(without) {
        Told::Other(_) if rotates(sight) => Character::Unclear(Why::Rotates),
        Told::Other(_) => match (with, own) {
            (_, Some(Told::Same)) | (Some(Told::Same), _) => Character::Writes,
            (Some(Told::Other(_)), _) if reading_deletes.is_some() => Character::WritesAfter,
            (Some(Told::Other(_)), _) => Character::Creates { with_cookie: true },
            (_, Some(Told::Nothing)) => Character::Unclear(Why::KeepsSession),
            _ => Character::Creates { with_cookie: false },
        },
        Told::Signed | Told::Foreign => Character::Unclear(Why::NotStored),
        Told::Nothing | Told::Deleted | Told::Same if !without.good() => {
            Character::Unclear(Why::Failing)
        }
        Told::Nothing | Told::Deleted | Told::Same => match (with, own) {
            (_, Some(Told::Nothing | Told::Same)) => Character::Unclear(Why::KeepsSession),
            (Some(Told::Deleted), _) => Character::Patched,
            (Some(Told::Other(_)), _) => Character::Unclear(Why::OnlyReads),
            (Some(Told::Signed | Told::Foreign), _) => Character::Unclear(Why::NotStored),
            (Some(Told::Same), _) => Character::Writes,
            (Some(Told::Nothing) | None, _) => Character::Unclear(Why::NoSign),
        },
    }
}

/// Whether a page, which no Django does, gives a live session another key.
fn rotates(sight: &Sight<'_>) -> bool {
    sight.exchanges().iter().any(|exchange| {
        exchange.question.part != Part::Logout
            && live(exchange.question.carried)
            && matches!(sight.told(exchange), Told::Other(_))
    })
}

fn findings(sight: &Sight<'_>, logouts: &[(Logout, Character)], reading: &Reading) -> [Finding; 3] {
    let index = |wanted: Option<&Exchange>| {
        let wanted = wanted?;
        sight.exchanges().iter().position(|exchange| std::ptr::eq(exchange, wanted))
    };
    let first = |fits: fn(Character) -> bool| {
        logouts.iter().find(|(_, character)| fits(*character)).map(|(logout, _)| logout)
    };
    let by = |logout: Option<&Logout>, carried| {
        logout.and_then(|logout| index(about(sight, logout, carried)))
    };
    let creates = first(|character| matches!(character, Character::Creates { .. }));
    let flushes = first(|character| character == Character::Creates { with_cookie: true });
    let patched = first(|character| character == Character::Patched);
    let deletes = first(|character| character == Character::Creates { with_cookie: false });
    let either = |exposed: Option<usize>, not: Option<usize>| match (exposed, not) {
        (Some(_), _) => (Standing::Exposed, exposed),
        (None, Some(_)) => (Standing::NotExposed, not),
        (None, None) => (Standing::CannotTell, None),
    };
    // The last weakness to be mended proves that the others are.
    let mended = by(patched, made_up);
    let read = reading.deletes.or(reading.nothing).or(mended);
    let shown = [
        (Cve::Logout, either(by(creates, bare), by(patched, bare))),
        (Cve::Flush, either(by(flushes, made_up), by(deletes, made_up).or(mended))),
        (Cve::MadeUpKey, either(reading.created, read)),
    ];
    shown.map(|(cve, (standing, shown_by))| Finding { cve, standing, shown_by })
}

fn release(
    logout: Standing,
    flush: Standing,
    made_up: Standing,
    hex: Option<bool>,
) -> Option<&'static str> {
    use Standing::{CannotTell, Exposed, NotExposed};
    Some(match (logout, flush, made_up, hex) {
        (Exposed, Exposed, Exposed, Some(true)) => "Django 1.4 to 1.4.20",
        (Exposed, Exposed, Exposed, _) => "Django 1.5, 1.6, or 1.7 to 1.7.8",
        (Exposed, Exposed, NotExposed, Some(true)) => "Django 1.4.21",
        (Exposed, Exposed, NotExposed, _) => "Django 1.7.9",
        (Exposed, Exposed, CannotTell, Some(true)) => "Django 1.4 to 1.4.21",
        (Exposed, Exposed, CannotTell, _) => "Django 1.5, 1.6, or 1.7 to 1.7.9",
        (Exposed, NotExposed, Exposed, _) => "Django 1.8 to 1.8.2",
        (Exposed, NotExposed, NotExposed, _) => "Django 1.8.3",
        (Exposed, NotExposed, CannotTell, _) => "Django 1.8 to 1.8.3",
        (NotExposed, NotExposed, NotExposed, _) => "Django 1.4.22, 1.7.10, 1.8.4, or a later one",
        _ => return None,
    })
}

/// Pages, logouts aside, that set a session for who had none, or set it anew for who had one.
fn writers(sight: &Sight<'_>) -> Vec<usize> {
    let writes = |exchange: &Exchange| {
        exchange.question.part != Part::Logout
            && matches!(
                (exchange.question.carried, sight.told(exchange)),
                (Carried::Nothing, Told::Other(_)) | (Carried::Live(_), Told::Same)
            )
    };
    let all = sight.exchanges().iter().enumerate();
    all.filter(|(_, exchange)| writes(exchange)).map(|(index, _)| index).collect()
}

/// Whether the cookie of a session that a logout has emptied, or that was never there, is deleted.
fn deletes(sight: &Sight<'_>) -> Option<bool> {
    let ended = sight.exchanges().iter().filter(|exchange| {
        exchange.question.part == Part::Logout && exchange.question.carried != Carried::Nothing
    });
    let told: Vec<Told> = ended.map(|exchange| sight.told(exchange)).collect();
    match (told.contains(&Told::Deleted), told.iter().any(|told| matches!(told, Told::Other(_)))) {
        (true, _) => Some(true),
        (false, true) => Some(false),
        (false, false) => None,
    }
}

fn records(sight: &Sight<'_>) -> Records {
    let mut records = Records::default();
    let shielded = sight.is_shielded();
    for exchange in sight.exchanges() {
        let carried = exchange.question.carried;
        let own = live(carried);
        match sight.told(exchange) {
            Told::Other(_) => records.created += usize::from(!own),
            Told::Same => records.created += usize::from(made_up(carried)),
            // What Floodwall deletes is a cookie; the record may be one that it keeps.
            Told::Deleted if own => records.ended += usize::from(!shielded),
            Told::Foreign => records.unsure += usize::from(!own),
            Told::Nothing | Told::Deleted if shielded && !own => records.unsure += 1,
            Told::Nothing => {
                // Django has stored by the time that it fails, and sends no cookie then.
                let failed = exchange.answer().is_some_and(|answer| answer.status >= 500);
                let lost = matches!(exchange.outcome, Outcome::Silence { sent: true, .. });
                records.unsure += usize::from(failed || lost);
            }
            Told::Deleted | Told::Signed => {}
        }
    }
    records
}

/// How a question reads: `GET /logout/ without a cookie`.
pub fn asked(exchange: &Exchange) -> String {
    let question = &exchange.question;
    let with = match question.carried {
        Carried::Nothing => "without a cookie",
        Carried::MadeUp(_) => "with a made-up cookie",
        Carried::Live(_) => "with its own cookie",
    };
    format!("{} {} {with}", question.method.word(), question.path)
}
