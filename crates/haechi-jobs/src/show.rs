//! Runs as people and operators see them, and what they do to them: look, cancel, retry, pause.

use crate::{
    Inner, Jobs,
    enqueue::target,
    input::MAX_BYTES,
    keep::EVERYTHING,
    queue::{Claimed, EndedAs, LOST},
    tables::{attempts, jobs, may_text, results, runs, schedules, state},
};
use haechi_gate::{Ask, Refusal, SystemError, SystemWork};
use haechi_model::{
    Actor, Failure, Predicate, Row, ThingKind, Value,
    stored::{int, is, text},
};
use std::collections::HashMap;

/// Most failed attempts of a run that are shown: as many as a job may have.
const ATTEMPTS_SHOWN: u32 = 100;

/// The state of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It waits for its time, or for a worker.
    Waiting,
    /// It waits for another run with its key.
    Blocked,
    /// A worker has it.
    Running,
    /// It was done.
    Done,
    /// It was cancelled.
    Cancelled,
    /// It failed, and is not tried again by itself.
    Dead,
    /// The caller as whom it would run may not do it.
    Refused,
}

impl State {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Blocked => "blocked",
            Self::Running => "running",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::Dead => "dead",
            Self::Refused => "refused",
        }
    }
}

/// A run.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Its id.
    pub id: Box<str>,
    /// The job.
    pub job: Box<str>,
    /// Its state.
    pub state: State,
    /// Kind and id of who enqueued it.
    pub by: (Box<str>, Box<str>),
    /// How often it was begun.
    pub attempt: i64,
    /// When it was enqueued.
    pub created_ms: i64,
    /// When it is due, while it waits.
    pub run_at_ms: Option<i64>,
    /// When it ended.
    pub ended_ms: Option<i64>,
    /// Why the last attempt failed.
    pub code: Option<Box<str>>,
    /// How far it is, JSON.
    pub progress: Option<String>,
    /// What it has brought, JSON.
    pub result: Option<String>,
    /// The attempts that failed: number, begin, end, code.
    pub attempts: Vec<(i64, i64, i64, Box<str>)>,
}

/// A schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scheduled {
    /// Its name.
    pub name: Box<str>,
    /// The job that it enqueues.
    pub job: Box<str>,
    /// Its expression and its time zone.
    pub declared: String,
    /// Whether a worker has taken note of it, so that times which pass are missed.
    pub begun: bool,
    /// When it fires next.
    pub next_ms: Option<i64>,
    /// When it fired last.
    pub last_ms: Option<i64>,
}

/// How much of a job there is in a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Depth {
    /// The job.
    pub job: Box<str>,
    /// The state.
    pub state: State,
    /// How many.
    pub count: u64,
    /// When the first of them is, or was, due.
    pub oldest_ms: i64,
}

fn state_of(row: &Row) -> State {
    match int(row, jobs::STATE) {
        state::WAITING => State::Waiting,
        state::RUNNING => State::Running,
        state::BLOCKED => State::Blocked,
        _ if text(row, jobs::CODE) == "refused" => State::Refused,
        _ => State::Dead,
    }
}

impl Inner {
    fn shown(&self, row: &Row) -> Shown {
        let (id, now) = (text(row, 0), state_of(row));
        let over = matches!(now, State::Dead | State::Refused);
        let progress = may_text(row, jobs::PROGRESS).and_then(|sealed| self.open(id, "progress", &sealed));
        Shown {
            id: id.into(),
            job: text(row, jobs::KIND).into(),
            state: now,
            by: (text(row, jobs::ACTOR_KIND).into(), text(row, jobs::ACTOR).into()),
            attempt: int(row, jobs::ATTEMPT),
            created_ms: int(row, jobs::CREATED),
            run_at_ms: matches!(now, State::Waiting | State::Blocked).then(|| int(row, jobs::RUN_AT)),
            ended_ms: over.then(|| int(row, jobs::RUN_AT)),
            code: may_text(row, jobs::CODE),
            progress: progress.and_then(|bytes| String::from_utf8(bytes).ok()),
            result: None,
            attempts: Vec::new(),
        }
    }

