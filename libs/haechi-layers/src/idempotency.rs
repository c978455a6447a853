//! `Idempotency-Key` for services without a transaction for it: a request happens at most once per key.

use crate::service::{refuse, whole};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body;
use http_body_util::{BodyExt, Limited};
use std::{
    collections::{HashMap, VecDeque, hash_map::RandomState},
    future::Future,
    hash::BuildHasher,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tower_service::Service;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

const KEY: &str = "idempotency-key";
const REPLAYED: &str = "idempotency-replayed";
const MAX_KEY_BYTES: usize = 255;
/// One caller may have this part of all keys.
const CALLER_SHARE: usize = 8;

/// What is kept of a reply.
#[derive(Clone, Debug)]
struct Kept {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Kept {
    fn bytes(&self) -> usize {
        self.body.len() + self.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>()
    }
}

enum State {
    /// It is being done.
    InWork,
    /// It was done; later requests get the same reply.
    Done(Kept),
    /// It was begun and its outcome is unknown: it is not begun again.
    Unknown,
}

struct Entry {
    fingerprint: [u64; 2],
    caller: u64,
    state: State,
    until: Instant,
    /// Tells this entry from earlier ones of the same key.
    number: u64,
}

/// Bounds of what is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remembering {
    /// Keys at once; the oldest finished one makes room. One caller has an eighth of them at most.
    pub keys: usize,
    /// How long a key is remembered, milliseconds.
    pub keep_ms: u64,
    /// Largest body of a request with a key, and of a reply that is kept.
    pub body_bytes: usize,
    /// Bytes of all replies that are kept, with their headers; the oldest make room.
    pub kept_bytes: usize,
}

impl Default for Remembering {
    fn default() -> Self {
        Self { keys: 10_000, keep_ms: 24 * 3_600_000, body_bytes: 256 << 10, kept_bytes: 64 << 20 }
    }
}

#[derive(Default)]
struct Entries {
    by_key: HashMap<[u64; 2], Entry>,
    /// Oldest first, each with its number; entries with an older number than their key's are outdated.
    order: VecDeque<([u64; 2], u64)>,
    /// How many keys each caller has.
    callers: HashMap<u64, usize>,
    numbers: u64,
    kept_bytes: usize,
}

impl Entries {
    fn is_live(&self, (key, number): &([u64; 2], u64)) -> bool {
        self.by_key.get(key).is_some_and(|entry| entry.number == *number)
    }

    fn remove(&mut self, key: &[u64; 2]) {
        let Some(entry) = self.by_key.remove(key) else { return };
        if let State::Done(kept) = &entry.state {
            self.kept_bytes -= kept.bytes();
        }
        if let Some(count) = self.callers.get_mut(&entry.caller) {
            *count -= 1;
            if *count == 0 {
                self.callers.remove(&entry.caller);
            }
        }
    }

    /// Forgets expired keys, and keeps the order as short as the map.
    fn tidy(&mut self, now: Instant, most: usize) {
        while let Some(oldest) = self.order.front().copied() {
            if self.is_live(&oldest) {
                if self.by_key.get(&oldest.0).is_some_and(|entry| entry.until > now) {
                    break;
                }
                self.remove(&oldest.0);
            }
            self.order.pop_front();
        }
        if self.order.len() > 2 * most + 16 {
            let order = std::mem::take(&mut self.order);
            self.order = order.into_iter().filter(|entry| self.is_live(entry)).collect();
        }
    }

    /// Forgets the oldest finished key, or else the oldest with an unknown outcome. Keys in work stay.
    fn make_room(&mut self, of: Option<u64>) -> bool {
        let is = |at: &([u64; 2], u64), wanted: fn(&State) -> bool| {
            self.is_live(at) && self.by_key.get(&at.0).is_some_and(|entry| wanted(&entry.state) && of.is_none_or(|caller| entry.caller == caller))
        };
        let done = self.order.iter().position(|at| is(at, |state| matches!(state, State::Done(_))));
        let unknown = || self.order.iter().position(|at| is(at, |state| matches!(state, State::Unknown)));
        let Some(at) = done.or_else(unknown) else { return false };
        if let Some((key, _)) = self.order.remove(at) {
            self.remove(&key);
        }
        true
    }
}

/// Finds the caller of a request: two callers may choose the same key.
type CallerOf<B> = dyn Fn(&Request<B>) -> Option<String> + Send + Sync;

/// Lets a request with an `Idempotency-Key` happen at most once in this process; a repeated request gets the first reply.
///
/// Only successes are kept: a refused request may be sent again with the same key. A request with an unknown outcome (its client went away,
/// its service failed) is answered 409 from then on: at most once, not at least once.
pub struct IdempotencyLayer<B> {
    caller: Arc<CallerOf<B>>,
    memory: Arc<Memory>,
}

struct Memory {
    bounds: Remembering,
    hashers: [RandomState; 2],
    entries: Mutex<Entries>,
}

impl<B> IdempotencyLayer<B> {
    /// `caller` names the caller of a request; without a caller a key is refused.
    pub fn new(bounds: Remembering, caller: impl Fn(&Request<B>) -> Option<String> + Send + Sync + 'static) -> Self {
        let memory = Memory { bounds, hashers: [RandomState::new(), RandomState::new()], entries: Mutex::default() };
        Self { caller: Arc::new(caller), memory: Arc::new(memory) }
    }
}

impl<B> Clone for IdempotencyLayer<B> {
    fn clone(&self) -> Self {
        Self { caller: self.caller.clone(), memory: self.memory.clone() }
    }
}

impl<S, B> tower_layer::Layer<S> for IdempotencyLayer<B> {
    type Service = Idempotent<S, B>;

    fn layer(&self, inner: S) -> Idempotent<S, B> {
        Idempotent { inner, layer: self.clone() }
    }
}

/// A service behind [`IdempotencyLayer`].
pub struct Idempotent<S, B> {
    inner: S,
    layer: IdempotencyLayer<B>,
}

impl<S: Clone, B> Clone for Idempotent<S, B> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), layer: self.layer.clone() }
    }
}

