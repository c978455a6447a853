//! One GraphQL request: from its parameters to the bytes of its response.

use crate::{
    check::{self, Refused, Rules},
    cost::cost,
    documents::{Document, Documents, Missing, NoPlan},
    error::{GraphqlError, Path, write_list},
    execute::Run,
    input::{self, Variables},
    names::Types,
    parameters::Parameters,
    plan::{Plan, RootStep, Step},
    schema::schema,
};
use async_graphql::parser::types::OperationType;
use futures_util::future::join_all;
use haechi_data::{Handlers, RecordError};
use haechi_gate::{Ask, Doorkeeper, Gate};
use haechi_model::{App, Claim, GraphqlConfig};
use haechi_problem::{Problem, kinds};
use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};
use tokio::sync::Semaphore;

/// Where an operation came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The body of a request.
    Body,
    /// A URL: only reads, and no personal fields.
    Url,
}

/// A response.
pub(crate) struct Answer {
    pub(crate) bytes: Vec<u8>,
    /// The problem for which nothing was executed.
    pub(crate) refused: Option<Problem>,
}

/// What the door needs, made once.
pub struct Door {
    pub(crate) gate: Gate,
    pub(crate) base: Arc<str>,
    pub(crate) handlers: Handlers,
    pub(crate) rules: Rules,
    pub(crate) types: Types,
    documents: Documents,
    pub(crate) limits: GraphqlConfig,
    pub(crate) body_bytes: usize,
    /// Bounds the WebSocket operations in work at once, and the time of each.
    pub(crate) slots: Semaphore,
    pub(crate) timeout: Duration,
    /// Checks the callers of long connections.
    pub(crate) keeper: Arc<dyn Doorkeeper>,
    /// Whether introspection is allowed.
    open: bool,
}

/// How a door is opened.
pub struct Options {
    /// The gate.
    pub gate: Gate,
    /// The origin of problem types.
    pub base: Arc<str>,
    /// Handlers of declared actions.
    pub handlers: Handlers,
    /// Whether introspection is allowed even if the folder does not allow it: in `dev`.
    pub open: bool,
    /// Checks the callers of long connections.
    pub keeper: Arc<dyn Doorkeeper>,
}

impl Door {
    /// Builds schema and names from the model.
    ///
    /// # Errors
    /// When the model does not make a schema; [`crate::faults`] reports why beforehand.
    pub fn new(options: Options) -> Result<Self, String> {
        let revision = options.gate.revision();
        let app = &revision.app;
        let types = Types::new(app);
        let limits = app.config.graphql.clone();
        let open = options.open || limits.introspection;
        let schema = schema(app, &types, open).map_err(|error| error.to_string())?;
        let documents = Documents::new(app.documents.iter().map(|document| document.text.as_str().into()), limits.only_known);
        let body_bytes = app.config.limits.body_bytes;
        let (slots, timeout) = (Semaphore::new(app.config.limits.concurrency), Duration::from_millis(app.config.limits.request_ms));
        Ok(Self {
            gate: options.gate,
            base: options.base,
            handlers: options.handlers,
            rules: Rules::of(schema),
            types,
            documents,
            limits,
            body_bytes,
            slots,
            timeout,
            open,
            keeper: options.keeper,
        })
    }

    /// Executes one request.
    pub(crate) async fn execute(&self, ask: &Ask, parameters: &Parameters, place: Place, claim: Option<Claim>) -> Answer {
        match self.prepare(ask, parameters).await {
            Ok(prepared) => self.perform(ask, prepared, place, claim).await,
            Err(errors) => self.refused(ask, &errors),
        }
    }

    /// Executes a prepared operation.
    pub(crate) async fn perform(&self, ask: &Ask, prepared: Prepared, place: Place, claim: Option<Claim>) -> Answer {
        let Prepared { plan, variables, document, operation } = prepared;
        if let Err(problem) = fits(&plan, place, claim.is_some()) {
            return self.refused(ask, &[GraphqlError::of_request(problem)]);
        }
        let run = Run { in_url: place == Place::Url, ..self.run(ask, &variables) };
        let introspection = if plan.introspects {
            Some(check::introspect(&self.rules, &document.parsed, operation.as_deref(), input::known(&variables)).await)
        } else {
            None
        };
        let answers = self.roots(&run, &plan, claim, introspection.as_ref()).await;
        let mut bytes = Vec::with_capacity(answers.iter().map(|answer| answer.as_ref().map_or(8, Vec::len)).sum::<usize>() + 64);
        bytes.extend_from_slice(b"{\"data\":{");
        for (at, (root, answer)) in plan.roots.iter().zip(&answers).enumerate() {
            if at > 0 {
                bytes.push(b',');
            }
            haechi_model::write_json_text(&root.key, &mut bytes);
            bytes.push(b':');
            bytes.extend_from_slice(answer.as_deref().unwrap_or(b"null"));
        }
        bytes.push(b'}');
        let errors = run.errors.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.write_errors(ask, &errors, &mut bytes);
        bytes.push(b'}');
        Answer { bytes, refused: None }
    }

