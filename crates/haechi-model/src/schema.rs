//! JSON Schemas of the folder's files, so that editors complete and check them.

use serde_json::{Value, json};

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

fn secret() -> Value {
    json!({
        "type": "object", "additionalProperties": false, "minProperties": 1, "maxProperties": 1,
        "properties": { "env": { "type": "string", "description": "Name of the environment variable that holds the secret." }, "file": { "type": "string", "description": "Path of the file that holds the secret." } }
    })
}

fn section(properties: Value) -> Value {
    json!({ "type": "object", "additionalProperties": false, "properties": properties })
}

fn bounded(min: i64, max: i64, text: &str) -> Value {
    json!({ "type": "integer", "minimum": min, "maximum": max, "description": text })
}

/// Schema of `haechi.toml`.
#[must_use]
pub fn config_schema() -> Value {
    let name = json!({ "type": "string", "pattern": "^[a-z][a-z0-9_]{0,47}$" });
    json!({
        "$schema": DIALECT, "title": "haechi.toml", "type": "object", "additionalProperties": false,
        "properties": {
            "roles": { "type": "array", "items": name, "description": "Roles that policies name as Role::\"…\"." },
            "classes": { "type": "object", "description": "Classes of fields beside public, internal, pii and secret.",
                "additionalProperties": section(json!({ "like": { "enum": ["pii", "secret"] } })) },
            "anonymous": section(json!({ "reach": { "type": "array", "items": { "type": "string", "pattern": "^[a-z][a-z0-9_]*:(list|read|create|update|delete|watch)$" }, "description": "What callers without credentials may reach." } })),
            "server": section(json!({
                "listen": { "type": "string", "description": "IP address and port, e.g. 127.0.0.1:8080." },
                "public_url": { "type": "string", "format": "uri", "description": "The origin that the world uses." },
                "cert_file": { "type": "string", "description": "PEM file of the certificate chain; TLS is served with it." },
                "key_file": { "type": "string", "description": "PEM file of the certificate's private key." },
                "ops_listen": { "type": "string", "description": "IP address and port of health, readiness and metrics." },
                "trusted_proxies": { "type": "array", "items": { "type": "string" }, "description": "Networks of proxies whose X-Forwarded-For is believed." },
                "cors_origins": { "type": "array", "items": { "type": "string", "format": "uri" }, "description": "Origins whose pages may call the API." }
            })),
            "auth": section(json!({
                "sign_up": { "enum": ["closed", "invite", "open"], "description": "Who may sign up by himself." },
                "sign_up_fields": { "type": "array", "items": name, "description": "Fields of users that somebody who signs up may set." },
                "administrator": { "type": "string", "description": "The role of the first administrator." },
                "session_idle_minutes": bounded(5, 525_600, "How long a session lives without use, in minutes."),
                "session_minutes": bounded(1, 525_600, "How long a session lives at most, in minutes."),
                "fresh_minutes": bounded(1, 1440, "How long ago the password may have been shown for what is sensitive, in minutes."),
                "sessions": bounded(1, 1000, "Sessions of one person.")
            })),
            "database": section(json!({
                "ca_file": { "type": "string", "description": "PEM file of the authorities that may sign PostgreSQL's certificate." },
                "shared_connections": bounded(1, 64, "PostgreSQL: connections that short reads share."),
                "read_connections": bounded(2, 256, "PostgreSQL: connections for reads that take long."),
                "change_connections": bounded(2, 256, "PostgreSQL: connections for changes."),
                "url": { "oneOf": [{ "type": "string", "pattern": "^(sqlite:|postgres(ql)?://)" }, secret()] }
            })),
            "master_key": secret(),
            "ledger": section(json!({
                "reads": { "enum": ["classed", "all", "none"], "description": "Which reads leave an access entry." },
                "witness": { "type": "array", "items": { "type": "string", "pattern": "^(file:|https?://|syslog:)" }, "description": "Where signed checkpoints are sent." }
            })),
            "log": section(json!({
                "requests": { "type": "boolean", "description": "Whether each request leaves a line in the log." },
                "slow_ms": bounded(0, 60_000, "From how many milliseconds on a statement of the database leaves a line; 0 for none.")
            })),
            "telemetry": section(json!({
                "traces": { "type": "string", "format": "uri", "description": "Where spans are sent (OTLP over HTTP), e.g. http://127.0.0.1:4318/v1/traces." },
                "traces_percent": bounded(1, 100, "Of a hundred requests, how many leave spans."),
                "authorization": secret()
            })),
            "graphql": graphql_section(),
            "grpc": section(json!({ "reflection": { "type": "boolean", "description": "Whether known callers may look at the services where this is served." } })),
            "live": live_section(),
            "limits": section(json!({
                "body_bytes": bounded(1024, 1 << 30, "Largest request body, in bytes."),
                "request_ms": bounded(100, 600_000, "Longest time for a reply, in milliseconds."),
                "head_ms": bounded(100, 60_000, "Longest time for a request head to arrive, in milliseconds."),
                "body_ms": bounded(100, 600_000, "Longest time for a request body to arrive, in milliseconds."),
                "connections_per_address": bounded(1, 1_000_000, "Most open connections of one address."),
                "concurrency": bounded(1, 1_000_000, "Most requests in work at once."),
                "connections": bounded(1, 1_000_000, "Most open connections."),
                "page_size": bounded(1, 1000, "Largest page of a list."),
                "anonymous_per_minute": bounded(1, 10_000_000, "Requests a minute of one network without credentials."),
                "caller_per_minute": bounded(1, 10_000_000, "Requests a minute of one caller.")
            }))
        }
    })
}

