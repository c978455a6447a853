//! Loads many rows into tables, in parts: all or none. Only a part is in memory at a time.

use crate::Catalog;
use haechi_model::{Change, EntryDraft, Failure, Row};
use std::fmt::Write;

/// The number of misfits after which the load gives up.
pub(crate) const MAX_UNFIT: usize = 200;

/// What the reader of a file sends.
pub enum Part {
    /// Rows of one of the tables, by its place in the load, with their lines and their entry.
    Rows(usize, Vec<(u64, Row)>, Box<EntryDraft>),
    /// All parts were sent: commit. Without it nothing is kept.
    End,
}

/// A load: its tables, the change that it belongs to, and the source of the parts.
pub struct Load {
    /// Indexes of the tables, each once. A table comes after the targets of its required references.
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
    /// The column with the wrong value.
    pub column: usize,
    /// Why.
    pub why: Misfit,
}

/// Why a row does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// Another row has the same value.
    NotUnique,
    /// It refers to a row that does not exist.
    Dangling(Box<str>),
}

/// Nothing was loaded.
#[derive(Debug)]
pub enum LoadError {
    /// Rows do not fit; possibly not all of them are named.
    Unfit(Vec<Unfit>),
    /// The parts stopped before `End`.
    Stopped,
    /// The database could not do it.
    Failed(Failure),
}

impl From<Failure> for LoadError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Sets of columns that are unique; the id is the first.
pub(crate) fn unique_keys(catalog: &Catalog, table: usize) -> Vec<Vec<usize>> {
    let table = &catalog.tables[table];
    std::iter::once((0..table.key).collect()).chain(table.indexes.iter().filter(|index| index.unique).map(|index| index.columns.clone())).collect()
}

/// A reference column.
pub(crate) struct Refers {
    pub column: usize,
    /// The table that it refers to.
    pub table: String,
    /// That table's place in the load, when it is loaded too.
    pub at: Option<usize>,
    /// The hidden table, when the column has lists.
    pub hidden: Option<usize>,
}

/// The reference columns of a table.
pub(crate) fn references(catalog: &Catalog, tables: &[usize], table: usize) -> Vec<Refers> {
    let refers = |column: usize, table: &String, hidden: Option<usize>| Refers {
        column,
        table: table.clone(),
        at: tables.iter().position(|loaded| catalog.tables[*loaded].name == *table),
        hidden,
    };
    let own = catalog.tables[table].references.iter().map(|reference| refers(reference.column, &reference.table, None));
    let target = |hidden: usize| &catalog.tables[hidden].references[1].table;
    own.chain(catalog.lists(table).iter().map(|list| refers(list.column, target(list.hidden), Some(list.hidden)))).collect()
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
