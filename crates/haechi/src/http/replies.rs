//! Replies being sent: each keeps its request's place until it is sent, and the bytes that wait for clients are bounded.

use crate::http::shares::Share;
use axum::{
    body::{Body, Bytes, HttpBody},
    http::Response,
};
use hyper::body::{Frame, SizeHint};
use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hash},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};
use tokio::sync::OwnedSemaphorePermit;

/// A body leaves in pieces of at most so many bytes.
const PIECE: usize = 64 * 1024;
/// Replies up to here are not counted: the places of their requests bound them.
const SMALL: usize = 4 * 1024;
/// The share of one caller or network, and of one connection, in the bytes that may wait.
const OF_ONE: usize = 4;
const OF_A_CONNECTION: usize = 8;
/// Number of counters; readers may share one. A secret of the process decides which counter a reader gets.
const COUNTERS: usize = 16_384;

/// Bytes that wait for clients to read them: in all, of each caller or network, of each connection.
pub(crate) struct Unread {
    all: AtomicUsize,
    parts: Box<[AtomicUsize]>,
    hasher: RandomState,
    most: usize,
}

/// The reader whose bytes are counted.
#[derive(Clone)]
pub(crate) struct Reader {
    part: usize,
    wire: Option<Arc<Wire>>,
}

impl Unread {
    /// With room for so many bytes.
    pub(crate) fn new(most: usize) -> Self {
        Self { all: AtomicUsize::new(0), parts: (0..COUNTERS).map(|_| AtomicUsize::new(0)).collect(), hasher: RandomState::new(), most }
    }

    /// A reader: a caller or a network, on a connection.
    pub(crate) fn reader(&self, who: impl Hash, wire: Option<Arc<Wire>>) -> Reader {
        Reader { part: (self.hasher.hash_one(who) % COUNTERS as u64) as usize, wire }
    }

    /// Bytes that wait now.
    pub(crate) fn bytes(&self) -> usize {
        self.all.load(Ordering::Relaxed)
    }

    /// Whether there is room for a reply. While nothing waits for the reader there is always room for one.
    pub(crate) fn has_room(&self, reader: &Reader, bytes: usize) -> bool {
        let fits = |waiting: usize, most: usize| waiting == 0 || waiting < most && waiting.saturating_add(bytes) <= most;
        let of_wire = reader
            .wire
            .as_ref()
            .filter(|wire| wire.bounded)
            .is_none_or(|wire| fits(wire.unread.load(Ordering::Relaxed), self.most / OF_A_CONNECTION));
        of_wire && fits(self.parts[reader.part].load(Ordering::Relaxed), self.most / OF_ONE) && fits(self.bytes(), self.most)
    }

    /// Counts bytes until they are sent.
    pub(crate) fn count(self: &Arc<Self>, reader: Reader, bytes: usize) -> Counted {
        let counted = Counted { unread: self.clone(), reader, bytes: AtomicUsize::new(0) };
        counted.add(bytes);
        counted
    }
}

/// Bytes of one reply that were not sent yet.
pub(crate) struct Counted {
    unread: Arc<Unread>,
    reader: Reader,
    bytes: AtomicUsize,
}

impl Counted {
    fn counters(&self) -> impl Iterator<Item = &AtomicUsize> {
        [&self.unread.all, &self.unread.parts[self.reader.part]].into_iter().chain(self.reader.wire.as_ref().map(|wire| &wire.unread))
    }

    fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        for counter in self.counters() {
            counter.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    fn sent(&self, bytes: usize) {
        let before = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left.saturating_sub(bytes))).unwrap_or_default();
        let bytes = bytes.min(before);
        for counter in self.counters() {
            counter.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.sent(usize::MAX);
    }
}

/// Whether the next step is ours or the client's: to send something, or to take it.
#[derive(Clone, Copy)]
enum Turn {
    Ours,
    Theirs(Instant),
}

/// The state of a connection that its replies share.
pub(crate) struct Wire {
    unread: AtomicUsize,
    /// A declared proxy carries replies of many clients on one connection.
    bounded: bool,
    replies: Mutex<Vec<Option<Turn>>>,
    /// Bytes that were written; it may wrap.
    pub(crate) written: AtomicU64,
}

impl Wire {
    pub(crate) fn new(bounded: bool) -> Arc<Self> {
        Arc::new(Self { unread: AtomicUsize::new(0), bounded, replies: Mutex::default(), written: AtomicU64::new(0) })
    }

