//! The database and the way to it: TLS, gone and back, no room left.

use crate::fixture::FILES;
use haechi::{DataDir, House, Mode, app::folder};
use haechi_testkit::{Backend, TestApp, fresh_folder};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::json;
use std::{path::Path, sync::Arc};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// A certificate authority, and PostgreSQL's key and certificate for 127.0.0.1.
fn certificates(name: &str) -> (String, String, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    (authority.pem(), certificate.pem(), key.serialize_pem())
}

async fn server() -> tokio_postgres::Client {
    let url = std::env::var("HAECHI_TEST_POSTGRES").unwrap();
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Lets the test server offer TLS with this certificate.
async fn offer(certificate: &str, key: &str) {
    let client = server().await;
    for (file, text) in [("haechi-test.crt", certificate), ("haechi-test.key", key)] {
        let lines = format!("SELECT unnest(string_to_array('{}', E'\\n'))", text.trim());
        client.batch_execute(&format!("COPY ({lines}) TO PROGRAM 'umask 077; cat > {file}'")).await.unwrap();
    }
    client.batch_execute("ALTER SYSTEM SET ssl_cert_file = 'haechi-test.crt'").await.unwrap();
    client.batch_execute("ALTER SYSTEM SET ssl_key_file = 'haechi-test.key'").await.unwrap();
    client.batch_execute("ALTER SYSTEM SET ssl = on").await.unwrap();
    reload(&client).await;
}

/// A connection begins with the settings of the moment; the reload takes one.
async fn reload(client: &tokio_postgres::Client) {
    client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
}

async fn opens(root: &Path) -> bool {
    let data = DataDir::open(folder::default_data(root)).unwrap();
    match House::open(root, &data, Mode::Dev).await {
        Ok(house) => {
            house.close().await;
            true
        }
        Err(_) => false,
    }
}

/// [V12.3.2]: the certificate of the database is verified against the authority that the folder names, name included.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_is_who_it_says() {
    let (authority, certificate, key) = certificates("127.0.0.1");
    let (stranger, ..) = certificates("127.0.0.1");
    let root = fresh_folder(Backend::Postgres, FILES).await;
    std::fs::write(root.join("ca.pem"), authority).unwrap();
    std::fs::write(root.join("stranger.pem"), stranger).unwrap();
    let toml = std::fs::read_to_string(root.join("haechi.toml")).unwrap();
    let trusting = |file: &str| {
        std::fs::write(root.join("haechi.toml"), format!("{toml}ca_file = \"{}\"\n", root.join(file).display())).unwrap();
    };
    offer(&certificate, &key).await;
    trusting("ca.pem");
    assert!(opens(&root).await, "the honest server is refused");
    trusting("stranger.pem");
    assert!(!opens(&root).await, "a certificate of an unknown authority was accepted");
    // The right authority, another name.
    let (authority, certificate, key) = certificates("db.example.com");
    std::fs::write(root.join("ca.pem"), authority).unwrap();
    trusting("ca.pem");
    offer(&certificate, &key).await;
    assert!(!opens(&root).await, "a certificate for another name was accepted");
    let client = server().await;
    client.batch_execute("ALTER SYSTEM SET ssl = off").await.unwrap();
    reload(&client).await;
    assert!(!opens(&root).await, "a server without TLS was accepted");
    std::fs::remove_dir_all(root).unwrap();
}

/// Passes bytes on while `open`; cuts all connections when it closes.
pub(crate) async fn doorway(listener: TcpListener, to: String, open: watch::Receiver<bool>) {
    loop {
        let Ok((mut here, _)) = listener.accept().await else { return };
        let (to, mut open) = (to.clone(), open.clone());
        tokio::spawn(async move {
            if !*open.borrow() {
                return;
            }
            let Ok(mut there) = TcpStream::connect(to).await else { return };
            tokio::select! {
                _ = copy_bidirectional(&mut here, &mut there) => {}
                _ = open.wait_for(|open| !open) => {}
            }
        });
    }
}

