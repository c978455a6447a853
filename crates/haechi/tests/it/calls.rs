//! Jobs that send a request to another service: SSRF-06, SSRF-12 and what a service may answer.

use crate::jobs::{ended, enqueue, until};
use haechi_testkit::{Backend, TestApp, on_both};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

on_both!(a_call_is_sent_with_its_key, answers_decide, what_is_not_allowed_is_never_reached);

/// Another service: what it was sent, and what it answers next.
struct Service {
    port: u16,
    seen: Arc<Mutex<Vec<String>>>,
    answers: Arc<Mutex<Vec<&'static str>>>,
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

impl Service {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let service = Self { port: listener.local_addr().unwrap().port(), seen: Arc::default(), answers: Arc::default() };
        let (seen, answers) = (service.seen.clone(), service.answers.clone());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (seen, answers) = (seen.clone(), answers.clone());
                tokio::spawn(async move {
                    let mut bytes = Vec::new();
                    loop {
                        let mut part = [0; 4096];
                        let Ok(count) = stream.read(&mut part).await else { return };
                        bytes.extend_from_slice(&part[..count]);
                        let text = String::from_utf8_lossy(&bytes).into_owned();
                        let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse::<usize>().ok());
                        let whole = text.split_once("\r\n\r\n").is_some_and(|(_, body)| body.len() >= length.unwrap_or(0));
                        if count == 0 {
                            return;
                        }
                        if whole {
                            seen.lock().unwrap().push(text);
                            bytes.clear();
                            let answer = answers.lock().unwrap().pop().unwrap_or(OK);
                            if stream.write_all(answer.as_bytes()).await.is_err() {
                                return;
                            }
                        }
                    }
                });
            }
        });
        service
    }

    fn files(&self) -> Vec<(&'static str, String)> {
        let port = self.port;
        vec![
            (
                "haechi.toml",
                format!(
                    "roles = [\"clerk\"]\n[egress.mailer]\nurl = \"http://127.0.0.1:{port}\"\nnetworks = [\"127.0.0.0/8\"]\nbearer = {{ env = \"PATH\" }}\n\
                     [egress.public]\nurl = \"https://localhost\"\n[egress.other]\nurl = \"http://127.0.0.1:{port}\"\nnetworks = [\"10.0.0.0/8\"]\n"
                ),
            ),
            ("collections/users.toml", "[fields]\nteam = { type = \"text\" }\n".to_owned()),
            (
                "jobs/all.toml",
                ["mailer", "public", "other"]
                    .map(|name| {
                        format!(
                            "[jobs.{name}]\nas = \"caller\"\ninput = {{ title = {{ type = \"text\", required = true }}, count = {{ type = \"int\" }} }}\n\
                             do = {{ call = \"{name}\", path = \"/remind?now=1\", body = {{ title = {{ from = \"/input/title\" }}, count = {{ from = \"/input/count\" }}, kind = \"reminder\", at = \"now\" }} }}\n"
                        )
                    })
                    .concat(),
            ),
            ("policies/main.cedar", "permit (principal in Role::\"clerk\", action == Work::Action::\"enqueue\", resource);\n".to_owned()),
        ]
    }
}

async fn a_call_is_sent_with_its_key(backend: Backend) {
    let service = Service::start().await;
    let app = TestApp::start(backend, &service.files()).await;
    let kim = app.person("kim", &["clerk"]).await;
    let run = enqueue(&kim, "mailer", json!({"title": "a \"quoted\" one\r\nInjected: yes"})).await;
    assert_eq!(ended(&kim, &run).await["state"], "done");
    let seen = service.seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 1, "{seen:?}");
    let (head, body) = seen[0].split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /remind?now=1 HTTP/1.1\r\n") && !head.contains("Injected"), "{head}");
    for line in [
        format!("idempotency-key: {run}"),
        "content-type: application/json".to_owned(),
        format!("authorization: Bearer {}", std::env::var("PATH").unwrap()),
    ] {
        assert!(head.contains(&line), "{line}: {head}");
    }
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!((&body["title"], &body["count"], &body["kind"]), (&json!("a \"quoted\" one\r\nInjected: yes"), &Value::Null, &json!("reminder")));
    assert!(body["at"].as_str().unwrap().ends_with('Z'));
    app.finish().await;
}

async fn answers_decide(backend: Backend) {
    let service = Service::start().await;
    let app = TestApp::start(backend, &service.files()).await;
    let kim = app.person("kim", &["clerk"]).await;
    for (answer, state, code) in [
        ("HTTP/1.1 204 No Content\r\n\r\n", "done", Value::Null),
        ("HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n", "dead", json!("refused-by-receiver")),
        ("HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n", "dead", json!("redirected")),
        ("HTTP/1.1 500 Bad\r\nContent-Length: 0\r\n\r\n", "waiting", json!("receiver-failed")),
        ("HTTP/1.1 401 Bad\r\nContent-Length: 0\r\n\r\n", "waiting", json!("not-accepted")),
        ("nonsense\r\n\r\n", "waiting", json!("broken-reply")),
        ("HTTP/1.1 429 Slow\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n", "waiting", json!("receiver-busy")),
    ] {
        service.answers.lock().unwrap().push(answer);
        let run = enqueue(&kim, "mailer", json!({"title": "x"})).await;
        let shown = loop {
            let shown = until(&kim, &run, &["done", "dead", "waiting"]).await;
            if shown["state"] != "waiting" || shown["attempt"] != 0 {
                break shown;
            }
        };
        assert_eq!((&shown["state"], &shown["code"]), (&json!(state), &code), "{answer}: {shown}");
        if answer.contains("Retry-After") {
            let due = haechi_model::parse_datetime(shown["run_time"].as_str().unwrap()).unwrap();
            assert!(due >= app.house.gate.clock().now_ms() + 3_500_000, "{shown}");
        }
        app.house.jobs.operator("test").cancel(&run).await.ok();
    }
    app.finish().await;
}

/// SSRF-07: a name that is not in its networks, and a public one that leads to this machine.
async fn what_is_not_allowed_is_never_reached(backend: Backend) {
    let service = Service::start().await;
    let app = TestApp::start(backend, &service.files()).await;
    let kim = app.person("kim", &["clerk"]).await;
    for job in ["public", "other"] {
        let run = enqueue(&kim, job, json!({"title": "x"})).await;
        let shown = ended(&kim, &run).await;
        assert_eq!((&shown["state"], &shown["code"]), (&json!("dead"), &json!("address-not-allowed")), "{shown}");
    }
    assert!(service.seen.lock().unwrap().is_empty());
    app.finish().await;
}
