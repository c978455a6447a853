//! Who reaches how far, as far as policies alone say.

use crate::revision::Revision;
use haechi_model::{App, CollectionId, Predicate, ThingKind, USERS};
use haechi_policy::{About, ActionId, Principal, PrincipalKind, Written};
use std::collections::BTreeSet;

/// How far somebody gets with an action on a collection, as far as policies alone say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// No row.
    None,
    /// Rows of which a condition holds.
    Some,
    /// Every row.
    All,
}

/// How far somebody gets with an action on a collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    /// `anonymous`, `user` (a person without a role), `service` (one without a role), a role, or somebody whom a policy names.
    pub who: String,
    /// The collection, or the thing that is no row: `Work::Job/NAME`.
    pub collection: String,
    /// The action.
    pub action: String,
    /// How far.
    pub reach: Reach,
}

/// The id of a caller about whom nothing else is known. No row has this id.
pub(crate) const ANYBODY: &str = "00000000-0000-0000-0000-000000000000";

impl Revision {
    /// The access of callers without credentials, people without a role, each role, services without a role, and callers whom a policy
    /// names. Services and named callers without any access are left out.
    #[must_use]
    pub fn matrix(&self) -> Vec<Reached> {
        let mut found = Vec::new();
        self.reached_by("anonymous", (PrincipalKind::Anonymous, "anonymous"), &[], &mut found);
        self.reached_by("user", (PrincipalKind::User, ANYBODY), &[], &mut found);
        for role in &self.app.roles {
            self.reached_by(role, (PrincipalKind::User, ANYBODY), &[role.as_str().into()], &mut found);
        }
        let mut rare = Vec::new();
        self.reached_by("service", (PrincipalKind::Service, ANYBODY), &[], &mut rare);
        let (users, services) = self.named();
        for id in users {
            self.reached_by(&format!("users::\"{id}\""), (PrincipalKind::User, &id), &[], &mut rare);
        }
        for name in services {
            self.reached_by(&format!("services::\"{name}\""), (PrincipalKind::Service, &name), &[], &mut rare);
        }
        found.extend(rare.into_iter().filter(|reached| reached.reach != Reach::None));
        found
    }

    fn reached_by(&self, who: &str, (kind, id): (PrincipalKind, &str), roles: &[Box<str>], found: &mut Vec<Reached>) {
        let principal = Principal { kind, id, roles, row: &[] };
        let mut push = |(action, name): (ActionId, String), about: About<'_>, on: &str| {
            let effective = |written| self.effective(&principal, action, about, (0, written));
            let reach = match (effective(Written::Some), effective(Written::Every)) {
                (Predicate::False, _) => Reach::None,
                (_, Predicate::True) => Reach::All,
                _ => Reach::Some,
            };
            found.push(Reached { who: who.to_owned(), collection: on.to_owned(), action: name, reach });
        };
        let actions = haechi_policy::actions(&self.app);
        for collection in &self.app.collections {
            actions.iter().cloned().enumerate().for_each(|action| push(action, About::Rows(collection.id), &collection.name));
        }
        for (kind, name) in things(&self.app) {
            let actions = kind.actions().iter().map(|action| (*action).to_owned());
            actions.enumerate().for_each(|action| push(action, About::Thing(kind, name), &format!("{}/{name}", kind.type_name())));
        }
    }

    /// People and services that policies name.
    fn named(&self) -> (BTreeSet<Box<str>>, BTreeSet<Box<str>>) {
        let (mut users, mut services) = (BTreeSet::new(), BTreeSet::new());
        let actions = haechi_policy::actions(&self.app).len();
        let rows = self.app.collections.iter().flat_map(|collection| (0..actions).map(|action| (action, About::Rows(collection.id))));
        let things = things(&self.app).into_iter();
        let things = things.flat_map(|(kind, name)| (0..kind.actions().len()).map(move |action| (action, About::Thing(kind, name))));
        for (action, about) in rows.chain(things) {
            let audience = self.policies.audience(action, about);
            users.extend(audience.users);
            services.extend(audience.services);
        }
        (users, services)
    }

    /// The rows on which a caller may do an action: what policies allow, or nothing where the server never asks policies.
    pub(crate) fn effective<'a>(
        &self,
        principal: &Principal<'_>,
        action: ActionId,
        about: impl Into<About<'a>>,
        (now_ms, written): (i64, Written<'_>),
    ) -> Predicate {
        let about = about.into();
        let About::Rows(collection) = about else { return self.policies.bind_writing(principal, action, about, now_ms, written) };
        let verbs = &self.verbs;
        let reserved = collection == USERS && (action == verbs.create || action == verbs.delete);
        // Unknown callers reach only what the folder declares; policies cannot extend that.
        let declared = |(to, verb): &(CollectionId, String)| *to == collection && self.policies.action(verb) == Some(action);
        let open = principal.kind != PrincipalKind::Anonymous || self.app.anonymous.iter().any(declared);
        if reserved || !open { Predicate::False } else { self.policies.bind_writing(principal, action, collection, now_ms, written) }
    }

    /// What policies allow callers without credentials although the folder does not declare it: collection and verb.
    #[must_use]
    pub fn undeclared_reach(&self) -> Vec<(String, String)> {
        let nobody = Principal { kind: PrincipalKind::Anonymous, id: "anonymous", roles: &[], row: &[] };
        let mut found = Vec::new();
        for collection in &self.app.collections {
            for action in haechi_policy::actions(&self.app) {
                let Some(id) = self.policies.action(&action) else { continue };
                let declared = self.app.anonymous.iter().any(|(to, verb)| *to == collection.id && *verb == action);
                if !declared && self.bind(&nobody, id, collection.id, 0) != Predicate::False {
                    found.push((collection.name.clone(), action));
                }
            }
        }
        found
    }
}

/// What an app has that is no row and has policies.
pub(crate) fn things(app: &App) -> Vec<(ThingKind, &str)> {
    ThingKind::ALL.into_iter().flat_map(|kind| kind.names(app).into_iter().map(move |name| (kind, name))).collect()
}
