//! The accept loop: connections to requests, each with a bound on its time.

use crate::http::{
    admission::{Admission, Place},
    edge::FromWire,
    replies::Wire,
    stack::Stack,
    tls::Tls,
};
use axum::{
    body::{Body, Bytes, HttpBody},
    http::{Request, Response, header},
};
use futures_util::future::BoxFuture;
use haechi_gate::{Hold, OpenStream};
use haechi_layers::Peer;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::{
    convert::Infallible,
    io::IoSlice,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::Instant,
};
use tokio_rustls::TlsAcceptor;

/// The longest wait for requests in work after shutdown was requested.
const DRAIN: Duration = Duration::from_secs(25);
/// How long a connection may stay open without a request.
const IDLE: Duration = Duration::from_secs(75);
/// The longest time in which a client takes no byte of its reply.
pub const STALLED: Duration = Duration::from_secs(30);
/// How often connections with unread replies are checked.
const LOOK: Duration = Duration::from_secs(5);
const MAX_HEAD_BYTES: usize = 32 * 1024;
const MAX_STREAMS: u32 = 128;
/// What a client of HTTP/2 sends first (RFC 9113 §3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const PREFACE_WAIT: Duration = Duration::from_millis(5);
/// Streams that a client may open and reset before the server has had a chance (CVE-2023-44487).
const MAX_RESETS: usize = 20;

/// Something that is served on a listener.
pub struct Server {
    /// The source of connections.
    pub listener: TcpListener,
    /// A watch, so that `dev` can replace the whole house between two requests.
    pub stack: watch::Receiver<Arc<Stack>>,
    /// With TLS, or in plain text.
    pub tls: Option<Arc<Tls>>,
    /// Decides which connections are accepted.
    pub admission: Admission,
    /// Longest time for a request's head, and for a TLS handshake.
    pub head_ms: u64,
    /// How long a reply may wait without any of it being taken: [`STALLED`], but in tests.
    pub stalled: Duration,
}

impl Server {
    /// Serves until `stop`, then finishes the requests in work.
    pub fn run(self, stop: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let (end, ended) = watch::channel(false);
            let metrics = self.stack.borrow().metrics.clone();
            let watch = self.tls.clone().map(|tls| tokio::spawn(tls.watch(metrics.clone())));
            let (http1, http2) = (http1(self.head_ms), http2());
            let connection =
                Arc::new(Connection { http1, http2, stack: self.stack, tls: self.tls, ended, head_ms: self.head_ms, stalled: self.stalled });
            tokio::pin!(stop);
            loop {
                let accepted = tokio::select! {
                    accepted = self.listener.accept() => accepted,
                    () = &mut stop => break,
                };
                match accepted {
                    Ok((stream, peer)) => {
                        let Some(place) = self.admission.admit(peer.ip()) else {
                            metrics.connection_refused();
                            continue;
                        };
                        let connection = connection.clone();
                        tokio::spawn(connection.serve(stream, peer, Arc::new(place)));
                    }
                    Err(error) => {
                        // Usually out of descriptors: wait for some to be freed instead of spinning.
                        tracing::warn!(target: "haechi::http", %error, "a connection could not be accepted");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                }
            }
            drop(self.listener);
            metrics.drain();
            let _ = end.send(true);
            let _ = tokio::time::timeout(DRAIN, self.admission.emptied()).await;
            if let Some(watch) = watch {
                watch.abort();
            }
        })
    }
}

fn http1(head_ms: u64) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(Duration::from_millis(head_ms)).max_buf_size(MAX_HEAD_BYTES).keep_alive(true);
    builder
}

fn http2() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD_BYTES as u32)
        .max_pending_accept_reset_streams(Some(MAX_RESETS))
        .max_local_error_reset_streams(Some(MAX_RESETS))
        .keep_alive_interval(Some(Duration::from_secs(20)));
    builder
}

/// What a connection speaks.
#[derive(Clone, Copy)]
enum Protocol {
    Http1,
    Http2,
}

