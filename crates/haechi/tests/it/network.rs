//! The open network: TLS, other origins, proxies and those who pretend to be one, too many requests, slow connections.

use crate::fixture::FILES;
use haechi::{
    http::{accept::Server, admission::Admission, tls::Tls},
    observe::ops,
};
use haechi_model::TlsFiles;
use haechi_testkit::{Backend, TestApp, with_more};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use serde_json::json;
use std::{
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_rustls::TlsConnector;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Writes a certificate for this name; returns its bytes.
fn certify(authority: &Authority, name: &str, files: &TlsFiles) -> Vec<u8> {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, authority).unwrap();
    std::fs::write(&files.key_file, key.serialize_pem()).unwrap();
    std::fs::write(&files.cert_file, certificate.pem()).unwrap();
    certificate.der().to_vec()
}

fn files(root: &Path) -> TlsFiles {
    TlsFiles { cert_file: root.join("cert.pem"), key_file: root.join("key.pem") }
}

/// A running server and how it is stopped.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

pub(crate) async fn run(app: &TestApp, tls: Option<Arc<Tls>>, head_ms: u64) -> Running {
    run_stack(app.stack.clone(), tls, head_ms).await
}

/// With a stack of one's own.
pub(crate) async fn run_stack(stack: Arc<haechi::http::stack::Stack>, tls: Option<Arc<Tls>>, head_ms: u64) -> Running {
    run_patient(stack, tls, head_ms, haechi::http::accept::STALLED).await
}

/// With a patience of its own for replies that are not read.
pub(crate) async fn run_patient(stack: Arc<haechi::http::stack::Stack>, tls: Option<Arc<Tls>>, head_ms: u64, stalled: Duration) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, mut stopped) = watch::channel(false);
    let (publish, stack) = watch::channel(stack);
    let server = Server { listener, stack, tls, admission: Admission::bounded(5_000, 1_000, Default::default()), head_ms, stalled };
    let task = tokio::spawn(async move {
        server.run(Box::pin(async move { drop(stopped.changed().await) })).await;
        drop(publish);
    });
    Running { address, stop, task }
}

impl Running {
    pub(crate) async fn end(self) {
        self.stop.send(true).unwrap();
        self.task.await.unwrap();
    }
}

/// Connects with these versions of TLS; the server's certificate and what was agreed on.
async fn connect(
    address: SocketAddr,
    authority: &Authority,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let mut config = ClientConfig::builder_with_protocol_versions(versions).with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name = ServerName::try_from("127.0.0.1").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, TcpStream::connect(address).await?).await
}

/// [V12.1.1 V12.2.1 V12.2.2]: TLS 1.2 and 1.3, a certificate that is replaced while serving, and never by nonsense.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_is_served_and_its_certificate_replaced() {
    let app = TestApp::start(Backend::Sqlite, FILES).await;
    let (authority, files) = (authority(), files(&app.root));
    let first = certify(&authority, "127.0.0.1", &files);
    let tls = Tls::open(&files).unwrap();
    let server = run(&app, Some(tls.clone()), 2_000).await;
    for versions in [&[&rustls::version::TLS13], &[&rustls::version::TLS12]] {
        let mut stream = connect(server.address, &authority, versions).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        assert_eq!(stream.get_ref().1.peer_certificates().unwrap()[0].to_vec(), first);
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut reply = String::new();
        let _ = stream.read_to_string(&mut reply).await;
        assert!(reply.starts_with("HTTP/1.1 200") && reply.ends_with("ok"), "{reply}");
    }
    // Plain text to a port that speaks TLS gets no reply.
    let mut plain = TcpStream::connect(server.address).await.unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut reply = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(5), plain.read_to_end(&mut reply)).await.unwrap();
    assert!(!reply.starts_with(b"HTTP/"));
    // Half a file, then a key that is another's: the old one goes on.
    std::fs::write(&files.cert_file, "-----BEGIN CERTIFICATE-----\nMIIB").unwrap();
    tls.look();
    assert_eq!(
        connect(server.address, &authority, &[&rustls::version::TLS13]).await.unwrap().get_ref().1.peer_certificates().unwrap()[0].to_vec(),
        first
    );
    let second = certify(&authority, "127.0.0.1", &files);
    std::fs::write(&files.key_file, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    tls.look();
    assert_eq!(
        connect(server.address, &authority, &[&rustls::version::TLS13]).await.unwrap().get_ref().1.peer_certificates().unwrap()[0].to_vec(),
        first
    );
    tokio::time::sleep(Duration::from_millis(20)).await;
    let third = certify(&authority, "127.0.0.1", &files);
    tls.look();
    let text = app.house.metrics.text(&app.house.gate.signs(), true);
    let ends = text.lines().find_map(|line| line.strip_prefix("haechi_tls_certificate_expiry_timestamp_seconds "));
    assert_eq!(ends.and_then(|ends| ends.parse().ok()), tls.ends().map(|ends| ends as f64), "{text}");
    let now = connect(server.address, &authority, &[&rustls::version::TLS13]).await.unwrap().get_ref().1.peer_certificates().unwrap()[0].to_vec();
    assert!(now == third && now != second && now != first);
    server.end().await;
    app.finish().await;
}

