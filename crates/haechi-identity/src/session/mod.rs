//! Sessions: started by signing in, listed and ended by their owner, gone when idle or old.

mod actions;
mod cookie;
mod http;
mod store;

pub use actions::{SessionView, Started};
pub(crate) use actions::{session_of, view};
pub(crate) use cookie::{SESSION, from_cookies, proven};
pub(crate) use http::{routes, started_reply};
pub(crate) use store::{alive, fresh};

/// The prefix of a session's token, by which scanners find leaked tokens.
pub(crate) const PREFIX: &str = "haechi_s_";
