//! What changed types mean for existing rows: they are checked, converted, or refused with advice.

use super::{
    action::{Migration, same_index, storage_words},
    rows::{Conversion, Finds, Task, What},
};
use haechi_model::{Column, Declared, Table, TypeChange};

/// The column for converted values until the old column is gone.
pub(super) fn taking(column: &str) -> String {
    format!("_new_{column}")
}

/// Whether the folder asks to convert a column's values: `was` names their column, or the column itself.
fn said(from: &Table, column: &Column, old: usize) -> bool {
    column.was.as_ref().is_some_and(|was| *was == from.columns[old].name)
}

fn change(from: &Table, column: &Column, old: usize) -> Option<TypeChange> {
    let (was, is) = (from.columns[old].declared.as_ref()?, column.declared.as_ref()?);
    (was != is).then(|| was.change(is, said(from, column, old)))
}

/// Collects the checks and conversions for the rows of a table, and what is refused.
pub(super) fn tasks(old_table: &Table, from: &Table, to: &Table, before: &[Table], after: &[Table], migration: &mut Migration) {
    for (at, column) in to.columns.iter().enumerate() {
        let Some(old) = from.former(column) else {
            if !folded_anew(old_table, to, column, migration) {
                added(old_table, to, at, migration);
            }
            continue;
        };
        let field = format!("{}.{}", to.name, column.name);
        let change = change(from, column, old).map(|change| renamed_target(change, &from.columns[old], column, after));
        let task = |what, required| Task {
            table: old_table.name.clone(),
            column: from.columns[old].name.clone(),
            collection: to.name.clone(),
            field: column.name.clone(),
            what,
            required,
        };
        let filled = column.default.is_some();
        let becomes_required = from.columns[old].nullable && !column.nullable && !filled;
        match change {
            // The compared form of a converted field is made anew.
            None if from.columns[old].storage != column.storage && !column.name.starts_with("_fold_") => migration.refusals.push(format!(
                "{field} is stored as {} and would become {}: declare a new field",
                storage_words(from.columns[old].storage),
                storage_words(column.storage)
            )),
            Some(TypeChange::Narrower) => {
                migration.checks.push(task(What::Check(column.declared.as_ref().map(Declared::field_type)), becomes_required));
            }
            Some(TypeChange::Converted) => match conversion(from, to, at, old, before) {
                Ok(conversion) => migration.checks.push(task(What::Convert(Box::new(conversion)), !column.nullable && !filled)),
                Err(refusal) => migration.refusals.push(refusal),
            },
            Some(refused @ (TypeChange::Unsaid | TypeChange::Impossible)) => {
                migration.refusals.push(refusal(&field, &from.columns[old], column, &refused))
            }
            None | Some(TypeChange::Wider) if becomes_required => migration.checks.push(task(What::Check(None), true)),
            None | Some(TypeChange::Wider) => {}
        }
        refold(from, to, at, &from.columns[old], migration, old_table);
    }
    distinct(old_table, from, to, migration);
}

/// A new column has the same value in all existing rows, or none.
fn added(old_table: &Table, to: &Table, at: usize, migration: &mut Migration) {
    let column = &to.columns[at];
    let alone = |index: &haechi_model::Index| index.unique && index.columns.iter().all(|of| *of == at || to.columns[*of].name == "_organisation");
    let what = match &column.default {
        None if !column.nullable => {
            What::AtMost(0, "there is no value for this new field: give it a fixed default, or declare it without `required`")
        }
        Some(_) if to.indexes.iter().any(alone) => {
            What::AtMost(1, "they would share the default of this new unique field: leave the default out, fill the field, then make it unique")
        }
        _ => return,
    };
    let (table, collection, field) = (old_table.name.clone(), to.name.clone(), column.name.clone());
    migration.checks.push(Task { table, column: field.clone(), collection, field, what, required: false });
}

