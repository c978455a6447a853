//! What a client must know of a collection: how values look in JSON, what may be missing, what can be asked.

use haechi_model::{App, Collection, CollectionId, Field, FieldType};
use std::collections::BTreeSet;

/// How a value looks in JSON, and which questions it answers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    /// A text that can be searched.
    Text,
    /// A text with an order: times, days, large numbers, decimals.
    Ordered,
    /// A text without one.
    Id,
    Number,
    Bool,
    Enum(Vec<String>),
    Refers(CollectionId),
    Json,
    List(Box<Kind>),
}

impl Kind {
    pub(crate) fn of(ty: &FieldType) -> Self {
        match ty {
            FieldType::Text { .. } | FieldType::Email | FieldType::Url => Self::Text,
            FieldType::Uuid => Self::Id,
            FieldType::Enum { values, .. } => Self::Enum(values.clone()),
            FieldType::Int { .. } | FieldType::Float { .. } => Self::Number,
            FieldType::Bool => Self::Bool,
            FieldType::Json { .. } => Self::Json,
            FieldType::List { of, .. } => Self::List(Box::new(Self::of(of))),
            FieldType::Ref { to, .. } => Self::Refers(*to),
            FieldType::Int64 { .. } | FieldType::Decimal { .. } | FieldType::Datetime(_) | FieldType::Date(_) => Self::Ordered,
        }
    }
}

/// A collection, as a client sees it.
pub(crate) struct Shape<'a> {
    pub(crate) app: &'a App,
    pub(crate) collection: &'a Collection,
    /// The name of the type of a row.
    pub(crate) row: String,
}

/// All collections. `taken`: names of types that the client has itself, so that a row of `pages` is a `Page_`.
pub(crate) fn shapes<'a>(app: &'a App, taken: &[&str]) -> Vec<Shape<'a>> {
    let mut used: BTreeSet<String> = taken.iter().map(|name| (*name).to_owned()).collect();
    let mut shape = |collection: &'a Collection| {
        // `BookPart` is a part of a book, unless there are book parts: those come later, and get the underscore.
        let of = |row: &str| -> Vec<String> {
            let inputs = collection.actions.iter().map(|action| capital(&action.name));
            DERIVED.iter().map(|part| (*part).to_owned()).chain(inputs).map(|part| format!("{row}{part}")).collect()
        };
        let mut row = collection.singular.clone();
        while of(&row).iter().any(|name| used.contains(name)) {
            row.push('_');
        }
        used.extend(of(&row));
        Shape { app, collection, row }
    };
    app.collections.iter().map(&mut shape).collect()
}

/// What is put behind the name of a row's type, in any language; nothing for the row itself.
const DERIVED: [&str; 15] = [
    "",
    "Create",
    "Patch",
    "Where",
    "Part",
    "Field",
    "Ordered",
    "Summed",
    "Expanded",
    "Listed",
    "Reference",
    "Expand",
    "Inner",
    "Inners",
    "Collection",
];

impl<'a> Shape<'a> {
    /// Its name in paths.
    pub(crate) fn name(&self) -> &'a str {
        &self.collection.name
    }

    pub(crate) fn fields(&self) -> impl Iterator<Item = &'a Field> {
        self.collection.fields.iter()
    }

    /// Whether a field may be absent because its reader may not see it.
    pub(crate) fn may_be_masked(&self, field: &Field) -> bool {
        self.app.classes[field.class].guarded()
    }

    /// The fields that a new row takes, and whether each must be there.
    pub(crate) fn written(&self) -> impl Iterator<Item = (&'a Field, bool)> {
        let owner = self.collection.owner;
        let fields = self.collection.fields.iter().enumerate().filter(|(_, field)| !field.read_only);
        fields.map(move |(at, field)| (field, field.required && field.default.is_none() && owner != Some(at)))
    }

    /// Fields that have an order.
    pub(crate) fn ordered(&self) -> Vec<&'a str> {
        self.fields().filter(|field| field.ty.comparable()).map(|field| field.name.as_str()).collect()
    }

    /// Fields that can be summed up.
    pub(crate) fn summed(&self) -> Vec<&'a str> {
        let number =
            |ty: &FieldType| matches!(ty, FieldType::Int { .. } | FieldType::Int64 { .. } | FieldType::Decimal { .. } | FieldType::Float { .. });
        self.fields().filter(|field| number(&field.ty)).map(|field| field.name.as_str()).collect()
    }

    /// The fields of each unique key.
    pub(crate) fn keys(&self) -> Vec<Vec<&'a str>> {
        let names = |fields: Vec<usize>| fields.into_iter().map(|at| self.collection.fields[at].name.as_str()).collect();
        let unique = self.collection.table.indexes.iter().filter(|index| index.unique);
        unique.map(|index| names(self.collection.fields_of(index))).filter(|names: &Vec<&str>| !names.is_empty()).collect()
    }

    /// Fields that refer to one row, with its collection.
    pub(crate) fn refers(&self) -> Vec<(&'a str, CollectionId)> {
        let one = |field: &'a Field| if let FieldType::Ref { to, .. } = field.ty { Some((field.name.as_str(), to)) } else { None };
        self.fields().filter_map(one).collect()
    }

    /// Its lists of references, with their collections.
    pub(crate) fn lists(&self) -> Vec<(&'a str, CollectionId)> {
        self.fields().filter_map(|field| field.ty.lists().map(|(to, _)| (field.name.as_str(), to))).collect()
    }

    /// The rows that refer to it: `comments_by_task`.
    pub(crate) fn referring(&self) -> Vec<(String, CollectionId)> {
        self.app.referrers(self.collection.id).map(|(of, at)| (format!("{}_by_{}", of.name, of.fields[at].name), of.id)).collect()
    }

    /// Whether requests create rows: people are added by signing up.
    pub(crate) fn creates(&self) -> bool {
        self.collection.id != haechi_model::USERS
    }
}

/// `approve_all` as `ApproveAll`.
pub(crate) fn capital(name: &str) -> String {
    name.split('_').filter(|word| !word.is_empty()).map(|word| word[..1].to_uppercase() + &word[1..]).collect()
}

/// A name that something of the client's own has gets an underscore.
pub(crate) fn free(name: &str, taken: &[&str]) -> String {
    if taken.contains(&name) { format!("{name}_") } else { name.to_owned() }
}
