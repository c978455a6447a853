//! Migrations: read, checked and applied on the writing connection.

use super::connection::{Bound, value_at};
use crate::migrate::{
    Applied, BOOTSTRAP, MigrateError, Migration, Step, Task, What, checksum,
    rows::{PAGE, Pass, key_text},
};
use haechi_model::Value;
use rusqlite::Connection;
use std::collections::HashMap;

pub(crate) fn applied(connection: &Connection) -> rusqlite::Result<Vec<Applied>> {
    let there: bool = connection.query_row("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = '_migrations')", [], |row| row.get(0))?;
    if !there {
        return Ok(Vec::new());
    }
    let mut statement =
        connection.prepare("SELECT \"version\", \"time\", \"checksum\", \"sql\", \"tables\" FROM \"_migrations\" ORDER BY \"version\"")?;
    statement
        .query_map([], |row| {
            Ok(Applied { version: row.get(0)?, time_ms: row.get(1)?, checksum: row.get(2)?, sql: row.get(3)?, tables: row.get(4)? })
        })?
        .collect()
}

/// One transaction: after `kill -9` all of it is there, or nothing.
pub(crate) fn apply_migration(connection: &mut Connection, migration: &Migration, now_ms: i64) -> Result<(), MigrateError> {
    let database = |error: rusqlite::Error| {
        tracing::error!(target: "haechi::store", %error, "a migration failed");
        MigrateError::Database
    };
    // To rebuild a table that others refer to, references are checked at the end, not at each statement.
    connection.pragma_update(None, "foreign_keys", false).map_err(database)?;
    let result = run(connection, migration, now_ms);
    connection.pragma_update(None, "foreign_keys", true).map_err(database)?;
    result
}

fn run(connection: &mut Connection, migration: &Migration, now_ms: i64) -> Result<(), MigrateError> {
    let database = |error: rusqlite::Error| {
        tracing::error!(target: "haechi::store", %error, "a migration failed");
        MigrateError::Database
    };
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(database)?;
    transaction.execute_batch(BOOTSTRAP).map_err(database)?;
    let last: i64 = transaction.query_row("SELECT COALESCE(MAX(\"version\"), 0) FROM \"_migrations\"", [], |row| row.get(0)).map_err(database)?;
    if last != migration.after {
        return Err(MigrateError::Overtaken);
    }
    let unfit = misfits(&transaction, &migration.checks).map_err(database)?;
    if !unfit.is_empty() {
        return Err(MigrateError::Unfit(unfit.join("; ")));
    }
    for step in &migration.steps {
        match step {
            Step::Sql(sql) => transaction.execute_batch(sql).map_err(|error| match error.sqlite_error_code() {
                Some(rusqlite::ErrorCode::ConstraintViolation) => {
                    MigrateError::Unfit(error.to_string().rsplit("failed: ").next().unwrap_or_default().to_owned())
                }
                _ => database(error),
            })?,
            Step::Convert(task) => convert(&transaction, task).map_err(database)?,
        }
    }
    let dangling: Option<String> = transaction
        .query_row("PRAGMA foreign_key_check", [], |row| row.get(0))
        .map(Some)
        .or_else(|error| if error == rusqlite::Error::QueryReturnedNoRows { Ok(None) } else { Err(error) })
        .map_err(database)?;
    if let Some(table) = dangling {
        return Err(MigrateError::Unfit(format!("a row of {table} refers to one that does not exist")));
    }
    let sql = migration.sql().join(";\n");
    let tables = serde_json::to_string(&migration.tables).map_err(|_| MigrateError::Database)?;
    transaction
        .execute(
            "INSERT INTO \"_migrations\" SELECT COALESCE(MAX(\"version\"), 0) + 1, ?, ?, ?, ? FROM \"_migrations\"",
            (now_ms, checksum(&sql), &sql, tables),
        )
        .map_err(database)?;
    transaction.commit().map_err(database)
}

/// Rows that do not fit, a line each.
pub(crate) fn misfits(connection: &Connection, checks: &[Task]) -> rusqlite::Result<Vec<String>> {
    let mut lines = Vec::new();
    for task in checks {
        let mut pass = Pass::new(task);
        if let Some((count, ids)) = task.counted_sql() {
            let bound = || rusqlite::params_from_iter(task.counted_values().iter().map(Bound));
            let unfit: i64 = connection.query_row(&count, bound(), |row| row.get(0))?;
            let ids = connection.prepare(&ids)?.query_map(bound(), |row| row.get(0))?.collect::<Result<_, _>>()?;
            pass.counted(unfit.unsigned_abs(), ids);
        } else {
            walk(connection, task, |rows, found| {
                pass.take(rows, found);
                Ok(())
            })?;
        }
        lines.extend(pass.finish());
    }
    Ok(lines)
}

fn convert(connection: &Connection, task: &Task) -> rusqlite::Result<()> {
    let What::Convert(conversion) = &task.what else { return Ok(()) };
    let mut pass = Pass::new(task);
    let mut update = connection.prepare(&format!("UPDATE \"{}\" SET \"{}\" = ? WHERE \"id\" = ?", task.table, conversion.into))?;
    walk(connection, task, |rows, found| {
        for (id, value) in pass.take(rows, found) {
            update.execute((Bound(&value), id))?;
        }
        Ok(())
    })
}

/// Passes on pages of rows, with the ids of the rows that their values name.
fn walk(
    connection: &Connection,
    task: &Task,
    mut take: impl FnMut(&[(String, Value)], &HashMap<String, String>) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(&task.page_sql("?", &task.column))?;
    let looker = Pass::new(task);
    let mut after = String::new();
    loop {
        let rows: Vec<(String, Value)> = statement.query_map([&after], |row| Ok((row.get(0)?, value_at(row, 1)?)))?.collect::<Result<_, _>>()?;
        let Some((last, _)) = rows.last() else { return Ok(()) };
        after.clone_from(last);
        let mut found = HashMap::new();
        if let Some(finds) = task.finds() {
            let sql = format!("SELECT \"id\" FROM \"{}\" WHERE \"{}\" = ?", finds.table, finds.column);
            let mut look = connection.prepare_cached(&sql)?;
            for key in looker.keys(&rows) {
                if let Some(id) = look.query_map([Bound(&key)], |row| row.get(0))?.next().transpose()? {
                    found.insert(key_text(&key), id);
                }
            }
        }
        take(&rows, &found)?;
        if rows.len() < PAGE {
            return Ok(());
        }
    }
}
