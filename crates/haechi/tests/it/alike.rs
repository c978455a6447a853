//! The same on both databases: what goes with a row, and what an index holds.

use haechi_testkit::{Backend, Person, TestApp, on_both};
use serde_json::{Value, json};

on_both!(
    a_row_that_refers_twice_goes_with_the_one_it_refers_to,
    circles_and_long_chains_go,
    what_a_row_that_stays_refers_to_stays,
    a_thousand_rows_go_and_no_more,
    hundreds_that_refer_twice_are_detached,
    an_indexed_text_has_so_many_bytes,
    a_reference_of_a_renamed_collection_is_changed,
);

const FILES: &[(&str, &str)] = &[
    ("haechi.toml", "roles = [\"staff\"]\n"),
    (
        "collections/parts.toml",
        "[fields]\nname = { type = \"text\" }\nof = { type = \"ref\", to = \"parts\", on_delete = \"cascade\" }\nbeside = { type = \"ref\", to = \"parts\", on_delete = \"set_null\" }\nlast = { type = \"ref\", to = \"parts\", on_delete = \"set_null\" }\nneeds = { type = \"ref\", to = \"parts\" }\n",
    ),
    ("collections/labels.toml", "[fields]\npart = { type = \"ref\", to = \"parts\", required = true, on_delete = \"cascade\" }\n"),
    (
        "collections/codes.toml",
        "[fields]\ncode = { type = \"text\", unique = true }\nfold = { type = \"text\", unique = true, case = \"fold\" }\nleft = { type = \"text\" }\nright = { type = \"text\" }\nrank = { type = \"int\" }\n[[indexes]]\nfields = [\"left\", \"right\", \"rank\"]\n",
    ),
    ("policies/all.cedar", "@everything(\"a test\")\npermit (principal in Role::\"staff\", action, resource);\n"),
];

async fn start(backend: Backend) -> (TestApp, Person) {
    let app = TestApp::start(backend, FILES).await;
    let kim = app.person("kim", &["staff"]).await;
    (app, kim)
}

async fn there(kim: &Person, id: &str) -> bool {
    kim.get(&format!("/api/v1/parts/{id}")).await.status == 200
}

async fn delete(kim: &Person, id: &str, status: u16) {
    kim.delete(&format!("/api/v1/parts/{id}")).await.expect(status);
}

async fn set(kim: &Person, id: &str, values: Value) {
    kim.patch(&format!("/api/v1/parts/{id}"), values).await.expect(200);
}

async fn a_row_that_refers_twice_goes_with_the_one_it_refers_to(backend: Backend) {
    let (app, kim) = start(backend).await;
    let root = kim.create("parts", json!({"name": "root"})).await;
    let both = kim.create("parts", json!({"of": root, "beside": root, "last": root})).await;
    let twice = kim.create("parts", json!({"beside": root, "last": root})).await;
    let once = kim.create("parts", json!({"beside": both})).await;
    let label = kim.create("labels", json!({"part": both})).await;
    delete(&kim, &root, 204).await;
    assert!(!there(&kim, &root).await && !there(&kim, &both).await);
    kim.get(&format!("/api/v1/labels/{label}")).await.expect(404);
    for id in [&twice, &once] {
        let part = kim.get(&format!("/api/v1/parts/{id}")).await.expect(200).json();
        assert_eq!((&part["beside"], &part["last"], &part["version"]), (&Value::Null, &Value::Null, &json!(2)), "{part}");
    }
    // Each row has one entry, however many references it lost.
    let caused = |id: &str, ledger: &[Value]| {
        ledger
            .iter()
            .filter(|entry| entry["cause"] == "cascade" && entry["target"].as_str().unwrap().ends_with(id))
            .map(|entry| entry["action"].clone())
            .collect::<Vec<_>>()
    };
    let ledger = app.ledger().await;
    assert_eq!((caused(&both, &ledger), caused(&twice, &ledger)), (vec![json!("delete")], vec![json!("update")]));
    app.verify().await;
    app.finish().await;
}

async fn circles_and_long_chains_go(backend: Backend) {
    let (app, kim) = start(backend).await;
    // A circle of three, one that refers to itself, and two that need each other besides.
    let mut circle = Vec::new();
    for _ in 0..3 {
        circle.push(kim.create("parts", json!({"of": circle.last()})).await);
    }
    set(&kim, &circle[0], json!({"of": circle[2], "needs": circle[1]})).await;
    set(&kim, &circle[1], json!({"needs": circle[2]})).await;
    let own = kim.create("parts", json!({"of": circle[1]})).await;
    set(&kim, &own, json!({"of": circle[1], "beside": own, "needs": own})).await;
    delete(&kim, &circle[1], 204).await;
    for id in circle.iter().chain([&own]) {
        assert!(!there(&kim, id).await);
    }
    let alone = kim.create("parts", json!({})).await;
    set(&kim, &alone, json!({"of": alone})).await;
    delete(&kim, &alone, 204).await;
    // A chain of twenty.
    let mut chain = vec![kim.create("parts", json!({})).await];
    for _ in 0..20 {
        chain.push(kim.create("parts", json!({"of": chain.last()})).await);
    }
    delete(&kim, &chain[0], 204).await;
    assert!(!there(&kim, &chain[20]).await);
    app.verify().await;
    app.finish().await;
}

