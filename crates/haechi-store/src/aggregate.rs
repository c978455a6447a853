//! The one row of an aggregate, read back.

use crate::catalog::Catalog;
use haechi_model::{Aggregate, AggregateFunction, Cells, Storage, Value};

/// The divisor that splits sums of whole numbers into two parts.
const PART: i128 = 1_000_000_000;

/// What each part is.
pub(crate) struct Parts(Vec<(AggregateFunction, Storage)>);

impl Parts {
    pub(crate) fn of(aggregate: &Aggregate, catalog: &Catalog) -> Self {
        let columns = &catalog.tables[aggregate.collection].columns;
        Self(aggregate.parts.iter().map(|(function, column)| (*function, column.map_or(Storage::Int, |column| columns[column].storage))).collect())
    }

    /// A value per part.
    pub(crate) fn read(&self, cells: &impl Cells) -> Vec<Value> {
        let mut at = 0;
        let mut next = || {
            at += 1;
            at - 1
        };
        let int = |at: usize| cells.int(at).map_or(Value::Null, Value::Int);
        let real = |at: usize| cells.real(at).map_or(Value::Null, Value::Real);
        let value = |(function, storage): &(AggregateFunction, Storage)| match (function, storage) {
            (AggregateFunction::Count, _) => int(next()),
            (AggregateFunction::Average, _) | (_, Storage::Real) => real(next()),
            (AggregateFunction::Sum, _) => match (cells.int(next()), cells.int(next())) {
                (Some(above), Some(below)) => Value::text((i128::from(above) * PART + i128::from(below)).to_string()),
                _ => Value::Null,
            },
            (_, Storage::Int) => int(next()),
            _ => cells.text(next()).map_or(Value::Null, Value::text),
        };
        self.0.iter().map(value).collect()
    }
}
