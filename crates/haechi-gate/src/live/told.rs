//! The items of a stream: a change, a beat, an end; and why a stream cannot be opened.

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

/// A change, as all streams with the same sight get it.
pub struct Told {
    /// What happened.
    pub kind: ToldKind,
    /// The position to continue from.
    pub position: Arc<str>,
    /// The row.
    pub id: Box<str>,
    /// The row after the change, or its current state when a stream catches up; `None` when it is gone.
    pub page: Option<RowPage>,
    /// The finished message: written by the first door that needs it, shared by all of its streams.
    pub rendered: OnceLock<Bytes>,
    pub(crate) collection: CollectionId,
    pub(crate) shown: Vec<FieldId>,
    pub(crate) _kept: Option<Kept>,
}

impl Told {
    /// Bytes of its row.
    pub(crate) fn bytes(&self) -> usize {
        self.page.as_ref().map_or(0, |page| page.bytes.len())
    }

    /// Counts its bytes for as long as it exists.
    pub(crate) fn kept(self, all: &Arc<AtomicUsize>) -> Self {
        // The finished message holds the row a second time.
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
    /// The access entry cannot be recorded, or the database cannot be reached.
    Busy,
    /// The server shuts down.
    Closing,
}

/// Marks a long reply: its connection is in use until its body ends.
#[derive(Clone, Copy, Debug)]
pub struct OpenStream;

/// A connection's place among those that are allowed. A task that takes over the connection holds this, and keeps the place.
#[derive(Clone)]
pub struct Hold(pub Arc<dyn std::any::Any + Send + Sync>);

/// An item of a stream.
pub enum WatchItem {
    /// Changes are told from this position on.
    Ready(Arc<str>),
    /// A change.
    Told(Arc<Told>),
    /// The visible rows may be others now: read the list again. Later items come after this position.
    Resync(Arc<str>),
    /// Nothing happened. A client that comes back later may go on from this position.
    Beat(Arc<str>),
    /// The end.
    End(EndReason),
}

/// Why a stream cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchError {
    /// Policy says no, or the query cannot be asked.
    Read(ReadError),
    /// The position was not given by this service.
    Position,
    /// Changes since the position are no longer kept.
    Gone,
    /// There are too many streams, of this caller or of all.
    TooMany,
}

impl From<ReadError> for WatchError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}
