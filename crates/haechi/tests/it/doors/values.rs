//! A value that was written through one door reads the same through each other.

use super::{World, from_proto, to_proto};
use crate::{
    grpc::Client,
    values::{Dice, TYPES, id},
};
use haechi_gate::ImportRow;
use haechi_model::{Collection, Json, Value as Stored, parse_json};
use haechi_testkit::{Backend, Person, TestApp, on_both};
use serde_json::{Map, Value, json};

on_both!(every_door_keeps_every_value);

const ROUNDS: usize = 12;
const POLICY: &str = "@everything(\"test\")\npermit (principal is users in Role::\"admin\", action, resource);\n";

/// The ways in.
const WRITERS: [&str; 6] = ["rest", "batch", "graphql variable", "graphql literal", "grpc", "import"];

/// Writes one field of a new record, given as JSON; returns its id.
async fn write(world: &World<'_>, ann: &Person, things: &Collection, way: &str, field: &str, raw: &str) -> Result<String, String> {
    let record = format!("{{\"{field}\":{raw}}}");
    let made = |reply: haechi_testkit::Reply, at: &[&str]| {
        let found = at.iter().fold(reply.json(), |json, key| key.parse::<usize>().map_or(json[*key].clone(), |at| json[at].clone()));
        found.as_str().map(str::to_owned).ok_or_else(|| reply.text())
    };
    let send = async |path: &str, body: String| ann.send("POST", path, &[("content-type", "application/json")], body.into_bytes()).await;
    match way {
        "rest" => made(send("/api/v1/things", record).await, &["id"]),
        "batch" => {
            let body = format!("{{\"operations\":[{{\"create\":\"things\",\"data\":{record}}}]}}");
            made(send("/api/v1:batch", body).await, &["results", "0", "id"])
        }
        "graphql variable" => {
            let query = "mutation($input: ThingCreateInput!) { r: create_thing(input: $input) { id errors { code detail } } }";
            made(send("/graphql", format!("{{\"query\":\"{query}\",\"variables\":{{\"input\":{record}}}}}")).await, &["data", "r", "id"])
        }
        "graphql literal" => {
            let Some(literal) = literal(&parse_json(raw.as_bytes()).unwrap()) else { return Ok(String::new()) };
            let query = format!("mutation {{ r: create_thing(input: {{{field}: {literal}}}) {{ id errors {{ code detail }} }} }}");
            made(send("/graphql", json!({ "query": query }).to_string()).await, &["data", "r", "id"])
        }
        "grpc" => {
            // A float of protobuf and a list that is empty have no other form; JSON goes as its text.
            let value: Value = if field == "data" { json!(raw) } else { serde_json::from_str(raw).unwrap() };
            let fields = Map::from_iter([(field.to_owned(), value)]);
            let fields = if field == "data" { fields } else { to_proto(things, &fields) };
            let answer = world.client.call(ann, "CreateThing", json!({ "thing": fields })).await.map_err(|refused| format!("{refused:?}"))?;
            Ok(answer["id"].as_str().unwrap().to_owned())
        }
        _ => {
            let at = things.field(field).unwrap();
            let value = things.fields[at].ty.read(&parse_json(raw.as_bytes()).unwrap()).map_err(|error| error.to_string())?;
            let made = uuid::Uuid::now_v7().hyphenated().to_string();
            let row = ImportRow { line: 1, id: Some(made.clone().into()), values: vec![(at, value)] };
            world.app.house.gate.import(&world.app.house.keys.import, things.id, vec![row]).await.map_err(|errors| format!("{errors:?}"))?;
            Ok(made)
        }
    }
}

/// As a literal of GraphQL; nothing where a key is no name.
fn literal(json: &Json) -> Option<String> {
    Some(match json {
        Json::List(items) => format!("[{}]", items.iter().map(literal).collect::<Option<Vec<_>>>()?.join(",")),
        Json::Object(members) => {
            let name = |key: &str| {
                !key.is_empty()
                    && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
                    && !key.starts_with(|c: char| c.is_ascii_digit())
            };
            let member = |(key, value): &(Box<str>, Json)| name(key).then(|| literal(value)).flatten().map(|value| format!("{key}: {value}"));
            format!("{{{}}}", members.iter().map(member).collect::<Option<Vec<_>>>()?.join(","))
        }
        other => {
            let mut text = Vec::new();
            other.write(&mut text);
            String::from_utf8(text).unwrap()
        }
    })
}

