//! Checks and conversions of a migration, row by row, with the same code that parses requests.

use haechi_model::{FieldError, FieldType, Storage, Value, items, stored_references};
use std::collections::{HashMap, HashSet};

/// Rows that are read together.
pub(crate) const PAGE: usize = 1_000;
/// How many misfits are named.
const NAMED: usize = 3;

/// The work on the values of one column.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// The table, by its name before the migration.
    pub table: String,
    /// The column, by its name before the migration.
    pub column: String,
    /// The table, by its name afterwards.
    pub collection: String,
    /// The column's name for people.
    pub field: String,
    /// The work.
    pub what: What,
    /// Whether NULL does not fit.
    pub required: bool,
}

/// The kinds of work on values.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// Values must be valid for this type; without a type, they must not be NULL.
    Check(Option<FieldType>),
    /// Values are converted to another type.
    Convert(Box<Conversion>),
    /// Values must be unique together with these columns.
    Distinct(Vec<String>),
    /// Rows may not fulfil this condition; its bound values.
    Never(String, Vec<Value>),
    /// The table may have at most so many rows, and why: the column is new.
    AtMost(u64, &'static str),
}

/// Values of one type as those of another.
#[derive(Clone, Debug, PartialEq)]
pub struct Conversion {
    /// The column for the converted values.
    pub into: String,
    /// How it is stored.
    pub storage: Storage,
    /// The former type.
    pub from: FieldType,
    /// The new type.
    pub to: FieldType,
    /// The types in words.
    pub words: (String, String),
    /// Whether the folded form is written, too.
    pub folded: bool,
    /// How the target row of a reference is found.
    pub finds: Option<Finds>,
}

/// A unique column by which rows are found.
#[derive(Clone, Debug, PartialEq)]
pub struct Finds {
    /// The table.
    pub table: String,
    /// The column.
    pub column: String,
    /// What people call it.
    pub field: String,
    /// The type of its values.
    pub ty: FieldType,
}

impl Task {
    /// The column by which rows of another table are found.
    pub(crate) fn finds(&self) -> Option<&Finds> {
        if let What::Convert(conversion) = &self.what { conversion.finds.as_ref() } else { None }
    }

    /// Ids and values, a page at a time, after an id.
    pub(crate) fn page_sql(&self, parameter: &str, column: &str) -> String {
        format!("SELECT \"id\", \"{column}\" FROM \"{}\" WHERE \"id\" > {parameter} ORDER BY \"id\" LIMIT {PAGE}", self.table)
    }

    /// Statements that count instead of reading rows: the number, and some ids.
    pub(crate) fn counted_sql(&self) -> Option<(String, String)> {
        match &self.what {
            What::Distinct(columns) => Some(self.distinct_sql(columns)),
            What::Never(condition, _) => {
                let rows = format!("FROM \"{}\" AS t0 WHERE {condition}", self.table);
                Some((format!("SELECT COUNT(*) {rows}"), format!("SELECT t0.\"id\" {rows} ORDER BY t0.\"id\" LIMIT {NAMED}")))
            }
            What::AtMost(..) => {
                let rows = format!("FROM \"{}\"", self.table);
                Some((format!("SELECT COUNT(*) {rows}"), format!("SELECT \"id\" {rows} ORDER BY \"id\" LIMIT {NAMED}")))
            }
            What::Check(_) | What::Convert(_) => None,
        }
    }

    /// The values that are bound in these statements.
    pub(crate) fn counted_values(&self) -> &[Value] {
        if let What::Never(_, values) = &self.what { values } else { &[] }
    }

    /// The rows with a duplicate key.
    fn distinct_sql(&self, columns: &[String]) -> (String, String) {
        let names: Vec<String> = columns.iter().map(|column| format!("\"{column}\"")).collect();
        let there: Vec<String> = names.iter().map(|name| format!("{name} IS NOT NULL")).collect();
        let (keys, there) = (names.join(", "), there.join(" AND "));
        let table = &self.table;
        let rows = format!("FROM \"{table}\" WHERE ({keys}) IN (SELECT {keys} FROM \"{table}\" WHERE {there} GROUP BY {keys} HAVING COUNT(*) > 1)");
        (format!("SELECT COUNT(*) {rows}"), format!("SELECT \"id\" {rows} ORDER BY \"id\" LIMIT {NAMED}"))
    }
}

/// The findings while a table's rows are read.
pub(crate) struct Pass<'a> {
    task: &'a Task,
    rows: u64,
    unfit: u64,
    ids: Vec<String>,
    why: String,
}

impl<'a> Pass<'a> {
    pub(crate) fn new(task: &'a Task) -> Self {
        Self { task, rows: 0, unfit: 0, ids: Vec::new(), why: String::new() }
    }

