//! Small files that were asked for, kept within a bound, each with its compressed form once somebody wanted it.

use super::{disk::Stamp, media::Media};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::HeaderValue;
use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hasher},
    io::Write,
    sync::{
        Arc, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

/// Larger files are read from the disk each time.
pub(crate) const SMALL_BYTES: u64 = 1 << 20;
/// All files together, with their compressed forms.
const MOST_BYTES: usize = 64 << 20;
/// What an entry costs beside its bytes.
const ENTRY_BYTES: usize = 512;
/// Shorter files are sent as they are: they fit into a packet.
const PACK_FROM: usize = 1024;

/// A small file.
pub(crate) struct Kept {
    pub(crate) stamp: Stamp,
    pub(crate) media: Media,
    pub(crate) plain: Bytes,
    pub(crate) tag: HeaderValue,
    packed: OnceLock<Option<(Bytes, HeaderValue)>>,
    /// When the disk was last asked, in milliseconds of the site's clock.
    checked: AtomicU64,
    /// Whether it was asked for since room was last made.
    used: AtomicBool,
}

/// A tag of the content: the same bytes have the same one on every node.
fn tag(bytes: &[u8], form: &str) -> HeaderValue {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    HeaderValue::try_from(format!("\"{:016x}{form}\"", hasher.finish())).unwrap_or(HeaderValue::from_static("\"\""))
}

impl Kept {
    pub(crate) fn new(stamp: Stamp, media: Media, plain: Vec<u8>, now_ms: u64) -> Self {
        let tag = tag(&plain, "");
        let packed = if media.packs && plain.len() >= PACK_FROM { OnceLock::new() } else { OnceLock::from(None) };
        Self { stamp, media, plain: Bytes::from(plain), tag, packed, checked: AtomicU64::new(now_ms), used: AtomicBool::new(true) }
    }

    /// Whether the disk was asked a moment ago.
    pub(crate) fn is_fresh(&self, now_ms: u64, for_ms: u64) -> bool {
        now_ms.saturating_sub(self.checked.load(Ordering::Relaxed)) < for_ms
    }

    pub(crate) fn checked(&self, now_ms: u64) {
        self.checked.store(now_ms, Ordering::Relaxed);
    }

    /// The compressed form, where there is one already: `Some(None)` for a file that does not become smaller.
    pub(crate) fn packed(&self) -> Option<Option<&(Bytes, HeaderValue)>> {
        self.packed.get().map(Option::as_ref)
    }

    /// Compresses it, once. Takes a while: not on a thread that serves others.
    fn pack(&self) -> Option<&(Bytes, HeaderValue)> {
        let made = self.packed.get_or_init(|| {
            let mut encoder = GzEncoder::new(Vec::with_capacity(self.plain.len() / 3), Compression::best());
            encoder.write_all(&self.plain).ok()?;
            let packed = encoder.finish().ok()?;
            let tag = tag(&self.plain, "-gzip");
            (packed.len() < self.plain.len()).then(|| (Bytes::from(packed), tag))
        });
        made.as_ref()
    }

    fn bytes(&self) -> usize {
        self.plain.len() + self.packed.get().and_then(Option::as_ref).map_or(0, |(packed, _)| packed.len()) + ENTRY_BYTES
    }
}

/// What is kept.
#[derive(Default)]
pub(crate) struct Memory {
    kept: RwLock<HashMap<Box<str>, Arc<Kept>>>,
    bytes: AtomicUsize,
}

impl Memory {
    pub(crate) fn find(&self, names: &str) -> Option<Arc<Kept>> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        let found = kept.get(names)?;
        found.used.store(true, Ordering::Relaxed);
        Some(found.clone())
    }

    pub(crate) fn keep(&self, names: &str, file: Arc<Kept>) {
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = kept.remove(names) {
            self.bytes.fetch_sub(old.bytes().min(self.bytes.load(Ordering::Relaxed)), Ordering::Relaxed);
        }
        let more = file.bytes();
        self.make_room(&mut kept, more);
        self.bytes.fetch_add(more, Ordering::Relaxed);
        kept.insert(names.into(), file);
    }

    pub(crate) fn forget(&self, names: &str) {
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        if kept.remove(names).is_some() {
            self.bytes.store(kept.values().map(|file| file.bytes()).sum(), Ordering::Relaxed);
        }
    }

    /// Compresses a kept file, and counts what that takes.
    pub(crate) fn pack(&self, file: &Kept) {
        let packed = file.pack().map_or(0, |(packed, _)| packed.len());
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        self.make_room(&mut kept, packed);
        self.bytes.store(kept.values().map(|file| file.bytes()).sum(), Ordering::Relaxed);
    }

    /// Drops files that nobody has asked for since the last time, and when that is not enough, any.
    fn make_room(&self, kept: &mut HashMap<Box<str>, Arc<Kept>>, more: usize) {
        let room = MOST_BYTES.saturating_sub(more);
        let mut bytes: usize = self.bytes.load(Ordering::Relaxed);
        if bytes <= room {
            return;
        }
        for unused_only in [true, false] {
            kept.retain(|_, file| {
                // A quarter is freed at once, so that this does not run for each file.
                let stays = bytes <= room - room / 4 || unused_only && file.used.swap(false, Ordering::Relaxed);
                if !stays {
                    bytes = bytes.saturating_sub(file.bytes());
                }
                stays
            });
        }
        self.bytes.store(kept.values().map(|file| file.bytes()).sum(), Ordering::Relaxed);
    }

    #[cfg(test)]
    fn weight(&self) -> (usize, usize) {
        (self.kept.read().unwrap().len(), self.bytes.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: usize) -> Arc<Kept> {
        let found = crate::site::disk::find(std::path::Path::new(env!("CARGO_MANIFEST_DIR")), "Cargo.toml").unwrap();
        let crate::site::disk::Found::File(opened) = found else { panic!("no file") };
        Arc::new(Kept::new(opened.stamp, Media::of("x.js"), vec![b'x'; bytes], 0))
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let memory = Memory::default();
        for at in 0..500 {
            memory.keep(&format!("{at}.js"), file(300_000));
            memory.find("0.js");
            if at % 7 == 0 {
                memory.pack(&memory.find(&format!("{at}.js")).unwrap());
            }
            let (files, bytes) = memory.weight();
            assert!(bytes <= MOST_BYTES && files > 0, "{files} {bytes}");
        }
        assert!(memory.find("499.js").is_some());
        let (files, _) = memory.weight();
        memory.forget("499.js");
        assert_eq!(memory.weight().0, files - 1);
        memory.keep("498.js", file(10));
        assert_eq!(memory.find("498.js").unwrap().plain.len(), 10);
    }

    #[test]
    fn a_file_is_compressed_once_and_only_when_that_helps() {
        let memory = Memory::default();
        let long = file(10_000);
        memory.keep("a.js", long.clone());
        assert!(long.packed().is_none(), "before somebody wants it");
        memory.pack(&long);
        let (packed, tag) = long.packed().unwrap().unwrap();
        assert!(packed.len() < 100 && *tag != long.tag);
        assert!(file(10).packed() == Some(None), "a short one never is");
    }
}
