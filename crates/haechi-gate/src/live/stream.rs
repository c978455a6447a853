//! One stream: first what was missed since its position, then what is told as it happens.

use super::{
    feed::{Event, Read},
    hub::{Hub, Member, Queued},
    view::{Met, Sight},
};
use crate::{
    ask::Ask,
    gate::Inner,
    grant::{Grant, ReadError, Verb, Watch},
};
use bytes::Bytes;
use haechi_model::{CollectionId, FieldId, RowPage};
use std::{
    collections::VecDeque,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::sync::mpsc;

/// What happened to a row, as far as whoever watches may know.
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
    /// Whoever watched is no longer who he was: signed out, disabled, or with other roles.
    Caller,
    /// Policies no longer let him watch.
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

/// A connection's place: whoever takes the connection over keeps it as long as he holds this.
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
    /// Nothing happened; whoever goes on later may start here.
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

/// An open stream. It ends when this is dropped.
pub struct Stream {
    hub: Arc<Hub>,
    gate: Arc<Inner>,
    member: Arc<Member>,
    receiver: mpsc::Receiver<Queued>,
    /// Entries from here to where it was attached have not been told yet.
    behind: Option<(i64, i64)>,
    waiting: VecDeque<WatchItem>,
    ended: bool,
}

impl Grant<Watch> {
    /// Opens a stream: from a position, or from now on.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn watch(self, query: super::WatchQuery, after: Option<&str>) -> Result<Stream, WatchError> {
        let (ask, collection) = self.into_parts();
        let hub = ask.gate.live.clone();
        let from = after.map(|token| hub.open(token).ok_or(WatchError::Position)).transpose()?;
        let (first, next) = ask.gate.store.log_bounds().await.map_err(ReadError::Store)?;
        if from.is_some_and(|from| from < first) {
            return Err(WatchError::Gone);
        }
        if from.is_some_and(|from| from > next) {
            return Err(WatchError::Position);
        }
        let sight = Sight::of(&ask, collection, &query)?;
        let (member, receiver, attached) = hub.attach(&ask, query, sight, next)?;
        let start = from.unwrap_or(attached).min(attached);
        let mut stream = Stream {
            behind: (start < attached).then_some((start, attached)),
            waiting: VecDeque::from([WatchItem::Ready(hub.token(start))]),
            gate: ask.gate.clone(),
            hub,
            member,
            receiver,
            ended: false,
        };
        // What cannot be gone through is refused now, not in the middle of the stream.
        if stream.behind.is_some() {
            Box::pin(stream.catch_up()).await?;
        }
        Ok(stream)
    }
}

impl Stream {
    /// What comes next; nothing after the end.
    pub async fn next(&mut self) -> Option<WatchItem> {
        loop {
            // Whoever may no longer be told is not told what was waiting for him either.
            if let Some(reason @ (EndReason::Caller | EndReason::Refused)) = self.member.reason()
                && !self.ended
            {
                self.waiting.clear();
                self.ended = true;
                return Some(WatchItem::End(reason));
            }
            if let Some(item) = self.waiting.pop_front() {
                self.ended |= matches!(item, WatchItem::End(_));
                return Some(item);
            }
            if self.ended {
                return None;
            }
            if self.behind.is_some() {
                match Box::pin(self.catch_up()).await {
                    Ok(()) => {}
                    Err(WatchError::Gone) => {
                        self.behind = None;
                        self.waiting.push_back(WatchItem::Resync(self.hub.token(self.member.attached)));
                    }
                    Err(_) => self.waiting.push_back(WatchItem::End(EndReason::Busy)),
                }
                continue;
            }
            let item = match self.receiver.recv().await {
                Some(Queued::Told(told)) => {
                    self.member.took(&told);
                    WatchItem::Told(told)
                }
                Some(Queued::Resync(position)) => WatchItem::Resync(position),
                Some(Queued::Beat(position)) => WatchItem::Beat(position),
                Some(Queued::End(reason)) => WatchItem::End(reason),
                // Cut off: the reason did not fit into the queue.
                None => WatchItem::End(self.member.reason().unwrap_or(EndReason::Closing)),
            };
            self.waiting.push_back(item);
        }
    }

    /// Who watches.
    #[must_use]
    pub fn ask(&self) -> Ask {
        self.member.ask()
    }

    /// Tells a part of what was missed.
    async fn catch_up(&mut self) -> Result<(), WatchError> {
        let Some((from, to)) = self.behind else { return Ok(()) };
        let read = self.gate.events(from).await.map_err(ReadError::Store)?;
        let (sight, most, mut bytes) = (self.member.sight(), self.member.ask().room(), 0);
        for read in read.found {
            match read {
                Read::Event(event) if event.position < to => {
                    let next = event.position + 1;
                    bytes += self.tell(&sight, event).await?;
                    if bytes >= most {
                        // The rest when this was read.
                        self.behind = (next < to).then_some((next, to));
                        return Ok(());
                    }
                }
                Read::Upset { position, collection } if position < to && sight.concerned_by(collection) => {
                    self.waiting.push_back(WatchItem::Resync(self.hub.token(position + 1)));
                }
                Read::Lost { position, collection } if position < to && sight.concerned_by(collection) => return Err(WatchError::Gone),
                _ => {}
            }
        }
        self.behind = match read.next {
            Some(next) if next < to => Some((next, to)),
            _ => None,
        };
        Ok(())
    }

    /// What was missed is told as it is now: not what has been deleted or changed since, nor under rules that came later.
    /// Returns the bytes of its row.
    async fn tell(&mut self, sight: &Sight, mut event: Event) -> Result<usize, WatchError> {
        let mut bytes = 0;
        let position = self.hub.token(event.position + 1);
        if event.collection == sight.collection {
            if event.after.is_some() {
                event.after = self.gate.store.row(event.collection, &event.id).await.map_err(ReadError::Store)?;
            }
            let event = &event;
            let told = sight.judge(&self.gate, event, &position, &mut Met::new()).await.map_err(ReadError::Store)?;
            if let Some(told) = told {
                self.member.ask().sight(Watch::NAME, told.collection, &told.shown, std::slice::from_ref(&told.id), false)?;
                bytes = told.bytes();
                self.waiting.push_back(WatchItem::Told(Arc::new(told)));
            }
        }
        if sight.looks_into.contains(&event.collection) {
            self.waiting.push_back(WatchItem::Resync(position));
        }
        Ok(bytes)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.hub.detach(&self.member);
    }
}
