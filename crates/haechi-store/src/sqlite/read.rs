//! Reader threads: jobs in, finished bytes out, each under a budget of steps and a deadline.

use super::{
    at_once::{self, AtOnce},
    commits::Commits,
    connection, failure,
    snapshot::Snapshot,
    turns::Turns,
};
use crate::{
    For, Reads,
    aggregate::Parts,
    catalog::Catalog,
    lines::{Fill, Turn},
    page::PageWriter,
    render::{Dialect, Layout, Sql, counted},
};
use arc_swap::ArcSwapOption;
use haechi_model::{Aggregate, Cells, Failure, Predicate, Row, RowPage, Select, Table, Value};
use rusqlite::Connection;
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// Threads for reads, and spare threads for when all of them are in long reads.
const THREADS: (usize, usize) = (2, 4);
/// The same for scans.
const SCAN_THREADS: (usize, usize) = (1, 2);
/// Virtual machine steps between two checks of the budget.
const STEPS_PER_LOOK: i32 = 10_000;
/// Checks that one read may use: some hundred milliseconds.
const READ_LOOKS: u64 = 2_000;
/// Checks that one scan (export, verification) may use: minutes.
const SCAN_LOOKS: u64 = 2_000_000;

/// Jobs that one snapshot serves at most, so that the WAL can be copied back.
const SNAPSHOT_JOBS: u32 = 64;

/// A read that holds a snapshot for longer than this is logged.
const LONG_SNAPSHOT: Duration = Duration::from_secs(60);

/// A thread's work, and a flag that its caller no longer waits.
struct Job {
    work: Box<dyn FnOnce(&Connection) + Send>,
    gone: Option<Arc<AtomicBool>>,
}

/// The reader threads. They end when this is dropped.
pub(crate) struct Readers {
    at_once: Arc<AtOnce>,
    reads: Arc<Turns<Job>>,
    scans: Arc<Turns<Job>>,
    catalog: Arc<Catalog>,
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.reads.close();
        self.scans.close();
    }
}

impl Readers {
    pub(crate) fn start(path: &Path, catalog: &Arc<Catalog>, commits: &Arc<Commits>) -> Result<Self, Failure> {
        let readers = Self {
            at_once: Arc::new(AtOnce::open(path, 2 * catalog.tables.len(), commits.clone())?),
            reads: Arc::new(Turns::new(THREADS.0)),
            scans: Arc::new(Turns::new(SCAN_THREADS.0)),
            catalog: catalog.clone(),
        };
        for at in 0..THREADS.0 {
            Thread::open(path, READ_LOOKS)?.spawn(readers.reads.clone(), at, Some(commits.clone()))?;
        }
        for at in 0..SCAN_THREADS.0 {
            Thread::open(path, SCAN_LOOKS)?.spawn(readers.scans.clone(), at, None)?;
        }
        for _ in 0..THREADS.1 {
            spawn_spare(path, READ_LOOKS, readers.reads.clone())?;
        }
        for _ in 0..SCAN_THREADS.1 {
            spawn_spare(path, SCAN_LOOKS, readers.scans.clone())?;
        }
        Ok(readers)
    }

    /// How busy the threads are: those of short reads and those of scans.
    pub(super) fn pools(&self) -> (Fill, Fill) {
        (self.reads.fill(), self.scans.fill())
    }

    /// The part that keeps snapshots.
    pub(super) fn at_once(&self) -> Arc<AtOnce> {
        self.at_once.clone()
    }

    /// Rows as finished JSON.
    pub(crate) async fn select(&self, select: Select, reads: Reads) -> Result<RowPage, Failure> {
        if !reads.scan && select.filter.is_light() {
            let kind = 2 * select.collection + usize::from(select.limit > 1);
            let most = select.bytes.min(at_once::BYTES);
            let short = |page: &RowPage| !page.cut || most == select.bytes;
            if let Some(found) = self.at_once.read(kind, |connection| page(connection, &self.catalog, (&select, &reads.purpose), most), short) {
                return found;
            }
        }
        let (catalog, purpose, scan) = (self.catalog.clone(), reads.purpose.clone(), reads.scan);
        self.run(reads, move |connection| {
            let work = || page(connection, &catalog, (&select, &purpose), select.bytes);
            if scan { named(&catalog.tables[select.collection].name, work) } else { work() }
        })
        .await
    }

