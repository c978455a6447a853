//! People: signing up, the first administrator, and what an operator does with them.

mod actions;
mod http;
mod operator;

pub(crate) use http::routes;
pub use operator::{Operator, Person};
