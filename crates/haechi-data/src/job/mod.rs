//! Jobs over HTTP: enqueue one, look at a run, cancel it.

mod http;

pub use http::router;

use crate::record::{Purpose, RecordError, read_values};
use haechi_gate::{Ask, WorkError};
use haechi_jobs::{EnqueueError, Jobs, Wanted};
use haechi_model::{Claim, Job, Json};

/// Enqueues a job with an input as JSON; the id of its run, and whether an earlier request with the same idempotency key did it.
///
/// # Errors
/// Why nothing was enqueued.
pub async fn enqueue(
    (ask, jobs): (&Ask, &Jobs),
    job: &Job,
    json: &Json,
    run_at_ms: Option<i64>,
    claim: Option<Claim>,
) -> Result<(Box<str>, bool), RecordError> {
    let input = read_values(json, &job.input, Purpose::Create, "")?;
    let mut work = ask.work();
    let id = jobs.enqueue(ask, &mut work, &job.name, &Wanted { input, run_at_ms }).map_err(refused)?;
    if let Some(claim) = claim {
        work.claim(Claim { result: id.clone(), ..claim });
    }
    match work.commit().await {
        Ok((_, Some(earlier))) => Ok((earlier, true)),
        Ok((_, None)) => Ok((id, false)),
        Err(WorkError { error, .. }) => Err(RecordError::write(WorkError { operation: 0, error }, String::new(), &job.input)),
    }
}

/// The job of this name, when the caller may enqueue it: asked before a byte of the body is read.
fn named<'a>(ask: &'a Ask, name: &str) -> Result<&'a Job, RecordError> {
    if ask.caller().is_anonymous() {
        return Err(RecordError::Refused(haechi_gate::Refusal::Unauthenticated));
    }
    let job = ask.app().jobs.iter().find(|job| job.name == name).ok_or(RecordError::NotFound)?;
    ask.may_do((haechi_model::ThingKind::Job, name), "enqueue").map_err(RecordError::Refused)?;
    Ok(job)
}

fn refused(error: EnqueueError) -> RecordError {
    match error {
        EnqueueError::Unknown => RecordError::NotFound,
        EnqueueError::Refused(refusal) => RecordError::Refused(refusal),
        EnqueueError::TooLong => RecordError::TooLarge,
        EnqueueError::TooLate => RecordError::Parameter { name: "run_at".to_owned(), what: "must be within a year" },
        EnqueueError::KeyedLater => RecordError::Parameter { name: "run_at".to_owned(), what: "is not for jobs with a key: they follow each other" },
        EnqueueError::Full => RecordError::Store(haechi_model::Failure::Busy),
    }
}
