//! The statements of the queue: claiming, keeping, ending, letting others go on.

use crate::{
    Inner, Who,
    enqueue::target,
    tables::{jobs, may_text, state},
};
use haechi_gate::{Jobs as Area, Pick, SystemError, SystemWork};
use haechi_model::{
    Actor, Failure, Miss, Operand, Predicate, Put, Row, Value,
    stored::{at_most, int, is, is_not, text},
};

/// How long a worker has a job without being heard of.
pub(crate) const LEASE_MS: i64 = 30_000;
/// Jobs that are claimed at once.
pub(crate) const CLAIMED_AT_ONCE: u32 = 64;
/// Jobs that one worker can have: more than the queues of a folder have room for.
const HELD_AT_MOST: u32 = 10_000;
/// Ids that stand in one statement.
const IDS_AT_ONCE: usize = 200;
/// How often a worker that is lost with a job may be: then the job is believed to be the reason.
const LOST_AT_MOST: i64 = 3;
/// The first wait before a failed job is tried again; each is twice as long as the one before.
const AGAIN_MS: i64 = 15_000;
/// The longest wait.
const AGAIN_AT_MOST_MS: i64 = 24 * 3_600_000;
/// The job is not this worker's any more.
pub(crate) const LOST: Miss = 1;

/// A job that this worker has.
#[derive(Clone, Debug)]
pub(crate) struct Claimed {
    pub(crate) id: Box<str>,
    pub(crate) kind: Box<str>,
    pub(crate) attempt: i64,
    pub(crate) key: Option<Box<str>>,
    /// Whether it is the one of its key that waits or runs.
    pub(crate) has_slot: bool,
    pub(crate) who: Who,
    pub(crate) input: Option<Box<str>>,
    pub(crate) created: i64,
    pub(crate) began: i64,
}

impl Claimed {
    fn of(row: &Row) -> Self {
        Self {
            id: text(row, 0).into(),
            kind: text(row, jobs::KIND).into(),
            attempt: int(row, jobs::ATTEMPT),
            key: may_text(row, jobs::KEY),
            has_slot: may_text(row, jobs::SLOT).is_some(),
            who: Who { kind: text(row, jobs::ACTOR_KIND).into(), id: text(row, jobs::ACTOR).into(), credential: may_text(row, jobs::CREDENTIAL) },
            input: may_text(row, jobs::INPUT),
            created: int(row, jobs::CREATED),
            began: int(row, jobs::BEGAN),
        }
    }
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndedAs {
    Done,
    Cancelled,
}

impl EndedAs {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Cancelled => "cancelled",
        }
    }
}

/// An attempt that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Why, in a word that holds no data.
    pub(crate) code: &'static str,
    /// Whether another attempt may succeed.
    pub(crate) again: bool,
    /// How long to wait at least before it, when somebody said so.
    pub(crate) wait_ms: Option<i64>,
}

impl Inner {
    pub(crate) fn system(&self) -> SystemWork<Area> {
        self.gate.system_work(&self.key, Actor { kind: "system", id: "jobs".into() }, "")
    }

    /// Takes jobs of a kind that are due: those with which no worker was lost, or those with which one was. The latter are taken one by one,
    /// so that one that ends its worker takes few with it.
    pub(crate) async fn claim(&self, kind: &str, most: u32, lost: bool) -> Result<Vec<Claimed>, SystemError> {
        let (mut work, now) = (self.system(), self.now_ms());
        let lost = if lost { is_not(jobs::LOST, 0) } else { is(jobs::LOST, 0) };
        let filter = Predicate::All(vec![is(jobs::STATE, state::WAITING), is(jobs::KIND, kind), at_most(jobs::RUN_AT, now), lost]);
        let set = vec![
            (jobs::STATE, Put::Value(Value::Int(state::RUNNING))),
            (jobs::ATTEMPT, Put::More(1)),
            (jobs::HOLDER, Put::Value(Value::text(&*self.holder))),
            (jobs::LEASE, Put::Later(LEASE_MS)),
            (jobs::BEGAN, Put::Value(Value::Int(now))),
        ];
        work.pick(self.tables.jobs, Pick { filter, over: None, order: vec![jobs::RUN_AT], limit: most }, set);
        let mut claimed = work.commit_picking().await?;
        claimed.sort_by(|left, right| (int(left, jobs::RUN_AT), text(left, 0)).cmp(&(int(right, jobs::RUN_AT), text(right, 0))));
        Ok(claimed.iter().map(Claimed::of).collect())
    }