fn member(json: &[u8], path: &[&str]) -> Json {
    path.iter().fold(parse_json(json).unwrap(), |json, key| match json {
        Json::Object(members) => members.into_iter().find(|(name, _)| &**name == *key).map_or(Json::Null, |(_, value)| value),
        Json::List(items) => items.into_iter().nth(key.parse().unwrap()).unwrap(),
        other => other,
    })
}

/// What each door shows of one field; JSON with the digits that it has.
async fn read(world: &World<'_>, ann: &Person, things: &Collection, field: &str, id: &str) -> Vec<(&'static str, Json)> {
    let rest = ann.get(&format!("/api/v1/things/{id}")).await.expect(200);
    let list = ann.post("/api/v1/things:query", json!({ "filter": format!("id = \"{id}\"") })).await.expect(200);
    let shown = if field == "node" { "node: node_id" } else { field };
    let graphql = ann.post("/graphql", json!({ "query": format!("{{ r: thing(id: \"{id}\") {{ {shown} }} }}") })).await.expect(200);
    let grpc = world.client.call(ann, "GetThing", json!({ "id": id })).await.unwrap();
    let grpc = if field == "data" {
        grpc["data"].as_str().map_or(Json::Null, |text| parse_json(text.as_bytes()).unwrap())
    } else {
        let value = from_proto(things, &grpc).remove(field).unwrap_or(Value::Null);
        parse_json(value.to_string().as_bytes()).unwrap()
    };
    vec![
        ("rest", member(&rest.bytes, &[field])),
        ("query", member(&list.bytes, &["items", "0", field])),
        ("graphql", member(&graphql.bytes, &["data", "r", field])),
        ("grpc", grpc),
    ]
}

/// The differences that protobuf has by its nature: an empty list is none, and a float is written with other digits.
fn same(field: &str, left: &Json, right: &Json) -> bool {
    let empty = |json: &Json| matches!(json, Json::Null) || matches!(json, Json::List(items) if items.is_empty());
    match (left, right) {
        (Json::Number(a), Json::Number(b)) if field == "ratio" => a.parse::<f64>() == b.parse::<f64>(),
        (left, right) => left == right || field != "data" && empty(left) && empty(right),
    }
}

async fn every_door_keeps_every_value(backend: Backend) {
    let nodes = "[fields]\ncode = { type = \"text\" }\n";
    let limits = "roles = [\"admin\"]\n[limits]\ncaller_per_minute = 1000000\n";
    let files = [("haechi.toml", limits), ("policies/all.cedar", POLICY), ("collections/nodes.toml", nodes), ("collections/things.toml", TYPES)];
    let app = TestApp::start(backend, &files).await;
    let ann = app.person("ann", &["admin"]).await;
    let revision = app.house.gate.revision();
    let (things, nodes) = (revision.app.collection("things").unwrap(), revision.app.collection("nodes").unwrap());
    let node = |at: usize| ImportRow { line: 1, id: Some(id(at).into()), values: vec![(nodes.field("code").unwrap(), Stored::text("n"))] };
    app.house.gate.import(&app.house.keys.import, nodes.id, (0..3).map(node).collect()).await.unwrap();
    let world = World { app: &app, client: Client::new(&app) };
    let mut dice = Dice(11);
    let mut differences = Vec::new();
    for round in 0..ROUNDS {
        for (_, declared) in things.declared() {
            let field = declared.name.as_str();
            let raw = dice.value(field);
            let mut expected: Option<Json> = None;
            for way in WRITERS {
                let made = match write(&world, &ann, things, way, field, &raw).await {
                    Ok(made) if made.is_empty() => continue,
                    Ok(made) => made,
                    Err(why) => {
                        differences.push(format!("{round}: {field} {raw} was refused by {way}: {why}"));
                        continue;
                    }
                };
                for (door, found) in read(&world, &ann, things, field, &made).await {
                    let known = expected.get_or_insert_with(|| found.clone());
                    if !same(field, known, &found) {
                        differences.push(format!("{field} {raw} written by {way} is {found:?} to {door}, and was {known:?}"));
                    }
                }
            }
        }
    }
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences[..differences.len().min(20)].join("\n"));
    app.finish().await;
}
