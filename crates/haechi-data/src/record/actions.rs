//! Actions on records. No HTTP, no SQL: every function asks the gate first.

use super::{
    body::{Purpose, read_values},
    error::RecordError,
    expand::{self, Expansion, followed},
    page_token,
    query::QueryInput,
    rows,
};
use haechi_gate::{AggregateQuery, Ask, Create, Delete, Done, Grant, List, ListQuery, Read, Sealer, Update, Wanted, WorkError, WriteError};
use haechi_model::{AggregateFunction, Claim, Collection, CollectionId, FieldId, Json, Predicate, RowPage, Shape, Value};

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

/// What a list needs beside the caller's question.
pub struct Listing<'a> {
    /// The query.
    pub input: &'a QueryInput,
    /// Seals page tokens.
    pub tokens: &'a Sealer,
}

/// Pages of a query: the place where a page ends is sealed, and bound to the caller and to the query.
pub struct Pages<'a> {
    ask: &'a Ask,
    tokens: &'a Sealer,
    binding: Vec<u8>,
}

impl<'a> Pages<'a> {
    /// For a query, which the fingerprint tells apart from others.
    #[must_use]
    pub fn new(ask: &'a Ask, tokens: &'a Sealer, fingerprint: &str) -> Self {
        let binding = format!("{:?}\0{}\0\0{fingerprint}", ask.caller().kind(), ask.caller().id()).into_bytes();
        Self { ask, tokens, binding }
    }

    /// The place after which the next page starts.
    ///
    /// # Errors
    /// When the token belongs to another query or caller, or is too old.
    pub fn open(&self, token: &str) -> Result<Vec<Value>, RecordError> {
        page_token::open(self.tokens, token, &self.binding, self.ask.now_ms()).ok_or(RecordError::PageToken)
    }

    /// The token of a place.
    #[must_use]
    pub fn seal(&self, place: &[Value]) -> String {
        page_token::seal(self.tokens, place, &self.binding, self.ask.now_ms())
    }

    /// The token of the page that ends before a place.
    fn seal_back(&self, place: &[Value]) -> String {
        page_token::seal(self.tokens, place, &self.backward(), self.ask.now_ms())
    }

    /// A place, and whether the page before it is wanted.
    fn open_either(&self, token: &str) -> Result<(Vec<Value>, bool), RecordError> {
        let before = || page_token::open(self.tokens, token, &self.backward(), self.ask.now_ms()).map(|place| (place, true));
        self.open(token).map(|place| (place, false)).or_else(|error| before().ok_or(error))
    }

    fn backward(&self) -> Vec<u8> {
        [&self.binding, &b"\0backward"[..]].concat()
    }
}

/// One row.
///
/// # Errors
/// When policy says no, the row does not exist or is hidden from the caller, or the database cannot be reached.
pub async fn row(ask: &Ask, collection: CollectionId, id: &str, wanted: Wanted<'_>) -> Result<RowPage, RecordError> {
    let grant: Grant<Read> = ask.on(collection).map_err(RecordError::Refused)?;
    let Some(id) = record_id(id) else { return Err(RecordError::NotFound) };
    let page = grant.get(&id, wanted).await.map_err(|error| RecordError::read(error, ask.app(), collection))?;
    page.ok_or(RecordError::NotFound)
}

/// A computation over the rows of a collection.
///
/// # Errors
/// When policy says no, it uses a field that the caller may not read, or the database cannot be reached.
pub async fn aggregate(ask: &Ask, collection: CollectionId, query: AggregateQuery) -> Result<Vec<Vec<Value>>, RecordError> {
    let grant: Grant<List> = ask.on(collection).map_err(RecordError::Refused)?;
    grant.aggregate(query).await.map_err(|error| RecordError::read(error, ask.app(), collection))
}

