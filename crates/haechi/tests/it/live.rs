//! Live changes: what is told, to whom, in which order, and what ends a stream.

use crate::fixture::FILES;
use haechi_testkit::{Backend, Events, Person, TestApp, on_both, with_more};
use serde_json::{Value, json};

on_both!(changes_arrive_as_they_may_be_seen, a_stream_goes_on_where_it_ended, streams_end_with_their_caller, what_decides_is_watched_too);

/// Everybody who may list notes may watch them; a note is followed by callers who may read its parent.
const POLICY: &str = r#"
permit (principal in Role::"member", action == Action::"watch", resource is notes) when { resource.author == principal };
permit (principal in Role::"auditor", action == Action::"watch", resource is notes) when { resource has rank && resource.rank > 5 };
permit (principal in Role::"member", action == Action::"watch", resource is things);
permit (principal in Role::"admin", action in [Action::"list", Action::"read", Action::"watch"], resource is notes) when { resource has parent && resource.parent.title == "shared" };
permit (principal, action == Action::"watch", resource is posts) when { resource.published };
"#;

pub(crate) async fn start(backend: Backend) -> TestApp {
    TestApp::start(backend, &files("")).await
}

pub(crate) fn files(more: &str) -> Vec<(&'static str, String)> {
    let reach = FILES[0].1.replace("\"posts:read\"]", "\"posts:read\", \"posts:watch\"]");
    let mut files = with_more(FILES, &[("policies/main.cedar", POLICY)]);
    files[0].1 = format!("{reach}{more}\n");
    files
}

async fn open(person: &Person, path: &str) -> Events {
    let mut events = person.watch(path, None).await.unwrap_or_else(|reply| panic!("{} {}", reply.status, reply.text()));
    assert_eq!(events.next().await, Some(("ready".to_owned(), json!({}))));
    events
}

async fn kind(events: &mut Events) -> (String, String) {
    let (kind, data) = events.next().await.unwrap_or_else(|| panic!("the stream has ended"));
    (kind, data["id"].as_str().unwrap_or_default().to_owned())
}

