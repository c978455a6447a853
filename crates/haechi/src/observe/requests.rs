//! Reports each answered request: to the metrics, and to the log where the folder asks for it. Never with values from the request.

use axum::{
    body::Body,
    extract::{MatchedPath, Request},
    http::Method,
    response::Response,
};
use haechi_gate::{Caller, CallerKind};
use pin_project_lite::pin_project;
use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tower::{Layer, Service};

/// Requests that no route took.
pub(crate) const NO_ROUTE: &str = "none";

/// Files of the site, whatever their names.
const SITE: &str = "site";

/// A reply is a file of the site.
#[derive(Clone, Copy)]
pub(crate) struct FromSite;

/// Where a reply comes from.
pub(crate) enum Route {
    Matched(MatchedPath),
    Site,
    None,
}

/// An answered request.
pub(crate) struct Told {
    pub(crate) method: &'static str,
    pub(crate) route: Route,
    pub(crate) status: u16,
    pub(crate) took: Duration,
}

impl Told {
    /// The pattern of the route, which has no ids and no values in it.
    pub(crate) fn route(&self) -> &str {
        match &self.route {
            Route::Matched(path) => path.as_str(),
            Route::Site => SITE,
            Route::None => NO_ROUTE,
        }
    }

    pub(crate) fn log(&self, who: Option<&Caller>, request_id: &str) {
        let kind = match who.map(Caller::kind) {
            Some(CallerKind::User) => "user",
            Some(CallerKind::Service) => "service",
            Some(CallerKind::Anonymous) | None => "anonymous",
        };
        let id = who.filter(|who| !who.is_anonymous()).map(Caller::id);
        let ms = self.took.as_secs_f64() * 1000.0;
        tracing::info!(target: "haechi::requests", method = self.method, route = self.route(), status = self.status, ms, caller = kind, caller_id = id, request_id, "request");
    }
}

/// A standard method; all others count as one.
pub(crate) fn known(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("_OTHER")
}

/// Adds to replies the route that they come from.
#[derive(Clone, Copy)]
pub(crate) struct TellRoute;

impl<S> Layer<S> for TellRoute {
    type Service = TellingRoute<S>;

    fn layer(&self, inner: S) -> TellingRoute<S> {
        TellingRoute(inner)
    }
}

/// A service whose replies say from which route they come.
#[derive(Clone)]
pub(crate) struct TellingRoute<S>(S);

impl<S: Service<Request<Body>, Response = Response>> Service<Request<Body>> for TellingRoute<S> {
    type Response = Response;
    type Error = S::Error;
    type Future = Telling<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Telling<S::Future> {
        let route = request.extensions().get::<MatchedPath>().cloned();
        Telling { reply: self.0.call(request), route }
    }
}

pin_project! {
    /// A reply that is on its way.
    pub(crate) struct Telling<F> {
        #[pin]
        reply: F,
        route: Option<MatchedPath>,
    }
}

impl<E, F: Future<Output = Result<Response, E>>> Future for Telling<F> {
    type Output = Result<Response, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut reply = std::task::ready!(this.reply.poll(context))?;
        if let Some(route) = this.route.take() {
            reply.extensions_mut().insert(route);
        }
        Poll::Ready(Ok(reply))
    }
}

/// The route that a reply comes from.
pub(crate) fn route_of(response: &mut Response) -> Route {
    if let Some(path) = response.extensions_mut().remove::<MatchedPath>() {
        return Route::Matched(path);
    }
    if response.extensions_mut().remove::<FromSite>().is_some() { Route::Site } else { Route::None }
}
