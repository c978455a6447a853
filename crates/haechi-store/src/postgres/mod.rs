//! PostgreSQL: connections for reads of each kind (`lanes.rs`), a pool for changes, one for slow work, a connection for the ledger, and a
//! lease for the one node that sequences.

mod commit;
mod connection;
mod lanes;
mod load;
mod log;
mod maintain;
mod migrate;
mod notices;
mod once;
mod outage;
mod read;
mod sequencer;
mod shapes;
mod signs;
mod steps;
mod tls;
mod turns;
mod uses;

pub(crate) use connection::failure;
pub(crate) use load::binary_type;
pub(crate) use migrate::{SELDOM_VACUUMED, SEQUENCE};

use crate::{Server, Unopened, catalog::Catalog, journal::Journal, lines::Fill, migrate::model_number, render::Dialect, system::wanted_tables};
use connection::Opener;
use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime};
use haechi_model::{Change, Failure, Outcome, Step};
use lanes::Lanes;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::{Mutex, Notify, Semaphore, SemaphorePermit};
use tokio_postgres::config::TargetSessionAttrs;

/// Connections for work of minutes: migrations, imports, backups.
const SLOW_CONNECTIONS: usize = 4;
const CONNECT: Duration = Duration::from_secs(5);
const WAIT: Duration = Duration::from_secs(5);
/// A change ends within this time, and waits for others as long as its patience allows. An abandoned transaction is ended, so that its
/// locks are freed.
const CHANGE: &str = "SET synchronous_commit = on; SET lock_timeout = {patience}; SET statement_timeout = '30s'; SET idle_in_transaction_session_timeout = '30s'; SET jit = off";
const LEDGER: &str = "SET statement_timeout = '30s'; SET idle_in_transaction_session_timeout = '10s'";
/// Statements may take any time; no transaction stays open for ever.
const SLOW: &str = "SET synchronous_commit = on; SET idle_in_transaction_session_timeout = '10min'";
/// How long a change is retried after deadlocks, until another time is set.
const PATIENCE_MS: u64 = 8_000;
/// The longest wait before a change is retried, in milliseconds; the wait doubles each time.
const MAX_PAUSE_MS: u64 = 500;
const PAUSE_MS: u64 = 20;

/// An open PostgreSQL database.
pub(crate) struct Postgres(Arc<Inner>);

struct Inner {
    opener: Opener,
    lanes: Lanes,
    changes: Pool,
    /// How often a change got a connection, and the total time of waiting for them.
    given: AtomicU64,
    waited_us: AtomicU64,
    /// By collection: how many changes of it may hold a connection, so that a locked table does not hold up changes of others.
    of_table: Vec<Semaphore>,
    slow: Pool,
    ledger: Pool,
    /// The number of the model that this node serves.
    model: i32,
    catalog: Arc<Catalog>,
    journal: Arc<dyn Journal>,
    committed: Arc<Notify>,
    /// Whether this node has committed something since positions were last given.
    fresh: AtomicBool,
    /// Name of this node in leases.
    node: String,
    lease: Mutex<sequencer::Lease>,
    gives_positions: AtomicBool,
    /// How long a change may wait for others in all.
    patience_ms: Arc<AtomicU64>,
    /// How many loads are under way on this node.
    loading: AtomicUsize,
}