    /// When the next job of a kind is due.
    pub(crate) async fn next_due(&self, kind: &str) -> Result<Option<i64>, Failure> {
        let filter = Predicate::All(vec![is(jobs::STATE, state::WAITING), is(jobs::KIND, kind)]);
        let first = self.gate.system_first(self.tables.jobs, filter, &[jobs::RUN_AT], 1).await?;
        Ok(first.first().map(|row| int(row, jobs::RUN_AT)))
    }

    /// Renews the leases of this worker; the ids of those that it has.
    pub(crate) async fn renew(&self) -> Result<Vec<Box<str>>, SystemError> {
        let mut work = self.system();
        let set = vec![(jobs::LEASE, Put::Later(LEASE_MS))];
        work.pick(self.tables.jobs, Pick { filter: self.mine(), over: None, order: Vec::new(), limit: HELD_AT_MOST }, set);
        Ok(work.commit_picking().await?.iter().map(|row| text(row, 0).into()).collect())
    }

    /// Which of these jobs are this worker's, also when a change holds their rows.
    pub(crate) async fn still_mine(&self, ids: &[Box<str>]) -> Result<Vec<Box<str>>, SystemError> {
        let mut still = Vec::new();
        for part in ids.chunks(IDS_AT_ONCE) {
            let mine = Predicate::all([self.mine(), these(part)]);
            let found = self.gate.system_find(self.tables.jobs, mine, HELD_AT_MOST).await.map_err(SystemError::Store)?;
            still.extend(found.iter().map(|row| text(row, 0).into()));
        }
        Ok(still)
    }

    fn mine(&self) -> Predicate {
        Predicate::All(vec![is(jobs::STATE, state::RUNNING), is(jobs::HOLDER, &*self.holder)])
    }

    /// Gives jobs back that were not done: as if they had not been taken.
    pub(crate) async fn hand_back(&self, ids: &[Box<str>]) -> Result<(), SystemError> {
        for part in ids.chunks(IDS_AT_ONCE) {
            let mut work = self.system();
            let set = vec![
                (jobs::STATE, Put::Value(Value::Int(state::WAITING))),
                (jobs::ATTEMPT, Put::More(-1)),
                (jobs::HOLDER, Put::Value(Value::Null)),
                (jobs::LEASE, Put::Value(Value::Null)),
            ];
            let filter = Predicate::all([self.mine(), these(part)]);
            work.pick(self.tables.jobs, Pick { filter, over: None, order: Vec::new(), limit: HELD_AT_MOST }, set);
            work.commit_picking().await?;
        }
        Ok(())
    }

    /// Takes jobs away from workers that are not heard of any more. On SQLite there is one worker, so everything that another one has was
    /// left by a process that is gone.
    pub(crate) async fn find_lost(&self, shared: bool) -> Result<(), SystemError> {
        let over = shared.then_some(jobs::LEASE);
        let filter = Predicate::All(vec![is(jobs::STATE, state::RUNNING), is_not(jobs::HOLDER, &*self.holder)]);
        loop {
            let mut work = self.system();
            let set = vec![
                (jobs::STATE, Put::Value(Value::Int(state::WAITING))),
                (jobs::LOST, Put::More(1)),
                (jobs::HOLDER, Put::Value(Value::Null)),
                (jobs::LEASE, Put::Value(Value::Null)),
            ];
            work.pick(self.tables.jobs, Pick { filter: filter.clone(), over, order: Vec::new(), limit: CLAIMED_AT_ONCE }, set);
            let found = work.commit_picking().await?;
            for row in &found {
                tracing::warn!(target: "haechi::jobs", job = text(row, jobs::KIND), run = text(row, 0), "the worker of a job is gone");
                self.told.due(text(row, jobs::KIND).into(), int(row, jobs::RUN_AT));
                if int(row, jobs::LOST) >= LOST_AT_MOST {
                    self.kill(row).await?;
                }
            }
            if found.len() < CLAIMED_AT_ONCE as usize {
                return Ok(());
            }
        }
    }

