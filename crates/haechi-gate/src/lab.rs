//! Planted holes, only in builds with `--cfg haechi_unsafe_lab`: the tests that look for holes must find these.

use std::sync::atomic::{AtomicU8, Ordering};

/// A hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Hole {
    /// None.
    Nothing = 0,
    /// Rows by id are read without policy's condition, for one door.
    UnguardedMessages = 1,
    /// Lists show what is masked, for one door.
    UnmaskedObjects = 2,
    /// Queries use fields that the caller may not read.
    UnreadableIsUsed = 3,
    /// Streams tell about rows that the caller may not read.
    UnguardedStreams = 4,
    /// What a door shows is not recorded.
    UnseenObjects = 5,
}

static PLANTED: AtomicU8 = AtomicU8::new(0);

/// Opens a hole, and closes the one before.
pub fn plant(hole: Hole) {
    PLANTED.store(hole as u8, Ordering::SeqCst);
}

pub(crate) fn planted(hole: Hole) -> bool {
    PLANTED.load(Ordering::SeqCst) == hole as u8
}
