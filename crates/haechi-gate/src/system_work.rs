//! Reading and writing system tables: what a feature does with its key.

use crate::{
    gate::Gate,
    memory::Revocation,
    refusal::Refusal,
    shared::Shared,
    system::{Area, System},
    work::{Meaning, Work, draft},
};
use haechi_model::{
    Actor, Aggregate, AggregateFunction, Change, EntryDraft, EntryKind, Failure, FieldId, Miss, Outcome, Predicate, Put, Row, Step, USERS, Value,
};
use haechi_store::Reads;
use std::{marker::PhantomData, sync::Arc};

/// A table that a key of the area opens.
#[derive(Debug)]
pub struct SystemTable<A: Area>(usize, PhantomData<fn() -> A>);

impl<A: Area> Clone for SystemTable<A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A: Area> Copy for SystemTable<A> {}

/// Most groups of a count.
const GROUPS: u32 = 1_000;

/// Which rows of a table are picked.
#[derive(Clone, Debug)]
pub struct Pick {
    /// What must hold of them.
    pub filter: Predicate,
    /// A column with a time that must be over, by the database's clock.
    pub over: Option<usize>,
    /// By which columns the first ones are found.
    pub order: Vec<usize>,
    /// How many at most.
    pub limit: u32,
}

/// Why a system change was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SystemError {
    /// An expectation was not met: the number that the step named.
    Missed(Miss),
    /// A unique value is taken.
    NotUnique {
        /// The name of its index.
        index: Box<str>,
        /// The fields of users that it is over.
        fields: Vec<String>,
    },
    /// The database failed.
    Store(Failure),
}

/// A change of system tables in the making.
pub struct SystemWork<A: Area> {
    shared: Arc<Shared>,
    change: Change,
    revocations: Vec<Revocation>,
    slots: usize,
    area: PhantomData<fn() -> A>,
}

impl Gate {
    /// A table of the area; `None` when the area does not open it, or no feature declared it.
    #[must_use]
    pub fn system_table<A: Area>(&self, _: &System<A>, name: &str) -> Option<SystemTable<A>> {
        let listed = A::TABLES.contains(&name);
        let at = self.shared.tables.iter().position(|known| *known == name)?;
        listed.then_some(SystemTable(at, PhantomData))
    }

    /// One row.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn system_row<A: Area>(&self, table: SystemTable<A>, id: &str) -> Result<Option<Row>, Failure> {
        self.shared.store.row(table.0, id).await
    }

    /// Rows of which a condition holds, in the order of their ids.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn system_find<A: Area>(&self, table: SystemTable<A>, filter: Predicate, limit: u32) -> Result<Vec<Row>, Failure> {
        self.shared.store.find(table.0, filter, Vec::new(), limit).await
    }

    /// Rows of which a condition holds, in the order of these columns.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn system_first<A: Area>(&self, table: SystemTable<A>, filter: Predicate, order: &[usize], limit: u32) -> Result<Vec<Row>, Failure> {
        self.shared.store.find(table.0, filter, order.to_vec(), limit).await
    }

    /// For each group of rows with the same values of these columns, at most a thousand: the values, how many rows they are, and the smallest value of
    /// a column. Rows of which the condition does not hold are left out.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn system_groups<A: Area>(
        &self,
        table: SystemTable<A>,
        filter: Predicate,
        group_by: Vec<usize>,
        least: usize,
    ) -> Result<Vec<Vec<Value>>, Failure> {
        // The value of a group's column is the smallest of its values.
        let groups = group_by.iter().map(|column| (AggregateFunction::Min, Some(*column)));
        let parts = groups.chain([(AggregateFunction::Count, None), (AggregateFunction::Min, Some(least))]).collect();
        let aggregate = Aggregate { collection: table.0, filter, parts, group_by, limit: GROUPS };
        self.shared.store.aggregate(aggregate, Reads::SCAN).await
    }

    /// Whether several nodes may work on the database at once.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.shared.store.is_shared()
    }

    /// Tells of each new row of a table, once it is stored by this node; only one table can be told of.
    pub fn on_insert<A: Area>(&self, table: SystemTable<A>, told: Arc<dyn Fn(&Row) + Send + Sync>) {
        let _ = self.shared.inserted.set((table.0, told));
    }

    /// One row, and the row of another table that one of its columns names.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn system_row_and_owner<A: Area>(
        &self,
        table: SystemTable<A>,
        id: &str,
        column: usize,
        owner: SystemTable<A>,
    ) -> Result<Option<(Row, Option<Row>)>, Failure> {
        self.shared.store.row_and_owner(table.0, id, column, owner.0).await
    }

    /// Starts a change of the area's tables.
    #[must_use]
    pub fn system_work<A: Area>(&self, _: &System<A>, actor: Actor, request_id: &str) -> SystemWork<A> {
        let change = Change {
            claim: None,
            steps: Vec::new(),
            entries: Vec::new(),
            actor: Arc::new(actor),
            request_id: request_id.into(),
            cause: "".into(),
            policy_version: self.shared.revision.load().version.clone(),
            time_ms: self.shared.clock.now_ms(),
        };
        SystemWork { shared: self.shared.clone(), change, revocations: Vec::new(), slots: 0, area: PhantomData }
    }

    /// Records that an area's action was refused; merged like other refusals.
    ///
    /// # Errors
    /// When it cannot be recorded at the moment: that is the answer then.
    pub fn system_refused<A: Area>(&self, _: &System<A>, actor: Actor, action: &'static str, request_id: &str) -> Result<(), Refusal> {
        self.shared.sightings.refused(&Arc::new(actor), action.into(), Some(USERS), request_id.into()).map_err(|_| Refusal::Unrecorded)
    }
}

