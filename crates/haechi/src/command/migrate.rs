//! `haechi migrate`: plan, apply, status.

use super::{Done, Failed, Place, live::say};
use clap::Subcommand;
use haechi::House;
use std::process::ExitCode;

#[derive(Subcommand)]
pub(crate) enum Migrate {
    /// Show what would change, as words and as SQL.
    Plan,
    /// Apply it, whole or not at all.
    Apply {
        /// Let it drop collections and columns with their data.
        #[arg(long)]
        allow_drop: bool,
    },
    /// Show what was applied.
    Status,
    /// There is no such command: said instead of offering another one that is not meant.
    #[command(hide = true, aliases = ["down", "undo", "revert"])]
    Rollback,
}

impl Migrate {
    pub(crate) async fn run(&self, place: &Place) -> Done {
        if matches!(self, Self::Rollback) {
            return Err(Failed::Said("a migration is not taken back: change the folder and apply that, or restore a backup".to_owned()));
        }
        let (house, _data) = place.open().await?;
        let done = match self {
            Self::Plan => plan(&house, place.json).await?,
            Self::Apply { allow_drop } => apply(&house, *allow_drop).await?,
            Self::Status => status(&house, place.json).await?,
            Self::Rollback => ExitCode::FAILURE,
        };
        house.close().await;
        Ok(done)
    }
}

async fn plan(house: &House, as_json: bool) -> Done {
    let plan = house.gate.plan(&house.keys.schema).await.map_err(|error| error.to_string())?;
    let strange = house.gate.strange(&house.keys.schema).await.map_err(|error| error.to_string())?;
    // Where the tables are others, there is no looking at their rows.
    let misfits = if strange.wrong.is_empty() { house.gate.misfits(&house.keys.schema, &plan).await } else { Ok(Vec::new()) };
    let misfits = misfits.map_err(|failure| format!("the rows cannot be read: {failure}"))?;
    if as_json {
        say!(
            "{}",
            serde_json::json!({
                "changed": strange.wrong, "beside": strange.beside,
                "changes": plan.summary(), "sql": plan.sql(), "drops": plan.drops, "refusals": plan.refusals, "misfits": misfits
            })
        );
    } else if plan.is_empty() {
        said(&strange.wrong, &strange.beside);
        let interrupted = house.gate.interrupted(&house.keys.schema).await;
        if !interrupted.map_err(|failure| format!("the ledger cannot be read: {failure}"))?.is_empty() {
            say!("a migration was interrupted before the ledger said so: `haechi migrate apply` completes it");
        } else if strange.wrong.is_empty() {
            say!("nothing to do");
        }
    } else {
        said(&strange.wrong, &strange.beside);
        plan.summary().iter().for_each(|line| say!("{line}"));
        plan.drops.iter().for_each(|line| say!("drops: {line} (needs --allow-drop)"));
        plan.refusals.iter().for_each(|line| say!("refused: {line}"));
        misfits.iter().for_each(|line| say!("does not fit: {line}"));
        // SQL of what will not be run would only mislead.
        if plan.refusals.is_empty() {
            say!("");
            plan.sql().iter().for_each(|line| say!("{line};"));
        }
    }
    let good = plan.refusals.is_empty() && misfits.is_empty() && strange.wrong.is_empty();
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn apply(house: &House, allow_drop: bool) -> Done {
    let plan = house.gate.plan(&house.keys.schema).await.map_err(|error| error.to_string())?;
    let (summary, empty) = (plan.summary(), plan.is_empty());
    house.gate.migrate(&house.keys.schema, plan, allow_drop).await.map_err(|error| Failed::Said(error.to_string()))?;
    let completed = empty && house.gate.complete(&house.keys.schema).await.map_err(|failure| format!("the ledger cannot be written: {failure}"))?;
    house.gate.settle().await;
    summary.iter().for_each(|line| say!("{line}"));
    say!(
        "{}",
        if completed {
            "completed a migration that was interrupted"
        } else if empty {
            "nothing to do"
        } else {
            "applied"
        }
    );
    Ok(ExitCode::SUCCESS)
}

async fn status(house: &House, as_json: bool) -> Done {
    let applied = house.gate.applied(&house.keys.schema).await.map_err(|failure| format!("the database cannot be read: {failure}"))?;
    for migration in &applied {
        let time = haechi_model::format_datetime(migration.time_ms);
        if as_json {
            say!("{}", serde_json::json!({ "version": migration.version, "time": time, "checksum": migration.checksum }));
        } else {
            say!("{:>4}  {time}  {}", migration.version, &migration.checksum[..16]);
        }
    }
    if !as_json {
        say!("{} applied", applied.len());
    }
    Ok(ExitCode::SUCCESS)
}

/// What is in the database that no migration made.
fn said(wrong: &[String], beside: &[String]) {
    wrong.iter().for_each(|line| say!("changed: {line} (undo it first, with the database's own tools)"));
    beside.iter().for_each(|line| say!("beside: {line}"));
}
