//! Pages of other origins that the folder declares: what they may send, and what they may read.

use axum::http::{HeaderName, header};
use haechi_layers::Cors;

/// Headers that pages of declared origins may send, and read in replies: also those of gRPC-Web.
const PAGES_SEND: [HeaderName; 8] = [
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    header::IF_MATCH,
    HeaderName::from_static("idempotency-key"),
    HeaderName::from_static("last-event-id"),
    HeaderName::from_static("x-grpc-web"),
    HeaderName::from_static("x-user-agent"),
    HeaderName::from_static("grpc-timeout"),
];
const PAGES_READ: [HeaderName; 10] = [
    header::ETAG,
    header::LOCATION,
    header::RETRY_AFTER,
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("ratelimit"),
    HeaderName::from_static("ratelimit-policy"),
    HeaderName::from_static("idempotency-replayed"),
    HeaderName::from_static("grpc-status"),
    HeaderName::from_static("grpc-message"),
    HeaderName::from_static("grpc-status-details-bin"),
];

pub(crate) fn cors<'a>(origins: impl Iterator<Item = &'a str>) -> Cors {
    Cors::new(origins).headers(&PAGES_SEND).exposed(&PAGES_READ)
}
