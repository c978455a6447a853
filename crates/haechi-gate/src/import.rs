//! Imports rows as an operator. Policies are bypassed; types and references are checked, and the ledger records it.

use crate::{
    gate::Gate,
    system::{Import, System},
};
use aws_lc_rs::digest;
use futures_util::future::BoxFuture;
use haechi_model::{
    App, Broken, Circle, Collection, CollectionId, Comparison, EntryDraft, EntryKind, Failure, FieldId, Group, Operand, Predicate, Row, Step, USERS,
    Value, person, write_json_text,
};
use haechi_store::{Analyse, Load, LoadError, Misfit, Part, Unfit};
use std::{
    collections::{HashMap, HashSet},
    fmt::Write,
    sync::Arc,
};

/// Rows per ledger entry.
pub(crate) const PART: usize = 1_000;
/// Parts that wait for the database.
const PARTS_WAITING: usize = 2;
/// How many bad rows are named before the rest is left unread.
const MAX_ERRORS: usize = 200;
/// How many unique values are remembered: some 60 MB.
const MAX_KEYS: usize = 1_000_000;

/// A row to import.
#[derive(Clone, Debug)]
pub struct ImportRow {
    /// Line of the file.
    pub line: usize,
    /// Its id; a new one when `None`.
    pub id: Option<Box<str>>,
    /// Fields, system ones of `users` included.
    pub values: Vec<(FieldId, Value)>,
}

/// A row that cannot be imported. Nothing was imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportError {
    /// Line of the file; 0 when it concerns the whole file.
    pub line: usize,
    /// The field, when it concerns one.
    pub field: Option<FieldId>,
    /// What is wrong.
    pub what: String,
}

