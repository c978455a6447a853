//! Decides which connection a read takes.
//!
//! - Short reads share a few connections: they are sent one behind the other without waiting, which costs the least.
//! - Reads that take long have a connection to themselves, and callers take turns at those (`turns.rs`). A read takes long when it is a scan,
//!   or when its statement lately took more than 5 ms (`shapes.rs`).
//! - A short read that has no answer after 10 ms is sent again on another connection, and the first answer counts: another read,
//!   or a lock, is in its way. The shared connection is left alone until it answers again.
//! - Credentials, and the state of the node (readiness, metrics, the ledger's bounds), have a connection each, and a second.

use super::{
    connection::{Connection, Opener, Shared, bound_rows},
    shapes::{LONG, Shape, Shapes},
    turns::Turns,
};
use crate::{Reads, catalog::Catalog};
use haechi_model::{Failure, Value};
use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{select, time::timeout};

/// The time after which a short read is late.
const LATE: Duration = Duration::from_millis(10);
/// The time limit for reads of credentials and of the node's state.
const SYSTEM: Duration = Duration::from_secs(1);

/// What every connection that reads is set to. The memory lets the ids of about a million referenced rows be hashed; a set that does not fit
/// is searched for each row. Compiling takes longer than it saves.
macro_rules! reading {
    ($limits:literal) => {
        concat!("SET default_transaction_read_only = on; SET work_mem = '64MB'; SET jit = off; ", $limits)
    };
}
/// A short read that is not answered soon is sent again on another connection. The statement that holds up this connection must end soon,
/// too, so that the next reads can use it.
const SHARED: &str = reading!("SET statement_timeout = '1s'; SET lock_timeout = '100ms'");
const ALONE: &str = reading!("SET statement_timeout = '10s'");
const OWN: &str = reading!("SET statement_timeout = '1s'");

/// The kind of a read.
#[derive(Clone)]
pub(super) enum Lane {
    /// Reads that find the caller of a request.
    Credentials,
    /// The state of the node and of the ledger.
    State,
    /// A caller's read of a table.
    Of(Reads, usize),
}

/// Work on a connection. It may run twice: the first answer counts.
pub(super) trait Work: Sync {
    type Found: Send;
    fn on(&self, connection: &Connection, shape: &Shape) -> impl Future<Output = Result<Self::Found, Failure>> + Send;

    /// How many rows that is.
    fn rows(found: &Self::Found) -> Option<usize>;
}

/// A statement's rows. With `once` it is planned for these values; otherwise a kept statement soon has one plan for all values.
pub(super) struct Rows<'a> {
    pub(super) values: &'a [Value],
    pub(super) once: bool,
}

impl Work for Rows<'_> {
    type Found = Vec<tokio_postgres::Row>;

    async fn on(&self, connection: &Connection, shape: &Shape) -> Result<Self::Found, Failure> {
        bound_rows(connection, shape, self.values, self.once).await
    }

    fn rows(found: &Self::Found) -> Option<usize> {
        Some(found.len())
    }
}

pub(super) struct Lanes {
    shared: Vec<Shared>,
    next: AtomicUsize,
    pub(super) alone: Arc<Turns>,
    credentials: Shared,
    state: Shared,
    shapes: Shapes,
    catalog: Arc<Catalog>,
}

impl Lanes {
    pub(super) fn new(opener: &Opener, catalog: Arc<Catalog>, shared: usize, alone: usize) -> Self {
        Self {
            shared: (0..shared).map(|_| Shared::new(opener.set_to(SHARED))).collect(),
            next: AtomicUsize::new(0),
            alone: Turns::new(opener.set_to(ALONE), alone),
            credentials: Shared::new(opener.set_to(OWN)),
            state: Shared::new(opener.set_to(OWN)),
            shapes: Shapes::default(),
            catalog,
        }
    }

    /// Opens all connections, to learn whether the server grants them.
    pub(super) async fn open_all(&self) -> Result<(), Failure> {
        for shared in self.shared.iter().chain([&self.credentials, &self.state]) {
            shared.get().await?;
        }
        self.alone.open_all().await
    }

    /// Connections beside those for long reads.
    pub(super) fn others(&self) -> usize {
        self.shared.len() + 2
    }

    pub(super) async fn read<W: Work>(&self, lane: Lane, sql: &str, work: &W) -> Result<W::Found, Failure> {
        let shape = self.shapes.of(sql);
        match lane {
            Lane::Credentials => own(&self.credentials, &shape, work).await,
            Lane::State => own(&self.state, &shape, work).await,
            Lane::Of(reads, table) if reads.scan || shape.is_long() => self.alone(&shape, (&reads, table), work).await,
            Lane::Of(reads, table) => self.short(&shape, (&reads, table), work).await,
        }
    }

    async fn short<W: Work>(&self, shape: &Shape, of: (&Reads, usize), work: &W) -> Result<W::Found, Failure> {
        let Some(shared) = self.free() else { return self.alone(shape, of, work).await };
        let Ok(connection) = shared.get().await else { return self.alone(shape, of, work).await };
        let begun = Instant::now();
        let mut read = pin!(work.on(&connection, shape));
        let busy = |found: &Result<W::Found, Failure>| matches!(found, Err(Failure::Busy | Failure::Costly));
        let found = timeout(LATE, &mut read).await;
        let took = begun.elapsed();
        shape.took(took);
        if let Ok(found) = &found {
            self.took::<W>(of, shape, took, found);
        }
        match found {
            Ok(found) if busy(&found) => self.alone(shape, of, work).await,
            Ok(found) => found,
            Err(_) => {
                shared.is_late(&connection);
                let mut again = pin!(self.alone(shape, of, work));
                select! {
                    found = &mut again => found,
                    found = &mut read => {
                        self.took::<W>(of, shape, begun.elapsed(), &found);
                        if busy(&found) { again.await } else { found }
                    }
                }
            }
        }
    }

    async fn alone<W: Work>(&self, shape: &Shape, of: (&Reads, usize), work: &W) -> Result<W::Found, Failure> {
        let turn = self.alone.take(of.0.caller, of.1).await?;
        let begun = Instant::now();
        let found = work.on(turn.connection()?, shape).await;
        let took = begun.elapsed();
        shape.took(took);
        self.took::<W>(of, shape, took, &found);
        turn.ended();
        found
    }

    fn took<W: Work>(&self, (reads, table): (&Reads, usize), shape: &Shape, took: Duration, found: &Result<W::Found, Failure>) {
        self.catalog.took((&reads.purpose, table), &shape.sql, took, found.as_ref().ok().and_then(W::rows));
    }

    /// The next shared connection that answers.
    fn free(&self) -> Option<&Shared> {
        let at = self.next.fetch_add(1, Ordering::Relaxed);
        (0..self.shared.len()).map(|step| &self.shared[(at + step) % self.shared.len()]).find(|shared| !shared.late())
    }
}

async fn own<W: Work>(shared: &Shared, shape: &Shape, work: &W) -> Result<W::Found, Failure> {
    let read = async { work.on(&*shared.get().await?, shape).await };
    timeout(SYSTEM, read).await.unwrap_or(Err(Failure::Busy))
}

const _: () = assert!(LONG.as_millis() < LATE.as_millis(), "what was late takes long");
