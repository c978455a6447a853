//! From and to PostgreSQL: every table, read in one snapshot, written in one transaction.

use super::{
    RestoreError,
    container::{self, PAGE, Page},
    made, moved, portable, silent,
};
use crate::{
    Server,
    migrate::{Applied, BOOTSTRAP},
    postgres::{Postgres, SELDOM_VACUUMED, SEQUENCE, binary_type, failure},
    render::Dialect,
    sqlite,
};
use haechi_model::{Failure, INDEX_BYTES, Storage, Table};
use rusqlite::{Connection, OpenFlags, types::Value as Cell};
use std::{path::Path, pin::pin, sync::Arc};
use tokio::sync::Notify;
use tokio_postgres::{
    IsolationLevel, Transaction,
    binary_copy::BinaryCopyInWriter,
    types::{ToSql, Type},
};

/// Entries that wait for their position get the next ones, in the order of their arrival.
const LOG: &str = "SELECT COALESCE(\"position\", (SELECT GREATEST((SELECT COALESCE(MAX(\"position\") + 1, 0) FROM \"_log\"), (SELECT COALESCE(MAX(\"size\"), 0) FROM \"_seals\"))) \
                   + row_number() OVER (PARTITION BY \"position\" IS NULL ORDER BY \"arrival\") - 1)::bigint AS \"position\", \"id\", \"entry\", \"hash\", \"salt\", \"detail\", \"event\", \"organisation\" FROM \"_log\"";
/// For each foreign key, the statements that drop it and make it again.
const REFERENCES: &str = "SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname), \
    format('ALTER TABLE %s ADD CONSTRAINT %I %s', conrelid::regclass, conname, pg_get_constraintdef(oid)) \
    FROM pg_constraint WHERE contype = 'f' AND connamespace = current_schema()::regnamespace";
/// Tables about the present moment only: the nodes, and live changes.
const OF_THE_MOMENT: [&str; 2] = ["_leases", "_images"];

impl Postgres {
    pub(crate) async fn backup(&self, file: &Path) -> Result<(), Failure> {
        let broken = |error: tokio_postgres::Error| failure(&error);
        let applied = self.applied().await?;
        let tables = portable(&applied).map_err(|_| Failure::Broken)?;
        let (wanted, sql) = made(Dialect::Sqlite, &tables);
        let migrations = moved(&applied, &sql, &wanted).map_err(|_| Failure::Broken)?;
        let (pages, outcome) = container::write(file, wanted.clone(), sql, migrations);
        let mut client = self.client().await?;
        let snapshot = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true).start().await.map_err(broken)?;
        for (at, table) in wanted.iter().enumerate().filter(|(_, table)| !OF_THE_MOMENT.contains(&table.name.as_str())) {
            let columns: Vec<String> = table.columns.iter().map(|column| format!("\"{}\"", column.name)).collect();
            let select = if table.name == "_log" { LOG.to_owned() } else { format!("SELECT {} FROM \"{}\"", columns.join(", "), table.name) };
            let statement = snapshot.prepare(&select).await.map_err(broken)?;
            let portal = snapshot.bind(&statement, &[]).await.map_err(broken)?;
            loop {
                let rows = snapshot.query_portal(&portal, i32::try_from(PAGE).unwrap_or(i32::MAX)).await.map_err(broken)?;
                if rows.is_empty() {
                    break;
                }
                let page = Page { table: at, rows: rows.iter().map(|row| cells(row, table)).collect() };
                // A closed channel means that the file could not be written: its outcome says why.
                if pages.send(page).await.is_err() {
                    break;
                }
            }
        }
        snapshot.rollback().await.map_err(broken)?;
        drop(pages);
        outcome.await.map_err(|_| Failure::Broken)?.map_err(|error| sqlite::failure(&error))
    }
}

fn cells(row: &tokio_postgres::Row, table: &Table) -> Vec<Cell> {
    let cell = |(at, column): (usize, &haechi_model::Column)| match column.storage {
        Storage::Int => row.get::<_, Option<i64>>(at).map_or(Cell::Null, Cell::Integer),
        Storage::Real => row.get::<_, Option<f64>>(at).map_or(Cell::Null, Cell::Real),
        Storage::Text => row.get::<_, Option<String>>(at).map_or(Cell::Null, Cell::Text),
        Storage::Bytes => row.get::<_, Option<Vec<u8>>>(at).map_or(Cell::Null, Cell::Blob),
    };
    table.columns.iter().enumerate().map(cell).collect()
}

