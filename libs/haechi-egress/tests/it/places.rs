//! Which places are reached: SSRF-01, SSRF-02, SSRF-03, SSRF-05, SSRF-07.

use crate::server::{Answers, OK, Server, private};
use haechi_egress::{Client, Destination, Error, Request};
use http::{HeaderValue, header};

/// SSRF-01, SSRF-02: an address that is not allowed is refused before anything is looked up or connected to.
#[tokio::test]
async fn a_forbidden_address_is_never_connected_to() {
    let server = Server::answering(|_| OK.to_owned()).await;
    let answers = Answers::new(&[&["127.0.0.1"]]);
    let client = Client::builder().resolver(answers.clone()).build();
    let port = server.address.port();
    let public = Destination::public("webhooks").ports(&[port]);
    for host in [
        "127.0.0.1",
        "[::1]",
        "0.0.0.0",
        "127.1",
        "0x7f.1",
        "017700000001",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "169.254.169.254",
    ] {
        let refused = client.send(&public, Request::get(&format!("https://{host}:{port}/"))).await.unwrap_err();
        assert!(matches!(refused, Error::Address(_)) && refused.is_refusal() && refused.nothing_was_sent(), "{host}: {refused:?}");
    }
    assert_eq!((answers.asked(), server.connections()), (0, 0));
    // A name for the same place is looked up, and not connected to.
    for name in ["localhost", "localhost.", "LOCALHOST", "app.internal"] {
        let refused = client.send(&public, Request::get(&format!("https://{name}:{port}/"))).await.unwrap_err();
        assert!(matches!(refused, Error::Address(_)), "{name}: {refused:?}");
    }
    assert_eq!((answers.asked(), server.connections()), (4, 0));
    // The honest twin: the same place, where a destination names it.
    let reply = Client::new().send(&server.destination(), Request::post(&server.url("/hook?x=1"), "hello")).await.unwrap();
    assert_eq!((reply.status.as_u16(), &reply.body[..], reply.address), (200, &b"ok"[..], server.address.ip()));
    let seen = server.seen().pop().unwrap();
    assert!(seen.starts_with("POST /hook?x=1 HTTP/1.1\r\n") && seen.ends_with("\r\n\r\nhello"), "{seen}");
    assert!(seen.contains(&format!("host: {}\r\n", server.address)) && !seen.contains("accept-encoding"), "{seen}");
}

