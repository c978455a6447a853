//! What odd requests are told: the right status, the same through every door, and nothing at length of what was sent.

use crate::{fixture::FILES, grpc::Client, values::TYPES};
use axum::{Router, routing::post};
use haechi_testkit::{Backend, Person, Reply, TestApp, on_both};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

on_both!(capitals_are_the_same_id, numbers_beyond_a_type_are_refused_alike);

async fn graphql(person: &Person, query: &str, variables: Value) -> Value {
    person.post("/graphql", json!({ "query": query, "variables": variables })).await.json()
}

async fn capitals_are_the_same_id(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let kim = app.person("kim", &["member"]).await;
    let note = kim.create("notes", json!({ "title": "t" })).await;
    let capitals = note.to_uppercase();
    assert_ne!(note, capitals);
    let found = kim.get(&format!("/api/v1/notes/{capitals}")).await.expect(200).json();
    assert_eq!(found["id"], json!(note));
    kim.patch(&format!("/api/v1/notes/{capitals}"), json!({ "body": "b" })).await.expect(200);
    let child = kim.create("notes", json!({ "title": "child", "parent": capitals })).await;
    assert_eq!(kim.get(&format!("/api/v1/notes/{child}")).await.json()["parent"], json!(note));
    let listed = kim.get(&format!("/api/v1/notes?parent={capitals}")).await.expect(200).json();
    assert_eq!(listed["items"][0]["id"], json!(child));
    let filtered = kim.post("/api/v1/notes:query", json!({ "filter": format!("id = \"{capitals}\"") })).await.expect(200).json();
    assert_eq!(filtered["items"][0]["id"], json!(note));
    kim.post("/api/v1:batch", json!({ "operations": [{ "update": "notes", "id": capitals, "data": { "body": "c" } }] })).await.expect(200);
    let shown = graphql(&kim, "query($i: ID!) { note(id: $i) { id } }", json!({ "i": capitals })).await;
    assert_eq!(shown["data"]["note"]["id"], json!(note));
    let client = Client::new(&app);
    assert_eq!(client.call(&kim, "GetNote", json!({ "id": capitals })).await.unwrap()["id"], json!(note));
    let many = client.call(&kim, "BatchGetNotes", json!({ "ids": [child.to_uppercase(), capitals] })).await.unwrap();
    assert_eq!((&many["notes"][0]["id"], &many["notes"][1]["id"]), (&json!(child), &json!(note)));
    kim.delete(&format!("/api/v1/notes/{capitals}")).await.expect(204);
    app.finish().await;
}

/// What overflows is the same 4xx on both databases, never 500.
async fn numbers_beyond_a_type_are_refused_alike(backend: Backend) {
    let limits = "roles = [\"admin\"]\n[limits]\ncaller_per_minute = 1000000\n";
    let policy = "@everything(\"test\")\npermit (principal is users in Role::\"admin\", action, resource);\n";
    let nodes = "[fields]\ncode = { type = \"text\" }\n";
    let files = [("haechi.toml", limits), ("policies/all.cedar", policy), ("collections/nodes.toml", nodes), ("collections/things.toml", TYPES)];
    let app = TestApp::start(backend, &files).await;
    let ann = app.person("ann", &["admin"]).await;
    ann.create("things", json!({ "int": 1, "int64": "9223372036854775807", "price": "99999999999999.9999" })).await;
    ann.create("things", json!({ "int64": "9223372036854775807", "price": "99999999999999.9999" })).await;
    for field in ["int", "int64", "price", "ratio", "at", "day"] {
        for value in ["99999999999999999999", "1e400", "-1e400", "1e-400", "9".repeat(400).as_str(), "99999-01-01", "99999-01-01T00:00:00Z"] {
            for operator in ["=", "!=", ">", "<="] {
                let filter = json!({ "filter": format!("{field} {operator} \"{value}\"") });
                let reply = ann.post("/api/v1/things:query", filter).await;
                let fits = field == "ratio" && reply.status == 200;
                assert!(reply.status == 400 || fits, "{field} {operator} {value}: {}", reply.status);
            }
            let written = ann.post("/api/v1/things", json!({ field: value })).await;
            assert_eq!(written.status, 422, "{field} {value}");
            let asked = graphql(
                &ann,
                &format!("query($v: String) {{ things(filter: {{text: {{eq: $v}}}}, first: 1) {{ nodes {{ {field} }} }} }}"),
                json!({ "v": value }),
            )
            .await;
            assert!(asked["errors"].is_null(), "{asked}");
        }
    }
    // A sum beyond 64 bits keeps its digits.
    let sums = graphql(&ann, "{ things_aggregate { sum { int64 price } } }", json!({})).await;
    assert_eq!(sums["data"]["things_aggregate"]["sum"], json!({ "int64": "18446744073709551614", "price": "199999999999999.9998" }));
    app.finish().await;
}

