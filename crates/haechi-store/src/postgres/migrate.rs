//! Migrations: one transaction, one node at a time.

use super::{
    Postgres,
    connection::{Bound, failure, row_values},
    lanes::{Lane, Rows},
};
use crate::{
    migrate::{
        Applied, BOOTSTRAP, MigrateError, Migration, Step, Task, What, checksum,
        rows::{PAGE, Pass, key_text},
        sql::{concurrently, create_index},
    },
    render::Dialect,
};
use haechi_model::{Failure, INDEX_BYTES, Storage, Table, Value};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};
use tokio_postgres::{Error, Transaction, error::SqlState};

/// Any number, the same on every node.
const MIGRATION_LOCK: i64 = 0x6861_6563_6869;
/// Running nodes hold a shared lock of this class; its key is the number of their model.
pub(super) const SERVING: i32 = 0x6861_6563;
/// How long a migration waits for a lock at a time, how long it lets others go first, and for how long it tries.
const LOCK_MS: u32 = 2_000;
const PAUSE: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(60);
/// The one row of the lease is updated all day. Updates clean up after themselves; a vacuum each minute wrote as much as all of them.
pub(crate) const SELDOM_VACUUMED: &str = "ALTER TABLE \"_leases\" SET (autovacuum_vacuum_threshold = 5000, autovacuum_analyze_threshold = 1000000)";
const OFTEN_VACUUMED: &str = "SELECT 1 FROM pg_class WHERE oid = to_regclass('\"_leases\"') AND reloptions IS NULL";
/// Numbers entries in the order of arrival.
pub(crate) const SEQUENCE: &str = "CREATE SEQUENCE IF NOT EXISTS \"_log_arrival\"";

impl Postgres {
    pub(crate) async fn applied(&self) -> Result<Vec<Applied>, Failure> {
        let rows = |sql| self.0.lanes.read(Lane::State, sql, &Rows { values: &[], once: false });
        let there = rows("SELECT to_regclass('\"_migrations\"') IS NOT NULL").await?;
        if !there.first().is_some_and(|row| row.get(0)) {
            return Ok(Vec::new());
        }
        let sql = "SELECT \"version\", \"time\", \"checksum\", \"sql\", \"tables\" FROM \"_migrations\" ORDER BY \"version\"";
        let rows = rows(sql).await?;
        let applied = |row: &tokio_postgres::Row| Applied {
            version: row.get(0),
            time_ms: row.get(1),
            checksum: row.get(2),
            sql: row.get(3),
            tables: row.get(4),
        };
        Ok(rows.iter().map(applied).collect())
    }

    pub(crate) async fn migrate(&self, migration: &Migration, now_ms: i64) -> Result<(), MigrateError> {
        let begun = Instant::now();
        loop {
            match self.attempt(migration, now_ms).await {
                // Requests queue behind a waiting lock. So the wait is given up after a moment, and the migration is tried again.
                Err(MigrateError::Locked(_)) if begun.elapsed() < PATIENCE => tokio::time::sleep(PAUSE).await,
                done => return done,
            }
        }
    }

