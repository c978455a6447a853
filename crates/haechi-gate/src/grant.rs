//! Grants: proof that policy said yes. Statements about collections are made here and nowhere else.

#[cfg(haechi_unsafe_lab)]
use crate::lab::{Hole, planted};
use crate::{
    ask::{Ask, Refusal, with_followed},
    work::{Meaning, Work, WriteError},
};
use haechi_model::{
    Aggregate, AggregateFunction, Collection, CollectionId, EntryDraft, EntryKind, Failure, FieldId, FieldType, OnDelete, Operand, Order, Output,
    PerParent, Predicate, Row, RowPage, Select, Shape, Step, USERS, Value,
};
use std::marker::PhantomData;

/// A verb that a grant can be for. Sealed: nobody else adds one.
pub trait Verb: sealed::Sealed {
    /// Its name among the actions.
    const NAME: &'static str;
    #[doc(hidden)]
    fn rows(ask: &Ask, collection: CollectionId) -> Predicate;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! verbs {
    ($($(#[$doc:meta])* $verb:ident $name:literal |$ask:ident, $collection:ident| $rows:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub enum $verb {}
        impl sealed::Sealed for $verb {}
        impl Verb for $verb {
            const NAME: &'static str = $name;
            fn rows($ask: &Ask, $collection: CollectionId) -> Predicate {
                $rows
            }
        }
    )*};
}

/// A verb on rows implies `read`.
fn with_read(ask: &Ask, verb: usize, collection: CollectionId) -> Predicate {
    let rows = ask.bind(verb, collection);
    if rows == Predicate::False { rows } else { Predicate::all([rows, ask.readable(collection)]) }
}

verbs! {
    /// Listing rows.
    List "list" |ask, collection| with_read(ask, ask.revision.verbs.list, collection);
    /// Reading rows by id.
    Read "read" |ask, collection| ask.readable(collection);
    /// Adding a row.
    Create "create" |ask, collection| ask.bind(ask.revision.verbs.create, collection);
    /// Changing a row.
    Update "update" |ask, collection| with_read(ask, ask.revision.verbs.update, collection);
    /// Being told of changes of rows.
    Watch "watch" |ask, collection| with_read(ask, ask.revision.verbs.watch, collection);
    /// Deleting a row.
    Delete "delete" |ask, collection| with_read(ask, ask.revision.verbs.delete, collection);
}

/// Proof that policy said yes to a verb on a collection, for some rows.
///
/// Grants to write are used up by their statement; they can neither be cloned nor made anywhere but in the gate.
pub struct Grant<A: Verb> {
    ask: Ask,
    collection: CollectionId,
    rows: Predicate,
    verb: PhantomData<fn() -> A>,
}

/// What of a collection is wanted.
#[derive(Clone, Debug)]
pub struct ListQuery {
    /// Fields of the reply; all when `None`.
    pub fields: Option<Vec<FieldId>>,
    /// A condition on the row's own columns.
    pub filter: Predicate,
    /// Order by these fields, then by id.
    pub order: Vec<(FieldId, bool)>,
    /// The order's values where the page before ended.
    pub after: Option<Vec<Value>>,
    /// Most rows.
    pub limit: u32,
    /// References whose ids are wanted beside the bytes.
    pub follow: Vec<FieldId>,
    /// Whether this is part of an export: a larger budget.
    pub scan: bool,
    /// How each row is written.
    pub shape: Shape,
    /// Whether the place of every row in the order is wanted beside the bytes.
    pub places: bool,
    /// A page for each of these rows, of those that refer to it, instead of one page.
    pub per: Option<PerParent>,
    /// How many such queries share the bytes that the reply has left.
    pub sharing: usize,
}

impl ListQuery {
    /// All rows, all fields, as records, in the order of their ids.
    #[must_use]
    pub fn new(limit: u32) -> Self {
        Self {
            fields: None,
            filter: Predicate::True,
            order: Vec::new(),
            after: None,
            limit,
            follow: Vec::new(),
            scan: false,
            shape: Shape::Record,
            places: false,
            per: None,
            sharing: 1,
        }
    }
}

/// What of a row, or of several that are known by id, is wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted<'a> {
    /// Fields of the reply; all when `None`.
    pub fields: Option<&'a [FieldId]>,
    /// References whose ids are wanted beside the bytes.
    pub follow: &'a [FieldId],
    /// How each row is written.
    pub shape: Shape,
}

/// Why rows could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// Policy says no.
    Refused(Refusal),
    /// The query uses a field that the caller may not read.
    FieldRefused(FieldId),
    /// The query looks at more than the row itself.
    NotLocal,
    /// The reply would be longer than `page_bytes`, and has no place where it could end early.
    TooLong,
    /// The access log is full; nothing personal is shown until it drains.
    AccessFull,
    /// The database failed.
    Store(Failure),
}

