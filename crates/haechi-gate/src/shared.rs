//! What all parts of the gate share, and the one way to commit a change.

use crate::{
    clock::GateClock,
    developer::Developers,
    keys::Sealer,
    ledger::{access::Sightings, journal::GateJournal, keeping::Keeping, seal::SealState},
    live::image::Images,
    memory::{Memory, Revocation},
    revision::Revision,
};
use arc_swap::ArcSwap;
use haechi_model::{Actor, App, Change, CollectionId, EntryDraft, EntryKind, Failure, Outcome, ReadsLogged, Row, Step, USERS};
use haechi_store::{Sizes, Store};
use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicI64, AtomicU64, Ordering},
};
use tokio::sync::Notify;

/// Is told of a row, once it is stored.
pub(crate) type Told = Arc<dyn Fn(&Row) + Send + Sync>;

/// What all parts of the gate share: the store, the policies of the moment, the ledger and what is remembered.
pub(crate) struct Shared {
    pub(crate) store: Arc<Store>,
    pub(crate) revision: ArcSwap<Revision>,
    pub(crate) sightings: Sightings,
    /// Lets one task write them at a time: `settle` waits for a write that is under way.
    pub(crate) writing: tokio::sync::Mutex<()>,
    pub(crate) memory: Memory,
    pub(crate) developers: Developers,
    /// Names of all tables, by number.
    pub(crate) tables: Vec<String>,
    pub(crate) clock: Arc<GateClock>,
    pub(crate) journal: Arc<GateJournal>,
    pub(crate) seals: SealState,
    pub(crate) keeping: Arc<Keeping>,
    /// Whether refusals say why: only in `dev`.
    pub(crate) explains: bool,
    pub(crate) page_tokens: Sealer,
    /// Age of the oldest entry without seal, milliseconds; for readiness.
    pub(crate) seal_lag_ms: AtomicI64,
    /// Entries without a position, where they get it after their commit.
    pub(crate) unplaced: AtomicU64,
    /// When everything was copied last; zero when it never was.
    pub(crate) backed_up_ms: AtomicI64,
    pub(crate) sizes: ArcSwap<Sizes>,
    /// The number of the last migration that was checked, and why this node cannot serve with it.
    pub(crate) migrations: AtomicI64,
    pub(crate) outdated: ArcSwap<Vec<String>>,
    pub(crate) committed: Arc<Notify>,
    /// Woken when there may be something to tell streams.
    pub(crate) told: Arc<Notify>,
    pub(crate) images: Arc<Images>,
    /// Raised when a credential or account may have changed: streams are checked then.
    pub(crate) doubt: AtomicU64,
    /// A system table, and who is told of new rows of it.
    pub(crate) inserted: OnceLock<(usize, Told)>,
}

impl Shared {
    pub(crate) async fn commit(self: &Arc<Self>, change: Change) -> Result<Outcome, Failure> {
        self.commit_revoking(change, Vec::new()).await
    }

    /// Commits, then tells of new rows, and forgets remembered callers that the change made stale.
    pub(crate) async fn commit_revoking(self: &Arc<Self>, change: Change, revocations: Vec<Revocation>) -> Result<Outcome, Failure> {
        let new = self.new_rows(&change);
        if new.is_empty() {
            return self.commit_forgetting(change, revocations).await;
        }
        // On a separate task, which finishes even if the client hangs up: the rows are stored then, and nobody else tells of them.
        let shared = self.clone();
        let task = tokio::spawn(async move {
            let outcome = shared.commit_forgetting(change, revocations).await;
            if matches!(outcome, Ok(_) | Err(Failure::Unknown)) {
                shared.tell_new(&new);
            }
            outcome
        });
        task.await.unwrap_or(Err(Failure::Unknown))
    }

    async fn commit_forgetting(self: &Arc<Self>, change: Change, mut revocations: Vec<Revocation>) -> Result<Outcome, Failure> {
        let all = written_users(&change, &mut revocations);
        if !all && revocations.is_empty() {
            return self.store.commit(change).await;
        }
        // On a separate task, which finishes even if the client hangs up: remembered callers must be forgotten after the commit.
        let shared = self.clone();
        let task = tokio::spawn(async move {
            let outcome = shared.store.commit(change).await;
            if all {
                shared.memory.forget(&Revocation::All);
            }
            revocations.iter().for_each(|revocation| shared.memory.forget(revocation));
            shared.doubt.fetch_add(1, Ordering::AcqRel);
            outcome
        });
        task.await.unwrap_or(Err(Failure::Unknown))
    }

    /// The rows that a change adds to the table of which somebody is told.
    fn new_rows(&self, change: &Change) -> Vec<Row> {
        let Some((watched, _)) = self.inserted.get() else { return Vec::new() };
        let new = |step: &Step| if let Step::Insert { table, row } = step { (table == watched).then(|| row.clone()) } else { None };
        change.steps.iter().filter_map(new).collect()
    }

    fn tell_new(&self, rows: &[Row]) {
        if let Some((_, told)) = self.inserted.get() {
            rows.iter().for_each(|row| told(row));
        }
    }

    /// Whether a read leaves an access entry.
    pub(crate) fn logs_read(&self, app: &App, collection: CollectionId, shown: &[usize]) -> bool {
        match app.config.ledger.reads {
            ReadsLogged::All => true,
            ReadsLogged::None => false,
            ReadsLogged::Classed => shown.iter().any(|field| app.classes[app.collections[collection].fields[*field].class].guarded()),
        }
    }

    pub(crate) fn change_of(&self, actor: Arc<Actor>, entries: Vec<EntryDraft>) -> Change {
        Change {
            claim: None,
            steps: Vec::new(),
            entries,
            actor,
            request_id: "".into(),
            cause: "".into(),
            policy_version: self.revision.load().version.clone(),
            time_ms: self.clock.now_ms(),
        }
    }

    pub(crate) fn system_entry(&self, action: &str, collection: Option<CollectionId>, extra: String) -> EntryDraft {
        EntryDraft { extra, ..EntryDraft::new(EntryKind::System, action, collection, None) }
    }
}

/// Collects the users that a change writes; `true` when it may write any user.
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