async fn changes_arrive_as_they_may_be_seen(backend: Backend) {
    let app = start(backend).await;
    let (kim, ann, lee) = (app.person("kim", &["member"]).await, app.person("ann", &["auditor"]).await, app.person("lee", &["member"]).await);
    let mut mine = open(&kim, "/api/v1/notes:watch").await;
    let mut ranked = open(&ann, "/api/v1/notes:watch?fields=title,rank,secret,mail").await;
    let mut theirs = open(&lee, "/api/v1/notes:watch").await;
    let mut open_ones = open(&kim, "/api/v1/notes:watch?filter=title%3D%22open%22").await;
    let id = kim.create("notes", json!({ "title": "open", "rank": 1, "secret": "s1", "mail": "a@example.com" })).await;
    let (what, data) = mine.next().await.unwrap();
    assert_eq!((what.as_str(), &data["id"], &data["record"]), ("create", &json!(id), &kim.get(&format!("/api/v1/notes/{id}")).await.json()));
    assert_eq!(kind(&mut open_ones).await, ("create".to_owned(), id.clone()));
    // It comes into the auditor's sight, changes in it, and leaves it: without its new content.
    kim.patch(&format!("/api/v1/notes/{id}"), json!({ "rank": 7 })).await.expect(200);
    let (what, data) = ranked.next().await.unwrap();
    assert_eq!((what.as_str(), &data["record"]), ("create", &json!({ "id": id, "title": "open", "rank": 7, "secret": "s1", "_masked": ["mail"] })));
    kim.patch(&format!("/api/v1/notes/{id}"), json!({ "title": "closed" })).await.expect(200);
    let (what, data) = ranked.next().await.unwrap();
    assert_eq!((what.as_str(), &data["record"]), ("update", &json!({ "id": id, "title": "closed", "rank": 7, "_masked": ["secret", "mail"] })));
    kim.patch(&format!("/api/v1/notes/{id}"), json!({ "rank": 2 })).await.expect(200);
    assert_eq!(ranked.next().await, Some(("delete".to_owned(), json!({ "id": id }))));
    kim.delete(&format!("/api/v1/notes/{id}")).await.expect(204);
    // The same as a delete.
    for expected in ["update", "update", "update", "delete"] {
        assert_eq!(kind(&mut mine).await.0, expected);
    }
    assert_eq!([kind(&mut open_ones).await.0, kind(&mut open_ones).await.0], ["update", "delete"]);
    assert!(theirs.silent().await && ranked.silent().await && open_ones.silent().await);
    // What cascades is told too.
    let parent = kim.create("notes", json!({ "title": "p" })).await;
    let child = kim.create("notes", json!({ "title": "c", "parent": parent })).await;
    kim.delete(&format!("/api/v1/notes/{parent}")).await.expect(204);
    let mut gone = Vec::new();
    for _ in 0..4 {
        gone.push(kind(&mut mine).await);
    }
    gone[2..].sort();
    let mut expected = vec![("delete".to_owned(), parent.clone()), ("delete".to_owned(), child.clone())];
    expected.sort();
    assert_eq!(gone[2..], expected);
    // Seeing what is guarded stands in the ledger.
    let seen: Vec<Value> = app.ledger().await.into_iter().filter(|entry| entry["action"] == "watch" && entry["actor"] == ann.id.as_str()).collect();
    assert!(!seen.is_empty() && seen.iter().all(|entry| entry["target"].as_str().unwrap().starts_with("notes")), "{seen:?}");
    // Nobody is let in by watching.
    assert_eq!(app.anonymous().watch("/api/v1/notes:watch", None).await.err().unwrap().status, 401);
    assert_eq!(ann.watch("/api/v1/things:watch", None).await.err().unwrap().status, 403);
    assert_eq!(kim.watch("/api/v1/notes:watch?order_by=rank", None).await.err().unwrap().status, 400);
    assert_eq!(kim.watch("/api/v1/notes:watch?filter=mail%3D%22a%22", None).await.err().unwrap().problem(), "use-query-body");
    assert!(app.anonymous().watch("/api/v1/posts:watch", None).await.is_ok());
    app.finish().await;
}

async fn a_stream_goes_on_where_it_ended(backend: Backend) {
    let app = start(backend).await;
    let kim = app.person("kim", &["member"]).await;
    let mut events = open(&kim, "/api/v1/things:watch").await;
    let begun = events.last.clone();
    let mut ids = Vec::new();
    for at in 0..5 {
        ids.push(kim.create("things", json!({ "text": format!("t{at}") })).await);
    }
    assert_eq!(kind(&mut events).await, ("create".to_owned(), ids[0].clone()));
    assert_eq!(kind(&mut events).await, ("create".to_owned(), ids[1].clone()));
    let seen = events.last.clone();
    drop(events);
    kim.delete(&format!("/api/v1/things/{}", ids[4])).await.expect(204);
    // What has no place yet when a stream begins is not missed: it is told as it happens.
    app.house.gate.settle().await;
    // What is gone by now is not told as it was.
    let missed = [("create", 2), ("create", 3), ("delete", 4)].map(|(kind, at)| (kind.to_owned(), ids[at].clone()));
    let mut events = kim.watch("/api/v1/things:watch", Some(&seen)).await.unwrap_or_else(|reply| panic!("{}", reply.text()));
    assert_eq!(events.next().await.unwrap().0, "ready");
    for expected in &missed {
        assert_eq!(&kind(&mut events).await, expected);
    }
    let more = kim.create("things", json!({ "text": "more" })).await;
    assert_eq!(kind(&mut events).await, ("create".to_owned(), more));
    drop(events);
    // Another process knows it too.
    let app = app.restart().await;
    let kim = Person::with_token(&app, &kim.renewed(&app));
    // What has changed since is told as it is now.
    kim.patch(&format!("/api/v1/things/{}", ids[0]), json!({ "text": "now" })).await.expect(200);
    app.house.gate.settle().await;
    let mut events = kim.watch("/api/v1/things:watch", Some(&begun)).await.unwrap_or_else(|reply| panic!("{}", reply.text()));
    events.next().await;
    assert_eq!(events.next().await.unwrap().1["record"]["text"], "now");
    // A position is one that was given, and is kept for a while.
    for wrong in ["x", "", "AAAA"] {
        let refused = kim.watch("/api/v1/things:watch", Some(wrong)).await;
        assert_eq!(refused.err().map(|reply| reply.status), (!wrong.is_empty()).then_some(400));
    }
    app.clock.advance_ms(25 * 3_600_000);
    app.house.gate.forget_images().await;
    let kim = kim.renewed(&app);
    let gone = kim.watch("/api/v1/things:watch", Some(&seen)).await.err().unwrap();
    assert_eq!((gone.status, gone.problem().as_str()), (410, "position-gone"));
    app.finish().await;
}

