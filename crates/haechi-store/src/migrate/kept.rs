//! What new checks mean for existing rows: rows that do not keep them are named before anything is changed.

use super::{
    action::Migration,
    rows::{Task, What},
};
use crate::{
    catalog::Catalog,
    render::{Dialect, Sql},
};
use haechi_model::{Operand, RowCheck, Table, Value};

/// Collects the checks of rows, and what is refused.
pub(super) fn tasks(dialect: Dialect, old_table: &Table, from: &Table, to: &Table, migration: &mut Migration) {
    let converted = |column: usize| {
        let name = to.columns[column].name.strip_prefix("_fold_").unwrap_or(&to.columns[column].name);
        let is = |task: &Task| task.collection == to.name && task.field == name && matches!(task.what, What::Convert(_));
        migration.checks.iter().any(is)
    };
    let columns =
        |check: &RowCheck| (0..to.columns.len()).filter(|at| check.broken.as_ref().is_some_and(|broken| broken.reads_any(&[*at]))).collect();
    let (mut refusals, mut tasks) = (Vec::new(), Vec::new());
    for check in &to.checks {
        let columns: Vec<usize> = columns(check);
        if let Some(at) = columns.iter().find(|at| converted(**at)) {
            refusals.push(format!(
                "{}.{} is converted and the check `{}` looks at it: leave the check out, apply the conversion, then add the check",
                to.name, to.columns[*at].name, check.that
            ));
        } else if !from.checks.contains(check)
            && let Some(broken) = &check.broken
        {
            // Columns by their place in the table as it is; a new column has the same value in every row.
            let place = |at: usize| match from.former(&to.columns[at]) {
                Some(old) => Operand::Column(old),
                None => Operand::Constant(to.columns[at].default.clone().unwrap_or(Value::Null)),
            };
            let catalog = Catalog::of_table(old_table);
            let mut sql = Sql::new(dialect, &catalog);
            sql.predicate(&broken.with_columns(&place), 0, 0);
            let (table, collection) = (old_table.name.clone(), to.name.clone());
            let what = What::Never(sql.text, sql.values);
            tasks.push(Task { table, column: String::new(), collection, field: check.that.clone(), what, required: false });
        }
    }
    migration.refusals.extend(refusals);
    migration.checks.extend(tasks);
}
