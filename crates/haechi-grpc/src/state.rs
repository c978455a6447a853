//! What the door needs, made once.

use haechi_data::Handlers;
use haechi_gate::Gate;
use std::sync::Arc;

/// What the door needs, made once.
pub(crate) struct Door {
    pub(crate) gate: Gate,
    pub(crate) handlers: Handlers,
    /// Per collection, the numbers of a whole record's fields.
    pub(crate) numbers: Vec<Arc<[u32]>>,
    pub(crate) body_bytes: usize,
}
