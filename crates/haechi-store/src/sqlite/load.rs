//! A load on SQLite: straight into the tables, in one transaction of the writer.

use super::{connection, failure};
use crate::{
    catalog::Catalog,
    load::{LoadError, MAX_UNFIT, Misfit, Refers, Unfit, insert, references, unique_keys},
    render::{Dialect, hidden},
};
use haechi_model::{Row, Value, references as references_of};
use rusqlite::Connection;
use std::collections::HashSet;

/// Ids that are known to exist, so that rows with the same reference do not look it up again.
const MAX_KNOWN: usize = 50_000;
/// References to rows that may come later in the file, or in a later file.
const MAX_LATER: usize = 200_000;

/// A load under way.
pub(super) struct Loading<'a> {
    connection: &'a Connection,
    catalog: &'a Catalog,
    targets: Vec<Target>,
    known: HashSet<(usize, usize, Box<str>)>,
    later: Vec<Later>,
    pub(super) unfit: Vec<Unfit>,
}

/// A table that rows are put into.
struct Target {
    table: usize,
    insert: String,
    keys: Vec<Vec<usize>>,
    references: Vec<Refers>,
    rows: usize,
}

/// A reference to a row that was not there yet.
struct Later {
    at: usize,
    line: u64,
    /// The number of the reference in its table.
    reference: usize,
    id: Box<str>,
}

impl<'a> Loading<'a> {
    pub(super) fn new(connection: &'a Connection, catalog: &'a Catalog, tables: &[usize]) -> Result<Self, LoadError> {
        // Rows may refer to each other in any order; a row that is still missing stops the commit.
        connection.pragma_update(None, "defer_foreign_keys", true).map_err(|error| failure(&error))?;
        let target = |table: &usize| Target {
            table: *table,
            insert: format!("{} ON CONFLICT DO NOTHING", insert(catalog, *table)),
            keys: unique_keys(catalog, *table),
            references: references(catalog, tables, *table),
            rows: 0,
        };
        let targets = tables.iter().map(target).collect();
        Ok(Self { connection, catalog, targets, known: HashSet::new(), later: Vec::new(), unfit: Vec::new() })
    }

    /// How many rows each table was given.
    pub(super) fn counts(&self) -> Vec<usize> {
        self.targets.iter().map(|target| target.rows).collect()
    }

    /// Whether the limit of misfits is reached.
    pub(super) fn full(&self) -> bool {
        self.unfit.len() >= MAX_UNFIT
    }

    pub(super) fn take(&mut self, at: usize, rows: &[(u64, Row)]) -> Result<(), LoadError> {
        for (line, row) in rows {
            let execute = || self.connection.prepare_cached(&self.targets[at].insert)?.execute(connection::bound(row));
            if execute().map_err(|error| failure(&error))? == 1 {
                self.targets[at].rows += 1;
                self.list(at, row)?;
                self.look_up(at, *line, row)?;
            } else {
                let column = self.collision(at, row)?;
                self.unfit.push(Unfit { at, line: *line, column, why: Misfit::NotUnique });
            }
            if self.full() {
                break;
            }
        }
        Ok(())
    }

    /// The last column of the key that another row already has.
    fn collision(&self, at: usize, row: &Row) -> Result<usize, LoadError> {
        let target = &self.targets[at];
        let table = &self.catalog.tables[target.table];
        for key in &target.keys {
            let condition: Vec<String> =
                key.iter().enumerate().map(|(at, column)| format!("\"{}\" = ?{}", table.columns[*column].name, at + 1)).collect();
            let sql = format!("SELECT 1 FROM \"{}\" WHERE {}", table.name, condition.join(" AND "));
            let values: Vec<Value> = key.iter().map(|column| row[*column].clone()).collect();
            let found = self.connection.prepare_cached(&sql).and_then(|mut statement| statement.exists(connection::bound(&values)));
            if found.map_err(|error| failure(&error))? {
                return Ok(key.last().copied().unwrap_or_default());
            }
        }
        Ok(0)
    }

    fn look_up(&mut self, at: usize, line: u64, row: &Row) -> Result<(), LoadError> {
        for (place, refers) in self.targets[at].references.iter().enumerate() {
            let ids = match refers.hidden {
                Some(_) => references_of(&row[refers.column]),
                None => row[refers.column].as_text().map(Into::into).into_iter().collect(),
            };
            for id in ids {
                let known = (at, refers.column, id.clone());
                if self.known.contains(&known) {
                    continue;
                }
                if self.there(&refers.table, &id)? {
                    if self.known.len() < MAX_KNOWN {
                        self.known.insert(known);
                    }
                } else if refers.at.is_none() {
                    self.unfit.push(Unfit { at, line, column: refers.column, why: Misfit::Dangling(id) });
                } else if self.later.len() < MAX_LATER {
                    self.later.push(Later { at, line, reference: place, id });
                }
            }
        }
        Ok(())
    }

    /// The references of a row's lists.
    fn list(&self, at: usize, row: &Row) -> Result<(), LoadError> {
        for sql in hidden::added(Dialect::Sqlite, self.catalog, self.targets[at].table, row) {
            let execute = || self.connection.prepare_cached(&sql.text)?.execute(connection::bound(&sql.values));
            execute().map_err(|error| failure(&error))?;
        }
        Ok(())
    }

    fn there(&self, table: &str, id: &str) -> Result<bool, LoadError> {
        let look = || self.connection.prepare_cached(&format!("SELECT 1 FROM \"{table}\" WHERE \"id\" = ?"))?.exists([id]);
        look().map_err(|error| failure(&error).into())
    }

    /// Checks for rows that are still missing after all rows were read.
    pub(super) fn finish(&mut self) -> Result<(), LoadError> {
        for Later { at, line, reference, id } in std::mem::take(&mut self.later) {
            let refers = &self.targets[at].references[reference];
            if self.unfit.len() < MAX_UNFIT && !self.there(&refers.table, &id)? {
                self.unfit.push(Unfit { at, line, column: refers.column, why: Misfit::Dangling(id) });
            }
        }
        Ok(())
    }
}
