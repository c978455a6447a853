//! The edge of HTTP, over real connections: where a request says that it goes, how its body is framed, and what a preflight costs.

use crate::{fixture::FILES, network};
use haechi_testkit::{Backend, TestApp, with_more};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Sends these bytes and reads until the end; the status of the first reply.
async fn raw(address: std::net::SocketAddr, bytes: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut reply = Vec::new();
    let _ = tokio::time::timeout(std::time::Duration::from_secs(5), stream.read_to_end(&mut reply)).await;
    let text = String::from_utf8_lossy(&reply).into_owned();
    (text.get(9..12).and_then(|status| status.parse().ok()).unwrap_or_default(), text)
}

/// [V4.2.1 V13.4.1]: RFC 9112 §3.2: a request names one place. While developing, that is this host.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_names_one_place() {
    let app = TestApp::start(Backend::Sqlite, FILES).await;
    let server = network::run(&app, None, 2_000).await;
    let get = |headers: &str| format!("GET /healthz HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
    for (headers, status) in [
        ("Host: localhost\r\n", 200),
        ("Host: 127.0.0.1:8080\r\n", 200),
        ("", 400),
        ("Host:\r\n", 400),
        ("Host: localhost\r\nHost: localhost\r\n", 400),
        ("Host: local host\r\n", 400),
        ("Host: me@localhost\r\n", 400),
        ("Host: localhost/x\r\n", 400),
        // DNS rebinding: the page of another site reaches this server by a name of its own.
        ("Host: evil.example\r\n", 400),
        ("Host: localhost.evil.example:8080\r\n", 400),
    ] {
        let (found, text) = raw(server.address, &get(headers)).await;
        assert_eq!(found, status, "{headers:?}: {text}");
    }
    let (status, text) = raw(server.address, &get("Host: evil.example\r\n")).await;
    assert!(status == 400 && text.contains("use localhost or 127.0.0.1") && text.contains("x-request-id"), "{text}");
    server.end().await;

    // Served for others, any one name is taken: which names lead here is the proxy's to know.
    let served = std::sync::Arc::new(haechi::http::routes::stack(&app.house, haechi::Mode::Serve));
    let server = network::run_stack(served, None, 2_000).await;
    assert_eq!(raw(server.address, &get("Host: api.example.com\r\n")).await.0, 200);
    assert_eq!(raw(server.address, &get("")).await.0, 400);
    server.end().await;
    app.finish().await;
}

/// [V4.2.1]: one framing is understood; what could be read in two ways is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_framing_is_understood() {
    let app = TestApp::start(Backend::Sqlite, FILES).await;
    let server = network::run(&app, None, 2_000).await;
    let post = |framing: &str, body: &str| {
        format!("POST /auth/v1/sign-in HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n{framing}\r\n{body}")
    };
    let chunked = "2\r\n{}\r\n0\r\n\r\n";
    assert_ne!(raw(server.address, &post("Transfer-Encoding: chunked\r\n", chunked)).await.0, 501);
    assert_eq!(raw(server.address, &post("Transfer-Encoding: gzip, chunked\r\n", chunked)).await.0, 501);
    for refused in [
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n",
    ] {
        let (status, text) = raw(server.address, &post(refused, chunked)).await;
        assert!(matches!(status, 400 | 501 | 422), "{refused:?}: {text}");
    }
    server.end().await;
    app.finish().await;
}

/// DOS [V2.4.1]: a preflight costs a place in the rate of its network.
#[tokio::test]
async fn preflights_are_counted() {
    let files = with_more(FILES, &[("haechi.toml", "[server]\ncors_origins = [\"https://app.example.com\"]\n[limits]\nanonymous_per_minute = 20\n")]);
    let app = TestApp::start(Backend::Sqlite, &files).await;
    let headers = [("origin", "https://app.example.com"), ("access-control-request-method", "PATCH")];
    let mut statuses = Vec::new();
    for _ in 0..30 {
        statuses.push(app.anonymous().send("OPTIONS", "/api/v1/notes", &headers, Vec::new()).await.status);
    }
    assert!(statuses[..15].iter().all(|status| *status == 204) && statuses[25..].iter().all(|status| *status == 429), "{statuses:?}");
    app.finish().await;
}
