//! Policies about what is no row, such as a job. They name their action, whose namespace says what they are about; no policy without an
//! action reaches them. They are a set of their own, and decided in memory.

use crate::{
    Policies, Principal,
    compile::{Compiler, Subject},
    index::{Rule, Slice, Slices},
    place,
    refusal::Refusal,
    schema::{entities, namespaces},
    source::Statement,
};
use cedar_policy::{ActionConstraint, Effect, PolicySet, ResourceConstraint, Schema, Validator};
use haechi_model::{App, CollectionId, Findings, Predicate, ThingKind};
use std::sync::Arc;

/// A condition may look at the caller's own fields. What a reference names would have to be read from the database.
const MAX_LEVEL: u32 = 1;
/// Most actions of one kind.
const MAX_ACTIONS: usize = 8;

/// What a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About<'a> {
    /// The rows of a collection.
    Rows(CollectionId),
    /// A thing that is no row, by its name.
    Thing(ThingKind, &'a str),
}

impl From<CollectionId> for About<'_> {
    fn from(id: CollectionId) -> Self {
        Self::Rows(id)
    }
}

/// The namespace of what a policy's head names; `None` when it names an action of the app, or none.
pub(crate) fn namespace(statement: &Statement) -> Option<String> {
    let actions = match statement.policy.action_constraint() {
        ActionConstraint::Any => Vec::new(),
        ActionConstraint::Eq(uid) => vec![uid],
        ActionConstraint::In(uids) => uids,
    };
    actions.iter().map(|uid| uid.type_name().namespace()).find(|namespace| !namespace.is_empty())
}

/// The type of the resource that a policy's head names.
fn resource_type(statement: &Statement) -> Option<String> {
    match statement.policy.resource_constraint() {
        ResourceConstraint::Is(ty) | ResourceConstraint::IsIn(ty, _) => Some(ty.to_string()),
        ResourceConstraint::Eq(uid) | ResourceConstraint::In(uid) => Some(uid.type_name().to_string()),
        ResourceConstraint::Any => None,
    }
}

/// Refuses a policy without an action whose resource is in a namespace: it would look like a rule about it.
pub(crate) fn bare(statement: &Statement) -> Option<Refusal> {
    let ty = resource_type(statement).filter(|ty| ty.contains("::"))?;
    let kind = ThingKind::ALL.into_iter().find(|kind| kind.type_name() == ty);
    let (message, help) = match kind {
        Some(kind) => (
            format!("a policy about {ty} names its action, in the namespace {}", kind.namespace()),
            format!("write `action == {}::Action::\"{}\"`; the actions are {}", kind.namespace(), kind.actions()[0], kind.actions().join(", ")),
        ),
        None => (format!("policies know nothing of the type {ty}"), format!("the types outside of collections are {}", types())),
    };
    Some(Refusal { code: "bare-action", message, help, part: None })
}

fn types() -> String {
    ThingKind::ALL.map(ThingKind::type_name).join(", ")
}

/// The policies about things.
pub(crate) struct Things {
    slices: Slices,
    /// For tests that ask Cedar itself.
    pub(crate) set: PolicySet,
    pub(crate) schema: Option<Schema>,
}

impl Things {
    /// Validates and compiles the statements of these namespaces: their positions among all, and themselves.
    pub(crate) fn build(app: &App, statements: &[(usize, &Statement)], strict: bool, findings: &mut Findings) -> Self {
        let mut things = Self { slices: Slices::new(ThingKind::ALL.len(), MAX_ACTIONS), set: PolicySet::new(), schema: None };
        if statements.is_empty() {
            return things;
        }
        let Some(schema) = crate::parsed(&(entities(app) + &namespaces()), findings) else { return things };
        let validator = Validator::new(schema.clone());
        things.schema = Some(schema);
        for (at, statement) in statements {
            if let Err(refusal) = named_well(app, statement) {
                report(&refusal, statement, findings);
                continue;
            }
            if strict && !validated(app, &validator, statement, findings) {
                continue;
            }
            match things.compile(app, *at, statement) {
                Ok(()) => drop(things.set.add(statement.policy.clone())),
                Err(refusal) => report(&refusal, statement, findings),
            }
        }
        things
    }

