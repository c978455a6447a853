//! Cross-origin requests: closed by default, opened for exact origins. `null` is refused; there is no wildcard.

use crate::service::{Finish, Guard, layers};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use std::sync::Arc;

/// The allowed origins, and what they may do.
///
/// ```
/// use haechi_layers::{Cors, Verdict};
/// use http::{HeaderMap, Method};
///
/// let cors = Cors::new(["https://app.example.com"]);
/// let mut headers = HeaderMap::new();
/// headers.insert("origin", "https://evil.example.com".parse()?);
/// assert_eq!(cors.judge(&Method::GET, &headers), Verdict::Stranger);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Cors {
    origins: Vec<String>,
    credentials: bool,
    methods: String,
    headers: String,
    exposed: String,
    max_age_s: u32,
}

/// The kind of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has no origin: it is no browser's cross-origin request.
    SameOrigin,
    /// A preflight from an open origin.
    Preflight(HeaderValue),
    /// A request from an open origin.
    Open(HeaderValue),
    /// Another origin: it gets no header, and the browser keeps the reply from the page.
    Stranger,
}

impl Cors {
    /// Open for these origins, as browsers write them: scheme, host and port, nothing else.
    #[must_use]
    pub fn new<'a>(origins: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            origins: origins.into_iter().filter(|origin| *origin != "null" && *origin != "*").map(str::to_owned).collect(),
            credentials: false,
            methods: "GET, POST, PATCH, DELETE".to_owned(),
            headers: "authorization, content-type, idempotency-key, if-match, last-event-id".to_owned(),
            exposed: "etag, location, retry-after, x-request-id".to_owned(),
            max_age_s: 600,
        }
    }

    /// Also with cookies. Only exact origins are ever open, so this never means cookies for everybody.
    #[must_use]
    pub fn with_credentials(self) -> Self {
        Self { credentials: true, ..self }
    }

    /// With these methods.
    #[must_use]
    pub fn methods(self, methods: &[Method]) -> Self {
        Self { methods: methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", "), ..self }
    }

    /// With these request headers.
    #[must_use]
    pub fn headers(self, headers: &[HeaderName]) -> Self {
        Self { headers: headers.iter().map(HeaderName::as_str).collect::<Vec<_>>().join(", "), ..self }
    }

    /// With these reply headers, which a page may read.
    #[must_use]
    pub fn exposed(self, headers: &[HeaderName]) -> Self {
        Self { exposed: headers.iter().map(HeaderName::as_str).collect::<Vec<_>>().join(", "), ..self }
    }

    /// The kind of a request.
    #[must_use]
    pub fn judge(&self, method: &Method, headers: &HeaderMap) -> Verdict {
        let Some(origin) = headers.get(header::ORIGIN) else { return Verdict::SameOrigin };
        let open = origin.to_str().is_ok_and(|origin| self.origins.iter().any(|open| open == origin));
        match open {
            false => Verdict::Stranger,
            true if *method == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) => Verdict::Preflight(origin.clone()),
            true => Verdict::Open(origin.clone()),
        }
    }

    /// Adds the headers for the browser. Every reply says that it depends on the origin, so that caches do not mix replies up.
    pub fn mark(&self, verdict: &Verdict, headers: &mut HeaderMap) {
        if self.origins.is_empty() {
            return;
        }
        headers.append(header::VARY, HeaderValue::from_static("origin"));
        let (Verdict::Open(origin) | Verdict::Preflight(origin)) = verdict else { return };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        if self.credentials {
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        let mut set = |name: HeaderName, text: &str| {
            if let Ok(value) = HeaderValue::from_str(text) {
                headers.insert(name, value);
            }
        };
        if matches!(verdict, Verdict::Preflight(_)) {
            set(header::ACCESS_CONTROL_ALLOW_METHODS, &self.methods);
            set(header::ACCESS_CONTROL_ALLOW_HEADERS, &self.headers);
            set(header::ACCESS_CONTROL_MAX_AGE, &self.max_age_s.to_string());
        } else {
            set(header::ACCESS_CONTROL_EXPOSE_HEADERS, &self.exposed);
        }
    }
}

/// Answers preflights and marks replies.
#[derive(Clone, Debug)]
pub struct CorsLayer {
    cors: Arc<Cors>,
}

impl CorsLayer {
    /// With the allowed origins.
    #[must_use]
    pub fn new(cors: Cors) -> Self {
        Self { cors: Arc::new(cors) }
    }
}

layers!(CorsLayer);

impl<B, R: From<&'static str>> Guard<B, R> for CorsLayer {
    fn begin(&self, request: &mut Request<B>) -> Result<Finish<R>, Response<R>> {
        let (cors, verdict) = (self.cors.clone(), self.cors.judge(request.method(), request.headers()));
        if matches!(verdict, Verdict::Preflight(_)) {
            let mut response = Response::new(R::from(""));
            *response.status_mut() = StatusCode::NO_CONTENT;
            cors.mark(&verdict, response.headers_mut());
            return Err(response);
        }
        Ok(Box::new(move |response| cors.mark(&verdict, response.headers_mut())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(cors: &Cors, method: Method, origin: &str) -> (Verdict, HeaderMap) {
        let mut headers = HeaderMap::new();
        headers.insert(header::ORIGIN, origin.parse().unwrap());
        headers.insert(header::ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static("PATCH"));
        let verdict = cors.judge(&method, &headers);
        let mut reply = HeaderMap::new();
        cors.mark(&verdict, &mut reply);
        (verdict, reply)
    }

    /// HDR, V3.4.2: exact origins only; look-alikes and `null` get nothing.
    #[test]
    fn only_exact_origins_are_open() {
        let cors = Cors::new(["https://app.example.com", "null", "*"]).with_credentials();
        for stranger in [
            "null",
            "*",
            "https://app.example.com.evil.test",
            "https://evil-app.example.com",
            "http://app.example.com",
            "https://app.example.com:8443",
            "https://APP.example.com",
            "https://app.example.com/",
        ] {
            let (verdict, reply) = judged(&cors, Method::GET, stranger);
            assert_eq!(verdict, Verdict::Stranger, "{stranger}");
            assert!(!reply.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) && reply[header::VARY] == "origin");
        }
        let (verdict, reply) = judged(&cors, Method::OPTIONS, "https://app.example.com");
        assert!(matches!(verdict, Verdict::Preflight(_)));
        assert_eq!(reply[header::ACCESS_CONTROL_ALLOW_ORIGIN], "https://app.example.com");
        assert_eq!(reply[header::ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
        assert!(reply[header::ACCESS_CONTROL_ALLOW_METHODS].to_str().unwrap().contains("PATCH"));
    }

    #[test]
    fn closed_by_default() {
        let (verdict, reply) = judged(&Cors::default(), Method::OPTIONS, "https://app.example.com");
        assert_eq!((verdict, reply.len()), (Verdict::Stranger, 0));
    }
}
