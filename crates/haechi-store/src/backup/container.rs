//! The backup file, read and written on a thread of its own: pages of rows go through a bounded channel.

use crate::migrate::{Applied, BOOTSTRAP};
use haechi_model::Table;
use rusqlite::{Connection, OpenFlags, types::Value as Cell};
use std::{path::Path, thread};
use tokio::sync::{mpsc, oneshot};

/// Rows that travel together.
pub(super) const PAGE: usize = 1_000;
/// Pages on their way.
const AHEAD: usize = 4;

/// Rows of one table, by its place among those that are copied.
pub(super) struct Page {
    pub(super) table: usize,
    pub(super) rows: Vec<Vec<Cell>>,
}

/// Starts writing a new file with these tables. The file is complete when the channel was closed and the outcome is good.
pub(super) fn write(
    file: &Path,
    tables: Vec<Table>,
    sql: Vec<String>,
    migrations: Vec<Applied>,
) -> (mpsc::Sender<Page>, oneshot::Receiver<rusqlite::Result<()>>) {
    let (pages, mut queue) = mpsc::channel::<Page>(AHEAD);
    let (done, outcome) = oneshot::channel();
    let file = file.to_owned();
    thread::spawn(move || {
        let mut work = || -> rusqlite::Result<()> {
            let target = Connection::open(&file)?;
            target.pragma_update(None, "foreign_keys", false)?;
            target.execute_batch("BEGIN")?;
            create(&target, &sql, &migrations)?;
            while let Some(page) = queue.blocking_recv() {
                let table = &tables[page.table];
                let marks = vec!["?"; table.columns.len()].join(", ");
                let mut insert = target.prepare_cached(&format!("INSERT INTO \"{}\" VALUES ({marks})", table.name))?;
                for row in page.rows {
                    insert.execute(rusqlite::params_from_iter(row))?;
                }
            }
            target.execute_batch("COMMIT")
        };
        let _ = done.send(work());
    });
    (pages, outcome)
}

/// The tables, and the migrations that led to them.
fn create(target: &Connection, sql: &[String], migrations: &[Applied]) -> rusqlite::Result<()> {
    target.execute_batch(BOOTSTRAP)?;
    for statement in sql {
        target.execute_batch(statement)?;
    }
    let mut insert = target.prepare("INSERT INTO \"_migrations\" VALUES (?, ?, ?, ?, ?)")?;
    for applied in migrations {
        insert.execute((applied.version, applied.time_ms, &applied.checksum, &applied.sql, &applied.tables))?;
    }
    Ok(())
}

/// Starts reading all rows of these tables, in their order. A page that cannot be read ends it with an error.
pub(super) fn read(file: &Path, tables: Vec<Table>) -> mpsc::Receiver<rusqlite::Result<Page>> {
    let (pages, queue) = mpsc::channel(AHEAD);
    let file = file.to_owned();
    thread::spawn(move || {
        let work = || -> rusqlite::Result<()> {
            let source = Connection::open_with_flags(&file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
            for (at, table) in tables.iter().enumerate() {
                let names: Vec<String> = table.columns.iter().map(|column| format!("\"{}\"", column.name)).collect();
                let mut select = source.prepare(&format!("SELECT {} FROM \"{}\"", names.join(", "), table.name))?;
                let mut rows = select.query([])?;
                let mut page = Page { table: at, rows: Vec::with_capacity(PAGE) };
                while let Some(row) = rows.next()? {
                    page.rows.push((0..names.len()).map(|at| row.get(at)).collect::<rusqlite::Result<_>>()?);
                    if page.rows.len() == PAGE {
                        let full = std::mem::replace(&mut page, Page { table: at, rows: Vec::with_capacity(PAGE) });
                        if pages.blocking_send(Ok(full)).is_err() {
                            return Ok(());
                        }
                    }
                }
                if pages.blocking_send(Ok(page)).is_err() {
                    return Ok(());
                }
            }
            Ok(())
        };
        if let Err(error) = work() {
            let _ = pages.blocking_send(Err(error));
        }
    });
    queue
}
