//! Bounds of a request: its head, its body, how long it may take, and how many there are at once.

use crate::{
    json_depth::{JsonDepth, is_json},
    service::refuse,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body::{Body, Frame, SizeHint};
use std::{
    error::Error,
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{sync::Semaphore, time::Sleep};
use tower_service::Service;

type BoxError = Box<dyn Error + Send + Sync>;

/// What is allowed. Defaults suit a JSON API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of path and query.
    pub url_bytes: usize,
    /// Bytes of names and values of all headers.
    pub header_bytes: usize,
    /// Headers.
    pub headers: usize,
    /// Requests in work at once.
    pub concurrency: usize,
    /// Time from the head to the reply's head, milliseconds.
    pub request_ms: u64,
    /// The body.
    pub body: BodyLimits,
}

/// The limits of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyLimits {
    /// Bytes.
    pub bytes: u64,
    /// Time for all of it to arrive, milliseconds.
    pub arrival_ms: u64,
    /// How deep JSON may be nested, when the body is declared as JSON.
    pub json_depth: u32,
}

impl Default for BodyLimits {
    fn default() -> Self {
        Self { bytes: 1 << 20, arrival_ms: 8_000, json_depth: 64 }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { url_bytes: 8 << 10, header_bytes: 32 << 10, headers: 100, concurrency: 1024, request_ms: 10_000, body: BodyLimits::default() }
    }
}

impl Limits {
    /// The status with which a request's head is refused, when it is.
    ///
    /// ```
    /// use haechi_layers::Limits;
    /// use http::{HeaderMap, StatusCode};
    ///
    /// let limits = Limits { url_bytes: 10, ..Limits::default() };
    /// assert_eq!(limits.head(&"/short".parse()?, &HeaderMap::new()), None);
    /// assert_eq!(limits.head(&"/longer?than=that".parse()?, &HeaderMap::new()), Some(StatusCode::URI_TOO_LONG));
    /// # Ok::<(), http::uri::InvalidUri>(())
    /// ```
    #[must_use]
    pub fn head(&self, uri: &Uri, headers: &HeaderMap) -> Option<StatusCode> {
        if uri.path_and_query().is_some_and(|path| path.as_str().len() > self.url_bytes) {
            return Some(StatusCode::URI_TOO_LONG);
        }
        let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        (headers.len() > self.headers || bytes > self.header_bytes).then_some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
    }
}

/// Why a body was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFault {
    /// It has more bytes than are allowed.
    TooLarge,
    /// It did not arrive in time.
    TooSlow,
    /// Its JSON is nested too deep.
    TooDeep,
}

impl BodyFault {
    /// The status for the error.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::TooDeep => StatusCode::BAD_REQUEST,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::TooLarge => "the body is too large",
            Self::TooSlow => "the body came too slowly",
            Self::TooDeep => "the body is nested too deep",
        }
    }
}

impl fmt::Display for BodyFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.text())
    }
}

impl Error for BodyFault {}

/// Tells afterwards whether a body was cut off, no matter how its reader handled that.
#[derive(Clone, Debug, Default)]
pub struct BodyWatch(Arc<AtomicU8>);

impl BodyWatch {
    /// Why the body was cut off; `None` when it was not.
    #[must_use]
    pub fn fault(&self) -> Option<BodyFault> {
        match self.0.load(Ordering::Relaxed) {
            1 => Some(BodyFault::TooLarge),
            2 => Some(BodyFault::TooSlow),
            3 => Some(BodyFault::TooDeep),
            _ => None,
        }
    }

    fn set(&self, fault: BodyFault) -> BoxError {
        let code = match fault {
            BodyFault::TooLarge => 1,
            BodyFault::TooSlow => 2,
            BodyFault::TooDeep => 3,
        };
        self.0.store(code, Ordering::Relaxed);
        fault.into()
    }
}

/// A body that ends with an error where it goes beyond what is allowed.
pub struct LimitedBody<B> {
    inner: B,
    left: u64,
    limits: BodyLimits,
    depth: Option<JsonDepth>,
    /// Made when the body first keeps its reader waiting.
    deadline: Option<Pin<Box<Sleep>>>,
    watch: BodyWatch,
}

impl<B> LimitedBody<B> {
    /// Around a body; `json`: whether it is declared as JSON.
    pub fn new(inner: B, limits: BodyLimits, json: bool) -> (Self, BodyWatch) {
        let watch = BodyWatch::default();
        let depth = json.then(JsonDepth::default);
        (Self { inner, left: limits.bytes, limits, depth, deadline: None, watch: watch.clone() }, watch)
    }
}