/// SESS-02, T-stale [V7.4.1 V7.4.2]: who was disabled, lost a role or signed out is told no more.
async fn streams_end_with_their_caller(backend: Backend) {
    let app = start(backend).await;
    let (kim, lee) = (app.person("kim", &["member"]).await, app.person("lee", &["member"]).await);
    let (mut mine, mut theirs) = (open(&kim, "/api/v1/things:watch").await, open(&lee, "/api/v1/things:watch").await);
    let operator = app.house.identity.operator("root");
    operator.set_roles(&lee.id, &["auditor".to_owned()]).await.unwrap();
    assert_eq!(theirs.next().await, Some(("end".to_owned(), json!({ "reason": "signed_out" }))));
    assert_eq!(theirs.next().await, None);
    operator.set_disabled(&kim.id, true).await.unwrap();
    assert_eq!(mine.next().await, Some(("end".to_owned(), json!({ "reason": "signed_out" }))));
    assert_eq!(kim.watch("/api/v1/things:watch", None).await.err().unwrap().status, 401);
    app.finish().await;
}

/// T-stale: a stream ends with its caller's credential, for every form of the path, and also while it catches up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_stream_outlives_its_caller() {
    let app = start(Backend::Sqlite).await;
    let (kim, lee) = (app.person("kim", &["member"]).await, app.person("lee", &["member"]).await);
    let operator = app.house.identity.operator("root");
    let mut events = open(&kim, "/api/v1/things%3Awatch").await;
    let begun = events.last.clone();
    for at in 0..30 {
        let create = |number: usize| json!({ "create": "things", "data": { "text": format!("{at} {number}") } });
        lee.post("/api/v1:batch", json!({ "operations": (0..100).map(create).collect::<Vec<_>>() })).await.expect(200);
    }
    let mut late = kim.watch("/api/v1/things:watch", Some(&begun)).await.unwrap_or_else(|reply| panic!("{}", reply.text()));
    assert_eq!([kind(&mut late).await.0, kind(&mut late).await.0], ["ready", "create"]);
    operator.set_disabled(&kim.id, true).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    for stream in [&mut events, &mut late] {
        let mut more = 0;
        let reason = loop {
            let (kind, data) = stream.next().await.unwrap();
            if kind == "end" {
                break data["reason"].clone();
            }
            more += 1;
        };
        assert_eq!(reason, "signed_out");
        assert!(more < 2, "{more} records were told after the end");
    }
    app.finish().await;
}

