//! PostgreSQL in production: nothing that is slow, locked, gone or cut off takes others with it, and what is wrong is seen.

use crate::{database::doorway, fixture::FILES};
use haechi_gate::TestClock;
use haechi_testkit::{Backend, Person, TestApp, fresh_folder, with_more};
use serde_json::json;
use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{net::TcpListener, sync::watch, time::timeout};
use tokio_postgres::Client;

/// What is held up is held up for longer than this; what is not, answers within it.
const SOON: Duration = Duration::from_secs(4);

pub(crate) async fn client(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// The URL of an app's database.
pub(crate) fn url(root: &Path) -> String {
    let toml = std::fs::read_to_string(root.join("haechi.toml")).unwrap();
    toml.split("url = \"").nth(1).unwrap().split('"').next().unwrap().to_owned()
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !so().await {
        assert!(begun.elapsed() < Duration::from_secs(40), "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// DOS-16 [V15.2.2]: a table that somebody has locked, with more reads and changes waiting for it than there are connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_table_holds_up_nobody_else() {
    let app = TestApp::start(Backend::Postgres, FILES).await;
    let kim = app.person("kim", &["member"]).await;
    let note = kim.create("notes", json!({"title": "free"})).await;
    let thing = kim.create("things", json!({"text": "held"})).await;
    let other = client(&url(&app.root)).await;
    other.batch_execute("BEGIN; LOCK TABLE \"things\" IN ACCESS EXCLUSIVE MODE").await.unwrap();
    // Reads of many shapes and changes, of several callers: each has a share of the door.
    let mut callers = Vec::new();
    for at in 0..6 {
        callers.push(app.person(&format!("p{at}"), &["member"]).await);
    }
    let mut held = Vec::new();
    for at in 0..60 {
        let (kim, thing) = (callers[at % callers.len()].clone(), thing.clone());
        held.push(tokio::spawn(async move {
            match at % 4 {
                0 => kim.get(&format!("/api/v1/things/{thing}")).await,
                1 => kim.get(&format!("/api/v1/things?page_size={}", 1 + at)).await,
                2 => kim.get("/api/v1/things:aggregate?count=true").await,
                _ => kim.patch(&format!("/api/v1/things/{thing}"), json!({"text": "changed"})).await,
            }
        }));
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    for _ in 0..20 {
        let free = async {
            kim.get(&format!("/api/v1/notes/{note}")).await.expect(200);
            kim.get("/api/v1/notes?order_by=title&page_size=3").await.expect(200);
            kim.patch(&format!("/api/v1/notes/{note}"), json!({"body": "b"})).await.expect(200);
            app.anonymous().get("/readyz").await.expect(200);
        };
        timeout(SOON, free).await.expect("a lock on one table holds up another");
    }
    other.batch_execute("ROLLBACK").await.unwrap();
    for reply in held {
        let reply = reply.await.unwrap();
        assert!(matches!(reply.status, 200 | 400 | 404 | 503), "{}: {}", reply.status, reply.text());
    }
    timeout(SOON, kim.get(&format!("/api/v1/things/{thing}"))).await.unwrap().expect(200);
    app.finish().await;
}

/// AUD-05 [V16.2.1]: a ledger that does not go on is seen by every node, by how much waits and for how long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_ledger_is_seen_by_every_node() {
    let first = TestApp::start(Backend::Postgres, FILES).await;
    let second = first.second_node().await;
    let kim = first.person("kim", &["member"]).await;
    first.house.gate.settle().await;
    let nodes = [&first, &second];
    let other = client(&url(&first.root)).await;
    other.batch_execute("BEGIN; LOCK TABLE \"_leases\" IN ACCESS EXCLUSIVE MODE").await.unwrap();
    for at in 0..30 {
        kim.create("notes", json!({"title": format!("n{at}")})).await;
    }
    for node in nodes {
        until("the lag is not seen", async || node.house.gate.unplaced() >= 30 && node.house.gate.seal_lag_ms() >= 2_000).await;
    }
    until("a node is ready although the ledger is stuck", async || {
        let ready = |node: &TestApp| {
            let anonymous = node.anonymous();
            async move { anonymous.get("/readyz").await.status }
        };
        ready(&first).await == 503 && ready(&second).await == 503
    })
    .await;
    other.batch_execute("ROLLBACK").await.unwrap();
    for node in nodes {
        until("the lag stays", async || node.house.gate.unplaced() == 0 && node.house.gate.seal_lag_ms() < 2_000).await;
        until("a node stays not ready", async || node.anonymous().get("/readyz").await.status == 200).await;
    }
    second.close().await;
    first.finish().await;
}

/// DOS-15 [V16.5.2]: an outage ends streams as busy, and they go on without loss where they were; nobody is signed out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_not_a_sign_out() {
    let (root, switch) = behind_a_door(&watched()).await;
    let app = TestApp::open(root, Backend::Postgres, Arc::new(TestClock::new())).await;
    let kim = app.person("kim", &["member"]).await;
    let mut events = kim.watch("/api/v1/things:watch", None).await.unwrap_or_else(|reply| panic!("{}", reply.text()));
    kim.create("things", json!({"text": "before"})).await;
    until("the change is not told", async || events.next().await.is_some_and(|(name, _)| name == "create")).await;
    switch.send(false).unwrap();
    let end = timeout(Duration::from_secs(60), async {
        loop {
            match events.next_within(Duration::from_secs(60)).await {
                Some((name, data)) if name == "end" => break data,
                Some(_) => {}
                None => panic!("the stream ended without a reason"),
            }
        }
    });
    assert_eq!(end.await.unwrap(), json!({"reason": "busy"}));
    switch.send(true).unwrap();
    until("it does not come back", async || kim.get("/api/v1/notes").await.status == 200).await;
    // Connections for changes come back by themselves, and until then a change is told to be tried again.
    until("changes do not come back", async || kim.post("/api/v1/things", json!({"text": "after"})).await.status == 201).await;
    let mut again = kim.watch("/api/v1/things:watch", Some(&events.last)).await.unwrap_or_else(|reply| panic!("{}", reply.text()));
    until("what happened meanwhile is not told", async || {
        again.next().await.is_some_and(|(name, data)| name == "create" && data["record"]["text"] == "after")
    })
    .await;
    app.finish().await;
}

/// The small app, and members may watch things.
fn watched() -> Vec<(&'static str, String)> {
    let more = "permit (principal in Role::\"member\", action == Action::\"watch\", resource is things);";
    with_more(FILES, &[("policies/main.cedar", more)])
}

/// A folder whose database is behind a door that can be shut.
async fn behind_a_door(files: &[(&str, impl AsRef<str>)]) -> (std::path::PathBuf, watch::Sender<bool>) {
    let root = fresh_folder(Backend::Postgres, files).await;
    let toml = std::fs::read_to_string(root.join("haechi.toml")).unwrap();
    let real = toml.split('@').nth(1).unwrap().split('/').next().unwrap().to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (switch, open) = watch::channel(true);
    tokio::spawn(doorway(listener, real.clone(), open));
    std::fs::write(root.join("haechi.toml"), toml.replace(&real, &address)).unwrap();
    (root, switch)
}

/// OPS: nodes with nothing to do write nearly nothing, and a change of one is told by the other at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_nodes_are_idle() {
    let first = TestApp::start(Backend::Postgres, &watched()).await;
    let second = first.second_node().await;
    let kim = first.person("kim", &["member"]).await;
    first.house.gate.settle().await;
    let other = client(&url(&first.root)).await;
    let written = async || {
        // What a session has done is counted when it is idle.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let sum = "SELECT COALESCE(SUM(n_tup_ins + n_tup_upd + n_tup_del), 0)::bigint FROM pg_stat_user_tables";
        other.query_one(sum, &[]).await.unwrap().get::<_, i64>(0)
    };
    let (before, begun) = (written().await, Instant::now());
    tokio::time::sleep(Duration::from_secs(8)).await;
    let writes = written().await - before;
    let most = begun.elapsed().as_secs_f64();
    assert!((writes as f64) < most, "{writes} rows written in {most} seconds without work");
    let seldom = "SELECT COALESCE(reloptions::text, '') LIKE '%autovacuum_vacuum_threshold%' FROM pg_class WHERE oid = to_regclass('_leases')";
    assert!(other.query_one(seldom, &[]).await.unwrap().get::<_, bool>(0), "a vacuum each minute writes more than the lease does");
    // Both ways: whichever holds the lease.
    let there = Person::with_token(&second, &kim);
    for (here, there) in [(&kim, &there), (&there, &kim)] {
        let mut events = there.watch("/api/v1/things:watch", None).await.unwrap_or_else(|reply| panic!("{}", reply.text()));
        assert_eq!(events.next().await.unwrap().0, "ready");
        here.create("things", json!({"text": "told"})).await;
        assert_eq!(events.next().await.unwrap().0, "create");
    }
    second.close().await;
    first.finish().await;
}

/// Runs a command of the shell as the server's user, on its host.
async fn on_the_server(client: &Client, command: &str) {
    let command = command.replace('\'', "''");
    client.batch_execute(&format!("COPY (SELECT 1) TO PROGRAM '{command}'")).await.unwrap_or_else(|error| panic!("{command}: {error:?}"));
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// OPS-21: a standby takes over. Nodes name both hosts; while none takes changes they are not ready, and then they go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_standby_is_found() {
    let root = fresh_folder(Backend::Postgres, FILES).await;
    let server = client(&std::env::var("HAECHI_TEST_POSTGRES").unwrap()).await;
    let bin: String = server.query_one("SELECT setting FROM pg_config() WHERE name = 'BINDIR'", &[]).await.unwrap().get(0);
    // A primary and a standby of their own: they are stopped.
    let (one, two, place) = (free_port(), free_port(), format!("/tmp/haechi-standby-{}", std::process::id()));
    let start = |name: &str, port: u16| {
        format!(
            "{bin}/pg_ctl -D {place}/{name} -w -l {place}/{name}.log -o '-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=' start >{place}/out 2>&1"
        )
    };
    let made = format!(
        "umask 077; rm -rf {place}; mkdir {place} && {bin}/initdb -D {place}/one --auth=trust --encoding=UTF8 --locale=C.UTF-8 --username=postgres --no-sync >{place}/out 2>&1 && {}",
        start("one", one)
    );
    on_the_server(&server, &made).await;
    let copied = format!(
        "umask 077; {bin}/pg_basebackup -h 127.0.0.1 -p {one} -U postgres -D {place}/two -R -X stream -c fast >{place}/out 2>&1 && {}",
        start("two", two)
    );
    on_the_server(&server, &copied).await;
    let toml = std::fs::read_to_string(root.join("haechi.toml")).unwrap();
    let real = url(&root);
    let names =
        |hosts: &str| std::fs::write(root.join("haechi.toml"), toml.replace(&real, &format!("postgres://postgres@{hosts}/postgres"))).unwrap();
    // Alone a standby is refused: it takes no changes.
    names(&format!("127.0.0.1:{two}"));
    let data = haechi::DataDir::open(haechi::app::folder::default_data(&root)).unwrap();
    let refused = haechi::House::open(&root, &data, haechi::Mode::Dev).await.err().unwrap().to_string();
    assert!(refused.contains("the server is a standby"), "{refused}");
    drop(data);
    names(&format!("127.0.0.1:{two},127.0.0.1:{one}"));
    let app = TestApp::open(root.clone(), Backend::Postgres, Arc::new(TestClock::new())).await;
    let kim = app.person("kim", &["member"]).await;
    let note = kim.create("notes", json!({"title": "before"})).await;
    app.house.gate.settle().await;
    let copy = client(&format!("postgres://postgres@127.0.0.1:{two}/postgres")).await;
    until("the standby does not follow", async || {
        let waiting = "SELECT (SELECT COUNT(*) FROM \"_log\" WHERE \"position\" IS NULL), (SELECT COUNT(*) FROM \"notes\" WHERE \"id\" = $1)";
        let row = copy.query_one(waiting, &[&note]).await.unwrap();
        (row.get::<_, i64>(0), row.get::<_, i64>(1)) == (0, 1)
    })
    .await;
    on_the_server(&server, &format!("{bin}/pg_ctl -D {place}/one -m immediate -w stop >{place}/out 2>&1")).await;
    until("without a primary it stays ready", async || app.anonymous().get("/readyz").await.status == 503).await;
    assert_eq!(kim.post("/api/v1/notes", json!({"title": "nowhere"})).await.status, 503);
    on_the_server(&server, &format!("{bin}/pg_ctl -D {place}/two -w promote >{place}/out 2>&1")).await;
    until("the new primary is not found", async || kim.post("/api/v1/notes", json!({"title": "after"})).await.status == 201).await;
    kim.get(&format!("/api/v1/notes/{note}")).await.expect(200);
    until("it does not get ready again", async || app.anonymous().get("/readyz").await.status == 200).await;
    app.finish().await;
    on_the_server(&server, &format!("{bin}/pg_ctl -D {place}/two -m immediate -w stop >{place}/out 2>&1; rm -rf {place}")).await;
}

/// OPS-22: a pooler that gives each transaction another session is refused with the remedy; with sessions it works.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poolers_must_keep_sessions() {
    let root = fresh_folder(Backend::Postgres, FILES).await;
    let toml = std::fs::read_to_string(root.join("haechi.toml")).unwrap();
    let real = toml.split('@').nth(1).unwrap().split('/').next().unwrap().to_owned();
    let (host, port) = real.split_once(':').unwrap();
    let server = client(&std::env::var("HAECHI_TEST_POSTGRES").unwrap()).await;
    for (mode, works) in [("transaction", false), ("statement", false), ("session", true)] {
        for sessions in [1, 40] {
            if works && sessions == 1 {
                continue;
            }
            let (at, place) = (free_port(), format!("/tmp/haechi-pooler-{}-{mode}-{sessions}", std::process::id()));
            let ini = format!(
                "[databases]\n* = user=postgres host={host} port={port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {at}\nunix_socket_dir =\nauth_type = any\npool_mode = {mode}\n\
                 default_pool_size = {sessions}\nmax_client_conn = 200\nignore_startup_parameters = extra_float_digits\nlogfile = {place}/log\npidfile = {place}/pid\n"
            );
            let begin = format!(
                "umask 077; rm -rf {place}; mkdir {place}; printf '%s' '{ini}' > {place}/ini; PATH=$PATH:/usr/sbin pgbouncer -q -d {place}/ini"
            );
            on_the_server(&server, &begin).await;
            std::fs::write(root.join("haechi.toml"), toml.replace(&real, &format!("127.0.0.1:{at}"))).unwrap();
            let data = haechi::DataDir::open(haechi::app::folder::default_data(&root)).unwrap();
            let begun = Instant::now();
            let opened = loop {
                match haechi::House::open(&root, &data, haechi::Mode::Dev).await {
                    // It has only just been started.
                    Err(error) if error.to_string().contains("refused: ") || error.to_string().contains("Connection refused") => {
                        assert!(begun.elapsed() < Duration::from_secs(20), "{error}");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                    opened => break opened,
                }
            };
            match opened {
                Ok(house) => {
                    assert!(works, "pool_mode = {mode} with {sessions} was taken");
                    house.close().await;
                    drop(data);
                    let app = TestApp::open(root.clone(), Backend::Postgres, Arc::new(TestClock::new())).await;
                    let kim = app.person("kim", &["member"]).await;
                    let note = kim.create("notes", json!({"title": "pooled"})).await;
                    kim.get(&format!("/api/v1/notes/{note}")).await.expect(200);
                    app.verify().await;
                    app.close().await;
                }
                Err(error) => {
                    assert!(!works && error.to_string().contains("set pool_mode = session, or connect past it"), "{mode}, {sessions}: {error}");
                }
            }
            on_the_server(&server, &format!("kill $(cat {place}/pid); rm -rf {place}")).await;
        }
    }
    std::fs::remove_dir_all(root).unwrap();
}

struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `haechi serve` of a folder on an address of its own.
fn serve(root: &Path) -> Serving {
    let toml = std::fs::read_to_string(root.join("haechi.toml")).unwrap();
    let (listen, ops) = (free_port(), free_port());
    let (head, tail) = toml.split_at(toml.find("\n[").unwrap() + 1);
    let server = format!(
        "{head}master_key = {{ env = \"TEST_MASTER_KEY\" }}\n[server]\nlisten = \"127.0.0.1:{listen}\"\nops_listen = \"127.0.0.1:{ops}\"\npublic_url = \"https://t.example\"\n[ledger]\nwitness = [\"file:witness.txt\"]\n{tail}"
    );
    std::fs::write(root.join("haechi.toml"), server).unwrap();
    started(root)
}

fn started(root: &Path) -> Serving {
    let mut command = Command::new(env!("CARGO_BIN_EXE_haechi"));
    command.arg("serve").arg(root).current_dir(root).env("TEST_MASTER_KEY", "6d".repeat(32)).stdout(Stdio::null()).stderr(Stdio::piped());
    Serving(command.spawn().unwrap())
}

/// The line of the log with some words, or all lines when it ended without it.
async fn line_with(serving: &mut Serving, words: &'static str) -> Result<String, String> {
    let lines = BufReader::new(serving.0.stderr.take().unwrap());
    let read = tokio::task::spawn_blocking(move || {
        let mut all = String::new();
        for line in lines.lines().map_while(Result::ok) {
            if line.contains(words) {
                return Ok(line);
            }
            all.push_str(&line);
            all.push('\n');
        }
        Err(all)
    });
    timeout(Duration::from_secs(100), read).await.unwrap().unwrap()
}

/// OPS-23: a server that starts before its database waits for it; one that is not granted its connections says so at the start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_start_needs_is_waited_for_or_told() {
    let (root, switch) = behind_a_door(FILES).await;
    switch.send(false).unwrap();
    let mut serving = serve(&root);
    tokio::time::sleep(Duration::from_secs(3)).await;
    if serving.0.try_wait().unwrap().is_some() {
        panic!("it does not wait for its database: {:?}", line_with(&mut serving, "\"serving\"").await);
    }
    switch.send(true).unwrap();
    line_with(&mut serving, "\"serving\"").await.unwrap_or_else(|all| panic!("{all}"));
    drop(serving);

    let root = fresh_folder(Backend::Postgres, FILES).await;
    let role = format!("haechi_few_{}", std::process::id());
    let server = client(&url(&root)).await;
    server.batch_execute(&format!("CREATE ROLE {role} LOGIN CONNECTION LIMIT 12; GRANT ALL ON SCHEMA public TO {role}")).await.unwrap();
    let path = root.join("haechi.toml");
    let toml = std::fs::read_to_string(&path).unwrap().replace("postgres@", &format!("{role}@"));
    std::fs::write(&path, toml).unwrap();
    let mut serving = serve(&root);
    let all = line_with(&mut serving, "\"serving\"").await.unwrap_err();
    assert!(all.contains("this node needs 29 connections") && all.contains("lower database.read_connections"), "{all}");
    drop(serving);
    // With fewer it starts.
    let toml = std::fs::read_to_string(&path).unwrap();
    let fewer = toml.replace("[database]\n", "[database]\nshared_connections = 1\nread_connections = 2\nchange_connections = 2\n");
    std::fs::write(&path, fewer).unwrap();
    let mut serving = started(&root);
    line_with(&mut serving, "\"serving\"").await.unwrap_or_else(|all| panic!("{all}"));
    drop(serving);
    std::fs::remove_dir_all(root).unwrap();
}
