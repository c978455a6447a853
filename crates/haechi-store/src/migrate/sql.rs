//! Migration steps as SQL. SQLite rebuilds a table that it cannot alter; PostgreSQL alters it.

use super::{
    action::{Action, Step, kept, same_index},
    rows::{Task, What},
};
use crate::render::Dialect;
use haechi_model::{Column, Declared, Index, Reference, Storage, Table, Value};

/// All steps in order. Values are converted first, while every table is unchanged.
pub(super) fn steps(dialect: Dialect, actions: &[Action], conversions: &[Task]) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut actions = actions.to_vec();
    for task in conversions {
        let What::Convert(conversion) = &task.what else { continue };
        let kind = storage(dialect, conversion.storage);
        steps.push(Step::Sql(format!("ALTER TABLE \"{}\" ADD COLUMN \"{}\" {kind}", task.table, conversion.into)));
        steps.push(Step::Convert(Box::new(task.clone())));
    }
    for action in &mut actions {
        let Action::AlterTable { from, to } = action else { continue };
        let mut renamed = Vec::new();
        let name = to.name.clone();
        for task in conversions.iter().filter(|task| task.collection == name) {
            take_over(from, to, task, &mut renamed);
        }
        steps.extend(renamed.into_iter().map(Step::Sql));
    }
    steps.extend(statements(dialect, &actions).into_iter().map(Step::Sql));
    let new = actions.iter().filter_map(|action| if let Action::CreateTable(table) = action { Some(table) } else { None });
    steps.extend(new.filter_map(|table| collected(dialect, table, conversions)).map(Step::Sql));
    steps
}

/// The new column with converted values takes the place and the name of the old one.
fn take_over(from: &mut Table, to: &mut Table, task: &Task, sql: &mut Vec<String>) {
    let What::Convert(conversion) = &task.what else { return };
    let name = conversion.into.strip_prefix("_new_").unwrap_or(&conversion.into);
    if let Some(old) = from.column(name) {
        let former = format!("_was_{name}");
        sql.push(format!("ALTER TABLE \"{}\" RENAME COLUMN \"{name}\" TO \"{former}\"", task.table));
        from.columns[old].name = former;
    }
    from.columns.push(Column { storage: conversion.storage, ..Column::optional(&conversion.into, conversion.storage) });
    if let Some(column) = to.column(name) {
        to.columns[column].was = Some(conversion.into.clone());
    }
}

fn statements(dialect: Dialect, actions: &[Action]) -> Vec<String> {
    let mut out = Vec::new();
    // PostgreSQL drops no table to which another refers, also when that one is dropped next.
    let dropped = || actions.iter().filter_map(|action| if let Action::DropTable(table) = action { Some(table) } else { None });
    for table in dropped().filter(|_| dialect == Dialect::Postgres) {
        let also = table.references.iter().filter(|reference| dropped().any(|other| other.name == reference.table));
        out.extend(also.map(|reference| drop_reference(&table.name, &table.columns[reference.column].name)));
    }
    for action in actions {
        match action {
            Action::CreateTable(table) => out.push(create(dialect, table, &table.name)),
            Action::RenameTable { from, to } => {
                out.push(format!("ALTER TABLE \"{from}\" RENAME TO \"{to}\""));
                if to.starts_with('_') {
                    continue;
                }
                out.push(format!("UPDATE \"_numbers\" SET \"collection\" = '{to}' WHERE \"collection\" = '{from}'"));
            }
            Action::AlterTable { from, to } => {
                match dialect {
                    Dialect::Sqlite => alter_sqlite(from, to, &mut out),
                    Dialect::Postgres => alter_postgres(from, to, &mut out),
                }
                renumber(from, to, &mut out);
            }
            Action::DropTable(table) => out.push(format!("DROP TABLE \"{}\"", table.name)),
        }
    }
    for action in actions {
        if let Action::CreateTable(table) = action {
            out.extend(table.indexes.iter().map(|index| create_index(dialect, table, index)));
            if dialect == Dialect::Postgres {
                out.extend(table.references.iter().map(|reference| add_reference(table, reference)));
            }
        }
    }
    out
}

/// The references of converted lists, put into their new hidden table.
fn collected(dialect: Dialect, table: &Table, conversions: &[Task]) -> Option<String> {
    let (list, of) = (table.lists.as_ref()?, &table.references[0].table);
    conversions.iter().find(|task| task.collection == *of && task.field == *list)?;
    let ids = match dialect {
        Dialect::Sqlite => format!("json_each(t.\"{list}\") j"),
        Dialect::Postgres => format!("jsonb_array_elements_text(t.\"{list}\"::jsonb) j(value)"),
    };
    Some(format!("INSERT INTO \"{}\" SELECT t.\"id\", j.value FROM \"{of}\" t, {ids}", table.name))
}

