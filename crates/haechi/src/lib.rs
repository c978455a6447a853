//! Haechi as a library: the same house that the binary serves.

pub mod access;
pub mod app;
pub mod http;
#[cfg(haechi_unsafe_lab)]
pub mod lab;
pub mod observe;
mod setup;
mod site;

pub use app::embed::{Haechi, ServeError};
pub use app::folder::{DataDir, FolderError};
pub use app::house::{House, Mode};

/// A request for a declared action, and its answer.
pub use haechi_data::{Act, Acted};
/// The gate, for handlers.
pub use haechi_gate as gate;
pub use haechi_gate::Ask;
/// One attempt of a job, and its end.
pub use haechi_jobs::{Finished, Job, JobError};
/// What is declared, and the data of reading and writing it.
pub use haechi_model as model;
/// Problems (RFC 9457), and the types that become one.
pub use haechi_problem as problem;
