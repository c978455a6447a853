//! Connections that wait for the next request to the same place.

use crate::{
    connect::Connection,
    destination::{Destination, Place},
};
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// How long a connection waits.
const IDLE: Duration = Duration::from_secs(30);
/// So many wait for one place, and in all.
const PER_PLACE: usize = 8;
const IN_ALL: usize = 256;

type Key = (Arc<str>, Place);

struct Idle {
    connection: Connection,
    since: Instant,
}

#[derive(Default)]
struct Waiting {
    by_place: HashMap<Key, Vec<Idle>>,
    count: usize,
    /// Whether a task ends those that wait too long.
    watched: bool,
}

/// Connections that wait.
#[derive(Clone, Default)]
pub(crate) struct Pool(Arc<Mutex<Waiting>>);

impl Pool {
    /// A connection to one of the addresses that the name stands for now.
    pub(crate) fn take(&self, destination: &Destination, place: &Place, addresses: &[IpAddr]) -> Option<Connection> {
        let mut waiting = self.lock();
        let key = (destination.name.clone(), place.clone());
        let idle = waiting.by_place.get_mut(&key)?;
        let fits = |idle: &Idle| idle.since.elapsed() < IDLE && addresses.contains(&idle.connection.address) && !idle.connection.sender.is_closed();
        let at = idle.iter().rposition(fits)?;
        let found = idle.swap_remove(at);
        if idle.is_empty() {
            waiting.by_place.remove(&key);
        }
        waiting.count -= 1;
        Some(found.connection)
    }

    /// Keeps a connection whose last reply was read whole.
    pub(crate) fn put(&self, destination: &Destination, place: &Place, connection: Connection) {
        if connection.sender.is_closed() {
            return;
        }
        let mut waiting = self.lock();
        if waiting.count >= IN_ALL {
            return;
        }
        let idle = waiting.by_place.entry((destination.name.clone(), place.clone())).or_default();
        if idle.len() >= PER_PLACE {
            return;
        }
        idle.push(Idle { connection, since: Instant::now() });
        waiting.count += 1;
        if !std::mem::replace(&mut waiting.watched, true) {
            let pool = Arc::downgrade(&self.0);
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(IDLE).await;
                    let Some(pool) = pool.upgrade().map(Self) else { break };
                    if pool.end_old() {
                        break;
                    }
                }
            });
        }
    }

    /// Ends what waits too long; whether nothing is left.
    fn end_old(&self) -> bool {
        let mut waiting = self.lock();
        let mut count = 0;
        waiting.by_place.retain(|_, idle| {
            idle.retain(|idle| idle.since.elapsed() < IDLE && !idle.connection.sender.is_closed());
            count += idle.len();
            !idle.is_empty()
        });
        waiting.count = count;
        waiting.watched = count > 0;
        count == 0
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
