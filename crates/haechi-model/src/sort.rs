//! The order of rows.

/// One part of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The column.
    pub column: usize,
    /// Largest first.
    pub descending: bool,
    /// Whether rows without a value come after those with one.
    pub nulls_after: bool,
}

impl Order {
    /// An order in which NULL is the smallest value.
    #[must_use]
    pub fn new(column: usize, descending: bool) -> Self {
        Self { column, descending, nulls_after: descending }
    }

    /// The opposite order.
    #[must_use]
    pub fn reversed(&self) -> Self {
        Self { column: self.column, descending: !self.descending, nulls_after: !self.nulls_after }
    }
}