/// Bad days [V12.3.2]: a certificate that has expired is what clients see, until it is replaced, without a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_certificate_is_replaced_while_serving() {
    let app = TestApp::start(Backend::Sqlite, FILES).await;
    let (authority, files) = (authority(), files(&app.root));
    let key = KeyPair::generate().unwrap();
    let mut old = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    (old.not_before, old.not_after) = (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(2021, 1, 1));
    std::fs::write(&files.key_file, key.serialize_pem()).unwrap();
    std::fs::write(&files.cert_file, old.signed_by(&key, &authority).unwrap().pem()).unwrap();
    let tls = Tls::open(&files).unwrap();
    let server = run(&app, Some(tls.clone()), 2_000).await;
    let error = connect(server.address, &authority, &[&rustls::version::TLS13]).await.unwrap_err().to_string();
    assert!(error.contains("expired"), "{error}");
    tokio::time::sleep(Duration::from_millis(20)).await;
    certify(&authority, "127.0.0.1", &files);
    tls.look();
    connect(server.address, &authority, &[&rustls::version::TLS13]).await.unwrap();
    server.end().await;
    app.finish().await;
}

#[test]
fn tls_that_cannot_be_served_is_refused() {
    let root = std::env::temp_dir().join(format!("haechi-tls-{}", std::process::id()));
    std::fs::create_dir_all(&root).unwrap();
    let files = files(&root);
    assert!(Tls::open(&files).is_err());
    certify(&authority(), "127.0.0.1", &files);
    assert!(Tls::open(&files).is_ok());
    std::fs::write(&files.key_file, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    assert!(Tls::open(&files).is_err());
    std::fs::remove_dir_all(root).unwrap();
}

async fn with(toml: &str) -> TestApp {
    let files = with_more(FILES, &[("haechi.toml", toml)]);
    TestApp::start(Backend::Sqlite, &files).await
}

/// HDR-07 [V3.4.2]: closed by default, open for exactly what the folder names.
#[tokio::test]
async fn other_origins_reach_what_the_folder_opens() {
    let app = with("[server]\ncors_origins = [\"https://app.example.com\"]").await;
    let preflight = |origin: &'static str| {
        let anybody = app.anonymous();
        async move { anybody.send("OPTIONS", "/api/v1/posts", &[("origin", origin), ("access-control-request-method", "PATCH")], Vec::new()).await }
    };
    let open = preflight("https://app.example.com").await;
    assert_eq!((open.status, open.header("access-control-allow-origin"), open.header("vary")), (204, "https://app.example.com", "origin"));
    assert_eq!(open.header("access-control-allow-credentials"), "");
    for stranger in ["https://evil.example.com", "null", "https://app.example.com.evil.test", "http://app.example.com"] {
        let reply = preflight(stranger).await;
        assert_eq!((reply.status, reply.header("access-control-allow-origin")), (405, ""), "{stranger}");
    }
    let read = app.anonymous().send("GET", "/api/v1/posts", &[("origin", "https://app.example.com")], Vec::new()).await;
    assert_eq!((read.status, read.header("access-control-allow-origin")), (200, "https://app.example.com"));
    app.finish().await;
    let closed = with("").await;
    let reply = closed.anonymous().send("GET", "/api/v1/posts", &[("origin", "https://app.example.com")], Vec::new()).await;
    assert_eq!((reply.status, reply.header("access-control-allow-origin"), reply.header("vary")), (200, "", ""));
    closed.finish().await;
}

/// DOS, [V2.4.1 V15.2.2]: a flood without credentials is refused; who is known goes on; strangers cannot pretend to be others.
#[tokio::test]
async fn a_flood_is_refused_and_known_callers_go_on() {
    let app = with("[server]\ntrusted_proxies = [\"10.0.0.0/8\"]\n[limits]\nanonymous_per_minute = 50\ncaller_per_minute = 200").await;
    let kim = app.person("kim", &["member"]).await;
    let stranger = app.anonymous().from_address("203.0.113.9");
    let mut statuses = Vec::new();
    for at in 0..80 {
        // A stranger's header counts for nothing: the bucket is the connection's.
        statuses.push(stranger.send("GET", "/api/v1/posts", &[("x-forwarded-for", &format!("198.51.100.{at}"))], Vec::new()).await.status);
    }
    assert!(statuses[..50].iter().all(|status| *status == 200) && statuses[55..].iter().all(|status| *status == 429), "{statuses:?}");
    let refused = stranger.get("/api/v1/posts").await.expect(429);
    assert_eq!(refused.problem(), "too-many-requests");
    assert!(refused.header("retry-after").parse::<u32>().unwrap() >= 1);
    // Guessing credentials is counted like having none.
    let guesser = app.bearer("haechi_s_guess").from_address("203.0.113.10");
    let mut last = 0;
    for _ in 0..80 {
        last = guesser.get("/api/v1/posts").await.status;
    }
    assert_eq!(last, 429);
    // Other addresses are served, also behind the same proxy, and so are known callers.
    app.anonymous().from_address("203.0.113.77").get("/api/v1/posts").await.expect(200);
    let proxied = app.anonymous().from_address("10.0.0.1");
    for at in 0..80 {
        proxied.send("GET", "/api/v1/posts", &[("x-forwarded-for", &format!("198.51.100.{at}"))], Vec::new()).await.expect(200);
    }
    proxied.send("GET", "/api/v1/posts", &[("x-forwarded-for", "nonsense")], Vec::new()).await.expect(400);
    let known = kim.from_address("203.0.113.9");
    let reply = known.get("/api/v1/notes").await.expect(200);
    assert!(reply.header("ratelimit").contains("r=199") && reply.header("ratelimit-policy").contains("q=200"), "{:?}", reply.headers);
    for _ in 0..250 {
        last = known.get("/api/v1/notes").await.status;
    }
    assert_eq!(last, 429);
    app.finish().await;
}

