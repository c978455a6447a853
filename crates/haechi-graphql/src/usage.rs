//! Rules that the library leaves out: a nullable variable may not be used where null is not allowed (GraphQL, section 5.8.5), and
//! `__typename` has neither arguments nor subfields.

use async_graphql::{
    Pos, Positioned, ServerError,
    dynamic::Schema,
    parser::types::{
        BaseType, Directive, ExecutableDocument, InputValueDefinition, OperationDefinition, OperationType, Selection, SelectionSet, Type, TypeKind,
        TypeSystemDefinition,
    },
};
use async_graphql_value::{Name, Value};
use std::collections::{HashMap, HashSet};

/// A place that takes a value: its type, and whether it has a default.
struct Place {
    ty: Type,
    filled: bool,
}

type Places = HashMap<String, Place>;

/// The types of a schema, as far as values and selections need them.
pub(crate) struct Usage {
    /// Fields of objects: their type and their arguments.
    objects: HashMap<String, HashMap<String, (String, Places)>>,
    /// Fields of input objects.
    inputs: HashMap<String, Places>,
}

fn places<'a>(definitions: impl Iterator<Item = &'a InputValueDefinition>) -> Places {
    let place = |definition: &InputValueDefinition| {
        (definition.name.node.to_string(), Place { ty: definition.ty.node.clone(), filled: definition.default_value.is_some() })
    };
    definitions.map(place).collect()
}

fn base(ty: &Type) -> &str {
    match &ty.base {
        BaseType::Named(name) => name,
        BaseType::List(inner) => base(inner),
    }
}

impl Usage {
    pub(crate) fn of(schema: &Schema) -> Self {
        let mut usage = Self { objects: HashMap::new(), inputs: HashMap::new() };
        // The library can parse the schema that it prints.
        let Ok(document) = async_graphql::parser::parse_schema(schema.sdl()) else { return usage };
        for definition in document.definitions {
            let TypeSystemDefinition::Type(ty) = definition else { continue };
            let name = ty.node.name.node.to_string();
            match ty.node.kind {
                TypeKind::Object(object) => {
                    let field = |field: &Positioned<async_graphql::parser::types::FieldDefinition>| {
                        let arguments = places(field.node.arguments.iter().map(|argument| &argument.node));
                        (field.node.name.node.to_string(), (base(&field.node.ty.node).to_owned(), arguments))
                    };
                    usage.objects.insert(name, object.fields.iter().map(field).collect());
                }
                TypeKind::InputObject(input) => drop(usage.inputs.insert(name, places(input.fields.iter().map(|field| &field.node)))),
                _ => {}
            }
        }
        usage
    }

    /// The violations of these rules, in every operation of a document.
    pub(crate) fn faults(&self, document: &ExecutableDocument) -> Vec<ServerError> {
        let mut errors = Vec::new();
        for (_, operation) in document.operations.iter() {
            let root = match operation.node.ty {
                OperationType::Query => "Query",
                OperationType::Mutation => "Mutation",
                OperationType::Subscription => "Subscription",
            };
            let mut look = Look { usage: self, document, operation: &operation.node, spread: HashSet::new(), errors: &mut errors };
            look.directives(&operation.node.directives);
            look.selection(&operation.node.selection_set.node, root);
        }
        errors
    }
}

struct Look<'a> {
    usage: &'a Usage,
    document: &'a ExecutableDocument,
    operation: &'a OperationDefinition,
    spread: HashSet<&'a str>,
    errors: &'a mut Vec<ServerError>,
}

impl<'a> Look<'a> {
    fn selection(&mut self, set: &'a SelectionSet, within: &str) {
        for item in &set.items {
            self.directives(item.node.directives());
            match &item.node {
                Selection::Field(field) => {
                    let (name, inner) = (field.node.name.node.as_str(), &field.node.selection_set.node);
                    if name == "__typename" && !(field.node.arguments.is_empty() && inner.items.is_empty()) {
                        self.errors.push(ServerError::new("`__typename` has no arguments and no fields.", Some(field.pos)));
                        continue;
                    }
                    let usage = self.usage;
                    let Some((leads_to, arguments)) = usage.objects.get(within).and_then(|fields| fields.get(name)) else { continue };
                    for (argument, value) in &field.node.arguments {
                        if let Some(place) = arguments.get(argument.node.as_str()) {
                            self.value(&value.node, place, value.pos);
                        }
                    }
                    self.selection(inner, leads_to);
                }
                Selection::InlineFragment(inline) => self.selection(&inline.node.selection_set.node, within),
                Selection::FragmentSpread(named) => {
                    let name = named.node.fragment_name.node.as_str();
                    if let (Some(fragment), true) = (self.document.fragments.get(name), self.spread.insert(name)) {
                        self.selection(&fragment.node.selection_set.node, fragment.node.type_condition.node.on.node.as_str());
                    }
                }
            }
        }
    }

