//! The log of the store: its entries, their events, positions and seals.

use crate::{
    Driver, Leaf, Store, Stored,
    journal::{EventRecord, LogRecord, Seal, Unsealed},
    sqlite,
};
use futures_util::future::BoxFuture;
use haechi_model::Failure;

impl Store {
    /// Entries from a position on, in order.
    ///
    /// # Errors
    /// When the database is busy or unavailable.
    pub fn log_from(&self, position: i64, limit: u32) -> BoxFuture<'_, Result<Vec<LogRecord>, Failure>> {
        Box::pin(async move {
            match &self.driver {
                Driver::Sqlite(sqlite) => sqlite.log_from(position, limit).await,
                Driver::Postgres(postgres) => postgres.log_from(position, limit).await,
            }
        })
    }

    /// Positions and encoded entries from a position on, in order, for sealing. Details can be long and are left out.
    ///
    /// # Errors
    /// When the database is busy or unavailable.
    pub fn leaves_from(&self, position: i64, limit: u32) -> BoxFuture<'_, Stored<Vec<Leaf>>> {
        Box::pin(async move {
            match &self.driver {
                Driver::Sqlite(sqlite) => sqlite.leaves_from(position, limit).await,
                Driver::Postgres(postgres) => postgres.leaves_from(position, limit).await,
            }
        })
    }

    /// Entries that were committed and wait for their position, in the order of arrival; there are none on SQLite.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn log_waiting(&self, limit: u32) -> BoxFuture<'_, Result<Vec<LogRecord>, Failure>> {
        Box::pin(async move {
            match &self.driver {
                Driver::Sqlite(_) => Ok(Vec::new()),
                Driver::Postgres(postgres) => postgres.log_waiting(limit).await,
            }
        })
    }

    /// Events from a position on, in order; entries without an event are included.
    ///
    /// # Errors
    /// When the database is busy or unavailable.
    pub fn events_from(&self, position: i64, limit: u32) -> BoxFuture<'_, Result<Vec<EventRecord>, Failure>> {
        Box::pin(async move {
            match &self.driver {
                Driver::Sqlite(sqlite) => sqlite.events_from(position, limit).await,
                Driver::Postgres(postgres) => postgres.events_from(position, limit).await,
            }
        })
    }

    /// The first position in the log, and the next to be given.
    ///
    /// # Errors
    /// When the database is busy or unavailable.
    pub fn log_bounds(&self) -> BoxFuture<'_, Result<(i64, i64), Failure>> {
        Box::pin(async move {
            match &self.driver {
                Driver::Sqlite(sqlite) => sqlite.log_bounds().await,
                Driver::Postgres(postgres) => postgres.log_bounds().await,
            }
        })
    }

    /// Deletes images of entries whose ids come before one, then the oldest until at most so many bytes are left.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn forget_images<'a>(&'a self, before: &'a str, bytes: i64) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            match &self.driver {
                Driver::Sqlite(sqlite) => sqlite.forget_images(before, bytes).await,
                Driver::Postgres(postgres) => postgres.forget_images(before, bytes).await,
            }
        })
    }

    /// Seals from a size on, in order.
    ///
    /// # Errors
    /// When the database is busy or unavailable.
    pub fn seals_from(&self, size: i64, limit: u32) -> BoxFuture<'_, Result<Vec<Seal>, Failure>> {
        Box::pin(async move {
            match &self.driver {
                Driver::Sqlite(sqlite) => sqlite.seals_from(size, limit).await,
                Driver::Postgres(postgres) => postgres.seals_from(size, limit).await,
            }
        })
    }

    /// The newest seal.
    ///
    /// # Errors
    /// When the database is busy or unavailable.
    pub fn last_seal(&self) -> BoxFuture<'_, Result<Option<Seal>, Failure>> {
        Box::pin(async move {
            match &self.driver {
                Driver::Sqlite(sqlite) => sqlite.last_seal().await,
                Driver::Postgres(postgres) => postgres.last_seal().await,
            }
        })
    }

    /// Keeps a seal.
    ///
    /// # Errors
    /// When the database cannot be reached, or this node does not hold the lease.
    pub fn save_seal(&self, seal: Seal) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move {
            match &self.driver {
                Driver::Sqlite(sqlite) => match sqlite.writer.alone(move |connection| sqlite::save_seal(connection, &seal)).await? {
                    Ok(true) => Ok(()),
                    Ok(false) => Err(Failure::Busy),
                    Err(error) => Err(sqlite::failure(&error)),
                },
                Driver::Postgres(postgres) => postgres.save_seal(&seal).await,
            }
        })
    }

    /// Deletes entries before a position, and the seals before it; the seal at it gets another state. The next call finishes an interrupted
    /// one.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn take_out_log(&self, size: i64, frontier: Vec<u8>) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move {
            match &self.driver {
                Driver::Sqlite(sqlite) => sqlite.take_out_log(size, frontier).await,
                Driver::Postgres(postgres) => postgres.take_out_log(size, frontier).await,
            }
        })
    }

    /// Gives positions to entries without one, where the commit does not do it. `true`: this node gives them now.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn sequence(&self, now_ms: i64) -> BoxFuture<'_, Result<bool, Failure>> {
        Box::pin(async move {
            match &self.driver {
                Driver::Sqlite(_) => Ok(true),
                Driver::Postgres(postgres) => postgres.sequence(now_ms).await,
            }
        })
    }

    /// Entries without a seal, where nodes share the database; `None` on SQLite.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn unsealed(&self) -> BoxFuture<'_, Result<Option<Unsealed>, Failure>> {
        Box::pin(async move {
            match &self.driver {
                Driver::Sqlite(_) => Ok(None),
                Driver::Postgres(postgres) => postgres.unsealed().await.map(Some),
            }
        })
    }

    /// Starts to listen to commits of other nodes.
    pub fn listen(&self) {
        if let Driver::Postgres(postgres) = &self.driver {
            postgres.listen();
        }
    }

    /// Gives up what this node holds for all nodes: the last step before it ends.
    pub fn release(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if let Driver::Postgres(postgres) = &self.driver {
                postgres.release().await;
            }
        })
    }
}
