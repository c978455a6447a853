//! The parts of a migration.

use super::rows::Task;
use haechi_model::{Index, Storage, Table};

/// One step of a migration.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// A new table.
    CreateTable(Table),
    /// A declared rename.
    RenameTable {
        /// The old name.
        from: String,
        /// The new name.
        to: String,
    },
    /// Columns, constraints or references change.
    AlterTable {
        /// Before.
        from: Table,
        /// After.
        to: Table,
    },
    /// A table that the folder no longer has.
    DropTable(Table),
}

/// A step that is run.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// A statement.
    Sql(String),
    /// Values are converted, row by row.
    Convert(Box<Task>),
}

/// A planned migration.
#[derive(Clone, Debug)]
pub struct Migration {
    /// Steps, in order.
    pub actions: Vec<Action>,
    /// Data that is lost, in words; empty when none is.
    pub drops: Vec<String>,
    /// Changes that are impossible, in words.
    pub refusals: Vec<String>,
    /// What it runs, in order.
    pub steps: Vec<Step>,
    /// Checks of rows before anything is changed.
    pub checks: Vec<Task>,
    /// The tables afterwards.
    pub tables: Vec<Table>,
    /// The number of the migration before it.
    pub after: i64,
    /// Statements that run afterwards, while others write: indexes, and the check that rows fit new references.
    pub later: Vec<String>,
    /// Why nodes of the older model cannot serve with it; empty when they can.
    pub breaks: Vec<String>,
}

/// Whether the other table has the same index over columns of the same names.
pub(crate) fn same_index(other: &Table, table: &Table, index: &Index) -> bool {
    let names = |table: &Table, index: &Index| index.columns.iter().map(|column| table.columns[*column].name.clone()).collect::<Vec<_>>();
    other.indexes.iter().any(|found| found.name == index.name && found.unique == index.unique && names(other, found) == names(table, index))
}

/// Whether a column exists in the table after: each new column continues at most one old one.
pub(super) fn kept(from: &Table, to: &Table, old: usize) -> bool {
    to.columns.iter().any(|column| from.former(column) == Some(old))
}

/// How a column is stored, for people.
pub(super) fn storage_words(storage: Storage) -> &'static str {
    match storage {
        Storage::Int => "a number",
        Storage::Real => "a float",
        Storage::Text => "text",
        Storage::Bytes => "bytes",
    }
}
