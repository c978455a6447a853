//! Makes plans: turns a validated operation, field by field, into the actions that it needs.

use crate::{
    names::{self, Change, Member, Query, Types},
    plan::{
        AggregatePart, ChangePart, Connection, ConnectionPart, EdgePart, GroupPart, Groups, Hole, Keyed, Mutation, PagePart, PayloadPart, Plan,
        ProblemPart, RootStep, Selection, Step, written_key,
    },
};
use async_graphql::parser::types::{ExecutableDocument, Field, OperationDefinition, OperationType, Selection as Selected, SelectionSet};
use async_graphql_value::Value;
use haechi_model::{AggregateFunction, App, Collection, CollectionId, Content, FieldId, FieldType, Part, Shape, snake};
use std::{collections::BTreeMap, sync::Arc};

/// Values of the variables that `@skip` and `@include` use.
pub(crate) type Flags = BTreeMap<String, bool>;

/// Makes plans.
pub(crate) struct Planner<'a> {
    pub(crate) app: &'a App,
    pub(crate) types: &'a Types,
    pub(crate) document: &'a ExecutableDocument,
    pub(crate) flags: &'a Flags,
}

/// A response key, and the fields that are merged under it.
type Merged<'a> = Vec<(&'a str, Vec<&'a Field>)>;

fn quoted(text: &str) -> Box<str> {
    format!("\"{text}\"").into()
}

/// The variables that `@skip` and `@include` use, anywhere in a document.
pub(crate) fn flag_names(document: &ExecutableDocument) -> Vec<String> {
    let mut names = Vec::new();
    let sets = document.operations.iter().map(|(_, operation)| &operation.node.selection_set.node);
    for set in sets.chain(document.fragments.values().map(|fragment| &fragment.node.selection_set.node)) {
        collect_flags(set, &mut names);
    }
    names.sort_unstable();
    names.dedup();
    names
}

fn collect_flags(set: &SelectionSet, names: &mut Vec<String>) {
    for item in &set.items {
        for directive in item.node.directives() {
            if let Some(Value::Variable(name)) = directive.node.get_argument("if").map(|value| &value.node) {
                names.push(name.to_string());
            }
        }
        match &item.node {
            Selected::Field(field) => collect_flags(&field.node.selection_set.node, names),
            Selected::InlineFragment(inline) => collect_flags(&inline.node.selection_set.node, names),
            Selected::FragmentSpread(_) => {}
        }
    }
}

impl<'a> Planner<'a> {
    /// The plan of a validated operation.
    pub(crate) fn plan(&self, operation: &'a OperationDefinition) -> Plan {
        let name = match operation.ty {
            OperationType::Query => "Query",
            OperationType::Mutation => "Mutation",
            OperationType::Subscription => "Subscription",
        };
        let mut steps = Vec::new();
        for (response_key, fields) in self.merged([&operation.selection_set.node], name) {
            let field = fields[0];
            let step = match field.name.node.as_str() {
                "__typename" => Some(Step::Typename(name)),
                known if known.starts_with("__") => Some(Step::Introspection),
                known => self.step(operation.ty, known, &fields),
            };
            // Validation has refused unknown fields.
            let Some(step) = step else { continue };
            steps.push(RootStep { key: response_key.into(), step });
        }
        Plan {
            kind: operation.ty,
            variables: operation.variable_definitions.iter().map(|definition| definition.node.clone()).collect(),
            introspects: steps.iter().any(|step| matches!(step.step, Step::Introspection)),
            roots: steps,
        }
    }

