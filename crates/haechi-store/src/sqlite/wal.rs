//! Limits the length of the write-ahead log. SQLite appends each commit to it. A checkpoint copies it back to the database, and when no
//! reader needs it any more, the next commit starts it again.
//!
//! Its length is counted in frames, because the file does not shrink. A thread beside the writer copies most of it back while commits go
//! on. The writer copies the rest, between transactions, also while more work waits: a checkpoint reaches the end of the log only while
//! nobody writes.

use super::{at_once::AtOnce, connection};
use rusqlite::Connection;
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Frames from which a checkpoint is tried: 16 MiB.
const FRAMES: u32 = 4_000;
/// Frames from which the thread beside the writer copies them.
const COPIED_FROM: u32 = 2_000;
/// When readers were in the way, it is tried again after so many more frames.
const MORE: u32 = 1_000;
/// From here on the writer sometimes waits for readers.
const WAITS_FROM: u32 = 2 * FRAMES;
const WAITS_EVERY: Duration = Duration::from_secs(5);
/// How long a checkpoint always waits: until short reads have ended.
const SHORT: Duration = Duration::from_millis(20);
/// The first wait and the longest: reads take some hundred milliseconds. It does not wait for longer readers, such as a backup.
const WAIT: Duration = Duration::from_millis(125);
const MAX_WAIT: Duration = Duration::from_secs(1);
/// The file is cut to this size when the log starts again.
const FILE_BYTES: u64 = 4096 * FRAMES as u64;

/// The state of the log.
pub(super) struct Wal {
    frames: Arc<AtomicU32>,
    copier: Option<Copier>,
    /// The number of frames from which the copier is asked, and the writer makes a checkpoint.
    asks: u32,
    next: u32,
    waited: Instant,
    wait: Duration,
    /// Whether there were commits since the file was last found short.
    grown: bool,
}

impl Wal {
    /// The log of the connection that writes.
    pub(super) fn of(connection: &mut Connection) -> rusqlite::Result<Self> {
        let frames = Arc::new(AtomicU32::new(0));
        let counted = frames.clone();
        connection.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, frames| {
            counted.store(u32::try_from(frames).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        }))?;
        connection.pragma_update(None, "journal_size_limit", i64::try_from(FILE_BYTES).unwrap_or(i64::MAX))?;
        let copier = connection.path().map(Path::new).map(Copier::start).transpose()?;
        Ok(Self { frames, copier, asks: COPIED_FROM, next: FRAMES, waited: Instant::now(), wait: WAIT, grown: true })
    }

    /// Between transactions: copies the log back when it is long; no snapshot is kept meanwhile.
    pub(super) fn check(&mut self, connection: &Connection, snapshots: Option<&AtOnce>) {
        self.grown = true;
        let frames = self.frames.load(Ordering::Relaxed);
        if frames < self.next {
            if frames >= self.asks && self.copier.as_ref().is_some_and(Copier::ask) {
                self.asks = frames + MORE;
            }
            return;
        }
        // Two checkpoints at once are refused, without waiting. A long log is waited for: otherwise it would grow faster than it is copied.
        let wait = if frames < WAITS_FROM { Duration::ZERO } else { MAX_WAIT };
        if self.copier.as_ref().is_some_and(|copier| !copier.is_idle_within(wait)) {
            // Each commit would wait otherwise.
            self.next = if wait.is_zero() { self.next } else { frames + MORE };
            return;
        }
        let waits = frames >= WAITS_FROM && self.waited.elapsed() >= WAITS_EVERY;
        let whole = checkpoint(connection, "RESTART", if waits { self.wait } else { SHORT }, snapshots);
        if waits {
            self.waited = Instant::now();
            self.wait = if whole { WAIT } else { MAX_WAIT.min(self.wait * 2) };
        }
        if whole {
            self.begun_anew();
        } else {
            self.next = frames + MORE;
        }
    }

    /// Whether there is work for a time without writes.
    pub(super) fn is_grown(&self) -> bool {
        self.grown
    }

    /// When nothing is written: copies a long log back and cuts its file.
    pub(super) fn rest(&mut self, connection: &Connection, snapshots: Option<&AtOnce>) {
        let bytes = connection.path().and_then(|path| std::fs::metadata(format!("{path}-wal")).ok()).map_or(0, |file| file.len());
        self.grown = bytes > FILE_BYTES && !checkpoint(connection, "TRUNCATE", SHORT, snapshots);
        if !self.grown && bytes > FILE_BYTES {
            self.begun_anew();
        }
    }

    fn begun_anew(&mut self) {
        self.frames.store(0, Ordering::Relaxed);
        (self.asks, self.next) = (COPIED_FROM, FRAMES);
    }

    /// At the end: copies all of it.
    pub(super) fn end(&mut self, connection: &Connection, snapshots: Option<&AtOnce>) {
        self.copier = None;
        checkpoint(connection, "TRUNCATE", MAX_WAIT, snapshots);
    }
}

