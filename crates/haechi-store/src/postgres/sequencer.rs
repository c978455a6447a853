//! Positions: one node holds a lease with a fencing number and numbers committed entries, without gaps.

use super::{
    Inner, Postgres,
    connection::failure,
    lanes::{Lane, Rows},
};
use crate::journal::{Seal, Unsealed};
use haechi_model::Failure;
use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

/// The duration of a lease. A stopped holder is replaced after this. The holder renews it once in half of that time.
const LEASE: Duration = Duration::from_secs(4);
/// Entries numbered at a time.
const BATCH: i64 = 2_000;

#[derive(Default)]
pub(super) struct Lease {
    fence: i64,
    /// Until then this node need not renew; the database's clock decides whether the lease still holds.
    renew_at: Option<Instant>,
    /// When another node was last seen holding it.
    another: Option<Instant>,
}

/// The lease of another node is not looked at again for so long.
const ANOTHER: Duration = Duration::from_millis(500);
const NOW: &str = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint";

impl Postgres {
    /// Numbers waiting entries, when this node holds the lease or can get it.
    pub(crate) async fn sequence(&self, _: i64) -> Result<bool, Failure> {
        self.0.sequence().await
    }

    /// Entries without a seal, by the database: nodes that do not seal see them, too.
    pub(crate) async fn unsealed(&self) -> Result<Unsealed, Failure> {
        let sql = "SELECT (SELECT COUNT(*) FROM (SELECT 1 FROM \"_log\" WHERE \"position\" IS NULL LIMIT 10000) w), \
                   (SELECT MIN(\"arrival\") FROM \"_log\" WHERE \"position\" IS NULL), \
                   (SELECT \"arrival\" FROM \"_log\" WHERE \"position\" >= (SELECT COALESCE(MAX(\"size\"), 0) FROM \"_seals\") ORDER BY \"position\" LIMIT 1), \
                   (SELECT last_value FROM \"_log_arrival\"), (SELECT COALESCE(MAX(\"version\"), 0) FROM \"_migrations\")";
        let rows = self.0.lanes.read(Lane::State, sql, &Rows { values: &[], once: false }).await?;
        let row = rows.first().ok_or(Failure::Broken)?;
        let oldest = [row.get::<_, Option<i64>>(1), row.get(2)].into_iter().flatten().min();
        Ok(Unsealed { waiting: row.get::<_, i64>(0).unsigned_abs(), oldest, last: row.get(3), migrations: row.get(4) })
    }

    /// Lets another node take the lease at once.
    pub(crate) async fn release(&self) {
        self.0.lease.lock().await.renew_at = None;
        self.0.gives_positions.store(false, Ordering::Relaxed);
        if let Ok(client) = self.0.ledger.get().await {
            let _ = client.execute("UPDATE \"_leases\" SET \"expires\" = 0 WHERE \"holder\" = $1", &[&self.0.node]).await;
        }
    }

    /// Keeps a seal, unless another node holds the lease now.
    pub(crate) async fn save_seal(&self, seal: &Seal) -> Result<(), Failure> {
        let fence = self.0.lease.lock().await.fence;
        let client = self.0.ledger.get().await.map_err(|_| Failure::Unavailable)?;
        let sql = format!(
            "INSERT INTO \"_seals\" SELECT $1::bigint, $2::bigint, $3::text, $4::bytea \
             WHERE EXISTS (SELECT 1 FROM \"_leases\" WHERE \"name\" = 'sequencer' AND \"holder\" = $5 AND \"fence\" = $6 AND \"expires\" > {NOW})"
        );
        let saved = client.execute(&sql, &[&seal.size, &seal.time_ms, &seal.note, &seal.frontier, &self.0.node, &fence]).await;
        if saved.map_err(|error| failure(&error))? == 1 { Ok(()) } else { Err(Failure::Unavailable) }
    }
}

impl Inner {
    async fn sequence(&self) -> Result<bool, Failure> {
        let mine = self.give_positions().await;
        self.gives_positions.store(mine.as_ref().is_ok_and(|mine| *mine), Ordering::Relaxed);
        mine
    }

    async fn give_positions(&self) -> Result<bool, Failure> {
        let mut lease = self.lease.lock().await;
        let fresh = self.fresh.swap(false, Ordering::AcqRel);
        if lease.renew_at.is_none_or(|at| at <= Instant::now()) && !self.renew(&mut lease).await? {
            if fresh {
                self.notify().await?;
            }
            return Ok(false);
        }
        let mut numbered = 0;
        let mine = loop {
            match self.number(lease.fence).await? {
                None => {
                    lease.renew_at = None;
                    break false;
                }
                Some(count) => {
                    numbered += count;
                    if count < BATCH {
                        break true;
                    }
                }
            }
        };
        if numbered > 0 {
            self.notify().await?;
        }
        Ok(mine)
    }

