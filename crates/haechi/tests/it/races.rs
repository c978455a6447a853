//! Fifty at once: exactly one wins.

use crate::fixture::FILES;
use futures_util::future::join_all;
use haechi_testkit::{Backend, TestApp, on_both, with_more};
use serde_json::{Value, json};

on_both!(
    fifty_keys_and_sessions_are_as_many_as_allowed,
    fifty_want_one_unique_value,
    fifty_send_one_key,
    what_fails_takes_nobody_with_it,
    fifty_update_one_version,
    fifty_merge_into_one_row,
    a_write_that_was_told_is_read,
    batches_in_opposite_order_all_pass
);

const RACERS: usize = 50;

async fn fifty_want_one_unique_value(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let kim = app.person("kim", &["member"]).await;
    let replies = join_all((0..RACERS).map(|at| {
        let kim = kim.clone();
        async move { kim.post("/api/v1/notes", json!({"title": "t", "slug": if at % 2 == 0 { "Same" } else { "same" }})).await }
    }))
    .await;
    assert_eq!(replies.iter().filter(|reply| reply.status == 201).count(), 1);
    for reply in replies.iter().filter(|reply| reply.status != 201) {
        assert_eq!((reply.status, reply.problem().as_str(), &reply.json()["errors"][0]["pointer"]), (409, "not-unique", &json!("/slug")));
    }
    app.finish().await;
}

async fn fifty_send_one_key(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let kim = app.person("kim", &["member"]).await;
    let replies = join_all((0..RACERS).map(|_| {
        let kim = kim.clone();
        async move {
            kim.send("POST", "/api/v1/notes", &[("content-type", "application/json"), ("idempotency-key", "once")], b"{\"title\":\"t\"}".to_vec())
                .await
        }
    }))
    .await;
    let mut ids: Vec<String> = replies.iter().map(|reply| reply.json()["id"].as_str().unwrap_or_default().to_owned()).collect();
    assert!(replies.iter().all(|reply| reply.status == 201), "{:?}", replies.iter().map(|reply| reply.status).collect::<Vec<_>>());
    ids.dedup();
    assert_eq!(ids.len(), 1);
    assert_eq!(kim.get("/api/v1/notes").await.json()["items"].as_array().unwrap().len(), 1);
    app.finish().await;
}

/// Changes of many callers are written together. One that fails after it wrote (its idempotency key) is undone alone.
async fn what_fails_takes_nobody_with_it(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let kim = app.person("kim", &["member"]).await;
    kim.create("notes", json!({"title": "first", "slug": "taken"})).await;
    let create = |at: usize, key: &str, slug: Option<&str>| {
        let (kim, headers) = (kim.clone(), [("content-type", "application/json".to_owned()), ("idempotency-key", format!("{key}-{at}"))]);
        let body = json!({"title": format!("t{at}"), "slug": slug}).to_string().into_bytes();
        async move { kim.send("POST", "/api/v1/notes", &headers.each_ref().map(|(name, value)| (*name, value.as_str())), body).await }
    };
    let replies = join_all((0..RACERS).map(|at| create(at, "k", (at % 3 == 0).then_some("taken")))).await;
    for (at, reply) in replies.iter().enumerate() {
        assert_eq!(reply.status, if at % 3 == 0 { 409 } else { 201 }, "{at}: {}", reply.text());
        if reply.status == 201 {
            kim.get(&format!("/api/v1/notes/{}", reply.json()["id"].as_str().unwrap())).await.expect(200);
        }
    }
    let rows = RACERS - RACERS.div_ceil(3) + 1;
    assert_eq!(kim.get("/api/v1/notes?page_size=100").await.json()["items"].as_array().unwrap().len(), rows);
    // A key whose change failed was not used: it is free for another. One that did something is not.
    for at in [0, 3, 48] {
        assert_eq!(create(at, "k", None).await.status, 201);
    }
    assert_eq!(create(1, "k", Some("other")).await.problem(), "idempotency-key-reused");
    app.finish().await;
}

