//! The way of a request: listener, admission, TLS, the stack of layers, the table of routes.

pub mod accept;
pub mod admission;
pub(crate) mod certificate;
pub(crate) mod compress;
mod credential;
mod edge;
mod origins;
pub mod rates;
pub(crate) mod replies;
pub(crate) mod reserved;
pub mod routes;
mod shares;
pub mod stack;
pub mod tls;
