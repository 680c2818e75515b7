//! What a client sends, read by our own HTTP/1 server and by hyper's: the same bytes, in the same
//! pieces, answered by the same service.
//!
//! Every request that ours finds is one that hyper finds in these bytes, too, where it reads every
//! body and answers everything: with the same head, and with the same body as far as it was read.
//! And both go the same way: the same requests, the same responses, the same end. Ours
//! refuses more, and ends where hyper might go on; what that may be stands in `is_stricter`.

#![no_main]

#[path = "request/client.rs"]
mod client;
mod pieces;
#[path = "request/plans.rs"]
mod plans;
#[path = "request/replies.rs"]
mod replies;
#[path = "request/servers.rs"]
mod servers;
#[path = "request/service.rs"]
mod service;

use std::fmt;

use floodwall::proxy::http1::Flaw;
use floodwall::proxy::leg;
use http::header::CONNECTION;
use libfuzzer_sys::fuzz_target;

use client::{End, Script};
use pieces::pieces;
use plans::Plans;
use replies::Reply;
use servers::{Ended, Limits, Outcome};
use service::{Found, Read};

fuzz_target!(|input: &[u8]| {
    let Some((&[cut, how, reading, answer, other_reading, other_answer], bytes)) =
        input.split_first_chunk()
    else {
        return;
    };
    let script = Script {
        pieces: pieces(bytes, cut),
        end: [End::Waits, End::Now, End::Later, End::Breaks][usize::from(how & 3)],
        takes: [usize::MAX, 4096, 100, 7][usize::from(how >> 2 & 3)],
    };
    let plans = Plans([[reading, answer], [other_reading, other_answer]]);
    let limits = Limits::of(how & 16 != 0);
    // In the step before this one it is told to end.
    let stop = (how & 32 != 0).then_some(usize::from(how >> 6) * 3);
    let own = servers::own(script.clone(), plans, limits, stop);
    let hyper = servers::hyper(script, plans, limits, stop);
    let there = Script { pieces: pieces(bytes, 0), end: End::Later, takes: usize::MAX };
    let there = servers::hyper(there, Plans::ATTENTIVE, Limits::of(false), None);
    let mut case = Case {
        bytes,
        own: &own,
        hyper: &hyper,
        there: &there,
        replies: Vec::new(),
        others: Vec::new(),
        leaves: how & 3 != 0,
        stops: stop.is_some(),
        is_small: how & 16 != 0,
    };
    match (replies(&own), replies(&hyper)) {
        (Ok(replies), Ok(others)) => (case.replies, case.others) = (replies, others),
        (own, hyper) => panic!("{own:?}, {hyper:?}: {case}"),
    }
    is_there(&hyper, &case);
    is_there(&own, &case);
    compare(&case);
});

/// What came of some bytes.
struct Case<'a> {
    bytes: &'a [u8],
    own: &'a Outcome,
    hyper: &'a Outcome,
    /// What hyper finds where everything is read.
    there: &'a Outcome,
    /// What the client reads of either.
    replies: Vec<Reply>,
    others: Vec<Reply>,
    /// Whether the client hangs up.
    leaves: bool,
    /// Whether they are told to stop.
    stops: bool,
    /// Whether a head may be no larger than some of those here.
    is_small: bool,
}

impl fmt::Display for Case<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.bytes.escape_ascii())?;
        for (name, outcome) in [("own", self.own), ("hyper", self.hyper), ("there", self.there)] {
            writeln!(f, "{name}: {:?} {:?}", outcome.ended, outcome.flaw)?;
            writeln!(f, "    answers: {}", outcome.answers.escape_ascii())?;
            for found in &outcome.found {
                writeln!(f, "    {:?} {:?} {:?}", found.head, found.read, found.flaw)?;
                let (body, trailers) = (found.body.escape_ascii(), &found.trailers);
                writeln!(f, "        {:?} {}: {body} {trailers:?}", found.length, found.empty)?;
            }
        }
        Ok(())
    }
}

