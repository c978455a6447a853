//! The tables that statements name by number.

use haechi_model::{App, Collection, Table};

/// The collections of an app, by id, and the tables of all: those of the collections first, then the features' own.
#[derive(Clone, Debug)]
pub struct Catalog {
    pub(crate) collections: Vec<Collection>,
    pub(crate) tables: Vec<Table>,
}

impl Catalog {
    /// The catalog of an app, with the system tables of the features.
    #[must_use]
    pub fn new(app: &App, system: Vec<Table>) -> Self {
        let tables = app.collections.iter().map(|collection| collection.table.clone()).chain(system).collect();
        Self { collections: app.collections.clone(), tables }
    }

    /// All tables.
    #[must_use]
    pub fn tables(&self) -> Vec<Table> {
        self.tables.clone()
    }
}
