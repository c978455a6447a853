//! Credentials to callers: what was verified is remembered by the hash of its bytes, and forgotten at once when revoked.

use crate::{
    caller::{Caller, CallerKind, Credential, Scope},
    gate::Inner,
    keys::{MasterKey, hex, unhex},
    system_work::Revocation,
};
use aws_lc_rs::{digest, hmac};
use haechi_model::{Row, Value, person};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

const DEV_PREFIX: &str = "haechi_dev_";
const DEV_PURPOSE: &str = "developer token";
/// How long a developer's token lives.
const DEV_TOKEN_MS: i64 = 3_600_000;
/// Where other nodes may revoke, a remembered credential is checked again after this long.
const REMEMBERED_SHARED_MS: i64 = 1_000;
/// On the only node: long enough to cost nothing, short enough that idle times are kept up to date.
const REMEMBERED_ALONE_MS: i64 = 60_000;
const SHARDS: usize = 16;
const REMEMBERED_PER_SHARD: usize = 8_192;

struct Remembered {
    caller: Caller,
    from_ms: i64,
    until_ms: i64,
}

/// A developer's token for a user, good for an hour at a process that serves `dev` with the same master key.
#[must_use]
pub fn dev_token(master: &MasterKey, user_id: &str, now_ms: i64) -> String {
    let claims = format!("{user_id}.{}", now_ms + DEV_TOKEN_MS);
    let tag = hmac::sign(&master.hmac(DEV_PURPOSE), claims.as_bytes());
    format!("{DEV_PREFIX}{claims}.{}", hex(tag.as_ref()))
}

/// SHA-256 of a credential in lower-case hexadecimal: how it is named in tables and in memory.
#[must_use]
pub fn credential_hash(token: &str) -> String {
    hex(digest::digest(&digest::SHA256, token.as_bytes()).as_ref())
}

/// What is remembered of verified credentials.
pub(crate) struct Memory {
    dev_key: Option<hmac::Key>,
    shards: Vec<Mutex<HashMap<Box<str>, Remembered>>>,
    /// Raised by every revocation: what began to be verified before it is not remembered.
    epoch: AtomicU64,
}

impl Memory {
    pub(crate) fn new(master: &MasterKey, dev_tokens: bool) -> Self {
        let dev_key = dev_tokens.then(|| master.hmac(DEV_PURPOSE));
        Self { dev_key, shards: (0..SHARDS).map(|_| Mutex::default()).collect(), epoch: AtomicU64::new(0) }
    }

    pub(crate) fn forget(&self, revocation: &Revocation) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
        match revocation {
            Revocation::All => self.shards.iter().for_each(|shard| locked(shard).clear()),
            Revocation::Credential(hash) => drop(locked(self.shard(hash)).remove(&**hash)),
            Revocation::User(user) => {
                let theirs = |caller: &Caller| caller.kind() == CallerKind::User && caller.id() == &**user;
                self.shards.iter().for_each(|shard| locked(shard).retain(|_, known| !theirs(&known.caller)));
            }
        }
    }

    fn shard(&self, hash: &str) -> &Mutex<HashMap<Box<str>, Remembered>> {
        // A hash is written in hexadecimal digits: the first of them names one of sixteen.
        let digit = hash.chars().next().and_then(|digit| digit.to_digit(16)).unwrap_or_default();
        &self.shards[digit as usize % SHARDS]
    }
}

fn locked(shard: &Mutex<HashMap<Box<str>, Remembered>>) -> MutexGuard<'_, HashMap<Box<str>, Remembered>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The key to making callers. There is one for each gate; whoever holds it has verified a credential.
pub struct Authenticator {
    gate: Arc<Inner>,
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

/// How somebody signed in, for a caller that is being made.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// What the credential is.
    pub credential: Credential,
    /// What it is limited to; everything when `None`.
    pub scope: Option<Scope>,
}

impl Authenticator {
    pub(crate) fn new(gate: Arc<Inner>) -> Self {
        Self { gate }
    }

    /// Looks up a credential among those that were verified.
    #[must_use]
    pub fn known(&self, token: &str) -> Known {
        let memory = &self.gate.memory;
        let (hash, epoch, now) = (credential_hash(token), memory.epoch.load(Ordering::Acquire), self.gate.clock.now_ms());
        match locked(memory.shard(&hash)).get(&*hash) {
            Some(found) if (found.from_ms..found.until_ms).contains(&now) => Known::Caller(found.caller.clone()),
            _ => Known::Unknown(Pending { hash: hash.into(), epoch }),
        }
    }

    /// Remembers a verified credential for a while, at most until it ends. Not when something was revoked meanwhile.
    pub fn remember(&self, pending: Pending, caller: &Caller, ends_ms: i64) {
        let memory = &self.gate.memory;
        let now = self.gate.clock.now_ms();
        let alone = self.gate.store.dialect() == haechi_store::Dialect::Sqlite;
        let until_ms = ends_ms.min(now + if alone { REMEMBERED_ALONE_MS } else { REMEMBERED_SHARED_MS });
        let mut shard = locked(memory.shard(&pending.hash));
        if memory.epoch.load(Ordering::Acquire) != pending.epoch {
            return;
        }
        if shard.len() >= REMEMBERED_PER_SHARD {
            shard.clear();
        }
        shard.insert(pending.hash, Remembered { caller: caller.clone(), from_ms: now, until_ms });
    }

    /// The caller that a row of `users` is; `None` when disabled.
    #[must_use]
    pub fn user(&self, row: Row, signed_in: SignedIn) -> Option<Caller> {
        user(row, signed_in)
    }

    /// A program with roles of its own.
    #[must_use]
    pub fn service(&self, name: &str, roles: Vec<Box<str>>, signed_in: SignedIn) -> Caller {
        Caller::new(CallerKind::Service, name, roles, Row::new(), signed_in)
    }

    /// The user and the expiry that a developer's token states, when it is genuine and alive, and this is `dev`.
    #[must_use]
    pub fn developer(&self, token: &str) -> Option<(String, i64)> {
        let key = self.gate.memory.dev_key.as_ref()?;
        let (claims, tag) = token.strip_prefix(DEV_PREFIX)?.rsplit_once('.')?;
        hmac::verify(key, claims.as_bytes(), &unhex(tag)?).ok()?;
        let (user, expires) = claims.split_once('.')?;
        let (expires, now): (i64, i64) = (expires.parse().ok()?, self.gate.clock.now_ms());
        (now < expires && expires - now <= DEV_TOKEN_MS).then(|| (user.to_owned(), expires))
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
