//! How many requests each has in work: nobody takes the room of all.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hash},
    sync::atomic::{AtomicUsize, Ordering},
};

/// Counters; those who fall on the same one share it. Where they fall is a secret of the process.
const COUNTERS: usize = 16_384;

/// Requests in work, by who sent them.
pub(crate) struct Shares {
    counters: Box<[AtomicUsize]>,
    hasher: RandomState,
    most: usize,
}

/// One request's part; given back when it is dropped.
pub(crate) struct Share<'a>(&'a AtomicUsize);

impl Shares {
    /// With so many for each.
    pub(crate) fn new(most: usize) -> Self {
        Self { counters: (0..COUNTERS).map(|_| AtomicUsize::new(0)).collect(), hasher: RandomState::new(), most }
    }

    /// A part, unless whoever asks has all of his.
    pub(crate) fn take(&self, who: impl Hash) -> Option<Share<'_>> {
        let counter = &self.counters[(self.hasher.hash_one(who) % COUNTERS as u64) as usize];
        let share = Share(counter);
        // Taken first and given back by the drop: two who ask at once never both get the last.
        (counter.fetch_add(1, Ordering::Relaxed) < self.most).then_some(share)
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_given_back() {
        let shares = Shares::new(2);
        let (first, second) = (shares.take("kim"), shares.take("kim"));
        assert!(first.is_some() && second.is_some() && shares.take("kim").is_none() && shares.take("kim").is_none());
        drop(first);
        assert!(shares.take("kim").is_some());
        drop(second);
        assert_eq!((0..3).filter_map(|_| shares.take("kim")).count(), 3);
    }
}