    fn step(&self, kind: OperationType, name: &str, fields: &[&'a Field]) -> Option<Step> {
        let argument = |name: &str| fields[0].get_argument(name).map(|value| value.node.clone());
        Some(match kind {
            OperationType::Query => match *self.types.queries.get(name)? {
                Query::One(at) => Step::One { id: argument("id").unwrap_or_default(), selection: self.selection(at, &sets(fields)) },
                Query::List(at) => Step::List(Box::new(self.connection(at, fields))),
                Query::Aggregate(at) => Step::Aggregate { collection: at, filter: argument("filter"), parts: self.aggregate(at, &sets(fields)) },
            },
            OperationType::Mutation => {
                let (at, change) = self.types.mutations.get(name)?;
                Step::Change(Box::new(self.mutation(*at, change, fields)))
            }
            OperationType::Subscription => {
                let at = *self.types.subscriptions.get(name)?;
                Step::Watch { collection: at, filter: argument("filter"), after: argument("after"), parts: self.change(at, &sets(fields)) }
            }
        })
    }

    fn mutation(&self, collection: CollectionId, change: &Change, fields: &[&'a Field]) -> Mutation {
        let argument = |name: &str| fields[0].get_argument(name).map(|value| value.node.clone());
        Mutation {
            collection,
            change: change.clone(),
            id: argument("id"),
            version: argument("version"),
            input: argument("input"),
            on: argument("on"),
            filter: argument("filter"),
            parts: self.payload(collection, change, &sets(fields)),
        }
    }

    /// CollectFields of the specification: groups fields by response key, expands fragments, obeys `@skip` and `@include`.
    fn merged(&self, sets: impl IntoIterator<Item = &'a SelectionSet>, ty: &str) -> Merged<'a> {
        let mut found: Merged<'a> = Vec::new();
        for set in sets {
            self.collect(set, ty, &mut found);
        }
        found
    }

    fn collect(&self, set: &'a SelectionSet, ty: &str, found: &mut Merged<'a>) {
        for item in &set.items {
            if !self.included(&item.node) {
                continue;
            }
            match &item.node {
                Selected::Field(field) => {
                    let key = field.node.response_key().node.as_str();
                    match found.iter_mut().find(|(known, _)| *known == key) {
                        Some((_, fields)) => fields.push(&field.node),
                        None => found.push((key, vec![&field.node])),
                    }
                }
                Selected::InlineFragment(inline) => {
                    if inline.node.type_condition.as_ref().is_none_or(|condition| condition.node.on.node == ty) {
                        self.collect(&inline.node.selection_set.node, ty, found);
                    }
                }
                Selected::FragmentSpread(spread) => {
                    let fragment = self.document.fragments.get(&spread.node.fragment_name.node);
                    if let Some(fragment) = fragment.filter(|fragment| fragment.node.type_condition.node.on.node == ty) {
                        self.collect(&fragment.node.selection_set.node, ty, found);
                    }
                }
            }
        }
    }

    fn included(&self, item: &Selected) -> bool {
        item.directives().iter().all(|directive| {
            let flag = match directive.node.get_argument("if").map(|value| &value.node) {
                Some(Value::Boolean(flag)) => *flag,
                Some(Value::Variable(name)) => self.flags.get(name.as_str()).copied().unwrap_or_default(),
                _ => return true,
            };
            match directive.node.name.node.as_str() {
                "skip" => !flag,
                "include" => flag,
                _ => true,
            }
        })
    }

    fn selection(&self, at: CollectionId, sets: &[&'a SelectionSet]) -> Selection {
        let collection = &self.app.collections[at];
        let mut selection = Selection { collection: at, fields: Vec::new(), follow: Vec::new(), shape: Shape::Record, holes: Vec::new() };
        let mut parts: Vec<Part> = Vec::new();
        for (response_key, fields) in self.merged(sets.iter().copied(), &collection.singular) {
            let name = fields[0].name.node.as_str();
            let content = match self.types.members[at].get(name) {
                Some(Member::Field(field)) => Content::Output(place(&mut selection.fields, *field)),
                Some(Member::Masked) => Content::Masked,
                Some(Member::Referred(field)) => {
                    let ty = &collection.fields[*field].ty;
                    let Some((to, _)) = ty.refers() else { continue };
                    let most = if let FieldType::List { max_items, .. } = ty { u64::from(*max_items) } else { 1 };
                    place(&mut selection.fields, *field);
                    let follow = place(&mut selection.follow, *field);
                    let inner = self.selection(to, &self::sets(&fields));
                    selection.holes.push(Hole::Referred { key: response_key.into(), follow, most, selection: inner });
                    Content::Hole
                }
                Some(Member::Referring(referring, by)) => {
                    let connection = Box::new(self.connection(*referring, &fields));
                    selection.holes.push(Hole::Referring { key: response_key.into(), by: *by, connection });
                    Content::Hole
                }
                None => Content::Literal(quoted(&collection.singular)),
            };
            parts.push(Part { key: written_key(response_key), content });
        }
        selection.shape = Shape::Object(Arc::from(parts));
        selection
    }

    fn connection(&self, at: CollectionId, fields: &[&'a Field]) -> Connection {
        let argument = |name: &str| fields[0].get_argument(name).map(|value| value.node.clone());
        let singular = &self.app.collections[at].singular;
        let mut connection = Connection {
            collection: at,
            filter: argument("filter"),
            order: argument("order_by"),
            first: argument("first"),
            after: argument("after"),
            last: argument("last"),
            before: argument("before"),
            parts: Vec::new(),
            cursors: false,
            selections: Vec::new(),
        };
        for (response_key, fields) in self.merged(sets(fields), &format!("{singular}Connection")) {
            let inner = sets(&fields);
            let part = match fields[0].name.node.as_str() {
                "nodes" => Keyed::made(response_key, ConnectionPart::Nodes(shown(&mut connection, self.selection(at, &inner)))),
                "edges" => Keyed::made(response_key, ConnectionPart::Edges(self.edge(&mut connection, &inner))),
                "total_size" => Keyed::made(response_key, ConnectionPart::Total),
                "page_info" => Keyed::made(response_key, ConnectionPart::PageInfo(self.page_info(&mut connection, &inner))),
                _ => Keyed::literal(response_key, quoted(&format!("{singular}Connection"))),
            };
            connection.parts.push(part);
        }
        if connection.selections.is_empty() {
            let empty = Shape::Object(Arc::from(Vec::new()));
            connection.selections.push(Selection { collection: at, fields: Vec::new(), follow: Vec::new(), shape: empty, holes: Vec::new() });
        }
        connection
    }

    fn edge(&self, connection: &mut Connection, sets: &[&'a SelectionSet]) -> Vec<Keyed<EdgePart>> {
        let at = connection.collection;
        let name = format!("{}Edge", self.app.collections[at].singular);
        let mut parts = Vec::new();
        for (response_key, fields) in self.merged(sets.iter().copied(), &name) {
            parts.push(match fields[0].name.node.as_str() {
                "cursor" => {
                    connection.cursors = true;
                    Keyed::made(response_key, EdgePart::Cursor)
                }
                "node" => Keyed::made(response_key, EdgePart::Node(shown(connection, self.selection(at, &self::sets(&fields))))),
                _ => Keyed::literal(response_key, quoted(&name)),
            });
        }
        parts
    }

    fn page_info(&self, connection: &mut Connection, sets: &[&'a SelectionSet]) -> Vec<Keyed<PagePart>> {
        let mut parts = Vec::new();
        for (response_key, fields) in self.merged(sets.iter().copied(), "PageInfo") {
            parts.push(match fields[0].name.node.as_str() {
                "has_next_page" => Keyed::made(response_key, PagePart::HasNext),
                "has_previous_page" => Keyed::made(response_key, PagePart::HasPrevious),
                "start_cursor" => Keyed::made(response_key, PagePart::Start),
                "end_cursor" => Keyed::made(response_key, PagePart::End),
                _ => Keyed::literal(response_key, quoted("PageInfo")),
            });
        }
        connection.cursors |= parts.iter().any(|part| matches!(part.what(), Some(PagePart::Start | PagePart::End)));
        parts
    }

    fn aggregate(&self, at: CollectionId, sets: &[&'a SelectionSet]) -> Vec<Keyed<AggregatePart>> {
        let ty = format!("{}Aggregate", self.app.collections[at].singular);
        let merged = self.merged(sets.iter().copied(), &ty);
        let part = |(key, fields): &(&'a str, Vec<&'a Field>)| match self.computed(at, fields) {
            Some(part) => Keyed::made(key, part),
            None if fields[0].name.node == "groups" => {
                let by = fields[0].get_argument("by").map(|value| value.node.clone());
                Keyed::made(key, AggregatePart::Groups(Groups { by, parts: self.groups(at, &self::sets(fields)) }))
            }
            None => Keyed::literal(key, quoted(&ty)),
        };
        merged.iter().map(part).collect()
    }

    fn groups(&self, at: CollectionId, sets: &[&'a SelectionSet]) -> Vec<Keyed<GroupPart>> {
        let (collection, ty) = (&self.app.collections[at], format!("{}AggregateGroup", self.app.collections[at].singular));
        let merged = self.merged(sets.iter().copied(), &ty);
        let part = |(key, fields): &(&'a str, Vec<&'a Field>)| match self.computed(at, fields) {
            Some(part) => Keyed::made(key, GroupPart::Of(part)),
            None if fields[0].name.node == "key" => {
                let of = self.fields(fields, &format!("{ty}Key"), &|name| names::of_group(collection, name));
                Keyed::made(key, GroupPart::Key(of))
            }
            None => Keyed::literal(key, quoted(&ty)),
        };
        merged.iter().map(part).collect()
    }

    /// What is computed over records.
    fn computed(&self, at: CollectionId, fields: &[&'a Field]) -> Option<AggregatePart> {
        let collection = &self.app.collections[at];
        let (function, ty) = match fields[0].name.node.as_str() {
            "count" => return Some(AggregatePart::Count),
            "min" => (AggregateFunction::Min, "Minimum"),
            "max" => (AggregateFunction::Max, "Maximum"),
            "sum" => (AggregateFunction::Sum, "Sum"),
            "average" => (AggregateFunction::Average, "Average"),
            _ => return None,
        };
        let of = self.fields(fields, &format!("{}{ty}", collection.singular), &|name| collection.field(name));
        Some(AggregatePart::Of(function, of))
    }

    /// The selected fields of a type whose members are fields of records.
    fn fields(&self, fields: &[&'a Field], ty: &str, known: &dyn Fn(&str) -> Option<FieldId>) -> Vec<Keyed<FieldId>> {
        let part = |(key, fields): &(&'a str, Vec<&'a Field>)| match known(fields[0].name.node.as_str()) {
            Some(field) => Keyed::made(key, field),
            None => Keyed::literal(key, quoted(ty)),
        };
        self.merged(self::sets(fields), ty).iter().map(part).collect()
    }

    fn payload(&self, at: CollectionId, change: &Change, sets: &[&'a SelectionSet]) -> Vec<Keyed<PayloadPart>> {
        let collection = &self.app.collections[at];
        let ty = match change {
            Change::Delete => "DeletePayload",
            Change::Many(_) => "ManyPayload",
            _ => "Payload",
        };
        let of = self.merged(sets.iter().copied(), &format!("{}{ty}", collection.singular));
        let part = |(response_key, fields): (&str, Vec<&'a Field>)| {
            self.payload_part(collection, ty, response_key, fields[0].name.node.as_str(), &self::sets(&fields))
        };
        of.into_iter().map(part).collect()
    }

    fn payload_part(&self, collection: &Collection, ty: &str, response_key: &str, name: &str, inner: &[&'a SelectionSet]) -> Keyed<PayloadPart> {
        match name {
            "id" => Keyed::made(response_key, PayloadPart::Id),
            "count" => Keyed::made(response_key, PayloadPart::Count),
            "ids" => Keyed::made(response_key, PayloadPart::Ids),
            "errors" => Keyed::made(response_key, PayloadPart::Errors(self.problem(inner))),
            "__typename" => Keyed::literal(response_key, quoted(&format!("{}{ty}", collection.singular))),
            _ if name == snake(&collection.singular) => Keyed::made(response_key, PayloadPart::Record(self.selection(collection.id, inner))),
            _ => Keyed::literal(response_key, "null"),
        }
    }

    fn problem(&self, sets: &[&'a SelectionSet]) -> Vec<Keyed<ProblemPart>> {
        let part = |(response_key, fields): (&str, Vec<&Field>)| match fields[0].name.node.as_str() {
            "pointer" => Keyed::made(response_key, ProblemPart::Pointer),
            "code" => Keyed::made(response_key, ProblemPart::Code),
            "detail" => Keyed::made(response_key, ProblemPart::Detail),
            _ => Keyed::literal(response_key, quoted("FieldProblem")),
        };
        self.merged(sets.iter().copied(), "FieldProblem").into_iter().map(part).collect()
    }

    fn change(&self, at: CollectionId, sets: &[&'a SelectionSet]) -> Vec<Keyed<ChangePart>> {
        let singular = &self.app.collections[at].singular;
        let part = |(response_key, fields): (&str, Vec<&'a Field>)| match fields[0].name.node.as_str() {
            "type" => Keyed::made(response_key, ChangePart::Type),
            "position" => Keyed::made(response_key, ChangePart::Position),
            "id" => Keyed::made(response_key, ChangePart::Id),
            "record" => Keyed::made(response_key, ChangePart::Record(self.selection(at, &self::sets(&fields)))),
            _ => Keyed::literal(response_key, quoted(&format!("{singular}Change"))),
        };
        self.merged(sets.iter().copied(), &format!("{singular}Change")).into_iter().map(part).collect()
    }
}

fn sets<'a>(fields: &[&'a Field]) -> Vec<&'a SelectionSet> {
    fields.iter().map(|field| &field.selection_set.node).collect()
}

/// The position of a field among the fields that are read; adds it when it is new.
fn place(fields: &mut Vec<FieldId>, field: FieldId) -> usize {
    fields.iter().position(|known| *known == field).unwrap_or_else(|| {
        fields.push(field);
        fields.len() - 1
    })
}

/// The number of a selection in a connection; adds it when it is new.
fn shown(connection: &mut Connection, selection: Selection) -> usize {
    connection.selections.push(selection);
    connection.selections.len() - 1
}
