//! T-door: every caller asks for everything through every door, and each door says the same.
//!
//! Callers, records and questions are made from the folder's own model and policies' roles; nothing here knows the app.

mod filters;
mod folder;
pub(crate) mod live;
mod values;

use self::filters::{Filter, filters};
use crate::{fixture, grpc::Client};
use haechi_gate::ImportRow;
use haechi_model::{App, Collection, CollectionId, FieldType, Json, USERS, Value as Stored, pascal, snake};
use haechi_testkit::{Backend, Person, TestApp, on_both};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

on_both!(the_fixture_has_one_gate, the_team_has_one_gate);

/// What a door said: how it ended, and the records that it showed.
#[derive(Clone, Debug, PartialEq)]
struct Outcome {
    class: String,
    records: Vec<BTreeMap<String, Value>>,
    /// Fields that were refused, with their codes.
    fields: Vec<(String, String)>,
    /// How many records a list has in all.
    total: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Door {
    Rest,
    /// `:query`, and a batch of one.
    RestBody,
    Graphql,
    Grpc,
    GrpcBatch,
}

const DOORS: [Door; 5] = [Door::Rest, Door::RestBody, Door::Graphql, Door::Grpc, Door::GrpcBatch];

/// A question about a collection.
#[derive(Clone, Debug)]
enum Question {
    Get(String),
    List {
        filter: Option<Filter>,
        order: Option<String>,
    },
    Create(Map<String, Value>),
    Update(String, Map<String, Value>),
    Delete(String),
    /// The record that a filter finds, by its id: changed, or deleted.
    Many(String, Option<Map<String, Value>>),
    /// By the unique key of these fields.
    Upsert(Vec<String>, Map<String, Value>),
    /// How many records share each value of a field, and the largest value of another one.
    Groups(String, Option<String>),
}

struct World<'a> {
    app: &'a TestApp,
    client: Client,
}

