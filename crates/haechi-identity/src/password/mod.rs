//! Passwords: which are good enough, how they are kept, how they are changed.

mod actions;
mod guessable;
mod hash;
mod http;

pub(crate) use hash::{Hasher, dummy};
pub(crate) use http::routes;

use crate::error::IdentityError;

/// Fewest characters of a password that is the only factor (NIST SP 800-63B-4 §3.1.1.2).
pub(crate) const MIN_CHARS: usize = 15;
/// Most bytes: more are refused, never cut.
pub(crate) const MAX_BYTES: usize = 1024;

/// Whether a password may be chosen. `about` are words related to the person or the service.
pub(crate) fn acceptable(password: &str, about: &[&str], pointer: &str) -> Result<(), IdentityError> {
    let refused = |code, detail: &str| Err(IdentityError::field(pointer, code, detail));
    if password.len() > MAX_BYTES {
        return refused("too_long", "has more than 1024 bytes");
    }
    if password.chars().count() < MIN_CHARS {
        return refused("too_short", "has fewer than 15 characters; a few words make a good password");
    }
    if guessable::is_common(password) {
        return refused("common", "is among the first that an attacker tries");
    }
    if guessable::is_monotonous(password) {
        return refused("common", "repeats or counts; choose words that do not follow from each other");
    }
    if guessable::says_little_beyond(password, about) {
        return refused("guessable", "is little more than your address or the name of the service");
    }
    Ok(())
}
