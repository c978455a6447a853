//! The embedded database: one writer thread with group commit, a few reader threads, no pool.

mod connection;
mod load;
mod log;
mod maintain;
mod migrate;
mod read;
mod steps;
mod write;

pub(crate) use maintain::{analyse, save_seal};
pub(crate) use migrate::{applied, apply_migration, misfits};
pub(crate) use read::Readers;
pub(crate) use steps::cascaded;
pub(crate) use write::Writer;

use crate::{catalog::Catalog, journal::Journal};
use haechi_model::Failure;
use std::{path::Path, sync::Arc};
use tokio::sync::Notify;

/// An open SQLite database.
pub(crate) struct Sqlite {
    pub(crate) writer: Writer,
    pub(crate) readers: Readers,
}

impl Sqlite {
    pub(crate) fn open(path: &Path, catalog: Arc<Catalog>, journal: Arc<dyn Journal>, committed: Arc<Notify>) -> Result<Self, Failure> {
        let writer = Writer::start(path, catalog.clone(), journal, committed)?;
        let readers = Readers::start(path, &catalog, &writer.commits())?;
        Ok(Self { writer, readers })
    }
}

/// What a driver's error means. Its text goes to the log of the operator only.
pub(crate) fn failure(error: &rusqlite::Error) -> Failure {
    use rusqlite::ErrorCode;
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Failure::Full,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::OperationInterrupted) => Failure::Busy,
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
