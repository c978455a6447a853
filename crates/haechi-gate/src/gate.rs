//! The gate: opened once, then shared by every feature.

use crate::{
    ask::Ask,
    authenticate::{Authenticator, Memory},
    caller::Caller,
    clock::{Clock, GateClock},
    keys::{MasterKey, Sealer},
    ledger::access::Sightings,
    ledger::journal::GateJournal,
    ledger::keeping::Keeping,
    ledger::seal::SealState,
    live::{hub::Hub, image::Images},
    revision::Revision,
    system::{Area, Backup, System, SystemKeys},
    system_work::Revocation,
};
use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use haechi_model::{Actor, App, Change, CollectionId, EntryDraft, EntryKind, Failure, Outcome, ReadsLogged, Step, Table, USERS};
use haechi_store::{Catalog, RestoreError, Server, Sizes, Store, Target, Unopened};
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::Notify,
};

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
    /// The database may come: its server does not answer, or takes no changes yet.
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
pub struct Gate(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) store: Arc<Store>,
    pub(crate) revision: ArcSwap<Revision>,
    pub(crate) sightings: Sightings,
    /// One writes them at a time: who settles waits for what is being written.
    pub(crate) writing: tokio::sync::Mutex<()>,
    pub(crate) memory: Memory,
    /// Names of all tables, by number.
    pub(crate) tables: Vec<String>,
    pub(crate) clock: Arc<GateClock>,
    pub(crate) journal: Arc<GateJournal>,
    pub(crate) seals: SealState,
    pub(crate) keeping: Arc<Keeping>,
    /// Whether refusals say why: only in `dev`.
    pub(crate) explains: bool,
    page_tokens: Sealer,
    /// Age of the oldest entry without seal, milliseconds; for readiness.
    pub(crate) seal_lag_ms: AtomicI64,
    /// Entries without a position, where they get it after their commit.
    pub(crate) unplaced: AtomicU64,
    /// When everything was copied last; zero when it never was.
    pub(crate) backed_up_ms: AtomicI64,
    pub(crate) sizes: ArcSwap<Sizes>,
    /// The number of the last migration that was looked at, and why this node does not go on over it.
    pub(crate) migrations: AtomicI64,
    pub(crate) outdated: ArcSwap<Vec<String>>,
    pub(crate) committed: Arc<Notify>,
    /// Woken when there may be something to tell to streams.
    pub(crate) told: Arc<Notify>,
    pub(crate) images: Arc<Images>,
    pub(crate) live: Arc<Hub>,
}