/// The protocol by the first bytes, which stay in the stream. `None` when the stream ends before.
async fn protocol_of(stream: &TcpStream) -> Option<Protocol> {
    let mut first = [0; PREFACE.len()];
    loop {
        match stream.peek(&mut first).await {
            Ok(0) | Err(_) => return None,
            Ok(seen) if seen == PREFACE.len() && first == *PREFACE => return Some(Protocol::Http2),
            Ok(seen) if !PREFACE.starts_with(&first[..seen]) => return Some(Protocol::Http1),
            // Only a part has come: the rest is noticed only by reading again.
            Ok(_) => tokio::time::sleep(PREFACE_WAIT).await,
        }
    }
}

/// What all connections are served with.
struct Connection {
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    stack: watch::Receiver<Arc<Stack>>,
    tls: Option<Arc<Tls>>,
    ended: watch::Receiver<bool>,
    head_ms: u64,
    stalled: Duration,
}

impl Connection {
    async fn serve(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, place: Arc<Place>) {
        let _ = stream.set_nodelay(true);
        if let Some(tls) = &self.tls {
            // On the heap: a connection without TLS needs none of it.
            return Box::pin(self.encrypted(tls.acceptor(), stream, peer, place)).await;
        }
        // A connection that sends nothing is closed.
        if let Ok(Some(protocol)) = Box::pin(tokio::time::timeout(self.wait(), protocol_of(&stream))).await {
            self.requests(protocol, stream, peer, place).await;
        }
    }

    async fn encrypted(&self, acceptor: TlsAcceptor, stream: TcpStream, peer: SocketAddr, place: Arc<Place>) {
        if let Ok(Ok(stream)) = Box::pin(tokio::time::timeout(self.wait(), acceptor.accept(stream))).await {
            let agreed = stream.get_ref().1.alpn_protocol();
            let protocol = if agreed == Some(b"h2") { Protocol::Http2 } else { Protocol::Http1 };
            self.requests(protocol, stream, peer, place).await;
        }
    }

    /// The time limit for the first request, and for a request's head.
    fn wait(&self) -> Duration {
        Duration::from_millis(self.head_ms)
    }

    async fn requests(&self, protocol: Protocol, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, peer: SocketAddr, place: Arc<Place>) {
        let (stack, used) = (self.stack.clone(), Arc::new(Use::new()));
        let metrics = stack.borrow().metrics.clone();
        metrics.connection_opened();
        // A declared proxy carries many clients: waiting bytes count for the client, not for the connection.
        let wire = Wire::new(!stack.borrow().trusts(peer.ip()));
        let of_wire = FromWire(wire.clone());
        let end = End { used: used.clone(), wire: wire.clone(), ended: self.ended.clone(), wait: self.wait(), protocol, stalled: self.stalled };
        let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            // A task that takes the connection over keeps its place.
            if request.headers().contains_key(header::UPGRADE) {
                request.extensions_mut().insert(Hold(place.clone()));
            }
            let (stack, used) = (stack.borrow().clone(), used.clone());
            let in_use = InUse::new(used);
            // On the heap while in work, so that an idle connection needs no room for a request.
            request.extensions_mut().insert(of_wire.clone());
            Box::pin(async move {
                let response: Response<Body> = stack.handle(request.map(Body::new), Peer(peer.ip())).await;
                // A stream keeps its connection in use until it ends.
                let goes_on = response.extensions().get::<OpenStream>().is_some();
                Ok::<_, Infallible>(if goes_on { response.map(|body| Body::new(Held { body, _held: in_use })) } else { response })
            })
        });
        let stream = TokioIo::new(Counting { stream, wire });
        let stalled = match protocol {
            Protocol::Http1 => {
                let connection = self.http1.serve_connection(stream, service).with_upgrades();
                end.of(connection, http1::UpgradeableConnection::graceful_shutdown).await
            }
            Protocol::Http2 => {
                let connection = self.http2.serve_connection(stream, service);
                Box::pin(end.of(connection, http2::Connection::graceful_shutdown)).await
            }
        };
        if stalled {
            metrics.connection_stalled();
        }
        metrics.connection_closed();
    }
}

/// Ends a connection that does not end by itself.
struct End {
    used: Arc<Use>,
    wire: Arc<Wire>,
    protocol: Protocol,
    ended: watch::Receiver<bool>,
    /// For the first request.
    wait: Duration,
    stalled: Duration,
}

