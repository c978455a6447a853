//! Records: create, read, update, delete, list, batch.

pub mod actions;
pub mod aggregate;
pub mod batch;
mod body;
pub mod declared;
mod error;
mod expand;
mod export;
mod http;
pub mod many;
mod page_token;
mod query;
pub mod rows;

pub(crate) use body::{Purpose, read_values};
pub(crate) use http::{JSON, PRIVATE, mark_replayed, no_query};

pub use actions::{Listing, Page, record_id};
pub use declared::{Act, Acted, Handlers};
pub use error::RecordError;
pub use export::{Exports, Still};
pub use http::{Data, claim, read_bytes, router};
pub use query::{QueryInput, fingerprint};