impl Gate {
    /// Opens the store behind a gate. Tables need not be there yet.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn open<'a>(database: &'a Database, revision: Revision, options: Options) -> BoxFuture<'a, Result<(Self, SystemKeys), OpenError>> {
        Box::pin(async move {
            let images = Arc::new(Images::new(&options.master).ok_or(OpenError::Keys)?);
            let live = Arc::new(Hub::new(&options.master, revision.app.config.live.clone()).ok_or(OpenError::Keys)?);
            let target = database.target();
            let catalog = Catalog::new(&revision.app, options.tables);
            let clock = Arc::new(GateClock::new(options.clock));
            let journal = GateJournal::new(&revision, catalog.tables(), &options.master, images.clone(), clock.clone());
            let journal = Arc::new(journal);
            let tables = catalog.tables().into_iter().map(|table| table.name).collect();
            let store = Store::open(&target, catalog, journal.clone()).await.map_err(|why| OpenError::of(database, &why))?;
            let (committed, dialect) = (store.committed(), store.dialect());
            let (witness, keeping) = (revision.app.config.ledger.witness.clone(), Arc::<Keeping>::default());
            let inner = Inner {
                store: Arc::new(store),
                sightings: Sightings::default(),
                writing: tokio::sync::Mutex::default(),
                explains: options.dev_tokens,
                memory: Memory::new(&options.master, options.dev_tokens),
                tables,
                clock,
                journal,
                seals: SealState::new(&options.master, witness, &keeping).ok_or(OpenError::Keys)?,
                keeping,
                page_tokens: Sealer::new(&options.master, "page token").ok_or(OpenError::Keys)?,
                seal_lag_ms: AtomicI64::new(0),
                unplaced: AtomicU64::new(0),
                backed_up_ms: AtomicI64::new(0),
                sizes: ArcSwap::default(),
                migrations: AtomicI64::new(0),
                outdated: ArcSwap::default(),
                revision: ArcSwap::from_pointee(revision),
                // On SQLite what was committed has its position; elsewhere it is told when it has.
                told: if dialect == haechi_store::Dialect::Sqlite { committed.clone() } else { Arc::default() },
                committed,
                images,
                live,
            };
            let gate = Self(Arc::new(inner));
            // Before the first migration there is no table of seals, and nothing to compare.
            let applied = gate.0.store.applied().await.unwrap_or_default();
            if !applied.is_empty()
                && let Ok(Some(seal)) = gate.0.store.last_seal().await
                && gate.0.seals.verifier().verify(&seal.note) == Err(haechi_ledger::NoteError::Malformed)
            {
                return Err(OpenError::OtherKey);
            }
            if !applied.is_empty()
                && let Ok(Some(ms)) = gate.0.ledger_ms().await
            {
                gate.0.clock.is_at_least(ms);
            }
            if gate.meet().await.is_err() {
                gate.learn(&applied);
            }
            gate.be_patient();
            let keys = SystemKeys::new(Authenticator::new(gate.0.clone()));
            Ok((gate, keys))
        })
    }

    /// One request's question.
    #[must_use]
    pub fn ask(&self, caller: &Caller, request_id: &Arc<str>) -> Ask {
        Ask {
            revision: self.0.revision.load_full(),
            caller: caller.clone(),
            request_id: request_id.clone(),
            now_ms: self.0.clock.now_ms(),
            gate: self.0.clone(),
            came: None,
            language: "en",
        }
    }

    /// The state of app and policies at this moment.
    #[must_use]
    pub fn revision(&self) -> Arc<Revision> {
        self.0.revision.load_full()
    }

    /// What changes that wait for others have of a request's time; the rest is for the reply.
    fn be_patient(&self) {
        let request_ms = self.0.revision.load().app.config.limits.request_ms;
        self.0.store.be_patient(std::time::Duration::from_millis(request_ms * 4 / 5));
        let slow_ms = self.revision().app.config.log.slow_ms;
        self.0.store.tell_slow(std::time::Duration::from_millis(slow_ms.unsigned_abs()));
    }

    /// Replaces the policies. The model must be the one that the gate was opened with.
    pub fn replace(&self, revision: Revision) {
        self.0.journal.watch(revision.watched());
        self.0.revision.store(Arc::new(revision));
        self.be_patient();
        // All streams are bound again before this returns; whoever else is served by this thread does not wait for it.
        let rebind = || self.0.live.rebind_all(&self.0);
        match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
            Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(rebind),
            _ => rebind(),
        }
    }

    /// Seals page tokens.
    #[must_use]
    pub fn page_tokens(&self) -> &Sealer {
        &self.0.page_tokens
    }

    /// Where the time comes from.
    #[must_use]
    pub fn clock(&self) -> &GateClock {
        &self.0.clock
    }

    /// The public key of the ledger's checkpoints, as text.
    #[must_use]
    pub fn ledger_key(&self) -> String {
        self.0.seals.verifier().to_text()
    }

    /// Opens all connections to the database that will be needed.
    ///
    /// # Errors
    /// When the server does not grant them.
    pub fn open_all(&self) -> BoxFuture<'_, Result<(), Unopened>> {
        self.0.store.open_all()
    }

    /// Whether the database answers.
    pub fn reachable(&self) -> BoxFuture<'_, bool> {
        Box::pin(async move { self.0.store.last_seal().await.is_ok() })
    }

    /// Copies everything, as it is at one moment, into a new SQLite file, while requests go on. `operator` stands in the ledger.
    ///
    /// # Errors
    /// When the file cannot be written or the database cannot be reached.
    pub fn backup<'a>(&'a self, _: &'a System<Backup>, file: &'a Path, operator: &'a str) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let entry = self.0.system_entry("backup", None, String::new());
            self.0.commit(self.0.change_of(Arc::new(Actor { kind: "operator", id: operator.into() }), vec![entry])).await?;
            self.settle().await;
            let time_ms = self.0.clock.now_ms();
            self.0.store.backup(file).await?;
            self.0.store.was_backed_up(time_ms).await?;
            self.0.backed_up_ms.store(time_ms, Ordering::Relaxed);
            Ok(())
        })
    }

    /// Takes the system's time after it was wrongly ahead, also back; the time before and after. The caller records it, or takes it back.
    pub fn accept_clock<A: Area>(&self, _: &System<A>) -> (i64, i64) {
        let before = self.0.clock.now_ms();
        self.0.clock.accept();
        (before, self.0.clock.now_ms())
    }

    /// Goes on from the time before, when that could not be recorded.
    pub fn keep_clock<A: Area>(&self, _: &System<A>, before_ms: i64) {
        self.0.clock.take_back(before_ms);
    }

    /// Records something that the system or an operator did.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn record<A: Area>(&self, key: &System<A>, action: &str) -> Result<(), Failure> {
        let entry = self.0.system_entry(action, None, String::new());
        self.0.commit(self.0.system_change(key, vec![entry])).await.map(|_| ())
    }
}

