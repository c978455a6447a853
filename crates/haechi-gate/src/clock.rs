//! The time is passed in as a value.

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicI64, Ordering},
    },
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// Where the time comes from.
pub trait Clock: Send + Sync {
    /// UTC milliseconds since 1970.
    fn now_ms(&self) -> i64;

    /// Milliseconds since some moment. Changes of the system's clock do not affect it.
    fn elapsed_ms(&self) -> i64;
}

/// The gate's clock never goes back. It follows the system's clock. When the system's clock is behind the last time it gave, or behind the
/// ledger, it goes on from there as time passes. So what was refused as ended stays ended.
pub struct GateClock {
    system: Arc<dyn Clock>,
    /// The clock's time minus the elapsed time: it only grows, unless an operator accepts the system's time.
    lead_ms: AtomicI64,
    /// When an operator last accepted the system's time, in elapsed milliseconds.
    accepted_ms: AtomicI64,
    /// The latest time in the ledger that this node has written.
    written_ms: AtomicI64,
}

/// The log reports a system clock that is behind by this or more.
pub const CLOCK_BEHIND_MS: i64 = 60_000;

impl GateClock {
    pub(crate) fn new(system: Arc<dyn Clock>) -> Self {
        Self { system, lead_ms: AtomicI64::new(i64::MIN), accepted_ms: AtomicI64::new(i64::MIN / 2), written_ms: AtomicI64::new(i64::MIN) }
    }

    /// UTC milliseconds since 1970.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        let elapsed = self.system.elapsed_ms();
        let lead = self.system.now_ms() - elapsed;
        elapsed + lead.max(self.lead_ms.fetch_max(lead, Ordering::AcqRel))
    }

    /// How far it is ahead of the system's.
    #[must_use]
    pub fn ahead_ms(&self) -> i64 {
        (self.now_ms() - self.system.now_ms()).max(0)
    }

    /// Moves the clock forward to at least this time of the ledger.
    pub(crate) fn is_at_least(&self, ms: i64) {
        // After an accepted time, other nodes may still have written with the old time a moment ago.
        let elapsed = self.system.elapsed_ms();
        if elapsed - self.accepted_ms.load(Ordering::Acquire) >= ACCEPTING_MS {
            self.lead_ms.fetch_max(ms.saturating_sub(elapsed), Ordering::AcqRel);
        }
    }

    /// The time of the entry of a change that began at `begun_ms`; never before the last entry that this node wrote.
    pub(crate) fn entry_ms(&self, begun_ms: i64) -> i64 {
        // A change that began under a time that was given up since gets the current time.
        let ms = begun_ms.min(self.now_ms());
        ms.max(self.written_ms.fetch_max(ms, Ordering::AcqRel))
    }

    /// Takes the system's time, also when it is earlier.
    pub(crate) fn accept(&self) {
        let elapsed = self.system.elapsed_ms();
        self.accepted_ms.store(elapsed, Ordering::Release);
        self.lead_ms.store(self.system.now_ms() - elapsed, Ordering::Release);
        self.written_ms.store(i64::MIN, Ordering::Release);
    }

    /// Goes on from the time before, when the accepted time could not be recorded.
    pub(crate) fn take_back(&self, ms: i64) {
        self.lead_ms.fetch_max(ms - self.system.elapsed_ms(), Ordering::AcqRel);
    }
}

/// Times in the ledger are ignored for so long after the system's time was accepted.
const ACCEPTING_MS: i64 = 10_000;

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place where time comes from")]
    fn now_ms(&self) -> i64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn elapsed_ms(&self) -> i64 {
        static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
        i64::try_from(BEGAN.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}

/// The clock of a copy: it stands at the ledger's last entry. So entries that waited for their seal when the copy was made do not look old.
#[derive(Clone, Copy, Debug, Default)]
pub struct LedgerClock;

impl Clock for LedgerClock {
    fn now_ms(&self) -> i64 {
        0
    }

    fn elapsed_ms(&self) -> i64 {
        0
    }
}

/// A clock that tests move.
#[derive(Debug)]
pub struct TestClock {
    offset_ms: AtomicI64,
    /// The time at which the clock stands; 0 while it runs.
    stands_at_ms: AtomicI64,
    /// The elapsed time when it was stopped.
    stood_at_ms: AtomicI64,
}

impl TestClock {
    /// A clock that starts at the machine's time.
    #[must_use]
    pub fn new() -> Self {
        Self { offset_ms: AtomicI64::new(0), stands_at_ms: AtomicI64::new(0), stood_at_ms: AtomicI64::new(0) }
    }

    /// Moves the clock, also backwards.
    pub fn advance_ms(&self, ms: i64) {
        self.offset_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// Stops the clock, except for calls that move it: for tests that a slow machine would change.
    pub fn stand_still(&self) {
        self.stood_at_ms.store(SystemClock.elapsed_ms(), Ordering::Relaxed);
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

    fn elapsed_ms(&self) -> i64 {
        match self.stands_at_ms.load(Ordering::Relaxed) {
            0 => SystemClock.elapsed_ms(),
            _ => self.stood_at_ms.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_goes_back() {
        let system = Arc::new(TestClock::new());
        system.stand_still();
        let clock = GateClock::new(system.clone());
        let began = clock.now_ms();
        assert_eq!((began, clock.ahead_ms()), (system.now_ms(), 0));
        system.advance_ms(5_000);
        assert_eq!(clock.now_ms(), began + 5_000);
        system.advance_ms(-3_600_000);
        assert_eq!((clock.now_ms(), clock.ahead_ms()), (began + 5_000, 3_600_000));
        system.stood_at_ms.fetch_add(250, Ordering::Relaxed);
        assert_eq!(clock.now_ms(), began + 5_250, "it goes on as time passes");
        clock.is_at_least(began + 60_000);
        clock.is_at_least(began);
        assert_eq!(clock.now_ms(), began + 60_000);
        clock.accept();
        assert_eq!((clock.now_ms(), clock.ahead_ms()), (system.now_ms(), 0));
        clock.is_at_least(began);
        assert_eq!(clock.ahead_ms(), 0, "other nodes learn of it meanwhile");
        system.stood_at_ms.fetch_add(ACCEPTING_MS, Ordering::Relaxed);
        clock.is_at_least(began);
        assert_eq!(clock.now_ms(), began);
    }
}
