//! Reads one TOML table: every key is requested by name, and a key that was not requested is an error with its place.

use crate::finding::{Findings, Source};
use crate::name::{name_problem, suggest};
use std::{cell::RefCell, collections::BTreeSet, ops::Range, sync::Arc};
use toml_edit::{Item, TableLike, Value as Toml};

/// A place in a file, in bytes.
pub(crate) type Span = Option<Range<usize>>;

pub(crate) struct Section<'a> {
    pub(crate) source: &'a Arc<Source>,
    table: &'a dyn TableLike,
    span: Option<Range<usize>>,
    title: String,
    asked: RefCell<Vec<&'static str>>,
    findings: &'a RefCell<Findings>,
}

/// Keys of the design that this version does not support yet.
const NOT_BUILT: &[(&str, &str)] = &[
    ("encrypted", "field encryption"),
    ("lookup", "lookups on encrypted fields"),
    ("scope", "organisations"),
    ("schema", "JSON Schema on json fields"),
    ("upstream", "a proxy to other services"),
    ("mail", "mail"),
];

impl<'a> Section<'a> {
    pub(crate) fn new(
        source: &'a Arc<Source>,
        table: &'a dyn TableLike,
        span: Option<Range<usize>>,
        title: impl Into<String>,
        findings: &'a RefCell<Findings>,
    ) -> Self {
        Self { source, table, span, title: title.into(), asked: RefCell::default(), findings }
    }

    #[track_caller]
    pub(crate) fn error(&self, span: Option<Range<usize>>, code: &'static str, message: String, help: impl Into<String>) {
        let span = span.or_else(|| self.span.clone());
        self.findings.borrow_mut().error(self.source, span, code, message, help.into());
    }

    #[track_caller]
    pub(crate) fn warning(&self, span: Option<Range<usize>>, code: &'static str, message: String, help: impl Into<String>) {
        let span = span.or_else(|| self.span.clone());
        self.findings.borrow_mut().warning(self.source, span, code, message, help.into());
    }

    /// Whether these are the fields of rows, not of the body of an action.
    pub(crate) fn is_of_rows(&self) -> bool {
        self.title == "`[fields]`"
    }

    /// The name of a table below this one, as it is written in the file.
    fn path(&self, key: &str) -> String {
        match self.title.strip_prefix("`[").and_then(|title| title.strip_suffix("]`")) {
            Some(title) => format!("{title}.{key}"),
            None => self
                .title
                .strip_prefix("the action `")
                .and_then(|title| title.strip_suffix('`'))
                .map_or(key.to_owned(), |action| format!("actions.{action}.{key}")),
        }
    }

