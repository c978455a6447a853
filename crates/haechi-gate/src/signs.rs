//! The gate's figures for operators: the ledger, its writers, and the database.

use crate::{gate::Gate, ledger::keeping::Writer, shared::Shared};
use haechi_store::{Fill, Sizes, Usage};
use std::sync::{Arc, atomic::Ordering};

/// The figures at one moment.
pub struct Signs {
    /// Age of the oldest entry without seal, milliseconds.
    pub seal_lag_ms: i64,
    /// Entries that wait for their position.
    pub unplaced: u64,
    /// Whether this node gives positions.
    pub gives_positions: bool,
    /// Writers that fail.
    pub failing: Vec<Writer>,
    /// How far the gate's clock is ahead of the system's.
    pub clock_ahead_ms: i64,
    /// How full the database's pools are, each with its name.
    pub pools: Vec<(&'static str, Fill)>,
    /// What each table was used for.
    pub usage: Vec<Usage>,
    /// How often the database failed, by reason.
    pub failures: Vec<(&'static str, u64)>,
    /// The database's sizes.
    pub sizes: Arc<Sizes>,
    /// The time of the last copy.
    pub backed_up_ms: Option<i64>,
    /// The version of the policies.
    pub policies: Box<str>,
    /// The number of the last migration.
    pub migration: i64,
}

impl Gate {
    /// All figures.
    #[must_use]
    pub fn signs(&self) -> Signs {
        let inner = &self.shared;
        let backed_up_ms = inner.backed_up_ms.load(Ordering::Relaxed);
        Signs {
            seal_lag_ms: self.seal_lag_ms(),
            unplaced: self.unplaced(),
            gives_positions: inner.store.gives_positions(),
            failing: self.failing(),
            clock_ahead_ms: inner.clock.ahead_ms(),
            pools: self.pools(),
            usage: inner.store.usage(),
            failures: inner.store.failures(),
            sizes: inner.sizes.load_full(),
            backed_up_ms: (backed_up_ms > 0).then_some(backed_up_ms),
            policies: inner.revision.load().version.clone(),
            migration: inner.migrations.load(Ordering::Relaxed),
        }
    }

    /// Age of the oldest entry without seal, milliseconds.
    #[must_use]
    pub fn seal_lag_ms(&self) -> i64 {
        self.shared.seal_lag_ms.load(Ordering::Relaxed)
    }

    /// Entries that wait for their position; none where they get it when they are committed.
    #[must_use]
    pub fn unplaced(&self) -> u64 {
        self.shared.unplaced.load(Ordering::Relaxed)
    }

    /// How full the database's pools are, each with its name.
    #[must_use]
    pub fn pools(&self) -> Vec<(&'static str, Fill)> {
        self.shared.store.pools()
    }

    /// Writers that fail.
    #[must_use]
    pub fn failing(&self) -> Vec<Writer> {
        let late = |writer: &Writer| *writer == Writer::Access && self.shared.sightings.is_late();
        Writer::ALL.into_iter().filter(|writer| self.shared.keeping.fails(*writer) || late(writer)).collect()
    }
}

impl Shared {
    /// Measures the database's size and reads the time of the last copy. On failure, the old figures stay.
    pub(crate) async fn look_at_database(&self) {
        if let Ok(sizes) = self.store.sizes().await {
            self.sizes.store(Arc::new(sizes));
        }
        if let Ok(Some(ms)) = self.store.backed_up().await {
            self.backed_up_ms.fetch_max(ms, Ordering::Relaxed);
        }
    }
}
