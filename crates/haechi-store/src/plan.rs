//! How the database would answer a read: the statement, its plan, and the indexes that it lacks.

use crate::{
    Driver, Reads, Store,
    render::{Dialect, Sql},
    sqlite::bound,
};
use futures_util::future::BoxFuture;
use haechi_model::{Comparison, Failure, Operand, Predicate, Select, Table};

/// A statement and how it is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Its text, with placeholders.
    pub statement: String,
    /// The database's own words, a line each.
    pub steps: Vec<String>,
    /// Columns that it compares and that no index begins with, where it reads a whole table.
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
            let (statement, steps, scans) = match &self.driver {
                Driver::Sqlite(sqlite) => {
                    let catalog = self.catalog.clone();
                    let work = move |connection: &rusqlite::Connection| {
                        let mut sql = Sql::new(Dialect::Sqlite, &catalog);
                        sql.select(&select);
                        let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {}", sql.text))?;
                        let steps = explain.query_map(bound(&sql.values), |row| row.get::<_, String>(3))?.collect::<Result<Vec<_>, _>>()?;
                        Ok((sql.text, steps))
                    };
                    let (text, steps) = sqlite.readers.run(Reads::SCAN, work).await?;
                    // An index that is walked from end to end spares the order, not the reading.
                    let scans = steps.iter().any(|step| step == "SCAN t0" || step.starts_with("SCAN t0 "));
                    (text, steps, scans)
                }
                Driver::Postgres(postgres) => {
                    let (text, steps) = postgres.plan(&select).await?;
                    let scan = format!("Seq Scan on {}", table.name);
                    let quoted = format!("Seq Scan on \"{}\"", table.name);
                    let scans = steps.iter().any(|step| step.contains(&scan) || step.contains(&quoted));
                    (text, steps, scans)
                }
            };
            Ok(Plan { statement, steps, lacks: if scans { compared } else { Vec::new() } })
        })
    }
}

/// Columns of a table that a condition compares with values and that no index begins with.
fn compared(table: &Table, filter: &Predicate) -> Vec<String> {
    let mut columns = Vec::new();
    compares(filter, &mut columns);
    columns.sort_unstable();
    columns.dedup();
    // The first column is the id, which is the key.
    let indexed = |column: &usize| *column < table.key || table.indexes.iter().any(|index| index.columns.first() == Some(column));
    columns.into_iter().filter(|column| !indexed(column)).filter_map(|column| Some(table.columns.get(column)?.name.clone())).collect()
}

fn compares(filter: &Predicate, columns: &mut Vec<usize>) {
    match filter {
        Predicate::All(parts) | Predicate::Any(parts) => parts.iter().for_each(|part| compares(part, columns)),
        Predicate::Compare(Operand::Column(column), comparison, Operand::Constant(_))
        | Predicate::Compare(Operand::Constant(_), comparison, Operand::Column(column))
            if *comparison != Comparison::NotEqual =>
        {
            columns.push(*column);
        }
        Predicate::OneOf(Operand::Column(column), _) | Predicate::Reference { from: Operand::Column(column), .. } => columns.push(*column),
        _ => {}
    }
}
