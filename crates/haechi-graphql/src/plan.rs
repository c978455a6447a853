//! An operation as what has to be asked of the actions: made once for each text, kept, and run many times.

use crate::names::{Member, Root, Types};
use async_graphql::parser::types::{
    ExecutableDocument, Field, OperationDefinition, OperationType, Selection as Selected, SelectionSet, VariableDefinition,
};
use async_graphql_value::Value;
use haechi_model::{AggregateFunction, App, Collection, CollectionId, Content, FieldId, FieldType, Part, Shape, snake};
use std::{collections::BTreeMap, sync::Arc};

/// Values of the variables that `@skip` and `@include` look at.
pub(crate) type Flags = BTreeMap<String, bool>;

/// A plan.
pub(crate) struct Plan {
    pub(crate) kind: OperationType,
    pub(crate) variables: Vec<VariableDefinition>,
    pub(crate) roots: Vec<RootStep>,
    /// Whether a root field is answered by introspection.
    pub(crate) introspects: bool,
}

/// A root field.
pub(crate) struct RootStep {
    pub(crate) key: Box<str>,
    pub(crate) step: Step,
}

/// What a root field asks for.
pub(crate) enum Step {
    Typename(&'static str),
    Introspection,
    One { id: Value, selection: Selection },
    List(Connection),
    Aggregate { collection: CollectionId, filter: Option<Value>, parts: Vec<AggregatePart> },
    Change(Mutation),
    Watch { collection: CollectionId, filter: Option<Value>, after: Option<Value>, parts: Vec<ChangePart> },
}

/// A change.
pub(crate) struct Mutation {
    pub(crate) root: Root,
    pub(crate) id: Option<Value>,
    pub(crate) version: Option<Value>,
    pub(crate) input: Option<Value>,
    pub(crate) parts: Vec<PayloadPart>,
}

/// A part of a change's payload.
pub(crate) enum PayloadPart {
    Literal(Box<str>, Box<str>),
    Id(Box<str>),
    Record(Box<str>, Selection),
    Errors(Box<str>, Vec<ProblemPart>),
}

/// A part of a field's problem.
#[derive(Clone)]
pub(crate) enum ProblemPart {
    Literal(Box<str>, Box<str>),
    Pointer(Box<str>),
    Code(Box<str>),
    Detail(Box<str>),
}

/// A part of a change that is told of.
pub(crate) enum ChangePart {
    Literal(Box<str>, Box<str>),
    Type(Box<str>),
    Position(Box<str>),
    Id(Box<str>),
    Record(Box<str>, Selection),
}

/// A part of an aggregate.
pub(crate) enum AggregatePart {
    Literal(Box<str>, Box<str>),
    Count(Box<str>),
    Of(Box<str>, AggregateFunction, Vec<(Box<str>, Option<FieldId>, Box<str>)>),
}

/// What is shown of records of one collection.
#[derive(Clone)]
pub(crate) struct Selection {
    pub(crate) collection: CollectionId,
    /// Fields that are read.
    pub(crate) fields: Vec<FieldId>,
    /// References whose ids are wanted beside.
    pub(crate) follow: Vec<FieldId>,
    pub(crate) shape: Shape,
    /// What fills each hole of the shape, in order.
    pub(crate) holes: Vec<Hole>,
}

/// What fills a hole.
#[derive(Clone)]
pub(crate) enum Hole {
    /// The record that the reference at this place of `follow` names.
    Referred { key: Box<str>, follow: usize, selection: Selection },
    /// The records that refer to it.
    Referring { key: Box<str>, by: FieldId, connection: Box<Connection> },
}

/// A list, page by page.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) collection: CollectionId,
    pub(crate) filter: Option<Value>,
    pub(crate) order: Option<Value>,
    pub(crate) first: Option<Value>,
    pub(crate) after: Option<Value>,
    pub(crate) parts: Vec<ConnectionPart>,
    /// Whether the place of every row is wanted.
    pub(crate) cursors: bool,
    /// What is shown of the rows: each is asked for once.
    pub(crate) selections: Vec<Selection>,
}

