//! The client against servers, names and replies that mean harm; and beside each of them the honest twin.
#![expect(clippy::unwrap_used, reason = "a test that meets what it did not expect ends loudly")]
#![expect(clippy::panic, reason = "a test that meets what it did not expect ends loudly")]

mod bounds;
mod certificates;
mod names;
mod places;
mod redirects;
mod server;
mod waiting;
