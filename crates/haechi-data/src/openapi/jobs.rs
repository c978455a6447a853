//! Jobs in the OpenAPI document, and their routes.

use super::{
    paths::{json_body, problems, reply, with},
    reference,
    schemas::field_schema,
};
use haechi_model::{App, Job, forms};
use serde_json::{Map, Value, json};

/// The paths and schemas of the jobs that an app declares; nothing when it declares none.
pub(super) fn describe(app: &App, paths: &mut Map<String, Value>, schemas: &mut Map<String, Value>) {
    if app.jobs.is_empty() {
        return;
    }
    for job in &app.jobs {
        schemas.insert(input_name(job), input(job));
        paths.insert(format!("/jobs/v1/{}", job.name), begin(job));
    }
    schemas.insert("Enqueued".to_owned(), enqueued());
    schemas.insert("Run".to_owned(), run());
    let id = json!([{ "name": "id", "in": "path", "required": true, "schema": forms::uuid(), "description": "The run." }]);
    let shown = |statuses: &[u16], what: &str| with(problems(statuses), "200", reply(what, reference("schemas", "Run"), false));
    paths.insert(
        "/jobs/v1/runs/{id}".to_owned(),
        json!({ "get": { "parameters": id,
            "operationId": "get_run", "summary": "A run of a job.", "tags": ["jobs"], "responses": shown(&[404], "The run."),
            "description": "For who enqueued it, and for those to whom policy permits `read` on the job."
        } }),
    );
    paths.insert(
        "/jobs/v1/runs/{id}:cancel".to_owned(),
        json!({ "post": { "parameters": id,
            "operationId": "cancel_run", "summary": "Cancel a run.", "tags": ["jobs"], "responses": shown(&[403, 404, 409], "The run as it ended."),
            "description": "What a cancelled run would have done to records does not happen."
        } }),
    );
}

/// The routes: method, path and who may use them.
pub(super) fn routes(app: &App) -> Vec<(&'static str, String, String)> {
    if app.jobs.is_empty() {
        return Vec::new();
    }
    let begin = app.jobs.iter().map(|job| ("POST", format!("/jobs/v1/{}", job.name), format!("enqueue on Work::Job/{}", job.name)));
    let run = "who enqueued it, or read on its Work::Job";
    let cancel = "who enqueued it, or cancel on its Work::Job";
    begin
        .chain([("GET", "/jobs/v1/runs/{id}".to_owned(), run.to_owned()), ("POST", "/jobs/v1/runs/{id}:cancel".to_owned(), cancel.to_owned())])
        .collect()
}

fn input_name(job: &Job) -> String {
    format!("{}Input", haechi_model::pascal(&job.name))
}

fn input(job: &Job) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (_, field) in job.input.declared() {
        properties.insert(field.name.clone(), field_schema(&field.ty, !field.required));
        if field.required && field.default.is_none() {
            required.push(field.name.clone());
        }
    }
    json!({
        "type": "object", "description": format!("The input of the job {}.", job.name), "properties": properties, "required": required,
        "additionalProperties": false
    })
}

fn begin(job: &Job) -> Value {
    let run_at = json!({
        "name": "run_at", "in": "query", "schema": forms::time(),
        "description": "When it is to run, within a year; at once without it."
    });
    let done = reply("It is enqueued; `Location` names its run.", reference("schemas", "Enqueued"), false);
    json!({ "post": {
        "operationId": format!("enqueue_{}", job.name), "summary": format!("Enqueue the job {}.", job.name), "tags": ["jobs"],
        "description": "The reply comes before the job is done. With an Idempotency-Key it is enqueued once.",
        "parameters": [reference("parameters", "Idempotency-Key"), run_at],
        "requestBody": json_body(reference("schemas", &input_name(job))),
        "responses": with(problems(&[403, 404, 413, 415, 422, 507]), "202", done)
    } })
}

fn uuid(what: &str) -> Value {
    forms::described(forms::uuid(), what)
}

fn enqueued() -> Value {
    json!({
        "type": "object", "description": "A job that is enqueued.", "required": ["id", "job"], "additionalProperties": false,
        "properties": { "id": uuid("Its run."), "job": forms::described(forms::name(), "The job.") }
    })
}

fn run() -> Value {
    let time = |what: &str| forms::described(forms::time(), what);
    let may = |mut schema: Value| {
        schema["type"] = json!([schema["type"], "null"]);
        schema
    };
    let code = || forms::matching(100, "^[a-z0-9-]+$");
    let count = |what: &str| json!({ "type": "integer", "format": "int32", "minimum": 0, "maximum": 100_000, "description": what });
    json!({
        "type": "object", "description": "A run of a job.", "required": ["id", "job", "state", "attempt", "create_time"], "additionalProperties": false,
        "properties": {
            "id": uuid("Its id."), "job": forms::described(forms::name(), "The job."),
            "state": {
                "type": "string", "enum": ["waiting", "blocked", "running", "done", "cancelled", "dead", "refused"],
                "description": "`blocked` waits for another run with its key; `dead` failed for good; `refused` was not permitted when it ran."
            },
            "attempt": count("How often it was begun."),
            "create_time": time("When it was enqueued."),
            "run_time": may(time("When it is due, while it waits.")),
            "end_time": may(time("When it ended.")),
            "code": may(forms::described(code(), "Why the last attempt failed.")),
            "progress": { "description": "How far it is." },
            "result": { "description": "What it has brought; kept for seven days." },
            "failed_attempts": {
                "type": "array", "maxItems": 100, "description": "The attempts that failed.",
                "items": {
                    "type": "object", "additionalProperties": false, "required": ["number", "begin_time", "end_time", "code"],
                    "properties": {
                        "number": count("Its number."), "begin_time": time("When it began."), "end_time": time("When it ended."),
                        "code": forms::described(code(), "Why it failed.")
                    }
                }
            }
        }
    })
}
