//! Redirects are not followed, or each of them is checked: SSRF-04.

use crate::server::{Answers, OK, Server};
use haechi_egress::{Client, Destination, Request};
use http::{HeaderValue, header};

fn to(location: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n")
}

/// The path of a request, without its beginning `/to/`.
fn told(request: &str) -> String {
    let path = request.split_whitespace().nth(1).unwrap();
    path.strip_prefix("/to/").unwrap_or(path).to_owned()
}

#[tokio::test]
async fn a_redirect_leads_nowhere_that_is_not_allowed() {
    let server = Server::answering(|request| match told(request).as_str() {
        "/end" if !request.starts_with("GET /to/") => OK.to_owned(),
        "loop" => to("/to/loop"),
        "nowhere" => "HTTP/1.1 302 Found\r\ncontent-length: 0\r\n\r\n".to_owned(),
        path => to(path),
    })
    .await;
    let inside = Server::at("127.0.0.5", |_| OK.to_owned()).await;
    let client = Client::new();
    let following = server.destination().redirects(3);
    let get = |path: &str| Request::get(&server.url(&format!("/to/{path}")));

    // Not followed unless the destination says so: the reply is the redirect.
    let reply = client.send(&server.destination(), get("/end")).await.unwrap();
    assert_eq!((reply.status.as_u16(), server.seen().len()), (302, 1));
    // The honest twin.
    let reply = client.send(&following, get("/end")).await.unwrap();
    assert_eq!((reply.status.as_u16(), &reply.body[..]), (200, &b"ok"[..]));

    for (path, why) in [
        (inside.url("/"), "not the host"),
        ("http://169.254.169.254/latest".to_owned(), "not the host"),
        ("file:///etc/passwd".to_owned(), "must begin with http"),
        ("//user@evil.example/".to_owned(), "a user or a password"),
        ("http://[bad".to_owned(), "does not say where"),
        ("nowhere".to_owned(), "does not say where"),
        ("loop".to_owned(), "more often than is followed"),
    ] {
        let refused = client.send(&following, get(&path)).await.unwrap_err().to_string();
        assert!(refused.contains(why), "{path}: {refused}");
    }
    assert_eq!(inside.connections(), 0);
    // Three at most, whatever is asked for.
    let before = server.seen().len();
    assert!(client.send(&server.destination().redirects(20), get("loop")).await.is_err());
    assert_eq!(server.seen().len() - before, 4);
    // What changes something is not sent again elsewhere.
    let reply = client.send(&following, Request::post(&server.url("/to/elsewhere"), "x")).await.unwrap();
    assert_eq!(reply.status.as_u16(), 302);
}

/// A credential does not follow to another server.
#[tokio::test]
async fn credentials_stay_with_their_server() {
    let end = Server::answering(|_| OK.to_owned()).await;
    let target = format!("http://app.example:{}/end", end.address.port());
    let start = Server::answering(move |request| {
        if told(request) == "same" {
            to("/here")
        } else if told(request) == "/here" {
            OK.to_owned()
        } else {
            to(&target)
        }
    })
    .await;
    let client = Client::builder().resolver(Answers::new(&[&["127.0.0.1"]])).build();
    // Both servers are at one host, so their destination names neither port.
    let following = Destination::declared("fetch").redirects(1);
    for (path, kept) in [("same", true), ("other", false)] {
        let request = Request::get(&format!("http://app.example:{}/to/{path}", start.address.port()))
            .header(header::AUTHORIZATION, HeaderValue::from_static("Bearer t"))
            .header(header::COOKIE, HeaderValue::from_static("a=b"))
            .header(header::ACCEPT, HeaderValue::from_static("text/plain"));
        client.send(&following, request).await.unwrap();
        let last = if kept { start.seen() } else { end.seen() }.pop().unwrap();
        assert_eq!((last.contains("Bearer t"), last.contains("a=b"), last.contains("text/plain")), (kept, kept, true), "{last}");
    }
}
