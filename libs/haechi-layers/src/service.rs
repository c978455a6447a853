//! The common service of all layers: a guard checks the request, the inner service answers, the guard finishes the reply.

use http::{Request, Response};
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};
use tower_service::Service;

/// What is done to the reply.
pub type Finish<R> = Box<dyn FnOnce(&mut Response<R>) + Send>;

/// What a layer does around a service.
pub trait Guard<B, R> {
    /// Looks at a request.
    ///
    /// # Errors
    /// The reply in place of the service's.
    fn begin(&self, request: &mut Request<B>) -> Result<Finish<R>, Response<R>>;
}

/// A service with a guard before it.
#[derive(Clone, Debug)]
pub struct Guarded<S, G> {
    inner: S,
    guard: G,
}

impl<S, G> Guarded<S, G> {
    /// Puts a guard, also one of your own, before a service.
    pub fn new(inner: S, guard: G) -> Self {
        Self { inner, guard }
    }
}

impl<S, G, B, R> Service<Request<B>> for Guarded<S, G>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    G: Guard<B, R>,
    R: Send + 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        match self.guard.begin(&mut request) {
            Err(refusal) => Box::pin(std::future::ready(Ok(refusal))),
            Ok(finish) => {
                let reply = self.inner.call(request);
                Box::pin(async move {
                    let mut response = reply.await?;
                    finish(&mut response);
                    Ok(response)
                })
            }
        }
    }
}

/// Makes a layer of each guard that can be cloned.
#[cfg(any(feature = "client-ip", feature = "cors", feature = "cross-site", feature = "headers", feature = "request-id"))]
macro_rules! layers {
    ($($guard:ident),*) => {$(
        impl<S> tower_layer::Layer<S> for $guard {
            type Service = crate::service::Guarded<S, Self>;

            fn layer(&self, inner: S) -> Self::Service {
                crate::service::Guarded::new(inner, self.clone())
            }
        }
    )*};
}
#[cfg(any(feature = "client-ip", feature = "cors", feature = "cross-site", feature = "headers", feature = "request-id"))]
pub(crate) use layers;

/// A refusal in plain text.
#[cfg(any(
    feature = "client-ip",
    feature = "cross-site",
    feature = "decompression",
    feature = "idempotency",
    feature = "limits",
    feature = "rate-limit"
))]
pub(crate) fn refuse<R: From<&'static str>>(status: http::StatusCode, text: &'static str) -> Response<R> {
    let mut response = Response::new(R::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// A whole body of at most `most` bytes, or its refusal.
#[cfg(any(feature = "decompression", feature = "idempotency"))]
pub(crate) async fn whole<B>(body: B, most: usize, too_large: &'static str) -> Result<bytes::Bytes, (http::StatusCode, &'static str)>
where
    B: http_body::Body<Data = bytes::Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    use http_body_util::{BodyExt, LengthLimitError, Limited};
    match Limited::new(body, most).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err((http::StatusCode::PAYLOAD_TOO_LARGE, too_large)),
        Err(_) => Err((http::StatusCode::BAD_REQUEST, "the body did not arrive whole")),
    }
}
