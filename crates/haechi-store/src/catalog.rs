//! The tables that statements name by number.

use crate::{
    referrers::{ListOf, Referrer, referrers},
    slow::{For, Slow, Threshold},
};
use arc_swap::ArcSwap;
use haechi_model::{App, Collection, Column, Table};
use std::{sync::Arc, time::Duration};

/// The collections of an app, by id, and the tables of all: those of the collections first, then the features' own, then the hidden tables
/// of lists.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    pub(crate) collections: Vec<Collection>,
    pub(crate) tables: Vec<Table>,
    referrers: Vec<Vec<Referrer>>,
    /// By table: its lists of references.
    lists: Vec<Vec<ListOf>>,
    /// By table: columns of a newer model in the database. They are read with whole rows, so that the ledger covers them.
    newer: Arc<ArcSwap<Vec<Vec<String>>>>,
    /// The time from which a statement counts as slow.
    pub(crate) slow: Arc<Threshold>,
}

impl Catalog {
    /// The catalog of an app, with the system tables of the features.
    #[must_use]
    pub fn new(app: &App, system: Vec<Table>) -> Self {
        let mut tables: Vec<Table> = app.collections.iter().map(|collection| collection.table.clone()).chain(system).collect();
        let mut lists = vec![Vec::new(); app.collections.len()];
        for (collection, list) in app.collections.iter().flat_map(|collection| collection.lists.iter().map(move |list| (collection, list))) {
            lists[collection.id].push(ListOf { column: list.field, hidden: tables.len() });
            tables.push(list.table.clone());
        }
        let referrers = referrers(&app.collections, &lists);
        Self { collections: app.collections.clone(), tables, referrers, lists, newer: Arc::default(), slow: Arc::default() }
    }

    /// The catalog of one table alone, to render a condition on its rows.
    pub(crate) fn of_table(table: &Table) -> Self {
        Self { tables: vec![table.clone()], ..Self::default() }
    }

    /// The columns that refer to a table.
    pub(crate) fn referrers(&self, table: usize) -> &[Referrer] {
        self.referrers.get(table).map_or(&[], Vec::as_slice)
    }

    /// The lists of references of a table.
    pub(crate) fn lists(&self, table: usize) -> &[ListOf] {
        self.lists.get(table).map_or(&[], Vec::as_slice)
    }

    /// The hidden table of a list of references.
    pub(crate) fn hidden(&self, table: usize, column: usize) -> Option<usize> {
        self.lists(table).iter().find(|list| list.column == column).map(|list| list.hidden)
    }

    /// Logs a statement about a table when it was slow.
    pub(crate) fn took(&self, (purpose, table): (&For, usize), statement: &str, took: Duration, rows: Option<usize>) {
        let table = self.tables.get(table).map_or("", |table| &table.name);
        self.slow.took(purpose, &Slow { statement, took, rows, table });
    }

    /// Columns of a table that only a newer model knows.
    pub(crate) fn with_newer(&self, table: usize, tell: impl FnMut(&String)) {
        if let Some(columns) = self.newer.load().get(table) {
            columns.iter().for_each(tell);
        }
    }

    /// Learns the database's tables. Returns, by table, the columns that are unknown here.
    pub(crate) fn meet(&self, there: &[Table]) -> Vec<Vec<Column>> {
        let newer = |table: &Table| {
            let known = there.iter().find(|known| known.name == table.name);
            let columns = known.into_iter().flat_map(|known| &known.columns);
            columns.filter(|column| table.column(&column.name).is_none()).cloned().collect::<Vec<_>>()
        };
        let newer: Vec<Vec<Column>> = self.tables.iter().map(newer).collect();
        let names = |columns: &Vec<Column>| columns.iter().map(|column| column.name.clone()).collect();
        self.newer.store(Arc::new(newer.iter().map(names).collect()));
        newer
    }

    /// Forgets the columns of a newer model that is gone. Returns whether there were any.
    pub(crate) fn forget_newer(&self) -> bool {
        self.newer.swap(Arc::default()).iter().any(|columns| !columns.is_empty())
    }

    /// All tables.
    #[must_use]
    pub fn tables(&self) -> Vec<Table> {
        self.tables.clone()
    }
}