    /// A job with which workers are lost again and again is not tried any more.
    async fn kill(&self, row: &Row) -> Result<(), SystemError> {
        let (id, mut work) = (text(row, 0), self.system());
        let as_found = Predicate::All(vec![is(jobs::STATE, state::WAITING), is(jobs::ATTEMPT, int(row, jobs::ATTEMPT))]);
        work.lock(self.tables.jobs, id, as_found, LOST);
        self.bury(&mut work, &Claimed::of(row), "kills-worker");
        match work.commit().await {
            // Another worker has it already.
            Err(SystemError::Missed(LOST)) => Ok(()),
            other => other.map(|_| self.counts.died()),
        }
    }

    /// What holds of the row of a job that is this worker's still, in the attempt that it began.
    fn own(&self, job: &Claimed) -> Predicate {
        Predicate::all([self.mine(), is(jobs::ATTEMPT, job.attempt)])
    }

    /// The step by which a job that this worker has is found and is its own still.
    pub(crate) fn fence(&self, work: &mut SystemWork<Area>, job: &Claimed) {
        work.lock(self.tables.jobs, &job.id, self.own(job), LOST);
    }

    /// The steps that end a job which was done, for the change that does it.
    pub(crate) fn finishing(&self, job: &Claimed, result: Option<&[u8]>) -> SystemWork<Area> {
        let mut work = self.system();
        self.ending(&mut work, job, self.own(job), EndedAs::Done);
        if let Some(result) = result {
            let row = vec![Value::text(&*job.id), Value::Int(self.now_ms()), Value::text(self.seal(&job.id, "result", result))];
            work.insert(self.tables.results, row);
        }
        work
    }

    /// The job's row becomes a run, if it is as it should be; the next with its key goes on. One statement finds and deletes the row.
    pub(crate) fn ending(&self, work: &mut SystemWork<Area>, job: &Claimed, still: Predicate, as_what: EndedAs) {
        work.take_away(self.tables.jobs, Predicate::all([is(0, &*job.id), still]), LOST);
        let row = vec![
            Value::text(&*job.id),
            Value::text(&*job.kind),
            Value::text(as_what.name()),
            Value::Int(job.attempt),
            Value::text(&*job.who.kind),
            Value::text(&*job.who.id),
            Value::Int(job.created),
            Value::Int(self.now_ms()),
        ];
        work.insert(self.tables.runs, row);
        // One that was blocked itself leaves the key where it is.
        self.let_next_go(work, &job.kind, job.key.as_deref().filter(|_| job.has_slot));
    }

    /// Lets the first blocked job with a key go on.
    fn let_next_go(&self, work: &mut SystemWork<Area>, kind: &str, key: Option<&str>) {
        let Some(key) = key else { return };
        let filter = Predicate::All(vec![is(jobs::KEY, key), is(jobs::STATE, state::BLOCKED), is(jobs::KIND, kind)]);
        let set = vec![(jobs::STATE, Put::Value(Value::Int(state::WAITING))), (jobs::SLOT, Put::Of(jobs::KEY))];
        work.pick(self.tables.jobs, Pick { filter, over: None, order: vec![jobs::RUN_AT], limit: 1 }, set);
        self.told.due(kind.into(), 0);
    }

