//! Replies that are not read, and replies that would be too long: neither takes the memory of the others.

use crate::{
    flood::{PREFACE, frame},
    grpc::Client,
    network::run_patient,
};
use haechi_testkit::{Backend, Person, TestApp};
use serde_json::{Value, json};
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Pages of 64 KiB, and 1 MiB for all that is not read.
const FILES: &[(&str, &str)] = &[
    ("haechi.toml", "roles = [\"staff\"]\n[limits]\npage_bytes = 65536\nunread_bytes = 1048576\npage_size = 1000\nbody_bytes = 4194304\n"),
    ("collections/folders.toml", "[fields]\nname = { type = \"text\", required = true }\nnote = { type = \"text\", max_length = 200000 }\n"),
    (
        "collections/notes.toml",
        "[fields]\nn = { type = \"int\", required = true }\ntext = { type = \"text\", max_length = 200000 }\nfolder = { type = \"ref\", to = \"folders\" }\n",
    ),
    ("policies/all.cedar", "@everything(\"a test\")\npermit (principal in Role::\"staff\", action, resource);\n"),
];
const ROWS: usize = 40;
const TEXT: usize = 8_000;
const PAGE: usize = 65_536;
haechi_testkit::on_both!(pages_end_early, what_cannot_end_early_is_refused);

const WAIT: Duration = Duration::from_secs(20);

async fn filled(backend: Backend) -> (TestApp, Person) {
    let app = TestApp::start(backend, FILES).await;
    let kim = app.person("kim", &["staff"]).await;
    let folder = kim.create("folders", json!({"name": "one", "note": "z".repeat(TEXT)})).await;
    for n in 0..ROWS {
        kim.create("notes", json!({"n": n, "text": "x".repeat(TEXT), "folder": folder})).await;
    }
    (app, kim)
}

/// Walks over all pages; the numbers of their rows.
async fn walked(most: usize, mut page: impl AsyncFnMut(Option<String>) -> (usize, Vec<i64>, Option<String>)) -> Vec<i64> {
    let (mut seen, mut token) = (Vec::new(), None);
    for _ in 0..=ROWS {
        let (bytes, rows, next) = page(token).await;
        assert!(bytes <= most, "{bytes}");
        seen.extend(rows);
        token = next;
        if token.is_none() {
            return seen;
        }
    }
    panic!("it does not end");
}

fn numbers(rows: &Value) -> Vec<i64> {
    rows.as_array().unwrap().iter().map(|row| row["n"].as_i64().or_else(|| row["n"].as_str()?.parse().ok()).unwrap()).collect()
}

