//! A long mixed load: reads, changes, sign-ins, streams, backups and reloads, on SQLite or on two nodes of PostgreSQL. Figures that may not
//! grow are recorded each minute, and judged at the end.

use super::{at, descriptors, memory_mb, wal_mb};
use crate::{
    Outcome,
    bench::{
        client::{once, post},
        servers::{built, free_port, wait},
    },
    cargo, run as run_command, services,
};
use std::{
    fmt::Write as _,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

const WORKERS: usize = 12;
const STREAMS: usize = 20;
/// A pause, so that the machine is not saturated: leaks grow with time, not with load.
const REST: Duration = Duration::from_millis(4);
const START: Duration = Duration::from_secs(60);
/// A reply that never comes is a failure.
const PATIENCE: Duration = Duration::from_secs(30);
const MASTER: &str = "6d6f7374206f6620746865206b6579732061726520666f722074657374696e67";
const PASSWORD: &str = "seven purple otters dance";

const CONFIG: &str = "roles = [\"member\"]\nmaster_key = { env = \"SOAK_MASTER_KEY\" }\n[server]\npublic_url = \"https://soak.example\"\n[auth]\nsign_up = \"open\"\n\
[limits]\ncaller_per_minute = 10_000_000\nanonymous_per_minute = 100_000\n[live]\nstreams_per_caller = 100\n[ledger]\nwitness = [\"file:witness.txt\"]\n";
const NOTES: &str = "[fields]\ntitle = { type = \"text\", required = true, class = \"public\" }\nbody = { type = \"text\" }\nrank = { type = \"int\" }\nphone = { type = \"text\", class = \"pii\" }\n[[indexes]]\nfields = [\"create_time\"]\n";
const POLICIES: &str = "@everything(\"a soak\")\npermit (principal in Role::\"member\", action, resource is notes);\n";

/// A node, ended by its id.
struct Node {
    child: Child,
    address: String,
    ops: String,
    folder: PathBuf,
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the load has met so far.
#[derive(Default)]
struct Met {
    stop: AtomicBool,
    ids: Mutex<Vec<String>>,
    latencies: Mutex<Vec<u32>>,
    answered: AtomicU64,
    /// Answers of 503 with `Retry-After`, which are allowed; all other failures are not.
    told_to_wait: AtomicU64,
    failed: Mutex<Vec<String>>,
    events: AtomicUsize,
}

/// What a minute looked like.
struct Minute {
    p99_ms: f64,
    memory_mb: u64,
    wal_mb: u64,
    descriptors: usize,
    unread: u64,
}

pub(crate) fn run(arguments: &[String]) -> Outcome {
    let minutes = arguments.iter().position(|found| found == "--minutes").and_then(|at| arguments.get(at + 1)?.parse().ok()).unwrap_or(20);
    services::program("kill", "procps")?;
    run_command(Command::new(cargo()).args(["build", "--release", "--package", "haechi"]))?;
    let postgres = if arguments.iter().any(|found| found == "--postgres") { Some(services::Postgres::start()?) } else { None };
    let root = std::env::temp_dir().join(format!("haechi-soak-{}", std::process::id()));
    let nodes = match &postgres {
        None => vec![Node::start(&root.join("one"), None)?],
        Some(postgres) => vec![Node::start(&root.join("one"), Some(&postgres.url()))?, Node::start(&root.join("two"), Some(&postgres.url()))?],
    };
    let key = nodes[0].command(&["key", "create", "soak", "--role", "member"])?.lines().find(|line| line.starts_with("haechi_k_")).map(str::to_owned);
    let key = key.ok_or("no key was made")?;
    let met = Met::default();
    let mut told = Vec::new();
    let outcome = thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (met, node, key) = (&met, &nodes[worker % nodes.len()], &key);
            scope.spawn(move || work(met, node, key, worker));
        }
        for stream in 0..STREAMS {
            let (met, node, key) = (&met, &nodes[stream % nodes.len()], &key);
            scope.spawn(move || watch(met, node, key));
        }
        scope.spawn(|| people(&met, &nodes[0]));
        let watched = minute_by_minute(minutes, &nodes, &met, &mut told);
        met.stop.store(true, Ordering::Release);
        watched
    });
    outcome?;
    let judged = judge(&told, &met);
    drop(nodes);
    let _ = std::fs::remove_dir_all(&root);
    judged
}