impl Postgres {
    pub(crate) async fn open(server: &Server, catalog: Arc<Catalog>, journal: Arc<dyn Journal>, committed: Arc<Notify>) -> Result<Self, Unopened> {
        let (config, tls) = configured(server)?;
        let patience_ms = Arc::new(AtomicU64::new(PATIENCE_MS));
        let pool = |size, settings: &'static str| {
            let patience_ms = patience_ms.clone();
            let manager = Manager::from_config(config.clone(), tls.clone(), ManagerConfig { recycling_method: RecyclingMethod::Fast });
            let set = Hook::async_fn(move |client: &mut deadpool_postgres::ClientWrapper, _| {
                let patience_ms = patience_ms.load(Ordering::Relaxed);
                Box::pin(async move {
                    client.batch_execute(&settings.replace("{patience}", &patience_ms.to_string())).await.map_err(HookError::Backend)?;
                    outage::over();
                    Ok(())
                })
            });
            let pool = Pool::builder(manager).max_size(size).runtime(Runtime::Tokio1).wait_timeout(Some(WAIT)).create_timeout(Some(CONNECT));
            pool.post_create(set).build().map_err(|error| Unopened::Unusable(error.to_string()))
        };
        let sizes = server.connections;
        let (changes, slow, ledger) = (pool(sizes.changes, CHANGE)?, pool(SLOW_CONNECTIONS, SLOW)?, pool(1, LEDGER)?);
        // One connection is made directly, because the pool does not say why it has none.
        connection::usable(&config, tls.clone()).await?;
        let opener = Opener::new(config, tls);
        let inner = Inner {
            lanes: Lanes::new(&opener, catalog.clone(), sizes.shared, sizes.reads),
            opener,
            of_table: catalog.collections.iter().map(|_| Semaphore::new(sizes.changes.div_ceil(2))).collect(),
            changes,
            given: AtomicU64::new(0),
            waited_us: AtomicU64::new(0),
            slow,
            ledger,
            model: model_number(&wanted_tables(Dialect::Postgres, &catalog)),
            catalog,
            journal,
            committed,
            fresh: AtomicBool::new(true),
            node: uuid::Uuid::now_v7().simple().to_string(),
            lease: Mutex::default(),
            gives_positions: AtomicBool::new(false),
            patience_ms,
            loading: AtomicUsize::new(0),
        };
        Ok(Self(Arc::new(inner)))
    }

    /// Opens all connections except those for slow work, so that a server that does not grant them is found out at the start.
    pub(crate) async fn open_all(&self) -> Result<(), Unopened> {
        let inner = &self.0;
        let changes = inner.changes.status().max_size;
        let granted = async {
            inner.lanes.open_all().await?;
            let changes = futures_util::future::try_join_all((0..changes).map(|_| inner.changes.get())).await;
            changes.and(inner.ledger.get().await.map(drop)).map_err(|error| unpooled(&error))
        };
        let wanted = inner.lanes.others() + inner.lanes.alone.fill().size + changes + 1;
        granted.await.map_err(|failure| {
            Unopened::Unusable(format!(
                "{failure}: this node needs {wanted} connections, and {SLOW_CONNECTIONS} more now and then. Raise max_connections of the server \
                 or the role's limit, or lower database.read_connections and database.change_connections"
            ))
        })
    }

    /// Starts to listen to other nodes.
    pub(crate) fn listen(&self) {
        tokio::spawn(notices::listen(self.0.opener.clone(), Arc::downgrade(&self.0)));
    }

    /// How full the pools are, each with its name.
    pub(crate) fn pools(&self) -> [(&'static str, Fill); 4] {
        let fill = |pool: &Pool| {
            let status = pool.status();
            Fill {
                size: status.max_size,
                open: status.size,
                used: status.size.saturating_sub(status.available),
                waiting: status.waiting,
                ..Fill::default()
            }
        };
        let inner = &self.0;
        let changes = Fill {
            given: inner.given.load(Ordering::Relaxed),
            waited: Duration::from_micros(inner.waited_us.load(Ordering::Relaxed)),
            ..fill(&inner.changes)
        };
        [("reads", inner.lanes.alone.fill()), ("changes", changes), ("slow", fill(&inner.slow)), ("ledger", fill(&inner.ledger))]
    }

    /// A connection for slow work.
    pub(crate) async fn client(&self) -> Result<Object, Failure> {
        self.0.slow.get().await.map_err(|error| unpooled(&error))
    }

    /// Sets how long a change waits for others at most, in all its runs together.
    pub(crate) fn be_patient(&self, most: Duration) {
        self.0.patience_ms.store(u64::try_from(most.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Runs a change on a separate task: a caller that goes away cancels nothing.
    pub(crate) async fn commit(&self, change: Change) -> Result<Outcome, Failure> {
        let inner = self.0.clone();
        let task = tokio::spawn(async move {
            let (began, patience) = (Instant::now(), inner.patience());
            // Connections have the usual patience as a setting.
            let mut left = (inner.loading.load(Ordering::Relaxed) > 0).then_some(patience);
            let mut most = PAUSE_MS;
            loop {
                match inner.run(&change, left).await {
                    Err(steps::Stop::Again) => {
                        // A random pause, so that changes that collided do not collide again.
                        let pause = Duration::from_millis(1 + uuid::Uuid::new_v4().as_u64_pair().1 % most);
                        if began.elapsed() + pause >= patience {
                            break Err(Failure::Contended);
                        }
                        tokio::time::sleep(pause).await;
                        left = Some(patience.saturating_sub(began.elapsed()));
                        most = MAX_PAUSE_MS.min(most * 2);
                    }
                    Err(steps::Stop::Failed(failure)) => break Err(failure),
                    Ok(outcome) => {
                        inner.has_committed();
                        break Ok(outcome);
                    }
                }
            }
        });
        task.await.unwrap_or(Err(Failure::Unknown))
    }
}

impl Inner {
    /// How long a change waits for others; less while a load holds rows for long.
    fn patience(&self) -> Duration {
        let patience = Duration::from_millis(self.patience_ms.load(Ordering::Relaxed));
        if self.loading.load(Ordering::Relaxed) > 0 { patience.min(crate::load::PATIENCE) } else { patience }
    }

    /// Notes that entries wait for their position.
    fn has_committed(&self) {
        self.fresh.store(true, Ordering::Release);
        self.committed.notify_one();
    }

    /// A place and a connection for a change.
    async fn change_connection(&self, change: &Change) -> Result<(Vec<SemaphorePermit<'_>>, Object), Failure> {
        let begun = Instant::now();
        let places = self.places(change).await?;
        let client = self.changes.get().await.map_err(|error| unpooled(&error))?;
        self.given.fetch_add(1, Ordering::Relaxed);
        self.waited_us.fetch_add(u64::try_from(begun.elapsed().as_micros()).unwrap_or(0), Ordering::Relaxed);
        Ok((places, client))
    }

    /// A place among the changes of each written collection, always in the same order.
    async fn places(&self, change: &Change) -> Result<Vec<SemaphorePermit<'_>>, Failure> {
        let mut tables: Vec<usize> = change
            .steps
            .iter()
            .filter_map(|step| match step {
                Step::Lock { table, .. } | Step::Insert { table, .. } | Step::Numbered { table, .. } | Step::Update { table, .. } => Some(*table),
                Step::Delete { table, .. } | Step::Cascade { table, .. } => Some(*table),
                Step::Check { .. }
                | Step::Holds { .. }
                | Step::Fewer { .. }
                | Step::Each { .. }
                | Step::Clear { .. }
                | Step::Pick { .. }
                | Step::Take { .. } => None,
            })
            .filter(|table| *table < self.of_table.len())
            .collect();
        tables.sort_unstable();
        tables.dedup();
        let mut places = Vec::with_capacity(tables.len());
        for table in tables {
            let place = tokio::time::timeout(WAIT, self.of_table[table].acquire()).await;
            places.push(place.map_err(|_| Failure::Busy)?.map_err(|_| Failure::Unavailable)?);
        }
        Ok(places)
    }
}

/// The configuration to reach the server. Of several hosts, it uses the one that accepts changes.
fn configured(server: &Server) -> Result<(tokio_postgres::Config, tls::Tls), Unopened> {
    let mut config: tokio_postgres::Config =
        server.url.parse().map_err(|error| Unopened::Unusable(format!("its URL cannot be used: {}", connection::words(&error))))?;
    let tls = tls::Tls::new(&server.trust, &mut config).map_err(|error| Unopened::Unusable(format!("TLS cannot be set up: {error}")))?;
    config.connect_timeout(CONNECT).application_name("haechi").target_session_attrs(TargetSessionAttrs::ReadWrite);
    Ok((config, tls))
}

/// Whether the server is there and can be used.
pub(crate) async fn answers(server: &Server) -> Result<(), Unopened> {
    let (config, tls) = configured(server)?;
    connection::usable(&config, tls).await
}

/// Why a pool gives no connection.
fn unpooled(error: &PoolError) -> Failure {
    match error {
        PoolError::Timeout(deadpool_postgres::TimeoutType::Wait) => Failure::Busy,
        PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => failure(error),
        other => {
            outage::met(&other.to_string(), None);
            Failure::Unavailable
        }
    }
}
