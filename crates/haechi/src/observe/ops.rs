//! The listener for operators: health, readiness, metrics. It has no credentials, so it belongs on a private address.

use crate::{
    observe::metrics::Metrics,
    observe::readiness::{Readiness, is_ready},
};
use axum::{
    Router,
    http::{HeaderValue, StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use futures_util::future::BoxFuture;
use haechi_gate::Gate;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Serves until it is aborted.
pub fn serve(listener: TcpListener, gate: Gate, metrics: Arc<Metrics>) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let for_ready = (gate.clone(), metrics.clone());
        let router = Router::new()
            .route("/healthz", get(|| async { "ok" }))
            .route(
                "/readyz",
                get(async move || {
                    let readiness = Readiness::of(&for_ready.0, &for_ready.1).await;
                    (if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, readiness.text())
                }),
            )
            .route(
                "/metrics",
                get(async move || {
                    let text = metrics.text(&gate.signs(), is_ready(&gate, &metrics).await);
                    let media = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
                    ([(header::CONTENT_TYPE, media)], text).into_response()
                }),
            );
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(target: "haechi", %error, "the ops listener has ended");
        }
    })
}
