//! What one can do with records. No HTTP, no SQL: every function asks the gate first.

use super::{
    body::{Purpose, read_values},
    error::RecordError,
    page_token,
    query::{Query, QueryInput},
};
use haechi_gate::{Ask, Create, Delete, Done, Grant, List, ListQuery, Read, Sealer, Update, WorkError, WriteError};
use haechi_model::{Claim, Collection, CollectionId, FieldId, FieldType, Json, RowPage};
use std::collections::BTreeMap;

/// One record, or one page of them, as JSON.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The body.
    pub bytes: Vec<u8>,
    /// Version of the one record.
    pub version: Option<i64>,
    /// Id of the one record.
    pub id: Option<Box<str>>,
    /// Whether an earlier request with the same key did it.
    pub replayed: bool,
}

/// What listing needs beside the question.
pub struct Listing<'a> {
    /// The query.
    pub input: &'a QueryInput,
    /// Seals page tokens.
    pub tokens: &'a Sealer,
}

/// The collection of this name.
pub(crate) fn collection(ask: &Ask, name: &str) -> Result<CollectionId, RecordError> {
    ask.app().collection(name).map(|collection| collection.id).ok_or(RecordError::NotFound)
}

/// A page of records.
pub(crate) async fn list(ask: &Ask, collection: CollectionId, listing: &Listing<'_>) -> Result<Page, RecordError> {
    let grant: Grant<List> = ask.on(collection).map_err(RecordError::Refused)?;
    let declared = &ask.app().collections[collection];
    let me = (!ask.caller().is_anonymous()).then(|| ask.caller().id());
    let query = listing.input.resolve(ask.app(), declared, me)?;
    let binding = binding(ask, &query);
    let after = match &query.page_token {
        None => None,
        Some(token) => Some(page_token::open(listing.tokens, token, &binding, ask.now_ms()).ok_or(RecordError::PageToken)?),
    };
    let wanted = ListQuery {
        fields: query.fields.clone(),
        filter: query.filter.clone(),
        order: query.order.clone(),
        after,
        limit: query.page_size,
        follow: query.expand.clone(),
        scan: false,
    };
    let page = grant.list(wanted).await.map_err(|error| RecordError::read(error, declared))?;
    let expansions = Box::pin(expansions(ask, declared, &query.expand, &page)).await?;
    let mut bytes = Vec::with_capacity(page.bytes.len() + 128);
    bytes.extend_from_slice(b"{\"items\":[");
    with_expansions(declared, &query.expand, &page, &expansions, &mut bytes);
    bytes.push(b']');
    if let Some(place) = &page.next {
        bytes.extend_from_slice(b",\"next_page_token\":\"");
        bytes.extend_from_slice(page_token::seal(listing.tokens, place, &binding, ask.now_ms()).as_bytes());
        bytes.push(b'"');
    }
    bytes.push(b'}');
    Ok(Page { bytes, ..Page::default() })
}

fn binding(ask: &Ask, query: &Query) -> Vec<u8> {
    format!("{:?}\0{}\0\0{}", ask.caller().kind(), ask.caller().id(), query.fingerprint).into_bytes()
}

/// One record.
pub(crate) async fn get(ask: &Ask, collection: CollectionId, id: &str, input: &QueryInput) -> Result<Page, RecordError> {
    let grant: Grant<Read> = ask.on(collection).map_err(RecordError::Refused)?;
    let declared = &ask.app().collections[collection];
    let (mut fields, mut follow) = (None, Vec::new());
    if !input.parameters.is_empty() {
        if let Some((name, _)) = input.parameters.iter().find(|(name, _)| !matches!(name.as_str(), "fields" | "expand")) {
            return Err(RecordError::Parameter { name: name.clone(), what: "does not belong to one record; it takes fields and expand" });
        }
        let query = input.resolve(ask.app(), declared, None)?;
        (fields, follow) = (query.fields, query.expand);
    }
    let Some(id) = record_id(id) else { return Err(RecordError::NotFound) };
    let page = grant.get(&id, fields.as_deref(), &follow).await.map_err(|error| RecordError::read(error, declared))?;
    let page = page.ok_or(RecordError::NotFound)?;
    let version = page.versions.first().copied();
    if follow.is_empty() {
        return Ok(Page { bytes: page.bytes, version, ..Page::default() });
    }
    let expansions = Box::pin(expansions(ask, declared, &follow, &page)).await?;
    let mut bytes = Vec::new();
    with_expansions(declared, &follow, &page, &expansions, &mut bytes);
    Ok(Page { bytes, version, ..Page::default() })
}

