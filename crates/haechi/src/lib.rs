//! Haechi as a library: the same house that the binary serves.

pub mod accept;
pub mod database;
pub mod folder;
pub mod house;
pub mod logs;
pub mod metrics;
pub mod ops;
pub mod report;
pub mod serve;
pub mod shutdown;
pub mod stack;
pub mod tls;

pub use folder::{DataDir, FolderError};
pub use house::{House, Mode};
