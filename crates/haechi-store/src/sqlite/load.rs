//! A load on SQLite: straight into the tables, in one transaction of the writer.

use super::{connection, failure};
use crate::{
    catalog::Catalog,
    load::{LoadError, LoadRow, LookUp, MAX_UNFIT, Made, Making, Misfit, Refers, Taken, Unfit, equals, insert, references, unique_keys, update},
    render::{Dialect, Sql, hidden},
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
    unfit: Vec<Unfit>,
    /// Rows that were not put into their table, because something is wrong with them: others may refer to them.
    left_out: Vec<(usize, Row)>,
    /// Whether nothing will be kept.
    faulty: bool,
}

/// A table that rows are put into.
struct Target {
    table: usize,
    insert: String,
    update: String,
    keys: Vec<Vec<usize>>,
    references: Vec<Refers>,
    taken: Taken,
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
            update: update(catalog, *table),
            keys: unique_keys(catalog, *table),
            references: references(catalog, tables, *table),
            taken: Taken::default(),
        };
        let targets = tables.iter().map(target).collect();
        let (known, left_out) = (HashSet::new(), Vec::new());
        Ok(Self { connection, catalog, targets, known, later: Vec::new(), unfit: Vec::new(), left_out, faulty: false })
    }

    /// What became of the rows of each table.
    pub(super) fn taken(&self) -> Vec<Taken> {
        self.targets.iter().map(|target| target.taken).collect()
    }

    /// Whether the limit of misfits is reached.
    pub(super) fn full(&self) -> bool {
        self.unfit.len() >= MAX_UNFIT
    }

    /// Asks the database what rows need to be made.
    pub(super) fn make(&self, at: usize, making: Making) -> Result<Made, LoadError> {
        let mut making = making;
        loop {
            making = match making {
                Making::Made(made) => return Ok(made),
                Making::Named(named, then) => then(named.iter().map(|named| self.id_of(named)).collect::<Result<_, _>>()?),
                Making::Keyed(key, values, then) => then(values.iter().map(|values| self.stored(at, &key, values)).collect::<Result<_, _>>()?),
            }
        }
    }

    fn id_of(&self, named: &LookUp) -> Result<Option<Box<str>>, LoadError> {
        let name = &self.catalog.tables[named.table].name;
        let sql = format!("SELECT \"id\" FROM \"{name}\" WHERE {}", equals(self.catalog, named.table, &named.key));
        let mut statement = self.connection.prepare_cached(&sql).map_err(|error| failure(&error))?;
        let mut rows = statement.query(connection::bound(&named.values)).map_err(|error| failure(&error))?;
        let row = rows.next().map_err(|error| failure(&error))?;
        let found = row.map(|row| row.get::<_, String>(0)).transpose().map_err(|error| failure(&error))?;
        let named_by = |row: &Row| named.key.iter().zip(&named.values).all(|(column, value)| row[*column] == *value);
        let left_out = || self.left_out.iter().find(|(at, row)| self.targets[*at].table == named.table && named_by(row));
        Ok(found.map(Into::into).or_else(|| left_out().and_then(|(_, row)| row[0].as_text().map(Into::into))))
    }

    fn stored(&self, at: usize, key: &[usize], values: &[Value]) -> Result<Option<Row>, LoadError> {
        let table = self.targets[at].table;
        let mut sql = Sql::new(Dialect::Sqlite, self.catalog);
        sql.all_with_key(table, key, values);
        let mut statement = self.connection.prepare_cached(&sql.text).map_err(|error| failure(&error))?;
        let columns = statement.column_count();
        let mut rows = statement.query(connection::bound(&sql.values)).map_err(|error| failure(&error))?;
        let row = rows.next().map_err(|error| failure(&error))?;
        Ok(row.map(|row| connection::row_values(row, columns)).transpose().map_err(|error| failure(&error))?)
    }

    pub(super) fn take(&mut self, at: usize, rows: &[LoadRow]) -> Result<(), LoadError> {
        for row in rows {
            if !self.put(at, row)? {
                self.faulty = true;
                for column in self.collisions(at, row)? {
                    self.unfit.push(Unfit { at, line: row.line, column, why: Misfit::NotUnique });
                }
                self.left_out.push((at, row.row.clone()));
            }
            self.look_up(at, row.line, &row.row)?;
            if self.full() {
                break;
            }
        }
        Ok(())
    }

    /// Puts a row into its table. `false` when others have its unique values, or when something else is wrong with it.
    fn put(&mut self, at: usize, row: &LoadRow) -> Result<bool, LoadError> {
        if row.faulty {
            return Ok(false);
        }
        let target = &self.targets[at];
        let columns = self.catalog.tables[target.table].columns.len();
        let sql = if row.changes { &target.update } else { &target.insert };
        let execute = || self.connection.prepare_cached(sql)?.execute(connection::bound(&row.row[..columns]));
        if execute().map_err(|error| failure(&error))? == 0 {
            return Ok(false);
        }
        if row.changes {
            self.targets[at].taken.changed += 1;
            self.run(hidden::replaced(Dialect::Sqlite, self.catalog, self.targets[at].table, &row.row))?;
        } else {
            self.targets[at].taken.new += 1;
            self.run(hidden::added(Dialect::Sqlite, self.catalog, self.targets[at].table, &row.row))?;
        }
        Ok(true)
    }

    fn run(&self, statements: Vec<Sql<'_>>) -> Result<(), LoadError> {
        for sql in statements {
            let execute = || self.connection.prepare_cached(&sql.text)?.execute(connection::bound(&sql.values));
            execute().map_err(|error| failure(&error))?;
        }
        Ok(())
    }

    /// The last column of each key that another row already has.
    fn collisions(&self, at: usize, row: &LoadRow) -> Result<Vec<usize>, LoadError> {
        let (target, mut found) = (&self.targets[at], Vec::new());
        let table = &self.catalog.tables[target.table];
        for key in target.keys.iter().filter(|key| !row.changes || **key != [0]) {
            let other = if row.changes { format!(" AND \"id\" <> ?{}", key.len() + 1) } else { String::new() };
            let sql = format!("SELECT 1 FROM \"{}\" WHERE {}{other}", table.name, equals(self.catalog, target.table, key));
            let own = row.changes.then_some(&row.row[0]);
            let values: Vec<Value> = key.iter().map(|column| &row.row[*column]).chain(own).cloned().collect();
            let exists = self.connection.prepare_cached(&sql).and_then(|mut statement| statement.exists(connection::bound(&values)));
            if exists.map_err(|error| failure(&error))? {
                found.push(key.last().copied().unwrap_or_default());
            }
        }
        Ok(found)
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

    fn there(&self, table: &str, id: &str) -> Result<bool, LoadError> {
        let look = || self.connection.prepare_cached(&format!("SELECT 1 FROM \"{table}\" WHERE \"id\" = ?"))?.exists([id]);
        look().map_err(|error| failure(&error).into())
    }

    /// Checks for rows that are still missing after all rows were read. `Err` when something does not fit.
    pub(super) fn finish(&mut self) -> Result<(), LoadError> {
        for Later { at, line, reference, id } in std::mem::take(&mut self.later) {
            let refers = &self.targets[at].references[reference];
            let left_out = || self.left_out.iter().any(|(at, row)| refers.at == Some(*at) && row[0].as_text() == Some(&*id));
            if self.unfit.len() < MAX_UNFIT && !left_out() && !self.there(&refers.table, &id)? {
                self.unfit.push(Unfit { at, line, column: refers.column, why: Misfit::Dangling(id) });
            }
        }
        if self.faulty || !self.unfit.is_empty() { Err(LoadError::Unfit(std::mem::take(&mut self.unfit))) } else { Ok(()) }
    }
}
