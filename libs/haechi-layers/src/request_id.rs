//! An id for every request: ours, never the client's.

use http::{HeaderValue, Request, Response};
use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tower_layer::Layer;
use tower_service::Service;

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

impl<S> Layer<S> for RequestIdLayer {
    type Service = RequestIdService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RequestIdService { inner, make: self.make.clone() }
    }
}

/// See [`RequestIdLayer`].
#[derive(Clone)]
pub struct RequestIdService<S> {
    inner: S,
    make: Arc<dyn Fn() -> String + Send + Sync>,
}

impl<S, B, R> Service<Request<B>> for RequestIdService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let id = (self.make)();
        request.extensions_mut().insert(RequestId(id.as_str().into()));
        let reply = self.inner.call(request);
        Box::pin(async move {
            let mut response = reply.await?;
            if let Ok(value) = HeaderValue::try_from(id) {
                response.headers_mut().insert("x-request-id", value);
            }
            Ok(response)
        })
    }
}
