//! What every reply has and none says, what is written down, and what nobody can make the house forget.

use crate::fixture::FILES;
use haechi::{Act, Acted, Mode, http::routes::stack, problem::Problem};
use haechi_testkit::{Backend, Reply, TestApp, on_both, with_more};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

on_both!(each_event_leaves_one_entry, hostile_text_stays_one_record);

const GOOD: &str = "seven purple otters dance";

async fn with_sign_up(backend: Backend) -> TestApp {
    let files = with_more(FILES, &[("haechi.toml", "[auth]\nsign_up = \"open\"")]);
    TestApp::start(backend, &files).await
}

fn routes(app: &TestApp) -> Vec<(&'static str, String)> {
    let revision = app.house.gate.revision();
    let data = haechi_data::openapi::routes(&revision.app).into_iter().map(|(method, path, _)| (method, path));
    data.chain(haechi_identity::routes().into_iter().map(|(method, path, _)| (method, path.to_owned()))).collect()
}

fn safe(what: &str, reply: &Reply) {
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
    ] {
        assert_eq!(reply.header(name), value, "{what}: {name}");
    }
    let policy = reply.header("content-security-policy");
    for directive in ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"] {
        assert!(policy.contains(directive) && !policy.contains("unsafe"), "{what}: {policy}");
    }
    for name in ["server", "x-powered-by", "via", "x-runtime"] {
        assert_eq!(reply.header(name), "", "{what}: {name}");
    }
    assert!(reply.header("cache-control").contains("no-store"), "{what}: {}", reply.header("cache-control"));
    if !reply.bytes.is_empty() {
        let kind = reply.header("content-type");
        let known = ["application/json", "application/problem+json", "text/plain; charset=utf-8", "text/html; charset=utf-8"];
        assert!(known.contains(&kind), "{what}: {kind}");
    }
}

/// HDR-01, HDR-03, HDR-04, HDR-06, HDR-09, HDR-10 [V3.4.3 V3.4.4 V3.4.5 V3.4.6 V4.1.1 V3.5.2 V13.4.4 V13.4.6 V14.2.5 V14.3.2 V3.5.3]: every
/// route by every method, known and not: the headers stand, nothing is kept by caches, and reading changes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reply_is_safe_to_have() {
    let app = with_sign_up(Backend::Sqlite).await;
    let kim = app.person("kim", &["member"]).await;
    let note = kim.create("notes", json!({"title": "t"})).await;
    let before = app.ledger().await.len();
    let session = {
        let body = json!({"email": "lee@example.test", "password": GOOD});
        app.anonymous().post("/auth/v1/sign-up", body.clone()).await.expect(202);
        app.bearer(app.anonymous().post("/auth/v1/sign-in", body).await.expect(200).json()["token"].as_str().unwrap())
    };
    let served = routes(&app);
    let mut methods: Vec<(String, BTreeSet<&str>)> = Vec::new();
    for (method, path) in &served {
        let path = path.replace("{id}", &note).replace("{slug}", "forbidden");
        match methods.iter_mut().find(|(known, _)| *known == path) {
            Some((_, known)) => drop(known.insert(method)),
            None => methods.push((path, BTreeSet::from([*method]))),
        }
    }
    for (path, known) in &methods {
        for who in [&kim, &session, &app.anonymous()] {
            for method in ["GET", "HEAD", "PUT", "OPTIONS", "TRACE"] {
                let reply = who.send(method, path, &[], Vec::new()).await;
                safe(&format!("{method} {path}"), &reply);
                let reads = method == "HEAD" && known.contains("GET") || known.contains(method);
                // A record may be posted to with an action behind its id: the path is a route's, the method is not.
                assert!(reads || matches!(reply.status, 401 | 403 | 404 | 405), "{method} {path}: {}", reply.status);
                if reply.status == 405 {
                    let allowed = reply.header("allow").to_owned();
                    assert!(!allowed.is_empty() && known.iter().all(|method| allowed.contains(method)), "{method} {path}: {allowed}");
                }
            }
        }
        for odd in [format!("{path}/x.css"), format!("{path}%2fx.js"), format!("{path};x=.png"), format!("{path}%00.css")] {
            let reply = session.send("GET", &odd, &[], Vec::new()).await;
            safe(&odd, &reply);
            assert!(matches!(reply.status, 400 | 401 | 403 | 404 | 405), "{odd}: {}", reply.status);
        }
    }
    for (name, status) in [("413", 413), ("415", 415), ("400", 400), ("422", 422), ("409", 409)] {
        let send = async |kind: &str, body: Vec<u8>| kim.send("POST", "/api/v1/notes", &[("content-type", kind)], body).await;
        let reply = match status {
            413 => send("application/json", vec![b' '; 2 << 20]).await,
            415 => send("application/json;text/plain", b"{}".to_vec()).await,
            400 => send("application/json", b"{".to_vec()).await,
            409 => {
                kim.create("notes", json!({"title": "t", "slug": "one"})).await;
                send("application/json", b"{\"title\":\"t\",\"slug\":\"one\"}".to_vec()).await
            }
            _ => send("application/json", b"{\"nope\":1}".to_vec()).await,
        };
        assert_eq!(reply.status, status, "{}", reply.text());
        safe(name, &reply);
    }
    let after = app.ledger().await;
    let changes = ["create", "update", "delete", "change_password", "create_key", "revoke_key", "end_session", "end_sessions", "sign_out"];
    let made = after[before..].iter().filter(|entry| entry["outcome"] == "allowed" && changes.contains(&entry["action"].as_str().unwrap())).count();
    assert_eq!(made, 2, "the sign-up and the one note: {:?}", &after[before..]);
    app.finish().await;
}

