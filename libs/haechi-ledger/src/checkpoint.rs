//! Signed checkpoints: C2SP `tlog-checkpoint` notes with one Ed25519 signature (C2SP `signed-note`).

use crate::tree::{Hash, digest};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::STANDARD};
use thiserror::Error;

const ED25519_TYPE: u8 = 1;
/// What begins the line with the time.
const TIME: &str = "time ";

/// What a checkpoint states: the log had this root at this size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Name of the log.
    pub origin: String,
    /// How many entries it had.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
    /// When it was signed, UTC milliseconds; older notes do not say it.
    pub time_ms: Option<i64>,
}

/// A note is not a checkpoint that this key signed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum NoteError {
    /// The text is not a checkpoint.
    #[error("the note is not a checkpoint")]
    Malformed,
    /// No signature line is by this key.
    #[error("the note carries no signature by this key")]
    Unsigned,
    /// The signature by this key is wrong.
    #[error("the note's signature is wrong")]
    Forged,
    /// The key material is unusable.
    #[error("the key cannot be used")]
    Key,
}

/// Signs checkpoints.
pub struct Signer {
    name: String,
    key: Ed25519KeyPair,
}

/// Verifies checkpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verifier {
    name: String,
    key: Vec<u8>,
}

impl Signer {
    /// A signer from a 32-byte seed. The name is also the log's origin.
    ///
    /// # Errors
    /// When the seed is not usable.
    pub fn new(name: &str, seed: &[u8]) -> Result<Self, NoteError> {
        let key = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| NoteError::Key)?;
        Ok(Self { name: name.to_owned(), key })
    }

    /// The verifier of this signer's notes.
    #[must_use]
    pub fn verifier(&self) -> Verifier {
        Verifier { name: self.name.clone(), key: self.key.public_key().as_ref().to_vec() }
    }

    /// The signed note of a tree; the time stands in an extension line.
    #[must_use]
    pub fn sign(&self, size: u64, root: &Hash, time_ms: i64) -> String {
        let text = format!("{}\n{size}\n{}\n{TIME}{time_ms}\n", self.name, base64(root));
        let mut signature = key_id(&self.name, self.key.public_key().as_ref()).to_vec();
        signature.extend_from_slice(self.key.sign(text.as_bytes()).as_ref());
        format!("{text}\n\u{2014} {} {}\n", self.name, base64(&signature))
    }
}

impl Verifier {
    /// From the text form, `name+keyid+key`.
    ///
    /// # Errors
    /// When the text is not a verifier key.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let (rest, key) = text.trim().rsplit_once('+').ok_or(NoteError::Key)?;
        let (name, id) = rest.rsplit_once('+').ok_or(NoteError::Key)?;
        let bytes = unbase64(key).ok_or(NoteError::Key)?;
        let (ty, key) = bytes.split_first().ok_or(NoteError::Key)?;
        let found = key_id(name, key).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        if *ty != ED25519_TYPE || key.len() != 32 || found != id {
            return Err(NoteError::Key);
        }
        Ok(Self { name: name.to_owned(), key: key.to_vec() })
    }

    /// The text form, `name+keyid+key`.
    #[must_use]
    pub fn to_text(&self) -> String {
        let id = key_id(&self.name, &self.key).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let mut key = vec![ED25519_TYPE];
        key.extend_from_slice(&self.key);
        format!("{}+{id}+{}", self.name, base64(&key))
    }

    /// Reads a note and verifies its signature.
    ///
    /// # Errors
    /// When the note is malformed, unsigned by this key, or forged.
    pub fn verify(&self, note: &str) -> Result<Checkpoint, NoteError> {
        let (text, signatures) = note.split_once("\n\n").ok_or(NoteError::Malformed)?;
        let text = format!("{text}\n");
        let mut lines = text.lines();
        let mut line = || lines.next().ok_or(NoteError::Malformed);
        let (origin, size, root) = (line()?, line()?, line()?);
        let canonical: u64 = size.parse().map_err(|_| NoteError::Malformed)?;
        let root: Hash = unbase64(root).and_then(|bytes| bytes.try_into().ok()).ok_or(NoteError::Malformed)?;
        if canonical.to_string() != size || origin != self.name {
            return Err(NoteError::Malformed);
        }
        let mine = |line: &str| {
            let (name, signature) = line.strip_prefix("\u{2014} ")?.rsplit_once(' ')?;
            let bytes = unbase64(signature)?;
            let (id, signature) = bytes.split_first_chunk::<4>()?;
            (name == self.name && *id == key_id(&self.name, &self.key)).then(|| signature.to_vec())
        };
        let signature = signatures.lines().find_map(mine).ok_or(NoteError::Unsigned)?;
        UnparsedPublicKey::new(&ED25519, &self.key).verify(text.as_bytes(), &signature).map_err(|_| NoteError::Forged)?;
        let time_ms = lines.find_map(|line| line.strip_prefix(TIME)).and_then(|time| time.parse().ok());
        Ok(Checkpoint { origin: origin.to_owned(), size: canonical, root, time_ms })
    }
}

fn key_id(name: &str, key: &[u8]) -> [u8; 4] {
    let hash = digest(&[name.as_bytes(), b"\n", &[ED25519_TYPE], key]);
    [hash[0], hash[1], hash[2], hash[3]]
}

fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Strict: one text for each sequence of bytes.
fn unbase64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_verify_and_every_changed_byte_is_found() {
        let signer = Signer::new("clinic.example/log", &[7; 32]).unwrap();
        let note = signer.sign(42, &[9; 32], 1_700_000_000_000);
        let verifier = Verifier::parse(&signer.verifier().to_text()).unwrap();
        assert_eq!(
            verifier.verify(&note),
            Ok(Checkpoint { origin: "clinic.example/log".into(), size: 42, root: [9; 32], time_ms: Some(1_700_000_000_000) })
        );
        for at in 0..note.len() {
            let mut bytes = note.clone().into_bytes();
            bytes[at] ^= 1;
            if let Ok(changed) = String::from_utf8(bytes) {
                assert!(verifier.verify(&changed).is_err(), "byte {at}");
            }
        }
        let other = Signer::new("clinic.example/log", &[8; 32]).unwrap();
        assert_eq!(other.verifier().verify(&note), Err(NoteError::Unsigned));
    }

    #[test]
    fn base64_is_strict() {
        for (bytes, text) in [(&b""[..], ""), (b"f", "Zg=="), (b"fo", "Zm8="), (b"foo", "Zm9v"), (b"foobar", "Zm9vYmFy")] {
            assert_eq!(base64(bytes), text);
            assert_eq!(unbase64(text).as_deref(), Some(bytes));
        }
        for bad in ["Zh==", "Zg=", "Z", "Zg==Zg==", "Z*=="] {
            assert_eq!(unbase64(bad), None, "{bad}");
        }
    }
}
