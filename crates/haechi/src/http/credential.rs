//! The one credential of a request: where it may stand, and what a cookie may do.

use axum::http::{HeaderMap, header};
use haechi_identity::Identity;
use haechi_problem::{Problem, kinds};

const MAX_TOKEN_BYTES: usize = 4096;
/// Open to a browser that sends a cookie of an ended session.
pub(crate) const WITHOUT_SESSION: [&str; 7] = [
    "/auth/v1/sign-in",
    "/auth/v1/sign-up",
    "/auth/v1/sign-out",
    "/auth/v1/password",
    "/auth/v1/setup",
    // What makes a page reload itself, in `dev`.
    "/dev/reload",
    "/dev/reload.js",
];

pub(crate) fn not_good() -> Problem {
    Problem::new(kinds::UNAUTHENTICATED, "The credential is not good.")
}

/// A credential, and whether it came in a cookie.
pub(crate) type Proved<'a> = (Option<&'a str>, bool);

/// The one credential of a request.
pub(crate) fn credential(headers: &HeaderMap) -> Result<Proved<'_>, Problem> {
    let cookie = Identity::from_cookies(headers).map_err(|error| error.problem())?;
    let mut found = headers.get_all(header::AUTHORIZATION).iter();
    let (token, in_cookie) = match (found.next(), cookie) {
        (None, None) => return Ok((None, false)),
        (Some(_), Some(_)) => return Err(Problem::new(kinds::MALFORMED, "Send a bearer token or a cookie, not both.")),
        (None, Some(cookie)) => (cookie, true),
        (Some(value), None) => {
            let text = value.to_str().map_err(|_| not_good())?;
            let token = text.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
            (token.ok_or_else(not_good)?, false)
        }
    };
    if found.next().is_some() || token.is_empty() || token.len() > MAX_TOKEN_BYTES {
        return Err(not_good());
    }
    Ok((Some(token), in_cookie))
}

/// Whether another site's page made a browser send it, except for a navigation to a page.
pub(crate) fn from_another_site(headers: &HeaderMap, path: &str) -> bool {
    let says = |name: &str, what: &str| headers.get(name).is_some_and(|value| value == what);
    let api = path.starts_with("/api/") || path.starts_with("/auth/") || path == "/graphql" || path.starts_with("/haechi.v1.");
    says("sec-fetch-site", "cross-site") && (api || !says("sec-fetch-mode", "navigate"))
}
