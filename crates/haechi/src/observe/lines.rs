//! Log lines to a collector: those that stderr gets, of Haechi itself.

use super::{
    collector::{Collector, headers, resource, unusable},
    traces::LAST,
};
use crate::FolderError;
use haechi_model::TelemetryConfig;
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_otlp::{LogExporter, Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::logs::{BatchConfigBuilder, BatchLogProcessor, SdkLogger, SdkLoggerProvider};
use std::time::Duration;

/// Most lines that wait for the collector; further lines are dropped. Standard error gets them all the same.
const WAITING: usize = 8_192;
const EVERY: Duration = Duration::from_secs(2);

/// The way of log lines to a collector.
pub(super) struct Lines(SdkLoggerProvider);

impl Lines {
    pub(super) fn open(config: &TelemetryConfig) -> Result<Option<Self>, FolderError> {
        let Some(address) = &config.logs else { return Ok(None) };
        let exporter = LogExporter::builder()
            .with_http()
            .with_http_client(Collector::new("log lines"))
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(address)
            .with_headers(headers(config)?)
            .build()
            .map_err(|_| unusable("logs"))?;
        let batches = BatchConfigBuilder::default().with_max_queue_size(WAITING).with_scheduled_delay(EVERY).build();
        let processor = BatchLogProcessor::builder(exporter).with_batch_config(batches).build();
        Ok(Some(Self(SdkLoggerProvider::builder().with_log_processor(processor).with_resource(resource()).build())))
    }

    /// What a subscriber needs to hand lines over.
    pub(super) fn layer(&self) -> OpenTelemetryTracingBridge<SdkLoggerProvider, SdkLogger> {
        OpenTelemetryTracingBridge::new(&self.0)
    }

    /// Sends what waits.
    pub(super) async fn close(self) {
        let last = tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(LAST));
        let _ = last.await;
    }
}
