//! A folder, opened: gate, keys, background work. What `dev`, `serve`, the commands and the tests share.

use crate::{
    app::{
        around::Around,
        database,
        folder::{self, DataDir, FolderError},
        sentinel,
    },
    observe::{metrics::Metrics, work},
};
use futures_util::future::BoxFuture;
use haechi_data::Handlers;
use haechi_gate::{Clock, Gate, LedgerClock, MasterKey, OpenError, Options, Revision, SystemClock, SystemKeys};
use haechi_identity::Identity;
use haechi_jobs::Jobs;
use haechi_model::Findings;
use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use thiserror::Error;
use tokio::{sync::watch, task::JoinHandle};

/// How often sessions, codes and buckets that have ended are deleted.
const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(600);

/// The system tables of all features.
#[must_use]
pub fn tables() -> Vec<haechi_model::Table> {
    haechi_identity::tables().into_iter().chain(haechi_jobs::tables()).collect()
}

/// How a house is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// For a developer: loopback, developers' tokens, a separate master key.
    Dev,
    /// For production: none of these.
    Serve,
}

/// A folder cannot be opened.
#[derive(Debug, Error)]
pub enum HouseError {
    /// The folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The gate.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The master key is not the one that the ledger was sealed under.
    #[error("the ledger in this database was sealed under another master key than the one in {0}: put the former one there")]
    OtherKey(String),
    /// The folder declares actions, and this program has no code that does them.
    #[error("no handler does {}: serve the folder with a program that links Haechi and adds one (docs/embedding.md), or remove the actions", .0.join(", "))]
    Unhandled(Vec<String>),
    /// The folder declares jobs with `handler = true`, and this program has no code that does them.
    #[error("no handler does the job {}: serve the folder with a program that links Haechi and adds one (docs/embedding.md), or remove the job", .0.join(", "))]
    UnhandledJobs(Vec<String>),
    /// The program has handlers, and the folder declares no such jobs.
    #[error("the folder declares no job {} with handler = true: declare it in jobs/", .0.join(", "))]
    UndeclaredJobs(Vec<String>),
    /// The program has handlers, and the folder declares no such actions.
    #[error("the folder declares no action {}: declare it under [actions] of its collection", .0.join(", "))]
    Undeclared(Vec<String>),
}

/// The same error with the place of the key.
fn at_the_key(error: HouseError, place: String) -> HouseError {
    if matches!(error, HouseError::Open(OpenError::OtherKey)) { HouseError::OtherKey(place) } else { error }
}

/// An open folder.
pub struct House {
    /// The gate.
    pub gate: Gate,
    /// People, their credentials and their sessions.
    pub identity: Identity,
    /// Jobs.
    pub jobs: Jobs,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Handlers of declared actions.
    pub handlers: Handlers,
    /// Keys to work that no caller may do.
    pub keys: SystemKeys,
    /// The master key, for developers' tokens.
    pub master: MasterKey,
    /// Warnings of the folder.
    pub warnings: Findings,
    /// Where the data is, for people; no secret.
    pub place: String,
    stop: watch::Sender<bool>,
    background: Mutex<Option<JoinHandle<()>>>,
}

impl House {
    /// Opens a folder over a locked data directory. Nothing is migrated.
    ///
    /// # Errors
    /// When the folder has errors or the database cannot be reached.
    pub fn open<'a>(root: &'a Path, data: &'a DataDir, mode: Mode) -> BoxFuture<'a, Result<Self, HouseError>> {
        Box::pin(async move {
            let (revision, warnings) = folder::load(root)?;
            Self::with(revision, warnings, data, mode).await
        })
    }