/// Puts a backup into a place where nothing is yet, but for the rows of the tables that are `left` out.
///
/// # Errors
/// When there is something already, or it cannot be written.
pub fn restore<'a>(file: &'a Path, database: &'a Database, left: &'a [&'a str]) -> BoxFuture<'a, Result<(), RestoreError>> {
    Box::pin(async move { haechi_store::restore(file, &database.target(), left).await })
}

impl Database {
    /// Whether it is there; if not, but it may come, why.
    ///
    /// # Errors
    /// In words for an operator.
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
    /// The place, without what is secret in it.
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

impl Inner {
    pub(crate) async fn commit(self: &Arc<Self>, change: Change) -> Result<Outcome, Failure> {
        self.commit_revoking(change, Vec::new()).await
    }

    /// Commits, then forgets what the change makes stale of remembered callers.
    pub(crate) async fn commit_revoking(self: &Arc<Self>, change: Change, mut revocations: Vec<Revocation>) -> Result<Outcome, Failure> {
        let all = written_users(&change, &mut revocations);
        if !all && revocations.is_empty() {
            return self.store.commit(change).await;
        }
        // On a task of its own: whoever hangs up cannot keep what is remembered of callers from being forgotten.
        let gate = self.clone();
        let task = tokio::spawn(async move {
            let outcome = gate.store.commit(change).await;
            if all {
                gate.memory.forget(&Revocation::All);
            }
            revocations.iter().for_each(|revocation| gate.memory.forget(revocation));
            gate.live.doubt.fetch_add(1, Ordering::AcqRel);
            outcome
        });
        task.await.unwrap_or(Err(Failure::Unknown))
    }

    /// Whether a read leaves an access entry.
    pub(crate) fn logs_read(&self, app: &App, collection: CollectionId, shown: &[usize]) -> bool {
        match app.config.ledger.reads {
            ReadsLogged::All => true,
            ReadsLogged::None => false,
            ReadsLogged::Classed => shown.iter().any(|field| app.classes[app.collections[collection].fields[*field].class].guarded()),
        }
    }

    pub(crate) fn system_change<A: Area>(&self, _: &System<A>, entries: Vec<EntryDraft>) -> Change {
        self.change_of(System::<A>::actor(), entries)
    }

    pub(crate) fn change_of(&self, actor: Arc<Actor>, entries: Vec<EntryDraft>) -> Change {
        Change {
            claim: None,
            steps: Vec::new(),
            entries,
            actor,
            request_id: "".into(),
            policy_version: self.revision.load().version.clone(),
            time_ms: self.clock.now_ms(),
        }
    }

    pub(crate) fn system_entry(&self, action: &str, collection: Option<CollectionId>, extra: String) -> EntryDraft {
        EntryDraft { extra, ..EntryDraft::new(EntryKind::System, action, collection, None) }
    }
}

/// Names the users that a change writes; `true` when it may write any.
fn written_users(change: &Change, revocations: &mut Vec<Revocation>) -> bool {
    for step in &change.steps {
        match step {
            Step::Update { table, id, .. } | Step::Delete { table, id, .. } if *table == USERS => revocations.push(Revocation::User(id.clone())),
            Step::Cascade { .. } => return true,
            _ => {}
        }
    }
    false
}
