//! Rules about change that the folder declares for fields: they hold for every writer, whatever policies allow.

use crate::work::{Meaning, Work, WriteError};
use haechi_model::{Broken, Collection, Comparison, FieldId, Operand, Predicate, Row, Step, Value};

/// A new row begins with a word that it may begin with, and keeps the checks.
pub(crate) fn of_a_new_row(collection: &Collection, row: &Row, named: &[FieldId]) -> Result<(), WriteError> {
    match collection.broken_by(row) {
        None => Ok(()),
        Some(Broken::Initial(at)) => Err(WriteError::NotInitial(at)),
        Some(Broken::Check(check)) => Err(broken(collection, check, named)),
    }
}

/// The checks that look at what a change sets. They come after its statement that writes, when the row is as it becomes.
pub(crate) fn checks_of_a_change(collection: &Collection, id: &str, set: &[usize], named: &[FieldId], work: &mut Work) {
    for (at, check) in collection.checks.iter().enumerate() {
        if check.looks_at(set) {
            let field = field_of(collection, at, named);
            let miss = work.meaning(Meaning::Check { check: at, field });
            work.step(Step::Check { table: collection.id, id: id.into(), filter: check.condition(), miss });
        }
    }
}

fn broken(collection: &Collection, check: usize, named: &[FieldId]) -> WriteError {
    WriteError::Check { check, field: field_of(collection, check, named) }
}

/// The field that a broken check is told of: one that the request names, if it names one.
fn field_of(collection: &Collection, check: usize, named: &[FieldId]) -> FieldId {
    let fields = &collection.checks[check].fields;
    fields.iter().find(|field| named.contains(field)).or(fields.first()).copied().unwrap_or(Collection::ID)
}

/// Puts the rules of the fields that a change names before its statement that writes, under the row's lock. A value that stays the same
/// is no change.
pub(crate) fn of_a_change(collection: &Collection, id: &str, values: &[(FieldId, Value)], work: &mut Work) {
    for (field, value) in values {
        let rules = &collection.fields[*field].rules;
        if rules.write_once {
            let miss = work.meaning(Meaning::WriteOnce(*field));
            work.step_before_write(Step::Check { table: collection.id, id: id.into(), filter: same(*field, value), miss });
        }
        if rules.transitions.is_some() {
            let miss = work.meaning(Meaning::Transition { collection: collection.id, id: id.into(), field: *field });
            work.step_before_write(Step::Check { table: collection.id, id: id.into(), filter: may_follow(collection, *field, value), miss });
        }
    }
}

fn same(field: FieldId, value: &Value) -> Predicate {
    match value {
        Value::Null => Predicate::IsNull(Operand::Column(field)),
        value => Predicate::Compare(Operand::Column(field), Comparison::Equal, Operand::Constant(value.clone())),
    }
}

fn may_follow(collection: &Collection, field: FieldId, value: &Value) -> Predicate {
    let rules = &collection.fields[field].rules;
    // No word follows the last: a word is not taken away either.
    let Some(word) = value.as_text() else { return same(field, value) };
    let before = std::iter::once(word).chain(rules.before(word)).map(Value::text).collect();
    let unset = if rules.begins_with(word) { Predicate::IsNull(Operand::Column(field)) } else { Predicate::False };
    Predicate::any([Predicate::OneOf(Operand::Column(field), before), unset])
}
