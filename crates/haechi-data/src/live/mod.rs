//! Live changes: streams of what happens to the records that a caller may watch.

pub mod actions;
pub(crate) mod http;
