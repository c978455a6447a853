//! A transaction around reads that follow each other. Nobody sees less than they were told: it is of the count of commits when it began.

use rusqlite::Connection;

#[derive(Default)]
pub(super) struct Snapshot {
    /// The count of commits when it began.
    commits: Option<u64>,
}

impl Snapshot {
    /// Whether it is of this count of commits.
    pub(super) fn is_of(&self, commits: u64) -> bool {
        self.commits == Some(commits)
    }

    /// Begins one unless there is one; `true` when it was begun. `commits` was counted before, so that nothing of it is missed.
    pub(super) fn begin(&mut self, connection: &Connection, commits: u64) -> bool {
        let begun = self.commits.is_none() && run(connection, "BEGIN");
        if begun {
            self.commits = Some(commits);
        }
        begun
    }

    /// Asks the connection, not what is remembered: a transaction that stayed open would be read from for ever.
    pub(super) fn end(&mut self, connection: &Connection) {
        self.commits = None;
        if !connection.is_autocommit() && !run(connection, "COMMIT") {
            run(connection, "ROLLBACK");
        }
    }
}

fn run(connection: &Connection, sql: &str) -> bool {
    connection.prepare_cached(sql).and_then(|mut statement| statement.execute([])).is_ok()
}
