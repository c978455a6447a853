//! The hidden tables of lists of references: what is written beside a row, and the rows that they find.

use super::{Dialect, Sql};
use crate::{catalog::Catalog, referrers::ListOf};
use haechi_model::{Operand, Predicate, Row, Value};
use std::fmt::Write;

/// What follows a step's statement: the references of the lists that it wrote.
pub(crate) fn added<'a>(dialect: Dialect, catalog: &'a Catalog, table: usize, row: &Row) -> Vec<Sql<'a>> {
    let id = row[0].as_text().unwrap_or_default();
    let lists = catalog.lists(table).iter().filter(|list| !row[list.column].is_null());
    lists
        .map(|list| {
            let mut sql = Sql::new(dialect, catalog);
            sql.list_added(list, id, &row[list.column], false);
            sql
        })
        .collect()
}

/// What follows an update's statement: the references that lists lost, and those that they gained.
pub(crate) fn changed<'a>(dialect: Dialect, catalog: &'a Catalog, table: usize, id: &str, set: &[(usize, Value)]) -> Vec<Sql<'a>> {
    let mut statements = Vec::new();
    for list in catalog.lists(table) {
        let Some((_, value)) = set.iter().find(|(column, _)| *column == list.column) else { continue };
        let mut lost = Sql::new(dialect, catalog);
        lost.list_lost(list, id, value);
        statements.push(lost);
        if !value.is_null() {
            let mut gained = Sql::new(dialect, catalog);
            gained.list_added(list, id, value, true);
            statements.push(gained);
        }
    }
    statements
}

/// What follows the statement that replaces a whole row: the references that its lists lost, and those that they gained.
pub(crate) fn replaced<'a>(dialect: Dialect, catalog: &'a Catalog, table: usize, row: &Row) -> Vec<Sql<'a>> {
    let set: Vec<(usize, Value)> = catalog.lists(table).iter().map(|list| (list.column, row[list.column].clone())).collect();
    changed(dialect, catalog, table, row[0].as_text().unwrap_or_default(), &set)
}

/// What comes before a delete's statement: a row that lists itself would hold itself.
pub(crate) fn emptied<'a>(dialect: Dialect, catalog: &'a Catalog, table: usize, id: &str) -> Vec<Sql<'a>> {
    let emptied = |list: &ListOf| {
        let mut sql = Sql::new(dialect, catalog);
        sql.list_lost(list, id, &Value::Null);
        sql
    };
    catalog.lists(table).iter().map(emptied).collect()
}

/// The hidden table of a row's own list of references.
pub(super) fn list_of(catalog: &Catalog, list: &Operand, table: usize) -> Option<usize> {
    if let Operand::Column(column) = list { catalog.hidden(table, *column) } else { None }
}

