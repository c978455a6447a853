//! Haechi as a library: the same house that the binary serves.

pub mod accept;
pub mod access;
pub mod admission;
mod certificate;
mod compress;
pub mod database;
mod edge;
mod embed;
pub mod folder;
pub mod house;
#[cfg(haechi_unsafe_lab)]
pub mod lab;
pub mod logs;
pub mod metrics;
pub mod ops;
pub mod people;
pub mod rates;
pub mod refusals;
mod reload;
mod replies;
pub mod report;
mod requests;
pub mod rows;
mod sentinel;
pub mod serve;
mod setup;
mod shares;
pub mod shutdown;
pub mod stack;
mod supervisor;
pub mod tls;
pub mod traces;
pub mod trial;

pub use embed::{Haechi, ServeError};
pub use folder::{DataDir, FolderError};
pub use house::{House, Mode};

/// A request for a declared action, and its answer.
pub use haechi_data::{Act, Acted};
/// The gate, for handlers.
pub use haechi_gate as gate;
pub use haechi_gate::Ask;
/// What is declared, and the data of reading and writing it.
pub use haechi_model as model;
/// Problems (RFC 9457), and the types that become one.
pub use haechi_problem as problem;
