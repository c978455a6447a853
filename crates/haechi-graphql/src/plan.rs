//! A plan says which actions an operation needs: made once for each text, kept, and run many times.

use crate::names::Change;
use async_graphql::parser::types::{OperationType, VariableDefinition};
use async_graphql_value::Value;
use haechi_model::{AggregateFunction, CollectionId, FieldId, Shape};

/// A plan.
pub(crate) struct Plan {
    pub(crate) kind: OperationType,
    pub(crate) variables: Vec<VariableDefinition>,
    pub(crate) roots: Vec<RootStep>,
    /// Whether introspection answers a root field.
    pub(crate) introspects: bool,
}

/// A root field.
pub(crate) struct RootStep {
    pub(crate) key: Box<str>,
    pub(crate) step: Step,
}

/// The work of a root field.
pub(crate) enum Step {
    Typename(&'static str),
    Introspection,
    One { id: Value, selection: Selection },
    List(Box<Connection>),
    Aggregate { collection: CollectionId, filter: Option<Value>, parts: Vec<Keyed<AggregatePart>> },
    Change(Box<Mutation>),
    Watch { collection: CollectionId, filter: Option<Value>, after: Option<Value>, parts: Vec<Keyed<ChangePart>> },
}

/// A change.
pub(crate) struct Mutation {
    pub(crate) collection: CollectionId,
    pub(crate) change: Change,
    pub(crate) id: Option<Value>,
    pub(crate) version: Option<Value>,
    pub(crate) input: Option<Value>,
    pub(crate) on: Option<Value>,
    pub(crate) filter: Option<Value>,
    pub(crate) parts: Vec<Keyed<PayloadPart>>,
}

/// A part of a change's payload.
pub(crate) enum PayloadPart {
    Id,
    Count,
    Ids,
    Record(Selection),
    Errors(Vec<Keyed<ProblemPart>>),
}

/// A part of a field's problem.
#[derive(Clone, Copy)]
pub(crate) enum ProblemPart {
    Pointer,
    Code,
    Detail,
}

/// A part of the change in a subscription.
pub(crate) enum ChangePart {
    Type,
    Position,
    Id,
    Record(Selection),
}

/// A part of an aggregate.
pub(crate) enum AggregatePart {
    Count,
    Of(AggregateFunction, Vec<Keyed<FieldId>>),
    Groups(Groups),
}

/// An aggregate by the values of fields.
pub(crate) struct Groups {
    pub(crate) by: Option<Value>,
    pub(crate) parts: Vec<Keyed<GroupPart>>,
}

/// A part of a group.
pub(crate) enum GroupPart {
    Key(Vec<Keyed<FieldId>>),
    Of(AggregatePart),
}

/// The selected parts of a collection's records.
#[derive(Clone)]
pub(crate) struct Selection {
    pub(crate) collection: CollectionId,
    /// Fields that are read.
    pub(crate) fields: Vec<FieldId>,
    /// References whose ids are read as well.
    pub(crate) follow: Vec<FieldId>,
    pub(crate) shape: Shape,
    /// The contents of the shape's holes, in order.
    pub(crate) holes: Vec<Hole>,
}

/// The content of a hole.
#[derive(Clone)]
pub(crate) enum Hole {
    /// The record that the reference at this place of `follow` names, or the records of a list of references: at most so many.
    Referred { key: Box<str>, follow: usize, most: u64, selection: Selection },
    /// The records that refer to the row.
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
    pub(crate) last: Option<Value>,
    pub(crate) before: Option<Value>,
    pub(crate) parts: Vec<Keyed<ConnectionPart>>,
    /// Whether each row's place in the order is needed.
    pub(crate) cursors: bool,
    /// The selections for the rows, each one once.
    pub(crate) selections: Vec<Selection>,
}

/// A part of a connection.
#[derive(Clone)]
pub(crate) enum ConnectionPart {
    /// Edges; the number says which selection their nodes show.
    Edges(Vec<Keyed<EdgePart>>),
    Nodes(usize),
    PageInfo(Vec<Keyed<PagePart>>),
    /// The number of records on all pages.
    Total,
}

/// A part of an edge.
#[derive(Clone, Copy)]
pub(crate) enum EdgePart {
    Cursor,
    Node(usize),
}

/// A part of the information about a page.
#[derive(Clone, Copy)]
pub(crate) enum PagePart {
    HasNext,
    HasPrevious,
    Start,
    End,
}

/// A part of a written object: a key, and under it a constant of the document or a computed value.
#[derive(Clone)]
pub(crate) struct Keyed<T> {
    /// With quotes and colon.
    key: Box<str>,
    said: Said<T>,
}

#[derive(Clone)]
enum Said<T> {
    Literal(Box<str>),
    Made(T),
}

impl<T> Keyed<T> {
    pub(crate) fn literal(key: &str, text: impl Into<Box<str>>) -> Self {
        Self { key: written_key(key), said: Said::Literal(text.into()) }
    }

    pub(crate) fn made(key: &str, what: T) -> Self {
        Self { key: written_key(key), said: Said::Made(what) }
    }

    /// The computed value.
    pub(crate) fn what(&self) -> Option<&T> {
        match &self.said {
            Said::Literal(_) => None,
            Said::Made(what) => Some(what),
        }
    }

    /// Writes the key and a constant; returns the computed value that is still to be written.
    pub(crate) fn begin(&self, first: bool, out: &mut Vec<u8>) -> Option<&T> {
        if !first {
            out.push(b',');
        }
        out.extend_from_slice(self.key.as_bytes());
        if let Said::Literal(text) = &self.said {
            out.extend_from_slice(text.as_bytes());
        }
        self.what()
    }
}

/// A key in JSON.
pub(crate) fn written_key(text: &str) -> Box<str> {
    format!("\"{text}\":").into()
}

/// Writes an object; `write` writes the computed values.
pub(crate) fn write_object<T>(parts: &[Keyed<T>], out: &mut Vec<u8>, mut write: impl FnMut(&T, &mut Vec<u8>)) {
    out.push(b'{');
    for (at, part) in parts.iter().enumerate() {
        if let Some(what) = part.begin(at == 0, out) {
            write(what, out);
        }
    }
    out.push(b'}');
}