enum Begun {
    Yes(Running),
    Replay(Kept),
    Refused(StatusCode, &'static str),
}

/// A key in work; dropped without an outcome it becomes `Unknown`.
struct Running {
    memory: Arc<Memory>,
    key: [u64; 2],
    number: u64,
    ended: bool,
}

impl Running {
    fn end(mut self, kept: Option<Kept>) {
        self.ended = true;
        let mut entries = self.memory.lock();
        if !entries.is_live(&(self.key, self.number)) {
            return;
        }
        match kept {
            Some(kept) => {
                let bytes = kept.bytes();
                if let Some(entry) = entries.by_key.get_mut(&self.key) {
                    entry.state = State::Done(kept);
                    entries.kept_bytes += bytes;
                }
                while entries.kept_bytes > self.memory.bounds.kept_bytes && entries.make_room(None) {}
            }
            None => entries.remove(&self.key),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let mut entries = self.memory.lock();
        if entries.is_live(&(self.key, self.number))
            && let Some(entry) = entries.by_key.get_mut(&self.key)
        {
            entry.state = State::Unknown;
        }
    }
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// 128 bits under secrets of the process: nobody can find a collision.
    fn hash(&self, parts: &[&[u8]]) -> [u64; 2] {
        [self.hashers[0].hash_one(parts), self.hashers[1].hash_one(parts)]
    }

    fn begin(self: &Arc<Self>, caller: u64, key: [u64; 2], fingerprint: [u64; 2]) -> Begun {
        let (now, mut entries) = (Instant::now(), self.lock());
        entries.tidy(now, self.bounds.keys);
        if let Some(entry) = entries.by_key.get(&key) {
            return match &entry.state {
                _ if entry.fingerprint != fingerprint => {
                    Begun::Refused(StatusCode::UNPROCESSABLE_ENTITY, "the idempotency key belongs to another request")
                }
                State::InWork => Begun::Refused(StatusCode::CONFLICT, "a request with this idempotency key is in work"),
                State::Unknown => Begun::Refused(StatusCode::CONFLICT, "how the request with this idempotency key ended is not known"),
                State::Done(kept) => Begun::Replay(kept.clone()),
            };
        }
        // A caller with many keys makes room among their own keys, so nobody pushes out keys of others.
        let share = (self.bounds.keys / CALLER_SHARE).max(1);
        let full = entries.callers.get(&caller).is_some_and(|count| *count >= share) && !entries.make_room(Some(caller));
        if full || entries.by_key.len() >= self.bounds.keys && !entries.make_room(None) {
            return Begun::Refused(StatusCode::SERVICE_UNAVAILABLE, "too many idempotency keys are in work");
        }
        *entries.callers.entry(caller).or_default() += 1;
        entries.numbers += 1;
        let (number, until) = (entries.numbers, now + Duration::from_millis(self.bounds.keep_ms));
        entries.by_key.insert(key, Entry { fingerprint, caller, state: State::InWork, until, number });
        entries.order.push_back((key, number));
        Begun::Yes(Running { memory: self.clone(), key, number, ended: false })
    }
}

impl<S, B, R> Service<Request<B>> for Idempotent<S, B>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send,
    B: Body<Data = Bytes> + From<Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    R: Body<Data = Bytes> + From<&'static str> + From<Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE);
        if safe || !request.headers().contains_key(KEY) {
            return Box::pin(self.inner.call(request));
        }
        let refused = |status, text| -> Self::Future { Box::pin(std::future::ready(Ok(refuse(status, text)))) };
        let mut keys = request.headers().get_all(KEY).iter();
        let key = keys.next().map(HeaderValue::as_bytes).unwrap_or_default().to_vec();
        let visible = key.iter().all(|byte| (0x21..=0x7e).contains(byte));
        if keys.next().is_some() || key.is_empty() || key.len() > MAX_KEY_BYTES || !visible {
            return refused(StatusCode::BAD_REQUEST, "Idempotency-Key must be one header of 1 to 255 visible ASCII characters");
        }
        let Some(caller) = (self.layer.caller)(&request) else {
            return refused(StatusCode::UNAUTHORIZED, "an idempotency key needs a caller that is known");
        };
        let (fresh, memory) = (self.inner.clone(), self.layer.memory.clone());
        let inner = std::mem::replace(&mut self.inner, fresh);
        Box::pin(once(inner, request, memory, caller, key))
    }
}

