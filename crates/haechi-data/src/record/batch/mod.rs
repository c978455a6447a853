//! Several operations as one change: all or nothing. Later operations may name records of earlier ones.

mod operation;

use super::{
    actions::{Made, collection, earlier, made, replay},
    body::Purpose,
    error::RecordError,
    many::{self, Doing, Keyed, MAX_ROWS, Sought, may_upsert},
};
use haechi_gate::{Ask, Create, Delete, Done, Update, Work, WorkError, WriteError};
use haechi_model::{Claim, CollectionId, Json};
use operation::{Kind, Operation, id, place, read, replaced, values};
use std::{borrow::Cow, collections::HashMap};

/// The result of an operation in a batch.
pub enum Outcome {
    /// A record was written.
    Made(Made),
    /// A record was deleted.
    Deleted(Box<str>),
    /// Records that a filter found were changed or deleted.
    Many(Vec<Box<str>>),
}

/// How often a batch looks up what its upserts and filters look for.
const TRIES: usize = 5;

/// Runs a batch as REST writes it: all of it, or nothing; a result per operation. `true`: an earlier request did it.
///
/// # Errors
/// Why nothing was done.
pub async fn run(ask: &Ask, json: &Json, claim: Option<Claim>) -> Result<(Vec<Outcome>, bool), RecordError> {
    let operations = read(json)?;
    // The request already counts as one operation.
    ask.spend(operations.len() - 1).map_err(RecordError::Spent)?;
    if operations.iter().any(|operation| matches!(operation.kind, Kind::Upsert | Kind::Many(_)))
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
    parts: Vec<Part<'a>>,
    /// By entry of the change: the operation that makes it.
    of: Vec<usize>,
}

/// An operation in the making.
struct Part<'a> {
    kind: Kind,
    collection: CollectionId,
    /// The key that was looked up, and whether there was nothing.
    looked_up: Option<(Keyed<'a>, bool)>,
    /// What its filter has found.
    sought: Option<Sought>,
    /// The records that it changes or deletes.
    ids: Vec<Box<str>>,
}

