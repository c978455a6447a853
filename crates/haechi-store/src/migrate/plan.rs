//! The difference between two sets of tables, as steps that a person can review.

use super::{
    action::{Action, Migration, Step, kept as column_kept, same_index},
    kept, retyped,
    rows::{Task, What},
    sql,
};
use crate::render::Dialect;
use haechi_model::{Index, Table};

impl Migration {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }

    /// Whether it records types of fields for the first time: an older version made the database.
    #[must_use]
    pub fn remembers(&self) -> bool {
        self.actions.iter().any(|action| matches!(action, Action::AlterTable { from, to } if retyped::first_remembered(from, to) > 0))
    }

    /// Whether it does nothing but record the types of fields, in a database of an older version.
    #[must_use]
    pub fn only_remembers(&self) -> bool {
        self.refusals.is_empty()
            && self.steps.is_empty()
            && self.actions.iter().all(|action| matches!(action, Action::AlterTable { from, to } if retyped::only_remembers(from, to)))
    }

    /// Its text: statements, and other work as comments. The checksum covers this text.
    #[must_use]
    pub fn sql(&self) -> Vec<String> {
        let text = |step: &Step| match step {
            Step::Sql(sql) => sql.clone(),
            Step::Convert(task) => retyped::comment(task),
        };
        self.steps.iter().map(text).collect()
    }

    /// Existing tables that change: the canonical form of their rows may change, too.
    #[must_use]
    pub fn altered(&self) -> Vec<&str> {
        // Empty and default values are not in the canonical form: additional columns do not change it.
        let same = |from: &Table, to: &Table| {
            let mut olds = from.columns.iter().peekable();
            for new in &to.columns {
                if olds.next_if(|old| (&old.name, old.nullable) == (&new.name, new.nullable)).is_none() && !new.nullable && new.default.is_none() {
                    return false;
                }
            }
            olds.peek().is_none()
        };
        let converted = |table: &str| self.steps.iter().any(|step| matches!(step, Step::Convert(task) if task.collection == table));
        let name = |action: &'_ Action| match action {
            Action::RenameTable { to, .. } => Some(to.clone()),
            Action::AlterTable { to, .. } if to.lists.is_some() => None,
            Action::AlterTable { from, to } if !same(from, to) || converted(&to.name) => Some(to.name.clone()),
            Action::AlterTable { .. } | Action::CreateTable(_) | Action::DropTable(_) => None,
        };
        let names: Vec<String> = self.actions.iter().filter_map(name).collect();
        self.tables.iter().map(|table| table.name.as_str()).filter(|table| names.iter().any(|name| name == table)).collect()
    }

    /// What it does, a line each.
    #[must_use]
    pub fn summary(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for action in &self.actions {
            match action {
                Action::CreateTable(table) | Action::DropTable(table) if table.name.starts_with('_') => {}
                Action::RenameTable { to, .. } if to.starts_with('_') => {}
                Action::CreateTable(table) => lines.push(format!("+ collection {}", table.name)),
                Action::RenameTable { from, to } => lines.push(format!("~ collection {from} is now {to}")),
                Action::DropTable(table) => lines.push(format!("- collection {} and all its rows", table.name)),
                Action::AlterTable { from, to } => alterations(from, to, &mut lines),
            }
        }
        let first: usize = self
            .actions
            .iter()
            .map(|action| if let Action::AlterTable { from, to } = action { retyped::first_remembered(from, to) } else { 0 })
            .sum();
        if first > 0 {
            lines.push(format!("~ the types of {first} fields are remembered from now on, as the folder declares them"));
        }
        // A migration that concerns no field is still done and reported.
        if lines.is_empty() && !self.is_empty() {
            lines.push("~ what Haechi keeps beside the collections".to_owned());
        }
        lines
    }
}

fn alterations(from: &Table, to: &Table, lines: &mut Vec<String>) {
    for column in to.columns.iter().filter(|column| !column.name.starts_with('_')) {
        match from.former(column) {
            None => {
                let was = column.was.as_ref().filter(|was| **was != column.name);
                let was = was.map_or_else(String::new, |was| format!(" (its was = \"{was}\" names nothing that is there)"));
                lines.push(format!("+ column {}.{}{was}", to.name, column.name));
            }
            Some(old) if from.columns[old].name != column.name => {
                lines.push(format!("~ column {}.{} is now {}", to.name, from.columns[old].name, column.name))
            }
            Some(old) if from.columns[old].nullable != column.nullable => {
                lines.push(format!("~ column {}.{} is now {}", to.name, column.name, if column.nullable { "optional" } else { "required" }));
            }
            Some(_) => {}
        }
        lines.extend(retyped::line(from, to, column));
    }
    for column in dropped(from, to) {
        lines.push(format!("- column {}.{column} and its values", to.name));
    }
    // A rebuilt index over the same fields is not reported: it only follows another change.
    let fields = |table: &Table, index: &Index| {
        let names = index.columns.iter().map(|column| table.columns[*column].name.as_str()).filter(|name| *name != "_organisation");
        let names: Vec<&str> = names.map(|name| name.strip_prefix("_fold_").unwrap_or(name)).collect();
        format!("{} {}.{}", if index.unique { "unique index over" } else { "index over" }, table.name, names.join(" and "))
    };
    let (before, after): (Vec<String>, Vec<String>) =
        (from.indexes.iter().map(|index| fields(from, index)).collect(), to.indexes.iter().map(|index| fields(to, index)).collect());
    lines.extend(after.iter().filter(|index| !before.contains(index)).map(|index| format!("+ {index}")));
    lines.extend(before.iter().filter(|index| !after.contains(index)).map(|index| format!("- {index}")));
    lines.extend(to.checks.iter().filter(|check| !from.checks.contains(check)).map(|check| format!("+ check {}: {}", to.name, check.that)));
    lines.extend(from.checks.iter().filter(|check| !to.checks.contains(check)).map(|check| format!("- check {}: {}", to.name, check.that)));
}

