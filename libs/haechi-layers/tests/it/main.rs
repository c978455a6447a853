//! The layers as they are mounted: together, around a service.
#![expect(clippy::unwrap_used, reason = "a test that meets what it did not expect ends loudly")]

use axum::{Extension, Router, body::Body, http::Request, routing::any};
use haechi_layers::{
    BodyLimits, ClientIp, ClientIpLayer, ContentSecurityPolicy, Cors, CorsLayer, CrossSiteLayer, DecompressionLayer, IdempotencyLayer, Limits,
    LimitsLayer, Nonce, Peer, Proxies, Rate, RateLimit, RateLimitLayer, Remembering, RequestId, RequestIdLayer, SecurityHeaders,
    SecurityHeadersLayer,
};
use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
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

async fn reply(app: &Router, request: Request<Body>) -> (u16, axum::http::HeaderMap, String) {
    let response = app.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    (parts.status.as_u16(), parts.headers, String::from_utf8(bytes.to_vec()).unwrap())
}

/// A body that comes in pieces, and then never ends.
fn endless(pieces: usize) -> Body {
    let pieces = futures_util::stream::iter((0..pieces).map(|_| Ok::<_, Infallible>("x".repeat(100))));
    Body::from_stream(futures_util::StreamExt::chain(pieces, futures_util::stream::pending()))
}

/// DOS [V4.2.5 V15.2.2]
#[tokio::test(start_paused = true)]
async fn bounds_hold_and_what_is_within_passes() {
    let limits = Limits {
        url_bytes: 20,
        headers: 3,
        concurrency: 2,
        request_ms: 500,
        body: BodyLimits { bytes: 1_000, arrival_ms: 200, json_depth: 3 },
        ..Limits::default()
    };
    let echo = |body: String| async move { format!("{} bytes", body.len()) };
    let slow = || async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        "slow"
    };
    let stuck = || async { std::future::pending::<&str>().await };
    let app = Router::new().route("/", any(echo)).route("/slow", any(slow)).route("/stuck", any(stuck)).layer(LimitsLayer::new(limits));
    let post = |uri: &str, kind: &str, body: Body| Request::post(uri).header("content-type", kind).body(body).unwrap();
    let json = "application/json";
    assert_eq!(reply(&app, post("/", json, Body::from("[[[1]]]"))).await.2, "7 bytes");
    for (what, request, status) in [
        ("a long URL", post("/?twenty-and-some-more-characters", json, Body::empty()), 414),
        ("a large body that says so", Request::post("/").header("content-length", "1001").body(Body::from("x".repeat(1_001))).unwrap(), 413),
        ("a large body that does not", post("/", "text/plain", endless(11)), 413),
        ("a body that never ends", post("/", "text/plain", endless(3)), 408),
        ("deep JSON", post("/", "application/vnd.x+json; charset=utf-8", Body::from("[[[[1]]]]")), 400),
        ("no reply", post("/stuck", json, Body::empty()), 408),
    ] {
        let (found, _, text) = reply(&app, request).await;
        assert_eq!(found, status, "{what}: {text}");
    }
    assert_eq!(reply(&app, post("/", "text/plain", Body::from("[[[[1]]]]"))).await.0, 200, "what is no JSON is not nested");
    let many = ["a", "b", "c", "d"].iter().fold(Request::post("/"), |request, name| request.header(*name, "1"));
    assert_eq!(reply(&app, many.body(Body::empty()).unwrap()).await.0, 431);
    let slow = || reply(&app, post("/slow", json, Body::empty()));
    let (one, two, three) = tokio::join!(slow(), slow(), slow());
    let mut statuses = [one.0, two.0, three.0];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 503]);
    assert!([one.1, two.1, three.1].iter().any(|headers| headers.contains_key("retry-after")));
    assert_eq!(slow().await.0, 200, "room is given back");
}

#[tokio::test]
async fn packed_bodies_arrive_plain() {
    let app = Router::new()
        .route("/", any(|headers: axum::http::HeaderMap, body: String| async move { format!("{body} {}", headers.contains_key("content-encoding")) }))
        .layer(DecompressionLayer::default());
    // "hello" in gzip, without a name and a time.
    let packed: &[u8] = &[31, 139, 8, 0, 0, 0, 0, 0, 0, 3, 203, 72, 205, 201, 201, 7, 0, 134, 166, 16, 54, 5, 0, 0, 0];
    let post = |encoding: &str, body: &[u8]| Request::post("/").header("content-encoding", encoding).body(Body::from(body.to_vec())).unwrap();
    assert_eq!(reply(&app, post("gzip", packed)).await.2, "hello false");
    assert_eq!(reply(&app, Request::post("/").body(Body::from("plain")).unwrap()).await.2, "plain false");
    assert_eq!(reply(&app, post("gzip", b"nonsense")).await.0, 400);
    assert_eq!(reply(&app, post("br", b"x")).await.0, 415);
    assert_eq!(reply(&app, post("gzip", &vec![0; 300 << 10])).await.0, 413);
}

