//! Changes of records that are looked for first: one by its unique key, or all that a filter finds.
//!
//! A change has no branches: what is there is looked up, then it is created or changed, under its lock and if it is still what was looked
//! for. When somebody was faster, it is looked up again.

use super::{
    actions::{self, Made, earlier, made},
    body::{Purpose, read_values},
    error::RecordError,
};
use haechi_gate::{Ask, Create, Delete, Found, Grant, List, Read, Refusal, Update, Work, WorkError, WriteError};
use haechi_model::filter::read_filter_through;
use haechi_model::{Claim, Collection, CollectionId, Failure, FieldId, Json, Predicate, Value};
use haechi_problem::FieldProblem;
use std::borrow::Cow;

/// How often it is looked up again.
const TRIES: usize = 100;
/// How often a record that has the key, and that the caller does not see, may have been deleted meanwhile.
const UNSEEN: u32 = 5;
/// Most records of one change by filter.
pub(crate) const MAX_ROWS: u32 = 1_000;

/// A change by a unique key, as REST writes it: `{"on": ["code"], "data": {…}}`.
///
/// # Errors
/// Why nothing was done.
pub(crate) async fn upsert(ask: &Ask, collection: CollectionId, json: &Json, claim: Option<Claim>) -> Result<(Made, bool), RecordError> {
    let (mut on, mut data) = (None, None);
    let Json::Object(members) = json else { return Err(RecordError::Shape(UPSERT)) };
    for (name, json) in members {
        match (&**name, json) {
            ("on", Json::List(items)) => on = Some(items.as_slice()),
            ("data", json @ Json::Object(_)) => data = Some(json),
            _ => return Err(RecordError::Shape(UPSERT)),
        }
    }
    let (Some(on), Some(data)) = (on, data) else { return Err(RecordError::Shape(UPSERT)) };
    upsert_by(ask, collection, &Keyed::read(&ask.app().collections[collection], on, Cow::Borrowed(data), "/data")?, claim).await
}

/// A change by a unique key, whose data stand alone.
///
/// # Errors
/// Why nothing was done; pointers begin in the data, and `/on` is the key.
pub async fn upsert_data(ask: &Ask, collection: CollectionId, on: &[Json], data: &Json, claim: Option<Claim>) -> Result<Made, RecordError> {
    may_upsert(ask, collection).map_err(RecordError::Refused)?;
    Ok(upsert_by(ask, collection, &Keyed::read(&ask.app().collections[collection], on, Cow::Borrowed(data), "")?, claim).await?.0)
}

const UPSERT: &str = "The body must be an object with `on`, a list of the fields of a unique key, and `data`.";

/// A body with the values of a unique key.
pub(crate) struct Keyed<'a> {
    key: Vec<(FieldId, Value)>,
    data: Cow<'a, Json>,
    base: &'a str,
}

impl<'a> Keyed<'a> {
    /// `on`: the names of the fields of a unique key. `base`: where the data stand in the body, beside `on`.
    pub(crate) fn read(declared: &Collection, on: &[Json], data: Cow<'a, Json>, base: &'a str) -> Result<Self, RecordError> {
        let named: Option<Vec<FieldId>> = on.iter().map(|name| if let Json::Text(name) = name { declared.field(name) } else { None }).collect();
        let fields = named.filter(|fields| declared.unique_key(fields).is_some()).ok_or_else(|| {
            let detail = "must name the fields of a unique key, each of them".to_owned();
            let pointer = format!("{}/on", base.strip_suffix("/data").unwrap_or_default());
            RecordError::Fields(vec![FieldProblem { pointer, code: "not_a_key", detail }])
        })?;
        let values = read_values(&data, declared, Purpose::Merge, base)?;
        let value = |field: &FieldId| {
            let found = values.iter().find(|(named, value)| named == field && !value.is_null());
            found.cloned().ok_or_else(|| {
                let pointer = haechi_problem::pointer(base, &declared.fields[*field].name);
                RecordError::Fields(vec![FieldProblem { pointer, code: "required", detail: "a value is required".to_owned() }])
            })
        };
        Ok(Self { key: fields.iter().map(value).collect::<Result<_, _>>()?, data, base })
    }

