//! The tables that statements name by number.

use crate::cascade::{Referrer, referrers};
use arc_swap::ArcSwap;
use haechi_model::{App, Collection, Column, Table};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// The collections of an app, by id, and the tables of all: those of the collections first, then the features' own.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    pub(crate) collections: Vec<Collection>,
    pub(crate) tables: Vec<Table>,
    referrers: Vec<Vec<Referrer>>,
    /// By table: columns of a newer model that the database has. They are read with whole rows, so that the ledger covers them.
    newer: Arc<ArcSwap<Vec<Vec<String>>>>,
    /// From how many microseconds on a statement is told of; none is at zero.
    slow_us: Arc<AtomicU64>,
}

impl Catalog {
    /// The catalog of an app, with the system tables of the features.
    #[must_use]
    pub fn new(app: &App, system: Vec<Table>) -> Self {
        let tables = app.collections.iter().map(|collection| collection.table.clone()).chain(system).collect();
        Self { collections: app.collections.clone(), tables, referrers: referrers(&app.collections), newer: Arc::default(), slow_us: Arc::default() }
    }

    /// The columns that refer to a table.
    pub(crate) fn referrers(&self, table: usize) -> &[Referrer] {
        self.referrers.get(table).map_or(&[], Vec::as_slice)
    }

    /// Statements that take so long are told of; none are at zero.
    pub(crate) fn tell_slow(&self, from: Duration) {
        self.slow_us.store(u64::try_from(from.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Tells the log of a statement that took long: its text has no values in it.
    pub(crate) fn took(&self, statement: &str, time: Duration) {
        let slow_us = self.slow_us.load(Ordering::Relaxed);
        if slow_us > 0 && time.as_micros() >= u128::from(slow_us) {
            tracing::warn!(target: "haechi::slow", ms = time.as_secs_f64() * 1000.0, statement, "a statement of the database took long");
        }
    }

    /// Columns of a table that only a newer model knows.
    pub(crate) fn with_newer(&self, table: usize, tell: impl FnMut(&String)) {
        if let Some(columns) = self.newer.load().get(table) {
            columns.iter().for_each(tell);
        }
    }

    /// The database has these tables. Returns, by table, the columns that are not known here.
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

    /// Forgets the columns that only a newer model knew: it is gone. Returns whether there were any.
    pub(crate) fn forget_newer(&self) -> bool {
        self.newer.swap(Arc::default()).iter().any(|columns| !columns.is_empty())
    }

    /// All tables.
    #[must_use]
    pub fn tables(&self) -> Vec<Table> {
        self.tables.clone()
    }
}
