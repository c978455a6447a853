//! Which columns refer to which tables.

use haechi_model::{Collection, FieldType, OnDelete};

/// A column that refers to a table.
#[derive(Clone, Debug)]
pub(crate) struct Referrer {
    pub(crate) table: usize,
    pub(crate) column: usize,
    pub(crate) on_delete: OnDelete,
    /// Whether the column is required.
    pub(crate) required: bool,
}

/// The columns that refer to each table.
pub(crate) fn referrers(collections: &[Collection]) -> Vec<Vec<Referrer>> {
    let mut found = vec![Vec::new(); collections.len()];
    for collection in collections {
        for (column, field) in collection.fields.iter().enumerate() {
            if let FieldType::Ref { to, on_delete, .. } = field.ty {
                found[to].push(Referrer { table: collection.id, column, on_delete, required: field.required });
            }
        }
    }
    found
}
