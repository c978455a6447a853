//! Time comes in as a value.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

/// Where the time comes from.
pub trait Clock: Send + Sync {
    /// UTC milliseconds since 1970.
    fn now_ms(&self) -> i64;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place where time comes from")]
    fn now_ms(&self) -> i64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// A clock that tests move.
#[derive(Debug)]
pub struct TestClock {
    offset_ms: AtomicI64,
    /// The time at which it stands; 0 while it runs.
    stands_at_ms: AtomicI64,
}

impl TestClock {
    /// A clock that starts at the machine's time.
    #[must_use]
    pub fn new() -> Self {
        Self { offset_ms: AtomicI64::new(0), stands_at_ms: AtomicI64::new(0) }
    }

    /// Moves it, also backwards.
    pub fn advance_ms(&self, ms: i64) {
        self.offset_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// Makes it stand still but for what it is moved by: for what a slow machine would change.
    pub fn stand_still(&self) {
        self.stands_at_ms.store(SystemClock.now_ms(), Ordering::Relaxed);
    }
}

impl Default for TestClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for TestClock {
    fn now_ms(&self) -> i64 {
        let now = match self.stands_at_ms.load(Ordering::Relaxed) {
            0 => SystemClock.now_ms(),
            stands_at => stands_at,
        };
        now + self.offset_ms.load(Ordering::Relaxed)
    }
}
