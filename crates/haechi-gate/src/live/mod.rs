//! Live changes: what the log tells, decided for each stream on the row before and after.

pub(crate) mod feed;
pub(crate) mod hub;
pub(crate) mod image;
mod stream;
mod view;

pub use stream::{EndReason, Hold, OpenStream, Stream, Told, ToldKind, WatchError, WatchItem};
pub use view::WatchQuery;
