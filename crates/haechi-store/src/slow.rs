//! Logs slow statements, with the purpose of each.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

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
pub(crate) struct Threshold(AtomicU64);

impl Threshold {
    pub(crate) fn set(&self, from: Duration) {
        self.0.store(u64::try_from(from.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn is_met(&self, took: Duration) -> bool {
        let from = self.0.load(Ordering::Relaxed);
        from > 0 && took.as_micros() >= u128::from(from)
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