/// SSRF-03: a name with one forbidden answer among others is refused, in every order and family.
#[tokio::test]
async fn one_forbidden_answer_refuses_the_name() {
    let server = Server::answering(|_| OK.to_owned()).await;
    let port = server.address.port();
    let destination = private("app.example", port, &["127.0.0.1", "fd12::/16"]);
    let url = format!("http://app.example:{port}/");
    for answers in
        [&["127.0.0.1", "10.0.0.1"][..], &["10.0.0.1", "127.0.0.1"], &["127.0.0.1", "::1"], &["127.0.0.1", "::ffff:10.0.0.1"], &["169.254.169.254"]]
    {
        let client = Client::builder().resolver(Answers::new(&[answers])).build();
        let refused = client.send(&destination, Request::get(&url)).await.unwrap_err();
        assert!(matches!(&refused, Error::Address(host) if host == "app.example"), "{answers:?}: {refused:?}");
    }
    let many: Vec<String> = (0..65).map(|_| "127.0.0.1".to_owned()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (answers, named) in [(&[][..], "cannot be looked up"), (&many, "not allowed")] {
        let client = Client::builder().resolver(Answers::new(&[answers])).build();
        let refused = client.send(&destination, Request::get(&url)).await.unwrap_err().to_string();
        assert!(refused.contains(named), "{refused}");
    }
    assert_eq!(server.connections(), 0);
    let client = Client::builder().resolver(Answers::new(&[&["127.0.0.1"]])).build();
    assert!(client.send(&destination, Request::get(&url)).await.is_ok());
    // The first address that answers is taken: nothing listens on the other one.
    let client = Client::builder().resolver(Answers::new(&[&["127.0.0.9", "127.0.0.1"]])).build();
    let both = private("app.example", port, &["127.0.0.0/8"]);
    assert!(client.send(&both, Request::get(&url)).await.is_ok());
}

/// SSRF-03: rebinding. A name that moves to another address is asked there when it is allowed, and nowhere when it is not; a connection
/// that waited is not used for a name that moved.
#[tokio::test]
async fn a_name_that_moves_is_checked_each_time() {
    let first = Server::at("127.0.0.2", |_| OK.to_owned()).await;
    let port = first.address.port();
    let listener = tokio::net::TcpListener::bind(("127.0.0.3", port)).await.unwrap();
    let answers = Answers::new(&[&["127.0.0.2"], &["127.0.0.2"], &["127.0.0.3"], &["127.0.0.2"]]);
    let client = Client::builder().resolver(answers.clone()).build();
    let destination = private("app.example", port, &["127.0.0.2"]);
    let url = format!("http://app.example:{port}/");
    for _ in 0..2 {
        assert_eq!(client.send(&destination, Request::get(&url)).await.unwrap().address.to_string(), "127.0.0.2");
    }
    assert_eq!(first.connections(), 1, "a connection is used again");
    assert!(matches!(client.send(&destination, Request::get(&url)).await, Err(Error::Address(_))));
    assert!(client.send(&destination, Request::get(&url)).await.is_ok());
    // One look-up a request: what was checked is what is connected to.
    assert_eq!((answers.asked(), first.connections(), first.seen().len()), (4, 1, 3));
    assert!(tokio::time::timeout(std::time::Duration::from_millis(50), listener.accept()).await.is_err(), "the other address was connected to");
}

/// SSRF-05, SSRF-07: schemes, ports and hosts that a destination does not name.
#[tokio::test]
async fn other_schemes_ports_and_hosts_are_refused() {
    let server = Server::answering(|_| OK.to_owned()).await;
    let (client, port) = (Client::builder().resolver(Answers::new(&[&["127.0.0.1"]])).build(), server.address.port());
    let destination = private("app.example", port, &["127.0.0.1"]);
    for (url, why) in [
        ("file:///etc/passwd".to_owned(), "must begin with http"),
        ("gopher://app.example/".to_owned(), "must begin with http"),
        (format!("http://app.example:{}/", port.wrapping_add(1).max(1024)), "port"),
        (format!("http://evil.example:{port}/"), "not the host"),
        (format!("http://app.example:{port}@evil.example/"), "a user or a password"),
        (format!("http://app.example.evil.example:{port}/"), "not the host"),
        ("http://".to_owned(), "no URL"),
        ("/hook".to_owned(), "no URL"),
    ] {
        let refused = client.send(&destination, Request::get(&url)).await.unwrap_err();
        assert!(refused.is_refusal() && refused.to_string().contains(why), "{url}: {refused}");
    }
    assert_eq!(server.connections(), 0);
    assert!(client.send(&destination, Request::get(&format!("http://APP.example:{port}/"))).await.is_ok());
}

/// SSRF-10: a header cannot hold a line break, and those of the connection cannot be set.
#[tokio::test]
async fn headers_of_the_connection_cannot_be_set() {
    let server = Server::answering(|_| OK.to_owned()).await;
    let client = Client::builder().agent(HeaderValue::from_static("haechi/1")).build();
    for name in
        [header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION, header::UPGRADE, header::TE, header::ACCEPT_ENCODING]
    {
        let request = Request::post(&server.url("/"), "x").header(name.clone(), HeaderValue::from_static("1"));
        let refused = client.send(&server.destination(), request).await.unwrap_err();
        assert!(matches!(&refused, Error::Header(named) if *named == name.as_str()), "{refused:?}");
    }
    assert!(HeaderValue::from_str("a\r\nx: y").is_err());
    assert_eq!(server.connections(), 0);
    let request = Request::get(&server.url("/")).header(header::AUTHORIZATION, HeaderValue::from_static("Bearer t"));
    client.send(&server.destination(), request).await.unwrap();
    let seen = server.seen().pop().unwrap();
    assert!(seen.contains("authorization: Bearer t\r\n") && seen.contains("user-agent: haechi/1\r\n"), "{seen}");
}

/// No message holds a path, a query or a password.
#[tokio::test]
async fn messages_hold_no_secret() {
    let client = Client::builder().resolver(Answers::new(&[&["10.0.0.1"]])).build();
    for url in
        ["https://app.example/s3cret?t=s3cret", "https://kim:s3cret@app.example/", "http://app.example/s3cret", "https://app.example:22/s3cret"]
    {
        let refused = client.send(&Destination::public("x"), Request::get(url)).await.unwrap_err();
        assert!(!format!("{refused} {refused:?}").contains("s3cret"), "{refused:?}");
    }
}
