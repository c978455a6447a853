//! Cedar policies: read, validated strictly, and compiled to conditions on rows.
//!
//! The only crate that names `cedar-policy`. Policies are compiled once from Cedar's public syntax tree; per request a
//! plan is bound to the caller and becomes a [`Predicate`]. A forbid that errors denies.

mod bind;
mod compile;
mod index;
mod literal;
mod mutation;
mod node;
mod scalar;
mod schema;
mod source;

#[cfg(test)]
mod property;
#[cfg(test)]
mod tests;

pub use bind::{Principal, PrincipalKind};
use schema::Actions;
pub use schema::{actions, schema_text, visible};

use crate::{
    bind::Binder,
    compile::Compiler,
    index::Slices,
    mutation::{Mutation, mutated},
    source::Statement,
};
use cedar_policy::{Effect, PolicySet, Schema, ValidationMode, Validator, pst};
use haechi_model::{App, CollectionId, Finding, Findings, Lookup, Predicate, Severity, USERS, Value};
use miette::Diagnostic;
use std::collections::HashMap;

/// How many references a policy may follow.
const MAX_LEVEL: u32 = 3;

/// Position of an action in [`actions`].
pub type ActionId = usize;

/// The policies of an app, compiled.
pub struct Policies {
    actions: HashMap<Box<str>, ActionId>,
    names: Vec<PolicyName>,
    slices: Slices,
    users_roles_column: usize,
    /// For tests and tools that ask Cedar itself.
    set: PolicySet,
    schema: Schema,
}

/// A policy, for explanations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyName {
    /// Its `@id`, else `file:line`.
    pub id: String,
    /// The file.
    pub path: String,
    /// Line of its first word.
    pub line: usize,
    /// Whether it forbids.
    pub forbids: bool,
}

/// What one policy says of one row.
#[derive(Clone, Debug)]
pub struct Reason<'a> {
    /// The policy.
    pub policy: &'a PolicyName,
    /// `true`: it applies; `false`: it does not; `None`: it raises an error.
    pub applies: Option<bool>,
}

impl Policies {
    /// Reads, validates and compiles the policies of an app.
    ///
    /// # Errors
    /// Findings, when a policy cannot be parsed, validated or turned into a condition.
    pub fn load(app: &App) -> Result<(Self, Findings), Findings> {
        Self::build(app, true)
    }

    /// `strict` is false in the property test alone, so that conditions that raise errors are met too.
    fn build(app: &App, strict: bool) -> Result<(Self, Findings), Findings> {
        let mut findings = Findings::default();
        let schema = match Schema::from_cedarschema_str(&schema_text(app)) {
            Ok((schema, _)) => schema,
            Err(error) => {
                findings.push(Finding {
                    severity: Severity::Error,
                    code: "schema",
                    message: error.to_string(),
                    help: "this is a fault of Haechi: please report it".to_owned(),
                    source: None,
                    span: None,
                });
                return Err(findings);
            }
        };
        let statements = source::parse(&app.policies, &mut findings);
        let mut set = PolicySet::new();
        for statement in &statements {
            if let Err(error) = set.add(statement.policy.clone()) {
                findings.error(&statement.source, Some(statement.span()), "policy", error.to_string(), "see docs/policies.md".to_owned());
            }
        }
        if strict {
            validate(&schema, &set, &statements, &mut findings);
        }
        let actions = Actions::of(app);
        let mut slices = Slices::new(app.collections.len(), actions.by_name.len());
        if !findings.has_errors() {
            for (at, statement) in statements.iter().enumerate() {
                compile_statement(app, statement, at, &actions, &mut slices, &mut findings);
            }
        }
        if findings.has_errors() {
            return Err(findings);
        }
        let names = statements.iter().map(|statement| PolicyName {
            id: statement.policy.id().to_string(),
            path: statement.source.path.display().to_string(),
            line: statement.source.text[..statement.start].matches('\n').count() + 1,
            forbids: statement.policy.effect() == Effect::Forbid,
        });
        let users_roles_column = app.collections[USERS].field("roles").unwrap_or(0);
        Ok((Self { actions: actions.by_name, names: names.collect(), slices, users_roles_column, set, schema }, findings))
    }

