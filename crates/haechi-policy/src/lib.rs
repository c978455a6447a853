//! Cedar policies: read, validated strictly, and compiled to conditions on rows.
//!
//! The only crate that names `cedar-policy`. Policies are compiled once from Cedar's public syntax tree; per request a
//! plan is bound to the caller and becomes a [`Predicate`]. A forbid that errors denies.

mod account;
mod attribute;
mod audience;
mod bind;
mod compile;
mod effect;
mod index;
mod literal;
mod mutation;
mod node;
mod place;
mod refusal;
mod scalar;
mod schema;
mod scripts;
mod sets;
mod size;
mod source;
mod thing;
mod words;

#[cfg(test)]
mod property;
#[cfg(test)]
mod tests;

pub use account::{Account, Part, Seen, Target, Verdict};
pub use audience::Audience;
pub use bind::{Principal, PrincipalKind, Written};
use schema::Actions;
pub use schema::{ClassActions, actions, class_actions, schema_text, type_in_policies, verb, visible};
pub use thing::About;

use crate::{
    bind::Binder,
    compile::{Compiler, Subject},
    index::{Rule, Slice, Slices},
    mutation::{Mutation, mutated},
    refusal::Refusal,
    source::Statement,
    thing::Things,
};
use cedar_policy::{Effect, PolicySet, Schema, ValidationMode, Validator, pst};
use haechi_model::{App, CollectionId, Finding, Findings, Predicate, Severity, person};
use miette::Diagnostic;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

/// How many references a policy may follow.
const MAX_LEVEL: u32 = 3;

/// Position of an action in [`actions`].
pub type ActionId = usize;

