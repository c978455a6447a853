//! Several operations as one change: all or nothing. Later operations may name records of earlier ones.

use super::{
    actions::{Made, collection, earlier, made, record_id, replay},
    body::{Purpose, read_values},
    error::RecordError,
    many::{Keyed, may_upsert},
};
use haechi_gate::{Ask, Create, Delete, Update, Work, WorkError, WriteError};
use haechi_model::{Claim, CollectionId, FieldId, Json, Value};
use haechi_problem::{FieldProblem, pointer};
use std::{borrow::Cow, collections::HashMap};

/// The most operations of a batch.
const MAX_OPERATIONS: usize = 100;

enum Kind {
    Create,
    Update,
    Upsert,
    Delete,
}

/// An operation as written.
struct Operation<'a> {
    kind: Kind,
    collection: &'a str,
    id: Option<&'a str>,
    name: Option<&'a str>,
    data: Option<&'a Json>,
    /// Where its data stand in the body.
    data_base: String,
    /// The fields of a unique key.
    on: Option<&'a [Json]>,
    if_match: Option<i64>,
}

/// The result of an operation in a batch.
pub enum Outcome {
    /// A record was written.
    Made(Made),
    /// A record was deleted.
    Deleted(Box<str>),
}

/// How often a batch looks up what its upserts look for.
const TRIES: usize = 5;

/// Runs a batch as REST writes it: all of it, or nothing; a result per operation. `true`: an earlier request did it.
///
/// # Errors
/// Why nothing was done.
pub async fn run(ask: &Ask, json: &Json, claim: Option<Claim>) -> Result<(Vec<Outcome>, bool), RecordError> {
    let operations = read(json)?;
    // The request already counts as one operation.
    ask.spend(operations.len() - 1).map_err(RecordError::Spent)?;
    if operations.iter().any(|operation| matches!(operation.kind, Kind::Upsert))
        && let Some(result) = earlier(ask, claim.as_ref()).await?
    {
        return Ok((replayed_results(ask, &result)?, true));
    }
    let mut unseen = 0;
    for attempt in 0..TRIES {
        // What is looked up again counts again: an operation may be in the way of another one behind it.
        if attempt > 0 {
            ask.spend(operations.len()).map_err(RecordError::Spent)?;
        }
        let attempt = Attempt::prepare(ask, &operations).await?;
        if let Some(done) = attempt.commit(claim.as_ref(), &mut unseen).await? {
            return Ok(done);
        }
    }
    Err(RecordError::Store(haechi_model::Failure::Contended))
}

/// A batch as a change in the making. What its operations look for was looked up.
struct Attempt<'a> {
    ask: &'a Ask,
    work: Work,
    collections: Vec<CollectionId>,
    /// By operation: the key that was looked up, and whether there was nothing.
    looked_up: Vec<Option<(Keyed<'a>, bool)>>,
    /// By operation: the record that it changes or deletes, and whether it is gone then.
    ids: Vec<Option<(Box<str>, bool)>>,
}