    /// Whether a reply has waited for longer than that while no byte of it was taken.
    pub(crate) fn stalled(&self, longer: Duration) -> bool {
        self.replies().iter().flatten().any(|turn| matches!(turn, Turn::Theirs(since) if since.elapsed() >= longer))
    }

    fn replies(&self) -> MutexGuard<'_, Vec<Option<Turn>>> {
        self.replies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ticket(self: &Arc<Self>) -> Ticket {
        let mut replies = self.replies();
        let turn = Some(Turn::Theirs(Instant::now()));
        let at = match replies.iter().position(Option::is_none) {
            Some(free) => {
                replies[free] = turn;
                free
            }
            None => {
                replies.push(turn);
                replies.len() - 1
            }
        };
        Ticket { wire: self.clone(), at }
    }
}

/// A reply of a connection.
struct Ticket {
    wire: Arc<Wire>,
    at: usize,
}

impl Ticket {
    fn turn(&self, turn: Turn) {
        self.wire.replies()[self.at] = Some(turn);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.wire.replies()[self.at] = None;
    }
}

/// The places that a request takes, until its reply was sent.
#[derive(Default)]
pub(crate) struct Places {
    pub(crate) slot: Option<OwnedSemaphorePermit>,
    pub(crate) anonymous: Option<OwnedSemaphorePermit>,
    pub(crate) page: Option<OwnedSemaphorePermit>,
    pub(crate) share: Option<Share>,
    pub(crate) counted: Option<Counted>,
    /// The caller, where requests are logged.
    pub(crate) who: Option<haechi_gate::Caller>,
}

/// What is held until a reply was sent.
struct Held {
    places: Places,
    ticket: Option<Ticket>,
}

impl Held {
    fn turn(&self, turn: Turn) {
        if let Some(ticket) = &self.ticket {
            ticket.turn(turn);
        }
    }
}

/// Small replies are sent with their body; pieces of longer ones may still wait when the body has ended.
enum Until {
    Body(Held),
    LastPiece(Arc<Held>),
}

impl Until {
    fn held(&self) -> &Held {
        match self {
            Self::Body(held) => held,
            Self::LastPiece(held) => held,
        }
    }
}

/// Lets a reply keep the places of its request until it was sent.
pub(crate) fn sent_with(response: Response<Body>, places: Places, wire: Option<Arc<Wire>>) -> Response<Body> {
    if response.body().is_end_stream() {
        return response;
    }
    response.map(|body| {
        let held = Held { places, ticket: wire.map(|wire| wire.ticket()) };
        let small = body.size_hint().exact().is_some_and(|bytes| bytes <= SMALL as u64);
        let until = if small { Until::Body(held) } else { Until::LastPiece(Arc::new(held)) };
        let expected = until.held().places.counted.as_ref().map_or(0, |counted| counted.bytes.load(Ordering::Relaxed));
        Body::new(Reply { body, rest: Bytes::new(), until, expected })
    })
}

/// The number of waiting bytes of a reply, when it is known before sending.
pub(crate) fn bytes_of(response: &Response<Body>) -> Option<usize> {
    response.body().size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok())
}

/// Whether a reply of so many bytes is counted.
pub(crate) fn is_counted(bytes: usize) -> bool {
    bytes > SMALL
}

struct Reply {
    body: Body,
    /// The rest of the body's last frame.
    rest: Bytes,
    until: Until,
    /// Bytes that are counted already and have not arrived yet.
    expected: usize,
}

impl Reply {
    fn piece(&mut self) -> Frame<Bytes> {
        let bytes = self.rest.split_to(self.rest.len().min(PIECE));
        self.until.held().turn(Turn::Theirs(Instant::now()));
        Frame::data(match &self.until {
            Until::Body(_) => bytes,
            Until::LastPiece(held) => Bytes::from_owner(Piece { bytes, held: held.clone() }),
        })
    }
}

impl HttpBody for Reply {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            let next = Pin::new(&mut self.body).poll_frame(cx);
            if next.is_pending() {
                self.until.held().turn(Turn::Ours);
            }
            match ready!(next) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) if bytes.is_empty() => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                    Ok(bytes) => {
                        let met = bytes.len().min(self.expected);
                        self.expected -= met;
                        if let Some(counted) = &self.until.held().places.counted {
                            counted.add(bytes.len() - met);
                        }
                        self.rest = bytes;
                    }
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                other => return Poll::Ready(other),
            }
        }
        Poll::Ready(Some(Ok(self.piece())))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (inner, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower() + rest);
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

