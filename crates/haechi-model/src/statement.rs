//! Reading, as data: which rows, which fields, in which order.

use crate::{field::FieldId, predicate::Predicate, value::Value};

/// Whether a field is shown.
#[derive(Clone, Debug, PartialEq)]
pub enum Mask {
    /// In every row.
    Shown,
    /// In no row: the column is not read, the name stands in `_masked`.
    Hidden,
    /// In the rows of which the condition holds.
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

/// One part of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The column.
    pub column: usize,
    /// Largest first, NULL last.
    pub descending: bool,
}

/// A read of rows of one collection.
#[derive(Clone, Debug, PartialEq)]
pub struct Select {
    /// The collection.
    pub collection: usize,
    /// What each row shows.
    pub outputs: Vec<Output>,
    /// Which rows.
    pub filter: Predicate,
    /// In which order; the id is always the last part of a list's order.
    pub order: Vec<Order>,
    /// Keyset: the order's values in the last row of the page before.
    pub after: Option<Vec<Value>>,
    /// Most rows.
    pub limit: u32,
    /// Ids of these references are wanted beside the bytes, for expansion; each must be among the outputs, whose mask counts.
    pub follow: Vec<FieldId>,
}

/// Rows as finished JSON.
#[derive(Clone, Debug, Default)]
pub struct RowPage {
    /// The objects, one after the other, separated by commas.
    pub bytes: Vec<u8>,
    /// Where each object ends in `bytes`.
    pub ends: Vec<usize>,
    /// Id of each row.
    pub ids: Vec<Box<str>>,
    /// Version of each row.
    pub versions: Vec<i64>,
    /// Per row, the ids in the columns to follow.
    pub followed: Vec<Vec<Option<Box<str>>>>,
    /// The order's values of the last row that is shown, when there are more rows.
    pub next: Option<Vec<Value>>,
    /// Bit *n* is set when at least one row showed output *n*.
    pub shown: u64,
}
