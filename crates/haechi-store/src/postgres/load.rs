//! A load on PostgreSQL: into tables of the session, which are checked as a whole and then copied, each by one statement.
//! So rows may refer to each other in any order. References to a table that is copied later are set when all rows are there.

use super::{
    Postgres,
    connection::{Bound, failure, row_values},
    steps::{BEGIN, Runner, Stop},
};
use crate::{
    load::{Load, LoadError, LoadRow, LookUp, MAX_UNFIT, Made, Making, Misfit, Part, Refers, Taken, Unfit, columns, references, unique_keys},
    numbers,
    render::{Dialect, Sql},
};
use deadpool_postgres::Object;
use haechi_model::{Failure, Outcome, Row, Storage, Table, Value};
use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio_postgres::{
    Client,
    binary_copy::BinaryCopyInWriter,
    error::SqlState,
    types::{ToSql, Type},
};

const LINE: &str = "_line";
/// 1 where a stored row has the id, and becomes as the row is.
const CHANGES: &str = "_changes";

impl Postgres {
    pub(crate) async fn load(&self, mut load: Load) -> Result<Vec<Taken>, LoadError> {
        let client = self.client().await?;
        let _loading = Loading::begin(&self.0.loading);
        match self.fill(&client, &mut load).await {
            Ok((taken, entries)) => match self.0.commit_transaction(client, Outcome::default(), &entries).await {
                Ok(_) => {
                    self.0.has_committed();
                    Ok(taken)
                }
                Err(stop) => Err(stopped(stop)),
            },
            Err(error) => {
                if client.batch_execute("ROLLBACK").await.is_err() {
                    drop(Object::take(client));
                }
                Err(error)
            }
        }
    }

    /// Everything up to COMMIT.
    async fn fill(&self, client: &Object, load: &mut Load) -> Result<(Vec<Taken>, Vec<Box<str>>), LoadError> {
        let mut stages: Vec<Stage<'_>> = (0..load.tables.len()).map(|at| Stage::of(self, client, &load.tables, at)).collect();
        client.batch_execute(BEGIN).await.map_err(failed)?;
        for stage in &stages {
            stage.make().await?;
        }
        let runner = Runner { inner: &self.0, client, change: &load.change };
        let (mut last, mut faulty) = (Vec::new(), false);
        loop {
            match load.parts.recv().await {
                None => return Err(LoadError::Stopped),
                Some(Part::End { good }) => {
                    faulty |= !good;
                    break;
                }
                Some(Part::Rows(at, making)) => {
                    let made = made(&mut stages, at, making).await?;
                    faulty |= made.rows.iter().any(|row| row.faulty);
                    stages[at].copy(&made.rows).await?;
                    if let Some(entry) = made.entry {
                        last = runner.log(&[(*entry, None, None)]).await.map_err(stopped)?;
                    }
                }
            }
        }
        let unfit = unfit(&stages).await?;
        if faulty || !unfit.is_empty() {
            return Err(LoadError::Unfit(unfit));
        }
        let taken = published(client, &stages).await?;
        for table in &load.tables {
            let mut sql = Sql::new(Dialect::Postgres, &self.0.catalog);
            numbers::forget(&mut sql, *table);
            runner.query(&sql, usize::MAX).await.map_err(stopped)?;
        }
        Ok((taken, last))
    }
}

