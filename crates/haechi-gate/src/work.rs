//! A change in the making: grants add their steps, then it commits whole or not at all.

use crate::ask::Ask;
use futures_util::future::BoxFuture;
use haechi_model::{
    Change, Claim, Collection, CollectionId, Comparison, EntryDraft, EntryKind, Failure, FieldId, Miss, OnDelete, Operand, Predicate, Row, Select,
    Step, Value,
};
use std::borrow::Cow;

/// What a missed expectation means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The row does not exist, is not in the expected state, or may not be written by the caller.
    Row {
        /// The verb.
        action: Cow<'static, str>,
        /// The collection.
        collection: CollectionId,
        /// The row.
        id: Box<str>,
        /// The version it should have.
        version: Option<i64>,
    },
    /// Policy denies the row as it would become.
    Denied {
        /// The verb.
        action: Cow<'static, str>,
        /// The collection.
        collection: CollectionId,
    },
    /// A reference names a row that does not exist or that the caller may not read.
    Reference(FieldId),
    /// An id of a list names a row that does not exist or that the caller may not read.
    Listed {
        /// The list.
        field: FieldId,
        /// The collection to which it refers.
        to: CollectionId,
        /// The ids that need `read` on their rows.
        ids: Vec<Box<str>>,
        /// Collection, field and row of the list whose ids do not.
        known: Option<(CollectionId, FieldId, Box<str>)>,
    },
    /// The delete would take too many rows with it.
    TooManyChildren,
    /// The row is not among those that were found any more.
    Moved,
    /// A field that is set once would change.
    WriteOnce(FieldId),
    /// The row as it becomes breaks a check.
    Check {
        /// The number of the check.
        check: usize,
        /// The field that is told of it.
        field: FieldId,
    },
    /// An expectation of system tables, by its number there.
    Beside(Miss),
    /// A word would follow one that it may not follow.
    Transition {
        /// The collection.
        collection: CollectionId,
        /// The row.
        id: Box<str>,
        /// The field.
        field: FieldId,
    },
}

/// Why an operation of a change was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteError {
    /// There is no such row, as far as the caller may know.
    NotFound,
    /// The caller may read the row but not do this.
    Forbidden,
    /// The caller may not write this field.
    FieldForbidden(FieldId),
    /// A value is required, and there is no caller to become the owner.
    Required(FieldId),
    /// The field is set when the row is created, and has another value.
    WriteOnce(FieldId),
    /// A new row does not begin with this word.
    NotInitial(FieldId),
    /// The row would break a check.
    Check {
        /// The number of the check.
        check: usize,
        /// A field that the check looks at.
        field: FieldId,
    },
    /// The word does not follow the one that the field has.
    NotATransition {
        /// The field.
        field: FieldId,
        /// The word that it has; `None` when it has none, or the row is gone meanwhile.
        from: Option<Box<str>>,
    },
    /// The row has another version than `If-Match` names.
    VersionMismatch,
    /// Another row has the same unique value; the fields of the index.
    NotUnique(Vec<FieldId>),
    /// The reference names no row that the caller may read.
    Reference(FieldId),
    /// An id of the list names no row that the caller may read.
    Listed {
        /// The list.
        field: FieldId,
        /// The id.
        id: Box<str>,
    },
    /// Other rows still refer to the row.
    Referenced(Vec<String>),
    /// The delete would take more than the bound with it.
    TooManyChildren,
    /// The row is not among those that were found any more: look again.
    Moved,
    /// The idempotency key was used for another request.
    KeyReused,
    /// What was expected of system tables does not hold: the number of the expectation. Nothing of it is for clients.
    Beside(Miss),
    /// The database failed.
    Store(Failure),
}

/// A change that was not done: which operation, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkError {
    /// Number of the operation, from 0.
    pub operation: usize,
    /// Why.
    pub error: WriteError,
}

/// What was done, or what an earlier request with the same key did.
pub type Committed = (Vec<Done>, Option<Box<str>>);

/// What one operation did.
#[derive(Clone, Debug)]
pub struct Done {
    /// The collection.
    pub collection: CollectionId,
    /// The row.
    pub id: Box<str>,
    /// The row as it is now; `None` when deleted.
    pub row: Option<Row>,
}

