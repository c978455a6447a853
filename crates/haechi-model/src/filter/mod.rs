//! Filters in the language of AIP-160, read with our own parser into conditions. Never SQL text.

mod lex;
mod parse;
mod resolve;
mod truth;

#[cfg(test)]
mod tests;

pub use resolve::{Filter, read_filter, read_order, restriction};
pub(crate) use truth::{Truth, read_check};

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