/// Indexes that cannot hold all rows of a backup here, with a condition that leaves the long ones out. New rows cannot be that long.
fn overlong(file: &Path, tables: &[Table]) -> Result<Vec<(String, String)>, RestoreError> {
    let connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(|_| RestoreError::NoBackup)?;
    let mut found = Vec::new();
    for table in tables {
        for index in &table.indexes {
            let texts: Vec<&str> = index
                .columns
                .iter()
                .map(|at| &table.columns[*at])
                .filter(|column| column.storage == Storage::Text)
                .map(|column| &*column.name)
                .collect();
            if texts.is_empty() {
                continue;
            }
            let length = |of: &str| texts.iter().map(|name| format!("COALESCE({of}(\"{name}\"), 0)")).collect::<Vec<_>>().join(" + ");
            let longer = format!("SELECT EXISTS (SELECT 1 FROM \"{}\" WHERE {} > {INDEX_BYTES})", table.name, length("octet_length"));
            if connection.query_row(&longer, [], |row| row.get(0)).map_err(|_| RestoreError::NoBackup)? {
                found.push((index.name.clone(), format!(" WHERE {} <= {INDEX_BYTES}", length("octet_length"))));
            }
        }
    }
    Ok(found)
}

/// Fills an empty database from a backup, in one transaction.
pub(super) async fn restore(file: &Path, server: &Server, left: &[&str]) -> Result<(), RestoreError> {
    let broken = |error: tokio_postgres::Error| {
        let _ = failure(&error);
        RestoreError::Database
    };
    let before = migrations(file)?;
    let tables = portable(&before)?;
    let (from, _) = made(Dialect::Sqlite, &tables);
    let (wanted, mut sql) = made(Dialect::Postgres, &tables);
    for (index, condition) in overlong(file, &from)? {
        let begin = [format!("CREATE INDEX \"{index}\" "), format!("CREATE UNIQUE INDEX \"{index}\" ")];
        for statement in sql.iter_mut().filter(|statement| begin.iter().any(|begin| statement.starts_with(begin))) {
            tracing::warn!(target: "haechi::store", index, "values that are longer than an index holds were restored; the index is over the others");
            statement.push_str(&condition);
        }
    }
    let (catalog, journal) = silent();
    let postgres = Postgres::open(server, catalog, journal, Arc::new(Notify::new())).await.map_err(|_| RestoreError::Database)?;
    if !postgres.applied().await.map_err(|_| RestoreError::Database)?.is_empty() {
        return Err(RestoreError::NotEmpty);
    }
    let mut client = postgres.client().await.map_err(|_| RestoreError::Database)?;
    let transaction = client.transaction().await.map_err(broken)?;
    // Indexes are made, and references checked, when all rows are there: that is faster, and rows may refer to each other in cycles.
    let is_index = |statement: &&str| statement.starts_with("CREATE INDEX ") || statement.starts_with("CREATE UNIQUE INDEX ");
    let (indexes, others): (Vec<&str>, Vec<&str>) = sql.iter().map(String::as_str).partition(is_index);
    for statement in [BOOTSTRAP, SEQUENCE].into_iter().chain(others).chain([SELDOM_VACUUMED]) {
        transaction.batch_execute(statement).await.map_err(broken)?;
    }
    let references = transaction.query(REFERENCES, &[]).await.map_err(broken)?;
    for reference in &references {
        transaction.batch_execute(reference.get(0)).await.map_err(broken)?;
    }
    fill(&transaction, file, &from, &wanted, left).await?;
    for statement in indexes.into_iter().chain(references.iter().map(|reference| reference.get(1))) {
        transaction.batch_execute(statement).await.map_err(broken)?;
    }
    let arrival = "SELECT setval('\"_log_arrival\"', (SELECT COALESCE(MAX(\"arrival\"), 0) + 1 FROM \"_log\"))";
    transaction.batch_execute(arrival).await.map_err(broken)?;
    let insert = "INSERT INTO \"_migrations\" VALUES ($1, $2, $3, $4, $5)";
    for applied in moved(&before, &sql, &wanted)? {
        let values: [&(dyn ToSql + Sync); 5] = [&applied.version, &applied.time_ms, &applied.checksum, &applied.sql, &applied.tables];
        transaction.execute(insert, &values).await.map_err(broken)?;
    }
    transaction.commit().await.map_err(broken)
}

