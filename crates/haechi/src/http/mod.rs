//! The way of a request: listener, admission, TLS, the stack of layers, the table of routes.

pub mod accept;
pub mod admission;
pub(crate) mod certificate;
mod compress;
mod edge;
pub mod rates;
pub(crate) mod replies;
pub mod routes;
mod shares;
pub mod stack;
pub mod tls;