    async fn find(&self, id: &str) -> Result<Option<Shown>, Failure> {
        let mut shown = match self.gate.system_row(self.tables.jobs, id).await? {
            Some(row) => self.shown(&row),
            None => match self.gate.system_row(self.tables.runs, id).await? {
                Some(row) => self.ended(&row).await?,
                None => return Ok(None),
            },
        };
        let failed = self.gate.system_first(self.tables.attempts, is(attempts::JOB, id), &[attempts::NUMBER], ATTEMPTS_SHOWN).await?;
        let attempt =
            |row: &Row| (int(row, attempts::NUMBER), int(row, attempts::BEGAN), int(row, attempts::ENDED), text(row, attempts::CODE).into());
        shown.attempts = failed.iter().map(attempt).collect();
        Ok(Some(shown))
    }

    async fn ended(&self, row: &Row) -> Result<Shown, Failure> {
        let id = text(row, 0);
        let result = self.gate.system_row(self.tables.results, id).await?;
        let result = result.and_then(|row| self.open(id, "result", text(&row, results::RESULT))).and_then(|bytes| String::from_utf8(bytes).ok());
        Ok(Shown {
            id: id.into(),
            job: text(row, runs::KIND).into(),
            state: if text(row, runs::ENDED_AS) == EndedAs::Cancelled.name() { State::Cancelled } else { State::Done },
            by: (text(row, runs::ACTOR_KIND).into(), text(row, runs::ACTOR).into()),
            attempt: int(row, runs::ATTEMPT),
            created_ms: int(row, runs::CREATED),
            run_at_ms: None,
            ended_ms: Some(int(row, runs::ENDED)),
            code: None,
            progress: None,
            result,
            attempts: Vec::new(),
        })
    }

    /// Stores how far a job is, while it is this worker's own.
    pub(crate) async fn progress(&self, job: &Claimed, progress: &[u8]) -> Result<(), SystemError> {
        debug_assert!(progress.len() <= MAX_BYTES);
        let mut work = self.system();
        self.fence(&mut work, job);
        work.update(self.tables.jobs, &job.id, vec![(jobs::PROGRESS, Value::text(self.seal(&job.id, "progress", progress)))], LOST);
        work.commit().await.map(drop)
    }
}

/// Why something was not done to a run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// There is no such run, or the caller may not see it.
    #[error("no such run")]
    NotFound,
    /// Policy says no.
    #[error("refused")]
    Refused(Refusal),
    /// It has ended, or is in another state.
    #[error("the run is {}", .0.name())]
    State(State),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] Failure),
}

impl From<SystemError> for RunError {
    fn from(error: SystemError) -> Self {
        match error {
            SystemError::Store(failure) => Self::Store(failure),
            SystemError::Missed(_) | SystemError::NotUnique { .. } => Self::Store(Failure::Contended),
        }
    }
}

impl Jobs {
    /// A run, for those who may see it: who enqueued it and still may, and those to whom policy permits `read`.
    ///
    /// # Errors
    /// When there is none that they may see, or the database cannot be reached.
    pub async fn run(&self, ask: &Ask, id: &str) -> Result<Shown, RunError> {
        if ask.caller().is_anonymous() {
            return Err(RunError::Refused(Refusal::Unauthenticated));
        }
        let shown = self.0.find(id).await?.ok_or(RunError::NotFound)?;
        let thing = (ThingKind::Job, &*shown.job);
        let own = is_own(ask, &shown) && ask.might_do(thing, "enqueue");
        if own || ask.might_do(thing, "read") { Ok(shown) } else { Err(RunError::NotFound) }
    }

    /// Cancels a run that has not ended: what it does to rows does not happen. Who enqueued it may, and those to whom policy permits `cancel`.
    ///
    /// # Errors
    /// When it has ended, or the caller may not.
    pub async fn cancel(&self, ask: &Ask, id: &str) -> Result<Shown, RunError> {
        let shown = self.run(ask, id).await?;
        if !is_own(ask, &shown) {
            ask.may_do((ThingKind::Job, &*shown.job), "cancel").map_err(RunError::Refused)?;
        }
        self.end(id, (**ask.caller().actor()).clone(), ask.request_id()).await
    }

