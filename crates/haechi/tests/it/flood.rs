//! Hostile protocols: HTTP/2 frames that cost the server more than the sender, requests that two parsers read differently,
//! bodies that never end. Each beside an honest caller.

use crate::{fixture::FILES, network::run};
use haechi_testkit::{Backend, TestApp, with_more};
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// `GET /healthz`, from the static table and one literal.
const HEADERS: &[u8] = b"\x82\x86\x44\x08/healthz\x41\x09localhost";
const WAIT: Duration = Duration::from_secs(20);

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

async fn http2(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(PREFACE).await.unwrap();
    stream.write_all(&frame(4, 0, 0, &[])).await.unwrap();
    stream
}

/// Sends pieces until the server ends the connection; how many it took.
async fn until_closed(stream: &mut TcpStream, pieces: impl Iterator<Item = Vec<u8>>) -> usize {
    let (mut reader, mut writer) = stream.split();
    let mut sent = 0;
    let write = async {
        for piece in pieces {
            if writer.write_all(&piece).await.is_err() {
                return;
            }
            sent += 1;
        }
        std::future::pending::<()>().await;
    };
    let read = async {
        let mut sink = [0; 16 << 10];
        while !matches!(reader.read(&mut sink).await, Ok(0) | Err(_)) {}
    };
    let ended = timeout(WAIT, async {
        tokio::select! { () = write => {}, () = read => {} }
    });
    assert!(ended.await.is_ok(), "the server goes on taking it after {sent} pieces");
    sent
}

async fn honest(address: SocketAddr) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut reply = String::new();
    timeout(WAIT, stream.read_to_string(&mut reply)).await.unwrap().unwrap();
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
}

/// Resident memory, kilobytes.
fn memory_kb() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4
}

/// The honest twin: the frames that the attacks are made of get a reply.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_http2_is_served() {
    let app = TestApp::start(Backend::Sqlite, FILES).await;
    let server = run(&app, None, 5_000).await;
    // What tells the protocol may come in parts.
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    for part in PREFACE.chunks(9) {
        stream.write_all(part).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    stream.write_all(&frame(4, 0, 0, &[])).await.unwrap();
    stream.write_all(&frame(1, 5, 1, HEADERS)).await.unwrap();
    let mut seen = Vec::new();
    while !seen.windows(2).any(|part| part == b"ok") {
        let mut buffer = [0; 4096];
        let read = timeout(WAIT, stream.read(&mut buffer)).await.unwrap().unwrap();
        assert!(read > 0, "{seen:?}");
        seen.extend_from_slice(&buffer[..read]);
    }
    server.end().await;
    app.finish().await;
}

/// DOS-03 [V15.2.2]: rapid reset ends the connection long before its sender tires, and costs few requests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rapid_reset_ends_the_connection() {
    let app = TestApp::start(Backend::Sqlite, FILES).await;
    let server = run(&app, None, 5_000).await;
    let mut stream = http2(server.address).await;
    let reset = |at: u32| [frame(1, 5, 2 * at + 1, HEADERS), frame(3, 0, 2 * at + 1, &[0, 0, 0, 8])].concat();
    let (sent, ()) = tokio::join!(until_closed(&mut stream, (0..100_000).map(reset)), honest(server.address));
    assert!(sent < 100_000, "all were taken");
    let text = app.house.metrics.text(&app.house.gate.signs(), true);
    let answered = text.lines().filter_map(|line| line.strip_prefix("haechi_http_requests_total{class=\"2xx\"} ")?.parse::<u32>().ok()).sum::<u32>();
    assert!(answered < 2_000, "{answered} handlers ran to their end");
    honest(server.address).await;
    server.end().await;
    app.finish().await;
}

