//! Argon2id in a bounded pool of its own threads: a flood of sign-ins takes neither the memory nor the requests' threads.

use crate::error::IdentityError;
use argon2::{Algorithm, Argon2, Block, Params, Version};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError};
use std::{thread, time::Duration};
use tokio::sync::oneshot;

/// OWASP's second set: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const HASH_BYTES: usize = 32;
const SALT_BYTES: usize = 16;
/// Passwords that wait; more are answered 503.
const QUEUE: usize = 64;
/// The niceness of each thread, on Linux.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 15;
/// Longest wait for a password's turn and its hash.
const WAIT: Duration = Duration::from_secs(5);
/// How long a thread keeps its memory without work.
const KEPT: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce(&mut [Block]) + Send>;

/// The pool.
pub(crate) struct Hasher {
    jobs: Sender<Job>,
}

impl Hasher {
    pub(crate) fn start() -> Option<Self> {
        let (jobs, queue) = crossbeam_channel::bounded::<Job>(QUEUE);
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            let queue = queue.clone();
            thread::Builder::new().name("haechi-hash".to_owned()).spawn(move || work(&queue)).ok()?;
        }
        Some(Self { jobs })
    }

    /// The hash of a new password, in PHC form.
    pub(crate) async fn hash(&self, password: &str) -> Result<String, IdentityError> {
        let password = password.to_owned();
        let salt = haechi_gate::random::<SALT_BYTES>();
        let out = self.run(move |memory| compute(password.as_bytes(), &salt, current(), memory).map(|hash| (hash, salt))).await?;
        let (hash, salt) = out.ok_or(IdentityError::Busy)?;
        Ok(format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}${}${}", STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(hash)))
    }

    /// Whether a password matches a stored hash.
    pub(crate) async fn verify(&self, password: &str, stored: &str) -> Result<bool, IdentityError> {
        let Some((params, salt, expected)) = parse(stored) else { return Ok(false) };
        let password = password.to_owned();
        let hash = self.run(move |memory| compute(password.as_bytes(), &salt, params, memory)).await?;
        Ok(hash.is_some_and(|hash| verify_slices_are_equal(&hash, &expected).is_ok()))
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce(&mut [Block]) -> T + Send + 'static) -> Result<T, IdentityError> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |memory| {
            // Skips the hash when the client hung up.
            if !reply.is_closed() {
                let _ = reply.send(work(memory));
            }
        });
        match self.jobs.try_send(job) {
            // After this wait the client gets an error, and nothing was done for certain: the job is dropped with the receiver.
            Ok(()) => tokio::time::timeout(WAIT, answer).await.map_err(|_| IdentityError::Busy)?.map_err(|_| IdentityError::Busy),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Err(IdentityError::Busy),
        }
    }
}

/// A hash of an unknown value: it is compared when there is no such person.
pub(crate) fn dummy() -> &'static str {
    static DUMMY: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    DUMMY.get_or_init(|| {
        let (salt, hash) = (haechi_gate::random::<SALT_BYTES>(), haechi_gate::random::<HASH_BYTES>());
        format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}${}${}", STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(hash))
    })
}

fn work(queue: &Receiver<Job>) {
    // Low priority: a sign-in can wait a moment, other requests cannot.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::nice(NICENESS);
    // Kept between passwords: taking and clearing 19 MiB each time costs a tenth of the hash.
    let mut memory = Vec::new();
    loop {
        let job = match queue.recv_timeout(KEPT) {
            Ok(job) => job,
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                memory = Vec::new();
                match queue.recv() {
                    Ok(job) => job,
                    Err(_) => return,
                }
            }
        };
        memory.resize(MEMORY_KIB as usize, Block::default());
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| job(&mut memory)));
    }
}

fn current() -> Option<Params> {
    Params::new(MEMORY_KIB, PASSES, LANES, Some(HASH_BYTES)).ok()
}

fn compute(password: &[u8], salt: &[u8], params: Option<Params>, memory: &mut [Block]) -> Option<[u8; HASH_BYTES]> {
    let mut out = [0; HASH_BYTES];
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params?);
    argon.hash_password_into_with_memory(password, salt, &mut out, memory).ok()?;
    Some(out)
}

/// Parameters, salt and hash of a stored PHC text; `None` when it needs more memory than the pool has.
fn parse(stored: &str) -> Option<(Option<Params>, Vec<u8>, Vec<u8>)> {
    let mut parts = stored.strip_prefix("$argon2id$v=19$")?.split('$');
    let (costs, salt, hash) = (parts.next()?, parts.next()?, parts.next()?);
    let mut costs = costs.split(',').map(|cost| cost.split_once('=').and_then(|(_, number)| number.parse::<u32>().ok()));
    let (memory, passes, lanes) = (costs.next()??, costs.next()??, costs.next()??);
    let params = (memory <= MEMORY_KIB).then(|| Params::new(memory, passes, lanes, Some(HASH_BYTES)).ok())?;
    Some((params, STANDARD_NO_PAD.decode(salt).ok()?, STANDARD_NO_PAD.decode(hash).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// V6.2.8, V6.2.9, AUTHN-05: a password is its bytes, all of them.
    #[tokio::test]
    async fn every_byte_counts() {
        let hasher = Hasher::start().unwrap();
        let long = "x".repeat(127);
        for (right, wrong) in [
            ("correct horse battery", "Correct horse battery"),
            ("caf\u{e9} and more words", "cafe\u{301} and more words"),
            ("ends in a blank ", "ends in a blank"),
            (&format!("{long}a"), &format!("{long}b")),
            ("with\u{0}zero inside it", "with"),
        ] {
            let stored = hasher.hash(right).await.unwrap();
            assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
            assert!(hasher.verify(right, &stored).await.unwrap());
            assert!(!hasher.verify(wrong, &stored).await.unwrap(), "{wrong:?}");
        }
    }

    #[tokio::test]
    async fn hashes_have_salts_of_their_own_and_strange_texts_match_nothing() {
        let hasher = Hasher::start().unwrap();
        let (one, other) = (hasher.hash("the same password").await.unwrap(), hasher.hash("the same password").await.unwrap());
        assert_ne!(one, other);
        for strange in ["", "$argon2id$", "$argon2i$v=19$m=8,t=1,p=1$AAAA$AAAA", "$argon2id$v=19$m=4000000,t=1,p=1$AAAAAAAAAAA$AAAA", dummy()] {
            assert!(!hasher.verify("the same password", strange).await.unwrap(), "{strange}");
        }
    }

    /// V11.4.2: a known answer of the reference implementation.
    #[tokio::test]
    async fn the_hash_is_argon2id() {
        let hasher = Hasher::start().unwrap();
        let stored = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        assert!(hasher.verify("password", stored).await.unwrap());
        assert!(!hasher.verify("passwore", stored).await.unwrap());
    }
}
