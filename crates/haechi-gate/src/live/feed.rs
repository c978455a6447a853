//! The log, read as events; and the task that tells them to the hub as they come.

use super::hub::Hub;
use crate::gate::Inner;
use haechi_model::{CollectionId, Failure, Row, USERS};
use std::{sync::Arc, time::Duration};

/// Entries that are read at a time.
const BATCH: u32 = 500;
/// How long to wait for a commit that another node made and did not tell of.
const POLL: Duration = Duration::from_secs(1);
/// How often idle streams are told where they are.
const BEAT: Duration = Duration::from_secs(20);
/// How often what depends on the time is looked at again.
const TICK: Duration = Duration::from_secs(1);

/// A change of a row.
pub(crate) struct Event {
    pub(crate) position: i64,
    pub(crate) collection: CollectionId,
    pub(crate) id: Box<str>,
    pub(crate) before: Option<Row>,
    pub(crate) after: Option<Row>,
}

/// What an entry is to streams.
pub(crate) enum Read {
    Event(Event),
    /// Many rows of a collection changed at once.
    Upset {
        position: i64,
        collection: CollectionId,
    },
    /// A row changed, and what it was is not kept.
    Lost {
        position: i64,
        collection: CollectionId,
    },
    /// Somebody's credential or account may have changed: a person's, or anybody's.
    Caller(Option<Box<str>>),
}

/// A part of the log.
pub(crate) struct Part {
    pub(crate) found: Vec<Read>,
    /// The position after the part; nothing when there was none.
    pub(crate) next: Option<i64>,
}

impl Inner {
    /// What the next entries from a position on are to streams.
    pub(crate) async fn events(&self, from: i64) -> Result<Part, Failure> {
        let records = self.store.events_from(from, BATCH).await?;
        let next = records.last().map(|last| last.position + 1);
        let revision = self.revision.load();
        let mut found = Vec::with_capacity(records.len());
        for record in records {
            let Some(event) = record.event.as_deref().and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok()) else { continue };
            if event["doubt"] == true {
                found.push(Read::Caller(None));
                continue;
            }
            let Some(collection) = event["collection"].as_str().and_then(|name| revision.app.collection(name)) else { continue };
            let (position, id) = (record.position, collection.id);
            if event["upset"] == true {
                found.push(Read::Upset { position, collection: id });
                continue;
            }
            if id == USERS {
                found.push(Read::Caller(event["id"].as_str().map(Into::into)));
            }
            if event["row"] != true {
                continue;
            }
            let image = record.image.and_then(|image| self.images.open(&record.id, collection, &image));
            found.push(match image {
                Some(image) => {
                    let row = event["id"].as_str().unwrap_or_default().into();
                    Read::Event(Event { position, collection: id, id: row, before: image.before, after: image.after })
                }
                None => Read::Lost { position, collection: id },
            });
        }
        Ok(Part { found, next })
    }
}

/// Tells the hub what happens, while somebody watches. Ends with the gate's background work.
pub(crate) async fn run(gate: Arc<Inner>, hub: Arc<Hub>) {
    let (mut beat, mut tick, mut poll) = (tokio::time::interval(BEAT), tokio::time::interval(TICK), tokio::time::interval(POLL));
    for timer in [&mut beat, &mut tick, &mut poll] {
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    }
    let shared = gate.store.dialect() == haechi_store::Dialect::Postgres;
    loop {
        tokio::select! {
            () = gate.told.notified() => {}
            () = hub.woken() => {}
            _ = poll.tick(), if shared && hub.watched() => {}
            _ = tick.tick(), if hub.watched() => hub.tick(&gate).await,
            _ = beat.tick(), if hub.watched() => hub.beat(),
        }
        if hub.watched()
            && let Err(failure) = drain(&gate, &hub).await
        {
            tracing::warn!(target: "haechi::live", %failure, "changes could not be read; streams wait");
            tokio::time::sleep(TICK).await;
        }
    }
}

/// Tells all that there is.
async fn drain(gate: &Arc<Inner>, hub: &Arc<Hub>) -> Result<(), Failure> {
    loop {
        let Some(from) = hub.position() else { return Ok(()) };
        let part = gate.events(from).await?;
        let Some(next) = part.next else { return Ok(()) };
        hub.dispatch(gate, part.found, (from, next)).await;
    }
}
