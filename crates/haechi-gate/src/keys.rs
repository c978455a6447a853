//! All keys are derived from the master key, one purpose each (HKDF-SHA-256, RFC 5869).

use aws_lc_rs::{
    aead::{AES_256_GCM_SIV, Aad, Nonce, RandomizedNonceKey, UnboundKey},
    hkdf, hmac,
    rand::{SecureRandom, SystemRandom},
};

const NONCE_BYTES: usize = 12;

/// The root of all keys. It is never shown, stored or logged.
#[derive(Clone)]
pub struct MasterKey([u8; 32]);

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("MasterKey(***)")
    }
}

impl MasterKey {
    /// From its text form: 64 hex digits.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        unhex(&text.trim().to_ascii_lowercase())?.try_into().ok().map(Self)
    }

    /// A new random key, as text.
    #[must_use]
    pub fn generate_hex() -> String {
        random_hex::<32>()
    }

    pub(crate) fn derive(&self, purpose: &str) -> [u8; 32] {
        let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, b"haechi v1").extract(&self.0);
        let mut out = [0; 32];
        // Filling 32 bytes from HKDF-SHA-256 cannot fail: the limit is 255 blocks.
        let filled = prk.expand(&[purpose.as_bytes()], hkdf::HKDF_SHA256).and_then(|okm| okm.fill(&mut out));
        debug_assert!(filled.is_ok());
        out
    }

    /// A keyed digest for one purpose.
    #[must_use]
    pub fn mac(&self, purpose: &str) -> Mac {
        Mac(self.hmac(purpose))
    }

    pub(crate) fn hmac(&self, purpose: &str) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.derive(purpose))
    }
}

/// A keyed digest for one purpose: HMAC-SHA-256.
pub struct Mac(hmac::Key);

impl Mac {
    /// The digest.
    pub(crate) fn bytes(&self, text: &[u8]) -> Vec<u8> {
        hmac::sign(&self.0, text).as_ref().to_vec()
    }

    /// The digest in lower-case hexadecimal.
    #[must_use]
    pub fn hex(&self, text: &[u8]) -> String {
        hex(hmac::sign(&self.0, text).as_ref())
    }

    /// Whether a text in lower-case hexadecimal is the digest; in constant time.
    #[must_use]
    pub fn is_hex(&self, text: &[u8], digest: &str) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(self.hex(text).as_bytes(), digest.as_bytes()).is_ok()
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]).map(char::from).collect()
}

/// The inverse of [`hex`]. Lower-case digits only: one credential has one spelling.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| if byte.is_ascii_uppercase() { None } else { char::from(byte).to_digit(16).map(|digit| digit as u8) };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

/// Random bytes from the operating system, in lower-case hexadecimal.
#[must_use]
pub fn random_hex<const N: usize>() -> String {
    hex(&random::<N>())
}

/// Random bytes from the operating system.
#[must_use]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if SystemRandom::new().fill(&mut bytes).is_err() {
        // Aborting is better than running without entropy.
        std::process::abort();
    }
    bytes
}

/// Seals small texts that come back from outside, such as page tokens: AES-256-GCM-SIV with associated data.
pub struct Sealer {
    key: RandomizedNonceKey,
    id: u8,
}

/// What a sealed text held.
pub type Unsealed = Vec<u8>;

impl Sealer {
    pub(crate) fn new(master: &MasterKey, purpose: &str) -> Option<Self> {
        let bytes = master.derive(purpose);
        UnboundKey::new(&AES_256_GCM_SIV, &bytes).ok()?;
        let key = RandomizedNonceKey::new(&AES_256_GCM_SIV, &bytes).ok()?;
        Some(Self { key, id: 1 })
    }

    /// Key id, nonce and ciphertext.
    #[must_use]
    pub fn seal(&self, plain: &[u8], context: &[u8]) -> Vec<u8> {
        let mut sealed = plain.to_vec();
        match self.key.seal_in_place_append_tag(Aad::from(context), &mut sealed) {
            Ok(nonce) => {
                let mut out = Vec::with_capacity(1 + NONCE_BYTES + sealed.len());
                out.push(self.id);
                out.extend_from_slice(nonce.as_ref());
                out.extend_from_slice(&sealed);
                out
            }
            Err(_) => Vec::new(),
        }
    }

    /// The plain bytes; `None` when they were not sealed by this key for this context.
    #[must_use]
    pub fn open(&self, sealed: &[u8], context: &[u8]) -> Option<Unsealed> {
        let (id, rest) = sealed.split_first()?;
        let (nonce, cipher) = rest.split_at_checked(NONCE_BYTES)?;
        if *id != self.id {
            return None;
        }
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut plain = cipher.to_vec();
        let length = self.key.open_in_place(nonce, Aad::from(context), &mut plain).ok()?.len();
        plain.truncate(length);
        Some(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_texts_open_only_unchanged_and_in_their_context() {
        let master = MasterKey::from_hex(&MasterKey::generate_hex()).unwrap();
        let sealer = Sealer::new(&master, "test").unwrap();
        let sealed = sealer.seal(b"place", b"kim");
        assert_eq!(sealer.open(&sealed, b"kim").as_deref(), Some(&b"place"[..]));
        assert_eq!(sealer.open(&sealed, b"lee"), None);
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(sealer.open(&changed, b"kim"), None, "byte {at}");
        }
    }
}
