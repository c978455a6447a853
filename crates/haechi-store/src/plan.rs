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

impl Plan {
    /// The plan's nodes without costs and conditions: PostgreSQL writes values into those.
    #[must_use]
    pub fn nodes(&self) -> Vec<&str> {
        let is_node = |(at, step): &(usize, &String)| *at == 0 || step.trim_start().starts_with("->") || !step.contains(':');
        self.steps.iter().enumerate().filter(is_node).map(|(_, step)| node(step)).collect()
    }

    /// A number for the plan: the same for the same nodes. Not for security.
    #[must_use]
    pub fn hash(&self) -> String {
        let bytes = self.nodes().join("\n");
        let hash = bytes.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        format!("{hash:016x}")
    }
}

impl Store {
    /// Logs the plan of a slow read.
    pub(crate) async fn tell_plan(&self, select: Select, request_id: Option<&str>) {
        let table = self.catalog.tables[select.collection].name.clone();
        // It is only told: a database that is away has its own line.
        if let Ok(plan) = self.plan_of(select).await {
            let (plan_hash, nodes, lacks) = (plan.hash(), plan.nodes().join("; "), plan.lacks.join(","));
            tracing::warn!(target: "haechi::slow", request_id, table, plan_hash, nodes, lacks, "the plan of a statement that took long");
        }
    }

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

/// A node's line without its arrow and its costs.
fn node(step: &str) -> &str {
    let bare = step.trim_start().trim_start_matches("->").trim_start();
    bare.split("  (cost=").next().unwrap_or(bare)
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
    let indexed = |column: usize| column < table.key || table.led_by(column).next().is_some();
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
        Predicate::OneOf(Operand::Column(column), _)
        | Predicate::Reference { from: Operand::Column(column), .. }
        | Predicate::Member { of: Operand::Column(column), who: Operand::Constant(_), .. } => Some(*column),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// V16.2.5: values stand in conditions alone, and a plan is the same whatever the values.
    #[test]
    fn nodes_have_no_values() {
        let plan = |text: &str| Plan { statement: String::new(), steps: text.lines().map(str::to_owned).collect(), lacks: Vec::new() };
        let postgres =
            plan("Limit  (cost=0.1..2 rows=20 width=8)\n  ->  Seq Scan on tasks t0  (cost=0..9)\n        Filter: (title = 'a: -> secret'::text)");
        assert_eq!(postgres.nodes(), ["Limit", "Seq Scan on tasks t0"]);
        let other = plan("Limit  (cost=5..7 rows=1 width=8)\n  ->  Seq Scan on tasks t0  (cost=1..3)\n        Filter: (title = 'b'::text)");
        assert_eq!(postgres.hash(), other.hash());
        assert_ne!(postgres.hash(), plan("Limit  (cost=5..7)\n  ->  Index Scan using i on tasks t0  (cost=1..3)").hash());
        assert_eq!(plan("SCAN t0\nUSE TEMP B-TREE FOR ORDER BY").nodes(), ["SCAN t0", "USE TEMP B-TREE FOR ORDER BY"]);
    }

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