/// The policies of an app, compiled.
pub struct Policies {
    actions: HashMap<Box<str>, ActionId>,
    names: Vec<PolicyName>,
    /// Their texts, by the same numbers.
    texts: Vec<String>,
    slices: Slices,
    things: Things,
    users_roles_column: usize,
    /// Whether references always lead to rows; the property test also has worlds in which they do not.
    intact: bool,
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
        Self::loaded(app, true)
    }

    /// The same for policies written for another state of the app: it skips Cedar's validation.
    ///
    /// # Errors
    /// Findings, when a policy names something that the app does not have.
    pub fn load_leniently(app: &App) -> Result<Self, Findings> {
        Self::loaded(app, false).map(|(policies, _)| policies)
    }

    fn loaded(app: &App, strict: bool) -> Result<(Self, Findings), Findings> {
        with_a_deep_stack(|| Self::build(app, strict, true)).unwrap_or_else(|| {
            let mut findings = Findings::default();
            findings.push(Finding {
                severity: Severity::Error,
                code: "no-thread",
                message: "the policies cannot be read: the system starts no further thread".to_owned(),
                help: "raise the limits on threads and memory of this process".to_owned(),
                source: None,
                span: None,
            });
            Err(findings)
        })
    }

    /// `strict` is false where policies of another state of the app are compared, and in the property test, so that conditions that raise
    /// errors are met too.
    fn build(app: &App, strict: bool, intact: bool) -> Result<(Self, Findings), Findings> {
        let mut findings = Findings::default();
        let Some(schema) = parsed(&schema::schema_about(app, &|_| true), &mut findings) else { return Err(findings) };
        let statements = source::parse(&app.policies, &mut findings);
        let (about_things, about_rows): (Vec<_>, Vec<_>) =
            statements.iter().enumerate().partition(|(_, statement)| thing::namespace(statement).is_some());
        let mut set = PolicySet::new();
        for (_, statement) in &about_rows {
            if let Err(error) = set.add(statement.policy.clone()) {
                findings.error(&statement.source, Some(statement.span()), "policy", error.to_string(), "see docs/policies.md".to_owned());
            }
        }
        if strict {
            validate(app, &schema, &about_rows, &mut findings);
        }
        let things = Things::build(app, &about_things, strict, &mut findings);
        let actions = Actions::of(app);
        if strict && !findings.has_errors() {
            about_rows.iter().for_each(|(_, statement)| effect::judge(app, statement, &actions, &mut findings));
        }
        let mut slices = Slices::new(app.collections.len(), actions.by_name.len());
        if !findings.has_errors() {
            for (at, statement) in about_rows {
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
        let texts = statements.iter().map(Statement::words).collect();
        let users_roles_column = person::ROLES;
        Ok((Self { actions: actions.by_name, names: names.collect(), texts, slices, things, users_roles_column, intact, set, schema }, findings))
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

    /// The policies that could matter to an action on a collection, as they are written, in one line each.
    #[must_use]
    pub fn concerning<'a>(&self, action: ActionId, about: impl Into<About<'a>>) -> Vec<&str> {
        let mut found: Vec<&str> = self.slice(about.into(), action).all().map(|rule| self.texts[rule.policy].as_str()).collect();
        found.sort_unstable();
        found
    }

    /// The rows of a collection on which the caller may do the action. Of a thing: true, false, or what it depends on.
    #[must_use]
    pub fn bind<'a>(&self, principal: &Principal<'_>, action: ActionId, about: impl Into<About<'a>>, now_ms: i64) -> Predicate {
        self.bind_writing(principal, action, about, now_ms, Written::Some)
    }

    /// The same for a request that writes these fields.
    #[must_use]
    pub fn bind_writing<'a>(
        &self,
        principal: &Principal<'_>,
        action: ActionId,
        about: impl Into<About<'a>>,
        now_ms: i64,
        written: Written<'_>,
    ) -> Predicate {
        let about = about.into();
        let slice = self.slice(about, action);
        let written = if slice.looks_at_the_fields() { written } else { Written::These(&[]) };
        let binder = Binder { written, ..self.binder(principal, about, now_ms) };
        let permits = permits(&binder, slice, |_| true);
        if permits == Predicate::False {
            return Predicate::False;
        }
        Predicate::all([permits, unforbidden(&binder, slice)])
    }

    /// Whether a permit of a change is asked of the row as it was.
    #[must_use]
    pub fn hands_over(&self, collection: CollectionId) -> bool {
        self.slices.of(collection, verb::UPDATE).decides_before()
    }

    /// The parts of the condition on a change; `None` when no permit of it is asked of the row as it was.
    #[must_use]
    pub fn change(&self, principal: &Principal<'_>, collection: CollectionId, now_ms: i64, written: Written<'_>) -> Option<ChangeParts> {
        let slice = self.slices.of(collection, verb::UPDATE);
        if !slice.decides_before() {
            return None;
        }
        let binder = Binder { written, ..self.binder(principal, About::Rows(collection), now_ms) };
        Some(ChangeParts {
            before: permits(&binder, slice, |rule| rule.before),
            after: permits(&binder, slice, |rule| !rule.before),
            unforbidden: unforbidden(&binder, slice),
        })
    }

    /// Whether a policy lets anybody do the action on some row of the collection.
    #[must_use]
    pub fn permits_anybody(&self, action: ActionId, collection: CollectionId) -> bool {
        self.slices.of(collection, action).permits()
    }

    /// Whether a policy of the action on the collection looks at the fields that are written.
    #[must_use]
    pub fn looks_at_the_fields(&self, action: ActionId, collection: CollectionId) -> bool {
        self.slices.of(collection, action).looks_at_the_fields()
    }

    /// Whether a policy of the action on the collection looks at the time.
    #[must_use]
    pub fn looks_at_the_time(&self, action: ActionId, collection: CollectionId) -> bool {
        self.slices.of(collection, action).looks_at_the_time()
    }

    /// What each policy says before any row is looked at: `Some(true)` for every row, `Some(false)` for none, else it depends.
    pub fn outlook<'a>(
        &'a self,
        principal: &'a Principal<'a>,
        action: ActionId,
        collection: CollectionId,
        now_ms: i64,
    ) -> impl Iterator<Item = Reason<'a>> {
        let binder = self.binder(principal, About::Rows(collection), now_ms);
        self.slices.of(collection, action).rules(principal.roles).map(move |rule| {
            let truth = binder.truth(&rule.plan);
            let applies = match (truth.t, truth.f) {
                // It depends on the fields that are written.
                (Predicate::True, Predicate::True) => None,
                (Predicate::True, _) => Some(true),
                (Predicate::False, _) => Some(false),
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

    fn binder<'a>(&'a self, principal: &'a Principal<'a>, about: About<'a>, now_ms: i64) -> Binder<'a> {
        Binder { principal, now_ms, users_roles_column: self.users_roles_column, about, intact: self.intact, written: Written::Some }
    }
}

/// What a change needs: `before` of the row as it was, or `after` of the row as it becomes; and `unforbidden` of both.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangeParts {
    /// Permits with `@decides("before")`.
    pub before: Predicate,
    /// The other permits.
    pub after: Predicate,
    /// No forbid holds.
    pub unforbidden: Predicate,
}

fn permits(binder: &Binder<'_>, slice: &Slice, which: impl Fn(&Rule) -> bool) -> Predicate {
    let rules = slice.rules(binder.principal.roles).filter(|rule| !rule.forbids && which(rule));
    Predicate::any(rules.map(|rule| binder.truth(&rule.plan).t))
}

fn unforbidden(binder: &Binder<'_>, slice: &Slice) -> Predicate {
    Predicate::all(slice.rules(binder.principal.roles).filter(|rule| rule.forbids).map(|rule| {
        let truth = binder.truth(&rule.plan);
        if mutated(Mutation::ErringForbidIsSkipped) { truth.t.not_true() } else { truth.f }
    }))
}

/// Cedar's parser recurses for each level of a condition: a few hundred `||` need more stack than a worker thread has.
/// `None` when the system starts no thread.
fn with_a_deep_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    /// Several times the need of the longest statement; the system only allocates pages that are used.
    const STACK_BYTES: usize = 512 << 20;
    let planted = mutation::planted();
    std::thread::scope(|scope| {
        let inside = || {
            mutation::plant(planted);
            work()
        };
        let thread = std::thread::Builder::new().name("policies".to_owned()).stack_size(STACK_BYTES).spawn_scoped(scope, inside).ok()?;
        Some(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

fn parsed(schema: &str, findings: &mut Findings) -> Option<Schema> {
    match Schema::from_cedarschema_str(schema) {
        Ok((schema, _)) => Some(schema),
        Err(error) => {
            findings.push(Finding {
                severity: Severity::Error,
                code: "schema",
                message: error.to_string(),
                help: "this is a fault of Haechi: please report it".to_owned(),
                source: None,
                span: None,
            });
            None
        }
    }
}

/// Validates the policies: those about one collection against what concerns it, the others against everything.
fn validate(app: &App, whole: &Schema, statements: &[(usize, &Statement)], findings: &mut Findings) {
    let mut by_collection: BTreeMap<Option<CollectionId>, Vec<(usize, &Statement)>> = BTreeMap::new();
    for (at, statement) in statements {
        if let Some(why) = thing::bare(statement) {
            findings.error(&statement.source, Some(statement.span()), why.code, why.message, why.help);
            continue;
        }
        by_collection.entry(only_about(app, statement)).or_default().push((*at, statement));
    }
    // In the order of the files, not of the schemas.
    let mut found: Vec<(usize, Findings)> = Vec::new();
    for (about, group) in by_collection {
        let narrow = match about {
            None => None,
            Some(id) => match parsed(&schema::schema_about(app, &|collection| collection.id == id), findings) {
                None => return,
                narrow => narrow,
            },
        };
        let validator = Validator::new(narrow.unwrap_or_else(|| whole.clone()));
        for (at, statement) in group {
            let mut own = Findings::default();
            validate_one(app, (&validator, MAX_LEVEL), statement, &mut own);
            found.push((at, own));
        }
    }
    found.sort_by_key(|(at, _)| *at);
    found.into_iter().for_each(|(_, own)| findings.append(own));
}

/// The collection that a policy is about, when its head names one.
fn only_about(app: &App, statement: &Statement) -> Option<CollectionId> {
    let name = match statement.policy.resource_constraint() {
        cedar_policy::ResourceConstraint::Is(ty) | cedar_policy::ResourceConstraint::IsIn(ty, _) => ty.to_string(),
        cedar_policy::ResourceConstraint::Eq(uid) => uid.type_name().to_string(),
        _ => return None,
    };
    app.collection(&name).map(|collection| collection.id)
}

fn validate_one(app: &App, (validator, level): (&Validator, u32), statement: &Statement, findings: &mut Findings) {
    let mut set = PolicySet::new();
    if set.add(statement.policy.clone()).is_err() {
        return;
    }
    let result = validator.validate_with_level(&set, ValidationMode::Strict, level);
    for error in result.validation_errors() {
        let message = error.to_string();
        match attribute::not_found(app, &message).or_else(|| attribute::not_alike(&message)) {
            Some((message, help)) => {
                findings.error(&statement.source, Some(source::label(error, statement.span())), "policy-invalid", message, help);
            }
            None => source::report(error, &statement.source, statement.span(), "policy-invalid", findings),
        }
    }
    for warning in result.validation_warnings() {
        // An invalid policy often cannot be compiled either: that is one mistake, not two.
        if findings.has_errors() {
            break;
        }
        if scripts::is_about_scripts(warning) {
            scripts::judge(warning, statement, findings);
        } else {
            source::report(warning as &dyn Diagnostic, &statement.source, statement.span(), "policy-suspicious", findings);
        }
    }
}

fn compile_statement(app: &App, statement: &Statement, at: usize, actions: &Actions, slices: &mut Slices, findings: &mut Findings) {
    if let Err(refusal) = try_compile(app, statement, at, actions, slices) {
        let span = refusal.part.as_ref().and_then(|part| place::of(part, statement)).unwrap_or_else(|| statement.span());
        findings.error(&statement.source, Some(span), refusal.code, refusal.message, refusal.help);
    }
}

/// Whether `@decides("before")` stands at a permit of `update`, and nowhere else.
fn decides_before(statement: &Statement, wanted: &[ActionId]) -> Result<bool, Refusal> {
    let Some(when) = statement.policy.annotation("decides") else { return Ok(false) };
    if when == "before" && statement.policy.effect() == Effect::Permit && *wanted == [verb::UPDATE] {
        return Ok(true);
    }
    let message = format!("`@decides(\"{when}\")` at this policy");
    let help = "write @decides(\"before\") at a permit whose head names `update` alone: it is then asked of the row as it was";
    Err(Refusal { code: "bad-annotation", message, help: help.to_owned(), part: None })
}

fn try_compile(app: &App, statement: &Statement, at: usize, actions: &Actions, slices: &mut Slices) -> Result<(), Refusal> {
    let error = |code, message: &str, help: &str| Refusal { code, message: message.to_owned(), help: help.to_owned(), part: None };
    let parsed = statement.policy.to_pst().map_err(|why| error("policy", &why.to_string(), "see docs/policies.md"))?;
    let body = parsed.body();
    let wanted: Vec<ActionId> = match &body.action {
        pst::ActionConstraint::Any => {
            if statement.policy.annotation("everything").is_none_or(str::is_empty) {
                let message = "the policy names no action: it would cover every action there is and will be";
                return Err(error("bare-action", message, "name the actions, or add @everything(\"the reason\")"));
            }
            actions.by_name.values().copied().collect()
        }
        pst::ActionConstraint::Eq(uid) => actions.by_name.get(uid.eid.as_str()).copied().into_iter().collect(),
        pst::ActionConstraint::In(uids) => uids.iter().filter_map(|uid| actions.by_name.get(uid.eid.as_str()).copied()).collect(),
    };
    let before = decides_before(statement, &wanted)?;
    let only = match &body.resource {
        pst::ResourceConstraint::Any => None,
        pst::ResourceConstraint::Is(ty) | pst::ResourceConstraint::IsIn(ty, _) => Some(ty.to_string()),
        pst::ResourceConstraint::Eq(entity) | pst::ResourceConstraint::In(entity) => match entity {
            pst::EntityOrSlot::Entity(uid) => Some(uid.ty.to_string()),
            pst::EntityOrSlot::Slot(_) => return Err(error("template", "templates are not used", "write the policy out")),
        },
    };
    let role = role_of(&body.principal);
    // What a policy of several collections names must be a field of one of them.
    let (mut named, mut fields) = (BTreeSet::new(), BTreeSet::new());
    for collection in app.collections.iter().filter(|collection| only.as_ref().is_none_or(|only| *only == collection.name)) {
        let wanted = actions.on(collection, &wanted);
        if wanted.is_empty() {
            continue;
        }
        let compiler = Compiler { app, subject: Subject::Rows(collection.id) };
        let plan = compiler.policy(&body.principal, &body.resource, body.clauses())?;
        if plan.looks_at_the_fields() && !wanted.iter().all(|action| actions.writes(*action)) {
            let message = "`context.fields` in a policy of an action that writes no fields";
            return Err(error("not-a-condition", message, "it is there for `create`, `update` and `write_…`: give the others a policy of their own"));
        }
        let rule = Rule { policy: at, forbids: body.effect == pst::Effect::Forbid, before, plan: Arc::new(plan) };
        named.extend(rule.plan.names_of_fields());
        fields.extend(collection.fields.iter().map(|field| field.name.as_str()));
        slices.add(collection.id, &wanted, role, &rule);
    }
    match named.iter().find(|name| !fields.contains(&***name)) {
        Some(name) => Err(Refusal::unknown_field(name, fields.iter().copied())),
        None => Ok(()),
    }
}

/// The role that the head demands of the caller.
fn role_of(principal: &pst::PrincipalConstraint) -> Option<&str> {
    match principal {
        pst::PrincipalConstraint::In(pst::EntityOrSlot::Entity(uid)) | pst::PrincipalConstraint::IsIn(_, pst::EntityOrSlot::Entity(uid))
            if uid.ty.to_string() == "Role" =>
        {
            Some(uid.eid.as_str())
        }
        _ => None,
    }
}
