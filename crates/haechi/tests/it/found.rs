//! What attackers of an earlier state found, so that it stays mended.

use haechi_testkit::{Backend, TestApp, on_both};
use serde_json::{Value, json};

on_both!(
    a_prepared_update_does_not_overtake_its_lock,
    checks_follow_references_in_order,
    columns_keep_their_places_after_a_migration,
    a_unique_value_is_no_oracle_for_who_may_not_create,
    probing_a_personal_field_leaves_an_entry,
    expansion_respects_the_mask,
    pages_by_float_end,
    a_row_may_refer_to_itself,
    renames_and_drops_are_told_apart,
);

const FILES: &[(&str, &str)] = &[
    ("haechi.toml", "roles = [\"doctor\", \"nurse\", \"clerk\"]\n"),
    ("collections/wards.toml", "[fields]\nname = { type = \"text\", required = true }\nhead = { type = \"ref\", to = \"users\" }\n"),
    (
        "collections/patients.toml",
        "[collection]\nowner = \"doctor\"\n[fields]\nname = { type = \"text\", required = true, class = \"pii\" }\nscore = { type = \"float\" }\ncode = { type = \"text\", unique = true }\ndoctor = { type = \"ref\", to = \"users\", required = true }\nward = { type = \"ref\", to = \"wards\" }\naccount = { type = \"ref\", to = \"users\", class = \"secret\" }\nparent = { type = \"ref\", to = \"patients\", on_delete = \"cascade\" }\n",
    ),
    (
        "policies/main.cedar",
        r#"
permit (principal in Role::"doctor", action in [Action::"list", Action::"read", Action::"create", Action::"update", Action::"delete", Action::"read_pii", Action::"write_pii", Action::"write_secret"], resource is patients) when { resource.doctor == principal };
permit (principal in Role::"nurse", action in [Action::"list", Action::"read"], resource is patients);
permit (principal in Role::"nurse", action in [Action::"list", Action::"read"], resource is users);
permit (principal in Role::"doctor", action in [Action::"read"], resource is users);
permit (principal, action in [Action::"read"], resource is wards);
permit (principal in Role::"clerk", action in [Action::"create", Action::"read", Action::"write_pii"], resource is patients) when { resource has ward && resource.ward has head && resource.ward.head == principal };
"#,
    ),
];

async fn ward(app: &TestApp, number: u8, head: Option<&str>) -> String {
    let revision = app.house.gate.revision();
    let wards = revision.app.collection("wards").unwrap();
    let id = format!("01920000-0000-7000-8000-0000000000{number:02x}");
    let mut values = vec![(wards.field("name").unwrap(), haechi_model::Value::text("w"))];
    values.extend(head.map(|head| (wards.field("head").unwrap(), haechi_model::Value::text(head))));
    let row = haechi_gate::ImportRow { line: 1, id: Some(id.as_str().into()), values };
    app.house.gate.import(&app.house.keys.import, wards.id, vec![row]).await.unwrap();
    id
}

async fn a_prepared_update_does_not_overtake_its_lock(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let (kim, lee) = (app.person("kim", &["doctor"]).await, app.person("lee", &["doctor"]).await);
    let target = kim.create("patients", json!({"name": "kim's"})).await;
    let own = lee.create("patients", json!({"name": "lee's"})).await;
    // Prepares the UPDATE on every connection, but not the LOCK with a version.
    for _ in 0..40 {
        lee.patch(&format!("/api/v1/patients/{own}"), json!({"doctor": lee.id})).await.expect(200);
    }
    for version in 1..4 {
        let reply = lee
            .send(
                "PATCH",
                &format!("/api/v1/patients/{target}"),
                &[("content-type", "application/json"), ("if-match", &format!("\"{version}\""))],
                format!("{{\"doctor\":\"{}\"}}", lee.id).into_bytes(),
            )
            .await;
        assert_eq!(reply.status, 404, "{}", reply.text());
    }
    kim.get(&format!("/api/v1/patients/{target}")).await.expect(200);
    app.finish().await;
}

async fn checks_follow_references_in_order(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let clerk = app.person("han", &["clerk"]).await;
    let kim = app.person("kim", &["doctor"]).await;
    let (mine, other) = (ward(&app, 1, Some(&clerk.id)).await, ward(&app, 2, Some(&kim.id)).await);
    for at in 0..12 {
        let mut body = json!({"name": format!("n{at}"), "ward": mine});
        for (bit, (name, value)) in [("score", json!(1.5)), ("code", json!(format!("c{at}")))].into_iter().enumerate() {
            if at >> bit & 1 == 1 {
                body[name] = value;
            }
        }
        clerk.post("/api/v1/patients", body).await.expect(201);
        clerk.post("/api/v1/patients", json!({"name": "x", "ward": other})).await.expect(403);
        clerk.post("/api/v1/patients", json!({"name": "x"})).await.expect(403);
    }
    app.finish().await;
}