/// OPS-02 [V4.1.4]: what is served, what is described and what the table lists are the same.
#[tokio::test]
async fn the_description_has_what_is_served() {
    let app = with_sign_up(Backend::Sqlite).await;
    let document = app.anonymous().get("/openapi.json").await.expect(200).json();
    let mut described = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys().filter(|method| *method != "parameters") {
            described.insert((method.to_uppercase(), path.clone()));
        }
    }
    let own = ["/openapi.json", "/problems/{slug}", "/setup"];
    let listed: BTreeSet<(String, String)> =
        routes(&app).into_iter().map(|(method, path)| (method.to_owned(), path)).filter(|(_, path)| !own.contains(&path.as_str())).collect();
    let missing: Vec<_> = listed.symmetric_difference(&described).collect();
    assert!(missing.is_empty(), "listed or described, not both: {missing:?}");
    for (method, path) in &listed {
        let path = path.replace("{id}", "01920000-0000-7000-8000-000000000001");
        let reply = app.anonymous().send(method, &path, &[("content-type", "application/json")], b"{}".to_vec()).await;
        assert_ne!(reply.status, 405, "{method} {path} is not served");
        assert!(reply.status != 404 || reply.text().contains("no such thing"), "{method} {path} is not served");
    }
    app.finish().await;
}

