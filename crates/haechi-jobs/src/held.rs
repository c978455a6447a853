//! What this worker has, and the heartbeat that keeps it: on a task of its own, so that no other work holds it up.

use crate::Inner;
use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};
use tokio::task::AbortHandle;

/// How often a worker says that it still has its jobs.
const BEAT_EVERY: Duration = Duration::from_secs(10);
/// How many beats it is looked for rows that nobody here knows, after something went wrong.
const BEATS_IN_DOUBT: u8 = 3;

/// The jobs that this worker has: with a handle, once they are begun.
#[derive(Default)]
pub(crate) struct Held {
    jobs: Mutex<HashMap<Box<str>, Option<AbortHandle>>>,
    doubt: AtomicU8,
}

impl Held {
    /// It was claimed.
    pub(crate) fn claimed(&self, id: &str) {
        self.lock().insert(id.into(), None);
    }

    /// It is begun.
    pub(crate) fn begun(&self, id: &str, handle: AbortHandle) {
        self.lock().insert(id.into(), Some(handle));
    }

    /// Whether it is this worker's still, as far as is known.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.lock().contains_key(id)
    }

    /// It ended, or was given back.
    pub(crate) fn ended(&self, id: &str) {
        self.lock().remove(id);
    }

    /// A statement failed: there may be rows in this worker's name that it does not know.
    pub(crate) fn doubt(&self) {
        self.doubt.store(BEATS_IN_DOUBT, Ordering::Relaxed);
    }

    fn ids(&self) -> HashSet<Box<str>> {
        self.lock().keys().cloned().collect()
    }

    fn lose(&self, id: &str) {
        if let Some(Some(handle)) = self.lock().remove(id) {
            handle.abort();
        }
    }

    /// Whether it is worth a question.
    fn asks(&self) -> bool {
        let doubts = self.doubt.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
        doubts || !self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Option<AbortHandle>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Beats until it is aborted.
pub(crate) async fn beat(inner: Arc<Inner>) {
    let mut timer = tokio::time::interval(BEAT_EVERY);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut unknown = HashSet::new();
    loop {
        timer.tick().await;
        if !inner.held.asks() {
            continue;
        }
        match inner.beat_once(&unknown).await {
            Ok(found) => unknown = found,
            Err(error) => {
                inner.held.doubt();
                tracing::warn!(target: "haechi::jobs", ?error, "that jobs are still under way could not be said");
            }
        }
    }
}

impl Inner {
    /// Renews the leases. Jobs that are not this worker's any more are ended; rows in its name that nobody here knew at the last beat either
    /// are given back. Returns those that nobody knows now.
    async fn beat_once(&self, before: &HashSet<Box<str>>) -> Result<HashSet<Box<str>>, haechi_gate::SystemError> {
        let held = self.held.ids();
        let mine: HashSet<Box<str>> = self.renew().await?.into_iter().collect();
        let missing: Vec<Box<str>> = held.iter().filter(|id| !mine.contains(*id)).cloned().collect();
        // A row that a change holds at the moment is not renewed, and is this worker's all the same.
        let still = self.still_mine(&missing).await?;
        missing.iter().filter(|id| !still.contains(*id)).for_each(|id| self.held.lose(id));
        let now = self.held.ids();
        let unknown: HashSet<Box<str>> = mine.into_iter().filter(|id| !held.contains(id) && !now.contains(id)).collect();
        let left: Vec<Box<str>> = unknown.iter().filter(|id| before.contains(*id)).cloned().collect();
        if !left.is_empty() {
            tracing::warn!(target: "haechi::jobs", count = left.len(), "jobs that nobody here works on are given back");
            self.hand_back(&left).await?;
            self.told.all();
        } else if !unknown.is_empty() {
            self.held.doubt();
        }
        Ok(unknown)
    }
}
