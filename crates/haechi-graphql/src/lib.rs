//! The GraphQL door: a schema built from the model, and an executor that calls the actions on records.
//!
//! It has no rules of its own: the actions ask policy, the same for REST and GraphQL.

mod aggregate;
mod check;
mod cost;
mod documents;
mod door;
mod error;
mod execute;
mod http;
mod input;
mod merge;
mod mutate;
mod names;
mod parameters;
mod plan;
mod planner;
mod reach;
mod schema;
mod socket;
mod subscribe;
mod usage;

pub use door::{Door, Fault, Options, faults, sdl};
pub use http::router;

/// The routes of the door, and who reaches them.
#[must_use]
pub fn routes() -> Vec<(&'static str, &'static str, &'static str)> {
    vec![
        ("GET", "/graphql", "queries; a WebSocket for subscriptions; each root field asks as REST does"),
        ("POST", "/graphql", "queries and mutations; each root field asks as REST does"),
    ]
}
