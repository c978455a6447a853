//! Remembers callers by the hash of their verified credential; forgets them at once when revoked.

use crate::caller::{Caller, CallerKind};
use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// One for each first digit of a hash, so that callers seldom wait for each other.
const SHARDS: usize = 16;
/// Most credentials in a shard. When it is full it is emptied, and credentials are verified again.
const REMEMBERED_PER_SHARD: usize = 8_192;

struct Remembered {
    caller: Caller,
    from_ms: i64,
    until_ms: i64,
}

/// A part of the memory that must be forgotten once the change is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Revocation {
    /// One credential, by the hash of its bytes as the table's id.
    Credential(Box<str>),
    /// All of a user's.
    User(Box<str>),
    /// All credentials.
    All,
}

/// What is remembered of verified credentials.
pub(crate) struct Memory {
    shards: Vec<Mutex<HashMap<Box<str>, Remembered>>>,
    /// Raised by every revocation: a verification that began before it is not remembered.
    epoch: AtomicU64,
}

impl Memory {
    pub(crate) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), epoch: AtomicU64::new(0) }
    }

    /// The remembered caller of a credential, if still valid; otherwise the current epoch, for the verification.
    pub(crate) fn known(&self, hash: &str, now_ms: i64) -> Result<Caller, u64> {
        let epoch = self.epoch.load(Ordering::Acquire);
        match locked(self.shard(hash)).get(hash) {
            Some(found) if (found.from_ms..found.until_ms).contains(&now_ms) => Ok(found.caller.clone()),
            _ => Err(epoch),
        }
    }

    /// Remembers a caller between two times, unless something was revoked since that epoch.
    pub(crate) fn remember(&self, hash: Box<str>, epoch: u64, caller: &Caller, (from_ms, until_ms): (i64, i64)) {
        let mut shard = locked(self.shard(&hash));
        if self.epoch.load(Ordering::Acquire) != epoch {
            return;
        }
        if shard.len() >= REMEMBERED_PER_SHARD {
            shard.clear();
        }
        shard.insert(hash, Remembered { caller: caller.clone(), from_ms, until_ms });
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