    fn compile(&mut self, app: &App, at: usize, statement: &Statement) -> Result<(), Refusal> {
        let error = |message: String, help: &str| Refusal { code: "policy", message, help: help.to_owned(), part: None };
        if statement.policy.annotation("decides").is_some() {
            let message = "`@decides` stands at a policy about what is no row".to_owned();
            return Err(Refusal { code: "bad-annotation", message, help: "it is for permits of `update` on rows".to_owned(), part: None });
        }
        let parsed = statement.policy.to_pst().map_err(|why| error(why.to_string(), "see docs/policies.md"))?;
        let body = parsed.body();
        let only = resource_type(statement);
        for (position, kind) in ThingKind::ALL.into_iter().enumerate() {
            if only.as_ref().is_some_and(|only| *only != kind.type_name()) {
                continue;
            }
            let wanted: Vec<usize> = actions(statement).iter().filter_map(|action| kind.action(action)).collect();
            if wanted.is_empty() {
                continue;
            }
            let plan = Compiler { app, subject: Subject::Thing(kind) }.policy(&body.principal, &body.resource, body.clauses())?;
            let rule = Rule { policy: at, forbids: statement.policy.effect() == Effect::Forbid, before: false, plan: Arc::new(plan) };
            self.slices.add(position, &wanted, crate::role_of(&body.principal), &rule);
        }
        Ok(())
    }
}

/// The names of the actions in the head.
fn actions(statement: &Statement) -> Vec<String> {
    let uids = match statement.policy.action_constraint() {
        ActionConstraint::Any => Vec::new(),
        ActionConstraint::Eq(uid) => vec![uid],
        ActionConstraint::In(uids) => uids,
    };
    uids.iter().map(|uid| uid.id().unescaped().to_owned()).collect()
}

/// Whether the head names actions of one known namespace, and a thing that the app has.
fn named_well(app: &App, statement: &Statement) -> Result<(), Refusal> {
    let error = |code, message: String, help: String| Err(Refusal { code, message, help, part: None });
    let uids = match statement.policy.action_constraint() {
        ActionConstraint::Any => Vec::new(),
        ActionConstraint::Eq(uid) => vec![uid],
        ActionConstraint::In(uids) => uids,
    };
    for uid in &uids {
        let namespace = uid.type_name().namespace();
        if ThingKind::LATER.contains(&namespace.as_str()) {
            let message = format!("policies of the namespace {namespace} come with a later version");
            return error("not-yet", message, "take the policy out".to_owned());
        }
        if namespace.is_empty() {
            let message = format!("the policy names {uid} beside an action of a namespace");
            return error("mixed-actions", message, "give each a policy of its own".to_owned());
        }
        if !ThingKind::NAMESPACES.contains(&namespace.as_str()) {
            let message = format!("policies know no namespace {namespace}");
            return error("unknown-namespace", message, format!("the namespaces are {}", ThingKind::NAMESPACES.join(", ")));
        }
    }
    let named = match statement.policy.resource_constraint() {
        ResourceConstraint::Eq(uid) | ResourceConstraint::In(uid) | ResourceConstraint::IsIn(_, uid) => uid,
        _ => return Ok(()),
    };
    let Some(kind) = ThingKind::ALL.into_iter().find(|kind| kind.type_name() == named.type_name().to_string()) else { return Ok(()) };
    let name = named.id().unescaped();
    if kind.names(app).contains(&name) { Ok(()) } else { Err(Refusal::unknown_thing(app, kind, name)) }
}

fn validated(app: &App, validator: &Validator, statement: &Statement, findings: &mut Findings) -> bool {
    let mut own = Findings::default();
    crate::validate_one(app, (validator, MAX_LEVEL), statement, &mut own);
    let fits = !own.has_errors();
    findings.append(own);
    fits
}

fn report(refusal: &Refusal, statement: &Statement, findings: &mut Findings) {
    let span = refusal.part.as_ref().and_then(|part| place::of(part, statement)).unwrap_or_else(|| statement.span());
    findings.error(&statement.source, Some(span), refusal.code, refusal.message.clone(), refusal.help.clone());
}

impl Policies {
    /// The rules about a question.
    pub(crate) fn slice(&self, about: About<'_>, action: usize) -> &Slice {
        match about {
            About::Rows(collection) => self.slices.of(collection, action),
            About::Thing(kind, _) => self.things.slices.of(ThingKind::ALL.iter().position(|known| *known == kind).unwrap_or(0), action),
        }
    }

    /// All rules, about rows and about things.
    pub(crate) fn every(&self) -> impl Iterator<Item = &Rule> {
        self.slices.every().chain(self.things.slices.every())
    }

    /// Whether the caller may do this with a thing. What is not surely permitted is denied.
    #[must_use]
    pub fn decide(&self, principal: &Principal<'_>, (kind, name): (ThingKind, &str), action: &str, now_ms: i64) -> bool {
        let Some(action) = kind.action(action) else { return false };
        self.bind(principal, action, About::Thing(kind, name), now_ms) == Predicate::True
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PrincipalKind, tests::app};
    use cedar_policy::{Authorizer, Context, Decision, Entities, Entity, EntityUid, Request, RestrictedExpression};
    use haechi_model::{Value, person};
    use std::collections::{HashMap, HashSet};