impl End {
    /// Serves the connection until its end; `true` when it was ended because a reply was not read.
    async fn of<C: Future>(mut self, connection: C, graceful_shutdown: impl Fn(Pin<&mut C>)) -> bool {
        tokio::pin!(connection);
        // Both are registered once and checked lazily: a timer for each request would cost as much as parsing it.
        let ended = self.ended.wait_for(|ended| *ended);
        let look = tokio::time::sleep(self.wait);
        tokio::pin!(ended, look);
        let mut flow = Flow { wire: self.wire, protocol: self.protocol, written: 0, since: Instant::now(), stalled: self.stalled };
        // How long it may stay: for its first request, for its next one, or for the replies in progress.
        let (mut closing, mut until) = (false, Instant::now() + self.wait);
        loop {
            tokio::select! {
                _ = connection.as_mut() => return false,
                _ = &mut ended, if !closing => {
                    closing = true;
                    graceful_shutdown(connection.as_mut());
                    until = Instant::now() + IDLE;
                }
                () = &mut look => {
                    if flow.stalled() {
                        return true;
                    }
                    if Instant::now() >= until {
                        // A client that has sent no request is closed, and so is one that does not read the last replies.
                        if closing || !self.used.met() {
                            return false;
                        }
                        closing = self.used.is_idle();
                        if closing {
                            graceful_shutdown(connection.as_mut());
                        }
                        until = if closing { Instant::now() } else { self.used.idle_since() } + IDLE;
                    }
                    look.as_mut().reset(until.min(Instant::now() + LOOK.min(self.stalled)));
                }
            }
        }
    }
}

/// Whether the client takes what is sent.
struct Flow {
    wire: Arc<Wire>,
    protocol: Protocol,
    /// Bytes written at the last check, and the time since when the number has not grown.
    written: u64,
    since: Instant,
    stalled: Duration,
}

impl Flow {
    fn stalled(&mut self) -> bool {
        let written = self.wire.written.load(Ordering::Relaxed);
        if written != self.written {
            (self.written, self.since) = (written, Instant::now());
        }
        // HTTP/1.1 has one reply at a time, so any byte taken belongs to it. With HTTP/2 other replies may be read meanwhile.
        let still = matches!(self.protocol, Protocol::Http2) || self.since.elapsed() >= self.stalled;
        still && self.wire.stalled(self.stalled)
    }
}

/// A stream that counts what is written.
struct Counting<S> {
    stream: S,
    wire: Arc<Wire>,
}

impl<S> Counting<S> {
    fn count(&self, written: &Poll<std::io::Result<usize>>) {
        if let Poll::Ready(Ok(bytes)) = written {
            self.wire.written.fetch_add(*bytes as u64, Ordering::Relaxed);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counting<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counting<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.count(&written);
        written
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[IoSlice<'_>]) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.count(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A body that holds something until it has ended.
struct Held<T> {
    body: Body,
    _held: T,
}

impl<T: Unpin> HttpBody for Held<T> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A request of a connection, until it is answered or given up.
struct InUse(Arc<Use>);

impl InUse {
    fn new(used: Arc<Use>) -> Self {
        used.begin();
        Self(used)
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Whether a connection is in use.
struct Use {
    began: Instant,
    in_work: AtomicU32,
    /// When the last request began or ended, milliseconds after the connection.
    last_ms: AtomicU64,
}

impl Use {
    fn new() -> Self {
        Self { began: Instant::now(), in_work: AtomicU32::new(0), last_ms: AtomicU64::new(0) }
    }

    fn mark(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(now.max(1), Ordering::Relaxed);
    }

    fn begin(&self) {
        self.in_work.fetch_add(1, Ordering::Relaxed);
        self.mark();
    }

    fn end(&self) {
        self.in_work.fetch_sub(1, Ordering::Relaxed);
        self.mark();
    }

    /// Whether there was a request.
    fn met(&self) -> bool {
        self.in_work.load(Ordering::Relaxed) > 0 || self.last_ms.load(Ordering::Relaxed) > 0
    }

    /// When it was used last; now, while a request is in work.
    fn idle_since(&self) -> Instant {
        if self.in_work.load(Ordering::Relaxed) > 0 {
            return Instant::now();
        }
        self.began + Duration::from_millis(self.last_ms.load(Ordering::Relaxed))
    }

    fn is_idle(&self) -> bool {
        self.in_work.load(Ordering::Relaxed) == 0 && self.idle_since().elapsed() >= IDLE
    }
}
