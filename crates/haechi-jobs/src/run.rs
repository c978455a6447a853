//! One attempt of a job, from its row to its end.

use crate::{
    Inner, call,
    effect::{self, BAD_INPUT, NO_HANDLER, PANIC, REFUSED, TIMEOUT, fault},
    handler::Job,
    input::from_json,
    queue::{Claimed, Fault},
};
use futures_util::FutureExt;
use haechi_gate::{Ask, Caller};
use haechi_model::{Effect, Job as Declared, RunsAs};
use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

/// Does a job that this worker has, and notes how that ended.
pub(crate) async fn run(inner: Arc<Inner>, job: Claimed) {
    let revision = inner.gate.revision();
    let Some(declared) = revision.app.jobs.iter().find(|declared| *declared.name == *job.kind).cloned() else {
        // The folder dropped it since it was claimed.
        if let Err(error) = inner.hand_back(std::slice::from_ref(&job.id)).await {
            inner.held.doubt();
            tracing::warn!(target: "haechi::jobs", ?error, run = &*job.id, "a job could not be given back; that is tried again");
        }
        return;
    };
    let limit = Duration::from_millis(declared.timeout_ms.unsigned_abs());
    let attempt = AssertUnwindSafe(attempt(inner.clone(), job.clone(), declared.clone())).catch_unwind();
    let ended = tokio::time::timeout(limit, attempt).await;
    // One that was enqueued while this one ended may have been seen by neither.
    let look_at_key = || job.key.iter().for_each(|key| inner.told.key(job.kind.clone(), key.clone()));
    let fault = match ended {
        Ok(Ok(Ok(()))) => {
            look_at_key();
            return inner.counts.done();
        }
        Ok(Ok(Err(fault))) => fault,
        Ok(Err(_)) => PANIC,
        Err(_) => TIMEOUT,
    };
    inner.counts.failed();
    tracing::warn!(target: "haechi::jobs", job = &*job.kind, run = &*job.id, attempt = job.attempt, code = fault.code, "a job failed");
    if let Err(error) = inner.failed(&job, fault, declared.attempts).await {
        // It is given back at one of the next beats, and tried again.
        inner.held.doubt();
        tracing::warn!(target: "haechi::jobs", ?error, run = &*job.id, "that a job failed could not be noted");
    }
    look_at_key();
}

async fn attempt(inner: Arc<Inner>, job: Claimed, declared: Declared) -> Result<(), Fault> {
    let caller = caller(&inner, &job, &declared).await?;
    let ask = asked(&inner, &caller, &job.id);
    // From here on one state of the folder counts: it may have been loaded anew meanwhile.
    let now = ask.app().jobs.iter().find(|known| known.name == declared.name && known.runs_as == declared.runs_as);
    let declared = now.cloned().ok_or(effect::again("changed-meanwhile"))?;
    let bytes = job.input.as_deref().and_then(|sealed| inner.open(&job.id, "input", sealed)).ok_or(BAD_INPUT)?;
    let input = from_json(&declared, &bytes).ok_or(BAD_INPUT)?;
    if declared.effect == Effect::Handler {
        let handler = inner.handlers.load().of(&declared.name).ok_or(NO_HANDLER)?;
        let job = Job { inner: inner.clone(), claimed: job, declared, ask, input };
        return handler(job).await.map(drop).map_err(|error| error.0);
    }
    if let Effect::Call { egress, path, body } = &declared.effect {
        if inner.still_mine(std::slice::from_ref(&job.id)).await.is_ok_and(|still| still.is_empty()) {
            // It was cancelled before it was begun.
            return Err(effect::again("lost"));
        }
        call::send(&inner, (ask.app(), &declared), (*egress, path, body), (&input, &job.id)).await?;
    }
    let mut work = ask.work();
    effect::add(&ask, &declared, &input, &mut work)?;
    work.also(inner.finishing(&job, None));
    work.commit().await.map(drop).map_err(|error| fault(&error.error))
}

fn asked(inner: &Inner, caller: &Caller, run: &str) -> Ask {
    inner.gate.ask(caller, &run.into()).because(run)
}

/// The caller as whom the job runs, with the rights of now.
async fn caller(inner: &Inner, job: &Claimed, declared: &Declared) -> Result<Caller, Fault> {
    match &declared.runs_as {
        RunsAs::Service(name) => service(inner, name),
        // What the job of a declared service enqueued: it has the roles of now.
        RunsAs::Caller if &*job.who.kind == "service" && job.who.credential.is_none() => service(inner, &job.who.id),
        RunsAs::Caller => match inner.around.now(&job.who).await {
            Ok(Some(caller)) => Ok(caller),
            Ok(None) => Err(REFUSED),
            Err(_) => Err(Fault { code: "unavailable", again: true, wait_ms: None }),
        },
    }
}

fn service(inner: &Inner, name: &str) -> Result<Caller, Fault> {
    let revision = inner.gate.revision();
    let service = revision.app.services.iter().find(|service| service.name == *name).ok_or(REFUSED)?;
    Ok(inner.around.service(&service.name, &service.roles))
}
