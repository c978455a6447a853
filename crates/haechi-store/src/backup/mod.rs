//! Backups: one SQLite file with everything at one moment, from and to every kind of database.

mod container;
mod postgres;
mod sqlite;

use crate::{
    Store, Target,
    catalog::Catalog,
    journal::{Journal, LogRow},
    migrate::{Applied, checksum, plan, tables_after},
    render::Dialect,
    system::system_tables,
};
use futures_util::future::BoxFuture;
use haechi_model::{Change, EntryDraft, Failure, Row, Table};
use std::{path::Path, sync::Arc};

/// Why a backup was not restored. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The place is not empty.
    #[error("there is a database already: restore goes to an empty place only")]
    NotEmpty,
    /// The file is no backup, or a newer version made it.
    #[error("the file is no backup, or was made by a newer version")]
    NoBackup,
    /// The file cannot be read, or the place cannot be written.
    #[error("the backup could not be restored: {}", haechi_model::why(*.0))]
    Io(std::io::ErrorKind),
    /// The database cannot be reached or failed.
    #[error("the database could not do it, and what was begun is rolled back: the line above says why")]
    Database,
}

impl Store {
    /// Writes everything into a new SQLite file, while others read and write.
    ///
    /// # Errors
    /// When the file cannot be written or the database cannot be reached.
    pub fn backup<'a>(&'a self, file: &'a Path) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            // Only its owner may read it, from the first byte on.
            private(file).map_err(|_| Failure::Unavailable)?;
            match &self.driver {
                crate::Driver::Sqlite(sqlite) => sqlite.backup(file).await,
                crate::Driver::Postgres(postgres) => postgres.backup(file).await,
            }
        })
    }
}

/// Restores a backup into an empty place, without the rows of the tables in `left`.
///
/// # Errors
/// When the place is not empty, or cannot be written.
pub fn restore<'a>(file: &'a Path, target: &'a Target, left: &'a [&'a str]) -> BoxFuture<'a, Result<(), RestoreError>> {
    Box::pin(async move {
        match target {
            Target::Sqlite(path) => sqlite::restore(file, path, left),
            Target::Postgres(server) => postgres::restore(file, server, left).await,
        }
    })
}

/// Makes an empty file that nobody else may read.
pub(crate) fn private(file: &Path) -> std::io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(file)
}

/// The tables of collections and features after the last migration.
fn portable(applied: &[Applied]) -> Result<Vec<Table>, RestoreError> {
    let tables = tables_after(applied).map_err(|_| RestoreError::NoBackup)?;
    let own: Vec<String> = system_tables(Dialect::Sqlite).into_iter().map(|table| table.name).collect();
    Ok(tables.into_iter().filter(|table| !own.contains(&table.name)).collect())
}

/// The migrations of the backup, and one more that makes the same tables in another dialect.
fn moved(applied: &[Applied], sql: &[String], tables: &[Table]) -> Result<Vec<Applied>, RestoreError> {
    let mut applied = applied.to_vec();
    let sql = sql.join(";\n");
    applied.push(Applied {
        version: applied.last().map_or(1, |last| last.version + 1),
        time_ms: applied.last().map_or(0, |last| last.time_ms),
        checksum: checksum(&sql),
        sql,
        tables: serde_json::to_string(tables).map_err(|_| RestoreError::Database)?,
    });
    Ok(applied)
}

/// All tables of a dialect, and the statements that make them.
fn made(dialect: Dialect, portable: &[Table]) -> (Vec<Table>, Vec<String>) {
    let wanted: Vec<Table> = system_tables(dialect).into_iter().chain(portable.iter().cloned()).collect();
    let migration = plan(dialect, &[], &wanted);
    (wanted, migration.sql())
}

/// Opens PostgreSQL for a restore: nothing is logged by it.
fn silent() -> (Arc<Catalog>, Arc<dyn Journal>) {
    struct Silent;
    impl Journal for Silent {
        fn encode(&self, _: &Change, draft: &EntryDraft, _: Option<&Row>, _: Option<&Row>) -> LogRow {
            LogRow { id: draft.id.clone(), entry: Vec::new(), hash: [0; 32], salt: [0; 32], detail: String::new(), event: None, image: None }
        }
    }
    (Arc::new(Catalog::default()), Arc::new(Silent))
}
