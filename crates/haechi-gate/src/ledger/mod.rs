//! The ledger of this house: what is written down, sealed, witnessed, verified, and archived.

pub(crate) mod access;
pub(crate) mod archive;
pub(crate) mod audit;
pub(crate) mod beside;
pub(crate) mod journal;
pub(crate) mod keeping;
pub(crate) mod refused;
mod restate;
mod rows;
pub(crate) mod seal;
pub(crate) mod sealing;
pub(crate) mod witness;

/// Entries as lines, and the position of those that follow.
pub type Lines = (Vec<u8>, Option<i64>);
