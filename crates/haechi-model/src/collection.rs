//! Collections: what one file of `collections/` declares, and the table it becomes.

use crate::{
    check::Check,
    class::{Class, ClassId},
    field::Field,
    finding::Source,
    group::Group,
    positions::{CollectionId, FieldId},
    sort::Order,
    table::{Index, Table},
    value::Value,
};
use std::sync::Arc;

/// A collection.
#[derive(Clone, Debug)]
pub struct Collection {
    /// Position among the app's collections.
    pub id: CollectionId,
    /// Name in paths and policies, and of the table.
    pub name: String,
    /// Name of one row's type in generated code.
    pub singular: String,
    /// Former name.
    pub was: Option<String>,
    /// Set to the caller at create when the request names no owner.
    pub owner: Option<FieldId>,
    /// The order of a list whose request names none.
    pub order: Vec<Order>,
    /// The size of its pages, likewise.
    pub page_size: Option<u32>,
    /// The fields that every change sets.
    pub set_on_update: Vec<FieldId>,
    /// `id`, `create_time`, `update_time`, `version`, then the declared fields.
    pub fields: Vec<Field>,
    /// The table; columns start with the fields in the same positions.
    pub table: Table,
    /// A number for the table's columns and their types: [`Table::layout`].
    pub layout: u64,
    /// Declared actions, by name.
    pub actions: Vec<DeclaredAction>,
    /// Groups of people that each row has.
    pub groups: Vec<Arc<Group>>,
    /// What must hold of each row.
    pub checks: Vec<Check>,
    /// The hidden tables of its lists of references.
    pub lists: Vec<ListTable>,
    /// Where it was declared.
    pub source: Option<Arc<Source>>,
}

/// The hidden table of a list of references: a row for each reference. The list itself is a column of its row.
#[derive(Clone, Debug, PartialEq)]
pub struct ListTable {
    /// The list.
    pub field: FieldId,
    /// The collection to which it refers.
    pub to: CollectionId,
    /// The table: the row's id, and the id that it refers to.
    pub table: Table,
}

/// A rule that a new row breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The field begins with a word that it may not begin with.
    Initial(FieldId),
    /// The check of this number does not hold.
    Check(usize),
}

/// An action on one record. Rust code says what it does; policy says who may do it.
#[derive(Clone, Debug)]
pub struct DeclaredAction {
    /// Its name in policies and in the path: `POST /{id}:name`.
    pub name: String,
    /// The fields of its body.
    pub input: Collection,
}

/// The positions of Haechi's own fields of `users`.
pub mod person {
    use crate::positions::FieldId;

    /// The address.
    pub const EMAIL: FieldId = 4;
    /// Names of roles.
    pub const ROLES: FieldId = 5;
    /// Whether the person is disabled.
    pub const DISABLED: FieldId = 6;
    /// Whether the address was verified.
    pub const EMAIL_VERIFIED: FieldId = 7;
}

impl Collection {
    /// Position of `id`.
    pub const ID: FieldId = 0;
    /// Position of `create_time`.
    pub const CREATE_TIME: FieldId = 1;
    /// Position of `update_time`.
    pub const UPDATE_TIME: FieldId = 2;
    /// Position of `version`.
    pub const VERSION: FieldId = 3;
    /// Position of the first declared field.
    pub const FIRST_DECLARED: FieldId = 4;

