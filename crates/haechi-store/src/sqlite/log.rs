//! Reading the log, its seals and whole tables.

use super::{Sqlite, connection, failure};
use crate::{
    Reads,
    catalog::Catalog,
    journal::{Beside, EVENT_BYTES, EventRecord, LogRecord, Seal, TAKEN_OUT_AT_ONCE},
    render::{Dialect, Sql},
};
use haechi_model::{Failure, Row};
use rusqlite::OptionalExtension;
use std::sync::Arc;

/// The first position and the next one. Two queries, because a single one would read every entry.
const BOUNDS: &str = "SELECT COALESCE((SELECT MIN(\"position\") FROM \"_log\"), 0), MAX(COALESCE((SELECT MAX(\"position\") + 1 FROM \"_log\"), 0), (SELECT COALESCE(MAX(\"size\"), 0) FROM \"_seals\"))";

impl Sqlite {
    pub(crate) async fn rows_after(&self, catalog: &Arc<Catalog>, table: usize, after: &str, limit: u32) -> Result<Vec<Row>, Failure> {
        let (catalog, after) = (catalog.clone(), after.to_owned());
        self.readers
            .run(Reads::SCAN, move |connection| {
                let mut sql = Sql::new(Dialect::Sqlite, &catalog);
                sql.all_columns(table);
                sql.push(" FROM ");
                sql.name(&catalog.tables[table].name);
                sql.push(" t0 WHERE t0.\"id\" > ? ORDER BY t0.\"id\" LIMIT ?");
                let columns = catalog.tables[table].columns.len();
                let mut statement = connection.prepare_cached(&sql.text)?;
                statement.query_map((after, limit), |row| connection::row_values(row, columns))?.collect()
            })
            .await
    }