async fn fifty_update_one_version(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let kim = app.person("kim", &["member"]).await;
    let id = kim.create("notes", json!({"title": "t", "rank": 0})).await;
    let replies = join_all((0..RACERS).map(|at| {
        let (kim, path) = (kim.clone(), format!("/api/v1/notes/{id}"));
        async move {
            kim.send(
                "PATCH",
                &path,
                &[("content-type", "application/json"), ("if-match", "\"1\"")],
                format!("{{\"rank\":{}}}", at + 100).into_bytes(),
            )
            .await
        }
    }))
    .await;
    assert_eq!(replies.iter().filter(|reply| reply.status == 200).count(), 1);
    assert!(replies.iter().all(|reply| matches!(reply.status, 200 | 412)));
    app.finish().await;
}

async fn fifty_merge_into_one_row(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let kim = app.person("kim", &["member"]).await;
    let id = kim.create("notes", json!({"title": "t"})).await;
    let replies = join_all((0..RACERS).map(|at| {
        let (kim, path) = (kim.clone(), format!("/api/v1/notes/{id}"));
        async move { kim.patch(&path, if at % 2 == 0 { json!({"body": "b"}) } else { json!({"rank": 5}) }).await }
    }))
    .await;
    assert!(replies.iter().all(|reply| reply.status == 200));
    let note = kim.get(&format!("/api/v1/notes/{id}")).await.json();
    assert_eq!((&note["body"], &note["rank"], &note["version"]), (&json!("b"), &json!(5), &json!(RACERS + 1)));
    app.finish().await;
}

/// Readers share snapshots: never one from before a write that was answered.
async fn a_write_that_was_told_is_read(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let kim = app.person("kim", &["member"]).await;
    join_all((0..RACERS).map(|_| {
        let kim = kim.clone();
        async move {
            let path = format!("/api/v1/notes/{}", kim.create("notes", json!({"title": "t"})).await);
            for turn in 1..=20 {
                let (written, other) = tokio::join!(kim.patch(&path, json!({"body": turn.to_string()})), kim.get(&path));
                assert_eq!((written.status, other.status), (200, 200));
                assert_eq!(kim.get(&path).await.json()["body"], json!(turn.to_string()));
            }
        }
    }))
    .await;
    app.finish().await;
}

/// At most so many means at most so many, when fifty come at once: keys are refused, the oldest sessions end.
async fn fifty_keys_and_sessions_are_as_many_as_allowed(backend: Backend) {
    const PASSWORD: &str = "seven purple otters dance";
    let files = haechi_testkit::with_more(FILES, &[]);
    let mut files: Vec<(&str, String)> = files.into_iter().collect();
    files[0].1.push_str("\n[auth]\nsign_up = \"open\"\nsessions = 5\n");
    let app = TestApp::start(backend, &files).await;
    let body = json!({"email": "kim@example.com", "password": PASSWORD});
    app.anonymous().post("/auth/v1/sign-up", body.clone()).await.expect(202);
    let token = app.anonymous().post("/auth/v1/sign-in", body.clone()).await.expect(200).json()["token"].as_str().unwrap().to_owned();
    let kim = app.bearer(&token);
    let new = || json!({"label": "k", "scopes": ["notes:read"]});
    for _ in 0..45 {
        kim.post("/auth/v1/keys", new()).await.expect(201);
    }
    let replies = join_all((0..RACERS).map(|_| {
        let kim = kim.clone();
        async move { kim.post("/auth/v1/keys", new()).await }
    }))
    .await;
    let count = |status: u16| replies.iter().filter(|reply| reply.status == status).count();
    assert_eq!((count(201), count(422)), (5, 45), "{:?}", replies.iter().map(|reply| reply.status).collect::<Vec<_>>());
    assert_eq!(kim.get("/auth/v1/keys").await.expect(200).json()["items"].as_array().unwrap().len(), 50);

    // So many sign-ins at once as the throttle lets in.
    let device = app.anonymous().post("/auth/v1/sign-in", body.clone()).await.expect(200).json()["device"].clone();
    let replies = join_all((0..RACERS).map(|_| {
        let (nobody, mut body) = (app.anonymous(), body.clone());
        body["device"] = device.clone();
        async move { nobody.post("/auth/v1/sign-in", body).await }
    }))
    .await;
    let tokens: Vec<String> =
        replies.iter().filter(|reply| reply.status == 200).map(|reply| reply.json()["token"].as_str().unwrap().to_owned()).collect();
    assert!(tokens.len() > 5 && replies.iter().all(|reply| matches!(reply.status, 200 | 429 | 503)), "{} begun", tokens.len());
    let mut alive = 0;
    for token in &tokens {
        alive += usize::from(app.bearer(token).get("/auth/v1/me").await.status == 200);
    }
    assert_eq!(alive, 5, "of {} sessions", tokens.len());
    app.finish().await;
}

