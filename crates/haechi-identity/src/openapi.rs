//! The description of this crate's routes, for the one OpenAPI document.

use haechi_model::forms;
use serde_json::{Map, Value, json};

/// Paths and schemas.
#[must_use]
pub fn describe() -> (Map<String, Value>, Map<String, Value>) {
    (paths(), schemas())
}

fn reference(kind: &str, name: &str) -> Value {
    json!({ "$ref": format!("#/components/{kind}/{name}") })
}

/// A schema of this crate; the prefix keeps it apart from those of collections.
fn schema(name: &str) -> Value {
    reference("schemas", &format!("Auth{name}"))
}

/// One operation: its name, what it takes, what it answers with.
struct Operation<'a> {
    name: &'a str,
    summary: &'a str,
    body: Option<&'a str>,
    status: &'a str,
    reply: Option<&'a str>,
    problems: &'a [u16],
    open: bool,
}

fn operation(operation: &Operation<'_>) -> Value {
    let mut responses = Map::new();
    for status in [400, 401, 408, 429, 431, 500, 503].iter().chain(operation.problems) {
        responses.insert(status.to_string(), reference("responses", "Problem"));
    }
    let mut reply = json!({ "description": operation.summary });
    if let Some(name) = operation.reply {
        reply["content"] = json!({ "application/json": { "schema": schema(name) } });
    }
    responses.insert(operation.status.to_owned(), reply);
    let mut out = json!({ "operationId": format!("auth_{}", operation.name), "summary": operation.summary, "description": format!("{} See docs/auth.md.", operation.summary), "tags": ["auth"], "responses": responses });
    if let Some(body) = operation.body {
        out["requestBody"] = json!({ "required": true, "content": { "application/json": { "schema": schema(body) } } });
    }
    if operation.open {
        out["security"] = json!([{}]);
    }
    out
}

const TAKING: &[u16] = &[403, 413, 415, 422, 429, 507];
const CHANGING: &[u16] = &[403, 404, 507];

