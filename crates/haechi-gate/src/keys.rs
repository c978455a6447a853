//! All keys are derived from the master key, one purpose each (HKDF-SHA-256, RFC 5869).

use aws_lc_rs::{
    aead::{AES_256_GCM_SIV, Aad, Nonce, RandomizedNonceKey},
    hkdf, hmac,
    rand::{SecureRandom, SystemRandom},
};

const NONCE_BYTES: usize = 12;
/// The number of the key that is derived from the master key itself.
const FIRST: u32 = 1;

/// What a key is for. Each has a key of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// The ledger's public name.
    LedgerName,
    /// Signatures of the ledger's checkpoints.
    LedgerSignature,
    /// The code of an archive's last line.
    LedgerArchive,
    /// Digests of rows, by which the ledger proves what was stored.
    RowDigest,
    /// Rows before and after a change, for streams.
    LiveImage,
    /// Input and result of a job.
    JobInput,
    /// Keys of jobs, of which one at a time is waiting or running.
    JobKey,
    /// Positions of streams that clients bring back.
    LivePosition,
    /// Places of pages that clients bring back.
    PageToken,
    /// Proofs that a page of ours sent a request.
    CsrfToken,
    /// Devices on which somebody signed in.
    KnownDevice,
    /// Counters of attempts.
    ThrottleBucket,
    /// Tokens of developers.
    DeveloperToken,
}

/// How long what is made with a key may have to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// At most a day: a rotation of the master key may end it.
    Short,
    /// Longer: a rotation must keep the old key, or make it anew.
    Long,
}

impl Purpose {
    /// All purposes.
    pub const ALL: [Self; 13] = [
        Self::LedgerName,
        Self::LedgerSignature,
        Self::LedgerArchive,
        Self::RowDigest,
        Self::LiveImage,
        Self::JobInput,
        Self::JobKey,
        Self::LivePosition,
        Self::PageToken,
        Self::CsrfToken,
        Self::KnownDevice,
        Self::ThrottleBucket,
        Self::DeveloperToken,
    ];

