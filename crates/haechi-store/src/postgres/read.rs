//! Reads of rows; `lanes.rs` decides which connection each takes.

use super::{
    Postgres,
    connection::{Connection, Reader, failure, row_values},
    lanes::{Lane, Rows, Work},
    shapes::Shape,
};
use crate::{
    Reads,
    aggregate::Parts,
    page::PageWriter,
    render::{Dialect, Layout, Sql},
};
use futures_util::TryStreamExt;
use haechi_model::{Aggregate, Collection, Failure, Predicate, Row, RowPage, Select, USERS, Value};
use std::collections::HashSet;

/// A page of rows, written as they arrive.
struct Page<'a> {
    sql: &'a Sql<'a>,
    select: &'a Select,
    collection: &'a Collection,
    layout: Layout,
}

impl Work for Page<'_> {
    type Found = RowPage;

    async fn on(&self, connection: &Connection, shape: &Shape) -> Result<RowPage, Failure> {
        let rows = connection.stream(shape, &self.sql.values, self.sql.by_values).await?;
        let mut rows = std::pin::pin!(rows);
        let mut writer = PageWriter::new(self.select, self.select.bytes, self.collection, self.layout.clone());
        while let Some(row) = rows.try_next().await.map_err(|error| failure(&error))? {
            if !writer.row(&Reader(&row)) {
                break;
            }
        }
        Ok(writer.finish())
    }

    fn rows(found: &RowPage) -> Option<usize> {
        Some(found.ids.len())
    }
}

impl Postgres {
    pub(crate) async fn select(&self, select: Select, reads: Reads) -> Result<RowPage, Failure> {
        let mut sql = Sql::new(Dialect::Postgres, &self.0.catalog);
        let layout = sql.select(&select);
        let page = Page { sql: &sql, select: &select, collection: &self.0.catalog.collections[select.collection], layout };
        self.0.lanes.read(Lane::Of(reads, select.collection), &sql.text, &page).await
    }

    /// The statement of a read, and how the server would answer it.
    pub(crate) async fn plan(&self, select: &Select) -> Result<(String, Vec<String>), Failure> {
        let mut sql = Sql::new(Dialect::Postgres, &self.0.catalog);
        sql.select(select);
        let explain = format!("EXPLAIN {}", sql.text);
        let rows = self.0.lanes.read(Lane::Of(Reads::SCAN, select.collection), &explain, &Rows { values: &sql.values, once: true }).await?;
        Ok((sql.text, rows.iter().map(|row| row.get(0)).collect()))
    }

    pub(crate) async fn aggregate(&self, aggregate: &Aggregate, reads: Reads) -> Result<Vec<Vec<Value>>, Failure> {
        let mut sql = Sql::new(Dialect::Postgres, &self.0.catalog);
        sql.aggregate(aggregate);
        let rows = self.rows(Lane::Of(reads.scanning(), aggregate.collection), &sql).await?;
        let parts = Parts::of(aggregate, &self.0.catalog);
        Ok(rows.iter().map(|row| parts.read(&Reader(row))).collect())
    }

    pub(crate) async fn row(&self, table: usize, id: &str) -> Result<Option<Row>, Failure> {
        let sql = || {
            let mut sql = self.all_from(table);
            sql.push("t0.\"id\" = ");
            sql.bind(&Value::text(id));
            sql
        };
        Ok(self.whole_rows(self.lane(table), sql).await?.pop())
    }

    pub(crate) async fn rows_after(&self, table: usize, after: &str, limit: u32) -> Result<Vec<Row>, Failure> {
        let sql = || {
            let mut sql = self.all_from(table);
            sql.push("t0.\"id\" > ");
            sql.bind(&Value::text(after));
            sql.push(" ORDER BY t0.\"id\" LIMIT ");
            sql.bind(&Value::Int(limit.into()));
            sql
        };
        self.whole_rows(Lane::Of(Reads::SCAN, table), sql).await
    }

    pub(crate) async fn find(&self, table: usize, filter: &Predicate, order: &[usize], limit: u32) -> Result<Vec<Row>, Failure> {
        let sql = || {
            let mut sql = Sql::new(Dialect::Postgres, &self.0.catalog);
            sql.find(table, filter, order, limit);
            sql
        };
        self.whole_rows(self.lane(table), sql).await
    }

    /// Whole rows; without columns of a newer model, when those are gone meanwhile.
    async fn whole_rows<'a>(&'a self, lane: Lane, sql: impl Fn() -> Sql<'a>) -> Result<Vec<Row>, Failure> {
        let found = match self.rows(lane.clone(), &sql()).await {
            Err(Failure::Broken) if self.0.catalog.forget_newer() => self.rows(lane, &sql()).await,
            found => found,
        };
        Ok(found?.iter().map(row_values).collect())
    }

    /// The texts of a statement's only column.
    pub(crate) async fn texts(&self, sql: &str, values: &[Value]) -> Result<HashSet<Box<str>>, Failure> {
        let rows = self.0.lanes.read(Lane::State, sql, &Rows { values, once: false }).await?;
        Ok(rows.iter().map(|row| row.get::<_, &str>(0).into()).collect())
    }

    pub(crate) async fn row_and_owner(&self, table: usize, id: &str, column: usize, owner: usize) -> Result<Option<Row>, Failure> {
        let mut sql = Sql::new(Dialect::Postgres, &self.0.catalog);
        sql.row_and_owner(table, id, column, owner);
        Ok(self.rows(self.lane(table), &sql).await?.first().map(row_values))
    }

    /// Runs a statement; plans it again where its best plan depends on its values.
    async fn rows(&self, lane: Lane, sql: &Sql<'_>) -> Result<Vec<tokio_postgres::Row>, Failure> {
        self.0.lanes.read(lane, &sql.text, &Rows { values: &sql.values, once: sql.by_values }).await
    }

    /// Tables in which credentials are looked up use the lane of credentials.
    fn lane(&self, table: usize) -> Lane {
        if table == USERS || table >= self.0.catalog.collections.len() { Lane::Credentials } else { Lane::Of(Reads::SYSTEM, table) }
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
