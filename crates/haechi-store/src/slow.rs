//! Logs slow statements, with the purpose of each.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// The plan of a slow statement is asked for at most this often: the database has enough to do then.
const PLANS_EVERY: Duration = Duration::from_secs(1);

/// A slow statement. Its text has no values in it.
pub struct Slow<'a> {
    /// The text.
    pub statement: &'a str,
    /// How long it took.
    pub took: Duration,
    /// How many rows it found, where known.
    pub rows: Option<usize>,
    /// The table that it read.
    pub table: &'a str,
}

/// The purpose of a statement, which is logged when the statement was slow.
pub trait Purpose: Send + Sync {
    /// Writes the log line.
    fn tell(&self, slow: &Slow<'_>);
}

/// A purpose, or none.
#[derive(Clone, Default)]
pub struct For(pub Option<Arc<dyn Purpose>>);

impl fmt::Debug for For {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(if self.0.is_some() { "For(..)" } else { "For" })
    }
}

/// The time, in microseconds, from which a statement is logged; zero logs none.
#[derive(Debug, Default)]
pub(crate) struct Threshold {
    micros: AtomicU64,
    /// When a plan was last asked for.
    planned: Mutex<Option<Instant>>,
}

impl Threshold {
    pub(crate) fn set(&self, from: Duration) {
        self.micros.store(u64::try_from(from.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn is_met(&self, took: Duration) -> bool {
        let from = self.micros.load(Ordering::Relaxed);
        from > 0 && took.as_micros() >= u128::from(from)
    }

    /// Whether slow statements are logged.
    pub(crate) fn is_set(&self) -> bool {
        self.micros.load(Ordering::Relaxed) > 0
    }

    /// Whether the plan of a read that took so long is asked for now.
    pub(crate) fn asks_for_plan(&self, took: Duration) -> bool {
        if !self.is_met(took) {
            return false;
        }
        let mut planned = self.planned.lock().unwrap_or_else(PoisonError::into_inner);
        let due = planned.is_none_or(|last| last.elapsed() >= PLANS_EVERY);
        if due {
            *planned = Some(Instant::now());
        }
        due
    }

    /// Logs a statement when it was slow.
    pub(crate) fn took(&self, purpose: &For, slow: &Slow<'_>) {
        if !self.is_met(slow.took) {
            return;
        }
        match &purpose.0 {
            Some(purpose) => purpose.tell(slow),
            None => {
                let Slow { statement, took, rows, table } = *slow;
                let ms = took.as_secs_f64() * 1000.0;
                tracing::warn!(target: "haechi::slow", ms, table, rows, statement, "a statement of the database took long");
            }
        }
    }
}
