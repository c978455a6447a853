//! Rules about change that the folder declares for fields: they hold for every writer, whatever policies allow.

use crate::work::{Meaning, Work, WriteError};
use haechi_model::{Collection, Comparison, FieldId, Operand, Predicate, Row, Step, Value};

/// A new row begins with a word that it may begin with.
pub(crate) fn of_a_new_row(collection: &Collection, row: &Row) -> Result<(), WriteError> {
    let breaks = |(at, field): &(FieldId, &haechi_model::Field)| row[*at].as_text().is_some_and(|word| !field.rules.begins_with(word));
    collection.declared().find(breaks).map_or(Ok(()), |(at, _)| Err(WriteError::NotInitial(at)))
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
