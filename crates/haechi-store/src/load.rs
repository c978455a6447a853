//! Loads many rows into tables, in parts: all or none. Only a part is in memory at a time.

use crate::Catalog;
use haechi_model::{Change, EntryDraft, Failure, Row, Value};
use std::{fmt::Write, sync::Arc, time::Duration};

/// The number of misfits after which the load gives up.
pub(crate) const MAX_UNFIT: usize = 200;

/// How long a change waits at most for a load under way.
pub(crate) const PATIENCE: Duration = Duration::from_millis(1_800);

/// What the reader of a file sends.
pub enum Part {
    /// Rows of one of the tables, by its place in the load.
    Rows(usize, Making),
    /// All parts were sent: commit, if everything was good. Without it nothing is kept.
    End {
        /// Whether everything that was read was good.
        good: bool,
    },
}

/// Rows in the making. What they need to know of the database is asked within the load, so that it is true when they are kept.
pub enum Making {
    /// They are made.
    Made(Made),
    /// The ids of these rows are needed, in the same order.
    Named(Vec<LookUp>, Then<Option<Box<str>>>),
    /// The stored rows with these values of a unique key are needed, in the same order. They stay as they are until the load ends.
    Keyed(Arc<[usize]>, Vec<Vec<Value>>, Then<Option<Row>>),
}

/// What is made of the answers.
pub type Then<T> = Box<dyn FnOnce(Vec<T>) -> Making + Send>;

/// Rows, and the entry that tells of them.
pub struct Made {
    /// The rows.
    pub rows: Vec<LoadRow>,
    /// The entry; none without rows.
    pub entry: Option<Box<EntryDraft>>,
}

/// A row to load.
pub struct LoadRow {
    /// Its line.
    pub line: u64,
    /// All its columns.
    pub row: Row,
    /// Whether a stored row has its id, and becomes as it is.
    pub changes: bool,
    /// Whether something is wrong with it: then nothing is kept, and the database only says what else is wrong.
    pub faulty: bool,
}

/// A row that is looked for by a unique key.
#[derive(Clone, Debug, PartialEq)]
pub struct LookUp {
    /// Its table.
    pub table: usize,
    /// The columns of the key.
    pub key: Arc<[usize]>,
    /// Their values.
    pub values: Vec<Value>,
}

/// What became of the rows for one table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// New rows.
    pub new: usize,
    /// Stored rows that were changed.
    pub changed: usize,
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
    /// Rows do not fit, possibly not all of them are named; or none, and what was read was not good.
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

/// `UPDATE the table SET … WHERE id = ?1` to all columns of one row, for SQLite. Rows whose unique values others have are left as they are.
pub(crate) fn update(catalog: &Catalog, table: usize) -> String {
    let table = &catalog.tables[table];
    let set: Vec<String> = table.columns.iter().enumerate().skip(1).map(|(at, column)| format!("\"{}\" = ?{}", column.name, at + 1)).collect();
    format!("UPDATE OR IGNORE \"{}\" SET {} WHERE \"id\" = ?1", table.name, set.join(", "))
}

/// `a = ?1 AND b = ?2 …`, for SQLite.
pub(crate) fn equals(catalog: &Catalog, table: usize, key: &[usize]) -> String {
    let equal = |(at, column): (usize, &usize)| format!("\"{}\" = ?{}", catalog.tables[table].columns[*column].name, at + 1);
    key.iter().enumerate().map(equal).collect::<Vec<_>>().join(" AND ")
}

pub(crate) fn columns<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}
