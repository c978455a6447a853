//! The encoding of an entry: one format byte, then fields in a fixed order.

use crate::tree::{Hash, digest};
use thiserror::Error;

/// The first format: it has no hash of the event.
const WITHOUT_EVENT: u8 = 1;
const FORMAT: u8 = 2;

/// One entry of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Id (UUIDv7).
    pub id: String,
    /// UTC milliseconds.
    pub time_ms: i64,
    /// Organisation; empty when there is none.
    pub organisation: String,
    /// Kind of actor.
    pub actor_kind: String,
    /// Id of the actor.
    pub actor_id: String,
    /// The verb.
    pub action: String,
    /// The target: `collection/id`, or a collection.
    pub target: String,
    /// `allowed`, `refused` …
    pub outcome: String,
    /// The request.
    pub request_id: String,
    /// Version of the policies.
    pub policy_version: String,
    /// The cause, when it follows from another action.
    pub cause: String,
    /// Keyed digest of the row's canonical after-image; empty when there is none.
    pub row_digest: Vec<u8>,
    /// `SHA-256(salt ‖ detail)`.
    pub commitment: Hash,
    /// `SHA-256` of the event for subscribers, or of nothing when there is none. Entries of the first format do not have it.
    pub event: Option<Hash>,
}

/// Bytes are not an entry.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum EntryError {
    /// The format byte is not known.
    #[error("the entry has an unknown format")]
    Format,
    /// The bytes end early, go on too long, or are not text where text belongs.
    #[error("the entry is malformed")]
    Malformed,
}

/// The event hash of an entry.
#[must_use]
pub fn event_hash(event: Option<&str>) -> Hash {
    digest(&[event.unwrap_or_default().as_bytes()])
}

/// The commitment to a detail.
#[must_use]
pub fn commitment(salt: &[u8], detail: &[u8]) -> Hash {
    digest(&[salt, detail])
}

impl Entry {
    /// As bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        out.push(if self.event.is_some() { FORMAT } else { WITHOUT_EVENT });
        out.extend_from_slice(&self.time_ms.to_be_bytes());
        out.extend_from_slice(&self.commitment);
        for text in [
            &self.id,
            &self.organisation,
            &self.actor_kind,
            &self.actor_id,
            &self.action,
            &self.target,
            &self.outcome,
            &self.request_id,
            &self.policy_version,
            &self.cause,
        ] {
            put(text.as_bytes(), &mut out);
        }
        put(&self.row_digest, &mut out);
        out.extend(self.event.iter().flatten());
        out
    }

    /// From bytes.
    ///
    /// # Errors
    /// When the bytes are not an entry of a known format.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EntryError> {
        let (format, mut rest) = bytes.split_first().ok_or(EntryError::Malformed)?;
        if ![WITHOUT_EVENT, FORMAT].contains(format) {
            return Err(EntryError::Format);
        }
        let time_ms = i64::from_be_bytes(*take::<8>(&mut rest)?);
        let commitment = *take::<32>(&mut rest)?;
        let mut entry = Self { time_ms, commitment, ..Self::default() };
        for field in [
            &mut entry.id,
            &mut entry.organisation,
            &mut entry.actor_kind,
            &mut entry.actor_id,
            &mut entry.action,
            &mut entry.target,
            &mut entry.outcome,
            &mut entry.request_id,
            &mut entry.policy_version,
            &mut entry.cause,
        ] {
            *field = String::from_utf8(get(&mut rest)?.to_vec()).map_err(|_| EntryError::Malformed)?;
        }
        entry.row_digest = get(&mut rest)?.to_vec();
        if *format == FORMAT {
            entry.event = Some(*take::<32>(&mut rest)?);
        }
        if rest.is_empty() { Ok(entry) } else { Err(EntryError::Malformed) }
    }
}

fn put(bytes: &[u8], out: &mut Vec<u8>) {
    let bytes = &bytes[..bytes.len().min(usize::from(u16::MAX))];
    out.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
    out.extend_from_slice(bytes);
}

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Result<&'a [u8; N], EntryError> {
    let (found, after) = rest.split_first_chunk::<N>().ok_or(EntryError::Malformed)?;
    *rest = after;
    Ok(found)
}

fn get<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], EntryError> {
    let length = usize::from(u16::from_be_bytes(*take::<2>(rest)?));
    let (found, after) = rest.split_at_checked(length).ok_or(EntryError::Malformed)?;
    *rest = after;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_round_trip_and_every_cut_is_refused() {
        let entry = Entry {
            id: "0192".into(),
            time_ms: -5,
            actor_kind: "user".into(),
            action: "create".into(),
            target: "notes/1".into(),
            row_digest: vec![7; 16],
            commitment: commitment(b"salt", b"{}"),
            ..Entry::default()
        };
        for event in [None, Some(event_hash(Some("{}")))] {
            let entry = Entry { event, ..entry.clone() };
            assert_eq!(Entry::from_bytes(&entry.to_bytes()), Ok(entry));
        }
        assert_ne!(event_hash(None), event_hash(Some("{}")));
        let bytes = Entry { event: Some([1; 32]), ..entry }.to_bytes();
        for end in 0..bytes.len() {
            assert!(Entry::from_bytes(&bytes[..end]).is_err());
        }
        assert_eq!(Entry::from_bytes(&[&bytes[..], &[0]].concat()), Err(EntryError::Malformed));
        assert_eq!(Entry::from_bytes(&[9]), Err(EntryError::Format));
    }
}