impl<'a> Attempt<'a> {
    async fn prepare(ask: &'a Ask, operations: &'a [Operation<'a>]) -> Result<Self, RecordError> {
        let mut attempt = Self { ask, work: ask.work(), collections: Vec::with_capacity(operations.len()), looked_up: Vec::new(), ids: Vec::new() };
        let mut named: HashMap<&str, Box<str>> = HashMap::new();
        for (at, operation) in operations.iter().enumerate() {
            let id = Box::pin(attempt.add(at, operation, &named)).await?;
            if let (Some(name), Some(id)) = (operation.name, id)
                && named.insert(name, id).is_some()
            {
                return Err(place(&format!("/operations/{at}/as"), "clash", "the name stands twice"));
            }
        }
        Ok(attempt)
    }

    /// Adds an operation; the id of what it makes, or changes by a key.
    async fn add(&mut self, at: usize, operation: &'a Operation<'a>, named: &HashMap<&str, Box<str>>) -> Result<Option<Box<str>>, RecordError> {
        let (ask, base) = (self.ask, format!("/operations/{at}"));
        let data_base = &operation.data_base;
        let target = collection(ask, operation.collection).map_err(|_| place(&base, "unknown_collection", "there is no such collection"))?;
        self.collections.push(target);
        self.looked_up.push(None);
        self.ids.push(None);
        let declared = &ask.app().collections[target];
        let fail = |error| RecordError::write(WorkError { operation: at, error }, data_base.clone(), declared);
        match operation.kind {
            Kind::Create => {
                let grant = ask.on::<Create>(target).map_err(RecordError::Refused)?;
                let values = values(operation, named, declared, Purpose::Create, data_base)?;
                return grant.insert(&mut self.work, values).map(Some).map_err(fail);
            }
            Kind::Update => {
                let grant = ask.on::<Update>(target).map_err(RecordError::Refused)?;
                let values = values(operation, named, declared, Purpose::Merge, data_base)?;
                let id = id(operation, named, &base)?;
                grant.update(&mut self.work, &id, values, operation.if_match).map_err(fail)?;
                self.ids[at] = Some((id.into(), false));
            }
            Kind::Upsert => {
                may_upsert(ask, target).map_err(RecordError::Refused)?;
                let keyed = Keyed::read(declared, operation.on.unwrap_or_default(), Cow::Owned(replaced(operation, named, declared)), data_base)?;
                let found = keyed.look(ask, target).await?;
                let id = keyed.put(ask, declared, found.as_ref(), &mut self.work)?;
                self.looked_up[at] = Some((keyed, found.is_none()));
                self.ids[at] = Some((id.clone(), false));
                return Ok(Some(id));
            }
            Kind::Delete => {
                let grant = ask.on::<Delete>(target).map_err(RecordError::Refused)?;
                let id = id(operation, named, &base)?;
                grant.delete(&mut self.work, &id, operation.if_match);
                self.ids[at] = Some((id.into(), true));
            }
        }
        Ok(None)
    }

    /// Whether an earlier operation has changed or deleted what this one has looked up.
    fn is_in_its_own_way(&self, at: usize, error: &WriteError) -> bool {
        let (Some(_), Some((id, _))) = (&self.looked_up[at], &self.ids[at]) else { return false };
        let mut earlier = self.ids[..at].iter().flatten().filter(|(known, _)| known == id);
        match error {
            WriteError::Moved => earlier.next().is_some(),
            WriteError::NotFound | WriteError::Forbidden => earlier.any(|(_, gone)| *gone),
            _ => false,
        }
    }

    /// Commits; `None` when somebody was faster, and it is to be looked up again.
    async fn commit(mut self, claim: Option<&Claim>, unseen: &mut u32) -> Result<Option<(Vec<Outcome>, bool)>, RecordError> {
        let ask = self.ask;
        if let Some(claim) = claim {
            self.work.claim(Claim { result: self.work.results(), ..claim.clone() });
        }
        let work = std::mem::replace(&mut self.work, ask.work());
        let (done, replayed) = match work.commit().await {
            Ok(committed) => committed,
            Err(error) => {
                let at = error.operation.min(self.collections.len() - 1);
                if self.is_in_its_own_way(at, &error.error) {
                    return Err(place(&format!("/operations/{at}"), "clash", "an earlier operation changes the record that has this key"));
                }
                if let Some((keyed, created)) = &self.looked_up[at]
                    && keyed.again(ask, self.collections[at], (*created, &error.error), unseen).await?
                {
                    return Ok(None);
                }
                return Err(RecordError::write(error, format!("/operations/{at}/data"), &ask.app().collections[self.collections[at]]));
            }
        };
        if let Some(result) = replayed {
            return Ok(Some((replayed_results(ask, &result)?, true)));
        }
        let results = done.into_iter().map(|done| if done.row.is_some() { Outcome::Made(made(done)) } else { Outcome::Deleted(done.id) });
        Ok(Some((results.collect(), false)))
    }
}

/// Runs a batch, and shows its results as REST does.
pub(crate) async fn batch(ask: &Ask, json: &Json, claim: Option<Claim>) -> Result<(Vec<u8>, bool), RecordError> {
    let (results, replayed) = run(ask, json, claim).await?;
    let mut out = Vec::from(&b"{\"results\":["[..]);
    for (at, result) in results.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        match result {
            Outcome::Made(made) => out.extend(made.record(ask).await.bytes),
            Outcome::Deleted(id) => out.extend(format!("{{\"id\":\"{id}\",\"_deleted\":true}}").into_bytes()),
        }
    }
    out.extend_from_slice(b"]}");
    Ok((out, replayed))
}

/// What an earlier batch with the same key did: each record is read under today's policies.
fn replayed_results(ask: &Ask, result: &str) -> Result<Vec<Outcome>, RecordError> {
    let targets = result.split(' ').filter(|target| !target.is_empty());
    let made = |target: &str| {
        let name = target.split('/').next().unwrap_or_default();
        Ok(Outcome::Made(replay(&ask.app().collections[collection(ask, name)?], target)))
    };
    targets.map(made).collect()
}

fn place(at: &str, code: &'static str, detail: &str) -> RecordError {
    RecordError::Fields(vec![FieldProblem { pointer: at.to_owned(), code, detail: detail.to_owned() }])
}