/// The number series of renamed texts go on.
fn renumber(from: &Table, to: &Table, out: &mut Vec<String>) {
    for column in to.columns.iter().filter(|column| matches!(column.declared, Some(Declared::Text { pattern: None, fold: false, .. }))) {
        let Some(old) = from.former(column).map(|old| &from.columns[old].name) else { continue };
        if *old != column.name && !old.starts_with('_') {
            out.push(format!("UPDATE \"_numbers\" SET \"field\" = '{}' WHERE \"collection\" = '{}' AND \"field\" = '{old}'", column.name, to.name));
        }
    }
}

/// Statements that PostgreSQL runs afterwards, while others read and write.
pub(super) fn later(dialect: Dialect, actions: &[Action]) -> Vec<String> {
    let mut out = Vec::new();
    for action in actions {
        let Action::AlterTable { from, to } = action else { continue };
        if dialect == Dialect::Postgres {
            let new = to.indexes.iter().filter(|index| !same_index(from, to, index));
            out.extend(new.map(|index| concurrently(&create_index(dialect, to, index))));
            let added = to.references.iter().filter(|reference| is_gone(to, from, reference));
            let column = |reference: &Reference| to.columns[reference.column].name.clone();
            out.extend(added.map(|reference| format!("ALTER TABLE \"{0}\" VALIDATE CONSTRAINT \"{0}_{1}_fkey\"", to.name, column(reference))));
        }
    }
    out
}

/// The form of an index statement that lets others write meanwhile.
pub(crate) fn concurrently(sql: &str) -> String {
    sql.replacen("INDEX ", "INDEX CONCURRENTLY ", 1)
}

/// Whether the other table lacks a reference.
fn is_gone(table: &Table, other: &Table, reference: &Reference) -> bool {
    let column = &table.columns[reference.column].name;
    !other.references.iter().any(|found| other.columns[found.column].name == *column && found.table == reference.table)
}

pub(crate) fn storage(dialect: Dialect, storage: Storage) -> &'static str {
    match (dialect, storage) {
        (Dialect::Sqlite, Storage::Int) => "INTEGER",
        (Dialect::Sqlite, Storage::Real) => "REAL",
        (Dialect::Sqlite, Storage::Text) => "TEXT",
        (Dialect::Sqlite, Storage::Bytes) => "BLOB",
        (Dialect::Postgres, Storage::Int) => "BIGINT",
        (Dialect::Postgres, Storage::Real) => "DOUBLE PRECISION",
        (Dialect::Postgres, Storage::Text) => "TEXT COLLATE \"C\"",
        (Dialect::Postgres, Storage::Bytes) => "BYTEA",
    }
}

pub(crate) fn literal(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Int(int) => int.to_string(),
        Value::Real(real) => format!("{real:?}"),
        Value::Text(text) => format!("'{}'", text.replace('\'', "''")),
    }
}

fn column(dialect: Dialect, column: &Column) -> String {
    let null = if column.nullable { "" } else { " NOT NULL" };
    format!("\"{}\" {}{null}", column.name, storage(dialect, column.storage))
}

/// Whether the first column is SQLite's row id, which needs no NOT NULL.
pub(crate) fn rowid_key(dialect: Dialect, table: &Table) -> bool {
    dialect == Dialect::Sqlite && table.key == 1 && table.columns[0].storage == Storage::Int
}

fn create(dialect: Dialect, table: &Table, name: &str) -> String {
    let rowid_key = rowid_key(dialect, table);
    let mut parts: Vec<String> = table.columns.iter().map(|found| column(dialect, found)).collect();
    if rowid_key {
        parts[0] = format!("\"{}\" INTEGER PRIMARY KEY", table.columns[0].name);
    } else {
        let key: Vec<String> = table.columns[..table.key].iter().map(|column| format!("\"{}\"", column.name)).collect();
        parts.push(format!("PRIMARY KEY ({})", key.join(", ")));
    }
    if dialect == Dialect::Sqlite {
        for reference in &table.references {
            parts.push(format!(
                "FOREIGN KEY (\"{}\") REFERENCES \"{}\" (\"id\") ON DELETE {}",
                table.columns[reference.column].name,
                reference.table,
                on_delete(reference)
            ));
        }
    }
    let tail = match (dialect, rowid_key) {
        (Dialect::Postgres, _) => "",
        (Dialect::Sqlite, true) => " STRICT",
        (Dialect::Sqlite, false) => " STRICT, WITHOUT ROWID",
    };
    format!("CREATE TABLE \"{name}\" ({}){tail}", parts.join(", "))
}

pub(crate) fn create_index(dialect: Dialect, table: &Table, index: &Index) -> String {
    let columns: Vec<String> = index
        .columns
        .iter()
        .map(|at| {
            let column = &table.columns[*at];
            let first = dialect == Dialect::Postgres && column.nullable && !index.unique;
            format!("\"{}\"{}", column.name, if first { " NULLS FIRST" } else { "" })
        })
        .collect();
    let unique = if index.unique { "UNIQUE " } else { "" };
    format!("CREATE {unique}INDEX \"{}\" ON \"{}\" ({})", index.name, table.name, columns.join(", "))
}