/// Every request that was found is there, as it was found.
fn is_there(outcome: &Outcome, case: &Case<'_>) {
    for (number, found) in outcome.found.iter().enumerate() {
        let Some(there) = case.there.found.get(number) else {
            let last = number + 1 == outcome.found.len();
            assert!(last && is_endless(found), "request {number} is not there: {case}");
            return;
        };
        assert!(same_head(found, there), "the head of request {number}: {case}");
        assert!(there.body.starts_with(&found.body), "the body of request {number}: {case}");
        if found.read == Read::Whole {
            assert_eq!(there.read, Read::Whole, "the end of request {number}: {case}");
            assert_eq!(there.body, found.body, "the body of request {number}: {case}");
            assert_eq!(there.trailers, found.trailers, "trailers of request {number}: {case}");
        }
    }
}

fn same_head(one: &Found, other: &Found) -> bool {
    one.head.method == other.head.method
        && one.head.uri == other.head.uri
        && one.head.version == other.head.version
        && one.head.headers == other.head.headers
        && (one.length, one.empty) == (other.length, other.empty)
}

/// Whether it is of a length that hyper cannot tell from none. Nobody sees the end of it.
fn is_endless(found: &Found) -> bool {
    found.length.is_some_and(|length| length >= u64::MAX - 1)
}

fn compare(case: &Case<'_>) {
    let last = case.replies.iter().position(|reply| reply.closes);
    let last = last.is_none_or(|last| last + 1 == case.replies.len());
    assert!(last, "something is behind the last response: {case}");
    if let Some(difference) = difference(case) {
        assert!(is_stricter(case), "{difference}: {case}");
    }
}

/// The first of them.
fn difference(case: &Case<'_>) -> Option<String> {
    let Case { own, hyper, replies, others, .. } = case;
    let bodies = own.found.iter().zip(&hyper.found);
    if let Some(number) = bodies.clone().position(|(own, hyper)| !same_body(own, hyper)) {
        return Some(format!("the body of request {number}"));
    }
    let answers = replies.iter().zip(others);
    if let Some(number) = answers.clone().position(|(own, hyper)| !own.is_as_good_as(hyper)) {
        return Some(format!("reply {number}: {:?}, {:?}", replies[number], others[number]));
    }
    if own.found.len() != hyper.found.len() || replies.len() != others.len() {
        return Some("how many they are".to_owned());
    }
    // hyper tells none who might have been given another protocol.
    let same = own.ended == hyper.ended && own.closed >= hyper.closed;
    (!same).then(|| format!("{:?} {}, {:?} {}", own.ended, own.closed, hyper.ended, hyper.closed))
}

/// hyper may tell of the end of the connection in place of that of a body.
fn same_body(own: &Found, hyper: &Found) -> bool {
    let untold = own.read == Read::Whole && hyper.read != Read::Whole && hyper.trailers.is_none();
    own.body == hyper.body && (untold || own.read == hyper.read && own.trailers == hyper.trailers)
}

/// What only ours refuses, where only ours ends, and what depends on who looks first.
fn is_stricter(case: &Case<'_>) -> bool {
    refuses_a_body(case)
        || refuses_a_head(case)
        || takes_a_head(case)
        || waits_for_a_head(case)
        || is_told_to_close(case)
        || takes_trailers(case)
        || has_an_unread_body(case)
        || is_told_to_stop(case)
        || breaks_off(case)
        || is_cut_by_hyper(case)
        || is_left(case)
}

/// One has an exchange more than the other, or a part of one; what both have is the same, up to the
/// exchange of this number.
fn agree(case: &Case<'_>, number: usize) -> bool {
    let bodies = case.own.found.iter().zip(&case.hyper.found).take(number);
    let replies = case.replies.iter().zip(&case.others).filter(|(own, _)| own.status != 100);
    bodies.clone().all(|(own, hyper)| same_body(own, hyper))
        && replies.take(number).all(|(own, hyper)| own.is_as_good_as(hyper))
}

