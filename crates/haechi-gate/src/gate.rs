//! The gate: opened once, then shared by every feature.

use crate::{
    ask::Ask,
    authenticate::Authenticator,
    caller::Caller,
    clock::{Clock, GateClock},
    developer::Developers,
    keys::{MasterKey, Purpose, Sealer},
    ledger::access::Sightings,
    ledger::journal::GateJournal,
    ledger::keeping::Keeping,
    ledger::seal::SealState,
    live::{hub::Hub, image::Images},
    memory::Memory,
    revision::Revision,
    shared::Shared,
    system::{Area, Backup, System, SystemKeys},
};
use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use haechi_model::{Actor, Failure, Table};
use haechi_store::{Catalog, RestoreError, Server, Store, Target, Unopened};
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};
use tokio::runtime::{Handle, RuntimeFlavor};

/// How a gate is opened.
pub struct Options {
    /// The root of all keys.
    pub master: MasterKey,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// Whether developers' tokens are accepted: only in `dev`.
    pub dev_tokens: bool,
    /// System tables that features declare.
    pub tables: Vec<Table>,
}

/// The gate cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The database cannot be reached.
    #[error("the database {0} cannot be opened: {1}")]
    Database(String, String),
    /// The database may come back: its server does not answer, or accepts no changes yet.
    #[error("the database {0} cannot be opened: {1}")]
    Away(String, String),
    /// The keys cannot be derived.
    #[error("the keys cannot be derived")]
    Keys,
    /// The ledger was sealed under another master key.
    #[error("the ledger in this database was sealed under another master key: put the former one back")]
    OtherKey,
}

impl OpenError {
    fn of(database: &Database, why: &Unopened) -> Self {
        match why {
            Unopened::Unusable(_) => Self::Database(database.to_string(), why.to_string()),
            Unopened::Away(_) => Self::Away(database.to_string(), why.to_string()),
        }
    }
}

/// The gate.
#[derive(Clone)]
pub struct Gate {
    pub(crate) shared: Arc<Shared>,
    pub(crate) hub: Arc<Hub>,
}

