//! Who looked at what, and who was refused: merged per caller, action and second, written behind the reply.

use haechi_model::{Actor, CollectionId};
use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Most merged entries that wait.
const MAX_WAITING: usize = 50_000;
/// Most record ids that one entry names; the count goes on.
const MAX_IDS: usize = 100;
/// Most refused requests that one entry names; the count goes on.
const MAX_REQUESTS: usize = 20;

/// When an entry has waited this long, nothing that needs an entry is shown any more.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(2);

/// A read that needs an entry is refused: too many entries wait, or they cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessFull;

/// What was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Sighting {
    pub(crate) action: &'static str,
    pub(crate) collection: CollectionId,
    /// Bit per field.
    pub(crate) fields: u64,
}

/// A merged entry.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) count: u64,
    /// Records that were seen, or requests that were refused: `REQUEST` or `REQUEST/RECORD`.
    pub(crate) ids: Vec<Box<str>>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Seen(Box<str>, Sighting),
    Refused(Box<str>, Cow<'static, str>, Option<CollectionId>),
}

/// The waiting entries.
#[derive(Default)]
pub(crate) struct Sightings {
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    entries: HashMap<Key, (Arc<Actor>, Tally)>,
    /// When the oldest entry began to wait, among the waiting ones and among those being written.
    since: Option<Instant>,
    being_written: Option<Instant>,
    /// Whether the last write has failed.
    failed: bool,
}

impl Waiting {
    /// Whether a new entry might be lost.
    fn is_late(&self) -> bool {
        let oldest = self.being_written.or(self.since);
        self.failed || oldest.is_some_and(|since| since.elapsed() >= MAX_WAIT)
    }

    fn begins(&mut self) {
        if self.since.is_none() {
            self.since = Some(Instant::now());
        }
    }
}

impl Sightings {
    pub(crate) fn seen(&self, actor: &Arc<Actor>, sighting: Sighting, ids: &[Box<str>]) -> Result<(), AccessFull> {
        let mut waiting = self.lock();
        let key = Key::Seen(actor.id.clone(), sighting);
        if waiting.is_late() || waiting.entries.len() >= MAX_WAITING && !waiting.entries.contains_key(&key) {
            return Err(AccessFull);
        }
        waiting.begins();
        let (_, tally) = waiting.entries.entry(key).or_insert_with(|| (actor.clone(), Tally::default()));
        tally.count += ids.len() as u64;
        let room = MAX_IDS.saturating_sub(tally.ids.len());
        tally.ids.extend(ids.iter().take(room).cloned());
        Ok(())
    }

    /// Counts a refusal. When too many entries wait, all further refusals share one entry. An error says that the entry might be lost.
    pub(crate) fn refused(
        &self,
        actor: &Arc<Actor>,
        action: Cow<'static, str>,
        collection: Option<CollectionId>,
        request: Box<str>,
    ) -> Result<(), AccessFull> {
        let mut waiting = self.lock();
        let late = waiting.is_late();
        let mut key = Key::Refused(actor.id.clone(), action, collection);
        if waiting.entries.len() >= MAX_WAITING && !waiting.entries.contains_key(&key) {
            key = Key::Refused("".into(), "many".into(), None);
        }
        waiting.begins();
        let (_, tally) = waiting.entries.entry(key).or_insert_with(|| (actor.clone(), Tally::default()));
        tally.count += 1;
        if tally.ids.len() < MAX_REQUESTS && !request.is_empty() {
            tally.ids.push(request);
        }
        if late { Err(AccessFull) } else { Ok(()) }
    }

    /// Whether reads that need an entry are refused: waiting entries cannot be written, or have waited for too long.
    pub(crate) fn is_late(&self) -> bool {
        self.lock().is_late()
    }

    /// Takes all entries. They count as waiting until `written` is called.
    pub(crate) fn drain(&self) -> Vec<(Key, Arc<Actor>, Tally)> {
        let mut waiting = self.lock();
        waiting.being_written = waiting.since.take();
        std::mem::take(&mut waiting.entries).into_iter().map(|(key, (actor, tally))| (key, actor, tally)).collect()
    }

    /// Ends a write: entries that could not be written wait again.
    pub(crate) fn written(&self, failed: Vec<(Key, Arc<Actor>, Tally)>) {
        let mut waiting = self.lock();
        let since = waiting.being_written.take();
        waiting.failed = !failed.is_empty();
        if waiting.failed {
            waiting.since = since.or(waiting.since);
        }
        for (key, actor, tally) in failed {
            let (_, kept) = waiting.entries.entry(key).or_insert_with(|| (actor, Tally::default()));
            kept.count += tally.count;
            let room = MAX_IDS.saturating_sub(kept.ids.len());
            kept.ids.extend(tally.ids.into_iter().take(room));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
