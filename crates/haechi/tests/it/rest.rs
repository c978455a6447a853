//! Records over REST: what honest callers get.

use crate::fixture::FILES;
use haechi_testkit::{Backend, TestApp, on_both};
use serde_json::{Value, json};

on_both!(
    a_record_lives,
    types_round_trip,
    pages_cover_everything_once,
    masks_follow_the_row,
    batches_are_whole,
    keys_act_once,
    deletes_follow_references,
    expansion_shows_what_is_readable,
    anonymous_reach,
    filters_find
);

async fn a_record_lives(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let (kim, lee) = (app.person("kim", &["member"]).await, app.person("lee", &["member"]).await);
    let created = kim.post("/api/v1/notes", json!({"title": "One", "body": "b", "mail": "A@Example.com"})).await.expect(201);
    let id = created.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(created.header("location"), format!("/api/v1/notes/{id}"));
    assert_eq!(created.header("etag"), "\"1\"");
    assert_eq!(created.json()["author"], kim.id);
    assert_eq!(created.json()["mail"], "a@example.com");
    assert_eq!(created.json()["_masked"], json!(["secret"]));
    let path = format!("/api/v1/notes/{id}");
    assert_eq!(kim.get(&path).await.expect(200).json(), created.json());
    // Another's note looks like one that is not there.
    let hidden = lee.get(&path).await.expect(404);
    let missing = lee.get("/api/v1/notes/01920000-0000-7000-8000-00000000ffff").await.expect(404);
    assert_eq!(hidden.problem(), missing.problem());
    assert_eq!(lee.patch(&path, json!({"title": "x"})).await.status, 404);
    assert_eq!(lee.delete(&path).await.status, 404);
    // Merging, clearing, and the version.
    let changed = kim.patch(&path, json!({"body": null, "rank": 7})).await.expect(200);
    assert_eq!((changed.json()["body"].clone(), changed.json()["rank"].clone(), changed.header("etag")), (Value::Null, json!(7), "\"2\""));
    let stale = kim.send("PATCH", &path, &[("content-type", "application/json"), ("if-match", "\"1\"")], b"{\"rank\":8}".to_vec()).await;
    assert_eq!((stale.status, stale.problem().as_str()), (412, "version-mismatch"));
    kim.send("PATCH", &path, &[("content-type", "application/json"), ("if-match", "\"2\"")], b"{\"rank\":8}".to_vec()).await.expect(200);
    // Policy on the row as it becomes: nobody gives a note away, and a forbid holds.
    assert_eq!(kim.patch(&path, json!({"author": lee.id})).await.status, 422, "users are not readable, so the reference is unknown");
    kim.patch(&path, json!({"rank": 13})).await.expect(403);
    assert_eq!(kim.get(&path).await.json()["rank"], 8);
    kim.send("DELETE", &path, &[("if-match", "\"1\"")], Vec::new()).await.expect(412);
    kim.delete(&path).await.expect(204);
    kim.get(&path).await.expect(404);
    app.finish().await;
}

/// [V1.4.2 V15.3.5]: every type keeps its value, at its bounds too.
async fn types_round_trip(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let kim = app.person("kim", &["member"]).await;
    let thing = json!({
        "text": "é😀\u{7f} \"q\" \\ \n", "folded": "Straße", "site": "https://example.com/a?b=c", "code": "01920000-0000-7000-8000-00000000abcd", "kind": "b",
        "small": -9_007_199_254_740_991_i64, "large": "-9223372036854775808", "price": "-12345678.90", "ratio": 0.1, "flag": true,
        "at": "2024-02-29T14:59:59.999Z", "day": "0001-01-01", "data": {"a": [1, 2.50, "x", null, {"b": {}}]}, "tags": ["a", "b\"c"], "numbers": [1, -2]
    });
    let made = kim.post("/api/v1/things", thing.clone()).await.expect(201).json();
    let id = made["id"].as_str().unwrap();
    let read = kim.get(&format!("/api/v1/things/{id}")).await.expect(200).json();
    for (name, value) in thing.as_object().unwrap() {
        assert_eq!(&read[name], value, "{name}");
        assert_eq!(&made[name], value, "{name}");
    }
    let empty = kim.create("things", json!({"text": ""})).await;
    let read = kim.get(&format!("/api/v1/things/{empty}")).await.expect(200).json();
    assert_eq!((read["kind"].clone(), read["flag"].clone(), read["price"].clone()), (json!("a"), json!(false), Value::Null));
    // -0, long fractions and offsets have one form.
    let id = kim.create("things", json!({"text": "x", "ratio": -0.0, "at": "2024-03-01T00:00:00.123456+09:00", "price": "1"})).await;
    let read = kim.get(&format!("/api/v1/things/{id}")).await.json();
    assert_eq!(
        (read["ratio"].to_string().as_str(), read["at"].as_str(), read["price"].as_str()),
        ("0.0", Some("2024-02-29T15:00:00.123Z"), Some("1.00"))
    );
    app.finish().await;
}