async fn what_a_row_that_stays_refers_to_stays(backend: Backend) {
    let (app, kim) = start(backend).await;
    let root = kim.create("parts", json!({})).await;
    let child = kim.create("parts", json!({"of": root})).await;
    let outside = kim.create("parts", json!({"needs": child})).await;
    let refused = kim.delete(&format!("/api/v1/parts/{root}")).await.expect(409);
    assert_eq!((refused.problem().as_str(), there(&kim, &child).await), ("referenced", true), "nothing was done");
    // Once it goes as well, nothing stands in the way.
    set(&kim, &outside, json!({"of": root})).await;
    delete(&kim, &root, 204).await;
    assert!(!there(&kim, &outside).await);
    app.verify().await;
    app.finish().await;
}

async fn a_thousand_rows_go_and_no_more(backend: Backend) {
    let (app, kim) = start(backend).await;
    let root = kim.create("parts", json!({})).await;
    let add = async |count: usize, data: Value| {
        let operations: Vec<Value> = (0..count).map(|_| json!({"create": "parts", "data": data})).collect();
        kim.post("/api/v1:batch", json!({ "operations": operations })).await.expect(200).json()["results"][0]["id"].clone()
    };
    for _ in 0..5 {
        add(100, json!({"of": root})).await;
        add(100, json!({"beside": root})).await;
    }
    let more = add(1, json!({"beside": root})).await;
    let refused = kim.delete(&format!("/api/v1/parts/{root}")).await.expect(409);
    assert_eq!((refused.problem().as_str(), there(&kim, &root).await), ("too-many-children", true));
    delete(&kim, more.as_str().unwrap(), 204).await;
    delete(&kim, &root, 204).await;
    app.finish().await;
}

/// A value that an index holds on one database is held on the other; what is longer is told with the bound.
async fn an_indexed_text_has_so_many_bytes(backend: Backend) {
    let (app, kim) = start(backend).await;
    // Letters by chance: what repeats itself is compressed, and would fit where it must not.
    let text = |bytes: usize| (0..bytes).map(|_| char::from(b'a' + haechi_gate::random_hex::<1>().as_bytes()[0] % 26)).collect::<String>();
    let refused = async |data: Value, pointer: &str, bytes: usize| {
        let problem = kim.post("/api/v1/codes", data).await.expect(422).json();
        let error = &problem["errors"][0];
        assert_eq!((error["pointer"].as_str(), error["code"].as_str()), (Some(pointer), Some("too_long")), "{problem}");
        assert!(error["detail"].as_str().unwrap().contains(&format!("at most {bytes} bytes")), "{problem}");
    };
    let id = kim.create("codes", json!({"code": text(2_600), "fold": text(2_600)})).await;
    refused(json!({"code": text(2_601)}), "/code", 2_600).await;
    refused(json!({"code": "é".repeat(1_301)}), "/code", 2_600).await;
    refused(json!({"fold": "İ".repeat(1_000)}), "/fold", 2_600).await;
    kim.create("codes", json!({"left": text(1_300), "right": text(1_300), "rank": 1})).await;
    refused(json!({"left": text(1_301)}), "/left", 1_300).await;
    let problem = kim.patch(&format!("/api/v1/codes/{id}"), json!({"code": text(5_000)})).await.expect(422).json();
    assert_eq!(problem["errors"][0]["code"], "too_long");
    app.verify().await;
    app.finish().await;
}

/// Referring rows are found by their column, also when it had another name when the reference was made.
async fn a_reference_of_a_renamed_collection_is_changed(backend: Backend) {
    let (app, kim) = start(backend).await;
    kim.create("parts", json!({})).await;
    let root = app.close().await;
    let write = |name: &str, text: &str| std::fs::write(root.join("collections").join(name), text).unwrap();
    write("clients.toml", "[fields]\nname = { type = \"text\" }\n");
    write("shops.toml", "[fields]\nname = { type = \"text\" }\n");
    write("orders.toml", "[fields]\nwho = { type = \"ref\", to = \"clients\" }\n");
    let reopen = async || TestApp::open(root.clone(), backend, std::sync::Arc::new(haechi_gate::TestClock::new())).await;
    reopen().await.close().await;
    std::fs::remove_file(root.join("collections/orders.toml")).unwrap();
    write("purchases.toml", "[collection]\nwas = \"orders\"\n[fields]\nwho = { type = \"ref\", to = \"clients\" }\n");
    reopen().await.close().await;
    write("purchases.toml", "[fields]\nwho = { type = \"ref\", to = \"shops\", was = \"who\" }\n");
    let app = reopen().await;
    let kim = app.person("lee", &["staff"]).await;
    let shop = kim.create("shops", json!({"name": "s"})).await;
    kim.create("purchases", json!({"who": shop})).await;
    let client = kim.create("clients", json!({})).await;
    kim.post("/api/v1/purchases", json!({"who": client})).await.expect(422);
    app.verify().await;
    app.finish().await;
}

/// Each of many rows that refer by two columns loses both.
async fn hundreds_that_refer_twice_are_detached(backend: Backend) {
    let (app, kim) = start(backend).await;
    let root = kim.create("parts", json!({})).await;
    for _ in 0..7 {
        let operations: Vec<Value> = (0..100).map(|_| json!({"create": "parts", "data": {"beside": root, "last": root}})).collect();
        kim.post("/api/v1:batch", json!({ "operations": operations })).await.expect(200);
    }
    delete(&kim, &root, 204).await;
    let left = kim.get("/api/v1/parts?page_size=1&filter=beside%20%3D%20null%20AND%20last%20%3D%20null").await.expect(200).json();
    assert_eq!(left["items"].as_array().unwrap().len(), 1, "{left}");
    app.verify().await;
    app.finish().await;
}
