//! Filters in the language of AIP-160, read with our own parser into conditions. Never SQL text.

mod lex;
mod parse;
mod resolve;
mod truth;

#[cfg(test)]
mod tests;

pub use resolve::{Filter, read_filter, read_filter_through, read_order, restriction, through};
pub(crate) use truth::{Truth, read_check};

use crate::predicate::Predicate;

/// Most references that a filter looks through, one after the other.
pub const MAX_STEPS: usize = 3;

/// Whether a condition is one that a filter can have: it looks at the row itself and, through so many references, at rows that it refers to.
#[must_use]
pub fn is_filter(condition: &Predicate, steps: usize) -> bool {
    match condition {
        Predicate::All(parts) | Predicate::Any(parts) => parts.iter().all(|part| is_filter(part, steps)),
        Predicate::NotTrue(inner) => is_filter(inner, steps),
        Predicate::Reference { from, inner, .. } => steps > 0 && from.is_local() && is_filter(inner, steps - 1),
        other => other.is_local(),
    }
}

/// Why a filter or an order cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {what}")]
pub struct FilterError {
    /// Column, from 1, in characters.
    pub column: usize,
    /// What is wrong there.
    pub what: String,
}

/// The longest filter, in bytes.
const MAX_BYTES: usize = 8 * 1024;
/// The most comparisons in a filter.
const MAX_TERMS: usize = 100;
/// The deepest nesting of brackets and NOT.
const MAX_DEPTH: usize = 32;