    const USERS: &str = "[fields]\nward = { type = \"text\" }\nrank = { type = \"int\" }\nlead = { type = \"ref\", to = \"users\" }\n";

    const JOBS: &str = "[jobs.remind]\nas = \"caller\"\ndo = { handler = true }\n[jobs.close]\nas = \"caller\"\ndo = { handler = true }\n";

    fn folder(policies: &str) -> App {
        let main = "roles = [\"clerk\", \"chief\"]";
        let notes = "[fields]\nbody = { type = \"text\" }\n";
        app(&[
            ("haechi.toml", main),
            ("collections/users.toml", USERS),
            ("collections/notes.toml", notes),
            ("jobs/all.toml", JOBS),
            ("policies/main.cedar", policies),
        ])
    }

    fn codes(policies: &str) -> Vec<(&'static str, String)> {
        match Policies::load(&folder(policies)) {
            Ok(_) => Vec::new(),
            Err(findings) => findings.list().iter().map(|finding| (finding.code, finding.message.clone())).collect(),
        }
    }

    fn load(policies: &str) -> (App, Policies) {
        let app = folder(policies);
        let policies = Policies::load(&app).map_err(|findings| format!("{findings:#?}")).unwrap().0;
        (app, policies)
    }

    const REMIND: (ThingKind, &str) = (ThingKind::Job, "remind");