/// How many rows a filter finds.
///
/// # Errors
/// As [`aggregate`].
pub async fn count(ask: &Ask, collection: CollectionId, filter: Predicate) -> Result<i64, RecordError> {
    let query = AggregateQuery { filter, parts: vec![(AggregateFunction::Count, None)], group_by: Vec::new(), limit: 1 };
    let found = aggregate(ask, collection, query).await?;
    Ok(found.first().and_then(|row| row.first()?.as_int()).unwrap_or_default())
}

/// The collection of this name.
pub(crate) fn collection(ask: &Ask, name: &str) -> Result<CollectionId, RecordError> {
    ask.app().collection(name).map(|collection| collection.id).ok_or(RecordError::NotFound)
}

/// A page of a list.
pub struct Listed {
    /// The rows.
    pub page: RowPage,
    /// The token of the next page, when there are more rows.
    pub next: Option<String>,
    /// The token of the page before, when there is one.
    pub prev: Option<String>,
    /// How many rows there are on all pages, when that was asked.
    pub total: Option<i64>,
    expand: Vec<Expansion>,
}

/// A page of records for a query as REST writes it. `shape` gets the shown fields, or `None` for all, and says how rows are written.
///
/// # Errors
/// When policy says no, the query cannot be asked, or the database cannot be reached.
pub async fn page(
    ask: &Ask,
    collection: CollectionId,
    listing: &Listing<'_>,
    shape: &(dyn Fn(Option<&[FieldId]>) -> Shape + Sync),
) -> Result<Listed, RecordError> {
    let _: Grant<List> = ask.on(collection).map_err(RecordError::Refused)?;
    let me = (!ask.caller().is_anonymous()).then(|| ask.caller().id());
    let query = listing.input.resolve(ask.app(), &ask.app().collections[collection], me)?;
    let pages = Pages::new(ask, listing.tokens, &query.fingerprint);
    let place = query.page_token.as_deref().map(|token| pages.open_either(token)).transpose()?;
    let (turned, backward) = (place.is_some(), place.as_ref().is_some_and(|(_, backward)| *backward));
    let counted = query.count.then(|| query.filter.clone());
    let wanted = ListQuery {
        after: place.map(|(place, _)| place),
        backward,
        // Only a page that is not the first can have one before it.
        places: turned,
        shape: shape(query.fields.as_deref()),
        fields: query.fields,
        filter: query.filter,
        order: query.order,
        follow: followed(&query.expand),
        ..ListQuery::new(query.page_size)
    };
    let page = rows::found(ask, collection, wanted).await?;
    let total = match counted {
        Some(filter) => Some(count(ask, collection, filter).await?),
        None => None,
    };
    let (first, last) = (page.places.first(), page.places.last());
    let (next, prev) = if backward { (last, page.next.as_ref()) } else { (page.next.as_ref(), first) };
    let (next, prev) = (next.map(|place| pages.seal(place)), prev.map(|place| pages.seal_back(place)));
    Ok(Listed { next, prev, total, page, expand: query.expand })
}

/// A page of records, as REST shows it.
pub(crate) async fn list(ask: &Ask, collection: CollectionId, listing: &Listing<'_>) -> Result<Page, RecordError> {
    let Listed { page, next, prev, total, expand } = self::page(ask, collection, listing, &|_| Shape::Record).await?;
    let declared = &ask.app().collections[collection];
    let filled = expand::fill(ask, declared, &expand, &page).await?;
    let mut bytes = Vec::with_capacity(page.bytes.len() + 128);
    bytes.extend_from_slice(b"{\"items\":[");
    expand::copies_fit(ask, declared, &page, &filled)?;
    expand::write(declared, &expand, &page, &filled, &mut bytes);
    bytes.push(b']');
    if let Some(token) = next {
        bytes.extend_from_slice(b",\"next_page_token\":\"");
        bytes.extend_from_slice(token.as_bytes());
        bytes.push(b'"');
    }
    if let Some(token) = prev {
        bytes.extend_from_slice(b",\"prev_page_token\":\"");
        bytes.extend_from_slice(token.as_bytes());
        bytes.push(b'"');
    }
    if let Some(total) = total {
        bytes.extend_from_slice(format!(",\"total_size\":{total}").as_bytes());
    }
    bytes.push(b'}');
    Ok(Page { bytes, ..Page::default() })
}