impl Gate {
    /// Opens the store behind a gate. Tables need not be there yet.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn open<'a>(database: &'a Database, revision: Revision, options: Options) -> BoxFuture<'a, Result<(Self, SystemKeys), OpenError>> {
        Box::pin(async move {
            let images = Arc::new(Images::new(&options.master).ok_or(OpenError::Keys)?);
            let hub = Hub::new(&options.master, revision.app.config.live.clone()).ok_or(OpenError::Keys)?;
            let target = database.target();
            let catalog = Catalog::new(&revision.app, options.tables);
            let clock = Arc::new(GateClock::new(options.clock));
            let journal = GateJournal::new(&revision, catalog.tables(), &options.master, images.clone(), clock.clone());
            let journal = Arc::new(journal);
            let tables = catalog.tables().into_iter().map(|table| table.name).collect();
            let store = Store::open(&target, catalog, journal.clone()).await.map_err(|why| OpenError::of(database, &why))?;
            let (committed, at_commit) = (store.committed(), store.positions_at_commit());
            let (witness, keeping) = (revision.app.config.ledger.witness.clone(), Arc::<Keeping>::default());
            let shared = Shared {
                store: Arc::new(store),
                sightings: Sightings::default(),
                writing: tokio::sync::Mutex::default(),
                explains: options.dev_tokens,
                memory: Memory::new(),
                developers: Developers::new(&options.master, options.dev_tokens),
                tables,
                clock,
                journal,
                seals: SealState::new(&options.master, witness, &keeping).ok_or(OpenError::Keys)?,
                keeping,
                page_tokens: Sealer::new(&options.master, Purpose::PageToken).ok_or(OpenError::Keys)?,
                seal_lag_ms: AtomicI64::new(0),
                unplaced: AtomicU64::new(0),
                backed_up_ms: AtomicI64::new(0),
                sizes: ArcSwap::default(),
                migrations: AtomicI64::new(0),
                outdated: ArcSwap::default(),
                revision: ArcSwap::from_pointee(revision),
                // Changes that have their position at commit are told at once; others are told when they get it.
                told: if at_commit { committed.clone() } else { Arc::default() },
                committed,
                images,
                doubt: AtomicU64::new(0),
                inserted: std::sync::OnceLock::new(),
            };
            let gate = Self { shared: Arc::new(shared), hub: Arc::new(hub) };
            // Before the first migration there is no table of seals, and nothing to compare.
            let applied = gate.shared.store.applied().await.unwrap_or_default();
            if !applied.is_empty()
                && let Ok(Some(seal)) = gate.shared.store.last_seal().await
                && gate.shared.seals.verifier().verify(&seal.note) == Err(haechi_ledger::NoteError::Malformed)
            {
                return Err(OpenError::OtherKey);
            }
            if !applied.is_empty()
                && let Ok(Some(ms)) = gate.shared.ledger_ms().await
            {
                gate.shared.clock.is_at_least(ms);
            }
            if gate.meet().await.is_err() {
                gate.learn(&applied);
            }
            gate.be_patient();
            let keys = SystemKeys::new(Authenticator::new(gate.shared.clone()));
            Ok((gate, keys))
        })
    }

    /// One request's question.
    #[must_use]
    pub fn ask(&self, caller: &Caller, request_id: &Arc<str>) -> Ask {
        Ask {
            revision: self.shared.revision.load_full(),
            caller: caller.clone(),
            request_id: request_id.clone(),
            now_ms: self.shared.clock.now_ms(),
            shared: self.shared.clone(),
            came: None,
            language: "en",
            cause: None,
        }
    }

    /// The state of app and policies at this moment.
    #[must_use]
    pub fn revision(&self) -> Arc<Revision> {
        self.shared.revision.load_full()
    }

    /// Sets how much of a request's time its changes may spend on waiting for others; the rest is for the reply.
    fn be_patient(&self) {
        let request_ms = self.shared.revision.load().app.config.limits.request_ms;
        self.shared.store.be_patient(std::time::Duration::from_millis(request_ms * 4 / 5));
        let slow_ms = self.revision().app.config.log.slow_ms;
        self.shared.store.tell_slow(std::time::Duration::from_millis(slow_ms.unsigned_abs()));
    }

    /// Replaces the policies. The model must be the one that the gate was opened with.
    pub fn replace(&self, revision: Revision) {
        self.shared.journal.watch(revision.watched());
        self.shared.revision.store(Arc::new(revision));
        self.be_patient();
        // All streams are bound again before this returns. The thread serves other requests meanwhile.
        let rebind = || self.hub.rebind_all(&self.shared);
        match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
            Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(rebind),
            _ => rebind(),
        }
    }

    /// Seals page tokens.
    #[must_use]
    pub fn page_tokens(&self) -> &Sealer {
        &self.shared.page_tokens
    }

    /// Where the time comes from.
    #[must_use]
    pub fn clock(&self) -> &GateClock {
        &self.shared.clock
    }

    /// The public key of the ledger's checkpoints, as text.
    #[must_use]
    pub fn ledger_key(&self) -> String {
        self.shared.seals.verifier().to_text()
    }

    /// Opens all connections to the database that will be needed.
    ///
    /// # Errors
    /// When the server does not grant them.
    pub fn open_all(&self) -> BoxFuture<'_, Result<(), Unopened>> {
        self.shared.store.open_all()
    }

    /// Whether the database answers.
    pub fn reachable(&self) -> BoxFuture<'_, bool> {
        Box::pin(async move { self.shared.store.last_seal().await.is_ok() })
    }

    /// Copies everything, as it is at one moment, into a new SQLite file, while requests go on. `operator` stands in the ledger.
    ///
    /// # Errors
    /// When the file cannot be written or the database cannot be reached.
    pub fn backup<'a>(&'a self, _: &'a System<Backup>, file: &'a Path, operator: &'a str) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let entry = self.shared.system_entry("backup", None, String::new());
            self.shared.commit(self.shared.change_of(Arc::new(Actor { kind: "operator", id: operator.into() }), vec![entry])).await?;
            self.settle().await;
            let time_ms = self.shared.clock.now_ms();
            self.shared.store.backup(file).await?;
            if let Err(failure) = self.shared.store.was_backed_up(time_ms).await {
                tracing::warn!(target: "haechi", %failure, "the backup was made, and other nodes do not learn of it");
            }
            self.shared.backed_up_ms.store(time_ms, Ordering::Relaxed);
            Ok(())
        })
    }

    /// Takes the system's time after the clock was wrongly ahead; returns the time before and after. The caller records or undoes it.
    pub fn accept_clock<A: Area>(&self, _: &System<A>) -> (i64, i64) {
        let before = self.shared.clock.now_ms();
        self.shared.clock.accept();
        (before, self.shared.clock.now_ms())
    }

    /// Undoes an accepted time that could not be recorded.
    pub fn keep_clock<A: Area>(&self, _: &System<A>, before_ms: i64) {
        self.shared.clock.take_back(before_ms);
    }

    /// Records something that the system or an operator did.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn record<A: Area>(&self, key: &System<A>, action: &str) -> Result<(), Failure> {
        let entry = self.shared.system_entry(action, None, String::new());
        self.shared.commit(self.shared.system_change(key, vec![entry])).await.map(|_| ())
    }
}

/// Restores a backup into an empty place, without the rows of the tables in `left`.
///
/// # Errors
/// When the place is not empty, or cannot be written.
pub fn restore<'a>(file: &'a Path, database: &'a Database, left: &'a [&'a str]) -> BoxFuture<'a, Result<(), RestoreError>> {
    Box::pin(async move { haechi_store::restore(file, &database.target(), left).await })
}

impl Database {
    /// Fails while the server is away but may come back. A database that cannot be used counts as an answer.
    ///
    /// # Errors
    /// Why the server is away, in words for an operator.
    pub async fn answers(&self) -> Result<(), String> {
        match haechi_store::answers(&self.target()).await {
            Err(Unopened::Away(why)) => Err(why),
            Ok(()) | Err(Unopened::Unusable(_)) => Ok(()),
        }
    }

    fn target(&self) -> Target {
        match self {
            Self::Sqlite(path) => Target::Sqlite(path.clone()),
            Self::Postgres(server) => Target::Postgres(server.clone()),
        }
    }
}

/// Where the data is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Database {
    /// An SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL server.
    Postgres(Server),
}

impl std::fmt::Display for Database {
    /// The place, without its secrets.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(path) => write!(out, "{}", path.display()),
            Self::Postgres(server) => {
                let rest = server.url.split_once("://").map_or("", |(_, rest)| rest);
                let place = rest.split('?').next().unwrap_or_default();
                write!(out, "postgres://{}", place.rsplit_once('@').map_or(place, |(_, place)| place))
            }
        }
    }
}