impl Node {
    fn start(folder: &Path, postgres: Option<&str>) -> Result<Self, String> {
        let (address, ops) = (format!("127.0.0.1:{}", free_port()?), format!("127.0.0.1:{}", free_port()?));
        let database = postgres.map(|url| format!("[database]\nurl = \"{url}?sslmode=disable\"\n")).unwrap_or_default();
        let config = CONFIG.replace("[auth]", &format!("listen = \"{address}\"\nops_listen = \"{ops}\"\n[auth]")) + &database;
        for (name, text) in [("haechi.toml", config.as_str()), ("collections/notes.toml", NOTES), ("policies/main.cedar", POLICIES)] {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().unwrap_or(folder)).and_then(|()| std::fs::write(path, text)).map_err(|error| error.to_string())?;
        }
        let mut command = Command::new(std::fs::canonicalize(built("haechi")).map_err(|error| error.to_string())?);
        command.arg("serve").arg(".").current_dir(folder).env("SOAK_MASTER_KEY", MASTER).stdout(Stdio::null());
        let log = std::fs::File::create(folder.join("log")).map_err(|error| error.to_string())?;
        let child = command.stderr(log).spawn().map_err(|error| error.to_string())?;
        let node = Self { child, address, ops, folder: folder.to_owned() };
        wait(&node.address, "/healthz", START)
            .map_err(|error| format!("{error}: {}", std::fs::read_to_string(folder.join("log")).unwrap_or_default()))?;
        Ok(node)
    }

    fn command(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(built("haechi"));
        let output =
            command.arg("-C").arg(&self.folder).args(arguments).env("SOAK_MASTER_KEY", MASTER).output().map_err(|error| error.to_string())?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// A gauge of `/metrics`.
    fn gauge(&self, name: &str) -> u64 {
        let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let mut text = String::new();
        let asked = TcpStream::connect(&self.ops).and_then(|mut stream| stream.write_all(request).and_then(|()| stream.read_to_string(&mut text)));
        let line = text.lines().find(|line| asked.is_ok() && line.starts_with(name)).unwrap_or_default();
        line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok()).unwrap_or_default() as u64
    }
}

/// Reads and changes, one after the other on one connection.
fn work(met: &Met, node: &Node, key: &str, worker: usize) {
    let mut stream = None;
    let mut number = worker;
    while !met.stop.load(Ordering::Acquire) {
        number += WORKERS;
        let known = met.ids.lock().ok().and_then(|ids| ids.get(number.wrapping_mul(7919) % ids.len().max(1)).cloned());
        let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\r\n").into_bytes();
        let request = match (number / WORKERS % 20, known) {
            (0 | 1, _) | (_, None) => {
                let body = format!(
                    "{{\"title\":\"Note {number}\",\"body\":\"{}\",\"rank\":{},\"phone\":\"+82-{number}\"}}",
                    "Some words. ".repeat(20),
                    number % 1000
                );
                post("/api/v1/notes", key, &body)
            }
            (2, Some(id)) => {
                let body = format!("{{\"rank\":{}}}", number % 1000);
                let head = format!(
                    "PATCH /api/v1/notes/{id} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
                );
                format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
            }
            (3..=5, _) => get("/api/v1/notes?filter=rank%20%3C%20500&order_by=create_time%20desc&page_size=20"),
            (6, _) => post("/graphql", key, "{\"query\":\"{ notes(first: 10) { nodes { id title phone } } }\"}"),
            (_, Some(id)) => get(&format!("/api/v1/notes/{id}")),
        };
        let begun = Instant::now();
        match ask(&mut stream, &node.address, &request) {
            Ok((status, text)) => {
                met.answered.fetch_add(1, Ordering::Relaxed);
                let us = u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX);
                met.latencies.lock().map(|mut all| all.push(us)).unwrap_or_default();
                judge_reply(met, status, &text);
                if status == 201
                    && let Some(id) = text.split("\"id\":\"").nth(1).and_then(|rest| rest.get(..36))
                {
                    met.ids.lock().map(|mut ids| ids.push(id.to_owned())).unwrap_or_default();
                }
            }
            Err(error) if met.stop.load(Ordering::Acquire) => drop(error),
            Err(error) => {
                stream = None;
                met.failed.lock().map(|mut failed| failed.push(format!("a connection was lost: {error}"))).unwrap_or_default();
            }
        }
        thread::sleep(REST);
    }
}

