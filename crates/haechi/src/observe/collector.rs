//! The way to an OpenTelemetry collector: batches over HTTP, on our own runtime and with our own TLS.

use crate::{FolderError, app::folder};
use async_trait::async_trait;
use axum::http::{HeaderMap, HeaderValue, Request, Response, header};
use bytes::Bytes;
use haechi_gate::Outbound;
use haechi_model::TelemetryConfig;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_sdk::Resource;
use std::{
    collections::HashMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::runtime::Handle;
use url::Url;

/// Carries batches of one kind of signal.
#[derive(Clone, Debug)]
pub(super) struct Collector(Arc<Way>);

#[derive(Debug)]
struct Way {
    outbound: Outbound,
    /// Exporters have threads of their own, without a runtime.
    runtime: Handle,
    /// What is sent: spans, metrics or log lines.
    what: &'static str,
    /// Whether the last batch was not taken. It is logged when this changes, not for every batch.
    lost: AtomicBool,
}

impl Collector {
    pub(super) fn new(what: &'static str) -> Self {
        Self(Arc::new(Way { outbound: Outbound::new(what), runtime: Handle::current(), what, lost: AtomicBool::new(false) }))
    }

    pub(super) async fn post(&self, url: &Url, headers: HeaderMap, body: Bytes) -> io::Result<()> {
        let sent = self.0.outbound.post(url, headers, body).await;
        match &sent {
            Ok(()) => {
                if self.0.lost.swap(false, Ordering::Relaxed) {
                    tracing::info!(target: "haechi", "the collector takes {} again", self.0.what);
                }
            }
            Err(error) => {
                if !self.0.lost.swap(true, Ordering::Relaxed) {
                    tracing::warn!(target: "haechi", %error, "the collector does not take {}; requests go on without", self.0.what);
                }
            }
        }
        sent
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let url = Url::parse(&parts.uri.to_string())?;
        let collector = self.clone();
        self.0.runtime.spawn(async move { collector.post(&url, parts.headers, body).await }).await??;
        Ok(Response::new(Bytes::new()))
    }
}

/// The collector's credential, as a header.
pub(super) fn headers(config: &TelemetryConfig) -> Result<HashMap<String, String>, FolderError> {
    let mut headers = HashMap::new();
    if let Some(reference) = &config.authorization {
        headers.insert(header::AUTHORIZATION.to_string(), folder::secret(reference, "authorization")?);
    }
    Ok(headers)
}

/// The same, for a request of our own.
pub(super) fn header_map(config: &TelemetryConfig) -> Result<HeaderMap, FolderError> {
    let mut map = HeaderMap::new();
    map.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
    if let Some(value) = headers(config)?.remove(header::AUTHORIZATION.as_str()) {
        let value = HeaderValue::from_str(&value).map_err(|_| FolderError::Secret("`authorization` under [telemetry] is not a header".to_owned()))?;
        map.insert(header::AUTHORIZATION, value);
    }
    Ok(map)
}

/// An address that the folder names cannot be used; its form was checked, so this is not expected.
pub(super) fn unusable(key: &str) -> FolderError {
    FolderError::Secret(format!("`{key}` under [telemetry] cannot be used"))
}

/// Who sends; `OTEL_RESOURCE_ATTRIBUTES` adds to it.
pub(super) fn resource() -> Resource {
    Resource::builder().with_service_name("haechi").build()
}