/// LOG-05 [V16.2.1 V16.3.1 V16.3.2 V16.3.3]: who, what, on what, when and with what result, once each.
async fn each_event_leaves_one_entry(backend: Backend) {
    let app = with_sign_up(backend).await;
    let nobody = app.anonymous();
    let sign_in = |password: &str| json!({"email": "kim@example.test", "password": password});
    nobody.post("/auth/v1/sign-up", sign_in(GOOD)).await.expect(202);
    let kim = app.bearer(nobody.post("/auth/v1/sign-in", sign_in(GOOD)).await.expect(200).json()["token"].as_str().unwrap());
    nobody.post("/auth/v1/sign-in", sign_in("seven purple otters dancing")).await.expect(401);
    let id = kim.get("/auth/v1/me").await.expect(200).json()["id"].as_str().unwrap().to_owned();
    kim.get("/api/v1/vault").await.expect(403);
    let key =
        kim.post("/auth/v1/keys", json!({"label": "probe", "scopes": ["notes:list"]})).await.expect(201).json()["id"].as_str().unwrap().to_owned();
    kim.delete(&format!("/auth/v1/keys/{key}")).await.expect(204);
    let change = json!({"current_password": GOOD, "new_password": "nine green herons wade"});
    let reply = kim.post("/auth/v1/password", change).await;
    assert!(matches!(reply.status, 200 | 204), "{}", reply.text());
    app.house.identity.operator("uid 7").set_disabled(&id, true).await.unwrap();
    let ledger = app.ledger().await;
    let find = |action: &str, outcome: &str| -> Vec<&Value> {
        ledger.iter().filter(|entry| entry["action"] == action && entry["outcome"] == outcome).collect()
    };
    for (action, outcome, actor, target) in [
        ("sign_in", "allowed", id.as_str(), id.as_str()),
        ("sign_in", "refused", "anonymous", "users"),
        ("list", "refused", id.as_str(), "vault"),
        ("create_key", "allowed", id.as_str(), id.as_str()),
        ("revoke_key", "allowed", id.as_str(), id.as_str()),
        ("change_password", "allowed", id.as_str(), id.as_str()),
        ("update", "allowed", "uid 7", id.as_str()),
    ] {
        let found = find(action, outcome);
        assert_eq!(found.len(), 1, "{action} {outcome}: {found:?}");
        let text = found[0].to_string();
        assert!(text.contains(&format!("\"{actor}\"")) && text.contains(target), "{action} {outcome}: {text}");
        assert!(found[0]["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{text}");
    }
    let all = Value::from(ledger).to_string();
    assert!(!all.contains(GOOD) && !all.contains("herons") && !all.contains("kim@example.test"), "the ledger holds what it must not");
    app.finish().await;
}

/// LOG-01 [V16.4.1 V1.2.10]: an entry is one line and one record, for any text in values, paths and headers.
async fn hostile_text_stays_one_record(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let kim = app.person("kim", &["member"]).await;
    let before = app.ledger().await.len();
    let hostile = "x\r\n{\"action\":\"forged\"}\u{1b}[31m\u{2028}\u{202e}\",\"y\":\"\u{7f}";
    for at in 0..5 {
        kim.create("things", json!({"text": format!("{hostile}{at}"), "tags": [hostile], "data": {hostile: hostile}})).await;
    }
    for path in ["/api/v1/%0d%0a%7b%22action%22:%22forged%22%7d", "/api/v1/notes/%1b[31m", "/api/v1/vault?filter=%0aforged"] {
        let agent = [("user-agent", "\"}\\n{\"action\":\"forged\""), ("x-forwarded-for", "forged"), ("x-request-id", "forged\"")];
        let reply = kim.send("GET", path, &agent, Vec::new()).await;
        assert!(reply.status >= 400 && !reply.text().contains("forged") && reply.header("x-request-id") != "forged\"", "{}", reply.text());
    }
    app.house.gate.settle().await;
    let (lines, _) = app.house.gate.export_entries(&app.house.keys.audit, i64::try_from(before).unwrap()).await.unwrap();
    let text = String::from_utf8(lines).unwrap();
    let records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(records.iter().all(|record| record["action"] != "forged") && !text.contains(['\u{1b}', '\u{7f}', '\u{2028}', '\u{202e}']), "{text}");
    let text = records.iter().find_map(|record| record["detail"]["new"]["text"].as_str()).unwrap();
    assert_eq!(text, format!("{hostile}0"), "what is escaped is whole");
    assert_eq!(records.iter().filter(|record| record["action"] == "create").count(), 5);
    app.finish().await;
}

/// DOS-06, DOS-08, DOS-09 [V1.3.12 V1.5.2 V15.2.2]: text that is evil for parsers, patterns and tables is answered like any other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evil_text_is_answered_like_any_other() {
    let app = TestApp::start(Backend::Sqlite, FILES).await;
    let kim = app.person("kim", &["member"]).await;
    let keys: String = (0..60_000).map(|at| format!("\"k{at}\":1,")).collect();
    let bodies = [
        "[".repeat(1 << 19),
        format!("{{\"title\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000)),
        format!("{{{keys}\"title\":\"t\"}}"),
        format!("{{\"title\":\"t\",\"rank\":{}}}", "9".repeat(1 << 19)),
        format!("{{\"title\":\"{}\"}}", "a".repeat(900_000)),
        format!("{{\"title\":\"t\",\"mail\":\"{}@{}\"}}", "a.".repeat(100_000), "a.".repeat(100_000)),
        format!("{{\"title\":\"{}\"}}", "\\u0000".repeat(10_000)),
        format!("{{\"title\":\"t\",\"slug\":\"{}\"}}", "\u{130}".repeat(100_000)),
    ];
    for (at, body) in bodies.into_iter().enumerate() {
        let reply = kim.send("POST", "/api/v1/notes", &[("content-type", "application/json")], body.into_bytes()).await;
        assert!(matches!(reply.status, 400 | 413 | 422), "body {at}: {}", reply.text().chars().take(200).collect::<String>());
    }
    kim.create("things", json!({"text": "a".repeat(10_000)})).await;
    let filters = [
        "(".repeat(3_000),
        format!("title = \"{}\"", "\\".repeat(3_000)),
        format!("text = \"{}b\"", "*a".repeat(1_500)),
        (0..400).map(|at| format!("text = \"{at}\"")).collect::<Vec<_>>().join(" OR "),
        format!("{} text = \"x\"", "NOT ".repeat(1_500)),
        format!("{}text = \"x\"", "-".repeat(3_000)),
    ];
    for filter in filters {
        let reply = kim.post("/api/v1/things:query", json!({ "filter": filter })).await;
        assert!(matches!(reply.status, 200 | 400 | 503), "{}: {}", &filter[..30], reply.text());
    }
    let many: String = (0..2_000).map(|at| format!("a{at}=1&")).collect();
    for path in [format!("/api/v1/notes?{many}"), format!("/api/v1/{}", "%41".repeat(2_000)), format!("/api/v1/notes?filter={}", "%28".repeat(2_500))]
    {
        let status = kim.get(&path).await.status;
        assert!(matches!(status, 400 | 404), "{status}");
    }
    kim.get("/api/v1/notes").await.expect(200);
    app.finish().await;
}

/// DOS-17 [V16.5.4]: a handler that panics costs its own request, however often.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_is_one_requests_end() {
    async fn broken(act: Act) -> Result<Acted, Problem> {
        assert!(act.id().is_empty(), "a mistake in a handler");
        act.change(&json!({})).await
    }
    let files = with_more(
        FILES,
        &[
            ("collections/things.toml", "[actions.break]"),
            ("policies/main.cedar", "permit (principal, action == Action::\"break\", resource is things);"),
        ],
    );
    let mut app = TestApp::start(Backend::Sqlite, &files).await;
    app.house.handlers.add("things", "break", broken);
    app.stack = Arc::new(stack(&app.house, Mode::Dev));
    std::panic::set_hook(Box::new(|_| ()));
    let kim = app.person("kim", &["member"]).await;
    let thing = kim.create("things", json!({"text": "t"})).await;
    let path = format!("/api/v1/things/{thing}:break");
    let failed = AtomicUsize::new(0);
    futures_util::future::join_all((0..500).map(|_| async {
        let reply = kim.send("POST", &path, &[], Vec::new()).await;
        assert!(matches!((reply.status, reply.problem().as_str()), (500, "internal") | (503, "busy")), "{}", reply.text());
        assert!(!reply.text().contains("mistake"), "{}", reply.text());
        failed.fetch_add(usize::from(reply.status == 500), Ordering::Relaxed);
    }))
    .await;
    let _ = std::panic::take_hook();
    assert!(failed.load(Ordering::Relaxed) > 0);
    kim.patch(&format!("/api/v1/things/{thing}"), json!({"text": "still here"})).await.expect(200);
    app.finish().await;
}

