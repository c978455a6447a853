//! Reading, as data: which rows, which fields, in which order.

use crate::{output::Output, positions::FieldId, predicate::Predicate, shape::Shape, sort::Order, value::Value};

/// A read of rows of one collection.
#[derive(Clone, Debug, PartialEq)]
pub struct Select {
    /// The collection.
    pub collection: usize,
    /// What each row shows.
    pub outputs: Vec<Output>,
    /// How each row is written.
    pub shape: Shape,
    /// Which rows.
    pub filter: Predicate,
    /// In which order; the id is always the last part of a list's order.
    pub order: Vec<Order>,
    /// Keyset: the order's values in the last row of the page before.
    pub after: Option<Vec<Value>>,
    /// Most rows.
    pub limit: u32,
    /// A page ends with the row that reaches so many bytes.
    pub bytes: usize,
    /// The ids of these references are returned beside the bytes, for expansion. Each must be among the outputs, whose mask applies.
    pub follow: Vec<FieldId>,
    /// Whether the order's values of every row are wanted beside the bytes.
    pub places: bool,
    /// A page for each of these rows instead of one page.
    pub per: Option<PerParent>,
}

/// Rows that other rows refer to: each has a page of those that refer to it.
#[derive(Clone, Debug, PartialEq)]
pub struct PerParent {
    /// The column that refers.
    pub column: usize,
    /// Ids of the rows referred to.
    pub ids: Vec<Box<str>>,
}

impl Select {
    /// Rows of a collection for which a condition holds, without order and without outputs.
    #[must_use]
    pub fn new(collection: usize, filter: Predicate, limit: u32) -> Self {
        Self {
            collection,
            outputs: Vec::new(),
            shape: Shape::Record,
            filter,
            order: Vec::new(),
            after: None,
            limit,
            bytes: usize::MAX,
            follow: Vec::new(),
            places: false,
            per: None,
        }
    }
}

/// Rows as finished bytes.
#[derive(Clone, Debug, Default)]
pub struct RowPage {
    /// The rows, one after the other; JSON objects are separated by commas.
    pub bytes: Vec<u8>,
    /// Where each row ends in `bytes`.
    pub ends: Vec<usize>,
    /// Id of each row.
    pub ids: Vec<Box<str>>,
    /// Version of each row.
    pub versions: Vec<i64>,
    /// Per row, the ids in the columns to follow.
    pub followed: Vec<Vec<Option<Box<str>>>>,
    /// Where in `bytes` the holes of the shape are, row by row.
    pub holes: Vec<usize>,
    /// The order's values of each row, when they were wanted.
    pub places: Vec<Vec<Value>>,
    /// The order's values of the last row that is shown, when there are more rows.
    pub next: Option<Vec<Value>>,
    /// Whether rows were left out because of their bytes.
    pub cut: bool,
    /// For pages of parents: per row, the number of its parent; rows of a parent stand together.
    pub parents: Vec<usize>,
    /// For pages of parents: whether each parent has more rows.
    pub more: Vec<bool>,
    /// Bit *n* is set when at least one row showed output *n*.
    pub shown: u64,
}

impl RowPage {
    /// The same rows in the opposite order; so many bytes stand between two of them.
    #[must_use]
    pub fn reversed(mut self, gap: usize) -> Self {
        let start = |at: usize| if at == 0 { 0 } else { self.ends[at - 1] + gap };
        let holes = self.holes.len().checked_div(self.ends.len()).unwrap_or_default();
        let mut turned = Self { bytes: Vec::with_capacity(self.bytes.len()), ..Self::default() };
        for at in (0..self.ends.len()).rev() {
            if !turned.ends.is_empty() && gap > 0 {
                turned.bytes.push(b',');
            }
            let (from, to) = (start(at), turned.bytes.len());
            turned.bytes.extend_from_slice(&self.bytes[from..self.ends[at]]);
            turned.ends.push(turned.bytes.len());
            turned.holes.extend(self.holes[at * holes..(at + 1) * holes].iter().map(|hole| hole - from + to));
        }
        self.ids.reverse();
        self.versions.reverse();
        self.followed.reverse();
        self.places.reverse();
        Self { bytes: turned.bytes, ends: turned.ends, holes: turned.holes, ..self }
    }
}

/// What is computed over rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AggregateFunction {
    /// How many values there are.
    Count,
    /// The smallest.
    Min,
    /// The largest.
    Max,
    /// Their sum.
    Sum,
    /// Their mean.
    Average,
}

/// A computation over the rows of one collection for which a condition holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// The collection.
    pub collection: usize,
    /// Which rows.
    pub filter: Predicate,
    /// The function and its column; without a column it counts rows.
    pub parts: Vec<(AggregateFunction, Option<usize>)>,
    /// The columns whose values make groups, each with results of its own; without them all rows are one.
    pub group_by: Vec<usize>,
    /// Most groups, in the order of their values.
    pub limit: u32,
}