/// [V2.3.4 V15.4.1]
#[tokio::test]
async fn a_key_makes_a_request_happen_once() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let work = move |request: Request<Body>| {
        let counted = counted.clone();
        async move {
            let number = counted.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(30)).await;
            match request.uri().path() {
                "/refused" => (axum::http::StatusCode::FORBIDDEN, [("x-number", number.to_string())], "no".to_owned()),
                "/see-other" => (axum::http::StatusCode::SEE_OTHER, [("x-number", number.to_string())], String::new()),
                "/late" => (axum::http::StatusCode::REQUEST_TIMEOUT, [("x-number", number.to_string())], String::new()),
                "/broken" => (axum::http::StatusCode::INTERNAL_SERVER_ERROR, [("x-number", number.to_string())], "oh".to_owned()),
                _ => (axum::http::StatusCode::CREATED, [("x-number", number.to_string())], format!("number {number}")),
            }
        }
    };
    let caller = |request: &Request<Body>| Some(request.headers().get("x-caller")?.to_str().ok()?.to_owned());
    let app = Router::new().fallback(work).layer(IdempotencyLayer::new(Remembering::default(), caller));
    let ask = |path: &str, caller: &str, key: &str, body: &str| {
        let mut request = Request::post(path).header("idempotency-key", key);
        if !caller.is_empty() {
            request = request.header("x-caller", caller);
        }
        reply(&app, request.body(Body::from(body.to_owned())).unwrap())
    };
    let first = ask("/", "kim", "k1", "a").await;
    let again = ask("/", "kim", "k1", "a").await;
    assert_eq!((first.0, &first.2), (again.0, &again.2));
    assert!(again.1["idempotency-replayed"] == "true" && again.1["x-number"] == first.1["x-number"] && !first.1.contains_key("idempotency-replayed"));
    assert_eq!(count.load(Ordering::Relaxed), 1);
    assert_eq!(ask("/", "kim", "k1", "b").await.0, 422, "another body");
    assert_eq!(ask("/other", "kim", "k1", "a").await.0, 422, "another path");
    assert_eq!(ask("/", "lee", "k1", "b").await.0, 201, "somebody else's key");
    assert_eq!(ask("/", "", "k1", "a").await.0, 401);
    assert_eq!(ask("/", "kim", &"k".repeat(256), "a").await.0, 400);
    assert_eq!(ask("/", "kim", "k 1", "a").await.0, 400);
    // A refusal is not kept; an end that nobody knows is.
    assert_eq!((ask("/refused", "kim", "k2", "").await.0, ask("/refused", "kim", "k2", "").await.0), (403, 403));
    let before = count.load(Ordering::Relaxed);
    assert_eq!((ask("/broken", "kim", "k3", "").await.0, ask("/broken", "kim", "k3", "").await.0), (500, 409));
    assert_eq!(count.load(Ordering::Relaxed), before + 1);
    assert_eq!((ask("/see-other", "kim", "k6", "").await.0, ask("/see-other", "kim", "k6", "").await.0), (303, 303));
    assert_eq!((ask("/late", "kim", "k7", "").await.0, ask("/late", "kim", "k7", "").await.0), (408, 409));
    assert_eq!(count.load(Ordering::Relaxed), before + 3);
    // Fifty at once: one does it.
    let before = count.load(Ordering::Relaxed);
    let racers: Vec<_> = (0..50).map(|_| ask("/", "kim", "k4", "a")).collect();
    let statuses: Vec<u16> = futures_util::future::join_all(racers).await.into_iter().map(|reply| reply.0).collect();
    assert_eq!((statuses.iter().filter(|status| **status == 201).count(), count.load(Ordering::Relaxed)), (1, before + 1), "{statuses:?}");
    assert!(statuses.iter().all(|status| matches!(status, 201 | 409)));
    // A client that goes away in the middle.
    let gone = tokio::time::timeout(Duration::from_millis(5), ask("/", "kim", "k5", "a")).await;
    assert!(gone.is_err());
    assert_eq!(ask("/", "kim", "k5", "a").await.0, 409);
}
