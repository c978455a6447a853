//! An id for every request: ours, never the client's.

use crate::service::{Finish, Guard, layers};
use http::{HeaderValue, Request, Response};
use std::sync::Arc;

/// A request's id, among its extensions and in the reply's `x-request-id`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(pub Arc<str>);

/// Gives every request an id.
#[derive(Clone)]
pub struct RequestIdLayer {
    make: Arc<dyn Fn() -> String + Send + Sync>,
}

impl RequestIdLayer {
    /// `make` returns a new id each time, in visible ASCII.
    ///
    /// ```
    /// let counter = std::sync::atomic::AtomicU64::new(0);
    /// let layer = haechi_layers::RequestIdLayer::new(move || counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_string());
    /// ```
    pub fn new(make: impl Fn() -> String + Send + Sync + 'static) -> Self {
        Self { make: Arc::new(make) }
    }
}

layers!(RequestIdLayer);

impl<B, R> Guard<B, R> for RequestIdLayer {
    fn begin(&self, request: &mut Request<B>) -> Result<Finish<R>, Response<R>> {
        let id = (self.make)();
        request.extensions_mut().insert(RequestId(id.as_str().into()));
        Ok(Box::new(move |response| {
            if let Ok(value) = HeaderValue::try_from(id) {
                response.headers_mut().insert("x-request-id", value);
            }
        }))
    }
}
