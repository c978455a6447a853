//! An HTTP client for addresses that somebody else chose.
#![doc = ""]
#![doc = include_str!("../README.md")]

mod address;
mod bounded;
mod client;
mod connect;
mod destination;
mod error;
mod pool;
mod resolve;

pub use address::{Network, NotANetwork, is_never, is_public};
pub use client::{Builder, Client, Read, Reply, Request};
pub use destination::{Destination, Limits};
pub use error::{Error, Stage};
pub use resolve::{Resolve, System};

/// What a host name or an IP literal is written as in a URL, parsed.
pub use url::Url;
