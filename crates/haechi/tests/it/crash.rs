//! `kill -9` amid 64 writers, over and over: every acknowledged write is there, none is half there, the ledger verifies.
//!
//! `HAECHI_CRASH_ROUNDS` and `HAECHI_CRASH_SEED` choose a longer run and another one.

use haechi_testkit::{Backend, fresh_folder};
use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

const WRITERS: usize = 64;
const ROUNDS: u64 = 8;
const FILES: &[(&str, &str)] = &[
    ("haechi.toml", "roles = [\"member\"]\n"),
    (
        "collections/notes.toml",
        "[fields]\ntitle = { type = \"text\", required = true, class = \"public\" }\nbody = { type = \"text\", required = true }\nmail = { type = \"email\", class = \"pii\" }\n",
    ),
    (
        "policies/main.cedar",
        "permit (principal in Role::\"member\", action in [Action::\"list\", Action::\"read\", Action::\"create\", Action::\"update\", Action::\"read_pii\", Action::\"write_pii\"], resource is notes);\n",
    ),
    ("seed/users.csv", "id,email,roles\n01920000-0000-7000-8000-000000000001,kim@example.test,\"[\"\"member\"\"]\"\n"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_writes_survive_on_sqlite() {
    survive(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_writes_survive_on_postgres() {
    survive(Backend::Postgres).await;
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn haechi(root: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_haechi"));
    command.arg("-C").arg(root).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// A served folder; killed without mercy when dropped.
struct Served {
    child: Child,
    address: String,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve(root: &Path) -> Served {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let child = haechi(root).args(["dev", "--listen", &address]).spawn().unwrap();
    let served = Served { child, address };
    let started = Instant::now();
    while request(&served.address, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").is_none() {
        assert!(started.elapsed() < Duration::from_secs(60), "the server does not start");
        thread::sleep(Duration::from_millis(5));
    }
    served
}

fn request(address: &str, text: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    stream.write_all(text.as_bytes()).ok()?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).ok()?;
    (!reply.is_empty()).then_some(reply)
}

async fn survive(backend: Backend) {
    let root = fresh_folder(backend, FILES).await;
    let task = tokio::task::spawn_blocking(move || {
        let mut random = number("HAECHI_CRASH_SEED", 7);
        let acknowledged: Mutex<BTreeSet<String>> = Mutex::default();
        let counter = AtomicUsize::new(0);
        drop(serve(&root));
        for _ in 0..number("HAECHI_CRASH_ROUNDS", ROUNDS) {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            round(&root, 20 + (random >> 33) as usize % 200, &acknowledged, &counter);
        }
        let acknowledged = acknowledged.into_inner().unwrap();
        assert!(acknowledged.len() > 100, "too few writes to say anything: {}", acknowledged.len());
        check(&root, &acknowledged);
        std::fs::remove_dir_all(&root).unwrap();
    });
    task.await.unwrap();
}

/// Serves, writes from 64 connections, and kills after so many acknowledgements.
fn round(root: &Path, count: usize, acknowledged: &Mutex<BTreeSet<String>>, counter: &AtomicUsize) {
    let mut served = serve(root);
    let token = haechi(root).args(["token", "kim"]).stdout(Stdio::piped()).output().unwrap();
    let token = String::from_utf8(token.stdout).unwrap().trim().to_owned();
    let ended = AtomicBool::new(false);
    let before = acknowledged.lock().unwrap().len();
    thread::scope(|scope| {
        for _ in 0..WRITERS {
            let (address, token, ended) = (served.address.clone(), &token, &ended);
            scope.spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    let number = counter.fetch_add(1, Ordering::Relaxed);
                    let body = format!("{{\"title\":\"t{number}\",\"body\":\"b{number}\",\"mail\":\"m{number}@example.test\"}}");
                    let text = format!("POST /api/v1/notes HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                    let reply = request(&address, &text).unwrap_or_default();
                    // Only a reply that came whole is an acknowledgement.
                    if reply.starts_with("HTTP/1.1 201") && reply.ends_with('}') {
                        acknowledged.lock().unwrap().insert(format!("t{number}"));
                    }
                }
            });
        }
        let started = Instant::now();
        while acknowledged.lock().unwrap().len() < before + count && started.elapsed() < Duration::from_secs(20) {
            thread::sleep(Duration::from_millis(1));
        }
        served.child.kill().unwrap();
        served.child.wait().unwrap();
        ended.store(true, Ordering::Relaxed);
    });
}

fn check(root: &Path, acknowledged: &BTreeSet<String>) {
    // A start and an orderly end seal what the last crash left unsealed.
    let served = serve(root);
    Command::new("kill").args(["-TERM", &served.child.id().to_string()]).status().unwrap();
    let mut served = served;
    served.child.wait().unwrap();
    let exported: PathBuf = root.join("out.jsonl");
    assert!(haechi(root).args(["export", "notes"]).arg(&exported).status().unwrap().success());
    let mut there = BTreeSet::new();
    for line in std::fs::read_to_string(&exported).unwrap().lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let title = row["title"].as_str().unwrap().to_owned();
        assert_eq!(
            (row["body"].as_str(), row["mail"].as_str()),
            (Some(&*title.replace('t', "b")), Some(&*format!("{}@example.test", title.replace('t', "m"))))
        );
        there.insert(title);
    }
    let lost: Vec<&String> = acknowledged.difference(&there).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    // On PostgreSQL the lease of the node that was killed has to run out before its entries get their positions.
    let started = Instant::now();
    loop {
        haechi(root).args(["audit", "checkpoint"]).status().unwrap();
        let verified = haechi(root).args(["audit", "verify", "--rows", "--json"]).stdout(Stdio::piped()).output().unwrap();
        let report: serde_json::Value = serde_json::from_slice(&verified.stdout).unwrap();
        let number = |name: &str| report[name].as_u64().unwrap_or_default();
        assert_eq!(number("count"), 0, "{} …", report["findings"][0]);
        if number("entries") > there.len() as u64 && number("entries") == number("sealed") {
            assert!(number("rows") > there.len() as u64);
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "entries stay without position or seal");
        thread::sleep(Duration::from_millis(300));
    }
}
