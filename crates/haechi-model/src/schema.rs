//! JSON Schemas of the folder's files, so that editors complete and check them.

use crate::config::{Config, secret_schema};
use serde_json::{Value, json};

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

fn section(properties: Value) -> Value {
    json!({ "type": "object", "additionalProperties": false, "properties": properties })
}

/// Schema of `haechi.toml`.
#[must_use]
pub fn config_schema() -> Value {
    let name = json!({ "type": "string", "pattern": "^[a-z][a-z0-9_]{0,47}$" });
    let mut schema = json!({
        "$schema": DIALECT, "title": "haechi.toml", "type": "object", "additionalProperties": false,
        "properties": {
            "roles": { "type": "array", "items": name, "description": "Roles that policies name as Role::\"…\"." },
            "classes": { "type": "object", "description": "Classes of fields beside public, internal, pii and secret.",
                "additionalProperties": section(json!({ "like": { "enum": ["internal", "pii", "secret"] } })) },
            "anonymous": section(json!({ "reach": { "type": "array", "items": { "type": "string", "pattern": "^[a-z][a-z0-9_]*:(list|read|create|update|delete|watch)$" }, "description": "What callers without credentials may reach." } })),
            "services": { "type": "object", "propertyNames": name, "description": "Services that jobs run as.",
                "additionalProperties": section(json!({ "roles": { "type": "array", "items": name } })) },
            "egress": { "type": "object", "propertyNames": name, "description": "Other services that jobs send requests to.",
                "additionalProperties": section(json!({
                    "url": { "type": "string", "format": "uri", "pattern": "^https?://" },
                    "networks": { "type": "array", "items": { "type": "string" } }, "bearer": secret_schema() })) },
            "master_key": secret_schema()
        }
    });
    for (title, properties) in Config::default().schemas() {
        schema["properties"][title] = properties;
    }
    schema
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
        "min": { "type": ["number", "string"] }, "max": { "type": ["number", "string"] },
        "precision": { "type": "integer", "minimum": 1, "maximum": 18 }, "scale": { "type": "integer", "minimum": 0, "maximum": 9 },
        "max_bytes": { "type": "integer", "minimum": 2 }, "of": { "enum": ["text", "email", "url", "uuid", "enum", "int", "bool", "ref"] },
        "max_items": { "type": "integer", "minimum": 1 }, "to": name, "on_delete": { "enum": ["restrict", "cascade", "set_null", "remove"] },
        "ordered": { "type": "boolean" }, "write_once": { "type": "boolean" }, "on_update": { "enum": ["now", "today", "me"] },
        "initial": { "type": "array", "items": { "type": "string" }, "minItems": 1 },
        "transitions": { "type": "object", "additionalProperties": { "type": "array", "items": { "type": "string" } } }
    });
    json!({
        "$schema": DIALECT, "title": "a collection", "type": "object", "additionalProperties": false,
        "properties": {
            "collection": { "type": "object", "additionalProperties": false, "properties": {
                "singular": { "type": "string", "pattern": "^[A-Z][A-Za-z0-9]*$" }, "owner": name, "was": name,
                "order": { "type": "string", "minLength": 1 }, "page_size": { "type": "integer", "minimum": 1, "maximum": 1000 } } },
            "fields": { "type": "object", "propertyNames": name, "additionalProperties": {
                "type": "object", "required": ["type"], "additionalProperties": false, "properties": properties } },
            "actions": { "type": "object", "propertyNames": name, "description": "Actions of one's own on a record.", "additionalProperties": {
                "type": "object", "additionalProperties": false, "properties": {
                    "input": { "type": "object", "propertyNames": name, "description": "Fields of the body.", "additionalProperties": {
                        "type": "object", "required": ["type"], "additionalProperties": false, "properties": properties } } } } },
            "groups": { "type": "object", "propertyNames": name, "description": "Groups of people that each row has.", "additionalProperties": {
                "type": "object", "required": ["through", "by"], "additionalProperties": false, "properties": {
                    "through": { "type": "string", "description": "COLLECTION.FIELD: the reference to users of the joining collection." },
                    "by": name, "where": { "type": "string", "description": "A filter: which joining rows count." }, "inherits": name } } },
            "checks": { "type": "array", "description": "What must hold of each row.", "items": { "type": "object", "required": ["that"], "additionalProperties": false, "properties": {
                "that": { "type": "string", "description": "A filter over the row's own fields; a bare word may be another field." },
                "message": { "type": "string", "minLength": 1, "maxLength": 200 } } } },
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
                "on": { "type": "string", "description": "collection, collection/row, or Work::Job/name." },
                "with": row,
                "expect": { "enum": ["allowed", "denied", "hidden"] },
                "hidden": { "type": "array", "items": { "type": "string" }, "description": "Fields that must be masked." },
                "because": { "type": "string" } } } }
        }
    })
}
