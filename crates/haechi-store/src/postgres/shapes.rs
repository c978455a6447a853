//! Remembers statements by their shape, which is their text with placeholders: whether they take long.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};

/// Most shapes that are remembered; when there are more, all are forgotten and learned again.
const MOST: usize = 2_000;
/// A statement counts as long when it lately took more than this.
pub(super) const LONG: Duration = Duration::from_millis(5);

#[derive(Default)]
pub(super) struct Shapes {
    known: RwLock<HashMap<Box<str>, Arc<Shape>>>,
    next: AtomicUsize,
}

/// A statement's text, and how long it took.
pub(super) struct Shape {
    /// A number that connections know it by.
    pub(super) id: usize,
    pub(super) sql: Box<str>,
    /// Its recent duration, microseconds; zero before its first run.
    lately_us: AtomicU32,
}

impl Shapes {
    pub(super) fn of(&self, sql: &str) -> Arc<Shape> {
        if let Some(shape) = self.known.read().unwrap_or_else(PoisonError::into_inner).get(sql) {
            return shape.clone();
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.clear();
        }
        let new = || Arc::new(Shape { id: self.next.fetch_add(1, Ordering::Relaxed), sql: sql.into(), lately_us: AtomicU32::new(0) });
        known.entry(sql.into()).or_insert_with(new).clone()
    }
}

impl Shape {
    pub(super) fn is_long(&self) -> bool {
        Duration::from_micros(self.lately_us.load(Ordering::Relaxed).into()) > LONG
    }

    /// The first run decides; each later run counts for an eighth. So one wait for a busy processor does not make a short statement long,
    /// which would put it behind long ones. Two runs that end at the same moment may lose one of the two, which does no harm.
    pub(super) fn took(&self, time: Duration) {
        let us = u32::try_from(time.as_micros()).unwrap_or(u32::MAX).max(1);
        let lately = self.lately_us.load(Ordering::Relaxed);
        self.lately_us.store(if lately == 0 { us } else { lately - lately / 8 + us / 8 }, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_long_lately_is_long() {
        let shapes = Shapes::default();
        let shape = shapes.of("SELECT 1");
        assert!(!shape.is_long(), "nothing is known yet");
        shape.took(Duration::from_millis(6));
        assert!(shapes.of("SELECT 1").is_long() && !shapes.of("SELECT 2").is_long());
        (0..12).for_each(|_| shape.took(Duration::from_millis(1)));
        assert!(!shape.is_long());
        // A single slow run is chance; repeated slow runs make it long again.
        shape.took(Duration::from_millis(20));
        assert!(!shape.is_long());
        (0..2).for_each(|_| shape.took(Duration::from_millis(20)));
        assert!(shape.is_long());
        for number in 0..2 * MOST {
            assert_eq!(&*shapes.of(&number.to_string()).sql, number.to_string());
        }
        assert!(shapes.known.read().unwrap().len() <= MOST);
        assert_ne!(shapes.of("SELECT 1").id, shape.id, "a number is never given twice");
    }
}