impl<A: Verb> Grant<A> {
    pub(crate) fn new(ask: Ask, collection: CollectionId, rows: Predicate) -> Self {
        Self { ask, collection, rows, verb: PhantomData }
    }

    /// The collection it is for.
    #[must_use]
    pub fn collection(&self) -> &Collection {
        self.ask.collection(self.collection)
    }

    pub(crate) fn into_parts(self) -> (Ask, CollectionId) {
        (self.ask, self.collection)
    }

    pub(crate) fn into_rows(self) -> (Ask, CollectionId, Predicate) {
        (self.ask, self.collection, self.rows)
    }

    /// The fields to show and how each is masked; `id` and `version` are always read.
    fn outputs(&self, fields: Option<&[FieldId]>, follow: &[FieldId]) -> Vec<Output> {
        let masks = self.ask.masks(self.collection, &self.rows);
        let fields = fields.map(|fields| with_followed(fields, follow));
        self.ask.outputs(self.collection, &masks, fields.as_deref())
    }

    /// `used`: guarded fields that the query looks at; using them is seeing them, also where no row is found.
    async fn select(&self, select: Select, scan: bool, action: &'static str, used: &[FieldId]) -> Result<RowPage, ReadError> {
        #[cfg(haechi_unsafe_lab)]
        let select = match &select.shape {
            Shape::Object(_) if planted(Hole::UnmaskedObjects) => {
                let outputs = select.outputs.iter().map(|output| Output { mask: haechi_model::Mask::Shown, ..output.clone() }).collect();
                Select { outputs, ..select }
            }
            Shape::Object(_) if planted(Hole::UnseenObjects) => {
                return self.ask.gate.store.select(select, self.ask.reads(scan, action, self.collection)).await.map_err(ReadError::Store);
            }
            _ => select,
        };
        let fields: Vec<FieldId> = select.outputs.iter().map(|output| output.field).collect();
        let page = self.ask.gate.store.select(select, self.ask.reads(scan, action, self.collection)).await.map_err(ReadError::Store)?;
        let shown: Vec<FieldId> = fields.iter().enumerate().filter(|(at, _)| page.shown >> at & 1 == 1).map(|(_, field)| *field).collect();
        let shown: Vec<FieldId> = shown.into_iter().chain(used.iter().copied()).collect();
        self.ask.sight(action, self.collection, &shown, &page.ids, !used.is_empty())?;
        let _ = self.ask.shows(page.bytes.len());
        Ok(page)
    }
}

impl Grant<List> {
    /// Rows as finished JSON.
    ///
    /// # Errors
    /// When the query uses a field that the caller may not read, or the database cannot be reached.
    pub async fn list(&self, query: ListQuery) -> Result<RowPage, ReadError> {
        if !query.filter.is_local() {
            return Err(ReadError::NotLocal);
        }
        let names = |at| query.order.iter().any(|(used, _)| *used == at) || query.per.as_ref().is_some_and(|per| per.column == at);
        let (filter, used) = self.ask.usable((self.collection, &self.rows, List::NAME), query.filter, names)?;
        let column = |field: FieldId| self.collection().fields[field].shadow.unwrap_or(field);
        let mut order: Vec<Order> = query.order.iter().map(|(field, descending)| Order { column: column(*field), descending: *descending }).collect();
        if !order.iter().any(|part| part.column == Collection::ID) {
            order.push(Order { column: Collection::ID, descending: order.last().is_some_and(|last| last.descending) });
        }
        let select = Select {
            outputs: self.outputs(query.fields.as_deref(), &query.follow),
            shape: query.shape,
            order,
            after: query.after,
            follow: query.follow,
            places: query.places,
            per: query.per,
            ..Select::new(self.collection, filter, query.limit)
        };
        let many = select.per.is_some();
        let select = Select { bytes: self.ask.room() / query.sharing.max(1), ..select };
        let page = self.select(select, query.scan, "list", &used).await?;
        if page.cut && many { Err(ReadError::TooLong) } else { Ok(page) }
    }

