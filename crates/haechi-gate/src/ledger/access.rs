//! Who looked at what, and who was refused: merged per caller, action and second, written behind the reply.

use haechi_model::{Actor, CollectionId};
use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Most merged entries that wait.
const MAX_WAITING: usize = 50_000;
/// Most record ids that one entry names; the count goes on.
const MAX_IDS: usize = 100;
/// Most refused requests that one entry names; the count goes on.
const MAX_REQUESTS: usize = 20;

/// The access log is full: what would be shown could not be recorded.
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
    waiting: Mutex<HashMap<Key, (Arc<Actor>, Tally)>>,
}

impl Sightings {
    pub(crate) fn seen(&self, actor: &Arc<Actor>, sighting: Sighting, ids: &[Box<str>]) -> Result<(), AccessFull> {
        let mut waiting = self.lock();
        let key = Key::Seen(actor.id.clone(), sighting);
        if waiting.len() >= MAX_WAITING && !waiting.contains_key(&key) {
            return Err(AccessFull);
        }
        let (_, tally) = waiting.entry(key).or_insert_with(|| (actor.clone(), Tally::default()));
        tally.count += ids.len() as u64;
        let room = MAX_IDS.saturating_sub(tally.ids.len());
        tally.ids.extend(ids.iter().take(room).cloned());
        Ok(())
    }

    /// A refusal; when the log is full it is counted with nobody's.
    pub(crate) fn refused(&self, actor: &Arc<Actor>, action: Cow<'static, str>, collection: Option<CollectionId>, request: Box<str>) {
        let mut waiting = self.lock();
        let mut key = Key::Refused(actor.id.clone(), action, collection);
        if waiting.len() >= MAX_WAITING && !waiting.contains_key(&key) {
            key = Key::Refused("".into(), "many".into(), None);
        }
        let (_, tally) = waiting.entry(key).or_insert_with(|| (actor.clone(), Tally::default()));
        tally.count += 1;
        if tally.ids.len() < MAX_REQUESTS && !request.is_empty() {
            tally.ids.push(request);
        }
    }

    /// Takes all that waits.
    pub(crate) fn drain(&self) -> Vec<(Key, Arc<Actor>, Tally)> {
        std::mem::take(&mut *self.lock()).into_iter().map(|(key, (actor, tally))| (key, actor, tally)).collect()
    }

    /// Puts back what could not be written.
    pub(crate) fn put_back(&self, entries: Vec<(Key, Arc<Actor>, Tally)>) {
        let mut waiting = self.lock();
        for (key, actor, tally) in entries {
            let (_, kept) = waiting.entry(key).or_insert_with(|| (actor, Tally::default()));
            kept.count += tally.count;
            let room = MAX_IDS.saturating_sub(kept.ids.len());
            kept.ids.extend(tally.ids.into_iter().take(room));
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, (Arc<Actor>, Tally)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
