//! The operations of a batch as they are written.

use crate::record::{
    actions::record_id,
    body::{Purpose, read_values},
    error::RecordError,
    many::Doing,
};
use haechi_model::{FieldId, Json, Value};
use haechi_problem::{FieldProblem, pointer};
use std::collections::HashMap;

/// The most operations of a batch.
const MAX_OPERATIONS: usize = 100;

const KINDS: [(&str, Kind); 6] = [
    ("create", Kind::Create),
    ("update", Kind::Update),
    ("upsert", Kind::Upsert),
    ("delete", Kind::Delete),
    ("change", Kind::Many(Doing::Change)),
    ("remove", Kind::Many(Doing::Remove)),
];

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Create,
    Update,
    Upsert,
    Delete,
    /// All records that a filter finds.
    Many(Doing),
}

/// An operation as written.
pub(super) struct Operation<'a> {
    pub(super) kind: Kind,
    pub(super) collection: &'a str,
    pub(super) id: Option<&'a str>,
    pub(super) name: Option<&'a str>,
    pub(super) data: Option<&'a Json>,
    /// Where its data stand in the body.
    pub(super) data_base: String,
    /// The fields of a unique key.
    pub(super) on: Option<&'a [Json]>,
    pub(super) if_match: Option<i64>,
    pub(super) filter: Option<&'a str>,
}

pub(super) fn place(at: &str, code: &'static str, detail: &str) -> RecordError {
    RecordError::Fields(vec![FieldProblem { pointer: at.to_owned(), code, detail: detail.to_owned() }])
}

pub(super) fn read(json: &Json) -> Result<Vec<Operation<'_>>, RecordError> {
    let Json::Object(members) = json else { return Err(RecordError::Shape("The body must be a JSON object with `operations`.")) };
    let [(name, Json::List(list))] = members.as_slice() else { return Err(RecordError::Shape("The body must hold one list, `operations`.")) };
    if **name != *"operations" || list.is_empty() || list.len() > MAX_OPERATIONS {
        return Err(RecordError::Shape("`operations` must hold 1 to 100 operations."));
    }
    list.iter().enumerate().map(|(at, operation)| read_operation(operation, &format!("/operations/{at}"))).collect()
}

fn read_operation<'a>(json: &'a Json, base: &str) -> Result<Operation<'a>, RecordError> {
    let Json::Object(members) = json else { return Err(place(base, "wrong_type", "must be an object")) };
    let mut found: Option<(Kind, &str)> = None;
    let mut operation = Operation {
        kind: Kind::Create,
        collection: "",
        id: None,
        name: None,
        data: None,
        data_base: format!("{base}/data"),
        on: None,
        if_match: None,
        filter: None,
    };
    for (key, value) in members {
        match (&**key, value) {
            (name, Json::Text(collection)) if found.is_none() && KINDS.iter().any(|(known, _)| *known == name) => {
                found = KINDS.iter().find(|(known, _)| *known == name).map(|(_, kind)| (*kind, &**collection));
            }
            ("filter", Json::Text(filter)) if !filter.trim().is_empty() => operation.filter = Some(filter),
            ("id", Json::Text(id)) => operation.id = Some(id),
            ("on", Json::List(items)) => operation.on = Some(items),
            ("as", Json::Text(name)) if !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') => {
                operation.name = Some(name)
            }
            ("data", json @ Json::Object(_)) => operation.data = Some(json),
            ("if_match", Json::Number(digits)) if digits.parse::<i64>().is_ok() => operation.if_match = digits.parse().ok(),
            _ => {
                return Err(place(
                    &pointer(base, key),
                    "malformed",
                    "an operation has one of create, update, upsert, delete, change, remove with a collection; id, as, data, on, if_match, filter",
                ));
            }
        }
    }
    let Some((kind, collection)) = found else { return Err(place(base, "malformed", "name one of create, update, upsert, delete, change, remove")) };
    let (keyed, many) = (kind == Kind::Upsert, matches!(kind, Kind::Many(_)));
    let fits = match kind {
        _ if operation.on.is_some() != keyed || operation.filter.is_some() != many => false,
        Kind::Many(doing) => {
            let alone = operation.id.is_none() && operation.name.is_none() && operation.if_match.is_none();
            alone && operation.data.is_some() == (doing == Doing::Change)
        }
        Kind::Upsert => operation.id.is_none() && operation.if_match.is_none() && operation.data.is_some(),
        Kind::Create => operation.id.is_none() && operation.if_match.is_none() && operation.data.is_some(),
        Kind::Update => operation.id.is_some() && operation.name.is_none() && operation.data.is_some(),
        Kind::Delete => operation.id.is_some() && operation.name.is_none() && operation.data.is_none(),
    };
    if !fits {
        return Err(place(
            base,
            "malformed",
            "create takes data and as; update takes id, data and if_match; upsert takes on, data and as; delete takes id and if_match; change \
             takes filter and data; remove takes filter",
        ));
    }
    operation.kind = kind;
    operation.collection = collection;
    Ok(operation)
}

/// The id that an operation names, itself or by `$name.id`.
pub(super) fn id(operation: &Operation<'_>, made: &HashMap<&str, Box<str>>, base: &str) -> Result<String, RecordError> {
    let written = operation.id.unwrap_or_default();
    match made_id(written, made) {
        Some(id) => Ok(id.to_string()),
        None => record_id(written).ok_or_else(|| place(&format!("{base}/id"), "not_found", "no such record")),
    }
}

fn made_id<'a>(text: &str, made: &'a HashMap<&str, Box<str>>) -> Option<&'a str> {
    made.get(text.strip_prefix('$')?.strip_suffix(".id")?).map(|id| &**id)
}

/// The values of an operation.
pub(super) fn values(
    operation: &Operation<'_>,
    made: &HashMap<&str, Box<str>>,
    declared: &haechi_model::Collection,
    purpose: Purpose,
    base: &str,
) -> Result<Vec<(FieldId, Value)>, RecordError> {
    read_values(&replaced(operation, made, declared), declared, purpose, base)
}

/// The data of an operation, with `$name.id` in references replaced.
pub(super) fn replaced(operation: &Operation<'_>, made: &HashMap<&str, Box<str>>, declared: &haechi_model::Collection) -> Json {
    let Some(Json::Object(members)) = operation.data else { return Json::Object(Vec::new()) };
    let refers = |name: &str| declared.field(name).is_some_and(|field| declared.fields[field].ty.refers().is_some());
    let id = |json: &Json| match json {
        Json::Text(text) => made_id(text, made).map(|id| Json::Text(id.into())),
        _ => None,
    };
    let named = |name: &str, json: &Json| match json {
        Json::Text(_) if refers(name) => id(json),
        Json::List(items) if refers(name) => Some(Json::List(items.iter().map(|item| id(item).unwrap_or_else(|| item.clone())).collect())),
        _ => None,
    };
    Json::Object(members.iter().map(|(name, json)| (name.clone(), named(name, json).unwrap_or_else(|| json.clone()))).collect())
}