impl Sql<'_> {
    /// The references of a list; when some are there already, only those that are not.
    fn list_added(&mut self, list: &ListOf, id: &str, value: &Value, some_are_there: bool) {
        self.push("INSERT INTO ");
        self.name(&self.table(list.hidden).name);
        self.push(" (\"row\", \"target\") ");
        self.list_rows(&Value::text(id), value);
        if some_are_there {
            // SQLite takes ON for a join's without the condition.
            self.push(" WHERE TRUE ON CONFLICT DO NOTHING");
        }
    }

    /// `SELECT` an id with each id of a list.
    pub(crate) fn list_rows(&mut self, id: &Value, list: &Value) {
        self.push("SELECT ");
        self.bind(id);
        self.push(", j.value FROM ");
        self.list_ids(list);
    }

    /// The ids of a list as rows: `j.value`.
    fn list_ids(&mut self, list: &Value) {
        let sqlite = self.dialect == Dialect::Sqlite;
        self.push(if sqlite { "json_each(" } else { "(SELECT v COLLATE \"C\" AS value FROM jsonb_array_elements_text((" });
        self.bind(list);
        self.push(if sqlite { ") j" } else { ")::jsonb) v) j" });
    }

    /// Deletes the references of a row that are not in its list any more.
    fn list_lost(&mut self, list: &ListOf, id: &str, value: &Value) {
        self.push("DELETE FROM ");
        self.name(&self.table(list.hidden).name);
        self.push(" WHERE \"row\" = ");
        self.bind(&Value::text(id));
        if !value.is_null() {
            self.push(" AND \"target\" NOT IN (SELECT j.value FROM ");
            self.list_ids(value);
            self.push(")");
        }
    }

    /// Deletes one reference of a list.
    pub(crate) fn list_lets_go(&mut self, hidden: usize, id: &str, target: &str) {
        self.push("DELETE FROM ");
        self.name(&self.table(hidden).name);
        self.push(" WHERE \"row\" = ");
        self.bind(&Value::text(id));
        self.push(" AND \"target\" = ");
        self.bind(&Value::text(target));
    }

    /// The ids of the rows whose lists hold an id.
    pub(super) fn listing(&mut self, hidden: usize, element: &Operand, table: usize, alias: usize) {
        self.push("SELECT h.\"row\" FROM ");
        self.name(&self.table(hidden).name);
        self.push(" h WHERE h.\"target\" = ");
        self.operand(element, table, alias);
    }

    /// Whether the row's own list holds an id.
    pub(super) fn lists(&mut self, hidden: usize, element: &Operand, table: usize, alias: usize) {
        if !self.probed && matches!(element, Operand::Constant(_)) {
            let _ = write!(self.text, "t{alias}.\"id\" IN (");
            self.listing(hidden, element, table, alias);
            return self.push(")");
        }
        self.push("EXISTS (SELECT 1 FROM ");
        self.name(&self.table(hidden).name);
        let _ = write!(self.text, " h WHERE h.\"row\" = t{alias}.\"id\" AND h.\"target\" = ");
        self.operand(element, table, alias);
        self.push(")");
    }

    /// The references of the rows after an id, up to another, as `ROW/TARGET`.
    pub(crate) fn listed_between(&mut self, hidden: usize, after: &str, until: Option<&str>) {
        self.push("SELECT h.\"row\" || '/' || h.\"target\" FROM ");
        self.name(&self.table(hidden).name);
        self.push(" h WHERE h.\"row\" > ");
        self.bind(&Value::text(after));
        if let Some(until) = until {
            self.push(" AND h.\"row\" <= ");
            self.bind(&Value::text(until));
        }
    }

    /// The ids of a row's list that are not in the hidden table, and those there that are not in the list.
    pub(crate) fn astray(&mut self, table: usize, list: &ListOf, id: &str) {
        let (id, sqlite) = (Value::text(id), self.dialect == Dialect::Sqlite);
        let own = |sql: &mut Self| {
            sql.push("(SELECT j.value AS id FROM ");
            sql.name(&sql.table(table).name);
            sql.push(if sqlite { " t, json_each(t." } else { " t, LATERAL (SELECT v COLLATE \"C\" AS value FROM jsonb_array_elements_text(t." });
            sql.name(&sql.table(table).columns[list.column].name);
            sql.push(if sqlite { ") j WHERE t.\"id\" = " } else { "::jsonb) v) j WHERE t.\"id\" = " });
            sql.bind(&id);
            sql.push(")");
        };
        let hidden = |sql: &mut Self| {
            sql.push("(SELECT h.\"target\" AS id FROM ");
            sql.name(&sql.table(list.hidden).name);
            sql.push(" h WHERE h.\"row\" = ");
            sql.bind(&id);
            sql.push(")");
        };
        self.push("SELECT a.id FROM ");
        own(self);
        self.push(" a WHERE a.id NOT IN ");
        hidden(self);
        self.push(" UNION ALL SELECT b.id FROM ");
        hidden(self);
        self.push(" b WHERE b.id NOT IN ");
        own(self);
    }

    /// Whether each id of a list names a row for which a condition holds, or stands in a row's list already.
    pub(crate) fn each(&mut self, table: usize, ids: &Value, filter: &Predicate, known: Option<&(usize, usize, Box<str>)>) {
        self.probed = true;
        self.push("SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM ");
        self.list_ids(ids);
        self.push(" WHERE NOT EXISTS (SELECT 1 FROM ");
        self.name(&self.table(table).name);
        self.push(" t0 WHERE t0.\"id\" = j.value");
        self.push(" AND ");
        self.predicate(filter, table, 0);
        self.push(")");
        if let Some((hidden, id)) = known.and_then(|(table, column, id)| Some((self.catalog.hidden(*table, *column)?, id))) {
            self.push(" AND NOT EXISTS (SELECT 1 FROM ");
            self.name(&self.table(hidden).name);
            self.push(" h WHERE h.\"row\" = ");
            self.bind(&Value::Text(id.clone()));
            self.push(" AND h.\"target\" = j.value)");
        }
        self.push(")");
    }
}
