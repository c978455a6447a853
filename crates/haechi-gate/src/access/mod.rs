//! Access as data, worked out in memory: who reaches what, why somebody may or may not, and what differs between two folders.
//!
//! Commands print it; nothing here decides a request.

mod advice;
mod difference;
mod examples;
mod explanation;
mod reach;
mod statement;

pub use advice::{Advice, Advised, Looked};
pub use difference::{AccessChange, Way, difference};
pub use examples::{Examples, Pair, Pairs};
pub use explanation::{Asker, Explanation, Outcome};
pub use reach::{Reach, Reached};
