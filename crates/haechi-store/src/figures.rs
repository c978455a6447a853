//! Counts of database work: how often, how long, how many rows. They are kept by table and kind of work, so requests cannot add series.

use haechi_model::{Change, Failure, Select, Step, Table};
use std::{
    array::from_fn,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// Kinds of work.
#[derive(Clone, Copy)]
pub(crate) enum Operation {
    Get,
    List,
    Aggregate,
    Create,
    Update,
    Delete,
}

impl Operation {
    pub(crate) fn name(self) -> &'static str {
        OPERATIONS[self as usize]
    }
}

const OPERATIONS: [&str; 6] = ["get", "list", "aggregate", "create", "update", "delete"];
const FAILURES: [&str; 6] = ["busy", "contended", "unavailable", "full", "unknown", "broken"];

/// The use of a table since the start.
#[derive(Clone, Debug)]
pub struct Usage {
    /// The table.
    pub table: String,
    /// `get`, `list`, `aggregate`, `create`, `update` or `delete`.
    pub operation: &'static str,
    /// How often.
    pub count: u64,
    /// How long it took, in all.
    pub took: Duration,
    /// Rows that were found or written, in all.
    pub rows: u64,
}

/// How large the database is, bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Everything together.
    pub database: u64,
    /// The write-ahead log, where it is a file of this node.
    pub wal: Option<u64>,
    /// Tables with their indexes, where the database reports them.
    pub tables: Vec<(String, u64)>,
}

/// All figures.
#[derive(Debug)]
pub(crate) struct Figures {
    of_table: Vec<[Figure; OPERATIONS.len()]>,
    failed: [AtomicU64; FAILURES.len()],
}

#[derive(Debug, Default)]
struct Figure {
    count: AtomicU64,
    nanos: AtomicU64,
    rows: AtomicU64,
}

impl Figures {
    pub(crate) fn new(tables: usize) -> Self {
        Self { of_table: (0..tables).map(|_| from_fn(|_| Figure::default())).collect(), failed: from_fn(|_| AtomicU64::new(0)) }
    }

    /// Counts finished work. A missed expectation is no failure: the database did its part.
    pub(crate) fn ended<T>(
        &self,
        (table, operation): (usize, Operation),
        begun: Instant,
        result: &Result<T, Failure>,
        rows: impl FnOnce(&T) -> usize,
    ) {
        let figure = &self.of_table[table][operation as usize];
        figure.count.fetch_add(1, Ordering::Relaxed);
        figure.nanos.fetch_add(u64::try_from(begun.elapsed().as_nanos()).unwrap_or(0), Ordering::Relaxed);
        match result {
            Ok(found) => _ = figure.rows.fetch_add(rows(found) as u64, Ordering::Relaxed),
            Err(failure) => self.failed(failure),
        }
    }

    /// Counts a failure of the database.
    pub(crate) fn failed(&self, failure: &Failure) {
        let at = match failure {
            Failure::Busy | Failure::Costly => 0,
            Failure::Contended => 1,
            Failure::Unavailable => 2,
            Failure::Full => 3,
            Failure::Unknown => 4,
            Failure::Broken => 5,
            Failure::Missed(_) | Failure::NotUnique { .. } | Failure::Referenced { .. } | Failure::Dangling { .. } | Failure::KeyReused => return,
        };
        self.failed[at].fetch_add(1, Ordering::Relaxed);
    }

    /// All work that occurred at least once.
    pub(crate) fn usage(&self, tables: &[Table]) -> Vec<Usage> {
        let of = |(figures, table): (&[Figure; OPERATIONS.len()], &Table)| {
            let used = |(figure, operation): (&Figure, &'static str)| Usage {
                table: table.name.clone(),
                operation,
                count: figure.count.load(Ordering::Relaxed),
                took: Duration::from_nanos(figure.nanos.load(Ordering::Relaxed)),
                rows: figure.rows.load(Ordering::Relaxed),
            };
            figures.iter().zip(OPERATIONS).map(used).filter(|used| used.count > 0).collect::<Vec<_>>()
        };
        self.of_table.iter().zip(tables).flat_map(of).collect()
    }

    /// How often the database failed, by reason.
    pub(crate) fn failures(&self) -> [(&'static str, u64); FAILURES.len()] {
        from_fn(|at| (FAILURES[at], self.failed[at].load(Ordering::Relaxed)))
    }
}

/// The kind of a read of rows.
pub(crate) fn of_select(select: &Select) -> (usize, Operation) {
    (select.collection, if select.order.is_empty() && select.per.is_none() { Operation::Get } else { Operation::List })
}

/// The kind of a change: its first writing step. A change with entries alone has none.
pub(crate) fn of_change(change: &Change) -> Option<(usize, Operation)> {
    change.steps.iter().find_map(|step| match step {
        Step::Insert { table, .. } | Step::Numbered { table, .. } => Some((*table, Operation::Create)),
        Step::Update { table, .. } | Step::Pick { table, .. } | Step::Take { table, .. } => Some((*table, Operation::Update)),
        Step::Delete { table, .. } | Step::Cascade { table, .. } | Step::Clear { table, .. } => Some((*table, Operation::Delete)),
        Step::Lock { .. } | Step::Check { .. } | Step::Holds { .. } | Step::Fewer { .. } | Step::Each { .. } => None,
    })
}
