//! How often something was committed.

use std::sync::atomic::{AtomicU64, Ordering};

/// How often something was committed: what was read at the same count is of today.
#[derive(Default)]
pub(crate) struct Commits(AtomicU64);

impl Commits {
    /// The count. A commit is counted before its caller is told of it.
    pub(crate) fn now(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    pub(super) fn count(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}