impl World<'_> {
    fn collection(&self, id: CollectionId) -> Collection {
        self.app.house.gate.revision().app.collections[id].clone()
    }

    async fn ask(&self, door: Door, person: &Person, id: CollectionId, question: &Question) -> Option<Outcome> {
        let collection = self.collection(id);
        let mut outcome = None;
        // Where the machine has too much to do, entries wait for too long: then nothing was done, and the same is asked again.
        for _ in 0..20 {
            outcome = match door {
                Door::Rest => self.rest(person, &collection, question).await,
                Door::RestBody => self.rest_body(person, &collection, question).await,
                Door::Graphql => self.graphql(person, &collection, question).await,
                Door::Grpc => self.grpc(person, &collection, question).await,
                Door::GrpcBatch => self.grpc_batch(person, &collection, question).await,
            };
            if outcome.as_ref().is_none_or(|outcome| outcome.class != "busy") {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(250)).await;
        }
        outcome.map(|mut outcome| {
            outcome.fields.sort();
            // A message does not write a zero.
            if outcome.class == "ok" && matches!(question, Question::List { .. }) {
                outcome.total = outcome.total.or((door == Door::Grpc).then_some(0));
            }
            outcome
        })
    }

    async fn rest(&self, person: &Person, collection: &Collection, question: &Question) -> Option<Outcome> {
        let path = format!("/api/v1/{}", collection.name);
        let reply = match question {
            Question::Get(id) => person.get(&format!("{path}/{id}")).await,
            // What is personal may not stand in a URL: then the other door of REST asks.
            Question::List { filter: None, order: None } => person.get(&format!("{path}?page_size=200&count=true")).await,
            Question::List { .. } | Question::Groups(..) => return None,
            Question::Create(fields) => person.post(&path, Value::Object(fields.clone())).await,
            Question::Update(id, fields) => person.patch(&format!("{path}/{id}"), Value::Object(fields.clone())).await,
            Question::Delete(id) => person.delete(&format!("{path}/{id}")).await,
            Question::Many(id, fields) => {
                let (verb, filter) = (if fields.is_some() { "change" } else { "remove" }, format!("id = \"{id}\""));
                let body = match fields {
                    Some(fields) => json!({ "filter": filter, "data": fields }),
                    None => json!({ "filter": filter }),
                };
                return Some(counted(of_rest(&person.post(&format!("{path}:{verb}"), body.clone()).await, "/data"), "/filter"));
            }
            Question::Upsert(on, fields) => {
                let reply = person.post(&format!("{path}:upsert"), json!({ "on": on, "data": fields })).await;
                return Some(of_rest(&reply, "/data"));
            }
        };
        Some(of_rest(&reply, ""))
    }

    async fn rest_body(&self, person: &Person, collection: &Collection, question: &Question) -> Option<Outcome> {
        let name = &collection.name;
        let operation = match question {
            Question::Get(_) => return None,
            Question::Groups(by, of) => {
                let mut body = json!({ "group_by": [by] });
                if let Some(of) = of {
                    body["max"] = json!([of]);
                }
                let reply = person.post(&format!("/api/v1/{name}:aggregate"), body).await;
                let groups = if reply.status == 200 { reply.json()["groups"].as_array().cloned().unwrap_or_default() } else { Vec::new() };
                return Some(Outcome { records: groups.iter().map(|group| grouped(group, &plain)).collect(), ..of_rest(&reply, "") });
            }
            Question::List { filter, order } => {
                let mut body = json!({ "page_size": 200, "count": true });
                if let Some(filter) = filter {
                    body["filter"] = json!(filter.text(collection));
                }
                if let Some(order) = order {
                    body["order_by"] = json!(order);
                }
                return Some(of_rest(&person.post(&format!("/api/v1/{name}:query"), body).await, ""));
            }
            Question::Create(fields) => json!({ "create": name, "data": fields }),
            Question::Update(id, fields) => json!({ "update": name, "id": id, "data": fields }),
            Question::Delete(id) => json!({ "delete": name, "id": id }),
            Question::Many(id, fields) => {
                let filter = format!("id = \"{id}\"");
                let operation = match fields {
                    Some(fields) => json!({ "change": name, "filter": filter, "data": fields }),
                    None => json!({ "remove": name, "filter": filter }),
                };
                let reply = person.post("/api/v1:batch", json!({ "operations": [operation] })).await;
                return Some(counted(of_rest(&reply, "/operations/0/data"), "/operations/0/filter"));
            }
            Question::Upsert(on, fields) => json!({ "upsert": name, "on": on, "data": fields }),
        };
        Some(of_rest(&person.post("/api/v1:batch", json!({ "operations": [operation] })).await, "/operations/0/data"))
    }

    async fn graphql(&self, person: &Person, collection: &Collection, question: &Question) -> Option<Outcome> {
        let (singular, name) = (&collection.singular, &collection.name);
        let single = snake(singular);
        let shown: Vec<String> = collection.fields.iter().map(member).collect();
        let shown = format!("{} _masked", shown.join(" "));
        let (query, variables, root) = match question {
            Question::Get(id) => {
                let root = if single == *name { format!("{single}_by_id") } else { single.clone() };
                (format!("query($id: ID!) {{ r: {root}(id: $id) {{ {shown} }} }}"), json!({ "id": id }), "one")
            }
            Question::List { filter, order } => {
                let filter = filter.as_ref().map(|filter| filter.object(collection));
                let order: Vec<Value> = order.iter().map(|field| json!({ "field": field })).collect();
                let query = format!(
                    "query($filter: {singular}Filter, $order: [{singular}Order!]) {{ r: {name}(first: 200, filter: $filter, order_by: $order) {{ total_size nodes {{ {shown} }} }} }}"
                );
                (query, json!({ "filter": filter, "order": order }), "many")
            }
            Question::Groups(by, of) => {
                let key = member(&collection.fields[collection.field(by).unwrap()]);
                let max = of.as_ref().map_or_else(String::new, |of| format!("max {{ {of} }}"));
                (format!("{{ r: {name}_aggregate {{ nodes: groups(by: [{by}]) {{ key {{ {key} }} count {max} }} }} }}"), json!({}), "groups")
            }
            Question::Create(fields) => {
                let query = format!(
                    "mutation($input: {singular}CreateInput!) {{ r: create_{single}(input: $input) {{ id record: {single} {{ {shown} }} errors {{ pointer code }} }} }}"
                );
                (query, json!({ "input": fields }), "made")
            }
            Question::Update(id, fields) => {
                let query = format!(
                    "mutation($id: ID!, $input: {singular}UpdateInput!) {{ r: update_{single}(id: $id, input: $input) {{ id record: {single} {{ {shown} }} errors {{ pointer code }} }} }}"
                );
                (query, json!({ "id": id, "input": fields }), "made")
            }
            Question::Upsert(on, fields) => {
                let query = format!(
                    "mutation($on: [{singular}KeyField!]!, $input: {singular}CreateInput!) {{ r: upsert_{single}(on: $on, input: $input) {{ id record: {single} {{ {shown} }} errors {{ pointer code }} }} }}"
                );
                (query, json!({ "on": on, "input": fields }), "made")
            }
            Question::Many(id, fields) => {
                let (of, given) = match fields {
                    Some(_) => ("change", format!("$input: {singular}UpdateInput!, ")),
                    None => ("remove", String::new()),
                };
                let input = if fields.is_some() { "input: $input, " } else { "" };
                let query = format!(
                    "mutation({given}$id: ID!) {{ r: {of}_{name}({input}filter: {{ id: {{ eq: $id }} }}) {{ id: count errors {{ pointer code }} }} }}"
                );
                (query, json!({ "id": id, "input": fields }), "many made")
            }
            Question::Delete(id) => {
                (format!("mutation($id: ID!) {{ r: delete_{single}(id: $id) {{ id errors {{ pointer code }} }} }}"), json!({ "id": id }), "gone")
            }
        };
        let reply = person.post("/graphql", json!({ "query": query, "variables": variables })).await.json();
        let outcome = of_graphql(&reply, root);
        Some(if matches!(question, Question::Many(..)) { counted(outcome, "filter") } else { outcome })
    }

    async fn grpc(&self, person: &Person, collection: &Collection, question: &Question) -> Option<Outcome> {
        let (singular, many) = (&collection.singular, pascal(&collection.name));
        let single = snake(singular);
        let (method, request) = match question {
            Question::Get(id) => (format!("Get{singular}"), json!({ "id": id })),
            Question::List { filter, order } => {
                let filter = filter.as_ref().map(|filter| filter.text(collection)).unwrap_or_default();
                (format!("List{many}"), json!({ "page_size": 200, "count": true, "filter": filter, "order_by": order.clone().unwrap_or_default() }))
            }
            Question::Groups(by, of) => {
                let max: Vec<&String> = of.iter().collect();
                let answer = self.client.call(person, &format!("Aggregate{many}"), json!({ "group_by": [by], "max": max })).await;
                let groups = answer.as_ref().ok().and_then(|answer| answer["groups"].as_array().cloned()).unwrap_or_default();
                let records = groups.iter().map(|group| grouped(group, &|record| from_proto(collection, record))).collect();
                return Some(Outcome { records, ..of_grpc(answer, collection, "") });
            }
            Question::Create(fields) => (format!("Create{singular}"), json!({ &single: to_proto(collection, fields) })),
            Question::Update(id, fields) => {
                let mut record = to_proto(collection, fields);
                record.insert("id".to_owned(), json!(id));
                let mask = mask(fields);
                (format!("Update{singular}"), json!({ &single: record, "update_mask": mask }))
            }
            Question::Delete(id) => (format!("Delete{singular}"), json!({ "id": id })),
            Question::Many(id, fields) => {
                let filter = format!("id = \"{id}\"");
                let (method, request) = match fields {
                    Some(fields) => {
                        let record = to_proto(collection, fields);
                        (format!("Change{many}"), json!({ "filter": filter, &single: record, "update_mask": mask(fields) }))
                    }
                    None => (format!("Remove{many}"), json!({ "filter": filter })),
                };
                return Some(counted(of_grpc(self.client.call(person, &method, request).await, collection, ""), "filter"));
            }
            Question::Upsert(on, fields) => (format!("Upsert{singular}"), json!({ &single: to_proto(collection, fields), "on": on })),
        };
        Some(of_grpc(self.client.call(person, &method, request).await, collection, ""))
    }

    async fn grpc_batch(&self, person: &Person, collection: &Collection, question: &Question) -> Option<Outcome> {
        let many = pascal(&collection.name);
        let single = snake(&collection.singular);
        let (method, request) = match question {
            Question::List { .. } | Question::Upsert(..) | Question::Groups(..) | Question::Many(..) => return None,
            Question::Get(id) => (format!("BatchGet{many}"), json!({ "ids": [id] })),
            Question::Create(fields) => (format!("BatchCreate{many}"), json!({ "requests": [{ &single: to_proto(collection, fields) }] })),
            Question::Update(id, fields) => {
                let mut record = to_proto(collection, fields);
                record.insert("id".to_owned(), json!(id));
                let mask = mask(fields);
                (format!("BatchUpdate{many}"), json!({ "requests": [{ &single: record, "update_mask": mask }] }))
            }
            Question::Delete(id) => (format!("BatchDelete{many}"), json!({ "requests": [{ "id": id }] })),
        };
        Some(of_grpc(self.client.call(person, &method, request).await, collection, "operations.0.data."))
    }
}

