//! Why somebody may or may not do something, in every part.

use crate::{caller::Scope, revision::Revision};
use haechi_model::{Collection, CollectionId, Lookup, Predicate, Row, ThingKind, USERS, Value, person};
use haechi_policy::{About, Account, ActionId, Principal, PrincipalKind, Target, Written};

/// A caller whose access is explained.
#[derive(Clone, Debug)]
pub struct Asker {
    /// What kind of caller.
    pub kind: PrincipalKind,
    /// Id within the kind.
    pub id: String,
    /// Roles.
    pub roles: Vec<Box<str>>,
    /// A person's row; empty for others.
    pub row: Row,
    /// What a key of theirs is limited to.
    pub scope: Option<Scope>,
}

/// The answer to a question about access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The caller may do it on this row, or on every row.
    Yes,
    /// No row, or not this one.
    No,
    /// On the rows for which conditions hold.
    Some,
}

/// An answer, and why.
#[derive(Debug)]
pub struct Explanation<'a> {
    /// The answer.
    pub outcome: Outcome,
    /// A rule that decides before policies are asked, in words.
    pub before: Option<String>,
    /// What each policy says that could matter, also policies for roles that the caller does not have.
    pub policies: Vec<Account<'a>>,
    /// What policies say of `read`, when the action implies it and `read` is what is missing.
    pub read: Option<Vec<Account<'a>>>,
}

impl Asker {
    /// Somebody without credentials.
    #[must_use]
    pub fn anonymous() -> Self {
        Self { kind: PrincipalKind::Anonymous, id: "anonymous".to_owned(), roles: Vec::new(), row: Vec::new(), scope: None }
    }

    /// One of the people, by their row.
    #[must_use]
    pub fn person(row: Row) -> Self {
        let roles = row.get(person::ROLES).and_then(Value::as_text).and_then(|text| serde_json::from_str(text).ok());
        let id = row.get(Collection::ID).and_then(Value::as_text).unwrap_or_default().to_owned();
        Self { kind: PrincipalKind::User, id, roles: roles.unwrap_or_default(), row, scope: None }
    }

    /// A service, with the roles and the scope of a key.
    #[must_use]
    pub fn service(name: &str, roles: Vec<Box<str>>, scope: Option<Scope>) -> Self {
        Self { kind: PrincipalKind::Service, id: name.to_owned(), roles, row: Vec::new(), scope }
    }

    /// As policies see them.
    #[must_use]
    pub fn principal(&self) -> Principal<'_> {
        Principal { kind: self.kind, id: &self.id, roles: &self.roles, row: &self.row }
    }
}

impl Revision {
    /// Why somebody may or may not do an action on a row of a collection, or on its rows at large.
    #[must_use]
    pub fn explain<'a>(
        &'a self,
        asker: &'a Asker,
        (action, collection): (ActionId, CollectionId),
        target: Option<(&Row, &dyn Lookup)>,
        now_ms: i64,
    ) -> Explanation<'a> {
        let principal = asker.principal();
        let target = target.map(|(row, rows)| Target { row, rows });
        let outcome = |action: ActionId| {
            let rows = |written| self.effective(&principal, action, collection, (now_ms, written));
            match (rows(Written::Some), rows(Written::Every), target) {
                (Predicate::False, ..) => Outcome::No,
                (_, Predicate::True, _) => Outcome::Yes,
                (_, every, Some(target)) if every.holds(target.row, target.rows) => Outcome::Yes,
                (some, _, Some(target)) if !some.holds(target.row, target.rows) => Outcome::No,
                _ => Outcome::Some,
            }
        };
        let accounts = |action| self.policies.accounts(&self.app, &principal, (action, About::Rows(collection)), now_ms, target);
        let before = self.before(asker, action, collection);
        let verbs = &self.verbs;
        let own = outcome(action);
        let implies_read = action != verbs.create && action != verbs.read;
        let readable = if implies_read { outcome(verbs.read) } else { Outcome::Yes };
        let whole = match (own, readable) {
            _ if before.is_some() => Outcome::No,
            (Outcome::No, _) | (_, Outcome::No) => Outcome::No,
            (Outcome::Yes, Outcome::Yes) => Outcome::Yes,
            _ => Outcome::Some,
        };
        let read = (own != Outcome::No && readable == Outcome::No).then(|| accounts(verbs.read));
        Explanation { outcome: whole, before, policies: accounts(action), read }
    }

    /// A rule that decides before policies are asked.
    /// Why somebody may or may not do an action with a thing that is no row; `None` when the kind has no such action.
    #[must_use]
    pub fn explain_thing<'a>(&'a self, asker: &'a Asker, action: &str, (kind, name): (ThingKind, &'a str), now_ms: i64) -> Option<Explanation<'a>> {
        let (principal, about) = (asker.principal(), About::Thing(kind, name));
        let position = kind.action(action)?;
        let before = match &asker.scope {
            _ if disabled(asker) => Some(DISABLED.to_owned()),
            _ if asker.kind == PrincipalKind::Anonymous => Some("callers without credentials reach nothing that is no row".to_owned()),
            Some(scope) if !scope.allows_thing(kind, name, action) => {
                Some(format!("the key's scopes do not hold {}/{name}:{action}", kind.type_name()))
            }
            _ => None,
        };
        let outcome = match self.effective(&principal, position, about, (now_ms, Written::Some)) {
            _ if before.is_some() => Outcome::No,
            Predicate::True => Outcome::Yes,
            Predicate::False => Outcome::No,
            // It looks at a person's row, and none is given.
            _ => Outcome::Some,
        };
        let policies = self.policies.accounts(&self.app, &principal, (position, about), now_ms, None);
        Some(Explanation { outcome, before, policies, read: None })
    }

    fn before(&self, asker: &Asker, action: ActionId, collection: CollectionId) -> Option<String> {
        let declared = &self.app.collections[collection];
        let name = &haechi_policy::actions(&self.app)[action];
        if disabled(asker) {
            return Some(DISABLED.to_owned());
        }
        if collection == USERS && matches!(name.as_str(), "create" | "delete") {
            return Some("people sign up or are added and removed by an operator; no policy decides it".to_owned());
        }
        let reachable = self.app.anonymous.iter().any(|(to, verb)| *to == collection && verb == name);
        if asker.kind == PrincipalKind::Anonymous && !reachable {
            return Some(format!("[anonymous] reach in haechi.toml does not hold \"{}:{name}\"", declared.name));
        }
        if asker.scope.as_ref().is_some_and(|scope| !scope.allows(collection, action)) {
            return Some(format!("the key's scopes do not hold {}:{name}", declared.name));
        }
        None
    }
}

/// Why somebody who is disabled may nothing.
const DISABLED: &str = "this person is disabled: nobody signs in as them";

fn disabled(asker: &Asker) -> bool {
    asker.row.get(person::DISABLED).is_some_and(|flag| *flag == Value::Int(1))
}
