//! Whether requests should be sent here: what `/readyz` and `haechi health` say.

use super::metrics::Metrics;
use haechi_gate::{CLOCK_BEHIND_MS, Gate};

/// Entries without seal older than this make the node not ready.
const MAX_SEAL_LAG_MS: i64 = 10_000;

/// Whether this node is ready for requests, and the reasons.
pub(crate) struct Readiness {
    pub(crate) ready: bool,
    reasons: Vec<&'static str>,
}

impl Readiness {
    pub(crate) async fn of(gate: &Gate, metrics: &Metrics) -> Self {
        let (mut ready, mut reasons) = (true, Vec::new());
        let mut not = |reason| {
            ready = false;
            reasons.push(reason);
        };
        if metrics.is_draining() {
            not("it ends");
        }
        if gate.seal_lag_ms() >= MAX_SEAL_LAG_MS {
            not("entries of the ledger have waited for their seal for more than 10 seconds");
        }
        if !gate.reachable().await {
            not("the database does not answer");
        }
        let outdated = gate.outdated();
        if !outdated.is_empty() {
            not("the database was migrated to a model that this node does not go on over; the log says why");
        }
        for writer in gate.failing() {
            ready &= !writer.is_needed();
            reasons.push(writer.failed());
        }
        if gate.clock().ahead_ms() > CLOCK_BEHIND_MS {
            reasons.push("the system's clock is behind: time goes on from what was said before");
        }
        // Requests are answered all the same.
        reasons.extend(metrics.work_says());
        Self { ready, reasons }
    }

    /// A line, and one for each reason.
    pub(crate) fn text(&self) -> String {
        let mut text = if self.ready { "ready" } else { "not ready" }.to_owned();
        for reason in &self.reasons {
            text.push('\n');
            text.push_str(reason);
        }
        text
    }
}

/// Whether this node is ready for requests.
pub(crate) async fn is_ready(gate: &Gate, metrics: &Metrics) -> bool {
    Readiness::of(gate, metrics).await.ready
}
