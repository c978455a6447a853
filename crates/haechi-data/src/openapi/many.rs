//! Changes of records that are looked for first, in the OpenAPI document.

use super::{paths, reference, schemas};
use haechi_model::{Collection, forms};
use serde_json::{Map, Value, json};

/// Most records of one change.
const MAX_ROWS: u64 = 1_000;

/// The paths `:upsert`, `:change` and `:remove`; only the identity feature makes and deletes people.
pub(super) fn paths(collection: &Collection) -> Vec<(&'static str, Value)> {
    let (name, one) = (&collection.name, &collection.singular);
    let schema = |suffix: &str| reference("schemas", &format!("{one}{suffix}"));
    let key = || json!([reference("parameters", "Idempotency-Key")]);
    let post = |id: &str, summary: String, description: &str, body: Value, responses: Map<String, Value>| {
        json!({ "post": {
            "operationId": format!("{id}_{name}"), "summary": summary, "description": description, "tags": [name], "parameters": key(),
            "requestBody": paths::json_body(body), "responses": responses
        } })
    };
    let done = || paths::changed(paths::reply("What was done.", reference("schemas", "ManyDone"), false), false);
    let many = |statuses: &[u16]| paths::with(paths::problems(statuses), "200", done());
    let change = post(
        "change",
        format!("Change records of {name} by a filter."),
        "Changes all records that the filter finds, at most 1 000, or none of them.",
        schema("Change"),
        many(&[403, 409, 413, 415, 422, 507]),
    );
    if collection.id == haechi_model::USERS {
        return vec![("change", change)];
    }
    let replies = paths::with(
        paths::problems(&[403, 409, 413, 415, 422, 507]),
        "200",
        paths::changed(paths::reply("The record as it is now.", schema(""), true), false),
    );
    let replies = paths::with(replies, "201", paths::changed(paths::reply("The new record, as far as you may read it.", schema(""), true), true));
    let upsert = post(
        "upsert",
        format!("Create or change a record of {name} by a unique key."),
        "Changes the record that has the key, or creates one.",
        schema("Upsert"),
        replies,
    );
    let remove = post(
        "remove",
        format!("Delete records of {name} by a filter."),
        "Deletes all records that the filter finds, at most 1 000, or none of them.",
        reference("schemas", "Remove"),
        many(&[403, 409, 413, 415, 422, 507]),
    );
    vec![("upsert", upsert), ("change", change), ("remove", remove)]
}

/// What all collections share: the body of a delete by filter, and what was done.
pub(super) fn shared(all: &mut Map<String, Value>) {
    let filter = forms::described(schemas::filter(), "A filter (AIP-160) that is not empty.");
    all.insert(
        "Remove".to_owned(),
        json!({ "type": "object", "additionalProperties": false, "required": ["filter"], "description": "Which records.", "properties": { "filter": filter } }),
    );
    let ids = forms::list(&forms::uuid(), MAX_ROWS);
    all.insert(
        "ManyDone".to_owned(),
        json!({
            "type": "object", "required": ["count", "ids"], "description": "The records that were changed or deleted.",
            "properties": {
                "count": { "type": "integer", "format": "int32", "minimum": 0, "maximum": MAX_ROWS, "description": "How many." },
                "ids": forms::described(ids, "Their ids.")
            }
        }),
    );
}

/// The bodies of one collection.
pub(super) fn of(collection: &Collection, all: &mut Map<String, Value>) {
    let name = &collection.singular;
    let filter = forms::described(schemas::filter(), "A filter (AIP-160) that is not empty.");
    all.insert(
        format!("{name}Change"),
        json!({
            "type": "object", "additionalProperties": false, "required": ["filter", "data"], "description": "Which records, and what changes of them.",
            "properties": { "filter": filter, "data": reference("schemas", &format!("{name}Update")) }
        }),
    );
    if collection.id == haechi_model::USERS {
        return;
    }
    let on = forms::described(forms::list(&forms::name(), 8), "The fields of a unique key, each of them.");
    all.insert(
        format!("{name}Upsert"),
        json!({
            "type": "object", "additionalProperties": false, "required": ["on", "data"], "description": "By which key, and what the record says.",
            "properties": { "on": on, "data": reference("schemas", &format!("{name}Update")) }
        }),
    );
}
