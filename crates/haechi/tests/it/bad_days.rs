//! Bad days: a panic, a clock set back, a node that is gone, an end under load.

use crate::fixture::FILES;
use axum::{Router, routing::get};
use haechi::http::routes;
use haechi_testkit::{Backend, Person, TestApp, on_both};
use serde_json::json;
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

on_both!(a_panic_is_a_500_and_nothing_else_falls, a_clock_set_back_loses_nothing, what_cannot_be_recorded_is_not_shown);

/// DOS-17 [V16.5.4]
async fn a_panic_is_a_500_and_nothing_else_falls(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let kim = app.person("kim", &["member"]).await;
    let usual = routes::stack(&app.house, haechi::Mode::Dev);
    let panics = Router::new().route(
        "/panic",
        get(|| async {
            if true {
                panic!("planted")
            }
        }),
    );
    let stack = Arc::new(usual.with_routes(panics));
    let kim = Person::at(stack, &kim);
    for _ in 0..100 {
        let reply = kim.get("/panic").await.expect(500);
        assert_eq!((reply.problem().as_str(), reply.text().contains("planted")), ("internal", false));
        assert_eq!(reply.json()["request_id"], reply.header("x-request-id"));
    }
    kim.create("notes", json!({"title": "t"})).await;
    app.finish().await;
}

async fn a_clock_set_back_loses_nothing(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let kim = app.person("kim", &["member"]).await;
    let id = kim.create("notes", json!({"title": "t"})).await;
    app.clock.advance_ms(-3 * 24 * 3_600_000);
    // Time goes on from where it was: what is alive stays so, and nothing is written with an earlier time.
    let path = format!("/api/v1/notes/{id}");
    let made = kim.get(&path).await.expect(200).json()["create_time"].clone();
    let changed = kim.patch(&path, json!({"title": "earlier"})).await.expect(200).json()["update_time"].clone();
    assert!(changed.as_str() >= made.as_str(), "{changed} after {made}");
    kim.create("notes", json!({"title": "also earlier"})).await;
    app.verify().await;
    let times: Vec<String> = app.ledger().await.iter().map(|entry| entry["time"].as_str().unwrap().to_owned()).collect();
    assert!(times.is_sorted(), "{times:?}");
    app.clock.advance_ms(365 * 24 * 3_600_000);
    let kim = kim.renewed(&app);
    assert_eq!(kim.get("/api/v1/notes").await.expect(200).json()["items"].as_array().unwrap().len(), 2);
    app.finish().await;
}

/// Keeps others from writing to the log, as a disk without room does, until it is dropped.
enum Stopped {
    Sqlite(rusqlite::Connection),
    Postgres(tokio_postgres::Client),
}

impl Stopped {
    async fn begin(app: &TestApp, backend: Backend) -> Self {
        if backend == Backend::Sqlite {
            let connection = rusqlite::Connection::open(app.database_file()).unwrap();
            connection.execute_batch("BEGIN IMMEDIATE").unwrap();
            return Self::Sqlite(connection);
        }
        let haechi_model::DatabaseUrl::Postgres(url) = &app.house.gate.revision().app.config.database.url else { panic!("no PostgreSQL") };
        let (client, driver) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(driver);
        client.batch_execute("BEGIN; LOCK TABLE \"_log\" IN EXCLUSIVE MODE").await.unwrap();
        Self::Postgres(client)
    }

    async fn end(self) {
        match self {
            Self::Sqlite(connection) => connection.execute_batch("ROLLBACK").unwrap(),
            Self::Postgres(client) => client.batch_execute("ROLLBACK").await.unwrap(),
        }
    }
}

