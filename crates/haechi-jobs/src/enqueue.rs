//! Wanting a job: its row is added in the change that wants it.

use crate::{
    Inner, Jobs,
    input::{MAX_BYTES, to_json},
    tables::state,
};
use haechi_gate::{Ask, Credential, Refusal, SystemWork, Work};
use haechi_model::{Actor, FieldId, Job, RunsAs, ThingKind, Value};
use thiserror::Error;

/// The latest time for which a job can be wanted.
pub(crate) const LATEST_MS: i64 = 366 * 24 * 3_600_000;

/// A job that somebody wants.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The values of its input, checked against the fields that it declares; those that are left out get their defaults.
    pub input: Vec<(FieldId, Value)>,
    /// When it is to run; at once when it is `None`.
    pub run_at_ms: Option<i64>,
}

/// Why a job is not enqueued.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EnqueueError {
    /// The folder declares no such job.
    #[error("no such job")]
    Unknown,
    /// Policy says no.
    #[error("refused")]
    Refused(Refusal),
    /// The input is longer than 64 KiB.
    #[error("the input is too long")]
    TooLong,
    /// It is to run later than in a year.
    #[error("it is to run too late")]
    TooLate,
    /// It has a key, so it runs in its turn, and takes no time.
    #[error("a job with a key takes no time")]
    KeyedLater,
    /// Too many jobs wait.
    #[error("too many jobs wait")]
    Full,
}

/// By whom a job is enqueued.
pub(crate) struct By<'a> {
    pub(crate) kind: &'a str,
    pub(crate) id: &'a str,
    pub(crate) credential: Option<&'a str>,
    pub(crate) request: &'a str,
}

impl Jobs {
    /// Adds a job to a change: it is enqueued when the change is made, or not at all. Asks policy whether the caller may.
    ///
    /// # Errors
    /// Why it is not.
    pub fn enqueue(&self, ask: &Ask, work: &mut Work, name: &str, wanted: &Wanted) -> Result<Box<str>, EnqueueError> {
        let job = ask.app().jobs.iter().find(|job| job.name == name).ok_or(EnqueueError::Unknown)?;
        ask.may_do((ThingKind::Job, name), "enqueue").map_err(EnqueueError::Refused)?;
        let caller = ask.caller();
        let credential = match caller.credential() {
            Credential::Key { name } => Some(&**name),
            _ => None,
        };
        let actor = caller.actor();
        let by = By { kind: actor.kind, id: &actor.id, credential, request: ask.request_id() };
        let mut system = self.0.gate.system_work(&self.0.key, Actor { kind: "system", id: "jobs".into() }, ask.request_id());
        let input = job.input.with_defaults(wanted.input.clone(), ask.now_ms(), ask.person());
        let wanted = &Wanted { input, ..*wanted };
        let key = self.0.key_of(job, &wanted.input);
        if key.is_some() && wanted.run_at_ms.is_some() {
            // It would hold up all others with its key until then.
            return Err(EnqueueError::KeyedLater);
        }
        let id = self.0.add(&mut system, job, wanted, (&by, key))?;
        work.also(system);
        Ok(id)
    }
}

impl Inner {
    /// Adds the row and the entry of a job; one with a key waits for others with it.
    pub(crate) fn add(
        &self,
        work: &mut SystemWork<haechi_gate::Jobs>,
        job: &Job,
        wanted: &Wanted,
        (by, key): (&By<'_>, Option<Box<str>>),
    ) -> Result<Box<str>, EnqueueError> {
        if self.counts.is_full(&job.name) {
            return Err(EnqueueError::Full);
        }
        let (id, now) = (uuid::Uuid::now_v7().hyphenated().to_string(), self.now_ms());
        let run_at = wanted.run_at_ms.unwrap_or(now).max(now);
        if run_at > now + LATEST_MS {
            return Err(EnqueueError::TooLate);
        }
        let input = to_json(job, &wanted.input);
        if input.len() > MAX_BYTES {
            return Err(EnqueueError::TooLong);
        }
        // One with a key waits until it is seen that no other has its key: a worker looks at once.
        let begins = if key.is_some() { state::BLOCKED } else { state::WAITING };
        let text = |text: Option<&str>| text.map_or(Value::Null, Value::text);
        let row = vec![
            Value::text(&*id),
            Value::text(&*job.name),
            Value::Int(begins),
            Value::Int(run_at),
            Value::Int(0),
            Value::Int(0),
            Value::Null,
            Value::Null,
            text(key.as_deref()),
            Value::Null,
            Value::text(by.kind),
            Value::text(by.id),
            text(by.credential),
            Value::text(by.request),
            Value::text(self.seal(&id, "input", &input)),
            Value::Int(now),
            Value::Null,
            Value::Null,
            Value::Null,
        ];
        work.insert(self.tables.jobs, row);
        let runs_as = match &job.runs_as {
            RunsAs::Caller => "caller".to_owned(),
            RunsAs::Service(name) => format!("service:{name}"),
        };
        work.note("enqueue", &target(&id), format!("\"job\":\"{}\",\"as\":\"{runs_as}\",\"run_at\":{run_at}", job.name));
        Ok(id.into())
    }
}

/// How the ledger names a job's run.
pub(crate) fn target(id: &str) -> String {
    format!("_jobs/{id}")
}
