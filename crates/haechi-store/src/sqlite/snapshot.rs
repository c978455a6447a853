//! A transaction around consecutive reads. It is renewed after each commit, so every read sees all acknowledged changes.
//!
//! It also decides whether the connection maps the file into memory. A mapped page is read without a copy, but SQLite drops the whole
//! mapping at the first read after each commit. While commits are frequent, pages are therefore read one by one.

use super::connection;
use rusqlite::Connection;

/// With fewer reads than this from one commit to the next, the mapping costs more than it saves.
const FEW_READS: u32 = 32;
/// After so many reads without a commit the file is mapped again.
const MANY_READS: u32 = 1_000;

pub(super) struct Snapshot {
    /// The count of commits when it began.
    commits: Option<u64>,
    /// The last count of commits, and the reads since that count.
    seen: Option<u64>,
    reads: u32,
    /// Whether the file is mapped, and whether it should be.
    mapped: bool,
    wanted: bool,
}

impl Snapshot {
    /// For a connection that was just opened.
    pub(super) fn new() -> Self {
        Self { commits: None, seen: None, reads: 0, mapped: true, wanted: true }
    }

    /// Called before a read: whether the snapshot belongs to this count of commits.
    pub(super) fn is_of(&mut self, commits: u64) -> bool {
        self.reads = self.reads.saturating_add(1);
        if self.seen != Some(commits) {
            self.wanted &= self.reads >= FEW_READS || self.seen.is_none();
            (self.seen, self.reads) = (Some(commits), 0);
        } else if self.reads >= MANY_READS {
            self.wanted = true;
        }
        self.commits == Some(commits)
    }

    /// Begins a transaction unless there is one; `true` when it did. `commits` was counted before, so that no commit is missed.
    pub(super) fn begin(&mut self, connection: &Connection, commits: u64) -> bool {
        let begun = self.commits.is_none() && run(connection, "BEGIN");
        if begun {
            self.commits = Some(commits);
        }
        begun
    }

    /// Asks the connection itself: a transaction that stayed open would show old data for ever.
    pub(super) fn end(&mut self, connection: &Connection) {
        self.commits = None;
        if !connection.is_autocommit() && !run(connection, "COMMIT") {
            run(connection, "ROLLBACK");
        }
        if self.wanted != self.mapped && connection::map(connection, if self.wanted { connection::MMAP_BYTES } else { 0 }).is_ok() {
            self.mapped = self.wanted;
        }
    }
}

fn run(connection: &Connection, sql: &str) -> bool {
    connection.prepare_cached(sql).and_then(|mut statement| statement.execute([])).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_mapped_while_commits_are_rare() {
        let folder = std::env::temp_dir().join(format!("haechi-map-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("t.db");
        connection::writer(&path).unwrap().execute_batch("CREATE TABLE t (n INTEGER)").unwrap();
        let reader = connection::reader(&path).unwrap();
        let mapped = || reader.query_row("PRAGMA mmap_size", [], |row| row.get::<_, i64>(0)).unwrap();
        let mut snapshot = Snapshot::new();
        let mut read = |commits: u64, times: u32| {
            for _ in 0..times {
                if !snapshot.is_of(commits) {
                    snapshot.end(&reader);
                    snapshot.begin(&reader, commits);
                }
            }
            snapshot.end(&reader);
        };
        read(1, FEW_READS);
        assert_eq!(mapped(), connection::MMAP_BYTES);
        read(2, FEW_READS - 1);
        read(3, FEW_READS - 1);
        assert_eq!(mapped(), 0);
        read(4, FEW_READS + 1);
        read(5, FEW_READS + 1);
        assert_eq!(mapped(), 0, "it is not mapped again at once");
        read(5, MANY_READS);
        assert_eq!(mapped(), connection::MMAP_BYTES);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
