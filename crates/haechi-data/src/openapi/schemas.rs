//! Schemas of records, of what is written, and of problems.

use super::reference;
use haechi_model::{App, Collection, Field, FieldType, forms};
use serde_json::{Map, Value, json};

/// Longest texts that this crate writes or takes, in characters.
const DETAIL: u64 = 65_536;
const POINTER: u64 = 8_192;
const FILTER: u64 = 8_192;
const TOKEN: u64 = 350_000;
/// What `limits.page_size` may be at most.
const MAX_PAGE: u64 = 1_000;

/// The parameters of a list. A field of such a name is found by `filter` alone.
pub(super) const OF_A_QUERY: [&str; 7] = ["filter", "order_by", "page_size", "page_token", "fields", "expand", "count"];

pub(super) fn filter() -> Value {
    forms::text(FILTER)
}

/// At most four fields, each with its direction.
pub(super) fn order() -> Value {
    forms::text(256)
}

/// Names, separated by commas.
pub(super) fn names() -> Value {
    forms::matching(3_000, "^[a-z_][a-z0-9_, ]*$")
}

/// References with what is shown of them.
pub(super) fn expand() -> Value {
    forms::matching(2_048, "^[a-z_][a-z0-9_, ()]*$")
}

pub(super) fn page_token() -> Value {
    forms::visible(TOKEN)
}

pub(super) fn page_size() -> Value {
    forms::integer(1, i64::from(i32::MAX))
}

pub(super) fn shared() -> Map<String, Value> {
    let mut all = Map::new();
    let code = || forms::matching(64, "^[a-z0-9_-]+$");
    let error = json!({ "type": "object", "required": ["pointer", "code", "detail"], "properties": {
        "pointer": forms::described(forms::text(POINTER), "Where in the body (RFC 6901)."),
        "code": forms::described(code(), "A stable word for what is wrong."),
        "detail": forms::described(forms::text(DETAIL), "What is wrong, in the language of the reply.") } });
    all.insert(
        "Problem".to_owned(),
        json!({
            "type": "object", "description": "A problem (RFC 9457).", "required": ["type", "title", "status", "detail", "request_id"],
            "properties": {
                "type": { "type": "string", "format": "uri-reference", "maxLength": 2048, "description": "The page of this kind of problem." },
                "title": forms::described(forms::text(200), "What kind of problem it is."),
                "status": forms::described(forms::integer(400, 599), "The status of the reply."),
                "detail": forms::described(forms::text(DETAIL), "What is wrong, and what to do."),
                "request_id": forms::described(forms::uuid(), "Names the request in the ledger and in logs."),
                "errors": forms::described(forms::list(&error, 10_000), "What is wrong with each place of the body.")
            }
        }),
    );
    let operation = json!({
        "type": "object", "additionalProperties": false, "minProperties": 2, "maxProperties": 5,
        "properties": {
            "create": forms::described(forms::name(), "Collection of the new record."),
            "update": forms::described(forms::name(), "Collection of the record to change."),
            "upsert": forms::described(forms::name(), "Collection of the record to change, or to create, by a unique key."),
            "on": forms::described(forms::list(&forms::name(), 8), "The fields of the key."),
            "delete": forms::described(forms::name(), "Collection of the record to delete."),
            "change": forms::described(forms::name(), "Collection of which all records that a filter finds are changed."),
            "remove": forms::described(forms::name(), "Collection of which all records that a filter finds are deleted."),
            "filter": forms::described(forms::text(8_192), "The filter. All filters of a batch find at most 1 000 records, and before the batch."),
            "id": forms::described(forms::visible(300), "The record's id, or $NAME.id of an earlier create."),
            "as": forms::described(forms::matching(255, "^[A-Za-z0-9_]+$"), "Name by which later operations refer to the new record."),
            "if_match": forms::described(forms::integer(1, i64::MAX), "The version that the record must have."),
            "data": { "type": "object", "description": "The fields." }
        } });
    let mut operations = forms::list(&operation, 100);
    operations["minItems"] = json!(1);
    all.insert(
        "Batch".to_owned(),
        json!({
            "type": "object", "required": ["operations"], "additionalProperties": false, "description": "Changes that happen together or not at all.",
            "properties": { "operations": operations }
        }),
    );
    let results =
        forms::list(&json!({ "type": "object", "description": "The record, or its id; for a filter, how many records and their ids." }), 100);
    all.insert(
        "BatchResult".to_owned(),
        json!({ "type": "object", "required": ["results"], "description": "A result per operation.", "properties": { "results": results } }),
    );
    all
}

