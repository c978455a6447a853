//! The unit of writing: a list of finished steps that happen together or not at all, with their ledger entries.

use crate::{numbering::Series, predicate::Predicate, value::Value};
use std::sync::Arc;
use thiserror::Error;

/// A stored row, all columns in the table's order.
pub type Row = Vec<Value>;

/// Names an expectation that was not met; the action decides what it means.
pub type Miss = u16;

/// One step. Slots number the rows that earlier steps found or made.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Finds a row for writing; the row goes into the next slot.
    Lock {
        /// Index of the table.
        table: usize,
        /// Its id.
        id: Box<str>,
        /// What must hold of it.
        filter: Predicate,
        /// The version it must have.
        version: Option<i64>,
        /// No such row.
        miss: Miss,
    },
    /// Adds a row; it goes into the next slot.
    Insert {
        /// Index of the table.
        table: usize,
        /// All columns.
        row: Row,
    },
    /// Adds a row with the next numbers of their series; it goes into the next slot.
    Numbered {
        /// Index of the table.
        table: usize,
        /// All columns, without the numbers.
        row: Row,
        /// The columns that get numbers.
        numbers: Vec<(usize, Series)>,
        /// What must hold of the row with its numbers, before it is written.
        filter: Predicate,
        /// It does not.
        miss: Miss,
    },
    /// Changes a row that was locked; the row after goes into the next slot.
    Update {
        /// Index of the table.
        table: usize,
        /// Its id.
        id: Box<str>,
        /// New values.
        set: Vec<(usize, Value)>,
        /// No such row any more.
        miss: Miss,
    },
    /// Deletes a row that was locked.
    Delete {
        /// Index of the table.
        table: usize,
        /// Its id.
        id: Box<str>,
        /// No such row any more.
        miss: Miss,
    },
    /// A condition must hold for the current row.
    Check {
        /// Index of the table.
        table: usize,
        /// Its id.
        id: Box<str>,
        /// What must hold.
        filter: Predicate,
        /// It does not, or there is no such row.
        miss: Miss,
    },
    /// A condition on stored data must hold, without a row of its own.
    Holds {
        /// What must hold; it names no columns.
        filter: Predicate,
        /// It does not.
        miss: Miss,
    },
    /// There must be fewer rows with a condition than so many. The count is exact when all changes that add such rows first lock the same
    /// row.
    Fewer {
        /// Index of the table.
        table: usize,
        /// Which rows.
        filter: Predicate,
        /// Than how many.
        than: u32,
        /// There are as many, or more.
        miss: Miss,
    },
    /// Each id of a list must name a row for which a condition holds, unless it stands in that row's list already.
    Each {
        /// Index of the table whose rows the ids name.
        table: usize,
        /// The list.
        ids: Value,
        /// What must hold.
        filter: Predicate,
        /// Index of the table, column and id of the row whose list is not asked about.
        known: Option<(usize, usize, Box<str>)>,
        /// It does not, or there is no such row.
        miss: Miss,
    },
    /// Deletes or detaches the rows that refer to a row, each with its own entry.
    Cascade {
        /// Index of the table.
        table: usize,
        /// Id of the row that will be deleted.
        id: Box<str>,
        /// There are more of them than allowed.
        miss: Miss,
    },
    /// Deletes the rows of a system table for which a condition holds.
    Clear {
        /// Index of the table.
        table: usize,
        /// Which rows.
        filter: Predicate,
        /// There is none; without it there may be none.
        miss: Option<Miss>,
    },
    /// Changes the first rows of a system table for which a condition holds, and returns them as they are then; there may be none. Rows
    /// that another change holds at the moment are left out.
    Pick {
        /// Index of the table.
        table: usize,
        /// Which rows.
        filter: Predicate,
        /// A column with a time that must be over, by the database's clock.
        over: Option<usize>,
        /// By which columns the first ones are found.
        order: Vec<usize>,
        /// How many at most.
        limit: u32,
        /// New values.
        set: Vec<(usize, Put)>,
    },
    /// Takes from a leaky bucket: its level rises by `cost_ms`, unless it would be above `depth_ms`, and sinks with time.
    Take {
        /// Index of the table; its columns are `id` and `until`, the time at which the bucket is empty.
        table: usize,
        /// Which bucket.
        id: Box<str>,
        /// How far the level rises.
        cost_ms: i64,
        /// The highest level.
        depth_ms: i64,
        /// It is full.
        miss: Miss,
    },
}

/// A new value of a column.
#[derive(Clone, Debug, PartialEq)]
pub enum Put {
    /// This one.
    Value(Value),
    /// The old one and so much more.
    More(i64),
    /// The value of another column.
    Of(usize),
    /// The time of the database's clock and so many milliseconds more.
    Later(i64),
}

