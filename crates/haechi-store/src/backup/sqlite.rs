//! From and to SQLite: the file itself, copied as it is at one moment.

use super::RestoreError;
use crate::sqlite::{Sqlite, failure};
use haechi_model::Failure;
use rusqlite::{Connection, OpenFlags, backup};
use std::{fs::File, path::Path};

impl Sqlite {
    pub(crate) async fn backup(&self, file: &Path) -> Result<(), Failure> {
        let file = file.to_owned();
        let copy = move |source: &Connection| -> rusqlite::Result<()> {
            // Within one read transaction: writes meanwhile are not in the copy, and do not wait for it.
            let mut target = Connection::open(&file)?;
            backup::Backup::new(source, &mut target)?.step(-1)?;
            target.pragma_update(None, "journal_mode", "DELETE")?;
            target.close().map_err(|(_, error)| error)
        };
        self.readers.run(crate::Reads::SCAN, copy).await
    }
}

/// Copies the file to an empty place.
pub(super) fn restore(file: &Path, to: &Path, left: &[&str]) -> Result<(), RestoreError> {
    let io = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => RestoreError::NotEmpty,
        kind => RestoreError::Io(kind),
    };
    let source = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(|_| RestoreError::NoBackup)?;
    let good: String = source.query_row("PRAGMA integrity_check", [], |row| row.get(0)).map_err(|error| {
        let _ = failure(&error);
        RestoreError::NoBackup
    })?;
    if good != "ok" {
        return Err(RestoreError::NoBackup);
    }
    drop(source);
    // SQLite would apply an old write-ahead log to the restored file.
    let beside = |ending: &str| std::path::PathBuf::from(format!("{}{ending}", to.display()));
    if ["", "-wal", "-shm", "-journal"].into_iter().any(|ending| beside(ending).exists()) {
        return Err(RestoreError::NotEmpty);
    }
    // All or nothing: an interrupted copy stays beside the final place.
    let part = beside(".part");
    let _ = std::fs::remove_file(&part);
    let copied = super::private(&part).and_then(|mut target| {
        std::io::copy(&mut File::open(file)?, &mut target)?;
        target.sync_all()?;
        emptied(&part, left).map_err(std::io::Error::other)?;
        std::fs::hard_link(&part, to)
    });
    let _ = std::fs::remove_file(&part);
    copied.map_err(io)
}

fn emptied(file: &Path, tables: &[&str]) -> rusqlite::Result<()> {
    let connection = Connection::open(file)?;
    for table in tables {
        connection.execute(&format!("DELETE FROM \"{table}\""), [])?;
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.close().map_err(|(_, error)| error)
}
