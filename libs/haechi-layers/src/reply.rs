//! Refusals, and the future that is either one of them or the service's reply.

use http::{Response, StatusCode, header};
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

/// A refusal in plain text.
pub(crate) fn refuse<B: From<&'static str>>(status: StatusCode, text: &'static str) -> Response<B> {
    let mut response = Response::new(B::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// The service's reply with something done to it, or a reply that was made without the service.
pub struct Reply<F, B> {
    state: State<F, B>,
}

type Finish<B> = Box<dyn FnOnce(&mut Response<B>) + Send>;

enum State<F, B> {
    Now(Option<Response<B>>),
    Later(Pin<Box<F>>, Option<Finish<B>>),
}

impl<F, B> Reply<F, B> {
    pub(crate) fn now(response: Response<B>) -> Self {
        Self { state: State::Now(Some(response)) }
    }

    pub(crate) fn later(future: F, finish: impl FnOnce(&mut Response<B>) + Send + 'static) -> Self {
        Self { state: State::Later(Box::pin(future), Some(Box::new(finish))) }
    }
}

impl<F, B, E> Future for Reply<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Unpin,
{
    type Output = Result<Response<B>, E>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.state {
            State::Now(response) => response.take().map_or(Poll::Pending, |response| Poll::Ready(Ok(response))),
            State::Later(future, finish) => {
                let Poll::Ready(outcome) = future.as_mut().poll(context) else { return Poll::Pending };
                let finish = finish.take();
                Poll::Ready(outcome.map(|mut response| {
                    if let Some(finish) = finish {
                        finish(&mut response);
                    }
                    response
                }))
            }
        }
    }
}
