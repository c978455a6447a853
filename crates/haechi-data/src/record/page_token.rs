//! Page tokens: the place where a page ended, sealed and bound to the caller and the query. A wrong token is an error, never page one.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use haechi_gate::Sealer;
use haechi_model::Value;

/// How long a token is good.
const TOKEN_MS: i64 = 24 * 3_600_000;
const MAX_BYTES: usize = 256 * 1024;

/// Seals the place after which the next page starts.
pub(crate) fn seal(sealer: &Sealer, place: &[Value], binding: &[u8], now_ms: i64) -> String {
    let plain = serde_json::to_vec(&(now_ms, place)).unwrap_or_default();
    URL_SAFE_NO_PAD.encode(sealer.seal(&plain, binding))
}

/// The place; `None` when the token is not for this query and caller, or too old.
pub(crate) fn open(sealer: &Sealer, token: &str, binding: &[u8], now_ms: i64) -> Option<Vec<Value>> {
    if token.len() > MAX_BYTES {
        return None;
    }
    let plain = sealer.open(&URL_SAFE_NO_PAD.decode(token).ok()?, binding)?;
    let (made_ms, place): (i64, Vec<Value>) = serde_json::from_slice(&plain).ok()?;
    (now_ms - made_ms < TOKEN_MS && made_ms - now_ms < TOKEN_MS).then_some(place)
}