    #[test]
    fn policies_without_an_action_reach_rows_alone() {
        let (app, policies) = load(
            "@everything(\"operators repair data\") permit (principal in Role::\"chief\", action, resource);
             permit (principal in Role::\"clerk\", action == Work::Action::\"enqueue\", resource == Work::Job::\"remind\");",
        );
        let chief = Principal { kind: PrincipalKind::User, id: "k", roles: &["chief".into()], row: &[] };
        let clerk = Principal { kind: PrincipalKind::Service, id: "s", roles: &["clerk".into()], row: &[] };
        let nobody = Principal { kind: PrincipalKind::Anonymous, id: "anonymous", roles: &[], row: &[] };
        let notes = app.collection("notes").unwrap().id;
        assert_eq!(policies.bind(&chief, crate::verb::READ, notes, 0), Predicate::True);
        assert!(!policies.decide(&chief, REMIND, "enqueue", 0));
        assert!(policies.decide(&clerk, REMIND, "enqueue", 0));
        for (who, thing, action) in
            [(&clerk, (ThingKind::Job, "close"), "enqueue"), (&clerk, REMIND, "read"), (&clerk, REMIND, "update"), (&nobody, REMIND, "enqueue")]
        {
            assert!(!policies.decide(who, thing, action, 0), "{who:?} {action}");
        }
        // And the other way round: a policy of a namespace is none about rows.
        assert_eq!(policies.bind(&clerk, crate::verb::READ, notes, 0), Predicate::False);
    }

    #[test]
    fn what_looks_like_a_rule_and_is_none_is_refused() {
        for (policy, code) in [
            ("permit (principal, action == Work::Action::\"enqueue\", resource == Work::Job::\"remnd\");", "unknown-thing"),
            (
                "permit (principal, action == Work::Action::\"enqueue\", resource) when { [Work::Job::\"remnd\"].contains(resource) };",
                "unknown-thing",
            ),
            ("permit (principal in Role::\"clrk\", action == Work::Action::\"enqueue\", resource);", "unknown-role"),
            ("permit (principal, action == Work::Action::\"run\", resource is Work::Job);", "policy-invalid"),
            ("permit (principal is Anonymous, action == Work::Action::\"enqueue\", resource is Work::Job);", "policy-suspicious"),
            ("@everything(\"why\") permit (principal, action, resource is Work::Job);", "bare-action"),
            ("permit (principal, action, resource == Work::Job::\"remind\");", "bare-action"),
            ("permit (principal, action == Action::\"read\", resource is Work::Job);", "bare-action"),
            ("permit (principal, action in [Work::Action::\"enqueue\", Action::\"read\"], resource);", "mixed-actions"),
            ("permit (principal, action == Wrk::Action::\"enqueue\", resource);", "unknown-namespace"),
            ("permit (principal, action == Console::Action::\"open\", resource);", "not-yet"),
            ("@decides(\"before\") permit (principal, action == Work::Action::\"enqueue\", resource is Work::Job);", "bad-annotation"),
            (
                "permit (principal is users, action == Work::Action::\"enqueue\", resource is Work::Job)
                 when { principal has lead && principal.lead has ward && principal.lead.ward == \"x\" };",
                "policy-invalid",
            ),
            (
                "permit (principal, action == Work::Action::\"enqueue\", resource is Work::Job) when { context.fields.contains(\"x\") };",
                "policy-invalid",
            ),
        ] {
            assert_eq!(codes(policy).first().map(|(code, _)| *code), Some(code), "{policy}: {:?}", codes(policy));
        }
    }

    #[test]
    fn decisions_are_those_of_cedar_and_forbids_that_err_deny() {
        let texts = [
            "permit (principal is users in Role::\"clerk\", action == Work::Action::\"enqueue\", resource);",
            "permit (principal is users, action in [Work::Action::\"enqueue\", Work::Action::\"read\"], resource is Work::Job)
             when { principal has ward && principal.ward == \"x\" };",
            "permit (principal == services::\"s\", action == Work::Action::\"enqueue\", resource)
             when { [Work::Job::\"remind\"].contains(resource) };",
            "permit (principal, action == Work::Action::\"read\", resource == Work::Job::\"close\") when { context.now > datetime(\"1970-01-02\") };",
            "forbid (principal is users, action, resource) when { principal has ward && principal.ward == \"x\" };",
            "forbid (principal is users, action == Work::Action::\"enqueue\", resource is Work::Job)
             when { principal has rank && principal.rank + 9223372036854775000 > 3 && resource == Work::Job::\"close\" };",
            "forbid (principal is services, action == Work::Action::\"read\", resource) unless { principal in Role::\"chief\" };",
        ];
        let everything = "@everything(\"x\") ";
        let policies = texts.map(|text| if text.contains("action, resource") { format!("{everything}{text}") } else { text.to_owned() }).join("\n");
        let (app, policies) = load(&policies);
        let Things { set, schema, .. } = &policies.things;
        let (mut asked, mut allowed) = (0, 0);
        for kind in [PrincipalKind::User, PrincipalKind::Service] {
            for (ward, rank) in [(None, None), (Some("x"), Some(1)), (Some("y"), Some(900)), (Some("x"), Some(900))] {
                for roles in [&[][..], &["clerk"], &["chief"], &["clerk", "chief"]] {
                    for id in ["s", "t"] {
                        for (name, action, now) in ["remind", "close"]
                            .into_iter()
                            .flat_map(|name| ["enqueue", "read", "cancel"].map(|action| (name, action)))
                            .flat_map(|(name, action)| [0, 200_000_000].map(|now| (name, action, now)))
                        {
                            let mut row = vec![Value::Null; app.collections[0].table.columns.len()];
                            row[person::ROLES] = Value::text("[]");
                            row[app.collections[0].field("ward").unwrap()] = ward.map_or(Value::Null, Value::text);
                            row[app.collections[0].field("rank").unwrap()] = rank.map_or(Value::Null, Value::Int);
                            let row = if kind == PrincipalKind::User { row } else { Vec::new() };
                            let named: Vec<Box<str>> = roles.iter().map(|role| (*role).into()).collect();
                            let principal = Principal { kind, id, roles: &named, row: &row };
                            let found = policies.decide(&principal, (ThingKind::Job, name), action, now);
                            let mut attributes: HashMap<String, RestrictedExpression> = HashMap::new();
                            if kind == PrincipalKind::User {
                                ward.map(|ward| attributes.insert("ward".to_owned(), RestrictedExpression::new_string(ward.to_owned())));
                                rank.map(|rank| attributes.insert("rank".to_owned(), RestrictedExpression::new_long(rank)));
                            }
                            let ty = if kind == PrincipalKind::User { "users" } else { "services" };
                            let uid = |text: String| text.parse::<EntityUid>().unwrap();
                            let who = uid(format!("{ty}::\"{id}\""));
                            let parents: HashSet<EntityUid> = roles.iter().map(|role| uid(format!("Role::\"{role}\""))).collect();
                            let entity = Entity::new(who.clone(), attributes, parents).unwrap();
                            let entities = Entities::from_entities([entity], None).unwrap();
                            let when = RestrictedExpression::new_datetime(haechi_model::format_datetime(now));
                            let context = Context::from_pairs([("now".to_owned(), when)]).unwrap();
                            let action_uid = uid(format!("Work::Action::\"{action}\""));
                            let resource = uid(format!("Work::Job::\"{name}\""));
                            let request = Request::new(who, action_uid, resource, context, schema.as_ref()).unwrap();
                            let response = Authorizer::new().is_authorized(&request, set, &entities);
                            let erred = response.diagnostics().errors().next().is_some();
                            let expected = response.decision() == Decision::Allow && !erred;
                            assert_eq!(found, expected, "{principal:?} {name} {action} {now}");
                            asked += 1;
                            allowed += usize::from(found);
                        }
                    }
                }
            }
        }
        assert!(asked == 2 * 4 * 4 * 2 * 12 && allowed > 100, "{allowed} of {asked}");
    }
}
