//! The route table and the accept loop.

use crate::{
    house::{House, Mode},
    stack::{RequestId, Stack},
};
use axum::{
    Extension, Router,
    body::Body,
    http::{HeaderValue, Request, Response, StatusCode, header},
    routing::get,
};
use haechi_data::Data;
use haechi_gate::{Ask, Gate};
use haechi_identity::ClientAddress;
use haechi_problem::{Problem, kinds};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use std::{sync::Arc, time::Duration};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
};

/// Longest wait for requests in work when the end was asked for.
const DRAIN: Duration = Duration::from_secs(25);
/// Entries without seal older than this make the node not ready.
const MAX_SEAL_LAG_MS: i64 = 10_000;
const MAX_HEAD_BYTES: usize = 32 * 1024;
const MAX_STREAMS: u32 = 128;

/// All routes of all features, in one table.
pub fn routes(house: &House, base: &Arc<str>, mode: Mode) -> Router {
    let gate = &house.gate;
    let config = &gate.revision().app.config;
    let data = Data { gate: gate.clone(), base: base.clone(), body_bytes: config.limits.body_bytes };
    let (missing, wrong_method, health, openapi) = (base.clone(), base.clone(), gate.clone(), base.clone());
    Router::new()
        .merge(haechi_data::router(data))
        .merge(haechi_identity::router(house.identity.clone(), base.clone()))
        .route("/healthz", get(|| async { plain("ok") }))
        .route("/readyz", get(move || ready(health.clone())))
        .route("/openapi.json", get(move |Extension(ask): Extension<Ask>| async move { describe(&ask, &openapi, mode) }))
        .route("/problems/{slug}", get(problem_page))
        .fallback(move |Extension(RequestId(id)): Extension<RequestId>| async move {
            Problem::new(kinds::NOT_FOUND, "There is no such route.").response(&missing, &id)
        })
        .method_not_allowed_fallback(move |Extension(RequestId(id)): Extension<RequestId>| async move {
            Problem::new(kinds::METHOD_NOT_ALLOWED, "See the Allow header.").response(&wrong_method, &id)
        })
}

/// The stack around the routes of a house.
#[must_use]
pub fn stack(house: &House, mode: Mode) -> Stack {
    let gate = &house.gate;
    let config = gate.revision().app.config.clone();
    let base: Arc<str> = config.server.public_url.as_deref().unwrap_or_default().into();
    Stack {
        routes: routes(house, &base, mode),
        gate: gate.clone(),
        identity: house.identity.clone(),
        base,
        slots: Arc::new(Semaphore::new(config.limits.concurrency)),
        timeout: Duration::from_millis(config.limits.request_ms),
    }
}

/// Serves until `stop`, then answers what is in work.
///
/// The stack comes from a watch, so that `dev` can replace the whole house between two requests.
pub async fn serve(listener: TcpListener, stack: watch::Receiver<Arc<Stack>>, stop: impl Future<Output = ()>, head_ms: u64, connections: usize) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(Duration::from_millis(head_ms)).max_buf_size(MAX_HEAD_BYTES).keep_alive(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD_BYTES as u32)
        .max_pending_accept_reset_streams(Some(20))
        .keep_alive_interval(Some(Duration::from_secs(20)));
    let graceful = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(connections));
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        let (stream, peer) = match accepted {
            Ok((stream, peer)) => (stream, ClientAddress(peer.ip())),
            Err(error) => {
                // Out of descriptors, most likely: wait for some to come back instead of spinning.
                tracing::warn!(target: "haechi::http", %error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(slot) = slots.clone().try_acquire_owned() else { continue };
        let _ = stream.set_nodelay(true);
        let stack = stack.clone();
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            let stack = stack.borrow().clone();
            async move {
                let mut request = request.map(Body::new);
                request.extensions_mut().insert(peer);
                Ok::<_, std::convert::Infallible>(stack.handle(request).await)
            }
        });
        let (builder, watcher) = (builder.clone(), graceful.watcher());
        tokio::spawn(async move {
            // The protocol is told by the first bytes; a connection that sends none does not stay.
            if tokio::time::timeout(Duration::from_millis(head_ms), stream.readable()).await.is_ok() {
                let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
                let _ = watcher.watch(connection.into_owned()).await;
            }
            drop(slot);
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(DRAIN, graceful.shutdown()).await;
}

async fn ready(gate: Gate) -> Response<Body> {
    let sealed = gate.seal_lag_ms() < MAX_SEAL_LAG_MS;
    if sealed && gate.reachable().await {
        return plain("ready");
    }
    let mut response = plain("not ready");
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response
}

/// The API's description: open in `dev`, else for callers that are known.
fn describe(ask: &Ask, base: &str, mode: Mode) -> Response<Body> {
    if mode == Mode::Serve && ask.caller().is_anonymous() {
        return Problem::new(kinds::UNAUTHENTICATED, "Send a bearer token.").response(base, ask.request_id());
    }
    let mut response = Response::new(Body::from(haechi_data::openapi::describe(ask.app(), base, haechi_identity::openapi::describe())));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The page of a problem type.
async fn problem_page(path: Result<axum::extract::Path<String>, axum::extract::rejection::PathRejection>) -> Response<Body> {
    let slug = path.map(|axum::extract::Path(slug)| slug).unwrap_or_default();
    let found = kinds::kinds().into_iter().find(|(kind, _)| kind.slug == slug);
    let Some((kind, help)) = found else {
        let mut response = plain("no such problem type");
        *response.status_mut() = StatusCode::NOT_FOUND;
        return response;
    };
    let page = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>{0}</title>\n<h1>{0}</h1>\n<p>Status {1}</p>\n<p>{2}</p>\n</html>\n",
        kind.title, kind.status, help
    );
    let mut response = Response::new(Body::from(page));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    response
}

fn plain(text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
