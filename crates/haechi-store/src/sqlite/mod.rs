//! The embedded database: one writer thread with group commit, a few reader threads, no pool.

mod at_once;
mod commits;
mod connection;
mod load;
mod log;
mod maintain;
mod migrate;
mod read;
mod snapshot;
mod steps;
mod turns;
mod waiting;
mod wal;
mod write;

pub(crate) use connection::bound;
pub(crate) use maintain::{analyse, save_seal};
pub(crate) use migrate::{applied, apply_migration, misfits};
pub(crate) use read::Readers;
pub(crate) use write::Writer;

use crate::{Unopened, catalog::Catalog, figures::Sizes, journal::Journal, lines::Fill};
use haechi_model::Failure;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::Notify;

/// An open SQLite database.
pub(crate) struct Sqlite {
    path: PathBuf,
    pub(crate) writer: Writer,
    pub(crate) readers: Readers,
}

impl Sqlite {
    pub(crate) fn open(path: &Path, catalog: Arc<Catalog>, journal: Arc<dyn Journal>, committed: Arc<Notify>) -> Result<Self, Unopened> {
        usable(path)?;
        private(path).map_err(|error| Unopened::Unusable(haechi_model::why(error.kind())))?;
        let unopened = |failure: Failure| Unopened::Unusable(failure.to_string());
        let writer = Writer::start(path, catalog.clone(), journal, committed).map_err(unopened)?;
        let readers = Readers::start(path, &catalog, &writer.commits()).map_err(unopened)?;
        writer.heed(readers.at_once());
        Ok(Self { path: path.to_owned(), writer, readers })
    }

    /// How busy the threads are: those of short reads, of scans, and the writer.
    pub(crate) fn pools(&self) -> [(&'static str, Fill); 3] {
        let (reads, scans) = self.readers.pools();
        [("reads", reads), ("scans", scans), ("changes", self.writer.pool())]
    }

    /// The size of its files.
    pub(crate) fn sizes(&self) -> Sizes {
        let bytes = |end: &str| {
            let mut file = self.path.as_os_str().to_owned();
            file.push(end);
            std::fs::metadata(file).map_or(0, |file| file.len())
        };
        Sizes { database: bytes(""), wal: Some(bytes("-wal")), tables: Vec::new() }
    }
}

/// Gives the database and SQLite's files beside it to their owner only. Files that SQLite makes later get the mode of the database.
fn private(path: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
        const OWNER: u32 = 0o600;
        drop(std::fs::OpenOptions::new().create(true).append(true).mode(OWNER).open(path)?);
        for end in ["", "-wal", "-shm"] {
            let mut file = path.as_os_str().to_owned();
            file.push(end);
            match std::fs::metadata(&file) {
                Ok(meta) if meta.permissions().mode() & 0o777 != OWNER => std::fs::set_permissions(&file, PermissionsExt::from_mode(OWNER))?,
                _ => {}
            }
        }
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

/// Checks the file before the driver opens it.
fn usable(path: &Path) -> Result<(), Unopened> {
    use std::io::Read;
    const BEGINS: &[u8] = b"SQLite format 3\0";
    let words = |what: &str| Err(Unopened::Unusable(what.to_owned()));
    if path.is_dir() {
        return words("it is a folder, not a file");
    }
    let Ok(mut file) = std::fs::File::open(path) else {
        return match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            Some(folder) if !folder.is_dir() => Err(Unopened::Unusable(format!("the folder {} is not there", folder.display()))),
            _ => Ok(()),
        };
    };
    let mut begin = Vec::new();
    match file.by_ref().take(BEGINS.len() as u64).read_to_end(&mut begin) {
        // An empty file is a new database.
        Ok(_) if begin.is_empty() || begin == BEGINS => Ok(()),
        Ok(_) => words("it is no SQLite database: put the right file there, or restore a backup"),
        Err(error) => Err(Unopened::Unusable(haechi_model::why(error.kind()))),
    }
}

/// The meaning of a driver's error. Its text goes to the operator's log only.
pub(crate) fn failure(error: &rusqlite::Error) -> Failure {
    use rusqlite::ErrorCode;
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Failure::Full,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Failure::Busy,
        Some(ErrorCode::OperationInterrupted) => Failure::Costly,
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::SystemIoFailure) => {
            tracing::error!(target: "haechi::store", %error, "the database file cannot be used");
            Failure::Unavailable
        }
        _ => {
            tracing::error!(target: "haechi::store", %error, "the database refused a statement");
            Failure::Broken
        }
    }
}
