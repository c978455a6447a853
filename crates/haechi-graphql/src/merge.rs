//! Fields of one response name must be one field (GraphQL, section 5.3.2): also below parents that are merged, and through fragments.
//!
//! Every type of the schema is an object, so two selections of one response name always meet in the same type.

use async_graphql::{
    Name, Pos, Positioned, ServerError,
    parser::types::{ExecutableDocument, Field, Selection, SelectionSet},
};
use std::collections::HashMap;

/// Deeper than any document that passed the bounds.
const MAX_DEPTH: usize = 128;

/// The conflicts in every operation of a document.
pub(crate) fn conflicts(document: &ExecutableDocument) -> Vec<ServerError> {
    let mut errors = Vec::new();
    for (_, operation) in document.operations.iter() {
        merged(document, &[&operation.node.selection_set.node], 0, &mut errors);
    }
    errors
}

type Fields<'d> = Vec<(&'d str, Vec<(&'d Field, Pos)>)>;

/// Checks selection sets that are merged.
fn merged(document: &ExecutableDocument, sets: &[&SelectionSet], depth: usize, errors: &mut Vec<ServerError>) {
    if depth > MAX_DEPTH {
        return;
    }
    let (mut fields, mut places, mut spread) = (Fields::new(), HashMap::new(), Vec::new());
    sets.iter().for_each(|set| collect(document, set, &mut fields, &mut places, &mut spread));
    for (name, same) in fields {
        let (first, _) = same[0];
        for (other, at) in &same[1..] {
            if let Some(why) = differ(first, other) {
                errors.push(ServerError::new(format!("`{name}` is asked for twice and {why}: give one of them an alias."), Some(*at)));
            }
        }
        let inner: Vec<&SelectionSet> = same.iter().map(|(field, _)| &field.selection_set.node).filter(|set| !set.items.is_empty()).collect();
        if !inner.is_empty() {
            merged(document, &inner, depth + 1, errors);
        }
    }
}

/// The fields of a selection set by their response names; each fragment once.
fn collect<'d>(
    document: &'d ExecutableDocument,
    set: &'d SelectionSet,
    fields: &mut Fields<'d>,
    places: &mut HashMap<&'d str, usize>,
    spread: &mut Vec<&'d str>,
) {
    for item in &set.items {
        match &item.node {
            Selection::Field(field) => {
                let name = field.node.response_key().node.as_str();
                let at = *places.entry(name).or_insert(fields.len());
                if at == fields.len() {
                    fields.push((name, Vec::new()));
                }
                fields[at].1.push((&field.node, field.pos));
            }
            Selection::InlineFragment(inline) => collect(document, &inline.node.selection_set.node, fields, places, spread),
            Selection::FragmentSpread(named) => {
                let name = named.node.fragment_name.node.as_str();
                if let (false, Some(fragment)) = (spread.contains(&name), document.fragments.get(name)) {
                    spread.push(name);
                    collect(document, &fragment.node.selection_set.node, fields, places, spread);
                }
            }
        }
    }
}

/// Why two fields cannot be merged.
fn differ(one: &Field, other: &Field) -> Option<String> {
    if one.name.node != other.name.node {
        return Some(format!("means `{}` and `{}`", one.name.node, other.name.node));
    }
    type Arguments = [(Positioned<Name>, Positioned<async_graphql_value::Value>)];
    let within = |some: &Arguments, all: &Arguments| {
        some.iter().all(|(name, value)| all.iter().any(|(known, found)| known.node == name.node && found.node == value.node))
    };
    let same = one.arguments.len() == other.arguments.len() && within(&one.arguments, &other.arguments) && within(&other.arguments, &one.arguments);
    (!same).then(|| "with different arguments".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> usize {
        conflicts(&async_graphql::parser::parse_query(text).unwrap()).len()
    }

    /// The examples of the specification, section 5.3.2, that a schema of objects can have.
    #[test]
    fn the_examples_of_the_specification() {
        for good in [
            "fragment mergeIdenticalFields on Dog { name name } { dog { ...mergeIdenticalFields } }",
            "{ dog { otherName: name otherName: name } }",
            "{ dog { doesKnowCommand(dogCommand: SIT) doesKnowCommand(dogCommand: SIT) } }",
            "query($c: C) { dog { doesKnowCommand(dogCommand: $c) doesKnowCommand(dogCommand: $c) } }",
            "{ dog { a(x: 1, y: 2) a(y: 2, x: 1) } }",
        ] {
            assert_eq!(found(good), 0, "{good}");
        }
        for bad in [
            "{ dog { name: nickname name } }",
            "{ dog { doesKnowCommand(dogCommand: SIT) doesKnowCommand(dogCommand: HEEL) } }",
            "query($c: C) { dog { doesKnowCommand(dogCommand: SIT) doesKnowCommand(dogCommand: $c) } }",
            "query($a: C, $b: C) { dog { doesKnowCommand(dogCommand: $a) doesKnowCommand(dogCommand: $b) } }",
            "{ dog { doesKnowCommand(dogCommand: SIT) doesKnowCommand } }",
        ] {
            assert_eq!(found(bad), 1, "{bad}");
        }
    }

    #[test]
    fn conflicts_below_merged_parents_and_through_fragments_are_found() {
        assert_eq!(found("{ items { nodes { boss { x: title } } } items { nodes { boss { x: note } } } }"), 1);
        assert_eq!(found("{ i { ...A ...B } } fragment A on I { boss { x: title } } fragment B on I { boss { x: note } }"), 1);
        assert_eq!(found("{ i { list(first: 1) { id } ...A } } fragment A on I { list(first: 2) { title } }"), 1);
        assert_eq!(found("{ i { ... { x: title } ... @include(if: true) { x: note } } }"), 1);
        assert_eq!(found("{ i { ...A boss { ...A } } } fragment A on I { x: title }"), 0);
        assert_eq!(found("query a { i { x: title } } query b { i { x: note } }"), 0, "two operations are never one");
        // Another rule reports a cycle; this one must only end.
        assert_eq!(found("{ i { ...A } } fragment A on I { boss { ...A } }"), 0);
    }
}