    pub(crate) fn findings(&self) -> &'a RefCell<Findings> {
        self.findings
    }

    /// The item under a key; the key counts as known from now on.
    pub(crate) fn item(&self, key: &'static str) -> Option<&'a Item> {
        self.asked.borrow_mut().push(key);
        self.table.get(key).filter(|item| !item.is_none())
    }

    pub(crate) fn key_span(&self, key: &str) -> Option<Range<usize>> {
        self.table.get_key_value(key).and_then(|(key, item)| key.span().or_else(|| item.span()))
    }

    pub(crate) fn span_of(&self, key: &str) -> Option<Range<usize>> {
        self.table.get(key).and_then(Item::span).or_else(|| self.key_span(key))
    }

    fn typed<T>(&self, key: &'static str, wanted: &str, read: impl Fn(&'a Toml) -> Option<T>) -> Option<T> {
        let item = self.item(key)?;
        let found = item.as_value().and_then(read);
        if found.is_none() {
            let message = format!("`{key}` in {} must be {wanted}, not {}", self.title, item.type_name());
            self.error(item.span(), "wrong-type", message, format!("write `{key}` as {wanted}"));
        }
        found
    }

    pub(crate) fn text(&self, key: &'static str) -> Option<&'a str> {
        self.typed(key, "a string", Toml::as_str)
    }

    pub(crate) fn bool(&self, key: &'static str) -> Option<bool> {
        self.typed(key, "true or false", Toml::as_bool)
    }

    pub(crate) fn int(&self, key: &'static str) -> Option<i64> {
        self.typed(key, "a whole number", Toml::as_integer)
    }

    /// A whole number within bounds.
    pub(crate) fn bounded(&self, key: &'static str, bounds: std::ops::RangeInclusive<i64>) -> Option<i64> {
        let found = self.int(key)?;
        if bounds.contains(&found) {
            return Some(found);
        }
        let message = format!("`{key}` in {} is {found}; it must be from {} to {}", self.title, bounds.start(), bounds.end());
        self.error(self.span_of(key), "out-of-range", message, format!("choose from {} to {}", bounds.start(), bounds.end()));
        None
    }

    pub(crate) fn texts(&self, key: &'static str) -> Option<Vec<(&'a str, Span)>> {
        let array = self.typed(key, "a list of strings", Toml::as_array)?;
        let mut texts = Vec::with_capacity(array.len());
        for value in array {
            match value.as_str() {
                Some(text) => texts.push((text, value.span())),
                None => {
                    let message = format!("`{key}` in {} holds {}, not a string", self.title, value.type_name());
                    self.error(value.span(), "wrong-type", message, "write every entry in quotes");
                }
            }
        }
        Some(texts)
    }

    pub(crate) fn section(&self, key: &'static str) -> Option<Section<'a>> {
        let item = self.item(key)?;
        let table = item.as_table_like();
        if table.is_none() {
            let message = format!("`{key}` in {} must be a table, not {}", self.title, item.type_name());
            self.error(item.span(), "wrong-type", message, format!("write `[{}]` and its keys below it, or {key} = {{ … }}", self.path(key)));
        }
        Some(Section::new(self.source, table?, item.span().or_else(|| self.key_span(key)), format!("`[{key}]`"), self.findings))
    }

    pub(crate) fn sections(&self, key: &'static str) -> Vec<Section<'a>> {
        let Some(item) = self.item(key) else { return Vec::new() };
        let Some(tables) = item.as_array_of_tables() else {
            let message = format!("`{key}` in {} must be a list of tables", self.title);
            self.error(item.span(), "wrong-type", message, format!("write `[[{key}]]`"));
            return Vec::new();
        };
        let section = |table: &'a toml_edit::Table| Section::new(self.source, table, table.span(), format!("`[[{key}]]`"), self.findings);
        tables.iter().map(section).collect()
    }

    /// Every key with its table, for maps whose keys the user chooses.
    pub(crate) fn entries(&self) -> Vec<(&'a str, Option<Range<usize>>, &'a Item)> {
        self.table.iter().map(|(key, item)| (key, self.key_span(key), item)).collect()
    }

    /// The tables below, each under a name that the user chooses; those that are none are findings. `what` is one of them, in words.
    pub(crate) fn named(&self, what: &str) -> Vec<(&'a str, Span, Section<'a>)> {
        let one = |(name, span, item): (&'a str, Span, &'a Item)| {
            if let Some(problem) = name_problem(name) {
                self.error(span, "bad-name", problem, "choose another name");
                return None;
            }
            let Some(table) = item.as_table_like() else {
                self.error(span, "wrong-type", format!("{what} `{name}` must be a table"), format!("write [{}]", self.path(name)));
                return None;
            };
            let place = item.span().or_else(|| span.clone());
            Some((name, span, Section::new(self.source, table, place, format!("{what} `{name}`"), self.findings)))
        };
        self.entries().into_iter().filter_map(one).collect()
    }

    /// How the table stands in its file, in one line.
    pub(crate) fn in_one_line(&self) -> String {
        let text: String = self.table.iter().map(|(key, item)| format!("{key} = {item} ")).collect();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Reports every key that was not requested.
    pub(crate) fn finish(self) {
        self.finish_with(|_| None);
    }

    /// As [`Section::finish`]; `home` says where a key belongs that stands in the wrong place.
    pub(crate) fn finish_with(self, home: impl Fn(&str) -> Option<String>) {
        let asked = self.asked.borrow();
        for (key, item) in self.table.iter() {
            if asked.contains(&key) {
                continue;
            }
            let span = self.key_span(key).or_else(|| item.span());
            if let Some((_, what)) = NOT_BUILT.iter().find(|(name, _)| *name == key) {
                let message = format!("`{key}` is kept for {what}, which is not built yet");
                self.error(span, "not-built", message, format!("remove `{key}`; it is refused so that nobody relies on it"));
                continue;
            }
            let help = match suggest(key, asked.iter().copied()) {
                _ if let Some(home) = home(key) => format!("it belongs {home}"),
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known keys: {}", asked.iter().copied().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(", ")),
            };
            self.error(span, "unknown-key", format!("unknown key `{key}` in {}", self.title), help);
        }
    }
}