/// DOS-04, DOS-05 [V15.2.2]: headers that never end, a table that is blown up, frames that say nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_without_end_are_bounded() {
    let app = TestApp::start(Backend::Sqlite, FILES).await;
    let server = run(&app, None, 5_000).await;
    let before = memory_kb();
    let mut stream = http2(server.address).await;
    let open = frame(1, 1, 1, HEADERS);
    let more = frame(9, 0, 1, &[&b"\x40\x04name\x7f\x81\x7e"[..], &[b'v'; 253 + 128]].concat()[..200]);
    let pieces = std::iter::once(open).chain(std::iter::repeat_n(more, 100_000));
    until_closed(&mut stream, pieces).await;
    // One long header in the table, named a thousand times: the list is beyond what is taken.
    let mut stream = http2(server.address).await;
    let long = [b"\x40\x01a\x7f\xa1\x1e".to_vec(), vec![b'v'; 4_000]].concat();
    let bomb = [HEADERS.to_vec(), long, vec![0xbe; 8_000]].concat();
    let (head, tail) = bomb.split_at(bomb.len() / 2);
    stream.write_all(&[frame(1, 1, 1, head), frame(9, 4, 1, tail)].concat()).await.unwrap();
    let mut reply = vec![0; 4096];
    let read = timeout(WAIT, async {
        let mut all = Vec::new();
        while all.len() < 60 {
            let read = stream.read(&mut reply).await.unwrap_or(0);
            if read == 0 {
                break;
            }
            all.extend_from_slice(&reply[..read]);
        }
        all
    });
    let all = read.await.unwrap();
    assert!(!all.windows(2).any(|part| part == b"ok"), "the bomb was served");
    for (what, piece) in [
        ("SETTINGS", frame(4, 0, 0, &[])),
        ("PING", frame(6, 0, 0, &[7; 8])),
        ("PRIORITY", frame(2, 0, 3, &[0, 0, 0, 1, 9])),
        ("WINDOW_UPDATE", frame(8, 0, 0, &[0, 0, 0, 1])),
        ("unknown", frame(0x42, 0, 0, &[1; 64])),
    ] {
        let mut stream = http2(server.address).await;
        let flood = async {
            let many = piece.repeat(200);
            for _ in 0..500 {
                // Its replies are not read: what would wait for them must not grow without end.
                if timeout(Duration::from_millis(500), stream.write_all(&many)).await.map_or(true, |written| written.is_err()) {
                    break;
                }
            }
        };
        let ((), ()) = tokio::join!(flood, honest(server.address));
        let grown = memory_kb().saturating_sub(before);
        assert!(grown < 100_000, "{what}: {grown} KB");
    }
    // Empty DATA on an open stream, and a stream that makes the server reset it again and again.
    let post = b"\x83\x86\x44\x0c/api/v1/none\x41\x09localhost";
    let mut stream = http2(server.address).await;
    let pieces = std::iter::once(frame(1, 4, 1, post)).chain(std::iter::repeat_n(frame(0, 0, 1, &[]), 1_000_000));
    until_closed(&mut stream, pieces).await;
    let mut stream = http2(server.address).await;
    let made = |at: u32| [frame(1, 4, 2 * at + 1, post), frame(8, 0, 2 * at + 1, &[0, 0, 0, 0])].concat();
    until_closed(&mut stream, (0..100_000).map(made)).await;
    honest(server.address).await;
    server.end().await;
    app.finish().await;
}