async fn pages_cover_everything_once(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let kim = app.person("kim", &["member"]).await;
    for at in 0..23 {
        let small = if at % 5 == 0 { Value::Null } else { json!(at % 4) };
        kim.create("things", json!({"text": format!("t{at:02}"), "small": small})).await;
    }
    for order in ["", "small", "small desc", "small desc, text", "text desc", "flag, small", "create_time desc"] {
        let (mut seen, mut token, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let page = kim
                .post(
                    "/api/v1/things:query",
                    if order.is_empty() {
                        json!({"page_size": 4, "page_token": token})
                    } else {
                        json!({"page_size": 4, "order_by": order, "page_token": token})
                    },
                )
                .await
                .expect(200)
                .json();
            seen.extend(page["items"].as_array().unwrap().iter().map(|item| (item["id"].as_str().unwrap().to_owned(), item["small"].clone())));
            pages += 1;
            match page["next_page_token"].as_str() {
                Some(next) => token = next.to_owned(),
                None => break,
            }
        }
        let mut ids: Vec<&String> = seen.iter().map(|(id, _)| id).collect();
        ids.sort();
        ids.dedup();
        assert_eq!((ids.len(), pages), (23, 6), "{order}");
        if order == "small" {
            let values: Vec<i64> = seen.iter().map(|(_, small)| small.as_i64().unwrap_or(-1)).collect();
            assert!(values.is_sorted(), "null is the smallest: {values:?}");
        }
    }
    // A token is bound to its query and its caller, and is never page one.
    let token = kim.get("/api/v1/things?page_size=2").await.json()["next_page_token"].as_str().unwrap().to_owned();
    kim.get(&format!("/api/v1/things?page_size=3&page_token={token}")).await.expect(200);
    let lee = app.person("lee", &["member"]).await;
    for (who, path) in [
        (&lee, format!("/api/v1/things?page_token={token}")),
        (&kim, format!("/api/v1/things?kind=a&page_token={token}")),
        (&kim, format!("/api/v1/notes?page_token={token}")),
        (&kim, "/api/v1/things?page_token=AAAA".to_owned()),
    ] {
        assert_eq!(who.get(&path).await.expect(400).problem(), "invalid-page-token");
    }
    app.clock.advance_ms(25 * 3_600_000);
    let kim = app.person("kim2", &["member"]).await;
    assert_eq!(kim.get(&format!("/api/v1/things?page_token={token}")).await.expect(400).problem(), "invalid-page-token");
    app.finish().await;
}

/// [V8.2.3 V15.3.1]: a reply has the fields that its reader may see, and names the others.
async fn masks_follow_the_row(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let (kim, judge) = (app.person("kim", &["member"]).await, app.person("judge", &["auditor"]).await);
    let open = kim.create("notes", json!({"title": "open", "secret": "s1", "mail": "a@b.cd"})).await;
    let closed = kim.create("notes", json!({"title": "closed", "secret": "s2"})).await;
    let page = judge.get("/api/v1/notes?order_by=title").await.expect(200).json();
    let items = page["items"].as_array().unwrap();
    assert_eq!((items[0]["id"].as_str(), items[0].get("secret"), &items[0]["_masked"]), (Some(&*closed), None, &json!(["secret", "mail"])));
    assert_eq!((items[1]["id"].as_str(), &items[1]["secret"], &items[1]["_masked"]), (Some(&*open), &json!("s1"), &json!(["mail"])));
    assert_eq!(judge.get(&format!("/api/v1/notes/{open}?fields=title")).await.json(), json!({"id": open, "title": "open"}));
    app.house.gate.settle().await;
    let seen: Vec<Value> = app.ledger().await.into_iter().filter(|entry| entry["actor"] == judge.id && entry["outcome"] == "allowed").collect();
    assert_eq!(seen.len(), 1, "one merged access entry: {seen:?}");
    assert_eq!((seen[0]["action"].as_str(), &seen[0]["detail"]["fields"]), (Some("list"), &json!(["secret"])));
    app.finish().await;
}

