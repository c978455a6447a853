//! Changes that come while the writer has work of seconds: they wait for a while, and are taken back before it begins with them.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

/// Who has it: the writer, which runs the change, or its caller, who has stopped waiting. It is taken once.
#[derive(Clone, Default)]
pub(super) struct Claim(Arc<AtomicBool>);

impl Claim {
    pub(super) fn take(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }
}

/// Counts work that holds the writer for long, from the moment in which it is queued.
#[derive(Clone, Default)]
pub(super) struct Long(Arc<AtomicUsize>);

impl Long {
    pub(super) fn begin(&self) -> LongWork {
        self.0.fetch_add(1, Ordering::Release);
        LongWork(self.clone())
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.0.load(Ordering::Acquire) > 0
    }
}

pub(super) struct LongWork(Long);

impl Drop for LongWork {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Release);
    }
}
