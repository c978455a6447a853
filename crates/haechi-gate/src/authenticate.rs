//! Credentials to callers. Verified ones are remembered by the hash of their bytes; revocation is instant.

use crate::{
    caller::{Caller, CallerKind},
    clock::Clock,
    keys::MasterKey,
};
use aws_lc_rs::{digest, hmac};
use haechi_model::{App, Failure, Row, USERS};
use haechi_store::Store;
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

const DEV_PREFIX: &str = "haechi_dev_";
const DEV_PURPOSE: &str = "developer token";
/// How long a developer's token lives.
const DEV_TOKEN_MS: i64 = 3_600_000;
/// Where other nodes may revoke, a remembered credential is checked again after this long.
const REMEMBERED_MS: i64 = 1_000;
const SHARDS: usize = 16;
const REMEMBERED_PER_SHARD: usize = 8_192;

/// Why a credential is not accepted. All look alike from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthError {
    /// Malformed, forged, expired, revoked or of a disabled user.
    Invalid,
    /// It could not be checked.
    Unavailable,
}

struct Remembered {
    caller: Caller,
    epoch: u64,
    until_ms: i64,
}

/// A developer's token for a user, good for an hour at a process that serves `dev` with the same master key.
#[must_use]
pub fn dev_token(master: &MasterKey, user_id: &str, now_ms: i64) -> String {
    let claims = format!("{user_id}.{}", now_ms + DEV_TOKEN_MS);
    let tag = hmac::sign(&master.hmac(DEV_PURPOSE), claims.as_bytes());
    let tag: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{DEV_PREFIX}{claims}.{tag}")
}

/// Checks credentials.
pub(crate) struct Authenticator {
    dev_key: Option<hmac::Key>,
    remembered: Vec<Mutex<HashMap<[u8; 32], Remembered>>>,
    /// Raised by every commit that writes `users`: older memories are checked again.
    epoch: AtomicU64,
    clock: Arc<dyn Clock>,
}

impl Authenticator {
    pub(crate) fn new(master: &MasterKey, dev_tokens: bool, clock: Arc<dyn Clock>) -> Self {
        let dev_key = dev_tokens.then(|| master.hmac(DEV_PURPOSE));
        Self { dev_key, remembered: (0..SHARDS).map(|_| Mutex::default()).collect(), epoch: AtomicU64::new(0), clock }
    }

    pub(crate) fn forget_users(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// The caller that a bearer token stands for.
    pub(crate) async fn authenticate(&self, token: &str, app: &App, store: &Store) -> Result<Caller, AuthError> {
        let now = self.clock.now_ms();
        let mut name = [0; 32];
        name.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        let shard = &self.remembered[usize::from(name[0]) % SHARDS];
        let epoch = self.epoch.load(Ordering::Acquire);
        if let Some(found) = shard.lock().unwrap_or_else(PoisonError::into_inner).get(&name)
            && found.epoch == epoch
            && now < found.until_ms
            && now > found.until_ms - DEV_TOKEN_MS
        {
            return Ok(found.caller.clone());
        }
        let (user_id, expires) = self.verify(token, now)?;
        let row = store.row(USERS, &user_id).await.map_err(|_: Failure| AuthError::Unavailable)?.ok_or(AuthError::Invalid)?;
        let caller = user(app, &user_id, row).ok_or(AuthError::Invalid)?;
        let limit = if store.dialect() == haechi_store::Dialect::Sqlite { expires } else { expires.min(now + REMEMBERED_MS) };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if shard.len() >= REMEMBERED_PER_SHARD {
            shard.clear();
        }
        shard.insert(name, Remembered { caller: caller.clone(), epoch, until_ms: limit });
        Ok(caller)
    }

    /// The user and the expiry that a developer's token states, when it is genuine and alive.
    fn verify(&self, token: &str, now: i64) -> Result<(String, i64), AuthError> {
        let key = self.dev_key.as_ref().ok_or(AuthError::Invalid)?;
        let body = token.strip_prefix(DEV_PREFIX).ok_or(AuthError::Invalid)?;
        let (claims, tag) = body.rsplit_once('.').ok_or(AuthError::Invalid)?;
        let tag = unhex(tag).ok_or(AuthError::Invalid)?;
        hmac::verify(key, claims.as_bytes(), &tag).map_err(|_| AuthError::Invalid)?;
        let (user, expires) = claims.split_once('.').ok_or(AuthError::Invalid)?;
        let expires: i64 = expires.parse().map_err(|_| AuthError::Invalid)?;
        if now >= expires || expires - now > DEV_TOKEN_MS {
            return Err(AuthError::Invalid);
        }
        Ok((user.to_owned(), expires))
    }
}

/// The caller that a row of `users` is; `None` when disabled.
fn user(app: &App, id: &str, row: Row) -> Option<Caller> {
    let users = &app.collections[USERS];
    let value = |name: &str| users.field(name).and_then(|field| row.get(field));
    if value("disabled").and_then(haechi_model::Value::as_int) != Some(0) {
        return None;
    }
    let roles: Vec<String> =
        value("roles").and_then(haechi_model::Value::as_text).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    Some(Caller::new(CallerKind::User, id, roles.into_iter().map(Into::into).collect(), row))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}
