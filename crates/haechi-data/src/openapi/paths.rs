//! Paths: one operation a route, each with every status that it answers with.

use super::{reference, schemas};
use haechi_model::{App, Collection, forms};
use serde_json::{Map, Value, json};

/// Statuses that any route behind the stack may answer with.
const ALWAYS: &[u16] = &[400, 401, 408, 429, 431, 500, 503];

pub(super) fn problems(statuses: &[u16]) -> Map<String, Value> {
    ALWAYS.iter().chain(statuses).map(|status| (status.to_string(), reference("responses", "Problem"))).collect()
}

pub(super) fn json_body(schema: Value) -> Value {
    json!({ "required": true, "content": { "application/json": { "schema": schema } } })
}

/// A change of some fields (RFC 7396).
fn merge_body(schema: Value) -> Value {
    json!({ "required": true, "content": { "application/json": { "schema": schema }, "application/merge-patch+json": { "schema": schema } } })
}

pub(super) fn reply(description: &str, schema: Value, tagged: bool) -> Value {
    let mut reply = json!({ "description": description, "content": { "application/json": { "schema": schema } } });
    if tagged {
        reply["headers"] = json!({ "ETag": reference("headers", "ETag") });
    }
    reply
}

/// A reply to a change: a header says when it repeats the reply to an earlier request.
pub(super) fn changed(mut reply: Value, made: bool) -> Value {
    reply["headers"]["Idempotency-Replayed"] = reference("headers", "Idempotency-Replayed");
    if made {
        reply["headers"]["Location"] = reference("headers", "Location");
    }
    reply
}

/// Also for callers without credentials.
fn open_to_all(app: &App, collection: &Collection, verb: &str, operation: &mut Value) {
    if app.anonymous.iter().any(|(to, reach)| *to == collection.id && reach == verb) {
        operation["security"] = json!([{}, { "bearer": [] }, { "session": [] }]);
    }
}

/// Headers of every reply.
const CARRIED: &[&str] = &["RateLimit", "RateLimit-Policy", "X-Request-Id", "Access-Control-Allow-Origin"];

/// Adds these headers to every reply of every route.
pub(super) fn carry(paths: &mut Map<String, Value>) {
    let replies =
        paths.values_mut().filter_map(Value::as_object_mut).flat_map(Map::values_mut).filter_map(|operation| operation["responses"].as_object_mut());
    for reply in replies.flat_map(Map::values_mut).filter(|reply| reply.get("$ref").is_none()) {
        for name in CARRIED {
            reply["headers"][*name] = reference("headers", name);
        }
    }
}

pub(super) fn with(mut responses: Map<String, Value>, status: &str, reply: Value) -> Map<String, Value> {
    responses.insert(status.to_owned(), reply);
    responses
}