fn graphql_section() -> Value {
    section(json!({
        "introspection": { "type": "boolean", "description": "Whether known callers may look at the schema where this is served." },
        "only_known": { "type": "boolean", "description": "Whether only the documents in graphql/ are executed." },
        "tokens": bounded(100, 50_000, "Most tokens of a document."),
        "depth": bounded(1, 50, "Deepest selection."),
        "aliases": bounded(0, 1_000, "Most aliases of an operation."),
        "cost": bounded(1, 10_000_000, "Most records that an operation may ask for, by its page sizes."),
        "batch": bounded(1, 100, "Most operations of one request.")
    }))
}

fn live_section() -> Value {
    section(json!({
        "streams": bounded(1, 1_000_000, "Most open streams."),
        "streams_per_caller": bounded(1, 1_000_000, "Most open streams of one caller."),
        "keep_hours": bounded(1, 720, "How long changes are kept for streams that go on where they ended, in hours."),
        "keep_bytes": bounded(1 << 20, 1 << 40, "How many bytes of changes are kept at most.")
    }))
}

/// Schema of a file of `collections/`.
#[must_use]
pub fn collection_schema() -> Value {
    let name = json!({ "type": "string", "pattern": "^[a-z][a-z0-9_]{0,47}$" });
    let properties = json!({
        "type": { "enum": ["text", "email", "url", "uuid", "enum", "int", "int64", "decimal", "float", "bool", "datetime", "date", "json", "list", "ref"] },
        "required": { "type": "boolean" }, "unique": { "type": "boolean" },
        "default": true, "class": name, "was": name, "by": name,
        "min_length": { "type": "integer", "minimum": 0 }, "max_length": { "type": "integer", "minimum": 1 },
        "pattern": { "type": "string", "format": "regex" }, "case": { "const": "fold" },
        "values": { "type": "array", "items": { "type": "string", "minLength": 1 }, "minItems": 1, "uniqueItems": true },
        "min": { "type": "number" }, "max": { "type": "number" },
        "precision": { "type": "integer", "minimum": 1, "maximum": 18 }, "scale": { "type": "integer", "minimum": 0, "maximum": 9 },
        "max_bytes": { "type": "integer", "minimum": 2 }, "of": { "enum": ["text", "email", "url", "uuid", "enum", "int", "bool"] },
        "max_items": { "type": "integer", "minimum": 1 }, "to": name, "on_delete": { "enum": ["restrict", "cascade", "set_null"] }
    });
    json!({
        "$schema": DIALECT, "title": "a collection", "type": "object", "additionalProperties": false,
        "properties": {
            "collection": { "type": "object", "additionalProperties": false, "properties": {
                "singular": { "type": "string", "pattern": "^[A-Z][A-Za-z0-9]*$" }, "owner": name, "was": name } },
            "fields": { "type": "object", "propertyNames": name, "additionalProperties": {
                "type": "object", "required": ["type"], "additionalProperties": false, "properties": properties } },
            "actions": { "type": "object", "propertyNames": name, "description": "Actions of one's own on a record.", "additionalProperties": {
                "type": "object", "additionalProperties": false, "properties": {
                    "input": { "type": "object", "propertyNames": name, "description": "Fields of the body.", "additionalProperties": {
                        "type": "object", "required": ["type"], "additionalProperties": false, "properties": properties } } } } },
            "indexes": { "type": "array", "items": { "type": "object", "required": ["fields"], "additionalProperties": false, "properties": {
                "fields": { "type": "array", "items": name, "minItems": 1 }, "unique": { "type": "boolean" } } } }
        }
    })
}

/// Schema of a file of `policies/tests/`.
#[must_use]
pub fn policy_test_schema() -> Value {
    let row = json!({ "type": "object" });
    json!({
        "$schema": DIALECT, "title": "policy tests", "type": "object", "additionalProperties": false,
        "properties": {
            "people": { "type": "object", "description": "Name to profile: roles and fields of users.", "additionalProperties": row },
            "rows": { "type": "object", "description": "Collection to rows by name.", "additionalProperties": { "type": "object", "additionalProperties": row } },
            "case": { "type": "array", "items": { "type": "object", "required": ["as", "do", "expect"], "additionalProperties": false, "properties": {
                "as": { "type": "string", "description": "A person, or anonymous." },
                "do": { "type": "string", "description": "An action." },
                "on": { "type": "string", "description": "collection, or collection/row." },
                "with": row,
                "expect": { "enum": ["allowed", "denied", "hidden"] },
                "hidden": { "type": "array", "items": { "type": "string" }, "description": "Fields that must be masked." },
                "because": { "type": "string" } } } }
        }
    })
}
