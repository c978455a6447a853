//! Logs an outage of the database: a line when it begins, one a minute, and one when it ends.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

const EVERY: Duration = Duration::from_secs(60);

/// One for the process: connections of all kinds see the same outage.
static OUTAGE: Mutex<Option<Outage>> = Mutex::new(None);

struct Outage {
    began: Instant,
    told: Instant,
    /// Failures since the last log line.
    failures: u64,
}

fn lock() -> MutexGuard<'static, Option<Outage>> {
    OUTAGE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The database could not be reached or used.
pub(super) fn met(error: &str, code: Option<&str>) {
    let (now, mut outage) = (Instant::now(), lock());
    match outage.as_mut() {
        None => {
            *outage = Some(Outage { began: now, told: now, failures: 0 });
            drop(outage);
            tracing::error!(target: "haechi::store", error, code, "the database is away");
        }
        Some(outage) => {
            outage.failures += 1;
            if now - outage.told >= EVERY {
                outage.told = now;
                let (failures, seconds) = (std::mem::take(&mut outage.failures), (now - outage.began).as_secs());
                tracing::error!(target: "haechi::store", error, code, failures, seconds, "the database is still away");
            }
        }
    }
}

/// A connection was made.
pub(super) fn over() {
    let ended = lock().take();
    if let Some(outage) = ended {
        tracing::info!(target: "haechi::store", failures = outage.failures, seconds = outage.began.elapsed().as_secs(), "the database is back");
    }
}
