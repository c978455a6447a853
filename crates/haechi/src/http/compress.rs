//! Compresses replies over a kibibyte for clients that accept gzip.
//!
//! Not when the request has a cookie: a browser sends it by itself, so another site's page could vary a request, and the length of the
//! compressed reply would reveal what else is in it (BREACH). Browsers do not send bearer tokens by themselves. Replies that set a cookie,
//! streams, and partial replies are not compressed either.

use axum::{
    body::{Body, HttpBody},
    http::{HeaderMap, HeaderValue, Response, header},
};
use flate2::{Compression, write::GzEncoder};
use std::io::Write;

/// Shorter replies are sent as they are: they fit into a packet.
const FROM_BYTES: u64 = 1024;
/// Longer replies are compressed on another thread, so that no other request waits.
const ASIDE_BYTES: usize = 64 * 1024;

/// Whether a reply may be compressed: the request accepts gzip, and has no cookie.
pub(crate) fn wanted(headers: &HeaderMap) -> bool {
    !headers.contains_key(header::COOKIE) && accepts_gzip(headers)
}

/// Whether a request accepts gzip (RFC 9110, section 12.5.3).
pub(crate) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let mut best = None;
    for value in headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok()) {
        for part in value.split(',') {
            let (coding, weight) = part.split_once(';').unwrap_or((part, ""));
            let (coding, weight) = (coding.trim(), weight.trim());
            let refused = weight.strip_prefix("q=").is_some_and(|weight| weight.trim_matches(['0', '.']).is_empty());
            match coding {
                _ if coding.eq_ignore_ascii_case("gzip") || coding.eq_ignore_ascii_case("x-gzip") => best = Some(!refused),
                "*" if best.is_none() => best = Some(!refused),
                _ => {}
            }
        }
    }
    best.unwrap_or(false)
}

/// Compresses a reply that may be, and says of those that might have been that they depend on what the client takes.
pub(crate) async fn reply(mut response: Response<Body>, wanted: bool) -> Response<Body> {
    if !compressible(&response) {
        return response;
    }
    response.headers_mut().append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    // On the heap, so that requests without compression do not carry its state.
    if wanted { Box::pin(packed(response)).await } else { response }
}

async fn packed(response: Response<Body>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    // The body is complete: its length is known.
    let Ok(plain) = axum::body::to_bytes(body, usize::MAX).await else { return Response::from_parts(parts, Body::empty()) };
    let packed = if plain.len() < ASIDE_BYTES {
        gzip(&plain)
    } else {
        let aside = plain.clone();
        tokio::task::spawn_blocking(move || gzip(&aside)).await.ok().flatten()
    };
    let Some(packed) = packed.filter(|packed| packed.len() < plain.len()) else { return Response::from_parts(parts, Body::from(plain)) };
    parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    parts.headers.remove(header::CONTENT_LENGTH);
    // Other bytes are another representation: the tag keeps its version and becomes weak.
    let weak = parts.headers.get(header::ETAG).and_then(|tag| tag.to_str().ok()).filter(|tag| tag.starts_with('"')).map(|tag| format!("W/{tag}"));
    if let Some(weak) = weak.and_then(|weak| HeaderValue::try_from(weak).ok()) {
        parts.headers.insert(header::ETAG, weak);
    }
    Response::from_parts(parts, Body::from(packed))
}

fn compressible(response: &Response<Body>) -> bool {
    let headers = response.headers();
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let text = kind.starts_with("text/") && kind != "text/event-stream" || kind == "application/json" || kind.ends_with("+json");
    // Files of the site, which can be asked for in parts, are compressed where they are kept.
    let never = [header::CONTENT_ENCODING, header::CONTENT_RANGE, header::SET_COOKIE, header::ACCEPT_RANGES];
    text && response.body().size_hint().exact().is_some_and(|length| length >= FROM_BYTES) && never.iter().all(|name| !headers.contains_key(name))
}

fn gzip(plain: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 4), Compression::fast());
    encoder.write_all(plain).ok()?;
    encoder.finish().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(lines: &[(&str, &str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(axum::http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        wanted(&headers)
    }

    #[test]
    fn gzip_is_sent_to_who_takes_it() {
        for good in ["gzip", "br, gzip;q=0.5", "*", "gzip;q=0.001", "identity, gzip"] {
            assert!(takes(&[("accept-encoding", good)]), "{good}");
        }
        for bad in ["", "br", "gzip;q=0", "gzip;q=0.000", "*;q=0", "gzip;q=0, *"] {
            assert!(!takes(&[("accept-encoding", bad)]), "{bad}");
        }
        assert!(!takes(&[]));
        assert!(!takes(&[("accept-encoding", "gzip"), ("cookie", "a=b")]), "a cookie comes by itself");
    }
}