/// A reference to a renamed collection refers to the same rows.
fn renamed_target(change: TypeChange, old: &Column, new: &Column, after: &[Table]) -> TypeChange {
    let (Some(old), Some(new)) = (&old.declared, &new.declared) else { return change };
    let (Some(was), Some(is)) = (old.target(), new.target()) else { return change };
    let renamed = after.iter().any(|table| table.name == is && table.was.as_deref() == Some(was)) && after.iter().all(|table| table.name != was);
    match (old, new) {
        (Declared::Ref { .. }, Declared::Ref { .. }) if renamed => TypeChange::Wider,
        (Declared::List { max_items, .. }, Declared::List { max_items: most, .. }) if renamed => {
            if most >= max_items {
                TypeChange::Wider
            } else {
                TypeChange::Narrower
            }
        }
        _ => change,
    }
}

fn conversion(from: &Table, to: &Table, at: usize, old: usize, before: &[Table]) -> Result<Conversion, String> {
    let column = &to.columns[at];
    let (Some(was), Some(is)) = (&from.columns[old].declared, &column.declared) else { return Err(String::new()) };
    let finds = match is.target() {
        Some(target) => Some(finds(&format!("{}.{}", to.name, column.name), target, column.by.as_deref(), before)?),
        None => None,
    };
    Ok(Conversion {
        into: taking(&column.name),
        storage: column.storage,
        from: was.field_type(),
        to: is.field_type(),
        words: (was.words(), is.words()),
        folded: false,
        finds,
    })
}

/// The column that finds the target rows of a new reference. It must exist before the migration.
fn finds(field: &str, target: &str, by: Option<&str>, before: &[Table]) -> Result<Finds, String> {
    let name = by.unwrap_or("id");
    let table = before.iter().find(|table| table.name == target);
    let found = table.and_then(|table| Some((table, &table.columns[table.column(name)?])));
    let Some((table, declared)) = found.and_then(|(table, column)| Some((table, column.declared.as_ref()?))) else {
        return Err(format!("{field} would find its rows by {target}.{name}, which is not there yet: apply that change first"));
    };
    let folded = format!("_fold_{name}");
    let column = if table.column(&folded).is_some() { folded } else { name.to_owned() };
    Ok(Finds { table: target.to_owned(), column, field: name.to_owned(), ty: declared.field_type() })
}

fn refusal(field: &str, old: &Column, new: &Column, change: &TypeChange) -> String {
    let words = |column: &Column| column.declared.as_ref().map(Declared::words).unwrap_or_default();
    let (was, is) = (words(old), words(new));
    let remedy = match change {
        TypeChange::Unsaid => {
            format!("write was = \"{}\" beside its type, and the values are converted; or declare a new field", old.name)
        }
        _ => "there is no conversion; declare a new field".to_owned(),
    };
    format!("{field} is {was} and would become {is}: {remedy}")
}

/// The compared form of a field that gets one: `case = "fold"`, `ordered`.
fn folded_anew(old_table: &Table, to: &Table, shadow: &Column, migration: &mut Migration) -> bool {
    let Some(base) = shadow.name.strip_prefix("_fold_").and_then(|name| to.column(name)) else { return false };
    let Some(old) = old_table.former(&to.columns[base]) else { return false };
    fold(old_table, to, base, &old_table.columns[old], shadow, migration);
    true
}

/// The compared form of a field whose values are converted, or whose words have other places.
fn refold(from: &Table, to: &Table, base: usize, old: &Column, migration: &mut Migration, old_table: &Table) {
    let Some(shadow) = to.column(&format!("_fold_{}", to.columns[base].name)) else { return };
    let converted = migration.checks.last().is_some_and(|task| task.column == old.name && matches!(task.what, What::Convert(_)));
    let moved = old.declared.as_ref().zip(to.columns[base].declared.as_ref()).is_some_and(|(was, is)| was.moves_words(is));
    if (converted || moved) && from.former(&to.columns[shadow]).is_some() {
        fold(old_table, to, base, old, &to.columns[shadow], migration);
    }
}