impl Gate {
    /// Imports rows into a collection: all or none. Returns how many.
    ///
    /// # Errors
    /// Every row that cannot be imported, by line and field.
    pub fn import<'a>(
        &'a self,
        key: &'a System<Import>,
        collection: CollectionId,
        rows: Vec<ImportRow>,
    ) -> BoxFuture<'a, Result<usize, Vec<ImportError>>> {
        Box::pin(async move {
            let imported = self.import_from(key, vec![(collection, rows.into_iter().map(Ok))]).await;
            imported.map(|counts| counts[0]).map_err(|mut errors| errors.remove(0))
        })
    }

    /// Imports rows as they are read, into one collection or several: all or none. Rows may refer to each other across the collections in
    /// any order. Only a part of the rows is in memory at a time. Returns the number of rows for each collection.
    ///
    /// # Errors
    /// What is wrong with the rows of each collection, by line and field; after some hundred errors the rest is not read.
    ///
    /// # Panics
    /// When a collection is named twice.
    pub async fn import_from<Rows: Iterator<Item = Result<ImportRow, Vec<ImportError>>> + Send + 'static>(
        &self,
        key: &System<Import>,
        sources: Vec<(CollectionId, Rows)>,
    ) -> Result<Vec<usize>, Vec<Vec<ImportError>>> {
        let revision = self.revision();
        let named: Vec<CollectionId> = sources.iter().map(|(collection, _)| *collection).collect();
        let tables = revision.app.in_order_of_references(&named).map_err(|circle| unordered(&circle, &revision.app, named.len()))?;
        let place = |collection: &CollectionId| named.iter().position(|named| named == collection).unwrap_or_default();
        let (places, mut sources): (Vec<usize>, Vec<_>) = (tables.iter().map(place).collect(), sources.into_iter().map(Some).collect());
        assert!((0..named.len()).all(|place| places.contains(&place)), "each collection is named once");
        let in_order = places.iter().filter_map(|place| sources[*place].take()).collect();
        let (send, parts) = tokio::sync::mpsc::channel(PARTS_WAITING);
        let load = Load { tables, change: self.shared.system_change(key, Vec::new()), parts };
        let reading = {
            let (gate, revision, now_ms) = (self.clone(), revision.clone(), load.change.time_ms);
            tokio::task::spawn_blocking(move || read_all(&gate, &revision.app, now_ms, &send, in_order))
        };
        let loaded = self.shared.store.load(load).await;
        let broken = |_| Errors::of(named.len()).with(0, whole("the file could not be read to its end"));
        let mut errors = reading.await.unwrap_or_else(broken);
        match loaded {
            Ok(counts) if errors.count() == 0 => {
                for collection in &named {
                    self.analyse(Analyse::Table(*collection)).await;
                }
                return Ok((0..named.len()).map(|place| counts[at_of(&places, place)]).collect());
            }
            Ok(_) | Err(LoadError::Stopped) => {}
            Err(LoadError::Unfit(unfit)) => {
                let more = unfit.len() >= MAX_ERRORS;
                for unfit in unfit {
                    let at = unfit.at;
                    errors.push(at, misfit(&revision.app.collections[named[places[at]]], unfit));
                }
                if more {
                    errors.push(0, whole("there may be more rows that do not fit"));
                }
            }
            Err(LoadError::Failed(failure)) => errors.push(0, whole(&format!("the database could not take the rows: {failure}"))),
        }
        Err((0..named.len()).map(|place| errors.sorted(at_of(&places, place))).collect())
    }

    /// Stored rows of a collection in the order of their ids, for export; recorded when the first page is read.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn stored_rows<'a>(&'a self, key: &'a System<Import>, collection: CollectionId, after: &'a str) -> BoxFuture<'a, Result<Vec<Row>, Failure>> {
        Box::pin(async move {
            if after.is_empty() {
                let entry = self.shared.system_entry("export", Some(collection), String::new());
                self.shared.commit(self.shared.system_change(key, vec![entry])).await?;
            }
            self.shared.store.rows_after(collection, after, PART as u32).await
        })
    }

    /// People who may sign in: the first hundred rows of `users` that are not disabled.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn people<'a>(&'a self, _: &'a System<Import>) -> BoxFuture<'a, Result<Vec<Row>, Failure>> {
        Box::pin(async move {
            const MOST: u32 = 100;
            let rows = self.shared.store.rows_after(USERS, "", MOST).await?;
            Ok(rows.into_iter().filter(|row| row[person::DISABLED].as_int() == Some(0)).collect())
        })
    }

    /// Whether a collection has no rows.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn is_empty<'a>(&'a self, _: &'a System<Import>, collection: CollectionId) -> BoxFuture<'a, Result<bool, Failure>> {
        Box::pin(async move { Ok(self.shared.store.rows_after(collection, "", 1).await?.is_empty()) })
    }

    /// Records in the ledger that an operator asked for an explanation that reads rows: about whom, and which row.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn note_explanation<'a>(
        &'a self,
        key: &'a System<Import>,
        who: &'a str,
        collection: CollectionId,
        record: Option<&'a str>,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let mut extra = Vec::from(&b"\"who\":"[..]);
            write_json_text(who, &mut extra);
            let entry = EntryDraft {
                kind: EntryKind::Access,
                record: record.map(Into::into),
                ..self.shared.system_entry("explain", Some(collection), String::from_utf8_lossy(&extra).into_owned())
            };
            self.shared.commit(self.shared.system_change(key, vec![entry])).await.map(|_| ())
        })
    }

    /// One stored row, for explanations to an operator.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn stored_row<'a>(&'a self, _: &'a System<Import>, collection: CollectionId, id: &'a str) -> BoxFuture<'a, Result<Option<Row>, Failure>> {
        Box::pin(async move { self.shared.store.row(collection, id).await })
    }

    /// Whom joining rows put into the group of one row, for explanations to an operator.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn members<'a>(&'a self, _: &'a System<Import>, group: &'a Arc<Group>, of: &'a str) -> BoxFuture<'a, Result<HashSet<Box<str>>, Failure>> {
        self.shared.store.members(group, of)
    }

    /// Writes new digests of all rows of altered collections to the ledger, because a migration changes their canonical form.
    pub(crate) async fn rebase<A: crate::Area>(&self, key: &System<A>, altered: &[String]) -> Result<(), Failure> {
        let revision = self.revision();
        for declared in revision.app.collections.iter().filter(|collection| altered.contains(&collection.name)) {
            let mut after = String::new();
            loop {
                let rows = self.shared.store.rows_after(declared.id, &after, PART as u32).await?;
                let Some(last) = rows.last() else { break };
                after = last[Collection::ID].as_text().unwrap_or_default().to_owned();
                match self.state_rows_anew(key, declared, &rows).await {
                    // While others write, one row at a time.
                    Err(Failure::Missed(_)) => {
                        for row in rows {
                            self.state_row_anew(key, declared, row).await?;
                        }
                    }
                    stated => stated?,
                }
            }
        }
        Ok(())
    }

    /// Writes digests of rows to the ledger, where the rows are still as they were read.
    async fn state_rows_anew<A: crate::Area>(&self, key: &System<A>, declared: &Collection, rows: &[Row]) -> Result<(), Failure> {
        let mut change = self.shared.system_change(key, vec![self.part_entry("rebase", declared, rows.iter())]);
        // Other nodes may write meanwhile.
        if self.shared.store.is_shared() {
            change.steps = rows.iter().map(|row| unchanged(declared, row)).collect();
        }
        self.shared.commit(change).await.map(|_| ())
    }

    async fn state_row_anew<A: crate::Area>(&self, key: &System<A>, declared: &Collection, row: Row) -> Result<(), Failure> {
        let mut row = row;
        loop {
            match self.state_rows_anew(key, declared, std::slice::from_ref(&row)).await {
                Err(Failure::Missed(_)) => {}
                stated => return stated,
            }
            // It was changed or deleted meanwhile.
            match self.shared.store.row(declared.id, row[Collection::ID].as_text().unwrap_or_default()).await? {
                Some(now) => row = now,
                None => return Ok(()),
            }
        }
    }

    /// One entry per part, with the digest of every row.
    pub(crate) fn part_entry<'r>(&self, action: &str, declared: &Collection, rows: impl ExactSizeIterator<Item = &'r Row>) -> EntryDraft {
        let mut extra = format!("\"count\":{},\"rows\":[", rows.len());
        for (at, row) in rows.enumerate() {
            let _ = write!(extra, "{}[\"{}\",\"", if at > 0 { "," } else { "" }, row[0].as_text().unwrap_or_default());
            for byte in self.shared.journal.row_digest(declared, row) {
                let _ = write!(extra, "{byte:02x}");
            }
            extra.push_str("\"]");
        }
        extra.push(']');
        self.shared.system_entry(action, Some(declared.id), extra)
    }
}

