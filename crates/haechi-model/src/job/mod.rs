//! Jobs: work that is done after a request, or at a time, and again when it failed. `jobs/*.toml` declares them.

mod cron;
mod effect;
mod known;
mod literal;
mod read;
mod schedule;
mod service;

pub use cron::{Cron, CronError};
pub(crate) use known::Known;
pub(crate) use read::read_jobs;
pub use schedule::{Missed, Overlap, Schedule};
pub(crate) use service::read_services;

use crate::{
    collection::Collection,
    json::Json,
    positions::{CollectionId, FieldId},
    value::Value,
};

/// A job that a folder declares: `[jobs.NAME]`.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its name.
    pub name: String,
    /// The fields of its input.
    pub input: Collection,
    /// What it does.
    pub effect: Effect,
    /// As whom it does it.
    pub runs_as: RunsAs,
    /// The field of the input of which one job at a time is waiting or running.
    pub key: Option<FieldId>,
    /// The queue in which it waits: a position among [`crate::App::queues`].
    pub queue: usize,
    /// Jobs of a smaller number come first within their queue.
    pub priority: i64,
    /// How often it is tried.
    pub attempts: i64,
    /// How long one try may take.
    pub timeout_ms: i64,
    /// How it is declared, in one line.
    pub declared: String,
}

/// A service whose roles the folder declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredService {
    /// Its name, as policies know it: `services::"NAME"`.
    pub name: String,
    /// Its roles.
    pub roles: Vec<String>,
}

/// As whom a job runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunsAs {
    /// The caller who enqueued it, with the rights that they have when it runs.
    Caller,
    /// A service by its name, with the roles of `[services.NAME]`.
    Service(String),
}

/// What a job does.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Adds a row.
    Create {
        /// Where.
        collection: CollectionId,
        /// Its fields.
        data: Vec<(FieldId, Slot)>,
    },
    /// Changes a row.
    Update {
        /// Where.
        collection: CollectionId,
        /// Which row.
        id: Slot,
        /// The fields that are set.
        data: Vec<(FieldId, Slot)>,
    },
    /// Deletes a row.
    Delete {
        /// Where.
        collection: CollectionId,
        /// Which row.
        id: Slot,
    },
    /// Sends a request to another service.
    Call {
        /// Which: a position among [`crate::App::egress`].
        egress: usize,
        /// The path, with a query or without.
        path: String,
        /// The members of the JSON body.
        body: Vec<(String, Member)>,
    },
    /// A handler in Rust.
    Handler,
}

/// A member of a request's body.
#[derive(Clone, Debug, PartialEq)]
pub enum Member {
    /// From the folder.
    Fixed(Json),
    /// The time at which the job runs.
    Now,
    /// From a field of the input.
    Input(FieldId),
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Slot {
    /// From the folder.
    Fixed(Value),
    /// The time at which the job runs.
    Now,
    /// From a field of the input.
    Input(FieldId),
}

/// A queue: `[queues.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// Jobs of it that run at once on one node.
    pub concurrency: i64,
    /// Jobs of it that are begun in a minute by one node; no bound when it is `None`.
    pub per_minute: Option<i64>,
}

impl Queue {
    /// The queue of jobs that name none.
    pub const DEFAULT: &'static str = "default";
    /// How many jobs run at once where nothing else is said.
    pub const CONCURRENCY: i64 = 8;
}
