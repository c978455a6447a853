//! The parameters of a request (GraphQL over HTTP), parsed from JSON; the same for every transport.

use haechi_model::Json;
use haechi_problem::{Problem, kinds};

/// The parameters of a request (GraphQL over HTTP, "Request Parameters").
#[derive(Default)]
pub(crate) struct Parameters {
    pub(crate) query: Option<Box<str>>,
    pub(crate) operation: Option<Box<str>>,
    pub(crate) variables: Option<Json>,
    /// SHA-256 of a registered document.
    pub(crate) hash: Option<Box<str>>,
}

/// The members of a request's object.
pub(crate) fn from_json(json: Json) -> Result<Parameters, Problem> {
    let Json::Object(members) = json else { return Err(malformed("A request is an object with `query`.")) };
    let mut parameters = Parameters::default();
    for (name, json) in members {
        match (&*name, json) {
            ("query", Json::Text(text)) => parameters.query = Some(text),
            ("operationName", Json::Text(name)) => parameters.operation = Some(name),
            ("query" | "operationName" | "variables" | "extensions", Json::Null) => {}
            ("variables", json @ Json::Object(_)) => parameters.variables = Some(json),
            ("extensions", Json::Object(extensions)) => parameters.hash = persisted(&extensions)?,
            ("query", _) => return Err(malformed("`query` must be a string.")),
            ("operationName", _) => return Err(malformed("`operationName` must be a string.")),
            ("variables", _) => return Err(malformed("`variables` must be an object.")),
            ("extensions", _) => return Err(malformed("`extensions` must be an object.")),
            // Clients may add other members.
            _ => {}
        }
    }
    Ok(parameters)
}

/// `{"persistedQuery": {"version": 1, "sha256Hash": "…"}}`
fn persisted(extensions: &[(Box<str>, Json)]) -> Result<Option<Box<str>>, Problem> {
    let Some((_, json)) = extensions.iter().find(|(name, _)| **name == *"persistedQuery") else { return Ok(None) };
    let hash = match json {
        Json::Object(members) => members.iter().find_map(|(name, json)| match json {
            Json::Text(hash) if **name == *"sha256Hash" => Some(hash.to_ascii_lowercase()),
            _ => None,
        }),
        _ => None,
    };
    match hash {
        Some(hash) if hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => Ok(Some(hash.into())),
        _ => Err(malformed("`persistedQuery` needs `sha256Hash`, 64 hexadecimal digits.")),
    }
}

pub(crate) fn malformed(what: &'static str) -> Problem {
    Problem::new(kinds::MALFORMED, what)
}
