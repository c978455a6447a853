//! Connections that wait for the next request.

use crate::server::{OK, Server, request};
use haechi_egress::{Client, Destination, Request};
use std::time::Duration;
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn a_connection_is_shared_within_one_destination_alone() {
    let server = Server::answering(|_| OK.to_owned()).await;
    let client = Client::new();
    let (one, other) = (Destination::declared("one"), Destination::declared("other"));
    for _ in 0..5 {
        client.send(&one, Request::post(&server.url("/"), "x").head_only()).await.unwrap();
    }
    assert_eq!(server.connections(), 1);
    client.clone().send(&other, Request::get(&server.url("/"))).await.unwrap();
    assert_eq!(server.connections(), 2);
    // Many at once have one each, and no more wait than have a place.
    let all: Vec<_> = (0..20)
        .map(|_| {
            tokio::spawn({
                let (client, one, url) = (client.clone(), one.clone(), server.url("/"));
                async move { client.send(&one, Request::get(&url)).await.unwrap().status }
            })
        })
        .collect();
    for one in all {
        assert_eq!(one.await.unwrap().as_u16(), 200);
    }
    assert!(server.connections() <= 2 + 20);
}

/// A server that ends connections that wait, or its reply, does not make the next request fail.
#[tokio::test]
async fn a_connection_that_ended_is_replaced() {
    let closing = Server::with("127.0.0.1", |mut stream, seen| async move {
        if let Some(request) = request(&mut stream).await {
            seen.lock().unwrap().push(request);
            let _ = stream.write_all(OK.as_bytes()).await;
        }
    })
    .await;
    let client = Client::new();
    for at in 0..5 {
        assert_eq!(client.send(&closing.destination(), Request::post(&closing.url("/"), "x")).await.unwrap().status.as_u16(), 200, "{at}");
        tokio::time::sleep(Duration::from_millis(if at % 2 == 0 { 0 } else { 20 })).await;
    }
    assert_eq!((closing.connections(), closing.seen().len()), (5, 5), "a request was sent twice, or not at all");
    let told = Server::answering(|_| "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok".to_owned()).await;
    for _ in 0..3 {
        client.send(&told.destination(), Request::get(&told.url("/"))).await.unwrap();
    }
    assert_eq!(told.connections(), 3);
}

/// A connection waits for half a minute.
#[tokio::test]
async fn a_connection_does_not_wait_for_ever() {
    let (ended, mut end) = tokio::sync::mpsc::unbounded_channel();
    let server = Server::with("127.0.0.1", move |mut stream, _| {
        let ended = ended.clone();
        async move {
            while request(&mut stream).await.is_some() {
                let _ = stream.write_all(OK.as_bytes()).await;
            }
            let _ = ended.send(());
        }
    })
    .await;
    let client = Client::new();
    client.send(&server.destination(), Request::get(&server.url("/"))).await.unwrap();
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(61)).await;
    tokio::time::resume();
    tokio::time::timeout(Duration::from_secs(5), end.recv()).await.unwrap();
    assert!(client.send(&server.destination(), Request::get(&server.url("/"))).await.is_ok());
}
