//! Cookies for browsers, and the proof that a request with one comes from our own page.

use crate::{Inner, error::IdentityError};
use haechi_gate::{Caller, Credential};
use http::{HeaderMap, header};

/// The `__Host-` prefix binds it to this host, over TLS, on every path (RFC 6265bis §4.1.3).
pub(crate) const SESSION: &str = "__Host-haechi_session";
pub(crate) const DEVICE: &str = "__Host-haechi_device";
const CSRF_HEADER: &str = "x-csrf-token";
/// More cookie bytes than an honest client sends.
const MAX_BYTES: usize = 8 * 1024;
const YEAR_S: i64 = 365 * 24 * 3600;

/// A cookie that scripts cannot read and other sites cannot send.
pub(super) fn set(name: &str, value: &str, max_age_s: i64) -> String {
    format!("{name}={value}; Path=/; Max-Age={max_age_s}; Secure; HttpOnly; SameSite=Lax")
}

pub(super) fn device(value: &str) -> String {
    set(DEVICE, value, YEAR_S)
}

/// The value of a cookie. Two cookies of one name, or a broken header, are an error: there is no guessing.
pub(crate) fn from_cookies<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, IdentityError> {
    let broken = || IdentityError::Shape("The Cookie header cannot be read, or names a cookie twice.");
    let (mut found, mut bytes) = (None, 0);
    for value in headers.get_all(header::COOKIE) {
        let text = value.to_str().map_err(|_| broken())?;
        bytes += text.len();
        if bytes > MAX_BYTES {
            return Err(broken());
        }
        for pair in text.split(';').map(str::trim).filter(|pair| !pair.is_empty()) {
            let Some((_, value)) = pair.split_once('=').filter(|(key, _)| *key == name) else { continue };
            if found.replace(value).is_some() {
                return Err(broken());
            }
        }
    }
    Ok(found)
}

/// The token that a page sends with requests that change data.
pub(crate) fn csrf_token(inner: &Inner, session_hash: &str) -> String {
    inner.csrf.hex(session_hash.as_bytes())
}

/// Whether a request carries the token that is bound to its session. The stack checks the origin.
pub(crate) fn proven(inner: &Inner, caller: &Caller, headers: &HeaderMap) -> bool {
    let Credential::Session { hash, cookie: true, .. } = caller.credential() else { return false };
    let token = headers.get(CSRF_HEADER).and_then(|value| value.to_str().ok());
    token.is_some_and(|token| inner.csrf.is_hex(hash.as_bytes(), token))
}
