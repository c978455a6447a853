//! Lists in conditions, and the elements they are compared with.

use crate::{lookup::Lookup, operand::Operand, value::Value};

/// The relation of a list to elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// One of its elements is among them.
    Overlaps,
    /// Each of its elements is among them.
    Within,
}

/// Elements that a list is compared with.
#[derive(Clone, Debug, PartialEq)]
pub enum Elements {
    /// The elements of another list. When it is NULL, no relation holds.
    Of(Operand),
    /// These elements. A NULL element equals nothing.
    These(Vec<Operand>),
}

impl Elements {
    pub(crate) fn operands(&self) -> &[Operand] {
        match self {
            Self::Of(list) => std::slice::from_ref(list),
            Self::These(these) => these,
        }
    }

    pub(crate) fn with_columns(&self, column: &dyn Fn(usize) -> Operand) -> Self {
        match self {
            Self::Of(list) => Self::Of(list.with_columns(column)),
            Self::These(these) => Self::These(these.iter().map(|element| element.with_columns(column)).collect()),
        }
    }

    /// The values, without NULL; `None` where the other list is NULL.
    pub(crate) fn values(&self, row: &[Value], rows: &dyn Lookup) -> Option<Vec<Value>> {
        match self {
            Self::Of(list) => items(&list.value(row, rows)),
            Self::These(these) => Some(these.iter().map(|element| element.value(row, rows)).filter(|value| !value.is_null()).collect()),
        }
    }
}

impl Relation {
    pub(crate) fn holds(self, items: &[Value], elements: &[Value]) -> bool {
        let among = |item: &Value| elements.contains(item);
        match self {
            Self::Overlaps => items.iter().any(among),
            Self::Within => items.iter().all(among),
        }
    }
}

/// The ids of a stored list of references; none where there is no list.
#[must_use]
pub fn references(list: &Value) -> Vec<Box<str>> {
    let ids = list.as_text().and_then(|text| serde_json::from_str(text).ok());
    ids.unwrap_or_default()
}

/// The stored list of references without some ids.
#[must_use]
pub fn without_references(list: &Value, gone: &[Box<str>]) -> Value {
    if list.is_null() {
        return Value::Null;
    }
    let mut ids = references(list);
    ids.retain(|id| !gone.contains(id));
    stored_references(&ids)
}

/// These ids as a stored list of references.
#[must_use]
pub fn stored_references(ids: &[Box<str>]) -> Value {
    Value::text(serde_json::to_string(ids).unwrap_or_default())
}

/// Items of a stored list; `None` where there is no list.
#[must_use]
pub fn items(list: &Value) -> Option<Vec<Value>> {
    let parsed: Vec<serde_json::Value> = serde_json::from_str(list.as_text()?).ok()?;
    let item = |item: serde_json::Value| match item {
        serde_json::Value::String(text) => Value::text(text),
        serde_json::Value::Bool(flag) => Value::Int(i64::from(flag)),
        serde_json::Value::Number(number) => number.as_i64().map_or_else(|| number.as_f64().map_or(Value::Null, Value::Real), Value::Int),
        _ => Value::Null,
    };
    Some(parsed.into_iter().map(item).collect())
}