    /// The position of an action.
    #[must_use]
    pub fn action(&self, name: &str) -> Option<ActionId> {
        self.actions.get(name).copied()
    }

    /// All policies.
    #[must_use]
    pub fn names(&self) -> &[PolicyName] {
        &self.names
    }

    /// The rows of a collection on which the caller may do the action.
    #[must_use]
    pub fn bind(&self, principal: &Principal<'_>, action: ActionId, collection: CollectionId, now_ms: i64) -> Predicate {
        let binder = self.binder(principal, collection, now_ms);
        let slice = self.slices.of(collection, action);
        let permits = Predicate::any(slice.rules(principal.roles).filter(|rule| !rule.forbids).map(|rule| binder.truth(&rule.plan).t));
        if permits == Predicate::False {
            return Predicate::False;
        }
        let unforbidden = slice.rules(principal.roles).filter(|rule| rule.forbids).map(|rule| {
            let truth = binder.truth(&rule.plan);
            if mutated(Mutation::ErringForbidIsSkipped) { truth.t.not_true() } else { truth.f }
        });
        Predicate::all(std::iter::once(permits).chain(unforbidden))
    }

    /// Whether a policy lets anybody do the action on some row of the collection.
    #[must_use]
    pub fn permits_anybody(&self, action: ActionId, collection: CollectionId) -> bool {
        self.slices.of(collection, action).permits()
    }

    /// Whether a policy of the action on the collection looks at the time.
    #[must_use]
    pub fn looks_at_the_time(&self, action: ActionId, collection: CollectionId) -> bool {
        self.slices.of(collection, action).looks_at_the_time()
    }

    /// What each policy that could matter says of a row.
    pub fn reasons<'a>(
        &'a self,
        principal: &'a Principal<'a>,
        action: ActionId,
        collection: CollectionId,
        now_ms: i64,
        row: &'a [Value],
        rows: &'a dyn Lookup,
    ) -> impl Iterator<Item = Reason<'a>> {
        let binder = self.binder(principal, collection, now_ms);
        self.slices.of(collection, action).rules(principal.roles).map(move |rule| {
            let truth = binder.truth(&rule.plan);
            let applies = match (truth.t.holds(row, rows), truth.f.holds(row, rows)) {
                (true, _) => Some(true),
                (_, true) => Some(false),
                _ => None,
            };
            Reason { policy: &self.names[rule.policy], applies }
        })
    }

    /// What each policy says before any row is looked at: `Some(true)` for every row, `Some(false)` for none, else it depends.
    pub fn outlook<'a>(
        &'a self,
        principal: &'a Principal<'a>,
        action: ActionId,
        collection: CollectionId,
        now_ms: i64,
    ) -> impl Iterator<Item = Reason<'a>> {
        let binder = self.binder(principal, collection, now_ms);
        self.slices.of(collection, action).rules(principal.roles).map(move |rule| {
            let truth = binder.truth(&rule.plan);
            let applies = match truth.t {
                Predicate::True => Some(true),
                Predicate::False => Some(false),
                _ => None,
            };
            Reason { policy: &self.names[rule.policy], applies }
        })
    }

    /// Cedar's own policy set and schema, for tools and tests that ask Cedar itself.
    #[must_use]
    pub fn cedar(&self) -> (&PolicySet, &Schema) {
        (&self.set, &self.schema)
    }

    fn binder<'a>(&'a self, principal: &'a Principal<'a>, collection: CollectionId, now_ms: i64) -> Binder<'a> {
        Binder { principal, now_ms, users_roles_column: self.users_roles_column, collection }
    }
}

