//! A change that adds one row is one statement: it writes the row and its entry if all conditions hold.
//!
//! Everything that such a change writes is known before it is sent, so there is nothing to wait for, and the server needs no transaction of
//! several statements. When the statement writes nothing, a condition did not hold: the change runs again step by step, to find out which.

use super::{
    Inner,
    connection::{bound, references},
    steps::{LOG_COLUMNS, Runner, Step_},
};
use crate::{
    journal::{LogRow, stated},
    render::{Dialect, Sql},
};
use deadpool_postgres::Object;
use haechi_model::{Change, EntryDraft, HOUSEKEEPING, Outcome, Row, Step};
use std::fmt::Write as _;
use tokio_postgres::types::ToSql;

/// Errors of these classes (SQLSTATE) mean that nothing was done: data, constraints, transactions, names, locks, features and space. After
/// other errors the outcome is unknown.
const NOTHING_DONE: [&str; 7] = ["22", "23", "40", "42", "55", "0A", "53"];

/// A change that is one statement.
pub(super) struct Once<'a> {
    /// The step that adds the row.
    at: usize,
    table: usize,
    row: &'a Row,
    entry: &'a EntryDraft,
}

impl<'a> Once<'a> {
    /// The change as one statement, if it only adds a row and checks other rows.
    pub(super) fn of(inner: &Inner, change: &'a Change) -> Option<Self> {
        let (None, [entry]) = (&change.claim, &*change.entries) else { return None };
        let mut added = None;
        for (at, step) in change.steps.iter().enumerate() {
            match step {
                // The statement about a row of a system table is known only after the step.
                Step::Insert { table, row } if added.is_none() && stated(&*inner.journal, step, None, &[]).is_empty() => {
                    added = Some((at, *table, row))
                }
                Step::Check { .. } | Step::Holds { .. } | Step::Each { .. } => {}
                _ => return None,
            }
        }
        let (at, table, row) = added?;
        let quotes_it = entry.before.is_none() && entry.after.is_none_or(|slot| slot == 0);
        (quotes_it && &*entry.action != HOUSEKEEPING).then_some(Self { at, table, row, entry })
    }

    fn sql(&self, inner: &'a Inner, change: &'a Change, image: bool) -> Sql<'a> {
        let mut sql = Sql::new(Dialect::Postgres, &inner.catalog);
        sql.push("WITH added AS (");
        sql.insert_where(self.table, self.row);
        let mut first = true;
        for step in &change.steps {
            let checked = matches!(step, Step::Check { .. } | Step::Holds { .. } | Step::Each { .. });
            if checked {
                sql.push(if first { " WHERE EXISTS (" } else { " AND EXISTS (" });
                first = false;
            }
            match step {
                Step::Check { table, id, filter, .. } => sql.check(*table, id, filter),
                Step::Holds { filter, .. } => sql.holds(filter),
                Step::Each { table, ids, filter, known, .. } => sql.each(*table, ids, filter, known.as_ref()),
                _ => {}
            }
            if checked {
                sql.push(")");
            }
        }
        sql.push(" RETURNING 1)");
        for (number, list) in inner.catalog.lists(self.table).iter().enumerate().filter(|(_, list)| !self.row[list.column].is_null()) {
            let _ = write!(sql.text, ", listed{number} AS (INSERT INTO \"{}\" (\"row\", \"target\") ", sql.table_name(list.hidden));
            sql.list_rows(&self.row[0], &self.row[list.column]);
            sql.push(", added)");
        }
        let next = sql.values.len();
        if image {
            let _ = write!(
                sql.text,
                ", imaged AS (INSERT INTO \"_images\" (\"id\", \"image\") SELECT ${}::text, ${}::bytea FROM added)",
                next + 1,
                next + 7
            );
        }
        let _ = write!(
            sql.text,
            " INSERT INTO \"_log\" ({LOG_COLUMNS}) SELECT ${}::text, ${}::bytea, ${}::bytea, ${}::bytea, ${}::text, ${}::text, '', nextval('\"_log_arrival\"') FROM added",
            next + 1,
            next + 2,
            next + 3,
            next + 4,
            next + 5,
            next + 6
        );
        sql
    }
}

impl Inner {
    /// Runs it; returns the connection when nothing was written because a condition did not hold.
    pub(super) async fn once(&self, client: Object, change: &Change, once: &Once<'_>) -> Step_<Result<Outcome, Object>> {
        let entry = self.journal.encode(change, once.entry, None, once.entry.after.map(|_| once.row));
        let sql = once.sql(self, change, entry.image.is_some());
        let runner = Runner { inner: self, client: &client, change };
        let statement = client.prepare_cached(&sql.text).await.map_err(|error| runner.stop(&error, once.at))?;
        let (values, LogRow { id, entry, hash, salt, detail, event, image }) = (bound(&sql.values), &entry);
        let (id, hash, salt) = (&**id, &hash[..], &salt[..]);
        let mut parameters = references(&values);
        let of_entry: [&(dyn ToSql + Sync); 6] = [&id, entry, &hash, &salt, detail, event];
        parameters.extend(of_entry);
        if let Some(image) = image {
            parameters.push(image);
        }
        let outcome = || Outcome { slots: vec![once.row.clone()], written: vec![once.table], ..Outcome::default() };
        match client.execute(&statement, &parameters).await {
            Ok(0) => Ok(Err(client)),
            Ok(_) => Ok(Ok(outcome())),
            Err(error) if error.code().is_some_and(|code| NOTHING_DONE.iter().any(|class| code.code().starts_with(class))) => {
                Err(runner.stop(&error, once.at))
            }
            // The connection was lost or interrupted: the change may have been made.
            Err(_) => {
                drop(Object::take(client));
                self.settle(outcome(), Some(id)).await.map(Ok)
            }
        }
    }
}
