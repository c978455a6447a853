//! Whether nodes with one model can serve over a database with another.
//!
//! Their statements name columns, so additional columns do no harm, as long as a row can be made without them. The named columns must exist
//! with the known types, and may not be stricter.

use super::{action::same_index, plan::plan, rows::What};
use crate::render::Dialect;
use haechi_model::{Column, Index, Reference, Table};

/// Why nodes with the one model cannot serve over the other, a line each; empty when they can.
#[must_use]
pub fn breaks(own: &[Table], there: &[Table]) -> Vec<String> {
    let mut found = Vec::new();
    for table in own {
        match there.iter().find(|known| known.name == table.name) {
            // Its field is not there either, and that is said.
            None if table.lists.is_some() && !found.is_empty() => {}
            None => found.push(format!("{} is not there", table.name)),
            Some(known) => breaks_of(table, known, &mut found),
        }
    }
    narrower(own, there, &mut found);
    found
}

fn breaks_of(own: &Table, there: &Table, found: &mut Vec<String>) {
    let name = |column: &Column| format!("{}.{}", own.name, column.name.strip_prefix("_fold_").unwrap_or(&column.name));
    for column in &own.columns {
        match there.column(&column.name).map(|at| &there.columns[at]) {
            None => found.push(format!("{} is not there", name(column))),
            Some(known) if known.storage != column.storage => found.push(format!("{} is stored otherwise", name(column))),
            Some(known) if column.nullable && !known.nullable => found.push(format!("{} is required", name(column))),
            Some(known) if !column.nullable && known.nullable => found.push(format!("{} may be empty", name(column))),
            Some(_) => {}
        }
    }
    let new = there.columns.iter().filter(|column| own.column(&column.name).is_none());
    for column in new.filter(|column| !column.nullable && column.default.is_none()) {
        found.push(format!("{} must be given", name(column)));
    }
    let knows = |table: &Table, columns: &[usize]| columns.iter().all(|at| own.column(&table.columns[*at].name).is_some());
    let over = |table: &Table, columns: &[usize]| {
        let names = columns.iter().map(|at| table.columns[*at].name.as_str()).filter(|name| *name != "_organisation");
        names.map(|name| name.strip_prefix("_fold_").unwrap_or(name)).collect::<Vec<_>>().join(" and ")
    };
    for index in there.indexes.iter().filter(|index| index.unique && knows(there, &index.columns) && !same_index(own, there, index)) {
        found.push(format!("{}.{} is unique", own.name, over(there, &index.columns)));
    }
    for index in own.indexes.iter().filter(|index| index.unique && !same_index(there, own, index)) {
        found.push(format!("{}.{} is no longer unique", own.name, over(own, &index.columns)));
    }
    for reference in &there.references {
        let column = &there.columns[reference.column];
        let same = |known: &Reference| own.columns[known.column].name == column.name && known.table == reference.table;
        if own.column(&column.name).is_some() && !own.references.iter().any(same) {
            found.push(format!("{} refers to {}", name(column), reference.table));
        }
    }
}

/// Fields that accept less than the nodes know: a migration from one to the other would check or convert rows.
fn narrower(own: &[Table], there: &[Table], found: &mut Vec<String>) {
    let known = |table: &&Table| own.iter().any(|own| own.name == table.name);
    let there: Vec<Table> = there.iter().filter(known).map(|table| Table { was: None, ..table.clone() }).collect();
    let between = plan(Dialect::Postgres, own, &there);
    found.extend(between.refusals);
    let values = between.checks.iter().filter(|task| matches!(task.what, What::Check(Some(_)) | What::Convert(_) | What::Never(..)));
    found.extend(values.map(|task| format!("{}.{} takes less, or other values", task.collection, task.field)));
}

/// The tables of a migration that keeps everything older nodes need: columns that would be dropped stay, to be dropped later. `None` when
/// it drops nothing anyway.
///
/// # Errors
/// What would be dropped and cannot stay, a line each.
pub(crate) fn expanded(before: &[Table], after: &[Table]) -> Result<Vec<Table>, Vec<String>> {
    let (mut tables, mut wrong) = (after.to_vec(), Vec::new());
    for old in before {
        let Some(table) = tables.iter_mut().find(|table| table.name == old.name || table.was.as_deref() == Some(&old.name)) else {
            tables.push(old.clone());
            continue;
        };
        let gone: Vec<Column> = old.columns.iter().filter(|column| table.column(&column.name).is_none()).cloned().collect();
        for column in gone {
            if table.columns.iter().any(|new| new.was.as_deref() == Some(&column.name)) || column.name.starts_with("_fold_") && !column.nullable {
                wrong.push(format!("{}.{} is renamed", old.name, column.name));
            } else if !column.nullable && !column.name.starts_with("_fold_") {
                wrong.push(format!("{}.{} is required, so new nodes could make no row: make it optional in a release before", old.name, column.name));
            }
        }
        *table = with_old_columns(old, table);
    }
    if wrong.is_empty() { Ok(tables) } else { Err(wrong) }
}