async fn columns_keep_their_places_after_a_migration(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let kim = app.person("kim", &["doctor"]).await;
    kim.create("patients", json!({"name": "before", "code": "a"})).await;
    let path = app.root.join("collections/patients.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(
        &path,
        text.replace("[fields]\n", "[fields]\npin = { type = \"text\", class = \"secret\" }\nshown = { type = \"text\", class = \"public\" }\n")
            + "last = { type = \"text\" }\n",
    )
    .unwrap();
    let app = app.restart().await;
    let kim = haechi_testkit::Person::with_token(&app, &kim);
    let id = kim.create("patients", json!({"name": "after", "pin": "1234", "shown": "s", "last": "z", "code": "b"})).await;
    let read = kim.get(&format!("/api/v1/patients/{id}")).await.expect(200).json();
    assert_eq!((&read["shown"], &read["last"], read.get("pin"), &read["name"]), (&json!("s"), &json!("z"), None, &json!("after")));
    kim.post("/api/v1/patients", json!({"name": "x", "code": "a", "last": "q"})).await.expect(409);
    app.finish().await;
}

/// AC-05 [V8.4.1]
async fn a_unique_value_is_no_oracle_for_who_may_not_create(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let (kim, clerk) = (app.person("kim", &["doctor"]).await, app.person("han", &["clerk"]).await);
    kim.create("patients", json!({"name": "n", "code": "taken"})).await;
    for code in ["taken", "free"] {
        clerk.post("/api/v1/patients", json!({"name": "x", "code": code})).await.expect(403);
    }
    app.finish().await;
}

async fn probing_a_personal_field_leaves_an_entry(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let kim = app.person("kim", &["doctor"]).await;
    kim.post("/api/v1/patients:query", json!({"filter": "name = \"nobody\"", "fields": "id"})).await.expect(200);
    let seen: Vec<Value> = app.ledger().await.into_iter().filter(|entry| entry["actor"] == kim.id && entry["action"] == "list").collect();
    assert_eq!((seen.len(), &seen[0]["detail"]["fields"]), (1, &json!(["name"])));
    app.finish().await;
}

async fn expansion_respects_the_mask(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let (kim, lee, choi) = (app.person("kim", &["doctor"]).await, app.person("lee", &["nurse"]).await, app.person("choi", &[]).await);
    let id = kim.create("patients", json!({"name": "n", "account": choi.id})).await;
    for path in [
        format!("/api/v1/patients/{id}?expand=account,doctor"),
        "/api/v1/patients?expand=account,doctor".to_owned(),
        "/api/v1/patients?expand=account,doctor&fields=id".to_owned(),
    ] {
        let text = lee.get(&path).await.expect(200).text();
        assert!(!text.contains(&choi.id), "{text}");
        assert!(text.contains(&format!("\"_expanded\":{{\"doctor\":{{\"id\":\"{}\"", kim.id)), "the honest twin: {text}");
    }
    app.finish().await;
}

async fn pages_by_float_end(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let kim = app.person("kim", &["doctor"]).await;
    for score in [0.1, 0.1 + 0.2, 1e-300, 123_456.789_012_345_67, f64::MAX, 5e-324] {
        kim.create("patients", json!({"name": "n", "score": score})).await;
    }
    let (mut pages, mut token) = (0, String::new());
    loop {
        let page = kim.get(&format!("/api/v1/patients?order_by=score&page_size=1&page_token={token}")).await.expect(200).json();
        pages += 1;
        assert!(pages <= 6);
        match page["next_page_token"].as_str() {
            Some(next) => token = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(pages, 6);
    app.finish().await;
}

async fn a_row_may_refer_to_itself(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let kim = app.person("kim", &["doctor"]).await;
    let id = kim.create("patients", json!({"name": "n"})).await;
    kim.patch(&format!("/api/v1/patients/{id}"), json!({"parent": id})).await.expect(200);
    kim.delete(&format!("/api/v1/patients/{id}")).await.expect(204);
    app.finish().await;
}

async fn renames_and_drops_are_told_apart(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let kim = app.person("kim", &["doctor"]).await;
    let id = kim.create("patients", json!({"name": "n", "score": 2.5})).await;
    let path = app.root.join("collections/patients.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("score = { type = \"float\" }", "points = { type = \"float\", was = \"score\" }")).unwrap();
    let app = app.restart().await;
    let kim = haechi_testkit::Person::with_token(&app, &kim);
    assert_eq!(kim.get(&format!("/api/v1/patients/{id}")).await.expect(200).json()["points"], 2.5);
    app.verify().await;
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("points = { type = \"float\", was = \"score\" }\n", "")).unwrap();
    let (revision, _) = haechi::app::folder::load(&app.root).unwrap();
    let refused = app.plan_for(revision).await;
    assert_eq!(refused, ["column patients.points and its values"]);
}