    /// As [`House::open`], with a folder that was read already.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn with<'a>(revision: Revision, warnings: Findings, data: &'a DataDir, mode: Mode) -> BoxFuture<'a, Result<Self, HouseError>> {
        Box::pin(async move { Self::at(revision, warnings, data, mode, Arc::new(SystemClock)).await })
    }

    /// As [`House::with`], with another clock.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn at<'a>(
        revision: Revision,
        warnings: Findings,
        data: &'a DataDir,
        mode: Mode,
        clock: Arc<dyn Clock>,
    ) -> BoxFuture<'a, Result<Self, HouseError>> {
        Box::pin(async move {
            let config = &revision.app.config;
            if let Some(site) = &config.site.folder
                && crate::site::is_inside(&data.path, &revision.app.root.join(site))
            {
                return Err(FolderError::Served(data.path.clone()).into());
            }
            let master = folder::master_key(config, &data.path, mode == Mode::Dev)?;
            let (database, place) = (database::database(config, &data.path)?, folder::master_key_place(config, &data.path));
            Self::on(revision, warnings, &database, master, mode, clock).await.map_err(|error| at_the_key(error, place))
        })
    }

    /// Opens an SQLite file instead of the folder's database, with the keys of the folder's data directory: to verify a backup.
    ///
    /// # Errors
    /// When the file cannot be opened, or belongs to another ledger.
    pub fn over_file<'a>(revision: Revision, warnings: Findings, file: &'a Path, data: &'a Path) -> BoxFuture<'a, Result<Self, HouseError>> {
        Box::pin(async move {
            let kept = data.join("master.key");
            if revision.app.config.master_key.is_none() && !kept.exists() {
                let what = format!("put the master key that the backup was made with at {} first", kept.display());
                return Err(FolderError::Secret(what).into());
            }
            let master = folder::master_key(&revision.app.config, data, true)?;
            let (database, place) = (haechi_gate::Database::Sqlite(file.to_owned()), folder::master_key_place(&revision.app.config, data));
            let opened = Self::on(revision, warnings, &database, master, Mode::Serve, Arc::new(LedgerClock)).await;
            opened.map_err(|error| at_the_key(error, place))
        })
    }

    /// Opens a server's database with the folder's master key and without a data directory: to inspect it.
    ///
    /// # Errors
    /// When the key cannot be read or the database cannot be opened.
    pub fn over<'a>(revision: Revision, database: &'a haechi_gate::Database) -> BoxFuture<'a, Result<Self, HouseError>> {
        Box::pin(async move {
            let nowhere = Path::new("");
            let master = folder::master_key(&revision.app.config, nowhere, false)?;
            let place = folder::master_key_place(&revision.app.config, nowhere);
            let opened = Self::on(revision, Findings::default(), database, master, Mode::Serve, Arc::new(SystemClock)).await;
            opened.map_err(|error| at_the_key(error, place))
        })
    }

    async fn on(
        revision: Revision,
        warnings: Findings,
        database: &haechi_gate::Database,
        master: MasterKey,
        mode: Mode,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, HouseError> {
        let options = Options { master: master.clone(), clock, dev_tokens: mode == Mode::Dev, tables: tables() };
        let (gate, mut keys) = Gate::open(database, revision, options).await?;
        let identity = Identity::open(&gate, &mut keys, &master).ok_or(OpenError::Keys)?;
        let jobs = Jobs::open(&gate, &mut keys, &master, Box::new(Around(identity.clone()))).ok_or(OpenError::Keys)?;
        let (stop, _) = watch::channel(false);
        Ok(Self {
            gate,
            identity,
            jobs,
            metrics: Metrics::new(),
            handlers: Handlers::default(),
            keys,
            master,
            warnings,
            place: database.to_string(),
            stop,
            background: Mutex::default(),
        })
    }

    /// Whether every declared action, and every job that needs one, has a handler; and every handler an action or a job.
    ///
    /// # Errors
    /// Those that have none.
    pub fn handled(&self) -> Result<(), HouseError> {
        match self.jobs.handlers().mismatches(&self.gate.revision().app) {
            (unhandled, _) if !unhandled.is_empty() => return Err(HouseError::UnhandledJobs(unhandled)),
            (_, undeclared) if !undeclared.is_empty() => return Err(HouseError::UndeclaredJobs(undeclared)),
            _ => {}
        }
        match self.handlers.mismatches(&self.gate.revision().app) {
            (unhandled, _) if !unhandled.is_empty() => Err(HouseError::Unhandled(unhandled)),
            (_, undeclared) if !undeclared.is_empty() => Err(HouseError::Undeclared(undeclared)),
            _ => Ok(()),
        }
    }

    /// Starts sealing and the other work behind requests. The tables must be there.
    pub fn start(&self) {
        *self.running() = Some(self.gate.start(self.stop.subscribe()));
        self.jobs.start();
        tokio::spawn(sentinel::run(self.gate.clone(), self.identity.clone(), self.stop.subscribe()));
        tokio::spawn(work::run(self.gate.clone(), self.jobs.clone(), self.metrics.clone(), self.stop.subscribe()));
        let (identity, mut stop) = (self.identity.clone(), self.stop.subscribe());
        tokio::spawn(async move {
            while tokio::time::timeout(HOUSEKEEPING_EVERY, stop.changed()).await.is_err() {
                if let Err(error) = identity.housekeeping().await {
                    tracing::warn!(target: "haechi", %error, "what has ended could not be forgotten");
                }
            }
        });
    }

    /// Stops at once, like after a power failure: for tests.
    pub fn abandon(&self) {
        self.jobs.abandon();
        if let Some(background) = self.running().take() {
            background.abort();
        }
    }

    /// Ends the background work, after everything that waits is written.
    pub fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            // First: what it does at the end is sealed as well.
            self.jobs.close().await;
            let _ = self.stop.send(true);
            let background = self.running().take();
            if let Some(background) = background {
                let _ = background.await;
            }
            // A command that ends gives its lease to the next.
            self.gate.release().await;
        })
    }

    fn running(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.background.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
