//! Bodies of this crate's requests: small JSON objects of which every member is known.

use crate::error::IdentityError;
use axum::body::Body;
use haechi_model::{Json, parse_json};
use haechi_problem::{FieldProblem, pointer};
use http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};

/// No body of this crate is larger.
const MAX_BYTES: usize = 16 * 1024;

/// The members of an object; each is taken once, and members that are left over are an error.
pub(crate) struct Members {
    left: Vec<(Box<str>, Json)>,
    errors: Vec<FieldProblem>,
}

/// Reads a body.
pub(crate) async fn read(headers: &HeaderMap, body: Body) -> Result<Members, IdentityError> {
    let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media = media.split(';').next().unwrap_or_default().trim();
    if !media.eq_ignore_ascii_case("application/json") {
        return Err(IdentityError::MediaType);
    }
    let bytes = match Limited::new(body, MAX_BYTES).collect().await {
        Ok(bytes) => bytes.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Err(IdentityError::TooLarge),
        Err(_) => return Err(IdentityError::Shape("The body did not arrive whole.")),
    };
    match parse_json(&bytes)? {
        Json::Object(left) => Ok(Members { left, errors: Vec::new() }),
        _ => Err(IdentityError::Shape("The body must be a JSON object.")),
    }
}

impl Members {
    /// A member as it is.
    pub(crate) fn take(&mut self, name: &str) -> Option<Json> {
        let at = self.left.iter().position(|(known, _)| **known == *name)?;
        Some(self.left.swap_remove(at).1).filter(|json| *json != Json::Null)
    }

    /// A required string.
    pub(crate) fn text(&mut self, name: &str) -> String {
        self.optional_text(name).unwrap_or_else(|| {
            if !self.errors.iter().any(|error| error.pointer == pointer("", name)) {
                self.wrong(name, "required", "a value is required");
            }
            String::new()
        })
    }

    /// An optional string.
    pub(crate) fn optional_text(&mut self, name: &str) -> Option<String> {
        match self.take(name)? {
            // A password may have any bytes; every other text is stored as text.
            Json::Text(text) if text.contains('\0') && !name.ends_with("password") => {
                self.wrong(name, "zero_character", "holds a zero character");
                None
            }
            Json::Text(text) => Some(text.into()),
            _ => {
                self.wrong(name, "wrong_type", "must be a string");
                None
            }
        }
    }

    /// `true` or `false`; `false` when it is absent.
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        match self.take(name) {
            None => false,
            Some(Json::Bool(flag)) => flag,
            Some(_) => {
                self.wrong(name, "wrong_type", "must be true or false");
                false
            }
        }
    }

    /// A list of strings; empty when it is absent.
    pub(crate) fn texts(&mut self, name: &str) -> Vec<String> {
        let text = |json: &Json| if let Json::Text(text) = json { Some(text.to_string()) } else { None };
        match self.take(name) {
            None => Vec::new(),
            Some(Json::List(items)) if items.iter().all(|item| text(item).is_some_and(|text| !text.contains('\0'))) => {
                items.iter().filter_map(text).collect()
            }
            Some(_) => {
                self.wrong(name, "wrong_type", "must be a list of strings");
                Vec::new()
            }
        }
    }

    /// Whether a member is present.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.left.iter().any(|(known, _)| **known == *name)
    }

    pub(crate) fn wrong(&mut self, name: &str, code: &'static str, detail: &str) {
        self.errors.push(FieldProblem { pointer: pointer("", name), code, detail: detail.to_owned() });
    }

    /// Reports all errors at once, also members that were not taken.
    pub(crate) fn finish(mut self) -> Result<(), IdentityError> {
        for (name, _) in std::mem::take(&mut self.left) {
            self.wrong(&name, "unknown_field", "there is no such field");
        }
        if self.errors.is_empty() { Ok(()) } else { Err(IdentityError::Fields(self.errors)) }
    }
}