    /// The values that find rows of another table.
    pub(crate) fn keys(&self, rows: &[(String, Value)]) -> Vec<Value> {
        let What::Convert(conversion) = &self.task.what else { return Vec::new() };
        let Some(finds) = &conversion.finds else { return Vec::new() };
        let mut keys = Vec::new();
        for (_, value) in rows {
            let found = conversion.keys(finds, value).unwrap_or_default();
            keys.extend(found.into_iter().filter(|key| !key.is_null()));
        }
        let mut seen = HashSet::new();
        keys.retain(|key| seen.insert(key_text(key)));
        keys
    }

    /// Checks some rows and returns the values to write. `found` has the ids of the rows that the keys name.
    pub(crate) fn take(&mut self, rows: &[(String, Value)], found: &HashMap<String, String>) -> Vec<(String, Value)> {
        let mut written = Vec::new();
        for (id, value) in rows {
            self.rows += 1;
            let read = if value.is_null() && self.task.required { Err("must have a value".to_owned()) } else { self.read(value, found) };
            match read {
                Ok(Some(value)) => written.push((id.clone(), value)),
                Ok(None) => {}
                Err(why) => {
                    self.unfit += 1;
                    if self.ids.len() < NAMED {
                        self.ids.push(id.clone());
                    }
                    if self.why.is_empty() {
                        self.why = why;
                    }
                }
            }
        }
        written
    }

    fn read(&self, value: &Value, found: &HashMap<String, String>) -> Result<Option<Value>, String> {
        match &self.task.what {
            What::Check(Some(ty)) => ty.fits(value).map(|()| None).map_err(|error| error.detail),
            What::Check(None) | What::Distinct(_) | What::Never(..) | What::AtMost(..) => Ok(None),
            What::Convert(conversion) => conversion.read(value, found).map(Some),
        }
    }

    /// What was counted.
    pub(crate) fn counted(&mut self, found: u64, ids: Vec<String>) {
        match self.task.what {
            What::AtMost(most, _) if found <= most => {}
            What::AtMost(_, why) => (self.unfit, self.ids, self.why) = (found, ids, why.to_owned()),
            What::Never(..) => (self.unfit, self.ids, self.why) = (found, ids, "the check is not kept".to_owned()),
            _ => (self.unfit, self.ids, self.why) = (found, ids, "share their value with another row".to_owned()),
        }
    }

    /// What does not fit, in words.
    pub(crate) fn finish(self) -> Option<String> {
        if self.unfit == 0 {
            return None;
        }
        let of = if self.rows > 0 { format!(" of {}", self.rows) } else { String::new() };
        let rows = match (self.unfit, self.rows) {
            (1, 0 | 1) => "row does not fit",
            (1, _) => "rows does not fit",
            _ => "rows do not fit",
        };
        let some = if self.ids.len() as u64 == self.unfit { "" } else { "among them " };
        Some(format!("{}.{}: {}{of} {rows}: {} ({some}{})", self.task.collection, self.task.field, self.unfit, self.why, self.ids.join(", ")))
    }
}

impl Conversion {
    /// The values that find the rows of a value: one for each item of a list.
    fn keys(&self, finds: &Finds, value: &Value) -> Result<Vec<Value>, FieldError> {
        let key = |from: &FieldType, value: &Value| from.convert(&finds.ty, value).map(|key| finds.ty.folded(key));
        match &self.from {
            FieldType::List { of, .. } => items(value).unwrap_or_default().iter().map(|item| key(of, item)).collect(),
            from => Ok(vec![key(from, value)?]),
        }
    }

    fn read(&self, value: &Value, found: &HashMap<String, String>) -> Result<Value, String> {
        if value.is_null() {
            return Ok(Value::Null);
        }
        if let Some(finds) = &self.finds {
            let named = |key: &Value| found.get(&key_text(key)).ok_or_else(|| format!("no row of {} has that {}", finds.table, finds.field));
            let keys = self.keys(finds, value).map_err(|error| error.detail)?;
            let ids = keys.iter().map(named).collect::<Result<Vec<_>, _>>()?;
            if self.to.lists().is_none() {
                return Ok(ids.first().map_or(Value::Null, |id| Value::text(id.as_str())));
            }
            let ids: Vec<Box<str>> = ids.into_iter().map(|id| id.as_str().into()).collect();
            // As a request would: sorted, each once, and not too many.
            let list = self.to.read_text(stored_references(&ids).as_text().unwrap_or_default());
            return list.map_err(|error| error.detail);
        }
        let read = self.from.convert(&self.to, value).map_err(|error| error.detail)?;
        Ok(if self.folded { self.to.folded(read) } else { read })
    }
}

/// A key as text, to be looked up by.
pub(crate) fn key_text(key: &Value) -> String {
    match key {
        Value::Text(text) => text.to_string(),
        Value::Int(int) => int.to_string(),
        Value::Real(real) => real.to_string(),
        Value::Null => String::new(),
    }
}
