//! Requests that another site's page made a browser send: refused when they could change something.

use crate::service::{Finish, Guard, layers, refuse};
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use std::sync::Arc;

/// Whether a page of `own_origin` made a request: by Fetch Metadata, else by Origin, else by Referer. A request without any of these is
/// refused.
///
/// ```
/// let mut headers = http::HeaderMap::new();
/// headers.insert("sec-fetch-site", "cross-site".parse()?);
/// assert!(!haechi_layers::made_here(&headers, "https://app.example.com"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn made_here(headers: &HeaderMap, own_origin: &str) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match (text("sec-fetch-site"), text("origin")) {
        (Some(site), origin) => site == "same-origin" && origin.is_none_or(|origin| origin == own_origin),
        (None, Some(origin)) => origin == own_origin,
        (None, None) => text("referer").and_then(|referer| referer.strip_prefix(own_origin)).is_some_and(|rest| rest.starts_with('/')),
    }
}

/// Refuses requests that have a cookie, could change something, and were not made by a page of the own origin.
///
/// Requests without cookies pass: a browser adds no bearer token by itself. Require a token bound to the session as well where others may
/// control pages of the own origin.
#[derive(Clone, Debug)]
pub struct CrossSiteLayer {
    own_origin: Arc<str>,
}

impl CrossSiteLayer {
    /// With the origin of the own pages.
    #[must_use]
    pub fn new(own_origin: &str) -> Self {
        Self { own_origin: own_origin.into() }
    }
}

layers!(CrossSiteLayer);

impl<B, R: From<&'static str>> Guard<B, R> for CrossSiteLayer {
    fn begin(&self, request: &mut Request<B>) -> Result<Finish<R>, Response<R>> {
        let changes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        if changes && request.headers().contains_key(header::COOKIE) && !made_here(request.headers(), &self.own_origin) {
            return Err(refuse(StatusCode::FORBIDDEN, "this request may come from another site"));
        }
        Ok(Box::new(|_| ()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CSRF, V3.5.1
    #[test]
    fn only_pages_of_ones_own_are_believed() {
        let here = |pairs: &[(&'static str, &str)]| {
            let headers = pairs.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap())).collect();
            made_here(&headers, "https://app.example.com")
        };
        for forged in [
            &[][..],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site"), ("origin", "https://app.example.com")],
            &[("sec-fetch-site", "none")],
            &[("origin", "null")],
            &[("origin", "https://app.example.com.evil.test")],
            &[("referer", "https://app.example.com.evil.test/")],
            &[("referer", "https://evil.test/https://app.example.com/")],
            &[("origin", "https://evil.test"), ("referer", "https://app.example.com/")],
        ] {
            assert!(!here(forged), "{forged:?}");
        }
        for honest in [
            &[("sec-fetch-site", "same-origin")][..],
            &[("sec-fetch-site", "same-origin"), ("origin", "https://app.example.com")],
            &[("origin", "https://app.example.com")],
            &[("referer", "https://app.example.com/page")],
        ] {
            assert!(here(honest), "{honest:?}");
        }
    }
}
