//! The store: renders statements and runs them on SQLite or PostgreSQL.
//!
//! Only the gate holds a store (and the binary, to open it). The store decides no access.

mod aggregate;
mod backup;
mod cascade;
mod catalog;
mod figures;
mod journal;
mod lines;
mod load;
mod log;
mod members;
mod migrate;
mod model;
mod numbers;
mod page;
mod plan;
mod postgres;
mod referrers;
mod render;
mod schema;
mod signs;
mod slow;
mod sqlite;
mod system;
mod uses;

pub use backup::{RestoreError, restore};
pub use catalog::Catalog;
pub use figures::{Sizes, Usage};
pub use journal::{Beside, EventRecord, Journal, LogRecord, LogRow, Seal, Unsealed};
pub use lines::Fill;
pub use load::{Load, LoadError, LoadRow, LookUp, Made, Making, Misfit, Part, Taken, Then, Unfit};
pub use migrate::{Action, Applied, Conversion, Finds, MigrateError, Migration, Step, Task, What, breaks, history, same_tables};
pub use plan::Plan;
pub use schema::Strange;
pub use slow::{For, Purpose, Slow};
pub use uses::{IndexUse, TableUse, Uses};

use figures::{Figures, Operation, of_change, of_select};
use futures_util::future::BoxFuture;
use haechi_model::{Aggregate, Change, Claim, Connections, Failure, Outcome, Predicate, Row, RowPage, Select, Trust, Value};
use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Notify;
use tracing::{Instrument, Span};

/// Where the data is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// An SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL server.
    Postgres(Server),
}

/// A PostgreSQL server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its URL.
    pub url: String,
    /// The authorities that connections trust.
    pub trust: Trust,
    /// How many connections a node has.
    pub connections: Connections,
}

/// The tables to analyse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Analyse {
    /// All tables.
    Everything,
    /// One table, after it was filled.
    Table(usize),
    /// Tables without statistics, or that have grown or shrunk tenfold since.
    Outgrown,
}

/// An open database.
pub struct Store {
    driver: Driver,
    catalog: Arc<Catalog>,
    figures: Figures,
    /// Woken after each commit that wrote entries.
    committed: Arc<Notify>,
}

/// What the database answers.
type Stored<T> = Result<T, Failure>;
/// A row, and the row of another table that it names.
pub type RowAndOwner = (Row, Option<Row>);
/// A position and its encoded entry.
pub type Leaf = (i64, Vec<u8>);

/// The reader of a read, and its limits.
#[derive(Clone, Debug)]
pub struct Reads {
    /// The number of the caller, for turns.
    pub caller: u64,
    /// Whether it may take long.
    pub scan: bool,
    /// The request that it is part of.
    pub request_id: Option<Arc<str>>,
    /// Its purpose, for the log of slow statements.
    pub purpose: For,
}

impl Reads {
    /// A read by this program itself.
    pub const SYSTEM: Self = Self { caller: 0, scan: false, request_id: None, purpose: For(None) };
    /// A read by this program itself that may take long.
    pub const SCAN: Self = Self { caller: 0, scan: true, request_id: None, purpose: For(None) };

    fn scanning(self) -> Self {
        Self { scan: true, ..self }
    }
}

enum Driver {
    Sqlite(sqlite::Sqlite),
    Postgres(postgres::Postgres),
}

/// Why a database cannot be opened, in words for an operator.
#[derive(Debug, thiserror::Error)]
pub enum Unopened {
    /// An operator must fix it.
    #[error("{0}")]
    Unusable(String),
    /// It may come back: the server does not answer, or accepts no changes yet.
    #[error("{0}")]
    Away(String),
}

/// Whether a database is there and can be used.
///
/// # Errors
/// Why it cannot be used.
pub fn answers(target: &Target) -> BoxFuture<'_, Result<(), Unopened>> {
    Box::pin(async move {
        match target {
            Target::Sqlite(_) => Ok(()),
            Target::Postgres(server) => postgres::answers(server).await,
        }
    })
}

