//! What streams tell: a change, a beat, an end; and why there may be no stream.

use crate::refusal::ReadError;
use bytes::Bytes;
use haechi_model::{CollectionId, FieldId, RowPage};
use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicUsize, Ordering},
};

/// What happened to a row, as far as the watcher may know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToldKind {
    /// It came into sight.
    Create,
    /// It changed.
    Update,
    /// It is gone, or out of sight.
    Delete,
}

/// A change, as it is told to all who see the same.
pub struct Told {
    /// What happened.
    pub kind: ToldKind,
    /// Where to go on after it.
    pub position: Arc<str>,
    /// The row.
    pub id: Box<str>,
    /// The row after the change, or as it is when a stream catches up; nothing when it is gone.
    pub page: Option<RowPage>,
    /// The finished message: written by the first door that needs it, shared by all of its streams.
    pub rendered: OnceLock<Bytes>,
    pub(crate) collection: CollectionId,
    pub(crate) shown: Vec<FieldId>,
    pub(crate) _kept: Option<Kept>,
}

impl Told {
    /// Of the row.
    pub(crate) fn bytes(&self) -> usize {
        self.page.as_ref().map_or(0, |page| page.bytes.len())
    }

    /// Counted as long as it is there.
    pub(crate) fn kept(self, all: &Arc<AtomicUsize>) -> Self {
        // Its message holds the row once more.
        let kept = Kept { bytes: 2 * self.bytes(), all: all.clone() };
        all.fetch_add(kept.bytes, Ordering::Relaxed);
        Self { _kept: Some(kept), ..self }
    }
}

/// Bytes that are counted until this is dropped.
pub(crate) struct Kept {
    bytes: usize,
    all: Arc<AtomicUsize>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Why a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The watcher has been signed out or disabled, or has other roles now.
    Caller,
    /// Policies no longer let them watch.
    Refused,
    /// It was read too slowly.
    Slow,
    /// What it would show cannot be recorded, or the database cannot be reached.
    Busy,
    /// The server ends.
    Closing,
}

/// Marks a reply that goes on: its connection is in use until its body ends.
#[derive(Clone, Copy, Debug)]
pub struct OpenStream;

/// A connection's place among those that are allowed. A task that takes the connection over holds this, and with it the place.
#[derive(Clone)]
pub struct Hold(pub Arc<dyn std::any::Any + Send + Sync>);

/// What a stream brings.
pub enum WatchItem {
    /// Changes are told from this position on.
    Ready(Arc<str>),
    /// A change.
    Told(Arc<Told>),
    /// Something else decides now what is in sight: read the list again. What follows comes after this position.
    Resync(Arc<str>),
    /// Nothing happened. A client that comes back later may go on from this position.
    Beat(Arc<str>),
    /// The end.
    End(EndReason),
}

/// Why there is no stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchError {
    /// Policy says no, or the query cannot be asked.
    Read(ReadError),
    /// The position was not given by this service.
    Position,
    /// What happened since the position is no longer kept.
    Gone,
    /// There are too many streams, of this caller or of all.
    TooMany,
}

impl From<ReadError> for WatchError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}
