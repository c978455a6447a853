//! The statements of a change's steps, and reads of whole rows.

use super::{Dialect, Sql};
use crate::cascade::Question;
use haechi_model::{Operand, Predicate, Put, Value};
use std::fmt::Write;

impl Sql<'_> {
    /// `SELECT all columns … WHERE id = … AND filter`.
    pub(crate) fn lock(&mut self, table: usize, id: &str, filter: &Predicate, version: Option<i64>) {
        self.all_columns(table);
        self.locked(table, id, filter, version);
    }

    /// Locks a row for which a condition holds, and reads no columns.
    pub(crate) fn lock_first(&mut self, table: usize, id: &str, filter: &Predicate) {
        self.push("SELECT 1");
        self.locked(table, id, filter, None);
    }

    fn locked(&mut self, table: usize, id: &str, filter: &Predicate, version: Option<i64>) {
        self.probed = true;
        self.push(" FROM ");
        self.name(&self.table(table).name);
        self.push(" t0 WHERE t0.\"id\" = ");
        self.bind(&Value::text(id));
        if let Some(version) = version {
            self.push(" AND t0.\"version\" = ");
            self.bind(&Value::Int(version));
        }
        if *filter != Predicate::True {
            self.push(" AND ");
            self.predicate(filter, table, 0);
        }
        if self.dialect == Dialect::Postgres {
            self.push(" FOR UPDATE OF t0");
        }
    }

    /// `SELECT all columns`.
    pub(crate) fn all_columns(&mut self, table: usize) {
        self.push("SELECT ");
        for column in 0..self.table(table).columns.len() {
            if column > 0 {
                self.push(", ");
            }
            self.column(table, 0, column);
        }
        let text = &mut self.text;
        self.catalog.with_newer(table, |name| {
            let _ = write!(text, ", t0.\"{name}\"");
        });
    }

    pub(crate) fn insert(&mut self, table: usize, row: &[Value]) {
        self.insert_head(table);
        self.push(" VALUES (");
        self.insert_values(row);
        self.push(")");
    }

    /// Adds a row if the following conditions hold.
    pub(crate) fn insert_where(&mut self, table: usize, row: &[Value]) {
        self.insert_head(table);
        self.push(" SELECT ");
        self.insert_values(row);
    }

    fn insert_head(&mut self, table: usize) {
        self.push("INSERT INTO ");
        self.name(&self.table(table).name);
        self.push(" (");
        for (at, column) in self.table(table).columns.iter().enumerate() {
            if at > 0 {
                self.push(", ");
            }
            self.name(&column.name);
        }
        self.push(")");
    }

    fn insert_values(&mut self, row: &[Value]) {
        for (at, value) in row.iter().enumerate() {
            if at > 0 {
                self.push(", ");
            }
            self.bind(value);
        }
    }

    /// Sets columns of one row and raises its version; returns all columns.
    pub(crate) fn update(&mut self, table: usize, id: &str, set: &[(usize, Value)]) {
        self.push("UPDATE ");
        self.name(&self.table(table).name);
        self.push(" SET ");
        let versioned = self.table(table).column("version").is_some();
        if versioned {
            self.push("\"version\" = \"version\" + 1");
        }
        for (at, (column, value)) in set.iter().enumerate() {
            if versioned || at > 0 {
                self.push(", ");
            }
            let name = &self.table(table).columns[*column].name;
            self.name(name);
            self.push(" = ");
            self.bind(value);
        }
        self.push(" WHERE \"id\" = ");
        self.bind(&Value::text(id));
        self.push(" RETURNING ");
        for (at, column) in self.table(table).columns.iter().enumerate() {
            if at > 0 {
                self.push(", ");
            }
            self.name(&column.name);
        }
        let text = &mut self.text;
        self.catalog.with_newer(table, |name| {
            let _ = write!(text, ", \"{name}\"");
        });
    }

    /// Empties a column of one row, and changes nothing else. Of a list, only the row of the hidden table goes.
    pub(crate) fn let_go(&mut self, table: usize, id: &str, column: usize, listed: Option<&(usize, Box<str>)>) {
        if let Some((hidden, target)) = listed {
            return self.list_lets_go(*hidden, id, target);
        }
        self.push("UPDATE ");
        self.name(&self.table(table).name);
        self.push(" SET ");
        let name = &self.table(table).columns[column].name;
        self.name(name);
        self.push(" = NULL WHERE \"id\" = ");
        self.bind(&Value::text(id));
    }

    pub(crate) fn delete(&mut self, table: usize, id: &str) {
        self.push("DELETE FROM ");
        self.name(&self.table(table).name);
        self.push(" WHERE \"id\" = ");
        self.bind(&Value::text(id));
    }

    /// Deletes the rows for which a condition holds; returns their ids.
    pub(crate) fn clear(&mut self, table: usize, filter: &Predicate) {
        self.push("DELETE FROM ");
        self.name(&self.table(table).name);
        self.push(" AS t0 WHERE ");
        self.predicate(filter, table, 0);
        self.push(" RETURNING \"id\"");
    }

    /// Changes the first rows for which a condition holds; returns all columns.
    pub(crate) fn pick(
        &mut self,
        (table, filter, over): (usize, &Predicate, Option<usize>),
        (order, limit): (&[usize], u32),
        set: &[(usize, Put)],
        now_ms: i64,
    ) {
        let postgres = self.dialect == Dialect::Postgres;
        // Materialized, or the planner may look for the rows again for each row that it changes.
        if postgres {
            self.push("WITH picked AS MATERIALIZED (");
            self.first_rows(table, filter, over, (order, limit), now_ms);
            self.push(" FOR UPDATE OF t0 SKIP LOCKED) ");
        }
        self.push("UPDATE ");
        self.name(&self.table(table).name);
        self.push(" AS t0 SET ");
        for (at, (column, put)) in set.iter().enumerate() {
            self.push(if at > 0 { ", " } else { "" });
            self.name(&self.table(table).columns[*column].name);
            self.push(" = ");
            match put {
                Put::Value(value) => self.bind(value),
                Put::Of(other) => self.column(table, 0, *other),
                Put::More(more) => {
                    self.column(table, 0, *column);
                    self.push(" + ");
                    self.bind(&Value::Int(*more));
                }
                Put::Later(ms) => {
                    self.now(now_ms);
                    self.push(" + ");
                    self.bind(&Value::Int(*ms));
                }
            }
        }
        if postgres {
            self.push(" FROM picked WHERE t0.\"id\" = picked.\"id\"");
        } else {
            self.push(" WHERE t0.\"id\" IN (");
            self.first_rows(table, filter, over, (order, limit), now_ms);
            self.push(")");
        }
        self.push(" RETURNING ");
        for at in 0..self.table(table).columns.len() {
            self.push(if at > 0 { ", " } else { "" });
            // SQLite knows no other name of the table here.
            if postgres {
                self.column(table, 0, at);
            } else {
                self.name(&self.table(table).columns[at].name);
            }
        }
    }

    fn first_rows(&mut self, table: usize, filter: &Predicate, over: Option<usize>, (order, limit): (&[usize], u32), now_ms: i64) {
        self.push("SELECT t0.\"id\" FROM ");
        self.name(&self.table(table).name);
        self.push(" AS t0 WHERE ");
        self.predicate(filter, table, 0);
        if let Some(column) = over {
            self.push(" AND ");
            self.column(table, 0, column);
            self.push(" <= ");
            self.now(now_ms);
        }
        self.by_columns(table, order);
        let _ = write!(self.text, " LIMIT {limit}");
    }

    fn by_columns(&mut self, table: usize, order: &[usize]) {
        self.push(" ORDER BY ");
        for column in order {
            self.column(table, 0, *column);
            self.push(", ");
        }
        self.push("t0.\"id\"");
    }

    /// The time of the database's clock, which all nodes share. SQLite has one node, so that is the node's own.
    fn now(&mut self, now_ms: i64) {
        match self.dialect {
            Dialect::Postgres => self.push("(extract(epoch FROM clock_timestamp()) * 1000)::bigint"),
            Dialect::Sqlite => self.bind(&Value::Int(now_ms)),
        }
    }

    /// Raises a bucket that is not full; makes a missing one.
    pub(crate) fn take(&mut self, table: usize, id: &str, now_ms: i64, cost_ms: i64, depth_ms: i64) {
        self.push("INSERT INTO ");
        self.name(&self.table(table).name);
        self.push(" AS t0 (\"id\", \"until\") VALUES (");
        self.bind(&Value::text(id));
        self.push(", ");
        self.bind(&Value::Int(now_ms + cost_ms));
        self.push(") ON CONFLICT (\"id\") DO UPDATE SET \"until\" = ");
        self.level(now_ms, depth_ms);
        self.push(" + ");
        self.bind(&Value::Int(cost_ms));
        self.push(" WHERE ");
        self.level(now_ms, depth_ms);
        self.push(" <= ");
        self.bind(&Value::Int(now_ms + depth_ms - cost_ms));
        self.push(" RETURNING \"id\"");
    }

    /// The time from which a bucket is empty, at least now. A time beyond its depth and the clocks' difference comes from a wrong clock.
    fn level(&mut self, now_ms: i64, depth_ms: i64) {
        const SKEW_MS: i64 = 3_600_000;
        self.push("CASE WHEN t0.\"until\" > ");
        self.bind(&Value::Int(now_ms));
        self.push(" AND t0.\"until\" <= ");
        self.bind(&Value::Int(now_ms + depth_ms + SKEW_MS));
        self.push(" THEN t0.\"until\" ELSE ");
        self.bind(&Value::Int(now_ms));
        self.push(" END");
    }

    /// Rows for which a condition holds, in the order of these columns and of their ids.
    pub(crate) fn find(&mut self, table: usize, filter: &Predicate, order: &[usize], limit: u32) {
        self.all_columns(table);
        self.push(" FROM ");
        self.name(&self.table(table).name);
        self.push(" t0 WHERE ");
        self.predicate(filter, table, 0);
        self.by_columns(table, order);
        let _ = write!(self.text, " LIMIT {limit}");
    }

    /// The row with these values of a unique key.
    pub(crate) fn all_with_key(&mut self, table: usize, key: &[usize], values: &[Value]) {
        self.all_columns(table);
        self.push(" FROM ");
        self.name(&self.table(table).name);
        self.push(" t0 WHERE ");
        for (at, (column, value)) in key.iter().zip(values).enumerate() {
            self.push(if at > 0 { " AND " } else { "" });
            self.column(table, 0, *column);
            self.push(" = ");
            self.bind(value);
        }
    }

    /// One row and the row that one of its columns names.
    pub(crate) fn row_and_owner(&mut self, table: usize, id: &str, column: usize, owner: usize) {
        self.all_columns(table);
        for at in 0..self.table(owner).columns.len() {
            self.push(", ");
            self.column(owner, 1, at);
        }
        self.push(" FROM ");
        self.name(&self.table(table).name);
        self.push(" t0 LEFT JOIN ");
        self.name(&self.table(owner).name);
        self.push(" t1 ON t1.\"id\" = ");
        self.column(table, 0, column);
        self.push(" WHERE t0.\"id\" = ");
        self.bind(&Value::text(id));
    }

    pub(crate) fn check(&mut self, table: usize, id: &str, filter: &Predicate) {
        self.probed = true;
        self.push("SELECT 1 FROM ");
        self.name(&self.table(table).name);
        self.push(" t0 WHERE t0.\"id\" = ");
        self.bind(&Value::text(id));
        self.push(" AND ");
        self.predicate(filter, table, 0);
    }

    /// Whether a condition without a row holds.
    pub(crate) fn holds(&mut self, filter: &Predicate) {
        self.probed = true;
        self.push("SELECT 1 WHERE ");
        self.predicate(filter, 0, 0);
    }

    /// Whether a condition holds for fewer than so many rows; no more than that are counted.
    pub(crate) fn fewer(&mut self, table: usize, filter: &Predicate, than: u32) {
        self.probed = true;
        self.push("SELECT 1 WHERE (SELECT COUNT(*) FROM (SELECT 1 FROM ");
        self.name(&self.table(table).name);
        self.push(" t0 WHERE ");
        self.predicate(filter, table, 0);
        let _ = write!(self.text, " LIMIT {than}) AS met) < {than}");
    }

    /// Rows that refer to a row, at most one more than the bound.
    pub(crate) fn children(&mut self, asked: &Question) {
        let table = asked.table;
        self.all_columns(table);
        self.push(" FROM ");
        self.name(&self.table(table).name);
        self.push(" t0 WHERE ");
        match asked.hidden {
            Some(hidden) => {
                self.push("t0.\"id\" IN (");
                self.listing(hidden, &Operand::Constant(Value::Text(asked.parent.clone())), table, 0);
                self.push(")");
            }
            None => {
                self.column(table, 0, asked.column);
                self.push(" = ");
                self.bind(&Value::Text(asked.parent.clone()));
            }
        }
        let _ = write!(self.text, " ORDER BY t0.\"id\" LIMIT {}", asked.limit);
        if self.dialect == Dialect::Postgres {
            self.push(" FOR UPDATE OF t0");
        }
    }
}
