//! Reading by a grant: pages, single rows, computations, and a written row as its writer may see it.

use super::{Delete, Export, Grant, List, Read, Verb};
#[cfg(haechi_unsafe_lab)]
use crate::lab::{Hole, planted};
use crate::{
    ask::Ask,
    refusal::ReadError,
    show::{Asked, View, with_followed},
    work::Done,
};
use haechi_model::filter::{MAX_STEPS, is_filter};
use haechi_model::{
    Aggregate, AggregateFunction, Alone, Change, Collection, CollectionId, EntryDraft, EntryKind, FieldId, FieldType, Mask, OnDelete, Operand, Order,
    Output, PerParent, Predicate, RowPage, Select, Shape, Value,
};
use std::collections::{HashMap, HashSet};

/// A query for a page of a collection.
#[derive(Clone, Debug)]
pub struct ListQuery {
    /// Fields of the reply; all when `None`.
    pub fields: Option<Vec<FieldId>>,
    /// A condition on the row's own columns, and through references on those of rows that it refers to.
    pub filter: Predicate,
    /// Order by these fields, then by id.
    pub order: Vec<Order>,
    /// The order's values where the page before ended, or where the page behind begins.
    pub after: Option<Vec<Value>>,
    /// Whether the page before the place is wanted instead of the one behind it. Its rows come in the order of the query.
    pub backward: bool,
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
    /// One page of referring rows for each of these rows, instead of one page.
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
            backward: false,
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

/// A computation over rows of a collection.
#[derive(Clone, Debug)]
pub struct AggregateQuery {
    /// A condition, as in a list.
    pub filter: Predicate,
    /// The functions and their fields; without a field it counts rows.
    pub parts: Vec<(AggregateFunction, Option<FieldId>)>,
    /// The fields whose values make groups.
    pub group_by: Vec<FieldId>,
    /// Most groups.
    pub limit: u32,
}

/// Rows that were found, and what must still hold of each when it is changed.
#[derive(Clone, Debug)]
pub struct Found {
    /// Their ids, in order.
    pub ids: Vec<Box<str>>,
    pub(crate) collection: CollectionId,
    pub(crate) rows: Predicate,
}

/// What a reply shows of a row, or of several rows with known ids.
#[derive(Clone, Debug, Default)]
pub struct Wanted<'a> {
    /// Fields of the reply; all when `None`.
    pub fields: Option<&'a [FieldId]>,
    /// References whose ids are wanted beside the bytes.
    pub follow: &'a [FieldId],
    /// How each row is written.
    pub shape: Shape,
}

impl<A: Verb> Grant<A> {
    /// The fields to show and how each is masked; `id` and `version` are always read.
    fn outputs(&self, fields: Option<&[FieldId]>, follow: &[FieldId]) -> Vec<Output> {
        let masks = self.ask.masks(self.collection, &self.rows);
        let fields = fields.map(|fields| with_followed(fields, follow));
        self.ask.outputs(self.collection, &masks, fields.as_deref())
    }

    /// `used`: guarded fields that the query looks at. Using a field counts as seeing it, also when no row is found.
    async fn select(&self, select: Select, scan: bool, action: &'static str, used: &[FieldId]) -> Result<RowPage, ReadError> {
        #[cfg(haechi_unsafe_lab)]
        let select = match &select.shape {
            Shape::Object(_) if planted(Hole::UnmaskedObjects) => {
                let outputs = select.outputs.iter().map(|output| Output { mask: haechi_model::Mask::Shown, ..output.clone() }).collect();
                Select { outputs, ..select }
            }
            Shape::Object(_) if planted(Hole::UnseenObjects) => {
                return self.ask.shared.store.select(select, self.ask.reads(scan, action, self.collection)).await.map_err(ReadError::Store);
            }
            _ => select,
        };
        let fields: Vec<FieldId> = select.outputs.iter().map(|output| output.field).collect();
        let page = self.ask.shared.store.select(select, self.ask.reads(scan, action, self.collection)).await.map_err(ReadError::Store)?;
        let shown: Vec<FieldId> = fields.iter().enumerate().filter(|(at, _)| page.shown >> at & 1 == 1).map(|(_, field)| *field).collect();
        let shown: Vec<FieldId> = shown.into_iter().chain(used.iter().copied()).collect();
        self.ask.sight(action, self.collection, &shown, &page.ids, !used.is_empty())?;
        let _ = self.ask.shows(page.bytes.len());
        Ok(page)
    }
}

