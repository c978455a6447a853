//! Conditions on single columns, and what a stored row has in them: what features ask of their system tables.

use crate::{
    operand::Operand,
    predicate::{Comparison, Predicate},
    value::Value,
};

/// `column = value`.
#[must_use]
pub fn is(column: usize, value: impl Into<Value>) -> Predicate {
    compare(column, Comparison::Equal, value)
}

/// `column <> value`.
#[must_use]
pub fn is_not(column: usize, value: impl Into<Value>) -> Predicate {
    compare(column, Comparison::NotEqual, value)
}

/// `column > value`.
#[must_use]
pub fn above(column: usize, value: impl Into<Value>) -> Predicate {
    compare(column, Comparison::Greater, value)
}

/// `column <= value`.
#[must_use]
pub fn at_most(column: usize, value: impl Into<Value>) -> Predicate {
    compare(column, Comparison::LessOrEqual, value)
}

fn compare(column: usize, comparison: Comparison, value: impl Into<Value>) -> Predicate {
    Predicate::Compare(Operand::Column(column), comparison, Operand::Constant(value.into()))
}

/// A text of a row; empty when it has none.
#[must_use]
pub fn text(row: &[Value], column: usize) -> &str {
    row.get(column).and_then(Value::as_text).unwrap_or_default()
}

/// A number of a row; zero when it has none.
#[must_use]
pub fn int(row: &[Value], column: usize) -> i64 {
    row.get(column).and_then(Value::as_int).unwrap_or_default()
}