/// Copies the log as far as possible, on its own connection: no commit and no read waits for it.
struct Copier {
    asked: Option<crossbeam_channel::Sender<()>>,
    busy: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Copier {
    fn start(path: &Path) -> rusqlite::Result<Self> {
        let connection = connection::writer(path)?;
        // It reads no page of the database.
        connection::map(&connection, 0)?;
        let (asked, queue) = crossbeam_channel::bounded(1);
        let busy = Arc::new(AtomicBool::new(false));
        let ended = busy.clone();
        let run = move || {
            while queue.recv().is_ok() {
                if let Err(error) = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())) {
                    tracing::warn!(target: "haechi::store", %error, "the write-ahead log could not be copied back");
                }
                ended.store(false, Ordering::Release);
            }
        };
        // Without the thread the writer copies all of it.
        let thread = thread::Builder::new().name("haechi-copy".to_owned()).spawn(run).ok();
        Ok(Self { asked: Some(asked), busy, thread })
    }

    /// Whether it copies nothing, now or before this time is over.
    fn is_idle_within(&self, wait: Duration) -> bool {
        let asked = Instant::now();
        while self.busy.load(Ordering::Acquire) {
            if asked.elapsed() >= wait {
                return false;
            }
            thread::sleep(Duration::from_millis(1));
        }
        true
    }

    /// Asks it to copy, unless it does. Returns whether it was asked.
    fn ask(&self) -> bool {
        // Set before sending: the thread clears it when it is done.
        if self.thread.is_none() || self.busy.swap(true, Ordering::AcqRel) {
            return false;
        }
        let sent = self.asked.as_ref().is_some_and(|asked| asked.try_send(()).is_ok());
        if !sent {
            self.busy.store(false, Ordering::Release);
        }
        sent
    }
}

impl Drop for Copier {
    fn drop(&mut self) {
        self.asked = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Whether all of the log was copied back, so that it starts again.
fn checkpoint(connection: &Connection, mode: &str, wait: Duration, snapshots: Option<&AtOnce>) -> bool {
    let copy = || {
        connection
            .busy_timeout(wait)
            .and_then(|()| connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| Ok(row.get::<_, i64>(0)? == 0)))
    };
    let whole = snapshots.map_or_else(copy, |snapshots| snapshots.without_snapshots(copy));
    if let Err(error) = connection.busy_timeout(super::connection::BUSY) {
        tracing::error!(target: "haechi::store", %error, "the time to wait for others could not be set");
    }
    whole.unwrap_or_else(|error| {
        tracing::warn!(target: "haechi::store", %error, "the write-ahead log could not be copied back");
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::connection;

    #[test]
    fn the_log_is_bounded_while_writes_go_on() {
        let folder = std::env::temp_dir().join(format!("haechi-wal-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("t.db");
        let mut writer = connection::writer(&path).unwrap();
        writer.execute_batch("CREATE TABLE t (b BLOB)").unwrap();
        let mut wal = Wal::of(&mut writer).unwrap();
        let bytes = || std::fs::metadata(folder.join("t.db-wal")).unwrap().len();
        let write = |wal: &mut Wal, times: usize| {
            for _ in 0..times {
                writer.execute_batch("INSERT INTO t VALUES (zeroblob(400000))").unwrap();
                wal.check(&writer, None);
            }
        };
        write(&mut wal, 200);
        // Three times, because the writer waits a second at most for a slow disk.
        assert!(bytes() < 3 * FILE_BYTES, "{} MB", bytes() >> 20);
        // With a reader the log grows, and not every commit waits.
        let reader = connection::reader(&path).unwrap();
        reader.execute_batch("BEGIN").unwrap();
        let seen: i64 = reader.query_row("SELECT COUNT(*) FROM t", [], |row| row.get(0)).unwrap();
        write(&mut wal, 200);
        assert!(bytes() > 2 * FILE_BYTES);
        assert_eq!(reader.query_row("SELECT COUNT(*) FROM t", [], |row| row.get::<_, i64>(0)).unwrap(), seen);
        wal.rest(&writer, None);
        assert!(wal.is_grown(), "it is tried again");
        reader.execute_batch("COMMIT").unwrap();
        // On a slow disk the copier may be busy with the long log for more than one wait.
        let begun_anew = (0..40).any(|_| {
            write(&mut wal, 10);
            bytes() <= 2 * FILE_BYTES
        });
        assert!(begun_anew, "{} MB after the reader has ended", bytes() >> 20);
        let at_rest = (0..100).any(|_| {
            wal.rest(&writer, None);
            thread::sleep(SHORT);
            !wal.is_grown()
        });
        assert!(at_rest && bytes() <= FILE_BYTES, "{} MB at rest", bytes() >> 20);
        wal.end(&writer, None);
        assert_eq!(bytes(), 0);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
