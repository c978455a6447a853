//! What callers without credentials may query: root fields of collections that the folder opens to them.

use crate::names::{Change, Query, Types};
use async_graphql::parser::types::{ExecutableDocument, OperationType, Selection, SelectionSet};
use haechi_data::many::Doing;
use haechi_model::{App, CollectionId};

/// Fragments are followed to this depth.
const MAX_DEPTH: usize = 16;

/// Whether all root fields of a document, of all its operations, are within anonymous reach.
pub(crate) fn within(app: &App, types: &Types, document: &ExecutableDocument) -> bool {
    document.operations.iter().all(|(_, operation)| {
        let kind = operation.node.ty;
        fields(document, &operation.node.selection_set.node, 0, &|name| reached(app, types, kind, name))
    })
}

fn fields(document: &ExecutableDocument, set: &SelectionSet, depth: usize, good: &dyn Fn(&str) -> bool) -> bool {
    depth < MAX_DEPTH
        && set.items.iter().all(|item| match &item.node {
            Selection::Field(field) => good(&field.node.name.node),
            Selection::InlineFragment(inline) => fields(document, &inline.node.selection_set.node, depth + 1, good),
            Selection::FragmentSpread(spread) => {
                let fragment = document.fragments.get(&spread.node.fragment_name.node);
                fragment.is_some_and(|fragment| fields(document, &fragment.node.selection_set.node, depth + 1, good))
            }
        })
}

fn reached(app: &App, types: &Types, kind: OperationType, name: &str) -> bool {
    let open = |at: CollectionId, verb: &str| app.anonymous.iter().any(|(to, reach)| *to == at && reach == verb);
    if name == "__typename" {
        return true;
    }
    match kind {
        OperationType::Query => types.queries.get(name).is_some_and(|query| match query {
            Query::One(at) => open(*at, "read"),
            Query::List(at) | Query::Aggregate(at) => open(*at, "list"),
        }),
        OperationType::Mutation => types.mutations.get(name).is_some_and(|(at, change)| match change {
            Change::Create => open(*at, "create"),
            Change::Update => open(*at, "update"),
            Change::Delete => open(*at, "delete"),
            Change::Many(Doing::Change) => open(*at, "list") && open(*at, "update"),
            Change::Many(Doing::Remove) => open(*at, "list") && open(*at, "delete"),
            Change::Upsert => open(*at, "create") || open(*at, "update"),
            Change::Act(_) => false,
        }),
        OperationType::Subscription => types.subscriptions.get(name).is_some_and(|at| open(*at, "watch")),
    }
}
