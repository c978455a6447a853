//! What can be seen from outside: logs, metrics, traces, health.

mod collector;
mod lines;
pub mod logs;
pub mod metrics;
pub mod ops;
pub(crate) mod readiness;
pub(crate) mod requests;
pub(crate) mod supervisor;
pub mod telemetry;
pub mod traces;
pub mod work;