async fn within_seconds(seconds: u64, what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < Duration::from_secs(seconds), "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// [V16.4.2 V16.5.3]: while access entries cannot be written, nothing is shown that needs one, refusals are told as such, the node is
/// not ready and says why; all of it ends by itself, and nothing that was shown is missing in the ledger.
async fn what_cannot_be_recorded_is_not_shown(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let (kim, admin) = (app.person("kim", &["member"]).await, app.person("ada", &["admin"]).await);
    let id = kim.create("notes", json!({"title": "t", "mail": "kim@example.com"})).await;
    let path = format!("/api/v1/notes/{id}");
    let ready = async || admin.get("/readyz").await;
    ready().await.expect(200);
    let stopped = Stopped::begin(&app, backend).await;
    let mut shown = 0;
    within_seconds(8, "it goes on to show what it cannot record", async || {
        let reply = kim.get(&path).await;
        shown += usize::from(reply.status == 200);
        reply.status == 503
    })
    .await;
    let busy = kim.get(&path).await.expect(503);
    assert_eq!((busy.problem().as_str(), busy.header("retry-after")), ("busy", "1"));
    // What is not personal is shown all the same; who is refused is not told of it without a record.
    kim.get(&format!("{path}?fields=title")).await.expect(200);
    app.anonymous().get(&path).await.expect(503);
    let not_ready = ready().await.expect(503).text();
    assert!(not_ready.starts_with("not ready\n") && not_ready.contains("access entries cannot be written"), "{not_ready}");
    // On SQLite a write gives up after five seconds: from then on it has failed.
    tokio::time::sleep(Duration::from_millis(if backend == Backend::Sqlite { 6_000 } else { 500 })).await;
    kim.get(&path).await.expect(503);
    stopped.end().await;
    within_seconds(20, "it does not recover", async || kim.get(&path).await.status == 200 && ready().await.status == 200).await;
    app.house.gate.settle().await;
    let seen: u64 = app
        .ledger()
        .await
        .iter()
        .filter(|entry| entry["action"] == "read" && entry["actor"] == kim.id.as_str())
        .map(|entry| entry["detail"]["count"].as_u64().unwrap_or(1))
        .sum();
    assert!(seen > shown as u64, "{seen} of {shown}");
    app.verify().await;
    app.finish().await;
}

/// AUD-03 [V16.2.2]: two nodes on one PostgreSQL, the holder of the lease gone without a word.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_node_goes_on_where_one_was_lost() {
    let first = TestApp::start(Backend::Postgres, FILES).await;
    let second = first.second_node().await;
    let kim = first.person("kim", &["member"]).await;
    let kim_there = Person::with_token(&second, &kim);
    for at in 0..20 {
        let here = if at % 2 == 0 { &kim } else { &kim_there };
        here.create("notes", json!({"title": format!("n{at}")})).await;
    }
    first.house.gate.settle().await;
    // Gone: nothing is released, nothing more is sealed by it.
    first.abandon();
    for at in 20..30 {
        kim_there.create("notes", json!({"title": format!("n{at}")})).await;
    }
    let started = Instant::now();
    loop {
        second.house.gate.settle().await;
        let report = second.house.gate.verify(&second.house.keys.audit, &[], true).await.unwrap();
        assert_eq!(report.findings, []);
        if report.entries == report.sealed && report.entries >= 32 {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(15), "the lease was not taken over: {report:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    second.finish().await;
}

/// SIGTERM under load: every request is answered or refused, none is cut in the middle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orderly_end_answers_or_refuses() {
    let root = haechi_testkit::fresh_folder(Backend::Sqlite, FILES).await;
    tokio::task::spawn_blocking(move || {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let mut child = Command::new(env!("CARGO_BIN_EXE_haechi"))
            .arg("dev")
            .arg(&root)
            .args(["--listen", &address])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let ask = |path: &str| -> Option<String> {
            let mut stream = TcpStream::connect(&address).ok()?;
            stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes()).ok()?;
            let mut reply = String::new();
            stream.read_to_string(&mut reply).ok()?;
            Some(reply)
        };
        let started = Instant::now();
        while ask("/healthz").is_none_or(|reply| reply.is_empty()) {
            assert!(started.elapsed() < Duration::from_secs(60));
            thread::sleep(Duration::from_millis(5));
        }
        let (ended, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    while !ended.load(Ordering::Relaxed) {
                        // A reply that has begun comes whole.
                        if let Some(reply) = ask("/api/v1/posts").filter(|reply| !reply.is_empty()) {
                            assert!(reply.starts_with("HTTP/1.1 ") && reply.ends_with('}'), "cut off: {reply}");
                            answered.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
            thread::sleep(Duration::from_millis(300));
            Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
            let status = child.wait().unwrap();
            ended.store(true, Ordering::Relaxed);
            assert!(status.success(), "{status}");
        });
        assert!(answered.load(Ordering::Relaxed) > 10);
        std::fs::remove_dir_all(&root).unwrap();
    })
    .await
    .unwrap();
}

/// [V13.1.1] SIGHUP: new policies at once; broken ones, ones that open more, and another model keep the old ones, and say so.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_is_all_or_nothing() {
    let app = TestApp::start(Backend::Sqlite, FILES).await;
    let new = haechi_identity::NewKey { label: "probe".to_owned(), ..Default::default() };
    let (key, _) = app.house.identity.operator("test").create_service_key("probe", &["auditor".to_owned()], &new).await.unwrap();
    let root = app.close().await;
    let work = move || {
        let port = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let (address, ops) = (port(), port());
        let log = root.join("log");
        let master = std::fs::read_to_string(root.join(".haechi/master.key")).unwrap();
        let toml = std::fs::read_to_string(root.join("haechi.toml")).unwrap();
        let config = format!(
            "master_key = {{ env = \"TEST_MASTER_KEY\" }}\n{toml}\n[server]\nlisten = \"{address}\"\nops_listen = \"{ops}\"\npublic_url = \"http://{address}\"\n"
        );
        std::fs::write(root.join("haechi.toml"), config).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_haechi"))
            .arg("serve")
            .arg(&root)
            .env("TEST_MASTER_KEY", &master)
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let ask = |path: &str| -> Option<String> {
            let mut stream = TcpStream::connect(&address).ok()?;
            let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {key}\r\n\r\n");
            stream.write_all(head.as_bytes()).ok()?;
            let mut reply = String::new();
            stream.read_to_string(&mut reply).ok()?;
            reply.get(9..12).map(str::to_owned)
        };
        let until = |what: &str, wanted: &dyn Fn() -> bool| {
            let started = Instant::now();
            while !wanted() {
                assert!(started.elapsed() < Duration::from_secs(20), "{what}: {}", std::fs::read_to_string(&log).unwrap());
                thread::sleep(Duration::from_millis(20));
            }
        };
        let said = |text: &str| std::fs::read_to_string(&log).unwrap().matches(text).count();
        until("start", &|| ask("/healthz").is_some());
        assert_eq!(ask("/api/v1/things").unwrap(), "403");
        assert_eq!(ask("/api/v1/notes").unwrap(), "200");
        let policies = root.join("policies/main.cedar");
        let good = std::fs::read_to_string(&policies).unwrap();
        let hang_up = |text: &str| {
            std::fs::write(&policies, text).unwrap();
            Command::new("kill").args(["-HUP", &child.id().to_string()]).status().unwrap();
        };
        hang_up(&format!("{good}\npermit (principal in Role::\"auditor\", action in [Action::\"list\", Action::\"read\"], resource is things);"));
        until("the new policy", &|| ask("/api/v1/things").unwrap() == "200");
        hang_up("permit (principal, action, resource");
        until("the broken policy", &|| said("the old policies go on") == 1);
        assert_eq!(ask("/api/v1/things").unwrap(), "200");
        hang_up(&format!("{good}\npermit (principal, action in [Action::\"list\", Action::\"read\"], resource is vault);"));
        until("the policy that opens more", &|| said("opens more than") == 1);
        assert_eq!(ask("/api/v1/vault").unwrap(), "403");
        let notes = root.join("collections/notes.toml");
        let model = std::fs::read_to_string(&notes).unwrap();
        std::fs::write(&notes, format!("{model}more = {{ type = \"text\" }}\n")).unwrap();
        hang_up(&good);
        until("another model", &|| said("needs a restart") == 1);
        std::fs::write(&notes, model).unwrap();
        hang_up(&good);
        until("the old policies", &|| ask("/api/v1/things").unwrap() == "403");
        Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
        assert!(child.wait().unwrap().success());
        assert!(!std::fs::read_to_string(&log).unwrap().contains(&key), "the log holds a key");
        let entries = Command::new(env!("CARGO_BIN_EXE_haechi")).args(["audit", "export", "-C"]).arg(&root).env("TEST_MASTER_KEY", &master).output();
        let entries = String::from_utf8(entries.unwrap().stdout).unwrap();
        assert_eq!(entries.matches("\"action\":\"reload\"").count(), 2, "two policies were taken over: {entries}");
        std::fs::remove_dir_all(&root).unwrap();
    };
    tokio::task::spawn_blocking(work).await.unwrap();
}
