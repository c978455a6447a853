//! Sizes and times are bounded: SSRF-08, SSRF-11.

use crate::server::{Server, Silent, request};
use haechi_egress::{Client, Destination, Error, Limits, Request, Stage};
use std::time::Duration;
use tokio::io::AsyncWriteExt;

const SHORT: Duration = Duration::from_millis(300);

fn short(destination: Destination) -> Destination {
    destination.limits(Limits { total: SHORT, connect: SHORT, ..Limits::default() })
}

async fn fails(server: &Server, request: Request) -> Error {
    let begun = std::time::Instant::now();
    let error = Client::new().send(&short(server.destination()), request).await.unwrap_err();
    assert!(begun.elapsed() < SHORT * 8, "{error:?} after {:?}", begun.elapsed());
    error
}

/// SSRF-08: what never answers, drips, or floods is cut.
#[tokio::test]
async fn replies_that_never_end_are_cut() {
    let pause = Duration::from_millis(20);
    let silent = Server::with("127.0.0.1", |mut stream, _| async move {
        let _ = request(&mut stream).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
    })
    .await;
    assert!(matches!(fails(&silent, Request::get(&silent.url("/"))).await, Error::Timeout(Stage::Answering)));

    // A byte at a time: of the head, of the body, of the size of a chunk.
    for first in
        ["HTTP/1.1 200 OK\r\nx: ", "HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"]
    {
        let drip = Server::pouring(first, b"1".to_vec(), pause).await;
        let error = fails(&drip, Request::get(&drip.url("/"))).await;
        assert!(matches!(error, Error::Timeout(Stage::Answering) | Error::Broken(_)), "{first:?}: {error:?}");
    }
    // Far more than is read: a body of 10 GB, of a length that is told, in chunks, or to the end; chunks of one byte; a head; early hints.
    let chunk = format!("8000\r\n{}\r\n", "x".repeat(0x8000)).into_bytes();
    for (first, piece) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 10000000000\r\n\r\n", vec![b'x'; 1 << 16]),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", chunk),
        ("HTTP/1.1 200 OK\r\n\r\n", vec![b'x'; 1 << 16]),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"1\r\nx\r\n".repeat(1000)),
        ("HTTP/1.1 200 OK\r\nx: ", vec![b'x'; 1 << 14]),
        ("HTTP/1.1 200 OK\r\n", b"x: 12345678\r\n".repeat(1000)),
        ("", b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n".repeat(1000)),
    ] {
        let flood = Server::pouring(first, piece, Duration::ZERO).await;
        // Size ends it, long before time does.
        let error = Client::new().send(&flood.destination(), Request::get(&flood.url("/"))).await.unwrap_err();
        assert!(matches!(error, Error::TooLarge | Error::Broken(_)), "{first:?}: {error:?}");
        assert!(!error.nothing_was_sent());
    }
    // The honest twin: a reply of exactly as much as is read, in one piece and in many.
    let whole = "x".repeat(Limits::default().reply);
    let chunks: String = whole.as_bytes().chunks(10).map(|part| format!("{:x}\r\n{}\r\n", part.len(), "x".repeat(part.len()))).collect();
    for reply in [
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{whole}", whole.len()),
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"),
    ] {
        let server = Server::answering(move |_| reply.clone()).await;
        let reply = Client::new().send(&server.destination(), Request::get(&server.url("/"))).await.unwrap();
        assert_eq!(reply.body.len(), whole.len());
    }
    let longer = format!("HTTP/1.1 200 OK\r\ncontent-length: {0}\r\n\r\n{1}x", whole.len() + 1, whole);
    let server = Server::answering(move |_| longer.clone()).await;
    assert!(matches!(fails(&server, Request::get(&server.url("/"))).await, Error::TooLarge));
    // Where the body is not wanted, a long one is no error, and costs no time.
    let flood = Server::pouring("HTTP/1.1 202 Accepted\r\ncontent-length: 10000000000\r\n\r\n", vec![b'x'; 1 << 16], Duration::ZERO).await;
    let reply = Client::new().send(&flood.destination(), Request::post(&flood.url("/"), "x").head_only()).await.unwrap();
    assert_eq!((reply.status.as_u16(), reply.body.len()), (202, 0));
}

/// SSRF-08: a resolver and a connection that never answer.
#[tokio::test]
async fn looking_up_and_connecting_have_an_end() {
    let client = Client::builder().resolver(Silent).build();
    let error = client.send(&short(Destination::public("x")), Request::get("https://app.example/")).await.unwrap_err();
    assert!(matches!(error, Error::Timeout(Stage::Resolving)) && error.nothing_was_sent(), "{error:?}");
    // A server that accepts and never speaks TLS.
    let mute = Server::with("127.0.0.1", |stream, _| async move {
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(stream);
    })
    .await;
    let url = mute.url("/").replace("http:", "https:");
    let error = Client::new().send(&short(mute.destination()), Request::get(&url)).await.unwrap_err();
    assert!(matches!(error, Error::Timeout(Stage::Connecting)), "{error:?}");
    // Nothing listens.
    let closed = mute.destination().ports(&[1]);
    let error = Client::new().send(&closed, Request::get("http://127.0.0.1:1/")).await.unwrap_err();
    assert!(matches!(error, Error::Connect(..)) && error.nothing_was_sent(), "{error:?}");
}

/// SSRF-11: nothing is decompressed; what is no HTTP, or ends too early, is no reply.
#[tokio::test]
async fn compressed_and_broken_replies_are_harmless() {
    let zeros = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\nbomb";
    let server = Server::answering(move |_| zeros.to_owned()).await;
    let reply = Client::new().send(&server.destination(), Request::get(&server.url("/"))).await.unwrap();
    assert_eq!(&reply.body[..], b"bomb");
    for broken in [
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        "HTTP/1.1 999999 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: a\0b\r\n\r\n",
    ] {
        let server = Server::with("127.0.0.1", move |mut stream, _| async move {
            let _ = request(&mut stream).await;
            let _ = stream.write_all(broken.as_bytes()).await;
        })
        .await;
        let error = fails(&server, Request::get(&server.url("/"))).await;
        assert!(matches!(error, Error::Broken(_)), "{broken:?}: {error:?}");
    }
}
