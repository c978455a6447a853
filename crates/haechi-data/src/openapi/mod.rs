//! OpenAPI 3.1 and TypeScript from the model: they describe exactly what is served.

mod aggregates;
mod jobs;
mod many;
mod paths;
mod schemas;

use haechi_model::App;
use serde_json::{Map, Value, json};

/// The description as JSON, with the paths and schemas of other features.
#[must_use]
pub fn describe(app: &App, base: &str, (more_paths, more_schemas): (Map<String, Value>, Map<String, Value>)) -> Vec<u8> {
    let mut all_paths = more_paths;
    let mut all_schemas = schemas::shared();
    all_schemas.extend(more_schemas);
    many::shared(&mut all_schemas);
    let mut tags = vec![
        json!({ "name": "auth", "description": "People, sessions, passwords and keys." }),
        json!({ "name": "batch", "description": "Several changes at once." }),
        json!({ "name": "health", "description": "Whether this server lives and is ready." }),
    ];
    for collection in &app.collections {
        paths::collection(app, collection, &mut all_paths);
        schemas::collection(app, collection, &mut all_schemas);
        aggregates::of(collection, &mut all_schemas);
        many::of(collection, &mut all_schemas);
        tags.push(json!({ "name": collection.name, "description": format!("The records of {}.", collection.name) }));
    }
    jobs::describe(app, &mut all_paths, &mut all_schemas);
    if !app.jobs.is_empty() {
        tags.push(json!({ "name": "jobs", "description": "Work after a request: jobs and their runs." }));
    }
    tags.sort_by_key(|tag| tag["name"].as_str().unwrap_or_default().to_owned());
    all_paths.insert("/api/v1:batch".to_owned(), paths::batch());
    all_paths.insert("/healthz".to_owned(), paths::plain("health", "Whether the process lives.", &[200]));
    all_paths.insert("/readyz".to_owned(), paths::plain("readiness", "Whether requests should be sent here.", &[200, 503]));
    paths::carry(&mut all_paths);
    // Without a public origin, the server is this host.
    let (server, environment, contact) = match base {
        "" => ("/", "local", json!({ "name": "The operators of this service" })),
        base => (base, "production", json!({ "name": "The operators of this service", "url": base })),
    };
    let document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "API", "version": "1", "summary": "The collections of this service.",
            "description": "What you see and may change is decided by policies, for each record and each field. Problems are RFC 9457; \
                            lists are paged; a change with an Idempotency-Key happens once.",
            "contact": contact,
        },
        "servers": [{ "url": server, "description": format!("This service ({environment})."), "x-internal": false }],
        "security": [{ "bearer": [] }, { "session": [] }],
        "tags": tags,
        "paths": all_paths,
        "components": {
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer", "description": "A session or an API key (RFC 6750)." },
                "session": {
                    "type": "apiKey", "in": "cookie", "name": "__Host-haechi_session",
                    "description": "The cookie of a browser's session; a change also needs the header X-CSRF-Token."
                }
            },
            "schemas": all_schemas,
            "responses": paths::responses(),
            "parameters": paths::parameters(),
            "headers": paths::headers(),
        }
    });
    document.to_string().into_bytes()
}

/// Every route: method, path and the action that policy decides.
#[must_use]
pub fn routes(app: &App) -> Vec<(&'static str, String, String)> {
    let mut routes = Vec::new();
    for collection in &app.collections {
        let name = &collection.name;
        let mut add = |method, path: String, action: &str| routes.push((method, path, format!("{action} on {name}")));
        add("GET", format!("/api/v1/{name}"), "list");
        add("POST", format!("/api/v1/{name}:query"), "list");
        add("GET", format!("/api/v1/{name}:aggregate"), "list");
        add("POST", format!("/api/v1/{name}:aggregate"), "list");
        add("POST", format!("/api/v1/{name}:change"), "list and update");
        if collection.id != haechi_model::USERS {
            add("POST", format!("/api/v1/{name}:remove"), "list and delete");
            add("POST", format!("/api/v1/{name}:upsert"), "create or update");
        }
        add("GET", format!("/api/v1/{name}:export"), "export");
        add("POST", format!("/api/v1/{name}:export"), "export");
        add("GET", format!("/api/v1/{name}:watch"), "watch");
        add("POST", format!("/api/v1/{name}:watch"), "watch");
        if collection.id != haechi_model::USERS {
            add("POST", format!("/api/v1/{name}"), "create");
        }
        add("GET", format!("/api/v1/{name}/{{id}}"), "read");
        add("PATCH", format!("/api/v1/{name}/{{id}}"), "update");
        if collection.id != haechi_model::USERS {
            add("DELETE", format!("/api/v1/{name}/{{id}}"), "delete");
        }
        for action in &collection.actions {
            add("POST", format!("/api/v1/{name}/{{id}}:{}", action.name), &action.name);
        }
    }
    routes.extend(jobs::routes(app));
    routes.push(("POST", "/api/v1:batch".to_owned(), "create, update, delete of each operation".to_owned()));
    for (path, who) in [
        ("/openapi.json", "anybody in dev, else anybody with credentials"),
        ("/problems/{slug}", "anybody"),
        ("/healthz", "anybody"),
        ("/readyz", "anybody"),
        ("/setup", "anybody; it works with the code of the first start"),
    ] {
        routes.push(("GET", path.to_owned(), who.to_owned()));
    }
    routes
}

/// A reference to a shared part.
fn reference(kind: &str, name: &str) -> Value {
    json!({ "$ref": format!("#/components/{kind}/{name}") })
}
