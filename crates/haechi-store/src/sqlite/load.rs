//! A load on SQLite: straight into the table, in one transaction of the writer.

use super::{connection, failure};
use crate::{
    catalog::Catalog,
    load::{LoadError, MAX_UNFIT, Misfit, Unfit, insert, references, unique_keys},
};
use haechi_model::{Row, Value};
use rusqlite::Connection;
use std::collections::HashSet;

/// Ids that are known to be there, so that rows that share a reference do not look it up again.
const MAX_KNOWN: usize = 50_000;
/// References to rows that may stand further down in the file.
const MAX_LATER: usize = 200_000;

/// A load under way.
pub(super) struct Loading<'a> {
    connection: &'a Connection,
    catalog: &'a Catalog,
    table: usize,
    insert: String,
    keys: Vec<Vec<usize>>,
    references: Vec<(usize, String)>,
    known: HashSet<(usize, Box<str>)>,
    later: Vec<(u64, usize, Box<str>)>,
    pub(super) unfit: Vec<Unfit>,
    pub(super) rows: usize,
}

impl<'a> Loading<'a> {
    pub(super) fn new(connection: &'a Connection, catalog: &'a Catalog, table: usize) -> Result<Self, LoadError> {
        // Rows of one file may refer to each other in any order; what is still missing at the commit stops it.
        connection.pragma_update(None, "defer_foreign_keys", true).map_err(|error| failure(&error))?;
        Ok(Self {
            connection,
            catalog,
            table,
            insert: format!("{} ON CONFLICT DO NOTHING", insert(catalog, table)),
            keys: unique_keys(catalog, table),
            references: references(catalog, table),
            known: HashSet::new(),
            later: Vec::new(),
            unfit: Vec::new(),
            rows: 0,
        })
    }

    /// Whether enough rows that do not fit are known.
    pub(super) fn full(&self) -> bool {
        self.unfit.len() >= MAX_UNFIT
    }

    pub(super) fn take(&mut self, rows: &[(u64, Row)]) -> Result<(), LoadError> {
        for (line, row) in rows {
            let execute = || self.connection.prepare_cached(&self.insert)?.execute(connection::bound(row));
            if execute().map_err(|error| failure(&error))? == 1 {
                self.rows += 1;
                self.look_up(*line, row)?;
            } else {
                let column = self.collision(row)?;
                self.unfit.push(Unfit { line: *line, column, why: Misfit::NotUnique });
            }
            if self.full() {
                break;
            }
        }
        Ok(())
    }

    /// The last column of the key that another row has.
    fn collision(&self, row: &Row) -> Result<usize, LoadError> {
        let table = &self.catalog.tables[self.table];
        for key in &self.keys {
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

    fn look_up(&mut self, line: u64, row: &Row) -> Result<(), LoadError> {
        for (column, target) in &self.references {
            let Some(id) = row[*column].as_text() else { continue };
            let known = (*column, Box::from(id));
            if self.known.contains(&known) {
                continue;
            }
            if self.there(target, id)? {
                if self.known.len() < MAX_KNOWN {
                    self.known.insert(known);
                }
            } else if *target == self.catalog.tables[self.table].name && self.later.len() < MAX_LATER {
                self.later.push((line, *column, id.into()));
            } else if *target != self.catalog.tables[self.table].name {
                self.unfit.push(Unfit { line, column: *column, why: Misfit::Dangling(id.into()) });
            }
        }
        Ok(())
    }

    fn there(&self, table: &str, id: &str) -> Result<bool, LoadError> {
        let look = || self.connection.prepare_cached(&format!("SELECT 1 FROM \"{table}\" WHERE \"id\" = ?"))?.exists([id]);
        look().map_err(|error| failure(&error).into())
    }

    /// What is missing although all rows were taken.
    pub(super) fn finish(&mut self) -> Result<(), LoadError> {
        for (line, column, id) in std::mem::take(&mut self.later) {
            if !self.full() && !self.there(&self.catalog.tables[self.table].name, &id)? {
                self.unfit.push(Unfit { line, column, why: Misfit::Dangling(id) });
            }
        }
        Ok(())
    }
}
