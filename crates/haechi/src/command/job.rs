//! `haechi job`: work that waits, runs or is dead, for operators.

use super::{
    Done, Failed, counted,
    words::{note, operator, say},
};
use clap::Subcommand;
use haechi::House;
use haechi_jobs::{RunError, Shown, State};
use haechi_model::{App, format_datetime, suggest};
use serde_json::{Value, json};
use std::process::ExitCode;

#[derive(Subcommand)]
pub(crate) enum Job {
    /// Count what is not done, and list it, oldest first.
    List {
        /// Of this job alone.
        job: Option<String>,
        /// How many are listed.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        limit: u32,
    },
    /// Show a run with its attempts.
    Show {
        /// Its id.
        id: String,
    },
    /// Try a run again now, with all its attempts before it: one that is dead or refused, or waits.
    Retry {
        /// Its id.
        id: String,
    },
    /// End a run that has not ended; what it would do to rows does not happen.
    Cancel {
        /// Its id.
        id: String,
    },
    /// Begin no more of this; what is under way ends.
    Pause {
        /// `everything`, `job/NAME`, `queue/NAME` or `schedule/NAME`.
        what: String,
        /// Why, for others.
        #[arg(long, default_value = "by an operator")]
        reason: String,
    },
    /// Let it go on.
    Resume {
        /// What was paused.
        what: String,
    },
}