    /// The statement of a page, and how the database would answer it.
    pub(crate) async fn plan(&self, select: Select) -> Result<(String, Vec<String>), Failure> {
        let catalog = self.catalog.clone();
        self.run(Reads::SCAN, move |connection| {
            let (sql, _) = statement(connection, &catalog, &select)?;
            let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {}", sql.text))?;
            let steps = explain.query_map(connection::bound(&sql.values), |row| row.get(3))?.collect::<Result<_, _>>()?;
            Ok((sql.text, steps))
        })
        .await
    }

    /// The results of an aggregate.
    pub(crate) async fn aggregate(&self, aggregate: Aggregate, reads: Reads) -> Result<Vec<Vec<Value>>, Failure> {
        let (catalog, purpose) = (self.catalog.clone(), reads.purpose.clone());
        self.run(reads.scanning(), move |connection| {
            let mut sql = Sql::new(Dialect::Sqlite, &catalog);
            sql.many = leading_to_many(connection, &catalog, aggregate.collection, &aggregate.filter, false)?;
            sql.aggregate(&aggregate);
            let mut statement = connection.prepare_cached(&sql.text)?;
            let begun = Instant::now();
            let found = named(&catalog.tables[aggregate.collection].name, || {
                let parts = Parts::of(&aggregate, &catalog);
                statement.query_map(connection::bound(&sql.values), |row| Ok(parts.read(&Reader(row))))?.collect()
            });
            catalog.took((&purpose, aggregate.collection), &sql.text, begun.elapsed(), None);
            found
        })
        .await
    }

    /// One stored row.
    pub(crate) async fn row(&self, table: usize, id: &str) -> Result<Option<Row>, Failure> {
        if let Some(found) = self.at_once.read(2 * table, |connection| row(connection, &self.catalog, table, id), |_| true) {
            return found;
        }
        let (catalog, id) = (self.catalog.clone(), id.to_owned());
        self.run(Reads::SYSTEM, move |connection| row(connection, &catalog, table, &id)).await
    }

    /// Rows for which a condition holds.
    pub(crate) async fn find(&self, table: usize, filter: Predicate, order: Vec<usize>, limit: u32) -> Result<Vec<Row>, Failure> {
        let catalog = self.catalog.clone();
        self.run(Reads::SYSTEM, move |connection| {
            let mut sql = Sql::new(Dialect::Sqlite, &catalog);
            sql.find(table, &filter, &order, limit);
            rows(connection, &sql, catalog.tables[table].columns.len())
        })
        .await
    }

    /// One row and its owner, side by side.
    pub(crate) async fn row_and_owner(&self, table: usize, id: &str, column: usize, owner: usize) -> Result<Option<Row>, Failure> {
        let read = move |connection: &Connection, catalog: &Catalog, id: &str| {
            let mut sql = Sql::new(Dialect::Sqlite, catalog);
            sql.row_and_owner(table, id, column, owner);
            let columns = catalog.tables[table].columns.len() + catalog.tables[owner].columns.len();
            Ok(rows(connection, &sql, columns)?.pop())
        };
        if let Some(found) = self.at_once.read(2 * table, |connection| read(connection, &self.catalog, id), |_| true) {
            return found;
        }
        let (catalog, id) = (self.catalog.clone(), id.to_owned());
        self.run(Reads::SYSTEM, move |connection| read(connection, &catalog, &id)).await
    }