/// ERR-03 [V2.3.3 V2.2.2]: all of it or nothing, validated by the server.
async fn batches_are_whole(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let kim = app.person("kim", &["member"]).await;
    let reply = kim
        .post(
            "/api/v1:batch",
            json!({"operations": [
                {"create": "notes", "as": "first", "data": {"title": "parent"}},
                {"create": "notes", "data": {"title": "child", "parent": "$first.id"}},
                {"update": "notes", "id": "$first.id", "data": {"rank": 3}},
            ]}),
        )
        .await
        .expect(200)
        .json();
    let (parent, child, updated) = (&reply["results"][0], &reply["results"][1], &reply["results"][2]);
    assert_eq!((&child["parent"], &updated["rank"], &updated["version"]), (&parent["id"], &json!(3), &json!(2)));
    let before = kim.get("/api/v1/notes").await.json()["items"].as_array().unwrap().len();
    let reply = kim
        .post(
            "/api/v1:batch",
            json!({"operations": [{"create": "notes", "data": {"title": "lost"}}, {"create": "notes", "data": {"title": 5, "rank": 2000}}]}),
        )
        .await
        .expect(422)
        .json();
    let places: Vec<&str> = reply["errors"].as_array().unwrap().iter().map(|error| error["pointer"].as_str().unwrap()).collect();
    assert_eq!(places, ["/operations/1/data/title", "/operations/1/data/rank"]);
    let reply = kim.post("/api/v1:batch", json!({"operations": [{"create": "notes", "data": {"title": "lost"}}, {"delete": "notes", "id": "01920000-0000-7000-8000-00000000ffff"}]})).await.expect(404).json();
    assert_eq!(reply["errors"][0]["pointer"], "/operations/1/data");
    assert_eq!(kim.get("/api/v1/notes").await.json()["items"].as_array().unwrap().len(), before, "nothing of a failed batch is there");
    app.finish().await;
}

async fn keys_act_once(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let kim = app.person("kim", &["member"]).await;
    let send = |key: &'static str, body: &'static str| {
        let kim = kim.clone();
        async move { kim.send("POST", "/api/v1/notes", &[("content-type", "application/json"), ("idempotency-key", key)], body.as_bytes().to_vec()).await }
    };
    let first = send("k1", "{\"title\":\"a\"}").await.expect(201);
    let again = send("k1", "{\"title\":\"a\"}").await.expect(201);
    assert_eq!((first.json()["id"].clone(), again.header("idempotency-replayed")), (again.json()["id"].clone(), "true"));
    assert_eq!(send("k1", "{\"title\":\"b\"}").await.expect(422).problem(), "idempotency-key-reused");
    let other = app.person("lee", &["member"]).await;
    other
        .send("POST", "/api/v1/notes", &[("content-type", "application/json"), ("idempotency-key", "k1")], b"{\"title\":\"b\"}".to_vec())
        .await
        .expect(201);
    // A refusal is not stored: the key is still good.
    send("k2", "{\"title\":1}").await.expect(422);
    send("k2", "{\"title\":\"c\"}").await.expect(201);
    let app = app.restart().await;
    let kim = haechi_testkit::Person::clone(&app.person("kim3", &["member"]).await);
    kim.get("/api/v1/notes").await.expect(200);
    app.finish().await;
}

async fn deletes_follow_references(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let kim = app.person("kim", &["member"]).await;
    let root = kim.create("notes", json!({"title": "root"})).await;
    let child = kim.create("notes", json!({"title": "child", "parent": root})).await;
    let grandchild = kim.create("notes", json!({"title": "grandchild", "parent": child})).await;
    let friend = kim.create("notes", json!({"title": "friend", "friend": child})).await;
    kim.delete(&format!("/api/v1/notes/{root}")).await.expect(204);
    for gone in [&root, &child, &grandchild] {
        kim.get(&format!("/api/v1/notes/{gone}")).await.expect(404);
    }
    let friend = kim.get(&format!("/api/v1/notes/{friend}")).await.expect(200).json();
    assert_eq!((&friend["friend"], &friend["version"]), (&Value::Null, &json!(2)));
    let deletes = app.ledger().await.iter().filter(|entry| entry["action"] == "delete").count();
    assert_eq!(deletes, 3, "each row has an entry of its own");
    app.finish().await;
}

