//! Checks: what must hold of the values of each row.

use crate::{lookup::Alone, predicate::Predicate, value::Value};

/// What must hold of each row. A comparison with a value that is not there says nothing, so it breaks no check.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// As the folder says it.
    pub that: String,
    /// What a caller is told who breaks it.
    pub message: Option<String>,
    /// The fields that it looks at, in order.
    pub fields: Vec<usize>,
    /// When it is broken for sure.
    pub(crate) broken: Predicate,
}

impl Check {
    /// Whether a row keeps it.
    #[must_use]
    pub fn holds(&self, row: &[Value]) -> bool {
        !self.broken.holds(row, &Alone)
    }

    /// What somebody is told who breaks it.
    #[must_use]
    pub fn words(&self) -> String {
        self.message.clone().unwrap_or_else(|| format!("must hold: {}", self.that))
    }

    /// Whether it looks at one of these columns.
    #[must_use]
    pub fn looks_at(&self, columns: &[usize]) -> bool {
        self.broken.reads_any(columns)
    }

    /// The condition under which a row keeps it.
    #[must_use]
    pub fn condition(&self) -> Predicate {
        self.broken.clone().not_true()
    }
}