/// A field mask as JSON has it.
fn mask(fields: &Map<String, Value>) -> String {
    let camel = |name: &String| {
        let name = pascal(name);
        name[..1].to_lowercase() + &name[1..]
    };
    fields.keys().map(camel).collect::<Vec<_>>().join(",")
}

fn member(field: &haechi_model::Field) -> String {
    match (field.ty.refers(), field.ty.lists()) {
        (_, Some(_)) => format!("{0}: {0}_ids", field.name),
        (Some(_), None) => format!("{0}: {0}_id", field.name),
        _ => field.name.clone(),
    }
}

fn of_rest(reply: &haechi_testkit::Reply, base: &str) -> Outcome {
    let body = if reply.bytes.is_empty() { Value::Null } else { reply.json() };
    if reply.status >= 400 {
        let field = |error: &Value| {
            let pointer = error["pointer"].as_str().unwrap_or_default();
            let field = pointer.strip_prefix(base).unwrap_or(pointer).trim_start_matches('/').to_owned();
            (field, error["code"].as_str().unwrap_or_default().to_owned())
        };
        let fields = body["errors"]
            .as_array()
            .into_iter()
            .flatten()
            .map(field)
            .filter(|(field, _)| !field.is_empty() && !field.contains("operations"))
            .collect();
        return Outcome { class: reply.problem(), records: Vec::new(), fields, total: None };
    }
    let total = body["total_size"].as_i64();
    let records = match (&body["items"], &body["results"]) {
        (Value::Array(items), _) => items.clone(),
        (_, Value::Array(results)) => results.clone(),
        _ => vec![body],
    };
    let records = records.into_iter().filter(|record| record.get("id").is_some() && record.get("_deleted").is_none());
    Outcome { class: "ok".to_owned(), records: records.map(|record| plain(&record)).collect(), fields: Vec::new(), total }
}

