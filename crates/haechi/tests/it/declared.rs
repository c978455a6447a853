//! Actions that a collection declares: policy says who, a handler says what, and nothing else changes.

use crate::fixture::FILES;
use futures_util::future::join_all;
use haechi::{Act, Acted, gate::Create, http::routes::stack, problem::Problem};
use haechi_testkit::{Backend, Person, TestApp, on_both, with_more};
use serde_json::json;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

on_both!(
    policy_decides_and_the_handler_does,
    a_body_is_read_as_declared,
    a_request_is_done_once,
    fifty_publish_one_note,
    what_a_handler_adds_is_done_with_it_or_not_at_all,
    guarded_fields_stay_guarded,
    keys_reach_an_action_by_its_name,
);

const ACTIONS: &str = r#"
[actions.publish]
input = { reason = { type = "text", required = true, max_length = 20 }, rank = { type = "int", default = 10, max = 100 } }
[actions.whisper]
[actions.count]
[actions.clash]
[[checks]]
that = "rank != 95"
message = "95 is kept for others"
"#;
const POLICIES: &str = r#"
permit (principal in Role::"member", action == Action::"publish", resource is notes) when { resource.author == principal && !(resource has rank) };
permit (principal, action in [Action::"whisper", Action::"count", Action::"clash"], resource is notes);
"#;

async fn publish(act: Act) -> Result<Acted, Problem> {
    let reason = act.input("reason").and_then(|reason| reason.as_text()).unwrap().to_owned();
    let rank = act.input("rank").and_then(|rank| rank.as_int()).unwrap();
    act.only_if_unchanged().change(&json!({"body": reason, "rank": rank})).await
}

async fn whisper(act: Act) -> Result<Acted, Problem> {
    act.change(&json!({"secret": "hush"})).await
}

/// Adds a thing in the same change, under the caller's own grant.
async fn count(mut act: Act) -> Result<Acted, Problem> {
    let things = act.ask().app().collection("things").unwrap();
    let (id, text) = (things.id, things.field("text").unwrap());
    if let Ok(grant) = act.ask().on::<Create>(id) {
        grant.insert(&mut act.work, vec![(text, haechi::model::Value::text("counted"))]).unwrap();
    }
    act.change(&json!({"rank": 5})).await
}

/// Adds a note whose slug is taken.
async fn clash(mut act: Act) -> Result<Acted, Problem> {
    let notes = act.ask().app().collection("notes").unwrap();
    let (id, title, slug) = (notes.id, notes.field("title").unwrap(), notes.field("slug").unwrap());
    let text = haechi::model::Value::text;
    act.ask().on::<Create>(id).unwrap_or_else(|_| panic!("no grant")).insert(&mut act.work, vec![(title, text("t")), (slug, text("taken"))]).unwrap();
    act.change(&json!({"rank": 6})).await
}

async fn start(backend: Backend) -> (TestApp, Arc<AtomicUsize>) {
    let files = with_more(FILES, &[("collections/notes.toml", ACTIONS), ("policies/main.cedar", POLICIES)]);
    let mut app = TestApp::start(backend, &files).await;
    let runs = Arc::new(AtomicUsize::new(0));
    assert!(app.house.handled().unwrap_err().to_string().contains("notes:clash, notes:count, notes:publish, notes:whisper"));
    let runs_of_publish = runs.clone();
    app.house.handlers.add("notes", "publish", move |act| {
        runs_of_publish.fetch_add(1, Ordering::Relaxed);
        publish(act)
    });
    app.house.handlers.add("notes", "whisper", whisper);
    app.house.handlers.add("notes", "count", count);
    app.house.handlers.add("notes", "clash", clash);
    app.house.handled().unwrap();
    app.stack = Arc::new(stack(&app.house, haechi::Mode::Dev));
    (app, runs)
}

const REASON: &str = "{\"reason\":\"ready\"}";

async fn act(who: &Person, id: &str, action: &str, headers: &[(&str, &str)], body: &str) -> haechi_testkit::Reply {
    let headers: Vec<(&str, &str)> = [("content-type", "application/json")].into_iter().chain(headers.iter().copied()).collect();
    who.send("POST", &format!("/api/v1/notes/{id}:{action}"), &headers, body.as_bytes().to_vec()).await
}