/// An id in its one written form; any other is no record's.
pub(crate) fn record_id(text: &str) -> Option<String> {
    let shape = text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        });
    shape.then(|| text.to_owned())
}

/// Adds a record.
pub(crate) async fn create(ask: &Ask, collection: CollectionId, json: &Json, claim: Option<Claim>) -> Result<Page, RecordError> {
    let grant: Grant<Create> = ask.on(collection).map_err(RecordError::Refused)?;
    let declared = &ask.app().collections[collection];
    let values = read_values(json, declared, Purpose::Create, "")?;
    let mut work = ask.work();
    let id = grant.insert(&mut work, values).map_err(|error| RecordError::write(WorkError { operation: 0, error }, String::new(), declared))?;
    if let Some(claim) = claim {
        work.claim(Claim { result: format!("{}/{id}", declared.name).into(), ..claim });
    }
    finish(ask, work, declared, 0).await
}

/// Changes fields of a record.
pub(crate) async fn update(
    ask: &Ask,
    collection: CollectionId,
    id: &str,
    json: &Json,
    version: Option<i64>,
    claim: Option<Claim>,
) -> Result<Page, RecordError> {
    let grant: Grant<Update> = ask.on(collection).map_err(RecordError::Refused)?;
    let declared = &ask.app().collections[collection];
    let values = read_values(json, declared, Purpose::Merge, "")?;
    let Some(id) = record_id(id) else { return Err(RecordError::NotFound) };
    let mut work = ask.work();
    grant.update(&mut work, &id, values, version).map_err(|error| RecordError::write(WorkError { operation: 0, error }, String::new(), declared))?;
    if let Some(claim) = claim {
        work.claim(Claim { result: format!("{}/{id}", declared.name).into(), ..claim });
    }
    finish(ask, work, declared, 0).await
}

/// Deletes a record; `true` when an earlier request with the same key did it.
pub(crate) async fn delete(ask: &Ask, collection: CollectionId, id: &str, version: Option<i64>, claim: Option<Claim>) -> Result<bool, RecordError> {
    let grant: Grant<Delete> = ask.on(collection).map_err(RecordError::Refused)?;
    let declared = &ask.app().collections[collection];
    let Some(id) = record_id(id) else { return Err(RecordError::NotFound) };
    let mut work = ask.work();
    grant.delete(&mut work, &id, version);
    if let Some(claim) = claim {
        work.claim(Claim { result: "deleted".into(), ..claim });
    }
    work.commit().await.map(|(_, replayed)| replayed.is_some()).map_err(|error| RecordError::write(error, String::new(), declared))
}

/// Commits, and shows the record that an operation of the change writes; what other operations meet is not about it.
pub(crate) async fn finish(ask: &Ask, work: haechi_gate::Work, declared: &Collection, operation: usize) -> Result<Page, RecordError> {
    let (done, replayed) = work.commit().await.map_err(|error| match &error.error {
        WriteError::Store(_) | WriteError::KeyReused => RecordError::write(error, String::new(), declared),
        _ if error.operation == operation => RecordError::write(error, String::new(), declared),
        _ => RecordError::Beside,
    })?;
    if let Some(result) = replayed {
        return replay(ask, declared, &result).await;
    }
    let Some(done) = done.into_iter().nth(operation) else { return Err(RecordError::NotFound) };
    let (bytes, version) = shown(ask, &done).await?;
    Ok(Page { bytes, version, id: Some(done.id), replayed: false })
}