    /// Runs a read on one of the threads, when the caller's turn has come.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        reads: Reads,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        let (reply, answer) = oneshot::channel();
        let work = Box::new(move |connection: &Connection| {
            if !reply.is_closed() {
                let _ = reply.send(work(connection).map_err(|error| failure(&error)));
            }
        });
        // A scan may take minutes: it ends when its caller no longer waits.
        let gone = reads.scan.then(|| Gone(Arc::default()));
        let job = Job { work, gone: gone.as_ref().map(|gone| gone.0.clone()) };
        let turns = if reads.scan { &self.scans } else { &self.reads };
        turns.push(reads.caller, job)?;
        answer.await.unwrap_or(Err(Failure::Unavailable))
    }
}

/// Tells, when it is dropped, that the caller no longer waits.
struct Gone(Arc<AtomicBool>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The connection and budget of a thread.
struct Thread {
    connection: Connection,
    budget: Arc<Budget>,
    looks: u64,
}

/// The work that the current job may still do.
#[derive(Default)]
struct Budget {
    left: AtomicU64,
    gone: ArcSwapOption<AtomicBool>,
}

impl Budget {
    /// One check: whether the job must end.
    fn ends(&self) -> bool {
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err()
            || self.gone.load().as_ref().is_some_and(|gone| gone.load(Ordering::Relaxed))
    }
}

impl Thread {
    fn open(path: &Path, looks: u64) -> Result<Self, Failure> {
        let mut connection = connection::reader(path).map_err(|error| failure(&error))?;
        let budget = Arc::<Budget>::default();
        let guard = budget.clone();
        connection.progress_handler(STEPS_PER_LOOK, Some(move || guard.ends())).map_err(|error| failure(&error))?;
        Ok(Self { connection, budget, looks })
    }

    fn spawn(self, turns: Arc<Turns<Job>>, at: usize, commits: Option<Arc<Commits>>) -> Result<(), Failure> {
        spawn("haechi-read", move || {
            let mut snapshot = Shared { connection: &self.connection, commits, snapshot: Snapshot::new(), jobs: 0 };
            let mut done = None;
            while let Some((turn, more)) = turns.next(at, done.take()).or_else(|| {
                snapshot.end();
                turns.wait(at)
            }) {
                snapshot.renew(more);
                self.run(turn.work);
                done = Some(turn.done);
            }
        })
    }

    fn run(&self, job: Job) {
        self.budget.left.store(self.looks, Ordering::Relaxed);
        let stops = job.gone.is_some();
        if stops {
            self.budget.gone.store(job.gone);
        }
        // A panic must cost one answer, not the thread: the job's reply is dropped and answered 503.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (job.work)(&self.connection)));
        if stops {
            self.budget.gone.store(None);
        }
    }
}

/// A thread that opens the database at its first use.
fn spawn_spare(path: &Path, looks: u64, turns: Arc<Turns<Job>>) -> Result<(), Failure> {
    let path = path.to_owned();
    spawn("haechi-spare", move || {
        let mut thread = None;
        let mut done = None;
        while let Some(Turn { work, done: begun }) = turns.wait_spare(done.take()) {
            if thread.is_none() {
                thread = Thread::open(&path, looks).ok();
            }
            // Without a database the job's reply is dropped and answered 503.
            if let Some(thread) = &thread {
                thread.run(work);
            }
            done = Some(begun);
        }
    })
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    thread::Builder::new().name(name.to_owned()).spawn(work).map(drop).map_err(|_| Failure::Unavailable)
}

/// A snapshot that consecutive jobs share: its locks are taken once for many reads.
struct Shared<'a> {
    connection: &'a Connection,
    /// `None`: every read has its own transaction.
    commits: Option<Arc<Commits>>,
    snapshot: Snapshot,
    jobs: u32,
}

impl Shared<'_> {
    /// Called before a job; begins a snapshot only when another job waits.
    fn renew(&mut self, waiting: bool) {
        let Some(now) = self.commits.as_ref().map(|commits| commits.now()) else { return };
        if !self.snapshot.is_of(now) || self.jobs >= SNAPSHOT_JOBS {
            self.end();
        }
        if waiting && self.snapshot.begin(self.connection, now) {
            self.jobs = 0;
        }
        self.jobs += 1;
    }

    fn end(&mut self) {
        self.snapshot.end(self.connection);
    }
}