// Each method is boxed here: every crate above would compile an `async fn` again, with everything that it awaits.
impl Store {
    /// Opens a database. The tables need not be there yet.
    ///
    /// # Errors
    /// When the file cannot be opened or the server cannot be reached.
    pub fn open<'a>(target: &'a Target, catalog: Catalog, journal: Arc<dyn Journal>) -> BoxFuture<'a, Result<Self, Unopened>> {
        Box::pin(async move {
            let (catalog, committed) = (Arc::new(catalog), Arc::new(Notify::new()));
            let driver = match target {
                Target::Sqlite(path) => Driver::Sqlite(sqlite::Sqlite::open(path, catalog.clone(), journal, committed.clone())?),
                Target::Postgres(server) => Driver::Postgres(postgres::Postgres::open(server, catalog.clone(), journal, committed.clone()).await?),
            };
            let figures = Figures::new(catalog.tables.len());
            Ok(Self { driver, catalog, figures, committed })
        })
    }

    /// Whether several nodes may work on it at once.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self.driver, Driver::Postgres(_))
    }

    /// Whether entries have their positions as soon as they are committed; otherwise one node gives them later.
    #[must_use]
    pub fn positions_at_commit(&self) -> bool {
        matches!(self.driver, Driver::Sqlite(_))
    }

    /// Woken after each commit that wrote entries.
    #[must_use]
    pub fn committed(&self) -> Arc<Notify> {
        self.committed.clone()
    }

    /// Logs statements that take at least this long; none at zero.
    pub fn tell_slow(&self, from: Duration) {
        self.catalog.slow.set(from);
    }

    /// The use of the database, by table and kind of work.
    #[must_use]
    pub fn usage(&self) -> Vec<Usage> {
        self.figures.usage(&self.catalog.tables)
    }

    /// How often the database failed, by reason.
    #[must_use]
    pub fn failures(&self) -> Vec<(&'static str, u64)> {
        self.figures.failures().into()
    }

    /// Opens all connections that it will need.
    ///
    /// # Errors
    /// When the server does not grant them.
    pub fn open_all(&self) -> BoxFuture<'_, Result<(), Unopened>> {
        Box::pin(async move {
            match &self.driver {
                Driver::Sqlite(_) => Ok(()),
                Driver::Postgres(postgres) => postgres.open_all().await,
            }
        })
    }

    /// How full its pools are, each with its name.
    #[must_use]
    pub fn pools(&self) -> Vec<(&'static str, Fill)> {
        match &self.driver {
            Driver::Sqlite(sqlite) => sqlite.pools().into(),
            Driver::Postgres(postgres) => postgres.pools().into(),
        }
    }

    /// Sets how long a change waits at most for others that hold its rows.
    pub fn be_patient(&self, most: Duration) {
        if let Driver::Postgres(postgres) = &self.driver {
            postgres.be_patient(most);
        }
    }

    /// Rows as finished JSON. A scan has a larger budget and its own threads.
    ///
    /// # Errors
    /// When the database is busy or unavailable, or the budget is used up.
    pub fn select(&self, select: Select, reads: Reads) -> BoxFuture<'_, Result<RowPage, Failure>> {
        Box::pin(async move {
            let (begun, of, request_id) = (Instant::now(), of_select(&select), reads.request_id.clone());
            let span = self.span(of.1.name(), &self.catalog.tables[select.collection].name);
            let planned = self.catalog.slow.is_set().then(|| select.clone());
            let found = if span.is_disabled() {
                self.run_select(select, reads).await
            } else {
                Box::pin(self.run_select(select, reads).instrument(span)).await
            };
            self.figures.ended(of, begun, &found, |page| page.ids.len());
            self.told(of, request_id.as_deref(), &found);
            if let Some(select) = planned.filter(|_| self.catalog.slow.asks_for_plan(begun.elapsed())) {
                self.tell_plan(select, request_id.as_deref()).await;
            }
            found
        })
    }

    async fn run_select(&self, select: Select, reads: Reads) -> Result<RowPage, Failure> {
        match &self.driver {
            Driver::Sqlite(sqlite) => sqlite.readers.select(select, reads).await,
            // On the heap, so that requests to one driver do not carry the state of the other.
            Driver::Postgres(postgres) => Box::pin(postgres.select(select, reads)).await,
        }
    }

    /// The results of an aggregate: for each group a value per part; a sum of whole numbers is its digits.
    ///
    /// # Errors
    /// When the database is busy or unavailable, or the budget is used up.
    pub fn aggregate(&self, aggregate: Aggregate, reads: Reads) -> BoxFuture<'_, Result<Vec<Vec<Value>>, Failure>> {
        Box::pin(async move {
            let (begun, of, request_id) = (Instant::now(), (aggregate.collection, Operation::Aggregate), reads.request_id.clone());
            let found = match &self.driver {
                Driver::Sqlite(sqlite) => sqlite.readers.aggregate(aggregate, reads).await,
                Driver::Postgres(postgres) => Box::pin(postgres.aggregate(&aggregate, reads)).await,
            };
            self.figures.ended(of, begun, &found, |_| 1);
            self.told(of, request_id.as_deref(), &found);
            found
        })
    }

    /// One stored row, all columns.
    ///
    /// # Errors
    /// When the database is busy or unavailable.
    pub fn row<'a>(&'a self, table: usize, id: &'a str) -> BoxFuture<'a, Result<Option<Row>, Failure>> {
        Box::pin(async move {
            let begun = Instant::now();
            let found = match &self.driver {
                Driver::Sqlite(sqlite) => sqlite.readers.row(table, id).await,
                Driver::Postgres(postgres) => postgres.row(table, id).await,
            };
            self.figures.ended((table, Operation::Get), begun, &found, |row| usize::from(row.is_some()));
            found
        })
    }

    /// Stored rows of a table in the order of their ids, after one of them.
    ///
    /// # Errors
    /// When the database is busy or unavailable.
    pub fn rows_after<'a>(&'a self, table: usize, after: &'a str, limit: u32) -> BoxFuture<'a, Result<Vec<Row>, Failure>> {
        Box::pin(async move {
            match &self.driver {
                Driver::Sqlite(sqlite) => sqlite.rows_after(&self.catalog, table, after, limit).await,
                Driver::Postgres(postgres) => postgres.rows_after(table, after, limit).await,
            }
        })
    }

    /// Rows for which a condition holds, in the order of these columns and of their ids.
    ///
    /// # Errors
    /// When the database is busy or unavailable.
    pub fn find(&self, table: usize, filter: Predicate, order: Vec<usize>, limit: u32) -> BoxFuture<'_, Result<Vec<Row>, Failure>> {
        Box::pin(async move {
            let begun = Instant::now();
            let found = match &self.driver {
                Driver::Sqlite(sqlite) => sqlite.readers.find(table, filter, order, limit).await,
                Driver::Postgres(postgres) => postgres.find(table, &filter, &order, limit).await,
            };
            self.figures.ended((table, Operation::List), begun, &found, Vec::len);
            found
        })
    }

    /// One row, and the row of another table that one of its columns names.
    ///
    /// # Errors
    /// When the database is busy or unavailable.
    pub fn row_and_owner<'a>(&'a self, table: usize, id: &'a str, column: usize, owner: usize) -> BoxFuture<'a, Stored<Option<RowAndOwner>>> {
        Box::pin(async move {
            let columns = self.catalog.tables[table].columns.len();
            let begun = Instant::now();
            let joined = match &self.driver {
                Driver::Sqlite(sqlite) => sqlite.readers.row_and_owner(table, id, column, owner).await,
                Driver::Postgres(postgres) => postgres.row_and_owner(table, id, column, owner).await,
            };
            self.figures.ended((table, Operation::Get), begun, &joined, |row| usize::from(row.is_some()));
            Ok(joined?.map(|mut row| {
                let owner = row.split_off(columns);
                (row, (!owner[0].is_null()).then_some(owner))
            }))
        })
    }

    /// Runs a change. Once called, the change runs to its end, even if the caller stops waiting.
    ///
    /// # Errors
    /// When an expectation is not met or the database cannot do it; nothing was done then, unless the failure is `Unknown`.
    pub fn commit(&self, change: Change) -> BoxFuture<'_, Result<Outcome, Failure>> {
        self.commit_with(change, false)
    }

    /// As [`Store::commit`], and waits for as long as a load takes: for what must be written in the end.
    ///
    /// # Errors
    /// As there.
    pub fn commit_in_the_end(&self, change: Change) -> BoxFuture<'_, Result<Outcome, Failure>> {
        self.commit_with(change, true)
    }

    fn commit_with(&self, change: Change, waits: bool) -> BoxFuture<'_, Result<Outcome, Failure>> {
        Box::pin(async move {
            let (begun, of) = (Instant::now(), of_change(&change));
            let (operation, table) = of.map_or(("log", ""), |(table, operation)| (operation.name(), &self.catalog.tables[table].name));
            let span = self.span(operation, table);
            let request_id = change.request_id.clone();
            let done = if span.is_disabled() {
                self.run_change(change, waits).await
            } else {
                Box::pin(self.run_change(change, waits).instrument(span)).await
            };
            if let Some(of) = of {
                self.figures.ended(of, begun, &done, |outcome| outcome.written.len() + outcome.cleared.len());
                self.told(of, Some(&request_id), &done);
            } else if let Err(failure) = &done {
                self.figures.failed(failure);
            }
            if self.catalog.slow.is_met(begun.elapsed()) {
                let ms = begun.elapsed().as_secs_f64() * 1000.0;
                tracing::warn!(target: "haechi::slow", ms, table, operation, request_id = &*request_id, "a change took long");
            }
            done
        })
    }

    /// Logs which request met an unexpected failure of the database; the log line before says why.
    fn told<T>(&self, (table, operation): (usize, Operation), request_id: Option<&str>, result: &Result<T, Failure>) {
        if let Err(failure @ (Failure::Broken | Failure::Unknown)) = result {
            let (table, operation) = (&*self.catalog.tables[table].name, operation.name());
            tracing::error!(target: "haechi::store", request_id, table, operation, failure = %failure, "a request failed in the database");
        }
    }

    /// The span of a statement: never with its text or its values.
    fn span(&self, operation: &'static str, table: &str) -> Span {
        let system = if self.is_shared() { "postgresql" } else { "sqlite" };
        tracing::info_span!(target: "haechi::trace", "database", otel.kind = "client", otel.name = operation, db.system.name = system, db.operation.name = operation, db.collection.name = table)
    }

    async fn run_change(&self, change: Change, waits: bool) -> Result<Outcome, Failure> {
        match &self.driver {
            Driver::Sqlite(sqlite) => sqlite.writer.commit(change, waits).await,
            Driver::Postgres(postgres) => postgres.commit(change).await,
        }
    }

    /// Loads many rows into tables, in parts: all or none. Returns what became of them.
    ///
    /// # Errors
    /// Which rows do not fit, or why the database could not take them; nothing was kept then.
    pub fn load(&self, load: Load) -> BoxFuture<'_, Result<Vec<Taken>, LoadError>> {
        Box::pin(async move {
            match &self.driver {
                Driver::Sqlite(sqlite) => sqlite.writer.load(load).await,
                Driver::Postgres(postgres) => postgres.load(load).await,
            }
        })
    }

    /// Gathers the statistics by which the database plans statements.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn analyse(&self, what: Analyse) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move {
            let name = |table: usize| self.catalog.tables[table].name.clone();
            match &self.driver {
                Driver::Sqlite(sqlite) => {
                    let table = if let Analyse::Table(table) = what { Some(name(table)) } else { None };
                    let work = move |connection: &mut rusqlite::Connection| sqlite::analyse(connection, what, table.as_deref());
                    sqlite.writer.alone_for_long(work).await?.map_err(|error| sqlite::failure(&error))
                }
                Driver::Postgres(postgres) => match what {
                    Analyse::Everything => postgres.analyse(&self.catalog.tables.iter().map(|table| table.name.clone()).collect::<Vec<_>>()).await,
                    Analyse::Table(table) => postgres.analyse(&[name(table)]).await,
                    // The server does this by itself.
                    Analyse::Outgrown => Ok(()),
                },
            }
        })
    }

    /// The result of the change that claimed this idempotency key, if there was one.
    ///
    /// # Errors
    /// When the key belongs to another request, or the database cannot be reached.
    pub fn claimed<'a>(&'a self, claim: &'a Claim) -> BoxFuture<'a, Result<Option<Box<str>>, Failure>> {
        Box::pin(async move {
            let found = match &self.driver {
                Driver::Sqlite(sqlite) => sqlite.claimed(&claim.key).await?,
                Driver::Postgres(postgres) => postgres.claimed(&claim.key).await?,
            };
            match found {
                Some((digest, _)) if digest != *claim.digest => Err(Failure::KeyReused),
                found => Ok(found.map(|(_, result)| result.into())),
            }
        })
    }

    /// Deletes idempotency keys that were claimed before a time.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn forget_claims(&self, before_ms: i64) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move {
            match &self.driver {
                Driver::Sqlite(sqlite) => sqlite.forget_claims(before_ms).await,
                Driver::Postgres(postgres) => postgres.forget_claims(before_ms).await,
            }
        })
    }
}