async fn expansion_shows_what_is_readable(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let (kim, lee) = (app.person("kim", &["member"]).await, app.person("lee", &["member", "auditor"]).await);
    let mine = kim.create("notes", json!({"title": "mine"})).await;
    let note = kim.create("notes", json!({"title": "with", "friend": mine})).await;
    let read = kim.get(&format!("/api/v1/notes/{note}?expand=friend,author")).await.expect(200).json();
    assert_eq!(read["_expanded"]["friend"]["title"], "mine");
    assert_eq!(read["_expanded"].get("author"), None, "users are not readable for a member");
    assert!(lee.get("/api/v1/notes?expand=friend").await.expect(200).text().contains("\"_expanded\":{\"friend\":{"));
    kim.get("/api/v1/notes?expand=title").await.expect(400);
    kim.get("/api/v1/notes?expand=friend.author").await.expect(400);
    app.finish().await;
}

async fn anonymous_reach(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let (nobody, admin) = (app.anonymous(), app.person("root", &["admin"]).await);
    let public = admin.create("posts", json!({"title": "p", "published": true, "reviewer": "me"})).await;
    let draft = admin.create("posts", json!({"title": "d"})).await;
    let items = nobody.get("/api/v1/posts").await.expect(200).json();
    assert_eq!(
        (items["items"].as_array().unwrap().len(), &items["items"][0]["id"], &items["items"][0]["_masked"]),
        (1, &json!(public), &json!(["reviewer"]))
    );
    nobody.get(&format!("/api/v1/posts/{draft}")).await.expect(404);
    let reason = admin.get("/api/v1/vault").await.expect(403).json()["detail"].clone();
    assert_eq!(reason, "no policy lets an admin list vault");
    for path in ["/api/v1/notes", "/api/v1/users", "/api/v1/vault"] {
        assert_eq!(nobody.get(path).await.expect(401).header("www-authenticate"), "Bearer");
    }
    nobody.post("/api/v1/posts", json!({"title": "x"})).await.expect(401);
    nobody.post("/api/v1:batch", json!({"operations": [{"create": "posts", "data": {"title": "x"}}]})).await.expect(401);
    app.finish().await;
}

async fn filters_find(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let kim = app.person("kim", &["member"]).await;
    for (text, folded, small, tags) in [
        ("100%", "ABC", json!(1), json!(["x"])),
        ("a_b", "abc", json!(2), json!(["x", "y"])),
        ("a\\b", "Straße", json!(null), json!([])),
        ("axb", "other", json!(4), json!(null)),
    ] {
        kim.create("things", json!({"text": text, "folded": folded, "small": small, "tags": tags})).await;
    }
    let count = |filter: &'static str| {
        let kim = kim.clone();
        async move { kim.post("/api/v1/things:query", json!({"filter": filter})).await.expect(200).json()["items"].as_array().unwrap().len() }
    };
    for (filter, expected) in [
        ("text = \"100%\"", 1),
        ("text:\"%\"", 1),
        ("text:\"_\"", 1),
        ("text:\"\\\\\"", 1),
        ("text:\"*\"", 0),
        ("folded = \"aBc\"", 2),
        ("folded = \"STRASSE\"", 1),
        ("folded:\"RASS\"", 1),
        ("small > 1", 2),
        ("small != 1", 3),
        ("NOT small > 1", 2),
        ("small = null", 1),
        ("small:*", 3),
        ("tags:\"x\"", 2),
        ("tags:\"x\" tags:\"y\"", 1),
        ("small = 1 OR small = 2 AND text:\"a\"", 1),
        ("small >= 1 AND -(text = \"100%\" OR text = \"axb\")", 1),
        ("create_time > \"2020-01-01T00:00:00Z\"", 4),
        ("flag = true", 0),
        ("kind = \"a\"", 4),
    ] {
        assert_eq!(count(filter).await, expected, "{filter}");
    }
    assert_eq!(kim.get("/api/v1/things?folded=ABC&small=2").await.expect(200).json()["items"].as_array().unwrap().len(), 1);
    app.finish().await;
}