/// Schemas of one collection: the record, what creates and changes it, a page, and its query.
pub(super) fn collection(app: &App, collection: &Collection, all: &mut Map<String, Value>) {
    let name = &collection.singular;
    let fields = collection.fields.len() as u64;
    let mut record = Map::new();
    for field in &collection.fields {
        record.insert(field.name.clone(), described(app, field, field_schema(&field.ty, !field.required)));
    }
    record.insert("_masked".to_owned(), forms::described(forms::list(&forms::name(), fields), "Fields that you may not read."));
    record.insert("_expanded".to_owned(), json!({ "type": "object", "description": "Records that references name, by field; of a list of references, an array of those that you may read." }));
    all.insert(
        name.clone(),
        json!({ "type": "object", "description": format!("A record of {}.", collection.name), "required": ["id"], "properties": record }),
    );
    let writable = || collection.fields.iter().enumerate().filter(|(_, field)| !field.read_only);
    let properties: Map<String, Value> =
        writable().map(|(_, field)| (field.name.clone(), described(app, field, field_schema(&field.ty, !field.required)))).collect();
    let required: Vec<&str> = writable()
        .filter(|(at, field)| field.required && field.default.is_none() && collection.owner != Some(*at))
        .map(|(_, field)| field.name.as_str())
        .collect();
    // Only the identity feature creates people.
    if collection.id != haechi_model::USERS {
        all.insert(
            format!("{name}Create"),
            json!({ "type": "object", "additionalProperties": false, "description": "A new record.", "required": required, "properties": properties.clone() }),
        );
    }
    all.insert(
        format!("{name}Update"),
        json!({ "type": "object", "additionalProperties": false, "description": "The fields that change; null takes a value away.", "properties": properties }),
    );
    let items = forms::list(&reference("schemas", name), MAX_PAGE);
    all.insert(
        format!("{name}Page"),
        json!({
            "type": "object", "required": ["items"], "description": "A page of records.",
            "properties": {
                "items": items,
                "next_page_token": forms::described(page_token(), "Where the next page begins; absent on the last one."),
                "prev_page_token": forms::described(page_token(), "The page before; absent on the first one."),
                "total_size": { "type": "integer", "format": "int64", "minimum": 0, "maximum": i64::MAX, "description": "The records of all pages, when `count` asks for it." }
            }
        }),
    );
    let choice = |what: &str| json!({ "description": what, "oneOf": [names(), forms::list(&forms::name(), fields)] });
    let mut query = json!({
        "filter": forms::described(filter(), "A filter (AIP-160)."), "order_by": forms::described(order(), "Fields with asc or desc, separated by commas."),
        "page_size": forms::described(page_size(), "Most records of the page."), "page_token": forms::described(page_token(), "Where the page before ended."),
        "fields": choice("Fields of the reply."), "count": { "type": "boolean", "description": "Whether `total_size` is wanted." },
        "expand": { "description": "References to show with their records.", "oneOf": [expand(), forms::list(&expand(), 8)] }
    });
    for field in collection.fields.iter().filter(|field| field.ty.comparable() && !OF_A_QUERY.contains(&field.name.as_str())) {
        query[&field.name] = json!({ "description": "Equality.", "oneOf": [filter(), { "type": "number" }, { "type": "boolean" }] });
    }
    all.insert(
        format!("{name}Query"),
        json!({ "type": "object", "additionalProperties": false, "description": "Which records, and what of them.", "properties": query }),
    );
}

fn described(app: &App, field: &Field, mut schema: Value) -> Value {
    let class = &app.classes[field.class].name;
    schema["description"] = json!(format!("{}; class {class}", app.in_words(&field.ty)));
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
            schema["pattern"] = match pattern {
                Some(pattern) => json!(format!("^(?:{})$", pattern.as_str())),
                None => forms::text(0)["pattern"].clone(),
            };
            schema
        }
        FieldType::Email => json!({ "type": "string", "format": "email", "maxLength": 254 }),
        FieldType::Url => json!({ "type": "string", "format": "uri", "maxLength": 2048 }),
        FieldType::Uuid | FieldType::Ref { .. } => forms::uuid(),
        FieldType::Enum { values, .. } => {
            let mut values: Vec<Value> = values.iter().map(|value| json!(value)).collect();
            if nullable {
                values.push(Value::Null);
            }
            json!({ "type": "string", "enum": values })
        }
        FieldType::Int { min, max } => forms::integer(*min, *max),
        FieldType::Int64 { .. } => forms::matching(20, "^-?[0-9]{1,19}$"),
        FieldType::Decimal { scale, precision, .. } => {
            let pattern = format!("^-?[0-9]{{1,{}}}(\\.[0-9]{{1,{}}})?$", (precision - scale).max(1), (*scale).max(1));
            // A sign, a point, and a zero before it.
            forms::matching(u64::from(*precision) + 3, &pattern)
        }
        FieldType::Float { min, max } => json!({ "type": "number", "format": "double", "minimum": min, "maximum": max }),
        FieldType::Bool => json!({ "type": "boolean" }),
        FieldType::Datetime(_) => forms::time(),
        FieldType::Date(_) => json!({ "type": "string", "format": "date", "maxLength": 10 }),
        FieldType::Json { .. } => return json!({}),
        // A set. Ids that stand twice are taken as one, so what is sent need not be unique.
        FieldType::List { of, max_items } => json!({ "type": "array", "maxItems": max_items, "items": field_schema(of, false) }),
    };
    if nullable {
        schema["type"] = json!([schema["type"].clone(), "null"]);
    }
    schema
}
