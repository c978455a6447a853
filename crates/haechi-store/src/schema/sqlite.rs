//! Reads the schema of an SQLite file.

use super::{Shape, Strange, compare, declared, expected, refers};
use crate::render::Dialect;
use haechi_model::Table;
use rusqlite::Connection;

/// Words of a table's declaration that no migration writes.
const OF_NO_MIGRATION: &[&str] = &["CHECK", "COLLATE", "GENERATED", "DEFAULT", "CONFLICT", "DEFERRABLE", "UNIQUE"];

/// Compares the file with the tables that are remembered.
pub(crate) fn found(connection: &Connection, tables: &[Table]) -> rusqlite::Result<Strange> {
    let mut strange = Strange::default();
    let mut statement = connection.prepare("SELECT \"type\", \"name\", \"tbl_name\", COALESCE(\"sql\", '') FROM \"sqlite_schema\" ORDER BY 1, 2")?;
    let objects = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
    let objects: Vec<(String, String, String, String)> = objects.collect::<Result<_, _>>()?;
    let ours = |name: &str| name == "_migrations" || tables.iter().any(|table| table.name == name);
    for table in tables {
        match objects.iter().find(|(_, name, ..)| *name == table.name) {
            None => strange.wrong.push(format!("table {}: it is gone", table.name)),
            Some((kind, _, _, sql)) if kind == "table" && !sql.to_ascii_uppercase().starts_with("CREATE VIRTUAL") => {
                compare(&table.name, &expected(Dialect::Sqlite, table), &shape(connection, table, sql)?, &mut strange);
            }
            Some((kind, ..)) => {
                strange.wrong.push(format!("table {}: a {} stands in its place", table.name, if kind == "table" { "virtual table" } else { kind }))
            }
        }
    }
    for (kind, name, on, _) in &objects {
        match kind.as_str() {
            "trigger" => strange.wrong.push(format!("table {on}: the trigger {name} was added")),
            "table" | "view" if !ours(name) && !name.starts_with("sqlite_") => {
                strange.beside.push(format!("the {kind} {name} is none of this app's"))
            }
            _ => {}
        }
    }
    Ok(strange)
}

fn shape(connection: &Connection, table: &Table, sql: &str) -> rusqlite::Result<Shape> {
    let name = &table.name;
    let mut shape = Shape::default();
    let mut key: Vec<(i64, String)> = Vec::new();
    let mut statement = connection.prepare("SELECT \"name\", \"type\", \"notnull\", \"pk\", \"hidden\" FROM pragma_table_xinfo(?)")?;
    let mut columns = statement.query([name])?;
    while let Some(column) = columns.next()? {
        let (column_name, kind, required, at, hidden): (String, String, bool, i64, i64) =
            (column.get(0)?, column.get(1)?, column.get(2)?, column.get(3)?, column.get(4)?);
        if at > 0 {
            key.push((at, column_name.clone()));
        }
        let kind = if hidden == 0 { kind } else { format!("{kind} GENERATED") };
        shape.columns.insert(column_name, declared(&kind, required));
    }
    key.sort();
    shape.key = key.into_iter().map(|(_, column)| column).collect();
    let mut statement = connection.prepare("SELECT \"from\", \"table\", \"to\", \"on_update\", \"on_delete\" FROM pragma_foreign_key_list(?)")?;
    let mut references = statement.query([name])?;
    while let Some(reference) = references.next()? {
        let (from, to, column, on_update, on_delete): (String, String, Option<String>, String, String) =
            (reference.get(0)?, reference.get(1)?, reference.get(2)?, reference.get(3)?, reference.get(4)?);
        let cascades = on_delete == "CASCADE";
        let plain = column.as_deref() == Some("id") && on_update == "NO ACTION" && (cascades || on_delete == "RESTRICT");
        let other = if plain { String::new() } else { format!(".{} ON UPDATE {on_update} ON DELETE {on_delete}", column.unwrap_or_default()) };
        shape.references.insert(refers(&from, &to, cascades && plain) + &other);
    }
    let mut statement = connection.prepare("SELECT \"name\", \"unique\", \"origin\", \"partial\" FROM pragma_index_list(?)")?;
    let mut indexes = statement.query([name])?;
    while let Some(index) = indexes.next()? {
        let (index_name, unique, origin, partial): (String, bool, String, bool) = (index.get(0)?, index.get(1)?, index.get(2)?, index.get(3)?);
        if origin == "pk" {
            continue;
        }
        let mut statement = connection
            .prepare_cached("SELECT COALESCE(\"name\", '(an expression)'), \"coll\" FROM pragma_index_xinfo(?) WHERE \"key\" ORDER BY \"seqno\"")?;
        let columns = statement.query_map([&index_name], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
        let columns = columns.map(|column| column.map(|(name, order)| if order == "BINARY" { name } else { format!("{name} {order}") }));
        let over = columns.collect::<Result<Vec<_>, _>>()?.join(", ");
        shape.indexes.insert(index_name, (unique, if partial { over + " of some rows" } else { over }));
    }
    let words = outside_quotes(sql).to_ascii_uppercase();
    let words: Vec<&str> = words.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    shape.acting.extend(
        OF_NO_MIGRATION.iter().filter(|word| words.contains(word)).map(|word| format!("its declaration has a {word} that no migration made")),
    );
    if !words.contains(&"STRICT") {
        shape.acting.push("it is not STRICT".to_owned());
    }
    Ok(shape)
}

/// A declaration without the quoted names and texts in it.
fn outside_quotes(sql: &str) -> String {
    let (mut out, mut quote) = (String::with_capacity(sql.len()), None);
    for c in sql.chars() {
        match quote {
            Some(end) if c == end => quote = None,
            Some(_) => {}
            None if matches!(c, '"' | '\'' | '`') => quote = Some(c),
            None if c == '[' => quote = Some(']'),
            None => out.push(c),
        }
    }
    out
}
