//! How the database's tables and indexes are used, by its own statistics.

use crate::{Driver, Reads, Store};
use futures_util::future::BoxFuture;
use haechi_model::Failure;

/// SQLite counts nothing by itself: rows are counted up to this many.
const COUNTED: u64 = 10_000;

/// The use of tables, and since when it is counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    /// Whether the database counts reads.
    pub counted: bool,
    /// Since when it counts them; since the database was made, where it does not say.
    pub since_ms: Option<i64>,
    /// Tables of collections, in the order of the model.
    pub tables: Vec<TableUse>,
}

/// The use of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableUse {
    /// Its name.
    pub name: String,
    /// Rows, about; without statistics at most ten thousand are counted.
    pub rows: u64,
    /// How often all of it was read row by row.
    pub walks: u64,
    /// Rows that were read so.
    pub walked: u64,
    /// How often an index found rows of it.
    pub searches: u64,
    /// Old versions of rows that still take space.
    pub dead: u64,
    /// Indexes that the folder declares and that promise nothing (not unique, not for a reference).
    pub indexes: Vec<IndexUse>,
}

/// The use of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexUse {
    /// Its columns.
    pub columns: Vec<String>,
    /// How often it found rows.
    pub searches: u64,
    /// How large it is.
    pub bytes: u64,
}

impl Store {
    /// How the collections' tables are used.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn uses(&self) -> BoxFuture<'_, Result<Uses, Failure>> {
        Box::pin(async move {
            match &self.driver {
                Driver::Postgres(postgres) => postgres.uses().await,
                Driver::Sqlite(sqlite) => {
                    let names: Vec<String> = self.catalog.collections.iter().map(|collection| collection.name.clone()).collect();
                    let count = move |connection: &rusqlite::Connection| {
                        let table = |name: String| {
                            let sql = format!("SELECT COUNT(*) FROM (SELECT 1 FROM \"{name}\" LIMIT {COUNTED})");
                            let rows = connection.query_row(&sql, [], |row| row.get::<_, i64>(0))?.unsigned_abs();
                            Ok(TableUse { name, rows, ..TableUse::default() })
                        };
                        names.into_iter().map(table).collect::<rusqlite::Result<Vec<_>>>()
                    };
                    Ok(Uses { tables: sqlite.readers.run(Reads::SCAN, count).await?, ..Uses::default() })
                }
            }
        })
    }
}