    async fn attempt(&self, migration: &Migration, now_ms: i64) -> Result<(), MigrateError> {
        let database = |error: tokio_postgres::Error| {
            if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) {
                return MigrateError::Locked("a table".to_owned());
            }
            let _ = failure(&error);
            MigrateError::Database
        };
        let mut client = self.client().await.map_err(|_| MigrateError::Database)?;
        let transaction = client.transaction().await.map_err(database)?;
        transaction.batch_execute(&format!("SET LOCAL lock_timeout = '{LOCK_MS}ms'")).await.map_err(database)?;
        transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&MIGRATION_LOCK]).await.map_err(database)?;
        transaction.batch_execute(BOOTSTRAP).await.map_err(database)?;
        transaction.batch_execute(SEQUENCE).await.map_err(database)?;
        let last = transaction.query_one("SELECT COALESCE(MAX(\"version\"), 0) FROM \"_migrations\"", &[]).await.map_err(database)?;
        if last.get::<_, i64>(0) != migration.after {
            return Err(MigrateError::Overtaken);
        }
        for task in &migration.checks {
            // Nobody can write rows that do not fit between the check and the change.
            transaction.batch_execute(&format!("LOCK TABLE \"{}\" IN SHARE ROW EXCLUSIVE MODE", task.table)).await.map_err(database)?;
        }
        let unfit = misfits(&transaction, &migration.checks).await.map_err(database)?;
        if !unfit.is_empty() {
            return Err(MigrateError::Unfit(unfit.join("; ")));
        }
        for step in &migration.steps {
            match step {
                Step::Sql(sql) => transaction.batch_execute(sql).await.map_err(|error| match error.code() {
                    Some(code) if [SqlState::NOT_NULL_VIOLATION, SqlState::UNIQUE_VIOLATION, SqlState::FOREIGN_KEY_VIOLATION].contains(code) => {
                        MigrateError::Unfit(error.as_db_error().map(|error| error.message().to_owned()).unwrap_or_default())
                    }
                    Some(code) if *code == SqlState::PROGRAM_LIMIT_EXCEEDED => {
                        MigrateError::Unfit(format!("a value is longer than an index holds ({INDEX_BYTES} bytes): {sql}"))
                    }
                    _ => database(error),
                })?,
                Step::Convert(task) => convert(&transaction, task).await.map_err(database)?,
            }
        }
        let sql = migration.sql().join(";\n");
        let tables = serde_json::to_string(&migration.tables).map_err(|_| MigrateError::Database)?;
        let insert =
            "INSERT INTO \"_migrations\" SELECT COALESCE(MAX(\"version\"), 0) + 1, $1::bigint, $2::text, $3::text, $4::text FROM \"_migrations\"";
        transaction.execute(insert, &[&now_ms, &checksum(&sql), &sql, &tables]).await.map_err(database)?;
        transaction.commit().await.map_err(database)
    }

    /// Makes the indexes, and checks the references, that the last migration left for afterwards. Incomplete indexes are made again.
    pub(crate) async fn finish(&self, tables: &[Table]) -> Result<(), MigrateError> {
        let database = |error: tokio_postgres::Error| match error.code() {
            Some(code) if [SqlState::UNIQUE_VIOLATION, SqlState::FOREIGN_KEY_VIOLATION].contains(code) => {
                let words = error.as_db_error().map(|error| error.detail().unwrap_or(error.message()).to_owned()).unwrap_or_default();
                MigrateError::Unfinished(words)
            }
            Some(code) if *code == SqlState::PROGRAM_LIMIT_EXCEEDED => {
                MigrateError::Unfinished(format!("a value is longer than an index holds ({INDEX_BYTES} bytes)"))
            }
            _ => {
                let _ = failure(&error);
                MigrateError::Database
            }
        };
        let client = self.client().await.map_err(|_| MigrateError::Database)?;
        if client.query_opt(OFTEN_VACUUMED, &[]).await.map_err(database)?.is_some() {
            client.batch_execute(SELDOM_VACUUMED).await.map_err(database)?;
        }
        // All are looked for: an index over a converted column went with the column that it was over, under the same name.
        let names: Vec<&str> = tables.iter().flat_map(|table| &table.indexes).map(|index| index.name.as_str()).collect();
        let there = "SELECT c.relname::text, i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
                     WHERE c.relname::text = ANY($1::text[]) AND pg_table_is_visible(i.indrelid)";
        let there: HashMap<String, bool> =
            client.query(there, &[&names]).await.map_err(database)?.iter().map(|row| (row.get(0), row.get(1))).collect();
        for table in tables {
            for index in &table.indexes {
                let found = there.get(&index.name).copied();
                if found == Some(false) {
                    client.batch_execute(&format!("DROP INDEX CONCURRENTLY \"{}\"", index.name)).await.map_err(database)?;
                }
                if found != Some(true) {
                    client.batch_execute(&concurrently(&create_index(Dialect::Postgres, table, index))).await.map_err(database)?;
                }
            }
            let unseen = "SELECT conname FROM pg_constraint WHERE conrelid = to_regclass($1) AND contype = 'f' AND NOT convalidated";
            for row in client.query(unseen, &[&format!("\"{}\"", table.name)]).await.map_err(database)? {
                let name: &str = row.get(0);
                client.batch_execute(&format!("ALTER TABLE \"{}\" VALIDATE CONSTRAINT \"{name}\"", table.name)).await.map_err(database)?;
            }
        }
        Ok(())
    }

    /// The models that running nodes serve over this database, by number, and how many nodes serve each.
    pub(crate) async fn living(&self) -> Result<Vec<(i32, i64)>, Failure> {
        let sql = format!(
            "SELECT objid::bigint, COUNT(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = {SERVING} AND objsubid = 2 AND granted \
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) GROUP BY objid ORDER BY objid"
        );
        let rows = self.0.lanes.read(Lane::State, &sql, &Rows { values: &[], once: false }).await?;
        // The catalogue shows keys as unsigned numbers.
        let key = |row: &tokio_postgres::Row| u32::try_from(row.get::<_, i64>(0)).unwrap_or_default().cast_signed();
        Ok(rows.iter().map(|row| (key(row), row.get(1))).collect())
    }

    /// Rows that do not fit, a line each. Nothing is changed.
    pub(crate) async fn misfits(&self, checks: &[Task]) -> Result<Vec<String>, Failure> {
        let mut client = self.client().await?;
        let transaction = client.transaction().await.map_err(|error| failure(&error))?;
        misfits(&transaction, checks).await.map_err(|error| failure(&error))
    }
}