#[tokio::test]
async fn headers_and_methods_are_read_as_documented() {
    let app = TestApp::start(Backend::Sqlite, FILES).await;
    let kim = app.person("kim", &["member"]).await;
    let note = kim.create("notes", json!({ "title": "t" })).await;
    let path = format!("/api/v1/notes/{note}");
    let patch =
        async |tag: &str| kim.send("PATCH", &path, &[("content-type", "application/json"), ("if-match", tag)], br#"{"body":"b"}"#.to_vec()).await;
    patch("W/\"1\"").await.expect(200);
    patch("W/\"1\"").await.expect(412);
    patch("w/\"2\"").await.expect(400);
    let wrong = kim.get("/api/v1/notes:query").await.expect(405);
    assert_eq!((wrong.header("allow"), wrong.problem().as_str()), ("POST", "method-not-allowed"));
    // An unknown caller gets 401 before any other error.
    let nobody = app.anonymous();
    for method in ["PATCH", "DELETE"] {
        nobody.send(method, &path, &[("content-type", "application/json"), ("if-match", "nonsense")], b"{}".to_vec()).await.expect(401);
    }
    kim.get("/api/v1/notes?page_token=").await.expect(200);
    app.finish().await;
}

/// Who takes gzip gets long replies in it, under a weak tag; never beside a cookie, and never a stream.
#[tokio::test]
async fn long_replies_are_compressed() {
    let app = TestApp::start(Backend::Sqlite, FILES).await;
    let kim = app.person("kim", &["member"]).await;
    let body = "many words ".repeat(200);
    let note = kim.create("notes", json!({ "title": "t", "body": body })).await;
    let path = format!("/api/v1/notes/{note}");
    let takes = async |path: &str, more: &[(&str, &str)]| {
        kim.send("GET", path, &[&[("accept-encoding", "gzip")], more].concat(), Vec::new()).await.expect(200)
    };
    let plain = kim.get(&path).await.expect(200);
    assert_eq!((plain.header("etag"), plain.headers.contains_key("content-encoding")), ("\"1\"", false));
    assert!(plain.headers.get_all("vary").iter().any(|vary| vary == "Accept-Encoding"));
    let packed = takes(&path, &[]).await;
    assert_eq!((packed.header("etag"), packed.header("content-encoding")), ("W/\"1\"", "gzip"));
    assert!(packed.bytes.len() < plain.bytes.len() / 4, "{}", packed.bytes.len());
    let mut unpacked = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&packed.bytes[..]), &mut unpacked).unwrap();
    assert_eq!(unpacked, plain.text());
    // The weak tag is understood when it comes back.
    let tag = packed.header("etag").to_owned();
    kim.send("PATCH", &path, &[("content-type", "application/json"), ("if-match", &tag)], br#"{"title":"u"}"#.to_vec()).await.expect(200);
    let beside_cookie = takes(&path, &[("cookie", "theme=dark")]).await;
    assert!(!beside_cookie.headers.contains_key("content-encoding"));
    let short = takes("/api/v1/notes?fields=title", &[]).await;
    assert!(!short.headers.contains_key("content-encoding"));
    app.finish().await;
}