/// DOS: batches that change the same records in opposite order all pass; nobody's batch waits for a record that is not its caller's.
async fn batches_in_opposite_order_all_pass(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let kim = app.person("kim", &["member"]).await;
    let mut ids = Vec::new();
    for at in 0..6 {
        ids.push(kim.create("notes", json!({"title": format!("n{at}")})).await);
    }
    let batch = |ids: &[String], rank: usize| {
        let operations: Vec<Value> = ids.iter().map(|id| json!({"update": "notes", "id": id, "data": {"body": format!("{rank}")}})).collect();
        json!({ "operations": operations })
    };
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..8 {
        let mut ids = ids.clone();
        if client % 2 == 1 {
            ids.reverse();
        }
        ids.rotate_left(client / 2);
        let (kim, bodies) = (kim.clone(), (0..15).map(|run| batch(&ids, client * 15 + run)).collect::<Vec<_>>());
        clients.spawn(async move {
            for body in bodies {
                kim.post("/api/v1:batch", body).await.expect(200);
            }
        });
    }
    clients.join_all().await;
    for id in &ids {
        assert_eq!(kim.get(&format!("/api/v1/notes/{id}")).await.expect(200).json()["version"], 121);
    }
    app.verify().await;
    app.finish().await;
}

/// What somebody else holds for too long is told as such, within the time of a request, and nothing was done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_hold_is_contended() {
    let app = TestApp::start(Backend::Postgres, &with_more(FILES, &[("haechi.toml", "[limits]\nrequest_ms = 1500")])).await;
    let (kim, lee) = (app.person("kim", &["member"]).await, app.person("lee", &["member"]).await);
    let id = kim.create("notes", json!({"title": "held"})).await;
    let theirs = lee.create("notes", json!({"title": "free"})).await;
    let haechi_model::DatabaseUrl::Postgres(url) = &app.house.gate.revision().app.config.database.url else { panic!("no PostgreSQL") };
    let (client, driver) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(driver);
    client.batch_execute(&format!("BEGIN; SELECT 1 FROM \"notes\" WHERE \"id\" = '{id}' FOR UPDATE")).await.unwrap();
    let path = format!("/api/v1/notes/{id}");
    let refused = kim.patch(&path, json!({"title": "mine"})).await.expect(503);
    assert_eq!((refused.problem().as_str(), refused.header("retry-after")), ("contended", "1"));
    // A batch of somebody who may not change it does not wait for it.
    let both =
        json!({"operations": [{"update": "notes", "id": theirs, "data": {"title": "x"}}, {"update": "notes", "id": id, "data": {"title": "x"}}]});
    assert_eq!(lee.post("/api/v1:batch", both).await.expect(404).problem(), "not-found");
    client.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(kim.get(&path).await.expect(200).json()["title"], "held");
    kim.patch(&path, json!({"title": "mine"})).await.expect(200);
    app.finish().await;
}
