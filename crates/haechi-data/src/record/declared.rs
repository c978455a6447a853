//! Actions that collections declare (`[actions.approve]`): policy decides who may run them, a handler does the work.

use super::{
    actions::{Made, earlier, finish, record_id, replay},
    body::{Purpose, read_values},
    error::RecordError,
};
use haechi_gate::{ActionGrant, Ask, ReadError, Work, WorkError, WriteError};
use haechi_model::{App, Claim, Collection, CollectionId, Json, Value, parse_json};
use haechi_problem::Problem;
use std::{collections::HashMap, pin::Pin, sync::Arc};

type Running = Pin<Box<dyn Future<Output = Result<Acted, Problem>> + Send>>;
type Handler = Arc<dyn Fn(Act) -> Running + Send + Sync>;

/// The program's own code for declared actions: a handler for each collection and action.
#[derive(Clone, Default)]
pub struct Handlers(HashMap<(String, String), Handler>);

impl Handlers {
    /// Adds the handler of an action.
    pub fn add<F>(&mut self, collection: &str, action: &str, handler: impl Fn(Act) -> F + Send + Sync + 'static)
    where
        F: Future<Output = Result<Acted, Problem>> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |act| Box::pin(handler(act)));
        self.0.insert((collection.to_owned(), action.to_owned()), handler);
    }

    /// Declared actions without a handler, and handlers of what is not declared, as `collection:action`.
    #[must_use]
    pub fn mismatches(&self, app: &App) -> (Vec<String>, Vec<String>) {
        let declared: Vec<(String, String)> = app
            .collections
            .iter()
            .flat_map(|collection| collection.actions.iter().map(|action| (collection.name.clone(), action.name.clone())))
            .collect();
        let text = |(collection, action): &(String, String)| format!("{collection}:{action}");
        let missing = declared.iter().filter(|action| !self.0.contains_key(*action)).map(text).collect();
        let mut unknown: Vec<String> = self.0.keys().filter(|action| !declared.contains(action)).map(text).collect();
        unknown.sort_unstable();
        (missing, unknown)
    }
}

/// One request for a declared action: policy has said yes to this caller and this record.
pub struct Act {
    ask: Ask,
    grant: ActionGrant,
    id: String,
    input: Vec<(usize, Value)>,
    claim: Option<Claim>,
    found: i64,
    version: Option<i64>,
    /// The change that [`Act::change`] commits: steps that other grants add to it are committed with it, or not at all.
    pub work: Work,
}

/// A declared action that was done.
pub struct Acted(Made);

impl Act {
    /// The request: its caller, and the way to other grants.
    #[must_use]
    pub fn ask(&self) -> &Ask {
        &self.ask
    }

    /// Id of the record.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A field of the body, validated as declared; `None` when it was left out.
    #[must_use]
    pub fn input(&self, name: &str) -> Option<&Value> {
        let field = self.grant.action().input.field(name)?;
        self.input.iter().find(|(known, _)| *known == field).map(|(_, value)| value)
    }

    /// Requires that nobody has changed the record since the request began: for values computed from what was read.
    #[must_use]
    pub fn only_if_unchanged(self) -> Self {
        Self { version: self.version.or(Some(self.found)), ..self }
    }

    /// Sets fields of the record, leaves an entry with the action's name, and answers with the record.
    ///
    /// # Errors
    /// The answer to the client: fields that are not valid, a record that changed meanwhile, an unavailable database.
    pub async fn change(self, fields: &serde_json::Value) -> Result<Acted, Problem> {
        self.commit(fields).await.map(Acted).map_err(|error| error.problem())
    }

    async fn commit(self, fields: &serde_json::Value) -> Result<Made, RecordError> {
        let Self { grant, id, claim, version, mut work, .. } = self;
        let declared = grant.collection().clone();
        let json = parse_json(fields.to_string().as_bytes())?;
        let values = read_values(&json, &declared, Purpose::Merge, "")?;
        let operation = work.operations();
        grant.change(&mut work, &id, &values, version).map_err(|error| write(error, &declared))?;
        if let Some(claim) = claim {
            work.claim(Claim { result: format!("{}/{id}", declared.name).into(), ..claim });
        }
        finish(work, &declared, operation).await
    }
}

/// What a request brings beside its body.
pub struct Target<'a> {
    /// The record.
    pub id: &'a str,
    /// The version of `If-Match`.
    pub version: Option<i64>,
}

/// The grant to a declared action, requested before a byte of the body is read.
///
/// # Errors
/// When there is no such action, or policy says no.
pub fn grant(ask: &Ask, collection: CollectionId, action: &str) -> Result<ActionGrant, RecordError> {
    ask.act(collection, action).ok_or(RecordError::NotFound)?.map_err(RecordError::Refused)
}

/// Does a declared action.
///
/// # Errors
/// Why nothing was done.
pub async fn act(
    ask: &Ask,
    grant: ActionGrant,
    handlers: &Handlers,
    target: Target<'_>,
    json: Option<&Json>,
    claim: Option<Claim>,
) -> Result<Made, Problem> {
    let begin = async {
        let id = record_id(target.id).ok_or(RecordError::NotFound)?;
        let name = (grant.collection().name.clone(), grant.action().name.clone());
        let handler = handlers.0.get(&name).cloned().ok_or(RecordError::NotFound)?;
        let input = read_values(json.unwrap_or(&Json::Object(Vec::new())), &grant.action().input, Purpose::Create, "")?;
        let input = grant.action().input.with_defaults(input, ask.now_ms(), ask.person());
        if let Some(result) = earlier(ask, claim.as_ref()).await? {
            return Ok(Begun::Replayed(replay(grant.collection(), &result)));
        }
        let found = match grant.version_of(&id).await {
            Ok(found) => found.ok_or(RecordError::NotFound)?,
            Err(ReadError::Refused(refusal)) => return Err(RecordError::Refused(refusal)),
            Err(error) => return Err(RecordError::read(error, ask.app(), grant.collection().id)),
        };
        Ok(Begun::New { handler, id, input, found })
    };
    let (handler, id, input, found) = match begin.await.map_err(|error: RecordError| error.problem())? {
        Begun::Replayed(made) => return Ok(made),
        Begun::New { handler, id, input, found } => (handler, id, input, found),
    };
    if target.version.is_some_and(|wanted| wanted != found) {
        return Err(write(WriteError::VersionMismatch, grant.collection()).problem());
    }
    let act = Act { work: ask.work(), ask: ask.clone(), grant, id, input, claim, found, version: target.version };
    handler(act).await.map(|Acted(made)| made)
}

enum Begun {
    /// An earlier request with the same key did it.
    Replayed(Made),
    New {
        handler: Handler,
        id: String,
        input: Vec<(usize, Value)>,
        found: i64,
    },
}

fn write(error: WriteError, declared: &Collection) -> RecordError {
    RecordError::write(WorkError { operation: 0, error }, String::new(), declared)
}
