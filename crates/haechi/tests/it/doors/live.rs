//! T-door for streams: each door tells a caller the same about the same changes, and a client that followed them knows what its list shows.

use super::{NO_LIMITS, clinic, fields, folder, from_proto, import, person, plain, whole};
use crate::{
    fixture,
    grpc::{self, Watching},
    network,
    socket::{self, PROTOCOL},
};
use haechi_model::{Collection, USERS, pascal};
use haechi_testkit::{Backend, Events, Person, TestApp, on_both};
use serde_json::{Value, json};
use std::collections::BTreeMap;

on_both!(the_fixture_tells_alike);

/// Who makes the changes. It has its own collection for a last one, which tells that all before it were told.
const WRITER: &str = "door_writer";
const MARKS: &str = "door_marks";
/// Records of each collection before anybody watches.
const RECORDS: usize = 4;

/// What is told of one change: what happened, to which record, and what it shows.
type Told = (String, String, Option<BTreeMap<String, Value>>);

/// The records of a list by their ids.
type Shown = BTreeMap<String, BTreeMap<String, Value>>;

/// A caller's streams of one collection.
struct Streams {
    who: String,
    person: Person,
    collection: Collection,
    rest: Events,
    grpc: Watching,
    /// The id of the operation in the caller's connection.
    graphql: String,
    before: Option<Shown>,
}

