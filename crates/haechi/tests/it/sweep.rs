//! Every route of the table, as nobody, a stranger, somebody whose credential has ended, and a key without scope.

use crate::fixture::FILES;
use haechi_testkit::{Backend, Person, TestApp, on_both, with_more};
use serde_json::json;
use std::collections::BTreeMap;

on_both!(every_route_as_everybody);

const GOOD: &str = "seven purple otters dance";
/// Routes that are open on purpose; all others must refuse unknown callers.
const OPEN: &[(&str, &str)] = &[
    ("POST", "/auth/v1/sign-up"),
    ("POST", "/auth/v1/sign-in"),
    ("POST", "/auth/v1/password"),
    ("POST", "/auth/v1/setup"),
    ("GET", "/healthz"),
    ("GET", "/setup"),
    ("GET", "/readyz"),
    ("GET", "/openapi.json"),
    ("GET", "/problems/{slug}"),
    // What the fixture declares as anonymous reach.
    ("GET", "/api/v1/posts"),
    ("POST", "/api/v1/posts:query"),
    ("GET", "/api/v1/posts:aggregate"),
    ("POST", "/api/v1/posts:aggregate"),
    ("GET", "/api/v1/posts/{id}"),
];

fn routes(app: &TestApp) -> Vec<(&'static str, String)> {
    let revision = app.house.gate.revision();
    let data = haechi_data::openapi::routes(&revision.app).into_iter().map(|(method, path, _)| (method, path));
    let auth = haechi_identity::routes().into_iter().map(|(method, path, _)| (method, path.to_owned()));
    data.chain(auth).collect()
}

async fn ask(person: &Person, method: &str, path: &str) -> (u16, String) {
    let path = path.replace("{id}", "01920000-0000-7000-8000-000000000001").replace("{slug}", "forbidden");
    let reply = person.send(method, &path, &[("content-type", "application/json")], b"{}".to_vec()).await;
    (reply.status, reply.text())
}

/// AC-13, AC-16 [V8.2.1 V8.3.1 V4.1.1]: generated from the route table, so a new route is swept by itself.
async fn every_route_as_everybody(backend: Backend) {
    let files = with_more(FILES, &[("haechi.toml", "[auth]\nsign_up = \"open\""), ("collections/things.toml", "[actions.polish]")]);
    let job = "[jobs.remind]\nas = \"caller\"\ninput = { thing = { type = \"uuid\", required = true } }\ndo = { delete = \"things\", id = { from = \"/input/thing\" } }\n";
    let files: Vec<_> = files.into_iter().chain([("jobs/all.toml", job.to_owned())]).collect();
    let app = TestApp::start(backend, &files).await;
    let sign_in = async |email: &str| {
        let body = json!({"email": email, "password": GOOD});
        app.anonymous().post("/auth/v1/sign-up", body.clone()).await.expect(202);
        app.bearer(app.anonymous().post("/auth/v1/sign-in", body).await.expect(200).json()["token"].as_str().unwrap())
    };
    let stranger = sign_in("stranger@example.com").await;
    let ended = sign_in("ended@example.com").await;
    ended.post("/auth/v1/sign-out", json!({})).await.expect(204);
    let gone = sign_in("gone@example.com").await;
    let person = app.house.identity.operator("test").find_person("gone@example.com").await.unwrap();
    app.house.identity.operator("test").set_disabled(&person.id, true).await.unwrap();
    let made = stranger.post("/auth/v1/keys", json!({"label": "narrow", "scopes": ["things:read"]})).await.expect(201).json();
    let narrow = app.bearer(made["key"].as_str().unwrap());
    let nobody = app.anonymous();
    let mut seen: BTreeMap<String, [u16; 5]> = BTreeMap::new();
    for (method, path) in routes(&app) {
        // The last: these end the session that asks.
        if path.ends_with("sign-out") {
            continue;
        }
        let mut statuses = [0; 5];
        for (at, who) in [&nobody, &ended, &gone, &narrow, &stranger].into_iter().enumerate() {
            let (status, text) = ask(who, method, &path).await;
            assert!(status < 500, "{method} {path}: {text}");
            statuses[at] = status;
        }
        let open = OPEN.contains(&(method, path.as_str()));
        let [nobody, ended, gone, narrow, stranger] = statuses;
        assert_eq!((ended, gone), (401, 401), "{method} {path} lets in whose credential has ended");
        if open {
            assert!(matches!(nobody, 200 | 400 | 404 | 422), "{method} {path} is declared open and answers {nobody}");
        } else if path == "/api/v1:batch" {
            assert!(matches!(nobody, 400 | 401), "{nobody}");
        } else {
            assert_eq!(nobody, 401, "{method} {path} lets in nobody");
            // Without a role no policy says yes; what one owns oneself is one's own.
            if path.starts_with("/api/") {
                assert_eq!((narrow, stranger), (403, 403), "{method} {path} lets in a stranger");
            } else {
                // A run that is not theirs is not there.
                let hidden = path.starts_with("/jobs/v1/runs/") && (narrow, stranger) == (404, 404);
                assert!(narrow == 403 || hidden || path == "/auth/v1/me", "{method} {path} lets in a key: {narrow}");
                assert!(!path.starts_with("/jobs/") || hidden || stranger == 403, "{method} {path} lets in a stranger: {stranger}");
            }
        }
        seen.insert(format!("{method} {path}"), statuses);
    }
    assert!(seen.len() > 35, "only {} routes were swept", seen.len());
    app.finish().await;
}
