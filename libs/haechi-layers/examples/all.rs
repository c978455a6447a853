//! All layers on an Axum service, in their order: `cargo run -p haechi-layers --all-features --example all`.

use axum::{Router, body::Body, extract::ConnectInfo, http::Request, middleware, routing::get};
use haechi_layers::{
    ClientIp, ClientIpLayer, ContentSecurityPolicy, Cors, CorsLayer, CrossSiteLayer, DecompressionLayer, IdempotencyLayer, LimitedBody, Limits,
    LimitsLayer, Peer, Proxies, Rate, RateLimit, RateLimitLayer, Remembering, RequestIdLayer, SecurityHeaders, SecurityHeadersLayer,
};
use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
};
use tower::{ServiceBuilder, util::MapRequestLayer};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let counter = AtomicU64::new(1);
    let rate = RateLimit::new(Rate { burst: 60, per_ms: 60_000 }, 100_000);
    let layers = ServiceBuilder::new()
        .layer(RequestIdLayer::new(move || counter.fetch_add(1, Ordering::Relaxed).to_string()))
        .layer(SecurityHeadersLayer::new(SecurityHeaders::new(ContentSecurityPolicy::api(), false)))
        .layer(CorsLayer::new(Cors::new(["https://app.example.com"])))
        .layer(middleware::map_request(peer))
        .layer(ClientIpLayer::new(Proxies::parse(["10.0.0.0/8"])?))
        .layer(RateLimitLayer::new(rate, |request: &Request<Body>| request.extensions().get::<ClientIp>().map(|client| client.0.to_string())))
        .layer(CrossSiteLayer::new("http://127.0.0.1:3000"))
        .layer(LimitsLayer::new(Limits::default()))
        // What comes out of the limits is a body of another type; Axum's own holds any.
        .layer(MapRequestLayer::new(|request: Request<LimitedBody<Body>>| request.map(Body::new)))
        .layer(DecompressionLayer::default())
        .layer(IdempotencyLayer::new(Remembering::default(), caller));
    let app = Router::new().route("/", get(|| async { "hello\n" }).post(|body: String| async move { body })).layer(layers);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}

/// A service of one's own knows its callers; here it is the address.
fn caller(request: &Request<Body>) -> Option<String> {
    request.extensions().get::<ClientIp>().map(|client| client.0.to_string())
}

/// Axum knows the connection's address as `ConnectInfo`.
async fn peer(mut request: Request<Body>) -> Request<Body> {
    if let Some(ConnectInfo(address)) = request.extensions().get::<ConnectInfo<SocketAddr>>().copied() {
        request.extensions_mut().insert(Peer(address.ip()));
    }
    request
}