/// Records by their ids, all of them or none.
///
/// # Errors
/// When policy says no, one of them does not exist or is hidden from the caller, or the database cannot be reached.
pub async fn several(ask: &Ask, collection: CollectionId, ids: &[Box<str>], wanted: Wanted<'_>) -> Result<RowPage, RecordError> {
    let grant: Grant<Read> = ask.on(collection).map_err(RecordError::Refused)?;
    let ids: Option<Vec<Box<str>>> = ids.iter().map(|id| record_id(id).map(Into::into)).collect();
    let Some(ids) = ids else { return Err(RecordError::NotFound) };
    let ids = ids.as_slice();
    let page = grant.many(ids, wanted).await.map_err(|error| RecordError::read(error, ask.app(), collection))?;
    if ids.iter().any(|id| !page.ids.contains(id)) { Err(RecordError::NotFound) } else { Ok(page) }
}

/// One record, as REST shows it.
pub(crate) async fn get(ask: &Ask, collection: CollectionId, id: &str, input: &QueryInput) -> Result<Page, RecordError> {
    let grant: Grant<Read> = ask.on(collection).map_err(RecordError::Refused)?;
    let declared = &ask.app().collections[collection];
    let (mut fields, mut expand) = (None, Vec::new());
    if !input.parameters.is_empty() {
        if let Some((name, _)) = input.parameters.iter().find(|(name, _)| !matches!(name.as_str(), "fields" | "expand")) {
            return Err(RecordError::Parameter { name: name.clone(), what: "does not belong to one record; it takes fields and expand" });
        }
        let query = input.resolve(ask.app(), declared, None)?;
        (fields, expand) = (query.fields, query.expand);
    }
    let Some(id) = record_id(id) else { return Err(RecordError::NotFound) };
    let follow = followed(&expand);
    let page = grant
        .get(&id, Wanted { fields: fields.as_deref(), follow: &follow, ..Wanted::default() })
        .await
        .map_err(|error| RecordError::read(error, ask.app(), declared.id))?;
    let page = page.ok_or(RecordError::NotFound)?;
    let version = page.versions.first().copied();
    if expand.is_empty() {
        return Ok(Page { bytes: page.bytes, version, ..Page::default() });
    }
    let filled = expand::fill(ask, declared, &expand, &page).await?;
    let mut bytes = Vec::new();
    expand::write(declared, &expand, &page, &filled, &mut bytes);
    Ok(Page { bytes, version, ..Page::default() })
}

/// An id in its stored form; upper case is the same id. `None` for text that is no id.
#[must_use]
pub fn record_id(text: &str) -> Option<String> {
    let shape = text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    shape.then(|| text.to_ascii_lowercase())
}

/// A record that was written.
pub struct Made {
    collection: CollectionId,
    /// Its id.
    pub id: Box<str>,
    /// What was done; `None` when an earlier request with the same key did it.
    done: Option<Done>,
}

impl Made {
    /// Whether an earlier request with the same key did it.
    #[must_use]
    pub fn replayed(&self) -> bool {
        self.done.is_none()
    }

    /// The record as its writer may see it under the current policies; `None` when they may not.
    ///
    /// The change is made, so a failure to show the record is no error.
    pub async fn shown(&self, ask: &Ask, wanted: Wanted<'_>) -> Option<RowPage> {
        match &self.done {
            Some(done) => ask.representation(done, wanted).await.ok().flatten(),
            None => ask.on::<Read>(self.collection).ok()?.get(&self.id, wanted).await.ok().flatten(),
        }
    }

    /// As REST shows it: at least its id.
    pub(crate) async fn record(&self, ask: &Ask) -> Page {
        let page = match self.shown(ask, Wanted::default()).await {
            Some(row) => Page { version: row.versions.first().copied(), bytes: row.bytes, ..Page::default() },
            None => Page { bytes: format!("{{\"id\":\"{}\"}}", self.id).into_bytes(), version: self.version(), ..Page::default() },
        };
        Page { id: Some(self.id.clone()), replayed: self.replayed(), ..page }
    }