/// Columns that are dropped, with their values. A folded form is dropped with its text.
fn dropped<'t>(from: &'t Table, to: &Table) -> Vec<&'t str> {
    let columns = from.columns.iter().enumerate().filter(|(at, old)| !column_kept(from, to, *at) && !old.name.starts_with("_fold_"));
    columns.map(|(_, old)| old.name.as_str()).collect()
}

/// Plans the migration from one set of tables to another.
#[must_use]
pub(crate) fn plan(dialect: Dialect, before: &[Table], after: &[Table]) -> Migration {
    let mut migration = Migration {
        actions: Vec::new(),
        drops: Vec::new(),
        refusals: Vec::new(),
        steps: Vec::new(),
        checks: Vec::new(),
        tables: after.to_vec(),
        after: 0,
        later: Vec::new(),
        breaks: Vec::new(),
    };
    let mut matched = Vec::new();
    for table in after {
        let old = match table.lists {
            None => former(before, table),
            Some(_) => former_list(before, after, table).filter(|_| !is_converted(table, &migration)),
        };
        let Some(old) = old else {
            migration.actions.push(Action::CreateTable(table.clone()));
            continue;
        };
        matched.push(old.name.clone());
        let mut from = old.clone();
        if old.name != table.name {
            migration.actions.push(Action::RenameTable { from: old.name.clone(), to: table.name.clone() });
            from.name.clone_from(&table.name);
        }
        retyped::tasks(old, &from, table, before, after, &mut migration);
        kept::tasks(dialect, old, &from, table, &mut migration);
        compare(&from, table, before, &mut migration);
    }
    for old in before.iter().filter(|old| !matched.contains(&old.name)) {
        if old.lists.is_some() {
            // Before a table of the same name is made, and before the collections that it refers to are dropped. Its field says what is lost.
            migration.actions.insert(0, Action::DropTable(old.clone()));
            continue;
        }
        migration.drops.push(format!("collection {} and all its rows", old.name));
        migration.actions.push(Action::DropTable(old.clone()));
    }
    let conversions: Vec<Task> = migration.checks.iter().filter(|task| matches!(task.what, What::Convert(_))).cloned().collect();
    migration.steps = sql::steps(dialect, &migration.actions, &conversions);
    migration.later = sql::later(dialect, &migration.actions);
    migration
}

/// The table that another one continues: the same name, or the former name in the folder.
fn former<'t>(before: &'t [Table], table: &Table) -> Option<&'t Table> {
    before.iter().find(|old| old.name == table.name).or_else(|| before.iter().find(|old| table.was.as_deref() == Some(&old.name)))
}

/// The hidden table of the list that a list continues.
fn former_list<'t>(before: &'t [Table], after: &[Table], table: &Table) -> Option<&'t Table> {
    let collection = after.iter().find(|of| of.name == table.references[0].table)?;
    let old = former(before, collection)?;
    let column = &old.columns[old.former(&collection.columns[collection.column(table.lists.as_deref()?)?])?].name;
    before.iter().find(|list| list.lists.as_ref() == Some(column) && list.references[0].table == old.name)
}

/// Whether the values of a list are converted, so that its references are collected anew.
fn is_converted(table: &Table, migration: &Migration) -> bool {
    let is = |task: &Task| task.collection == table.references[0].table && table.lists.as_ref() == Some(&task.field);
    migration.checks.iter().any(|task| is(task) && matches!(task.what, What::Convert(_)))
}

fn compare(from: &Table, to: &Table, before: &[Table], migration: &mut Migration) {
    migration.drops.extend(dropped(from, to).iter().map(|column| format!("column {}.{column} and its values", to.name)));
    let renamed = |name: &str| before.iter().all(|table| table.name != name);
    let references_same = from.references.len() == to.references.len()
        && to.references.iter().all(|reference| {
            let column = &to.columns[reference.column].name;
            from.references.iter().any(|old| from.columns[old.column].name == *column && (old.table == reference.table || renamed(&reference.table)))
        });
    let columns_same = from.columns.len() == to.columns.len()
        && from.columns.iter().zip(&to.columns).all(|(old, new)| {
            (&old.name, old.nullable, old.storage) == (&new.name, new.nullable, new.storage)
                && (new.declared.is_none() || old.declared == new.declared)
        });
    let indexes_same = to.indexes.iter().all(|index| same_index(from, to, index)) && from.indexes.iter().all(|index| same_index(to, from, index));
    if !(references_same && columns_same && indexes_same && from.checks == to.checks) {
        migration.actions.push(Action::AlterTable { from: from.clone(), to: to.clone() });
    }
}
