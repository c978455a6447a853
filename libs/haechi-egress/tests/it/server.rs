//! Servers that say what a test wants, and resolvers that answer what a test wants.

use futures_util::future::BoxFuture;
use haechi_egress::{Destination, Network, Resolve};
use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
};

pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A server on loopback.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    seen: Arc<Mutex<Vec<String>>>,
}

/// Reads one request: head, and as much of a body as its length says.
pub(crate) async fn request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut seen = Vec::new();
    loop {
        let mut byte = [0; 1024];
        match stream.read(&mut byte).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => seen.extend_from_slice(&byte[..read]),
        }
        let text = String::from_utf8_lossy(&seen).into_owned();
        let Some(end) = text.find("\r\n\r\n") else { continue };
        let length = text.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned));
        let length: usize = length.map_or(0, |length| length.parse().unwrap());
        if seen.len() >= end + 4 + length {
            return Some(text);
        }
    }
}

impl Server {
    /// Answers each request with what the function says of it; several requests of a connection one after the other.
    pub(crate) async fn answering(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        Self::at("127.0.0.1", answer).await
    }

    pub(crate) async fn at(ip: &str, answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        let answer = Arc::new(answer);
        Self::with(ip, move |mut stream, seen| {
            let answer = answer.clone();
            async move {
                while let Some(request) = request(&mut stream).await {
                    let said = answer(&request);
                    seen.lock().unwrap().push(request);
                    if said.is_empty() || stream.write_all(said.as_bytes()).await.is_err() {
                        break;
                    }
                }
            }
        })
        .await
    }

    /// Hands each connection to the function.
    pub(crate) async fn with<F>(ip: &str, serve: impl Fn(tokio::net::TcpStream, Arc<Mutex<Vec<String>>>) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind((ip, 0)).await.unwrap();
        let server = Self { address: listener.local_addr().unwrap(), connections: Arc::default(), seen: Arc::default() };
        let (connections, seen) = (server.connections.clone(), server.seen.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, seen.clone()));
            }
        });
        server
    }

    /// Writes the same bytes again and again, a pause between, after the first bytes of a reply.
    pub(crate) async fn pouring(first: &'static str, piece: Vec<u8>, pause: std::time::Duration) -> Self {
        Self::with("127.0.0.1", move |mut stream, seen| {
            let piece = piece.clone();
            async move {
                let Some(request) = request(&mut stream).await else { return };
                seen.lock().unwrap().push(request);
                if stream.write_all(first.as_bytes()).await.is_err() {
                    return;
                }
                while stream.write_all(&piece).await.is_ok() {
                    if pause.is_zero() { tokio::task::yield_now().await } else { tokio::time::sleep(pause).await }
                }
            }
        })
        .await
    }

    /// How many connections it has seen.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// The requests that it has seen.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    /// Its URL, by address.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What allows exactly this server, by its address.
    pub(crate) fn destination(&self) -> Destination {
        private(&self.address.ip().to_string(), self.address.port(), &[&self.address.ip().to_string()])
    }
}

pub(crate) fn private(host: &str, port: u16, networks: &[&str]) -> Destination {
    let networks: Vec<Network> = networks.iter().map(|text| text.parse().unwrap()).collect();
    Destination::private("test", host, port, &networks)
}

/// A resolver that gives its answers one after the other, and the last one from then on.
#[derive(Clone)]
pub(crate) struct Answers(Arc<(Vec<Vec<IpAddr>>, AtomicUsize)>);

impl Answers {
    pub(crate) fn new(answers: &[&[&str]]) -> Self {
        let answers = answers.iter().map(|one| one.iter().map(|text| text.parse().unwrap()).collect()).collect();
        Self(Arc::new((answers, AtomicUsize::new(0))))
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        self.0.1.load(Ordering::SeqCst)
    }
}

impl Resolve for Answers {
    fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let at = self.0.1.fetch_add(1, Ordering::SeqCst);
            let answers = &self.0.0;
            Ok(answers.get(at).or(answers.last()).cloned().unwrap_or_default())
        })
    }
}

/// A name that is never found.
pub(crate) struct Silent;

impl Resolve for Silent {
    fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(std::future::pending())
    }
}

/// Serves TLS on a stream, and answers one request.
pub(crate) async fn over_tls(stream: tokio::net::TcpStream, config: Arc<rustls::ServerConfig>) {
    let Ok(stream) = tokio_rustls::TlsAcceptor::from(config).accept(stream).await else { return };
    answer_ok(stream).await;
}

async fn answer_ok(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    while request(&mut stream).await.is_some() {
        if stream.write_all(OK.as_bytes()).await.is_err() {
            break;
        }
    }
}
