//! The operator's rules, `[[rule]]`, in front of the profile's.

use std::collections::BTreeSet;
use std::ops::Range;

use toml::de::DeValue;

use super::clients::named_budget;
use super::fault::{Fault, Faults, quote};
use super::pattern;
use super::table::{Entry, Table};
use super::value::{self, Empty, integer, list, quoted, string, text, word};
use crate::guard::policy::{Budget, Challenge, Mode};
use crate::guard::route::{Action, Answer, Effect, PathPattern, Rule, StandingWord};

/// Rules of one site at most: each request is held against them in turn.
const MOST: usize = 1_000;

/// Reads the rules, and appends those of the profile whose names the operator has not taken. The
/// budgets that rules name are `used`, were the rules otherwise wrong.
pub(super) fn read(
    entry: Option<Entry<'_, '_>>,
    budgets: &[Budget],
    used: &mut BTreeSet<usize>,
    profile: Vec<Rule>,
    faults: &mut Faults,
) -> Vec<Rule> {
    let members = match &entry {
        None => Vec::new(),
        Some(entry) => match entry.value.get_ref() {
            DeValue::Array(_) => entry.members().0,
            _ => {
                let remedy = "write [[rule]], in two pairs of brackets, above each rule";
                faults.add(entry.wrong_type("a list of tables").remedy(remedy));
                Vec::new()
            }
        },
    };
    let mut rules: Vec<Rule> = Vec::new();
    let mut names = BTreeSet::new();
    for member in members {
        let table = match member.value.get_ref() {
            DeValue::Table(content) => Table::new("rule", member.span(), Some(content)),
            _ => {
                faults.add(member.wrong_type("a table"));
                continue;
            }
        };
        let (rule, named) = Reader { table, budgets, used, faults }.rule();
        if let Some((name, place)) = named
            && !names.insert(name.clone())
        {
            let what = format!("rule.name: two rules are named \"{name}\"");
            faults.add(Fault::new(place, what).remedy("give each rule a name of its own"));
        }
        rules.extend(rule);
    }
    if let Some(entry) = entry.filter(|_| rules.len() > MOST) {
        faults.add(entry.fault(format_args!("more than {MOST} rules")));
    }
    rules.extend(profile.into_iter().filter(|rule| !names.contains(&rule.name)));
    rules
}

/// One rule while it is read.
struct Reader<'a, 'i, 'f> {
    table: Table<'a, 'i>,
    budgets: &'f [Budget],
    used: &'f mut BTreeSet<usize>,
    faults: &'f mut Faults,
}