    /// The text from which its key is derived. It never changes.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::LedgerName => "ledger name",
            Self::LedgerSignature => "ledger signature",
            Self::LedgerArchive => "ledger archive",
            Self::RowDigest => "ledger row digest",
            Self::LiveImage => "live image",
            Self::JobInput => "job input",
            Self::JobKey => "job key",
            Self::LivePosition => "live position",
            Self::PageToken => "page token",
            Self::CsrfToken => "csrf token",
            Self::KnownDevice => "known device",
            Self::ThrottleBucket => "throttle bucket",
            Self::DeveloperToken => "developer token",
        }
    }

    /// How long what is made with its key may have to be read.
    #[must_use]
    pub fn life(self) -> Life {
        match self {
            Self::LedgerName
            | Self::LedgerSignature
            | Self::LedgerArchive
            | Self::RowDigest
            | Self::LiveImage
            | Self::JobInput
            | Self::JobKey
            | Self::KnownDevice => Life::Long,
            Self::LivePosition | Self::PageToken | Self::CsrfToken | Self::ThrottleBucket | Self::DeveloperToken => Life::Short,
        }
    }
}

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

    pub(crate) fn derive(&self, purpose: Purpose) -> [u8; 32] {
        let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, b"haechi v1").extract(&self.0);
        let mut out = [0; 32];
        // Filling 32 bytes from HKDF-SHA-256 cannot fail: the limit is 255 blocks.
        let filled = prk.expand(&[purpose.label().as_bytes()], hkdf::HKDF_SHA256).and_then(|okm| okm.fill(&mut out));
        debug_assert!(filled.is_ok());
        out
    }

    /// A keyed digest for one purpose.
    #[must_use]
    pub fn mac(&self, purpose: Purpose) -> Mac {
        Mac(self.hmac(purpose))
    }

    /// What seals texts for one purpose.
    #[must_use]
    pub fn sealer(&self, purpose: Purpose) -> Option<Sealer> {
        Sealer::new(self, purpose)
    }

    pub(crate) fn hmac(&self, purpose: Purpose) -> hmac::Key {
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

/// Seals small texts: AES-256-GCM-SIV with associated data. What is sealed begins with the number of its key, so that what an older key
/// sealed still opens after a rotation.
pub struct Sealer {
    /// By number; the last one seals.
    keys: Box<[(u32, RandomizedNonceKey)]>,
}

/// What a sealed text held.
pub type Unsealed = Vec<u8>;

impl Sealer {
    /// With the key that is derived from the master key.
    pub(crate) fn new(master: &MasterKey, purpose: Purpose) -> Option<Self> {
        Self::with([(FIRST, master.derive(purpose))])
    }

    /// With these keys, oldest first.
    fn with(keys: impl IntoIterator<Item = (u32, [u8; 32])>) -> Option<Self> {
        let key = |(number, bytes): (u32, [u8; 32])| Some((number, RandomizedNonceKey::new(&AES_256_GCM_SIV, &bytes).ok()?));
        let keys: Box<[_]> = keys.into_iter().map(key).collect::<Option<_>>()?;
        (!keys.is_empty()).then_some(Self { keys })
    }

    /// The key's number, nonce and ciphertext.
    #[must_use]
    pub fn seal(&self, plain: &[u8], context: &[u8]) -> Vec<u8> {
        let Some((number, key)) = self.keys.last() else { return Vec::new() };
        let mut sealed = plain.to_vec();
        match key.seal_in_place_append_tag(Aad::from(context), &mut sealed) {
            Ok(nonce) => {
                let mut out = Vec::with_capacity(5 + NONCE_BYTES + sealed.len());
                haechi_model::write_varint(u64::from(*number), &mut out);
                out.extend_from_slice(nonce.as_ref());
                out.extend_from_slice(&sealed);
                out
            }
            Err(_) => Vec::new(),
        }
    }

    /// The plain bytes; `None` when no key of this purpose sealed them for this context.
    #[must_use]
    pub fn open(&self, sealed: &[u8], context: &[u8]) -> Option<Unsealed> {
        let (number, rest) = key_number(sealed)?;
        let (nonce, cipher) = rest.split_at_checked(NONCE_BYTES)?;
        let (_, key) = self.keys.iter().find(|(known, _)| *known == number)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut plain = cipher.to_vec();
        let length = key.open_in_place(nonce, Aad::from(context), &mut plain).ok()?.len();
        plain.truncate(length);
        Some(plain)
    }
}

/// The number with which something sealed begins: seven bits a byte, the last one below 128.
fn key_number(sealed: &[u8]) -> Option<(u32, &[u8])> {
    let length = sealed.iter().take(5).position(|byte| *byte < 0x80)? + 1;
    let (bytes, rest) = sealed.split_at(length);
    let number = bytes.iter().rev().fold(0_u64, |number, byte| number << 7 | u64::from(byte & 0x7f));
    Some((u32::try_from(number).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_texts_open_only_unchanged_and_in_their_context() {
        let master = MasterKey::from_hex(&MasterKey::generate_hex()).unwrap();
        let sealer = Sealer::new(&master, Purpose::PageToken).unwrap();
        let sealed = sealer.seal(b"place", b"kim");
        assert_eq!(sealer.open(&sealed, b"kim").as_deref(), Some(&b"place"[..]));
        assert_eq!(sealer.open(&sealed, b"lee"), None);
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(sealer.open(&changed, b"kim"), None, "byte {at}");
        }
    }

    #[test]
    fn what_an_older_key_sealed_still_opens() {
        let keys: Vec<(u32, [u8; 32])> = [1, 2, 300, u32::MAX].into_iter().map(|number| (number, random())).collect();
        let sealed: Vec<Vec<u8>> = (1..=keys.len()).map(|count| Sealer::with(keys[..count].to_vec()).unwrap().seal(b"secret", b"row")).collect();
        for count in 1..=keys.len() {
            let sealer = Sealer::with(keys[..count].to_vec()).unwrap();
            for (at, sealed) in sealed.iter().enumerate() {
                let opened = sealer.open(sealed, b"row");
                assert_eq!(opened.as_deref(), (at < count).then_some(&b"secret"[..]), "{at} with {count} keys");
                assert_eq!(key_number(sealed).unwrap().0, keys[at].0);
            }
        }
        // A key of the same number is not enough.
        assert_eq!(Sealer::with([(1, random())]).unwrap().open(&sealed[0], b"row"), None);
        for cut in [&b""[..], &[0xff], &[0xff; 6], &[0x80, 0x80, 0x80, 0x80, 0x7f], &[1]] {
            assert_eq!(Sealer::with(keys.clone()).unwrap().open(cut, b"row"), None, "{cut:?}");
        }
    }

    /// A rotation of the master key has to do with each of these. Those who add a purpose say here how long it lives.
    #[test]
    fn every_purpose_has_a_life_and_a_key_of_its_own() {
        let of = |life| Purpose::ALL.into_iter().filter(move |purpose| purpose.life() == life).map(Purpose::label).collect::<Vec<_>>();
        let long = ["ledger name", "ledger signature", "ledger archive", "ledger row digest", "live image", "job input", "job key", "known device"];
        assert_eq!(of(Life::Long), long);
        assert_eq!(of(Life::Short), ["live position", "page token", "csrf token", "throttle bucket", Purpose::DeveloperToken.label()]);
        let master = MasterKey::from_hex(&MasterKey::generate_hex()).unwrap();
        let keys: std::collections::HashSet<[u8; 32]> = Purpose::ALL.into_iter().map(|purpose| master.derive(purpose)).collect();
        assert_eq!(keys.len(), Purpose::ALL.len());
    }
}