    /// Takes the lease, or keeps it. The fencing number rises whenever the holder changes.
    async fn renew(&self, lease: &mut Lease) -> Result<bool, Failure> {
        if lease.another.is_some_and(|seen| seen.elapsed() < ANOTHER) {
            return Ok(false);
        }
        let client = self.ledger.get().await.map_err(|_| Failure::Unavailable)?;
        let length = i64::try_from(LEASE.as_millis()).unwrap_or(i64::MAX);
        if lease.renew_at.is_some() {
            // Its own lease: one update, which writes less to the WAL than an upsert.
            let sql = format!("UPDATE \"_leases\" SET \"expires\" = {NOW} + $1 WHERE \"name\" = 'sequencer' AND \"holder\" = $2 AND \"fence\" = $3");
            if client.execute(&sql, &[&length, &self.node, &lease.fence]).await.map_err(|error| failure(&error))? == 1 {
                lease.renew_at = Some(Instant::now() + LEASE / 2);
                return Ok(true);
            }
        }
        // Looking writes nothing; trying does.
        let held = format!("SELECT 1 FROM \"_leases\" WHERE \"name\" = 'sequencer' AND \"holder\" <> $1 AND \"expires\" >= {NOW}");
        if client.query_opt(&held, &[&self.node]).await.map_err(|error| failure(&error))?.is_some() {
            (lease.another, lease.renew_at) = (Some(Instant::now()), None);
            return Ok(false);
        }
        let sql = format!(
            "INSERT INTO \"_leases\" AS l VALUES ('sequencer', $1, {NOW} + $2, 1) ON CONFLICT (\"name\") DO UPDATE \
             SET \"holder\" = $1, \"expires\" = {NOW} + $2, \"fence\" = CASE WHEN l.\"holder\" = $1 THEN l.\"fence\" ELSE l.\"fence\" + 1 END \
             WHERE l.\"holder\" = $1 OR l.\"expires\" < {NOW} RETURNING \"fence\""
        );
        let rows = client.query(&sql, &[&self.node, &length]).await.map_err(|error| failure(&error))?;
        lease.renew_at = rows.first().map(|_| Instant::now() + LEASE / 2);
        lease.another = None;
        lease.fence = rows.first().map_or(0, |row| row.get(0));
        Ok(!rows.is_empty())
    }

    /// Numbers one batch in the order of arrival; `None` when another node has the lease.
    async fn number(&self, fence: i64) -> Result<Option<i64>, Failure> {
        let mut client = self.ledger.get().await.map_err(|_| Failure::Unavailable)?;
        let run = async {
            let waiting = client.query_opt("SELECT 1 FROM \"_log\" WHERE \"position\" IS NULL LIMIT 1", &[]).await?;
            if waiting.is_none() {
                return Ok(Some(0));
            }
            let transaction = client.transaction().await?;
            let held = format!(
                "SELECT 1 FROM \"_leases\" WHERE \"name\" = 'sequencer' AND \"holder\" = $1 AND \"fence\" = $2 AND \"expires\" > {NOW} FOR UPDATE"
            );
            if transaction.query_opt(&held, &[&self.node, &fence]).await?.is_none() {
                return Ok(None);
            }
            let sql = "WITH base AS (SELECT GREATEST((SELECT COALESCE(MAX(\"position\") + 1, 0) FROM \"_log\"), (SELECT COALESCE(MAX(\"size\"), 0) FROM \"_seals\")) AS next), \
                       todo AS (SELECT \"id\", row_number() OVER (ORDER BY \"arrival\") - 1 AS place \
                                FROM (SELECT \"id\", \"arrival\" FROM \"_log\" WHERE \"position\" IS NULL ORDER BY \"arrival\" LIMIT $1) waiting) \
                       UPDATE \"_log\" l SET \"position\" = base.next + todo.place FROM base, todo WHERE l.\"id\" = todo.\"id\"";
            let count = transaction.execute(sql, &[&BATCH]).await?;
            transaction.commit().await?;
            Ok(Some(i64::try_from(count).unwrap_or(BATCH)))
        };
        run.await.map_err(|error: tokio_postgres::Error| failure(&error))
    }
}
