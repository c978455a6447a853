//! Runs a change: all steps pipelined behind BEGIN, expectations checked, then log rows and COMMIT.

use super::{
    Inner,
    connection::{bound, failure, references, row_values},
};
use crate::{
    cascade::{self, Cascade, Caused, Kept, Quoted, Write},
    journal::{stated, with_stated},
    numbers,
    render::{Dialect, Sql, hidden},
};
use deadpool_postgres::Object;
use futures_util::future::{join, join_all};
use haechi_model::{Change, Claim, Failure, Outcome, Predicate, Row, Series, Step, Value};
use std::{borrow::Cow, time::Duration};
use tokio_postgres::{Statement, error::SqlState};

/// The change was not made.
pub(super) enum Stop {
    /// It may be tried again.
    Again,
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

pub(super) type Step_<T> = Result<T, Stop>;

pub(super) const BEGIN: &str = "BEGIN";
const IMAGE: &str = "INSERT INTO \"_images\" (\"id\", \"image\") VALUES ($1, $2)";
/// The columns of an entry, in the order of its values.
macro_rules! log_columns {
    () => {
        "\"id\", \"entry\", \"hash\", \"salt\", \"detail\", \"event\", \"organisation\", \"arrival\""
    };
}
pub(super) const LOG_COLUMNS: &str = log_columns!();
const LOG: &str = concat!("INSERT INTO \"_log\" (", log_columns!(), ") VALUES ($1, $2, $3, $4, $5, $6, '', nextval('\"_log_arrival\"'))");
/// Most steps that are sent without an answer.
const PIPELINE: usize = 24;
pub(super) struct Runner<'a> {
    pub(super) inner: &'a Inner,
    pub(super) client: &'a Object,
    pub(super) change: &'a Change,
}