impl<B> Body for LimitedBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(context) else {
            let wait = Duration::from_millis(this.limits.arrival_ms);
            let deadline = this.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(wait)));
            ready!(deadline.as_mut().poll(context));
            return Poll::Ready(Some(Err(this.watch.set(BodyFault::TooSlow))));
        };
        let Some(frame) = frame else { return Poll::Ready(None) };
        let frame = frame.map_err(Into::into)?;
        if let Some(data) = frame.data_ref() {
            match this.left.checked_sub(data.len() as u64) {
                Some(left) => this.left = left,
                None => return Poll::Ready(Some(Err(this.watch.set(BodyFault::TooLarge)))),
            }
            if this.depth.as_mut().is_some_and(|depth| depth.read(data) > this.limits.json_depth) {
                return Poll::Ready(Some(Err(this.watch.set(BodyFault::TooDeep))));
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Whether an inner layer unpacks the body; a packed body is not JSON yet.
fn is_packed(headers: &HeaderMap) -> bool {
    let encoding = headers.get(header::CONTENT_ENCODING).map(|encoding| encoding.as_bytes().to_ascii_lowercase());
    encoding.is_some_and(|encoding| matches!(encoding.as_slice(), b"gzip" | b"x-gzip" | b"deflate"))
}

/// Refuses requests beyond [`Limits`]: 413, 414, 431 and 400 for too much, 408 for too slow, 503 when too many are in work.
#[derive(Clone, Debug)]
pub struct LimitsLayer {
    limits: Arc<Limits>,
    slots: Arc<Semaphore>,
}

impl LimitsLayer {
    /// With these bounds. Clones share the count of requests in work.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { slots: Arc::new(Semaphore::new(limits.concurrency.min(Semaphore::MAX_PERMITS))), limits: Arc::new(limits) }
    }
}

impl<S> tower_layer::Layer<S> for LimitsLayer {
    type Service = Limited<S>;

    fn layer(&self, inner: S) -> Limited<S> {
        Limited { inner, layer: self.clone() }
    }
}

/// A service behind [`LimitsLayer`].
#[derive(Clone, Debug)]
pub struct Limited<S> {
    inner: S,
    layer: LimitsLayer,
}

impl<S, B, R> Service<Request<B>> for Limited<S>
where
    S: Service<Request<LimitedBody<B>>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    B: Body<Data = Bytes>,
    R: From<&'static str> + Send + 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let limits = &self.layer.limits;
        let declared = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        let refused = limits.head(request.uri(), request.headers()).map(|status| (status, "the request's head is too large"));
        let refused = refused
            .or_else(|| declared.filter(|length| *length > limits.body.bytes).map(|_| (StatusCode::PAYLOAD_TOO_LARGE, BodyFault::TooLarge.text())));
        if let Some((status, text)) = refused {
            return Box::pin(std::future::ready(Ok(refuse(status, text))));
        }
        let Ok(slot) = self.layer.slots.clone().try_acquire_owned() else {
            let mut response = refuse(StatusCode::SERVICE_UNAVAILABLE, "too many requests are in work");
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            return Box::pin(std::future::ready(Ok(response)));
        };
        let json = !is_packed(request.headers()) && is_json(request.headers());
        let (parts, body) = request.into_parts();
        let (body, watch) = LimitedBody::new(body, limits.body, json);
        let (time, reply) = (Duration::from_millis(limits.request_ms), self.inner.call(Request::from_parts(parts, body)));
        Box::pin(async move {
            let _slot = slot;
            let Ok(response) = tokio::time::timeout(time, reply).await else {
                return Ok(refuse(StatusCode::REQUEST_TIMEOUT, "the reply took too long"));
            };
            // A body was cut off: this is the reply, no matter what the service answered.
            match watch.fault() {
                Some(fault) => response.map(|_| refuse(fault.status(), fault.text())),
                None => response,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_has_bounds() {
        let limits = Limits { headers: 2, header_bytes: 20, ..Limits::default() };
        let mut headers = HeaderMap::new();
        headers.append("a", HeaderValue::from_static("1"));
        headers.append("a", HeaderValue::from_static("2"));
        let uri = Uri::from_static("/");
        assert_eq!(limits.head(&uri, &headers), None);
        headers.append("a", HeaderValue::from_static("3"));
        assert_eq!(limits.head(&uri, &headers), Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
        let long = [(header::ACCEPT, HeaderValue::from_static("0123456789012345"))].into_iter().collect();
        assert_eq!(limits.head(&uri, &long), Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
    }
}
