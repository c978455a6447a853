//! Turns verified credentials into callers. No other code makes callers.

use crate::{
    caller::{Caller, CallerKind, SignedIn},
    keys::hex,
    shared::Shared,
};
use aws_lc_rs::digest;
use haechi_model::{Row, Value, person};
use std::sync::Arc;

/// Where other nodes may revoke, a remembered credential is checked again after this long.
const REMEMBERED_SHARED_MS: i64 = 1_000;
/// On the only node: long enough to cost nothing, short enough that idle times are kept up to date.
const REMEMBERED_ALONE_MS: i64 = 60_000;
/// SHA-256 of a credential in lower-case hexadecimal: how it is named in tables and in memory.
#[must_use]
pub fn credential_hash(token: &str) -> String {
    hex(digest::digest(&digest::SHA256, token.as_bytes()).as_ref())
}

/// The key to making callers. There is one for each gate; code that holds it must have verified a credential.
pub struct Authenticator {
    shared: Arc<Shared>,
}

/// What is known of a credential's bytes.
pub enum Known {
    /// It was verified before, and nothing was revoked since.
    Caller(Caller),
    /// It has to be verified.
    Unknown(Pending),
}

/// A credential that is being verified.
pub struct Pending {
    /// SHA-256 of its bytes in hexadecimal.
    pub hash: Box<str>,
    epoch: u64,
}

impl Authenticator {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Looks up a credential among those that were verified.
    #[must_use]
    pub fn known(&self, token: &str) -> Known {
        let hash = credential_hash(token);
        match self.shared.memory.known(&hash, self.shared.clock.now_ms()) {
            Ok(caller) => Known::Caller(caller),
            Err(epoch) => Known::Unknown(Pending { hash: hash.into(), epoch }),
        }
    }

    /// Remembers a verified credential for a while, at most until it ends. Does nothing when something was revoked meanwhile.
    pub fn remember(&self, pending: Pending, caller: &Caller, ends_ms: i64) {
        let now = self.shared.clock.now_ms();
        let shared = self.shared.store.is_shared();
        let until_ms = ends_ms.min(now + if shared { REMEMBERED_SHARED_MS } else { REMEMBERED_ALONE_MS });
        self.shared.memory.remember(pending.hash, pending.epoch, caller, (now, until_ms));
    }

    /// The caller for a row of `users`; `None` when the person is disabled.
    #[must_use]
    pub fn user(&self, row: Row, signed_in: SignedIn) -> Option<Caller> {
        user(row, signed_in)
    }

    /// A service, with its own roles.
    #[must_use]
    pub fn service(&self, name: &str, roles: Vec<Box<str>>, signed_in: SignedIn) -> Caller {
        Caller::new(CallerKind::Service, name, roles, Row::new(), signed_in)
    }

    /// The user and the expiry of a developer's token; `None` unless it is genuine, not expired, and this is `dev`.
    #[must_use]
    pub fn developer(&self, token: &str) -> Option<(String, i64)> {
        self.shared.developers.stated(token, self.shared.clock.now_ms())
    }
}

fn user(row: Row, signed_in: SignedIn) -> Option<Caller> {
    if row.get(person::DISABLED).and_then(Value::as_int) != Some(0) {
        return None;
    }
    let roles: Vec<String> = row.get(person::ROLES).and_then(Value::as_text).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let id = row.first().and_then(Value::as_text)?.to_owned();
    Some(Caller::new(CallerKind::User, &id, roles.into_iter().map(Into::into).collect(), row, signed_in))
}