    async fn end(&self, id: &str, actor: Actor, request_id: &str) -> Result<Shown, RunError> {
        let inner = &*self.0;
        let Some((claimed, row)) = inner.waiting(id).await? else {
            return Err(inner.find(id).await?.map_or(RunError::NotFound, |shown| RunError::State(shown.state)));
        };
        let mut work = inner.gate.system_work(&inner.key, actor, request_id);
        // The worker that has it cannot finish it any more, because the row is gone.
        inner.ending(&mut work, &claimed, is(jobs::STATE, int(&row, jobs::STATE)), EndedAs::Cancelled);
        work.note("cancel_job", &target(id), format!("\"job\":\"{}\",\"was\":\"{}\"", claimed.kind, state_of(&row).name()));
        match work.commit().await {
            // It ended meanwhile.
            Err(SystemError::Missed(LOST)) => return Err(inner.find(id).await?.map_or(RunError::NotFound, |shown| RunError::State(shown.state))),
            other => other?,
        };
        inner.told.due(claimed.kind, 0);
        inner.find(id).await?.ok_or(RunError::NotFound)
    }

    /// For operators.
    #[must_use]
    pub fn operator(&self, name: &str) -> Operator<'_> {
        Operator { jobs: self, name: name.into() }
    }

    /// How much work there is, by job and state.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn depths(&self) -> Result<Vec<Depth>, Failure> {
        let inner = &*self.0;
        let refused = is(jobs::CODE, "refused");
        let mut depths = Vec::new();
        let dead = is(jobs::STATE, state::DEAD);
        let parts = [
            (Predicate::NotTrue(Box::new(dead.clone())), None),
            (Predicate::all([dead.clone(), refused.clone()]), Some(State::Refused)),
            (Predicate::all([dead, Predicate::NotTrue(Box::new(refused))]), Some(State::Dead)),
        ];
        for (filter, as_what) in parts {
            for group in inner.gate.system_groups(inner.tables.jobs, filter, vec![jobs::KIND, jobs::STATE], jobs::RUN_AT).await? {
                let [Value::Text(job), Value::Int(found), Value::Int(count), Value::Int(oldest_ms)] = &group[..] else { continue };
                let state = as_what.unwrap_or(match *found {
                    state::RUNNING => State::Running,
                    state::BLOCKED => State::Blocked,
                    _ => State::Waiting,
                });
                depths.push(Depth { job: job.clone(), state, count: count.unsigned_abs(), oldest_ms: *oldest_ms });
            }
        }
        let mut waiting: HashMap<Box<str>, u64> = HashMap::new();
        for depth in depths.iter().filter(|depth| matches!(depth.state, State::Waiting | State::Blocked)) {
            *waiting.entry(depth.job.clone()).or_default() += depth.count;
        }
        inner.counts.wait(waiting);
        depths.sort_by(|left, right| (&left.job, left.state.name()).cmp(&(&right.job, right.state.name())));
        Ok(depths)
    }

    /// Attempts that succeeded, attempts that failed, and jobs that died, since the start of this node.
    #[must_use]
    pub fn counts(&self) -> [u64; 3] {
        self.0.counts.all()
    }

    /// What is paused, and why.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn paused(&self) -> Result<Vec<(String, String)>, Failure> {
        Ok(self.0.pauses().await?.all())
    }
}

fn is_own(ask: &Ask, shown: &Shown) -> bool {
    let actor = ask.caller().actor();
    (actor.kind, &*actor.id) == (&*shown.by.0, &*shown.by.1)
}

/// What operators do to work; each leaves an entry with their name.
pub struct Operator<'a> {
    jobs: &'a Jobs,
    name: Box<str>,
}