impl<A: Area> SystemWork<A> {
    /// Adds a row, all columns.
    pub fn insert(&mut self, table: SystemTable<A>, row: Row) -> usize {
        self.step(Step::Insert { table: table.0, row });
        self.slot()
    }

    /// Adds a person with these values; the new id and the row's slot.
    pub fn insert_user(&mut self, values: &[(FieldId, Value)]) -> (Box<str>, usize) {
        let id: Box<str> = uuid::Uuid::now_v7().hyphenated().to_string().into();
        let row = self.shared.revision.load().app.collections[USERS].new_row(&id, values, self.change.time_ms, None);
        self.step(Step::Insert { table: USERS, row });
        (id, self.slot())
    }

    /// Locks a row for which a condition holds.
    pub fn lock(&mut self, table: SystemTable<A>, id: &str, filter: Predicate, miss: Miss) -> usize {
        self.step(Step::Lock { table: table.0, id: id.into(), filter, version: None, miss });
        self.slot()
    }

    /// Changes columns of a row that was locked.
    pub fn update(&mut self, table: SystemTable<A>, id: &str, set: Vec<(usize, Value)>, miss: Miss) -> usize {
        self.step(Step::Update { table: table.0, id: id.into(), set, miss });
        self.slot()
    }

    /// Deletes a row.
    pub fn delete(&mut self, table: SystemTable<A>, id: &str, miss: Miss) {
        self.step(Step::Delete { table: table.0, id: id.into(), miss });
    }

    /// Deletes the rows for which a condition holds.
    pub fn clear(&mut self, table: SystemTable<A>, filter: Predicate) {
        self.step(Step::Clear { table: table.0, filter, miss: None });
    }

    /// Deletes the rows for which a condition holds; there must be one.
    pub fn take_away(&mut self, table: SystemTable<A>, filter: Predicate, miss: Miss) {
        self.step(Step::Clear { table: table.0, filter, miss: Some(miss) });
    }

    /// Changes the first rows for which a condition holds; [`SystemWork::commit_picking`] returns them. `over` names a column with a time that
    /// must have passed by the database's clock.
    pub fn pick(&mut self, table: SystemTable<A>, pick: Pick, set: Vec<(usize, Put)>) {
        let Pick { filter, over, order, limit } = pick;
        self.step(Step::Pick { table: table.0, filter, over, order, limit, set });
    }

    /// Requires fewer than `than` rows for which a condition holds, with the row locked before.
    pub fn fewer(&mut self, table: SystemTable<A>, filter: Predicate, than: u32, miss: Miss) {
        self.step(Step::Fewer { table: table.0, filter, than, miss });
    }

    /// Takes from a leaky bucket.
    pub fn take(&mut self, table: SystemTable<A>, id: &str, cost_ms: i64, depth_ms: i64, miss: Miss) {
        self.step(Step::Take { table: table.0, id: id.into(), cost_ms, depth_ms, miss });
    }