impl<A: Verb> Grant<A> {
    async fn page(&self, query: ListQuery) -> Result<RowPage, ReadError> {
        if !is_filter(&query.filter, MAX_STEPS) {
            return Err(ReadError::NotLocal);
        }
        let names = |at| query.order.iter().any(|part| part.column == at) || query.per.as_ref().is_some_and(|per| per.column == at);
        let Asked { rows: filter, used, elsewhere } = self.ask.usable((self.collection, &self.rows, A::NAME), query.filter, names)?;
        let column = |field: FieldId| self.collection().fields[field].shadow.unwrap_or(field);
        let mut order: Vec<Order> = query.order.iter().map(|part| Order { column: column(part.column), ..part.clone() }).collect();
        if !order.iter().any(|part| part.column == Collection::ID) {
            order.push(Order::new(Collection::ID, order.last().is_some_and(|last| last.descending)));
        }
        if query.backward {
            order = order.iter().map(Order::reversed).collect();
        }
        let gap = usize::from(!matches!(query.shape, Shape::Message(_)));
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
        let page = self.select(select, query.scan, A::NAME, &used).await?;
        self.ask.sight_elsewhere(A::NAME, &elsewhere)?;
        if page.cut && many {
            return Err(ReadError::TooLong);
        }
        Ok(if query.backward { page.reversed(gap) } else { page })
    }
}

impl Grant<Export> {
    /// Leaves the entry of an export, which stands in the ledger before the first byte is sent.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn begin(&self, format: &str) -> Result<(), ReadError> {
        let shared = &self.ask.shared;
        let entry = shared.system_entry(Export::NAME, Some(self.collection), format!("\"format\":\"{format}\""));
        let entry = EntryDraft { kind: EntryKind::Access, ..entry };
        let change = Change { request_id: self.ask.request_id.clone(), ..shared.change_of(self.ask.caller.actor().clone(), vec![entry]) };
        shared.commit(change).await.map(drop).map_err(ReadError::Store)
    }

    /// A part of the rows, as finished JSON.
    ///
    /// # Errors
    /// When the query uses a field that the caller may not read, or the database cannot be reached.
    pub async fn part(&self, query: ListQuery) -> Result<RowPage, ReadError> {
        self.page(query).await
    }
}

impl Grant<List> {
    /// Rows as finished JSON.
    ///
    /// # Errors
    /// When the query uses a field that the caller may not read, or the database cannot be reached.
    pub async fn list(&self, query: ListQuery) -> Result<RowPage, ReadError> {
        self.page(query).await
    }

    /// A computation over the rows; each of its fields must be readable in every row that it is taken from. For each group its values, then
    /// a value per part; without groups one row, of the parts alone.
    ///
    /// # Errors
    /// When it uses a field that the caller may not read, or the database cannot be reached.
    pub async fn aggregate(&self, query: AggregateQuery) -> Result<Vec<Vec<Value>>, ReadError> {
        let AggregateQuery { filter, parts, group_by, limit } = query;
        if !is_filter(&filter, MAX_STEPS) {
            return Err(ReadError::NotLocal);
        }
        let names = |at| group_by.contains(&at) || parts.iter().any(|(_, field)| *field == Some(at));
        let Asked { rows: filter, used, elsewhere } = self.ask.usable((self.collection, &self.rows, List::NAME), filter, names)?;
        // The extremes of an ordered enum are those of the places of its words.
        let fields = &self.collection().fields;
        let place = |(function, field): &(AggregateFunction, Option<FieldId>)| {
            let ordered = |field: &FieldId| matches!(fields[*field].ty, FieldType::Enum { ordered: true, .. });
            field.filter(ordered).filter(|_| matches!(function, AggregateFunction::Min | AggregateFunction::Max))
        };
        let places: Vec<Option<FieldId>> = parts.iter().map(place).collect();
        let column = |((function, field), place): ((AggregateFunction, Option<FieldId>), &Option<FieldId>)| {
            (function, place.and_then(|field| fields[field].shadow).or(field))
        };
        // All rows of a group have one value, or texts that differ in their case alone.
        let of_groups = group_by.iter().map(|field| (AggregateFunction::Min, Some(*field)));
        let parts: Vec<(AggregateFunction, Option<FieldId>)> = of_groups.chain(parts.into_iter().zip(&places).map(column)).collect();
        let by = |field: &FieldId| fields[*field].shadow.unwrap_or(*field);
        let most = most_groups(self.collection(), &parts).min(limit);
        let aggregate = Aggregate { collection: self.collection, filter, parts, group_by: group_by.iter().map(by).collect(), limit: most };
        let found = self.ask.shared.store.aggregate(aggregate, self.ask.reads(true, List::NAME, self.collection)).await.map_err(ReadError::Store)?;
        let bytes: usize = found.iter().flatten().map(|value| value.as_text().map_or(16, str::len)).sum();
        if found.len() == most as usize && most < limit || !self.ask.shows(bytes) {
            return Err(ReadError::TooLong);
        }
        self.ask.sight(List::NAME, self.collection, &used, &[], !used.is_empty())?;
        self.ask.sight_elsewhere(List::NAME, &elsewhere)?;
        let places: Vec<Option<FieldId>> = group_by.iter().map(|_| None).chain(places).collect();
        let word = |(value, place): (Value, &Option<FieldId>)| match place {
            Some(field) => fields[*field].ty.word_at(&value),
            None => value,
        };
        Ok(found.into_iter().map(|values| values.into_iter().zip(&places).map(word).collect()).collect())
    }
}

