//! Many rows into one table, in parts: all of them or none. What is held at once is a part.

use crate::Catalog;
use haechi_model::{Change, EntryDraft, Failure, Row};
use std::fmt::Write;

/// How many rows that do not fit are looked for before giving up.
pub(crate) const MAX_UNFIT: usize = 200;

/// What the reader of a file sends.
pub enum Part {
    /// Rows with their lines, and the entry that states them.
    Rows(Vec<(u64, Row)>, Box<EntryDraft>),
    /// There are no more: what was sent shall be kept. Without it nothing is.
    End,
}

/// A load: which table, under whose name, and where the parts come from.
pub struct Load {
    /// Index of the table.
    pub table: usize,
    /// Actor, time and policy version of the entries.
    pub change: Change,
    /// The parts.
    pub parts: tokio::sync::mpsc::Receiver<Part>,
}

/// A row that the database could not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
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

/// Columns that refer, with the tables that they refer to.
pub(crate) fn references(catalog: &Catalog, table: usize) -> Vec<(usize, String)> {
    catalog.tables[table].references.iter().map(|reference| (reference.column, reference.table.clone())).collect()
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