/// The table with the old columns in place, and the new ones behind them.
fn with_old_columns(old: &Table, table: &Table) -> Table {
    let kept = |column: &Column| match table.column(&column.name) {
        Some(at) => table.columns[at].clone(),
        None => Column { nullable: true, ..column.clone() },
    };
    let mut columns: Vec<Column> = old.columns.iter().map(kept).collect();
    columns.extend(table.columns.iter().filter(|column| old.column(&column.name).is_none()).cloned());
    let mut moved = Table { columns, ..table.clone() };
    let place = |at: usize| moved.column(&table.columns[at].name).unwrap_or(at);
    let indexes = table.indexes.iter().map(|index| Index { columns: index.columns.iter().map(|at| place(*at)).collect(), ..index.clone() });
    let references = table.references.iter().map(|reference| Reference { column: place(reference.column), ..reference.clone() });
    (moved.indexes, moved.references) = (indexes.collect(), references.collect());
    moved
}

/// A number for a model, computed from what its statements name and expect.
#[must_use]
pub(crate) fn model_number(tables: &[Table]) -> i32 {
    let mut text = String::new();
    for table in tables {
        let columns = table.columns.iter().map(|column| Column { was: None, by: None, ..column.clone() }).collect();
        let plain = Table { was: None, columns, ..table.clone() };
        text.push_str(&serde_json::to_string(&plain).unwrap_or_default());
    }
    let number = text.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    i32::from_ne_bytes(number.to_ne_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use haechi_model::{Storage, Value};

    fn notes() -> Table {
        Table {
            name: "notes".to_owned(),
            was: None,
            columns: vec![Column::required("id", Storage::Text), Column::required("title", Storage::Text), Column::optional("rank", Storage::Int)],
            key: 1,
            indexes: Vec::new(),
            references: Vec::new(),
            checks: Vec::new(),
            lists: None,
        }
    }

    #[test]
    fn what_came_beside_is_no_harm() {
        let with = |change: &dyn Fn(&mut Table)| {
            let mut table = notes();
            change(&mut table);
            breaks(&[notes()], &[table, Table { name: "others".to_owned(), ..notes() }])
        };
        assert_eq!(with(&|_| {}), [""; 0]);
        assert_eq!(with(&|table| table.columns.push(Column::optional("more", Storage::Text))), [""; 0]);
        let given = Column { default: Some(Value::Int(7)), ..Column::required("level", Storage::Int) };
        assert_eq!(with(&|table| table.columns.insert(1, given.clone())), [""; 0]);
        assert_eq!(with(&|table| table.indexes.push(Index { name: "i".to_owned(), columns: vec![2], unique: false })), [""; 0]);
        assert_eq!(with(&|table| table.columns.push(Column::required("must", Storage::Text))), ["notes.must must be given"]);
        assert_eq!(with(&|table| table.columns[2].name = "place".to_owned()), ["notes.rank is not there"]);
        assert_eq!(with(&|table| table.columns[2].nullable = false), ["notes.rank is required"]);
        assert_eq!(with(&|table| table.columns[1].nullable = true), ["notes.title may be empty"]);
        assert_eq!(with(&|table| table.indexes.push(Index { name: "i".to_owned(), columns: vec![1], unique: true })), ["notes.title is unique"]);
        assert_eq!(
            with(&|table| table.references.push(Reference { column: 1, table: "others".to_owned(), cascades: false })),
            ["notes.title refers to others"]
        );
        assert_eq!(breaks(&[notes()], &[]), ["notes is not there"]);
    }

    #[test]
    fn what_goes_can_stay_for_a_while() {
        let mut after = notes();
        after.columns.pop();
        let stays = expanded(&[notes(), Table { name: "old".to_owned(), ..notes() }], std::slice::from_ref(&after)).unwrap();
        assert_eq!(breaks(&[notes()], &stays), [""; 0]);
        assert_eq!(breaks(std::slice::from_ref(&after), &stays), [""; 0]);
        assert!(stays.iter().any(|table| table.name == "old"));
        after.columns.pop();
        assert!(expanded(&[notes()], &[after]).unwrap_err()[0].starts_with("notes.title is required"));
        let mut renamed = notes();
        renamed.columns[2] = Column { was: Some("rank".to_owned()), ..Column::optional("place", Storage::Int) };
        assert_eq!(expanded(&[notes()], &[renamed]).unwrap_err(), ["notes.rank is renamed"]);
    }

    #[test]
    fn a_model_is_known_by_its_number() {
        let mut other = notes();
        other.columns[2].was = Some("place".to_owned());
        assert_eq!(model_number(&[notes()]), model_number(&[other.clone()]), "how it came is no matter");
        other.columns.pop();
        assert_ne!(model_number(&[notes()]), model_number(&[other]));
    }
}
