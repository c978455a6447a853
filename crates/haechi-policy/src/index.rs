//! Policies by collection and action, and within that by the role they name: a request meets only those that could apply.

use crate::node::Node;
use haechi_model::CollectionId;
use std::{collections::HashMap, sync::Arc};

#[derive(Clone)]
pub(crate) struct Rule {
    pub(crate) policy: usize,
    pub(crate) forbids: bool,
    /// Whether a permit of a change is asked of the row as it was: `@decides("before")`.
    pub(crate) before: bool,
    pub(crate) plan: Arc<Node>,
}

#[derive(Default)]
pub(crate) struct Slice {
    by_role: HashMap<Box<str>, Vec<Rule>>,
    rest: Vec<Rule>,
    /// Whether a rule looks at the fields that are written.
    fields: bool,
    /// Whether a permit is asked of the row as it was.
    before: bool,
}

pub(crate) struct Slices {
    actions: usize,
    slices: Vec<Slice>,
}

impl Slices {
    pub(crate) fn new(collections: usize, actions: usize) -> Self {
        Self { actions, slices: (0..collections * actions).map(|_| Slice::default()).collect() }
    }

    /// The slice is exact: a policy whose head cannot match is false without error.
    pub(crate) fn add(&mut self, collection: CollectionId, actions: &[usize], role: Option<&str>, rule: &Rule) {
        for action in actions {
            let slice = &mut self.slices[collection * self.actions + action];
            slice.fields |= rule.plan.looks_at_the_fields();
            slice.before |= rule.before;
            let rules = match role {
                Some(role) => slice.by_role.entry(role.into()).or_default(),
                None => &mut slice.rest,
            };
            rules.push(rule.clone());
        }
    }

    pub(crate) fn every(&self) -> impl Iterator<Item = &Rule> {
        self.slices.iter().flat_map(Slice::all)
    }

    pub(crate) fn of(&self, collection: CollectionId, action: usize) -> &Slice {
        &self.slices[collection * self.actions + action]
    }
}

impl Slice {
    pub(crate) fn all(&self) -> impl Iterator<Item = &Rule> {
        self.rest.iter().chain(self.by_role.values().flatten())
    }

    /// The rules that name a role, by role in the order of the names.
    pub(crate) fn by_role(&self) -> impl Iterator<Item = (&str, &[Rule])> {
        let mut roles: Vec<(&str, &[Rule])> = self.by_role.iter().map(|(role, rules)| (&**role, rules.as_slice())).collect();
        roles.sort_unstable_by_key(|(role, _)| *role);
        roles.into_iter()
    }

    pub(crate) fn permits(&self) -> bool {
        self.all().any(|rule| !rule.forbids)
    }

    pub(crate) fn decides_before(&self) -> bool {
        self.before
    }

    pub(crate) fn looks_at_the_fields(&self) -> bool {
        self.fields
    }

    pub(crate) fn looks_at_the_time(&self) -> bool {
        self.all().any(|rule| rule.plan.looks_at_the_time())
    }

    pub(crate) fn rules<'a>(&'a self, roles: &'a [Box<str>]) -> impl Iterator<Item = &'a Rule> {
        self.rest.iter().chain(roles.iter().filter_map(|role| self.by_role.get(role)).flatten())
    }
}
