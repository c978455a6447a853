//! Tower layers that keep a service safe on the open network, a feature each.
//!
//! Most layers have a plain core (a type with methods over `http` types) that can be used without Tower, and a thin
//! [`tower_layer::Layer`] around it. They know neither Haechi nor a database; what a layer must remember it keeps in
//! bounded memory.
//!
//! | feature | layer | what it does |
//! |---|---|---|
//! | `request-id` | [`RequestIdLayer`] | gives every request an id of ours, never the client's |
//! | `client-ip` | [`ClientIpLayer`] | finds the client's address behind declared proxies only |
//! | `headers` | [`SecurityHeadersLayer`] | security headers and a content security policy, with a nonce where pages need one |
//! | `cors` | [`CorsLayer`] | closed by default, opened for exact origins |
//! | `cross-site` | [`CrossSiteLayer`] | refuses requests with cookies that another site made |
//! | `rate-limit` | [`RateLimitLayer`] | a leaky bucket per key in memory of a fixed size |
//! | `limits` | [`LimitsLayer`] | bounds of head, body, JSON depth, time and requests at once |
//! | `decompression` | [`DecompressionLayer`] | unpacks gzip and deflate bodies of requests within bounds |
//! | `idempotency` | [`IdempotencyLayer`] | a request with an `Idempotency-Key` happens at most once |
//!
//! `examples/all.rs` mounts them all on an Axum service, in their order.
#![warn(missing_docs)]

#[cfg(feature = "client-ip")]
mod client_ip;
#[cfg(feature = "cors")]
mod cors;
#[cfg(feature = "cross-site")]
mod cross_site;
#[cfg(feature = "decompression")]
mod decompression;
#[cfg(feature = "headers")]
mod headers;
#[cfg(feature = "idempotency")]
mod idempotency;
#[cfg(any(feature = "decompression", feature = "limits"))]
mod json_depth;
#[cfg(feature = "limits")]
mod limits;
#[cfg(feature = "rate-limit")]
mod rate_limit;
#[cfg(feature = "request-id")]
mod request_id;
mod service;

pub use service::{Finish, Guard, Guarded};

#[cfg(feature = "client-ip")]
pub use client_ip::{ClientIp, ClientIpLayer, NotANetwork, Peer, Proxies, Unreadable};
#[cfg(feature = "cors")]
pub use cors::{Cors, CorsLayer, Verdict};
#[cfg(feature = "cross-site")]
pub use cross_site::{CrossSiteLayer, made_here};
#[cfg(feature = "decompression")]
pub use decompression::{Decompressed, DecompressionLayer, UnpackError, Unpacking};
#[cfg(feature = "headers")]
pub use headers::{ContentSecurityPolicy, Nonce, SecurityHeaders, SecurityHeadersLayer};
#[cfg(feature = "idempotency")]
pub use idempotency::{IdempotencyLayer, Idempotent, Remembering};
#[cfg(feature = "limits")]
pub use limits::{BodyFault, BodyLimits, BodyWatch, Limited, LimitedBody, Limits, LimitsLayer};
#[cfg(feature = "rate-limit")]
pub use rate_limit::{Decision, Rate, RateLimit, RateLimitLayer};
#[cfg(feature = "request-id")]
pub use request_id::{RequestId, RequestIdLayer};
