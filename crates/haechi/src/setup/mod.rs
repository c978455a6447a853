//! The page that makes the first administrator: static files, no inline script, nothing from other hosts.

use axum::{
    Router,
    body::Body,
    http::{HeaderValue, Response, header},
    routing::get,
};

const POLICY: &str =
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page and its files.
pub(crate) fn routes() -> Router {
    Router::new()
        .route("/setup", get(async || file("text/html; charset=utf-8", include_str!("page.html"))))
        .route("/setup/page.js", get(async || file("text/javascript; charset=utf-8", include_str!("page.js"))))
        .route("/setup/page.css", get(async || file("text/css; charset=utf-8", include_str!("page.css"))))
}

fn file(media: &'static str, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
}