/// A part of a connection.
#[derive(Clone)]
pub(crate) enum ConnectionPart {
    Literal(Box<str>, Box<str>),
    /// Edges; their nodes show the selection with a number.
    Edges(Box<str>, Vec<EdgePart>),
    Nodes(Box<str>, usize),
    PageInfo(Box<str>, Vec<PagePart>),
}

/// A part of an edge.
#[derive(Clone)]
pub(crate) enum EdgePart {
    Literal(Box<str>, Box<str>),
    Cursor(Box<str>),
    Node(Box<str>, usize),
}

/// A part of the information about a page.
#[derive(Clone)]
pub(crate) enum PagePart {
    Literal(Box<str>, Box<str>),
    HasNext(Box<str>),
    Start(Box<str>),
    End(Box<str>),
}

/// Makes plans.
pub(crate) struct Planner<'a> {
    pub(crate) app: &'a App,
    pub(crate) types: &'a Types,
    pub(crate) document: &'a ExecutableDocument,
    pub(crate) flags: &'a Flags,
}

/// A response key, and the fields that are merged under it.
type Merged<'a> = Vec<(&'a str, Vec<&'a Field>)>;

fn key(text: &str) -> Box<str> {
    format!("\"{text}\":").into()
}

fn quoted(text: &str) -> Box<str> {
    format!("\"{text}\"").into()
}