/// All routes of one collection.
pub(super) fn collection(app: &App, collection: &Collection, all: &mut Map<String, Value>) {
    let (name, one) = (&collection.name, &collection.singular);
    let parameter = |name: &str| reference("parameters", name);
    let schema = |suffix: &str| reference("schemas", &format!("{one}{suffix}"));
    let plain = |field: &&haechi_model::Field| {
        field.ty.comparable() && !app.classes[field.class].guarded() && !schemas::OF_A_QUERY.contains(&field.name.as_str())
    };
    let mut list_parameters: Vec<Value> = schemas::OF_A_QUERY.iter().map(|name| parameter(name)).collect();
    list_parameters.extend(
        collection
            .fields
            .iter()
            .filter(plain)
            .map(|field| json!({ "name": field.name, "in": "query", "description": "Equality.", "schema": schemas::filter() })),
    );
    let id = of_a_record();
    let mut list = json!({ "operationId": format!("list_{name}"), "summary": format!("List {name}."), "description": "Finds the records that you may read; a personal field can only be asked for by POST to `:query`.", "tags": [name], "parameters": list_parameters, "responses": with(problems(&[403]), "200", reply("A page.", schema("Page"), false)) });
    let mut query = json!({ "operationId": format!("query_{name}"), "summary": format!("Query {name}."), "description": "As the list, with the query in the body: nothing of it stands in a URL.", "tags": [name], "requestBody": json_body(schema("Query")), "responses": with(problems(&[403, 413, 415]), "200", reply("A page.", schema("Page"), false)) });
    let mut create = json!({
        "operationId": format!("create_{name}"), "summary": format!("Create a record of {name}."), "description": "Adds a record, when a policy allows it.", "tags": [name], "parameters": [parameter("Idempotency-Key")], "requestBody": json_body(schema("Create")),
        "responses": with(problems(&[403, 409, 413, 415, 422, 507]), "201", changed(reply("The new record, as far as you may read it.", schema(""), true), true))
    });
    let mut read = json!({
        "operationId": format!("read_{name}"), "summary": format!("Read a record of {name}."), "description": "Shows a record; fields that you may not read are left out and named in `_masked`.", "tags": [name], "parameters": [id.clone(), parameter("fields"), parameter("expand")],
        "responses": with(problems(&[403, 404]), "200", reply("The record.", schema(""), true))
    });
    let mut update = json!({
        "operationId": format!("update_{name}"), "summary": format!("Change a record of {name}."), "description": "Changes the fields that are named (RFC 7396); `If-Match` makes it the version that you know.", "tags": [name], "parameters": [id.clone(), parameter("If-Match"), parameter("Idempotency-Key")], "requestBody": merge_body(schema("Update")),
        "responses": with(problems(&[403, 404, 409, 412, 413, 415, 422, 507]), "200", changed(reply("The record as it is now.", schema(""), true), false))
    });
    let mut delete = json!({
        "operationId": format!("delete_{name}"), "summary": format!("Delete a record of {name}."), "description": "Deletes a record, and what the folder says goes with it.", "tags": [name], "parameters": [id, parameter("If-Match"), parameter("Idempotency-Key")],
        "responses": with(problems(&[403, 404, 409, 412, 422, 507]), "204", changed(json!({ "description": "Deleted." }), false))
    });
    for (verb, operation) in
        [("list", &mut list), ("list", &mut query), ("create", &mut create), ("read", &mut read), ("update", &mut update), ("delete", &mut delete)]
    {
        open_to_all(app, collection, verb, operation);
    }
    let mut streams = watch(collection);
    for method in ["get", "post"] {
        open_to_all(app, collection, "watch", &mut streams[method]);
    }
    all.insert(format!("/api/v1/{name}:watch"), streams);
    all.insert(format!("/api/v1/{name}:export"), export(collection));
    let mut computed = super::aggregates::path(collection);
    for method in ["get", "post"] {
        open_to_all(app, collection, "list", &mut computed[method]);
    }
    all.insert(format!("/api/v1/{name}:aggregate"), computed);
    all.extend(super::many::paths(collection).into_iter().map(|(verb, path)| (format!("/api/v1/{name}:{verb}"), path)));
    for action in &collection.actions {
        all.insert(format!("/api/v1/{name}/{{id}}:{}", action.name), json!({ "post": declared(collection, action) }));
    }
    if collection.id == haechi_model::USERS {
        // Only the identity feature creates and deletes people.
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
    let events =
        json!({ "description": "Server-Sent Events, until one side ends them: docs/live.md.", "content": { "text/event-stream": { "schema": {} } } });
    let responses = |statuses: &[u16]| with(problems(statuses), "200", events.clone());
    let get = json!({
        "operationId": format!("watch_{name}"), "summary": format!("Watch {name}."), "description": "Streams the changes of the records that you may watch.", "tags": [name], "parameters": [parameter("filter"), parameter("fields"), parameter("Last-Event-ID")],
        "responses": responses(&[403, 410, 429])
    });
    let fields = forms::list(&forms::name(), collection.fields.len() as u64);
    let query = json!({ "type": "object", "additionalProperties": false, "properties": { "filter": schemas::filter(), "fields": fields } });
    let post = json!({
        "operationId": format!("watch_query_{name}"), "summary": format!("Watch a query of {name}."), "description": "As the stream, with the query in the body: nothing of it stands in a URL.", "tags": [name], "parameters": [parameter("Last-Event-ID")], "requestBody": json_body(query),
        "responses": responses(&[403, 410, 413, 415, 429])
    });
    json!({ "get": get, "post": post })
}

fn export(collection: &Collection) -> Value {
    let (name, parameter) = (&collection.name, |name: &str| reference("parameters", name));
    let file = json!({ "description": "The rows, in the order of their ids.", "content": { "application/jsonl": { "schema": {} }, "text/csv": { "schema": {} } } });
    let responses = |statuses: &[u16]| with(problems(statuses), "200", file.clone());
    let fields = forms::list(&forms::name(), collection.fields.len() as u64);
    let format = json!({ "type": "string", "enum": ["csv", "jsonl"], "description": "The format of the file." });
    let query =
        json!({ "type": "object", "additionalProperties": false, "properties": { "filter": schemas::filter(), "fields": fields, "format": format } });
    json!({
        "get": {
            "operationId": format!("export_{name}"), "summary": format!("Export {name}."), "description": "All records that you may export and read, as a file.", "tags": [name], "parameters": [parameter("format"), parameter("filter"), parameter("fields")],
            "responses": responses(&[403, 429])
        },
        "post": {
            "operationId": format!("export_query_{name}"), "summary": format!("Export a query of {name}."), "description": "As by GET, with the question in the body: nothing of it stands in a URL.", "tags": [name], "requestBody": json_body(query),
            "responses": responses(&[403, 413, 415, 429])
        }
    })
}

/// The id in a path.
fn of_a_record() -> Value {
    json!({ "name": "id", "in": "path", "required": true, "description": "The record's id.", "schema": forms::uuid() })
}

/// `mark_done` as `Mark done`.
fn capital(action: &str) -> String {
    let words = action.replace('_', " ");
    words[..1].to_uppercase() + &words[1..]
}

/// The route of an action that a collection declares.
fn declared(collection: &Collection, action: &haechi_model::DeclaredAction) -> Value {
    let (name, parameter) = (&collection.name, |name: &str| reference("parameters", name));
    let mut operation = json!({
        "operationId": format!("{}_{name}", action.name), "summary": format!("{} a record of {name}.", capital(&action.name)), "description": "An action that the folder declares.",
        "tags": [name], "parameters": [of_a_record(), parameter("If-Match"), parameter("Idempotency-Key")],
        "responses": with(problems(&[403, 404, 409, 412, 413, 415, 422, 507]), "200", changed(reply("The record as it is now.", reference("schemas", &collection.singular), true), false))
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
        "operationId": "batch", "summary": "Change several records at once.", "description": "All operations happen, or none of them does.", "tags": ["batch"], "parameters": [reference("parameters", "Idempotency-Key")], "requestBody": json_body(reference("schemas", "Batch")),
        "responses": with(problems(&[403, 404, 409, 412, 413, 415, 422, 507]), "200", changed(reply("A result per operation.", reference("schemas", "BatchResult"), false), false))
    } })
}