impl Grant<List> {
    /// The rows that a filter finds, at most so many. Using a field counts as seeing it.
    ///
    /// # Errors
    /// When the filter uses a field that the caller may not read, or the database cannot be reached.
    pub async fn found(&self, filter: Predicate, most: u32) -> Result<Found, ReadError> {
        self.find(filter, most, List::NAME).await
    }
}

/// So many groups are in memory together whatever their values are: texts may be long.
fn most_groups(collection: &Collection, parts: &[(AggregateFunction, Option<FieldId>)]) -> u32 {
    const MOST_BYTES: u64 = 256 << 20;
    let width = |(_, column): &(AggregateFunction, Option<FieldId>)| match column.and_then(|at| collection.fields.get(at)).map(|field| &field.ty) {
        Some(FieldType::Text { max_length, .. }) => 4 * u64::from(*max_length),
        _ => 2_048,
    };
    u32::try_from(MOST_BYTES / parts.iter().map(width).sum::<u64>().max(1)).unwrap_or(u32::MAX).max(2)
}

impl Grant<Delete> {
    /// Whether the row is there and may be deleted.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn permits(&self, id: &str) -> Result<bool, ReadError> {
        let one = Predicate::Compare(Operand::Column(Collection::ID), haechi_model::Comparison::Equal, Operand::Constant(Value::text(id)));
        Ok(!self.find(one, 1, Delete::NAME).await?.ids.is_empty())
    }

    /// The ids in an order in which each can be deleted: a row that goes with another comes before it. Rows that go with each other in a
    /// circle have no such order.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn children_first(&self, found: &Found) -> Result<Vec<Box<str>>, ReadError> {
        let fields = self.collection().fields.iter().enumerate();
        let goes = |(at, field): (FieldId, &haechi_model::Field)| (field.ty.refers() == Some((self.collection, OnDelete::Cascade))).then_some(at);
        let own: Vec<FieldId> = fields.filter_map(goes).collect();
        if own.is_empty() || found.ids.len() < 2 {
            return Ok(found.ids.clone());
        }
        let these = Predicate::OneOf(Operand::Column(Collection::ID), found.ids.iter().map(|id| Value::Text(id.clone())).collect());
        // These values are never shown: they only say what goes with what.
        let outputs = own.iter().map(|field| Output { field: *field, mask: Mask::Shown }).collect();
        let select = Select { outputs, follow: own, ..Select::new(self.collection, these, u32::try_from(found.ids.len()).unwrap_or(u32::MAX)) };
        let page = self.ask.shared.store.select(select, self.ask.reads(false, Delete::NAME, self.collection)).await.map_err(ReadError::Store)?;
        let mut children: HashMap<&str, Vec<&str>> = HashMap::new();
        for (id, parents) in page.ids.iter().zip(&page.followed) {
            parents.iter().flatten().for_each(|parent| children.entry(parent).or_default().push(id));
        }
        let (mut order, mut seen) = (Vec::with_capacity(found.ids.len()), HashSet::new());
        for id in &found.ids {
            // Each row stands twice: when it is met, and behind its children.
            let mut todo = vec![(&**id, false)];
            while let Some((id, is_done)) = todo.pop() {
                if is_done {
                    order.push(id.into());
                } else if seen.insert(id) {
                    todo.push((id, true));
                    todo.extend(children.get(id).into_iter().flatten().map(|child| (*child, false)));
                }
            }
        }
        Ok(order)
    }
}

