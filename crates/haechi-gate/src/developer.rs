//! Tokens of developers: they name a user, and are valid for an hour at a process that serves `dev`.

use crate::keys::{MasterKey, Purpose, hex, unhex};
use aws_lc_rs::hmac;

const DEV_PREFIX: &str = "haechi_dev_";
/// How long a developer's token lives.
const DEV_TOKEN_MS: i64 = 3_600_000;

/// A developer's token for a user, valid for an hour at a process that serves `dev` with the same master key.
#[must_use]
pub fn dev_token(master: &MasterKey, user_id: &str, now_ms: i64) -> String {
    let claims = format!("{user_id}.{}", now_ms + DEV_TOKEN_MS);
    let tag = hmac::sign(&master.hmac(Purpose::DeveloperToken), claims.as_bytes());
    format!("{DEV_PREFIX}{claims}.{}", hex(tag.as_ref()))
}

/// Verifies developers' tokens; `None` where they are not accepted.
pub(crate) struct Developers(Option<hmac::Key>);

impl Developers {
    pub(crate) fn new(master: &MasterKey, accepted: bool) -> Self {
        Self(accepted.then(|| master.hmac(Purpose::DeveloperToken)))
    }

    /// The user and the expiry of a token; `None` unless it is genuine and not expired.
    pub(crate) fn stated(&self, token: &str, now_ms: i64) -> Option<(String, i64)> {
        let key = self.0.as_ref()?;
        let (claims, tag) = token.strip_prefix(DEV_PREFIX)?.rsplit_once('.')?;
        hmac::verify(key, claims.as_bytes(), &unhex(tag)?).ok()?;
        let (user, expires) = claims.split_once('.')?;
        let expires: i64 = expires.parse().ok()?;
        (now_ms < expires && expires - now_ms <= DEV_TOKEN_MS).then(|| (user.to_owned(), expires))
    }
}