/// A body has a flaw that hyper does not find, or finds later.
fn refuses_a_body(case: &Case<'_>) -> bool {
    let flawed = |found: &Found| found.read == Read::Flawed;
    let Some(number) = case.own.found.iter().position(flawed) else { return false };
    let flaw = case.own.found[number].flaw.as_deref().and_then(|flaw| flaw.downcast_ref());
    number + 1 == case.own.found.len()
        && agree(case, number)
        && flaw.is_some_and(|flaw| is_stricter_body(flaw, case.bytes))
}

fn is_stricter_body(flaw: &Flaw, bytes: &[u8]) -> bool {
    let Flaw::Body(flaw) = flaw else { return false };
    match flaw {
        // Controls in an extension; more digits than 64 bits have.
        leg::Flaw::ChunkSize => {
            bytes.iter().any(|byte| byte.is_ascii_control() && !b"\r\n\t".contains(byte))
        }
        // A line that does not end with CRLF.
        leg::Flaw::Trailers => {
            (0..bytes.len()).any(|at| bytes[at] == b'\n' && (at == 0 || bytes[at - 1] != b'\r'))
        }
        leg::Flaw::Broken(_)
        | leg::Flaw::Ended
        | leg::Flaw::Cut
        | leg::Flaw::Before
        | leg::Flaw::Head(_)
        | leg::Flaw::LineFeed
        | leg::Flaw::HeadBytes
        | leg::Flaw::Interim
        | leg::Flaw::Length
        | leg::Flaw::TransferCoding
        | leg::Flaw::Extensions
        | leg::Flaw::ChunkEnd
        | leg::Flaw::Upload => false,
    }
}

/// A head is refused that hyper takes, or whose end it waits for.
fn refuses_a_head(case: &Case<'_>) -> bool {
    let Case { own, hyper, .. } = case;
    let waits = matches!(hyper.ended, Ended::Not | Ended::Broken)
        && case.there.ended == Ended::Head
        && case.there.found.len() == own.found.len();
    agree(case, own.found.len())
        && match &own.flaw {
            Some(Flaw::Head(_) | Flaw::RequestLine) if waits => true,
            Some(flaw) if counts_empty_lines(case) => Ended::of_own(flaw) == Ended::Head,
            // hyper says nothing to who speaks HTTP/2.
            Some(Flaw::Head(_)) => {
                hyper.ended == Ended::Head
                    && case.bytes.windows(14).any(|it| it == b"PRI * HTTP/2.0")
            }
            // That both refuse; hyper looks at it before it is too large.
            Some(Flaw::HeadBytes) => hyper.ended == Ended::Head,
            Some(_) | None => false,
        }
}

/// Only ours takes it: a head that is too large with the empty lines in front of it, or a length
/// that is none to hyper.
fn takes_a_head(case: &Case<'_>) -> bool {
    let Case { own, hyper, .. } = case;
    let number = hyper.found.len();
    own.found.get(number).is_some_and(|found| is_endless(found) || counts_empty_lines(case))
        && hyper.ended == Ended::HeadBytes
        && agree(case, number)
}

/// Empty lines are a part of the head behind them to hyper, which may be too large then.
fn counts_empty_lines(case: &Case<'_>) -> bool {
    case.is_small && case.hyper.ended == Ended::HeadBytes && has_empty_lines(case)
}

fn has_empty_lines(case: &Case<'_>) -> bool {
    let first = matches!(case.bytes, [b'\n', ..] | [b'\r', b'\n', ..]);
    first || case.bytes.windows(2).any(|two| two == b"\n\n" || two == b"\n\r")
}

