//! Checks the host that a request names and the framing of its body, before anything else.

use crate::http::replies::Wire;
use haechi_problem::{Problem, kinds};
use http::{HeaderMap, Request, Version, header, uri::Authority};
use std::sync::Arc;

/// A request came over a connection, not from a program that calls the stack itself.
#[derive(Clone)]
pub(crate) struct FromWire(pub(crate) Arc<Wire>);

/// Refuses requests that name no host or two (RFC 9112 §3.2, RFC 9113 §8.3.1), and unknown framings.
///
/// `loopback_only`: during development, another site's page must not reach this server by a DNS name that leads here.
pub(crate) fn check<B>(request: &Request<B>, loopback_only: bool) -> Result<(), Problem> {
    let place = place(request).map_err(|what| Problem::new(kinds::MALFORMED, what))?;
    if loopback_only && !place.as_ref().is_none_or(is_loopback) {
        return Err(Problem::new(kinds::MALFORMED, "In development only names of this host are served: use localhost or 127.0.0.1."));
    }
    framing(request.headers())
}

fn place<B>(request: &Request<B>) -> Result<Option<Authority>, &'static str> {
    const BAD: &str = "Host must name one host, with a port at most.";
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(BAD);
    }
    let read = |text: &str| text.parse::<Authority>().ok().filter(|authority| !text.contains('@') && !authority.host().is_empty());
    let named = match host {
        None => None,
        Some(host) => Some(host.to_str().ok().and_then(read).ok_or(BAD)?),
    };
    match (request.uri().authority(), named) {
        (Some(target), _) if target.as_str().contains('@') => Err(BAD),
        // Both may be there, and must be the same.
        (Some(target), Some(named)) if *target != named && request.version() == Version::HTTP_2 => Err(BAD),
        (Some(target), _) => Ok(Some(target.clone())),
        (None, Some(named)) => Ok(Some(named)),
        // Only HTTP/1.0 has requests without a host.
        (None, None) if request.version() < Version::HTTP_11 => Ok(None),
        (None, None) => Err(BAD),
    }
}

fn is_loopback(place: &Authority) -> bool {
    let host = place.host().trim_end_matches('.');
    let name = host.eq_ignore_ascii_case("localhost") || host.len() > 10 && host[host.len() - 10..].eq_ignore_ascii_case(".localhost");
    name || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Only one coding is supported, `chunked`, once.
fn framing(headers: &HeaderMap) -> Result<(), Problem> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let understood = match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => coding.as_bytes().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    };
    if understood {
        Ok(())
    } else {
        Err(Problem::new(kinds::NOT_IMPLEMENTED, "Send the body as it is, with Content-Length or as one chunked coding."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(version: Version, target: &str, hosts: &[&str]) -> Request<()> {
        let mut request = Request::builder().version(version).uri(target);
        for host in hosts {
            request = request.header(header::HOST, *host);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn a_request_names_one_place() {
        for (version, target, hosts, good) in [
            (Version::HTTP_11, "/", &["example.com"][..], true),
            (Version::HTTP_11, "/", &["example.com:8080"], true),
            (Version::HTTP_11, "/", &["[::1]:8080"], true),
            (Version::HTTP_10, "/", &[], true),
            (Version::HTTP_11, "/", &[], false),
            (Version::HTTP_11, "/", &[""], false),
            (Version::HTTP_11, "/", &["a", "b"], false),
            (Version::HTTP_11, "/", &["a", "a"], false),
            (Version::HTTP_11, "/", &["user@example.com"], false),
            (Version::HTTP_11, "/", &["exa mple.com"], false),
            (Version::HTTP_11, "/", &["example.com/x"], false),
            (Version::HTTP_11, "http://example.com/", &["example.com"], true),
            (Version::HTTP_2, "https://example.com/", &[], true),
            (Version::HTTP_2, "https://example.com/", &["example.com"], true),
            (Version::HTTP_2, "https://example.com/", &["other.example"], false),
        ] {
            assert_eq!(check(&request(version, target, hosts), false).is_ok(), good, "{version:?} {target} {hosts:?}");
        }
    }

    /// DNS rebinding: the name of another site leads to loopback.
    #[test]
    fn in_development_only_names_of_this_host_are_served() {
        for host in ["localhost", "localhost:8080", "LOCALHOST", "app.localhost", "127.0.0.1:80", "127.9.9.9", "[::1]:80", "localhost."] {
            assert!(check(&request(Version::HTTP_11, "/", &[host]), true).is_ok(), "{host}");
        }
        for host in ["example.com", "localhost.example.com", "notlocalhost", "10.0.0.1", "0.0.0.0", "[::2]", "xlocalhost:80"] {
            assert!(check(&request(Version::HTTP_11, "/", &[host]), true).is_err(), "{host}");
            assert!(check(&request(Version::HTTP_11, "/", &[host]), false).is_ok(), "{host}");
        }
    }

    #[test]
    fn one_chunked_coding_is_understood() {
        let with = |codings: &[&str]| {
            let mut found = request(Version::HTTP_11, "/", &["a"]);
            for coding in codings {
                found.headers_mut().append(header::TRANSFER_ENCODING, coding.parse().unwrap());
            }
            check(&found, false).map_err(|problem| problem.kind.status)
        };
        assert_eq!((with(&[]), with(&["chunked"]), with(&["Chunked"])), (Ok(()), Ok(()), Ok(())));
        for codings in [&["gzip, chunked"][..], &["chunked", "chunked"], &["chunked, chunked"], &["identity"], &["gzip", "chunked"]] {
            assert_eq!(with(codings), Err(501), "{codings:?}");
        }
    }
}