/// Who acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// `user`, `service`, `system`, `anonymous` or `operator`.
    pub kind: &'static str,
    /// Id within the kind.
    pub id: Box<str>,
}

/// What an entry records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A change of a record.
    Change,
    /// A read that showed classed fields.
    Access,
    /// A refusal.
    Refusal,
    /// Something the system or an operator did.
    System,
}

/// A ledger entry before it is encoded. It quotes slots of the change it belongs to.
#[derive(Clone, Debug, PartialEq)]
pub struct EntryDraft {
    /// Id of the entry.
    pub id: Box<str>,
    /// What it records.
    pub kind: EntryKind,
    /// The verb: `create`, `update`, `delete`, `read`, `import` …
    pub action: Box<str>,
    /// The collection, when it concerns one.
    pub collection: Option<usize>,
    /// The record's id, when it concerns one.
    pub record: Option<Box<str>>,
    /// `allowed`, `refused` …
    pub outcome: &'static str,
    /// Slot with the row before.
    pub before: Option<usize>,
    /// Slot with the row after.
    pub after: Option<usize>,
    /// Further detail, a JSON object's inside without braces, or empty.
    pub extra: String,
}

impl EntryDraft {
    /// An entry of something that was done; it quotes no rows.
    #[must_use]
    pub fn new(kind: EntryKind, action: &str, collection: Option<usize>, record: Option<&str>) -> Self {
        Self {
            id: uuid::Uuid::now_v7().hyphenated().to_string().into(),
            kind,
            action: action.into(),
            collection,
            record: record.map(Into::into),
            outcome: "allowed",
            before: None,
            after: None,
            extra: String::new(),
        }
    }
}

/// A claim on an idempotency key: the first step of its change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Hash of caller and key.
    pub key: Box<str>,
    /// Hash of method, route and body.
    pub digest: Box<str>,
    /// The result that a duplicate gets.
    pub result: Box<str>,
}

/// A change.
#[derive(Clone, Debug)]
pub struct Change {
    /// Idempotency.
    pub claim: Option<Claim>,
    /// Steps, in order.
    pub steps: Vec<Step>,
    /// Entries, in order.
    pub entries: Vec<EntryDraft>,
    /// Who acts.
    pub actor: Arc<Actor>,
    /// The request it belongs to.
    pub request_id: Arc<str>,
    /// What it was done for, when no request asked for it directly: a job's run.
    pub cause: Box<str>,
    /// Version of the policies it was decided under.
    pub policy_version: Box<str>,
    /// Time of the change, UTC milliseconds.
    pub time_ms: i64,
}

/// What a change did.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The rows in the slots.
    pub slots: Vec<Row>,
    /// The stored result of an earlier change with the same idempotency key; nothing was done now.
    pub replayed: Option<Box<str>>,
    /// Tables that were written.
    pub written: Vec<usize>,
    /// Ids of the rows that were cleared.
    pub cleared: Vec<Box<str>>,
    /// Rows that were picked, as they are now.
    pub picked: Vec<Row>,
    /// Statements of the entry about rows of system tables, in the journal's form.
    pub stated: Vec<String>,
}

/// The action of entries that are written only when they state rows.
pub const HOUSEKEEPING: &str = "housekeeping";

/// Why a change did nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Failure {
    /// An expectation of a step was not met.
    #[error("something that was expected to hold does not")]
    Missed(Miss),
    /// A unique index refused a row.
    #[error("another row has the same value in a unique index")]
    NotUnique {
        /// Name of the index.
        index: Box<str>,
        /// Which step.
        step: usize,
    },
    /// Another row still refers to the row.
    #[error("other rows refer to it")]
    Referenced {
        /// Which step.
        step: usize,
    },
    /// A reference names a row that does not exist.
    #[error("a reference names a row that is not there")]
    Dangling {
        /// Which step.
        step: usize,
    },
    /// The idempotency key was used for another request.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// Too much is waiting; nothing was done.
    #[error("too much is waiting at the moment; nothing was done: try again")]
    Busy,
    /// A read needs more work than a request may cause; nothing was done.
    #[error("it needs more work than a request may cause")]
    Costly,
    /// Others change the same rows all the time; nothing was done.
    #[error("others change the same rows at the moment; nothing was done: try again")]
    Contended,
    /// The database cannot be reached; nothing was done.
    #[error("the database cannot be reached; nothing was done")]
    Unavailable,
    /// The disk is full; nothing was done.
    #[error("the disk is full; nothing was done")]
    Full,
    /// Whether it was done is not known.
    #[error("whether the database did it is not known: look before you try again")]
    Unknown,
    /// The database failed in a way that is logged; nothing was done.
    #[error("the database refused it; nothing was done: the log says why")]
    Broken,
}