/// [V8.2.1 V8.2.2 V8.3.1]
async fn policy_decides_and_the_handler_does(backend: Backend) {
    let (app, runs) = start(backend).await;
    let (kim, lee, auditor) = (app.person("kim", &["member"]).await, app.person("lee", &["member"]).await, app.person("ann", &["auditor"]).await);
    let id = kim.create("notes", json!({"title": "t"})).await;
    assert_eq!(act(&app.anonymous(), &id, "publish", &[], REASON).await.status, 401);
    assert_eq!(act(&lee, &id, "publish", &[], REASON).await.status, 404, "what one may not read is not there");
    let refused = act(&auditor, &id, "publish", &[], REASON).await;
    assert_eq!((refused.status, refused.problem().as_str()), (403, "forbidden"), "who reads it is told that they may not");
    assert_eq!(act(&kim, "01920000-0000-7000-8000-00000000ffff", "publish", &[], REASON).await.status, 404);
    for unknown in ["erase", "update", "query", "publish:publish", ""] {
        assert_eq!(act(&kim, &id, unknown, &[], REASON).await.status, 404, "{unknown}");
    }
    let things = kim.create("things", json!({"text": "t"})).await;
    assert_eq!(kim.send("POST", &format!("/api/v1/things/{things}:publish"), &[], Vec::new()).await.status, 404, "declared on notes alone");
    let plain = kim.send("POST", &format!("/api/v1/notes/{id}"), &[("content-type", "application/json")], b"{}".to_vec()).await;
    assert_eq!((plain.status, plain.header("allow")), (405, "GET,HEAD,PATCH,DELETE"));
    assert_eq!(act(&kim, &id, "publish", &[("if-match", "\"7\"")], REASON).await.status, 412);
    assert_eq!(runs.load(Ordering::Relaxed), 0, "a handler runs for those who may, and for nobody else");
    let done = act(&kim, &id, "publish", &[("if-match", "\"1\"")], REASON).await.expect(200);
    let note = done.json();
    assert_eq!((&note["body"], &note["rank"], &note["version"], done.header("etag")), (&json!("ready"), &json!(10), &json!(2), "\"2\""));
    assert_eq!(act(&kim, &id, "publish", &[], REASON).await.status, 403, "the action has ended the state that allowed it");
    let ledger = app.ledger().await;
    let entry = ledger.iter().find(|entry| entry["action"] == "publish" && entry["outcome"] == "allowed").unwrap();
    assert!(entry.to_string().contains(&id) && entry.to_string().contains("ready"), "{entry}");
    assert!(ledger.iter().any(|entry| entry["action"] == "publish" && entry["outcome"] == "refused"));
    app.finish().await;
}

async fn a_body_is_read_as_declared(backend: Backend) {
    let (app, runs) = start(backend).await;
    let kim = app.person("kim", &["member"]).await;
    let id = kim.create("notes", json!({"title": "t"})).await;
    for (body, pointer, code) in [
        ("{}", "/reason", "required"),
        ("", "/reason", "required"),
        ("{\"reason\":null}", "/reason", "required"),
        ("{\"reason\":7}", "/reason", "type"),
        ("{\"reason\":\"012345678901234567890\"}", "/reason", "too_long"),
        ("{\"reason\":\"r\",\"rank\":101}", "/rank", "out_of_range"),
        ("{\"reason\":\"r\",\"body\":\"b\"}", "/body", "unknown_field"),
        ("{\"reason\":\"r\",\"id\":\"x\"}", "/id", "read_only"),
    ] {
        let reply = act(&kim, &id, "publish", &[], body).await;
        let error = reply.json()["errors"][0].clone();
        assert_eq!((reply.status, &error["pointer"]), (422, &json!(pointer)), "{body}: {}", reply.text());
        assert!(error["code"].as_str().unwrap().contains(code) || code == "type", "{body}: {error}");
    }
    for body in ["[]", "\"x\"", "{", "{\"reason\":\"a\",\"reason\":\"b\"}"] {
        assert_eq!(act(&kim, &id, "publish", &[], body).await.status, 400, "{body}");
    }
    let typed = kim.send("POST", &format!("/api/v1/notes/{id}:publish"), &[("content-type", "text/plain")], REASON.as_bytes().to_vec()).await;
    assert_eq!(typed.status, 415);
    assert_eq!(kim.send("POST", &format!("/api/v1/notes/{id}:publish?x=1"), &[], Vec::new()).await.status, 400);
    assert_eq!(runs.load(Ordering::Relaxed), 0);
    // What the handler makes of the row keeps the collection's checks.
    let refused = act(&kim, &id, "publish", &[], "{\"reason\":\"r\",\"rank\":95}").await.expect(422).json();
    assert_eq!(refused["errors"][0]["detail"], "95 is kept for others", "{refused}");
    let done = act(&kim, &id, "publish", &[], "{\"reason\":\"r\",\"rank\":99}").await.expect(200);
    assert_eq!(done.json()["rank"], json!(99));
    app.finish().await;
}