fn on_delete(reference: &Reference) -> &'static str {
    if reference.cascades { "CASCADE" } else { "RESTRICT" }
}

fn add_reference(table: &Table, reference: &Reference) -> String {
    let (column, target, on_delete) = (&table.columns[reference.column].name, &reference.table, on_delete(reference));
    format!(
        "ALTER TABLE \"{0}\" ADD CONSTRAINT \"{0}_{column}_fkey\" FOREIGN KEY (\"{column}\") REFERENCES \"{target}\" (\"id\") ON DELETE {on_delete}",
        table.name
    )
}

/// Finds the constraint by its column: its name is older, and may contain old names of table and column.
fn drop_reference(table: &str, column: &str) -> String {
    format!(
        "DO $$ DECLARE found text; BEGIN FOR found IN SELECT c.conname FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid AND c.conkey = ARRAY[a.attnum] \
         WHERE c.contype = 'f' AND c.conrelid = '\"{table}\"'::regclass AND a.attname = '{column}' \
         LOOP EXECUTE format('ALTER TABLE \"{table}\" DROP CONSTRAINT %I', found); END LOOP; END $$"
    )
}

/// The values of existing rows in a column of the new table.
fn carried(from: &Table, column: &Column) -> String {
    let default = column.default.as_ref().map(literal);
    match (from.former(column), default) {
        (Some(old), Some(default)) if from.columns[old].nullable && !column.nullable => {
            format!("COALESCE(\"{}\", {default})", from.columns[old].name)
        }
        (Some(old), _) => format!("\"{}\"", from.columns[old].name),
        (None, Some(default)) => default,
        (None, None) => "NULL".to_owned(),
    }
}

fn alter_sqlite(from: &Table, to: &Table, out: &mut Vec<String>) {
    let dialect = Dialect::Sqlite;
    let only_indexes = from.columns.len() == to.columns.len()
        && from.references == to.references
        && from.columns.iter().zip(&to.columns).all(|(old, new)| old.name == new.name && old.nullable == new.nullable);
    if only_indexes {
        out.extend(from.indexes.iter().filter(|index| !same_index(to, from, index)).map(|index| format!("DROP INDEX \"{}\"", index.name)));
        out.extend(to.indexes.iter().filter(|index| !same_index(from, to, index)).map(|index| create_index(dialect, to, index)));
        return;
    }
    let fresh = format!("_new_{}", to.name);
    out.push(create(dialect, to, &fresh));
    let values: Vec<String> = to.columns.iter().map(|column| carried(from, column)).collect();
    out.push(format!("INSERT INTO \"{fresh}\" SELECT {} FROM \"{}\"", values.join(", "), to.name));
    out.push(format!("DROP TABLE \"{}\"", to.name));
    out.push(format!("ALTER TABLE \"{fresh}\" RENAME TO \"{}\"", to.name));
    out.extend(to.indexes.iter().map(|index| create_index(dialect, to, index)));
}

fn alter_postgres(from: &Table, to: &Table, out: &mut Vec<String>) {
    let dialect = Dialect::Postgres;
    let name = &to.name;
    out.extend(from.indexes.iter().filter(|index| !same_index(to, from, index)).map(|index| format!("DROP INDEX \"{}\"", index.name)));
    for reference in from.references.iter().filter(|reference| is_gone(from, to, reference)) {
        out.push(drop_reference(name, &from.columns[reference.column].name));
    }
    for found in &to.columns {
        match from.former(found) {
            None => {
                // The default stays: nodes that do not know the column insert rows without it.
                let default = found.default.as_ref().map(|value| format!(" DEFAULT {}", literal(value))).unwrap_or_default();
                out.push(format!("ALTER TABLE \"{name}\" ADD COLUMN {}{default}", column(dialect, found)));
            }
            Some(old) => {
                let old = &from.columns[old];
                if old.name != found.name {
                    out.push(format!("ALTER TABLE \"{name}\" RENAME COLUMN \"{}\" TO \"{}\"", old.name, found.name));
                }
                if old.nullable && !found.nullable {
                    if let Some(default) = &found.default {
                        out.push(format!("UPDATE \"{name}\" SET \"{0}\" = {1} WHERE \"{0}\" IS NULL", found.name, literal(default)));
                    }
                    out.push(format!("ALTER TABLE \"{name}\" ALTER COLUMN \"{}\" SET NOT NULL", found.name));
                } else if !old.nullable && found.nullable {
                    out.push(format!("ALTER TABLE \"{name}\" ALTER COLUMN \"{}\" DROP NOT NULL", found.name));
                }
            }
        }
    }
    for (_, old) in from.columns.iter().enumerate().filter(|(at, _)| !kept(from, to, *at)) {
        out.push(format!("ALTER TABLE \"{name}\" DROP COLUMN \"{}\"", old.name));
    }
    // Indexes are made afterwards, while others write; new references are checked then, too.
    let added = to.references.iter().filter(|reference| is_gone(to, from, reference));
    out.extend(added.map(|reference| add_reference(to, reference) + " NOT VALID"));
}
