//! Compares the database's real schema with the remembered one: everything that can change what is stored, found or refused.

mod postgres;
mod sqlite;

pub(crate) use postgres::found as found_in_postgres;
pub(crate) use sqlite::found as found_in_sqlite;

use crate::{
    migrate::sql::{literal, rowid_key, storage},
    render::Dialect,
};
use haechi_model::{Index, Table};
use std::collections::{BTreeMap, BTreeSet};

/// Objects in the database that no migration made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strange {
    /// Objects that can change what is stored, found or refused. `serve` refuses to start over them.
    pub wrong: Vec<String>,
    /// Objects that change nothing.
    pub beside: Vec<String>,
}

/// A table as it is, or as it should be.
#[derive(Debug, Default)]
struct Shape {
    /// Columns and how they are declared.
    columns: BTreeMap<String, String>,
    /// The defaults that columns may have, as SQL.
    defaults: BTreeMap<String, String>,
    /// Columns of the primary key, in order.
    key: Vec<String>,
    /// Columns that refer, and to what.
    references: BTreeSet<String>,
    /// Indexes: whether they are unique, and over what.
    indexes: BTreeMap<String, (bool, String)>,
    /// Everything else that acts on the table, such as triggers, in words.
    acting: Vec<String>,
}

/// A table as a migration makes it.
fn expected(dialect: Dialect, table: &Table) -> Shape {
    let rowid_key = rowid_key(dialect, table);
    let column = |(at, column): (usize, &haechi_model::Column)| {
        // PostgreSQL's catalogue writes types in lower case.
        let kind = storage(dialect, column.storage).replace('"', "");
        let kind = if dialect == Dialect::Postgres { kind.to_lowercase() } else { kind };
        let required = !(column.nullable || rowid_key && at == 0);
        (column.name.clone(), declared(&kind, required))
    };
    let names = |index: &Index| index.columns.iter().map(|column| table.columns[*column].name.as_str()).collect::<Vec<_>>().join(", ");
    Shape {
        columns: table.columns.iter().enumerate().map(column).collect(),
        defaults: table.columns.iter().filter_map(|column| Some((column.name.clone(), literal(column.default.as_ref()?)))).collect(),
        key: table.columns[..table.key].iter().map(|column| column.name.clone()).collect(),
        references: table.references.iter().map(|found| refers(&table.columns[found.column].name, &found.table, found.cascades)).collect(),
        indexes: table.indexes.iter().map(|index| (index.name.clone(), (index.unique, names(index)))).collect(),
        acting: Vec::new(),
    }
}

fn declared(kind: &str, required: bool) -> String {
    format!("{kind}{}", if required { " NOT NULL" } else { "" })
}

/// Whether a column is as it was made, and has the default for nodes of the older model, in the database's notation with its type.
fn has_its_default(is: &str, declared: &str, default: Option<&String>) -> bool {
    let (Some(found), Some(default)) = (is.strip_prefix(declared).and_then(|rest| rest.strip_prefix(" with the default ")), default) else {
        return false;
    };
    let bare = found.trim_start_matches('(').replacen(')', "", found.chars().take_while(|found| *found == '(').count());
    let same = |found: &str| found == default || found.trim_matches('\'') == default.trim_matches('\'');
    same(found)
        || bare
            .rsplit_once("::")
            .is_some_and(|(value, kind)| ["text", "bigint", "double precision", "integer", "numeric"].contains(&kind) && same(value))
}

fn refers(column: &str, table: &str, cascades: bool) -> String {
    format!("{column} to {table}{}", if cascades { " ON DELETE CASCADE" } else { "" })
}

/// The differences between the expected table and the real one.
fn compare(name: &str, expected: &Shape, found: &Shape, strange: &mut Strange) {
    let mut wrong = |what: String| strange.wrong.push(format!("table {name}: {what}"));
    for (column, declared) in &expected.columns {
        match found.columns.get(column) {
            None => wrong(format!("the column {column} is gone")),
            Some(is) if is != declared && !has_its_default(is, declared, expected.defaults.get(column)) => {
                wrong(format!("the column {column} is {is}, and was made as {declared}"))
            }
            Some(_) => {}
        }
    }
    for column in found.columns.keys().filter(|column| !expected.columns.contains_key(*column)) {
        wrong(format!("the column {column} was added"));
    }
    if expected.key != found.key {
        wrong(format!("the primary key is over ({}), and was made over ({})", found.key.join(", "), expected.key.join(", ")));
    }
    for reference in expected.references.difference(&found.references) {
        wrong(format!("the foreign key {reference} is gone"));
    }
    for reference in found.references.difference(&expected.references) {
        wrong(format!("the foreign key {reference} was added"));
    }
    for (index, (unique, over)) in &expected.indexes {
        match found.indexes.get(index) {
            None if *unique => wrong(format!("the unique index {index} over ({over}) is gone")),
            None => strange.beside.push(format!("table {name}: the index {index} over ({over}) is gone: what it made fast is slow")),
            Some(is) if *is != (*unique, over.clone()) => wrong(format!("the index {index} was changed")),
            Some(_) => {}
        }
    }
    for (index, (unique, over)) in found.indexes.iter().filter(|(index, _)| !expected.indexes.contains_key(*index)) {
        if *unique {
            strange.wrong.push(format!("table {name}: the unique index {index} over ({over}) was added"));
        } else {
            strange.beside.push(format!("table {name}: the index {index} over ({over}) was added"));
        }
    }
    strange.wrong.extend(found.acting.iter().map(|acting| format!("table {name}: {acting}")));
}
