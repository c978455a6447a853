//! Rows as the caller may read them: of a question, and the targets of references.

use super::error::RecordError;
use haechi_gate::{Ask, Grant, List, ListQuery, Read, Wanted};
use haechi_model::{CollectionId, FieldType, RowPage};

/// Rows of a collection, for a door with its own output format.
///
/// # Errors
/// When policy says no, the query uses a field that the caller may not read, or the database cannot be reached.
pub async fn found(ask: &Ask, collection: CollectionId, query: ListQuery) -> Result<RowPage, RecordError> {
    let grant: Grant<List> = ask.on(collection).map_err(RecordError::Refused)?;
    grant.list(query).await.map_err(|error| RecordError::read(error, ask.app(), collection))
}

/// Most records that the references and lists of one page may lead to.
const MOST_REFERRED: usize = 5_000;

/// The rows that exist and that the caller may read: the targets of references.
///
/// # Errors
/// When the database cannot be reached.
pub async fn referred(ask: &Ask, collection: CollectionId, ids: &[Box<str>], wanted: Wanted<'_>) -> Result<RowPage, RecordError> {
    if ids.len() > MOST_REFERRED {
        return Err(RecordError::TooLong);
    }
    let grant = if ids.is_empty() { None } else { ask.on::<Read>(collection).ok() };
    let Some(grant) = grant else { return Ok(RowPage::default()) };
    grant.many(ids, wanted).await.map_err(|error| RecordError::read(error, ask.app(), collection))
}

/// The ids that a followed reference or list names in the rows of a page, each once.
#[must_use]
pub fn named_by(ty: &FieldType, followed: usize, page: &RowPage) -> Vec<Box<str>> {
    let stored = page.followed.iter().filter_map(|row| row.get(followed)?.as_deref());
    let mut ids: Vec<Box<str>> = stored.flat_map(|stored| ty.ids(stored)).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}
