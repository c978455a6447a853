//! Schedules: jobs that the clock enqueues. Each time is one change: the next time is set and the job is added, or neither.

use crate::{
    Inner,
    enqueue::{By, Wanted},
    queue::LOST,
    tables::{jobs, schedules, state},
};
use haechi_gate::SystemError;
use haechi_model::{
    Actor, App, Missed, Overlap, Predicate, Row, Schedule, Value,
    stored::{int, is, is_not, text},
};
use std::collections::HashMap;

/// Later than this, a time counts as missed.
const ON_TIME_MS: i64 = 60_000;
/// Most times that are made up for.
const MADE_UP: usize = 100;

/// By schedule: when it fires next.
pub(crate) type Times = HashMap<Box<str>, i64>;

impl Inner {
    /// The next times of all declared schedules; those of new ones, and of ones that are declared otherwise than before, begin now.
    pub(crate) async fn times(&self, app: &App) -> Result<Times, SystemError> {
        let mut times = Times::new();
        for schedule in &app.schedules {
            let row = self.gate.system_row(self.tables.schedules, &schedule.name).await.map_err(SystemError::Store)?;
            let now = self.now_ms();
            // One that fired in what is the future now was led astray by a wrong clock.
            let astray =
                |row: &&Row| int(row, schedules::LAST) > now && schedule.next_after(now).is_some_and(|next| next < int(row, schedules::NEXT));
            let known = row.as_ref().filter(|row| text(row, schedules::DECLARED) == schedule.declared() && !astray(row));
            let next = match known {
                Some(row) => int(row, schedules::NEXT),
                None => {
                    let Some(next) = schedule.next_after(now) else { continue };
                    match self.begin_schedule(schedule, next, row.as_ref().map(|row| int(row, schedules::NEXT))).await {
                        // Another node was faster.
                        Err(SystemError::Missed(LOST) | SystemError::NotUnique { .. }) => {}
                        other => other?,
                    }
                    next
                }
            };
            times.insert(schedule.name.as_str().into(), next);
        }
        Ok(times)
    }

    async fn begin_schedule(&self, schedule: &Schedule, next: i64, known: Option<i64>) -> Result<(), SystemError> {
        let mut work = self.system();
        let declared = Value::text(schedule.declared());
        if let Some(known) = known {
            work.lock(self.tables.schedules, &schedule.name, is(schedules::NEXT, known), LOST);
            let set = vec![(schedules::NEXT, Value::Int(next)), (schedules::DECLARED, declared), (schedules::LAST, Value::Null)];
            work.update(self.tables.schedules, &schedule.name, set, LOST);
        } else {
            work.insert(self.tables.schedules, vec![Value::text(&*schedule.name), Value::Int(next), declared, Value::Null]);
        }
        work.commit().await.map(drop)
    }

    /// Fires a schedule whose time has come; the time after it.
    pub(crate) async fn fire(&self, app: &App, schedule: &Schedule, at: i64) -> Result<Option<i64>, SystemError> {
        let now = self.now_ms();
        let Some(next) = schedule.next_after(now) else { return Ok(None) };
        let times = match schedule.missed {
            Missed::Once => 1,
            Missed::Skip => usize::from(now - at <= ON_TIME_MS),
            Missed::All => std::iter::successors(Some(at), |last| schedule.next_after(*last)).take_while(|time| *time <= now).take(MADE_UP).count(),
        };
        let (wanted, key) = self.wanted(app, schedule);
        let times = if self.is_under_way(schedule, key.as_deref()).await? { 0 } else { times };
        self.fire_times(app, schedule, (at, next), (times, &wanted, key)).await
    }

    async fn fire_times(
        &self,
        app: &App,
        schedule: &Schedule,
        (at, next): (i64, i64),
        (times, wanted, key): (usize, &Wanted, Option<Box<str>>),
    ) -> Result<Option<i64>, SystemError> {
        let mut work = self.gate.system_work(&self.key, Actor { kind: "system", id: "schedules".into() }, "");
        let as_known = Predicate::All(vec![is(schedules::NEXT, at), is(schedules::DECLARED, &*schedule.declared())]);
        work.lock(self.tables.schedules, &schedule.name, as_known, LOST);
        let set = vec![(schedules::NEXT, Value::Int(next)), (schedules::LAST, Value::Int(self.now_ms()))];
        work.update(self.tables.schedules, &schedule.name, set, LOST);
        for _ in 0..times {
            if let Err(error) = self.add(&mut work, &app.jobs[schedule.job], wanted, (&of(schedule), key.clone())) {
                // Its time stays, and is looked at again.
                tracing::error!(target: "haechi::jobs", schedule = schedule.name, %error, "a schedule could not enqueue its job");
                return Ok(None);
            }
        }
        match work.commit().await {
            // Another node has fired it.
            Err(SystemError::Missed(LOST)) => {
                let row = self.gate.system_row(self.tables.schedules, &schedule.name).await.map_err(SystemError::Store)?;
                // A node with another folder may declare it otherwise: then it is that node's.
                Ok(row.filter(|row| text(row, schedules::DECLARED) == schedule.declared()).map(|row| int(&row, schedules::NEXT)))
            }
            other => other.map(|_| Some(next)),
        }
    }

    /// What a schedule enqueues now, and the key by which its jobs wait for each other, where they do.
    fn wanted(&self, app: &App, schedule: &Schedule) -> (Wanted, Option<Box<str>>) {
        let job = &app.jobs[schedule.job];
        let input = job.input.with_defaults(schedule.input.clone(), self.now_ms(), None);
        let by_name = || self.keys.hex(format!("schedule\0{}", schedule.name).as_bytes()).into();
        let key = self.key_of(job, &input).or_else(|| (schedule.overlap != Overlap::Allow).then(by_name));
        (Wanted { input, run_at_ms: None }, key)
    }

    /// Whether the last job of a schedule has not ended, where that matters.
    async fn is_under_way(&self, schedule: &Schedule, key: Option<&str>) -> Result<bool, SystemError> {
        let (Overlap::Skip, Some(key)) = (schedule.overlap, key) else { return Ok(false) };
        let alive = Predicate::All(vec![is(jobs::KEY, key), is_not(jobs::STATE, state::DEAD)]);
        Ok(!self.gate.system_first(self.tables.jobs, alive, &[], 1).await.map_err(SystemError::Store)?.is_empty())
    }

    /// Enqueues what a schedule enqueues, now, beside its times.
    pub(crate) async fn run_schedule(&self, app: &App, schedule: &Schedule, actor: Actor) -> Result<Box<str>, SystemError> {
        let mut work = self.gate.system_work(&self.key, actor, "");
        let (wanted, key) = self.wanted(app, schedule);
        let added = self.add(&mut work, &app.jobs[schedule.job], &wanted, (&of(schedule), key));
        let run = added.map_err(|_| SystemError::Store(haechi_model::Failure::Busy))?;
        work.commit().await?;
        Ok(run)
    }
}

/// A schedule, as who enqueues.
fn of(schedule: &Schedule) -> By<'_> {
    By { kind: "schedule", id: &schedule.name, credential: None, request: "" }
}
