//! The tables that statements name by number.

use crate::cascade::{Referrer, referrers};
use haechi_model::{App, Collection, Table};

/// The collections of an app, by id, and the tables of all: those of the collections first, then the features' own.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    pub(crate) collections: Vec<Collection>,
    pub(crate) tables: Vec<Table>,
    referrers: Vec<Vec<Referrer>>,
}

impl Catalog {
    /// The catalog of an app, with the system tables of the features.
    #[must_use]
    pub fn new(app: &App, system: Vec<Table>) -> Self {
        let tables = app.collections.iter().map(|collection| collection.table.clone()).chain(system).collect();
        Self { collections: app.collections.clone(), tables, referrers: referrers(&app.collections) }
    }

    /// The columns that refer to a table.
    pub(crate) fn referrers(&self, table: usize) -> &[Referrer] {
        self.referrers.get(table).map_or(&[], Vec::as_slice)
    }

    /// All tables.
    #[must_use]
    pub fn tables(&self) -> Vec<Table> {
        self.tables.clone()
    }
}
