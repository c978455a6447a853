//! Finds the refusal of a request in the ledger, for `explain --request`.

use crate::{
    gate::Gate,
    system::{Audit, System},
};
use futures_util::future::BoxFuture;
use haechi_ledger::Entry;
use haechi_model::Failure;
use haechi_store::LogRecord;

const PAGE: u32 = 500;
/// Entries are written behind the reply, and clocks differ a little.
const BEFORE_MS: i64 = 10_000;
const AFTER_MS: i64 = 60_000;

/// The refusal of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedRequest {
    /// When it was recorded, UTC milliseconds.
    pub time_ms: i64,
    /// `user`, `service` or `anonymous`.
    pub actor_kind: String,
    /// Id of the actor within its kind.
    pub actor_id: String,
    /// The verb.
    pub action: String,
    /// Name of the collection.
    pub collection: String,
    /// The row, when the refusal came from looking at one.
    pub record: Option<String>,
    /// Version of the policies that refused.
    pub policy_version: String,
}

impl Gate {
    /// The refusal of the request with this id; `None` when no entry names it.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn refused_request<'a>(&'a self, _: &'a System<Audit>, request_id: &'a str) -> BoxFuture<'a, Result<Option<RefusedRequest>, Failure>> {
        Box::pin(async move {
            // The id states its time (UUIDv7, RFC 9562): only entries of about then are read.
            let Some((seconds, nanos)) = uuid::Uuid::try_parse(request_id).ok().and_then(|id| id.get_timestamp()).map(|at| at.to_unix()) else {
                return Ok(None);
            };
            let made_ms = i64::try_from(seconds).unwrap_or(i64::MAX / 2_000) * 1_000 + i64::from(nanos / 1_000_000);
            let mut position = self.first_entry_after(made_ms - BEFORE_MS).await?;
            loop {
                let records = self.shared.store.log_from(position, PAGE).await?;
                for record in &records {
                    let Ok(entry) = Entry::from_bytes(&record.entry) else { continue };
                    if entry.time_ms > made_ms + AFTER_MS {
                        return Ok(None);
                    }
                    if let Some(found) = named(record, &entry, request_id) {
                        return Ok(Some(found));
                    }
                }
                let Some(last) = records.last() else { return Ok(None) };
                position = last.position + 1;
            }
        })
    }

    /// The position of the first entry at or after a time: entries are in the order of their commits, which is the order of time.
    async fn first_entry_after(&self, time_ms: i64) -> Result<i64, Failure> {
        let last = self.shared.store.last_seal().await?.map_or(0, |seal| seal.size);
        let (mut low, mut high) = (0, last);
        while low < high {
            let middle = low + (high - low) / 2;
            let found = self.shared.store.log_from(middle, 1).await?;
            let older = found.first().and_then(|record| Entry::from_bytes(&record.entry).ok()).is_some_and(|entry| entry.time_ms < time_ms);
            if older { low = middle + 1 } else { high = middle }
        }
        Ok(low)
    }
}

fn named(record: &LogRecord, entry: &Entry, request_id: &str) -> Option<RefusedRequest> {
    if entry.outcome != "refused" || !record.detail.contains(request_id) {
        return None;
    }
    let detail: serde_json::Value = serde_json::from_str(&record.detail).ok()?;
    let requests = detail["requests"].as_array()?.iter().filter_map(serde_json::Value::as_str);
    let mut requests = requests.map(|text| text.split_once('/').map_or((text, None), |(request, record)| (request, Some(record))));
    let (_, row) = requests.find(|(request, _)| *request == request_id)?;
    Some(RefusedRequest {
        time_ms: entry.time_ms,
        actor_kind: entry.actor_kind.clone(),
        actor_id: entry.actor_id.clone(),
        action: entry.action.clone(),
        collection: entry.target.clone(),
        record: row.map(str::to_owned),
        policy_version: entry.policy_version.clone(),
    })
}
