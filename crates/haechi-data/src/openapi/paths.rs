//! Paths: one operation a route, each with every status that it answers with.

use super::reference;
use haechi_model::{App, Collection};
use serde_json::{Map, Value, json};

/// Statuses that any route behind the stack may answer with.
const ALWAYS: &[u16] = &[400, 401, 408, 431, 500, 503];

fn problems(statuses: &[u16]) -> Map<String, Value> {
    ALWAYS.iter().chain(statuses).map(|status| (status.to_string(), reference("responses", "Problem"))).collect()
}

fn json_body(schema: Value) -> Value {
    json!({ "required": true, "content": { "application/json": { "schema": schema } } })
}

fn reply(description: &str, schema: Value, tagged: bool) -> Value {
    let mut reply = json!({ "description": description, "content": { "application/json": { "schema": schema } } });
    if tagged {
        reply["headers"] = json!({ "ETag": reference("headers", "ETag") });
    }
    reply
}

fn with(mut responses: Map<String, Value>, status: &str, reply: Value) -> Map<String, Value> {
    responses.insert(status.to_owned(), reply);
    responses
}

/// All routes of one collection.
pub(super) fn collection(app: &App, collection: &Collection, all: &mut Map<String, Value>) {
    let (name, one) = (&collection.name, &collection.singular);
    let parameter = |name: &str| reference("parameters", name);
    let schema = |suffix: &str| reference("schemas", &format!("{one}{suffix}"));
    let plain = |field: &&haechi_model::Field| field.ty.comparable() && !app.classes[field.class].guarded();
    let mut list_parameters: Vec<Value> =
        ["filter", "order_by", "page_size", "page_token", "fields", "expand"].iter().map(|name| parameter(name)).collect();
    list_parameters.extend(
        collection
            .fields
            .iter()
            .filter(plain)
            .map(|field| json!({ "name": field.name, "in": "query", "description": "Equality.", "schema": { "type": "string" } })),
    );
    let id = json!({ "name": "id", "in": "path", "required": true, "schema": { "type": "string", "format": "uuid" } });
    let list = json!({ "operationId": format!("list_{name}"), "tags": [name], "parameters": list_parameters, "responses": with(problems(&[403]), "200", reply("A page.", schema("Page"), false)) });
    let query = json!({ "operationId": format!("query_{name}"), "tags": [name], "requestBody": json_body(schema("Query")), "responses": with(problems(&[403, 413, 415]), "200", reply("A page.", schema("Page"), false)) });
    let create = json!({
        "operationId": format!("create_{name}"), "tags": [name], "parameters": [parameter("Idempotency-Key")], "requestBody": json_body(schema("Create")),
        "responses": with(problems(&[403, 409, 413, 415, 422, 507]), "201", reply("The new record, as far as you may read it.", schema(""), true))
    });
    let read = json!({
        "operationId": format!("read_{name}"), "tags": [name], "parameters": [id.clone(), parameter("fields"), parameter("expand")],
        "responses": with(problems(&[403, 404]), "200", reply("The record.", schema(""), true))
    });
    let update = json!({
        "operationId": format!("update_{name}"), "tags": [name], "parameters": [id.clone(), parameter("If-Match"), parameter("Idempotency-Key")], "requestBody": json_body(schema("Update")),
        "responses": with(problems(&[403, 404, 409, 412, 413, 415, 422, 507]), "200", reply("The record as it is now.", schema(""), true))
    });
    let delete = json!({
        "operationId": format!("delete_{name}"), "tags": [name], "parameters": [id, parameter("If-Match"), parameter("Idempotency-Key")],
        "responses": with(problems(&[403, 404, 409, 412, 422, 507]), "204", json!({ "description": "Deleted." }))
    });
    all.insert(format!("/api/v1/{name}:watch"), watch(collection));
    for action in &collection.actions {
        all.insert(format!("/api/v1/{name}/{{id}}:{}", action.name), json!({ "post": declared(collection, action) }));
    }
    if collection.id == haechi_model::USERS {
        // People are made and ended by identity alone.
        all.insert(format!("/api/v1/{name}"), json!({ "get": list }));
        all.insert(format!("/api/v1/{name}:query"), json!({ "post": query }));
        all.insert(format!("/api/v1/{name}/{{id}}"), json!({ "get": read, "patch": update }));
        return;
    }
    all.insert(format!("/api/v1/{name}"), json!({ "get": list, "post": create }));
    all.insert(format!("/api/v1/{name}:query"), json!({ "post": query }));
    all.insert(format!("/api/v1/{name}/{{id}}"), json!({ "get": read, "patch": update, "delete": delete }));
}

