//! What is kept of work and for how long, what is paused, and what is counted.

use crate::{
    Inner,
    tables::{attempts, jobs, pauses, results, runs, state},
};
use haechi_gate::{SystemError, SystemTable};
use haechi_model::{
    Failure, HOUSEKEEPING, Operand, Predicate, Value,
    stored::{at_most, int, is, text},
};
use std::{
    collections::HashMap,
    sync::{
        RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

const DAY_MS: i64 = 24 * 3_600_000;
/// How long runs, attempts and dead jobs are kept.
const RUNS_MS: i64 = 30 * DAY_MS;
/// How long results are kept.
const RESULTS_MS: i64 = 7 * DAY_MS;
/// Rows that are deleted at once, so that no change waits long.
const PART: u32 = 100;
/// Keys that are looked at in one go.
const KEYS_AT_ONCE: usize = 300;
/// Pauses that are read: more than a folder has jobs, queues and schedules.
const PAUSES_AT_MOST: u32 = 1_000;
/// Jobs of one kind that may wait.
const WAITING_AT_MOST: u64 = 1_000_000;

/// What work was paused, and why.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pauses(HashMap<Box<str>, Box<str>>);

/// The name of the pause of everything.
pub(crate) const EVERYTHING: &str = "everything";

impl Pauses {
    fn has(&self, what: &str) -> bool {
        self.0.contains_key(what)
    }

    /// All of them, by name.
    pub(crate) fn all(self) -> Vec<(String, String)> {
        let mut all: Vec<_> = self.0.into_iter().map(|(what, reason)| (what.into(), reason.into())).collect();
        all.sort();
        all
    }

    pub(crate) fn queue(&self, name: &str) -> bool {
        self.has(EVERYTHING) || self.has(&format!("queue/{name}"))
    }

    pub(crate) fn schedule(&self, name: &str) -> bool {
        self.has(EVERYTHING) || self.has(&format!("schedule/{name}"))
    }

    pub(crate) fn job(&self, name: &str) -> bool {
        self.has(EVERYTHING) || self.has(&format!("job/{name}"))
    }
}

/// What is counted since the start.
#[derive(Default)]
pub(crate) struct Counts {
    done: AtomicU64,
    failed: AtomicU64,
    died: AtomicU64,
    /// By kind: how many wait, as it was counted last.
    waiting: RwLock<HashMap<Box<str>, u64>>,
}

impl Counts {
    pub(crate) fn done(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn died(&self) {
        self.died.fetch_add(1, Ordering::Relaxed);
    }

    /// Attempts that succeeded, attempts that failed, and jobs that are dead.
    pub(crate) fn all(&self) -> [u64; 3] {
        [&self.done, &self.failed, &self.died].map(|count| count.load(Ordering::Relaxed))
    }

    /// Whether so many jobs of a kind wait that no more are taken.
    pub(crate) fn is_full(&self, kind: &str) -> bool {
        self.waiting.read().is_ok_and(|waiting| waiting.get(kind).is_some_and(|count| *count >= WAITING_AT_MOST))
    }

    pub(crate) fn wait(&self, waiting: HashMap<Box<str>, u64>) {
        if let Ok(mut known) = self.waiting.write() {
            *known = waiting;
        }
    }
}

impl crate::Jobs {
    /// Deletes what is over for long; workers do it every ten minutes.
    pub async fn keep(&self) {
        self.0.keep().await;
    }
}

impl Inner {
    pub(crate) async fn pauses(&self) -> Result<Pauses, Failure> {
        let found = self.gate.system_find(self.tables.pauses, Predicate::True, PAUSES_AT_MOST).await?;
        Ok(Pauses(found.iter().map(|row| (text(row, 0).into(), text(row, pauses::REASON).into())).collect()))
    }

    /// Lets blocked jobs go on whose key nobody has: a process may have ended between two changes. Looks at some hundred keys after one, and
    /// returns the last; `None` when that were all.
    pub(crate) async fn find_unblocked(&self, after: &str) -> Result<Option<Box<str>>, SystemError> {
        let beyond = Predicate::Compare(Operand::Column(jobs::KEY), haechi_model::Comparison::Greater, Operand::Constant(Value::text(after)));
        let filter = Predicate::All(vec![is(jobs::STATE, state::BLOCKED), beyond]);
        let groups =
            self.gate.system_groups(self.tables.jobs, filter, vec![jobs::KEY, jobs::KIND], jobs::RUN_AT).await.map_err(SystemError::Store)?;
        let mut last = None;
        for group in groups.iter().take(KEYS_AT_ONCE) {
            let [Value::Text(key), Value::Text(kind), ..] = &group[..] else { continue };
            self.unblock(kind, key).await?;
            last = Some(key.clone());
        }
        Ok(last.filter(|_| groups.len() > KEYS_AT_ONCE))
    }

    /// Deletes what is over for long.
    pub(crate) async fn keep(&self) {
        let now = self.now_ms();
        let dead = is(jobs::STATE, state::DEAD);
        let old = [
            (self.tables.results, results::ENDED, now - RESULTS_MS, Predicate::True),
            (self.tables.attempts, attempts::ENDED, now - RUNS_MS, Predicate::True),
            (self.tables.runs, runs::ENDED, now - RUNS_MS, Predicate::True),
            (self.tables.jobs, jobs::RUN_AT, now - RUNS_MS, dead),
        ];
        for (table, column, until, also) in old {
            if let Err(error) = self.delete_until(table, column, until, &also).await {
                tracing::warn!(target: "haechi::jobs", ?error, "old runs of jobs could not be deleted");
            }
        }
    }

    async fn delete_until(&self, table: SystemTable<haechi_gate::Jobs>, column: usize, until: i64, also: &Predicate) -> Result<(), SystemError> {
        loop {
            let filter = Predicate::all([at_most(column, until), also.clone()]);
            let part = self.gate.system_first(table, filter.clone(), &[column], PART).await.map_err(SystemError::Store)?;
            let Some(last) = part.last() else { return Ok(()) };
            let mut work = self.system();
            work.clear(table, Predicate::all([filter, at_most(column, int(last, column))]));
            work.entry(HOUSEKEEPING, None, None, None, String::new());
            work.commit().await?;
        }
    }
}
