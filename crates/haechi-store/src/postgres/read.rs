//! Reads: pipelined on the shared connections.

use super::{
    Inner, Postgres,
    connection::{Connection, Reader, failure, row_values},
};
use crate::{
    aggregate::Parts,
    page::PageWriter,
    render::{Dialect, Sql},
};
use futures_util::TryStreamExt;
use haechi_model::{Aggregate, Failure, Predicate, Row, RowPage, Select, Value};
use std::sync::{Arc, atomic::Ordering};

impl Inner {
    pub(super) async fn read(&self) -> Result<Arc<Connection>, Failure> {
        let at = self.next_read.fetch_add(1, Ordering::Relaxed) % self.reads.len();
        self.reads[at].get().await
    }

    /// Runs a statement; planned anew where its best plan depends on its values.
    async fn run_read(&self, sql: &Sql<'_>) -> Result<Vec<tokio_postgres::Row>, Failure> {
        let connection = self.read().await?;
        if sql.by_values { connection.query_once(&sql.text, &sql.values).await } else { connection.query(&sql.text, &sql.values).await }
    }
}

impl Postgres {
    pub(crate) async fn select(&self, select: Select) -> Result<RowPage, Failure> {
        let mut sql = Sql::new(Dialect::Postgres, &self.0.catalog);
        let layout = sql.select(&select);
        let rows = self.0.read().await?.stream(&sql.text, &sql.values, sql.by_values).await?;
        let mut rows = std::pin::pin!(rows);
        let mut writer = PageWriter::new(&select, select.bytes, &self.0.catalog.collections[select.collection], layout);
        while let Some(row) = rows.try_next().await.map_err(|error| failure(&error))? {
            if !writer.row(&Reader(&row)) {
                break;
            }
        }
        Ok(writer.finish())
    }

    pub(crate) async fn aggregate(&self, aggregate: &Aggregate) -> Result<Vec<Value>, Failure> {
        let mut sql = Sql::new(Dialect::Postgres, &self.0.catalog);
        sql.aggregate(aggregate);
        let rows = self.0.run_read(&sql).await?;
        rows.first().map(|row| Parts::of(aggregate, &self.0.catalog).read(&Reader(row))).ok_or(Failure::Broken)
    }

    pub(crate) async fn row(&self, table: usize, id: &str) -> Result<Option<Row>, Failure> {
        let mut sql = self.all_from(table);
        sql.push("t0.\"id\" = ");
        sql.bind(&Value::text(id));
        let rows = self.0.read().await?.query(&sql.text, &sql.values).await?;
        Ok(rows.first().map(row_values))
    }

    pub(crate) async fn rows_after(&self, table: usize, after: &str, limit: u32) -> Result<Vec<Row>, Failure> {
        let mut sql = self.all_from(table);
        sql.push("t0.\"id\" > ");
        sql.bind(&Value::text(after));
        sql.push(" ORDER BY t0.\"id\" LIMIT ");
        sql.bind(&Value::Int(limit.into()));
        let rows = self.0.read().await?.query(&sql.text, &sql.values).await?;
        Ok(rows.iter().map(row_values).collect())
    }

    pub(crate) async fn find(&self, table: usize, filter: &Predicate, limit: u32) -> Result<Vec<Row>, Failure> {
        let mut sql = Sql::new(Dialect::Postgres, &self.0.catalog);
        sql.find(table, filter, limit);
        let rows = self.0.read().await?.query(&sql.text, &sql.values).await?;
        Ok(rows.iter().map(row_values).collect())
    }

    pub(crate) async fn row_and_owner(&self, table: usize, id: &str, column: usize, owner: usize) -> Result<Option<Row>, Failure> {
        let mut sql = Sql::new(Dialect::Postgres, &self.0.catalog);
        sql.row_and_owner(table, id, column, owner);
        let rows = self.0.read().await?.query(&sql.text, &sql.values).await?;
        Ok(rows.first().map(row_values))
    }

    fn all_from(&self, table: usize) -> Sql<'_> {
        let mut sql = Sql::new(Dialect::Postgres, &self.0.catalog);
        sql.all_columns(table);
        sql.push(" FROM ");
        sql.name(&self.0.catalog.tables[table].name);
        sql.push(" t0 WHERE ");
        sql
    }
}
