//! A load on PostgreSQL: into a table of the session, which is checked as a whole and then copied by one statement.
//! So rows of one file may refer to each other in any order.

use super::{
    Postgres,
    connection::{Bound, failure},
    steps::{BEGIN, Runner, Stop},
};
use crate::load::{Load, LoadError, MAX_UNFIT, Misfit, Part, Unfit, columns, references, unique_keys};
use deadpool_postgres::Object;
use haechi_model::{Failure, Outcome, Row, Storage, Value};
use std::pin::pin;
use tokio_postgres::{
    Client,
    binary_copy::BinaryCopyInWriter,
    types::{ToSql, Type},
};

const STAGE: &str = "_stage";
const LINE: &str = "_line";

impl Postgres {
    pub(crate) async fn load(&self, mut load: Load) -> Result<usize, LoadError> {
        let client = self.client().await?;
        match self.fill(&client, &mut load).await {
            Ok((rows, entries)) => match self.0.commit_transaction(client, &load.change, Outcome::default(), &entries).await {
                Ok(_) => {
                    self.0.committed.notify_one();
                    Ok(rows)
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
    async fn fill(&self, client: &Object, load: &mut Load) -> Result<(usize, Vec<Box<str>>), LoadError> {
        let stage = Stage { postgres: self, client, table: load.table };
        stage.run(BEGIN).await?;
        stage.make().await?;
        let runner = Runner { inner: &self.0, client, change: &load.change };
        let mut last = Vec::new();
        loop {
            match load.parts.recv().await {
                None => return Err(LoadError::Stopped),
                Some(Part::End) => break,
                Some(Part::Rows(rows, entry)) => {
                    stage.copy(&rows).await?;
                    last = runner.log(&[(*entry, None, None)]).await.map_err(stopped)?;
                }
            }
        }
        stage.run(&format!("ANALYZE \"{STAGE}\"")).await?;
        let mut unfit = stage.duplicates().await?;
        unfit.extend(stage.dangling().await?);
        if unfit.is_empty() { Ok((stage.publish().await?, last)) } else { Err(LoadError::Unfit(unfit)) }
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

struct Stage<'a> {
    postgres: &'a Postgres,
    client: &'a Client,
    table: usize,
}

impl<'a> Stage<'a> {
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
        let name = &self.table().name;
        self.run(&format!(
            "CREATE TEMP TABLE \"{STAGE}\" ON COMMIT DROP AS SELECT {}, 0::bigint AS \"{LINE}\" FROM \"{name}\" WITH NO DATA",
            self.columns()
        ))
        .await
    }

    async fn copy(&self, rows: &[(u64, Row)]) -> Result<(), LoadError> {
        let ty = |storage| match storage {
            Storage::Int => Type::INT8,
            Storage::Real => Type::FLOAT8,
            Storage::Text => Type::TEXT,
            Storage::Bytes => Type::BYTEA,
        };
        let types: Vec<Type> = self.table().columns.iter().map(|column| ty(column.storage)).chain([Type::INT8]).collect();
        let sink = self.client.copy_in(&format!("COPY \"{STAGE}\" FROM STDIN (FORMAT binary)")).await.map_err(failed)?;
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

    /// Rows that share a key with a stored row, or with one further up.
    async fn duplicates(&self) -> Result<Vec<Unfit>, LoadError> {
        let mut found = Vec::new();
        for key in unique_keys(&self.postgres.0.catalog, self.table) {
            let name = |column: &usize| format!("\"{}\"", self.table().columns[*column].name);
            let same: Vec<String> = key.iter().map(|column| format!("o.{0} = s.{0}", name(column))).collect();
            let same = same.join(" AND ");
            let names: Vec<String> = key.iter().map(|column| format!("s.{}", name(column))).collect();
            let filled: Vec<String> = names.iter().map(|name| format!("{name} IS NOT NULL")).collect();
            let sql = format!(
                "SELECT \"{LINE}\" FROM (SELECT s.\"{LINE}\" FROM \"{STAGE}\" s WHERE EXISTS (SELECT 1 FROM \"{0}\" o WHERE {same}) \
                 UNION SELECT n.\"{LINE}\" FROM (SELECT s.\"{LINE}\", ROW_NUMBER() OVER (PARTITION BY {1} ORDER BY s.\"{LINE}\") AS n \
                 FROM \"{STAGE}\" s WHERE {2}) n WHERE n.n > 1) x ORDER BY 1 LIMIT {MAX_UNFIT}",
                self.table().name,
                names.join(", "),
                filled.join(" AND "),
            );
            for row in self.client.query(&sql, &[]).await.map_err(failed)? {
                let column = key.last().copied().unwrap_or_default();
                found.push(Unfit { line: line(&row), column, why: Misfit::NotUnique });
            }
        }
        Ok(found)
    }

    async fn dangling(&self) -> Result<Vec<Unfit>, LoadError> {
        let mut found = Vec::new();
        for (column, target) in references(&self.postgres.0.catalog, self.table) {
            let name = &self.table().columns[column].name;
            let own = if target == self.table().name {
                format!(" AND NOT EXISTS (SELECT 1 FROM \"{STAGE}\" o WHERE o.\"id\" = s.\"{name}\")")
            } else {
                String::new()
            };
            let sql = format!(
                "SELECT s.\"{LINE}\", s.\"{name}\" FROM \"{STAGE}\" s WHERE s.\"{name}\" IS NOT NULL \
                 AND NOT EXISTS (SELECT 1 FROM \"{target}\" t WHERE t.\"id\" = s.\"{name}\"){own} ORDER BY 1 LIMIT {MAX_UNFIT}"
            );
            for row in self.client.query(&sql, &[]).await.map_err(failed)? {
                found.push(Unfit { line: line(&row), column, why: Misfit::Dangling(row.get::<_, &str>(1).into()) });
            }
        }
        Ok(found)
    }

    /// All rows by one statement: the database looks at references when it is done.
    async fn publish(&self) -> Result<usize, LoadError> {
        let columns = self.columns();
        let sql = format!("INSERT INTO \"{}\" ({columns}) SELECT {columns} FROM \"{STAGE}\" ORDER BY \"{LINE}\"", self.table().name);
        let rows = self.client.execute(&sql, &[]).await.map_err(failed)?;
        Ok(usize::try_from(rows).unwrap_or(usize::MAX))
    }
}

fn line(row: &tokio_postgres::Row) -> u64 {
    u64::try_from(row.get::<_, i64>(0)).unwrap_or_default()
}