    /// The field of this name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<FieldId> {
        self.fields.iter().position(|field| field.name == name)
    }

    /// The field that a column is of: its own, or that of its folded form.
    #[must_use]
    pub fn field_of(&self, column: usize) -> Option<FieldId> {
        self.fields.iter().enumerate().position(|(at, field)| at == column || field.shadow == Some(column))
    }

    /// The fields that an index is over, in its order.
    #[must_use]
    pub fn fields_of(&self, index: &Index) -> Vec<FieldId> {
        index.columns.iter().filter_map(|column| self.field_of(*column)).collect()
    }

    /// The unique key that has these fields, all of them, in any order.
    #[must_use]
    pub fn unique_key(&self, fields: &[FieldId]) -> Option<&Index> {
        let sorted = |mut fields: Vec<FieldId>| {
            fields.sort_unstable();
            fields
        };
        let wanted = sorted(fields.to_vec());
        self.table.indexes.iter().find(|index| index.unique && sorted(self.fields_of(index)) == wanted)
    }

    /// The group of this name.
    #[must_use]
    pub fn group(&self, name: &str) -> Option<&Arc<Group>> {
        self.groups.iter().find(|group| group.name == name)
    }

    /// Declared fields with their positions.
    pub fn declared(&self) -> impl Iterator<Item = (FieldId, &Field)> {
        self.fields.iter().enumerate().skip(Self::FIRST_DECLARED)
    }

    /// These values, with the declared defaults for fields that are left out; `me` is the caller, when they are a person.
    #[must_use]
    pub fn with_defaults(&self, mut values: Vec<(FieldId, Value)>, now_ms: i64, me: Option<&str>) -> Vec<(FieldId, Value)> {
        for (at, field) in self.declared() {
            if !values.iter().any(|(known, _)| *known == at) {
                values.extend(field.default_at(now_ms, me).map(|value| (at, value)));
            }
        }
        values
    }

    /// A new row, with defaults, owner and shadow columns filled in; `me` is the caller, when they are a person.
    #[must_use]
    pub fn new_row(&self, id: &str, values: &[(FieldId, Value)], now_ms: i64, me: Option<&str>) -> Vec<Value> {
        let mut row: Vec<Value> = self.table.columns.iter().map(|column| column.default.clone().unwrap_or(Value::Null)).collect();
        row[Self::ID] = Value::text(id);
        row[Self::CREATE_TIME] = Value::Int(now_ms);
        row[Self::UPDATE_TIME] = Value::Int(now_ms);
        row[Self::VERSION] = Value::Int(1);
        for (at, field) in self.declared() {
            if let Some(value) = field.default_at(now_ms, me) {
                row[at] = value;
            }
        }
        if let (Some(field), Some(me)) = (self.owner, me) {
            row[field] = Value::text(me);
        }
        for (field, value) in values {
            row[*field] = value.clone();
        }
        for (at, field) in self.fields.iter().enumerate() {
            if let Some(shadow) = field.shadow {
                row[shadow] = field.ty.folded(row[at].clone());
            }
        }
        row
    }

    /// The first rule that a new row breaks.
    #[must_use]
    pub fn broken_by(&self, row: &[Value]) -> Option<Broken> {
        let initial = self.declared().find(|(at, field)| row[*at].as_text().is_some_and(|word| !field.rules.begins_with(word)));
        initial.map(|(at, _)| Broken::Initial(at)).or_else(|| self.check_broken_by(row))
    }

    /// The first check that a row breaks.
    #[must_use]
    pub fn check_broken_by(&self, row: &[Value]) -> Option<Broken> {
        self.checks.iter().position(|check| self.breaks(check, row)).map(Broken::Check)
    }

    /// All checks that a row breaks.
    pub fn checks_broken_by<'a>(&'a self, row: &'a [Value]) -> impl Iterator<Item = &'a Check> {
        self.checks.iter().filter(|check| self.breaks(check, row))
    }

    /// Checks that look at a number that the row has not got yet are left out.
    fn breaks(&self, check: &Check, row: &[Value]) -> bool {
        let pending = check.fields.iter().any(|at| row[*at].is_null() && self.fields[*at].numbering().is_some());
        !pending && !check.holds(row)
    }

    /// Classes with their own actions that some field has.
    #[must_use]
    pub fn guarded_classes(&self, classes: &[Class]) -> Vec<ClassId> {
        let mut found: Vec<ClassId> = self.fields.iter().map(|field| field.class).filter(|class| classes[*class].guarded()).collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}