    /// Writes an entry about a person (or nobody). `extra` is the inside of a JSON object.
    pub fn entry(&mut self, action: &str, user: Option<&str>, before: Option<usize>, after: Option<usize>, extra: String) {
        let entry = match user {
            Some(user) => EntryDraft { extra, ..draft(action, USERS, user, before, after) },
            None => self.shared.system_entry(action, None, extra),
        };
        self.change.entries.push(entry);
    }

    /// Writes an entry about something that is neither a person nor a credential: `target` names it. `extra` is the inside of a JSON object.
    pub fn note(&mut self, action: &str, target: &str, extra: String) {
        self.change.entries.push(EntryDraft { extra, ..EntryDraft::new(EntryKind::Change, action, None, Some(target)) });
    }

    /// Forgets a remembered credential once the change is made.
    pub fn revoke_credential(&mut self, id: &str) {
        self.revocations.push(Revocation::Credential(id.into()));
    }

    /// Forgets everything remembered about a user once the change is made.
    pub fn revoke_user(&mut self, id: &str) {
        self.revocations.push(Revocation::User(id.into()));
    }

    /// Forgets everything remembered about anybody once the change is made.
    pub fn revoke_all(&mut self) {
        self.revocations.push(Revocation::All);
    }

    /// Commits: the rows in the slots.
    ///
    /// # Errors
    /// Why nothing was done.
    pub async fn commit(self) -> Result<Vec<Row>, SystemError> {
        self.committed().await.map(|outcome| outcome.slots)
    }

    /// Commits: the rows that were picked.
    ///
    /// # Errors
    /// Why nothing was done.
    pub async fn commit_picking(self) -> Result<Vec<Row>, SystemError> {
        self.committed().await.map(|outcome| outcome.picked)
    }

    async fn committed(self) -> Result<Outcome, SystemError> {
        let Self { shared, change, revocations, .. } = self;
        match shared.commit_revoking(change, revocations).await {
            Ok(outcome) => Ok(outcome),
            Err(Failure::Missed(miss)) => Err(SystemError::Missed(miss)),
            Err(Failure::NotUnique { index, .. }) => {
                let users = &shared.revision.load().app.collections[USERS];
                let fields = crate::work::fields_of_index(users, &index).into_iter().map(|field| users.fields[field].name.clone()).collect();
                Err(SystemError::NotUnique { index, fields })
            }
            Err(other) => Err(SystemError::Store(other)),
        }
    }

    fn step(&mut self, step: Step) {
        self.change.steps.push(step);
    }

    fn slot(&mut self) -> usize {
        self.slots += 1;
        self.slots - 1
    }
}

impl Work {
    /// Adds a change of system tables: both are made, or none. Only code with the key of an area has such a change.
    pub fn also<A: Area>(&mut self, other: SystemWork<A>) {
        let first = self.slots(other.slots);
        for mut step in other.change.steps {
            if let Some(miss) = expectation(&mut step) {
                *miss = self.meaning(Meaning::Beside(*miss));
            }
            self.step(step);
        }
        for mut entry in other.change.entries {
            for slot in [&mut entry.before, &mut entry.after] {
                *slot = slot.map(|slot| slot + first);
            }
            self.entry_beside(entry);
        }
    }
}

/// The number of a step's expectation.
fn expectation(step: &mut Step) -> Option<&mut Miss> {
    match step {
        Step::Lock { miss, .. }
        | Step::Numbered { miss, .. }
        | Step::Update { miss, .. }
        | Step::Delete { miss, .. }
        | Step::Check { miss, .. }
        | Step::Holds { miss, .. }
        | Step::Fewer { miss, .. }
        | Step::Each { miss, .. }
        | Step::Cascade { miss, .. }
        | Step::Take { miss, .. } => Some(miss),
        Step::Clear { miss, .. } => miss.as_mut(),
        Step::Insert { .. } | Step::Pick { .. } => None,
    }
}

impl Shared {
    pub(crate) fn system_change<A: Area>(&self, _: &System<A>, entries: Vec<EntryDraft>) -> Change {
        self.change_of(System::<A>::actor(), entries)
    }
}