fn plain(record: &Value) -> BTreeMap<String, Value> {
    let mut masked: Vec<Value> = record["_masked"].as_array().cloned().unwrap_or_default();
    masked.sort_by_key(ToString::to_string);
    let fields = record.as_object().unwrap().iter().filter(|(name, value)| !name.starts_with('_') && !value.is_null() && **value != json!([]));
    fields.map(|(name, value)| (name.clone(), value.clone())).chain([("_masked".to_owned(), Value::Array(masked))]).collect()
}

/// What became of a change by filter: without the record that is named as the reason, and without what the doors show of it.
fn counted(outcome: Outcome, filter: &str) -> Outcome {
    let fields = outcome.fields.into_iter().filter(|(field, _)| field.trim_start_matches('/') != filter.trim_start_matches('/')).collect();
    Outcome { records: Vec::new(), fields, total: None, ..outcome }
}

/// A group as a record: its key, how many it has, and its largest value.
fn grouped(group: &Value, plain: &dyn Fn(&Value) -> BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    let mut record = BTreeMap::from_iter([("count".to_owned(), group["count"].clone())]);
    for part in ["key", "max"] {
        let fields = group.get(part).map(plain).unwrap_or_default();
        record.extend(fields.into_iter().filter(|(name, _)| name != "_masked").map(|(name, value)| (format!("{part}.{name}"), value)));
    }
    record
}

fn of_graphql(reply: &Value, root: &str) -> Outcome {
    let found = &reply["data"]["r"];
    if let Some(error) = reply["errors"].get(0) {
        let extensions = &error["extensions"];
        let field =
            |error: &Value| (error["pointer"].as_str().unwrap().trim_start_matches('/').to_owned(), error["code"].as_str().unwrap().to_owned());
        let fields = extensions["errors"].as_array().into_iter().flatten().map(field).collect();
        return Outcome { class: extensions["code"].as_str().unwrap_or_default().to_owned(), records: Vec::new(), fields, total: None };
    }
    let records = match root {
        "one" if found.is_null() => return Outcome { class: "not-found".to_owned(), records: Vec::new(), fields: Vec::new(), total: None },
        "one" => vec![found.clone()],
        "many" => found["nodes"].as_array().unwrap().clone(),
        "groups" => {
            let records = found["nodes"].as_array().unwrap().iter().map(|group| grouped(group, &plain)).collect();
            return Outcome { class: "ok".to_owned(), records, fields: Vec::new(), total: None };
        }
        _ => {
            let errors = found["errors"].as_array().unwrap();
            if !errors.is_empty() {
                let field = |error: &Value| {
                    (error["pointer"].as_str().unwrap().trim_start_matches('/').to_owned(), error["code"].as_str().unwrap().to_owned())
                };
                let fields: Vec<(String, String)> = errors.iter().map(field).collect();
                let class = if fields.iter().all(|(_, code)| code == "not_unique") { "not-unique" } else { "invalid-fields" };
                return Outcome { class: class.to_owned(), records: Vec::new(), fields, total: None };
            }
            match (root, &found["record"]) {
                ("gone", _) => Vec::new(),
                (_, Value::Null) => vec![json!({ "id": found["id"] })],
                (_, record) => vec![record.clone()],
            }
        }
    };
    Outcome { class: "ok".to_owned(), records: records.iter().map(plain).collect(), fields: Vec::new(), total: found["total_size"].as_i64() }
}

