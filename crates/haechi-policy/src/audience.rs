//! The callers and times that an action's policies treat differently: two states of the policies are compared for these.

use crate::{
    About, ActionId, Policies,
    node::{EntityTy, Node, Val},
};
use haechi_model::{CollectionId, USERS};
use std::collections::BTreeSet;

/// The kinds of callers and the moments that the policies of an action on a collection tell apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audience {
    /// Roles.
    pub roles: BTreeSet<Box<str>>,
    /// People who are named, by id.
    pub users: BTreeSet<Box<str>>,
    /// Services that are named.
    pub services: BTreeSet<Box<str>>,
    /// Times between which policies decide alike, UTC milliseconds; `None` when the time is used in another way.
    pub times: Option<BTreeSet<i64>>,
}

impl Audience {
    /// Of two states together.
    #[must_use]
    pub fn with(mut self, other: Self) -> Self {
        self.roles.extend(other.roles);
        self.users.extend(other.users);
        self.services.extend(other.services);
        self.times = self.times.zip(other.times).map(|(mine, theirs)| mine.union(&theirs).copied().collect());
        self
    }
}

impl Policies {
    /// Whom the policies of an action tell apart.
    #[must_use]
    pub fn audience<'a>(&self, action: ActionId, about: impl Into<About<'a>>) -> Audience {
        let slice = self.slice(about.into(), action);
        let mut found = Audience { times: Some(BTreeSet::new()), ..Audience::default() };
        found.roles.extend(slice.by_role().map(|(role, _)| role.into()));
        for rule in slice.all() {
            rule.plan.each(&mut |node| {
                match node {
                    Node::Literal(value) => entities(value, &mut found),
                    Node::Compare(a, _, b) if node.closed() && node.looks_at_the_time() => match (&**a, &**b) {
                        (Node::Now, Node::Literal(Val::Datetime(at))) | (Node::Literal(Val::Datetime(at)), Node::Now) => {
                            let moments = [at.saturating_sub(1), *at, at.saturating_add(1)];
                            found.times.iter_mut().for_each(|times| times.extend(moments));
                        }
                        _ => found.times = None,
                    },
                    // A set of times, and what else may decide by the time alone.
                    Node::In(..) | Node::Contains(..) | Node::ContainsAll(..) | Node::ContainsAny(..)
                        if node.closed() && node.looks_at_the_time() =>
                    {
                        found.times = None;
                    }
                    _ => {}
                }
            });
        }
        found
    }

    /// The policies that look at a field of a person or of a row, at any place.
    #[must_use]
    pub fn looking_at(&self, collection: CollectionId, field: usize) -> Vec<&crate::PolicyName> {
        let mut found = BTreeSet::new();
        for rule in self.every() {
            rule.plan.each(&mut |node| {
                if matches!(node, Node::Attribute { table, column, .. } if (*table, *column) == (collection, field)) {
                    found.insert(rule.policy);
                }
            });
        }
        found.into_iter().map(|policy| &self.names[policy]).collect()
    }
}

fn entities(value: &Val, found: &mut Audience) {
    match value {
        Val::Entity(EntityTy::Role, role) => drop(found.roles.insert(role.clone())),
        Val::Entity(EntityTy::Collection(USERS), id) => drop(found.users.insert(id.clone())),
        Val::Entity(EntityTy::Service, name) => drop(found.services.insert(name.clone())),
        Val::Set(items) => items.iter().for_each(|item| entities(item, found)),
        _ => {}
    }
}
