//! How the database would answer a read: the statement, its plan, and the indexes that it lacks.

use crate::{Driver, Store};
use futures_util::future::BoxFuture;
use haechi_model::{Comparison, Failure, Operand, Predicate, Select, Table};

/// A statement and how it is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Its text, with placeholders.
    pub statement: String,
    /// The database's own description, a line each.
    pub steps: Vec<String>,
    /// Columns in comparisons that no index begins with, for tables that are read row by row where no index helps.
    pub lacks: Vec<String>,
}

impl Store {
    /// How it would answer a read. Nothing is read.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn plan_of(&self, select: Select) -> BoxFuture<'_, Result<Plan, Failure>> {
        Box::pin(async move {
            let table = &self.catalog.tables[select.collection];
            let compared = compared(table, &select.filter);
            let (walks, (statement, steps)) = match &self.driver {
                Driver::Sqlite(sqlite) => (walks_in_sqlite as fn(&[String], &str) -> bool, sqlite.readers.plan(select).await?),
                Driver::Postgres(postgres) => (walks_in_postgres as fn(&[String], &str) -> bool, postgres.plan(&select).await?),
            };
            let scans = walks(&steps, &table.name);
            Ok(Plan { statement, steps, lacks: if scans { compared } else { Vec::new() } })
        })
    }
}

/// Whether a plan reads a table (`t0`) row by row. A full walk of an index saves sorting, but not reading.
fn walks_in_sqlite(steps: &[String], _: &str) -> bool {
    steps.iter().any(|step| step == "SCAN t0" || step.starts_with("SCAN t0 "))
}

/// The same for PostgreSQL: no line below the table's says that an index condition finds the rows.
fn walks_in_postgres(steps: &[String], table: &str) -> bool {
    let of_table = |step: &String| [format!(" on {table} t0 "), format!(" on \"{table}\" t0 ")].iter().any(|name| step.contains(name));
    let Some(at) = steps.iter().position(of_table) else { return false };
    let found_by = |step: &String| step.contains("Index Cond:");
    !steps[at].contains("Bitmap") && !steps[at + 1..].iter().take_while(|step| !step.contains("->")).any(found_by)
}

/// Columns that could find rows if an index began with them; empty when an index helps already.
fn compared(table: &Table, filter: &Predicate) -> Vec<String> {
    // The first columns are the key.
    let indexed = |column: usize| column < table.key || table.indexes.iter().any(|index| index.columns.first() == Some(&column));
    if is_served(filter, &indexed) {
        return Vec::new();
    }
    let mut columns = Vec::new();
    compares(filter, &mut columns);
    columns.sort_unstable();
    columns.dedup();
    columns.into_iter().filter(|column| !indexed(*column)).filter_map(|column| Some(table.columns.get(column)?.name.clone())).collect()
}

/// Whether indexes find the rows: one is enough for conditions joined by AND; joined by OR, each needs one.
fn is_served(filter: &Predicate, indexed: &dyn Fn(usize) -> bool) -> bool {
    match filter {
        Predicate::All(parts) => parts.iter().any(|part| is_served(part, indexed)),
        Predicate::Any(parts) => parts.iter().all(|part| is_served(part, indexed)),
        one => finds_by(one).is_some_and(indexed),
    }
}

fn compares(filter: &Predicate, columns: &mut Vec<usize>) {
    match filter {
        Predicate::All(parts) | Predicate::Any(parts) => parts.iter().for_each(|part| compares(part, columns)),
        one => columns.extend(finds_by(one)),
    }
}

/// The column of a single condition for which an index could find rows.
fn finds_by(condition: &Predicate) -> Option<usize> {
    match condition {
        Predicate::Compare(Operand::Column(column), comparison, Operand::Constant(_))
        | Predicate::Compare(Operand::Constant(_), comparison, Operand::Column(column)) => (*comparison != Comparison::NotEqual).then_some(*column),
        Predicate::OneOf(Operand::Column(column), _) | Predicate::Reference { from: Operand::Column(column), .. } => Some(*column),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_row_by_row_is_seen() {
        let walks = |plan: &str| walks_in_postgres(&plan.lines().map(str::to_owned).collect::<Vec<_>>(), "tasks");
        assert!(walks("Limit  (cost=0 rows=20)\n  ->  Seq Scan on tasks t0  (cost=0)\n        Filter: (rank > 5)"));
        assert!(walks("Limit  (cost=0)\n  ->  Index Scan using tasks_pkey on tasks t0  (cost=0)\n        Filter: (rank > 5)"));
        assert!(!walks("Limit  (cost=0)\n  ->  Index Scan using i on tasks t0  (cost=0)\n        Index Cond: (rank > 5)"));
        assert!(!walks(
            "Sort\n  ->  Bitmap Heap Scan on tasks t0  (cost=0)\n        ->  Bitmap Index Scan on i  (cost=0)\n              Index Cond: (rank > 5)"
        ));
        assert!(!walks("Limit\n  ->  Seq Scan on tasks_of_others t0  (cost=0)"));
        let walks = |step: &str| walks_in_sqlite(&[step.to_owned()], "tasks");
        assert!(walks("SCAN t0") && walks("SCAN t0 USING INDEX sqlite_autoindex_tasks_1"));
        assert!(!walks("SEARCH t0 USING INDEX i (rank>?)") && !walks("SCAN t01"));
    }
}