fn judge_reply(met: &Met, status: u16, text: &str) {
    if status == 503 && text.to_ascii_lowercase().contains("\r\nretry-after: ") {
        met.told_to_wait.fetch_add(1, Ordering::Relaxed);
    } else if status >= 400 {
        let line = text.lines().last().unwrap_or_default();
        met.failed.lock().map(|mut failed| failed.push(format!("{status}: {line}"))).unwrap_or_default();
    }
}

fn ask(stream: &mut Option<TcpStream>, address: &str, request: &[u8]) -> std::io::Result<(u16, String)> {
    let open = match stream {
        Some(open) => open,
        None => {
            let open = TcpStream::connect(address)?;
            open.set_read_timeout(Some(PATIENCE))?;
            stream.insert(open)
        }
    };
    open.write_all(request)?;
    let mut buffer = vec![0; 128 * 1024];
    let status = crate::bench::client::reply(open, &mut buffer)?;
    let end = buffer.iter().position(|byte| *byte == 0).unwrap_or(buffer.len());
    Ok((status, String::from_utf8_lossy(&buffer[..end]).into_owned()))
}

/// Watches, and begins anew when the stream ends.
fn watch(met: &Met, node: &Node, key: &str) {
    while !met.stop.load(Ordering::Acquire) {
        let request =
            format!("GET /api/v1/notes:watch HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nAccept: text/event-stream\r\n\r\n");
        let Ok(mut stream) = TcpStream::connect(&node.address) else { continue };
        let _ = stream.set_read_timeout(Some(Duration::from_millis(500)));
        if stream.write_all(request.as_bytes()).is_err() {
            continue;
        }
        let mut buffer = [0; 16 * 1024];
        while !met.stop.load(Ordering::Acquire) {
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => drop(met.events.fetch_add(buffer[..count].windows(5).filter(|part| part == b"data:").count(), Ordering::Relaxed)),
                Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
                Err(_) => break,
            }
        }
    }
}

/// Somebody signs up once, and in and out every two seconds.
fn people(met: &Met, node: &Node) {
    let who = format!("{{\"email\":\"soak@example.test\",\"password\":\"{PASSWORD}\"}}");
    let failed = |what: String| met.failed.lock().map(|mut failed| failed.push(what)).unwrap_or_default();
    if let Err(error) = once(&node.address, &post("/auth/v1/sign-up", "", &who), 202) {
        failed(format!("the sign-up: {error}"));
    }
    let mut device = String::new();
    while !met.stop.load(Ordering::Acquire) {
        let body = if device.is_empty() { who.clone() } else { who.replace('}', &format!(",\"device\":\"{device}\"}}")) };
        match once(&node.address, &post("/auth/v1/sign-in", "", &body), 200) {
            Ok(reply) => {
                let part =
                    |key: &str| reply.split(&format!("\"{key}\":\"")).nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default().to_owned();
                device = part("device");
                if let Err(error) = once(&node.address, &post("/auth/v1/sign-out", &part("token"), "{}"), 204) {
                    failed(format!("a sign-out: {error}"));
                }
            }
            Err(error) => failed(format!("a sign-in: {error}")),
        }
        thread::sleep(Duration::from_secs(2));
    }
}