    /// Lets the first blocked job with a key go on, when no other with it waits or runs.
    pub(crate) async fn unblock(&self, kind: &str, key: &str) -> Result<(), SystemError> {
        let held = Predicate::All(vec![is(jobs::KIND, kind), is(jobs::SLOT, key)]);
        if !self.gate.system_first(self.tables.jobs, held, &[], 1).await.map_err(SystemError::Store)?.is_empty() {
            // It lets the next go on when it ends, and it is looked again then. Perhaps it is the next already, and waits.
            self.told.due(kind.into(), 0);
            return Ok(());
        }
        let mut work = self.system();
        self.let_next_go(&mut work, kind, Some(key));
        match work.commit_picking().await {
            // Another one has the key: this one goes on when that has ended.
            Err(SystemError::NotUnique { .. }) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Notes an attempt that failed: the job waits again, or is dead.
    pub(crate) async fn failed(&self, job: &Claimed, fault: Fault, attempts: i64) -> Result<(), SystemError> {
        let mut work = self.system();
        self.fence(&mut work, job);
        let row = vec![
            Value::text(uuid::Uuid::now_v7().hyphenated().to_string()),
            Value::text(&*job.id),
            Value::Int(job.attempt),
            Value::Int(job.began),
            Value::Int(self.now_ms()),
            Value::text(fault.code),
        ];
        work.insert(self.tables.attempts, row);
        let mut due = None;
        if fault.again && job.attempt < attempts {
            let run_at = self.now_ms() + wait_ms(job.attempt).max(fault.wait_ms.unwrap_or(0));
            due = Some(run_at);
            let set = vec![
                (jobs::STATE, Value::Int(state::WAITING)),
                (jobs::RUN_AT, Value::Int(run_at)),
                (jobs::HOLDER, Value::Null),
                (jobs::LEASE, Value::Null),
                (jobs::CODE, Value::text(fault.code)),
            ];
            work.update(self.tables.jobs, &job.id, set, LOST);
        } else {
            self.bury(&mut work, job, fault.code);
        }
        match work.commit().await {
            Err(SystemError::Missed(LOST)) => Ok(()),
            Err(error) => Err(error),
            Ok(_) => {
                match due {
                    Some(due) => self.told.due(job.kind.clone(), due),
                    None => self.counts.died(),
                }
                Ok(())
            }
        }
    }

    /// A job is not tried again by itself; the next with its key goes on.
    fn bury(&self, work: &mut SystemWork<Area>, job: &Claimed, code: &str) {
        let set = vec![
            (jobs::STATE, Value::Int(state::DEAD)),
            (jobs::HOLDER, Value::Null),
            (jobs::LEASE, Value::Null),
            (jobs::SLOT, Value::Null),
            (jobs::CODE, Value::text(code)),
            // When it died: after a while it is deleted.
            (jobs::RUN_AT, Value::Int(self.now_ms())),
        ];
        work.update(self.tables.jobs, &job.id, set, LOST);
        self.let_next_go(work, &job.kind, job.key.as_deref());
        work.note("job_dead", &target(&job.id), format!("\"job\":\"{}\",\"attempt\":{},\"code\":\"{code}\"", job.kind, job.attempt));
    }

    /// A job that has not ended, by its id.
    pub(crate) async fn waiting(&self, id: &str) -> Result<Option<(Claimed, Row)>, Failure> {
        Ok(self.gate.system_row(self.tables.jobs, id).await?.map(|row| (Claimed::of(&row), row)))
    }
}

/// One of these.
fn these(ids: &[Box<str>]) -> Predicate {
    Predicate::OneOf(Operand::Column(0), ids.iter().map(|id| Value::Text(id.clone())).collect())
}

/// How long a job waits after an attempt: twice as long each time, and a fifth more or less, so that jobs that failed together do not come
/// back together.
fn wait_ms(attempt: i64) -> i64 {
    let doubled = AGAIN_MS << (attempt.clamp(1, 14) - 1);
    let most = doubled.min(AGAIN_AT_MOST_MS);
    let [low, high] = haechi_gate::random::<2>();
    let part = i64::from(u16::from_be_bytes([low, high]));
    most * 4 / 5 + most * 2 / 5 * part / 65_535
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_spread() {
        for (attempt, around) in [(1, 15_000), (2, 30_000), (5, 240_000), (12, 30_720_000), (40, AGAIN_AT_MOST_MS)] {
            for _ in 0..200 {
                let wait = wait_ms(attempt);
                assert!(wait >= around * 4 / 5 && wait <= around * 6 / 5, "{attempt}: {wait}");
            }
        }
        assert!((0..50).map(|_| wait_ms(1)).collect::<std::collections::HashSet<_>>().len() > 10);
    }
}
