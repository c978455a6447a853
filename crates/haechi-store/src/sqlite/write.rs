//! The writer thread: takes queued changes, runs them in one durable transaction, then answers.

use super::{
    at_once::AtOnce,
    commits::Commits,
    connection, failure,
    load::Loading,
    steps,
    waiting::{Claim, Long, LongWork},
    wal::Wal,
};
use crate::{
    catalog::Catalog,
    journal::Journal,
    lines::Fill,
    load::{Load, LoadError, PATIENCE, Part, Taken},
    numbers,
    render::{Dialect, Sql},
};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError};
use haechi_model::{Change, Failure, Outcome};
use rusqlite::Connection;
use std::{
    path::Path,
    sync::{Arc, OnceLock},
    thread,
    time::{Duration, Instant},
};
use tokio::sync::{Notify, oneshot};

const QUEUE: usize = 4096;
const BATCH: usize = 256;
const BATCH_TIME: Duration = Duration::from_millis(5);
/// After so long without work, leftover maintenance is done.
const REST: Duration = Duration::from_secs(1);

type Answer = oneshot::Sender<Result<Outcome, Failure>>;
/// A change that ran, the channel for its answer, and its result.
type Done = (Change, Answer, Result<Outcome, Failure>);
type Closure = Box<dyn FnOnce(&mut Connection) + Send>;

enum Job {
    Change(Box<Change>, Answer, Option<Claim>),
    /// Maintenance: migrations, seals. Runs alone, outside any batch.
    Alone(Closure),
    Load(Box<Load>, oneshot::Sender<Result<Vec<Taken>, LoadError>>, LongWork),
}

/// The writer thread. It ends when this is dropped, after what is queued.
pub(crate) struct Writer {
    jobs: Sender<Job>,
    commits: Arc<Commits>,
    snapshots: Snapshots,
    long: Long,
}

/// The part that keeps snapshots, once it is set.
type Snapshots = Arc<OnceLock<Arc<AtOnce>>>;

impl Writer {
    pub(crate) fn start(path: &Path, catalog: Arc<Catalog>, journal: Arc<dyn Journal>, committed: Arc<Notify>) -> Result<Self, Failure> {
        let mut connection = connection::writer(path).map_err(|error| failure(&error))?;
        let wal = Wal::of(&mut connection).map_err(|error| failure(&error))?;
        let (jobs, queue) = crossbeam_channel::bounded(QUEUE);
        let commits = Arc::new(Commits::default());
        let snapshots = Snapshots::default();
        let thread = Thread {
            connection,
            wal,
            snapshots: snapshots.clone(),
            catalog,
            journal,
            committed,
            commits: commits.clone(),
            position: -1,
            data_version: -1,
            queue,
        };
        thread::Builder::new().name("haechi-write".to_owned()).spawn(move || thread.run()).map_err(|_| Failure::Unavailable)?;
        Ok(Self { jobs, commits, snapshots, long: Long::default() })
    }

    /// Sets the part that keeps snapshots: it ends them when the write-ahead log is copied back.
    pub(super) fn heed(&self, at_once: Arc<AtOnce>) {
        let _ = self.snapshots.set(at_once);
    }

    /// One thread, and the work that waits for it.
    pub(super) fn pool(&self) -> Fill {
        Fill { size: 1, open: 1, waiting: self.jobs.len(), ..Fill::default() }
    }

    /// The count of commits.
    pub(crate) fn commits(&self) -> Arc<Commits> {
        self.commits.clone()
    }

    /// `waits`: as long as a load takes.
    pub(crate) async fn commit(&self, change: Change, waits: bool) -> Result<Outcome, Failure> {
        let (reply, mut answer) = oneshot::channel();
        if waits || !self.long.is_under_way() {
            self.jobs.try_send(Job::Change(Box::new(change), reply, None)).map_err(refused)?;
            return answer.await.unwrap_or(Err(Failure::Unknown));
        }
        let claim = Claim::default();
        self.jobs.try_send(Job::Change(Box::new(change), reply, Some(claim.clone()))).map_err(refused)?;
        match tokio::time::timeout(PATIENCE, &mut answer).await {
            Ok(answer) => answer.unwrap_or(Err(Failure::Unknown)),
            Err(_) if claim.take() => Err(Failure::Busy),
            // The writer has begun with it.
            Err(_) => answer.await.unwrap_or(Err(Failure::Unknown)),
        }
    }

