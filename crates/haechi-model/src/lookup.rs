//! What conditions ask beyond their own row.

use crate::{group::Group, value::Value};

/// Rows of other tables, for conditions that follow references.
pub trait Lookup {
    /// The row of a table with this id.
    fn row(&self, table: usize, id: &str) -> Option<Vec<Value>>;

    /// Whether a joining row puts a person into the group of this very row. Inheritance is not looked at.
    fn joined(&self, group: &Group, of: &str, who: &str) -> bool;
}

/// No other rows: for conditions that their row alone decides.
pub struct Alone;

impl Lookup for Alone {
    fn row(&self, _: usize, _: &str) -> Option<Vec<Value>> {
        None
    }

    fn joined(&self, _: &Group, _: &str, _: &str) -> bool {
        false
    }
}