fn token(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// [V15.2.2] A page ends with the row that reaches `page_bytes`, at every door, and no row is lost or told twice.
async fn pages_end_early(backend: Backend) {
    let (app, kim) = filled(backend).await;
    let all: Vec<i64> = (0..ROWS as i64).collect();
    let most = PAGE + TEXT + 1_000;
    let rest = walked(most, async |token| {
        let token = token.map(|token| format!("&page_token={token}")).unwrap_or_default();
        let reply = kim.get(&format!("/api/v1/notes?page_size=1000&order_by=n{token}")).await.expect(200);
        let json = reply.json();
        (reply.bytes.len(), numbers(&json["items"]), self::token(&json["next_page_token"]))
    });
    assert_eq!(rest.await, all);
    let query = walked(most, async |token| {
        let reply =
            kim.post("/api/v1/notes:query", json!({"page_size": 1000, "order_by": "n", "page_token": token.unwrap_or_default()})).await.expect(200);
        let json = reply.json();
        (reply.bytes.len(), numbers(&json["items"]), self::token(&json["next_page_token"]))
    });
    assert_eq!(query.await, all);
    let graphql = walked(most, async |token| {
        let text = "query($after: String) { notes(first: 1000, after: $after, order_by: [{field: n}]) { nodes { n text } edges { node { n } } page_info { has_next_page end_cursor } } }";
        let reply = kim.post("/graphql", json!({"query": text, "variables": {"after": token}})).await.expect(200);
        let json = reply.json();
        assert!(json["errors"].is_null(), "{}", json["errors"]);
        let notes = &json["data"]["notes"];
        let edges: Vec<i64> = notes["edges"].as_array().unwrap().iter().map(|edge| edge["node"]["n"].as_i64().unwrap()).collect();
        assert_eq!(edges, numbers(&notes["nodes"]), "both show the same rows");
        let next = notes["page_info"]["has_next_page"].as_bool().unwrap().then(|| notes["page_info"]["end_cursor"].as_str().unwrap().to_owned());
        (reply.bytes.len(), edges, next)
    });
    assert_eq!(graphql.await, all);
    let client = Client::new(&app);
    let grpc = walked(most, async |token| {
        let request = json!({"page_size": 1000, "order_by": "n", "page_token": token.unwrap_or_default()});
        let page = client.call(&kim, "ListNotes", request).await.unwrap();
        (page.to_string().len(), numbers(&page["notes"]), self::token(&page["next_page_token"]).or(self::token(&page["nextPageToken"])))
    });
    assert_eq!(grpc.await, all);
    app.finish().await;
}

/// One row is always told whole; copies of what rows refer to are bounded like the rows.
async fn what_cannot_end_early_is_refused(backend: Backend) {
    let (app, kim) = filled(backend).await;
    let long = kim.create("notes", json!({"n": -1, "text": "y".repeat(150_000)})).await;
    assert!(kim.get(&format!("/api/v1/notes/{long}")).await.expect(200).bytes.len() > 150_000, "a row is told whole");
    let first = kim.get("/api/v1/notes?page_size=10&order_by=n").await.expect(200).json();
    assert_eq!(numbers(&first["items"]), [-1], "and is a page of its own");
    // Three fit with what they refer to; forty copies of the same folder do not.
    assert_eq!(
        kim.get("/api/v1/notes?page_size=3&filter=n%20%3E%3D%200&expand=folder").await.expect(200).json()["items"].as_array().unwrap().len(),
        3
    );
    let refused = kim.get("/api/v1/notes?page_size=40&fields=n&expand=folder&filter=n%20%3E%3D%200").await.expect(422);
    assert_eq!(refused.problem(), "reply-too-large");
    let ask = async |text: &str| kim.post("/graphql", json!({ "query": text })).await.expect(200).json();
    let few = ask("{ notes(first: 3, filter: {n: {ge: 0}}) { nodes { n folder { note } } } }").await;
    assert!(few["errors"].is_null() && few["data"]["notes"]["nodes"][2]["folder"]["note"].is_string(), "{few}");
    let many = ask("{ notes(first: 40, filter: {n: {ge: 0}}) { nodes { n folder { note } } } }").await;
    assert!(many["errors"][0]["extensions"]["type"].to_string().contains("reply-too-large"), "{}", many["errors"]);
    let nested = ask("{ folders { nodes { name notes_by_folder(first: 100) { nodes { text } } } } }").await;
    assert!(nested["errors"][0]["extensions"]["type"].to_string().contains("reply-too-large"), "{}", nested["errors"]);
    // Ten changes of long rows are made, and told by their ids where the reply is long already.
    let rows = kim.get("/api/v1/notes?page_size=20&fields=n&filter=n%20%3E%3D%200").await.expect(200).json();
    let change = |row: &Value| json!({"update": "notes", "id": row["id"], "data": {"n": 1000}});
    let operations: Vec<Value> = rows["items"].as_array().unwrap().iter().map(change).collect();
    let batch = kim.post("/api/v1:batch", json!({ "operations": operations })).await.expect(200);
    assert!(batch.bytes.len() < PAGE + 4 * TEXT, "{}", batch.bytes.len());
    let results = batch.json()["results"].as_array().unwrap().clone();
    assert!(
        results.len() == 20 && results.iter().all(|row| row["id"].is_string()) && results[0]["text"].is_string() && results[19]["text"].is_null()
    );
    app.finish().await;
}

/// Reads an unread-bytes gauge of the metrics.
fn unread(app: &TestApp) -> usize {
    let text = app.house.metrics.text(&app.house.gate.signs(), true);
    text.lines().find_map(|line| line.strip_prefix("haechi_http_unread_bytes ")?.parse().ok()).unwrap()
}

/// A header as HPACK writes it without its tables.
fn literal(name: &str, value: &str) -> Vec<u8> {
    assert!(name.len() < 127 && value.len() < 1_000);
    let length = |text: &str| match u8::try_from(text.len()) {
        Ok(short @ 0..=126) => vec![short],
        _ => vec![127, ((text.len() - 127) % 128) as u8 | 128, ((text.len() - 127) / 128) as u8],
    };
    [&[0][..], &length(name), name.as_bytes(), &length(value), value.as_bytes()].concat()
}

/// A connection whose client takes `window` bytes of each reply, and asks so often.
async fn greedy(address: SocketAddr, person: &Person, window: u32, times: u32) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let settings = [&[0, 4][..], &window.to_be_bytes()].concat();
    stream.write_all(&[PREFACE, &frame(4, 0, 0, &settings)].concat()).await.unwrap();
    let bearer = format!("Bearer {}", person.token.as_deref().unwrap());
    let head = [&b"\x82\x86\x41\x09localhost"[..], &literal(":path", "/api/v1/notes?page_size=1000"), &literal("authorization", &bearer)].concat();
    for at in 0..times {
        if stream.write_all(&frame(1, 5, 2 * at + 1, &head)).await.is_err() {
            break;
        }
    }
    stream
}