fn read(json: &Json) -> Result<Vec<Operation<'_>>, RecordError> {
    let Json::Object(members) = json else { return Err(RecordError::Shape("The body must be a JSON object with `operations`.")) };
    let [(name, Json::List(list))] = members.as_slice() else { return Err(RecordError::Shape("The body must hold one list, `operations`.")) };
    if **name != *"operations" || list.is_empty() || list.len() > MAX_OPERATIONS {
        return Err(RecordError::Shape("`operations` must hold 1 to 100 operations."));
    }
    list.iter().enumerate().map(|(at, operation)| read_operation(operation, &format!("/operations/{at}"))).collect()
}

fn read_operation<'a>(json: &'a Json, base: &str) -> Result<Operation<'a>, RecordError> {
    let Json::Object(members) = json else { return Err(place(base, "wrong_type", "must be an object")) };
    let mut found: Option<(Kind, &str)> = None;
    let mut operation = Operation {
        kind: Kind::Create,
        collection: "",
        id: None,
        name: None,
        data: None,
        data_base: format!("{base}/data"),
        on: None,
        if_match: None,
    };
    for (key, value) in members {
        match (&**key, value) {
            ("create" | "update" | "upsert" | "delete", Json::Text(collection)) if found.is_none() => {
                let kind = match &**key {
                    "create" => Kind::Create,
                    "update" => Kind::Update,
                    "upsert" => Kind::Upsert,
                    _ => Kind::Delete,
                };
                found = Some((kind, collection));
            }
            ("id", Json::Text(id)) => operation.id = Some(id),
            ("on", Json::List(items)) => operation.on = Some(items),
            ("as", Json::Text(name)) if !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') => {
                operation.name = Some(name)
            }
            ("data", json @ Json::Object(_)) => operation.data = Some(json),
            ("if_match", Json::Number(digits)) if digits.parse::<i64>().is_ok() => operation.if_match = digits.parse().ok(),
            _ => {
                return Err(place(
                    &pointer(base, key),
                    "malformed",
                    "an operation has one of create, update, upsert, delete with a collection; id, as, data, on, if_match",
                ));
            }
        }
    }
    let Some((kind, collection)) = found else { return Err(place(base, "malformed", "name one of create, update, upsert, delete")) };
    let keyed = matches!(kind, Kind::Upsert);
    let fits = match kind {
        _ if operation.on.is_some() != keyed => false,
        Kind::Upsert => operation.id.is_none() && operation.if_match.is_none() && operation.data.is_some(),
        Kind::Create => operation.id.is_none() && operation.if_match.is_none() && operation.data.is_some(),
        Kind::Update => operation.id.is_some() && operation.name.is_none() && operation.data.is_some(),
        Kind::Delete => operation.id.is_some() && operation.name.is_none() && operation.data.is_none(),
    };
    if !fits {
        return Err(place(
            base,
            "malformed",
            "create takes data and as; update takes id, data and if_match; upsert takes on, data and as; delete takes id and if_match",
        ));
    }
    operation.kind = kind;
    operation.collection = collection;
    Ok(operation)
}

/// The id that an operation names, itself or by `$name.id`.
fn id(operation: &Operation<'_>, made: &HashMap<&str, Box<str>>, base: &str) -> Result<String, RecordError> {
    let written = operation.id.unwrap_or_default();
    match made_id(written, made) {
        Some(id) => Ok(id.to_string()),
        None => record_id(written).ok_or_else(|| place(&format!("{base}/id"), "not_found", "no such record")),
    }
}

fn made_id<'a>(text: &str, made: &'a HashMap<&str, Box<str>>) -> Option<&'a str> {
    made.get(text.strip_prefix('$')?.strip_suffix(".id")?).map(|id| &**id)
}

/// The values of an operation.
fn values(
    operation: &Operation<'_>,
    made: &HashMap<&str, Box<str>>,
    declared: &haechi_model::Collection,
    purpose: Purpose,
    base: &str,
) -> Result<Vec<(FieldId, Value)>, RecordError> {
    read_values(&replaced(operation, made, declared), declared, purpose, base)
}

/// The data of an operation, with `$name.id` in references replaced.
fn replaced(operation: &Operation<'_>, made: &HashMap<&str, Box<str>>, declared: &haechi_model::Collection) -> Json {
    let Some(Json::Object(members)) = operation.data else { return Json::Object(Vec::new()) };
    let refers = |name: &str| declared.field(name).is_some_and(|field| declared.fields[field].ty.refers().is_some());
    let id = |json: &Json| match json {
        Json::Text(text) => made_id(text, made).map(|id| Json::Text(id.into())),
        _ => None,
    };
    let named = |name: &str, json: &Json| match json {
        Json::Text(_) if refers(name) => id(json),
        Json::List(items) if refers(name) => Some(Json::List(items.iter().map(|item| id(item).unwrap_or_else(|| item.clone())).collect())),
        _ => None,
    };
    Json::Object(members.iter().map(|(name, json)| (name.clone(), named(name, json).unwrap_or_else(|| json.clone()))).collect())
}