/// The same folder, in which everybody may watch what they may read, and one person may do everything.
fn watched(files: &[(&'static str, String)]) -> Vec<(&'static str, String)> {
    let mut files = files.to_vec();
    let mut policies = format!("@everything(\"makes the changes\")\npermit (principal in Role::\"{WRITER}\", action, resource is {MARKS});\n");
    for (path, text) in &mut files {
        if let Some(name) = path.strip_prefix("collections/").and_then(|name| name.strip_suffix(".toml")).filter(|name| *name != "users") {
            policies.push_str(&format!(
                "permit (principal is users, action == Action::\"watch\", resource is {name});\n@everything(\"makes the changes\")\npermit (principal in Role::\"{WRITER}\", action, resource is {name});\n"
            ));
        }
        if *path == "haechi.toml" {
            *text = text.replace("roles = [", &format!("roles = [\"{WRITER}\", ")) + "\n[live]\nstreams_per_caller = 1000\n";
        }
    }
    files.push(("collections/door_marks.toml", "[fields]\nword = { type = \"text\" }\n".to_owned()));
    files.push(("policies/doors.cedar", policies));
    files
}

/// A list as far as the person may see it; nothing when they may not list.
async fn list(person: &Person, collection: &Collection) -> Option<Shown> {
    let reply = person.get(&format!("/api/v1/{}?page_size=100", collection.name)).await;
    if reply.status != 200 {
        return None;
    }
    let body = reply.json();
    assert!(body["next_page_token"].is_null(), "the list has one page");
    Some(body["items"].as_array().unwrap().iter().map(|record| (record["id"].as_str().unwrap().to_owned(), plain(record))).collect())
}

fn query(collection: &Collection) -> String {
    let shown: Vec<String> = collection.fields.iter().map(super::member).collect();
    format!("subscription {{ r: {} {{ type id record {{ {} _masked }} }} }}", collection.name, shown.join(" "))
}

/// Opens a stream through each door; nothing when all of them refuse alike.
async fn open(
    app: &TestApp,
    (who, person): (&str, &Person),
    collection: &Collection,
    socket: Option<&mut socket::Client>,
    found: &mut Vec<String>,
) -> Option<Streams> {
    let before = list(person, collection).await;
    let rest = match person.watch(&format!("/api/v1/{}:watch", collection.name), None).await {
        Ok(mut events) => {
            assert_eq!(events.next().await.unwrap().0, "ready");
            Ok(events)
        }
        Err(reply) => Err(reply.problem()),
    };
    let grpc = grpc::Client::new(app).watch(person, &format!("Watch{}", pascal(&collection.name)), json!({})).await.map_err(|refused| refused.reason);
    let graphql = format!("{who} {}", collection.name);
    let by_graphql = match socket {
        Some(socket) => subscribe(socket, &graphql, collection).await,
        // Whom nothing is open to cannot even connect.
        None => Err("unauthenticated".to_owned()),
    };
    let said = [rest.as_ref().err(), grpc.as_ref().err(), by_graphql.as_ref().err()];
    if said[0] != said[1] || said[0] != said[2] {
        found.push(format!("{who} watches {}: REST, gRPC and GraphQL say {said:?}", collection.name));
    }
    let (Ok(rest), Ok(grpc), Ok(())) = (rest, grpc, by_graphql) else { return None };
    Some(Streams { who: who.to_owned(), person: person.clone(), collection: collection.clone(), rest, grpc, graphql, before })
}

/// Subscribes to a collection; the refusal's class.
async fn subscribe(socket: &mut socket::Client, id: &str, collection: &Collection) -> Result<(), String> {
    socket.say(json!({ "type": "subscribe", "id": id, "payload": { "query": query(collection) } })).await;
    let said = socket.hear().await.unwrap();
    match said["type"].as_str() {
        Some("next") => Ok(()),
        _ => Err(said["payload"][0]["extensions"]["code"].as_str().unwrap_or_default().to_owned()),
    }
}

/// Records come, change and go, in every collection; what is refused changes nothing. The id of the last record.
async fn write(app: &TestApp, writer: &Person, ids: &mut [Vec<String>], number: &mut usize) -> String {
    let collections = app.house.gate.revision().app.collections.clone();
    for collection in collections.iter().filter(|collection| collection.id != USERS && collection.name != MARKS) {
        let path = format!("/api/v1/{}", collection.name);
        for _ in 0..3 {
            *number += 1;
            let reply = writer.post(&path, Value::Object(fields(collection, *number, ids))).await;
            if reply.status == 201 {
                ids[collection.id].push(reply.json()["id"].as_str().unwrap().to_owned());
            }
        }
        for (at, id) in ids[collection.id].iter().enumerate() {
            *number += 1;
            let mut body = fields(collection, *number, ids);
            body.retain(|name, _| collection.field(name).is_some_and(|at| !collection.fields[at].unique));
            if at % 3 == 2 {
                writer.delete(&format!("{path}/{id}")).await;
            } else {
                writer.patch(&format!("{path}/{id}"), Value::Object(body)).await;
            }
        }
    }
    writer.create(MARKS, json!({ "word": "last" })).await
}

async fn of_rest(events: &mut Events) -> Vec<Told> {
    let mut told = Vec::new();
    while let Some((kind, data)) = events.next().await {
        if kind != "end" {
            told.push((kind, data["id"].as_str().unwrap_or_default().to_owned(), data.get("record").map(plain)));
        }
    }
    told
}

async fn of_grpc(collection: &Collection, watching: &mut Watching) -> Vec<Told> {
    let mut told = Vec::new();
    while let Some(change) = watching.next().await {
        let kind = change["type"].as_str().unwrap().trim_start_matches("CHANGE_TYPE_").to_lowercase();
        let record = change.get(haechi_model::snake(&collection.singular)).map(|record| from_proto(collection, record));
        told.push((kind, change["id"].as_str().unwrap_or_default().to_owned(), record));
    }
    told
}

/// What a connection told, by operation, until all of these have ended.
async fn of_graphql(socket: &mut socket::Client, mut open: usize) -> BTreeMap<String, Vec<Told>> {
    let mut told: BTreeMap<String, Vec<Told>> = BTreeMap::new();
    while open > 0 {
        let said = socket.hear().await.unwrap();
        let change = &said["payload"]["data"]["r"];
        if said["type"] != "next" {
            open -= 1;
            continue;
        }
        assert!(said["payload"].get("errors").is_none(), "{said}");
        let record = change.get("record").filter(|record| !record.is_null()).map(plain);
        let kind = change["type"].as_str().unwrap().to_lowercase();
        told.entry(said["id"].as_str().unwrap().to_owned()).or_default().push((kind, change["id"].as_str().unwrap_or_default().to_owned(), record));
    }
    told
}

/// What a client knows that had the list and followed the changes; nothing when it was told to read the list again.
fn followed(before: &Shown, told: &[Told]) -> Option<Shown> {
    let mut shown = before.clone();
    for (kind, id, record) in told {
        match (kind.as_str(), record) {
            ("resync", _) => return None,
            (_, Some(record)) => drop(shown.insert(id.clone(), record.clone())),
            (_, None) => drop(shown.remove(id)),
        }
    }
    Some(shown)
}

/// Everybody watches everything through each door while it changes; each difference in words, and how many changes were compared.
async fn differences(app: &TestApp) -> (Vec<String>, usize) {
    let revision = app.house.gate.revision();
    let mut people: Vec<(String, Person)> = vec![("anonymous".to_owned(), app.anonymous())];
    for role in &revision.app.roles {
        people.push((role.clone(), person(app, role, &[role], 1).await));
    }
    let writer = people.iter().find(|(role, _)| role == WRITER).unwrap().1.clone();
    let mut ids: Vec<Vec<String>> = vec![Vec::new(); revision.app.collections.len()];
    ids[USERS] = people.iter().skip(1).map(|(_, person)| person.id.clone()).collect();
    let mut number = 0;
    for collection in revision.app.collections.iter().filter(|collection| collection.id != USERS) {
        for _ in 0..RECORDS {
            number += 1;
            let fields = fields(collection, number, &ids);
            if whole(collection, &fields) {
                let id = import(app, collection, &fields, number).await;
                ids[collection.id].push(id);
            }
        }
    }
    let server = network::run(app, None, 5_000).await;
    let mut found = Vec::new();
    let (mut streams, mut sockets) = (Vec::new(), Vec::new());
    for (who, person) in &people {
        let mut socket = socket::connect(server.address, &[PROTOCOL]).await.unwrap_or_else(|response| panic!("{}", response.status()));
        let mut socket = socket.begin(person.token.as_deref()).await.is_ok().then_some(socket);
        let open_before = streams.len();
        for collection in revision.app.collections.iter().filter(|collection| collection.id != USERS && collection.name != MARKS) {
            streams.extend(open(app, (who, person), collection, socket.as_mut(), &mut found).await);
        }
        sockets.extend(socket.map(|socket| (socket, streams.len() - open_before)));
    }
    let mut marks = writer.watch(&format!("/api/v1/{MARKS}:watch"), None).await.unwrap_or_else(|reply| panic!("{}", reply.text()));
    let last = write(app, &writer, &mut ids, &mut number).await;
    while marks.next().await.unwrap().1["id"] != last.as_str() {}
    app.house.gate.close_streams();
    let mut by_graphql: BTreeMap<String, Vec<Told>> = BTreeMap::new();
    for (mut socket, open) in sockets {
        by_graphql.extend(of_graphql(&mut socket, open).await);
    }
    let mut compared = 0;
    for mut stream in streams {
        let (collection, who) = (&stream.collection, &stream.who);
        let rest = of_rest(&mut stream.rest).await;
        let grpc = of_grpc(collection, &mut stream.grpc).await;
        let graphql = by_graphql.remove(&stream.graphql).unwrap_or_default();
        for (door, told) in [("gRPC", &grpc), ("GraphQL", &graphql)] {
            if *told != rest {
                found.push(format!("{who} watches {}: REST tells {rest:?}\n  {door} tells {told:?}", collection.name));
            }
        }
        compared += rest.len();
        let after = list(&stream.person, collection).await;
        let known = stream.before.as_ref().and_then(|before| followed(before, &rest));
        if let (Some(known), Some(after)) = (known, after)
            && known != after
        {
            found.push(format!("{who} has followed {}: they know {known:?}\n  their list is {after:?}", collection.name));
        }
    }
    server.end().await;
    (found, compared)
}

async fn agree(backend: Backend, files: &[(&'static str, String)]) -> usize {
    let app = TestApp::start(backend, &watched(files)).await;
    let (found, compared) = differences(&app).await;
    assert!(found.is_empty(), "{} differences:\n{}", found.len(), found.iter().take(10).cloned().collect::<Vec<_>>().join("\n"));
    app.finish().await;
    compared
}

fn fixture_files() -> Vec<(&'static str, String)> {
    let mut files: Vec<(&str, String)> = fixture::FILES.iter().map(|(path, text)| (*path, (*text).to_owned())).collect();
    files[0].1 = files[0].1.replace("\"posts:read\"]", "\"posts:read\", \"posts:watch\"]") + NO_LIMITS;
    files.push(("policies/anonymous.cedar", "permit (principal, action == Action::\"watch\", resource is posts);".to_owned()));
    files
}

/// T-door, T-stale [V8.2.2 V8.2.3 V8.3.2]
async fn the_fixture_tells_alike(backend: Backend) {
    assert!(agree(backend, &fixture_files()).await > 0, "nothing was told");
}

/// What is found in a build with a planted hole.
#[cfg(haechi_unsafe_lab)]
pub(crate) async fn fixture_differences() -> usize {
    let app = TestApp::start(Backend::Sqlite, &watched(&fixture_files())).await;
    differences(&app).await.0.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clinic_tells_alike() {
    assert!(agree(Backend::Sqlite, &clinic()).await > 0, "nothing was told");
}

/// Folders by chance; `HAECHI_DOORS_CASES` of them in a longer job.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_folder_tells_alike() {
    let mut compared = 0;
    for seed in 1..=super::cases() {
        println!("folder {seed}");
        compared += agree(Backend::Sqlite, &folder::folder(seed)).await;
    }
    assert!(compared > 0, "nothing was told");
}