    /// Adds the change to a change in the making: of the record that was found, or of a new one. Its id.
    pub(crate) fn put(&self, ask: &Ask, declared: &Collection, found: Option<&Found>, work: &mut Work) -> Result<Box<str>, RecordError> {
        let operation = work.operations();
        let failed = |error| RecordError::write(WorkError { operation, error }, self.base.to_owned(), declared);
        let Some(found) = found else {
            let grant: Grant<Create> = ask.on(declared.id).map_err(RecordError::Refused)?;
            return grant.insert(work, read_values(&self.data, declared, Purpose::Create, self.base)?).map_err(failed);
        };
        let grant: Grant<Update> = ask.on(declared.id).map_err(RecordError::Refused)?;
        let mut values = read_values(&self.data, declared, Purpose::Merge, self.base)?;
        values.retain(|(field, _)| self.key.iter().all(|(known, _)| known != field));
        grant.update_found(work, &found.ids[0], found, values).map_err(failed)?;
        Ok(found.ids[0].clone())
    }

    /// Whether somebody was faster, so that it is to be looked up again. `unseen` counts how often the key was taken by a record that the
    /// caller does not see: it may have been deleted meanwhile, or they may not read it.
    pub(crate) async fn again(
        &self,
        ask: &Ask,
        collection: CollectionId,
        (created, error): (bool, &WriteError),
        unseen: &mut u32,
    ) -> Result<bool, RecordError> {
        match error {
            WriteError::Moved | WriteError::NotFound => Ok(!created),
            WriteError::NotUnique(fields) if created && self.key.iter().all(|(field, _)| fields.contains(field)) => {
                *unseen = if self.look(ask, collection).await?.is_some() { 0 } else { *unseen + 1 };
                Ok(*unseen < UNSEEN)
            }
            _ => Ok(false),
        }
    }

    /// The record with this key, as far as the caller may read it.
    pub(crate) async fn look(&self, ask: &Ask, collection: CollectionId) -> Result<Option<Found>, RecordError> {
        if !ask.may::<Read>(collection) {
            return Ok(None);
        }
        let grant: Grant<Read> = ask.on(collection).map_err(RecordError::Refused)?;
        let found = grant.by_key(&self.key).await.map_err(|error| RecordError::read(error, ask.app(), collection))?;
        Ok((!found.ids.is_empty()).then_some(found))
    }
}

/// The fields of each unique key, in the order of their declaration.
pub fn keys(declared: &Collection) -> impl Iterator<Item = Vec<FieldId>> + '_ {
    declared.table.indexes.iter().filter(|index| index.unique).map(|index| {
        let mut fields = declared.fields_of(index);
        fields.sort_unstable();
        fields
    })
}

/// Whether records can be looked for by a unique key, and be created when there is none.
#[must_use]
pub fn keyed(declared: &Collection) -> bool {
    declared.id != haechi_model::USERS && keys(declared).next().is_some()
}

/// Refuses who may neither create nor change records, before a body is read.
///
/// # Errors
/// The refusal to create records.
pub fn may_upsert(ask: &Ask, collection: CollectionId) -> Result<(), Refusal> {
    if ask.may::<Update>(collection) { Ok(()) } else { ask.on::<Create>(collection).map(drop) }
}

async fn upsert_by(ask: &Ask, collection: CollectionId, keyed: &Keyed<'_>, claim: Option<Claim>) -> Result<(Made, bool), RecordError> {
    let (declared, mut unseen) = (&ask.app().collections[collection], 0);
    if let Some(result) = earlier(ask, claim.as_ref()).await? {
        return Ok(made_earlier(declared, &result));
    }
    for _ in 0..TRIES {
        let found = keyed.look(ask, collection).await?;
        let mut work = ask.work();
        keyed.put(ask, declared, found.as_ref(), &mut work)?;
        let created = found.is_none();
        if let Some(claim) = &claim {
            let result = format!("{}{}", if created { CREATED } else { "" }, work.results());
            work.claim(Claim { result: result.into(), ..claim.clone() });
        }
        match work.commit().await {
            Ok((_, Some(result))) => return Ok(made_earlier(declared, &result)),
            Ok((done, None)) => {
                let done = done.into_iter().next().ok_or(RecordError::NotFound)?;
                return Ok((made(done), created));
            }
            Err(error) if keyed.again(ask, collection, (created, &error.error), &mut unseen).await? => {}
            Err(error) => return Err(RecordError::write(error, keyed.base.to_owned(), declared)),
        }
    }
    Err(RecordError::Store(Failure::Contended))
}