impl Job {
    pub(crate) async fn on(self, house: &House, as_json: bool) -> Done {
        super::migrated(house).await?;
        let name = operator();
        let work = house.jobs.operator(&name);
        let revision = house.gate.revision();
        match self {
            Self::List { job, limit } => list(house, job.as_deref(), limit, as_json).await?,
            Self::Show { id } => show(&work.show(&id).await.map_err(|error| wrong(&error, &id))?, as_json),
            Self::Retry { id } => {
                let run = work.retry(&id).await.map_err(|error| wrong(&error, &id))?;
                said(&run, as_json, "is tried again");
            }
            Self::Cancel { id } => {
                let run = work.cancel(&id).await.map_err(|error| wrong(&error, &id))?;
                said(&run, as_json, "is cancelled");
            }
            Self::Pause { what, reason } => {
                known(&revision.app, &what)?;
                if reason.len() > 200 {
                    return Err(Failed::Said("the reason is longer than 200 bytes".to_owned()));
                }
                work.pause(&what, &reason).await.map_err(|error| error.to_string())?;
                say!("{what} is paused");
            }
            Self::Resume { what } => {
                if !work.resume(&what).await.map_err(|error| error.to_string())? {
                    let paused = house.jobs.paused().await.map_err(|failure| failure.to_string())?;
                    let names: Vec<&str> = paused.iter().map(|(what, _)| what.as_str()).collect();
                    let rest = if names.is_empty() { "nothing is".to_owned() } else { format!("paused: {}", names.join(", ")) };
                    return Err(Failed::Said(format!("`{what}` is not paused; {rest}")));
                }
                say!("{what} goes on");
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn list(house: &House, job: Option<&str>, limit: u32, as_json: bool) -> Result<(), Failed> {
    let (name, revision) = (operator(), house.gate.revision());
    let depths = house.jobs.depths().await.map_err(|failure| failure.to_string())?;
    if let Some(job) = job
        && !revision.app.jobs.iter().any(|known| known.name == job)
        && !depths.iter().any(|depth| *depth.job == *job)
    {
        return Err(Failed::Said(unknown("job", job, revision.app.jobs.iter().map(|job| job.name.as_str()))));
    }
    let runs = house.jobs.operator(&name).list(job, limit).await.map_err(|failure| failure.to_string())?;
    let paused = house.jobs.paused().await.map_err(|failure| failure.to_string())?;
    if as_json {
        let counts: Vec<Value> = depths
            .iter()
            .map(|depth| json!({ "job": depth.job, "state": depth.state.name(), "count": depth.count, "oldest_time": format_datetime(depth.oldest_ms) }))
            .collect();
        let pauses: Vec<Value> = paused.iter().map(|(what, reason)| json!({ "what": what, "reason": reason })).collect();
        say!("{}", json!({ "counts": counts, "paused": pauses, "runs": runs.iter().map(view).collect::<Vec<_>>() }));
        return Ok(());
    }
    for (what, reason) in &paused {
        note!("{what} is paused: {reason}");
    }
    let depths: Vec<_> = depths.iter().filter(|depth| job.is_none_or(|job| *depth.job == *job)).collect();
    if depths.is_empty() {
        note!("no work waits, runs or is dead");
    }
    for depth in depths {
        let gone = if revision.app.jobs.iter().any(|job| *job.name == *depth.job) { "" } else { "  not in the folder" };
        note!("{}: {} {}, the oldest of {}{gone}", depth.job, depth.count, depth.state.name(), format_datetime(depth.oldest_ms));
    }
    for run in &runs {
        let when = run.run_at_ms.or(run.ended_ms).unwrap_or(run.created_ms);
        let code = run.code.as_deref().unwrap_or_default();
        say!("{}  {:<9}  {:<20}  attempt {}  {}  {code}", run.id, run.state.name(), run.job, run.attempt, format_datetime(when));
    }
    if runs.len() >= limit as usize {
        note!("{} are listed; --limit lists more", counted(runs.len(), "run", "runs"));
    }
    Ok(())
}

fn view(run: &Shown) -> Value {
    json!({
        "id": run.id, "job": run.job, "state": run.state.name(), "attempt": run.attempt, "by": format!("{} {}", run.by.0, run.by.1),
        "create_time": format_datetime(run.created_ms), "run_time": run.run_at_ms.map(format_datetime),
        "end_time": run.ended_ms.map(format_datetime), "code": run.code,
    })
}

fn show(run: &Shown, as_json: bool) {
    if as_json {
        let mut body = view(run);
        let attempt = |(number, began, ended, code): &(i64, i64, i64, Box<str>)| json!({ "number": number, "begin_time": format_datetime(*began), "end_time": format_datetime(*ended), "code": code });
        body["failed_attempts"] = run.attempts.iter().map(attempt).collect();
        return say!("{body}");
    }
    say!("{} of the job {}: {}", run.id, run.job, run.state.name());
    say!("  enqueued by {} {} at {}", run.by.0, run.by.1, format_datetime(run.created_ms));
    if let Some(at) = run.run_at_ms {
        say!("  due at {}", format_datetime(at));
    }
    for (number, began, ended, code) in &run.attempts {
        say!("  attempt {number} from {} to {}: {code}", format_datetime(*began), format_datetime(*ended));
    }
    if let Some(at) = run.ended_ms {
        say!("  ended at {}", format_datetime(at));
    }
}

fn said(run: &Shown, as_json: bool, what: &str) {
    if as_json { say!("{}", view(run)) } else { say!("{} of the job {} {what}", run.id, run.job) }
}

fn wrong(error: &RunError, id: &str) -> Failed {
    Failed::Said(match error {
        RunError::NotFound => format!("no run has the id `{id}`; see `haechi job list`"),
        RunError::State(State::Running) => format!("the run {id} is running; it is tried again by itself when it fails"),
        RunError::State(state) => format!("the run {id} is {} already", state.name()),
        other => other.to_string(),
    })
}

/// Whether it can be paused.
fn known(app: &App, what: &str) -> Result<(), Failed> {
    let names: Vec<&str> = match what.split_once('/') {
        None if what == "everything" => return Ok(()),
        Some(("job", _)) => app.jobs.iter().map(|job| job.name.as_str()).collect(),
        Some(("queue", _)) => app.queues.iter().map(|queue| queue.name.as_str()).collect(),
        Some(("schedule", _)) => app.schedules.iter().map(|schedule| schedule.name.as_str()).collect(),
        _ => return Err(Failed::Said(format!("`{what}` cannot be paused: write everything, job/NAME, queue/NAME or schedule/NAME"))),
    };
    let (kind, name) = what.split_once('/').unwrap_or_default();
    if names.contains(&name) { Ok(()) } else { Err(Failed::Said(unknown(kind, name, names.into_iter()))) }
}

/// Words for a name that the folder does not declare.
pub(crate) fn unknown<'a>(kind: &str, name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let near = suggest(name, known).map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
    format!("no {kind} is named `{name}`{near}")
}
