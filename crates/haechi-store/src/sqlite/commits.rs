//! Counts commits.

use std::sync::atomic::{AtomicU64, Ordering};

/// The number of commits: a read at the same count is up to date.
#[derive(Default)]
pub(crate) struct Commits(AtomicU64);

impl Commits {
    /// The count. A commit is counted before its caller gets the answer.
    pub(crate) fn now(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    pub(super) fn count(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}
