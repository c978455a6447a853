//! Records: create, read, update, delete, list, batch.

pub mod actions;
mod batch;
mod body;
mod declared;
mod error;
mod http;
mod page_token;
mod query;

pub use actions::{Listing, Page};
pub use declared::{Act, Acted, Handlers};
pub use error::RecordError;
pub use http::{Data, router};
pub use query::QueryInput;
