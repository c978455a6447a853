//! Time comes in as a value.

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

    /// Milliseconds since some moment. It goes on evenly, whatever the clock is set to.
    fn elapsed_ms(&self) -> i64;
}

/// The gate's clock: what it says never goes back. It follows the system's clock; while that is behind what was said, or behind the time of
/// the ledger, it goes on from there as time passes. So what was refused as ended stays ended, and what is issued lives as long as it says.
pub struct GateClock {
    system: Arc<dyn Clock>,
    /// What is said, without the time that has passed: it only grows, but when somebody accepts the system's time.
    lead_ms: AtomicI64,
    /// When somebody has last accepted it, by the time that has passed.
    accepted_ms: AtomicI64,
    /// The latest time in the ledger that was written here.
    written_ms: AtomicI64,
}

/// From when on the system's clock being behind is told.
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

    /// It is at least as late as this, a time of the ledger.
    pub(crate) fn is_at_least(&self, ms: i64) {
        // Other nodes may have written by the old time a moment ago.
        let elapsed = self.system.elapsed_ms();
        if elapsed - self.accepted_ms.load(Ordering::Acquire) >= ACCEPTING_MS {
            self.lead_ms.fetch_max(ms.saturating_sub(elapsed), Ordering::AcqRel);
        }
    }

    /// The time of an entry of a change that began then: times of the ledger never go back, in whatever order changes end.
    pub(crate) fn entry_ms(&self, begun_ms: i64) -> i64 {
        // What began by a time that was given up since is of now.
        let ms = begun_ms.min(self.now_ms());
        ms.max(self.written_ms.fetch_max(ms, Ordering::AcqRel))
    }

    /// Takes the system's time, also back.
    pub(crate) fn accept(&self) {
        let elapsed = self.system.elapsed_ms();
        self.accepted_ms.store(elapsed, Ordering::Release);
        self.lead_ms.store(self.system.now_ms() - elapsed, Ordering::Release);
        self.written_ms.store(i64::MIN, Ordering::Release);
    }

    /// Goes on from a time that was accepted too early.
    pub(crate) fn take_back(&self, ms: i64) {
        self.lead_ms.fetch_max(ms - self.system.elapsed_ms(), Ordering::AcqRel);
    }
}

/// For so long after the system's time was accepted the times of the ledger say nothing.
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

/// The clock of a copy: it stands at its ledger's last entry. What waited for its seal when the copy was made is not old because the copy is.
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
    /// The time at which it stands; 0 while it runs.
    stands_at_ms: AtomicI64,
    /// How much time had passed then.
    stood_at_ms: AtomicI64,
}

impl TestClock {
    /// A clock that starts at the machine's time.
    #[must_use]
    pub fn new() -> Self {
        Self { offset_ms: AtomicI64::new(0), stands_at_ms: AtomicI64::new(0), stood_at_ms: AtomicI64::new(0) }
    }

    /// Moves it, also backwards.
    pub fn advance_ms(&self, ms: i64) {
        self.offset_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// Makes it stand still but for what it is moved by: for what a slow machine would change.
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
