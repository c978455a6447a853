//! API keys: for programs that act for a person, and for services. Hashed, scoped, expiring, shown once.

mod actions;
mod http;

pub use actions::{NewKey, Shown};
pub(crate) use http::routes;

/// The prefix of a key, by which scanners find leaked keys.
pub(crate) const PREFIX: &str = "haechi_k_";
