//! The layers as they are mounted: together, around a service.

use axum::{Extension, Router, body::Body, http::Request, routing::any};
use haechi_layers::{
    ClientIp, ClientIpLayer, ContentSecurityPolicy, Cors, CorsLayer, CrossSiteLayer, Nonce, Peer, Proxies, Rate, RateLimit, RateLimitLayer,
    RequestId, RequestIdLayer, SecurityHeaders, SecurityHeadersLayer,
};
use tower::{ServiceBuilder, ServiceExt};

async fn answer(Extension(client): Extension<ClientIp>, Extension(id): Extension<RequestId>, Extension(nonce): Extension<Nonce>) -> String {
    format!("{} {} {}", client.0, id.0, nonce.0)
}

#[tokio::test]
async fn all_of_them_around_a_service() {
    let layers = ServiceBuilder::new()
        .layer(RequestIdLayer::new(|| "r1".to_owned()))
        .layer(SecurityHeadersLayer::new(SecurityHeaders::new(ContentSecurityPolicy::pages(), true)).with_nonce(|| "n1".to_owned()))
        .layer(CorsLayer::new(Cors::new(["https://app.example.com"])))
        .layer(ClientIpLayer::new(Proxies::parse(["10.0.0.0/8"]).unwrap()))
        .layer(RateLimitLayer::new(RateLimit::new(Rate { burst: 3, per_ms: 60_000 }, 100), |request: &Request<Body>| {
            request.extensions().get::<ClientIp>().map(|client| client.0.to_string())
        }))
        .layer(CrossSiteLayer::new("https://own.example.com"));
    let app = Router::new().route("/", any(answer)).layer(layers);
    let ask = async |method: &str, peer: Option<&str>, headers: &[(&str, &str)]| {
        let mut request = Request::builder().method(method).uri("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(peer) = peer {
            request = request.extension(Peer(peer.parse().unwrap()));
        }
        let response = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 1 << 16).await.unwrap();
        (parts.status.as_u16(), parts.headers, String::from_utf8(bytes.to_vec()).unwrap())
    };
    let (status, headers, text) = ask("GET", Some("10.0.0.1"), &[("x-forwarded-for", "198.51.100.7"), ("x-request-id", "theirs")]).await;
    assert_eq!((status, text.as_str()), (200, "198.51.100.7 r1 n1"));
    assert!(headers["x-request-id"] == "r1" && headers["content-security-policy"].to_str().unwrap().contains("'nonce-n1'"));
    assert_eq!(headers["ratelimit"], "\"default\";r=2;t=20");
    // Each refusal is made by its layer, and passes the ones outside of it.
    assert_eq!(ask("GET", Some("10.0.0.1"), &[("x-forwarded-for", "nonsense")]).await.0, 400);
    assert_eq!(ask("GET", None, &[]).await.0, 500);
    let preflight = [("origin", "https://app.example.com"), ("access-control-request-method", "POST")];
    let (status, headers, _) = ask("OPTIONS", Some("203.0.113.9"), &preflight).await;
    assert!(status == 204 && headers["access-control-allow-origin"] == "https://app.example.com" && headers.contains_key("x-frame-options"));
    let cookie = ("cookie", "session=1");
    assert_eq!(ask("POST", Some("203.0.113.9"), &[cookie, ("sec-fetch-site", "cross-site")]).await.0, 403);
    assert_eq!(ask("POST", Some("203.0.113.9"), &[cookie, ("sec-fetch-site", "same-origin")]).await.0, 200);
    assert_eq!(ask("GET", Some("203.0.113.9"), &[]).await.0, 200);
    let (status, headers, _) = ask("GET", Some("203.0.113.9"), &[]).await;
    assert!(status == 429 && headers.contains_key("retry-after") && headers["x-request-id"] == "r1");
}
