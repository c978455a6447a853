//! Schemas of records, of what is written, and of problems.

use super::reference;
use haechi_model::{App, Collection, Field, FieldType};
use serde_json::{Map, Value, json};

pub(super) fn shared() -> Map<String, Value> {
    let mut all = Map::new();
    all.insert(
        "Problem".to_owned(),
        json!({
            "type": "object", "required": ["type", "title", "status", "detail", "request_id"],
            "properties": {
                "type": { "type": "string", "format": "uri-reference" }, "title": { "type": "string" }, "status": { "type": "integer" },
                "detail": { "type": "string" }, "request_id": { "type": "string" },
                "errors": { "type": "array", "items": { "type": "object", "required": ["pointer", "code", "detail"], "properties": {
                    "pointer": { "type": "string" }, "code": { "type": "string" }, "detail": { "type": "string" } } } }
            }
        }),
    );
    all.insert(
        "Batch".to_owned(),
        json!({
            "type": "object", "required": ["operations"], "additionalProperties": false,
            "properties": { "operations": { "type": "array", "minItems": 1, "maxItems": 100, "items": {
                "type": "object", "additionalProperties": false, "minProperties": 1,
                "properties": {
                    "create": { "type": "string", "description": "Collection of the new record." },
                    "update": { "type": "string", "description": "Collection of the record to change." },
                    "delete": { "type": "string", "description": "Collection of the record to delete." },
                    "id": { "type": "string", "description": "The record's id, or $NAME.id of an earlier create." },
                    "as": { "type": "string", "pattern": "^[A-Za-z0-9_]+$", "description": "Name by which later operations refer to the new record." },
                    "if_match": { "type": "integer", "description": "The version that the record must have." },
                    "data": { "type": "object" }
                } } } }
        }),
    );
    all.insert(
        "BatchResult".to_owned(),
        json!({ "type": "object", "required": ["results"], "properties": { "results": { "type": "array", "items": { "type": "object" } } } }),
    );
    all
}

/// Schemas of one collection: the record, what creates and changes it, a page, and its query.
pub(super) fn collection(app: &App, collection: &Collection, all: &mut Map<String, Value>) {
    let name = &collection.singular;
    let mut record = Map::new();
    for field in &collection.fields {
        record.insert(field.name.clone(), described(app, field, field_schema(&field.ty, !field.required)));
    }
    record.insert("_masked".to_owned(), json!({ "type": "array", "items": { "type": "string" }, "description": "Fields that you may not read." }));
    record.insert("_expanded".to_owned(), json!({ "type": "object", "description": "Records that references name, by field." }));
    all.insert(name.clone(), json!({ "type": "object", "required": ["id"], "properties": record }));
    let writable = || collection.fields.iter().enumerate().filter(|(_, field)| !field.read_only);
    let properties: Map<String, Value> =
        writable().map(|(_, field)| (field.name.clone(), described(app, field, field_schema(&field.ty, !field.required)))).collect();
    let required: Vec<&str> = writable()
        .filter(|(at, field)| field.required && field.default.is_none() && collection.owner != Some(*at))
        .map(|(_, field)| field.name.as_str())
        .collect();
    all.insert(
        format!("{name}Create"),
        json!({ "type": "object", "additionalProperties": false, "required": required, "properties": properties.clone() }),
    );
    all.insert(format!("{name}Update"), json!({ "type": "object", "additionalProperties": false, "properties": properties }));
    all.insert(
        format!("{name}Page"),
        json!({ "type": "object", "required": ["items"], "properties": { "items": { "type": "array", "items": reference("schemas", name) }, "next_page_token": { "type": "string" } } }),
    );
    let mut query = json!({
        "filter": { "type": "string", "description": "AIP-160." }, "order_by": { "type": "string", "description": "Fields with asc or desc, separated by commas." },
        "page_size": { "type": "integer", "minimum": 1 }, "page_token": { "type": "string" },
        "fields": { "oneOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] },
        "expand": { "oneOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] }
    });
    for field in collection.fields.iter().filter(|field| field.ty.comparable()) {
        query[&field.name] = json!({ "type": ["string", "number", "boolean"], "description": "Equality." });
    }
    all.insert(format!("{name}Query"), json!({ "type": "object", "additionalProperties": false, "properties": query }));
}

fn described(app: &App, field: &Field, mut schema: Value) -> Value {
    let class = &app.classes[field.class].name;
    schema["description"] = json!(format!("class {class}"));
    if field.read_only {
        schema["readOnly"] = json!(true);
    }
    schema
}

/// The schema of a value as it stands in JSON.
pub(super) fn field_schema(ty: &FieldType, nullable: bool) -> Value {
    let mut schema = match ty {
        FieldType::Text { min_length, max_length, pattern, .. } => {
            let mut schema = json!({ "type": "string", "minLength": min_length, "maxLength": max_length });
            if let Some(pattern) = pattern {
                schema["pattern"] = json!(format!("^(?:{})$", pattern.as_str()));
            }
            schema
        }
        FieldType::Email => json!({ "type": "string", "format": "email", "maxLength": 254 }),
        FieldType::Url => json!({ "type": "string", "format": "uri", "maxLength": 2048 }),
        FieldType::Uuid | FieldType::Ref { .. } => json!({ "type": "string", "format": "uuid" }),
        FieldType::Enum { values } => {
            let mut values: Vec<Value> = values.iter().map(|value| json!(value)).collect();
            if nullable {
                values.push(Value::Null);
            }
            json!({ "type": "string", "enum": values })
        }
        FieldType::Int { min, max } => {
            json!({ "type": "integer", "minimum": (*min).max(-9_007_199_254_740_991), "maximum": (*max).min(9_007_199_254_740_991) })
        }
        FieldType::Int64 { .. } => json!({ "type": "string", "pattern": "^-?[0-9]{1,19}$" }),
        FieldType::Decimal { scale, precision } => {
            json!({ "type": "string", "pattern": format!("^-?[0-9]{{1,{}}}(\\.[0-9]{{1,{}}})?$", (precision - scale).max(1), (*scale).max(1)) })
        }
        FieldType::Float { .. } => json!({ "type": "number" }),
        FieldType::Bool => json!({ "type": "boolean" }),
        FieldType::Datetime => json!({ "type": "string", "format": "date-time" }),
        FieldType::Date => json!({ "type": "string", "format": "date" }),
        FieldType::Json { .. } => return json!({}),
        FieldType::List { of, max_items } => json!({ "type": "array", "maxItems": max_items, "items": field_schema(of, false) }),
    };
    if nullable {
        schema["type"] = json!([schema["type"].clone(), "null"]);
    }
    schema
}
