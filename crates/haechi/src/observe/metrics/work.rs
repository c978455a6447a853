//! Metrics of work: how much of it there is, how old it is, and how it goes.

use haechi_jobs::{Depth, State};
use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

type Labels = [(&'static str, String); 2];
type Job = [(&'static str, String); 1];
type Outcome = [(&'static str, &'static str); 1];

const OUTCOMES: [&str; 3] = ["done", "failed", "dead"];

/// All metrics of work.
pub(super) struct Work {
    runs: Family<Labels, Gauge>,
    overdue: Family<Job, Gauge>,
    attempts: [Counter; OUTCOMES.len()],
    paused: Gauge,
}

impl Work {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let (runs, overdue, attempts, paused) = (Family::default(), Family::default(), Family::<Outcome, Counter>::default(), Gauge::default());
        registry.register("job_runs", "Runs of jobs that are not done, by job and state", Family::clone(&runs));
        let help = "For how long the oldest run of a job has been due without being begun";
        registry.register_with_unit("job_overdue", help, Unit::Seconds, Family::clone(&overdue));
        registry.register("job_attempts", "Attempts of jobs that this node made, by what came of them", attempts.clone());
        registry.register("work_paused", "How much of the work operators have paused", Gauge::clone(&paused));
        Self { runs, overdue, paused, attempts: OUTCOMES.map(|outcome| attempts.get_or_create(&[("outcome", outcome)]).clone()) }
    }

    /// What was counted at this moment.
    pub(super) fn tell(&self, depths: &[Depth], counts: [u64; 3], (paused, now_ms): (usize, i64)) {
        // A job of which nothing is left is not shown as it was.
        self.runs.clear();
        self.overdue.clear();
        for depth in depths {
            let labels = [("name", depth.job.to_string()), ("state", depth.state.name().to_owned())];
            self.runs.get_or_create(&labels).set(i64::try_from(depth.count).unwrap_or(i64::MAX));
            if depth.state == State::Waiting {
                self.overdue.get_or_create(&[("name", depth.job.to_string())]).set(((now_ms - depth.oldest_ms) / 1000).max(0));
            }
        }
        for (counter, count) in self.attempts.iter().zip(counts) {
            counter.inc_by(count.saturating_sub(counter.get()));
        }
        self.paused.set(i64::try_from(paused).unwrap_or(i64::MAX));
    }
}
