//! Reading the log and its seals.

use super::{
    Postgres,
    connection::{Connection, failure},
    lanes::{Lane, Rows, Work},
    shapes::Shape,
};
use crate::Reads;
use crate::journal::{Beside, EVENT_BYTES, EventRecord, LogRecord, Seal, TAKEN_OUT_AT_ONCE};
use futures_util::TryStreamExt;
use haechi_model::{Failure, Value};

/// Stands for the log, which is no collection, in place of a table.
const LOG: usize = usize::MAX;
/// Reads of the log that may take long.
const SCAN: Lane = Lane::Of(Reads::SCAN, LOG);

/// Events with their images, until they are many bytes.
struct Events {
    position: i64,
    limit: u32,
}

impl Work for Events {
    type Found = Vec<EventRecord>;

    async fn on(&self, connection: &Connection, shape: &Shape) -> Result<Vec<EventRecord>, Failure> {
        let rows = connection.stream(shape, &[Value::Int(self.position), Value::Int(self.limit.into())], false).await?;
        let (mut rows, mut found, mut bytes) = (std::pin::pin!(rows), Vec::new(), 0);
        while let Some(row) = rows.try_next().await.map_err(|error| failure(&error))? {
            let record = EventRecord { position: row.get(0), id: row.get(1), event: row.get(2), image: row.get(3) };
            bytes += record.image.as_ref().map_or(0, Vec::len);
            found.push(record);
            if bytes >= EVENT_BYTES {
                break;
            }
        }
        Ok(found)
    }

    fn rows(found: &Vec<EventRecord>) -> Option<usize> {
        Some(found.len())
    }
}

impl Postgres {
    async fn log_rows(&self, lane: Lane, sql: &str, values: &[Value]) -> Result<Vec<tokio_postgres::Row>, Failure> {
        self.0.lanes.read(lane, sql, &Rows { values, once: false }).await
    }

    pub(crate) async fn log_from(&self, position: i64, limit: u32) -> Result<Vec<LogRecord>, Failure> {
        let sql = "SELECT \"position\", \"id\", \"entry\", \"hash\", \"salt\", \"detail\", \"event\", \"organisation\" FROM \"_log\" WHERE \"position\" >= $1::bigint ORDER BY \"position\" LIMIT $2::bigint";
        let rows = self.log_rows(SCAN, sql, &[Value::Int(position), Value::Int(limit.into())]).await?;
        Ok(rows.iter().map(record).collect())
    }

