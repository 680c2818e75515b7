//! The report: for people as text, for programs as one JSON object.
//!
//! Paths are visible ASCII by the time that they are asked for; everything else that a site chose
//! is encoded and cut here. Of a session key its first four characters are told.

use std::fmt::Write;
use std::net::SocketAddr;

use serde_json::{Value, json};

use super::MOST_REQUESTS;
use super::conclude::{Character, Conclusion, Cve, Records, Standing, Verdict, Why, asked};
use super::plan::{Plan, reads};
use super::seen::{Carried, Exchange, Outcome, Part, Told};
use crate::guard::key::SessionKey;
use crate::telemetry::escape::visible;

/// All that there is to tell.
pub struct Report<'a> {
    pub plan: &'a Plan<'a>,
    pub conclusion: &'a Conclusion,
    pub addresses: &'a [SocketAddr],
    /// The TOML that fits.
    pub configuration: &'a str,
    /// The file that it was written into.
    pub written: Option<String>,
}

impl Report<'_> {
    fn exchanges(&self) -> &[Exchange] {
        self.plan.sight.exchanges()
    }

    fn url(&self) -> String {
        let origin = self.plan.origins.first().map_or("", String::as_str);
        format!("{origin}{}", self.plan.wishes.root)
    }

    /// As a person reads it.
    pub fn text(&self) -> String {
        let conclusion = self.conclusion;
        let addresses: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        let mut text =
            format!("{} ({}): {}\n", self.url(), addresses.join(", "), conclusion.verdict.word());
        if let Some(release) = conclusion.release {
            let _ = writeln!(text, "It behaves like {release}.");
        }
        text.push('\n');
        for finding in &conclusion.findings {
            let by = finding.shown_by.and_then(|at| Some((at, self.exchanges().get(at)?)));
            let by = by.map_or(String::new(), |(at, exchange)| {
                format!("request {}: {}", at + 1, asked(exchange))
            });
            let (cve, standing) = (finding.cve.word(), finding.standing.word());
            let _ = writeln!(text, "{}", format!("  {cve}  {standing:<11}  {by}").trim_end());
        }
        for line in self.notes() {
            let _ = writeln!(text, "  {line}");
        }
        let _ = writeln!(text, "\nrequests, {MOST_REQUESTS} at most");
        let width = self.exchanges().iter().map(|e| e.question.path.len()).max().unwrap_or(0);
        for (at, exchange) in self.exchanges().iter().enumerate() {
            let question = &exchange.question;
            let carried = match question.carried {
                Carried::Live(key) => format!("its own {}", begin(&key)),
                carried => carried.word().to_owned(),
            };
            let status =
                exchange.answer().map_or("   ".to_owned(), |answer| format!("{:3}", answer.status));
            let line = format!(
                "  {:>2}  {:<4} {:<width$}  {carried:<14}  {status}  {}",
                at + 1,
                question.method.word(),
                question.path,
                self.said(exchange),
                width = width.min(40),
            );
            let _ = writeln!(text, "{}", line.trim_end());
        }
        let _ = writeln!(text, "\nleft in the session store: {}", left(conclusion.records));
        for line in self.advice() {
            let _ = writeln!(text, "\n{line}");
        }
        match &self.written {
            Some(file) => {
                let _ = writeln!(text, "\nThe configuration that fits is in {file}.");
            }
            None if conclusion.verdict == Verdict::Exposed => {
                let _ = writeln!(text, "\nThe configuration that fits:\n\n{}", self.configuration);
            }
            None => {}
        }
        text
    }

    /// As a program reads it.
    pub fn json(&self) -> Value {
        let conclusion = self.conclusion;
        let numbers = |all: &[usize]| -> Vec<usize> { all.iter().map(|at| at + 1).collect() };
        let findings = conclusion.findings.iter().map(|finding| {
            let shown_by = finding.shown_by.map(|at| at + 1);
            json!({ "cve": finding.cve.word(), "standing": finding.standing.word(),
                    "request": shown_by })
        });
        let requests = self.exchanges().iter().map(|exchange| {
            let question = &exchange.question;
            json!({
                "method": question.method.word(),
                "path": question.path,
                "cookie": question.carried.word(),
                "status": exchange.answer().map(|answer| answer.status),
                "says": self.said(exchange),
            })
        });
        let records = conclusion.records;
        json!({
            "url": self.url(),
            "addresses": self.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "verdict": conclusion.verdict.word(),
            "release": conclusion.release,
            "findings": findings.collect::<Vec<_>>(),
            "notes": self.notes(),
            "writes_for_anybody": numbers(&conclusion.writers),
            "adopts_made_up_keys": numbers(&conclusion.adopters),
            "deletes_emptied": conclusion.deletes,
            "behind_floodwall": conclusion.shielded,
            "session_cookie": self.plan.sight.cookie(),
            "session_cookie_seen": self.plan.sight.sure_of_cookie(),
            "requests": requests.collect::<Vec<_>>(),
            "most_requests": MOST_REQUESTS,
            "records": { "began": records.created, "ended": records.ended,
                         "unsure": records.unsure, "left_at_most": records.left() },
            "advice": self.advice(),
            "configuration": self.configuration,
        })
    }

    /// Whether a session was seen to end at this path.
    fn has_ended(&self, path: &str) -> bool {
        self.exchanges().iter().any(|exchange| {
            exchange.question.path == path
                && matches!(exchange.question.carried, Carried::Live(_))
                && matches!(self.plan.sight.told(exchange), Told::Deleted | Told::Other(_))
        })
    }

    /// What an exchange has shown.
    fn said(&self, exchange: &Exchange) -> String {
        match &exchange.outcome {
            Outcome::Silence { why, .. } => return visible(why),
            Outcome::Answered(_) => {}
        }
        match self.plan.sight.told(exchange) {
            Told::Nothing if reads(exchange) => "no session cookie; depends on cookies".to_owned(),
            Told::Nothing => "no session cookie".to_owned(),
            Told::Same => "the same key again".to_owned(),
            Told::Other(key) => format!("new key {}", begin(&key)),
            Told::Deleted => "cookie deleted".to_owned(),
            Told::Signed => "session kept in the cookie".to_owned(),
            Told::Foreign => "a cookie that is no key of Django's".to_owned(),
        }
    }

    /// What else was seen.
    fn notes(&self) -> Vec<String> {
        let conclusion = self.conclusion;
        let mut notes = Vec::new();
        match conclusion.deletes {
            Some(true) => notes.push("the cookie of an emptied session is deleted".to_owned()),
            Some(false) => {
                notes.push("an emptied session gets a new key, and its record stays".to_owned());
            }
            None => {}
        }
        let page = |at: &usize| {
            let exchange = self.exchanges().get(*at)?;
            Some(format!("{} {}", exchange.question.method.word(), exchange.question.path))
        };
        for (all, what) in [
            (
                &conclusion.writers,
                "begins or writes a session for anybody; no release changes that",
            ),
            (&conclusion.adopters, "takes a made-up key for a session's; no release changes that"),
        ] {
            let mut pages: Vec<String> = all.iter().filter_map(page).collect();
            pages.dedup();
            notes.extend(pages.into_iter().map(|page| format!("{page} {what}")));
        }
        for (logout, character) in &conclusion.logouts {
            let says = match character {
                Character::Patched if !self.has_ended(&logout.path) => {
                    "answers as a patched logout does; that it is the logout had to be believed, \
                     for there was no session to end"
                }
                Character::Creates { .. } | Character::Patched => continue,
                Character::Writes => "writes to the session and ends none: it is no logout",
                Character::WritesAfter => {
                    "begins a session after each logout: the view itself writes to it, \
                     and an upgrade does not change that"
                }
                Character::Unclear(why) => why.says(),
            };
            notes.push(format!("{} {} {says}", logout.method.word(), logout.path));
        }
        if conclusion.shielded {
            notes.push(
                "a Floodwall stands in front, and keeps cookies of empty sessions to itself; \
                 what stands behind it is not known"
                    .to_owned(),
            );
        }
        let answers = || self.exchanges().iter().filter_map(Exchange::answer);
        if let Some(who) = answers().find_map(|answer| answer.between) {
            notes.push(format!(
                "{who} stands in front, and may add or keep back cookies: \
                 ask the application itself where you can"
            ));
        }
        if self.plan.is_full() {
            notes.push(format!(
                "more than {MOST_REQUESTS} requests would tell more: name fewer paths, or the right \
                 ones, so that none is looked for"
            ));
        }
        notes
    }

    /// What to do now.
    fn advice(&self) -> Vec<String> {
        match self.conclusion.verdict {
            Verdict::Exposed if self.conclusion.shielded => vec![
                "The Floodwall in front lets unknown cookies through until its ledger is warm, and \
                 its budgets\npay for what they create; session.unknown = \"drop\" does not wait."
                    .to_owned(),
            ],
            Verdict::Exposed => vec![
                "Upgrade to Django 1.4.22, 1.7.10, 1.8.4 or later. Where that cannot be, put Floodwall \
                 in front,\nso that the application cannot be reached around it."
                    .to_owned(),
            ],
            Verdict::NotExposed if !self.conclusion.writers.is_empty() => vec![
                "What pages write for anybody still fills the store; Floodwall in front limits it."
                    .to_owned(),
            ],
            Verdict::NotExposed => Vec::new(),
            Verdict::CannotTell | Verdict::Failed => self.remedies(),
        }
    }

    /// What would make a further probe tell more.
    fn remedies(&self) -> Vec<String> {
        let mut remedies = Vec::new();
        if let Some(location) = self.plan.elsewhere() {
            remedies.push(format!(
                "The site sends to {}: probe that; or, where a proxy in front makes it HTTPS, say \
                 so with --header 'X-Forwarded-Proto: https'.",
                visible(location)
            ));
            return remedies;
        }
        let front = self.exchanges().first();
        match front.map(|exchange| &exchange.outcome) {
            None => remedies.push("Nothing was asked.".to_owned()),
            Some(Outcome::Silence { why, .. }) => {
                remedies.push(format!("No answer: {}.", visible(why)));
                return remedies;
            }
            Some(Outcome::Answered(answer)) => match answer.status {
                400 => remedies.push(
                    "400: the site may not know its name; give one of ALLOWED_HOSTS: \
                     --header 'Host: NAME'."
                        .to_owned(),
                ),
                401 | 403 => remedies
                    .push("It wants to know who asks: --header 'Authorization: ...'.".to_owned()),
                _ => {}
            },
        }
        if self.exchanges().iter().any(|e| e.answer().is_some_and(|a| a.status == 429)) {
            remedies.push("It refused us (429): try again later.".to_owned());
        }
        let found =
            |(_, character): &(_, Character)| *character != Character::Unclear(Why::Failing);
        if !self.conclusion.logouts.iter().any(found) {
            let mut tried: Vec<&str> = Vec::new();
            for exchange in self.exchanges() {
                let question = &exchange.question;
                if question.part == Part::Logout && !tried.contains(&question.path.as_str()) {
                    tried.push(&question.path);
                }
            }
            let tried = tried.join(", ");
            remedies.push(format!("No logout was found at {tried}: name it with --logout PATH."));
        }
        if !self.plan.sight.sure_of_cookie() {
            remedies.push(format!(
                "No session cookie was seen. Where SESSION_COOKIE_NAME is not {:?}, give it with \
                 --cookie NAME; or it is not a Django.",
                self.plan.sight.cookie()
            ));
        }
        if self.conclusion.standing(Cve::MadeUpKey) == Standing::CannotTell {
            remedies.push(
                "A page that shows who is logged in, given with --page PATH, tells more."
                    .to_owned(),
            );
        }
        remedies
    }
}