/// DOS-02 [V15.2.2]: a body that trickles has its time, and is answered when it is over; nothing was done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_trickles_is_answered() {
    let files = with_more(FILES, &[("haechi.toml", "[limits]\nbody_ms = 400")]);
    let app = TestApp::start(Backend::Sqlite, &files).await;
    let kim = app.person("kim", &["member"]).await;
    let server = run(&app, None, 5_000).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = format!(
        "POST /api/v1/notes HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n",
        app.token(&kim.id)
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let mut reply = String::new();
    let trickle = async {
        for byte in "{\"title\":\"slow\",\"body\":\"".bytes().chain(std::iter::repeat_n(b'x', 200)) {
            if writer.write_all(&[byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(WAIT, async { tokio::join!(trickle, reader.read_to_string(&mut reply)) }).await.unwrap().1.unwrap_or_default();
    assert!(reply.starts_with("HTTP/1.1 408") && reply.contains("Nothing was done"), "{reply}");
    assert_eq!(kim.get("/api/v1/notes").await.json()["items"].as_array().unwrap().len(), 0);
    kim.create("notes", serde_json::json!({"title": "quick"})).await;
    server.end().await;
    app.finish().await;
}

/// HDR-17 [V4.2.1 V4.2.2]: what two parsers may read differently is refused, and no second request comes out of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_smuggled() {
    let app = TestApp::start(Backend::Sqlite, FILES).await;
    let server = run(&app, None, 300).await;
    let hidden = "GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let long = "1".repeat(40);
    for (what, head) in [
        ("length and chunks", "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned()),
        ("two lengths", "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nContent-Length: 33\r\n\r\n".to_owned()),
        ("a list of lengths", "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0, 33\r\n\r\n".to_owned()),
        ("a signed length", "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: +0\r\n\r\n".to_owned()),
        ("a length that overflows", format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {long}\r\n\r\n")),
        ("another coding", "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: xchunked\r\n\r\n".to_owned()),
        (
            "two codings",
            "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n".to_owned(),
        ),
        ("a coding with a tab", "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding:\u{b}chunked\r\n\r\n0\r\n\r\n".to_owned()),
        ("a space before the colon", "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length : 33\r\n\r\n".to_owned()),
        ("a folded header", "GET / HTTP/1.1\r\nHost: localhost\r\nX-A: 1\r\n Content-Length: 33\r\n\r\n".to_owned()),
        ("a chunk that overflows", "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n".to_owned()),
        ("a chunk without a size", "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n;\r\n".to_owned()),
        ("a zero in a name", "GET / HTTP/1.1\r\nHost: localhost\r\nX-\0A: 1\r\n\r\n".to_owned()),
        ("a return in a value", "GET / HTTP/1.1\r\nHost: localhost\r\nX-A: 1\r2\r\n\r\n".to_owned()),
        ("no version", "GET /\r\n\r\n".to_owned()),
        ("another version", "GET / HTTP/9.9\r\nHost: localhost\r\n\r\n".to_owned()),
    ] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(format!("{head}{hidden}").as_bytes()).await.unwrap();
        let mut seen = Vec::new();
        let _ = timeout(WAIT, stream.read_to_end(&mut seen)).await.unwrap_or_else(|_| panic!("{what}: the connection stays"));
        let seen = String::from_utf8_lossy(&seen);
        assert!(seen.matches("HTTP/1.1 ").count() <= 1 && !seen.ends_with("ready"), "{what}: {seen}");
        assert!(seen.is_empty() || seen.starts_with("HTTP/1.1 4"), "{what}: {seen}");
    }
    // The honest twins: two requests in one packet are two requests.
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let both =
        "POST /none HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(both.as_bytes()).await.unwrap();
    let mut seen = String::new();
    timeout(WAIT, stream.read_to_string(&mut seen)).await.unwrap().unwrap();
    assert!(seen.starts_with("HTTP/1.1 404") && seen.matches("HTTP/1.1 ").count() == 2 && seen.ends_with("ready"), "{seen}");
    // HTTP/2: pseudo-headers twice, names in upper case, headers of a connection.
    for (what, block) in [
        ("two paths", [HEADERS, &b"\x44\x01/"[..]].concat()),
        ("an upper-case name", [HEADERS, &b"\x40\x03X-A\x011"[..]].concat()),
        ("a transfer coding", [HEADERS, &b"\x40\x11transfer-encoding\x07chunked"[..]].concat()),
        ("a pseudo-header after a header", [&b"\x82\x86\x40\x01a\x011"[..], &b"\x44\x08/healthz"[..]].concat()),
        ("a line break in a value", [HEADERS, &b"\x40\x01a\x03x\r\ny"[..]].concat()),
        ("no path", b"\x82\x86\x41\x09localhost".to_vec()),
    ] {
        let mut stream = http2(server.address).await;
        stream.write_all(&frame(1, 5, 1, &block)).await.unwrap();
        let mut seen = Vec::new();
        let _ = timeout(Duration::from_millis(300), stream.read_to_end(&mut seen)).await;
        assert!(!seen.windows(2).any(|part| part == b"ok"), "{what} was served");
    }
    server.end().await;
    app.finish().await;
}

/// DOS: one caller's long reads fill the queue of readers; another's short one is answered before most of them. Counted, not timed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_reads_of_one_caller_leave_turns_to_the_next() {
    const LONG: usize = 60;
    let app = TestApp::start(Backend::Sqlite, FILES).await;
    let (kim, lee) = (app.person("kim", &["member"]).await, app.person("lee", &["member"]).await);
    for _ in 0..20 {
        let operations: Vec<_> = (0..100).map(|_| serde_json::json!({"create": "things", "data": {"text": "x".repeat(9_000)}})).collect();
        kim.post("/api/v1:batch", serde_json::json!({ "operations": operations })).await.expect(200);
    }
    lee.create("notes", serde_json::json!({"title": "short"})).await;
    let done = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let mut reads = tokio::task::JoinSet::new();
    for _ in 0..LONG {
        let (kim, done) = (kim.clone(), done.clone());
        reads.spawn(async move {
            let found = kim.get("/api/v1/things?filter=text:%22nothing%20like%20this%22").await.expect(200).json();
            assert_eq!(found["items"].as_array().unwrap().len(), 0);
            done.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        });
    }
    // All of them wait or are read.
    while done.load(std::sync::atomic::Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let before = done.load(std::sync::atomic::Ordering::SeqCst);
    lee.get("/api/v1/notes?filter=title:%22short%22").await.expect(200);
    let meanwhile = done.load(std::sync::atomic::Ordering::SeqCst) - before;
    assert!(meanwhile <= LONG / 4, "{meanwhile} long reads were done before the short one");
    // The honest twin: who reads for long is served all the same.
    while let Some(read) = reads.join_next().await {
        read.unwrap();
    }
    app.finish().await;
}
