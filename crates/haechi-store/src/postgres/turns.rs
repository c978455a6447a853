//! Connections for long reads, one read at a time. Callers take turns; `lines.rs` decides who is next.
//!
//! A part of the connections is kept for callers who hold none, so that one caller's long reads do not delay another caller. Reads of one
//! table get at most half of them, so that a locked table does not hold up reads of others.

use super::connection::{Connection, Opener};
use crate::lines::{Done, Fill, Lines};
use haechi_model::Failure;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// How long a read waits for its turn.
const WAIT: Duration = Duration::from_secs(5);

pub(super) struct Turns {
    opener: Opener,
    size: usize,
    state: Mutex<State>,
}

struct State {
    lines: Lines<Waiter>,
    free: usize,
    /// The number of running reads of each table.
    by_table: HashMap<usize, usize>,
    idle: Vec<Connection>,
    /// Turns that were given, and the total time of waiting for them.
    given: u64,
    waited: Duration,
}

struct Waiter {
    table: usize,
    since: Instant,
    wake: oneshot::Sender<Turn>,
}

/// A connection for one read.
pub(super) struct Turn {
    turns: Arc<Turns>,
    table: usize,
    done: Option<Done>,
    connection: Option<Connection>,
}

impl Turns {
    pub(super) fn new(opener: Opener, size: usize) -> Arc<Self> {
        let state = State { lines: Lines::default(), free: size, by_table: HashMap::new(), idle: Vec::new(), given: 0, waited: Duration::ZERO };
        Arc::new(Self { opener, size, state: Mutex::new(state) })
    }

    /// Waits for a turn, and for a connection.
    pub(super) async fn take(self: &Arc<Self>, caller: u64, table: usize) -> Result<Turn, Failure> {
        let (wake, woken) = oneshot::channel();
        self.lock().lines.push(caller, Waiter { table, since: Instant::now(), wake })?;
        self.give();
        let mut turn = tokio::time::timeout(WAIT, woken).await.map_err(|_| Failure::Busy)?.map_err(|_| Failure::Busy)?;
        let idle = std::iter::from_fn(|| self.lock().idle.pop()).find(|connection| !connection.client.is_closed());
        turn.connection = Some(match idle {
            Some(connection) => connection,
            None => self.opener.open().await?,
        });
        Ok(turn)
    }

    pub(super) fn fill(&self) -> Fill {
        let state = self.lock();
        let used = self.size - state.free;
        Fill { size: self.size, open: used + state.idle.len(), used, waiting: state.lines.waiting(), given: state.given, waited: state.waited }
    }

    /// Opens all connections, to learn whether the server grants them.
    pub(super) async fn open_all(&self) -> Result<(), Failure> {
        let missing = self.size.saturating_sub(self.lock().idle.len());
        let opened = futures_util::future::try_join_all((0..missing).map(|_| self.opener.open())).await?;
        self.lock().idle.extend(opened);
        Ok(())
    }

    /// Gives free connections to the next callers.
    fn give(self: &Arc<Self>) {
        let (mut state, mut unwanted) = (self.lock(), Vec::new());
        while let Some(turn) = state.next(self.size) {
            let Waiter { table, since, wake } = turn.work;
            state.free -= 1;
            *state.by_table.entry(table).or_default() += 1;
            state.given += 1;
            state.waited += since.elapsed();
            // When the caller no longer waits, the turn is given back once the lock is free.
            let turn = Turn { turns: self.clone(), table, done: Some(turn.done), connection: None };
            unwanted.extend(wake.send(turn).err());
        }
        drop(state);
        drop(unwanted);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn next(&mut self, size: usize) -> Option<crate::lines::Turn<Waiter>> {
        // A quarter is kept for callers who hold no connection; of two connections, one.
        let (kept, of_table) = (size.div_ceil(4).min(size - 1), size.div_ceil(2));
        let (free, by_table) = (self.free, &self.by_table);
        if free == 0 {
            return None;
        }
        let fits = |held: usize, waiter: &Waiter| {
            waiter.wake.is_closed() || ((held == 0 || free > kept) && by_table.get(&waiter.table).is_none_or(|used| *used < of_table))
        };
        self.lines.next_where(fits)
    }
}

impl Turn {
    /// The connection of this turn.
    pub(super) fn connection(&self) -> Result<&Connection, Failure> {
        self.connection.as_ref().ok_or(Failure::Unavailable)
    }

    /// The read has ended: the connection can be used again.
    pub(super) fn ended(mut self) {
        if let Some(connection) = self.connection.take().filter(|connection| !connection.client.is_closed()) {
            self.turns.lock().idle.push(connection);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // An abandoned read is ended on the server, too. No other read gets the rest of its answer.
        if let Some(connection) = self.connection.take() {
            let turns = self.turns.clone();
            tokio::spawn(async move { turns.opener.cancel(&connection).await });
        }
        let mut state = self.turns.lock();
        state.lines.give_back(self.done.take());
        state.free += 1;
        if let Some(used) = state.by_table.get_mut(&self.table) {
            *used = used.saturating_sub(1);
        }
        drop(state);
        self.turns.give();
    }
}