impl Runner<'_> {
    /// Everything up to the entries: the results, and the rows that entries quote. Steps are sent with BEGIN, without waiting for it.
    pub(super) async fn transaction(&self, patience: Option<Duration>) -> Step_<(Outcome, Vec<Quoted>)> {
        let mut outcome = Outcome::default();
        let begin = match patience {
            None => Cow::Borrowed(BEGIN),
            Some(patience) => format!("{BEGIN}; SET LOCAL lock_timeout = {}", patience.as_millis().max(1)).into(),
        };
        let begin = async { self.client.batch_execute(&begin).await.map_err(|error| self.stop(&error, usize::MAX)) };
        // Steps whose statements depend on answers.
        let cascades = self.change.steps.iter().any(|step| matches!(step, Step::Cascade { .. } | Step::Numbered { .. }));
        if self.change.claim.is_none() && !cascades {
            let (begun, done) = join(begin, self.pipelined(&mut outcome)).await;
            begun?;
            done?;
            let quoted = self.quoted(&outcome, Caused::new());
            return Ok((outcome, quoted));
        }
        begin.await?;
        if let Some(claim) = &self.change.claim
            && let Some(result) = self.claim(claim).await?
        {
            outcome.replayed = Some(result);
            return Ok((outcome, Vec::new()));
        }
        let mut caused = Caused::new();
        if cascades {
            for sql in self.locks_first() {
                self.query(&sql, usize::MAX).await?;
            }
            for (at, step) in self.change.steps.iter().enumerate() {
                self.one_by_one(at, step, &mut outcome, &mut caused).await?;
            }
        } else {
            self.pipelined(&mut outcome).await?;
        }
        let quoted = self.quoted(&outcome, caused);
        Ok((outcome, quoted))
    }

    /// The entries with the rows that they quote.
    fn quoted(&self, outcome: &Outcome, caused: Caused) -> Vec<Quoted> {
        cascade::in_order(&with_stated(self.change, &outcome.stated), &outcome.slots, caused)
    }

    /// Sends the entries, and COMMIT behind them without waiting: where an entry fails, COMMIT does nothing. Returns the ids of the
    /// entries, and the answer to COMMIT.
    pub(super) async fn log_and_commit(&self, quoted: &[Quoted]) -> Step_<(Vec<Box<str>>, Result<(), tokio_postgres::Error>)> {
        let (statement, image) = self.log_statements().await?;
        // COMMIT goes out with the last batch of entries.
        let (first, last) = quoted.split_at(quoted.len().saturating_sub(PIPELINE));
        let mut entries = self.insert(first, &statement, &image).await?;
        let (logged, committed) = join(self.insert(last, &statement, &image), self.client.batch_execute("COMMIT")).await;
        entries.extend(logged?);
        Ok((entries, committed))
    }

    async fn claim(&self, claim: &Claim) -> Step_<Option<Box<str>>> {
        let stop = |error: tokio_postgres::Error| self.stop(&error, usize::MAX);
        let insert =
            self.client.prepare_cached("INSERT INTO \"_idempotency\" VALUES ($1, $2, $3, $4, '') ON CONFLICT DO NOTHING").await.map_err(stop)?;
        if self.client.execute(&insert, &[&&*claim.key, &&*claim.digest, &&*claim.result, &self.change.time_ms]).await.map_err(stop)? == 1 {
            return Ok(None);
        }
        let found =
            self.client.query_opt("SELECT \"digest\", \"result\" FROM \"_idempotency\" WHERE \"key\" = $1", &[&&*claim.key]).await.map_err(stop)?;
        match found {
            Some(row) if row.get::<_, &str>(0) == &*claim.digest => Ok(Some(row.get::<_, &str>(1).into())),
            Some(_) => Err(Failure::KeyReused.into()),
            None => Err(Stop::Again),
        }
    }

    fn sql(&self, step: &Step) -> Sql<'_> {
        let mut sql = Sql::new(Dialect::Postgres, &self.inner.catalog);
        match step {
            Step::Lock { table, id, filter, version, .. } => sql.lock(*table, id, filter, *version),
            Step::Insert { table, row } => {
                sql.insert(*table, row);
                sql.push(" RETURNING \"id\"");
            }
            Step::Update { table, id, set, .. } => sql.update(*table, id, set),
            Step::Delete { table, id, .. } => {
                sql.delete(*table, id);
                sql.push(" RETURNING \"id\"");
            }
            Step::Check { table, id, filter, .. } => sql.check(*table, id, filter),
            Step::Holds { filter, .. } => sql.holds(filter),
            Step::Fewer { table, filter, than, .. } => sql.fewer(*table, filter, *than),
            Step::Each { table, ids, filter, known, .. } => sql.each(*table, ids, filter, known.as_ref()),
            Step::Clear { table, filter, .. } => sql.clear(*table, filter),
            Step::Pick { table, filter, over, order, limit, set } => sql.pick((*table, filter, *over), (order, *limit), set, self.change.time_ms),
            Step::Take { table, id, cost_ms, depth_ms, .. } => sql.take(*table, id, self.change.time_ms, *cost_ms, *depth_ms),
            Step::Cascade { .. } | Step::Numbered { .. } => sql.push("SELECT 1 WHERE FALSE"),
        }
        sql
    }

    /// What a step writes into the hidden tables of lists: before its own statement, and after it.
    fn beside(&self, step: &Step) -> (Vec<Sql<'_>>, Vec<Sql<'_>>) {
        let catalog = &self.inner.catalog;
        match step {
            Step::Insert { table, row } => (Vec::new(), hidden::added(Dialect::Postgres, catalog, *table, row)),
            Step::Update { table, id, set, .. } => (Vec::new(), hidden::changed(Dialect::Postgres, catalog, *table, id, set)),
            Step::Delete { table, id, .. } => (hidden::emptied(Dialect::Postgres, catalog, *table, id), Vec::new()),
            _ => (Vec::new(), Vec::new()),
        }
    }

    /// Locks the rows that will be changed, always in the same order, so that changes of the same rows do not deadlock. Each lock has the
    /// row's own condition: a row that the caller may not change is not locked. Missing rows are ignored here.
    fn locks_first(&self) -> Vec<Sql<'_>> {
        let mut rows: Vec<(usize, &str, &Predicate)> = Vec::new();
        for step in &self.change.steps {
            if let Step::Lock { table, id, filter, .. } = step
                && !rows.iter().any(|(known, row, _)| known == table && *row == &**id)
            {
                rows.push((*table, id, filter));
            }
        }
        if rows.len() < 2 {
            return Vec::new();
        }
        rows.sort_unstable_by_key(|(table, id, _)| (*table, *id));
        let sql = |(table, id, filter): &(usize, &str, &Predicate)| {
            let mut sql = Sql::new(Dialect::Postgres, &self.inner.catalog);
            sql.lock_first(*table, id, filter);
            sql
        };
        rows.iter().map(sql).collect()
    }

    /// The statements of all steps, in their order.
    fn statements(&self) -> Vec<(usize, Option<&Step>, Sql<'_>)> {
        let mut statements: Vec<_> = self.locks_first().into_iter().map(|sql| (usize::MAX, None, sql)).collect();
        for (at, step) in self.change.steps.iter().enumerate() {
            let (before, after) = self.beside(step);
            statements.extend(before.into_iter().map(|sql| (at, None, sql)));
            statements.push((at, Some(step), self.sql(step)));
            statements.extend(after.into_iter().map(|sql| (at, None, sql)));
        }
        statements
    }

    /// Sends all steps in their order, without waiting for each other.
    ///
    /// Every statement is prepared before the first step is sent: a step that still had to be prepared would be
    /// overtaken by the ones behind it, and a check would see a row that was not yet, or already, written.
    async fn pipelined(&self, outcome: &mut Outcome) -> Step_<()> {
        let mut prepared = Vec::with_capacity(self.change.steps.len());
        for (at, step, sql) in self.statements() {
            let statement = self.client.prepare_cached(&sql.text).await.map_err(|error| self.stop(&error, at))?;
            prepared.push((at, step, statement, sql.values));
        }
        // Up to this many futures are polled in their order, each sending at its first poll.
        for part in prepared.chunks(PIPELINE) {
            let sent = part.iter().map(|(at, _, statement, values)| async move {
                let values = bound(values);
                self.client.query(statement, &references(&values)).await.map_err(|error| self.stop(&error, *at))
            });
            for ((_, step, ..), rows) in part.iter().zip(join_all(sent).await) {
                let rows = rows?;
                if let Some(step) = step {
                    self.judge(step, rows, outcome)?;
                }
            }
        }
        Ok(())
    }

    async fn step(&self, at: usize, step: &Step) -> Step_<Vec<tokio_postgres::Row>> {
        let (before, after) = self.beside(step);
        self.all(&before, at).await?;
        let rows = self.query(&self.sql(step), at).await?;
        self.all(&after, at).await?;
        Ok(rows)
    }

    async fn all(&self, statements: &[Sql<'_>], at: usize) -> Step_<()> {
        for sql in statements {
            self.query(sql, at).await?;
        }
        Ok(())
    }

    pub(super) async fn query(&self, sql: &Sql<'_>, at: usize) -> Step_<Vec<tokio_postgres::Row>> {
        let stop = |error: tokio_postgres::Error| self.stop(&error, at);
        let statement = self.client.prepare_cached(&sql.text).await.map_err(stop)?;
        let values = bound(&sql.values);
        self.client.query(&statement, &references(&values)).await.map_err(stop)
    }

    /// Whether a step's expectation was met.
    fn judge(&self, step: &Step, rows: Vec<tokio_postgres::Row>, outcome: &mut Outcome) -> Step_<()> {
        match step {
            Step::Lock { miss, .. } | Step::Update { miss, .. } => {
                let row = rows.first().map(row_values).ok_or(Failure::Missed(*miss))?;
                if let Step::Update { table, .. } = step {
                    outcome.written.push(*table);
                    outcome.stated.extend(stated(&*self.inner.journal, step, Some(&row), &[]));
                }
                outcome.slots.push(row);
            }
            Step::Insert { table, row } => {
                outcome.written.push(*table);
                outcome.slots.push(row.clone());
                outcome.stated.extend(stated(&*self.inner.journal, step, None, &[]));
            }
            Step::Delete { table, miss, .. } => {
                if rows.is_empty() {
                    return Err(Failure::Missed(*miss).into());
                }
                outcome.written.push(*table);
                outcome.stated.extend(stated(&*self.inner.journal, step, None, &[]));
            }
            Step::Check { miss, .. } | Step::Holds { miss, .. } | Step::Fewer { miss, .. } | Step::Each { miss, .. } | Step::Take { miss, .. }
                if rows.is_empty() =>
            {
                return Err(Failure::Missed(*miss).into());
            }
            Step::Pick { .. } => outcome.picked.extend(rows.iter().map(row_values)),
            Step::Clear { miss: Some(miss), .. } if rows.is_empty() => return Err(Failure::Missed(*miss).into()),
            Step::Clear { .. } => {
                let cleared: Vec<Box<str>> = rows.iter().map(|row| row.get::<_, &str>(0).into()).collect();
                outcome.stated.extend(stated(&*self.inner.journal, step, None, &cleared));
                outcome.cleared.extend(cleared);
            }
            Step::Check { .. }
            | Step::Holds { .. }
            | Step::Fewer { .. }
            | Step::Each { .. }
            | Step::Take { .. }
            | Step::Cascade { .. }
            | Step::Numbered { .. } => {}
        }
        Ok(())
    }

    async fn one_by_one(&self, at: usize, step: &Step, outcome: &mut Outcome, caused: &mut Caused) -> Step_<()> {
        if let Step::Numbered { table, row, numbers, filter, miss } = step {
            let row = self.numbered(at, (*table, row), numbers).await?;
            let holds = (*filter != Predicate::True).then(|| Step::Holds { filter: filter.of_row(&row), miss: *miss });
            for step in holds.into_iter().chain([Step::Insert { table: *table, row }]) {
                let rows = self.step(at, &step).await?;
                self.judge(&step, rows, outcome)?;
            }
            return Ok(());
        }
        let Step::Cascade { table, id, miss } = step else {
            let rows = self.step(at, step).await?;
            return self.judge(step, rows, outcome);
        };
        let kept = |kept| match kept {
            Kept::TooMany => Failure::Missed(*miss),
            Kept::Referenced => Failure::Referenced { step: at },
        };
        let mut cascade = Cascade::new(&self.inner.catalog, *table, id);
        while let Some(asked) = cascade.next() {
            let mut sql = Sql::new(Dialect::Postgres, &self.inner.catalog);
            sql.children(&asked);
            cascade.found(self.query(&sql, at).await?.iter().map(row_values).collect()).map_err(kept)?;
        }
        // The row that is deleted was locked last.
        let of = outcome.slots.len().saturating_sub(1);
        for write in cascade.writes(self.change.time_ms).map_err(kept)? {
            let mut sql = Sql::new(Dialect::Postgres, &self.inner.catalog);
            match write {
                Write::Detach { table, id, set, before } => {
                    sql.update(table, &id, &set);
                    let after = self.query(&sql, at).await?.first().map(row_values);
                    self.all(&hidden::changed(Dialect::Postgres, &self.inner.catalog, table, &id, &set), at).await?;
                    caused.push((of, (cascade::entry(table, &id, "update"), Some(before), after)));
                    outcome.written.push(table);
                }
                Write::Open { table, id, column, listed } => {
                    sql.let_go(table, &id, column, listed.as_ref());
                    self.query(&sql, at).await?;
                }
                Write::Delete { table, id, before } => {
                    self.all(&hidden::emptied(Dialect::Postgres, &self.inner.catalog, table, &id), at).await?;
                    sql.delete(table, &id);
                    self.query(&sql, at).await?;
                    caused.push((of, (cascade::entry(table, &id, "delete"), Some(before), None)));
                    outcome.written.push(table);
                }
            }
        }
        Ok(())
    }

    /// The row with the next numbers.
    async fn numbered(&self, at: usize, (table, row): (usize, &Row), numbers: &[(usize, Series)]) -> Step_<Row> {
        let mut row = row.clone();
        for (column, series) in numbers {
            let of = numbers::Of { table, column: *column, series };
            let next = match self.int(&|sql| of.next(sql), at).await? {
                Some(next) => next,
                None => {
                    let highest = self.int(&|sql| of.highest(sql), at).await?.unwrap_or(0);
                    self.int(&|sql| of.begin(highest, sql), at).await?.ok_or(Failure::Broken)?
                }
            };
            row[*column] = Value::text(series.written(next));
        }
        Ok(row)
    }

    /// The number that a statement returns.
    async fn int(&self, fill: &(dyn Fn(&mut Sql<'_>) + Sync), at: usize) -> Step_<Option<i64>> {
        let mut sql = Sql::new(Dialect::Postgres, &self.inner.catalog);
        fill(&mut sql);
        Ok(self.query(&sql, at).await?.first().and_then(|row| row.get(0)))
    }

    /// Writes entries, within a transaction that goes on.
    pub(super) async fn log(&self, quoted: &[Quoted]) -> Step_<Vec<Box<str>>> {
        let (statement, image) = self.log_statements().await?;
        self.insert(quoted, &statement, &image).await
    }

    async fn log_statements(&self) -> Step_<(Statement, Statement)> {
        let stop = |error: tokio_postgres::Error| self.stop(&error, usize::MAX);
        Ok((self.client.prepare_cached(LOG).await.map_err(stop)?, self.client.prepare_cached(IMAGE).await.map_err(stop)?))
    }

    /// The first poll sends as many as fit into one batch.
    async fn insert(&self, quoted: &[Quoted], statement: &Statement, image: &Statement) -> Step_<Vec<Box<str>>> {
        let stop = |error: tokio_postgres::Error| self.stop(&error, usize::MAX);
        let rows: Vec<_> =
            quoted.iter().map(|(draft, before, after)| self.inner.journal.encode(self.change, draft, before.as_ref(), after.as_ref())).collect();
        for part in rows.chunks(PIPELINE) {
            let entries = part.iter().map(|row| async {
                let (id, hash, salt) = (&*row.id, &row.hash[..], &row.salt[..]);
                self.client.execute(statement, &[&id, &row.entry, &hash, &salt, &row.detail, &row.event]).await
            });
            let images = part.iter().filter_map(|row| Some((&*row.id, row.image.as_ref()?)));
            let images = images.map(|(id, found)| async move { self.client.execute(image, &[&id, found]).await });
            let (entries, images) = join(join_all(entries), join_all(images)).await;
            for inserted in entries.into_iter().chain(images) {
                inserted.map_err(stop)?;
            }
        }
        Ok(rows.into_iter().map(|row| row.id).collect())
    }

    /// The meaning of an error in a step.
    pub(super) fn stop(&self, error: &tokio_postgres::Error, step: usize) -> Stop {
        let Some(code) = error.code() else { return Stop::Failed(failure(error)) };
        let deletes = matches!(self.change.steps.get(step), Some(Step::Delete { .. } | Step::Cascade { .. }));
        if [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED, SqlState::LOCK_NOT_AVAILABLE].contains(code) {
            return Stop::Again;
        }
        // A migration has changed the tables of a kept statement, or has dropped columns that only the database knew.
        if *code == SqlState::FEATURE_NOT_SUPPORTED || *code == SqlState::UNDEFINED_COLUMN && self.inner.catalog.forget_newer() {
            self.client.statement_cache.clear();
            return Stop::Again;
        }
        Stop::Failed(match *code {
            // A statement before it has failed, and its error is reported separately.
            SqlState::IN_FAILED_SQL_TRANSACTION => Failure::Broken,
            SqlState::UNIQUE_VIOLATION => {
                Failure::NotUnique { index: error.as_db_error().and_then(|error| error.constraint()).unwrap_or_default().into(), step }
            }
            SqlState::FOREIGN_KEY_VIOLATION if deletes => Failure::Referenced { step },
            SqlState::FOREIGN_KEY_VIOLATION => Failure::Dangling { step },
            // A change that took too long may be made at another moment.
            SqlState::QUERY_CANCELED => Failure::Busy,
            _ => failure(error),
        })
    }
}