/// An idempotency key makes the handler run once, also when the action has ended the state that allowed it.
async fn a_request_is_done_once(backend: Backend) {
    let (app, runs) = start(backend).await;
    let kim = app.person("kim", &["member"]).await;
    let id = kim.create("notes", json!({"title": "t"})).await;
    let first = act(&kim, &id, "publish", &[("idempotency-key", "once")], REASON).await.expect(200);
    let again = act(&kim, &id, "publish", &[("idempotency-key", "once")], REASON).await.expect(200);
    assert_eq!((first.json(), again.header("idempotency-replayed")), (again.json(), "true"));
    assert_eq!(runs.load(Ordering::Relaxed), 1);
    let other = act(&kim, &id, "publish", &[("idempotency-key", "once")], "{\"reason\":\"other\"}").await;
    assert_eq!((other.status, other.problem().as_str()), (422, "idempotency-key-reused"));
    app.finish().await;
}

/// AC-10, AC-19 [V2.3.3]: the decision and the change are one.
async fn fifty_publish_one_note(backend: Backend) {
    let (app, _) = start(backend).await;
    let kim = app.person("kim", &["member"]).await;
    let id = kim.create("notes", json!({"title": "t"})).await;
    let statuses = join_all((0..50).map(|_| async { act(&kim, &id, "publish", &[], REASON).await.status })).await;
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| matches!(status, 200 | 403 | 409 | 412)), "{statuses:?}");
    app.finish().await;
}

async fn what_a_handler_adds_is_done_with_it_or_not_at_all(backend: Backend) {
    let (app, _) = start(backend).await;
    let (kim, auditor) = (app.person("kim", &["member"]).await, app.person("ann", &["auditor"]).await);
    let id = kim.create("notes", json!({"title": "t"})).await;
    let counted = async || kim.get("/api/v1/things").await.json()["items"].as_array().unwrap().len();
    act(&kim, &id, "count", &[], "").await.expect(200);
    assert_eq!(counted().await, 1);
    assert_eq!(act(&kim, &id, "count", &[("if-match", "\"1\"")], "").await.status, 412);
    assert_eq!(counted().await, 1, "what was refused leaves nothing");
    act(&auditor, &id, "count", &[], "").await.expect(200);
    assert_eq!(counted().await, 1, "an auditor creates no things, in a handler neither");
    let clash = kim.create("notes", json!({"title": "t", "slug": "taken"})).await;
    let beside = act(&kim, &clash, "clash", &[], "").await;
    assert_eq!((beside.status, beside.problem().as_str()), (409, "conflict"), "{}", beside.text());
    assert!(beside.json()["errors"].is_null(), "what another record met says nothing of the fields of this one");
    app.finish().await;
}

/// A handler writes what its caller may write: a class beyond `internal` needs its own permission.
async fn guarded_fields_stay_guarded(backend: Backend) {
    let (app, _) = start(backend).await;
    let (kim, auditor) = (app.person("kim", &["member"]).await, app.person("ann", &["auditor"]).await);
    let id = kim.create("notes", json!({"title": "open", "secret": "mine"})).await;
    let refused = act(&auditor, &id, "whisper", &[], "").await;
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert_eq!(auditor.get(&format!("/api/v1/notes/{id}")).await.json()["secret"], json!("mine"));
    let done = act(&kim, &id, "whisper", &[], "").await.expect(200);
    assert!(done.json()["secret"].is_null() && done.text().contains("_masked"), "who may write it need not be shown it");
    assert_eq!(auditor.get(&format!("/api/v1/notes/{id}")).await.json()["secret"], json!("hush"));
    app.finish().await;
}

/// [V8.2.1] A key's star means the verbs, not what is declared.
async fn keys_reach_an_action_by_its_name(backend: Backend) {
    let (app, _) = start(backend).await;
    let operator = app.house.identity.operator("test");
    let key = async |name: &str, scopes: &[&str]| {
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        let new = haechi_identity::NewKey { label: name.to_owned(), scopes, ..Default::default() };
        app.bearer(&operator.create_service_key(name, &["auditor".to_owned()], &new).await.unwrap().0)
    };
    let kim = app.person("kim", &["member"]).await;
    let id = kim.create("notes", json!({"title": "t"})).await;
    let (star, named) = (key("star", &["*:*"]).await, key("named", &["notes:count", "notes:read"]).await);
    assert_eq!(act(&star, &id, "count", &[], "").await.status, 403);
    act(&named, &id, "count", &[], "").await.expect(200);
    assert_eq!(act(&named, &id, "whisper", &[], "").await.status, 403);
    app.finish().await;
}
