//! Tables of a parsed file, read key by key.
//!
//! To ask for a key is to declare it: what was asked for is what is allowed, so no list of keys
//! has to be kept beside the code that reads them.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Fault, Faults};

/// A value of the file, and the full name of its key.
#[derive(Clone)]
pub(super) struct Entry<'a, 'i> {
    /// As in `session.lifetime`.
    pub(super) key: String,
    pub(super) value: &'a Spanned<DeValue<'i>>,
}

impl<'a, 'i> Entry<'a, 'i> {
    /// Where the value stands.
    pub(super) fn span(&self) -> Range<usize> {
        self.value.span()
    }

    /// A mistake in this value.
    pub(super) fn fault(&self, what: impl std::fmt::Display) -> Fault {
        Fault::new(self.span(), format!("{}: {what}", self.key))
    }

    /// A value of another type than `wanted`, as in "a string".
    pub(super) fn wrong_type(&self, wanted: &str) -> Fault {
        let found = match self.value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.fault(format_args!("this is {found}, wanted is {wanted}"))
    }

    /// The value as a table; an empty one, and a mistake, where it is none.
    pub(super) fn table(&self, faults: &mut Faults) -> Table<'a, 'i> {
        let content = match self.value.get_ref() {
            DeValue::Table(content) => Some(content),
            _ => {
                let remedy = format!("write [{}] on a line of its own, its keys below", self.key);
                faults.add(self.wrong_type("a table").remedy(remedy));
                None
            }
        };
        Table::new(&self.key, self.span(), content)
    }

    /// The members of a list, or the value itself where it is no list; and which it was.
    pub(super) fn members(&self) -> (Vec<Self>, bool) {
        match self.value.get_ref() {
            DeValue::Array(array) => {
                let member = |value| Self { key: self.key.clone(), value };
                (array.iter().map(member).collect(), true)
            }
            _ => (vec![self.clone()], false),
        }
    }
}

/// One table while it is read. End with [`Table::finish`], which finds the unknown keys.
#[must_use]
pub(super) struct Table<'a, 'i> {
    /// As in `budget.login`; empty at the top level.
    name: String,
    /// Where its header or its braces stand.
    span: Range<usize>,
    /// `None` where the file has no such table: all its keys keep their defaults.
    content: Option<&'a DeTable<'i>>,
    asked: Vec<&'static str>,
}

impl<'a, 'i> Table<'a, 'i> {
    pub(super) fn new(name: &str, span: Range<usize>, content: Option<&'a DeTable<'i>>) -> Self {
        Self { name: name.to_owned(), span, content, asked: Vec::new() }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Where its header or its braces stand.
    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// The value of `key`, if the file has one.
    pub(super) fn entry(
        &mut self,
        key: &'static str,
        faults: &mut Faults,
    ) -> Option<Entry<'a, 'i>> {
        self.asked.push(key);
        faults.know(&self.name, key);
        let value = self.content?.get(key)?;
        Some(Entry { key: self.full(key), value })
    }

    /// Reads the value of `key` into `slot`, which keeps its default where the file has no such
    /// key or `read` reports a mistake. Where the file has it, the value's place is returned.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        slot: &mut T,
        faults: &mut Faults,
        read: impl FnOnce(&Entry<'a, 'i>, &mut Faults) -> Option<T>,
    ) -> Option<Range<usize>> {
        let entry = self.entry(key, faults)?;
        if let Some(value) = read(&entry, faults) {
            *slot = value;
        }
        Some(entry.span())
    }

    /// The table under `key`; an empty one where the file has none.
    pub(super) fn table(&mut self, key: &'static str, faults: &mut Faults) -> Table<'a, 'i> {
        let name = self.full(key);
        let Some(entry) = self.entry(key, faults) else {
            return Table::new(&name, self.span(), None);
        };
        entry.table(faults)
    }

    /// The tables under names that the operator chooses, in the order of the file, each with the
    /// place of its name.
    pub(super) fn named(&self) -> Vec<(&'a str, Range<usize>, Entry<'a, 'i>)> {
        let mut named: Vec<_> = self
            .content
            .into_iter()
            .flat_map(|content| content.iter())
            .map(|(key, value)| {
                let name: &'a str = key.get_ref();
                (name, key.span(), Entry { key: self.full(name), value })
            })
            .collect();
        named.sort_by_key(|(_, span, _)| span.start);
        named
    }

    /// Reports the keys that nobody asked for.
    pub(super) fn finish(self, faults: &mut Faults) {
        let Some(content) = self.content else { return };
        for key in content.keys() {
            let name: &str = key.get_ref();
            if !self.asked.contains(&name) {
                faults.unknown_key(key.span(), name, &self.name);
            }
        }
    }

    fn full(&self, key: &str) -> String {
        match self.name.as_str() {
            "" => key.to_owned(),
            name => format!("{name}.{key}"),
        }
    }
}