    /// The answers of the root fields: changes one after the other, reads side by side.
    async fn roots(&self, run: &Run<'_>, plan: &Plan, claim: Option<Claim>, introspection: Option<&async_graphql::Value>) -> Vec<Option<Vec<u8>>> {
        if plan.kind == OperationType::Mutation {
            let (mut answers, mut claim) = (Vec::with_capacity(plan.roots.len()), claim);
            for root in &plan.roots {
                // The key belongs to the one change, at any place in the document.
                let claim = if matches!(root.step, Step::Change(_)) { claim.take() } else { None };
                answers.push(Box::pin(self.root(run, root, claim, introspection)).await);
            }
            return answers;
        }
        match plan.roots.as_slice() {
            [only] => vec![self.root(run, only, None, introspection).await],
            many => join_all(many.iter().map(|root| Box::pin(self.root(run, root, None, introspection)))).await,
        }
    }

    async fn root(&self, run: &Run<'_>, root: &RootStep, claim: Option<Claim>, introspection: Option<&async_graphql::Value>) -> Option<Vec<u8>> {
        let path = Path { parent: None, key: &root.key, index: None };
        match &root.step {
            Step::Typename(name) => Some(format!("\"{name}\"").into_bytes()),
            Step::Introspection => match introspection {
                Some(async_graphql::Value::Object(members)) => members.get(&*root.key).and_then(|value| serde_json::to_vec(value).ok()),
                _ => None,
            },
            Step::One { id, selection } => run.one(id, selection, &path).await,
            Step::List(connection) => run.list(connection, &path).await,
            Step::Aggregate { collection, filter, parts } => Box::pin(run.aggregate(*collection, filter.as_ref(), parts, &path)).await,
            Step::Change(mutation) => Box::pin(run.change(mutation, &self.handlers, claim, &path)).await,
            Step::Watch { .. } => None,
        }
    }

    /// The plan, checked variables and the cost: everything that is decided before the store is used.
    pub(crate) async fn prepare(&self, ask: &Ask, parameters: &Parameters) -> Result<Prepared, Vec<GraphqlError>> {
        let one = |problem: Problem| vec![GraphqlError::of_request(problem)];
        let text =
            self.documents.text(parameters.query.as_deref(), parameters.hash.as_deref()).map_err(|missing| one(no_text(&missing, parameters)))?;
        let document = self.documents.document(&text, &self.limits).map_err(refused)?;
        // Before any error that depends on names in the document: right and wrong names must look alike.
        if !self.open && ask.caller().is_anonymous() && !crate::reach::within(ask.app(), &self.types, &document.parsed) {
            return Err(one(Problem::new(kinds::UNAUTHENTICATED, "Sign in first.")));
        }
        let (operation, given) = (parameters.operation.as_deref(), parameters.variables.as_ref());
        let plan = match document.plan(ask.app(), &self.types, &self.rules, operation, given).await {
            Ok(plan) => plan,
            Err(NoPlan::Operation) => return Err(one(Problem::new(kinds::MALFORMED, "`operationName` names no operation of the document."))),
            Err(NoPlan::Refused(reason)) => return Err(refused(reason)),
        };
        if plan.introspects && (!self.open || ask.caller().is_anonymous()) {
            return Err(one(Problem::new(kinds::FORBIDDEN, "The schema is not shown here.")));
        }
        let variables = input::variables(&self.types, &plan.variables, given).map_err(|what| one(Problem::new(kinds::MALFORMED, what)))?;
        let cost = cost(ask, &plan, &variables);
        if cost > self.limits.cost {
            let what = format!("The operation may show {cost} records; at most {} are allowed. Ask for smaller pages.", self.limits.cost);
            return Err(one(Problem::new(kinds::MALFORMED, what)));
        }
        // The request already counts as one root field.
        ask.spend(plan.roots.len().saturating_sub(1)).map_err(|seconds| one(RecordError::Spent(seconds).problem()))?;
        Ok(Prepared { plan, variables, document, operation: parameters.operation.clone() })
    }

