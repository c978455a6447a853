//! Migrations: planned from the difference between the folder and what was applied last, then run as one transaction.

mod action;
mod compatible;
mod kept;
mod plan;
mod retyped;
pub(crate) mod rows;
pub(crate) mod sql;

pub use action::{Action, Migration, Step};
pub use compatible::breaks;
pub(crate) use compatible::{expanded, model_number};
pub(crate) use plan::plan;
pub use rows::{Conversion, Finds, Task, What};

/// DDL of the one table that the planner does not make.
pub(crate) const BOOTSTRAP: &str = "CREATE TABLE IF NOT EXISTS \"_migrations\" (\"version\" BIGINT NOT NULL PRIMARY KEY, \"time\" BIGINT NOT NULL, \"checksum\" TEXT NOT NULL, \"sql\" TEXT NOT NULL, \"tables\" TEXT NOT NULL)";

/// A migration that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Number, from 1.
    pub version: i64,
    /// When, UTC milliseconds.
    pub time_ms: i64,
    /// SHA-256 of its SQL, hex.
    pub checksum: String,
    /// Its SQL.
    pub sql: String,
    /// The tables after it, JSON.
    pub tables: String,
}

/// Why a migration was not applied. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// A step would lose data and that was not allowed.
    #[error("the migration drops {}; where a name is new, write was = \"OLD NAME\" beside it and the values stay; only if they are to be deleted, add --allow-drop", .0.join(", "))]
    DropsData(Vec<String>),
    /// A step cannot be done at all.
    #[error("{0}")]
    Impossible(String),
    /// Rows that exist do not fit.
    #[error("rows that exist do not fit; nothing was changed: {0}. Mend these rows first, or declare what they fit")]
    Unfit(String),
    /// Another process migrated it since this was planned.
    #[error("another process has migrated the database meanwhile; try again")]
    Overtaken,
    /// Nodes are running that could not serve afterwards.
    #[error("nodes are serving that do not go on over this; stop them first, or add --despite-nodes:\n  {}", .0.join("\n  "))]
    Serving(Vec<String>),
    /// The existing rows do not allow the work that was left for afterwards.
    #[error("the tables are changed, but what remains cannot be done: {0}. Mend these rows, then run `haechi migrate apply` again")]
    Unfinished(String),
    /// Something stays locked.
    #[error("{0} stayed locked by somebody else for a minute; nothing was changed. Try again when their work is done")]
    Locked(String),
    /// The database was changed outside its migrations.
    #[error("the database was changed by somebody else; undo this first, with its own tools:\n  {}", .0.join("\n  "))]
    Strange(Vec<String>),
    /// An applied migration was changed in the database.
    #[error("migration {0} was altered in the database after it was applied: `haechi audit verify` says what else was; restore a backup")]
    Altered(i64),
    /// The database was made by a newer version.
    #[error("what the database remembers of its last migration cannot be read: a newer version of Haechi made it, or somebody changed it")]
    Newer,
    /// The database failed.
    #[error("the database could not do it: the line above says why")]
    Database,
}

/// SHA-256, hex.
pub(crate) fn checksum(text: &str) -> String {
    use std::fmt::Write;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().fold(String::with_capacity(64), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// The tables as each migration left them.
#[must_use]
pub fn history(applied: &[Applied]) -> Vec<Vec<haechi_model::Table>> {
    applied.iter().filter_map(|applied| serde_json::from_str(&applied.tables).ok()).collect()
}

/// Whether two migrations end with the same tables, apart from the store's own.
#[must_use]
pub fn same_tables(one: &Applied, other: &Applied) -> bool {
    let own: Vec<String> = crate::system::system_tables(crate::render::Dialect::Sqlite).into_iter().map(|table| table.name).collect();
    let tables = |applied: &Applied| {
        let tables: Option<Vec<haechi_model::Table>> = serde_json::from_str(&applied.tables).ok();
        tables.map(|tables| tables.into_iter().filter(|table| !own.contains(&table.name)).collect::<Vec<_>>())
    };
    tables(one).is_some_and(|tables_of_one| tables(other) == Some(tables_of_one))
}

/// Checks that no applied migration was altered and reads the tables after the last one.
pub(crate) fn tables_after(applied: &[Applied]) -> Result<Vec<haechi_model::Table>, MigrateError> {
    if let Some(altered) = applied.iter().find(|migration| checksum(&migration.sql) != migration.checksum) {
        return Err(MigrateError::Altered(altered.version));
    }
    match applied.last() {
        None => Ok(Vec::new()),
        Some(last) => serde_json::from_str(&last.tables).map_err(|_| MigrateError::Newer),
    }
}
