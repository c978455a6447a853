//! A program of one's own: its routes pass the same stack, know the same callers and ask the same gate.

use crate::fixture::FILES;
use axum::{Extension, routing::get};
use haechi::{Act, Ask, Haechi, ServeError, gate::Read};
use haechi_testkit::{Backend, TestApp};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

async fn who(Extension(ask): Extension<Ask>) -> String {
    let things = ask.app().collection("things").unwrap().id;
    format!("{} {}", ask.caller().id(), if ask.on::<Read>(things).is_ok() { "reads things" } else { "reads nothing" })
}

/// [V8.3.1 V4.1.1]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routes_of_ones_own_stand_behind_the_same_gate() {
    let app = TestApp::start(Backend::Sqlite, FILES).await;
    let thing = app.person("kim", &["member"]).await.create("things", serde_json::json!({"text": "dull"})).await;
    let operator = app.house.identity.operator("test");
    let new = haechi_identity::NewKey { label: "probe".to_owned(), ..Default::default() };
    let (member, _) = operator.create_service_key("reader", &["member".to_owned()], &new).await.unwrap();
    let (auditor, _) = operator.create_service_key("looker", &["auditor".to_owned()], &new).await.unwrap();
    let root = app.close().await;
    let address = format!("127.0.0.1:{}", std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port());
    let toml = std::fs::read_to_string(root.join("haechi.toml")).unwrap();
    std::fs::write(root.join("haechi.toml"), format!("{toml}\n[server]\nlisten = \"{address}\"\n")).unwrap();
    for reserved in ["/api/v1/mine", "/auth/v1/me", "/healthz", "/metrics"] {
        assert!(matches!(Haechi::open(&root).unwrap().route(reserved, get(who)), Err(ServeError::Reserved(_))), "{reserved}");
    }
    let things = root.join("collections/things.toml");
    std::fs::write(&things, format!("{}\n[actions.polish]\n", std::fs::read_to_string(&things).unwrap())).unwrap();
    let policies = root.join("policies/main.cedar");
    let polish = "permit (principal, action == Action::\"polish\", resource is things);";
    std::fs::write(&policies, format!("{}\n{polish}\n", std::fs::read_to_string(&policies).unwrap())).unwrap();
    let unhandled = Haechi::open(&root).unwrap().development().serve().await.unwrap_err().to_string();
    assert!(unhandled.contains("no handler does things:polish"), "{unhandled}");
    let polished = async |act: Act| act.change(&serde_json::json!({ "text": "shiny" })).await;
    let undeclared = Haechi::open(&root).unwrap().development().action("things", "polish", polished).action("things", "melt", polished);
    assert!(undeclared.serve().await.unwrap_err().to_string().contains("declares no action things:melt"));
    let own = Haechi::open(&root).unwrap().development().action("things", "polish", polished);
    let own = own.route("/who", get(who)).and_then(|own| own.public_route("/hello", get(async || "hello"))).unwrap();
    let served = tokio::spawn(own.serve());
    let ask = async |path: &str, token: &str| {
        let mut stream = TcpStream::connect(&address).await.ok()?;
        let credential = if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{credential}\r\n").as_bytes()).await.ok()?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.ok()?;
        Some(reply)
    };
    for _ in 0..500 {
        if ask("/healthz", "").await.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let reply = ask("/who", "").await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 401 ") && reply.contains("x-request-id") && reply.contains("unauthenticated"), "{reply}");
    assert!(ask("/who", &member).await.unwrap().ends_with("reader reads things"));
    let reply = ask("/who", &auditor).await.unwrap();
    assert!(reply.ends_with("looker reads nothing") && reply.contains("content-security-policy") && reply.contains("ratelimit"), "{reply}");
    assert!(ask("/hello", "").await.unwrap().ends_with("hello"));
    assert!(ask("/api/v1/things", &member).await.unwrap().starts_with("HTTP/1.1 200 "));
    let polish = |token: &str| {
        let request = format!(
            "POST /api/v1/things/{thing}:polish HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        let address = address.clone();
        async move {
            let mut stream = TcpStream::connect(&address).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut reply = String::new();
            stream.read_to_string(&mut reply).await.unwrap();
            reply
        }
    };
    let reply = polish(&member).await;
    assert!(reply.starts_with("HTTP/1.1 200 ") && reply.contains("\"text\":\"shiny\""), "{reply}");
    let reply = polish(&auditor).await;
    assert!(reply.starts_with("HTTP/1.1 404 "), "they may not read it: {reply}");
    served.abort();
    let _ = served.await;
    std::fs::remove_dir_all(root).unwrap();
}
