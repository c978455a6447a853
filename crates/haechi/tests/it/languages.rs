//! What people read, in the language that they ask for. That every message is known is looked at by all other tests.

use crate::{fixture::FILES, grpc::Client};
use haechi_testkit::{Backend, Person, Reply, TestApp, on_both};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

on_both!(problems_are_told_in_korean);

async fn in_language(person: &Person, language: &str, method: &str, path: &str, body: &str) -> Reply {
    let headers = [("accept-language", language), ("content-type", "application/json")];
    person.send(method, path, &headers, body.as_bytes().to_vec()).await
}

async fn problems_are_told_in_korean(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let kim = app.person("kim", &["member"]).await;
    let wrong = "{\"rank\":2000,\"mail\":\"no\",\"titel\":1}";
    let reply = in_language(&kim, "ko-KR,ko;q=0.9,en;q=0.8", "POST", "/api/v1/notes", wrong).await.expect(422);
    let told = reply.json();
    assert_eq!((reply.header("content-language"), reply.header("vary")), ("ko", "Accept-Language"));
    assert_eq!((&told["title"], &told["detail"]), (&json!("올바르지 않은 필드가 있습니다"), &json!("필드 4개가 올바르지 않습니다.")));
    let details: Vec<&str> = told["errors"].as_array().unwrap().iter().map(|error| error["detail"].as_str().unwrap()).collect();
    assert_eq!(
        details,
        ["0 이상 1000 이하여야 합니다", "kim@example.com과 같은 주소여야 합니다", "그런 필드가 없습니다. `title`인가요?", "값이 필요합니다"]
    );
    // The rest of it is the same in every language.
    let english = in_language(&kim, "en", "POST", "/api/v1/notes", wrong).await.expect(422);
    assert_eq!(english.header("content-language"), "en");
    let (mut one, mut other) = (told, english.json());
    for problem in [&mut one, &mut other] {
        for name in ["title", "detail", "request_id"] {
            problem.as_object_mut().unwrap().remove(name);
        }
        for error in problem["errors"].as_array_mut().unwrap() {
            error.as_object_mut().unwrap().remove("detail");
        }
    }
    assert_eq!(one, other);
    // Before there is a caller, and without a route.
    let refused = in_language(&app.bearer("haechi_dev_x"), "ko", "GET", "/api/v1/notes", "").await.expect(401);
    assert_eq!(refused.json()["title"], "누구인지 확인되지 않았습니다");
    assert_eq!(refused.header("www-authenticate"), "Bearer");
    assert_eq!(in_language(&kim, "ko", "GET", "/nowhere", "").await.expect(404).json()["detail"], "그런 경로가 없습니다.");
    let page = in_language(&app.anonymous(), "ko", "GET", "/problems/not-found", "").await.expect(200).text();
    assert!(page.contains("<html lang=\"ko\">") && page.contains("볼 수 있는 것이 없습니다"), "{page}");
    // GraphQL: in `errors`, and in the payload.
    let query = |text: &str| json!({ "query": text }).to_string();
    let missing = in_language(&kim, "ko", "POST", "/graphql", &query("{ notes(first: 0) { nodes { id } } }")).await.json();
    assert_eq!(missing["errors"][0]["message"], "`first`와 `last`는 1 이상이어야 합니다.");
    let payload = query("mutation { create_note(input: {title: \"x\", rank: 2000}) { errors { code detail } } }");
    let payload = in_language(&kim, "ko", "POST", "/graphql", &payload).await.json();
    assert_eq!(payload["data"]["create_note"]["errors"], json!([{ "code": "out_of_range", "detail": "0 이상 1000 이하여야 합니다" }]));
    // gRPC: the message is English, what people read stands beside it.
    let refused = Client::new(&app).localized(&kim, "GetNote", json!({ "id": "01920000-0000-7000-8000-00000000ffff" }), "ko").await;
    assert_eq!(refused, ("There is no such thing, or it is not yours to see.".to_owned(), "ko".to_owned(), "없거나 볼 수 없습니다.".to_owned()));
    app.finish().await;
}

/// A problem in another language has another length: over a connection that goes on, the next reply begins where this one ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_translated_problem_has_its_own_length() {
    let app = TestApp::start(Backend::Sqlite, FILES).await;
    let server = crate::network::run(&app, None, 2_000).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    for (path, status) in [("/nothing", 404), ("/auth/v1/me", 401), ("/api/v1/notes", 401), ("/api/v1/posts/x", 404), ("/healthz", 200)] {
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept-Language: ko\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut reply = Vec::new();
        while !reply.ends_with(b"\r\n\r\n") {
            reply.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(reply).unwrap().to_lowercase();
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{path}: {head}");
        let length = head.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap().parse().unwrap();
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        assert!(status == 200 || serde_json::from_slice::<serde_json::Value>(&body).is_ok(), "{path}: {}", String::from_utf8_lossy(&body));
    }
    server.end().await;
    app.finish().await;
}
