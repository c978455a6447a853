//! Records: create, read, update, delete, list, batch.

mod actions;
mod batch;
mod body;
mod error;
mod http;
mod page_token;
mod query;

pub use actions::{Listing, Page};
pub use error::RecordError;
pub use http::{Data, router};
pub use query::QueryInput;
