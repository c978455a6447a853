//! Parsed and validated documents with their plans: kept by their text, within bounds.

use crate::{
    check::{self, Refused, Rules},
    names::Types,
    plan::Plan,
    planner::{Flags, Planner, flag_names},
};
use async_graphql::parser::types::{DocumentOperations, ExecutableDocument, OperationDefinition};
use aws_lc_rs::digest;
use haechi_model::{App, GraphqlConfig, Json};
use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write,
    sync::{Arc, PoisonError, RwLock},
};

/// Bounds: the number of documents, the longest document, and the fields of all documents and plans.
const MAX_DOCUMENTS: usize = 1_024;
const MAX_KEPT_BYTES: usize = 16 * 1024;
const MAX_KEPT_FIELDS: usize = 200_000;
/// Plans of one document: for each operation, and for each set of values of its `@skip` and `@include` variables.
const MAX_PLANS: usize = 8;

/// A document and its plans.
pub(crate) struct Document {
    pub(crate) parsed: ExecutableDocument,
    flags: Vec<String>,
    /// Fields once fragments are expanded.
    fields: usize,
    plans: RwLock<HashMap<PlanKey, Arc<Plan>>>,
}

type PlanKey = (Option<Box<str>>, Flags);

/// The kept documents.
pub(crate) struct Documents {
    kept: RwLock<Kept>,
    /// Texts by their hash: documents of the folder, and documents that clients have registered.
    known: HashMap<String, Arc<str>>,
    registered: RwLock<HashMap<String, Arc<str>>>,
    only_known: bool,
}

#[derive(Default)]
struct Kept {
    documents: HashMap<Box<str>, Arc<Document>>,
    fields: usize,
}

impl Kept {
    /// Makes room by removing arbitrary documents.
    fn room(&mut self, fields: usize) {
        while self.documents.len() >= MAX_DOCUMENTS || self.fields + fields > MAX_KEPT_FIELDS {
            let Some(text) = self.documents.keys().next().cloned() else { return };
            if let Some(gone) = self.documents.remove(&text) {
                self.fields = self.fields.saturating_sub(gone.weight());
            }
        }
    }
}

/// Why there is no document for a request.
pub(crate) enum Missing {
    /// A hash alone, and no client has sent its text yet.
    NotFound,
    /// The hash does not match the text.
    WrongHash,
    /// Only documents of the folder are executed.
    NotKnown,
}

impl Documents {
    pub(crate) fn new(texts: impl Iterator<Item = Arc<str>>, only_known: bool) -> Self {
        let known = texts.map(|text| (hash(&text), text)).collect();
        Self { kept: RwLock::default(), known, registered: RwLock::default(), only_known }
    }

    /// The text of a request: its own, or the registered text of its hash.
    pub(crate) fn text(&self, query: Option<&str>, wanted: Option<&str>) -> Result<Arc<str>, Missing> {
        match (query, wanted) {
            (query, Some(wanted)) => {
                if let Some(text) = self.known.get(wanted) {
                    return Ok(text.clone());
                }
                if self.only_known {
                    return Err(Missing::NotKnown);
                }
                let registered = self.registered.read().unwrap_or_else(PoisonError::into_inner).get(wanted).cloned();
                match (registered, query) {
                    (Some(text), _) => Ok(text),
                    (None, None) => Err(Missing::NotFound),
                    (None, Some(query)) if hash(query) != wanted => Err(Missing::WrongHash),
                    (None, Some(query)) => Ok(self.register(wanted, query)),
                }
            }
            (Some(query), None) if self.only_known => self.known.get(&hash(query)).cloned().ok_or(Missing::NotKnown),
            (Some(query), None) => Ok(query.into()),
            (None, None) => Err(Missing::NotFound),
        }
    }

    fn register(&self, wanted: &str, query: &str) -> Arc<str> {
        let text: Arc<str> = query.into();
        if query.len() <= MAX_KEPT_BYTES {
            let mut registered = self.registered.write().unwrap_or_else(PoisonError::into_inner);
            if registered.len() >= MAX_DOCUMENTS
                && let Some(one) = registered.keys().next().cloned()
            {
                registered.remove(&one);
            }
            registered.insert(wanted.to_owned(), text.clone());
        }
        text
    }