fn validate(schema: &Schema, set: &PolicySet, statements: &[Statement], findings: &mut Findings) {
    let result = Validator::new(schema.clone()).validate_with_level(set, ValidationMode::Strict, MAX_LEVEL);
    let find = |id: &cedar_policy::PolicyId| statements.iter().find(|statement| statement.policy.id() == id);
    for error in result.validation_errors() {
        if let Some(statement) = find(error.policy_id()) {
            source::report(error, &statement.source, statement.span(), "policy-invalid", findings);
        }
    }
    for warning in result.validation_warnings() {
        let Some(statement) = find(warning.policy_id()) else { continue };
        let diagnostic: &dyn Diagnostic = warning;
        source::report(diagnostic, &statement.source, statement.span(), "policy-suspicious", findings);
    }
}

fn compile_statement(app: &App, statement: &Statement, at: usize, actions: &Actions, slices: &mut Slices, findings: &mut Findings) {
    let mut error = |code, message: String, help: &str| findings.error(&statement.source, Some(statement.span()), code, message, help.to_owned());
    let parsed = match statement.policy.to_pst() {
        Ok(parsed) => parsed,
        Err(why) => return error("policy", why.to_string(), "see docs/policies.md"),
    };
    let body = parsed.body();
    let wanted: Vec<ActionId> = match &body.action {
        pst::ActionConstraint::Any => {
            if statement.policy.annotation("everything").is_none_or(str::is_empty) {
                return error(
                    "bare-action",
                    "the policy names no action: it would cover every action there is and will be".to_owned(),
                    "name the actions, or add @everything(\"the reason\")",
                );
            }
            actions.by_name.values().copied().collect()
        }
        pst::ActionConstraint::Eq(uid) => actions.by_name.get(uid.eid.as_str()).copied().into_iter().collect(),
        pst::ActionConstraint::In(uids) => uids.iter().filter_map(|uid| actions.by_name.get(uid.eid.as_str()).copied()).collect(),
    };
    let only = match &body.resource {
        pst::ResourceConstraint::Any => None,
        pst::ResourceConstraint::Is(ty) | pst::ResourceConstraint::IsIn(ty, _) => Some(ty.to_string()),
        pst::ResourceConstraint::Eq(entity) | pst::ResourceConstraint::In(entity) => match entity {
            pst::EntityOrSlot::Entity(uid) => Some(uid.ty.to_string()),
            pst::EntityOrSlot::Slot(_) => return error("template", "templates are not used".to_owned(), "write the policy out"),
        },
    };
    let role = match &body.principal {
        pst::PrincipalConstraint::In(pst::EntityOrSlot::Entity(uid)) | pst::PrincipalConstraint::IsIn(_, pst::EntityOrSlot::Entity(uid))
            if uid.ty.to_string() == "Role" =>
        {
            Some(uid.eid.as_str())
        }
        _ => None,
    };
    if let Some(role) = role.filter(|role| !app.roles.iter().any(|known| known == role)) {
        let help = haechi_model::suggest(role, app.roles.iter().map(String::as_str))
            .map_or_else(|| "add it to `roles` in haechi.toml".to_owned(), |near| format!("did you mean Role::\"{near}\"?"));
        return error("unknown-role", format!("no role is named `{role}`"), &help);
    }
    for collection in app.collections.iter().filter(|collection| only.as_ref().is_none_or(|only| *only == collection.name)) {
        let wanted = actions.on(collection, &wanted);
        if wanted.is_empty() {
            continue;
        }
        let compiler = Compiler { app, collection: collection.id };
        match compiler.policy(&body.principal, &body.resource, body.clauses()) {
            Ok(plan) => slices.add(collection.id, &wanted, role, at, body.effect == pst::Effect::Forbid, plan),
            Err(why) => return error("not-a-condition", why, "see \"What cannot be a condition\" in docs/policies.md"),
        }
    }
}