impl<'a> Attempt<'a> {
    async fn prepare(ask: &'a Ask, operations: &'a [Operation<'a>]) -> Result<Self, RecordError> {
        let mut attempt = Self { ask, work: ask.work(), parts: Vec::with_capacity(operations.len()), of: Vec::new() };
        let mut left = i64::from(MAX_ROWS);
        for (at, operation) in operations.iter().enumerate() {
            let unknown = |_| place(&format!("/operations/{at}"), "unknown_collection", "there is no such collection");
            let collection = collection(ask, operation.collection).map_err(unknown)?;
            let mut part = Part { kind: operation.kind, collection, looked_up: None, sought: None, ids: Vec::new() };
            if let (Kind::Many(doing), Some(filter)) = (operation.kind, operation.filter) {
                part.sought = Some(attempt.seek(at, collection, (doing, filter), &mut left).await?);
            }
            attempt.parts.push(part);
        }
        // What is found by filters is found before the batch; so it is locked before anything is changed.
        for part in &attempt.parts {
            part.sought.iter().for_each(|sought| sought.found.expected(&mut attempt.work));
        }
        let mut named: HashMap<&str, Box<str>> = HashMap::new();
        for (at, operation) in operations.iter().enumerate() {
            let id = Box::pin(attempt.add(at, operation, &named)).await?;
            attempt.of.resize(attempt.work.operations(), at);
            if let (Some(name), Some(id)) = (operation.name, id)
                && named.insert(name, id).is_some()
            {
                return Err(place(&format!("/operations/{at}/as"), "clash", "the name stands twice"));
            }
        }
        Ok(attempt)
    }

    /// What a filter finds; `left` is how many rows all filters of the batch may still find.
    async fn seek(&self, at: usize, collection: CollectionId, (doing, filter): (Doing, &str), left: &mut i64) -> Result<Sought, RecordError> {
        many::may_do(self.ask, collection, doing).map_err(RecordError::Refused)?;
        let condition = many::condition(self.ask, &self.ask.app().collections[collection], filter);
        let condition = condition.map_err(|error| match error {
            RecordError::Filter(error) => place(&format!("/operations/{at}/filter"), "malformed", &format!("the filter is wrong at {error}")),
            error => error,
        })?;
        let sought = many::seek(self.ask, collection, doing, &condition).await?;
        *left -= i64::try_from(sought.order.len()).unwrap_or(i64::MAX);
        if *left < 0 {
            return Err(RecordError::TooManyFound(i64::from(MAX_ROWS) - *left));
        }
        self.ask.spend(sought.order.len().saturating_sub(1)).map_err(RecordError::Spent)?;
        Ok(sought)
    }

    /// Adds an operation; the id of what it makes, or changes by a key.
    async fn add(&mut self, at: usize, operation: &'a Operation<'a>, named: &HashMap<&str, Box<str>>) -> Result<Option<Box<str>>, RecordError> {
        let (ask, base) = (self.ask, format!("/operations/{at}"));
        let (data_base, target) = (&operation.data_base, self.parts[at].collection);
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
                self.parts[at].ids.push(id.into());
            }
            Kind::Upsert => {
                may_upsert(ask, target).map_err(RecordError::Refused)?;
                let keyed = Keyed::read(declared, operation.on.unwrap_or_default(), Cow::Owned(replaced(operation, named, declared)), data_base)?;
                let found = keyed.look(ask, target).await?;
                let id = keyed.put(ask, declared, found.as_ref(), &mut self.work)?;
                self.parts[at].looked_up = Some((keyed, found.is_none()));
                self.parts[at].ids.push(id.clone());
                return Ok(Some(id));
            }
            Kind::Delete => {
                let grant = ask.on::<Delete>(target).map_err(RecordError::Refused)?;
                let id = id(operation, named, &base)?;
                grant.delete(&mut self.work, &id, operation.if_match);
                self.parts[at].ids.push(id.into());
            }
            Kind::Many(doing) => {
                let values = match doing {
                    Doing::Change => values(operation, named, declared, Purpose::Merge, data_base)?,
                    Doing::Remove => Vec::new(),
                };
                let order = self.parts[at].sought.as_ref().map(|sought| sought.order.clone()).unwrap_or_default();
                for id in &order {
                    many::put(ask, &mut self.work, target, (doing, id), &values).map_err(|error| match error {
                        many::Unput::Refused(refusal) => RecordError::Refused(refusal),
                        many::Unput::Write(error) => fail(error),
                    })?;
                }
                self.parts[at].ids = order;
            }
        }
        Ok(None)
    }

    /// Whether an earlier operation has changed or deleted what this one has looked up.
    fn is_in_its_own_way(&self, at: usize, id: Option<&str>, error: &WriteError) -> bool {
        let part = &self.parts[at];
        let Some(id) = id.or(part.ids.first().map(|id| &**id)).filter(|_| part.looked_up.is_some() || part.sought.is_some()) else { return false };
        let mut earlier = self.parts[..at].iter().filter(|part| part.ids.iter().any(|known| **known == *id));
        match error {
            WriteError::Moved => part.looked_up.is_some() && earlier.next().is_some(),
            WriteError::NotFound | WriteError::Forbidden => earlier.any(|part| matches!(part.kind, Kind::Delete | Kind::Many(Doing::Remove))),
            _ => false,
        }
    }

    /// Commits; `None` when somebody was faster, and it is to be looked up again.
    async fn commit(mut self, claim: Option<&Claim>, unseen: &mut u32) -> Result<Option<(Vec<Outcome>, bool)>, RecordError> {
        if let Some(claim) = claim {
            self.work.claim(Claim { result: self.results().into(), ..claim.clone() });
        }
        let work = std::mem::replace(&mut self.work, self.ask.work());
        match work.commit().await {
            Ok((_, Some(result))) => Ok(Some((replayed_results(self.ask, &result)?, true))),
            Ok((done, None)) => Ok(Some((self.outcomes(done), false))),
            Err(error) => self.failed(error, unseen).await,
        }
    }

    /// What failed, and where; `None` when it is to be looked up again.
    async fn failed<T>(&self, error: WorkError, unseen: &mut u32) -> Result<Option<T>, RecordError> {
        let at = self.of.get(error.operation).copied().unwrap_or(self.parts.len() - 1);
        let part = &self.parts[at];
        // The entries of an operation follow each other.
        let number = error.operation - self.of.iter().position(|of| *of == at).unwrap_or(error.operation);
        let id = part.sought.as_ref().and_then(|sought| sought.order.get(number)).map(|id| &**id);
        if self.is_in_its_own_way(at, id, &error.error) {
            return Err(place(&format!("/operations/{at}"), "clash", "an earlier operation changes the record that this one looks for"));
        }
        if let Some((keyed, created)) = &part.looked_up
            && keyed.again(self.ask, part.collection, (*created, &error.error), unseen).await?
        {
            return Ok(None);
        }
        if matches!(error.error, WriteError::Moved) && self.parts.iter().any(|part| part.sought.is_some()) {
            return Ok(None);
        }
        let declared = &self.ask.app().collections[part.collection];
        let (data, filter) = (format!("/operations/{at}/data"), format!("/operations/{at}/filter"));
        match (part.kind, id) {
            (Kind::Many(doing), Some(id)) => Err(many::failed(self.ask, declared, (doing, id), error, (&data, &filter)).await?),
            _ => Err(RecordError::write(error, data, declared)),
        }
    }

    /// What each operation did, of what each entry did.
    fn outcomes(&self, done: Vec<Done>) -> Vec<Outcome> {
        let mut done = done.into_iter();
        let outcome = |(at, part): (usize, &Part<'_>)| match part.kind {
            Kind::Many(_) => {
                done.by_ref().take(self.of.iter().filter(|of| **of == at).count()).for_each(drop);
                Some(Outcome::Many(part.sought.as_ref().map(|sought| sought.found.ids.clone()).unwrap_or_default()))
            }
            _ => done.next().map(|done| if done.row.is_some() { Outcome::Made(made(done)) } else { Outcome::Deleted(done.id) }),
        };
        self.parts.iter().enumerate().filter_map(outcome).collect()
    }

    /// The result of an idempotency key: a word for each operation; ids of a filter's records are separated by commas.
    fn results(&self) -> String {
        let written = self.work.results();
        let mut written = written.split(' ').filter(|word| !word.is_empty());
        let word = |(at, part): (usize, &Part<'_>)| match part.kind {
            Kind::Many(_) => {
                written.by_ref().take(self.of.iter().filter(|of| **of == at).count()).for_each(drop);
                let ids = part.sought.iter().flat_map(|sought| &sought.found.ids).map(|id| &**id).collect::<Vec<_>>();
                format!("{MANY}{}", ids.join(","))
            }
            _ => written.next().unwrap_or_default().to_owned(),
        };
        self.parts.iter().enumerate().map(word).collect::<Vec<_>>().join(" ")
    }
}

/// Begins the word of an operation that has a filter.
const MANY: &str = "*";

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
            Outcome::Many(ids) => out.extend(many::written(ids)),
        }
    }
    out.extend_from_slice(b"]}");
    Ok((out, replayed))
}

/// What an earlier batch with the same key did: each record is read under today's policies.
fn replayed_results(ask: &Ask, result: &str) -> Result<Vec<Outcome>, RecordError> {
    let targets = result.split(' ').filter(|target| !target.is_empty());
    let made = |target: &str| {
        if let Some(ids) = target.strip_prefix(MANY) {
            return Ok(Outcome::Many(ids.split(',').filter(|id| !id.is_empty()).map(Into::into).collect()));
        }
        let name = target.split('/').next().unwrap_or_default();
        Ok(Outcome::Made(replay(&ask.app().collections[collection(ask, name)?], target)))
    };
    targets.map(made).collect()
}
