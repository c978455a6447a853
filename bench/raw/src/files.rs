//! A bare file server over hyper: reads the file for each request, and sends it with its length and type. No tags, no policy, no checks.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{convert::Infallible, path::PathBuf, sync::Arc};

pub(crate) async fn run(folder: &str, address: &str) {
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let folder = Arc::new(PathBuf::from(folder));
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let folder = folder.clone();
        tokio::spawn(async move {
            let serve = service_fn(move |request: Request<Incoming>| {
                let file = folder.join(request.uri().path().trim_start_matches('/'));
                async move {
                    let bytes = tokio::fs::read(file).await.unwrap_or_default();
                    let reply = Response::builder().header("content-type", "text/javascript").header("content-length", bytes.len());
                    Ok::<_, Infallible>(reply.body(Full::new(Bytes::from(bytes))).unwrap())
                }
            });
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), serve).await;
        });
    }
}