    /// A computation over the rows; each of its fields must be readable in every row that it is taken from.
    ///
    /// # Errors
    /// When it uses a field that the caller may not read, or the database cannot be reached.
    pub async fn aggregate(&self, filter: Predicate, parts: Vec<(AggregateFunction, Option<FieldId>)>) -> Result<Vec<Value>, ReadError> {
        if !filter.is_local() {
            return Err(ReadError::NotLocal);
        }
        let names = |at| parts.iter().any(|(_, field)| *field == Some(at));
        let (filter, used) = self.ask.usable((self.collection, &self.rows, List::NAME), filter, names)?;
        let aggregate = Aggregate { collection: self.collection, filter, parts };
        let values = self.ask.gate.store.aggregate(aggregate, self.ask.reads(true, List::NAME, self.collection)).await.map_err(ReadError::Store)?;
        self.ask.sight(List::NAME, self.collection, &used, &[], !used.is_empty())?;
        Ok(values)
    }
}

impl Grant<Read> {
    /// One row, when there is one that the caller may read.
    ///
    /// # Errors
    /// When the database cannot be reached or the access log is full.
    pub async fn get(&self, id: &str, wanted: Wanted<'_>) -> Result<Option<RowPage>, ReadError> {
        let one = Predicate::Compare(Operand::Column(Collection::ID), haechi_model::Comparison::Equal, Operand::Constant(Value::text(id)));
        let page = self.fetch(one, 1, wanted).await?;
        Ok((!page.ids.is_empty()).then_some(page))
    }

    /// Those of the rows that there are and that the caller may read.
    ///
    /// # Errors
    /// When the database cannot be reached or the access log is full.
    pub async fn many(&self, ids: &[Box<str>], wanted: Wanted<'_>) -> Result<RowPage, ReadError> {
        let some = Predicate::OneOf(Operand::Column(Collection::ID), ids.iter().map(|id| Value::Text(id.clone())).collect());
        let page = self.fetch(some, u32::try_from(ids.len()).unwrap_or(u32::MAX), wanted).await?;
        if page.cut { Err(ReadError::TooLong) } else { Ok(page) }
    }

    async fn fetch(&self, which: Predicate, limit: u32, wanted: Wanted<'_>) -> Result<RowPage, ReadError> {
        #[cfg(haechi_unsafe_lab)]
        let which = if planted(Hole::UnguardedMessages) && matches!(wanted.shape, Shape::Message(_)) {
            let select = Select { outputs: self.outputs(wanted.fields, &[]), shape: wanted.shape, ..Select::new(self.collection, which, limit) };
            return self.select(select, false, Read::NAME, &[]).await;
        } else {
            which
        };
        let filter = Predicate::all([which, self.rows.clone()]);
        let select = Select {
            outputs: self.outputs(wanted.fields, wanted.follow),
            shape: wanted.shape,
            follow: wanted.follow.to_vec(),
            bytes: self.ask.room(),
            ..Select::new(self.collection, filter, limit)
        };
        self.select(select, false, Read::NAME, &[]).await
    }
}

impl Grant<Create> {
    /// Adds a row with these values; returns its id.
    ///
    /// # Errors
    /// When policy denies the row as it would be, or a reference names a row that the caller may not read.
    pub fn insert(self, work: &mut Work, values: Vec<(FieldId, Value)>) -> Result<Box<str>, WriteError> {
        let id: Box<str> = uuid::Uuid::now_v7().hyphenated().to_string().into();
        let collection = self.collection();
        let owner = (self.ask.caller.kind() == crate::CallerKind::User).then(|| self.ask.caller.id());
        let row = fresh_row(collection, &id, &values, self.ask.now_ms, owner);
        if let Some((missing, _)) = collection.fields.iter().enumerate().find(|(at, field)| field.required && row[*at].is_null()) {
            return Err(WriteError::Required(missing));
        }
        let named: Vec<FieldId> = values.iter().map(|(field, _)| *field).collect();
        let allowed = self.with_classes(&named)?;
        let checked_here = allowed.is_local();
        if checked_here && !allowed.holds(&row, &crate::ask::NoRows) {
            self.ask.refuse(Create::NAME, Some(self.collection), None);
            return Err(WriteError::Forbidden);
        }
        if !checked_here {
            // Before the row is written, so that a refusal never depends on what unique values others have.
            let miss = work.meaning(Meaning::Denied { action: Create::NAME.into(), collection: self.collection });
            work.step(Step::Holds { filter: allowed.of_row(&row), miss });
        }
        let after = work.slot();
        work.step(Step::Insert { table: self.collection, row: row.clone() });
        let collection = self.ask.collection(self.collection);
        let set: Vec<(FieldId, Value)> = named.iter().map(|field| (*field, row[*field].clone())).collect();
        references(&self.ask, collection, &set, work)?;
        work.entry(Create::NAME, self.collection, &id, None, Some(after));
        Ok(id)
    }
}

