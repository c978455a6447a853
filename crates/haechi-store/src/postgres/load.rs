//! A load on PostgreSQL: into tables of the session, which are checked as a whole and then copied, each by one statement.
//! So rows may refer to each other in any order. References to a table that is copied later are set when all rows are there.

use super::{
    Postgres,
    connection::{Bound, failure},
    steps::{BEGIN, Runner, Stop},
};
use crate::{
    load::{Load, LoadError, MAX_UNFIT, Misfit, Part, Refers, Unfit, columns, references, unique_keys},
    numbers,
    render::{Dialect, Sql},
};
use deadpool_postgres::Object;
use haechi_model::{Failure, Outcome, Row, Storage, Value};
use std::pin::pin;
use tokio_postgres::{
    Client,
    binary_copy::BinaryCopyInWriter,
    types::{ToSql, Type},
};

const LINE: &str = "_line";

impl Postgres {
    pub(crate) async fn load(&self, mut load: Load) -> Result<Vec<usize>, LoadError> {
        let client = self.client().await?;
        match self.fill(&client, &mut load).await {
            Ok((counts, entries)) => match self.0.commit_transaction(client, Outcome::default(), &entries).await {
                Ok(_) => {
                    self.0.has_committed();
                    Ok(counts)
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
    async fn fill(&self, client: &Object, load: &mut Load) -> Result<(Vec<usize>, Vec<Box<str>>), LoadError> {
        let stages: Vec<Stage<'_>> = (0..load.tables.len()).map(|at| Stage::of(self, client, &load.tables, at)).collect();
        client.batch_execute(BEGIN).await.map_err(failed)?;
        for stage in &stages {
            stage.make().await?;
        }
        let runner = Runner { inner: &self.0, client, change: &load.change };
        let mut last = Vec::new();
        loop {
            match load.parts.recv().await {
                None => return Err(LoadError::Stopped),
                Some(Part::End) => break,
                Some(Part::Rows(at, rows, entry)) => {
                    stages[at].copy(&rows).await?;
                    last = runner.log(&[(*entry, None, None)]).await.map_err(stopped)?;
                }
            }
        }
        let mut unfit = Vec::new();
        for stage in &stages {
            stage.run(&format!("ANALYZE \"{}\"", stage.name)).await?;
            unfit.extend(stage.duplicates().await?);
            unfit.extend(stage.dangling().await?);
        }
        if !unfit.is_empty() {
            return Err(LoadError::Unfit(unfit));
        }
        let mut counts = Vec::with_capacity(stages.len());
        for stage in &stages {
            counts.push(stage.publish().await?);
        }
        for stage in &stages {
            stage.refer().await?;
        }
        for table in &load.tables {
            let mut sql = Sql::new(Dialect::Postgres, &self.0.catalog);
            numbers::forget(&mut sql, *table);
            runner.query(&sql, usize::MAX).await.map_err(stopped)?;
        }
        Ok((counts, last))
    }
}

fn stopped(stop: Stop) -> LoadError {
    match stop {
        Stop::Again => LoadError::Failed(Failure::Busy),
        Stop::Failed(failure) => LoadError::Failed(failure),
    }
}

fn failed(error: tokio_postgres::Error) -> LoadError {
    LoadError::Failed(failure(&error))
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
}

impl<'a> Stage<'a> {
    fn of(postgres: &'a Postgres, client: &'a Client, tables: &[usize], at: usize) -> Self {
        let references = references(&postgres.0.catalog, tables, tables[at]);
        Self { postgres, client, at, table: tables[at], name: stage_name(at), references }
    }

    /// Whether a column refers to a table that is copied after this one.
    fn is_later(&self, column: usize) -> bool {
        self.references.iter().any(|refers| refers.column == column && refers.at > Some(self.at) && refers.hidden.is_none())
    }

    fn table(&self) -> &'a haechi_model::Table {
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
            "CREATE TEMP TABLE \"{}\" ON COMMIT DROP AS SELECT {}, 0::bigint AS \"{LINE}\" FROM \"{}\" WITH NO DATA",
            self.name,
            self.columns(),
            self.table().name
        ))
        .await
    }

    async fn copy(&self, rows: &[(u64, Row)]) -> Result<(), LoadError> {
        let types: Vec<Type> = self.table().columns.iter().map(|column| binary_type(column.storage)).chain([Type::INT8]).collect();
        let sink = self.client.copy_in(&format!("COPY \"{}\" FROM STDIN (FORMAT binary)", self.name)).await.map_err(failed)?;
        let mut writer = pin!(BinaryCopyInWriter::new(sink, &types));
        for (line, row) in rows {
            let line = Value::Int(i64::try_from(*line).unwrap_or(i64::MAX));
            let cells: Vec<Bound<'_>> = row.iter().chain([&line]).map(Bound).collect();
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
                "SELECT \"{LINE}\" FROM (SELECT s.\"{LINE}\" FROM \"{stage}\" s WHERE EXISTS (SELECT 1 FROM \"{0}\" o WHERE {same}) \
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

    /// Copies all rows by one statement: the database checks references at its end.
    async fn publish(&self) -> Result<usize, LoadError> {
        let chosen = self.table().columns.iter().enumerate().map(|(at, column)| match self.is_later(at) {
            true => "NULL".to_owned(),
            false => format!("\"{}\"", column.name),
        });
        let sql = format!(
            "INSERT INTO \"{}\" ({}) SELECT {} FROM \"{}\" ORDER BY \"{LINE}\"",
            self.table().name,
            self.columns(),
            chosen.collect::<Vec<_>>().join(", "),
            self.name
        );
        let rows = self.client.execute(&sql, &[]).await.map_err(failed)?;
        Ok(usize::try_from(rows).unwrap_or(usize::MAX))
    }

    /// Sets references to rows of tables that were copied later, and those of lists.
    async fn refer(&self) -> Result<(), LoadError> {
        for refers in &self.references {
            let Some(hidden) = refers.hidden else { continue };
            let (hidden, ids) = (&self.postgres.0.catalog.tables[hidden].name, ids_of_list(&self.table().columns[refers.column].name));
            self.run(&format!("INSERT INTO \"{hidden}\" SELECT s.\"id\", j.value FROM \"{}\" s, {ids}", self.name)).await?;
        }
        let later = self.references.iter().map(|refers| refers.column).filter(|column| self.is_later(*column));
        let names: Vec<String> = later.map(|column| format!("\"{}\"", self.table().columns[column].name)).collect();
        if names.is_empty() {
            return Ok(());
        }
        let set: Vec<String> = names.iter().map(|name| format!("{name} = s.{name}")).collect();
        let filled: Vec<String> = names.iter().map(|name| format!("s.{name} IS NOT NULL")).collect();
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
