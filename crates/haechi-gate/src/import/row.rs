//! What an import reads: rows, what they name, and what is wrong with them.

use haechi_model::{CollectionId, FieldId, Value};

/// How many errors are told before the rest is left unread.
pub(super) const MAX_ERRORS: usize = 200;

/// A row to import.
#[derive(Clone, Debug)]
pub struct ImportRow {
    /// Line of the file.
    pub line: usize,
    /// Its id; a new one when `None`.
    pub id: Option<Box<str>>,
    /// Fields, system ones of `users` included.
    pub values: Vec<(FieldId, Value)>,
}

/// A row as it was read: not all of it may be known yet, or right.
#[derive(Clone, Debug)]
pub struct ReadRow {
    /// The row.
    pub row: ImportRow,
    /// References that name their rows by a unique value.
    pub named: Vec<Named>,
    /// What is wrong with other values.
    pub faults: Vec<ImportError>,
}

impl From<ImportRow> for ReadRow {
    fn from(row: ImportRow) -> Self {
        Self { row, named: Vec::new(), faults: Vec::new() }
    }
}

/// The value of a reference, or of a list of references, in which a name stands: `@code:P-7` is the row whose `code` is `P-7`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The field.
    pub field: FieldId,
    /// Ids and names.
    pub names: Vec<Box<str>>,
}

/// A row that cannot be imported. Nothing was imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportError {
    /// Line of the file; 0 when it concerns the whole file.
    pub line: usize,
    /// The field, when it concerns one.
    pub field: Option<FieldId>,
    /// What is wrong.
    pub what: String,
}

/// Rows for one collection.
pub struct Rows<I> {
    /// The collection.
    pub collection: CollectionId,
    /// The fields of a unique key: a stored row that has the same values is changed. Without them every row is new.
    pub upsert: Option<Vec<FieldId>>,
    /// The rows, as they are read.
    pub rows: I,
}

/// What became of the rows of one source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// New rows.
    pub new: usize,
    /// Stored rows that were changed.
    pub changed: usize,
    /// Stored rows that were as the source says already.
    pub unchanged: usize,
}

impl Imported {
    /// All rows.
    #[must_use]
    pub fn count(self) -> usize {
        self.new + self.changed + self.unchanged
    }
}
