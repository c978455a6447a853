//! `haechi schedule`: jobs that the clock enqueues, for operators.

use super::{
    Done, Failed,
    job::unknown,
    words::{note, operator, say},
};
use clap::Subcommand;
use haechi::House;
use haechi_jobs::RunError;
use haechi_model::format_datetime;
use serde_json::json;
use std::process::ExitCode;

#[derive(Subcommand)]
pub(crate) enum Schedule {
    /// List the schedules of the folder, with their last and next times.
    List,
    /// Enqueue what a schedule enqueues, now; its times stay as they are.
    Run {
        /// Its name.
        name: String,
    },
}

impl Schedule {
    pub(crate) async fn on(self, house: &House, as_json: bool) -> Done {
        super::migrated(house).await?;
        let name = operator();
        let work = house.jobs.operator(&name);
        match self {
            Self::List => {
                let all = work.schedules().await.map_err(|failure| failure.to_string())?;
                if all.is_empty() && !as_json {
                    note!("the folder declares no schedule");
                }
                let paused = house.jobs.paused().await.map_err(|failure| failure.to_string())?;
                for schedule in all {
                    let is_paused = paused.iter().any(|(what, _)| what == "everything" || *what == format!("schedule/{}", schedule.name));
                    let (last, next) = (schedule.last_ms.map(format_datetime), schedule.next_ms.map(format_datetime));
                    if as_json {
                        say!(
                            "{}",
                            json!({
                                "name": schedule.name, "job": schedule.job, "when": schedule.declared, "last_time": last, "next_time": next, "begun": schedule.begun,
                                "paused": is_paused
                            })
                        );
                    } else {
                        let (last, next) = (last.unwrap_or_else(|| "never".to_owned()), next.unwrap_or_else(|| "never".to_owned()));
                        let paused = if is_paused { "  paused" } else { "" };
                        say!("{:<20}  {:<20}  {:<28}  last {last}  next {next}{paused}", schedule.name, schedule.job, schedule.declared);
                    }
                }
            }
            Self::Run { name } => {
                let revision = house.gate.revision();
                let run = work.run_schedule(&name).await.map_err(|error| match error {
                    RunError::NotFound => {
                        Failed::Said(unknown("schedule", &name, revision.app.schedules.iter().map(|schedule| schedule.name.as_str())))
                    }
                    other => Failed::Said(other.to_string()),
                })?;
                if as_json { say!("{}", json!({ "id": run })) } else { say!("{run} is enqueued; see `haechi job show {run}`") }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