/// Says in the result of an idempotency key that the record was created.
const CREATED: &str = "+";

fn made_earlier(declared: &Collection, result: &str) -> (Made, bool) {
    let (created, target) = result.strip_prefix(CREATED).map_or((false, result), |target| (true, target));
    (actions::replay(declared, target), created)
}

/// What is done with all records that a filter finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// They are changed.
    Change,
    /// They are deleted.
    Remove,
}

/// The changed records.
pub struct Many {
    /// Their ids.
    pub ids: Vec<Box<str>>,
    /// Whether an earlier request with the same key did it.
    pub replayed: bool,
}

/// Data, and where they stand in the body.
type Data<'a> = (&'a Json, &'a str);

/// Refuses who may not do this with any record, before a body is read.
///
/// # Errors
/// The refusal.
pub fn may_do(ask: &Ask, collection: CollectionId, doing: Doing) -> Result<(), Refusal> {
    ask.on::<List>(collection)?;
    match doing {
        Doing::Change => ask.on::<Update>(collection).map(drop),
        Doing::Remove => ask.on::<Delete>(collection).map(drop),
    }
}

/// Changes or deletes the records that a filter finds: all of them, or none. `{"filter": "…", "data": {…}}`.
///
/// # Errors
/// Why nothing was done, and at which record.
pub(crate) async fn by_filter(ask: &Ask, collection: CollectionId, json: &Json, claim: Option<Claim>, doing: Doing) -> Result<Many, RecordError> {
    let (filter, data) = read(ask, &ask.app().collections[collection], json, doing)?;
    by_condition(ask, collection, (doing, filter), data, claim).await
}

/// The same, with a condition that was read already, and data that stand alone.
///
/// # Errors
/// Why nothing was done, and at which record.
pub async fn by_condition(
    ask: &Ask,
    collection: CollectionId,
    (doing, filter): (Doing, Predicate),
    data: Option<Data<'_>>,
    claim: Option<Claim>,
) -> Result<Many, RecordError> {
    let declared = &ask.app().collections[collection];
    let base = data.map_or("", |(_, base)| base);
    let values = data.map(|(data, base)| read_values(data, declared, Purpose::Merge, base)).transpose()?.unwrap_or_default();
    if let Some(result) = earlier(ask, claim.as_ref()).await? {
        return Ok(Many { ids: targets(&result), replayed: true });
    }
    // The request already counts as one.
    let mut counted = 1;
    for _ in 0..TRIES {
        let Sought { found, order } = seek(ask, collection, doing, &filter).await?;
        if found.ids.is_empty() {
            return Ok(Many { ids: Vec::new(), replayed: false });
        }
        ask.spend(found.ids.len().saturating_sub(counted)).map_err(RecordError::Spent)?;
        counted = counted.max(found.ids.len());
        let mut work = ask.work();
        found.expected(&mut work);
        for id in &order {
            put(ask, &mut work, collection, (doing, id), &values).map_err(|error| match error {
                Unput::Refused(refusal) => RecordError::Refused(refusal),
                Unput::Write(error) => RecordError::write(WorkError { operation: 0, error }, base.to_owned(), declared),
            })?;
        }
        if let Some(claim) = &claim {
            work.claim(Claim { result: work.results(), ..claim.clone() });
        }
        match work.commit().await {
            Ok((_, Some(result))) => return Ok(Many { ids: targets(&result), replayed: true }),
            Ok((_, None)) => return Ok(Many { ids: found.ids, replayed: false }),
            Err(error) => match &error.error {
                WriteError::Moved => {}
                WriteError::Store(_) | WriteError::KeyReused => return Err(RecordError::write(error, String::new(), declared)),
                _ => {
                    let id = order.get(error.operation).cloned().unwrap_or_default();
                    return Err(failed(ask, declared, (doing, &id), error, (base, "/filter")).await?);
                }
            },
        }
    }
    Err(RecordError::Store(Failure::Contended))
}

/// What a filter has found, and the order in which it is changed.
pub(crate) struct Sought {
    pub(crate) found: Found,
    pub(crate) order: Vec<Box<str>>,
}