/// The variables that `@skip` and `@include` look at, anywhere in a document.
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
        let (roots, name) = match operation.ty {
            OperationType::Query => (&self.types.queries, "Query"),
            OperationType::Mutation => (&self.types.mutations, "Mutation"),
            OperationType::Subscription => (&self.types.subscriptions, "Subscription"),
        };
        let mut steps = Vec::new();
        for (response_key, fields) in self.merged([&operation.selection_set.node], name) {
            let field = fields[0];
            let step = match (field.name.node.as_str(), roots.get(field.name.node.as_str())) {
                ("__typename", _) => Step::Typename(name),
                (known, _) if known.starts_with("__") => Step::Introspection,
                (_, Some(root)) => self.root(root, &fields),
                // Validation has refused what there is not.
                (_, None) => continue,
            };
            steps.push(RootStep { key: response_key.into(), step });
        }
        Plan {
            kind: operation.ty,
            variables: operation.variable_definitions.iter().map(|definition| definition.node.clone()).collect(),
            introspects: steps.iter().any(|step| matches!(step.step, Step::Introspection)),
            roots: steps,
        }
    }

    fn root(&self, root: &Root, fields: &[&'a Field]) -> Step {
        let argument = |name: &str| fields[0].get_argument(name).map(|value| value.node.clone());
        match root {
            Root::One(at) => Step::One { id: argument("id").unwrap_or_default(), selection: self.selection(*at, &sets(fields)) },
            Root::List(at) => Step::List(self.connection(*at, fields)),
            Root::Aggregate(at) => Step::Aggregate { collection: *at, filter: argument("filter"), parts: self.aggregate(*at, &sets(fields)) },
            Root::Watch(at) => {
                Step::Watch { collection: *at, filter: argument("filter"), after: argument("after"), parts: self.change(*at, &sets(fields)) }
            }
            Root::Create(at) | Root::Update(at) | Root::Delete(at) | Root::Act(at, _) => Step::Change(Mutation {
                root: root.clone(),
                id: argument("id"),
                version: argument("version"),
                input: argument("input"),
                parts: self.payload(*at, &sets(fields)),
            }),
        }
    }

    /// CollectFields of the specification: by response key, fragments in their place, `@skip` and `@include` obeyed.
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
                    let FieldType::Ref { to, .. } = collection.fields[*field].ty else { continue };
                    place(&mut selection.fields, *field);
                    let follow = place(&mut selection.follow, *field);
                    let inner = self.selection(to, &self::sets(&fields));
                    selection.holes.push(Hole::Referred { key: response_key.into(), follow, selection: inner });
                    Content::Hole
                }
                Some(Member::Referring(referring, by)) => {
                    let connection = Box::new(self.connection(*referring, &fields));
                    selection.holes.push(Hole::Referring { key: response_key.into(), by: *by, connection });
                    Content::Hole
                }
                None => Content::Literal(quoted(&collection.singular)),
            };
            parts.push(Part { key: key(response_key), content });
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
            parts: Vec::new(),
            cursors: false,
            selections: Vec::new(),
        };
        for (response_key, fields) in self.merged(sets(fields), &format!("{singular}Connection")) {
            let inner = sets(&fields);
            let part = match fields[0].name.node.as_str() {
                "nodes" => ConnectionPart::Nodes(key(response_key), shown(&mut connection, self.selection(at, &inner))),
                "edges" => ConnectionPart::Edges(key(response_key), self.edge(&mut connection, &inner)),
                "page_info" => ConnectionPart::PageInfo(key(response_key), self.page_info(&mut connection, &inner)),
                _ => ConnectionPart::Literal(key(response_key), quoted(&format!("{singular}Connection"))),
            };
            connection.parts.push(part);
        }
        if connection.selections.is_empty() {
            let empty = Shape::Object(Arc::from(Vec::new()));
            connection.selections.push(Selection { collection: at, fields: Vec::new(), follow: Vec::new(), shape: empty, holes: Vec::new() });
        }
        connection
    }

    fn edge(&self, connection: &mut Connection, sets: &[&'a SelectionSet]) -> Vec<EdgePart> {
        let at = connection.collection;
        let name = format!("{}Edge", self.app.collections[at].singular);
        let mut parts = Vec::new();
        for (response_key, fields) in self.merged(sets.iter().copied(), &name) {
            parts.push(match fields[0].name.node.as_str() {
                "cursor" => {
                    connection.cursors = true;
                    EdgePart::Cursor(key(response_key))
                }
                "node" => EdgePart::Node(key(response_key), shown(connection, self.selection(at, &self::sets(&fields)))),
                _ => EdgePart::Literal(key(response_key), quoted(&name)),
            });
        }
        parts
    }

    fn page_info(&self, connection: &mut Connection, sets: &[&'a SelectionSet]) -> Vec<PagePart> {
        let mut parts = Vec::new();
        for (response_key, fields) in self.merged(sets.iter().copied(), "PageInfo") {
            let key = key(response_key);
            parts.push(match fields[0].name.node.as_str() {
                "has_next_page" => PagePart::HasNext(key),
                "has_previous_page" => PagePart::Literal(key, "false".into()),
                "start_cursor" => PagePart::Start(key),
                "end_cursor" => PagePart::End(key),
                _ => PagePart::Literal(key, quoted("PageInfo")),
            });
        }
        connection.cursors |= parts.iter().any(|part| matches!(part, PagePart::Start(_) | PagePart::End(_)));
        parts
    }

    fn aggregate(&self, at: CollectionId, sets: &[&'a SelectionSet]) -> Vec<AggregatePart> {
        let collection = &self.app.collections[at];
        let singular = &collection.singular;
        let mut parts = Vec::new();
        for (response_key, fields) in self.merged(sets.iter().copied(), &format!("{singular}Aggregate")) {
            let (function, ty) = match fields[0].name.node.as_str() {
                "count" => {
                    parts.push(AggregatePart::Count(key(response_key)));
                    continue;
                }
                "min" => (AggregateFunction::Min, "Minimum"),
                "max" => (AggregateFunction::Max, "Maximum"),
                "sum" => (AggregateFunction::Sum, "Sum"),
                "average" => (AggregateFunction::Average, "Average"),
                _ => {
                    parts.push(AggregatePart::Literal(key(response_key), quoted(&format!("{singular}Aggregate"))));
                    continue;
                }
            };
            let name = format!("{singular}{ty}");
            let of = self.merged(self::sets(&fields), &name);
            let of = of.iter().map(|(key_, fields)| (key(key_), collection.field(fields[0].name.node.as_str()), quoted(&name))).collect();
            parts.push(AggregatePart::Of(key(response_key), function, of));
        }
        parts
    }

    fn payload(&self, at: CollectionId, sets: &[&'a SelectionSet]) -> Vec<PayloadPart> {
        let collection = &self.app.collections[at];
        let mut parts = Vec::new();
        // Two types have members of the same names; fragments name either.
        for ty in ["Payload", "DeletePayload"] {
            for (response_key, fields) in self.merged(sets.iter().copied(), &format!("{}{ty}", collection.singular)) {
                let inner = self::sets(&fields);
                let known = |part: &PayloadPart| part.key() == &*key(response_key);
                if parts.iter().any(known) {
                    continue;
                }
                parts.push(self.payload_part(collection, ty, response_key, fields[0].name.node.as_str(), &inner));
            }
        }
        parts
    }

    fn payload_part(&self, collection: &Collection, ty: &str, response_key: &str, name: &str, inner: &[&'a SelectionSet]) -> PayloadPart {
        match name {
            "id" => PayloadPart::Id(key(response_key)),
            "errors" => PayloadPart::Errors(key(response_key), self.problem(inner)),
            "__typename" => PayloadPart::Literal(key(response_key), quoted(&format!("{}{ty}", collection.singular))),
            _ if name == snake(&collection.singular) => PayloadPart::Record(key(response_key), self.selection(collection.id, inner)),
            _ => PayloadPart::Literal(key(response_key), "null".into()),
        }
    }

    fn problem(&self, sets: &[&'a SelectionSet]) -> Vec<ProblemPart> {
        let part = |(response_key, fields): (&str, Vec<&Field>)| match fields[0].name.node.as_str() {
            "pointer" => ProblemPart::Pointer(key(response_key)),
            "code" => ProblemPart::Code(key(response_key)),
            "detail" => ProblemPart::Detail(key(response_key)),
            _ => ProblemPart::Literal(key(response_key), quoted("FieldProblem")),
        };
        self.merged(sets.iter().copied(), "FieldProblem").into_iter().map(part).collect()
    }

    fn change(&self, at: CollectionId, sets: &[&'a SelectionSet]) -> Vec<ChangePart> {
        let singular = &self.app.collections[at].singular;
        let part = |(response_key, fields): (&str, Vec<&'a Field>)| match fields[0].name.node.as_str() {
            "type" => ChangePart::Type(key(response_key)),
            "position" => ChangePart::Position(key(response_key)),
            "id" => ChangePart::Id(key(response_key)),
            "record" => ChangePart::Record(key(response_key), self.selection(at, &self::sets(&fields))),
            _ => ChangePart::Literal(key(response_key), quoted(&format!("{singular}Change"))),
        };
        self.merged(sets.iter().copied(), &format!("{singular}Change")).into_iter().map(part).collect()
    }
}

impl PayloadPart {
    fn key(&self) -> &str {
        match self {
            Self::Literal(key, _) | Self::Id(key) | Self::Record(key, _) | Self::Errors(key, _) => key,
        }
    }
}

fn sets<'a>(fields: &[&'a Field]) -> Vec<&'a SelectionSet> {
    fields.iter().map(|field| &field.selection_set.node).collect()
}

/// The place of a field among those that are read.
fn place(fields: &mut Vec<FieldId>, field: FieldId) -> usize {
    fields.iter().position(|known| *known == field).unwrap_or_else(|| {
        fields.push(field);
        fields.len() - 1
    })
}

/// The number of a selection among those of a connection.
fn shown(connection: &mut Connection, selection: Selection) -> usize {
    connection.selections.push(selection);
    connection.selections.len() - 1
}