impl Why {
    const fn says(self) -> &'static str {
        match self {
            Self::Failing => "was not answered well: it does not tell",
            Self::KeepsSession => "keeps the session that it is given: is it the logout?",
            Self::NoSign => "shows no sign of sessions: is it the logout?",
            Self::OnlyReads => "only reads the session: is it the logout?",
            Self::Cached => {
                "was answered by a cache, which proves nothing: ask the application itself"
            }
            Self::Rotates => "stands among pages that exchange keys: the site may be no Django",
            Self::NotStored => "sets a session cookie that is no key of Django's store",
        }
    }
}

fn begin(key: &SessionKey) -> String {
    let begin: String = key.as_bytes().iter().take(4).copied().map(char::from).collect();
    format!("{begin}…")
}

fn left(records: Records) -> String {
    let count = |number: usize| match number {
        0 => "nothing".to_owned(),
        1 => "1 record".to_owned(),
        number => format!("{number} records"),
    };
    let Records { created, ended, unsure } = records;
    let left = count(records.left());
    match (unsure, ended) {
        (0, 0) => left,
        (0, ended) => format!("{left} ({created} begun, {ended} ended)"),
        (unsure, ended) => {
            format!("at most {left} ({created} begun, {ended} ended, {unsure} unsure)")
        }
    }
}
