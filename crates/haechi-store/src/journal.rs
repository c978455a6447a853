//! What the store asks of the gate: how an entry is encoded. The store keeps log rows; it does not know what they say.

use haechi_model::{Change, EntryDraft, Row};

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
    /// The row before and after, sealed; only where somebody may watch.
    pub image: Option<Vec<u8>>,
}

/// What an entry tells of a change, as read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRecord {
    /// Position.
    pub position: i64,
    /// Id of the entry.
    pub id: String,
    /// The event, JSON; not every entry has one.
    pub event: Option<String>,
    /// The row before and after, sealed; gone after a while.
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
    /// What stands beside it in the database; an archive's file leaves it out.
    pub beside: Option<Beside>,
}

/// What stands beside an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beside {
    /// The event for subscribers, JSON.
    pub event: Option<String>,
    /// The organisation.
    pub organisation: String,
}

/// Entries that leave the log in one piece when they are taken out, so that nobody's change waits long.
pub(crate) const TAKEN_OUT_AT_ONCE: u32 = 5_000;

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

/// Encodes entries. Called inside the transaction of the change, so it must neither block nor fail.
pub trait Journal: Send + Sync {
    /// The log row of one entry, with the rows before and after that it quotes.
    fn encode(&self, change: &Change, draft: &EntryDraft, before: Option<&Row>, after: Option<&Row>) -> LogRow;
}
