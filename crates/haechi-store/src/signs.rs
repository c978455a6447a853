//! Facts about the database for operators: its size, its last backup, and which node gives positions.

use crate::{Driver, Reads, Store, figures::Sizes, sqlite};
use futures_util::future::BoxFuture;
use haechi_model::Failure;
use rusqlite::OptionalExtension;

/// The last backup has a row among the leases. A restore to another database copies no leases.
pub(crate) const BACKED_UP: &str = "SELECT \"expires\" FROM \"_leases\" WHERE \"name\" = 'backup'";
pub(crate) const NOTE_BACKUP: &str =
    "INSERT INTO \"_leases\" VALUES ('backup', '', $1, 0) ON CONFLICT (\"name\") DO UPDATE SET \"expires\" = excluded.\"expires\"";

impl Store {
    /// How large it is.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn sizes(&self) -> BoxFuture<'_, Result<Sizes, Failure>> {
        Box::pin(async move {
            match &self.driver {
                Driver::Sqlite(sqlite) => Ok(sqlite.sizes()),
                Driver::Postgres(postgres) => postgres.sizes(&self.wanted_tables()).await,
            }
        })
    }

    /// Whether this node gives positions to entries.
    #[must_use]
    pub fn gives_positions(&self) -> bool {
        match &self.driver {
            Driver::Sqlite(_) => true,
            Driver::Postgres(postgres) => postgres.gives_positions(),
        }
    }

    /// Records the time of a backup.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn was_backed_up(&self, time_ms: i64) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move {
            match &self.driver {
                Driver::Sqlite(sqlite) => {
                    let work = move |connection: &mut rusqlite::Connection| connection.execute(NOTE_BACKUP, [time_ms]);
                    sqlite.writer.alone(work).await?.map(|_| ()).map_err(|error| sqlite::failure(&error))
                }
                Driver::Postgres(postgres) => postgres.was_backed_up(time_ms).await,
            }
        })
    }

    /// The time of the last backup.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn backed_up(&self) -> BoxFuture<'_, Result<Option<i64>, Failure>> {
        Box::pin(async move {
            match &self.driver {
                Driver::Sqlite(sqlite) => {
                    sqlite.readers.run(Reads::SYSTEM, |connection| connection.query_row(BACKED_UP, [], |row| row.get(0)).optional()).await
                }
                Driver::Postgres(postgres) => postgres.backed_up().await,
            }
        })
    }
}
