//! What `deploy/` holds, read by the programs that it is for.

use crate::{clients, generated, live, network};
use futures_util::{SinkExt, StreamExt};
use haechi_testkit::{Backend, TestApp};
use serde_json::json;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

fn alerts(text: &str, before: &str) -> BTreeSet<String> {
    text.lines().filter_map(|line| Some(line.split_once(before)?.1.trim().to_owned())).collect()
}

/// OPS-41: every alert has a section that says what to do, and names it; no section is about an alert that is gone.
#[test]
fn every_alert_has_its_page() {
    let rules = read("deploy/prometheus/alerts.yml");
    let named = alerts(&rules, "- alert: ");
    assert!(named.len() > 10);
    let told: BTreeSet<String> = read("docs/runbook.md").lines().filter_map(|line| Some(line.strip_prefix("## ")?.to_owned())).collect();
    assert_eq!(named, told);
    for name in &named {
        assert!(rules.contains(&format!("runbook: \"docs/runbook.md#{}\"", name.to_lowercase())), "{name}");
    }
}

/// OPS-41: the rules are good, and each alert fires on series that are made for it.
#[test]
fn every_alert_fires() {
    let unpacked = root().join("target/tools/usr/bin/promtool");
    let promtool = if unpacked.exists() { unpacked } else { PathBuf::from("promtool") };
    let run = |arguments: &[&str]| {
        let output = Command::new(&promtool).args(arguments).current_dir(root().join("deploy/prometheus")).output();
        let output = output.unwrap_or_else(|error| panic!("promtool cannot be run ({error}): `cargo xtask test` sees to it"));
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}");
        text
    };
    assert!(run(&["check", "rules", "alerts.yml"]).contains("SUCCESS"));
    assert!(run(&["test", "rules", "alerts_test.yml"]).contains("SUCCESS"));
    let (named, tried) =
        (alerts(&read("deploy/prometheus/alerts.yml"), "- alert: "), alerts(&read("deploy/prometheus/alerts_test.yml"), "alertname: "));
    assert_eq!(named, tried, "each is tried");
}

/// The unit is one that systemd takes.
#[test]
fn the_unit_is_good() {
    let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(root().join("deploy/haechi.service")).output();
    let output = output.unwrap_or_else(|error| panic!("systemd-analyze cannot be run ({error}): `cargo xtask test` sees to it"));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && !text.contains("haechi.service"), "{text}");
}

const GRPC: &str = r#"
import sys
sys.path.insert(0, sys.argv[3])
import grpc, app_pb2 as pb, app_pb2_grpc as stubs
credentials = grpc.ssl_channel_credentials(open(sys.argv[4], "rb").read())
notes = stubs.NotesStub(grpc.secure_channel(sys.argv[1], credentials))
auth = [("authorization", "Bearer " + sys.argv[2])]
stream = notes.WatchNotes(pb.WatchNotesRequest(), metadata=auth, timeout=20)
assert next(stream).type == pb.CHANGE_TYPE_READY
made = notes.CreateNote(pb.CreateNoteRequest(note=pb.Note(title="through")), metadata=auth)
assert next(stream).id == made.id
print("done")
"#;

/// nginx with `deploy/nginx/haechi.conf`, for this host and with this certificate; it ends with this.
struct Proxy {
    folder: PathBuf,
    port: u16,
    process: std::process::Child,
}

impl Proxy {
    fn start(upstream: &str, folder: &Path) -> Self {
        let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (port, plain) = (free(), free());
        let site = read("deploy/nginx/haechi.conf")
            .replace("server 127.0.0.1:8080;", &format!("server {upstream};"))
            .replace("listen 80;", &format!("listen 127.0.0.1:{plain};"))
            .replace("listen 443 ssl http2;", &format!("listen 127.0.0.1:{port} ssl http2;"))
            .replace("/etc/ssl/api.example.com/fullchain.pem", "cert.pem")
            .replace("/etc/ssl/api.example.com/privkey.pem", "key.pem")
            .replace("server_name api.example.com", "server_name localhost");
        let whole =
            format!("daemon off; master_process off; pid nginx.pid; error_log stderr warn;\nevents {{}}\nhttp {{ access_log off; {site} }}\n");
        std::fs::write(folder.join("nginx.conf"), whole).unwrap();
        let process = Command::new("nginx").arg("-p").arg(folder).args(["-c", "nginx.conf"]).spawn();
        let process = process.unwrap_or_else(|error| panic!("nginx cannot be run ({error}): `cargo xtask test` sees to it"));
        let proxy = Self { folder: folder.to_owned(), port, process };
        for _ in 0..500 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return proxy;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("nginx does not start in {}", proxy.folder.display());
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The configuration of nginx carries everything: HTTP/2, streams at once, WebSockets, gRPC, and the client's address.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_carries_every_door() {
    use tokio::io::{AsyncBufReadExt, BufReader};
    let app = TestApp::start(Backend::Sqlite, &live::files("[server]\ntrusted_proxies = [\"127.0.0.1\"]\n[auth]\nsign_up = \"open\"")).await;
    let (kim, han) = (app.person("kim", &["member"]).await, app.person("han", &["admin"]).await);
    let server = network::run(&app, None, 2_000).await;
    let folder = generated::generate(&app, haechi_clients::Language::TypeScript);
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let proxy = Proxy::start(&server.address.to_string(), &folder);
    let address = format!("localhost:{}", proxy.port);

    let mut node = tokio::process::Command::new("node");
    node.arg(generated::scripts().join("behind.mjs")).arg(folder.join("client.js")).arg(format!("https://{address}")).arg(folder.join("cert.pem"));
    node.env("NODE_EXTRA_CA_CERTS", folder.join("cert.pem")).stdout(std::process::Stdio::piped()).kill_on_drop(true);
    let mut node = node.spawn().unwrap();
    let mut lines = BufReader::new(node.stdout.take().unwrap()).lines();
    assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("write"));
    han.create("posts", json!({ "title": "now", "published": true })).await;
    assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("done"));

    // A WebSocket.
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", proxy.port)).await.unwrap();
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let stream = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config)).connect(name, stream).await.unwrap();
    let mut request = format!("wss://{address}/graphql").into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "graphql-transport-ws".parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    socket.send(Message::text(json!({ "type": "connection_init" }).to_string())).await.unwrap();
    let answered = loop {
        if let Message::Text(text) = socket.next().await.unwrap().unwrap() {
            break text.to_string();
        }
    };
    assert!(answered.contains("connection_ack"), "{answered}");

    // gRPC, with a stream.
    let stubs = clients::python_stubs(&app, &folder).await;
    let mut python = tokio::process::Command::new("/usr/bin/python3");
    python.args(["-c", GRPC, &address, &kim.token.clone().unwrap()]).arg(stubs).arg(folder.join("cert.pem"));
    let output = tokio::time::timeout(std::time::Duration::from_secs(60), python.kill_on_drop(true).output()).await.unwrap().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "done", "{}", String::from_utf8_lossy(&output.stderr));
    drop(proxy);
    server.end().await;
    app.finish().await;
}

/// Caddy takes its configuration.
#[test]
fn the_configuration_of_caddy_is_good() {
    let output = Command::new("caddy").args(["validate", "--adapter", "caddyfile", "--config"]).arg(root().join("deploy/caddy/Caddyfile")).output();
    let output = output.unwrap_or_else(|error| panic!("caddy cannot be run ({error}): `cargo xtask test` sees to it"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