/// A route that answers with a word.
pub(super) fn plain(id: &str, summary: &str, statuses: &[u16]) -> Value {
    let word = |status: &u16| (status.to_string(), json!({ "description": summary, "content": { "text/plain": { "schema": forms::text(200) } } }));
    let mut all = problems(&[]);
    all.extend(statuses.iter().map(word));
    json!({ "get": { "operationId": id, "summary": summary, "description": "For load balancers and monitors; it shows nothing of the data.", "tags": ["health"], "security": [{}], "responses": all } })
}

pub(super) fn responses() -> Value {
    let mut headers: Map<String, Value> = CARRIED.iter().map(|name| ((*name).to_owned(), reference("headers", name))).collect();
    headers.insert("Retry-After".to_owned(), reference("headers", "Retry-After"));
    json!({ "Problem": {
        "description": "A problem (RFC 9457).", "headers": headers, "content": { "application/problem+json": { "schema": reference("schemas", "Problem") } }
    } })
}

pub(super) fn headers() -> Value {
    let header = |what: &str, schema: Value| json!({ "description": what, "schema": schema });
    json!({
        "ETag": header("The record's version; weak when the reply is compressed.", etag()),
        "RateLimit": header("What is left of the caller's rate (draft-ietf-httpapi-ratelimit-headers).", forms::visible(200)),
        "RateLimit-Policy": header("The caller's rate.", forms::visible(200)),
        "Idempotency-Replayed": header("`true` when this is the reply of the first request with this Idempotency-Key.", json!({ "type": "string", "enum": ["true"] })),
        "Location": header("Where the new record is.", json!({ "type": "string", "format": "uri-reference", "maxLength": 2048 })),
        "Retry-After": header("The seconds after which to try again, where that helps.", forms::integer(0, 86_400)),
        "X-Request-Id": header("Names the request in the ledger and in logs.", forms::uuid()),
        "Access-Control-Allow-Origin": header("The page's origin, when the folder names it.", json!({ "type": "string", "format": "uri", "maxLength": 2048 })),
    })
}

fn etag() -> Value {
    forms::matching(24, "^(W/)?\"[0-9]{1,19}\"$")
}

pub(super) fn parameters() -> Value {
    let query = |name: &str, text: &str, schema: Value| json!({ "name": name, "in": "query", "description": text, "schema": schema });
    let header = |name: &str, text: &str, schema: Value| json!({ "name": name, "in": "header", "description": text, "schema": schema });
    json!({
        "filter": query("filter", "AIP-160 filter.", schemas::filter()),
        "order_by": query("order_by", "Fields with asc or desc, separated by commas.", schemas::order()),
        "page_size": query("page_size", "Most records of the page.", schemas::page_size()),
        "page_token": query("page_token", "Where the page before ended.", schemas::page_token()),
        "format": query("format", "The format of the file; jsonl without it.", json!({ "type": "string", "enum": ["csv", "jsonl"] })),
        "fields": query("fields", "Fields of the reply, separated by commas.", schemas::names()),
        "expand": query("expand", "References to show with their records, separated by commas: `project(name,lead(name))`, `tasks_by_project(20,title)`.", schemas::expand()),
        "count": query("count", "Whether `total_size` is wanted.", json!({ "type": "boolean" })),
        "group_by": query("group_by", "At most two fields whose values make groups.", schemas::names()),
        "sum": query("sum", "Fields to sum up.", schemas::names()),
        "avg": query("avg", "Fields whose mean is wanted.", schemas::names()),
        "min": query("min", "Fields whose smallest value is wanted.", schemas::names()),
        "max": query("max", "Fields whose largest value is wanted.", schemas::names()),
        "Last-Event-ID": header("Last-Event-ID", "The position after which to go on.", forms::visible(200)),
        "If-Match": header("If-Match", "The ETag that the record must have.", forms::matching(24, "^((W/)?\"[0-9]{1,19}\"|\\*)$")),
        "Idempotency-Key": header("Idempotency-Key", "Makes the request happen at most once in 24 hours.", json!({ "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$" }))
    })
}