/// A change of a row that one of two ways allows: a permit that held of the row as it was, or another of the row as it becomes.
pub(crate) struct HandOver {
    pub(crate) collection: CollectionId,
    pub(crate) id: Box<str>,
    /// The misses of the steps that lock the row and that check it afterwards.
    pub(crate) lock: Miss,
    pub(crate) check: Miss,
    /// What must hold of the row as it was, for the first way.
    pub(crate) before: Predicate,
    /// What must hold of the row as it becomes then.
    pub(crate) after: Predicate,
}

/// A change in the making.
pub struct Work {
    ask: Ask,
    change: Change,
    slots: usize,
    operation: usize,
    /// Which operation each step belongs to.
    step_operations: Vec<usize>,
    /// Operation and meaning of each miss.
    meanings: Vec<(usize, Meaning)>,
    /// What each operation will have done: collection, id and slot of the row after.
    results: Vec<(CollectionId, Box<str>, Option<usize>)>,
    hand_overs: Vec<HandOver>,
}

impl Ask {
    /// Starts a change that this caller makes.
    #[must_use]
    pub fn work(&self) -> Work {
        Work::new(self.clone())
    }

    /// The version of a row, when the row exists and a condition holds for it.
    pub(crate) async fn version_where(&self, collection: CollectionId, id: &str, rows: Predicate) -> Result<Option<i64>, Failure> {
        let one = Predicate::Compare(Operand::Column(Collection::ID), Comparison::Equal, Operand::Constant(Value::text(id)));
        let filter = Predicate::all([one, rows]);
        let select = Select::new(collection, filter, 1);
        Ok(self.shared.store.select(select, self.reads(false, "read", collection)).await?.versions.first().copied())
    }
}

impl Work {
    pub(crate) fn new(ask: Ask) -> Self {
        let change = Change {
            claim: None,
            steps: Vec::with_capacity(4),
            entries: Vec::with_capacity(1),
            actor: ask.caller.actor().clone(),
            request_id: ask.request_id.clone(),
            cause: ask.cause.clone().unwrap_or_default(),
            policy_version: ask.revision.version.clone(),
            time_ms: ask.now_ms,
        };
        Self { ask, change, slots: 0, operation: 0, step_operations: Vec::new(), meanings: Vec::new(), results: Vec::new(), hand_overs: Vec::new() }
    }

    /// Makes the whole change happen at most once for this key.
    pub fn claim(&mut self, claim: Claim) {
        self.change.claim = Some(claim);
    }

    /// What the operations so far write, as `collection/id` separated by blanks: the result of a claim.
    #[must_use]
    pub fn results(&self) -> Box<str> {
        let target = |(collection, id, _): &(CollectionId, Box<str>, Option<usize>)| format!("{}/{id}", self.ask.collection(*collection).name);
        self.results.iter().map(target).collect::<Vec<_>>().join(" ").into()
    }