    /// The document for a text.
    pub(crate) fn document(&self, text: &str, limits: &GraphqlConfig) -> Result<Arc<Document>, Refused> {
        if let Some(found) = self.kept.read().unwrap_or_else(PoisonError::into_inner).documents.get(text) {
            return Ok(found.clone());
        }
        let (parsed, fields) = check::parse(text, limits)?;
        let document = Arc::new(Document { flags: flag_names(&parsed), parsed, fields, plans: RwLock::default() });
        if text.len() <= MAX_KEPT_BYTES {
            let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
            let weight = document.weight();
            kept.room(weight);
            kept.fields += weight;
            kept.documents.insert(text.into(), document.clone());
        }
        Ok(document)
    }
}

/// Why there is no plan.
pub(crate) enum NoPlan {
    /// There are several operations and the request names none, or there is none of the name.
    Operation,
    Refused(Refused),
}

impl Document {
    /// Its weight with as many plans as it may have: one, or one for each combination of its flags.
    fn weight(&self) -> usize {
        let operations = self.parsed.operations.iter().count();
        let plans = 1usize.checked_shl(u32::try_from(self.flags.len()).unwrap_or(u32::MAX)).unwrap_or(MAX_PLANS).saturating_mul(operations);
        self.fields * (1 + plans.min(MAX_PLANS)) + 16
    }

    /// The operation that a request names.
    pub(crate) fn operation(&self, name: Option<&str>) -> Option<&OperationDefinition> {
        match (&self.parsed.operations, name) {
            (DocumentOperations::Single(only), None) => Some(&only.node),
            (DocumentOperations::Multiple(all), None) if all.len() == 1 => all.values().next().map(|operation| &operation.node),
            (DocumentOperations::Multiple(all), Some(name)) => all.get(name).map(|operation| &operation.node),
            _ => None,
        }
    }

    /// The plan of an operation, made at its first use.
    pub(crate) async fn plan(&self, app: &App, types: &Types, rules: &Rules, name: Option<&str>, given: Option<&Json>) -> Result<Arc<Plan>, NoPlan> {
        let operation = self.operation(name).ok_or(NoPlan::Operation)?;
        let flags = self.flags_of(operation, given);
        let key: PlanKey = (name.map(Into::into), flags);
        if let Some(found) = self.plans.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(found.clone());
        }
        check::validate(rules, &self.parsed, name).await.map_err(NoPlan::Refused)?;
        let plan = Arc::new(Planner { app, types, document: &self.parsed, flags: &key.1 }.plan(operation));
        let mut plans = self.plans.write().unwrap_or_else(PoisonError::into_inner);
        if plans.len() >= MAX_PLANS {
            plans.clear();
        }
        plans.insert(key, plan.clone());
        Ok(plan)
    }

    /// The values of the variables that `@skip` and `@include` use.
    fn flags_of(&self, operation: &OperationDefinition, given: Option<&Json>) -> Flags {
        if self.flags.is_empty() {
            return BTreeMap::new();
        }
        let members: &[(Box<str>, Json)] = if let Some(Json::Object(members)) = given { members } else { &[] };
        let value = |name: &String| {
            let default = || operation.variable_definitions.iter().find(|definition| definition.node.name.node == name.as_str());
            match members.iter().find(|(known, _)| **known == **name) {
                Some((_, Json::Bool(flag))) => *flag,
                Some(_) => false,
                None => matches!(
                    default().and_then(|definition| definition.node.default_value.as_ref()).map(|value| &value.node),
                    Some(async_graphql::Value::Boolean(true))
                ),
            }
        };
        self.flags.iter().map(|name| (name.clone(), value(name))).collect()
    }
}

/// SHA-256 in lower-case hexadecimal.
pub(crate) fn hash(text: &str) -> String {
    digest::digest(&digest::SHA256, text.as_bytes()).as_ref().iter().fold(String::with_capacity(64), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}
