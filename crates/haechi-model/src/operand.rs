//! Scalars in conditions: of the current row, bound values, or of a row that it refers to.

use crate::{group::Group, lookup::Lookup, predicate::Predicate, value::Value};
use std::sync::Arc;

/// A scalar in a condition.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    /// A column of the current row.
    Column(usize),
    /// A value, always bound as a parameter.
    Constant(Value),
    /// An operand of the row that an id names; NULL when there is none.
    Follow {
        /// The id.
        from: Box<Operand>,
        /// Index of the table it refers to.
        table: usize,
        /// The operand there.
        then: Box<Operand>,
    },
    /// An integer plus a constant; NULL on overflow.
    Plus(Box<Operand>, i64),
    /// The first operand whose condition holds; NULL when none does.
    Choose(Vec<(Predicate, Operand)>),
}

impl Operand {
    pub(crate) fn is_local(&self) -> bool {
        match self {
            Self::Column(_) | Self::Constant(_) => true,
            Self::Follow { .. } => false,
            Self::Plus(inner, _) => inner.is_local(),
            Self::Choose(arms) => arms.iter().all(|(condition, operand)| condition.is_local() && operand.is_local()),
        }
    }

    pub(crate) fn looks_into(&self, tables: &mut Vec<usize>) {
        match self {
            Self::Constant(_) | Self::Column(_) => {}
            Self::Follow { from, table, then } => {
                tables.push(*table);
                from.looks_into(tables);
                then.looks_into(tables);
            }
            Self::Plus(inner, _) => inner.looks_into(tables),
            Self::Choose(arms) => arms.iter().for_each(|(condition, operand)| {
                condition.looks_into(tables);
                operand.looks_into(tables);
            }),
        }
    }

    pub(crate) fn each_group(&self, see: &mut dyn FnMut(&Arc<Group>, Option<&str>)) {
        match self {
            Self::Constant(_) | Self::Column(_) => {}
            Self::Follow { from, then, .. } => {
                from.each_group(see);
                then.each_group(see);
            }
            Self::Plus(inner, _) => inner.each_group(see),
            Self::Choose(arms) => arms.iter().for_each(|(condition, operand)| {
                condition.each_group(see);
                operand.each_group(see);
            }),
        }
    }

    pub(crate) fn reads_any(&self, columns: &[usize]) -> bool {
        match self {
            Self::Constant(_) => false,
            Self::Column(column) => columns.contains(column),
            Self::Follow { from, .. } => from.reads_any(columns),
            Self::Plus(inner, _) => inner.reads_any(columns),
            Self::Choose(arms) => arms.iter().any(|(condition, operand)| condition.reads_any(columns) || operand.reads_any(columns)),
        }
    }

    pub(crate) fn with_columns(&self, column: &dyn Fn(usize) -> Self) -> Self {
        match self {
            Self::Column(at) => column(*at),
            Self::Constant(_) => self.clone(),
            Self::Follow { from, table, then } => Self::Follow { from: Box::new(from.with_columns(column)), table: *table, then: then.clone() },
            Self::Plus(inner, add) => Self::Plus(Box::new(inner.with_columns(column)), *add),
            Self::Choose(arms) => {
                Self::Choose(arms.iter().map(|(condition, operand)| (condition.with_columns(column), operand.with_columns(column))).collect())
            }
        }
    }

    /// Its value for a row; NULL where there is none.
    #[must_use]
    pub fn value(&self, row: &[Value], rows: &dyn Lookup) -> Value {
        match self {
            Self::Column(column) => row[*column].clone(),
            Self::Constant(value) => value.clone(),
            Self::Follow { from, table, then } => match from.value(row, rows) {
                Value::Text(id) => rows.row(*table, &id).map_or(Value::Null, |row| then.value(&row, rows)),
                _ => Value::Null,
            },
            Self::Plus(inner, add) => match inner.value(row, rows) {
                Value::Int(int) => int.checked_add(*add).map_or(Value::Null, Value::Int),
                _ => Value::Null,
            },
            Self::Choose(arms) => {
                arms.iter().find(|(condition, _)| condition.holds(row, rows)).map_or(Value::Null, |(_, operand)| operand.value(row, rows))
            }
        }
    }
}
