//! The log, read as events.

use crate::shared::Shared;
use haechi_model::{CollectionId, Failure, Row, USERS};

/// Entries that are read at a time.
const BATCH: u32 = 500;
/// A change of a row.
pub(crate) struct Event {
    pub(crate) position: i64,
    pub(crate) collection: CollectionId,
    pub(crate) id: Box<str>,
    pub(crate) before: Option<Row>,
    pub(crate) after: Option<Row>,
}

/// What an entry means for streams.
pub(crate) enum Read {
    Event(Event),
    /// Many rows of a collection changed at once.
    Upset {
        position: i64,
        collection: CollectionId,
    },
    /// A row changed, and its image is not kept.
    Lost {
        position: i64,
        collection: CollectionId,
    },
    /// A credential or account may have changed: a person's, or anybody's.
    Caller(Option<Box<str>>),
}

/// A part of the log.
pub(crate) struct Part {
    pub(crate) found: Vec<Read>,
    /// The position after the part; `None` when there is nothing to read.
    pub(crate) next: Option<i64>,
}

impl Shared {
    /// What the entries from a position on mean for streams.
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
                if id == USERS {
                    found.push(Read::Caller(None));
                }
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