impl Operator<'_> {
    fn work(&self) -> SystemWork<haechi_gate::Jobs> {
        let inner = &*self.jobs.0;
        inner.gate.system_work(&inner.key, self.actor(), "")
    }

    fn actor(&self) -> Actor {
        Actor { kind: "operator", id: self.name.clone() }
    }

    /// Runs that have not ended, oldest first; of one job when it is named.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn list(&self, job: Option<&str>, most: u32) -> Result<Vec<Shown>, Failure> {
        let inner = &*self.jobs.0;
        let filter = job.map_or(Predicate::True, |job| is(jobs::KIND, job));
        let found = inner.gate.system_first(inner.tables.jobs, filter, &[jobs::RUN_AT], most).await?;
        Ok(found.iter().map(|row| inner.shown(row)).collect())
    }

    /// A run.
    ///
    /// # Errors
    /// When there is none, or the database cannot be reached.
    pub async fn show(&self, id: &str) -> Result<Shown, RunError> {
        self.jobs.0.find(id).await?.ok_or(RunError::NotFound)
    }

    /// Tries a run again that is dead or refused, or waits for another attempt: now, with all its attempts before it.
    ///
    /// # Errors
    /// When it is in another state.
    pub async fn retry(&self, id: &str) -> Result<Shown, RunError> {
        let inner = &*self.jobs.0;
        let shown = self.show(id).await?;
        if !matches!(shown.state, State::Dead | State::Refused | State::Waiting) {
            return Err(RunError::State(shown.state));
        }
        let Some((claimed, row)) = inner.waiting(id).await? else { return Err(RunError::State(shown.state)) };
        let mut work = self.work();
        work.lock(inner.tables.jobs, id, is(jobs::STATE, int(&row, jobs::STATE)), LOST);
        // One with a key waits until it is seen that no other has its key.
        let keyed = claimed.key.is_some() && shown.state != State::Waiting;
        let set = vec![
            (jobs::STATE, Value::Int(if keyed { state::BLOCKED } else { state::WAITING })),
            (jobs::RUN_AT, Value::Int(inner.now_ms())),
            (jobs::ATTEMPT, Value::Int(0)),
            (jobs::LOST, Value::Int(0)),
        ];
        work.update(inner.tables.jobs, id, set, LOST);
        work.note("retry_job", &target(id), format!("\"job\":\"{}\"", claimed.kind));
        work.commit().await?;
        if let Some(key) = claimed.key {
            inner.told.key(claimed.kind.clone(), key);
        }
        inner.told.due(claimed.kind, 0);
        self.show(id).await
    }

    /// Cancels a run that has not ended.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn cancel(&self, id: &str) -> Result<Shown, RunError> {
        self.jobs.end(id, self.actor(), "").await
    }

    /// Begins no more of this: `everything`, `job/NAME` or `queue/NAME`. What is under way ends.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn pause(&self, what: &str, reason: &str) -> Result<(), RunError> {
        let inner = &*self.jobs.0;
        let mut work = self.work();
        work.clear(inner.tables.pauses, is(0, what));
        let row = vec![Value::text(what), Value::text(reason), Value::Int(inner.now_ms()), Value::text(&*self.name)];
        work.insert(inner.tables.pauses, row);
        work.note("pause_work", &format!("_pauses/{what}"), String::new());
        work.commit().await?;
        inner.told.all();
        Ok(())
    }

    /// Pauses everything, because this is another database's past: work in it may have been done since.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn after_restore(&self) -> Result<(), RunError> {
        self.pause(EVERYTHING, "restored").await
    }

    /// The declared schedules: name, job, when they fire next and fired last.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn schedules(&self) -> Result<Vec<Scheduled>, Failure> {
        let inner = &*self.jobs.0;
        let revision = inner.gate.revision();
        let mut all = Vec::new();
        for schedule in &revision.app.schedules {
            let row = inner.gate.system_row(inner.tables.schedules, &schedule.name).await?;
            let known = row.filter(|row| text(row, schedules::DECLARED) == schedule.declared());
            all.push(Scheduled {
                name: schedule.name.as_str().into(),
                job: revision.app.jobs[schedule.job].name.as_str().into(),
                declared: schedule.declared(),
                begun: known.is_some(),
                next_ms: known.as_ref().map(|row| int(row, schedules::NEXT)).or_else(|| schedule.next_after(inner.now_ms())),
                last_ms: known.and_then(|row| row[schedules::LAST].as_int()),
            });
        }
        Ok(all)
    }

    /// Enqueues what a schedule enqueues, now; the id of the run. Its times stay as they are.
    ///
    /// # Errors
    /// When there is no such schedule, or the database cannot be reached.
    pub async fn run_schedule(&self, name: &str) -> Result<Box<str>, RunError> {
        let inner = &*self.jobs.0;
        let revision = inner.gate.revision();
        let schedule = revision.app.schedules.iter().find(|schedule| schedule.name == name).ok_or(RunError::NotFound)?;
        Ok(inner.run_schedule(&revision.app, schedule, self.actor()).await?)
    }

    /// Lets it go on; `false` when it was not paused.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn resume(&self, what: &str) -> Result<bool, RunError> {
        let inner = &*self.jobs.0;
        if !self.jobs.paused().await?.iter().any(|(paused, _)| paused == what) {
            return Ok(false);
        }
        let mut work = self.work();
        work.clear(inner.tables.pauses, is(0, what));
        work.note("resume_work", &format!("_pauses/{what}"), String::new());
        work.commit().await?;
        inner.told.all();
        Ok(true)
    }
}
