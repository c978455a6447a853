//! Tables as data: what the migration planner compares and the store renders.

use crate::{
    declared::Declared,
    predicate::Predicate,
    value::{Storage, Value},
};
use serde::{Deserialize, Serialize};

/// A column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// Name in the database.
    pub name: String,
    /// How it is stored.
    pub storage: Storage,
    /// Whether NULL is allowed.
    pub nullable: bool,
    /// The value for existing rows when the column is added.
    pub default: Option<Value>,
    /// The former name, when the folder declares a rename.
    pub was: Option<String>,
    /// The type of its field. Databases from before types were remembered have none.
    #[serde(default)]
    pub declared: Option<Declared>,
    /// The unique field of the table referred to by which former values find their row.
    #[serde(default)]
    pub by: Option<String>,
}

impl Column {
    /// A column that must have a value.
    #[must_use]
    pub fn required(name: &str, storage: Storage) -> Self {
        Self { name: name.to_owned(), storage, nullable: false, default: None, was: None, declared: None, by: None }
    }

    /// A column that may be NULL.
    #[must_use]
    pub fn optional(name: &str, storage: Storage) -> Self {
        Self { nullable: true, ..Self::required(name, storage) }
    }
}

/// The column that leads the unique keys of collections. It has the same value in all rows.
pub const ORGANISATION: &str = "_organisation";

/// An index; its name is how a violated unique constraint is recognised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// Name in the database.
    pub name: String,
    /// Columns in order.
    pub columns: Vec<usize>,
    /// Whether two rows may not share a key.
    pub unique: bool,
}

/// A foreign key: immediate and restricting, except in the hidden tables of lists. Cascades of rows are steps of the change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// The referring column.
    pub column: usize,
    /// Name of the table whose `id` it holds.
    pub table: String,
    /// Whether the row goes with the row that it refers to.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cascades: bool,
}

/// Names contain no `__`, so no two indexes share one.
pub(crate) fn index_name(collection: &str, fields: &[&str], suffix: &str) -> String {
    hidden_name(&format!("{collection}__{}__{suffix}", fields.join("__")), suffix)
}

/// A name as it is, or a short one in its place: databases cut names after 63 bytes.
pub(crate) fn hidden_name(name: &str, suffix: &str) -> String {
    const MAX_BYTES: usize = 63;
    if name.len() <= MAX_BYTES {
        return name.to_owned();
    }
    // FNV-1a: short, stable for ever, and not for security.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("_{hash:016x}__{suffix}")
}

/// A table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Name in the database; system tables start with `_`.
    pub name: String,
    /// The former name, when the folder declares a rename.
    pub was: Option<String>,
    /// Columns; the first `key` of them are the primary key.
    pub columns: Vec<Column>,
    /// How many leading columns form the primary key.
    pub key: usize,
    /// Indexes.
    pub indexes: Vec<Index>,
    /// Foreign keys.
    pub references: Vec<Reference>,
    /// What must hold of each row.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<RowCheck>,
    /// The column of the first referred table whose lists it holds, a row for each reference: it is the hidden table of that column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lists: Option<String>,
}

/// What must hold of each row of a table. It is remembered as the folder says it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RowCheck {
    /// As the folder says it.
    pub that: String,
    /// When it is broken for sure; unknown for tables as they were.
    #[serde(skip)]
    pub broken: Option<Predicate>,
}

impl PartialEq for RowCheck {
    fn eq(&self, other: &Self) -> bool {
        self.that == other.that
    }
}

impl Index {
    /// An index over these columns.
    #[must_use]
    pub fn new(name: &str, columns: &[usize], unique: bool) -> Self {
        Self { name: name.to_owned(), columns: columns.to_vec(), unique }
    }
}

impl Table {
    /// A table that no collection declares.
    #[must_use]
    pub fn system(name: &str, key: usize, columns: Vec<Column>, indexes: Vec<Index>) -> Self {
        Self { name: name.to_owned(), was: None, columns, key, indexes, references: Vec::new(), checks: Vec::new(), lists: None }
    }

    /// The place in an index of the first column by which rows differ: the organisation leads unique keys.
    #[must_use]
    pub fn lead(&self, index: &Index) -> usize {
        usize::from(index.columns.first().is_some_and(|column| self.columns[*column].name == ORGANISATION))
    }

    /// The indexes by which rows with a value of this column are found.
    pub fn led_by(&self, column: usize) -> impl Iterator<Item = &Index> {
        self.indexes.iter().filter(move |index| index.columns.get(self.lead(index)) == Some(&column))
    }

    /// The organisation's column, when rows with a value of this column are only found by an index that it leads.
    #[must_use]
    pub fn organisation_beside(&self, column: usize) -> Option<usize> {
        let mut organisation = None;
        for index in self.led_by(column) {
            match self.lead(index) {
                0 => return None,
                _ => organisation = index.columns.first().copied(),
            }
        }
        organisation
    }
}

impl Table {
    /// The position of a column.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// The position of the column that another one continues: the same name, or the former name in the folder.
    #[must_use]
    pub fn former(&self, column: &Column) -> Option<usize> {
        self.column(&column.name).or_else(|| column.was.as_deref().and_then(|was| self.column(was)))
    }

    /// A number for these columns and their types. Not for security.
    #[must_use]
    pub fn layout(&self) -> u64 {
        let types = |column: &Column| serde_json::to_string(&column.declared).unwrap_or_default();
        let texts = std::iter::once(self.name.clone()).chain(self.columns.iter().flat_map(|column| [column.name.clone(), types(column)]));
        texts.fold(0xcbf2_9ce4_8422_2325, |hash: u64, text| {
            text.bytes().chain([0]).fold(hash, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
        })
    }

    /// The table that a column refers to.
    #[must_use]
    pub fn referred(&self, column: usize) -> Option<&str> {
        self.references.iter().find(|reference| reference.column == column).map(|reference| reference.table.as_str())
    }
}