/// Runs a read; logs the table of a long one, because the write-ahead log has grown meanwhile.
fn named<T>(table: &str, read: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let found = read();
    if begun.elapsed() >= LONG_SNAPSHOT {
        let seconds = begun.elapsed().as_secs();
        tracing::warn!(target: "haechi::store", table, seconds, "a read has held its snapshot for more than a minute");
    }
    found
}

fn row(connection: &Connection, catalog: &Catalog, table: usize, id: &str) -> rusqlite::Result<Option<Row>> {
    let mut sql = Sql::new(Dialect::Sqlite, catalog);
    sql.all_columns(table);
    sql.push(" FROM ");
    sql.name(&catalog.tables[table].name);
    sql.push(" t0 WHERE t0.\"id\" = ?");
    let columns = catalog.tables[table].columns.len();
    let mut statement = connection.prepare_cached(&sql.text)?;
    let mut rows = statement.query([id])?;
    rows.next()?.map(|row| connection::row_values(row, columns)).transpose()
}

fn rows(connection: &Connection, sql: &Sql<'_>, columns: usize) -> rusqlite::Result<Vec<Row>> {
    let mut statement = connection.prepare_cached(&sql.text)?;
    statement.query_map(connection::bound(&sql.values), |row| connection::row_values(row, columns))?.collect()
}

/// The statement of a page.
fn statement<'a>(connection: &Connection, catalog: &'a Catalog, select: &'a Select) -> rusqlite::Result<(Sql<'a>, Layout)> {
    let mut sql = Sql::new(Dialect::Sqlite, catalog);
    if select.per.is_none() {
        sql.many = leading_to_many(connection, catalog, select.collection, &select.filter, true)?;
    }
    let layout = sql.select(select);
    Ok((sql, layout))
}

fn page(connection: &Connection, catalog: &Catalog, (select, purpose): (&Select, &For), most: usize) -> rusqlite::Result<RowPage> {
    let (sql, layout) = statement(connection, catalog, select)?;
    let begun = Instant::now();
    let mut statement = connection.prepare_cached(&sql.text)?;
    let mut rows = statement.query(connection::bound(&sql.values))?;
    let mut writer = PageWriter::new(select, most, &catalog.collections[select.collection], layout);
    while let Some(row) = rows.next()? {
        if !writer.row(&Reader(row)) {
            break;
        }
    }
    let page = writer.finish();
    catalog.took((purpose, select.collection), &sql.text, begun.elapsed(), Some(page.ids.len()));
    Ok(page)
}

/// References that lead to so many rows that single look-ups take less time than gathering all ids.
fn leading_to_many(
    connection: &Connection,
    catalog: &Catalog,
    collection: usize,
    filter: &Predicate,
    paged: bool,
) -> rusqlite::Result<Vec<Predicate>> {
    let wanted = counted(filter);
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let rows = rows_of(connection, &catalog.tables[collection].name);
    let mut many = Vec::new();
    for reference in wanted.into_iter().filter(|reference| paged || reference.in_or) {
        let referenced = rows_of(connection, &catalog.tables[reference.table].name);
        let few = if paged { few_for_a_page(rows, referenced) } else { few_for_all(referenced) };
        let beside = |column: &usize| rows_beside(connection, &catalog.tables[collection], *column) > (PAGE_LOOKS * rows).sqrt();
        let mut sql = Sql::new(Dialect::Sqlite, catalog);
        sql.more_than(few, reference.table, reference.condition);
        if paged && reference.beside.iter().any(beside)
            || connection.prepare_cached(&sql.text)?.query_row(connection::bound(&sql.values), |row| row.get(0))?
        {
            many.push(reference.condition.clone());
        }
    }
    Ok(many)
}

/// The number of rows in a table, by its statistics; zero without them.
fn rows_of(connection: &Connection, table: &str) -> f64 {
    let stat = connection.prepare_cached("SELECT CAST(\"stat\" AS INTEGER) FROM \"sqlite_stat1\" WHERE \"tbl\" = ? LIMIT 1");
    stat.and_then(|mut stat| stat.query_row([table], |row| row.get::<_, f64>(0))).unwrap_or_default()
}

