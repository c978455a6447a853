//! Looks at work from time to time: for metrics and for `/readyz`.

use super::metrics::Metrics;
use haechi_gate::Gate;
use haechi_jobs::{Jobs, State};
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Work that has been due for so long stands still.
const STANDS_MS: i64 = 300_000;

/// Looks until `stop` turns true. A folder without jobs costs nothing.
pub(crate) async fn run(gate: Gate, jobs: Jobs, metrics: Arc<Metrics>, mut stop: watch::Receiver<bool>) {
    while tokio::time::timeout(LOOK_EVERY, stop.changed()).await.is_err() {
        if !gate.revision().app.jobs.is_empty() {
            look(&gate, &jobs, &metrics).await;
        }
    }
}

/// Counts work once. When the database does not answer, what was counted before stays.
pub async fn look(gate: &Gate, jobs: &Jobs, metrics: &Metrics) {
    let (Ok(depths), Ok(paused)) = (jobs.depths().await, jobs.paused().await) else { return };
    let now = gate.clock().now_ms();
    metrics.work(&depths, jobs.counts(), (paused.len(), now));
    let declared = |job: &str| gate.revision().app.jobs.iter().any(|known| known.name == *job);
    let stands = depths.iter().any(|depth| depth.state == State::Waiting && now - depth.oldest_ms > STANDS_MS && declared(&depth.job));
    metrics.work_stands(stands, !paused.is_empty());
}
