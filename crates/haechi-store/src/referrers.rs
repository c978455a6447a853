//! Which columns refer to which tables.

use haechi_model::{Collection, OnDelete};

/// A column with lists of references, and the table that holds a row for each reference.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ListOf {
    pub(crate) column: usize,
    pub(crate) hidden: usize,
}

/// A column that refers to a table.
#[derive(Clone, Debug)]
pub(crate) struct Referrer {
    pub(crate) table: usize,
    pub(crate) column: usize,
    pub(crate) on_delete: OnDelete,
    /// Whether the column must hold the reference as long as its row exists.
    pub(crate) required: bool,
    /// The hidden table, when the column has lists of references.
    pub(crate) hidden: Option<usize>,
}

/// The columns that refer to each table.
pub(crate) fn referrers(collections: &[Collection], lists: &[Vec<ListOf>]) -> Vec<Vec<Referrer>> {
    let mut found = vec![Vec::new(); collections.len()];
    for collection in collections {
        for (column, field) in collection.fields.iter().enumerate() {
            let Some((to, on_delete)) = field.ty.refers() else { continue };
            let hidden = lists[collection.id].iter().find(|list| list.column == column).map(|list| list.hidden);
            found[to].push(Referrer { table: collection.id, column, on_delete, required: field.required && hidden.is_none(), hidden });
        }
    }
    found
}