/// `close` stands in a line with bytes that are not ASCII, which hyper does not look at.
fn is_told_to_close(case: &Case<'_>) -> bool {
    let number = case.own.found.len();
    let lines = case.own.found.last().map(|found| found.head.headers.get_all(CONNECTION));
    case.replies.last().is_some_and(|reply| reply.closes)
        && lines.into_iter().flatten().any(|line| !line.as_bytes().is_ascii())
        && agree(case, number)
}

/// Of a head that is none the end has not come: hyper looks at it sooner.
fn waits_for_a_head(case: &Case<'_>) -> bool {
    let Case { own, hyper, .. } = case;
    matches!(own.flaw, None | Some(Flaw::Gone | Flaw::Broken(_)))
        && own.ended != Ended::Well
        && (hyper.ended == Ended::Head || counts_empty_lines(case))
        && own.found.len() == hyper.found.len()
        && case.replies.len() < case.others.len()
        && agree(case, own.found.len())
}

/// Ours bounds trailers by limits that are not those of a head.
fn takes_trailers(case: &Case<'_>) -> bool {
    let mut bodies = case.own.found.iter().zip(&case.hyper.found);
    let refused = |(own, hyper): (&Found, &Found)| {
        own.read != Read::Flawed && hyper.read == Read::Flawed && own.body == hyper.body
    };
    let number = bodies.position(refused);
    case.is_small && number.is_some_and(|number| agree(case, number))
}

/// A body has not been read to its end: whether there is another request behind it depends on how
/// much of it was there when somebody looked.
fn has_an_unread_body(case: &Case<'_>) -> bool {
    let unread = |found: &Found| found.read == Read::Left && !found.empty;
    let number = case.own.found.len().min(case.hyper.found.len());
    number > 0
        && (unread(&case.own.found[number - 1]) || unread(&case.hyper.found[number - 1]))
        && agree(case, number - 1)
}

/// hyper refuses a head before its client has taken the answer to the request before, and sends
/// neither the rest of that nor the refusal.
fn is_cut_by_hyper(case: &Case<'_>) -> bool {
    matches!(case.hyper.ended, Ended::Head | Ended::HeadBytes)
        && case.own.ended == case.hyper.ended
        && case.own.found.len() == case.hyper.found.len()
        && case.others.len() < case.replies.len()
        && case.others.iter().zip(&case.replies).all(|(hyper, own)| own.is_as_good_as(hyper))
        && agree(case, case.own.found.len())
}

/// It is told to stop when the head of a request has begun: hyper may not take that any more. With
/// empty lines only that has begun to hyper.
fn is_told_to_stop(case: &Case<'_>) -> bool {
    let (own, hyper) = (case.own.found.len(), case.hyper.found.len());
    case.stops
        && (hyper <= own || hyper == own + 1 && has_empty_lines(case))
        && (case.hyper.ended == Ended::Well || case.own.ended == Ended::Well)
        && agree(case, own.min(hyper))
}

/// The body of a response is not what it says: hyper may call it whole, and does not send what is
/// left of it.
fn breaks_off(case: &Case<'_>) -> bool {
    let Case { own, hyper, .. } = case;
    let number = own.found.len();
    number == hyper.found.len()
        && number > 0
        && own.ended == Ended::Broken
        && matches!(own.flaw, None | Some(Flaw::Response(_)))
        && case.replies.last().is_some_and(|reply| !reply.whole)
        && case.others.len() <= case.replies.len()
        && agree(case, number - 1)
}

/// The client has gone: who notices that, and when, is a matter of chance.
fn is_left(case: &Case<'_>) -> bool {
    let Case { own, hyper, .. } = case;
    let left = |ended: &Ended| matches!(ended, Ended::Well | Ended::Broken);
    case.leaves
        && left(&own.ended)
        && left(&hyper.ended)
        && agree(case, own.found.len().min(hyper.found.len()).saturating_sub(1))
}

fn replies(outcome: &Outcome) -> Result<Vec<Reply>, String> {
    let methods: Vec<_> = outcome.found.iter().map(|found| &found.head.method).collect();
    replies::read(&outcome.answers, &methods)
}