fn of_grpc(answer: Result<Value, crate::grpc::Refused>, collection: &Collection, base: &str) -> Outcome {
    match answer {
        Err(refused) => {
            let field = |(field, code): (String, String)| (field.strip_prefix(base).unwrap_or(&field).to_owned(), code);
            let fields = refused.fields.into_iter().map(field).filter(|(field, _)| !field.is_empty() && !field.contains("operations")).collect();
            Outcome { class: refused.reason, records: Vec::new(), fields, total: None }
        }
        Ok(message) => {
            let records = match message.get(&collection.name) {
                Some(Value::Array(rows)) => rows.clone(),
                _ if message.get("id").is_some() => vec![message.clone()],
                _ => Vec::new(),
            };
            let total = message.get("total_size").and_then(Value::as_i64);
            let records = records.iter().map(|record| from_proto(collection, record)).collect();
            Outcome { class: "ok".to_owned(), records, fields: Vec::new(), total }
        }
    }
}

/// What a body of JSON says, as a message says it.
fn to_proto(collection: &Collection, fields: &Map<String, Value>) -> Map<String, Value> {
    let mut out = Map::new();
    for (name, value) in fields {
        let ty = collection.field(name).map(|at| &collection.fields[at].ty);
        let value = match ty {
            Some(FieldType::Json { .. }) => json!(value.to_string()),
            _ => value.clone(),
        };
        out.insert(name.clone(), value);
    }
    out
}

/// A message, as JSON says it.
fn from_proto(collection: &Collection, record: &Value) -> BTreeMap<String, Value> {
    let mut plain: BTreeMap<String, Value> = BTreeMap::new();
    let mut masked: Vec<Value> = record["masked_fields"].as_array().cloned().unwrap_or_default();
    masked.sort_by_key(ToString::to_string);
    for (name, value) in record.as_object().unwrap().iter().filter(|(name, value)| *name != "masked_fields" && **value != json!([])) {
        let ty = collection.field(name).map(|at| &collection.fields[at].ty);
        let value = match (ty, value) {
            (Some(FieldType::Int64 { .. }), value) => json!(value.as_i64().unwrap().to_string()),
            (Some(FieldType::Json { .. }), Value::String(text)) => serde_json::from_str(text).unwrap(),
            (Some(FieldType::Datetime(_)), Value::String(text)) => json!(in_ms(text)),
            (_, value) => value.clone(),
        };
        plain.insert(name.clone(), value);
    }
    plain.insert("_masked".to_owned(), Value::Array(masked));
    plain
}

/// A timestamp of protobuf with the three digits that ours always have.
fn in_ms(text: &str) -> String {
    let (head, tail) = text.trim_end_matches('Z').split_once('.').unwrap_or((text.trim_end_matches('Z'), ""));
    format!("{head}.{tail:0<3}Z")
}

/// A value of a field; `seed` makes them differ.
fn value(ty: &FieldType, seed: usize) -> Option<Value> {
    Some(match ty {
        FieldType::Text { max_length, .. } => json!(["open", "shared", "b", "c"][seed % 4].chars().take(*max_length as usize).collect::<String>()),
        FieldType::Email => json!(format!("p{seed}@example.test")),
        FieldType::Url => json!(format!("https://example.com/{seed}")),
        FieldType::Uuid => json!(format!("01920000-0000-7000-8000-00000000{seed:04x}")),
        FieldType::Enum { values, .. } => json!(values[seed % values.len()]),
        FieldType::Int { min, max } => json!((seed as i64 * 4).clamp(*min, *max)),
        FieldType::Int64 { .. } => json!(seed.to_string()),
        FieldType::Decimal { .. } => json!("1.5"),
        FieldType::Float { .. } => json!(0.5),
        FieldType::Bool => json!(seed.is_multiple_of(2)),
        FieldType::Datetime(_) => json!(haechi_model::format_datetime(1_709_208_000_250 + seed as i64 * 60_000)),
        FieldType::Date(_) => json!("2024-02-29"),
        FieldType::Json { .. } => json!({ "a": seed }),
        FieldType::List { of, .. } => json!([value(of, seed)?]),
        FieldType::Ref { .. } => return None,
    })
}

/// The fields of a record that can be written. Texts with a pattern are left out, and what must be unique differs.
fn fields(collection: &Collection, seed: usize, ids: &[Vec<String>]) -> Map<String, Value> {
    let mut out = Map::new();
    for (_, field) in collection.declared().filter(|(_, field)| !field.read_only) {
        let found = match &field.ty {
            // One record of each may refer to it: none does.
            FieldType::Ref { .. } if field.unique => None,
            FieldType::Ref { to, .. } => ids[*to].get(seed % ids[*to].len().max(1)).map(|id| json!(id)),
            ty if ty.lists().is_some() => {
                let of = &ids[ty.lists().unwrap().0];
                (!of.is_empty()).then(|| json!([of[seed % of.len()], of[(seed + 2) % of.len()]]))
            }
            FieldType::Text { pattern: Some(pattern), .. } => {
                let guesses = [
                    format!("{:03}-{:02}-{:04}", seed % 1000, seed % 100, seed),
                    format!("A{:03}", seed % 1000),
                    format!("P-{:06}", seed),
                    format!("{seed:06}"),
                ];
                guesses.into_iter().find(|guess| pattern.matches(guess)).map(|guess| json!(guess))
            }
            FieldType::Text { .. } if field.unique => Some(json!(format!("u{seed}"))),
            FieldType::Email if field.unique => Some(json!(format!("u{seed}@example.test"))),
            ty => value(ty, seed),
        };
        out.extend(found.map(|found| (field.name.clone(), found)));
    }
    out
}

