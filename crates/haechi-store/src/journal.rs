//! How the store gets its entries encoded: the gate does it. The store keeps log rows and does not interpret them.

use haechi_model::{Change, EntryDraft, HOUSEKEEPING, Row, Step, Value};
use std::borrow::Cow;

/// A log row, ready to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRow {
    /// Id of the entry.
    pub id: Box<str>,
    /// The encoded entry: what the ledger proves.
    pub entry: Vec<u8>,
    /// Its leaf hash.
    pub hash: [u8; 32],
    /// Salt of the commitment to the detail.
    pub salt: [u8; 32],
    /// Detail, JSON.
    pub detail: String,
    /// The event for subscribers, JSON.
    pub event: Option<String>,
    /// The row before and after, sealed; only for collections that somebody may watch.
    pub image: Option<Vec<u8>>,
}

/// After so many bytes of rows, the rest of the events is read in another part.
pub(crate) const EVENT_BYTES: usize = 4 << 20;

/// The event of an entry, as read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRecord {
    /// Position.
    pub position: i64,
    /// Id of the entry.
    pub id: String,
    /// The event, JSON; not every entry has one.
    pub event: Option<String>,
    /// The row before and after, sealed; deleted after a while.
    pub image: Option<Vec<u8>>,
}

/// A log row with its position, as read back. Everything but the position may have been tampered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// Position, from 0, without gaps.
    pub position: i64,
    /// Id of the entry.
    pub id: String,
    /// The encoded entry.
    pub entry: Vec<u8>,
    /// Its leaf hash as stored.
    pub hash: Vec<u8>,
    /// Salt of the commitment; empty once erased.
    pub salt: Vec<u8>,
    /// Detail; empty once erased.
    pub detail: String,
    /// Data stored beside the entry in the database; an archive's file leaves it out.
    pub beside: Option<Beside>,
}

/// Data stored beside an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beside {
    /// The event for subscribers, JSON.
    pub event: Option<String>,
    /// The organisation.
    pub organisation: String,
}

/// Entries that are deleted from the log at once, so that no change waits long.
pub(crate) const TAKEN_OUT_AT_ONCE: u32 = 5_000;

/// Entries that have no seal yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unsealed {
    /// How many have no position either; at most 10 000 are counted.
    pub waiting: u64,
    /// The arrival number of the oldest; entries come nearly in the order of their numbers.
    pub oldest: Option<i64>,
    /// The arrival number of the last entry.
    pub last: i64,
    /// The number of the last migration.
    pub migrations: i64,
}

/// A signed checkpoint and what the next one continues from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    /// How many entries it covers.
    pub size: i64,
    /// The signed note.
    pub note: String,
    /// State of the tree.
    pub frontier: Vec<u8>,
    /// When it was made, UTC milliseconds.
    pub time_ms: i64,
}

/// The statement about a step's row for the entry; `written` is the row after the step.
pub(crate) fn stated(journal: &dyn Journal, step: &Step, written: Option<&Row>, cleared: &[Box<str>]) -> Vec<String> {
    match step {
        Step::Insert { table, row } => journal.state(*table, row[0].as_text().unwrap_or_default(), Some(row), &[]).into_iter().collect(),
        Step::Update { table, id, set, .. } => written.and_then(|row| journal.state(*table, id, Some(row), set)).into_iter().collect(),
        Step::Delete { table, id, .. } => journal.state(*table, id, None, &[]).into_iter().collect(),
        Step::Clear { table, .. } => cleared.iter().filter_map(|id| journal.state(*table, id, None, &[])).collect(),
        _ => Vec::new(),
    }
}

/// The entries of a change, the first with statements about rows of system tables. An entry that would be empty is left out.
pub(crate) fn with_stated<'c>(change: &'c Change, stated: &[String]) -> Cow<'c, [EntryDraft]> {
    let says_nothing = |entry: &EntryDraft| &*entry.action == HOUSEKEEPING;
    if stated.is_empty() && !change.entries.iter().any(says_nothing) {
        return Cow::Borrowed(&change.entries);
    }
    let mut entries = change.entries.clone();
    if stated.is_empty() {
        entries.retain(|entry| !says_nothing(entry));
    } else if let Some(first) = entries.first_mut() {
        let comma = if first.extra.is_empty() { "" } else { "," };
        first.extra.push_str(&format!("{comma}\"stated\":[{}]", stated.join(",")));
    } else {
        tracing::error!(target: "haechi::ledger", "a change of system tables has no entry: verification will name its rows");
    }
    Cow::Owned(entries)
}

/// Encodes entries. Called inside the transaction of the change, so it must neither block nor fail.
pub trait Journal: Send + Sync {
    /// The statement about a row of a system table: its new digest, or that it is gone. `None` for tables that are not stated, and where
    /// `set` changes only columns that change by use alone.
    fn state(&self, table: usize, id: &str, after: Option<&Row>, set: &[(usize, Value)]) -> Option<String> {
        let _ = (table, id, after, set);
        None
    }

    /// The log row of one entry, with the rows before and after that it quotes.
    fn encode(&self, change: &Change, draft: &EntryDraft, before: Option<&Row>, after: Option<&Row>) -> LogRow;
}
