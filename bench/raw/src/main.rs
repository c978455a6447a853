//! The reference: Axum and rusqlite by hand, cached statements, bytes straight to JSON, no security, same rows and durability.
//!
//! `bench-raw DATABASE ADDRESS` serves the table `notes` of a database that Haechi made, `bench-raw files:FOLDER ADDRESS` files.
#![expect(clippy::unwrap_used, reason = "a reference for measuring: any failure ends it")]

mod ask;
mod files;
mod postgres;

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use crossbeam_channel::{Receiver, Sender};
use rusqlite::Connection;
use std::{sync::Arc, thread};
use tokio::sync::{mpsc, oneshot};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const READERS: usize = 2;
const BATCH: usize = 256;
const COLUMNS: &str = "id, title, body, rank, author, create_time, update_time, version";

enum Read {
    One(String, oneshot::Sender<Option<Vec<u8>>>),
    List(oneshot::Sender<Vec<u8>>),
}

struct Write {
    id: String,
    title: String,
    body: String,
    rank: i64,
    author: String,
    done: oneshot::Sender<()>,
}

#[derive(serde::Deserialize)]
struct Body {
    title: String,
    body: String,
    rank: i64,
    author: String,
}

#[derive(Clone)]
struct App {
    reads: Sender<Read>,
    writes: mpsc::Sender<Write>,
}

/// Argon2id with the parameters that Haechi uses, on as many threads as there are cores.
async fn hash() -> Response {
    static QUEUE: std::sync::OnceLock<Sender<oneshot::Sender<[u8; 32]>>> = std::sync::OnceLock::new();
    let queue = QUEUE.get_or_init(|| {
        let (jobs, queue) = crossbeam_channel::unbounded::<oneshot::Sender<[u8; 32]>>();
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            let queue = queue.clone();
            thread::spawn(move || {
                let params = argon2::Params::new(19 * 1024, 2, 1, Some(32)).unwrap();
                let argon = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
                let mut memory = vec![argon2::Block::default(); 19 * 1024];
                for done in queue {
                    let mut out = [0; 32];
                    argon.hash_password_into_with_memory(b"seven purple otters dance", b"sixteen byte salt", &mut out, &mut memory).unwrap();
                    let _ = done.send(out);
                }
            });
        }
        jobs
    });
    let (done, hash) = oneshot::channel();
    queue.send(done).unwrap();
    hash.await.unwrap()[0].to_string().into_response()
}

fn open(path: &str) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection
        .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA mmap_size = 1073741824; PRAGMA wal_autocheckpoint = 4000")
        .unwrap();
    connection.set_prepared_statement_cache_capacity(64);
    connection
}

fn row(row: &rusqlite::Row<'_>, out: &mut Vec<u8>) {
    let text = |at: usize, out: &mut Vec<u8>| {
        let text = row.get_ref(at).unwrap();
        serde_json::to_writer(out, text.as_str_or_null().unwrap().unwrap_or_default()).unwrap();
    };
    let int = |at: usize| row.get::<_, i64>(at).unwrap_or_default().to_string();
    for (at, key) in [(0, "{\"id\":"), (1, ",\"title\":"), (2, ",\"body\":")] {
        out.extend_from_slice(key.as_bytes());
        text(at, out);
    }
    out.extend_from_slice(b",\"rank\":");
    out.extend_from_slice(int(3).as_bytes());
    out.extend_from_slice(b",\"author\":");
    text(4, out);
    for (at, key) in [(5, ",\"create_time\":"), (6, ",\"update_time\":"), (7, ",\"version\":")] {
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(int(at).as_bytes());
    }
    out.push(b'}');
}

