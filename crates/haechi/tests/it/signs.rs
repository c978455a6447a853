//! What the house says of itself: metrics, and lines about slow statements.

use crate::{
    figures::read,
    fixture::FILES,
    process::{Dev, done, haechi},
};
use haechi::observe::ops;
use haechi_gate::Asker;
use haechi_testkit::{Backend, TestApp, fresh_folder, on_both, with_more};
use serde_json::{Value, json};
use std::{collections::BTreeSet, fmt::Write as _, io::Read as _, process::Stdio};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

on_both!(metrics_tell_what_was_done, a_missing_index_is_named);

/// What the listener of operations answers.
async fn operations(app: &TestApp, path: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let ops = tokio::spawn(ops::serve(listener, app.house.gate.clone(), app.house.metrics.clone()));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    ops.abort();
    reply
}

/// Names of the metrics that are served.
fn served(text: &str) -> BTreeSet<String> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.map(|line| line.split(' ').next().unwrap_or_default().to_owned()).collect()
}

/// Metrics of work, while it waits too long; `/readyz` says so, and stays ready.
async fn work() -> BTreeSet<String> {
    let app = TestApp::start(Backend::Sqlite, crate::jobs::FILES).await;
    let kim = app.person("kim", &["clerk"]).await;
    let look = async || {
        haechi::observe::work::look(&app.house.gate, &app.house.jobs, &app.house.metrics).await;
        operations(&app, "/readyz").await
    };
    assert!(!look().await.contains("work"));
    app.house.jobs.operator("test").pause("everything", "the test").await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    crate::jobs::enqueue(&kim, "add", json!({"title": "late"})).await;
    assert!(look().await.contains("work is paused"));
    app.clock.advance_ms(400_000);
    let said = look().await;
    assert!(said.contains(" 200 ") && said.contains("work that is due is not begun"), "{said}");
    let text = operations(&app, "/metrics").await;
    assert!(text.contains("haechi_job_runs{name=\"add\",state=\"waiting\"} 1") && text.contains("haechi_work_paused 1"), "{text}");
    app.finish().await;
    served(&text)
}

/// OPS-40: the table of docs/metrics.md is what is served, and alerts and dashboard ask for nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_are_as_documented() {
    let mut all = BTreeSet::new();
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let app = TestApp::start(backend, FILES).await;
        let kim = app.person("kim", &["member"]).await;
        kim.create("notes", json!({"title": "t"})).await;
        kim.patch("/api/v1/notes", json!({})).await.expect(405);
        app.house.gate.backup(&app.house.keys.backup, &app.root.join("copy"), "uid 0").await.unwrap();
        // `ops_listen` tells of the certificate, which is watched where connections are accepted.
        all.extend(served(&operations(&app, "/metrics").await));
        app.finish().await;
    }
    all.extend(work().await);
    all.insert("haechi_tls_certificate_expiry_timestamp_seconds".to_owned());
    let documented: BTreeSet<String> = read("docs/metrics.md")
        .lines()
        .filter_map(|line| line.strip_prefix("| `haechi_"))
        .map(|rest| format!("haechi_{}", rest.split(['`', '{']).next().unwrap_or_default().trim_end_matches("_total").trim_end_matches("_info")))
        .collect();
    assert_eq!(documented, all);
    for file in ["deploy/prometheus/alerts.yml", "deploy/grafana/haechi.json"] {
        let text = read(file);
        for (at, _) in text.match_indices("haechi_") {
            let name: String = text[at..].chars().take_while(|letter| letter.is_ascii_lowercase() || *letter == '_').collect();
            let bare = ["_total", "_bucket", "_sum"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
            assert!(all.contains(bare), "{file}: {name} is not served");
        }
    }
}