async fn once<S, B, R>(mut inner: S, request: Request<B>, memory: Arc<Memory>, caller: String, key: Vec<u8>) -> Result<Response<R>, S::Error>
where
    S: Service<Request<B>, Response = Response<R>>,
    B: Body<Data = Bytes> + From<Bytes>,
    B::Error: Into<BoxError>,
    R: Body<Data = Bytes> + From<&'static str> + From<Bytes>,
    R::Error: Into<BoxError>,
{
    let (parts, body) = request.into_parts();
    let body = match whole(body, memory.bounds.body_bytes, "the body is too large for an idempotency key").await {
        Ok(body) => body,
        Err((status, text)) => return Ok(refuse(status, text)),
    };
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let fingerprint = memory.hash(&[parts.method.as_str().as_bytes(), path.as_bytes(), &body]);
    let key = memory.hash(&[caller.as_bytes(), &key]);
    let [caller, _] = memory.hash(&[caller.as_bytes()]);
    let running = match memory.begin(caller, key, fingerprint) {
        Begun::Refused(status, text) => {
            let mut response = refuse(status, text);
            if status == StatusCode::SERVICE_UNAVAILABLE {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            return Ok(response);
        }
        Begun::Replay(kept) => {
            let mut response = Response::new(R::from(kept.body));
            (*response.status_mut(), *response.headers_mut()) = (kept.status, kept.headers);
            response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
            return Ok(response);
        }
        Begun::Yes(running) => running,
    };
    let response = inner.call(Request::from_parts(parts, B::from(body))).await?;
    if !response.status().is_success() && !response.status().is_redirection() {
        // A failed or timed-out service may have done its work: the outcome is unknown.
        if response.status().is_client_error() && response.status() != StatusCode::REQUEST_TIMEOUT {
            running.end(None);
        }
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let Ok(body) = Limited::new(body, memory.bounds.body_bytes).collect().await else {
        return Ok(refuse(StatusCode::INTERNAL_SERVER_ERROR, "the reply is too large to be kept for its idempotency key"));
    };
    let body = body.to_bytes();
    let mut headers = parts.headers.clone();
    // Credentials are sent only once.
    headers.remove(header::SET_COOKIE);
    running.end(Some(Kept { status: parts.status, headers, body: body.clone() }));
    Ok(Response::from_parts(parts, R::from(body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(keys: usize, keep_ms: u64, kept_bytes: usize) -> Arc<Memory> {
        let bounds = Remembering { keys, keep_ms, kept_bytes, ..Remembering::default() };
        Arc::new(Memory { bounds, hashers: [RandomState::new(), RandomState::new()], entries: Mutex::default() })
    }

    fn kept(bytes: usize) -> Option<Kept> {
        Some(Kept { status: StatusCode::OK, headers: HeaderMap::new(), body: Bytes::from(vec![0; bytes]) })
    }

    fn running(begun: Begun) -> Running {
        let Begun::Yes(running) = begun else { panic!("it is not begun") };
        running
    }

    #[test]
    fn memory_is_bounded_whatever_is_sent() {
        let memory = memory(80, 60_000, 1_000);
        for at in 0..1_000 {
            running(memory.begin(0, [at, 0], [0, 0])).end(kept(150));
            running(memory.begin(0, [7, 7], [0, 0])).end(None);
        }
        let entries = memory.lock();
        assert!(entries.by_key.len() <= 10 && entries.order.len() <= 180 && entries.kept_bytes <= 1_000, "{}", entries.order.len());
        assert_eq!(entries.kept_bytes, entries.by_key.len() * 150);
    }

    #[test]
    fn what_is_in_work_keeps_its_place() {
        let memory = memory(16, 60_000, 1_000);
        let (first, _second) = (running(memory.begin(0, [1, 0], [0, 0])), running(memory.begin(0, [2, 0], [0, 0])));
        assert!(matches!(memory.begin(0, [3, 0], [0, 0]), Begun::Refused(StatusCode::SERVICE_UNAVAILABLE, _)));
        first.end(kept(1));
        let third = running(memory.begin(0, [3, 0], [0, 0]));
        assert!(matches!(memory.begin(0, [2, 0], [0, 0]), Begun::Refused(StatusCode::CONFLICT, _)));
        drop(third);
        assert!(matches!(memory.begin(0, [4, 0], [0, 0]), Begun::Yes(_)), "what nobody knows the end of makes room at last");
        let third = running(memory.begin(0, [3, 0], [0, 0]));
        drop(third);
        assert!(matches!(memory.begin(0, [3, 0], [0, 0]), Begun::Refused(StatusCode::CONFLICT, _)), "nobody knows how it ended");
    }

    #[test]
    fn nobody_pushes_out_what_others_rely_on() {
        let memory = memory(80, 60_000, 1 << 20);
        running(memory.begin(1, [1, 1], [0, 0])).end(kept(1));
        for at in 0..1_000 {
            drop(running(memory.begin(2, [at, 2], [0, 0])));
        }
        assert!(matches!(memory.begin(1, [1, 1], [0, 0]), Begun::Replay(_)));
        assert_eq!(memory.lock().callers, HashMap::from([(1, 1), (2, 10)]));
    }

    #[test]
    fn keys_end() {
        let memory = memory(10, 0, 1_000);
        running(memory.begin(0, [1, 0], [0, 0])).end(kept(1));
        assert!(matches!(memory.begin(0, [1, 0], [9, 9]), Begun::Yes(_)));
    }
}