    pub(crate) async fn leaves_from(&self, position: i64, limit: u32) -> Result<Vec<(i64, Vec<u8>)>, Failure> {
        let sql = "SELECT \"position\", \"entry\" FROM \"_log\" WHERE \"position\" >= $1::bigint ORDER BY \"position\" LIMIT $2::bigint";
        let rows = self.log_rows(SCAN, sql, &[Value::Int(position), Value::Int(limit.into())]).await?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// Entries that were committed and have no position yet; it is −1 here.
    pub(crate) async fn log_waiting(&self, limit: u32) -> Result<Vec<LogRecord>, Failure> {
        let sql = "SELECT -1::bigint, \"id\", \"entry\", \"hash\", \"salt\", \"detail\", \"event\", \"organisation\" FROM \"_log\" WHERE \"position\" IS NULL ORDER BY \"arrival\" LIMIT $1::bigint";
        let rows = self.log_rows(if limit == 1 { Lane::State } else { SCAN }, sql, &[Value::Int(limit.into())]).await?;
        Ok(rows.iter().map(record).collect())
    }

    pub(crate) async fn events_from(&self, position: i64, limit: u32) -> Result<Vec<EventRecord>, Failure> {
        let sql = "SELECT l.\"position\", l.\"id\", l.\"event\", i.\"image\" FROM \"_log\" l LEFT JOIN \"_images\" i ON i.\"id\" = l.\"id\" WHERE l.\"position\" >= $1::bigint ORDER BY l.\"position\" LIMIT $2::bigint";
        self.0.lanes.read(Lane::Of(Reads::SYSTEM, LOG), sql, &Events { position, limit }).await
    }

    pub(crate) async fn log_bounds(&self) -> Result<(i64, i64), Failure> {
        let sql = "SELECT COALESCE(MIN(\"position\"), 0), GREATEST(COALESCE(MAX(\"position\") + 1, 0), (SELECT COALESCE(MAX(\"size\"), 0) FROM \"_seals\")) FROM \"_log\"";
        let rows = self.log_rows(Lane::State, sql, &[]).await?;
        rows.first().map(|row| (row.get(0), row.get(1))).ok_or(Failure::Broken)
    }

    pub(crate) async fn forget_images(&self, before: &str, bytes: i64) -> Result<(), Failure> {
        let client = self.0.slow.get().await.map_err(|_| Failure::Unavailable)?;
        let fail = |error: tokio_postgres::Error| failure(&error);
        client.execute("DELETE FROM \"_images\" WHERE \"id\" < $1", &[&before]).await.map_err(fail)?;
        loop {
            let sum = "SELECT COALESCE(SUM(LENGTH(\"image\")), 0)::bigint FROM \"_images\"";
            if client.query_one(sum, &[]).await.map_err(fail)?.get::<_, i64>(0) <= bytes {
                return Ok(());
            }
            let sql = format!("DELETE FROM \"_images\" WHERE \"id\" IN (SELECT \"id\" FROM \"_images\" ORDER BY \"id\" LIMIT {TAKEN_OUT_AT_ONCE})");
            client.execute(&sql, &[]).await.map_err(fail)?;
        }
    }

    pub(crate) async fn seals_from(&self, size: i64, limit: u32) -> Result<Vec<Seal>, Failure> {
        let sql = "SELECT \"size\", \"time\", \"note\", \"frontier\" FROM \"_seals\" WHERE \"size\" >= $1::bigint ORDER BY \"size\" LIMIT $2::bigint";
        let rows = self.log_rows(SCAN, sql, &[Value::Int(size), Value::Int(limit.into())]).await?;
        Ok(rows.iter().map(seal).collect())
    }

    pub(crate) async fn last_seal(&self) -> Result<Option<Seal>, Failure> {
        let sql = "SELECT \"size\", \"time\", \"note\", \"frontier\" FROM \"_seals\" ORDER BY \"size\" DESC LIMIT 1";
        Ok(self.log_rows(Lane::State, sql, &[]).await?.first().map(seal))
    }

    /// Digest and result of a claimed key.
    pub(crate) async fn claimed(&self, key: &str) -> Result<Option<(String, String)>, Failure> {
        let sql = "SELECT \"digest\", \"result\" FROM \"_idempotency\" WHERE \"key\" = $1::text";
        Ok(self.log_rows(Lane::Credentials, sql, &[Value::text(key)]).await?.first().map(|row| (row.get(0), row.get(1))))
    }

    pub(crate) async fn take_out_log(&self, size: i64, frontier: Vec<u8>) -> Result<(), Failure> {
        let mut client = self.0.slow.get().await.map_err(|_| Failure::Unavailable)?;
        let fail = |error: tokio_postgres::Error| failure(&error);
        let transaction = client.transaction().await.map_err(fail)?;
        transaction.execute("UPDATE \"_seals\" SET \"frontier\" = $1 WHERE \"size\" = $2", &[&frontier, &size]).await.map_err(fail)?;
        transaction.execute("DELETE FROM \"_seals\" WHERE \"size\" < $1", &[&size]).await.map_err(fail)?;
        transaction.commit().await.map_err(fail)?;
        let sql = format!(
            "DELETE FROM \"_log\" WHERE \"position\" IN (SELECT \"position\" FROM \"_log\" WHERE \"position\" < $1 LIMIT {TAKEN_OUT_AT_ONCE})"
        );
        loop {
            if client.execute(&sql, &[&size]).await.map_err(fail)? == 0 {
                return Ok(());
            }
        }
    }

    pub(crate) async fn forget_claims(&self, before_ms: i64) -> Result<(), Failure> {
        let client = self.0.slow.get().await.map_err(|_| Failure::Unavailable)?;
        client.execute("DELETE FROM \"_idempotency\" WHERE \"time\" < $1", &[&before_ms]).await.map(|_| ()).map_err(|error| failure(&error))
    }
}

fn record(row: &tokio_postgres::Row) -> LogRecord {
    LogRecord {
        position: row.get(0),
        id: row.get(1),
        entry: row.get(2),
        hash: row.get(3),
        salt: row.get::<_, Option<Vec<u8>>>(4).unwrap_or_default(),
        detail: row.get::<_, Option<String>>(5).unwrap_or_default(),
        beside: Some(Beside { event: row.get(6), organisation: row.get(7) }),
    }
}

fn seal(row: &tokio_postgres::Row) -> Seal {
    Seal { size: row.get(0), time_ms: row.get(1), note: row.get(2), frontier: row.get(3) }
}