    pub(crate) async fn log_from(&self, position: i64, limit: u32) -> Result<Vec<LogRecord>, Failure> {
        self.readers
            .run(Reads::SCAN, move |connection| {
                let sql = "SELECT \"position\", \"id\", \"entry\", \"hash\", \"salt\", \"detail\", \"event\", \"organisation\" FROM \"_log\" WHERE \"position\" >= ? ORDER BY \"position\" LIMIT ?";
                let mut statement = connection.prepare_cached(sql)?;
                let read = |row: &rusqlite::Row<'_>| {
                    Ok(LogRecord {
                        position: row.get(0)?,
                        id: row.get(1)?,
                        entry: row.get(2)?,
                        hash: row.get(3)?,
                        salt: row.get::<_, Option<Vec<u8>>>(4)?.unwrap_or_default(),
                        detail: row.get::<_, Option<String>>(5)?.unwrap_or_default(),
                        beside: Some(Beside { event: row.get(6)?, organisation: row.get(7)? }),
                    })
                };
                statement.query_map((position, limit), read)?.collect()
            })
            .await
    }

    pub(crate) async fn leaves_from(&self, position: i64, limit: u32) -> Result<Vec<(i64, Vec<u8>)>, Failure> {
        self.readers
            .run(Reads::SCAN, move |connection| {
                let sql = "SELECT \"position\", \"entry\" FROM \"_log\" WHERE \"position\" >= ? ORDER BY \"position\" LIMIT ?";
                let mut statement = connection.prepare_cached(sql)?;
                statement.query_map((position, limit), |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
            })
            .await
    }

    pub(crate) async fn events_from(&self, position: i64, limit: u32) -> Result<Vec<EventRecord>, Failure> {
        self.readers
            .run(Reads::SYSTEM, move |connection| {
                let sql = "SELECT l.\"position\", l.\"id\", l.\"event\", i.\"image\" FROM \"_log\" l LEFT JOIN \"_images\" i ON i.\"id\" = l.\"id\" WHERE l.\"position\" >= ? ORDER BY l.\"position\" LIMIT ?";
                let mut statement = connection.prepare_cached(sql)?;
                let read = |row: &rusqlite::Row<'_>| Ok(EventRecord { position: row.get(0)?, id: row.get(1)?, event: row.get(2)?, image: row.get(3)? });
                let (mut found, mut bytes) = (Vec::new(), 0);
                for record in statement.query_map((position, limit), read)? {
                    let record: EventRecord = record?;
                    bytes += record.image.as_ref().map_or(0, Vec::len);
                    found.push(record);
                    if bytes >= EVENT_BYTES {
                        break;
                    }
                }
                Ok(found)
            })
            .await
    }

    pub(crate) async fn log_bounds(&self) -> Result<(i64, i64), Failure> {
        self.readers
            .run(Reads::SYSTEM, move |connection| connection.prepare_cached(BOUNDS)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?))))
            .await
    }

    pub(crate) async fn forget_images(&self, before: &str, bytes: i64) -> Result<(), Failure> {
        let piece = |sql: String, before: String| {
            move |connection: &mut rusqlite::Connection| {
                if before.is_empty() { connection.execute(&sql, []) } else { connection.execute(&sql, [before]) }
            }
        };
        loop {
            let sql = format!("DELETE FROM \"_images\" WHERE \"id\" IN (SELECT \"id\" FROM \"_images\" WHERE \"id\" < ? LIMIT {TAKEN_OUT_AT_ONCE})");
            if self.writer.alone(piece(sql, before.to_owned())).await?.map_err(|error| failure(&error))? == 0 {
                break;
            }
        }
        loop {
            let sum = "SELECT COALESCE(SUM(LENGTH(\"image\")), 0) FROM \"_images\"";
            let kept: i64 = self.readers.run(Reads::SCAN, move |connection| connection.query_row(sum, [], |row| row.get(0))).await?;
            if kept <= bytes {
                return Ok(());
            }
            let sql = format!("DELETE FROM \"_images\" WHERE \"id\" IN (SELECT \"id\" FROM \"_images\" ORDER BY \"id\" LIMIT {TAKEN_OUT_AT_ONCE})");
            self.writer.alone(piece(sql, String::new())).await?.map_err(|error| failure(&error))?;
        }
    }

    pub(crate) async fn seals_from(&self, size: i64, limit: u32) -> Result<Vec<Seal>, Failure> {
        self.readers
            .run(Reads::SCAN, move |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT \"size\", \"time\", \"note\", \"frontier\" FROM \"_seals\" WHERE \"size\" >= ? ORDER BY \"size\" LIMIT ?",
                )?;
                statement.query_map((size, limit), seal)?.collect()
            })
            .await
    }

    pub(crate) async fn last_seal(&self) -> Result<Option<Seal>, Failure> {
        let sql = "SELECT \"size\", \"time\", \"note\", \"frontier\" FROM \"_seals\" ORDER BY \"size\" DESC LIMIT 1";
        self.readers.run(Reads::SCAN, move |connection| connection.prepare_cached(sql)?.query_row([], seal).optional()).await
    }

    /// Digest and result of a claimed key.
    pub(crate) async fn claimed(&self, key: &str) -> Result<Option<(String, String)>, Failure> {
        let (key, sql) = (key.to_owned(), "SELECT \"digest\", \"result\" FROM \"_idempotency\" WHERE \"key\" = ?");
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        self.readers.run(Reads::SYSTEM, move |connection| connection.prepare_cached(sql)?.query_row([key], read).optional()).await
    }

    pub(crate) async fn take_out_log(&self, size: i64, frontier: Vec<u8>) -> Result<(), Failure> {
        let mark = move |connection: &mut rusqlite::Connection| {
            let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            transaction.execute("UPDATE \"_seals\" SET \"frontier\" = ? WHERE \"size\" = ?", (frontier, size))?;
            transaction.execute("DELETE FROM \"_seals\" WHERE \"size\" < ?", [size])?;
            transaction.commit()
        };
        self.writer.alone(mark).await?.map_err(|error| failure(&error))?;
        loop {
            let sql = format!(
                "DELETE FROM \"_log\" WHERE \"position\" IN (SELECT \"position\" FROM \"_log\" WHERE \"position\" < ? LIMIT {TAKEN_OUT_AT_ONCE})"
            );
            let piece = move |connection: &mut rusqlite::Connection| connection.execute(&sql, [size]);
            if self.writer.alone(piece).await?.map_err(|error| failure(&error))? == 0 {
                return Ok(());
            }
        }
    }

    pub(crate) async fn forget_claims(&self, before_ms: i64) -> Result<(), Failure> {
        let work = move |connection: &mut rusqlite::Connection| connection.execute("DELETE FROM \"_idempotency\" WHERE \"time\" < ?", [before_ms]);
        self.writer.alone(work).await?.map(|_| ()).map_err(|error| failure(&error))
    }
}

fn seal(row: &rusqlite::Row<'_>) -> rusqlite::Result<Seal> {
    Ok(Seal { size: row.get(0)?, time_ms: row.get(1)?, note: row.get(2)?, frontier: row.get(3)? })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_bounds_of_the_log_are_found_without_reading_it() {
        let connection = rusqlite::Connection::open_in_memory().unwrap();
        connection
            .execute_batch("CREATE TABLE \"_log\" (\"position\" INTEGER PRIMARY KEY); CREATE TABLE \"_seals\" (\"size\" INTEGER PRIMARY KEY)")
            .unwrap();
        let bounds = || connection.query_row(super::BOUNDS, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))).unwrap();
        assert_eq!(bounds(), (0, 0));
        connection.execute_batch("INSERT INTO \"_seals\" VALUES (7)").unwrap();
        assert_eq!(bounds(), (0, 7));
        connection
            .execute_batch("WITH RECURSIVE c(x) AS (SELECT 3 UNION ALL SELECT x + 1 FROM c WHERE x < 20000) INSERT INTO \"_log\" SELECT x FROM c")
            .unwrap();
        assert_eq!(bounds(), (3, 20_001));
        let mut statement = connection.prepare(super::BOUNDS).unwrap();
        statement.query_row([], |_| Ok(())).unwrap();
        let steps = statement.get_status(rusqlite::StatementStatus::VmStep);
        assert!(steps < 200, "{steps} steps");
    }
}
