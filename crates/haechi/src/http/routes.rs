//! The route table, and the stack around it.

use crate::{
    app::{
        house::{House, Mode},
        sentinel::still,
    },
    http::{
        rates::{Keeper, Rates},
        stack::Stack,
    },
    observe::{
        metrics::Metrics,
        readiness::{Readiness, is_ready},
    },
    site::{Site, reload},
};
use axum::{
    Extension, Router,
    body::Body,
    http::{HeaderValue, Response, StatusCode, header},
    routing::get,
};
use futures_util::future::BoxFuture;
use haechi_data::{Data, Exports};
use haechi_gate::{Ask, Gate};
use haechi_problem::{Problem, kinds, languages};
use std::sync::Arc;

/// All routes of all features, in one table.
pub fn routes(house: &House, base: &Arc<str>, mode: Mode, (rates, site): (&Arc<Rates>, Option<&Arc<Site>>)) -> Router {
    let (gate, metrics) = (&house.gate, house.metrics.clone());
    let config = &gate.revision().app.config;
    let data = Data {
        gate: gate.clone(),
        base: base.clone(),
        body_bytes: config.limits.body_bytes,
        handlers: house.handlers.clone(),
        exports: Exports::new(still(house.identity.clone())),
        jobs: house.jobs.clone(),
    };
    let (missing, wrong_method, health, openapi) = (base.clone(), base.clone(), gate.clone(), base.clone());
    let graphql = haechi_graphql::Options {
        gate: gate.clone(),
        base: base.clone(),
        handlers: house.handlers.clone(),
        open: mode == Mode::Dev,
        keeper: Arc::new(Keeper { identity: house.identity.clone(), rates: rates.clone() }),
    };
    // The folder was checked, so its schema can be built.
    let graphql = haechi_graphql::Door::new(graphql).map(|door| haechi_graphql::router(Arc::new(door)));
    if let Err(what) = &graphql {
        tracing::error!(target: "haechi", what, "GraphQL is not served");
    }
    let serving = {
        let (gate, metrics) = (gate.clone(), metrics.clone());
        move || -> BoxFuture<'static, bool> {
            let (gate, metrics) = (gate.clone(), metrics.clone());
            Box::pin(async move { is_ready(&gate, &metrics).await })
        }
    };
    let reflection = mode == Mode::Dev || config.grpc.reflection;
    let grpc = haechi_grpc::Options { gate: gate.clone(), handlers: house.handlers.clone(), reflection, ready: Arc::new(serving) };
    let grpc = haechi_grpc::router(grpc);
    if let Err(what) = &grpc {
        tracing::error!(target: "haechi", what, "gRPC is not served");
    }
    Router::new()
        .merge(haechi_data::router(data.clone()))
        .merge(haechi_data::job::router(data))
        .merge(grpc.unwrap_or_default())
        .merge(graphql.unwrap_or_default())
        .merge(haechi_identity::router(house.identity.clone(), base.clone()))
        .merge(crate::setup::routes())
        .merge(site.filter(|_| mode == Mode::Dev).map(|site| reload::routes(site, gate)).unwrap_or_default())
        .route("/healthz", get(|| async { plain("ok") }))
        .route("/readyz", get(move || ready(health.clone(), metrics.clone())))
        .route("/openapi.json", get(move |Extension(ask): Extension<Ask>| async move { describe(&ask, &openapi, mode) }))
        .route("/problems/{slug}", get(problem_page))
        .fallback(move |Extension(ask): Extension<Ask>| async move {
            Problem::new(kinds::NOT_FOUND, "There is no such route.").response(&missing, ask.request_id())
        })
        .method_not_allowed_fallback(move |Extension(ask): Extension<Ask>| async move {
            Problem::new(kinds::METHOD_NOT_ALLOWED, "See the Allow header.").response(&wrong_method, ask.request_id())
        })
}

/// The stack around the routes of a house.
#[must_use]
pub fn stack(house: &House, mode: Mode) -> Stack {
    let config = house.gate.revision().app.config.clone();
    let base: Arc<str> = config.server.public_url.as_deref().unwrap_or_default().into();
    let rates = Arc::new(Rates::new(&config.limits, house.metrics.clone()));
    let site = Site::of(&house.gate.revision().app, mode);
    Stack::new(routes(house, &base, mode, (&rates, site.as_ref())), house, (base, mode), &config, rates).with_site(site)
}

async fn ready(gate: Gate, metrics: Arc<Metrics>) -> Response<Body> {
    let readiness = Readiness::of(&gate, &metrics).await;
    let mut response = plain(readiness.text());
    if !readiness.ready {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}

/// The API's description: open in `dev`, otherwise for known callers.
fn describe(ask: &Ask, base: &str, mode: Mode) -> Response<Body> {
    if mode == Mode::Serve && ask.caller().is_anonymous() {
        return Problem::new(kinds::UNAUTHENTICATED, "Send a bearer token.").response(base, ask.request_id());
    }
    let mut response = Response::new(Body::from(haechi_data::openapi::describe(ask.app(), base, haechi_identity::openapi::describe())));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The page of a problem type.
async fn problem_page(
    Extension(ask): Extension<Ask>,
    path: Result<axum::extract::Path<String>, axum::extract::rejection::PathRejection>,
) -> Response<Body> {
    let slug = path.map(|axum::extract::Path(slug)| slug).unwrap_or_default();
    let found = kinds::kinds().into_iter().find(|(kind, _)| kind.slug == slug);
    let Some((kind, help)) = found else {
        let mut response = plain("no such problem type");
        *response.status_mut() = StatusCode::NOT_FOUND;
        return response;
    };
    let language = ask.language();
    let page = format!(
        "<!doctype html>\n<html lang=\"{language}\"><meta charset=\"utf-8\"><title>{0}</title>\n<h1>{0}</h1>\n<p>{1}</p>\n<p>{2}</p>\n</html>\n",
        languages::translated(kind.title, language),
        kind.status,
        languages::translated(help, language)
    );
    let mut response = Response::new(Body::from(page));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    response.headers_mut().insert(header::CONTENT_LANGUAGE, HeaderValue::from_static(language));
    response.headers_mut().append(header::VARY, HeaderValue::from_static("Accept-Language"));
    response
}

fn plain(text: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(text.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
