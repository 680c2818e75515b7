//! The lines of Floodwall's own JSON access log, with what it takes to decide again.

use std::net::IpAddr;

use super::fields::{Unread, address};
use super::scan::{self, Damaged, Scan, Value};
use super::stamp;
use crate::guard::challenge::Challenged;
use crate::guard::key::Token;
use crate::guard::moment::Moment;
use crate::guard::route::StandingWord;
use crate::telemetry::access::Verdict;
use crate::telemetry::access::trace::{Answer, Asked, Decided, End, Mark, Marked, Session, Set};

/// An exchange, or a health check, that the guard was asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub unix_ms: u64,
    pub run: u32,
    pub admitted: Decided,
    pub charged: Option<Decided>,
    pub settled: Option<(Decided, End)>,
    pub asked: Asked,
    pub stands_in: bool,
    pub marks: Vec<Mark>,
    /// It was written by this version of the program, as far as it says.
    pub this_version: bool,
    pub address: IpAddr,
    pub method: Box<str>,
    /// Path and query.
    pub target: Box<str>,
    /// `None`: a health check, which has no verdict, and which no budget limits.
    pub live: Option<Live>,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    pub verdict: Verdict,
    pub standing: StandingWord,
    pub why: Option<Box<str>>,
}

/// Targets are cut to so many bytes by the log: of such a line the path is not known.
pub const TARGET: usize = 4096;

/// Reads a line; `None` where the guard was not asked, or for another site.
pub fn read(line: &[u8], site: &str) -> Result<Option<Told>, Unread> {
    let mut outer = Outer::default();
    Scan::new(line).object(&mut outer, &mut |outer, scan, name, value| {
        match (name, value) {
            (b"replay", Value::Nested) => {
                let mut inner = Inner::default();
                scan.object(&mut inner, &mut inner_member)?;
                outer.inner = Some(inner);
            }
            (_, Value::Nested) => scan.skip()?,
            (b"time", _) => outer.unix_ms = value.bytes().and_then(stamp::read),
            (b"event", _) => outer.event = true,
            (b"site", _) => outer.site = value.bytes(),
            (b"client", _) => outer.client = value.bytes().and_then(address),
            (b"method", _) => outer.method = value.bytes(),
            (b"path", _) => outer.target = value.bytes(),
            (b"standing", _) => outer.standing = value.bytes(),
            (b"verdict", _) => outer.verdict = value.bytes(),
            (b"why", _) => outer.why = value.bytes(),
            _ => {}
        }
        Ok(())
    })?;
    let Some(inner) = &outer.inner else { return Ok(None) };
    if outer.site.is_some_and(|of| of != site.as_bytes()) {
        return Ok(None);
    }
    outer.told(inner)
}

#[derive(Default)]
struct Outer<'a> {
    unix_ms: Option<u64>,
    event: bool,
    site: Option<&'a [u8]>,
    client: Option<IpAddr>,
    method: Option<&'a [u8]>,
    target: Option<&'a [u8]>,
    standing: Option<&'a [u8]>,
    verdict: Option<&'a [u8]>,
    why: Option<&'a [u8]>,
    inner: Option<Inner<'a>>,
}

#[derive(Default)]
struct Inner<'a> {
    run: Option<u32>,
    admitted: Option<Decided>,
    charged: Option<Decided>,
    settled: Option<Decided>,
    session: Option<&'a [u8]>,
    key: Option<u64>,
    challenge: Option<&'a [u8]>,
    token: Option<u64>,
    end: Option<&'a [u8]>,
    answer: Option<Answer>,
    proof: Option<Answer>,
    marks: Vec<Mark>,
    other_version: bool,
    flags: [bool; 6],
}

const FLAGS: [&[u8]; 6] =
    [b"carried", b"body", b"authorization", b"spent", b"stands_in", b"shared"];

fn inner_member<'a>(
    inner: &mut Inner<'a>,
    scan: &mut Scan<'a>,
    name: &'a [u8],
    value: Value<'a>,
) -> Result<(), Damaged> {
    match (name, value) {
        (b"admitted", Value::Nested) => inner.admitted = Some(decided(scan)?),
        (b"charged", Value::Nested) => inner.charged = Some(decided(scan)?),
        (b"settled", Value::Nested) => inner.settled = Some(decided(scan)?),
        (b"answer", Value::Nested) => inner.answer = Some(answer(scan)?),
        (b"proof", Value::Nested) => inner.proof = Some(answer(scan)?),
        (b"start", Value::Nested) => mark(inner, scan, true)?,
        (b"reload", Value::Nested) => mark(inner, scan, false)?,
        (_, Value::Nested) => scan.skip()?,
        (b"run", _) => {
            inner.run = value.bytes().and_then(hex).and_then(|run| u32::try_from(run).ok())
        }
        (b"session", _) => inner.session = value.bytes(),
        (b"key", _) => inner.key = value.bytes().and_then(hex),
        (b"challenge", _) => inner.challenge = value.bytes(),
        (b"token", _) => inner.token = value.bytes().and_then(hex),
        (b"end", _) => inner.end = value.bytes(),
        _ => {
            for (flag, known) in inner.flags.iter_mut().zip(FLAGS) {
                *flag |= name == known && value.is_true();
            }
        }
    }
    Ok(())
}

fn decided(scan: &mut Scan<'_>) -> Result<Decided, Damaged> {
    let [number, nanos] = scan.numbers()?;
    Ok(Decided { number, at: moment(nanos) })
}

/// Nanoseconds since the process began.
fn moment(nanos: u64) -> Moment {
    let began = Moment::from_nanos(0).after(Moment::HEADROOM);
    Moment::from_nanos(began.as_nanos().saturating_add(nanos))
}

