//! Spans of requests: W3C trace context in, OTLP over HTTP out. None of this runs without a collector.

use super::{
    collector::{Collector, headers, resource, unusable},
    requests::known,
};
use crate::FolderError;
use axum::{
    body::Body,
    extract::{MatchedPath, Request},
    http::{HeaderMap, Method},
    middleware::Next,
    response::Response,
};
use haechi_model::TelemetryConfig;
use opentelemetry::{
    propagation::TextMapPropagator,
    trace::{SpanContext, TraceContextExt, TraceState, TracerProvider},
};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    propagation::TraceContextPropagator,
    trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider},
};
use std::time::Duration;
use tracing::{Span, field::Empty};
use tracing_opentelemetry::{OpenTelemetryLayer, OpenTelemetrySpanExt};
use tracing_subscriber::registry::LookupSpan;

/// The target of spans that only a collector gets.
pub(crate) const TARGET: &str = "haechi::trace";
/// Most spans that wait for the collector; further spans are dropped.
const WAITING: usize = 8_192;
const EVERY: Duration = Duration::from_secs(2);
/// Longest wait for the last batch at the end.
pub(super) const LAST: Duration = Duration::from_secs(3);

/// The way to a collector.
pub struct Traces {
    provider: SdkTracerProvider,
}

impl Traces {
    /// When the folder names a collector. Nothing is sent before there is a span.
    ///
    /// # Errors
    /// When the collector's credential cannot be read.
    pub fn open(config: &TelemetryConfig) -> Result<Option<Self>, FolderError> {
        let Some(address) = &config.traces else { return Ok(None) };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Collector::new("spans"))
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(address)
            .with_headers(headers(config)?)
            .build()
            .map_err(|_| unusable("traces"))?;
        let batches = BatchConfigBuilder::default().with_max_queue_size(WAITING).with_scheduled_delay(EVERY).build();
        let part = f64::from(u32::try_from(config.traces_percent).unwrap_or(100)) / 100.0;
        let provider = SdkTracerProvider::builder()
            .with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(batches).build())
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(part))))
            .with_resource(resource())
            .build();
        Ok(Some(Self { provider }))
    }

    /// The layer that hands spans over.
    pub(crate) fn layer<S: tracing::Subscriber + for<'a> LookupSpan<'a>>(&self) -> OpenTelemetryLayer<S, opentelemetry_sdk::trace::SdkTracer> {
        tracing_opentelemetry::layer().with_tracer(self.provider.tracer("haechi")).with_location(false).with_threads(false)
    }

    /// Sends what waits.
    pub async fn close(self) {
        let last = tokio::task::spawn_blocking(move || self.provider.shutdown_with_timeout(LAST));
        let _ = last.await;
    }
}

/// The span of a request. Only a declared proxy's trace is continued; a stranger's is linked, and has no effect.
pub(crate) fn of_request(method: &Method, headers: &HeaderMap, request_id: &str, from_proxy: bool) -> Span {
    let method = known(method);
    let span = tracing::info_span!(
        target: TARGET,
        "request",
        otel.kind = "server",
        otel.name = method,
        otel.status_code = Empty,
        http.request.method = method,
        http.route = Empty,
        http.response.status_code = Empty,
        haechi.request_id = request_id,
    );
    if !span.is_disabled() && headers.contains_key("traceparent") {
        let theirs = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
        if from_proxy {
            let _ = span.set_parent(theirs);
        } else {
            // Only its ids: nothing else that a stranger sends reaches the collector.
            let theirs = theirs.span().span_context().clone();
            span.add_link(SpanContext::new(theirs.trace_id(), theirs.span_id(), theirs.trace_flags(), true, TraceState::NONE));
        }
    }
    span
}

/// Completes a request's span.
pub(crate) fn answered(span: &Span, status: u16) {
    span.record("http.response.status_code", i64::from(status));
    if status >= 500 {
        span.record("otel.status_code", "ERROR");
    }
}

/// Names the span after the route, which has no ids and no values in it.
pub(crate) async fn name_route(request: Request<Body>, next: Next) -> Response {
    if let Some(path) = request.extensions().get::<MatchedPath>() {
        let span = Span::current();
        span.record("http.route", path.as_str());
        span.context().span().update_name(format!("{} {}", known(request.method()), path.as_str()));
    }
    next.run(request).await
}