/// Whether everything is there that a record must have.
fn whole(collection: &Collection, fields: &Map<String, Value>) -> bool {
    collection.declared().all(|(_, field)| !field.required || field.default.is_some() || fields.contains_key(&field.name))
}

/// Puts a record into the house, past all policies; its id.
async fn import(app: &TestApp, collection: &Collection, fields: &Map<String, Value>, number: usize) -> String {
    let id = format!("0192aaaa-0000-7000-8000-{number:012x}");
    let Json::Object(members) = haechi_model::parse_json(Value::Object(fields.clone()).to_string().as_bytes()).unwrap() else { panic!("no object") };
    let value = |(name, json): &(Box<str>, Json)| {
        let at = collection.field(name).unwrap();
        (at, collection.fields[at].ty.read(json).unwrap_or(Stored::Null))
    };
    let row = ImportRow { line: 1, id: Some(id.clone().into()), values: members.iter().map(value).collect() };
    app.house.gate.import(&app.house.keys.import, collection.id, vec![row]).await.unwrap_or_else(|errors| panic!("{}: {errors:?}", collection.name));
    id
}

/// Somebody with the profile that the folder wants.
async fn person(app: &TestApp, name: &str, roles: &[&str], seed: usize) -> Person {
    let users = app.house.gate.revision().app.collections[USERS].clone();
    let mut profile = fields(&users, seed, &vec![Vec::new(); app.house.gate.revision().app.collections.len()]);
    for (_, field) in users.declared().filter(|(_, field)| field.unique) {
        profile.remove(&field.name);
    }
    let text = Value::Object(profile).to_string();
    app.person_with(name, roles, &text[1..text.len() - 1]).await
}

/// Asks everything through every door; each difference in words.
pub(crate) async fn differences(app: &TestApp) -> Vec<String> {
    let world = World { app, client: Client::new(app) };
    let revision = app.house.gate.revision();
    let mut people: Vec<(String, Person)> =
        vec![("anonymous".to_owned(), app.anonymous()), ("nobody".to_owned(), person(app, "nobody", &[], 0).await)];
    for role in &revision.app.roles {
        for number in 0..2 {
            people.push((format!("{role}{number}"), person(app, &format!("{role}{number}"), &[role], number).await));
        }
    }
    let mut ids: Vec<Vec<String>> = vec![Vec::new(); revision.app.collections.len()];
    ids[USERS] = people.iter().skip(1).map(|(_, person)| person.id.clone()).collect();
    let mut number = 0;
    // Twice, so that references within and between collections find something.
    for _ in 0..2 {
        for collection in revision.app.collections.iter().filter(|collection| collection.id != USERS) {
            for _ in 0..4 {
                number += 1;
                let fields = fields(collection, number, &ids);
                if whole(collection, &fields) {
                    let id = import(app, collection, &fields, number).await;
                    ids[collection.id].push(id);
                }
            }
        }
    }
    let mut found = Vec::new();
    for collection in &revision.app.collections {
        for (who, person) in &people {
            for question in reads(&revision.app, collection, &ids) {
                compare(&world, collection, who, person, &question, &mut found).await;
            }
            if collection.id == USERS {
                continue;
            }
            for seed in 0..4 {
                writes(&world, collection, who, person, (&ids, &mut number, seed), &mut found).await;
            }
        }
    }
    unseen(&world, &ids, &mut found).await;
    found
}