fn migrations(file: &Path) -> Result<Vec<Applied>, RestoreError> {
    let unreadable = |_: rusqlite::Error| RestoreError::NoBackup;
    let source = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(unreadable)?;
    let found = sqlite::applied(&source).map_err(unreadable)?;
    if found.is_empty() { Err(RestoreError::NoBackup) } else { Ok(found) }
}

async fn fill(transaction: &Transaction<'_>, file: &Path, from: &[Table], to: &[Table], left: &[&str]) -> Result<(), RestoreError> {
    let broken = |error: tokio_postgres::Error| {
        let _ = failure(&error);
        RestoreError::Database
    };
    let mut copies = Vec::with_capacity(from.len());
    for (from, to) in from.iter().zip(to) {
        let mut names: Vec<String> = from.columns.iter().map(|column| format!("\"{}\"", column.name)).collect();
        // The log has one column more: its arrival, which is its position.
        let with_arrival = to.columns.len() > from.columns.len();
        names.extend(with_arrival.then(|| "\"arrival\"".to_owned()));
        let types: Vec<Type> = from.columns.iter().map(|column| binary_type(column.storage)).chain(with_arrival.then_some(Type::INT8)).collect();
        copies.push((format!("COPY \"{}\" ({}) FROM STDIN (FORMAT binary)", to.name, names.join(", ")), types, with_arrival));
    }
    let mut pages = container::read(file, from.to_vec());
    while let Some(page) = pages.recv().await {
        let page = page.map_err(|_| RestoreError::NoBackup)?;
        let name = from[page.table].name.as_str();
        if OF_THE_MOMENT.contains(&name) || left.contains(&name) {
            continue;
        }
        let (copy, types, with_arrival) = &copies[page.table];
        let mut writer = pin!(BinaryCopyInWriter::new(transaction.copy_in(copy).await.map_err(broken)?, types));
        for row in page.rows {
            let mut values = bound(&from[page.table], row)?;
            if *with_arrival {
                values.push(values_arrival(&values)?);
            }
            let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(Bound::value).collect();
            writer.as_mut().write(&values).await.map_err(broken)?;
        }
        writer.finish().await.map_err(broken)?;
    }
    Ok(())
}

/// A cell as a parameter of its column's type.
enum Bound {
    Int(Option<i64>),
    Real(Option<f64>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

impl Bound {
    fn value(&self) -> &(dyn ToSql + Sync) {
        match self {
            Self::Int(value) => value,
            Self::Real(value) => value,
            Self::Text(value) => value,
            Self::Bytes(value) => value,
        }
    }
}

fn bound(table: &Table, row: Vec<Cell>) -> Result<Vec<Bound>, RestoreError> {
    let one = |(column, cell): (&haechi_model::Column, Cell)| {
        Ok(match (column.storage, cell) {
            (Storage::Int, Cell::Null) => Bound::Int(None),
            (Storage::Int, Cell::Integer(int)) => Bound::Int(Some(int)),
            (Storage::Real, Cell::Null) => Bound::Real(None),
            (Storage::Real, Cell::Real(real)) => Bound::Real(Some(real)),
            (Storage::Text, Cell::Null) => Bound::Text(None),
            (Storage::Text, Cell::Text(text)) => Bound::Text(Some(text)),
            (Storage::Bytes, Cell::Null) => Bound::Bytes(None),
            (Storage::Bytes, Cell::Blob(bytes)) => Bound::Bytes(Some(bytes)),
            _ => return Err(RestoreError::NoBackup),
        })
    };
    table.columns.iter().zip(row).map(one).collect()
}

fn values_arrival(values: &[Bound]) -> Result<Bound, RestoreError> {
    match values.first() {
        Some(Bound::Int(Some(position))) => Ok(Bound::Int(Some(position + 1))),
        _ => Err(RestoreError::NoBackup),
    }
}
