//! How a request came: what it is counted against, from where, by which credential, and what it has done so far.

use crate::caller::Caller;
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

/// Limits how much a caller may ask for when one request asks for many things.
pub trait Allowance: Send + Sync {
    /// Takes so many items from the allowance. Otherwise returns the seconds after which to try again.
    ///
    /// # Errors
    /// When so many are not left; nothing was taken then.
    fn take(&self, caller: &Caller, network: std::net::IpAddr, items: u32) -> Result<(), u32>;

    /// Counts bytes that wait for the caller to read them; nothing without room for them.
    fn wait(&self, caller: &Caller, network: std::net::IpAddr, bytes: usize) -> Option<Waiting>;
}

/// Bytes that wait to be read, counted until this is dropped.
pub type Waiting = Box<dyn std::any::Any + Send + Sync>;

/// Finds callers by their credentials: for long connections, whose callers are checked again.
pub trait Doorkeeper: Send + Sync {
    /// The caller that a token stands for; `None` when the token is not good. `in_cookie`: whether it came in a cookie.
    fn caller<'a>(
        &'a self,
        token: &'a str,
        in_cookie: bool,
        network: std::net::IpAddr,
    ) -> std::pin::Pin<Box<dyn Future<Output = Option<Caller>> + Send + 'a>>;

    /// Whether the token that a page shows belongs to the session of its cookie.
    fn proven(&self, caller: &Caller, token: &str) -> bool;
}

/// How a request came: what it is counted against, from where, and by which credential.
pub(crate) struct Came {
    pub(crate) allowance: Arc<dyn Allowance>,
    pub(crate) network: std::net::IpAddr,
    pub(crate) credential: Option<Arc<str>>,
    /// Whether a change was begun.
    pub(crate) changes: AtomicBool,
    /// Bytes of rows that the reply holds so far.
    pub(crate) shown: AtomicUsize,
}

impl Came {
    pub(crate) fn new(allowance: Arc<dyn Allowance>, network: std::net::IpAddr, credential: Option<Arc<str>>) -> Arc<Self> {
        Arc::new(Self { allowance, network, credential, changes: AtomicBool::new(false), shown: AtomicUsize::new(0) })
    }
}

/// Tells what a request has done so far; it may outlive the request.
pub struct Doing(pub(crate) Arc<Came>);

impl Doing {
    /// Bytes of rows that its reply holds.
    #[must_use]
    pub fn shown(&self) -> usize {
        self.0.shown.load(Ordering::Relaxed)
    }

    /// Whether a change was begun: what came of it is then not known before it ends.
    #[must_use]
    pub fn begun(&self) -> bool {
        self.0.changes.load(Ordering::Acquire)
    }
}
