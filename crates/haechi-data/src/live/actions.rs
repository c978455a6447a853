//! Opens streams. No HTTP: every door that shows changes opens its streams here.

use crate::record::{QueryInput, RecordError};
use haechi_gate::{Ask, EndReason, Gate, Grant, Stream, Watch, WatchError, WatchQuery};
use haechi_model::{CollectionId, Shape};
use haechi_problem::{Problem, kinds};

/// A stream of a collection's changes, for a door with its own output format.
///
/// # Errors
/// When policy says no, the query cannot be asked, or the position is not known or no longer kept.
pub async fn watch(gate: &Gate, grant: Grant<Watch>, query: WatchQuery, after: Option<&str>) -> Result<Stream, RecordError> {
    let (revision, collection) = (gate.revision(), grant.collection().id);
    gate.watch(grant, query, after).await.map_err(|error| match error {
        WatchError::Read(error) => RecordError::read(error, &revision.app, collection),
        WatchError::Position => RecordError::Position,
        WatchError::Gone => RecordError::PositionGone,
        WatchError::TooMany => RecordError::TooManyStreams,
    })
}

/// A query as REST writes it: filter, equality and fields.
///
/// # Errors
/// What is wrong with it.
pub fn query(ask: &Ask, collection: CollectionId, input: &QueryInput) -> Result<WatchQuery, RecordError> {
    if let Some((name, _)) =
        input.parameters.iter().find(|(name, _)| matches!(name.as_str(), "order_by" | "page_size" | "page_token" | "expand" | "count"))
    {
        return Err(RecordError::Parameter { name: name.clone(), what: "does not belong to a stream; it takes filter, fields and equality" });
    }
    let me = (!ask.caller().is_anonymous()).then(|| ask.caller().id());
    let query = input.resolve(ask.app(), &ask.app().collections[collection], me)?;
    Ok(WatchQuery { fields: query.fields, filter: query.filter, shape: Shape::Record, follow: Vec::new() })
}

/// The end of a stream as a problem, for doors that report it as an error.
#[must_use]
pub fn ended(reason: EndReason) -> Problem {
    match reason {
        EndReason::Caller => Problem::new(kinds::UNAUTHENTICATED, "Sign in again: what the person who watches may do has changed."),
        EndReason::Refused => Problem::new(kinds::FORBIDDEN, "No policy allows this any more."),
        EndReason::Slow => Problem::new(kinds::BUSY, "The stream was read too slowly: go on after the last position."),
        EndReason::Busy | EndReason::Closing => Problem::new(kinds::BUSY, "The stream ends: go on after the last position.").retry_after(1),
    }
}
