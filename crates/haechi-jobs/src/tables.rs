//! The tables of this crate, and conditions on their rows.

use haechi_gate::{Gate, Jobs, System, SystemTable};
use haechi_model::{Column, Index, Row, Storage, Table, Value};

macro_rules! columns {
    ($($table:ident { $($name:ident $at:literal),* $(,)? })*) => {$(
        /// Positions of the columns.
        pub(crate) mod $table {
            $(pub(crate) const $name: usize = $at;)*
        }
    )*};
}

columns! {
    jobs {
        KIND 1, STATE 2, RUN_AT 3, ATTEMPT 4, LOST 5, HOLDER 6, LEASE 7, KEY 8, SLOT 9, ACTOR_KIND 10, ACTOR 11, CREDENTIAL 12,
        INPUT 14, CREATED 15, CODE 16, PROGRESS 17, BEGAN 18,
    }
    runs { KIND 1, ENDED_AS 2, ATTEMPT 3, ACTOR_KIND 4, ACTOR 5, CREATED 6, ENDED 7 }
    attempts { JOB 1, NUMBER 2, BEGAN 3, ENDED 4, CODE 5 }
    results { ENDED 1, RESULT 2 }
    schedules { NEXT 1, DECLARED 2, LAST 3 }
    pauses { REASON 1 }
}

/// The states of a job that has not ended.
pub(crate) mod state {
    /// It waits for its time and for a worker.
    pub(crate) const WAITING: i64 = 0;
    /// A worker has it.
    pub(crate) const RUNNING: i64 = 1;
    /// It waits for another job with its key.
    pub(crate) const BLOCKED: i64 = 2;
    /// It is not tried again by itself.
    pub(crate) const DEAD: i64 = 3;
}

fn table(name: &str, columns: Vec<Column>, indexes: &[(&str, &[usize], bool)]) -> Table {
    let index = |(suffix, columns, unique): &(&str, &[usize], bool)| Index::new(&format!("{name}_{suffix}"), columns, *unique);
    let indexes = indexes.iter().map(index).collect();
    Table::system(name, 1, columns, indexes)
}

/// The tables, as the planner and the gate need them.
#[must_use]
pub fn tables() -> Vec<Table> {
    let text = |name: &str| Column::required(name, Storage::Text);
    let int = |name: &str| Column::required(name, Storage::Int);
    let may_text = |name: &str| Column::optional(name, Storage::Text);
    let may_int = |name: &str| Column::optional(name, Storage::Int);
    let job = vec![
        text("id"),
        text("kind"),
        int("state"),
        int("run_at"),
        int("attempt"),
        int("lost"),
        may_text("holder"),
        may_int("lease_until"),
        may_text("key"),
        // The key again, while the job is the one of its key that waits or runs.
        may_text("slot"),
        text("actor_kind"),
        text("actor"),
        may_text("credential"),
        text("request"),
        may_text("input"),
        int("created"),
        may_text("code"),
        may_text("progress"),
        may_int("began"),
    ];
    let job_indexes: &[(&str, &[usize], bool)] = &[
        ("due_idx", &[jobs::STATE, jobs::KIND, jobs::RUN_AT], false),
        ("slot_key", &[jobs::KIND, jobs::SLOT], true),
        ("key_idx", &[jobs::KEY, jobs::STATE], false),
    ];
    vec![
        table("_jobs", job, job_indexes),
        table(
            "_job_runs",
            vec![text("id"), text("kind"), text("ended_as"), int("attempt"), text("actor_kind"), text("actor"), int("created"), int("ended")],
            &[("ended_idx", &[runs::ENDED], false)],
        ),
        table(
            "_job_attempts",
            vec![text("id"), text("job"), int("number"), may_int("began"), int("ended"), text("code")],
            &[("job_idx", &[attempts::JOB], false), ("ended_idx", &[attempts::ENDED], false)],
        ),
        table("_job_results", vec![text("id"), int("ended"), text("result")], &[("ended_idx", &[results::ENDED], false)]),
        table("_schedules", vec![text("id"), int("next_at"), text("declared"), may_int("last_at")], &[]),
        table("_pauses", vec![text("id"), text("reason"), int("since"), text("by")], &[]),
    ]
}

/// The tables that this area's key opens.
#[derive(Clone, Copy)]
pub(crate) struct Tables {
    pub(crate) jobs: SystemTable<Jobs>,
    pub(crate) runs: SystemTable<Jobs>,
    pub(crate) attempts: SystemTable<Jobs>,
    pub(crate) results: SystemTable<Jobs>,
    pub(crate) schedules: SystemTable<Jobs>,
    pub(crate) pauses: SystemTable<Jobs>,
}

impl Tables {
    pub(crate) fn of(gate: &Gate, key: &System<Jobs>) -> Option<Self> {
        let table = |name: &str| gate.system_table(key, name);
        Some(Self {
            jobs: table("_jobs")?,
            runs: table("_job_runs")?,
            attempts: table("_job_attempts")?,
            results: table("_job_results")?,
            schedules: table("_schedules")?,
            pauses: table("_pauses")?,
        })
    }
}

/// A text of a stored row that may have none.
pub(crate) fn may_text(row: &Row, column: usize) -> Option<Box<str>> {
    row.get(column).and_then(Value::as_text).map(Into::into)
}
