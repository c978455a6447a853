//! What an operator wants to know of the database itself.

use super::{
    Postgres,
    connection::failure,
    lanes::{Lane, Rows},
};
use crate::{
    figures::Sizes,
    signs::{BACKED_UP, NOTE_BACKUP},
};
use haechi_model::{Failure, Table};
use std::sync::atomic::Ordering;

impl Postgres {
    pub(crate) async fn sizes(&self, tables: &[Table]) -> Result<Sizes, Failure> {
        let names: Vec<String> = tables.iter().map(|table| format!("'{}'", table.name.replace('\'', "''"))).collect();
        let sql = format!(
            "SELECT '', pg_database_size(current_database()) UNION ALL SELECT relname::text, pg_total_relation_size(oid) FROM pg_class \
             WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace AND relname IN ({})",
            names.join(", ")
        );
        let rows = self.0.lanes.read(Lane::State, &sql, &Rows { values: &[], once: false }).await?;
        let mut sizes = Sizes::default();
        for row in rows {
            match (row.get::<_, String>(0), row.get::<_, i64>(1).unsigned_abs()) {
                (name, bytes) if name.is_empty() => sizes.database = bytes,
                table => sizes.tables.push(table),
            }
        }
        Ok(sizes)
    }

    pub(crate) fn gives_positions(&self) -> bool {
        self.0.gives_positions.load(Ordering::Relaxed)
    }

    pub(crate) async fn was_backed_up(&self, time_ms: i64) -> Result<(), Failure> {
        let client = self.0.ledger.get().await.map_err(|_| Failure::Unavailable)?;
        client.execute(NOTE_BACKUP, &[&time_ms]).await.map(|_| ()).map_err(|error| failure(&error))
    }

    pub(crate) async fn backed_up(&self) -> Result<Option<i64>, Failure> {
        let rows = self.0.lanes.read(Lane::State, BACKED_UP, &Rows { values: &[], once: false }).await?;
        Ok(rows.first().map(|row| row.get(0)))
    }
}