    /// Takes rows in parts, all or none. Nothing else is written until the last part has come: changes wait for their patience at most.
    pub(crate) async fn load(&self, load: Load) -> Result<Vec<Taken>, LoadError> {
        let (reply, answer) = oneshot::channel();
        self.jobs.try_send(Job::Load(Box::new(load), reply, self.long.begin())).map_err(refused)?;
        answer.await.unwrap_or(Err(LoadError::Failed(Failure::Unknown)))
    }

    /// As [`Writer::alone`], for what may take long.
    pub(crate) async fn alone_for_long<T: Send + 'static>(&self, work: impl FnOnce(&mut Connection) -> T + Send + 'static) -> Result<T, Failure> {
        let long = self.long.begin();
        self.alone(move |connection| {
            let _long = long;
            work(connection)
        })
        .await
    }

    /// Runs something alone on the writing connection.
    pub(crate) async fn alone<T: Send + 'static>(&self, work: impl FnOnce(&mut Connection) -> T + Send + 'static) -> Result<T, Failure> {
        let (reply, answer) = oneshot::channel();
        let commits = self.commits.clone();
        let job: Closure = Box::new(move |connection| {
            let result = work(connection);
            commits.count();
            let _ = reply.send(result);
        });
        self.jobs.try_send(Job::Alone(job)).map_err(refused)?;
        answer.await.map_err(|_| Failure::Unknown)
    }
}

fn kept(snapshots: &Snapshots) -> Option<&AtOnce> {
    snapshots.get().map(|at_once| &**at_once)
}

fn refused(error: TrySendError<Job>) -> Failure {
    match error {
        TrySendError::Full(_) => Failure::Busy,
        TrySendError::Disconnected(_) => Failure::Unavailable,
    }
}

struct Thread {
    connection: Connection,
    wal: Wal,
    snapshots: Snapshots,
    catalog: Arc<Catalog>,
    journal: Arc<dyn Journal>,
    committed: Arc<Notify>,
    commits: Arc<Commits>,
    /// Position of the next entry; −1 until it is read.
    position: i64,
    /// SQLite's number that changes when other connections write.
    data_version: i64,
    queue: Receiver<Job>,
}