/// A write to what policy looks into, and other policies, say that the list is to be read again.
async fn what_decides_is_watched_too(backend: Backend) {
    let app = start(backend).await;
    let (kim, ada) = (app.person("kim", &["member"]).await, app.person("ada", &["admin"]).await);
    let parent = kim.create("notes", json!({ "title": "shared" })).await;
    // What was committed has its position now.
    app.house.gate.settle().await;
    let mut events = open(&ada, "/api/v1/notes:watch").await;
    let child = kim.create("notes", json!({ "title": "c", "parent": parent })).await;
    assert_eq!(kind(&mut events).await, ("create".to_owned(), child));
    assert_eq!(kind(&mut events).await.0, "resync");
    kim.patch(&format!("/api/v1/notes/{parent}"), json!({ "title": "private" })).await.expect(200);
    assert_eq!(kind(&mut events).await.0, "resync");
    let policy = app.root.join("policies/main.cedar");
    let text = std::fs::read_to_string(&policy).unwrap();
    let reload = |text: &str| {
        std::fs::write(&policy, text).unwrap();
        app.house.gate.replace(haechi::app::folder::load(&app.root).unwrap().0);
    };
    reload(&text.replace("== \"shared\"", "== \"common\""));
    assert_eq!(kind(&mut events).await.0, "resync");
    reload(&text.replace(
        "Action::\"watch\"], resource is notes) when { resource has parent",
        "Action::\"list\"], resource is notes) when { resource has parent",
    ));
    assert_eq!(events.next().await, Some(("end".to_owned(), json!({ "reason": "refused" }))));
    app.finish().await;
}

/// GQL-08, DOS [V2.4.1]: a reader that does not read is cut off with its buffer; a caller holds no more streams than their share.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_readers_are_cut_and_streams_are_counted() {
    let app = TestApp::start(Backend::Sqlite, &files("[live]\nstreams_per_caller = 3\n")).await;
    let kim = app.person("kim", &["member"]).await;
    let mut slow = open(&kim, "/api/v1/things:watch").await;
    let others = [open(&kim, "/api/v1/things:watch").await, open(&kim, "/api/v1/things:watch").await];
    let refused = kim.watch("/api/v1/things:watch", None).await.err().unwrap();
    assert_eq!((refused.status, refused.problem().as_str()), (429, "too-many-requests"));
    drop(others);
    let mut reader = open(&kim, "/api/v1/things:watch").await;
    let mut made = Vec::new();
    for _ in 0..6 {
        let create = |at: usize| json!({ "create": "things", "data": { "text": format!("t{at}") } });
        let reply = kim.post("/api/v1:batch", json!({ "operations": (0..50).map(create).collect::<Vec<_>>() })).await.expect(200).json();
        made.extend(reply["results"].as_array().unwrap().iter().map(|result| result["id"].as_str().unwrap().to_owned()));
        for _ in 0..50 {
            reader.next().await;
        }
    }
    // What was queued is read; then the end says why, and the position goes on without loss.
    let mut read = Vec::new();
    let reason = loop {
        match slow.next().await.unwrap() {
            (kind, data) if kind == "create" => read.push(data["id"].as_str().unwrap().to_owned()),
            (kind, data) => break (kind, data),
        }
    };
    assert_eq!(reason, ("end".to_owned(), json!({ "reason": "slow" })));
    let mut again = kim.watch("/api/v1/things:watch", Some(&slow.last)).await.unwrap_or_else(|reply| panic!("{}", reply.text()));
    again.next().await;
    while read.len() < made.len() {
        read.push(kind(&mut again).await.1);
    }
    assert_eq!(read, made);
    app.finish().await;
}

/// Events cross nodes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_node_tells_too() {
    let app = start(Backend::Postgres).await;
    let kim = app.person("kim", &["member"]).await;
    let second = app.second_node().await;
    let there = Person::with_token(&second, &kim);
    let mut events = open(&there, "/api/v1/things:watch").await;
    let id = kim.create("things", json!({ "text": "x" })).await;
    assert_eq!(kind(&mut events).await, ("create".to_owned(), id));
    app.house.identity.operator("root").set_disabled(&kim.id, true).await.unwrap();
    assert_eq!(events.next().await, Some(("end".to_owned(), json!({ "reason": "signed_out" }))));
    second.finish().await;
    app.finish().await;
}
