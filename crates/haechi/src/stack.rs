//! Everything that happens to every request, in order: id, limits, caller, time, panics, headers.

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, HeaderValue, Method, Request, Response, header},
};
use futures_util::FutureExt;
use haechi_gate::{Caller, Gate};
use haechi_identity::{AuthError, ClientAddress, Identity};
use haechi_problem::{Problem, kinds};
use std::{
    net::{IpAddr, Ipv4Addr},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};
use tokio::sync::Semaphore;
use tower::ServiceExt;

/// The longest URL that is served.
const MAX_URL_BYTES: usize = 8 * 1024;
const MAX_TOKEN_BYTES: usize = 4096;

/// Who came by no connection of ours shares the buckets of all who did so.
const UNKNOWN_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// The stack around the routes.
pub struct Stack {
    /// The routes.
    pub routes: Router,
    /// The gate.
    pub gate: Gate,
    /// Who tells callers from their credentials.
    pub identity: Identity,
    /// The origin of problem types.
    pub base: Arc<str>,
    /// Requests in work at once.
    pub slots: Arc<Semaphore>,
    /// Longest time for a reply.
    pub timeout: Duration,
}

/// A request's id: shown in the reply, in problems, in the log and in the ledger.
#[derive(Clone, Debug)]
pub struct RequestId(pub Arc<str>);

impl Stack {
    /// Serves one request.
    pub async fn handle(&self, mut request: Request<Body>) -> Response<Body> {
        // 1. Id: ours, never the client's.
        let id: Arc<str> = uuid::Uuid::now_v7().simple().to_string().into();
        // 2. Concurrency and size: refused at once rather than queued without end.
        let Ok(_slot) = self.slots.try_acquire() else {
            return self.refuse(Problem::new(kinds::BUSY, "Too many requests are in work.").retry_after(1), &id);
        };
        if request.uri().path_and_query().is_some_and(|path| path.as_str().len() > MAX_URL_BYTES) {
            return self.refuse(Problem::new(kinds::MALFORMED, "The URL is too long."), &id);
        }
        // 3. Caller.
        let caller = match self.caller(request.method(), request.uri().path(), request.headers()).await {
            Ok(caller) => caller,
            Err(problem) => return self.refuse(problem, &id),
        };
        let ask = self.gate.ask(&caller, &id);
        request.extensions_mut().insert(ask);
        if request.extensions().get::<ClientAddress>().is_none() {
            request.extensions_mut().insert(ClientAddress(UNKNOWN_ADDRESS));
        }
        request.extensions_mut().insert(RequestId(id.clone()));
        // 4. Time and panics: one request's end is nobody else's.
        let safe = request.method().is_safe();
        let work = AssertUnwindSafe(self.routes.clone().oneshot(request)).catch_unwind();
        let mut response = match tokio::time::timeout(self.timeout, work).await {
            Ok(Ok(Ok(response))) => response,
            Ok(Ok(Err(never))) => match never {},
            Ok(Err(_)) => {
                tracing::error!(target: "haechi::http", request_id = %id, "a handler panicked");
                return self.refuse(Problem::new(kinds::INTERNAL, "Nothing was done."), &id);
            }
            Err(_) if !safe => return self.refuse(Problem::new(kinds::UNKNOWN, "The reply took too long."), &id),
            Err(_) => return self.refuse(Problem::new(kinds::TIMEOUT, "The reply took too long."), &id),
        };
        // 5. Headers.
        finish(response.headers_mut(), &id);
        response
    }

    /// Who asks: by one bearer token, or by one session cookie of a page of ours.
    async fn caller(&self, method: &Method, path: &str, headers: &HeaderMap) -> Result<Caller, Problem> {
        let unauthenticated = || Problem::new(kinds::UNAUTHENTICATED, "The credential is not good.");
        let cookie = Identity::from_cookies(headers).map_err(|error| error.problem())?;
        let mut found = headers.get_all(header::AUTHORIZATION).iter();
        let (token, in_cookie) = match (found.next(), cookie) {
            (None, None) => return Ok(Caller::anonymous()),
            (Some(_), Some(_)) => return Err(Problem::new(kinds::MALFORMED, "Send a bearer token or a cookie, not both.")),
            (None, Some(cookie)) => (cookie, true),
            (Some(value), None) => {
                let text = value.to_str().map_err(|_| unauthenticated())?;
                let token = text.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
                (token.ok_or_else(unauthenticated)?, false)
            }
        };
        if found.next().is_some() || token.is_empty() || token.len() > MAX_TOKEN_BYTES {
            return Err(unauthenticated());
        }
        let caller = match self.identity.authenticate(token, in_cookie).await {
            Ok(caller) => caller,
            // Signing in must work for a browser whose old cookie has ended.
            Err(AuthError::Invalid) if in_cookie && path.starts_with("/auth/v1/sign-") => return Ok(Caller::anonymous()),
            Err(AuthError::Invalid) => return Err(unauthenticated()),
            Err(AuthError::Unavailable) => return Err(Problem::new(kinds::UNAVAILABLE, "The credential cannot be checked.").retry_after(2)),
        };
        self.identity.proven(&caller, method, headers, &self.own_origin(headers)).map_err(|error| error.problem())?;
        Ok(caller)
    }

    /// The origin of our own pages: what the folder says, else where the request was sent.
    fn own_origin(&self, headers: &HeaderMap) -> String {
        if !self.base.is_empty() {
            return self.base.to_string();
        }
        format!("http://{}", headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default())
    }

    fn refuse(&self, problem: Problem, id: &str) -> Response<Body> {
        let mut response = problem.response(&self.base, id);
        finish(response.headers_mut(), id);
        response
    }
}

/// Headers of every reply.
fn finish(headers: &mut HeaderMap, id: &str) {
    const ALWAYS: [(&str, &str); 6] = [
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
        ("referrer-policy", "no-referrer"),
        ("x-frame-options", "DENY"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
    ];
    for (name, value) in ALWAYS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert("x-request-id", id);
    }
}