impl Grant<Update> {
    /// Changes fields of a row. `version`: only when the row has it.
    ///
    /// # Errors
    /// When policy denies the fields whatever the row, or a reference names a row that the caller may not read.
    pub fn update(self, work: &mut Work, id: &str, values: Vec<(FieldId, Value)>, version: Option<i64>) -> Result<(), WriteError> {
        let named: Vec<FieldId> = values.iter().map(|(field, _)| *field).collect();
        let allowed = self.with_classes(&named)?;
        let id: Box<str> = id.into();
        let miss = work.meaning(Meaning::Row { action: Update::NAME.into(), collection: self.collection, id: id.clone(), version });
        let before = work.slot();
        work.step(Step::Lock { table: self.collection, id: id.clone(), filter: allowed.clone(), version, miss });
        let collection = self.ask.collection(self.collection);
        let set = columns_set(collection, &values, self.ask.now_ms);
        let changed: Vec<usize> = set.iter().map(|(column, _)| *column).chain([Collection::VERSION]).collect();
        let after = work.slot();
        work.step(Step::Update { table: self.collection, id: id.clone(), set, miss });
        let after_image = Predicate::all([self.ask.bind(self.ask.revision.verbs.update, self.collection), allowed]);
        let after_image = if after_image.reads_any(&changed) { self.after_image(&named)? } else { Predicate::True };
        if after_image != Predicate::True {
            let miss = work.meaning(Meaning::Denied { action: Update::NAME.into(), collection: self.collection });
            work.step(Step::Check { table: self.collection, id: id.clone(), filter: after_image, miss });
        }
        references(&self.ask, collection, &values, work)?;
        work.entry(Update::NAME, self.collection, &id, Some(before), Some(after));
        Ok(())
    }

    /// What must hold of the row as it becomes: `update` and the classes written, not `read`.
    fn after_image(&self, named: &[FieldId]) -> Result<Predicate, WriteError> {
        let update = self.ask.bind(self.ask.revision.verbs.update, self.collection);
        Ok(Predicate::all([update, class_condition(&self.ask, self.collection, named)?]))
    }
}

impl Grant<Delete> {
    /// Deletes a row, and what refers to it as the folder declares.
    pub fn delete(self, work: &mut Work, id: &str, version: Option<i64>) {
        let id: Box<str> = id.into();
        let miss = work.meaning(Meaning::Row { action: Delete::NAME.into(), collection: self.collection, id: id.clone(), version });
        let before = work.slot();
        work.step(Step::Lock { table: self.collection, id: id.clone(), filter: self.rows.clone(), version, miss });
        if takes_more(self.ask.app(), self.collection) {
            let miss = work.meaning(Meaning::TooManyChildren);
            work.step(Step::Cascade { table: self.collection, id: id.clone(), miss });
        }
        work.step(Step::Delete { table: self.collection, id: id.clone(), miss });
        work.entry(Delete::NAME, self.collection, &id, Some(before), None);
    }
}

impl<A: Verb> Grant<A> {
    /// The grant's rows, narrowed to those in which the named fields' classes may be written.
    fn with_classes(&self, named: &[FieldId]) -> Result<Predicate, WriteError> {
        Ok(Predicate::all([self.rows.clone(), class_condition(&self.ask, self.collection, named)?]))
    }
}

