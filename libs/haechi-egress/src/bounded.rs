//! A stream of which only so many bytes are read.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How many more bytes may be read from a connection. It is set anew for each request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Allowance(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    left: AtomicU64,
    used: AtomicU64,
}

impl Allowance {
    pub(crate) fn set(&self, bytes: u64) {
        self.0.used.store(0, Ordering::Release);
        self.0.left.store(bytes, Ordering::Release);
    }

    /// What was read since it was set.
    pub(crate) fn used(&self) -> u64 {
        self.0.used.load(Ordering::Acquire)
    }

    /// What was read beyond it fits into one buffer.
    fn take(&self, bytes: u64) {
        self.0.used.fetch_add(bytes, Ordering::AcqRel);
        self.0.left.store(self.0.left.load(Ordering::Acquire).saturating_sub(bytes), Ordering::Release);
    }

    /// Whether all of it was used.
    pub(crate) fn is_used_up(&self) -> bool {
        self.0.left.load(Ordering::Acquire) == 0
    }
}

/// A stream of which only so many bytes are read: head, framing, body and trailers together.
pub(crate) struct Bounded<S> {
    inner: S,
    left: Allowance,
}

impl<S> Bounded<S> {
    pub(crate) fn new(inner: S, left: Allowance) -> Self {
        Self { inner, left }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.left.is_used_up() {
            return Poll::Ready(Err(io::Error::other("more came than is read")));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        self.left.take((buffer.filled().len() - before) as u64);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, parts: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