/// DOS-01 [V15.2.2]: windows of nothing. What one does not read is bounded, others are served meanwhile, and none of it stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_read_is_bounded() {
    let (app, kim) = filled(Backend::Sqlite).await;
    let lee = app.person("lee", &["staff"]).await;
    let server = run_patient(app.stack.clone(), None, 5_000, Duration::from_secs(30)).await;
    for window in [0, 1, 1_000] {
        let mut held = Vec::new();
        for _ in 0..10 {
            held.push(greedy(server.address, &kim, window, 100).await);
        }
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            // A quarter is one caller's; what is made at the same time may come beside it.
            assert!(unread(&app) <= (1 << 20) / 4 + 2 * (PAGE + TEXT), "window {window}: {}", unread(&app));
            lee.get("/api/v1/notes?page_size=1").await.expect(200);
        }
        assert!(unread(&app) > 100_000, "the attack reaches its aim: {}", unread(&app));
        let busy = kim.get("/api/v1/notes?page_size=1000").await.expect(503);
        assert_eq!((busy.problem().as_str(), busy.header("retry-after")), ("busy", "1"));
        drop(held);
        timeout(WAIT, async {
            while unread(&app) > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
        .expect("what was not read is forgotten with its connection");
        kim.get("/api/v1/notes?page_size=1").await.expect(200);
    }
    server.end().await;
    app.finish().await;
}

/// The end of a connection, however it comes.
async fn closed(stream: &mut TcpStream) -> bool {
    let mut sink = [0; 1 << 16];
    timeout(WAIT, async { while !matches!(stream.read(&mut sink).await, Ok(0) | Err(_)) {} }).await.is_ok()
}

/// A reply that is not read ends, though its client asks on; one that is read slowly does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_that_is_not_read_ends() {
    let (app, kim) = filled(Backend::Sqlite).await;
    let server = run_patient(app.stack.clone(), None, 5_000, Duration::from_millis(600)).await;
    let mut stalled = greedy(server.address, &kim, 0, 1).await;
    let (mut reader, mut writer) = stalled.split();
    let pings = async {
        for at in 1..100u32 {
            // Small requests are answered meanwhile; they are no progress of the first.
            let head = [&b"\x82\x86\x41\x09localhost"[..], &literal(":path", "/healthz")].concat();
            if writer.write_all(&frame(1, 5, 2 * at + 1, &head)).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let ended = async {
        let mut sink = [0; 4096];
        while !matches!(reader.read(&mut sink).await, Ok(0) | Err(_)) {}
    };
    let ended = async {
        tokio::select! { () = pings => false, () = ended => true }
    };
    assert!(timeout(WAIT, ended).await.unwrap(), "the connection went on");
    assert!(app.house.metrics.text(&app.house.gate.signs(), true).contains("haechi_connections_stalled_total 1"));
    // The honest twin: a window that is opened little by little.
    let mut slow = greedy(server.address, &kim, 8_192, 1).await;
    let (mut seen, mut buffer) = (0, [0; 4096]);
    while seen < PAGE {
        let read = timeout(WAIT, slow.read(&mut buffer)).await.unwrap().unwrap();
        assert!(read > 0, "the connection of a slow reader was ended after {seen} bytes");
        seen += read;
        tokio::time::sleep(Duration::from_millis(20)).await;
        let more = 4_096u32.to_be_bytes();
        slow.write_all(&[frame(8, 0, 1, &more), frame(8, 0, 0, &more)].concat()).await.unwrap();
    }
    drop(slow);
    // HTTP/1.1: requests are sent until no reply is taken any more.
    let mut deaf = TcpStream::connect(server.address).await.unwrap();
    let request =
        format!("GET /api/v1/notes?page_size=1000 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n", kim.token.as_deref().unwrap());
    let flood = async {
        for _ in 0..1_000 {
            if deaf.write_all(request.as_bytes()).await.is_err() {
                break;
            }
        }
    };
    let _ = timeout(Duration::from_secs(5), flood).await;
    assert!(closed(&mut deaf).await);
    server.end().await;
    app.finish().await;
}
