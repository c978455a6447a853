//! Connections and their settings.

use haechi_model::Value;
use rusqlite::{Connection, OpenFlags, ToSql, config::DbConfig, limits::Limit, types::ToSqlOutput};
use std::{path::Path, time::Duration};

const STATEMENT_CACHE: usize = 256;
pub(super) const BUSY: Duration = Duration::from_secs(5);
const CACHE_KIB: i64 = 16 * 1024;
pub(super) const MMAP_BYTES: i64 = 1 << 30;

/// Opens the one connection that writes.
pub(crate) fn writer(path: &Path) -> rusqlite::Result<Connection> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // Checkpoints run between batches, not inside a commit that a caller waits for.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    // Only where pages are changed: mapped pages are checked again at each use, which would slow down readers.
    connection.pragma_update(None, "cell_size_check", true)?;
    harden(&connection)?;
    Ok(connection)
}

/// Opens a connection that only reads.
pub(crate) fn reader(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "query_only", true)?;
    harden(&connection)?;
    Ok(connection)
}

/// Sets how much of the file is mapped into memory.
pub(super) fn map(connection: &Connection, bytes: i64) -> rusqlite::Result<()> {
    connection.pragma_update(None, "mmap_size", bytes)
}

fn harden(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    map(connection, MMAP_BYTES)?;
    connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    connection.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
    Ok(())
}

/// Binds a value without copying it.
pub(crate) struct Bound<'a>(pub(crate) &'a Value);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self.0 {
            Value::Null => ToSqlOutput::from(rusqlite::types::Null),
            Value::Int(int) => ToSqlOutput::from(*int),
            Value::Real(real) => ToSqlOutput::from(*real),
            Value::Text(text) => ToSqlOutput::from(&**text),
        })
    }
}

/// Values as parameters.
pub(crate) fn bound(values: &[Value]) -> impl rusqlite::Params {
    rusqlite::params_from_iter(values.iter().map(Bound))
}

/// A whole stored row.
pub(crate) fn row_values(row: &rusqlite::Row<'_>, columns: usize) -> rusqlite::Result<Vec<Value>> {
    (0..columns).map(|at| value_at(row, at)).collect()
}

/// One value of a row.
pub(crate) fn value_at(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<Value> {
    use rusqlite::types::ValueRef;
    Ok(match row.get_ref(at)? {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(int) => Value::Int(int),
        ValueRef::Real(real) => Value::Real(real),
        ValueRef::Text(text) | ValueRef::Blob(text) => Value::text(String::from_utf8_lossy(text)),
    })
}
