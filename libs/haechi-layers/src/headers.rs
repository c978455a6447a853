//! Security headers of every reply, and a content security policy with a nonce where pages need one.

use crate::service::{Finish, Guard, layers};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use std::{fmt::Write, sync::Arc};

/// A nonce for the scripts and styles of one page, among the request's extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nonce(pub Arc<str>);

/// A content security policy (CSP level 3).
///
/// ```
/// let policy = haechi_layers::ContentSecurityPolicy::api();
/// assert!(policy.to_text(None).starts_with("default-src 'none'"));
/// ```
#[derive(Clone, Debug)]
pub struct ContentSecurityPolicy {
    directives: Vec<(String, String)>,
    with_nonce: bool,
    report_only: bool,
}

impl ContentSecurityPolicy {
    /// For replies that are no pages: nothing may be loaded, run, framed or submitted.
    #[must_use]
    pub fn api() -> Self {
        let none = ["default-src", "frame-ancestors", "base-uri", "form-action"];
        Self { directives: none.map(|name| (name.to_owned(), "'none'".to_owned())).to_vec(), with_nonce: false, report_only: false }
    }

    /// For pages of the own origin: only this origin is loaded, scripts and styles carry the nonce.
    #[must_use]
    pub fn pages() -> Self {
        let mut policy = Self { with_nonce: true, ..Self::api() };
        for name in ["connect-src", "img-src", "font-src", "form-action"] {
            policy = policy.set(name, "'self'");
        }
        policy.set("script-src", "'strict-dynamic'").set("style-src", "'self'")
    }

    /// Sets a directive.
    #[must_use]
    pub fn set(mut self, directive: &str, sources: &str) -> Self {
        self.directives.retain(|(known, _)| known != directive);
        self.directives.push((directive.to_owned(), sources.to_owned()));
        self
    }

    /// Only reports what it would block.
    #[must_use]
    pub fn report_only(self) -> Self {
        Self { report_only: true, ..self }
    }

    /// As the header's value.
    #[must_use]
    pub fn to_text(&self, nonce: Option<&str>) -> String {
        let mut out = String::new();
        for (at, (name, sources)) in self.directives.iter().enumerate() {
            let _ = write!(out, "{}{name} {sources}", if at > 0 { "; " } else { "" });
            if let (Some(nonce), "script-src" | "style-src") = (nonce, name.as_str()) {
                let _ = write!(out, " 'nonce-{nonce}'");
            }
        }
        out
    }

    fn header(&self) -> HeaderName {
        HeaderName::from_static(if self.report_only { "content-security-policy-report-only" } else { "content-security-policy" })
    }
}

/// The headers of every reply. Headers that a handler has set stay.
#[derive(Clone, Debug)]
pub struct SecurityHeaders {
    fixed: Vec<(HeaderName, HeaderValue)>,
    policy: ContentSecurityPolicy,
}

impl SecurityHeaders {
    /// With a content security policy; over TLS also with HSTS.
    #[must_use]
    pub fn new(policy: ContentSecurityPolicy, over_tls: bool) -> Self {
        let mut fixed = vec![
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("x-frame-options", "DENY"),
            ("cross-origin-resource-policy", "same-origin"),
            ("cross-origin-opener-policy", "same-origin"),
            ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
        ];
        if over_tls {
            fixed.push(("strict-transport-security", "max-age=31536000; includeSubDomains"));
        }
        let fixed = fixed.into_iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let mut headers = Self { fixed: fixed.collect(), policy };
        if !headers.policy.with_nonce
            && let Ok(value) = HeaderValue::try_from(headers.policy.to_text(None))
        {
            headers.fixed.push((headers.policy.header(), value));
        }
        headers
    }

    /// Adds them to a reply.
    pub fn apply(&self, headers: &mut HeaderMap, nonce: Option<&Nonce>) {
        headers.reserve(self.fixed.len() + 1);
        for (name, value) in &self.fixed {
            if let http::header::Entry::Vacant(place) = headers.entry(name) {
                place.insert(value.clone());
            }
        }
        if let Some(nonce) = nonce
            && let Ok(value) = HeaderValue::try_from(self.policy.to_text(Some(&nonce.0)))
        {
            headers.entry(self.policy.header()).or_insert(value);
        }
    }
}

/// Adds [`SecurityHeaders`] to every reply.
#[derive(Clone)]
pub struct SecurityHeadersLayer {
    headers: Arc<SecurityHeaders>,
    make_nonce: Option<Arc<dyn Fn() -> String + Send + Sync>>,
}

impl SecurityHeadersLayer {
    /// With these headers.
    #[must_use]
    pub fn new(headers: SecurityHeaders) -> Self {
        Self { headers: Arc::new(headers), make_nonce: None }
    }

    /// With a new [`Nonce`] for each request; `make` returns at least 128 random bits in base64.
    #[must_use]
    pub fn with_nonce(self, make: impl Fn() -> String + Send + Sync + 'static) -> Self {
        Self { make_nonce: Some(Arc::new(make)), ..self }
    }
}

layers!(SecurityHeadersLayer);

impl<B, R> Guard<B, R> for SecurityHeadersLayer {
    fn begin(&self, request: &mut Request<B>) -> Result<Finish<R>, Response<R>> {
        let nonce = self.make_nonce.as_ref().map(|make| Nonce(make().into()));
        if let Some(nonce) = &nonce {
            request.extensions_mut().insert(nonce.clone());
        }
        let headers = self.headers.clone();
        Ok(Box::new(move |response| headers.apply(response.headers_mut(), nonce.as_ref())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// HDR, V3.4.1 V3.4.3 V3.4.4 V3.4.5 V3.4.6
    #[test]
    fn every_reply_has_them_and_a_handlers_own_stay() {
        let headers = SecurityHeaders::new(ContentSecurityPolicy::api(), true);
        let mut reply = HeaderMap::new();
        reply.insert("referrer-policy", HeaderValue::from_static("same-origin"));
        headers.apply(&mut reply, None);
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "same-origin"),
            ("x-frame-options", "DENY"),
            ("strict-transport-security", "max-age=31536000; includeSubDomains"),
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
        ] {
            assert_eq!(reply[name], value);
        }
        let mut plain = HeaderMap::new();
        SecurityHeaders::new(ContentSecurityPolicy::api(), false).apply(&mut plain, None);
        assert!(!plain.contains_key("strict-transport-security"));
    }

    #[test]
    fn pages_get_a_nonce_and_a_policy_can_only_report() {
        let headers = SecurityHeaders::new(ContentSecurityPolicy::pages().report_only(), false);
        let mut reply = HeaderMap::new();
        headers.apply(&mut reply, Some(&Nonce("abc".into())));
        let policy = reply["content-security-policy-report-only"].to_str().unwrap();
        assert!(policy.contains("script-src 'strict-dynamic' 'nonce-abc'") && policy.contains("default-src 'none'"), "{policy}");
        assert!(!policy.contains("unsafe-inline") && !reply.contains_key("content-security-policy"));
    }
}