/// A written record as its writer may see it: at least its id.
pub(crate) async fn shown(ask: &Ask, done: &Done) -> Result<(Vec<u8>, Option<i64>), RecordError> {
    let version = done.row.as_ref().and_then(|row| row[Collection::VERSION].as_int());
    // The change is made: whatever keeps its record from being shown, the answer is not a failure.
    match ask.representation(done).await {
        Ok(Some(bytes)) => Ok((bytes, version)),
        Ok(None) | Err(_) => Ok((format!("{{\"id\":\"{}\"}}", done.id).into_bytes(), version)),
    }
}

/// What an earlier request with the same key did, read under today's policies.
pub(crate) async fn replay(ask: &Ask, declared: &Collection, result: &str) -> Result<Page, RecordError> {
    let id = result.strip_prefix(&declared.name).and_then(|rest| rest.strip_prefix('/')).unwrap_or_default();
    let bare = || Page { bytes: format!("{{\"id\":\"{id}\"}}").into_bytes(), id: Some(id.into()), replayed: true, ..Page::default() };
    match get(ask, declared.id, id, &QueryInput::default()).await {
        Ok(page) => Ok(Page { id: Some(id.into()), replayed: true, ..page }),
        Err(RecordError::NotFound | RecordError::Refused(_)) => Ok(bare()),
        Err(error) => Err(error),
    }
}

/// Rows that references name, as far as the caller may read them: per reference, id to JSON.
async fn expansions(ask: &Ask, declared: &Collection, follow: &[FieldId], page: &RowPage) -> Result<Vec<BTreeMap<Box<str>, Vec<u8>>>, RecordError> {
    let mut found = Vec::with_capacity(follow.len());
    for (at, field) in follow.iter().enumerate() {
        let FieldType::Ref { to, .. } = declared.fields[*field].ty else { continue };
        let mut ids: Vec<Box<str>> = page.followed.iter().filter_map(|row| row.get(at)?.clone()).collect();
        ids.sort_unstable();
        ids.dedup();
        let grant = if ids.is_empty() { None } else { ask.on::<Read>(to).ok() };
        let mut by_id = BTreeMap::new();
        if let Some(grant) = grant {
            let target = &ask.app().collections[to];
            let rows = grant.many(&ids).await.map_err(|error| RecordError::read(error, target))?;
            let mut start = 0;
            for (id, end) in rows.ids.iter().zip(&rows.ends) {
                by_id.insert(id.clone(), rows.bytes[start..*end].to_vec());
                start = end + 1;
            }
        }
        found.push(by_id);
    }
    Ok(found)
}

/// The objects of a page, each with `_expanded` before its closing brace.
fn with_expansions(declared: &Collection, follow: &[FieldId], page: &RowPage, expansions: &[BTreeMap<Box<str>, Vec<u8>>], out: &mut Vec<u8>) {
    if follow.is_empty() {
        out.extend_from_slice(&page.bytes);
        return;
    }
    let mut start = 0;
    for (at, end) in page.ends.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(&page.bytes[start..end - 1]);
        out.extend_from_slice(b",\"_expanded\":{");
        let mut first = true;
        for (place, field) in follow.iter().enumerate() {
            let id = page.followed.get(at).and_then(|row| row.get(place)?.as_ref());
            let Some(bytes) = id.and_then(|id| expansions.get(place)?.get(id)) else { continue };
            if !first {
                out.push(b',');
            }
            first = false;
            haechi_model::write_json_text(&declared.fields[*field].name, out);
            out.push(b':');
            out.extend_from_slice(bytes);
        }
        out.extend_from_slice(b"}}");
        start = end + 1;
    }
}
