//! Runs a change's steps inside the writer's transaction.

use super::{connection, failure};
use crate::{
    cascade::{self, Cascade, Caused, Kept, Write},
    catalog::Catalog,
    journal::{Journal, stated, with_stated},
    numbers,
    render::{Dialect, Sql, hidden},
};
use haechi_model::{Change, Claim, EntryDraft, Failure, Miss, Outcome, Predicate, Row, Step, Value};
use rusqlite::{Connection, OptionalExtension, ffi};

pub(super) fn run(
    connection: &Connection,
    catalog: &Catalog,
    journal: &dyn Journal,
    change: &Change,
    position: &mut i64,
) -> Result<Outcome, Failure> {
    let mut runner = Runner { connection, catalog, journal, change, position, outcome: Outcome::default(), caused: Vec::new() };
    if let Some(claim) = &change.claim
        && let Some(result) = runner.claim(claim)?
    {
        runner.outcome.replayed = Some(result);
        return Ok(runner.outcome);
    }
    for (at, step) in change.steps.iter().enumerate() {
        let cleared = runner.outcome.cleared.len();
        runner.step(at, step)?;
        let said = stated(journal, step, runner.outcome.slots.last(), &runner.outcome.cleared[cleared..]);
        runner.outcome.stated.extend(said);
    }
    let drafts = with_stated(change, &runner.outcome.stated);
    if runner.caused.is_empty() {
        for draft in drafts.iter() {
            let slot = |slot: Option<usize>| slot.and_then(|slot| runner.outcome.slots.get(slot)).cloned();
            let (before, after) = (slot(draft.before), slot(draft.after));
            runner.log(draft, before.as_ref(), after.as_ref())?;
        }
        return Ok(runner.outcome);
    }
    let caused = std::mem::take(&mut runner.caused);
    for (draft, before, after) in cascade::in_order(&drafts, &runner.outcome.slots, caused) {
        runner.log(&draft, before.as_ref(), after.as_ref())?;
    }
    Ok(runner.outcome)
}

/// Writes entries only, for steps that were done in another way.
pub(super) fn log(
    connection: &Connection,
    catalog: &Catalog,
    journal: &dyn Journal,
    change: &Change,
    draft: &EntryDraft,
    position: &mut i64,
) -> Result<(), Failure> {
    let mut runner = Runner { connection, catalog, journal, change, position, outcome: Outcome::default(), caused: Vec::new() };
    runner.log(draft, None, None)
}

struct Runner<'a> {
    connection: &'a Connection,
    catalog: &'a Catalog,
    journal: &'a dyn Journal,
    change: &'a Change,
    position: &'a mut i64,
    outcome: Outcome,
    caused: Caused,
}

