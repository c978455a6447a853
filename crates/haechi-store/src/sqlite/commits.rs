//! How often something was committed.

use std::sync::atomic::{AtomicU64, Ordering};

/// How often something was committed: what was read at the same count is of today.
#[derive(Default)]
pub(crate) struct Commits(AtomicU64);

impl Commits {
    /// The count. Whoever was told of a commit sees it counted.
    pub(crate) fn now(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    pub(super) fn count(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}
