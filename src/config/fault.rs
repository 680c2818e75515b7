//! Mistakes in a configuration file: collected while it is read, told all at once.
//!
//! A mistake knows where it is as a span of bytes; only here are bytes turned into lines and
//! columns. What is printed holds no control characters, whatever the file holds.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

/// So many mistakes are printed in full; of the others only the number is told.
const PRINTED: usize = 50;
/// Characters of an offending line that are shown at most.
const WIDTH: usize = 120;

/// One mistake: where it is, what is wrong, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    span: Range<usize>,
    kind: Kind,
    what: String,
    /// Lines under the excerpt: what is allowed, what to write instead.
    help: Vec<String>,
}

/// Where a mistake comes from: a syntax error hides those that may only be its consequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// The text is not TOML, or not UTF-8.
    Syntax,
    /// What is written is wrong.
    Value,
    /// Something is not written. Said only of a file without syntax errors, for the error may
    /// have swallowed it.
    Missing,
}

impl Fault {
    /// What is written at `span` is wrong.
    pub(super) fn new(span: Range<usize>, what: impl Into<String>) -> Self {
        Self { span, kind: Kind::Value, what: what.into(), help: Vec::new() }
    }

    /// The text at `span` cannot be read at all.
    pub(super) fn syntax(span: Range<usize>, what: impl Into<String>) -> Self {
        Self { kind: Kind::Syntax, ..Self::new(span, what) }
    }

    /// Something that should be written at or below `span` is not.
    pub(super) fn missing(span: Range<usize>, what: impl Into<String>) -> Self {
        Self { kind: Kind::Missing, ..Self::new(span, what) }
    }

    /// Adds what is allowed there.
    pub(super) fn allowed(self, what: impl fmt::Display) -> Self {
        self.line(format!("allowed: {what}"))
    }

    /// Adds what to do about it.
    pub(super) fn remedy(self, what: impl Into<String>) -> Self {
        self.line(what.into())
    }

    /// Adds the candidate that `word` probably stands for, if there is one.
    pub(super) fn nearest<'a>(
        self,
        word: &str,
        candidates: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        match nearest(word, candidates) {
            Some(near) => self.line(format!("did you mean `{near}`?")),
            None => self,
        }
    }

    fn line(mut self, line: String) -> Self {
        self.help.push(line);
        self
    }
}

/// The candidate that `word` is probably a misspelling of: at most a third of its letters and
/// digits differ; case and everything else are not looked at.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > 64 {
        return None;
    }
    let plain = |text: &str| -> String {
        text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
    };
    let word = plain(word);
    candidates
        .into_iter()
        .map(|near| (plain(near), near))
        .map(|(text, near)| (strsim::damerau_levenshtein(&word, &text), text.len(), near))
        .filter(|&(distance, length, _)| distance <= (length / 3).max(1))
        .min_by_key(|&(distance, ..)| distance)
        .map(|(.., near)| near)
}

/// A value as the file has it, short enough for a message, on one line.
pub(super) fn quote(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// What is wrong with a text, and what to write instead where that can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unfit {
    pub(super) what: String,
    pub(super) remedy: Option<String>,
}

impl Unfit {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: None }
    }

    pub(super) fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }
}