impl Runner<'_> {
    /// Claims an idempotency key, or finds the result of its earlier use.
    fn claim(&self, claim: &Claim) -> Result<Option<Box<str>>, Failure> {
        let execute = || -> rusqlite::Result<Option<(String, String)>> {
            let mut insert = self.connection.prepare_cached("INSERT INTO \"_idempotency\" VALUES (?, ?, ?, ?, '') ON CONFLICT DO NOTHING")?;
            if insert.execute((&*claim.key, &*claim.digest, &*claim.result, self.change.time_ms))? == 1 {
                return Ok(None);
            }
            let mut find = self.connection.prepare_cached("SELECT \"digest\", \"result\" FROM \"_idempotency\" WHERE \"key\" = ?")?;
            find.query_row([&*claim.key], |row| Ok((row.get(0)?, row.get(1)?))).optional()
        };
        match execute().map_err(|error| failure(&error))? {
            None => Ok(None),
            Some((digest, result)) if digest == *claim.digest => Ok(Some(result.into())),
            Some(_) => Err(Failure::KeyReused),
        }
    }

    fn step(&mut self, at: usize, step: &Step) -> Result<(), Failure> {
        let mut sql = Sql::new(Dialect::Sqlite, self.catalog);
        match step {
            Step::Lock { table, id, filter, version, miss } => {
                sql.lock(*table, id, filter, *version);
                let row = self.one(&sql, *table, at)?.ok_or(Failure::Missed(*miss))?;
                self.outcome.slots.push(row);
            }
            Step::Insert { table, row } => {
                sql.insert(*table, row);
                self.execute(&sql, at)?;
                self.all(hidden::added(Dialect::Sqlite, self.catalog, *table, row), at)?;
                self.outcome.written.push(*table);
                self.outcome.slots.push(row.clone());
            }
            Step::Numbered { table, row, numbers, filter, miss } => {
                let mut row = row.clone();
                for (column, series) in numbers {
                    row[*column] = Value::text(series.written(self.number(&numbers::Of { table: *table, column: *column, series }, at)?));
                }
                if *filter != Predicate::True {
                    self.step(at, &Step::Holds { filter: filter.of_row(&row), miss: *miss })?;
                }
                self.step(at, &Step::Insert { table: *table, row })?;
            }
            Step::Update { table, id, set, miss } => {
                sql.update(*table, id, set);
                let row = self.one(&sql, *table, at)?.ok_or(Failure::Missed(*miss))?;
                self.all(hidden::changed(Dialect::Sqlite, self.catalog, *table, id, set), at)?;
                self.outcome.written.push(*table);
                self.outcome.slots.push(row);
            }
            Step::Delete { table, id, miss } => {
                self.all(hidden::emptied(Dialect::Sqlite, self.catalog, *table, id), at)?;
                sql.delete(*table, id);
                if self.execute(&sql, at)? != 1 {
                    return Err(Failure::Missed(*miss));
                }
                self.outcome.written.push(*table);
            }
            Step::Check { filter, miss, .. } | Step::Holds { filter, miss } | Step::Fewer { filter, miss, .. } | Step::Each { filter, miss, .. } => {
                match step {
                    Step::Check { table, id, .. } => sql.check(*table, id, filter),
                    Step::Each { table, ids, known, .. } => sql.each(*table, ids, filter, known.as_ref()),
                    Step::Fewer { table, than, .. } => sql.fewer(*table, filter, *than),
                    _ => sql.holds(filter),
                }
                let found = self.connection.prepare_cached(&sql.text).and_then(|mut statement| statement.exists(connection::bound(&sql.values)));
                if !found.map_err(|error| failure(&error))? {
                    return Err(Failure::Missed(*miss));
                }
            }
            Step::Clear { table, filter, miss } => self.clear(at, (*table, filter), *miss)?,
            Step::Pick { table, filter, over, order, limit, set } => {
                sql.pick((*table, filter, *over), (order, *limit), set, self.change.time_ms);
                let picked = self.rows(&sql, *table, at)?;
                self.outcome.picked.extend(picked);
            }
            Step::Take { table, id, cost_ms, depth_ms, miss } => {
                sql.take(*table, id, self.change.time_ms, *cost_ms, *depth_ms);
                if self.ids(&sql, at)?.is_empty() {
                    return Err(Failure::Missed(*miss));
                }
            }
            Step::Cascade { table, id, miss } => self.cascade(at, (*table, id), *miss)?,
        }
        Ok(())
    }

    fn clear(&mut self, at: usize, (table, filter): (usize, &Predicate), miss: Option<Miss>) -> Result<(), Failure> {
        let mut sql = Sql::new(Dialect::Sqlite, self.catalog);
        sql.clear(table, filter);
        let cleared = self.ids(&sql, at)?;
        if let (true, Some(miss)) = (cleared.is_empty(), miss) {
            return Err(Failure::Missed(miss));
        }
        self.outcome.cleared.extend(cleared);
        Ok(())
    }

    fn number(&self, of: &numbers::Of<'_>, at: usize) -> Result<i64, Failure> {
        let int = |fill: &dyn Fn(&mut Sql<'_>)| -> Result<Option<i64>, Failure> {
            let mut sql = Sql::new(Dialect::Sqlite, self.catalog);
            fill(&mut sql);
            let fetch = || -> rusqlite::Result<Option<Option<i64>>> {
                self.connection.prepare_cached(&sql.text)?.query_row(connection::bound(&sql.values), |row| row.get(0)).optional()
            };
            Ok(fetch().map_err(|error| self.constraint(&error, at))?.flatten())
        };
        if let Some(next) = int(&|sql| of.next(sql))? {
            return Ok(next);
        }
        let highest = int(&|sql| of.highest(sql))?.unwrap_or(0);
        int(&|sql| of.begin(highest, sql))?.ok_or(Failure::Broken)
    }

    fn cascade(&mut self, at: usize, (table, id): (usize, &str), miss: Miss) -> Result<(), Failure> {
        let kept = |kept| match kept {
            Kept::TooMany => Failure::Missed(miss),
            Kept::Referenced => Failure::Referenced { step: at },
        };
        let mut cascade = Cascade::new(self.catalog, table, id);
        while let Some(asked) = cascade.next() {
            let mut sql = Sql::new(Dialect::Sqlite, self.catalog);
            sql.children(&asked);
            cascade.found(self.rows(&sql, asked.table, at)?).map_err(kept)?;
        }
        for write in cascade.writes(self.change.time_ms).map_err(kept)? {
            let mut sql = Sql::new(Dialect::Sqlite, self.catalog);
            match write {
                Write::Detach { table, id, set, before } => {
                    sql.update(table, &id, &set);
                    let after = self.one(&sql, table, at)?;
                    self.all(hidden::changed(Dialect::Sqlite, self.catalog, table, &id, &set), at)?;
                    self.causes(cascade::entry(table, &id, "update"), before, after);
                    self.outcome.written.push(table);
                }
                Write::Open { table, id, column, listed } => {
                    sql.let_go(table, &id, column, listed.as_ref());
                    self.execute(&sql, at)?;
                }
                Write::Delete { table, id, before } => {
                    self.all(hidden::emptied(Dialect::Sqlite, self.catalog, table, &id), at)?;
                    sql.delete(table, &id);
                    self.execute(&sql, at)?;
                    self.causes(cascade::entry(table, &id, "delete"), before, None);
                    self.outcome.written.push(table);
                }
            }
        }
        Ok(())
    }

    /// The row that is deleted was locked last.
    fn causes(&mut self, entry: EntryDraft, before: Row, after: Option<Row>) {
        self.caused.push((self.outcome.slots.len().saturating_sub(1), (entry, Some(before), after)));
    }

    fn log(&mut self, draft: &EntryDraft, before: Option<&Row>, after: Option<&Row>) -> Result<(), Failure> {
        let row = self.journal.encode(self.change, draft, before, after);
        let mut insert = self.connection.prepare_cached("INSERT INTO \"_log\" VALUES (?, ?, ?, ?, ?, ?, ?, '')").map_err(|error| failure(&error))?;
        insert.execute((*self.position, &*row.id, &row.entry, &row.hash, &row.salt, &row.detail, &row.event)).map_err(|error| failure(&error))?;
        if let Some(image) = &row.image {
            let mut insert = self.connection.prepare_cached("INSERT INTO \"_images\" VALUES (?, ?)").map_err(|error| failure(&error))?;
            insert.execute((&*row.id, image)).map_err(|error| failure(&error))?;
        }
        *self.position += 1;
        Ok(())
    }

    fn one(&self, sql: &Sql<'_>, table: usize, at: usize) -> Result<Option<Row>, Failure> {
        Ok(self.rows(sql, table, at)?.pop())
    }

    fn rows(&self, sql: &Sql<'_>, table: usize, at: usize) -> Result<Vec<Row>, Failure> {
        let columns = self.catalog.tables[table].columns.len();
        let fetch = || -> rusqlite::Result<Vec<Row>> {
            let mut statement = self.connection.prepare_cached(&sql.text)?;
            statement.query_map(connection::bound(&sql.values), |row| connection::row_values(row, columns))?.collect()
        };
        fetch().map_err(|error| self.constraint(&error, at))
    }

    /// The ids that a statement returns.
    fn ids(&self, sql: &Sql<'_>, at: usize) -> Result<Vec<Box<str>>, Failure> {
        let fetch = || -> rusqlite::Result<Vec<Box<str>>> {
            let mut statement = self.connection.prepare_cached(&sql.text)?;
            statement.query_map(connection::bound(&sql.values), |row| row.get::<_, String>(0).map(Into::into))?.collect()
        };
        fetch().map_err(|error| self.constraint(&error, at))
    }

    fn all(&self, statements: Vec<Sql<'_>>, at: usize) -> Result<(), Failure> {
        statements.iter().try_for_each(|sql| self.execute(sql, at).map(drop))
    }

    fn execute(&self, sql: &Sql<'_>, at: usize) -> Result<usize, Failure> {
        let execute = || self.connection.prepare_cached(&sql.text)?.execute(connection::bound(&sql.values));
        execute().map_err(|error| self.constraint(&error, at))
    }
}