/// OPS-03 [V13.3.1 V16.2.5]: what prints settings prints no secret.
#[tokio::test]
async fn settings_are_shown_without_secrets() {
    let key = "feedfacefeedfacefeedfacefeedfacefeedfacefeedfacefeedfacefeedface";
    let toml = "master_key = { env = \"PROBE_KEY\" }\n[telemetry]\ntraces = \"http://127.0.0.1:4318/v1/traces\"\nauthorization = { env = \"PROBE_TOKEN\" }\n[database]\nurl = { env = \"PROBE_URL\" }\n";
    let root = haechi_testkit::fresh_folder(Backend::Sqlite, &[("haechi.toml", toml)]).await;
    for arguments in [&["config", "print"][..], &["--json", "config", "print"], &["check", "--production"]] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_haechi"))
            .args(arguments)
            .arg("-C")
            .arg(&root)
            .env("PROBE_KEY", key)
            .env("PROBE_TOKEN", "Bearer probe-token")
            .env("PROBE_URL", "postgres://user:probe-password@127.0.0.1:1/x")
            .output()
            .unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(text.len() > 100, "{text}");
        for secret in [key, "probe-token", "probe-password"] {
            assert!(!text.contains(secret), "{arguments:?} shows a secret: {text}");
        }
    }
    std::fs::remove_dir_all(root).unwrap();
}