impl Reader<'_, '_, '_> {
    /// The rule, unless something of it is missing or wrong; and its name with its place.
    fn rule(mut self) -> (Option<Rule>, Option<(String, Range<usize>)>) {
        let name = self.name();
        let paths = self.paths();
        let methods = self.many("method", text(pattern::method));
        let standings = self.many("standing", word(&StandingWord::ALL, StandingWord::word));
        let action = self.action();
        let budget = self.budget();
        let effect = self.effect(action.as_ref());
        let query = self.query(action.as_ref());
        let mut mode = None;
        self.table.read("mode", &mut mode, self.faults, |entry, faults| {
            word(&Mode::ALL, Mode::word)(entry, faults).map(Some)
        });
        let mut challenge = None;
        self.table.read("challenge", &mut challenge, self.faults, |entry, faults| {
            word(&Challenge::ALL, Challenge::word)(entry, faults).map(Some)
        });
        self.table.finish(self.faults);
        let named = name.clone();
        let whole = || {
            let (name, paths, action) = (name?.0, paths?, action?);
            Some(Rule {
                name,
                paths,
                methods,
                standings,
                action,
                budget,
                mode,
                challenge,
                effect,
                query,
            })
        };
        (whole(), named)
    }

    fn name(&mut self) -> Option<(String, Range<usize>)> {
        let Some(entry) = self.table.entry("name", self.faults) else {
            let fault = Fault::missing(self.table.span(), "rule: no `name`");
            self.faults.add(fault.remedy("write name = \"…\": logs call the rule so"));
            return None;
        };
        let name = text(pattern::rule_name)(&entry, self.faults)?;
        Some((name, entry.span()))
    }

    /// The one matcher that a rule has.
    fn paths(&mut self) -> Option<Vec<PathPattern>> {
        const ONE: &str = "one of path, prefix, glob, last_segment";
        let refused = Empty::Refused("an empty list matches nothing");
        let mut found: Vec<(&str, Option<Vec<PathPattern>>)> = Vec::new();
        for key in ["path", "prefix", "glob", "last_segment"] {
            let Some(entry) = self.table.entry(key, self.faults) else { continue };
            if let Some((first, _)) = found.first() {
                let what = format_args!("this rule has `{first}` already");
                let remedy = "write two rules, each with its own matcher";
                self.faults.add(entry.fault(what).remedy(remedy).allowed(ONE));
            }
            let faults = &mut *self.faults;
            let mut read = |check: fn(&str) -> _| list(&entry, faults, refused, text(check));
            let patterns = match key {
                "path" => read(pattern::path).map(|all| each(all, PathPattern::Exact)),
                "prefix" => read(pattern::path).map(|all| each(all, PathPattern::Prefix)),
                "glob" => read(pattern::glob).map(|all| each(all, PathPattern::Glob)),
                _ => read(pattern::segment).map(|all| vec![PathPattern::LastSegment(all)]),
            };
            found.push((key, patterns));
        }
        if found.is_empty() {
            let fault =
                Fault::missing(self.table.span(), "rule: nothing says which paths it is for");
            self.faults.add(fault.remedy(format!("write {ONE}")));
        }
        found.into_iter().next().and_then(|(_, patterns)| patterns)
    }

    /// A list that matches everything where it is not written.
    fn many<T: PartialEq>(
        &mut self,
        key: &'static str,
        read: impl Fn(&Entry<'_, '_>, &mut Faults) -> Option<T>,
    ) -> Vec<T> {
        let mut values = Vec::new();
        self.table.read(key, &mut values, self.faults, |entry, faults| {
            list(entry, faults, Empty::Refused("leave the key out to match all"), read)
        });
        values
    }

    /// The action with its answer; `None` where it is wrong.
    fn action(&mut self) -> Option<Action> {
        let action = self.table.entry("action", self.faults);
        let answer = self.table.entry("answer", self.faults);
        let word = match &action {
            None => Action::Gate.word(),
            Some(entry) => {
                let text = string(entry, self.faults)?;
                let found = Action::WORDS.into_iter().find(|&word| word == text);
                if found.is_none() {
                    let fault = entry.fault(format_args!("{} is not an action", quote(text)));
                    let fault = fault.nearest(text, Action::WORDS);
                    self.faults.add(fault.allowed(quoted(Action::WORDS.into_iter())));
                }
                found?
            }
        };
        match (word, answer) {
            ("answer", Some(entry)) => {
                answer_of(entry.table(self.faults), self.faults).map(Action::Answer)
            }
            ("answer", None) => {
                Some(Action::Answer(Answer { status: 302, location: Some("/".to_owned()) }))
            }
            (word, Some(entry)) => {
                let what = format_args!("this rule does not answer: its action is \"{word}\"");
                self.faults.add(entry.fault(what).remedy("write action = \"answer\""));
                None
            }
            ("recycle", None) => Some(Action::Recycle),
            ("forward", None) => Some(Action::Forward),
            (_, None) => Some(Action::Gate),
        }
    }

    fn budget(&mut self) -> usize {
        let budgets = self.budgets;
        let mut index = Budget::ANONYMOUS;
        self.table.read("budget", &mut index, self.faults, |entry, faults| {
            named_budget(entry, budgets, faults)
        });
        self.used.insert(index);
        index
    }

    /// What the view does; a logout by default where the rule recycles.
    fn effect(&mut self, action: Option<&Action>) -> Effect {
        let recycles = matches!(action, Some(Action::Recycle));
        let mut effect = if recycles { Effect::Flush } else { Effect::Write };
        self.table.read("effect", &mut effect, self.faults, |entry, faults| {
            let effect = word(&Effect::ALL, Effect::word)(entry, faults)?;
            if recycles && effect != Effect::Flush {
                let what = "only what ends a session can recycle one";
                faults.add(entry.fault(what).remedy("write effect = \"flush\", or another action"));
            }
            Some(effect)
        });
        effect
    }

    /// The parameters with which a request still recycles; `next` by default, which is Django's.
    fn query(&mut self, action: Option<&Action>) -> Vec<String> {
        let recycles = matches!(action, Some(Action::Recycle));
        let mut query = if recycles { vec!["next".to_owned()] } else { Vec::new() };
        self.table.read("query", &mut query, self.faults, |entry, faults| {
            if action.is_some() && !recycles {
                let what = "parameters matter to recycling only";
                faults.add(
                    entry.fault(what).remedy("leave `query` out, or write action = \"recycle\""),
                );
            }
            list(entry, faults, Empty::Allowed, text(pattern::parameter))
        });
        query
    }
}

fn each(all: Vec<String>, pattern: fn(String) -> PathPattern) -> Vec<PathPattern> {
    all.into_iter().map(pattern).collect()
}

/// Reads `{ status = 302, location = "/" }`.
fn answer_of(mut table: Table<'_, '_>, faults: &mut Faults) -> Option<Answer> {
    const STATUSES: [u16; 7] = [200, 204, 302, 303, 403, 404, 410];
    let before = faults.len();
    let mut status = 302;
    let status_place = table.read("status", &mut status, faults, |entry, faults| {
        let status = integer(0..=u16::MAX)(entry, faults)?;
        if !STATUSES.contains(&status) {
            let fault = entry.fault(format_args!("{status} is not a status that can be answered"));
            faults.add(fault.allowed(STATUSES.map(|status| status.to_string()).join(", ")));
        }
        Some(status)
    });
    let mut location = None;
    let location_place = table.read("location", &mut location, faults, |entry, faults| {
        value::text(pattern::location)(entry, faults).map(Some)
    });
    let place = table.span();
    table.finish(faults);
    if faults.len() > before {
        return None;
    }
    match (matches!(status, 302 | 303), &location) {
        (true, None) => {
            let what = format!("rule.answer: a {status} without a `location`");
            let place = status_place.unwrap_or(place);
            faults.add(Fault::missing(place, what).remedy("write location = \"/\""));
        }
        (false, Some(_)) => {
            let what = format!("rule.answer.location: a {status} leads nowhere");
            let place = location_place.unwrap_or(place);
            faults.add(Fault::new(place, what).remedy("leave it out, or write status = 302"));
        }
        (true, Some(_)) | (false, None) => return Some(Answer { status, location }),
    }
    None
}
