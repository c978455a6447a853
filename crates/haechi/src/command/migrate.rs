//! `haechi migrate`: plan, apply, status.

use super::{Done, Failed, Place, words::say};
use clap::Subcommand;
use haechi::House;
use haechi_gate::{MigrateError, Migration};
use haechi_model::App;
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
        /// Only add: what would go stays for nodes of before, and is dropped by a later `apply --allow-drop`.
        #[arg(long, conflicts_with = "allow_drop")]
        expand: bool,
        /// Do it although nodes are serving that do not go on over it.
        #[arg(long)]
        despite_nodes: bool,
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
        let done = self.on(&house, place).await;
        house.close().await;
        done
    }

    /// Whether it only looks: then a house that serves does it, too.
    pub(crate) fn only_looks(&self) -> bool {
        matches!(self, Self::Plan | Self::Status)
    }

    pub(crate) async fn on(&self, house: &House, place: &Place) -> Done {
        match self {
            // The folder as it is now: a house that serves may have read an earlier one.
            Self::Plan => plan(house, &place.load()?.0.app, place.json).await,
            Self::Apply { allow_drop, expand, despite_nodes } => apply(house, (*allow_drop, *expand, *despite_nodes)).await,
            Self::Status => status(house, place.json).await,
            Self::Rollback => Ok(ExitCode::FAILURE),
        }
    }
}

async fn plan(house: &House, app: &App, as_json: bool) -> Done {
    let plan = house.gate.plan_to(&house.keys.schema, app, haechi::app::house::tables()).await.map_err(|error| error.to_string())?;
    let strange = house.gate.strange(&house.keys.schema).await.map_err(|error| error.to_string())?;
    // Where the tables are others, there is no looking at their rows.
    let misfits = if strange.wrong.is_empty() { house.gate.misfits(&house.keys.schema, &plan).await } else { Ok(Vec::new()) };
    let misfits = misfits.map_err(|failure| format!("the rows cannot be read: {failure}"))?;
    if as_json {
        say!(
            "{}",
            serde_json::json!({
                "changed": strange.wrong, "beside": strange.beside,
                "changes": plan.summary(), "sql": plan.sql(), "later": plan.later, "drops": plan.drops, "refusals": plan.refusals,
                "misfits": misfits, "compatible": plan.breaks.is_empty(), "breaks": plan.breaks
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
            plan.later.iter().for_each(|line| say!("{line};"));
            say!("");
            beside_nodes(house, app, &plan).await?;
        }
    }
    let good = plan.refusals.is_empty() && misfits.is_empty() && strange.wrong.is_empty();
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether nodes of before go on over it, and what to do where they do not.
async fn beside_nodes(house: &House, app: &App, plan: &Migration) -> Result<(), Failed> {
    if plan.breaks.is_empty() {
        say!("compatible: nodes of before go on over it");
        return Ok(());
    }
    let expands = house.gate.plan_beside(&house.keys.schema, app, haechi::app::house::tables()).await;
    match expands {
        Ok(expands) if expands.is_empty() => say!("nodes of before do not go on over it: start the new ones first, then apply it with --allow-drop"),
        Ok(_) => say!(
            "nodes of before do not go on over it: `apply --expand` adds what is new; when all nodes are new, `apply --allow-drop` does the rest"
        ),
        Err(MigrateError::Impossible(_)) => say!("needs all nodes of before stopped:"),
        Err(error) => return Err(Failed::Said(error.to_string())),
    }
    plan.breaks.iter().for_each(|line| say!("  {line}"));
    Ok(())
}

async fn apply(house: &House, (allow_drop, expand, despite_nodes): (bool, bool, bool)) -> Done {
    let key = &house.keys.schema;
    let app = &house.gate.revision().app;
    let plan = if expand { house.gate.plan_beside(key, app, haechi::app::house::tables()).await } else { house.gate.plan(key).await };
    let plan = plan.map_err(|error| error.to_string())?;
    let left = house.gate.left_behind(key, &plan).await.map_err(|error| error.to_string())?;
    if !left.is_empty() && !despite_nodes && !plan.is_empty() {
        return Err(Failed::Said(MigrateError::Serving(left).to_string()));
    }
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
