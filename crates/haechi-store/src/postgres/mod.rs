//! PostgreSQL: two pipelined connections for reads, a pool for changes, a lease for the one node that sequences.

mod connection;
mod load;
mod log;
mod maintain;
mod migrate;
mod read;
mod sequencer;
mod steps;
mod tls;

pub(crate) use connection::failure;
pub(crate) use migrate::SEQUENCE;

use crate::{Unopened, catalog::Catalog, journal::Journal};
use connection::Shared;
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use haechi_model::{Change, Failure, Outcome, Trust};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::{Mutex, Notify};

const READ_CONNECTIONS: usize = 2;
const CHANGE_CONNECTIONS: usize = 16;
const CONNECT: Duration = Duration::from_secs(5);
const WAIT: Duration = Duration::from_secs(5);
/// How long a change is run again after deadlocks, until it is said otherwise.
const PATIENCE_MS: u64 = 8_000;
/// The wait before a change is run again, at most, in milliseconds; it doubles from the first on.
const MAX_PAUSE_MS: u64 = 500;
const PAUSE_MS: u64 = 20;

/// An open PostgreSQL database.
pub(crate) struct Postgres(Arc<Inner>);

struct Inner {
    reads: Vec<Shared>,
    next_read: std::sync::atomic::AtomicUsize,
    pool: Pool,
    catalog: Arc<Catalog>,
    journal: Arc<dyn Journal>,
    committed: Arc<Notify>,
    /// Name of this node in leases.
    node: String,
    lease: Mutex<sequencer::Lease>,
    /// How long a change may wait for others in all.
    patience_ms: AtomicU64,
}

impl Postgres {
    pub(crate) async fn open(
        url: &str,
        trust: &Trust,
        catalog: Arc<Catalog>,
        journal: Arc<dyn Journal>,
        committed: Arc<Notify>,
    ) -> Result<Self, Unopened> {
        let mut config: tokio_postgres::Config =
            url.parse().map_err(|error| Unopened(format!("its URL cannot be used: {}", connection::words(&error))))?;
        let tls = tls::Tls::new(trust, &mut config).map_err(|error| Unopened(format!("TLS cannot be set up: {error}")))?;
        config.connect_timeout(CONNECT).application_name("haechi");
        let manager = Manager::from_config(config.clone(), tls.clone(), ManagerConfig { recycling_method: RecyclingMethod::Fast });
        let pool = Pool::builder(manager)
            .max_size(CHANGE_CONNECTIONS)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(WAIT))
            .create_timeout(Some(CONNECT))
            .build();
        let pool = pool.map_err(|error| Unopened(error.to_string()))?;
        // Once by hand: the pool does not say why it has no connection.
        connection::usable(&config, tls.clone()).await?;
        let reads = (0..READ_CONNECTIONS).map(|_| Shared::new(config.clone(), tls.clone())).collect();
        let inner = Inner {
            reads,
            next_read: std::sync::atomic::AtomicUsize::new(0),
            pool,
            catalog,
            journal,
            committed,
            node: uuid::Uuid::now_v7().simple().to_string(),
            lease: Mutex::default(),
            patience_ms: AtomicU64::new(PATIENCE_MS),
        };
        let postgres = Self(Arc::new(inner));
        postgres.0.read().await.map_err(|failure| Unopened(failure.to_string()))?;
        Ok(postgres)
    }

    /// A connection of one's own.
    pub(crate) async fn client(&self) -> Result<deadpool_postgres::Object, Failure> {
        self.0.pool.get().await.map_err(|_| Failure::Unavailable)
    }

    /// A change waits for others at most for so long, all its runs together.
    pub(crate) fn be_patient(&self, most: Duration) {
        self.0.patience_ms.store(u64::try_from(most.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Runs a change on a task of its own: a caller that goes away cancels nothing.
    pub(crate) async fn commit(&self, change: Change) -> Result<Outcome, Failure> {
        let inner = self.0.clone();
        let task = tokio::spawn(async move {
            let (began, patience) = (Instant::now(), Duration::from_millis(inner.patience_ms.load(Ordering::Relaxed)));
            let mut most = PAUSE_MS;
            loop {
                match inner.run(&change, patience.saturating_sub(began.elapsed())).await {
                    Err(steps::Stop::Again) => {
                        // By chance: those that met once would meet again.
                        let pause = Duration::from_millis(1 + uuid::Uuid::new_v4().as_u64_pair().1 % most);
                        if began.elapsed() + pause >= patience {
                            break Err(Failure::Contended);
                        }
                        tokio::time::sleep(pause).await;
                        most = MAX_PAUSE_MS.min(most * 2);
                    }
                    Err(steps::Stop::Failed(failure)) => break Err(failure),
                    Ok(outcome) => {
                        inner.committed.notify_one();
                        break Ok(outcome);
                    }
                }
            }
        });
        task.await.unwrap_or(Err(Failure::Unknown))
    }
}
