//! What a collector gets, each when the folder names an address for it: spans, log lines, metrics.

use super::{lines::Lines, metrics::otlp::Pusher, traces::Traces};
use crate::{FolderError, House};
use haechi_model::TelemetryConfig;
use std::sync::Arc;
use tokio::{sync::watch, task::JoinHandle};

/// The ways to collectors.
#[derive(Default)]
pub struct Telemetry {
    pub(super) traces: Option<Traces>,
    pub(super) lines: Option<Lines>,
    metrics: Option<Pusher>,
    pushing: Option<JoinHandle<()>>,
}

impl Telemetry {
    /// Opens those that the folder names. Nothing is sent yet.
    ///
    /// # Errors
    /// When the collector's credential cannot be read.
    pub fn open(config: &TelemetryConfig) -> Result<Self, FolderError> {
        Ok(Self { traces: Traces::open(config)?, lines: Lines::open(config)?, metrics: Pusher::open(config)?, pushing: None })
    }

    /// Sends the metrics of the house of the moment, again and again, until [`Telemetry::close`].
    pub fn watch(&mut self, houses: watch::Receiver<Arc<House>>) {
        self.pushing = self.metrics.take().map(|pusher| tokio::spawn(pusher.run(houses)));
    }

    /// Sends what waits. The senders of houses must be gone, so that the last metrics are sent.
    pub async fn close(self) {
        if let Some(pushing) = self.pushing {
            let _ = tokio::time::timeout(super::traces::LAST, pushing).await;
        }
        if let Some(traces) = self.traces {
            traces.close().await;
        }
        if let Some(lines) = self.lines {
            lines.close().await;
        }
    }
}