/// The rows that do not fit.
async fn unfit(stages: &[Stage<'_>]) -> Result<Vec<Unfit>, LoadError> {
    let mut unfit = Vec::new();
    for stage in stages {
        stage.run(&format!("ANALYZE \"{}\"", stage.name)).await?;
        unfit.extend(stage.duplicates().await?);
        unfit.extend(stage.dangling().await?);
    }
    Ok(unfit)
}

/// Copies the rows of all stages. Where somebody was faster with a unique value, or has deleted what a row refers to, the rows are named.
async fn published(client: &Object, stages: &[Stage<'_>]) -> Result<Vec<Taken>, LoadError> {
    let publish = async || {
        let mut taken = Vec::with_capacity(stages.len());
        for stage in stages {
            taken.push(stage.publish().await?);
        }
        for stage in stages {
            stage.refer().await?;
        }
        Ok(taken)
    };
    client.batch_execute("SAVEPOINT publish").await.map_err(failed)?;
    match publish().await {
        Err(LoadError::Failed(Failure::Contended)) => {
            client.batch_execute("ROLLBACK TO publish").await.map_err(failed)?;
            match unfit(stages).await? {
                none if none.is_empty() => Err(LoadError::Failed(Failure::Contended)),
                unfit => Err(LoadError::Unfit(unfit)),
            }
        }
        published => published,
    }
}

/// Asks the database what rows need to be made.
async fn made(stages: &mut [Stage<'_>], at: usize, making: Making) -> Result<Made, LoadError> {
    let mut making = making;
    loop {
        making = match making {
            Making::Made(made) => return Ok(made),
            Making::Keyed(key, values, then) => then(stages[at].stored(&key, &values).await?),
            Making::Named(named, then) => {
                let mut ids = vec![None; named.len()];
                let mut left: Vec<usize> = (0..named.len()).collect();
                while let Some(first) = left.first() {
                    let same = |at: &&usize| (named[**at].table, &named[**at].key) == (named[*first].table, &named[*first].key);
                    let (these, others): (Vec<usize>, Vec<usize>) = left.iter().partition(|at| same(at));
                    ids_of(stages, &named, &these, &mut ids).await?;
                    left = others;
                }
                then(ids)
            }
        };
    }
}

/// The ids of the rows of one table with these values of one key, stored or in their stage.
async fn ids_of(stages: &mut [Stage<'_>], named: &[LookUp], these: &[usize], ids: &mut [Option<Box<str>>]) -> Result<(), LoadError> {
    let (table, key, postgres, client) = (named[these[0]].table, &named[these[0]].key, stages[0].postgres, stages[0].client);
    let loaded = &postgres.0.catalog.tables[table];
    let (keys, same) = (keys(loaded, key), same(loaded, "t", key));
    let mut sql = format!("SELECT k.n, t.\"id\" FROM {keys} JOIN \"{}\" t ON {same}", loaded.name);
    if let Some(stage) = stages.iter_mut().find(|stage| stage.table == table) {
        stage.index(key).await?;
        sql = format!("{sql} UNION ALL SELECT k.n, t.\"id\" FROM {keys} JOIN \"{}\" t ON {same}", stage.name);
    }
    let lists = lists_of(loaded, key, &these.iter().map(|at| &named[*at].values).collect::<Vec<_>>());
    let lists: Vec<&(dyn ToSql + Sync)> = lists.iter().map(|list| &**list as &(dyn ToSql + Sync)).collect();
    for row in client.query(&sql, &lists).await.map_err(failed)? {
        let at = usize::try_from(row.get::<_, i64>(0) - 1).unwrap_or_default();
        ids[these[at]] = Some(row.get::<_, &str>(1).into());
    }
    Ok(())
}

/// Lists of values, in parameters, as rows: `k`, with columns `a0`, … and the number `n`.
fn keys(table: &Table, key: &[usize]) -> String {
    let list = |(at, column): (usize, &usize)| format!("${}::{}[]", at + 1, binary_type(table.columns[*column].storage).name());
    let lists: Vec<String> = key.iter().enumerate().map(list).collect();
    let names: Vec<String> = (0..key.len()).map(|at| format!("a{at}")).collect();
    format!("unnest({}) WITH ORDINALITY AS k({}, n)", lists.join(", "), names.join(", "))
}

/// That a row has the values of such a row.
fn same(table: &Table, alias: &str, key: &[usize]) -> String {
    let same = |(at, column): (usize, &usize)| format!("{alias}.\"{}\" = k.a{at}", table.columns[*column].name);
    key.iter().enumerate().map(same).collect::<Vec<_>>().join(" AND ")
}

/// The parameters: for each column the values of all keys.
fn lists_of(table: &Table, key: &[usize], keys: &[&Vec<Value>]) -> Vec<Box<dyn ToSql + Sync + Send>> {
    let list = |(at, column): (usize, &usize)| list_of(table.columns[*column].storage, keys.iter().map(|values| &values[at]));
    key.iter().enumerate().map(list).collect()
}

/// Values of one column as a list parameter.
fn list_of<'v>(storage: Storage, values: impl Iterator<Item = &'v Value>) -> Box<dyn ToSql + Sync + Send> {
    match storage {
        Storage::Int => Box::new(values.map(Value::as_int).collect::<Vec<_>>()),
        Storage::Real => Box::new(values.map(|value| if let Value::Real(real) = value { Some(*real) } else { None }).collect::<Vec<_>>()),
        Storage::Text | Storage::Bytes => Box::new(values.map(|value| value.as_text().map(str::to_owned)).collect::<Vec<_>>()),
    }
}

fn stopped(stop: Stop) -> LoadError {
    match stop {
        Stop::Again => LoadError::Failed(Failure::Busy),
        Stop::Failed(failure) => LoadError::Failed(failure),
    }
}

fn failed(error: tokio_postgres::Error) -> LoadError {
    let taken = [SqlState::UNIQUE_VIOLATION, SqlState::FOREIGN_KEY_VIOLATION, SqlState::T_R_DEADLOCK_DETECTED, SqlState::LOCK_NOT_AVAILABLE];
    match error.code() {
        Some(code) if taken.contains(code) => LoadError::Failed(Failure::Contended),
        _ => LoadError::Failed(failure(&error)),
    }
}

/// While it is there, changes of this node wait less for rows that others hold.
struct Loading<'a>(&'a AtomicUsize);

impl<'a> Loading<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The type of a column in a binary COPY.
pub(crate) fn binary_type(storage: Storage) -> Type {
    match storage {
        Storage::Int => Type::INT8,
        Storage::Real => Type::FLOAT8,
        Storage::Text => Type::TEXT,
        Storage::Bytes => Type::BYTEA,
    }
}

/// A table of the session, with the rows for one of the tables that are loaded.
struct Stage<'a> {
    postgres: &'a Postgres,
    client: &'a Client,
    /// The table's place in the load.
    at: usize,
    table: usize,
    name: String,
    references: Vec<Refers>,
    /// Keys with an index.
    indexed: Vec<Arc<[usize]>>,
}

impl<'a> Stage<'a> {
    fn of(postgres: &'a Postgres, client: &'a Client, tables: &[usize], at: usize) -> Self {
        let references = references(&postgres.0.catalog, tables, tables[at]);
        Self { postgres, client, at, table: tables[at], name: stage_name(at), references, indexed: Vec::new() }
    }

    /// Whether a column refers to a table that is copied after this one.
    fn is_later(&self, column: usize) -> bool {
        self.references.iter().any(|refers| refers.column == column && refers.at > Some(self.at) && refers.hidden.is_none())
    }

    fn table(&self) -> &'a Table {
        &self.postgres.0.catalog.tables[self.table]
    }

    async fn run(&self, sql: &str) -> Result<(), LoadError> {
        self.client.batch_execute(sql).await.map_err(failed)
    }

    fn columns(&self) -> String {
        columns(self.table().columns.iter().map(|column| column.name.as_str()))
    }

    async fn make(&self) -> Result<(), LoadError> {
        self.run(&format!(
            "CREATE TEMP TABLE \"{}\" ON COMMIT DROP AS SELECT {}, 0::bigint AS \"{LINE}\", 0::bigint AS \"{CHANGES}\" FROM \"{}\" WITH NO DATA",
            self.name,
            self.columns(),
            self.table().name
        ))
        .await
    }

    /// Makes rows findable by a key, so that a look-up does not read all of them.
    async fn index(&mut self, key: &Arc<[usize]>) -> Result<(), LoadError> {
        if !self.indexed.contains(key) {
            let names = columns(key.iter().map(|column| self.table().columns[*column].name.as_str()));
            self.run(&format!("CREATE INDEX ON \"{}\" ({names})", self.name)).await?;
            self.indexed.push(key.clone());
        }
        Ok(())
    }

    /// The stored rows with these values of a unique key, locked.
    async fn stored(&self, key: &[usize], values: &[Vec<Value>]) -> Result<Vec<Option<Row>>, LoadError> {
        let mut sql = Sql::new(Dialect::Postgres, &self.postgres.0.catalog);
        sql.all_columns(self.table);
        let (table, name) = (self.table(), &self.table().name);
        let (keys, same) = (keys(table, key), same(table, "t0", key));
        sql.push(&format!(", k.n FROM {keys} JOIN \"{name}\" t0 ON {same} ORDER BY t0.\"id\" FOR NO KEY UPDATE OF t0"));
        let lists = lists_of(table, key, &values.iter().collect::<Vec<_>>());
        let lists: Vec<&(dyn ToSql + Sync)> = lists.iter().map(|list| &**list as &(dyn ToSql + Sync)).collect();
        let mut found = vec![None; values.len()];
        for row in self.client.query(&sql.text, &lists).await.map_err(failed)? {
            let mut row = row_values(&row);
            let at = row.pop().and_then(|number| number.as_int()).and_then(|number| usize::try_from(number - 1).ok()).unwrap_or_default();
            found[at] = Some(row);
        }
        Ok(found)
    }

    async fn copy(&self, rows: &[LoadRow]) -> Result<(), LoadError> {
        let types: Vec<Type> = self.table().columns.iter().map(|column| binary_type(column.storage)).chain([Type::INT8, Type::INT8]).collect();
        let sink = self.client.copy_in(&format!("COPY \"{}\" FROM STDIN (FORMAT binary)", self.name)).await.map_err(failed)?;
        let mut writer = pin!(BinaryCopyInWriter::new(sink, &types));
        for row in rows {
            let (line, changes) = (Value::Int(i64::try_from(row.line).unwrap_or(i64::MAX)), Value::Int(row.changes.into()));
            let own = &row.row[..self.table().columns.len()];
            let cells: Vec<Bound<'_>> = own.iter().chain([&line, &changes]).map(Bound).collect();
            let cells: Vec<&(dyn ToSql + Sync)> = cells.iter().map(|cell| cell as &(dyn ToSql + Sync)).collect();
            writer.as_mut().write(&cells).await.map_err(failed)?;
        }
        writer.finish().await.map_err(failed)?;
        Ok(())
    }

    /// Rows that share a key with a stored row, or with an earlier row.
    async fn duplicates(&self) -> Result<Vec<Unfit>, LoadError> {
        let mut found = Vec::new();
        for key in unique_keys(&self.postgres.0.catalog, self.table) {
            let name = |column: &usize| format!("\"{}\"", self.table().columns[*column].name);
            let same: Vec<String> = key.iter().map(|column| format!("o.{0} = s.{0}", name(column))).collect();
            let same = same.join(" AND ");
            let names: Vec<String> = key.iter().map(|column| format!("s.{}", name(column))).collect();
            let filled: Vec<String> = names.iter().map(|name| format!("{name} IS NOT NULL")).collect();
            let stage = &self.name;
            let sql = format!(
                "SELECT \"{LINE}\" FROM (SELECT s.\"{LINE}\" FROM \"{stage}\" s WHERE EXISTS (SELECT 1 FROM \"{0}\" o WHERE {same} \
                 AND (s.\"{CHANGES}\" = 0 OR o.\"id\" <> s.\"id\")) \
                 UNION SELECT n.\"{LINE}\" FROM (SELECT s.\"{LINE}\", ROW_NUMBER() OVER (PARTITION BY {1} ORDER BY s.\"{LINE}\") AS n \
                 FROM \"{stage}\" s WHERE {2}) n WHERE n.n > 1) x ORDER BY 1 LIMIT {MAX_UNFIT}",
                self.table().name,
                names.join(", "),
                filled.join(" AND "),
            );
            for row in self.client.query(&sql, &[]).await.map_err(failed)? {
                let column = key.last().copied().unwrap_or_default();
                found.push(Unfit { at: self.at, line: line(&row), column, why: Misfit::NotUnique });
            }
        }
        Ok(found)
    }

    async fn dangling(&self) -> Result<Vec<Unfit>, LoadError> {
        let mut found = Vec::new();
        for Refers { column, table: target, at, hidden } in &self.references {
            let name = &self.table().columns[*column].name;
            let (id, of) = match hidden {
                Some(_) => ("j.value".to_owned(), format!(", {}", ids_of_list(name))),
                None => (format!("s.\"{name}\""), String::new()),
            };
            let own = at.map_or_else(String::new, |at| format!(" AND NOT EXISTS (SELECT 1 FROM \"{}\" o WHERE o.\"id\" = {id})", stage_name(at)));
            let stage = &self.name;
            let sql = format!(
                "SELECT s.\"{LINE}\", {id} FROM \"{stage}\" s{of} WHERE {id} IS NOT NULL \
                 AND NOT EXISTS (SELECT 1 FROM \"{target}\" t WHERE t.\"id\" = {id}){own} ORDER BY 1 LIMIT {MAX_UNFIT}"
            );
            for row in self.client.query(&sql, &[]).await.map_err(failed)? {
                found.push(Unfit { at: self.at, line: line(&row), column: *column, why: Misfit::Dangling(row.get::<_, &str>(1).into()) });
            }
        }
        Ok(found)
    }

    /// Copies all rows by one statement, and those that change stored rows by another: the database checks references at the end of each.
    async fn publish(&self) -> Result<Taken, LoadError> {
        let name = |column: &haechi_model::Column| format!("\"{}\"", column.name);
        let columns = &self.table().columns;
        let chosen = columns.iter().enumerate().map(|(at, column)| if self.is_later(at) { "NULL".to_owned() } else { name(column) });
        let sql = format!(
            "INSERT INTO \"{}\" ({}) SELECT {} FROM \"{}\" WHERE \"{CHANGES}\" = 0 ORDER BY \"{LINE}\"",
            self.table().name,
            self.columns(),
            chosen.collect::<Vec<_>>().join(", "),
            self.name
        );
        let new = self.client.execute(&sql, &[]).await.map_err(failed)?;
        let kept = columns.iter().enumerate().skip(1).filter(|(at, _)| !self.is_later(*at)).map(|(_, column)| name(column));
        let sql = format!(
            "UPDATE \"{}\" t SET {} FROM \"{}\" s WHERE t.\"id\" = s.\"id\" AND s.\"{CHANGES}\" = 1",
            self.table().name,
            kept.map(|name| format!("{name} = s.{name}")).collect::<Vec<_>>().join(", "),
            self.name
        );
        let changed = self.client.execute(&sql, &[]).await.map_err(failed)?;
        let count = |rows: u64| usize::try_from(rows).unwrap_or(usize::MAX);
        Ok(Taken { new: count(new), changed: count(changed) })
    }

    /// Sets references to rows of tables that were copied later, and those of lists.
    async fn refer(&self) -> Result<(), LoadError> {
        for refers in &self.references {
            let Some(hidden) = refers.hidden else { continue };
            let (hidden, ids) = (&self.postgres.0.catalog.tables[hidden].name, ids_of_list(&self.table().columns[refers.column].name));
            self.run(&format!("DELETE FROM \"{hidden}\" h USING \"{0}\" s WHERE h.\"row\" = s.\"id\" AND s.\"{CHANGES}\" = 1", self.name)).await?;
            self.run(&format!("INSERT INTO \"{hidden}\" SELECT s.\"id\", j.value FROM \"{}\" s, {ids}", self.name)).await?;
        }
        let later = self.references.iter().map(|refers| refers.column).filter(|column| self.is_later(*column));
        let names: Vec<String> = later.map(|column| format!("\"{}\"", self.table().columns[column].name)).collect();
        if names.is_empty() {
            return Ok(());
        }
        let set: Vec<String> = names.iter().map(|name| format!("{name} = s.{name}")).collect();
        let changes = format!("s.\"{CHANGES}\" = 1");
        let filled: Vec<String> = names.iter().map(|name| format!("s.{name} IS NOT NULL")).chain([changes]).collect();
        self.run(&format!(
            "UPDATE \"{}\" t SET {} FROM \"{}\" s WHERE t.\"id\" = s.\"id\" AND ({})",
            self.table().name,
            set.join(", "),
            self.name,
            filled.join(" OR ")
        ))
        .await
    }
}

/// The ids of a list as rows, `j.value`, beside their row `s`.
fn ids_of_list(column: &str) -> String {
    format!("LATERAL (SELECT v COLLATE \"C\" AS value FROM jsonb_array_elements_text(s.\"{column}\"::jsonb) v) j")
}

fn stage_name(at: usize) -> String {
    format!("_stage{at}")
}

fn line(row: &tokio_postgres::Row) -> u64 {
    u64::try_from(row.get::<_, i64>(0)).unwrap_or_default()
}
