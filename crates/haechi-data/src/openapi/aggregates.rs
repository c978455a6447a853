//! Counts, sums, extremes and means in the OpenAPI document: their paths and schemas.

use super::{paths, reference, schemas};
use crate::record::aggregate::{extreme, summable};
use haechi_model::{Collection, FieldType, forms};
use serde_json::{Map, Value, json};

/// The functions, and whether they sum up.
const FUNCTIONS: [(&str, bool); 4] = [("sum", true), ("avg", true), ("min", false), ("max", false)];
const MAX_GROUPS: u64 = 1_000;

fn fits(summing: bool) -> fn(&FieldType) -> bool {
    if summing { summable } else { extreme }
}

/// The path `/api/v1/COLLECTION:aggregate`.
pub(super) fn path(collection: &Collection) -> Value {
    let (name, one) = (&collection.name, &collection.singular);
    let parameters: Vec<Value> = ["filter", "group_by", "sum", "avg", "min", "max"].iter().map(|name| reference("parameters", name)).collect();
    let reply = || paths::reply("The results.", reference("schemas", &format!("{one}Groups")), false);
    let responses = |statuses: &[u16]| paths::with(paths::problems(statuses), "200", reply());
    json!({
        "get": {
            "operationId": format!("aggregate_{name}"), "summary": format!("Count and sum up {name}."), "description": "Computes over the records that you may read, all of them or by the values of up to two fields; a personal field can only be asked for by POST.", "tags": [name],
            "parameters": parameters, "responses": responses(&[403])
        },
        "post": {
            "operationId": format!("aggregate_{name}_by_body"), "summary": format!("Count and sum up {name}, asked in a body."), "description": "As by GET, with the question in the body: nothing of it stands in a URL.", "tags": [name],
            "requestBody": paths::json_body(reference("schemas", &format!("{one}GroupsQuery"))), "responses": responses(&[403, 413, 415])
        }
    })
}

/// The reply, and the question in a body.
pub(super) fn of(collection: &Collection, all: &mut Map<String, Value>) {
    let name = &collection.singular;
    let value = |ty: &FieldType| schemas::field_schema(ty, true);
    let fields = |wanted: &dyn Fn(&FieldType) -> bool, schema: &dyn Fn(&FieldType) -> Value| -> Map<String, Value> {
        collection.fields.iter().filter(|field| wanted(&field.ty)).map(|field| (field.name.clone(), schema(&field.ty))).collect()
    };
    let exact = json!({ "type": ["string", "null"], "maxLength": 64, "pattern": "^-?[0-9]+(\\.[0-9]+)?$", "description": "Exact." });
    let float = json!({ "type": ["number", "null"], "format": "double" });
    let sum = |ty: &FieldType| if matches!(ty, FieldType::Float { .. }) { float.clone() } else { exact.clone() };
    let object = |what: &str, properties: Map<String, Value>| json!({ "type": "object", "description": what, "properties": properties });
    let group = json!({
        "type": "object", "required": ["key", "count"], "description": "The results of one group.",
        "properties": {
            "key": object("The values that make the group.", fields(&FieldType::comparable, &value)),
            "count": { "type": "integer", "format": "int64", "minimum": 0, "maximum": i64::MAX, "description": "Its records." },
            "sum": object("Sums.", fields(&summable, &sum)),
            "avg": object("Means.", fields(&summable, &|_| float.clone())),
            "min": object("Smallest values.", fields(&extreme, &value)),
            "max": object("Largest values.", fields(&extreme, &value)),
        }
    });
    let groups = forms::list(&group, MAX_GROUPS);
    all.insert(
        format!("{name}Groups"),
        json!({ "type": "object", "required": ["groups"], "description": "Results by group, in the order of their values.", "properties": { "groups": groups } }),
    );
    let choice = |what: &str, count: u64| json!({ "description": what, "oneOf": [schemas::names(), forms::list(&forms::name(), count)] });
    let mut question = Map::from_iter([
        ("filter".to_owned(), forms::described(schemas::filter(), "A filter (AIP-160).")),
        ("group_by".to_owned(), choice("Fields whose values make groups.", 2)),
    ]);
    for (function, summing) in FUNCTIONS {
        if collection.fields.iter().any(|field| fits(summing)(&field.ty)) {
            question.insert(function.to_owned(), choice("Fields.", 16));
        }
    }
    all.insert(
        format!("{name}GroupsQuery"),
        json!({ "type": "object", "additionalProperties": false, "description": "What is computed, and over which records.", "properties": question }),
    );
}