impl Thread {
    fn run(mut self) {
        let mut held = None;
        loop {
            let Some(job) = held.take().or_else(|| self.receive()) else { break };
            match job {
                Job::Alone(work) => {
                    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&mut self.connection)));
                    self.position = -1;
                }
                Job::Load(load, answer, _long) => {
                    // Mapped pages would stay in memory while the file grows.
                    let mapped = connection::map(&self.connection, 0);
                    let result = self.load(*load);
                    if result.is_err() {
                        self.roll_back();
                    }
                    if mapped.and_then(|()| connection::map(&self.connection, connection::MMAP_BYTES)).is_err() {
                        tracing::warn!(target: "haechi::store", "the mapping of the file could not be changed");
                    }
                    let _ = answer.send(result);
                }
                Job::Change(_, _, Some(claim)) if !claim.take() => {}
                Job::Change(change, answer, _) => held = self.batch(*change, answer),
            }
            self.wal.check(&self.connection, kept(&self.snapshots));
        }
        self.wal.end(&self.connection, kept(&self.snapshots));
    }

    /// The next job; `None` when the queue is closed.
    fn receive(&mut self) -> Option<Job> {
        while self.wal.is_grown() {
            match self.queue.recv_timeout(REST) {
                Ok(job) => return Some(job),
                Err(RecvTimeoutError::Timeout) => self.wal.rest(&self.connection, kept(&self.snapshots)),
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
        self.queue.recv().ok()
    }

    /// Runs a batch; returns a job that was taken from the queue but must run alone.
    ///
    /// A savepoint for each change would copy every page that it writes, so there are none at first: a failed change has rarely written
    /// anything, because locks and checks come first. If it has, the transaction is rolled back, and the batch runs again with savepoints.
    fn batch(&mut self, first: Change, answer: Answer) -> Option<Job> {
        let started = Instant::now();
        let mut done: Vec<Done> = Vec::with_capacity(BATCH);
        let mut held = None;
        let mut next = Some((first, answer));
        let begun = self.begin();
        while let Some((change, answer)) = next.take() {
            let result = match &begun {
                Ok(()) => self.bare(&change),
                Err(failure) => Err(failure.clone()),
            };
            done.push((change, answer, result));
            let ended = begun.is_ok() && self.connection.is_autocommit();
            if ended || done.len() >= BATCH || started.elapsed() > BATCH_TIME {
                break;
            }
            loop {
                match self.queue.try_recv() {
                    Ok(Job::Change(_, _, Some(claim))) if !claim.take() => continue,
                    Ok(Job::Change(change, answer, _)) => next = Some((*change, answer)),
                    Ok(job) => held = Some(job),
                    Err(_) => {}
                }
                break;
            }
        }
        if begun.is_ok() {
            if self.connection.is_autocommit() && self.begin().is_ok() {
                self.again(&mut done);
            }
            self.finish(&mut done);
        }
        for (_, answer, result) in done {
            let _ = answer.send(result);
        }
        held
    }

    /// Runs a rolled-back batch again, with a savepoint for each change.
    fn again(&mut self, done: &mut [Done]) {
        for (change, _, result) in done {
            *result = self.savepoint(change);
            if self.connection.is_autocommit() {
                return;
            }
        }
    }

    fn load(&mut self, mut load: Load) -> Result<Vec<Taken>, LoadError> {
        self.begin()?;
        let catalog = self.catalog.clone();
        let mut loading = Loading::new(&self.connection, &catalog, &load.tables)?;
        let good = loop {
            match load.parts.blocking_recv() {
                None => return Err(LoadError::Stopped),
                Some(Part::End { good }) => break good,
                Some(Part::Rows(at, making)) => {
                    let made = loading.make(at, making)?;
                    loading.take(at, &made.rows)?;
                    if loading.full() {
                        loading.finish()?;
                    }
                    if let Some(entry) = &made.entry {
                        steps::log(&self.connection, &catalog, &*self.journal, &load.change, entry, &mut self.position)?;
                    }
                }
            }
        };
        loading.finish()?;
        if !good {
            return Err(LoadError::Unfit(Vec::new()));
        }
        let taken = loading.taken();
        for table in &load.tables {
            let mut sql = Sql::new(Dialect::Sqlite, &catalog);
            numbers::forget(&mut sql, *table);
            let forgotten = self.connection.prepare_cached(&sql.text).and_then(|mut forget| forget.execute(connection::bound(&sql.values)));
            forgotten.map_err(|error| failure(&error))?;
        }
        self.commit().map_err(|error| if failure(&error) == Failure::Full { Failure::Full } else { Failure::Unknown })?;
        self.committed.notify_one();
        Ok(taken)
    }

    fn begin(&mut self) -> Result<(), Failure> {
        self.connection.execute_batch("BEGIN IMMEDIATE").map_err(|error| failure(&error))?;
        let seen = self.connection.prepare_cached("PRAGMA data_version").and_then(|mut pragma| pragma.query_row([], |row| row.get(0)));
        if seen.as_ref().ok() != Some(&self.data_version) {
            // Another connection wrote: the remembered position is out of date.
            self.position = -1;
            self.data_version = seen.unwrap_or(-1);
        }
        if self.position < 0 {
            // Sealed entries keep their positions, also when they were archived.
            let sql = "SELECT MAX((SELECT COALESCE(MAX(\"position\") + 1, 0) FROM \"_log\"), (SELECT COALESCE(MAX(\"size\"), 0) FROM \"_seals\"))";
            let next = self.connection.query_row(sql, [], |row| row.get(0));
            match next {
                Ok(next) => self.position = next,
                Err(error) => {
                    self.roll_back();
                    return Err(failure(&error));
                }
            }
        }
        Ok(())
    }

    /// One change without a savepoint. When it failed and has written something, the transaction ends.
    fn bare(&mut self, change: &Change) -> Result<Outcome, Failure> {
        let (position, written) = (self.position, self.connection.total_changes());
        let result = steps::run(&self.connection, &self.catalog, &*self.journal, change, &mut self.position);
        if result.is_err() {
            self.position = position;
            if self.connection.total_changes() != written {
                self.roll_back();
            }
        }
        result
    }

    /// One change in a savepoint. `Unavailable` means that the whole transaction is gone.
    fn savepoint(&mut self, change: &Change) -> Result<Outcome, Failure> {
        let position = self.position;
        let cached = |connection: &Connection, sql: &str| connection.prepare_cached(sql).and_then(|mut statement| statement.execute([]));
        if let Err(error) = cached(&self.connection, "SAVEPOINT c") {
            return Err(failure(&error));
        }
        let result = steps::run(&self.connection, &self.catalog, &*self.journal, change, &mut self.position);
        if result.is_err() {
            self.position = position;
            if self.connection.is_autocommit() {
                return Err(Failure::Unavailable);
            }
            if let Err(error) = cached(&self.connection, "ROLLBACK TO c") {
                tracing::error!(target: "haechi::store", %error, "a savepoint could not be rolled back");
                self.roll_back();
                return Err(Failure::Unavailable);
            }
        }
        if let Err(error) = cached(&self.connection, "RELEASE c") {
            tracing::error!(target: "haechi::store", %error, "a savepoint could not be released");
            self.roll_back();
            return Err(Failure::Unavailable);
        }
        result
    }

    /// Commits the batch. When the transaction was lost, runs each remaining change in its own transaction.
    fn finish(&mut self, done: &mut [Done]) {
        let lost = self.connection.is_autocommit();
        let commit = if lost { Ok(()) } else { self.commit() };
        if !lost && commit.is_ok() {
            if done.iter().any(|(_, _, result)| result.is_ok()) {
                self.committed.notify_one();
            }
            return;
        }
        self.roll_back();
        if let Err(error) = commit {
            let outcome = failure(&error);
            for (_, _, result) in done.iter_mut().filter(|(_, _, result)| result.is_ok()) {
                *result = Err(if outcome == Failure::Full { Failure::Full } else { Failure::Unknown });
            }
            return;
        }
        for (change, _, result) in done.iter_mut().filter(|(_, _, result)| matches!(result, Ok(_) | Err(Failure::Unavailable))) {
            *result = self.single(change);
        }
    }

    fn single(&mut self, change: &Change) -> Result<Outcome, Failure> {
        self.begin()?;
        let result = steps::run(&self.connection, &self.catalog, &*self.journal, change, &mut self.position);
        match result {
            Ok(outcome) => match self.commit() {
                Ok(()) => {
                    self.committed.notify_one();
                    Ok(outcome)
                }
                Err(error) => {
                    self.roll_back();
                    Err(if failure(&error) == Failure::Full { Failure::Full } else { Failure::Unknown })
                }
            },
            Err(failure) => {
                self.roll_back();
                Err(failure)
            }
        }
    }

    fn commit(&self) -> rusqlite::Result<()> {
        let result = self.connection.execute_batch("COMMIT");
        // Counted for any outcome: one read more costs little.
        self.commits.count();
        result
    }

    fn roll_back(&mut self) {
        self.position = -1;
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(target: "haechi::store", %error, "a transaction could not be rolled back");
        }
    }
}
