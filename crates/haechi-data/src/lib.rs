//! Records of collections: the actions, and the REST face over them.
//!
//! Everything here asks the gate; nothing here knows a database.

pub mod job;
pub mod live;
pub mod openapi;
pub mod record;
pub mod transfer;

pub use record::{
    Act, Acted, Data, Exports, Handlers, QueryInput, RecordError, Still, actions, aggregate, batch, claim, declared, fingerprint, many, read_bytes,
    router, rows,
};
