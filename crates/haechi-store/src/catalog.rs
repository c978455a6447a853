//! The tables that statements name by number.

use haechi_model::{App, Collection, Table};

/// The collections of an app, by id.
#[derive(Clone, Debug)]
pub struct Catalog {
    pub(crate) collections: Vec<Collection>,
}

impl Catalog {
    /// The catalog of an app.
    #[must_use]
    pub fn new(app: &App) -> Self {
        Self { collections: app.collections.clone() }
    }

    /// Tables of the collections.
    #[must_use]
    pub fn tables(&self) -> Vec<Table> {
        self.collections.iter().map(|collection| collection.table.clone()).collect()
    }
}