/// Looks for the records of a filter.
pub(crate) async fn seek(ask: &Ask, collection: CollectionId, doing: Doing, filter: &Predicate) -> Result<Sought, RecordError> {
    let grant: Grant<List> = ask.on(collection).map_err(RecordError::Refused)?;
    let found = grant.found(filter.clone(), MAX_ROWS + 1).await.map_err(|error| RecordError::read(error, ask.app(), collection))?;
    if found.ids.len() > MAX_ROWS as usize {
        return Err(RecordError::TooManyFound(actions::count(ask, collection, filter.clone()).await?));
    }
    let order = match doing {
        Doing::Remove if !found.ids.is_empty() => {
            let grant: Grant<Delete> = ask.on(collection).map_err(RecordError::Refused)?;
            grant.children_first(&found).await.map_err(|error| RecordError::read(error, ask.app(), collection))?
        }
        _ => found.ids.clone(),
    };
    Ok(Sought { found, order })
}

/// Why a record's part of a change could not be made.
pub(crate) enum Unput {
    Refused(Refusal),
    Write(WriteError),
}

/// Adds what is done with one of the records to a change in the making.
pub(crate) fn put(
    ask: &Ask,
    work: &mut Work,
    collection: CollectionId,
    (doing, id): (Doing, &str),
    values: &[(FieldId, Value)],
) -> Result<(), Unput> {
    match doing {
        Doing::Change => ask.on::<Update>(collection).map_err(Unput::Refused)?.update(work, id, values.to_vec(), None).map_err(Unput::Write),
        Doing::Remove => {
            ask.on::<Delete>(collection).map_err(Unput::Refused)?.delete(work, id, None);
            Ok(())
        }
    }
}

/// Why one of the records could not be changed; where the data stand in the body, and where the filter.
///
/// # Errors
/// When that cannot be looked up.
pub(crate) async fn failed(
    ask: &Ask,
    declared: &Collection,
    (doing, id): (Doing, &str),
    error: WorkError,
    (data, filter): (&str, &str),
) -> Result<RecordError, RecordError> {
    // It was there when the change began: then another part of the change took it away.
    let missed = matches!(error.error, WriteError::NotFound | WriteError::Forbidden) && doing == Doing::Remove;
    let grant = if missed { ask.on::<Delete>(declared.id).ok() } else { None };
    let taken = match grant {
        Some(grant) => grant.permits(id).await.map_err(|error| RecordError::read(error, ask.app(), declared.id))?,
        None => false,
    };
    let error = if taken { RecordError::TakenAway } else { RecordError::write(error, data.to_owned(), declared) };
    Ok(RecordError::One { id: id.into(), at: filter.to_owned(), error: Box::new(error) })
}

/// The changed records as REST names them.
pub(crate) fn written(ids: &[Box<str>]) -> Vec<u8> {
    let ids: Vec<String> = ids.iter().map(|id| format!("\"{id}\"")).collect();
    format!("{{\"count\":{},\"ids\":[{}]}}", ids.len(), ids.join(",")).into_bytes()
}

fn targets(result: &str) -> Vec<Box<str>> {
    result.split(' ').filter_map(|target| Some(target.split_once('/')?.1.into())).collect()
}

fn read<'a>(ask: &Ask, declared: &Collection, json: &'a Json, doing: Doing) -> Result<(Predicate, Option<Data<'a>>), RecordError> {
    let shape = RecordError::Shape(match doing {
        Doing::Change => "The body must be an object with `filter`, a text that is not empty, and `data`.",
        Doing::Remove => "The body must be an object with `filter`, a text that is not empty.",
    });
    let Json::Object(members) = json else { return Err(shape) };
    let (mut filter, mut data) = (None, None);
    for (name, json) in members {
        match (&**name, json, doing) {
            ("filter", Json::Text(text), _) if !text.trim().is_empty() => filter = Some(text),
            ("data", json @ Json::Object(_), Doing::Change) => data = Some(json),
            _ => return Err(shape),
        }
    }
    let (Some(filter), true) = (filter, data.is_some() || doing == Doing::Remove) else { return Err(shape) };
    Ok((condition(ask, declared, filter)?, data.map(|data| (data, "/data"))))
}

/// A filter as a condition.
///
/// # Errors
/// Where it cannot be read.
pub fn condition(ask: &Ask, declared: &Collection, filter: &str) -> Result<Predicate, RecordError> {
    let me = (!ask.caller().is_anonymous()).then(|| ask.caller().id());
    let filter = read_filter_through(filter, &ask.app().collections, declared, me).map_err(RecordError::Filter)?;
    Ok(filter.predicate)
}
