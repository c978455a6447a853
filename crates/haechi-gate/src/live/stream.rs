//! One stream: first what was missed since its position, then what is told as it happens.

use super::{
    hub::{Hub, Member, Queued},
    log::{Event, Read},
    told::{EndReason, WatchError, WatchItem},
    view::{Met, Sight, WatchQuery},
};
use crate::{
    ask::Ask,
    gate::Gate,
    grant::{Grant, Verb, Watch},
    refusal::ReadError,
    shared::Shared,
};
use std::{collections::VecDeque, sync::Arc};
use tokio::sync::mpsc;

/// An open stream. It ends when this is dropped.
pub struct Stream {
    hub: Arc<Hub>,
    shared: Arc<Shared>,
    member: Arc<Member>,
    receiver: mpsc::Receiver<Queued>,
    /// Entries between these positions have not been told yet.
    behind: Option<(i64, i64)>,
    waiting: VecDeque<WatchItem>,
    ended: bool,
}

impl Gate {
    /// Opens a stream by a grant: from a position, or from now on.
    ///
    /// # Errors
    /// Why the stream cannot be opened.
    pub async fn watch(&self, grant: Grant<Watch>, query: WatchQuery, after: Option<&str>) -> Result<Stream, WatchError> {
        let (ask, collection) = grant.into_parts();
        let hub = self.hub.clone();
        let from = after.map(|token| hub.open(token).ok_or(WatchError::Position)).transpose()?;
        let (first, next) = ask.shared.store.log_bounds().await.map_err(ReadError::Store)?;
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
            shared: ask.shared.clone(),
            hub,
            member,
            receiver,
            ended: false,
        };
        // A position that cannot be read is refused now, not in the middle of the stream.
        if stream.behind.is_some() {
            Box::pin(stream.catch_up()).await?;
        }
        Ok(stream)
    }
}

impl Stream {
    /// The next item; `None` after the end.
    pub async fn next(&mut self) -> Option<WatchItem> {
        loop {
            // A caller who may no longer watch does not get the waiting messages either.
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

    /// The caller's question.
    #[must_use]
    pub fn ask(&self) -> Ask {
        self.member.ask()
    }

    /// Tells a part of the missed changes.
    async fn catch_up(&mut self) -> Result<(), WatchError> {
        let Some((from, to)) = self.behind else { return Ok(()) };
        let read = self.shared.events(from).await.map_err(ReadError::Store)?;
        let (sight, most, mut bytes) = (self.member.sight(), self.member.ask().room(), 0);
        for read in read.found {
            match read {
                Read::Event(event) if event.position < to => {
                    let next = event.position + 1;
                    bytes += self.tell(&sight, event).await?;
                    if bytes >= most {
                        // The rest, once the reader comes back for it.
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

    /// Tells a missed change with the row as it is now, so never values that were changed or deleted since. Returns the bytes of its row.
    async fn tell(&mut self, sight: &Sight, mut event: Event) -> Result<usize, WatchError> {
        let mut bytes = 0;
        let position = self.hub.token(event.position + 1);
        let upset = sight.upset_by(&event);
        if event.collection == sight.collection {
            if event.after.is_some() {
                event.after = self.shared.store.row(event.collection, &event.id).await.map_err(ReadError::Store)?;
            }
            let event = &event;
            let told = sight.judge(&self.shared, event, &position, &mut Met::default()).await.map_err(ReadError::Store)?;
            if let Some(told) = told {
                self.member.ask().sight(Watch::NAME, told.collection, &told.shown, std::slice::from_ref(&told.id), false)?;
                bytes = told.bytes();
                self.waiting.push_back(WatchItem::Told(Arc::new(told)));
            }
        }
        if upset {
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