/// DOS-03 [V15.2.2]: connections that send nothing, or a byte now and then, do not stay, and do not keep others out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_connections_do_not_stay() {
    let app = TestApp::start(Backend::Sqlite, FILES).await;
    let server = run(&app, None, 500).await;
    let mut slow = Vec::new();
    for at in 0..1_000 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        if at % 2 == 0 {
            stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ").await.unwrap();
        }
        slow.push(stream);
    }
    let started = Instant::now();
    for _ in 0..20 {
        let mut honest = TcpStream::connect(server.address).await.unwrap();
        honest.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut reply = String::new();
        honest.read_to_string(&mut reply).await.unwrap();
        assert!(reply.ends_with("ok"), "{reply}");
    }
    for (at, stream) in slow.iter_mut().enumerate() {
        let _ = stream.write_all(b"a").await;
        let mut left = Vec::new();
        // It ends, by an answer or without one.
        let left_s = Duration::from_secs(20).saturating_sub(started.elapsed());
        let ended = tokio::time::timeout(left_s, stream.read_to_end(&mut left)).await;
        assert!(ended.is_ok(), "connection {at} stays: {}", String::from_utf8_lossy(&left));
    }
    server.end().await;
    app.finish().await;
}

/// ERR-06 [V13.4.5]: what is measured is not on the public listener.
#[tokio::test]
async fn metrics_are_on_the_listener_of_operations_alone() {
    let app = TestApp::start(Backend::Sqlite, FILES).await;
    let kim = app.person("kim", &["member"]).await;
    kim.create("notes", json!({"title": "t"})).await;
    kim.get("/metrics").await.expect(404);
    app.bearer("haechi_s_guess").get("/api/v1/notes").await.expect(401);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let ops = tokio::spawn(ops::serve(listener, app.house.gate.clone(), app.house.metrics.clone()));
    let ask = async |path: &str| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        reply
    };
    let text = ask("/metrics").await;
    for line in [
        "haechi_http_requests_total{class=\"2xx\"} 1",
        "haechi_http_requests_total{class=\"4xx\"} 2",
        "haechi_credentials_refused_total 1",
        "haechi_http_request_duration_seconds_count 3",
        "haechi_ready 1",
        "# EOF",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(ask("/readyz").await.contains(" 200 ") && ask("/healthz").await.contains(" 200 "));
    ops.abort();
    app.finish().await;
}

/// DOS-14: a client that holds as many half-sent requests as it can uses up its own share only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_takes_the_room_of_all() {
    let app = with("[limits]\nconcurrency = 64").await;
    let peer = haechi_layers::Peer("203.0.113.9".parse().unwrap());
    let mut held = Vec::new();
    for at in 0..40 {
        let parts = futures_util::stream::pending::<Result<String, std::convert::Infallible>>();
        let request = axum::http::Request::post("/auth/v1/sign-in")
            .header("content-type", "application/json")
            .body(axum::body::Body::from_stream(parts))
            .unwrap();
        let stack = app.stack.clone();
        held.push(tokio::spawn(async move { (at, stack.handle(request, peer).await.status().as_u16()) }));
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let kim = app.person("kim", &["member"]).await;
    kim.get("/api/v1/notes").await.expect(200);
    app.anonymous().from_address("203.0.113.10").get("/api/v1/posts").await.expect(200);
    app.anonymous().from_address("203.0.113.9").get("/api/v1/posts").await.expect(503);
    let mut waiting = 0;
    for held in held {
        if held.is_finished() {
            assert_eq!(held.await.unwrap().1, 503);
        } else {
            waiting += 1;
            held.abort();
            let _ = held.await;
        }
    }
    assert_eq!(waiting, 8);
    // What was given up is given back.
    app.anonymous().from_address("203.0.113.9").get("/api/v1/posts").await.expect(200);
    app.finish().await;
}
