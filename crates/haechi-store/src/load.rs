//! Many rows into tables, in parts: all of them or none. What is held at once is a part.

use crate::Catalog;
use haechi_model::{Change, EntryDraft, Failure, Row};
use std::fmt::Write;

/// How many rows that do not fit are looked for before giving up.
pub(crate) const MAX_UNFIT: usize = 200;

/// What the reader of a file sends.
pub enum Part {
    /// Rows of one of the tables, by its place in the load, with their lines, and the entry that states them.
    Rows(usize, Vec<(u64, Row)>, Box<EntryDraft>),
    /// There are no more: what was sent shall be kept. Without it nothing is.
    End,
}

/// A load: which tables, under whose name, and where the parts come from.
pub struct Load {
    /// Indexes of the tables, each once. A table stands after those that its required references name.
    pub tables: Vec<usize>,
    /// Actor, time and policy version of the entries.
    pub change: Change,
    /// The parts.
    pub parts: tokio::sync::mpsc::Receiver<Part>,
}

/// A row that the database could not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// Its table, by its place in the load.
    pub at: usize,
    /// Its line.
    pub line: u64,
    /// The column that is to blame.
    pub column: usize,
    /// Why.
    pub why: Misfit,
}

/// Why a row does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// Another row has the same value.
    NotUnique,
    /// It refers to a row that is not there.
    Dangling(Box<str>),
}

/// Nothing was loaded.
#[derive(Debug)]
pub enum LoadError {
    /// Rows do not fit; perhaps not all of them are named.
    Unfit(Vec<Unfit>),
    /// The parts ended before their end.
    Stopped,
    /// The database could not do it.
    Failed(Failure),
}

impl From<Failure> for LoadError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Sets of columns of which no two rows share a value; the id is the first.
pub(crate) fn unique_keys(catalog: &Catalog, table: usize) -> Vec<Vec<usize>> {
    let table = &catalog.tables[table];
    std::iter::once((0..table.key).collect()).chain(table.indexes.iter().filter(|index| index.unique).map(|index| index.columns.clone())).collect()
}

/// A column that refers.
pub(crate) struct Refers {
    pub column: usize,
    /// The table that it refers to.
    pub table: String,
    /// That table's place in the load, when it is loaded too.
    pub at: Option<usize>,
}

/// The columns of a table that refer.
pub(crate) fn references(catalog: &Catalog, tables: &[usize], table: usize) -> Vec<Refers> {
    let refers = |reference: &haechi_model::Reference| Refers {
        column: reference.column,
        table: reference.table.clone(),
        at: tables.iter().position(|loaded| catalog.tables[*loaded].name == reference.table),
    };
    catalog.tables[table].references.iter().map(refers).collect()
}

/// `INSERT INTO the table VALUES (?1, …)` of one row, for SQLite.
pub(crate) fn insert(catalog: &Catalog, table: usize) -> String {
    let table = &catalog.tables[table];
    let mut sql = format!("INSERT INTO \"{}\" ({}) VALUES (", table.name, columns(table.columns.iter().map(|column| column.name.as_str())));
    for at in 1..=table.columns.len() {
        let _ = write!(sql, "{}?{at}", if at > 1 { ", " } else { "" });
    }
    sql.push(')');
    sql
}

pub(crate) fn columns<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}