/// The stream of a collection's changes.
fn watch(collection: &Collection) -> Value {
    let (name, parameter) = (&collection.name, |name: &str| reference("parameters", name));
    let events = json!({ "description": "Server-Sent Events, until one side ends them: docs/live.md.", "content": { "text/event-stream": { "schema": { "type": "string" } } } });
    let responses = |statuses: &[u16]| with(problems(statuses), "200", events.clone());
    let get = json!({
        "operationId": format!("watch_{name}"), "tags": [name], "parameters": [parameter("filter"), parameter("fields"), parameter("Last-Event-ID")],
        "responses": responses(&[403, 410, 429])
    });
    let query = json!({ "type": "object", "properties": { "filter": { "type": "string", "maxLength": 8192 }, "fields": { "type": "array", "items": { "type": "string" } } } });
    let post = json!({
        "operationId": format!("watch_query_{name}"), "tags": [name], "parameters": [parameter("Last-Event-ID")], "requestBody": json_body(query),
        "responses": responses(&[403, 410, 413, 415, 429])
    });
    json!({ "get": get, "post": post })
}

/// The route of an action that a collection declares.
fn declared(collection: &Collection, action: &haechi_model::DeclaredAction) -> Value {
    let (name, parameter) = (&collection.name, |name: &str| reference("parameters", name));
    let id = json!({ "name": "id", "in": "path", "required": true, "schema": { "type": "string", "format": "uuid" } });
    let mut operation = json!({
        "operationId": format!("{}_{name}", action.name), "tags": [name], "parameters": [id, parameter("If-Match"), parameter("Idempotency-Key")],
        "responses": with(problems(&[403, 404, 409, 412, 413, 415, 422, 507]), "200", reply("The record as it is now.", reference("schemas", &collection.singular), true))
    });
    if action.input.declared().next().is_some() {
        let properties: Map<String, Value> =
            action.input.declared().map(|(_, field)| (field.name.clone(), super::schemas::field_schema(&field.ty, !field.required))).collect();
        let required: Vec<&str> =
            action.input.declared().filter(|(_, field)| field.required && field.default.is_none()).map(|(_, field)| field.name.as_str()).collect();
        operation["requestBody"] =
            json_body(json!({ "type": "object", "additionalProperties": false, "required": required, "properties": properties }));
        operation["requestBody"]["required"] = json!(!required.is_empty());
    }
    operation
}

pub(super) fn batch() -> Value {
    json!({ "post": {
        "operationId": "batch", "parameters": [reference("parameters", "Idempotency-Key")], "requestBody": json_body(reference("schemas", "Batch")),
        "responses": with(problems(&[403, 404, 409, 412, 413, 415, 422, 507]), "200", reply("A result per operation.", reference("schemas", "BatchResult"), false))
    } })
}

/// A route that answers a word.
pub(super) fn plain(id: &str, summary: &str, statuses: &[u16]) -> Value {
    let responses: Map<String, Value> = statuses
        .iter()
        .map(|status| (status.to_string(), json!({ "description": summary, "content": { "text/plain": { "schema": { "type": "string" } } } })))
        .collect();
    let mut all = problems(&[]);
    all.extend(responses);
    json!({ "get": { "operationId": id, "summary": summary, "security": [], "responses": all } })
}

pub(super) fn responses() -> Value {
    json!({ "Problem": { "description": "A problem (RFC 9457).", "content": { "application/problem+json": { "schema": reference("schemas", "Problem") } } } })
}

pub(super) fn headers() -> Value {
    json!({ "ETag": { "description": "The record's version.", "schema": { "type": "string" } } })
}

pub(super) fn parameters() -> Value {
    let query = |name: &str, text: &str, schema: Value| json!({ "name": name, "in": "query", "description": text, "schema": schema });
    let header = |name: &str, text: &str, schema: Value| json!({ "name": name, "in": "header", "description": text, "schema": schema });
    json!({
        "filter": query("filter", "AIP-160 filter.", json!({ "type": "string", "maxLength": 8192 })),
        "order_by": query("order_by", "Fields with asc or desc, separated by commas.", json!({ "type": "string" })),
        "page_size": query("page_size", "Most records of the page.", json!({ "type": "integer", "minimum": 1 })),
        "page_token": query("page_token", "Where the page before ended.", json!({ "type": "string" })),
        "fields": query("fields", "Fields of the reply, separated by commas.", json!({ "type": "string" })),
        "expand": query("expand", "References to show with their records, separated by commas.", json!({ "type": "string" })),
        "Last-Event-ID": header("Last-Event-ID", "The position after which to go on.", json!({ "type": "string" })),
        "If-Match": header("If-Match", "The ETag that the record must have.", json!({ "type": "string" })),
        "Idempotency-Key": header("Idempotency-Key", "Makes the request happen at most once in 24 hours.", json!({ "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$" }))
    })
}