fn fold(old_table: &Table, to: &Table, base: usize, old: &Column, shadow: &Column, migration: &mut Migration) {
    let Some(is) = &to.columns[base].declared else { return };
    let was = old.declared.as_ref().unwrap_or(is);
    let (from, to_type, words) = (was.field_type(), is.field_type(), (was.words(), is.words()));
    // Errors are reported for the text itself.
    let what = What::Convert(Box::new(Conversion {
        into: taking(&shadow.name),
        storage: shadow.storage,
        from,
        to: to_type,
        words,
        folded: true,
        finds: None,
    }));
    let (table, collection) = (old_table.name.clone(), to.name.clone());
    let field = to.columns[base].name.clone();
    migration.checks.push(Task { table, column: old.name.clone(), collection, field, what, required: false });
}

/// New unique indexes over existing columns that keep their values.
fn distinct(old_table: &Table, from: &Table, to: &Table, migration: &mut Migration) {
    for index in to.indexes.iter().filter(|index| index.unique && !same_index(from, to, index)) {
        let kept = |at: &usize| {
            let old = from.former(&to.columns[*at])?;
            let name = &from.columns[old].name;
            let converted =
                migration.checks.iter().any(|task| task.table == old_table.name && task.column == *name && matches!(task.what, What::Convert(_)));
            (!converted).then(|| name.clone())
        };
        let Some(columns) = index.columns.iter().map(kept).collect::<Option<Vec<String>>>() else { continue };
        let named = columns.iter().filter(|name| *name != "_organisation").map(|name| name.trim_start_matches("_fold_"));
        let field = named.collect::<Vec<_>>().join(" and ");
        let (table, collection) = (old_table.name.clone(), to.name.clone());
        let column = columns.last().cloned().unwrap_or_default();
        migration.checks.push(Task { table, column, collection, field, what: What::Distinct(columns), required: false });
    }
}

/// The change of a column's type, as a line for people.
pub(super) fn line(from: &Table, to: &Table, column: &Column) -> Option<String> {
    let old = from.former(column)?;
    let (was, is) = (from.columns[old].declared.as_ref()?, column.declared.as_ref()?);
    let change = change(from, column, old)?;
    let what = match change {
        TypeChange::Wider => "",
        TypeChange::Narrower => "; its values are checked",
        TypeChange::Converted => "; its values are converted",
        TypeChange::Unsaid | TypeChange::Impossible => return None,
    };
    Some(format!("~ column {}.{}: {} is now {}{what}", to.name, column.name, was.words(), is.words()))
}

/// How many columns get their type recorded for the first time.
pub(super) fn first_remembered(from: &Table, to: &Table) -> usize {
    let first = |column: &&Column| column.declared.is_some() && from.former(column).is_some_and(|old| from.columns[old].declared.is_none());
    to.columns.iter().filter(first).count()
}

/// Whether two tables differ in nothing else.
pub(super) fn only_remembers(from: &Table, to: &Table) -> bool {
    let mut known = from.clone();
    for (old, new) in known.columns.iter_mut().zip(&to.columns) {
        if old.declared.is_none() {
            old.declared.clone_from(&new.declared);
        }
        old.was.clone_from(&new.was);
        old.by.clone_from(&new.by);
        old.default.clone_from(&new.default);
    }
    known.was.clone_from(&to.was);
    known == *to
}

/// The comment in a migration's text for converted values.
pub(super) fn comment(task: &Task) -> String {
    let What::Convert(conversion) = &task.what else { return String::new() };
    let found = conversion.finds.as_ref().map_or_else(String::new, |finds| format!(", the row of {} with that {}", finds.table, finds.field));
    let folded = if conversion.folded { ", folded" } else { "" };
    let (from, to) = &conversion.words;
    let text = format!("-- row by row: \"{}\".\"{}\" = \"{}\", {from}, as {to}{folded}{found}", task.table, conversion.into, task.column);
    text.replace(['\n', '\r'], " ")
}
