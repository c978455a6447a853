//! Migrations: one transaction, one node at a time.

use super::{Postgres, connection::failure};
use crate::migrate::{Applied, BOOTSTRAP, MigrateError, Migration, checksum};
use haechi_model::Failure;
use tokio_postgres::error::SqlState;

/// Any number, the same on every node.
const MIGRATION_LOCK: i64 = 0x6861_6563_6869;
/// Entries get their place in the order of arrival from this.
pub(crate) const SEQUENCE: &str = "CREATE SEQUENCE IF NOT EXISTS \"_log_arrival\"";

impl Postgres {
    pub(crate) async fn applied(&self) -> Result<Vec<Applied>, Failure> {
        let connection = self.0.read().await?;
        let there = connection.query("SELECT to_regclass('\"_migrations\"') IS NOT NULL", &[]).await?;
        if !there.first().is_some_and(|row| row.get(0)) {
            return Ok(Vec::new());
        }
        let sql = "SELECT \"version\", \"time\", \"checksum\", \"sql\", \"tables\" FROM \"_migrations\" ORDER BY \"version\"";
        let rows = connection.query(sql, &[]).await?;
        let applied = |row: &tokio_postgres::Row| Applied {
            version: row.get(0),
            time_ms: row.get(1),
            checksum: row.get(2),
            sql: row.get(3),
            tables: row.get(4),
        };
        Ok(rows.iter().map(applied).collect())
    }

    pub(crate) async fn migrate(&self, migration: Migration, now_ms: i64) -> Result<(), MigrateError> {
        let database = |error: tokio_postgres::Error| {
            let _ = failure(&error);
            MigrateError::Database
        };
        let mut client = self.0.pool.get().await.map_err(|_| MigrateError::Database)?;
        let transaction = client.transaction().await.map_err(database)?;
        transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&MIGRATION_LOCK]).await.map_err(database)?;
        transaction.batch_execute(BOOTSTRAP).await.map_err(database)?;
        transaction.batch_execute(SEQUENCE).await.map_err(database)?;
        for sql in &migration.sql {
            transaction.batch_execute(sql).await.map_err(|error| match error.code() {
                Some(code) if [SqlState::NOT_NULL_VIOLATION, SqlState::UNIQUE_VIOLATION, SqlState::FOREIGN_KEY_VIOLATION].contains(code) => {
                    MigrateError::Unfit(error.as_db_error().map(|error| error.message().to_owned()).unwrap_or_default())
                }
                _ => database(error),
            })?;
        }
        let sql = migration.sql.join(";\n");
        let tables = serde_json::to_string(&migration.tables).map_err(|_| MigrateError::Database)?;
        let insert =
            "INSERT INTO \"_migrations\" SELECT COALESCE(MAX(\"version\"), 0) + 1, $1::bigint, $2::text, $3::text, $4::text FROM \"_migrations\"";
        transaction.execute(insert, &[&now_ms, &checksum(&sql), &sql, &tables]).await.map_err(database)?;
        transaction.commit().await.map_err(database)
    }

    /// Statistics of tables. The server gathers them by itself, but only some minutes after a table was filled.
    pub(crate) async fn analyse(&self, tables: &[String]) -> Result<(), Failure> {
        let names: Vec<String> = tables.iter().map(|table| format!("\"{table}\"")).collect();
        let client = self.client().await?;
        client.batch_execute(&format!("ANALYZE {}", names.join(", "))).await.map_err(|error| failure(&error))
    }
}