impl<A: Verb> Grant<A> {
    async fn find(&self, filter: Predicate, most: u32, action: &'static str) -> Result<Found, ReadError> {
        if !is_filter(&filter, MAX_STEPS) {
            return Err(ReadError::NotLocal);
        }
        let Asked { rows, used, elsewhere } = self.ask.usable((self.collection, &self.rows, action), filter, |_| false)?;
        let select = Select { order: vec![Order::new(Collection::ID, false)], ..Select::new(self.collection, rows.clone(), most) };
        let ids = self.ask.shared.store.select(select, self.ask.reads(false, action, self.collection)).await.map_err(ReadError::Store)?.ids;
        self.ask.sight(action, self.collection, &used, &ids, !used.is_empty())?;
        self.ask.sight_elsewhere(action, &elsewhere)?;
        Ok(Found { ids, collection: self.collection, rows })
    }
}

impl Grant<Read> {
    /// The row with these values of a unique key, when there is one that the caller may read.
    ///
    /// # Errors
    /// When the caller may not read a field of the key, or the database cannot be reached.
    pub async fn by_key(&self, key: &[(FieldId, Value)]) -> Result<Found, ReadError> {
        let fields = &self.collection().fields;
        let equal = |(field, value): &(FieldId, Value)| {
            let (column, value) = (fields[*field].shadow.unwrap_or(*field), fields[*field].ty.folded(value.clone()));
            Predicate::Compare(Operand::Column(column), haechi_model::Comparison::Equal, Operand::Constant(value))
        };
        self.find(Predicate::all(key.iter().map(equal)), 1, Read::NAME).await
    }

    /// One row, when there is one that the caller may read.
    ///
    /// # Errors
    /// When the database cannot be reached or the access log is full.
    pub async fn get(&self, id: &str, wanted: Wanted<'_>) -> Result<Option<RowPage>, ReadError> {
        let one = Predicate::Compare(Operand::Column(Collection::ID), haechi_model::Comparison::Equal, Operand::Constant(Value::text(id)));
        let page = self.fetch(one, 1, wanted).await?;
        Ok((!page.ids.is_empty()).then_some(page))
    }

    /// The rows that exist and that the caller may read.
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

impl Ask {
    /// A written row as the caller may see it; `None` when they may not.
    ///
    /// # Errors
    /// When the database cannot be reached or the access log is full.
    pub async fn representation(&self, done: &Done, wanted: Wanted<'_>) -> Result<Option<RowPage>, ReadError> {
        let collection = done.collection;
        let rows = if self.reachable(collection, "read") { self.readable(collection) } else { Predicate::False };
        let Some(row) = &done.row else { return Ok(None) };
        // When the reply is long already, a written row is shown by its id alone.
        if rows == Predicate::False || self.room() == 0 {
            return Ok(None);
        }
        let masks = self.masks(collection, &rows);
        let local = rows.is_local() && masks.iter().all(|mask| !matches!(mask, Mask::When(condition) if !condition.is_local()));
        if !local {
            return Grant::<crate::grant::Read>::new(self.clone(), collection, rows).get(&done.id, wanted).await;
        }
        if !rows.holds(row, &Alone) {
            return Ok(None);
        }
        let fields = wanted.fields.map(|fields| with_followed(fields, wanted.follow));
        let outputs = self.outputs(collection, &masks, fields.as_deref());
        let view = View { collection: self.collection(collection), outputs: &outputs, shape: &wanted.shape };
        let (page, shown) = view.page(row, wanted.follow, &Alone);
        self.sight("read", collection, &shown, std::slice::from_ref(&done.id), false)?;
        let _ = self.shows(page.bytes.len());
        Ok(Some(page))
    }
}