/// No error repeats more than eighty characters of a word that was sent.
#[tokio::test]
async fn errors_quote_little() {
    let app = TestApp::start(Backend::Sqlite, FILES).await;
    let kim = app.person("kim", &["member"]).await;
    let long = "z".repeat(3_000);
    let note = kim.create("notes", json!({ "title": "t" })).await;
    let replies: Vec<Reply> = vec![
        kim.get(&format!("/api/v1/notes?filter={long}%3D1")).await,
        kim.get(&format!("/api/v1/notes?{long}=1")).await,
        kim.get(&format!("/api/v1/notes?order_by={long}")).await,
        kim.get(&format!("/api/v1/notes?fields={long}")).await,
        kim.get(&format!("/api/v1/notes?expand={long}")).await,
        kim.get(&format!("/api/v1/notes?page_token={long}")).await,
        kim.get(&format!("/api/v1/{long}")).await,
        kim.post("/api/v1/notes", json!({ &long: 1 })).await,
        kim.post("/api/v1/notes", json!({ "title": "t", "rank": &long })).await,
        kim.post("/api/v1/things", json!({ "text": "t", "kind": &long })).await,
        kim.post(&format!("/api/v1/notes/{note}:{long}"), json!({})).await,
        kim.post("/api/v1:batch", json!({ "operations": [{ "update": &long, "id": &long, "data": {} }] })).await,
        kim.post("/api/v1:batch", json!({ "operations": [{ &long: 1 }] })).await,
        kim.post("/graphql", json!({ "query": format!("{{ notes {{ nodes {{ {long} }} }} }}") })).await,
        kim.post("/graphql", json!({ "query": format!("{{ {long}") })).await,
        kim.post("/graphql", json!({ "query": "query($f: NoteFilter) { notes(filter: $f) { nodes { id } } }", "variables": { "f": { &long: 1 } } }))
            .await,
        kim.post("/graphql", json!({ "query": "query($i: ID!) { note(id: $i) { id } }", "variables": { "i": &long }, "operationName": &long })).await,
    ];
    for (at, reply) in replies.iter().enumerate() {
        assert!(!reply.text().contains(&"z".repeat(81)), "{at}: {}", reply.text());
    }
    let refused = Client::new(&app).call(&kim, "ListNotes", json!({ "filter": format!("{long} = 1") })).await.unwrap_err();
    assert!(!format!("{refused:?}").contains(&"z".repeat(81)), "{refused:?}");
    app.finish().await;
}

/// A reply that takes too long: where nothing was changed it says so; where nobody can know, it says that.
#[tokio::test]
async fn what_has_changed_nothing_is_a_timeout() {
    let mut files: Vec<(&str, String)> = FILES.iter().map(|(path, text)| (*path, (*text).to_owned())).collect();
    files[0].1.push_str("[limits]\nrequest_ms = 150\n");
    let app = TestApp::start(Backend::Sqlite, &files).await;
    let kim = app.person("kim", &["member"]).await;
    let slow = || post(async || tokio::time::sleep(Duration::from_secs(5)).await);
    let more = Router::new().route("/api/v1/slow", slow()).route("/mine", slow()).route("/haechi.v1.Slow/Get", slow());
    let stack = Arc::new(haechi::http::routes::stack(&app.house, haechi::Mode::Dev).with_routes(more));
    let kim = Person::at(stack, &kim);
    let late = kim.post("/api/v1/slow", json!({})).await.expect(408);
    assert_eq!(late.problem(), "timeout");
    let unknown = kim.post("/mine", json!({})).await.expect(500);
    assert_eq!(unknown.problem(), "unknown-outcome");
    let headers = [("content-type", "application/grpc"), ("te", "trailers")];
    let call = kim.send("POST", "/haechi.v1.Slow/Get", &headers, vec![0, 0, 0, 0, 0]).await;
    assert_eq!(call.header("grpc-status"), "4", "DEADLINE_EXCEEDED");
    app.finish().await;
}