fn mark(inner: &mut Inner<'_>, scan: &mut Scan<'_>, start: bool) -> Result<(), Damaged> {
    #[derive(Default)]
    struct Seen {
        policy: Option<u64>,
        blank: Option<Moment>,
        made: Option<Decided>,
        other_version: bool,
    }
    let mut seen = Seen::default();
    scan.object(&mut seen, &mut |seen, scan, name, value| {
        match (name, value) {
            (b"made", Value::Nested) => seen.made = Some(decided(scan)?),
            (_, Value::Nested) => scan.skip()?,
            (b"policy", _) => seen.policy = value.bytes().and_then(hex),
            (b"blank", _) => seen.blank = value.number().map(moment),
            (b"version", _) => {
                seen.other_version = value.bytes() != Some(env!("CARGO_PKG_VERSION").as_bytes());
            }
            _ => {}
        }
        Ok(())
    })?;
    inner.other_version |= seen.other_version;
    let policy = seen.policy.ok_or(Damaged)?;
    let what = match (start, seen.made) {
        (true, _) => Marked::Start { blank: seen.blank },
        (false, Some(made)) => Marked::Reload(made),
        (false, None) => return Err(Damaged),
    };
    inner.marks.push(Mark { policy, what });
    Ok(())
}

fn answer(scan: &mut Scan<'_>) -> Result<Answer, Damaged> {
    #[derive(Default)]
    struct Seen<'a> {
        status: Option<u16>,
        session: Option<&'a [u8]>,
        key: Option<u64>,
        spare: bool,
        max_age: Option<u64>,
        lookalike: bool,
    }
    let mut seen = Seen::default();
    scan.object(&mut seen, &mut |seen, scan, name, value| {
        match name {
            _ if value == Value::Nested => scan.skip()?,
            b"status" => seen.status = value.number().and_then(|status| u16::try_from(status).ok()),
            b"session" => seen.session = value.bytes(),
            b"key" => seen.key = value.bytes().and_then(hex),
            b"spare" => seen.spare = value.is_true(),
            b"max_age" => seen.max_age = value.number(),
            b"lookalike" => seen.lookalike = value.is_true(),
            _ => {}
        }
        Ok(())
    })?;
    let session = match seen.session.ok_or(Damaged)? {
        b"none" => Set::Nothing,
        b"deletion" => Set::Deletion,
        b"key" => Set::Key {
            key: seen.key.ok_or(Damaged)?,
            spare: seen.spare,
            max_age: seen.max_age.map(std::time::Duration::from_secs),
        },
        b"signed" => Set::Signed { empty: false },
        b"empty signed" => Set::Signed { empty: true },
        b"malformed" => Set::OtherShape,
        _ => return Err(Damaged),
    };
    Ok(Answer { status: seen.status.ok_or(Damaged)?, session, lookalike: seen.lookalike })
}

impl Outer<'_> {
    fn told(&self, inner: &Inner<'_>) -> Result<Option<Told>, Unread> {
        let plain = |text: Option<&[u8]>| {
            let mut plain = Vec::new();
            scan::unescape(text.unwrap_or_default(), &mut plain);
            String::from_utf8_lossy(&plain).into_owned().into_boxed_str()
        };
        let [carried, body, authorization, spent, stands_in, shared] = inner.flags;
        let session = match inner.session.ok_or(Damaged)? {
            b"none" => Session::Nothing,
            b"key" => Session::Key(inner.key.ok_or(Damaged)?),
            b"signed" => Session::Signed,
            b"malformed" => Session::Malformed,
            _ => return Err(Unread::Shape),
        };
        let challenged = match (inner.challenge, inner.token) {
            (None, _) => Challenged::No { replayable: false },
            (Some(b"possible"), _) => Challenged::No { replayable: true },
            (Some(b"failed"), _) => Challenged::Failed,
            (Some(b"passed"), Some(token)) => Challenged::Passed(Token(token)),
            (Some(_), _) => return Err(Unread::Shape),
        };
        let end = match (inner.end, inner.answer) {
            (None, _) => None,
            (Some(b"unsent"), _) => Some(End::Unsent),
            (Some(b"no answer"), _) => Some(End::NoAnswer),
            (Some(b"answered"), Some(answer)) => Some(End::Answered(answer, inner.proof)),
            (Some(_), _) => return Err(Unread::Shape),
        };
        let standing = StandingWord::ALL
            .into_iter()
            .find(|standing| self.standing == Some(standing.word().as_bytes()));
        let verdict = Verdict::ALL
            .into_iter()
            .find(|verdict| self.verdict == Some(verdict.word().as_bytes()));
        let live = match (self.event, verdict, standing) {
            (true, ..) => None,
            (false, Some(verdict), Some(standing)) => {
                Some(Live { verdict, standing, why: self.why.map(|why| plain(Some(why))) })
            }
            (false, ..) => return Err(Unread::Shape),
        };
        Ok(Some(Told {
            unix_ms: self.unix_ms.ok_or(Unread::Time)?,
            run: inner.run.ok_or(Damaged)?,
            admitted: inner.admitted.ok_or(Damaged)?,
            charged: inner.charged,
            settled: inner.settled.zip(end),
            asked: Asked {
                session,
                carried,
                body,
                authorization,
                spent,
                usual: true,
                challenged,
                shared,
            },
            stands_in,
            marks: inner.marks.clone(),
            this_version: !inner.other_version,
            address: self.client.ok_or(Unread::Client)?,
            method: plain(self.method),
            target: plain(self.target),
            live,
        }))
    }
}

/// A number in hexadecimal digits.
fn hex(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 16 {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}