/// What is shown is recorded alike: for each role somebody for each door, who reads everything through it.
async fn unseen(world: &World<'_>, ids: &[Vec<String>], found: &mut Vec<String>) {
    let revision = world.app.house.gate.revision();
    let doors = [Door::Rest, Door::Graphql, Door::Grpc];
    let mut people = Vec::new();
    for role in &revision.app.roles {
        for door in doors {
            people.push((role, door, person(world.app, &format!("{role}-{door:?}").to_lowercase(), &[role], 0).await));
        }
    }
    for (_, door, person) in &people {
        for collection in &revision.app.collections {
            let list = Question::List { filter: None, order: None };
            let through = filters(&revision.app, collection).into_iter().filter(|filter| !filter.through.is_empty());
            let through = through.map(|filter| Question::List { filter: Some(filter), order: None });
            for question in ids[collection.id].iter().map(|id| Question::Get(id.clone())).chain([list]).chain(through) {
                // What is personal does not stand in a URL.
                let filtered = matches!(question, Question::List { filter: Some(_), .. });
                let door = if *door == Door::Rest && filtered { Door::RestBody } else { *door };
                world.ask(door, person, collection.id, &question).await;
            }
        }
    }
    let ledger = world.app.ledger().await;
    let seen = |person: &Person| -> BTreeMap<String, usize> {
        let mut by_kind = BTreeMap::new();
        for entry in ledger.iter().filter(|entry| entry["actor"] == person.id.as_str() && matches!(entry["action"].as_str(), Some("read" | "list"))) {
            let target = entry["target"].as_str().unwrap_or_default().split('/').next().unwrap_or_default().to_owned();
            let detail = &entry["detail"];
            let count = detail["count"].as_u64().unwrap_or_default();
            *by_kind.entry(format!("{} {target} {} {}", entry["action"], entry["outcome"], detail["fields"])).or_default() +=
                usize::try_from(count).unwrap();
        }
        by_kind
    };
    for of_role in people.chunks(doors.len()) {
        let (role, first, person) = &of_role[0];
        let expected = seen(person);
        for (_, door, person) in &of_role[1..] {
            if seen(person) != expected {
                found.push(format!("{role}: {first:?} left {expected:?}\n  {door:?} left {:?}", seen(person)));
            }
        }
    }
}

fn reads(app: &App, collection: &Collection, ids: &[Vec<String>]) -> Vec<Question> {
    let mut questions = vec![Question::List { filter: None, order: None }];
    questions.extend(ids[collection.id].iter().map(|id| Question::Get(id.clone())));
    questions.push(Question::Get("01920000-0000-7000-8000-00000000ffff".to_owned()));
    questions.push(Question::Get("x".to_owned()));
    for field in collection.fields.iter().filter(|field| field.ty.comparable()) {
        questions.push(Question::List { filter: None, order: Some(field.name.clone()) });
    }
    let extreme = collection.fields.iter().rev().find(|field| haechi_data::aggregate::extreme(&field.ty)).map(|field| field.name.clone());
    for field in collection.fields.iter().filter(|field| field.ty.comparable()) {
        questions.push(Question::Groups(field.name.clone(), extreme.clone().filter(|extreme| *extreme != field.name)));
    }
    questions.extend(filters(app, collection).into_iter().map(|filter| Question::List { filter: Some(filter), order: None }));
    for field in &collection.fields {
        let FieldType::List { of, .. } = &field.ty else { continue };
        // One id that is there, and one that is not.
        let held = match field.ty.lists() {
            Some((to, _)) => [ids[to].first().map(|id| json!(id)), Some(json!("01920000-0000-7000-8000-00000000ffff"))],
            None => [value(of, 1), None],
        };
        let filter = |value| Filter { through: Vec::new(), field: field.name.clone(), how: filters::How::Is, value };
        questions.extend(held.into_iter().flatten().map(|value| Question::List { filter: Some(filter(value)), order: None }));
    }
    questions
}

async fn compare(world: &World<'_>, collection: &Collection, who: &str, person: &Person, question: &Question, found: &mut Vec<String>) {
    let mut first: Option<(Door, Outcome)> = None;
    for door in DOORS {
        let Some(outcome) = world.ask(door, person, collection.id, question).await else { continue };
        match &first {
            None => first = Some((door, outcome)),
            Some((other, expected)) if *expected != outcome => {
                found.push(format!("{who} {question:?} on {}: {other:?} says {expected:?}\n  {door:?} says {outcome:?}", collection.name));
            }
            Some(_) => {}
        }
    }
}