    pub(crate) fn refused(&self, ask: &Ask, errors: &[GraphqlError]) -> Answer {
        let mut bytes = vec![b'{'];
        self.write_errors(ask, errors, &mut bytes);
        bytes.push(b'}');
        Answer { bytes, refused: errors.first().map(|error| error.problem().clone()) }
    }

    pub(crate) fn write_errors(&self, ask: &Ask, errors: &[GraphqlError], out: &mut Vec<u8>) {
        if errors.is_empty() {
            return;
        }
        if out.len() > 1 {
            out.push(b',');
        }
        out.extend_from_slice(b"\"errors\":");
        write_list(errors, &self.base, ask, out);
    }
}

/// A prepared operation.
pub(crate) struct Prepared {
    pub(crate) plan: Arc<Plan>,
    pub(crate) variables: Variables,
    pub(crate) document: Arc<Document>,
    /// Which operation of the document it is.
    operation: Option<Box<str>>,
}

/// Refuses combinations that are not allowed.
fn fits(plan: &Plan, place: Place, claimed: bool) -> Result<(), Problem> {
    let changes = plan.roots.iter().filter(|root| matches!(root.step, Step::Change(_))).count();
    match plan.kind {
        OperationType::Subscription => Err(Problem::new(kinds::MALFORMED, "A subscription needs a WebSocket, or GET /api/v1/COLLECTION:watch.")),
        OperationType::Mutation if place == Place::Url => Err(Problem::new(kinds::METHOD_NOT_ALLOWED, "A mutation is sent by POST.")),
        OperationType::Mutation if claimed && changes != 1 => {
            Err(Problem::new(kinds::MALFORMED, "Idempotency-Key goes with one change: send each in a request of its own."))
        }
        OperationType::Query if claimed => Err(Problem::new(kinds::MALFORMED, "Idempotency-Key goes with a mutation.")),
        _ => Ok(()),
    }
}

fn no_text(missing: &Missing, parameters: &Parameters) -> Problem {
    match missing {
        Missing::NotFound if parameters.hash.is_some() => Problem::new(kinds::PERSISTED_QUERY_NOT_FOUND, "Send the document with its hash once."),
        Missing::NotFound => Problem::new(kinds::MALFORMED, "`query` is missing."),
        Missing::WrongHash => Problem::new(kinds::MALFORMED, "`sha256Hash` is not the hash of `query`."),
        Missing::NotKnown => Problem::new(kinds::FORBIDDEN, "Only the documents of this service are executed."),
    }
}

fn refused(reason: Refused) -> Vec<GraphqlError> {
    match reason {
        Refused::Limit(what) => vec![GraphqlError::of_request(Problem::new(kinds::MALFORMED, what))],
        Refused::Invalid(errors) => errors.into_iter().map(|error| GraphqlError::of_document(&error)).collect(),
    }
}

/// The schema of an app, in the language of schemas.
///
/// # Errors
/// When the model does not make a schema.
pub fn sdl(app: &App) -> Result<String, String> {
    schema(app, &Types::new(app), true).map(|schema| schema.sdl()).map_err(|error| error.to_string())
}

/// Why a model cannot be served by GraphQL: collection or document, and the reason.
#[must_use]
pub fn faults(app: &App) -> Vec<Fault> {
    let types = Types::new(app);
    let mut faults: Vec<Fault> = types.clashes.iter().map(|(at, what)| Fault { collection: Some(*at), document: None, what: what.clone() }).collect();
    if faults.is_empty() && !app.documents.is_empty() {
        match schema(app, &types, true) {
            Err(error) => faults.push(Fault { collection: None, document: None, what: error.to_string() }),
            Ok(schema) => {
                let rules = Rules::of(schema);
                let checked = |(at, source): (usize, &Arc<haechi_model::Source>)| {
                    let parsed = check::parse(&source.text, &app.config.graphql);
                    let result = parsed
                        .and_then(|(parsed, _)| futures_util::FutureExt::now_or_never(check::validate(&rules, &parsed, None)).unwrap_or(Ok(())));
                    let what = match result {
                        Ok(()) => return None,
                        Err(Refused::Limit(what)) => what.to_owned(),
                        Err(Refused::Invalid(errors)) => errors.first().map(|error| error.message.clone()).unwrap_or_default(),
                    };
                    Some(Fault { collection: None, document: Some(at), what })
                };
                faults.extend(app.documents.iter().enumerate().filter_map(checked));
            }
        }
    }
    faults
}

/// A part of a folder that GraphQL cannot serve.
pub struct Fault {
    /// The collection.
    pub collection: Option<usize>,
    /// The document, by its place among the folder's.
    pub document: Option<usize>,
    /// What is wrong.
    pub what: String,
}