fn reader(path: String, jobs: Receiver<Read>) {
    let connection = open(&path);
    let one = format!("SELECT {COLUMNS} FROM notes WHERE id = ?");
    let list = format!("SELECT {COLUMNS} FROM notes WHERE rank < 500 ORDER BY create_time DESC, id DESC LIMIT 20");
    for job in jobs {
        match job {
            Read::One(id, reply) => {
                let mut statement = connection.prepare_cached(&one).unwrap();
                let mut rows = statement.query([id]).unwrap();
                let found = rows.next().unwrap().map(|found| {
                    let mut out = Vec::with_capacity(512);
                    row(found, &mut out);
                    out
                });
                let _ = reply.send(found);
            }
            Read::List(reply) => {
                let mut out = Vec::with_capacity(8192);
                out.extend_from_slice(b"{\"items\":[");
                let mut statement = connection.prepare_cached(&list).unwrap();
                let mut rows = statement.query([]).unwrap();
                while let Some(found) = rows.next().unwrap() {
                    if out.len() > 10 {
                        out.push(b',');
                    }
                    row(found, &mut out);
                }
                out.extend_from_slice(b"]}");
                let _ = reply.send(out);
            }
        }
    }
}

fn writer(path: String, mut jobs: mpsc::Receiver<Write>) {
    let connection = open(&path);
    while let Some(first) = jobs.blocking_recv() {
        let mut batch = vec![first];
        while batch.len() < BATCH {
            let Ok(next) = jobs.try_recv() else { break };
            batch.push(next);
        }
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        {
            let mut insert = connection.prepare_cached("INSERT INTO notes (id, create_time, update_time, version, title, body, rank, author, _organisation) VALUES (?, 0, 0, 1, ?, ?, ?, ?, '')").unwrap();
            for write in &batch {
                insert.execute((&write.id, &write.title, &write.body, write.rank, &write.author)).unwrap();
            }
        }
        connection.execute_batch("COMMIT").unwrap();
        for write in batch {
            let _ = write.done.send(());
        }
    }
}

fn json(bytes: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], bytes).into_response()
}

async fn read(State(app): State<Arc<App>>, Path(id): Path<String>) -> Response {
    let (reply, answer) = oneshot::channel();
    app.reads.send(Read::One(id, reply)).unwrap();
    match answer.await.unwrap() {
        Some(bytes) => json(bytes),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn list(State(app): State<Arc<App>>) -> Response {
    let (reply, answer) = oneshot::channel();
    app.reads.send(Read::List(reply)).unwrap();
    json(answer.await.unwrap())
}

async fn create(State(app): State<Arc<App>>, body: Bytes) -> Response {
    let Ok(body) = serde_json::from_slice::<Body>(&body) else { return StatusCode::BAD_REQUEST.into_response() };
    let id = uuid::Uuid::now_v7().hyphenated().to_string();
    let (done, answer) = oneshot::channel();
    app.writes.send(Write { id: id.clone(), title: body.title, body: body.body, rank: body.rank, author: body.author, done }).await.unwrap();
    answer.await.unwrap();
    let mut response = json(format!("{{\"id\":\"{id}\"}}").into_bytes());
    *response.status_mut() = StatusCode::CREATED;
    response
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let (path, address) = (arguments.next().unwrap(), arguments.next().unwrap());
    if path == "--ask" {
        return ask::run(&address).await;
    }
    if let Some(folder) = path.strip_prefix("files:") {
        return files::run(folder, &address).await;
    }
    if path.starts_with("postgres://") {
        return postgres::run(&path, &address).await;
    }
    let (reads, jobs) = crossbeam_channel::bounded(4096);
    for _ in 0..READERS {
        let (path, jobs) = (path.clone(), jobs.clone());
        thread::spawn(move || reader(path, jobs));
    }
    let (writes, queue) = mpsc::channel(4096);
    thread::spawn(move || writer(path, queue));
    let app = Router::new()
        .route("/hash", get(hash))
        .route("/api/v1/notes", get(list).post(create))
        .route("/api/v1/notes/{id}", get(read))
        .with_state(Arc::new(App { reads, writes }));
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    axum::serve(listener, app).await.unwrap();
}