/// OPS-40: by collection and verb, by problem, with sizes, versions and the last backup.
async fn metrics_tell_what_was_done(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let kim = app.person("kim", &["member"]).await;
    let before = operations(&app, "/metrics").await;
    assert!(!before.contains("haechi_backup_last_timestamp_seconds "), "nothing was copied yet: {before}");
    for _ in 0..3 {
        kim.create("notes", json!({"title": "t"})).await;
    }
    let id = kim.create("notes", json!({"title": "t"})).await;
    kim.get(&format!("/api/v1/notes/{id}")).await.expect(200);
    kim.get("/api/v1/notes?page_size=2").await.expect(200);
    kim.patch(&format!("/api/v1/notes/{id}"), json!({"rank": 1})).await.expect(200);
    kim.delete(&format!("/api/v1/notes/{id}")).await.expect(204);
    kim.get(&format!("/api/v1/notes/{id}")).await.expect(404);
    kim.post("/api/v1/notes", json!({"rank": 9})).await.expect(422);
    let began = app.house.gate.clock().now_ms() / 1000;
    app.house.gate.backup(&app.house.keys.backup, &app.root.join("copy"), "uid 0").await.unwrap();
    let text = operations(&app, "/metrics").await;
    let value = |name: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} is not in\n{text}")).parse().unwrap()
    };
    for (operation, count, rows) in [("create", 4.0, 4.0), ("list", 1.0, 2.0), ("update", 1.0, 1.0), ("delete", 1.0, 1.0)] {
        let labels = format!("{{table=\"notes\",operation=\"{operation}\"}}");
        assert_eq!(value(&format!("haechi_db_client_operations_total{labels}")), count, "{operation}");
        assert_eq!(value(&format!("haechi_db_client_rows_total{labels}")), rows, "{operation}");
        assert!(value(&format!("haechi_db_client_operation_duration_seconds_total{labels}")) > 0.0, "{operation}");
    }
    assert_eq!(value("haechi_http_problems_total{type=\"not-found\"}"), 1.0);
    assert_eq!(value("haechi_http_problems_total{type=\"invalid-fields\"}"), 1.0);
    assert_eq!(value("haechi_db_client_failures_total{reason=\"broken\"}"), 0.0);
    assert_eq!(value("haechi_migration"), 1.0);
    assert!(value("haechi_backup_last_timestamp_seconds") >= began as f64);
    let entries = app.ledger().await;
    let version = entries.iter().rev().find(|entry| entry["action"] == "create").unwrap()["policy_version"].as_str().unwrap().to_owned();
    assert_eq!(value(&format!("haechi_policies{{version=\"{version}\"}}")), 1.0, "as the ledger names it");
    if backend == Backend::Sqlite {
        assert_eq!(value("haechi_ledger_gives_positions"), 1.0);
    }
    // Another process knows of the backup, too.
    let app = app.restart().await;
    let text = operations(&app, "/metrics").await;
    assert!(text.contains("haechi_db_size_bytes "), "{text}");
    let known = async || operations(&app, "/metrics").await.contains("haechi_backup_last_timestamp_seconds ");
    crate::postgres::until("the last backup is forgotten", known).await;
    app.finish().await;
}

/// OPS-42: what a condition compares without an index is named where rows are read one by one; what has an index is not.
async fn a_missing_index_is_named(backend: Backend) {
    let policies = "permit (principal in Role::\"auditor\", action == Action::\"list\", resource is things) when { resource has small && resource.small > 5 };\n\
                    permit (principal in Role::\"auditor\", action == Action::\"read\", resource is things);";
    let app = TestApp::start(backend, &[FILES, &[("policies/small.cedar", policies)]].concat()).await;
    let (gate, revision) = (&app.house.gate, app.house.gate.revision());
    let plan = async |role: &str, action: &str, collection: &str, id: Option<&str>| {
        let asker = Asker::service("robot", vec![role.into()], None);
        let on = (revision.policies.action(action).unwrap(), revision.app.collection(collection).unwrap().id);
        gate.plan_of(&app.house.keys.import, &asker, on, id).await.unwrap()
    };
    let walked = plan("auditor", "list", "things", None).await.unwrap();
    assert!(walked.statement.contains("\"small\" > ") && !walked.steps.is_empty(), "{walked:?}");
    assert_eq!(walked.lacks, ["small"], "{walked:?}");
    let one = plan("auditor", "list", "things", Some("01920000-0000-7000-8000-000000000001")).await.unwrap();
    assert_eq!(one.lacks, [""; 0], "{one:?}");
    assert_eq!(plan("member", "create", "things", None).await, None, "nothing is looked for before a row is made");
    app.finish().await;
}

/// OPS-42: a slow statement's line has its text, its policies, its rows and the request; nothing that was sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_statements_say_whose_they_are() {
    let root = fresh_folder(Backend::Sqlite, &with_more(FILES, &[("haechi.toml", "[log]\nslow_ms = 1")])).await;
    let mut rows = String::from("title,rank,author\n");
    done(&haechi(&root, &["migrate", "apply"]));
    done(&haechi(&root, &["user", "add", "kim@example.com", "--role", "member"]));
    let people = haechi(&root, &["--json", "user", "list"]).stdout;
    let people: Value = serde_json::from_slice(&people).unwrap();
    let kim = people["id"].as_str().unwrap();
    (0..40_000).for_each(|at| writeln!(rows, "t{at},{},{kim}", at % 1000).unwrap());
    std::fs::write(root.join("notes.csv"), rows).unwrap();
    done(&haechi(&root, &["import", "notes", root.join("notes.csv").to_str().unwrap()]));
    let mut dev = Dev::start_with(&root, &[], Stdio::piped());
    let token = done(&haechi(&root, &["token", "kim@example.com"])).trim().to_owned();
    let reply = dev.try_ask("GET", "/api/v1/notes?order_by=body&filter=title%20%3D%20%22sought%22", &token, "").unwrap();
    let id = reply.lines().find_map(|line| line.strip_prefix("x-request-id: ")).unwrap().to_owned();
    let mut log = dev.log().unwrap();
    dev.end();
    let mut text = String::new();
    log.read_to_string(&mut text).unwrap();
    let line = text.lines().find(|line| line.contains("took long") && line.contains(&id)).unwrap_or_else(|| panic!("{text}"));
    for part in ["table=\"notes\"", "action=\"list\"", "rows=0", "title", "= ?"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    let plan =
        text.lines().find(|line| line.contains("the plan of a statement that took long") && line.contains(&id)).unwrap_or_else(|| panic!("{text}"));
    assert!(plan.contains("plan_hash=\"") && plan.contains("nodes=\"SEARCH t0 USING INDEX notes__author__ref"), "{plan}");
    assert!(line.contains("policies=\"") && !line.contains("policies=\"\"") && !text.contains("sought"), "{line}");
}
