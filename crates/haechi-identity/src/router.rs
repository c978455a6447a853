//! All routes of this crate, the context of each request, and their description.

use crate::{ClientAddress, Context, Identity, IdentityError, key, password, session, user};
use axum::{
    Router,
    body::Body,
    extract::{FromRequestParts, Path, rejection::PathRejection},
    http::{HeaderValue, Response, StatusCode, header, request::Parts},
};
use haechi_gate::{Ask, Caller, CallerKind};
use haechi_model::{person, stored::text};
use haechi_problem::{Problem, kinds};
use serde_json::{Value, json};
use std::sync::Arc;

/// The origin of problem types; the router puts it into the request's extensions.
#[derive(Clone)]
struct Base(Arc<str>);

pub(crate) type Reply = Result<Response<Body>, Response<Body>>;

/// The context of every request of this crate.
pub(crate) struct Asked {
    pub(crate) ask: Ask,
    pub(crate) context: Context,
    base: Arc<str>,
}

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = Response<Body>;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response<Body>> {
        let base = parts.extensions.get::<Base>().map(|base| base.0.clone()).unwrap_or_default();
        let inside = || Problem::new(kinds::INTERNAL, "Nothing was done.").response(&base, "");
        let ask = parts.extensions.get::<Ask>().cloned().ok_or_else(inside)?;
        let address = *parts.extensions.get::<ClientAddress>().ok_or_else(inside)?;
        let agent = parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let context = Context::new(ask.request_id(), address, agent);
        if parts.uri.query().is_some_and(|query| !query.is_empty()) {
            // No route here takes parameters: a secret in a URL is refused, not ignored.
            let problem = Problem::new(kinds::MALFORMED, "No parameters are taken here; secrets never belong into a URL.");
            return Err(problem.response(&base, ask.request_id()));
        }
        Ok(Self { ask, context, base })
    }
}

impl Asked {
    /// Runs an action and turns its error into a problem.
    pub(crate) async fn run(&self, action: impl Future<Output = Result<Response<Body>, IdentityError>>) -> Reply {
        action.await.map_err(|error| error.problem().response(&self.base, self.ask.request_id()))
    }
}

/// The id in a path; a path that does not decode names nothing.
pub(crate) fn named(path: Result<Path<String>, PathRejection>) -> Result<String, IdentityError> {
    path.ok().map(|Path(id)| id).filter(|id| !id.contains('\0')).ok_or(IdentityError::NotFound)
}

/// The routes.
pub fn router(identity: Identity, base: Arc<str>) -> Router {
    Router::new()
        .merge(session::routes())
        .merge(password::routes())
        .merge(user::routes())
        .merge(key::routes())
        .layer(axum::Extension(Base(base)))
        .with_state(identity)
}

pub(crate) fn json_reply(status: StatusCode, body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

pub(crate) fn no_content() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// A caller as they see themselves.
pub(crate) fn caller_json(caller: &Caller) -> Value {
    let kind = match caller.kind() {
        CallerKind::User => "user",
        CallerKind::Service => "service",
        CallerKind::Anonymous => "anonymous",
    };
    let mut body = json!({ "kind": kind, "id": caller.id(), "roles": caller.roles().iter().map(|role| &**role).collect::<Vec<_>>() });
    if caller.kind() == CallerKind::User {
        body["email"] = text(caller.row(), person::EMAIL).into();
    }
    body
}

/// Every route: method, path and who may use it.
#[must_use]
pub fn routes() -> Vec<(&'static str, &'static str, &'static str)> {
    vec![
        ("POST", "/auth/v1/sign-up", "anybody, when sign-up is open or with an invitation"),
        ("POST", "/auth/v1/sign-in", "anybody"),
        ("POST", "/auth/v1/sign-out", "a session"),
        ("POST", "/auth/v1/password", "a session, or anybody with a code"),
        ("POST", "/auth/v1/setup", "anybody with the code of the first start"),
        ("GET", "/auth/v1/me", "anybody with credentials"),
        ("GET", "/auth/v1/sessions", "a session"),
        ("DELETE", "/auth/v1/sessions", "a session"),
        ("DELETE", "/auth/v1/sessions/{id}", "a session"),
        ("GET", "/auth/v1/keys", "a session"),
        ("POST", "/auth/v1/keys", "a session that began a short time ago"),
        ("DELETE", "/auth/v1/keys/{id}", "a session"),
    ]
}