    /// How many operations there are so far: the number of the next.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.operation
    }

    pub(crate) fn slot(&mut self) -> usize {
        self.slots += 1;
        self.slots - 1
    }

    pub(crate) fn step(&mut self, step: Step) {
        self.change.steps.push(step);
        self.step_operations.push(self.operation);
    }

    /// Puts a check before the operation's statement that writes, so that its own miss comes first.
    pub(crate) fn step_before_write(&mut self, step: Step) {
        let writes = |step: &Step| matches!(step, Step::Insert { .. } | Step::Numbered { .. } | Step::Update { .. });
        let at = self.change.steps.iter().rposition(writes).unwrap_or(self.change.steps.len());
        self.change.steps.insert(at, step);
        self.step_operations.insert(at, self.operation);
    }

    pub(crate) fn meaning(&mut self, meaning: Meaning) -> Miss {
        self.meanings.push((self.operation, meaning));
        Miss::try_from(self.meanings.len() - 1).unwrap_or(Miss::MAX)
    }

    /// Room for the rows of further slots; the number of the first.
    pub(crate) fn slots(&mut self, more: usize) -> usize {
        self.slots += more;
        self.slots - more
    }

    pub(crate) fn entry_beside(&mut self, entry: EntryDraft) {
        self.change.entries.push(entry);
    }

    pub(crate) fn hands_over(&mut self, hand_over: HandOver) {
        self.hand_overs.push(hand_over);
    }

    /// Chooses the way of each change that has two. The steps check it again, so what others change meanwhile can only refuse it.
    async fn choose_ways(&mut self) -> Result<(), Failure> {
        for way in std::mem::take(&mut self.hand_overs) {
            if way.before == Predicate::False || self.ask.version_where(way.collection, &way.id, way.before.clone()).await?.is_none() {
                continue;
            }
            for step in &mut self.change.steps {
                match step {
                    Step::Lock { filter, miss, .. } if *miss == way.lock => {
                        *filter = Predicate::all([std::mem::replace(filter, Predicate::True), way.before.clone()])
                    }
                    Step::Check { filter, miss, .. } if *miss == way.check => *filter = way.after.clone(),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Whether an earlier operation of this change makes the row.
    pub(crate) fn makes(&self, table: usize, id: &str) -> bool {
        self.change.steps.iter().any(|step| match step {
            Step::Insert { table: made, row } | Step::Numbered { table: made, row, .. } => *made == table && row[0].as_text() == Some(id),
            _ => false,
        })
    }

    /// Ends an operation with its entry.
    pub(crate) fn entry(&mut self, action: &str, collection: CollectionId, id: &str, before: Option<usize>, after: Option<usize>) {
        self.change.entries.push(draft(action, collection, id, before, after));
        self.results.push((collection, id.into(), after));
        self.operation += 1;
    }

    /// Commits. Nothing is done when this fails, unless the failure is `Unknown`.
    ///
    /// # Errors
    /// The operation that failed and why.
    pub fn commit(mut self) -> BoxFuture<'static, Result<Committed, WorkError>> {
        Box::pin(async move {
            if !self.hand_overs.is_empty() {
                self.choose_ways().await.map_err(|failure| WorkError { operation: 0, error: WriteError::Store(failure) })?;
            }
            let Self { ask, change, step_operations, meanings, results, .. } = self;
            ask.begins_change();
            let outcome = match ask.shared.commit(change).await {
                Ok(outcome) => outcome,
                Err(failure) => return Err(explain(&ask, failure, &step_operations, &meanings, &results).await),
            };
            if outcome.replayed.is_some() {
                return Ok((Vec::new(), outcome.replayed));
            }
            let mut slots: Vec<Option<Row>> = outcome.slots.into_iter().map(Some).collect();
            let done = |(collection, id, after): (CollectionId, Box<str>, Option<usize>)| Done {
                collection,
                id,
                row: after.and_then(|slot| slots.get_mut(slot)?.take()),
            };
            Ok((results.into_iter().map(done).collect(), None))
        })
    }
}

async fn explain(
    ask: &Ask,
    failure: Failure,
    step_operations: &[usize],
    meanings: &[(usize, Meaning)],
    results: &[(CollectionId, Box<str>, Option<usize>)],
) -> WorkError {
    let operation_of = |step: usize| step_operations.get(step).copied().unwrap_or_default();
    let (operation, error) = match failure {
        Failure::Missed(miss) => match meanings.get(usize::from(miss)) {
            Some((operation, meaning)) => (*operation, missed(ask, meaning).await),
            None => (0, WriteError::Store(Failure::Broken)),
        },
        Failure::NotUnique { index, step } => {
            let operation = operation_of(step);
            let fields = results.get(operation).map(|(collection, ..)| index_fields(ask, *collection, &index)).unwrap_or_default();
            (operation, WriteError::NotUnique(fields))
        }
        Failure::Referenced { step } => {
            let operation = operation_of(step);
            let by = results.get(operation).map(|(collection, ..)| referrers(ask, *collection)).unwrap_or_default();
            (operation, WriteError::Referenced(by))
        }
        Failure::Dangling { step } => (operation_of(step), WriteError::Store(Failure::Dangling { step })),
        Failure::KeyReused => (0, WriteError::KeyReused),
        other => (0, WriteError::Store(other)),
    };
    WorkError { operation, error }
}

async fn missed(ask: &Ask, meaning: &Meaning) -> WriteError {
    match meaning {
        Meaning::Row { action, collection, id, version } => second_look(ask, action.clone(), *collection, id, *version).await,
        Meaning::Denied { action, collection } => {
            ask.refuse(action.clone(), Some(*collection), None);
            WriteError::Forbidden
        }
        Meaning::Reference(field) => WriteError::Reference(*field),
        Meaning::Listed { field, to, ids, known } => match unreadable(ask, *to, ids, known.as_ref()).await {
            Ok(id) => WriteError::Listed { field: *field, id },
            Err(failure) => WriteError::Store(failure),
        },
        Meaning::TooManyChildren => WriteError::TooManyChildren,
        Meaning::Moved => WriteError::Moved,
        Meaning::Beside(miss) => WriteError::Beside(*miss),
        Meaning::WriteOnce(field) => WriteError::WriteOnce(*field),
        Meaning::Check { check, field } => WriteError::Check { check: *check, field: *field },
        // It was locked, so the caller may change it, and the class of the field is one that `read` covers.
        Meaning::Transition { collection, id, field } => match ask.shared.store.row(*collection, id).await {
            Ok(row) => WriteError::NotATransition { field: *field, from: row.and_then(|row| row[*field].as_text().map(Into::into)) },
            Err(failure) => WriteError::Store(failure),
        },
    }
}

/// The first id of a list that names no row which the caller may read, and that the row's list does not hold already.
async fn unreadable(ask: &Ask, to: CollectionId, ids: &[Box<str>], known: Option<&(CollectionId, FieldId, Box<str>)>) -> Result<Box<str>, Failure> {
    let these = Predicate::OneOf(Operand::Column(Collection::ID), ids.iter().map(|id| Value::Text(id.clone())).collect());
    let most = u32::try_from(ids.len()).unwrap_or(u32::MAX);
    let select = Select::new(to, Predicate::all([these, ask.readable(to)]), most);
    let mut fine = ask.shared.store.select(select, ask.reads(false, "read", to)).await?.ids;
    if let Some((collection, field, id)) = known {
        let row = ask.shared.store.row(*collection, id).await?;
        fine.extend(row.map(|row| haechi_model::references(&row[*field])).unwrap_or_default());
    }
    // All may be fine by now, when somebody changed them meanwhile.
    Ok(ids.iter().find(|id| !fine.contains(id)).or(ids.first()).cloned().unwrap_or_default())
}

/// Looks again under `read`: no row is 404, another version 412, else 403.
async fn second_look(ask: &Ask, action: Cow<'static, str>, collection: CollectionId, id: &str, version: Option<i64>) -> WriteError {
    let rows = ask.readable(collection);
    if rows == Predicate::False {
        return WriteError::NotFound;
    }
    match ask.version_where(collection, id, rows).await {
        Err(failure) => WriteError::Store(failure),
        Ok(found) => match (found, version) {
            (None, _) => WriteError::NotFound,
            (Some(found), Some(wanted)) if found != wanted => WriteError::VersionMismatch,
            _ => {
                ask.refuse(action, Some(collection), Some(id));
                WriteError::Forbidden
            }
        },
    }
}

/// The references that keep a row, or one that would go with it, as `collection.field`: those of collections that the caller may read.
fn referrers(ask: &Ask, collection: CollectionId) -> Vec<String> {
    let (mut todo, mut seen, mut found) = (vec![collection], vec![collection], Vec::new());
    while let Some(target) = todo.pop() {
        for (from, field, on_delete) in ask.app().referring(target) {
            match on_delete {
                OnDelete::Restrict if ask.readable(from.id) != Predicate::False => found.push(format!("{}.{}", from.name, from.fields[field].name)),
                OnDelete::Cascade if !seen.contains(&from.id) => {
                    seen.push(from.id);
                    todo.push(from.id);
                }
                _ => {}
            }
        }
    }
    found.sort_unstable();
    found
}

fn index_fields(ask: &Ask, collection: CollectionId, index: &str) -> Vec<FieldId> {
    fields_of_index(ask.collection(collection), index)
}

/// The fields that an index of a collection is over.
pub(crate) fn fields_of_index(collection: &Collection, index: &str) -> Vec<FieldId> {
    let Some(index) = collection.table.indexes.iter().find(|found| found.name == index) else { return Vec::new() };
    collection.fields_of(index)
}

pub(crate) fn draft(action: &str, collection: CollectionId, id: &str, before: Option<usize>, after: Option<usize>) -> EntryDraft {
    EntryDraft { before, after, ..EntryDraft::new(EntryKind::Change, action, Some(collection), Some(id)) }
}