/// DOS-15, ERR-02 [V16.5.2]: the database goes away and comes back; nothing acknowledged is lost, nothing is half done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_gone_and_back() {
    let root = fresh_folder(Backend::Postgres, FILES).await;
    let toml = std::fs::read_to_string(root.join("haechi.toml")).unwrap();
    let real = toml.split("@").nth(1).unwrap().split('/').next().unwrap().to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (switch, open) = watch::channel(true);
    tokio::spawn(doorway(listener, real.clone(), open));
    std::fs::write(root.join("haechi.toml"), toml.replace(&real, &address)).unwrap();
    let app = TestApp::open(root, Backend::Postgres, Arc::new(haechi_gate::TestClock::new())).await;
    let kim = app.person("kim", &["member"]).await;
    let kept = kim.create("notes", json!({"title": "before"})).await;
    let mut acknowledged = 1;
    for _ in 0..3 {
        switch.send(false).unwrap();
        let writes = futures_util::future::join_all((0..20).map(|at| kim.post("/api/v1/notes", json!({"title": format!("n{at}")})))).await;
        for reply in writes {
            assert!(matches!(reply.status, 201 | 500 | 503), "{}", reply.text());
            assert!(!reply.text().contains("postgres") && !reply.text().contains("127.0.0.1"), "{}", reply.text());
            acknowledged += usize::from(reply.status == 201);
        }
        let read = kim.get(&format!("/api/v1/notes/{kept}")).await;
        assert_eq!(read.status, 503, "{}", read.text());
        assert!(!read.header("retry-after").is_empty());
        assert_eq!(app.anonymous().get("/healthz").await.status, 200);
        assert_eq!(app.anonymous().get("/readyz").await.status, 503);
        switch.send(true).unwrap();
        let mut back = false;
        for _ in 0..100 {
            back = kim.get(&format!("/api/v1/notes/{kept}")).await.status == 200;
            if back {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        assert!(back, "it did not come back");
        kim.create("notes", json!({"title": "after"})).await;
        acknowledged += 1;
    }
    let there = kim.get("/api/v1/notes?page_size=200").await.expect(200).json()["items"].as_array().unwrap().len();
    assert!(there >= acknowledged, "{there} of {acknowledged} acknowledged notes are there");
    // Each connection is tried again a moment after it failed: the node is ready when all are back.
    let ready = async || app.anonymous().get("/readyz").await.status == 200;
    crate::postgres::until("it is not ready again", ready).await;
    app.finish().await;
}

/// OPS: no more room for the file. Writes are refused, reads go on, and what was acknowledged is there afterwards.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_writes_and_keeps_reading() {
    use std::io::{Read, Write};
    let app = TestApp::start(Backend::Sqlite, FILES).await;
    let kim = app.person("kim", &["member"]).await;
    let token = kim.token.clone().unwrap();
    drop(kim);
    let root = app.close().await;
    let ask = move |address: &str, method: &str, path: &str, body: &str| -> Option<(u16, String)> {
        let mut stream = std::net::TcpStream::connect(address).ok()?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).ok()?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply).ok()?;
        Some((reply.get(9..12)?.parse().ok()?, reply))
    };
    let work = move || {
        let start = |limit: &str| {
            let address = format!("127.0.0.1:{}", std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port());
            let mut command = std::process::Command::new("sh");
            command.args(["-c", &format!("trap '' XFSZ; ulimit -f {limit}; exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_haechi"), "dev"]);
            let mut child = command
                .arg(&root)
                .args(["--listen", &address])
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .spawn()
                .unwrap();
            for _ in 0..3_000 {
                if ask(&address, "GET", "/healthz", "").is_some_and(|(status, _)| status == 200) {
                    return (child, address);
                }
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("it does not start");
        };
        let (mut child, address) = start("2000");
        let body = json!({"title": "t", "body": "x".repeat(10_000)}).to_string();
        let (mut kept, mut refused) = (0, 0);
        for _ in 0..200 {
            match ask(&address, "POST", "/api/v1/notes", &body) {
                Some((201, _)) => kept += 1,
                Some((status, reply)) => {
                    assert!(matches!(status, 500 | 503 | 507), "{reply}");
                    assert!(!reply.to_lowercase().contains("sqlite"), "{reply}");
                    refused += 1;
                }
                None => panic!("it answers no more"),
            }
        }
        assert!(kept > 5 && refused > 5, "{kept} kept, {refused} refused");
        let (status, reply) = ask(&address, "GET", "/api/v1/notes?page_size=200&fields=title", "").unwrap();
        assert_eq!((status, reply.matches("\"title\"").count()), (200, kept), "{reply}");
        child.kill().unwrap();
        child.wait().unwrap();
        let (mut child, address) = start("unlimited");
        let (_, reply) = ask(&address, "GET", "/api/v1/notes?page_size=200&fields=title", "").unwrap();
        assert_eq!(reply.matches("\"title\"").count(), kept);
        assert_eq!(ask(&address, "POST", "/api/v1/notes", &body).unwrap().0, 201);
        std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
        child.wait().unwrap();
        let verify = std::process::Command::new(env!("CARGO_BIN_EXE_haechi")).args(["audit", "verify", "--rows", "-C"]).arg(&root).output().unwrap();
        assert!(verify.status.success(), "{}", String::from_utf8_lossy(&verify.stdout));
        std::fs::remove_dir_all(&root).unwrap();
    };
    tokio::task::spawn_blocking(work).await.unwrap();
}
