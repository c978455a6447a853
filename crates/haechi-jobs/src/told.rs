//! What the workers are told: which kinds of jobs may have work, and from when on.

use crate::tables::{jobs, may_text, state};
use haechi_model::{
    Row,
    stored::{int, text},
};
use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;

/// A kind of job and a key.
pub(crate) type Keyed = (Box<str>, Box<str>);

/// What was told since the workers looked last.
#[derive(Default)]
pub(crate) struct News {
    /// By kind: from when on there is work.
    pub(crate) due: HashMap<Box<str>, i64>,
    /// Keys of which a blocked job may be let go on.
    pub(crate) keys: HashSet<Keyed>,
    /// Whether an operator changed something: look at everything.
    pub(crate) all: bool,
}

/// What the workers are told.
#[derive(Default)]
pub(crate) struct Told {
    news: Mutex<News>,
    wake: Notify,
}

impl Told {
    /// A new job was stored.
    pub(crate) fn row(&self, row: &Row) {
        let kind: Box<str> = text(row, jobs::KIND).into();
        match (int(row, jobs::STATE), may_text(row, jobs::KEY)) {
            (state::BLOCKED, Some(key)) => self.key(kind, key),
            (state::WAITING, _) => self.due(kind, int(row, jobs::RUN_AT)),
            _ => {}
        }
    }

    /// There is work of this kind from then on.
    pub(crate) fn due(&self, kind: Box<str>, from_ms: i64) {
        let mut news = self.lock();
        let known = news.due.entry(kind).or_insert(from_ms);
        *known = from_ms.min(*known);
        drop(news);
        self.wake.notify_one();
    }

    /// A job with this key is blocked, and perhaps needs not be.
    pub(crate) fn key(&self, kind: Box<str>, key: Box<str>) {
        self.lock().keys.insert((kind, key));
        self.wake.notify_one();
    }

    /// Look at everything.
    pub(crate) fn all(&self) {
        self.lock().all = true;
        self.wake.notify_one();
    }

    pub(crate) fn take(&self) -> News {
        std::mem::take(&mut *self.lock())
    }

    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