/// The number of rows with one value of a column, by the statistics of an index that begins with it.
fn rows_beside(connection: &Connection, table: &Table, column: usize) -> f64 {
    let Some(index) = table.led_by(column).next() else { return 0.0 };
    let stat = connection.prepare_cached("SELECT \"stat\" FROM \"sqlite_stat1\" WHERE \"tbl\" = ? AND \"idx\" = ?");
    let stat = stat.and_then(|mut stat| stat.query_row([&table.name, &index.name], |row| row.get::<_, String>(0))).unwrap_or_default();
    stat.split(' ').nth(table.lead(index) + 1).and_then(|number| number.parse().ok()).unwrap_or_default()
}

/// The look-ups that a page of twenty costs, compared with fetching and sorting a row.
const PAGE_LOOKS: f64 = 26.0;
/// The bound for gathering ids where there are no statistics.
const UNKNOWN: u32 = 256;

/// The most referenced rows whose ids are gathered for a page. With k of n ids gathered, k/n of the rows are fetched and sorted; otherwise
/// some 20 n/k rows are looked up until the page is full. The costs are equal where k is n divided by the root of rows/26.
fn few_for_a_page(rows: f64, referenced: f64) -> u32 {
    const AT_LEAST: f64 = 16.0;
    const AT_MOST: f64 = 2_000.0;
    if rows < 1.0 || referenced < 1.0 { UNKNOWN } else { (referenced * (PAGE_LOOKS / rows).sqrt()).clamp(AT_LEAST, AT_MOST) as u32 }
}

/// The same when all rows are wanted: above a quarter, reading all rows takes less time.
fn few_for_all(referenced: f64) -> u32 {
    const AT_MOST: f64 = 50_000.0;
    if referenced < 1.0 { UNKNOWN } else { (referenced / 4.0).clamp(f64::from(UNKNOWN), AT_MOST) as u32 }
}

struct Reader<'a, 'b>(&'a rusqlite::Row<'b>);

impl Cells for Reader<'_, '_> {
    fn int(&self, at: usize) -> Option<i64> {
        self.0.get_ref(at).ok()?.as_i64().ok()
    }

    fn real(&self, at: usize) -> Option<f64> {
        self.0.get_ref(at).ok()?.as_f64().ok()
    }

    fn text(&self, at: usize) -> Option<&str> {
        self.0.get_ref(at).ok()?.as_str().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_ends_with_the_next_commit() {
        let folder = std::env::temp_dir().join(format!("haechi-snapshot-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("t.db");
        let writer = connection::writer(&path).unwrap();
        writer.execute_batch("CREATE TABLE t (n INTEGER); INSERT INTO t VALUES (1)").unwrap();
        let (reader, commits) = (connection::reader(&path).unwrap(), Arc::new(Commits::default()));
        let mut snapshot = Shared { connection: &reader, commits: Some(commits.clone()), snapshot: Snapshot::new(), jobs: 0 };
        let read = || reader.query_row("SELECT n FROM t", [], |row| row.get::<_, i64>(0)).unwrap();
        snapshot.renew(true);
        assert!(!reader.is_autocommit() && read() == 1);
        writer.execute_batch("UPDATE t SET n = 2").unwrap();
        snapshot.renew(true);
        assert_eq!(read(), 1, "one snapshot for what follows each other");
        commits.count();
        snapshot.renew(true);
        assert_eq!(read(), 2, "what was committed and told of is seen");
        snapshot.end();
        snapshot.renew(false);
        assert!(reader.is_autocommit(), "nothing waits: no transaction is left open");
        for _ in 0..=SNAPSHOT_JOBS {
            snapshot.renew(true);
        }
        writer.execute_batch("UPDATE t SET n = 3").unwrap();
        (0..SNAPSHOT_JOBS).for_each(|_| snapshot.renew(true));
        assert_eq!(read(), 3, "a snapshot does not last for ever");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
