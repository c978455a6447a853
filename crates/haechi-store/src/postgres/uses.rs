//! How tables and indexes are used, by the server's cumulative statistics.

use super::{
    Postgres,
    lanes::{Lane, Rows},
};
use crate::uses::{IndexUse, TableUse, Uses};
use haechi_model::{Failure, Table};
use std::collections::HashMap;
use tokio_postgres::Row;

const SINCE: &str = "SELECT (extract(epoch FROM stats_reset) * 1000)::bigint FROM pg_stat_database WHERE datname = current_database()";
/// The count of living rows drifts; the planner's estimate is set right by each analysis.
const TABLES: &str = "SELECT s.relname::text, CASE WHEN c.reltuples >= 0 THEN c.reltuples::bigint ELSE n_live_tup END, seq_scan, seq_tup_read, \
     coalesce(idx_scan, 0), n_dead_tup FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid WHERE s.schemaname = current_schema()";
const INDEXES: &str =
    "SELECT indexrelname::text, idx_scan, pg_relation_size(indexrelid) FROM pg_stat_user_indexes WHERE schemaname = current_schema()";

impl Postgres {
    pub(crate) async fn uses(&self) -> Result<Uses, Failure> {
        let since_ms = self.statistics(SINCE).await?.first().and_then(|row| row.get(0));
        let count = |row: &Row, at: usize| row.get::<_, i64>(at).unsigned_abs();
        let of_table = |row: &Row| {
            let name: String = row.get(0);
            let [rows, walks, walked, searches, dead] = [1, 2, 3, 4, 5].map(|at| count(row, at));
            (name.clone(), TableUse { name, rows, walks, walked, searches, dead, indexes: Vec::new() })
        };
        let mut tables: HashMap<String, TableUse> = self.statistics(TABLES).await?.iter().map(of_table).collect();
        let of_index = |row: &Row| (row.get(0), (count(row, 1), count(row, 2)));
        let indexes: HashMap<String, (u64, u64)> = self.statistics(INDEXES).await?.iter().map(of_index).collect();
        let of_collection = |table: &Table| {
            let mut found = tables.remove(&table.name)?;
            found.indexes = indexes_of(table, &indexes);
            Some(found)
        };
        let catalog = &self.0.catalog;
        Ok(Uses { counted: true, since_ms, tables: catalog.tables[..catalog.collections.len()].iter().filter_map(of_collection).collect() })
    }

    async fn statistics(&self, sql: &str) -> Result<Vec<Row>, Failure> {
        self.0.lanes.read(Lane::State, sql, &Rows { values: &[], once: true }).await
    }
}

/// Indexes that are there to be fast and for nothing else: a unique one is a rule, and one over a reference serves deletions.
fn indexes_of(table: &Table, uses: &HashMap<String, (u64, u64)>) -> Vec<IndexUse> {
    let only_fast = |index: &&haechi_model::Index| !index.unique && (index.columns.len() > 1 || table.referred(index.columns[0]).is_none());
    let used = |index: &haechi_model::Index| {
        let (searches, bytes) = *uses.get(&index.name)?;
        let columns = index.columns.iter().map(|column| table.columns[*column].name.clone()).collect();
        Some(IndexUse { columns, searches, bytes })
    };
    table.indexes.iter().filter(only_fast).filter_map(used).collect()
}