    /// `@skip` and `@include` need a value that is not null.
    fn directives(&mut self, directives: &'a [Positioned<Directive>]) {
        let Some(ty) = Type::new("Boolean!") else { return };
        let place = Place { ty, filled: false };
        for directive in directives.iter().filter(|directive| matches!(directive.node.name.node.as_str(), "skip" | "include")) {
            for (_, value) in &directive.node.arguments {
                self.value(&value.node, &place, value.pos);
            }
        }
    }

    fn value(&mut self, value: &'a Value, place: &Place, at: Pos) {
        match (value, &place.ty.base) {
            (Value::Variable(name), _) => self.variable(name, place, at),
            (Value::List(items), BaseType::List(inner)) => {
                let place = Place { ty: (**inner).clone(), filled: false };
                items.iter().for_each(|item| self.value(item, &place, at));
            }
            // A single value counts as a list of one.
            (value, BaseType::List(inner)) => self.value(value, &Place { ty: (**inner).clone(), filled: false }, at),
            (Value::Object(members), BaseType::Named(name)) => {
                let usage = self.usage;
                let Some(fields) = usage.inputs.get(name.as_str()) else { return };
                for (member, value) in members {
                    if let Some(place) = fields.get(member.as_str()) {
                        self.value(value, place, at);
                    }
                }
            }
            _ => {}
        }
    }

    fn variable(&mut self, name: &Name, place: &Place, at: Pos) {
        let declared = self.operation.variable_definitions.iter().find(|known| known.node.name.node == *name);
        let Some(declared) = declared.map(|declared| &declared.node) else { return };
        let is = &declared.var_type.node;
        let filled = place.filled || declared.default_value.as_ref().is_some_and(|value| value.node != async_graphql::Value::Null);
        let wanted = Type { base: place.ty.base.clone(), nullable: place.ty.nullable || filled && is.nullable };
        if !fits(is, &wanted) {
            let what = format!("`${name}` is {is}, and stands where {} is wanted.", place.ty);
            self.errors.push(ServerError::new(what, Some(at)));
        }
    }
}

/// Whether every value of one type is a value of the other.
fn fits(is: &Type, wanted: &Type) -> bool {
    if is.nullable && !wanted.nullable {
        return false;
    }
    match (&is.base, &wanted.base) {
        (BaseType::Named(is), BaseType::Named(wanted)) => is == wanted,
        (BaseType::List(is), BaseType::List(wanted)) => fits(is, wanted),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage() -> Usage {
        let place = |ty: &str, filled| Place { ty: Type::new(ty).unwrap(), filled };
        let arguments = [
            ("id".to_owned(), place("ID!", false)),
            ("first".to_owned(), place("Int", false)),
            ("size".to_owned(), place("Int!", true)),
            ("ids".to_owned(), place("[ID!]!", false)),
            ("input".to_owned(), place("In", false)),
        ];
        let item = HashMap::from([("id".to_owned(), ("ID".to_owned(), Places::new()))]);
        let query = HashMap::from([("item".to_owned(), ("Item".to_owned(), arguments.into()))]);
        let inputs = HashMap::from([("In".to_owned(), Places::from([("must".to_owned(), place("String!", false))]))]);
        Usage { objects: HashMap::from([("Query".to_owned(), query), ("Item".to_owned(), item)]), inputs }
    }

    fn found(text: &str) -> usize {
        usage().faults(&async_graphql::parser::parse_query(text).unwrap()).len()
    }

    /// The examples of the specification, section 5.8.5, in this schema's words.
    #[test]
    fn a_variable_that_may_be_null_does_not_stand_where_null_may_not() {
        for good in [
            "query($i: ID!) { item(id: $i) { id } }",
            "query($i: ID = \"x\") { item(id: $i) { id } }",
            "query($n: Int) { item(first: $n) { id } }",
            "query($n: Int!) { item(first: $n) { id } }",
            "query($n: Int) { item(size: $n) { id } }",
            "query($i: [ID!]!) { item(ids: $i) { id } }",
            "query($i: ID!) { item(ids: [$i]) { id } }",
            "query($m: String!) { item(input: {must: $m}) { id } }",
            "query($b: Boolean!) { item @include(if: $b) { id __typename } }",
            "query($b: Boolean = true) { item @skip(if: $b) { id } }",
        ] {
            assert_eq!(found(good), 0, "{good}");
        }
        for bad in [
            "query($i: ID) { item(id: $i) { id } }",
            "query($i: ID = null) { item(id: $i) { id } }",
            "query($i: Int) { item(id: $i) { id } }",
            "query($i: [ID]!) { item(ids: $i) { id } }",
            "query($i: ID) { item(ids: [$i]) { id } }",
            "query($m: String) { item(input: {must: $m}) { id } }",
            "query($b: Boolean) { item @include(if: $b) { id } }",
            "query($i: ID) { ...f } fragment f on Query { item(id: $i) { id } }",
            "{ item { __typename(x: 1) } }",
            "{ item { __typename { a } } }",
            "{ __typename(a: 1) }",
        ] {
            assert_eq!(found(bad), 1, "{bad}");
        }
    }
}