/// What is collected while a file is read.
#[derive(Debug, Default)]
pub(super) struct Faults {
    faults: Vec<Fault>,
    unknown: Vec<UnknownKey>,
    /// Every key that was asked for, by the table that it belongs to.
    known: BTreeSet<(String, &'static str)>,
}

/// A key that no one asked for. Judged at the end, when the keys of all tables are known.
#[derive(Debug)]
struct UnknownKey {
    span: Range<usize>,
    key: String,
    table: String,
}

impl Faults {
    pub(super) fn add(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// How many mistakes were added so far.
    pub(super) fn len(&self) -> usize {
        self.faults.len()
    }

    /// Remembers that `key` is a key of `table`.
    pub(super) fn know(&mut self, table: &str, key: &'static str) {
        self.known.insert((table.to_owned(), key));
    }

    /// Remembers that the file has a key that `table` has not.
    pub(super) fn unknown_key(&mut self, span: Range<usize>, key: &str, table: &str) {
        self.unknown.push(UnknownKey { span, key: key.to_owned(), table: table.to_owned() });
    }

    /// Every key that was asked for, as `table.key`.
    #[cfg(test)]
    pub(super) fn known_keys(&self) -> BTreeSet<String> {
        let full = |(table, key): &(String, &str)| match table.as_str() {
            "" => (*key).to_owned(),
            table => format!("{table}.{key}"),
        };
        self.known.iter().map(full).collect()
    }

    /// All mistakes in the order of their places; `None` where there is none.
    pub(super) fn finish(mut self, file: &str, text: &str) -> Option<Mistakes> {
        for unknown in std::mem::take(&mut self.unknown) {
            let fault = self.judge(&unknown);
            self.faults.push(fault);
        }
        let lines = Lines::new(text);
        let broken: BTreeSet<usize> = self
            .faults
            .iter()
            .filter(|fault| fault.kind == Kind::Syntax)
            .map(|fault| lines.number(fault.span.start))
            .collect();
        self.faults.retain(|fault| match fault.kind {
            Kind::Syntax => true,
            Kind::Value => !broken.contains(&lines.number(fault.span.start)),
            Kind::Missing => broken.is_empty(),
        });
        self.faults.sort_by_key(|fault| (fault.span.start, fault.kind));
        self.faults.dedup();
        let more = self.faults.len().saturating_sub(PRINTED);
        self.faults.truncate(PRINTED);
        let faults: Vec<Mistake> =
            self.faults.into_iter().map(|fault| lines.locate(fault)).collect();
        (!faults.is_empty()).then(|| Mistakes {
            file: file.chars().map(printable).collect(),
            faults,
            more,
        })
    }

    /// Says where an unknown key belongs, or what it may have been meant to be.
    fn judge(&self, unknown: &UnknownKey) -> Fault {
        let UnknownKey { span, key, table } = unknown;
        let what = format!("unknown key {} {}", quote(key), place(table));
        let fault = Fault::new(span.clone(), what);
        let here = || self.known.iter().filter(|(t, _)| t == table).map(|&(_, key)| key);
        let fault = match (self.home(key, table), nearest(key, here())) {
            (Some(""), _) => fault.remedy(format!(
                "`{key}` is a key of the top level: write it above the first [table]"
            )),
            (Some(other), _) => fault.remedy(format!("`{key}` is a key {}", place(other))),
            (None, Some(near)) => fault.remedy(format!("did you mean `{near}`?")),
            (None, None) => fault,
        };
        fault.allowed(here().collect::<Vec<_>>().join(", "))
    }

    /// The table that `key` belongs to, if `table` is the wrong one: below it, if possible.
    fn home(&self, key: &str, table: &str) -> Option<&str> {
        let homes = || self.known.iter().filter(|(_, k)| *k == key).map(|(t, _)| t.as_str());
        let below = |other: &&str| other.strip_prefix(table).is_some_and(|t| t.starts_with('.'));
        homes().find(below).or_else(|| homes().next())
    }
}

/// A table as messages name it.
fn place(table: &str) -> String {
    match table {
        "" => "at the top level".to_owned(),
        "rule" => "in [[rule]]".to_owned(),
        table => format!("in [{}]", table.escape_debug()),
    }
}

/// Everything that is wrong with a configuration file, in the order of the file.
///
/// Its `Display` is what `floodwall check` prints: for each mistake `file:line:column: what`, the
/// line with the place marked, what is allowed, and what was probably meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes {
    file: String,
    faults: Vec<Mistake>,
    more: usize,
}

/// A mistake with its place in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mistake {
    line: usize,
    column: usize,
    /// The line, or what of it is around the mistake, fit to print.
    excerpt: String,
    /// Characters of the excerpt before the mistake, and characters to underline.
    mark: (usize, usize),
    what: String,
    help: Vec<String>,
}

impl Mistakes {
    /// How many there are. Never zero.
    pub fn count(&self) -> usize {
        self.faults.len() + self.more
    }

    /// Line and column of each that is printed, counted from one; columns are characters.
    pub fn places(&self) -> Vec<(usize, usize)> {
        self.faults.iter().map(|fault| (fault.line, fault.column)).collect()
    }
}

impl std::error::Error for Mistakes {}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.faults {
            let Mistake { line, column, excerpt, mark: (before, under), what, help } = fault;
            writeln!(f, "{}:{line}:{column}: {what}", self.file)?;
            writeln!(f, "{line:>5} | {excerpt}")?;
            writeln!(f, "      | {:before$}{:^<under$}", "", "")?;
            for help in help {
                writeln!(f, "      = {help}")?;
            }
        }
        match self.more {
            0 => Ok(()),
            more => writeln!(f, "{}: and {more} more mistakes", self.file),
        }
    }
}

/// The lines of a text.
struct Lines<'t> {
    text: &'t str,
    /// Where each line begins.
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    fn new(text: &'t str) -> Self {
        let starts =
            std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, starts }
    }

    /// The line that holds the byte `at`, counted from one.
    fn number(&self, at: usize) -> usize {
        self.starts.partition_point(|&start| start <= at).max(1)
    }

    fn locate(&self, fault: Fault) -> Mistake {
        let number = self.number(fault.span.start);
        let start = self.starts[number - 1];
        let rest = &self.text[start..];
        let line = rest.split('\n').next().unwrap_or(rest);
        let line = line.strip_suffix('\r').unwrap_or(line);
        // A span may end beyond its line, or (were the parser wrong) inside a character.
        let chars_until =
            |at: usize| line.char_indices().take_while(|&(i, _)| start + i < at).count();
        let before = chars_until(fault.span.start);
        let under = chars_until(fault.span.end).saturating_sub(before).max(1);
        let from = before.saturating_sub(WIDTH / 2);
        let excerpt: String = line.chars().skip(from).take(WIDTH).map(printable).collect();
        let under = under.min(WIDTH - (before - from));
        let mark = (before - from, under);
        let plain = |text: String| text.chars().map(printable).collect();
        let (what, help) = (plain(fault.what), fault.help.into_iter().map(plain).collect());
        Mistake { line: number, column: before + 1, excerpt, mark, what, help }
    }
}

/// A tab becomes one blank, so that what is under it stays under it; what a terminal might obey
/// becomes a replacement character.
fn printable(c: char) -> char {
    match c {
        '\t' => ' ',
        '"' | '\'' | '\\' => c,
        c if c.escape_debug().len() > 1 => char::REPLACEMENT_CHARACTER,
        c => c,
    }
}
