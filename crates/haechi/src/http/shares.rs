//! Limits how many requests each caller has in work, so that nobody uses up all places.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hash},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Number of counters; callers may share one. A secret of the process decides which counter a caller gets.
const COUNTERS: usize = 16_384;

/// Requests in work, by who sent them.
pub(crate) struct Shares {
    counters: Box<[AtomicUsize]>,
    hasher: RandomState,
    most: usize,
}

/// One request's part; given back when it is dropped.
pub(crate) struct Share {
    shares: Arc<Shares>,
    at: usize,
}

impl Shares {
    /// With a limit of `most` for each.
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { counters: (0..COUNTERS).map(|_| AtomicUsize::new(0)).collect(), hasher: RandomState::new(), most })
    }

    /// A share, unless the caller has used up theirs.
    pub(crate) fn take(self: &Arc<Self>, who: impl Hash) -> Option<Share> {
        let share = Share { shares: self.clone(), at: (self.hasher.hash_one(who) % COUNTERS as u64) as usize };
        // Counted first and given back by the drop: two requests at once never both get the last place.
        (self.counters[share.at].fetch_add(1, Ordering::Relaxed) < self.most).then_some(share)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shares.counters[self.at].fetch_sub(1, Ordering::Relaxed);
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
