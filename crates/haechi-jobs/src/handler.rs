//! Jobs that a program's own code does.

use crate::{
    Inner,
    effect::{again, fault, never},
    input::{Input, MAX_BYTES},
    queue::{Claimed, Fault},
};
use haechi_gate::{Ask, Work, WorkError};
use haechi_model::{App, Effect, Job as Declared, Value};
use std::{collections::HashMap, pin::Pin, sync::Arc};

type Running = Pin<Box<dyn Future<Output = Result<Finished, JobError>> + Send>>;
type Handler = Arc<dyn Fn(Job) -> Running + Send + Sync>;

/// The program's own code for jobs: a handler for each name.
#[derive(Clone, Default)]
pub struct Handlers(HashMap<String, Handler>);

impl Handlers {
    /// Adds the handler of a job.
    pub fn add<F>(&mut self, job: &str, handler: impl Fn(Job) -> F + Send + Sync + 'static)
    where
        F: Future<Output = Result<Finished, JobError>> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |job| Box::pin(handler(job)));
        self.0.insert(job.to_owned(), handler);
    }

    /// Jobs that need a handler and have none, and handlers of jobs that the folder does not declare with `handler = true`.
    #[must_use]
    pub fn mismatches(&self, app: &App) -> (Vec<String>, Vec<String>) {
        let declared: Vec<&str> = app.jobs.iter().filter(|job| job.effect == Effect::Handler).map(|job| job.name.as_str()).collect();
        let missing = declared.iter().filter(|name| !self.0.contains_key(**name)).map(|name| (*name).to_owned()).collect();
        let mut unknown: Vec<String> = self.0.keys().filter(|name| !declared.contains(&name.as_str())).cloned().collect();
        unknown.sort_unstable();
        (missing, unknown)
    }

    pub(crate) fn of(&self, name: &str) -> Option<Handler> {
        self.0.get(name).cloned()
    }
}

/// Why an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobError(pub(crate) Fault);

impl JobError {
    /// It may succeed later: the job is tried again. The code is stored and shown, so it holds no data: `"mail-server-busy"`.
    #[must_use]
    pub fn again(code: &'static str) -> Self {
        Self(again(code))
    }

    /// No other attempt would succeed.
    #[must_use]
    pub fn never(code: &'static str) -> Self {
        Self(never(code))
    }
}

impl From<WorkError> for JobError {
    fn from(error: WorkError) -> Self {
        Self(fault(&error.error))
    }
}

impl From<haechi_gate::WriteError> for JobError {
    fn from(error: haechi_gate::WriteError) -> Self {
        Self(fault(&error))
    }
}

impl From<haechi_gate::Refusal> for JobError {
    fn from(_: haechi_gate::Refusal) -> Self {
        Self(crate::effect::REFUSED)
    }
}

/// A job that was done. [`Job::finish`] alone makes it.
#[derive(Debug)]
pub struct Finished(());

/// One attempt of a job.
pub struct Job {
    pub(crate) inner: Arc<Inner>,
    pub(crate) claimed: Claimed,
    pub(crate) declared: Declared,
    pub(crate) ask: Ask,
    pub(crate) input: Input,
}

impl Job {
    /// Its run: the same for all attempts. Give it to others as an idempotency key.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.claimed.id
    }

    /// The number of the attempt, from 1.
    #[must_use]
    pub fn attempt(&self) -> i64 {
        self.claimed.attempt
    }

    /// The caller as whom it runs, and the way to grants.
    #[must_use]
    pub fn ask(&self) -> &Ask {
        &self.ask
    }

    /// A field of the input; `None` when it was left out.
    #[must_use]
    pub fn input(&self, name: &str) -> Option<&Value> {
        let field = self.declared.input.field(name)?;
        self.input.iter().find(|(known, _)| *known == field).map(|(_, value)| value)
    }

    /// A change that this job makes; give it to [`Job::finish`].
    #[must_use]
    pub fn work(&self) -> Work {
        self.ask.work()
    }

    /// Shows how far the job is; at most 64 KiB of JSON.
    ///
    /// # Errors
    /// When it is too long, the job is not this worker's any more, or the database cannot be reached.
    pub async fn progress(&self, progress: &serde_json::Value) -> Result<(), JobError> {
        let text = progress.to_string();
        if text.len() > MAX_BYTES {
            return Err(JobError::never("progress-too-long"));
        }
        self.inner.progress(&self.claimed, text.as_bytes()).await.map_err(|_| JobError::again("lost"))
    }

    /// Makes the change and ends the job with it: both happen, or none. `result` is shown for seven days; at most 64 KiB of JSON.
    ///
    /// # Errors
    /// When the change is not made. Return the error: the job is tried again where that may help.
    pub async fn finish(self, mut work: Work, result: Option<&serde_json::Value>) -> Result<Finished, JobError> {
        let result = result.map(ToString::to_string);
        if result.as_ref().is_some_and(|result| result.len() > MAX_BYTES) {
            return Err(JobError::never("result-too-long"));
        }
        work.also(self.inner.finishing(&self.claimed, result.as_deref().map(str::as_bytes)));
        work.commit().await?;
        Ok(Finished(()))
    }
}