/// The position in the load's order of the source at `place`.
fn at_of(places: &[usize], place: usize) -> usize {
    places.iter().position(|named| *named == place).unwrap_or_default()
}

fn unordered(circle: &Circle, app: &App, sources: usize) -> Vec<Vec<ImportError>> {
    let mut errors = vec![Vec::new(); sources];
    errors[0].push(whole(&format!(
        "{} are required and refer to each other in a circle, so no row can come first: make one of them optional, import, and require it again",
        circle.in_words(app)
    )));
    errors
}

/// What is wrong with the rows of each source.
struct Errors(Vec<Vec<ImportError>>);

impl Errors {
    fn of(sources: usize) -> Self {
        Self(vec![Vec::new(); sources])
    }

    fn push(&mut self, at: usize, error: ImportError) {
        self.0[at].push(error);
    }

    fn with(mut self, at: usize, error: ImportError) -> Self {
        self.push(at, error);
        self
    }

    fn count(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    fn sorted(&mut self, at: usize) -> Vec<ImportError> {
        let mut errors = std::mem::take(&mut self.0[at]);
        errors.sort_by_key(|error| (error.line == 0, error.line, error.field));
        errors.dedup();
        errors
    }
}

/// Reads one source after the other. The end is sent when all of them were good.
fn read_all<Rows: Iterator<Item = Result<ImportRow, Vec<ImportError>>>>(
    gate: &Gate,
    app: &App,
    now_ms: i64,
    send: &tokio::sync::mpsc::Sender<Part>,
    sources: Vec<(CollectionId, Rows)>,
) -> Errors {
    let mut errors = Errors::of(sources.len());
    for (at, (collection, rows)) in sources.into_iter().enumerate() {
        let declared = &app.collections[collection];
        let reader = Sender {
            gate,
            at,
            declared,
            now_ms,
            send,
            part: Vec::with_capacity(PART),
            keys: Keys::of(declared),
            most: MAX_ERRORS - errors.count(),
            errors: Vec::new(),
        };
        let (found, goes_on) = reader.run(rows);
        errors.0[at] = found;
        if !goes_on || errors.count() >= MAX_ERRORS {
            return errors;
        }
    }
    if errors.count() == 0 {
        let _ = send.blocking_send(Part::End);
    }
    errors
}

/// Holds a row while it is as it was read.
fn unchanged(declared: &Collection, row: &Row) -> Step {
    let version = Predicate::Compare(Operand::Column(Collection::VERSION), Comparison::Equal, Operand::Constant(row[Collection::VERSION].clone()));
    let id = row[Collection::ID].as_text().unwrap_or_default().into();
    Step::Lock { table: declared.id, id, filter: version, version: None, miss: 0 }
}

fn whole(what: &str) -> ImportError {
    ImportError { line: 0, field: None, what: what.to_owned() }
}

fn misfit(declared: &Collection, unfit: Unfit) -> ImportError {
    let what = match unfit.why {
        Misfit::NotUnique => "another row has the same value".to_owned(),
        Misfit::Dangling(id) => format!("refers to {id}, which is not there"),
    };
    ImportError { line: usize::try_from(unfit.line).unwrap_or(usize::MAX), field: field_of(declared, unfit.column), what }
}

/// The field that a column is of: its own, or that of its folded form.
fn field_of(declared: &Collection, column: usize) -> Option<FieldId> {
    declared.fields.iter().enumerate().position(|(at, field)| at == column || field.shadow == Some(column))
}

/// Turns what is read into parts, and looks at what needs no database.
struct Sender<'a> {
    gate: &'a Gate,
    /// Which of the load's tables.
    at: usize,
    declared: &'a Collection,
    now_ms: i64,
    send: &'a tokio::sync::mpsc::Sender<Part>,
    part: Vec<(u64, Row)>,
    keys: Keys,
    errors: Vec<ImportError>,
    /// The number of errors after which reading ends.
    most: usize,
}