async fn misfits(transaction: &Transaction<'_>, checks: &[Task]) -> Result<Vec<String>, Error> {
    let mut lines = Vec::new();
    for task in checks {
        let mut pass = Pass::new(task);
        if let Some((count, ids)) = task.counted_sql() {
            let bound: Vec<Bound<'_>> = task.counted_values().iter().map(Bound).collect();
            let bound: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> =
                bound.iter().map(|value| value as &(dyn tokio_postgres::types::ToSql + Sync)).collect();
            let unfit: i64 = transaction.query_one(&count, &bound).await?.get(0);
            let ids = transaction.query(&ids, &bound).await?.iter().map(|row| row.get(0)).collect();
            pass.counted(unfit.unsigned_abs(), ids);
        } else {
            let mut walk = Walk::begin(transaction, task).await?;
            while let Some((rows, found)) = walk.next(&pass).await? {
                pass.take(&rows, &found);
            }
        }
        lines.extend(pass.finish());
    }
    Ok(lines)
}

async fn convert(transaction: &Transaction<'_>, task: &Task) -> Result<(), Error> {
    let What::Convert(conversion) = &task.what else { return Ok(()) };
    let kind = match conversion.storage {
        Storage::Int => "bigint",
        Storage::Real => "float8",
        Storage::Text | Storage::Bytes => "text",
    };
    let (table, into) = (&task.table, &conversion.into);
    let update =
        format!("UPDATE \"{table}\" SET \"{into}\" = v.value FROM unnest($1::text[], $2::{kind}[]) AS v(id, value) WHERE \"{table}\".\"id\" = v.id");
    let update = transaction.prepare(&update).await?;
    let mut pass = Pass::new(task);
    let mut walk = Walk::begin(transaction, task).await?;
    while let Some((rows, found)) = walk.next(&pass).await? {
        let (ids, values): (Vec<String>, Vec<Value>) = pass.take(&rows, &found).into_iter().unzip();
        let values: Vec<Bound<'_>> = values.iter().map(Bound).collect();
        transaction.execute(&update, &[&ids, &values]).await?;
    }
    Ok(())
}

/// The rows of a table, a page at a time.
struct Walk<'a> {
    transaction: &'a Transaction<'a>,
    page: tokio_postgres::Statement,
    look: Option<tokio_postgres::Statement>,
    after: Option<String>,
}

impl<'a> Walk<'a> {
    async fn begin(transaction: &'a Transaction<'a>, task: &'a Task) -> Result<Self, Error> {
        let page = transaction.prepare(&task.page_sql("$1", &task.column)).await?;
        let look = match task.finds() {
            Some(finds) => {
                let sql = format!("SELECT \"{0}\", \"id\" FROM \"{1}\" WHERE \"{0}\" = ANY($1)", finds.column, finds.table);
                Some(transaction.prepare(&sql).await?)
            }
            None => None,
        };
        Ok(Self { transaction, page, look, after: Some(String::new()) })
    }

    /// The next rows, and the ids of the rows that their values name.
    async fn next(&mut self, pass: &Pass<'_>) -> Result<Option<(Vec<(String, Value)>, HashMap<String, String>)>, Error> {
        let Some(after) = self.after.take() else { return Ok(None) };
        let rows = self.transaction.query(&self.page, &[&after]).await?;
        let rows: Vec<(String, Value)> = rows.iter().map(|row| (row.get(0), row_values(row).pop().unwrap_or(Value::Null))).collect();
        self.after = rows.last().filter(|_| rows.len() == PAGE).map(|(id, _)| id.clone());
        let mut found = HashMap::new();
        if let Some(look) = &self.look {
            let keys = pass.keys(&rows);
            let keys: Vec<Bound<'_>> = keys.iter().map(Bound).collect();
            for row in self.transaction.query(look, &[&keys]).await? {
                let mut row = row_values(&row);
                let (id, key) = (row.pop(), row.pop());
                if let (Some(key), Some(id)) = (key, id.as_ref().and_then(Value::as_text)) {
                    found.insert(key_text(&key), id.to_owned());
                }
            }
        }
        Ok(Some((rows, found)))
    }
}