/// Looks each minute; reloads the policies each minute, and makes a backup every fifth.
fn minute_by_minute(minutes: usize, nodes: &[Node], met: &Met, told: &mut Vec<Minute>) -> Outcome {
    println!(
        "{:>6} {:>9} {:>8} {:>7} {:>7} {:>6} {:>8} {:>6} {:>8}",
        "minute", "requests", "p99 ms", "RSS MB", "WAL MB", "fds", "unread", "503", "events"
    );
    for minute in 1..=minutes {
        let (until, mut wal) = (Instant::now() + Duration::from_secs(60), 0);
        let policies = format!("{POLICIES}// minute {minute}\n");
        for node in nodes {
            std::fs::write(node.folder.join("policies/main.cedar"), &policies).map_err(|error| error.to_string())?;
            run_command(Command::new("kill").args(["-HUP", &node.child.id().to_string()]))?;
        }
        if minute % 5 == 3 {
            let file = nodes[0].folder.join(format!("backup-{minute}.db"));
            nodes[0].command(&["backup", &file.display().to_string()])?;
            let _ = std::fs::remove_file(file);
        }
        while Instant::now() < until {
            thread::sleep(Duration::from_millis(250));
            wal = wal.max(wal_mb(&nodes[0].folder.join(".haechi")));
        }
        let mut latencies = met.latencies.lock().map(|mut all| std::mem::take(&mut *all)).unwrap_or_default();
        latencies.sort_unstable();
        let sum = |what: &dyn Fn(&Node) -> u64| nodes.iter().map(what).sum::<u64>();
        let seen = Minute {
            p99_ms: at(&latencies, 0.99),
            memory_mb: sum(&|node| memory_mb(node.child.id())),
            wal_mb: wal,
            descriptors: nodes.iter().map(|node| descriptors(node.child.id())).sum(),
            unread: sum(&|node| node.gauge("haechi_http_unread_bytes")),
        };
        println!(
            "{minute:>6} {:>9} {:>8.2} {:>7} {:>7} {:>6} {:>8} {:>6} {:>8}",
            latencies.len(),
            seen.p99_ms,
            seen.memory_mb,
            seen.wal_mb,
            seen.descriptors,
            seen.unread,
            met.told_to_wait.load(Ordering::Relaxed),
            met.events.load(Ordering::Relaxed)
        );
        told.push(seen);
    }
    Ok(())
}

/// Whether a figure has grown that must not, or a reply was wrong.
fn judge(told: &[Minute], met: &Met) -> Outcome {
    let mut wrong = String::new();
    let failed = met.failed.lock().map(|mut failed| std::mem::take(&mut *failed)).unwrap_or_default();
    if !failed.is_empty() {
        let _ = writeln!(wrong, "{} requests failed; the first: {}", failed.len(), failed[0]);
    }
    let wal = told.iter().map(|minute| minute.wal_mb).max().unwrap_or_default();
    if wal > 64 {
        let _ = writeln!(wrong, "the write-ahead log grew to {wal} MB");
    }
    // The first minute fills caches. Fewer than twelve minutes are too few to compare.
    if told.len() >= 12 {
        let median = |part: &[Minute], what: &dyn Fn(&Minute) -> f64| {
            let mut all: Vec<f64> = part.iter().map(what).collect();
            all.sort_by(f64::total_cmp);
            all[all.len() / 2]
        };
        let (early, late) = (&told[1..6], &told[told.len() - 5..]);
        for (name, most, what) in [
            ("p99", 1.5, &(|minute: &Minute| minute.p99_ms) as &dyn Fn(&Minute) -> f64),
            ("resident memory", 1.3, &|minute| minute.memory_mb as f64),
            ("descriptors", 1.2, &|minute| minute.descriptors as f64),
        ] {
            let (before, after) = (median(early, what), median(late, what));
            println!("{name}: {before:.2} in minutes 2 to 6, {after:.2} in the last five: {:.2} of it", after / before);
            if after > before * most {
                let _ = writeln!(wrong, "{name} grew from {before:.2} to {after:.2}");
            }
        }
    }
    println!("{} requests answered, {} told to wait", met.answered.load(Ordering::Relaxed), met.told_to_wait.load(Ordering::Relaxed));
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}
