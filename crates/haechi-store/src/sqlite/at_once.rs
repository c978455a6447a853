//! Short reads, done by the thread that asks: handing one over and waking up for its answer takes longer than the read.
//!
//! A read that takes more than some thousand steps of SQLite's machine (less than a millisecond), or writes more than 128 KiB, is
//! interrupted and handed to the reader threads. Reads of its kind then go there directly for a while. So no thread of the runtime is
//! blocked for long, and callers with long reads wait in their own lines.
//!
//! A connection keeps its snapshot from one read to the next while nothing is committed: beginning one takes a large part of a short read.
//! The writer ends all snapshots before it copies the write-ahead log back.

use super::{commits::Commits, connection, failure, snapshot::Snapshot};
use haechi_model::Failure;
use rusqlite::{Connection, ErrorCode};
use std::{
    cell::Cell,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// Most connections; there are as many as the machine has threads.
const MOST: usize = 8;
/// Virtual machine steps between two checks, and the checks that a read may use. Steps, not time: a thread that the system delays is not
/// slow.
const STEPS_PER_LOOK: i32 = 1_000;
const LOOKS: u32 = 12;
/// After a slow read, reads of its kind are handed over for so long.
const HANDED_OVER_NS: u64 = 1_000_000_000;

/// Bytes after which a page is handed over: writing them takes longer than finding them.
pub(super) const BYTES: usize = 128 * 1024;
/// How long a snapshot is kept: writes by other programs are seen after that.
const KEPT_NS: u64 = 50_000_000;

/// The connections.
pub(super) struct AtOnce {
    connections: Box<[Mutex<Kept>]>,
    commits: Arc<Commits>,
    began: Instant,
    /// While the log is copied back no snapshot is kept: each read has its own transaction.
    held_back: AtomicBool,
    /// By kind of read: the time until which it is handed over.
    long_until: Box<[AtomicU64]>,
}

/// A connection, its snapshot, and when that began.
struct Kept {
    connection: Connection,
    snapshot: Snapshot,
    begun: u64,
}

impl Kept {
    /// Keeps the snapshot when nothing was committed since, otherwise begins another.
    fn renew(&mut self, commits: u64, now: u64) {
        if !self.snapshot.is_of(commits) || now.saturating_sub(self.begun) >= KEPT_NS {
            self.let_go();
            self.snapshot.begin(&self.connection, commits);
            self.begun = now;
        }
    }

    fn let_go(&mut self) {
        // A kept statement counts its steps over all runs; it must not be interrupted for earlier ones.
        LEFT.set(LOOKS);
        self.snapshot.end(&self.connection);
    }
}

thread_local! {
    /// The connection that this thread tries first: its cache holds what the thread read before.
    static OWN: Cell<Option<usize>> = const { Cell::new(None) };
    /// Checks that are left to the current read of this thread.
    static LEFT: Cell<u32> = const { Cell::new(0) };
}

impl AtOnce {
    /// For `kinds` kinds of reads.
    pub(super) fn open(path: &Path, kinds: usize, commits: Arc<Commits>) -> Result<Self, Failure> {
        let count = std::thread::available_parallelism().map_or(1, usize::from).min(MOST);
        let open = || -> rusqlite::Result<Mutex<Kept>> {
            let mut connection = connection::reader(path)?;
            connection.busy_timeout(Duration::ZERO)?;
            // A read is interrupted when no checks are left.
            connection.progress_handler(STEPS_PER_LOOK, Some(|| LEFT.replace(LEFT.get().saturating_sub(1)) == 0))?;
            Ok(Mutex::new(Kept { connection, snapshot: Snapshot::new(), begun: 0 }))
        };
        let connections = (0..count).map(|_| open()).collect::<rusqlite::Result<_>>().map_err(|error| failure(&error))?;
        Ok(Self {
            connections,
            commits,
            began: Instant::now(),
            held_back: AtomicBool::new(false),
            long_until: (0..kinds).map(|_| AtomicU64::new(0)).collect(),
        })
    }

    /// Runs a read of a kind, unless it must be handed over because it takes too long or finds too much.
    pub(super) fn read<T>(
        &self,
        kind: usize,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
        is_short: impl FnOnce(&T) -> bool,
    ) -> Option<Result<T, Failure>> {
        let long_until = self.long_until.get(kind)?;
        let now = self.now();
        if now < long_until.load(Ordering::Relaxed) {
            return None;
        }
        let mut kept = self.free()?;
        // Counted before the read begins, so that it sees all earlier commits.
        if !self.held_back.load(Ordering::Acquire) {
            kept.renew(self.commits.now(), now);
        }
        LEFT.set(LOOKS);
        // A panic costs one answer, as on the reader threads.
        let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&kept.connection)));
        match read.unwrap_or(Err(rusqlite::Error::InvalidQuery)) {
            Ok(found) if is_short(&found) => Some(Ok(found)),
            Ok(_) => {
                long_until.store(now + HANDED_OVER_NS, Ordering::Relaxed);
                None
            }
            Err(error) => match error.sqlite_error_code() {
                Some(ErrorCode::OperationInterrupted) => {
                    long_until.store(now + HANDED_OVER_NS, Ordering::Relaxed);
                    None
                }
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => None,
                _ => Some(Err(failure(&error))),
            },
        }
    }

    /// Runs something while no snapshot is kept.
    pub(super) fn without_snapshots<T>(&self, work: impl FnOnce() -> T) -> T {
        self.held_back.store(true, Ordering::Release);
        for kept in &self.connections {
            kept.lock().unwrap_or_else(PoisonError::into_inner).let_go();
        }
        let done = work();
        self.held_back.store(false, Ordering::Release);
        done
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn free(&self) -> Option<MutexGuard<'_, Kept>> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let own = OWN.get().unwrap_or_else(|| {
            let own = NEXT.fetch_add(1, Ordering::Relaxed);
            OWN.set(Some(own));
            own
        });
        let count = self.connections.len();
        (0..count).find_map(|at| match self.connections[(own + at) % count].try_lock() {
            Ok(connection) => Some(connection),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_reads_are_handed_over() {
        let folder = std::env::temp_dir().join(format!("haechi-at-once-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("t.db");
        connection::writer(&path).unwrap().execute_batch("CREATE TABLE t (n INTEGER); INSERT INTO t VALUES (1)").unwrap();
        let commits = Arc::<Commits>::default();
        let at_once = AtOnce::open(&path, 2, commits.clone()).unwrap();
        let short =
            |kind| at_once.read(kind, |connection| connection.query_row("SELECT n FROM t", [], |row| row.get::<_, i64>(0)), |found| *found < 100);
        let endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT COUNT(*) FROM c";
        assert_eq!((short(0), short(1)), (Some(Ok(1)), Some(Ok(1))));
        assert!(at_once.read(0, |connection| connection.query_row(endless, [], |row| row.get::<_, i64>(0)), |_| true).is_none());
        assert_eq!((short(0), short(1)), (None, Some(Ok(1))), "its kind waits with it, the others do not");
        assert!(at_once.read(9, |_| Ok(()), |()| true).is_none());
        // Acknowledged commits are seen; nothing keeps the log from being copied back.
        let writer = connection::writer(&path).unwrap();
        writer.execute_batch("UPDATE t SET n = 2").unwrap();
        commits.count();
        assert_eq!(short(1), Some(Ok(2)));
        let whole = || writer.query_row("PRAGMA wal_checkpoint(RESTART)", [], |row| row.get::<_, i64>(0)).unwrap() == 0;
        writer.busy_timeout(Duration::ZERO).unwrap();
        writer.execute_batch("UPDATE t SET n = 3").unwrap();
        assert!(!whole(), "a snapshot is kept");
        at_once.without_snapshots(|| {
            assert_eq!(short(1), Some(Ok(3)), "reads go on");
            assert!(whole());
        });
        writer.execute_batch("UPDATE t SET n = 100").unwrap();
        commits.count();
        assert_eq!((short(1), short(1)), (None, None), "what was found is too long, and its kind is handed over");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
