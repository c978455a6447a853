//! Spans of requests: W3C trace context in, OTLP over HTTP out. None of this runs without a collector.

use crate::{FolderError, app::folder, observe::requests::known};
use async_trait::async_trait;
use axum::{
    body::Body,
    extract::{MatchedPath, Request},
    http::{HeaderMap, Method, header},
    middleware::Next,
    response::Response,
};
use bytes::Bytes;
use haechi_gate::Outbound;
use haechi_model::TelemetryConfig;
use opentelemetry::{
    propagation::TextMapPropagator,
    trace::{SpanContext, TraceContextExt, TraceState, TracerProvider},
};
use opentelemetry_http::{HeaderExtractor, HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider},
};
use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use tokio::runtime::Handle;
use tracing::{Span, field::Empty};
use tracing_opentelemetry::{OpenTelemetryLayer, OpenTelemetrySpanExt};
use tracing_subscriber::registry::LookupSpan;
use url::Url;

/// The target of spans that only a collector gets.
pub(crate) const TARGET: &str = "haechi::trace";
/// Most spans that wait for the collector; further spans are dropped.
const WAITING: usize = 8_192;
const EVERY: Duration = Duration::from_secs(2);
/// Longest wait for the last spans at the end.
const LAST: Duration = Duration::from_secs(3);

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
        let mut headers = HashMap::new();
        if let Some(reference) = &config.authorization {
            headers.insert(header::AUTHORIZATION.to_string(), folder::secret(reference, "authorization")?);
        }
        let client = Collector { outbound: Outbound::new(), runtime: Handle::current(), lost: AtomicBool::new(false) };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(address)
            .with_headers(headers)
            .build()
            .map_err(|_| FolderError::Secret("`traces` under [telemetry] cannot be used".to_owned()))?;
        let batches = BatchConfigBuilder::default().with_max_queue_size(WAITING).with_scheduled_delay(EVERY).build();
        let part = f64::from(u32::try_from(config.traces_percent).unwrap_or(100)) / 100.0;
        let provider = SdkTracerProvider::builder()
            .with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(batches).build())
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(part))))
            .with_resource(Resource::builder().with_service_name("haechi").build())
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

/// Sends batches to the collector on our runtime; otherwise the exporter would use a thread.
#[derive(Debug)]
struct Collector {
    outbound: Outbound,
    runtime: Handle,
    /// Logged once, not for every batch.
    lost: AtomicBool,
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: axum::http::Request<Bytes>) -> Result<axum::http::Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let (url, outbound) = (Url::parse(&parts.uri.to_string())?, self.outbound.clone());
        let sent = self.runtime.spawn(async move { outbound.post(&url, parts.headers, body).await }).await?;
        match sent {
            Ok(()) => {
                if self.lost.swap(false, Ordering::Relaxed) {
                    tracing::info!(target: "haechi", "the trace collector takes spans again");
                }
                Ok(axum::http::Response::new(Bytes::new()))
            }
            Err(error) => {
                if !self.lost.swap(true, Ordering::Relaxed) {
                    tracing::warn!(target: "haechi", %error, "the trace collector does not take spans; requests go on without");
                }
                Err(error.into())
            }
        }
    }
}