impl Sender<'_> {
    /// Returns what is wrong with the rows, and whether the receiver still takes parts.
    fn run(mut self, rows: impl Iterator<Item = Result<ImportRow, Vec<ImportError>>>) -> (Vec<ImportError>, bool) {
        for row in rows {
            match row {
                Ok(row) => self.row(row),
                Err(errors) => self.errors.extend(errors),
            }
            if self.errors.len() >= self.most {
                self.errors.push(whole("there may be more rows that are wrong: the rest was not read"));
                return (self.errors, false);
            }
            // The receiver takes no more parts: its own error says why.
            if self.part.len() == PART && !self.flush() {
                return (self.errors, false);
            }
        }
        let taken = self.flush();
        (self.errors, taken)
    }

    fn row(&mut self, row: ImportRow) {
        let before = self.errors.len();
        for (at, field) in self.declared.declared() {
            let value = row.values.iter().find(|(named, _)| *named == at).map(|(_, value)| value);
            let empty = value.is_none_or(Value::is_null);
            let defaulted = value.is_none() && field.default_at(self.now_ms, None).is_some();
            if field.required && empty && !defaulted {
                self.errors.push(ImportError { line: row.line, field: Some(at), what: "a value is required".to_owned() });
            }
        }
        let id = row.id.unwrap_or_else(|| uuid::Uuid::now_v7().hyphenated().to_string().into());
        let stored = self.declared.new_row(&id, &row.values, self.now_ms, None);
        if let Some(Broken::Check(check)) = self.declared.check_broken_by(&stored) {
            let check = &self.declared.checks[check];
            self.errors.push(ImportError { line: row.line, field: check.fields.first().copied(), what: check.words() });
        }
        for (column, first) in self.keys.take(&stored, row.line) {
            let what = format!("line {first} has the same value");
            self.errors.push(ImportError { line: row.line, field: field_of(self.declared, column), what });
        }
        if self.errors.len() == before {
            self.part.push((row.line as u64, stored));
        }
    }

    fn flush(&mut self) -> bool {
        if self.part.is_empty() {
            return true;
        }
        let rows = std::mem::replace(&mut self.part, Vec::with_capacity(PART));
        let entry = self.gate.part_entry("import", self.declared, rows.iter().map(|(_, row)| row));
        self.send.blocking_send(Part::Rows(self.at, rows, Box::new(entry))).is_ok()
    }
}

/// The lines of unique values so far, so that an error can name the other line. Beyond the bound only the database checks.
struct Keys {
    columns: Vec<Vec<usize>>,
    seen: Vec<HashMap<[u8; 16], u32>>,
    left: usize,
}

impl Keys {
    fn of(declared: &Collection) -> Self {
        let unique = declared.table.indexes.iter().filter(|index| index.unique).map(|index| index.columns.clone());
        let columns: Vec<Vec<usize>> = std::iter::once(vec![Collection::ID]).chain(unique).collect();
        Self { seen: vec![HashMap::new(); columns.len()], columns, left: MAX_KEYS }
    }

    /// Remembers a row's keys. The columns of which an earlier line has the same value, and that line.
    fn take(&mut self, row: &Row, line: usize) -> Vec<(usize, u32)> {
        let mut collisions = Vec::new();
        for (columns, seen) in self.columns.iter().zip(&mut self.seen) {
            if self.left == 0 || columns.iter().any(|column| row[*column].is_null()) {
                continue;
            }
            let mut key = Vec::new();
            columns.iter().for_each(|column| row[*column].write_canonical(&mut key));
            let mut half = [0; 16];
            half.copy_from_slice(&digest::digest(&digest::SHA256, &key).as_ref()[..16]);
            self.left -= 1;
            if let Some(first) = seen.insert(half, u32::try_from(line).unwrap_or(u32::MAX)) {
                collisions.push((columns.last().copied().unwrap_or_default(), first));
            }
        }
        collisions
    }
}
