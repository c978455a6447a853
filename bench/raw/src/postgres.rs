//! The same over PostgreSQL: Axum and tokio-postgres, prepared statements on a few pipelined connections.

use crate::{Body, json};
use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio_postgres::{Client, NoTls, Row, Statement};

/// As many as Haechi has for changes.
const CONNECTIONS: usize = 8;
const COLUMNS: &str = "id, title, body, rank, author, create_time, update_time, version";

struct Connection {
    client: Client,
    one: Statement,
    list: Statement,
    insert: Statement,
}

struct App {
    connections: Vec<Connection>,
    next: AtomicUsize,
}

impl App {
    fn connection(&self) -> &Connection {
        &self.connections[self.next.fetch_add(1, Ordering::Relaxed) % self.connections.len()]
    }
}

async fn connect(url: &str) -> Connection {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("SET synchronous_commit = on").await.unwrap();
    let one = client.prepare(&format!("SELECT {COLUMNS} FROM notes WHERE id = $1")).await.unwrap();
    let list = format!("SELECT {COLUMNS} FROM notes WHERE rank < 500 ORDER BY create_time DESC, id DESC LIMIT 20");
    let list = client.prepare(&list).await.unwrap();
    let insert = "INSERT INTO notes (id, create_time, update_time, version, title, body, rank, author, _organisation) VALUES ($1, 0, 0, 1, $2, $3, $4, $5, '')";
    let insert = client.prepare(insert).await.unwrap();
    Connection { client, one, list, insert }
}

fn write(row: &Row, out: &mut Vec<u8>) {
    let text = |at: usize, out: &mut Vec<u8>| serde_json::to_writer(out, row.get::<_, Option<&str>>(at).unwrap_or_default()).unwrap();
    let int = |at: usize| row.get::<_, Option<i64>>(at).unwrap_or_default();
    for (at, key) in [(0, "{\"id\":"), (1, ",\"title\":"), (2, ",\"body\":")] {
        out.extend_from_slice(key.as_bytes());
        text(at, out);
    }
    let mut rest = String::new();
    let _ = write!(rest, ",\"rank\":{},\"author\":", int(3));
    out.extend_from_slice(rest.as_bytes());
    text(4, out);
    rest.clear();
    let _ = write!(rest, ",\"create_time\":{},\"update_time\":{},\"version\":{}}}", int(5), int(6), int(7));
    out.extend_from_slice(rest.as_bytes());
}

async fn read(State(app): State<Arc<App>>, Path(id): Path<String>) -> Response {
    let connection = app.connection();
    match connection.client.query_opt(&connection.one, &[&id]).await.unwrap() {
        Some(row) => {
            let mut out = Vec::with_capacity(512);
            write(&row, &mut out);
            json(out)
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn list(State(app): State<Arc<App>>) -> Response {
    let connection = app.connection();
    let rows = connection.client.query(&connection.list, &[]).await.unwrap();
    let mut out = Vec::with_capacity(8192);
    out.extend_from_slice(b"{\"items\":[");
    for row in &rows {
        if out.len() > 10 {
            out.push(b',');
        }
        write(row, &mut out);
    }
    out.extend_from_slice(b"]}");
    json(out)
}

async fn create(State(app): State<Arc<App>>, body: Bytes) -> Response {
    let Ok(body) = serde_json::from_slice::<Body>(&body) else { return StatusCode::BAD_REQUEST.into_response() };
    let id = uuid::Uuid::now_v7().hyphenated().to_string();
    let connection = app.connection();
    connection.client.execute(&connection.insert, &[&id, &body.title, &body.body, &body.rank, &body.author]).await.unwrap();
    let mut response = json(format!("{{\"id\":\"{id}\"}}").into_bytes());
    *response.status_mut() = StatusCode::CREATED;
    response
}

/// Serves the table `notes` of a database of PostgreSQL.
pub(crate) async fn run(url: &str, address: &str) {
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(connect(url).await);
    }
    let app = Arc::new(App { connections, next: AtomicUsize::new(0) });
    let router = Router::new().route("/api/v1/notes", get(list).post(create)).route("/api/v1/notes/{id}", get(read)).with_state(app);
    axum::serve(tokio::net::TcpListener::bind(address).await.unwrap(), router).await.unwrap();
}
