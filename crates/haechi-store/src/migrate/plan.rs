//! The difference between two sets of tables, as steps that a person can review.

use super::sql;
use crate::render::Dialect;
use haechi_model::{Storage, Table};

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

/// A planned migration.
#[derive(Clone, Debug)]
pub struct Migration {
    /// Steps, in order.
    pub actions: Vec<Action>,
    /// What data is lost, in words; empty when none is.
    pub drops: Vec<String>,
    /// What cannot be done, in words.
    pub refusals: Vec<String>,
    /// The SQL.
    pub sql: Vec<String>,
    /// The tables afterwards.
    pub tables: Vec<Table>,
}

impl Migration {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }

    /// Tables that were there and change: their rows' canonical form may be another afterwards.
    #[must_use]
    pub fn altered(&self) -> Vec<&str> {
        let name = |action: &'_ Action| match action {
            Action::RenameTable { to, .. } => Some(to.clone()),
            Action::AlterTable { to, .. } => Some(to.name.clone()),
            Action::CreateTable(_) | Action::DropTable(_) => None,
        };
        let names: Vec<String> = self.actions.iter().filter_map(name).collect();
        self.tables.iter().map(|table| table.name.as_str()).filter(|table| names.iter().any(|name| name == table)).collect()
    }

    /// What it does, a line each.
    #[must_use]
    pub fn summary(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for action in &self.actions {
            match action {
                Action::CreateTable(table) if table.name.starts_with('_') => {}
                Action::CreateTable(table) => lines.push(format!("+ collection {}", table.name)),
                Action::RenameTable { from, to } => lines.push(format!("~ collection {from} is now {to}")),
                Action::DropTable(table) => lines.push(format!("- collection {} and all its rows", table.name)),
                Action::AlterTable { from, to } => alterations(from, to, &mut lines),
            }
        }
        lines
    }
}

fn alterations(from: &Table, to: &Table, lines: &mut Vec<String>) {
    for column in &to.columns {
        match former(from, column) {
            None => lines.push(format!("+ column {}.{}", to.name, column.name)),
            Some(old) if from.columns[old].name != column.name => {
                lines.push(format!("~ column {}.{} is now {}", to.name, from.columns[old].name, column.name))
            }
            Some(old) if from.columns[old].nullable != column.nullable => {
                lines.push(format!("~ column {}.{} is now {}", to.name, column.name, if column.nullable { "optional" } else { "required" }));
            }
            Some(_) => {}
        }
    }
    for column in from.columns.iter().enumerate().filter(|(at, _)| !kept(from, to, *at)).map(|(_, old)| old) {
        lines.push(format!("- column {}.{} and its values", to.name, column.name));
    }
    for index in to.indexes.iter().filter(|index| !same_index(from, to, index)) {
        lines.push(format!("+ {} {}", if index.unique { "unique index" } else { "index" }, index.name));
    }
    for index in from.indexes.iter().filter(|index| !same_index(to, from, index)) {
        lines.push(format!("- index {}", index.name));
    }
}

/// The position of a column in the table before: same name, or the declared former one.
pub(super) fn former(from: &Table, column: &haechi_model::Column) -> Option<usize> {
    from.column(&column.name).or_else(|| column.was.as_deref().and_then(|was| from.column(was)))
}

/// Whether a column goes on in the table after: each new column continues at most one old one.
pub(super) fn kept(from: &Table, to: &Table, old: usize) -> bool {
    to.columns.iter().any(|column| former(from, column) == Some(old))
}

/// Whether the other table has the same index over columns of the same names.
pub(super) fn same_index(other: &Table, table: &Table, index: &haechi_model::Index) -> bool {
    let names =
        |table: &Table, index: &haechi_model::Index| index.columns.iter().map(|column| table.columns[*column].name.clone()).collect::<Vec<_>>();
    other.indexes.iter().any(|found| found.name == index.name && found.unique == index.unique && names(other, found) == names(table, index))
}

/// Plans the way from one set of tables to another.
#[must_use]
pub fn plan(dialect: Dialect, before: &[Table], after: &[Table]) -> Migration {
    let mut migration = Migration { actions: Vec::new(), drops: Vec::new(), refusals: Vec::new(), sql: Vec::new(), tables: settled(after) };
    let mut matched = Vec::new();
    for table in after {
        let old = before.iter().find(|old| old.name == table.name).or_else(|| before.iter().find(|old| table.was.as_deref() == Some(&old.name)));
        let Some(old) = old else {
            migration.actions.push(Action::CreateTable(table.clone()));
            continue;
        };
        matched.push(old.name.clone());
        let mut from = old.clone();
        if old.name != table.name {
            migration.actions.push(Action::RenameTable { from: old.name.clone(), to: table.name.clone() });
            from.name.clone_from(&table.name);
        }
        compare(&from, table, before, &mut migration);
    }
    for old in before.iter().filter(|old| !matched.contains(&old.name)) {
        migration.drops.push(format!("collection {} and all its rows", old.name));
        migration.actions.push(Action::DropTable(old.clone()));
    }
    migration.sql = sql::statements(dialect, &migration.actions);
    migration
}

fn compare(from: &Table, to: &Table, before: &[Table], migration: &mut Migration) {
    for column in &to.columns {
        let folded = column.name.strip_prefix("_fold_").filter(|_| former(from, column).is_none());
        if let Some(name) = folded.filter(|name| from.column(name).is_some()) {
            migration.refusals.push(format!("{}.{name} would get case = \"fold\": declare a new field and copy the values", to.name));
        }
        if let Some(old) = former(from, column)
            && from.columns[old].storage != column.storage
        {
            let name = |storage| match storage {
                Storage::Int => "a number",
                Storage::Real => "a float",
                Storage::Text => "text",
                Storage::Bytes => "bytes",
            };
            migration.refusals.push(format!(
                "{}.{} is stored as {} and would become {}: declare a new field and copy the values",
                to.name,
                column.name,
                name(from.columns[old].storage),
                name(column.storage)
            ));
        }
    }
    for column in from.columns.iter().enumerate().filter(|(at, _)| !kept(from, to, *at)).map(|(_, old)| old) {
        migration.drops.push(format!("column {}.{} and its values", to.name, column.name));
    }
    let renamed = |name: &str| before.iter().all(|table| table.name != name);
    let references_same = from.references.len() == to.references.len()
        && to.references.iter().all(|reference| {
            let column = &to.columns[reference.column].name;
            from.references.iter().any(|old| from.columns[old.column].name == *column && (old.table == reference.table || renamed(&reference.table)))
        });
    let columns_same = from.columns.len() == to.columns.len()
        && from.columns.iter().zip(&to.columns).all(|(old, new)| old.name == new.name && old.nullable == new.nullable && old.storage == new.storage);
    let indexes_same = to.indexes.iter().all(|index| same_index(from, to, index)) && from.indexes.iter().all(|index| same_index(to, from, index));
    if !(references_same && columns_same && indexes_same) {
        migration.actions.push(Action::AlterTable { from: from.clone(), to: to.clone() });
    }
}

/// Tables as they will be remembered: a rename is done once.
fn settled(tables: &[Table]) -> Vec<Table> {
    let mut tables = tables.to_vec();
    for table in &mut tables {
        table.was = None;
        table.columns.iter_mut().for_each(|column| column.was = None);
    }
    tables
}