/// The columns that a change of these fields sets, in one order whatever their order: equal changes are equal statements.
pub(crate) fn columns_set(collection: &Collection, values: &[(FieldId, Value)], now_ms: i64) -> Vec<(usize, Value)> {
    let mut set: Vec<(usize, Value)> = Vec::with_capacity(values.len() + 2);
    for (field, value) in values {
        if let Some(shadow) = collection.fields[*field].shadow {
            set.push((shadow, collection.fields[*field].ty.folded(value.clone())));
        }
    }
    set.extend(values.iter().cloned());
    set.sort_by_key(|(column, _)| *column);
    set.push((Collection::UPDATE_TIME, Value::Int(now_ms)));
    set
}

/// Where the classes of the named fields may be written.
pub(crate) fn class_condition(ask: &Ask, collection: CollectionId, named: &[FieldId]) -> Result<Predicate, WriteError> {
    let mut parts = Vec::new();
    for field in named {
        // What the server sets is nobody's to write, also not by code that holds a grant.
        if ask.collection(collection).fields[*field].read_only {
            return Err(WriteError::FieldForbidden(*field));
        }
        let Some((_, write)) = ask.revision.classes[ask.collection(collection).fields[*field].class] else { continue };
        let condition = if ask.caller.is_anonymous() { Predicate::False } else { ask.bind(write, collection) };
        if condition == Predicate::False {
            let class = &ask.app().classes[ask.collection(collection).fields[*field].class];
            ask.refuse(format!("write_{}", class.name), Some(collection), None);
            return Err(WriteError::FieldForbidden(*field));
        }
        parts.push(condition);
    }
    Ok(Predicate::all(parts))
}

/// Writing a reference needs `read` on its target; hidden and missing give the same error.
pub(crate) fn references(ask: &Ask, collection: &Collection, values: &[(FieldId, Value)], work: &mut Work) -> Result<(), WriteError> {
    for (field, value) in values {
        let (FieldType::Ref { to, .. }, Value::Text(id)) = (&collection.fields[*field].ty, value) else { continue };
        let self_reference = *to == USERS && !ask.caller.is_anonymous() && **id == *ask.caller.id();
        if self_reference || work.makes(*to, id) {
            continue;
        }
        let readable = ask.readable(*to);
        if readable == Predicate::False {
            return Err(WriteError::Reference(*field));
        }
        let miss = work.meaning(Meaning::Reference(*field));
        // Before the statement that writes it, so that a missing row is this miss and not the database's own error.
        work.step_before_write(Step::Check { table: *to, id: id.clone(), filter: readable, miss });
    }
    Ok(())
}

/// A row with defaults, owner and shadow columns filled in.
pub(crate) fn fresh_row(collection: &Collection, id: &str, values: &[(FieldId, Value)], now_ms: i64, owner: Option<&str>) -> Row {
    let mut row: Row = collection.table.columns.iter().map(|column| column.default.clone().unwrap_or(Value::Null)).collect();
    row[Collection::ID] = Value::text(id);
    row[Collection::CREATE_TIME] = Value::Int(now_ms);
    row[Collection::UPDATE_TIME] = Value::Int(now_ms);
    row[Collection::VERSION] = Value::Int(1);
    for (at, field) in collection.declared() {
        if let Some(value) = field.default_at(now_ms) {
            row[at] = value;
        }
    }
    if let (Some(field), Some(owner)) = (collection.owner, owner) {
        row[field] = Value::text(owner);
    }
    for (field, value) in values {
        row[*field] = value.clone();
    }
    for (at, field) in collection.fields.iter().enumerate() {
        if let Some(shadow) = field.shadow {
            row[shadow] = field.ty.folded(row[at].clone());
        }
    }
    row
}

/// Whether rows may go with one of a collection, or be detached from it.
fn takes_more(app: &haechi_model::App, collection: CollectionId) -> bool {
    app.referrers(collection).any(|(referring, field)| match referring.fields[field].ty {
        FieldType::Ref { on_delete, .. } => on_delete != OnDelete::Restrict,
        _ => false,
    })
}

pub(crate) fn draft(action: &str, collection: CollectionId, id: &str, before: Option<usize>, after: Option<usize>) -> EntryDraft {
    EntryDraft { before, after, ..EntryDraft::new(EntryKind::Change, action, Some(collection), Some(id)) }
}
