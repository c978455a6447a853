//! RFC 9457 problems as plain data.
//!
//! A [`Problem`] is what clients see of an error. It never contains a source error's text. With the feature `axum` it turns into a
//! response.
#![warn(missing_docs)]

pub mod kinds;
pub mod languages;

use std::borrow::Cow;

/// The media type of a problem (RFC 9457 §3).
pub const MEDIA_TYPE: &str = "application/problem+json";

/// One thing that is wrong with a request's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldProblem {
    /// JSON Pointer (RFC 6901) to the place.
    pub pointer: String,
    /// Stable code.
    pub code: &'static str,
    /// What is wrong and what would be right.
    pub detail: String,
}

/// A kind of problem: its page, its title and its status. Two are the same when their pages are.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Last part of the type's address.
    pub slug: &'static str,
    /// Short, the same for every occurrence.
    pub title: &'static str,
    /// HTTP status.
    pub status: u16,
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        self.slug == other.slug
    }
}

impl Eq for Kind {}

/// A problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Its kind.
    pub kind: Kind,
    /// What is wrong this time.
    pub detail: Cow<'static, str>,
    /// Places in the request.
    pub errors: Vec<FieldProblem>,
    /// Seconds after which to try again.
    pub retry_after_s: Option<u32>,
}

impl Problem {
    /// A problem of a kind.
    #[must_use]
    pub fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, detail: shortened(detail.into()), errors: Vec::new(), retry_after_s: None }
    }

    /// With places in the request.
    #[must_use]
    pub fn with_errors(mut self, errors: Vec<FieldProblem>) -> Self {
        self.errors = errors;
        for error in &mut self.errors {
            error.pointer = shortened(std::mem::take(&mut error.pointer).into()).into_owned();
            error.detail = shortened(std::mem::take(&mut error.detail).into()).into_owned();
        }
        self
    }

    /// With a time after which to try again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// In one line, for a terminal.
    #[must_use]
    pub fn explained(&self) -> String {
        if self.errors.is_empty() {
            return format!("{}. {}", self.kind.title, self.detail);
        }
        let places: Vec<String> = self.errors.iter().map(|error| format!("{}: {}", error.pointer.trim_start_matches('/'), error.detail)).collect();
        places.join("; ")
    }

    /// As JSON. `base` is the origin under which the pages of the types are.
    #[must_use]
    pub fn to_json(&self, base: &str, request_id: &str) -> Vec<u8> {
        let mut body = serde_json::json!({
            "type": format!("{base}/problems/{}", self.kind.slug),
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
            "request_id": request_id,
        });
        if !self.errors.is_empty() {
            let error = |error: &FieldProblem| serde_json::json!({ "pointer": error.pointer, "code": error.code, "detail": error.detail });
            body["errors"] = self.errors.iter().map(error).collect();
        }
        body.to_string().into_bytes()
    }

    /// As a response, with the problem among its extensions: an outer layer may translate it.
    #[cfg(feature = "axum")]
    #[must_use]
    pub fn response(&self, base: &str, request_id: &str) -> axum::response::Response {
        use axum::http::{HeaderValue, StatusCode, header};
        let mut response = axum::response::Response::new(axum::body::Body::from(self.to_json(base, request_id)));
        *response.status_mut() = StatusCode::from_u16(self.kind.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.kind.status == 401 {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(self.clone());
        response
    }
}

/// Most characters of one quoted word in an error, and most of a whole detail.
const QUOTED: usize = 80;
const DETAIL: usize = 1_000;

/// A text that repeats nothing long of a request.
#[must_use]
pub fn shortened(text: Cow<'static, str>) -> Cow<'static, str> {
    if text.len() <= QUOTED {
        return text;
    }
    let long = |word: &str| word.chars().count() > QUOTED;
    if text.len() <= DETAIL && !text.split_whitespace().any(long) {
        return text;
    }
    let mut out = String::with_capacity(text.len().min(DETAIL));
    for word in text.split_inclusive(char::is_whitespace) {
        if out.len() >= DETAIL {
            out.push('…');
            break;
        }
        if !long(word) {
            out.push_str(word);
            continue;
        }
        // The end of a quotation stays, so that the sentence around it is intact.
        let bare = word.trim_end_matches(|c: char| !c.is_alphanumeric());
        let end = word.get(bare.len()..).filter(|end| end.chars().count() <= 4).unwrap_or_default();
        out.extend(word.chars().take(QUOTED));
        out.push('…');
        out.push_str(end);
    }
    Cow::Owned(out)
}

/// Appends one reference token to a JSON Pointer (RFC 6901 §3).
#[must_use]
pub fn pointer(base: &str, token: &str) -> String {
    format!("{base}/{}", token.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_is_not_repeated_at_length() {
        let problem = Problem::new(Kind { slug: "x", title: "X", status: 400 }, format!("`{}` is no field.", "z".repeat(5_000)));
        assert_eq!(problem.detail, format!("`{}…` is no field.", "z".repeat(79)));
        let error = FieldProblem { pointer: format!("/{}", "p".repeat(200)), code: "unknown", detail: "d ".repeat(2_000) };
        let problem = problem.with_errors(vec![error]);
        assert_eq!(problem.errors[0].pointer.chars().count(), 81);
        assert!(problem.errors[0].detail.len() < 1_010);
        let usual = "One of these words: open, closed.";
        assert_eq!(shortened(usual.into()), usual);
    }

    #[test]
    fn json_has_the_members_of_rfc_9457() {
        let kind = Kind { slug: "invalid-fields", title: "Fields are not valid", status: 422 };
        let error = FieldProblem { pointer: pointer("", "a/b~c"), code: "too_long", detail: "long".into() };
        let problem = Problem::new(kind, "1 field").with_errors(vec![error]);
        let json: serde_json::Value = serde_json::from_slice(&problem.to_json("https://x", "r1")).unwrap();
        assert_eq!(json["type"], "https://x/problems/invalid-fields");
        assert_eq!(json["status"], 422);
        assert_eq!(json["request_id"], "r1");
        assert_eq!(json["errors"][0]["pointer"], "/a~1b~0c");
    }
}