/// Path, method and what it does.
const OPERATIONS: &[(&str, &str, Operation<'static>)] = &[
    (
        "/auth/v1/sign-up",
        "post",
        Operation {
            name: "sign_up",
            summary: "Accepted; the same when the address is taken.",
            body: Some("SignUp"),
            status: "202",
            reply: Some("SignedUp"),
            problems: TAKING,
            open: true,
        },
    ),
    (
        "/auth/v1/sign-in",
        "post",
        Operation {
            name: "sign_in",
            summary: "A new session.",
            body: Some("SignIn"),
            status: "200",
            reply: Some("NewSession"),
            problems: TAKING,
            open: true,
        },
    ),
    (
        "/auth/v1/sign-out",
        "post",
        Operation {
            name: "sign_out",
            summary: "The session that asks has ended.",
            body: None,
            status: "204",
            reply: None,
            problems: CHANGING,
            open: false,
        },
    ),
    (
        "/auth/v1/password",
        "post",
        Operation {
            name: "change_password",
            summary: "The password is changed; a new session, unless a code was used (204).",
            body: Some("NewPassword"),
            status: "200",
            reply: Some("NewSession"),
            problems: TAKING,
            open: true,
        },
    ),
    (
        "/auth/v1/setup",
        "post",
        Operation {
            name: "set_up",
            summary: "The first administrator.",
            body: Some("SetUp"),
            status: "201",
            reply: Some("SetUpDone"),
            problems: &[403, 409, 413, 415, 422, 429, 507],
            open: true,
        },
    ),
    (
        "/auth/v1/me",
        "get",
        Operation { name: "me", summary: "The caller.", body: None, status: "200", reply: Some("Me"), problems: &[403], open: false },
    ),
    (
        "/auth/v1/sessions",
        "get",
        Operation {
            name: "list_sessions",
            summary: "The caller's sessions, newest first.",
            body: None,
            status: "200",
            reply: Some("SessionList"),
            problems: &[403],
            open: false,
        },
    ),
    (
        "/auth/v1/sessions",
        "delete",
        Operation {
            name: "end_other_sessions",
            summary: "All other sessions have ended.",
            body: None,
            status: "204",
            reply: None,
            problems: CHANGING,
            open: false,
        },
    ),
    (
        "/auth/v1/sessions/{id}",
        "delete",
        Operation { name: "end_session", summary: "The session has ended.", body: None, status: "204", reply: None, problems: CHANGING, open: false },
    ),
    (
        "/auth/v1/keys",
        "get",
        Operation {
            name: "list_keys",
            summary: "The caller's keys.",
            body: None,
            status: "200",
            reply: Some("KeyList"),
            problems: &[403],
            open: false,
        },
    ),
    (
        "/auth/v1/keys",
        "post",
        Operation {
            name: "create_key",
            summary: "A new key; `key` is shown this once.",
            body: Some("NewKey"),
            status: "201",
            reply: Some("Key"),
            problems: TAKING,
            open: false,
        },
    ),
    (
        "/auth/v1/keys/{id}",
        "delete",
        Operation { name: "revoke_key", summary: "The key is revoked.", body: None, status: "204", reply: None, problems: CHANGING, open: false },
    ),
];

fn paths() -> Map<String, Value> {
    let mut paths = Map::new();
    for (path, method, described) in OPERATIONS {
        let mut described = operation(described);
        if path.ends_with("{id}") {
            described["parameters"] = json!([{ "name": "id", "in": "path", "required": true, "description": "Its id, as the list shows it.", "schema": forms::visible(64) }]);
        }
        if *path == "/auth/v1/password" {
            described["responses"]["204"] = json!({ "description": "The password is set; sign in with it." });
        }
        paths.entry(*path).or_insert_with(|| json!({}))[*method] = described;
    }
    paths
}

fn schemas() -> Map<String, Value> {
    // Ids and tokens that we write, and texts that others write.
    let (text, word) = (|| forms::visible(200), || forms::text(1_024));
    let (time, names) = (forms::time, || forms::list(&forms::name(), 32));
    let scopes = || forms::list(&forms::matching(100, "^[a-z0-9_*]+:[a-z0-9_*]+$"), 100);
    let email = || json!({ "type": "string", "format": "email", "maxLength": 254 });
    let once = || forms::matching(55, "^haechi_once_[A-Za-z0-9_-]{43}$");
    let password = || json!({ "type": "string", "minLength": 15, "maxLength": 1024, "format": "password" });
    let former = || json!({ "type": "string", "maxLength": 1024, "format": "password" });
    let object = |required: &[&str], properties: Value| json!({ "type": "object", "additionalProperties": false, "required": required, "properties": properties });
    let list = |of: &str| object(&["items"], json!({ "items": forms::list(&schema(of), 1_000) }));
    let all = [
        (
            "SignUp",
            object(
                &["email", "password"],
                json!({ "email": email(), "password": password(), "invitation": once(), "profile": { "type": "object" } }),
            ),
        ),
        ("SignedUp", object(&["next"], json!({ "next": { "const": "sign-in" } }))),
        (
            "SignIn",
            object(&["email", "password"], json!({ "email": email(), "password": former(), "device": text(), "cookie": { "type": "boolean" } })),
        ),
        (
            "NewSession",
            object(
                &["session", "expire_time", "user"],
                json!({ "session": text(), "expire_time": time(), "user": text(), "token": text(), "device": text(), "csrf_token": text() }),
            ),
        ),
        ("NewPassword", object(&["new_password"], json!({ "current_password": former(), "code": once(), "new_password": password() }))),
        (
            "SetUp",
            object(
                &["code", "email", "password"],
                json!({ "code": once(), "email": email(), "password": password(), "profile": { "type": "object" } }),
            ),
        ),
        ("SetUpDone", object(&["user"], json!({ "user": text() }))),
        (
            "Me",
            object(
                &["kind", "id", "roles"],
                json!({ "kind": { "enum": ["user", "service"] }, "id": text(), "roles": names(), "email": email(), "session": text(), "auth_time": time(), "csrf_token": text() }),
            ),
        ),
        (
            "Session",
            object(
                &["id", "create_time", "seen_time", "expire_time", "address", "agent", "current"],
                json!({ "id": text(), "create_time": time(), "seen_time": time(), "expire_time": time(), "address": text(), "agent": word(), "current": { "type": "boolean" } }),
            ),
        ),
        ("SessionList", list("Session")),
        ("NewKey", object(&["label", "scopes"], json!({ "label": forms::text(100), "scopes": scopes(), "expire_time": time() }))),
        (
            "Key",
            object(
                &["id", "label", "hint", "scopes", "create_time", "expire_time"],
                json!({ "id": text(), "label": forms::text(100), "hint": text(), "scopes": scopes(), "create_time": time(), "expire_time": time(), "key": text() }),
            ),
        ),
        ("KeyList", list("Key")),
    ];
    all.into_iter().map(|(name, schema)| (format!("Auth{name}"), schema)).collect()
}