impl Runner<'_> {
    /// Constraint violations by the constraint's name.
    fn constraint(&self, error: &rusqlite::Error, step: usize) -> Failure {
        let rusqlite::Error::SqliteFailure(code, message) = error else { return failure(error) };
        let deletes = matches!(self.change.steps.get(step), Some(Step::Delete { .. } | Step::Cascade { .. }));
        match code.extended_code {
            ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY => {
                Failure::NotUnique { index: self.violated(message.as_deref().unwrap_or_default()), step }
            }
            ffi::SQLITE_CONSTRAINT_FOREIGNKEY | ffi::SQLITE_CONSTRAINT_TRIGGER if deletes => Failure::Referenced { step },
            ffi::SQLITE_CONSTRAINT_FOREIGNKEY | ffi::SQLITE_CONSTRAINT_TRIGGER => Failure::Dangling { step },
            _ => failure(error),
        }
    }

    /// SQLite names the columns of a violated index, not the index.
    fn violated(&self, message: &str) -> Box<str> {
        let columns: Vec<&str> = message.rsplit("failed: ").next().unwrap_or_default().split(", ").collect();
        let matches = |table: &haechi_model::Table, index: &haechi_model::Index| {
            index.columns.len() == columns.len()
                && index
                    .columns
                    .iter()
                    .zip(&columns)
                    .all(|(column, found)| found.split_once('.') == Some((&table.name, &table.columns[*column].name)))
        };
        self.catalog
            .tables
            .iter()
            .flat_map(|table| table.indexes.iter().map(move |index| (table, index)))
            .find(|(table, index)| index.unique && matches(table, index))
            .map_or_else(|| "primary_key".into(), |(_, index)| index.name.as_str().into())
    }
}