/// A part of a body, until it was written.
struct Piece {
    bytes: Bytes,
    held: Arc<Held>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if let Some(counted) = &self.held.places.counted {
            counted.sent(self.bytes.len());
        }
        self.held.turn(Turn::Theirs(Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::to_bytes;
    use http_body_util::BodyExt;

    fn reply(bytes: usize) -> Response<Body> {
        Response::new(Body::from(vec![b'x'; bytes]))
    }

    /// [V15.2.2] bytes that wait are bounded of one, of a connection, and in all; where nothing waits one reply always passes.
    #[test]
    fn what_waits_is_bounded() {
        let unread = Arc::new(Unread::new(800));
        let (first, second) = (Wire::new(true), Wire::new(true));
        let on = |who: &str, wire: &Arc<Wire>| unread.reader(who, Some(wire.clone()));
        assert!(unread.has_room(&on("kim", &first), 10_000), "alone");
        let held = unread.count(on("kim", &first), 100);
        assert!(!unread.has_room(&on("kim", &first), 1), "a connection has an eighth");
        assert!(unread.has_room(&on("kim", &second), 100) && !unread.has_room(&on("kim", &second), 101));
        let more = unread.count(on("kim", &second), 100);
        assert!(!unread.has_room(&on("kim", &Wire::new(true)), 1), "one has a quarter");
        assert!(unread.has_room(&on("lee", &Wire::new(true)), 600) && !unread.has_room(&on("lee", &Wire::new(true)), 601));
        drop((held, more));
        assert_eq!((unread.bytes(), first.unread.load(Ordering::Relaxed)), (0, 0));
        assert!(unread.has_room(&on("kim", &first), 1));
    }

    #[tokio::test]
    async fn a_reply_keeps_its_place_until_its_last_piece_is_written() {
        let slots = Arc::new(tokio::sync::Semaphore::new(1));
        let unread = Arc::new(Unread::new(1 << 30));
        let wire = Wire::new(true);
        for bytes in [1, SMALL, SMALL + 1, PIECE, 3 * PIECE + 1] {
            let places = Places {
                slot: slots.clone().try_acquire_owned().ok(),
                counted: is_counted(bytes).then(|| unread.count(unread.reader("kim", Some(wire.clone())), bytes)),
                ..Places::default()
            };
            let mut body = sent_with(reply(bytes), places, Some(wire.clone())).into_body();
            assert_eq!(body.size_hint().exact(), Some(bytes as u64));
            assert_eq!(unread.bytes(), if is_counted(bytes) { bytes } else { 0 });
            let mut pieces = Vec::new();
            while let Some(frame) = body.frame().await {
                pieces.push(frame.unwrap().into_data().unwrap());
            }
            assert!(pieces.iter().all(|piece| piece.len() <= PIECE) && pieces.iter().map(Bytes::len).sum::<usize>() == bytes);
            assert!(slots.available_permits() == 0 && wire.stalled(Duration::ZERO));
            drop(body);
            assert_eq!(slots.available_permits(), usize::from(!is_counted(bytes)), "{bytes}: what waits in the connection holds its place");
            drop(pieces);
            assert_eq!((slots.available_permits(), unread.bytes()), (1, 0));
            assert!(!wire.stalled(Duration::ZERO));
        }
    }

    /// A stream that has nothing to say does not stall; one that is not read does.
    #[tokio::test]
    async fn a_stream_stalls_only_when_it_is_not_read() {
        let (send, receive) = tokio::sync::mpsc::channel::<Result<Bytes, axum::Error>>(4);
        let stream = futures_util::stream::unfold(receive, |mut receive| async move { receive.recv().await.map(|item| (item, receive)) });
        let (unread, wire) = (Arc::new(Unread::new(1 << 20)), Wire::new(true));
        let counted = Some(unread.count(unread.reader("kim", Some(wire.clone())), 0));
        let response = sent_with(Response::new(Body::from_stream(stream)), Places { counted, ..Places::default() }, Some(wire.clone()));
        let mut body = response.into_body();
        assert!(wire.stalled(Duration::ZERO), "nobody has asked for it yet");
        assert!(futures_util::poll!(body.frame()).is_pending() && !wire.stalled(Duration::ZERO));
        send.send(Ok(Bytes::from(vec![b'x'; PIECE + 1]))).await.unwrap();
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(wire.stalled(Duration::ZERO) && unread.bytes() == PIECE + 1);
        drop(first);
        assert_eq!(unread.bytes(), 1);
        drop(send);
        assert_eq!(to_bytes(body, 10).await.unwrap().len(), 1);
        assert_eq!(unread.bytes(), 0);
    }
}