    fn version(&self) -> Option<i64> {
        self.done.as_ref()?.row.as_ref()?[Collection::VERSION].as_int()
    }
}

/// Adds a record.
///
/// # Errors
/// Why nothing was done.
pub async fn create(ask: &Ask, collection: CollectionId, json: &Json, claim: Option<Claim>) -> Result<Made, RecordError> {
    let grant: Grant<Create> = ask.on(collection).map_err(RecordError::Refused)?;
    let declared = &ask.app().collections[collection];
    let values = read_values(json, declared, Purpose::Create, "")?;
    let mut work = ask.work();
    let id = grant.insert(&mut work, values).map_err(|error| RecordError::write(WorkError { operation: 0, error }, String::new(), declared))?;
    if let Some(claim) = claim {
        work.claim(Claim { result: format!("{}/{id}", declared.name).into(), ..claim });
    }
    finish(work, declared, 0).await
}

/// Changes fields of a record.
///
/// # Errors
/// Why nothing was done.
pub async fn update(
    ask: &Ask,
    collection: CollectionId,
    id: &str,
    json: &Json,
    version: Option<i64>,
    claim: Option<Claim>,
) -> Result<Made, RecordError> {
    let grant: Grant<Update> = ask.on(collection).map_err(RecordError::Refused)?;
    let declared = &ask.app().collections[collection];
    let values = read_values(json, declared, Purpose::Merge, "")?;
    let Some(id) = record_id(id) else { return Err(RecordError::NotFound) };
    let mut work = ask.work();
    grant.update(&mut work, &id, values, version).map_err(|error| RecordError::write(WorkError { operation: 0, error }, String::new(), declared))?;
    if let Some(claim) = claim {
        work.claim(Claim { result: format!("{}/{id}", declared.name).into(), ..claim });
    }
    finish(work, declared, 0).await
}

/// Deletes a record; `true` when an earlier request with the same key did it.
///
/// # Errors
/// Why nothing was done.
pub async fn delete(ask: &Ask, collection: CollectionId, id: &str, version: Option<i64>, claim: Option<Claim>) -> Result<bool, RecordError> {
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

/// Commits and returns what the operation wrote. Rows of other operations are left out.
pub(crate) async fn finish(work: haechi_gate::Work, declared: &Collection, operation: usize) -> Result<Made, RecordError> {
    let (done, replayed) = work.commit().await.map_err(|error| match &error.error {
        WriteError::Store(_) | WriteError::KeyReused => RecordError::write(error, String::new(), declared),
        _ if error.operation == operation => RecordError::write(error, String::new(), declared),
        _ => RecordError::Beside,
    })?;
    if let Some(result) = replayed {
        return Ok(replay(declared, &result));
    }
    let done = done.into_iter().nth(operation).ok_or(RecordError::NotFound)?;
    Ok(made(done))
}

/// What an operation of a change wrote.
pub(crate) fn made(done: Done) -> Made {
    Made { collection: done.collection, id: done.id.clone(), done: Some(done) }
}

/// What an earlier request with the same key did: it is asked before anything is looked for, because that request may have changed it.
pub(crate) async fn earlier(ask: &Ask, claim: Option<&Claim>) -> Result<Option<Box<str>>, RecordError> {
    let Some(claim) = claim else { return Ok(None) };
    let nowhere = |error| RecordError::Write { base: String::new(), fields: Vec::new(), words: Vec::new(), error };
    ask.claimed(claim).await.map_err(nowhere)
}

/// What an earlier request with the same key did.
pub(crate) fn replay(declared: &Collection, result: &str) -> Made {
    let id = result.strip_prefix(&declared.name).and_then(|rest| rest.strip_prefix('/')).unwrap_or_default();
    Made { collection: declared.id, id: id.into(), done: None }
}