/// Each door has a record of its own: what one of them did is not there for the next.
async fn writes(
    world: &World<'_>,
    collection: &Collection,
    who: &str,
    person: &Person,
    (ids, number, seed): (&[Vec<String>], &mut usize, usize),
    found: &mut Vec<String>,
) {
    let shared = fields(collection, seed + 1, ids);
    if !whole(collection, &shared) {
        return;
    }
    // What no two records may share: one field of each unique index is another in each record.
    let in_index = |at: usize| collection.table.indexes.iter().any(|index| index.unique && index.columns.contains(&at));
    let varies = |at: usize, field: &haechi_model::Field| (field.unique || in_index(at)) && !matches!(field.ty, FieldType::Ref { .. });
    let unique: Vec<&str> = collection.declared().filter(|(at, field)| varies(*at, field)).map(|(_, field)| field.name.as_str()).collect();
    let other = |body: &mut Map<String, Value>, seed: usize| {
        let more = fields(collection, seed, ids);
        for name in &unique {
            body.extend(more.get(*name).map(|value| ((*name).to_owned(), value.clone())));
        }
    };
    let key = haechi_data::many::keys(collection).next().filter(|_| haechi_data::many::keyed(collection));
    let key: Option<Vec<String>> = key.map(|key| key.iter().map(|at| collection.fields[*at].name.clone()).collect());
    for kind in ["create", "broken", "update", "narrow", "delete", "foreign", "put", "put new", "change", "remove"] {
        let mut first: Option<(Door, Outcome)> = None;
        for door in DOORS {
            *number += 1;
            let mut body = shared.clone();
            other(&mut body, 2 * *number);
            let target =
                if matches!(kind, "create" | "broken" | "put new") { String::new() } else { import(world.app, collection, &body, *number).await };
            // The record is found by the values that it has.
            if kind != "put" {
                other(&mut body, 2 * *number + 1);
            }
            let one = |name: &str, value: Value| Map::from_iter([(name.to_owned(), value)]);
            let last = collection.fields.last().map(|field| field.name.clone()).unwrap_or_default();
            let question = match kind {
                "create" => Question::Create(body),
                "broken" => Question::Create(Map::new()),
                "update" => Question::Update(target, body),
                "narrow" => match shared.get(&last).cloned() {
                    Some(value) => Question::Update(target, one(&last, value)),
                    None => continue,
                },
                "put" | "put new" => match &key {
                    Some(key) => Question::Upsert(key.clone(), body),
                    None => continue,
                },
                "delete" => Question::Delete(target),
                "change" => Question::Many(target, Some(body)),
                "remove" => Question::Many(target, None),
                _ => Question::Update("01920000-0000-7000-8000-00000000ffff".to_owned(), body),
            };
            let Some(mut outcome) = world.ask(door, person, collection.id, &question).await else { continue };
            for record in &mut outcome.records {
                for name in ["id", "create_time", "update_time"].iter().chain(&unique) {
                    record.remove(*name);
                }
            }
            match &first {
                None => first = Some((door, outcome)),
                Some((other, expected)) if *expected != outcome => {
                    found.push(format!("{who} {kind} {question:?} on {}: {other:?} says {expected:?}\n  {door:?} says {outcome:?}", collection.name));
                }
                Some(_) => {}
            }
        }
    }
}

async fn agree(app: TestApp) {
    let found = differences(&app).await;
    assert!(found.is_empty(), "{} differences:\n{}", found.len(), found.iter().take(10).cloned().collect::<Vec<_>>().join("\n"));
    app.finish().await;
}

/// T-door, AC-01 … AC-16, GQL-09, GRPC-02 [V8.2.1 V8.2.2 V8.2.3 V8.3.1]
async fn the_fixture_has_one_gate(backend: Backend) {
    let mut files: Vec<(&str, String)> = fixture::FILES.iter().map(|(path, text)| (*path, (*text).to_owned())).collect();
    files[0].1.push_str(NO_LIMITS);
    agree(TestApp::start(backend, &files).await).await;
}

/// People in projects and folders, by groups.
async fn the_team_has_one_gate(backend: Backend) {
    let mut files: Vec<(&str, String)> = crate::groups::FILES.iter().map(|(path, text)| (*path, (*text).to_owned())).collect();
    files[0].1.push_str(NO_LIMITS);
    agree(TestApp::start(backend, &files).await).await;
}

pub(crate) const NO_LIMITS: &str = "[limits]\ncaller_per_minute = 10000000\nanonymous_per_minute = 10000000\n";

/// The example's clinic: its own collections and policies, people and records made here.
#[tokio::test]
async fn the_clinic_has_one_gate() {
    agree(TestApp::start(Backend::Sqlite, &clinic()).await).await;
}

pub(crate) fn clinic() -> Vec<(&'static str, String)> {
    let from = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/clinic");
    let mut files = vec![("haechi.toml", std::fs::read_to_string(from.join("haechi.toml")).unwrap().replace("[limits]", NO_LIMITS))];
    for folder in ["collections", "policies"] {
        for entry in std::fs::read_dir(from.join(folder)).unwrap().flatten().filter(|entry| entry.path().is_file()) {
            let path: &'static str = format!("{folder}/{}", entry.file_name().to_str().unwrap()).leak();
            files.push((path, std::fs::read_to_string(entry.path()).unwrap()));
        }
    }
    files
}

/// Folders by chance; `HAECHI_DOORS_CASES` of them in a longer job.
#[tokio::test]
async fn any_folder_has_one_gate() {
    for seed in 1..=cases() {
        println!("folder {seed}");
        agree(TestApp::start(Backend::Sqlite, &folder::folder(seed)).await).await;
    }
}

fn cases() -> u64 {
    std::env::var("HAECHI_DOORS_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(2)
}
