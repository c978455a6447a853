//! The fields of a reply, whether each is shown, and the cells that they are read from.

use crate::{positions::FieldId, predicate::Predicate, value::Value};

/// Whether a field is shown.
#[derive(Clone, Debug, PartialEq)]
pub enum Mask {
    /// In every row.
    Shown,
    /// In no row: the column is not read, the name stands in `_masked`.
    Hidden,
    /// In the rows for which the condition holds.
    When(Predicate),
}

/// A field of the reply.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// The field; also its column.
    pub field: FieldId,
    /// Whether it is shown.
    pub mask: Mask,
}

/// The cells of a row, for any kind of storage.
pub trait Cells {
    /// A whole number.
    fn int(&self, at: usize) -> Option<i64>;
    /// A finite number.
    fn real(&self, at: usize) -> Option<f64>;
    /// A text.
    fn text(&self, at: usize) -> Option<&str>;
}

impl Cells for [Value] {
    fn int(&self, at: usize) -> Option<i64> {
        self[at].as_int()
    }

    fn real(&self, at: usize) -> Option<f64> {
        match self[at] {
            Value::Real(real) => Some(real),
            _ => None,
        }
    }

    fn text(&self, at: usize) -> Option<&str> {
        self[at].as_text()
    }
}
