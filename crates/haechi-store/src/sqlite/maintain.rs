//! Work that runs alone on the writing connection: migrations, seals and statistics.

use crate::{
    Analyse,
    journal::Seal,
    migrate::{Applied, BOOTSTRAP, MigrateError, Migration, checksum},
};
use rusqlite::Connection;

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

/// One transaction: after `kill -9` either all of it is there or none.
pub(crate) fn apply_migration(connection: &mut Connection, migration: &Migration, now_ms: i64) -> Result<(), MigrateError> {
    let database = |error: rusqlite::Error| {
        tracing::error!(target: "haechi::store", %error, "a migration failed");
        MigrateError::Database
    };
    // Rebuilding a table that others refer to needs the check at the end instead of at each statement.
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
    for sql in &migration.sql {
        transaction.execute_batch(sql).map_err(|error| match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::ConstraintViolation) => {
                MigrateError::Unfit(error.to_string().rsplit("failed: ").next().unwrap_or_default().to_owned())
            }
            _ => database(error),
        })?;
    }
    let dangling: Option<String> = transaction
        .query_row("PRAGMA foreign_key_check", [], |row| row.get(0))
        .map(Some)
        .or_else(|error| if error == rusqlite::Error::QueryReturnedNoRows { Ok(None) } else { Err(error) })
        .map_err(database)?;
    if let Some(table) = dangling {
        return Err(MigrateError::Unfit(format!("a row of {table} refers to one that does not exist")));
    }
    let sql = migration.sql.join(";\n");
    let tables = serde_json::to_string(&migration.tables).map_err(|_| MigrateError::Database)?;
    transaction
        .execute(
            "INSERT INTO \"_migrations\" SELECT COALESCE(MAX(\"version\"), 0) + 1, ?, ?, ?, ? FROM \"_migrations\"",
            (now_ms, checksum(&sql), &sql, tables),
        )
        .map_err(database)?;
    transaction.commit().map_err(database)
}

/// Keeps a seal; `false` when there is one of this size already.
pub(crate) fn save_seal(connection: &Connection, seal: &Seal) -> rusqlite::Result<bool> {
    let mut statement = connection.prepare_cached("INSERT OR IGNORE INTO \"_seals\" VALUES (?, ?, ?, ?)")?;
    Ok(statement.execute((seal.size, seal.time_ms, &seal.note, &seal.frontier))? == 1)
}

/// How many rows of an index are looked at for its statistics.
const ANALYSED_ROWS: i64 = 1_000;
/// Lists what `PRAGMA optimize` would do, over all tables: those never analysed, and those that have grown or shrunk tenfold.
const WHAT_TO_ANALYSE: &str = "PRAGMA optimize(0x10003)";

/// Gathers statistics of what has none or outgrew them, or of everything. Without them the planner guesses which index serves.
pub(crate) fn analyse(connection: &mut Connection, what: Analyse, table: Option<&str>) -> rusqlite::Result<()> {
    connection.pragma_update(None, "analysis_limit", ANALYSED_ROWS)?;
    let wanted: Vec<String> = match (what, table) {
        (Analyse::Outgrown, _) => connection.prepare(WHAT_TO_ANALYSE)?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?,
        (_, Some(table)) => vec![format!("ANALYZE \"{table}\"")],
        (_, None) => vec!["ANALYZE".to_owned()],
    };
    if wanted.is_empty() {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    for sql in wanted {
        transaction.execute_batch(&sql)?;
    }
    // Other connections read statistics with the schema: one that changed makes them read it anew, and plan their statements anew.
    transaction.execute_batch("CREATE VIEW \"_analysed\" AS SELECT 1; DROP VIEW \"_analysed\"")?;
    transaction.commit()
}
