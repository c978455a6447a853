//! Runs a plan: one query for each root field and each level below, for any number of records.

use crate::{
    error::{GraphqlError, Path},
    input::{self, Filters, Variables},
    names::Types,
    plan::{Connection, ConnectionPart, EdgePart, Hole, Keyed, PagePart, Selection, write_object},
};
use async_graphql_value::Value;
use haechi_data::{
    RecordError,
    actions::{self, Pages},
    rows,
};
use haechi_gate::{AggregateQuery, Ask, ListQuery, Sealer, Wanted};
use haechi_model::{
    AggregateFunction, Collection, Field, FieldId, FieldType, Json, Operand, Order, PerParent, Predicate, RowPage, Value as Stored, write_json_text,
};
use haechi_problem::{Problem, kinds};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

/// Records of a page when the query does not say.
pub(crate) const DEFAULT_PAGE: u32 = 20;

/// One run of an operation.
pub(crate) struct Run<'a> {
    pub(crate) ask: &'a Ask,
    pub(crate) types: &'a Types,
    pub(crate) tokens: &'a Sealer,
    pub(crate) variables: &'a Variables,
    pub(crate) errors: Mutex<Vec<GraphqlError>>,
    /// Whether the query is in a URL: personal fields are refused in its filters and orders.
    pub(crate) in_url: bool,
}

/// A condition that was written as a typed filter.
pub(crate) struct Condition<'a> {
    pub(crate) predicate: Predicate,
    /// How many comparisons it has.
    pub(crate) terms: usize,
    /// A field of a guarded class that it names.
    personal: Option<&'a Field>,
}

/// A finished object for each row. The store's objects are separated by commas; filled ones follow each other directly.
struct Objects {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    gap: usize,
}

impl Objects {
    /// The object of a row; empty for a row that was added between two queries.
    fn get(&self, at: usize) -> &[u8] {
        let start = at.checked_sub(1).map_or(Some(0), |before| self.ends.get(before).map(|end| end + self.gap));
        start.zip(self.ends.get(at)).and_then(|(start, end)| self.bytes.get(start..*end)).unwrap_or(b"null")
    }
}

/// One page of a list: its rows, and whether there are more in its direction.
struct Slice {
    from: usize,
    to: usize,
    more: bool,
    /// The records of all pages, when they are wanted.
    total: i64,
}

/// The arguments of a list.
struct Question {
    filter: Predicate,
    order: Vec<Order>,
    size: u32,
    /// A cursor, and whether the page before it is wanted.
    place: Option<String>,
    backward: bool,
    fingerprint: String,
}

impl Run<'_> {
    pub(crate) fn fail(&self, error: GraphqlError) {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).push(error);
    }

    fn collection(&self, connection: &Connection) -> &Collection {
        &self.ask.app().collections[connection.collection]
    }

    /// One record; on failure `None`, and the error is recorded.
    pub(crate) async fn one(&self, id: &Value, selection: &Selection, path: &Path<'_>) -> Option<Vec<u8>> {
        let id = match input::argument(Some(id), self.variables) {
            Some(Json::Text(id) | Json::Number(id)) => id,
            _ => {
                self.fail(GraphqlError::input(path, "`id` is required.".to_owned()));
                return None;
            }
        };
        let wanted = Wanted { fields: Some(&selection.fields), follow: &selection.follow, shape: selection.shape.clone() };
        match actions::row(self.ask, selection.collection, &id, wanted).await {
            Ok(page) => Some(self.only(selection, page, path).await),
            Err(RecordError::NotFound) => None,
            Err(error) => {
                self.fail(GraphqlError::record(path, &error));
                None
            }
        }
    }

    /// The finished object of a one-row page.
    pub(crate) async fn only(&self, selection: &Selection, page: RowPage, path: &Path<'_>) -> Vec<u8> {
        if selection.holes.is_empty() {
            return page.bytes;
        }
        self.fill(selection, page, path).await.get(0).to_vec()
    }

    /// A list; on failure `None`, and the error is recorded.
    pub(crate) async fn list(&self, connection: &Connection, path: &Path<'_>) -> Option<Vec<u8>> {
        let mut pages = self.pages(connection, None, path).await?;
        pages.pop()
    }

    /// The pages of a list: one, or one for each parent.
    async fn pages(&self, connection: &Connection, per: Option<PerParent>, path: &Path<'_>) -> Option<Vec<Vec<u8>>> {
        match self.try_pages(connection, per, path).await {
            Ok(pages) => Some(pages),
            Err(error) => {
                self.fail(error);
                None
            }
        }
    }

    async fn try_pages(&self, connection: &Connection, per: Option<PerParent>, path: &Path<'_>) -> Result<Vec<Vec<u8>>, GraphqlError> {
        let question = self.question(connection, per.as_ref().map(|per| per.column), path)?;
        let pages = Pages::new(self.ask, self.tokens, &question.fingerprint);
        let after = question.place.as_deref().map(|token| pages.open(token)).transpose().map_err(|error| GraphqlError::record(path, &error))?;
        let mut shown: Vec<Objects> = Vec::with_capacity(connection.selections.len());
        let (mut slices, mut cursors) = (Vec::new(), Vec::new());
        for (at, selection) in connection.selections.iter().enumerate() {
            let query = ListQuery {
                fields: Some(selection.fields.clone()),
                follow: selection.follow.clone(),
                shape: selection.shape.clone(),
                filter: question.filter.clone(),
                order: question.order.clone(),
                after: after.clone(),
                backward: question.backward,
                places: connection.cursors && at == 0,
                per: per.clone(),
                sharing: connection.selections.len() - at,
                ..ListQuery::new(question.size)
            };
            let page = rows::found(self.ask, connection.collection, query).await.map_err(|error| GraphqlError::record(path, &error))?;
            if at == 0 {
                slices = slices_of(&page, per.as_ref());
                cursors = page.places.iter().map(|place| pages.seal(place)).collect();
            }
            if page.cut && question.backward && connection.selections.len() > 1 {
                // Each selection lacks rows at its beginning, which is not the same for all.
                return Err(GraphqlError::record(path, &RecordError::TooLong));
            }
            if let [slice] = slices.as_mut_slice()
                && page.cut
            {
                // Where records are read by several selections, all pages end with the shortest.
                (slice.to, slice.more) = (slice.to.min(page.ids.len()), true);
            }
            shown.push(if selection.holes.is_empty() { whole(page) } else { self.fill(selection, page, path).await });
        }
        if connection.parts.iter().any(|part| matches!(part.what(), Some(ConnectionPart::Total))) {
            self.count(connection, &question.filter, per.as_ref(), &mut slices).await.map_err(|error| GraphqlError::record(path, &error))?;
        }
        let turned = (question.backward, question.place.is_some());
        Ok(slices.iter().map(|slice| write_connection(connection, slice, turned, (&shown, &cursors))).collect())
    }

    /// The number of records of the list, or of each parent's.
    async fn count(&self, connection: &Connection, filter: &Predicate, per: Option<&PerParent>, slices: &mut [Slice]) -> Result<(), RecordError> {
        let (at, filter) = (connection.collection, filter.clone());
        let Some(per) = per else {
            let total = actions::count(self.ask, at, filter).await?;
            slices.iter_mut().for_each(|slice| slice.total = total);
            return Ok(());
        };
        let ids = per.ids.iter().map(|id| Stored::Text(id.clone())).collect();
        let query = AggregateQuery {
            filter: Predicate::all([filter, Predicate::OneOf(Operand::Column(per.column), ids)]),
            parts: vec![(AggregateFunction::Count, None)],
            group_by: vec![per.column],
            limit: u32::try_from(per.ids.len()).unwrap_or(u32::MAX),
        };
        for found in actions::aggregate(self.ask, at, query).await? {
            let [id, count] = &found[..] else { continue };
            if let Some(place) = per.ids.iter().position(|known| id.as_text() == Some(known)) {
                slices[place].total = count.as_int().unwrap_or_default();
            }
        }
        Ok(())
    }

    /// The resolved arguments of a list. Cursors are bound to the fingerprint.
    fn question(&self, connection: &Connection, by: Option<FieldId>, path: &Path<'_>) -> Result<Question, GraphqlError> {
        let wrong = |what: String| GraphqlError::input(path, what);
        let collection = self.collection(connection);
        let singular = &collection.singular;
        let filter = input::typed(self.types, connection.filter.as_ref(), self.variables, &format!("{singular}Filter")).map_err(wrong)?;
        let order = input::typed_list(self.types, connection.order.as_ref(), self.variables, &format!("{singular}Order")).map_err(wrong)?;
        let size = first(self.ask, connection, self.variables).map_err(|what| wrong(what.to_owned()))?;
        let cursor = |value: &Option<Value>| match input::argument(value.as_ref(), self.variables) {
            Some(Json::Text(token)) => Some(token.to_string()),
            _ => None,
        };
        let given = |value: &Option<Value>| !matches!(input::argument(value.as_ref(), self.variables), None | Some(Json::Null));
        let backward = given(&connection.last);
        let (after, before) = (cursor(&connection.after), cursor(&connection.before));
        if backward && (given(&connection.first) || after.is_some()) || !backward && before.is_some() {
            return Err(wrong("write `first` with `after`, or `last` with `before`.".to_owned()));
        }
        if backward && by.is_some() {
            return Err(wrong("`last` is not for lists inside of records.".to_owned()));
        }
        let (filter, order) = (self.condition(collection, filter.as_ref()).map_err(wrong)?, order_of(collection, &order).map_err(wrong)?);
        self.not_personal(collection, &filter, &order).map_err(|problem| GraphqlError::at(path, problem))?;
        let filter = filter.predicate;
        let fingerprint = format!("graphql\0{by:?}\0{}", haechi_data::fingerprint(collection, &filter, &order));
        Ok(Question { filter, order, size, place: after.or(before), backward, fingerprint })
    }

    /// URLs are logged on their way: personal fields are refused there.
    pub(crate) fn not_personal(&self, collection: &Collection, condition: &Condition<'_>, order: &[Order]) -> Result<(), Problem> {
        let guarded = |field: &&Field| self.ask.app().classes[field.class].guarded();
        let ordered = || order.iter().filter_map(|part| Some(&collection.fields[collection.field_of(part.column)?])).find(guarded);
        match condition.personal.or_else(ordered) {
            Some(field) if self.in_url => Err(Problem::new(kinds::USE_QUERY_BODY, format!("`{}` is personal: send the query by POST.", field.name))),
            _ => Ok(()),
        }
    }

    /// A typed filter as a condition.
    pub(crate) fn condition<'r>(&'r self, collection: &'r Collection, filter: Option<&Json>) -> Result<Condition<'r>, input::Wrong> {
        let Some(filter) = filter else { return Ok(Condition { predicate: Predicate::True, terms: 0, personal: None }) };
        let me = (!self.ask.caller().is_anonymous()).then(|| self.ask.caller().id());
        let app = self.ask.app();
        let mut filters = Filters { all: &app.collections, collection, me, terms: 0, steps: 0, classes: &app.classes, personal: None };
        let predicate = filters.condition(filter, 0).map_err(|what| format!("The filter is wrong: {what}"))?;
        Ok(Condition { predicate, terms: filters.terms, personal: filters.personal })
    }

    /// Fills the holes of rows: one query for each hole, for any number of rows.
    async fn fill(&self, selection: &Selection, page: RowPage, path: &Path<'_>) -> Objects {
        let mut fillings: Vec<Vec<Filling>> = Vec::with_capacity(selection.holes.len());
        for hole in &selection.holes {
            // Errors get the path of the first row, because all rows are queried together.
            let filling = match hole {
                Hole::Referred { key, follow, selection: inner, .. } => {
                    let path = Path { parent: Some(path), key, index: None };
                    let ty = &self.ask.app().collections[selection.collection].fields[selection.follow[*follow]].ty;
                    Box::pin(self.referred(inner, (*follow, ty), &page, &path)).await
                }
                Hole::Referring { key, by, connection } => {
                    let path = Path { parent: Some(path), key, index: None };
                    let per = PerParent { column: *by, ids: page.ids.clone() };
                    match if page.ids.is_empty() { Some(Vec::new()) } else { Box::pin(self.pages(connection, Some(per), &path)).await } {
                        Some(pages) => pages.into_iter().map(Filling::Own).collect(),
                        None => page.ids.iter().map(|_| Filling::Null).collect(),
                    }
                }
            };
            fillings.push(filling);
        }
        spliced(&page, &fillings)
    }

    /// The target of the reference for each row, null when the caller may read none; of a list, those that the caller may read.
    async fn referred(&self, selection: &Selection, (follow, ty): (usize, &FieldType), page: &RowPage, path: &Path<'_>) -> Vec<Filling> {
        let ids = rows::named_by(ty, follow, page);
        let wanted = Wanted { fields: Some(&selection.fields), follow: &selection.follow, shape: selection.shape.clone() };
        let found = match rows::referred(self.ask, selection.collection, &ids, wanted).await {
            Ok(found) => found,
            Err(error) => {
                self.fail(GraphqlError::record(path, &error));
                RowPage::default()
            }
        };
        let places: HashMap<Box<str>, usize> = found.ids.iter().cloned().zip(0..).collect();
        let objects = if selection.holes.is_empty() { whole(found) } else { self.fill(selection, found, path).await };
        let named = |row: &Vec<Option<Box<str>>>| -> Option<Vec<usize>> {
            let stored = row.get(follow)?.as_deref()?;
            Some(ty.ids(stored).iter().filter_map(|id| places.get(id).copied()).collect())
        };
        // A record with many references to it is copied into each referring row: all copies must fit into the reply.
        let copied: usize = page.followed.iter().filter_map(named).flatten().map(|at| objects.get(at).len()).sum();
        if copied > objects.bytes.len() && !self.ask.shows(copied - objects.bytes.len()) {
            self.fail(GraphqlError::record(path, &RecordError::TooLong));
            return page.followed.iter().map(|_| Filling::Null).collect();
        }
        let filling = |row: &Vec<Option<Box<str>>>| match (named(row), ty.lists()) {
            (Some(places), Some(_)) => Filling::Own(joined(&objects, &places)),
            (Some(places), None) if !places.is_empty() => Filling::Own(objects.get(places[0]).to_vec()),
            _ => Filling::Null,
        };
        page.followed.iter().map(filling).collect()
    }
}

/// A list of objects.
fn joined(objects: &Objects, places: &[usize]) -> Vec<u8> {
    let mut out = vec![b'['];
    for (number, at) in places.iter().enumerate() {
        if number > 0 {
            out.push(b',');
        }
        out.extend_from_slice(objects.get(*at));
    }
    out.push(b']');
    out
}

/// The content for a hole of one row.
enum Filling {
    Null,
    Own(Vec<u8>),
}

fn whole(page: RowPage) -> Objects {
    Objects { bytes: page.bytes, ends: page.ends, gap: 1 }
}

/// Copies rows, with their holes filled.
fn spliced(page: &RowPage, fillings: &[Vec<Filling>]) -> Objects {
    let more: usize = fillings.iter().flatten().map(|filling| if let Filling::Own(bytes) = filling { bytes.len() } else { 4 }).sum();
    let mut rows = Objects { bytes: Vec::with_capacity(page.bytes.len() + more), ends: Vec::with_capacity(page.ends.len()), gap: 0 };
    let mut start = 0;
    for (row, end) in page.ends.iter().enumerate() {
        for (at, filling) in fillings.iter().enumerate() {
            let hole = page.holes[row * fillings.len() + at];
            rows.bytes.extend_from_slice(&page.bytes[start..hole]);
            rows.bytes.extend_from_slice(match filling.get(row) {
                Some(Filling::Own(bytes)) => bytes,
                _ => b"null",
            });
            start = hole;
        }
        rows.bytes.extend_from_slice(&page.bytes[start..*end]);
        rows.ends.push(rows.bytes.len());
        start = end + 1;
    }
    rows
}

fn slices_of(page: &RowPage, per: Option<&PerParent>) -> Vec<Slice> {
    let Some(per) = per else { return vec![Slice { from: 0, to: page.ids.len(), more: page.next.is_some(), total: 0 }] };
    let mut slices: Vec<Slice> = page.more.iter().map(|more| Slice { from: 0, to: 0, more: *more, total: 0 }).collect();
    slices.resize_with(per.ids.len(), || Slice { from: 0, to: 0, more: false, total: 0 });
    for (row, parent) in page.parents.iter().enumerate() {
        let slice = &mut slices[*parent];
        if slice.from == slice.to {
            slice.from = row;
        }
        slice.to = row + 1;
    }
    slices
}

/// `backward`, `placed`: whether the page was read backward, and whether it began at a cursor.
fn write_connection(connection: &Connection, slice: &Slice, turned: (bool, bool), (shown, cursors): (&[Objects], &[String])) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    write_object(&connection.parts, &mut out, |part, out| match part {
        ConnectionPart::Nodes(number) => list(slice, out, |row, out| out.extend_from_slice(shown[*number].get(row))),
        ConnectionPart::Edges(parts) => list(slice, out, |row, out| write_edge(parts, row, shown, cursors, out)),
        ConnectionPart::PageInfo(parts) => write_page_info(parts, slice, turned, cursors, out),
        ConnectionPart::Total => out.extend_from_slice(slice.total.to_string().as_bytes()),
    });
    out
}

fn list(slice: &Slice, out: &mut Vec<u8>, mut write: impl FnMut(usize, &mut Vec<u8>)) {
    out.push(b'[');
    for row in slice.from..slice.to {
        if row > slice.from {
            out.push(b',');
        }
        write(row, out);
    }
    out.push(b']');
}

fn write_edge(parts: &[Keyed<EdgePart>], row: usize, shown: &[Objects], cursors: &[String], out: &mut Vec<u8>) {
    write_object(parts, out, |part, out| match part {
        EdgePart::Cursor => write_cursor(cursors.get(row), out),
        EdgePart::Node(number) => out.extend_from_slice(shown[*number].get(row)),
    });
}

fn write_page_info(parts: &[Keyed<PagePart>], slice: &Slice, (backward, placed): (bool, bool), cursors: &[String], out: &mut Vec<u8>) {
    let page = cursors.get(slice.from..slice.to).unwrap_or_default();
    write_object(parts, out, |part, out| match part {
        PagePart::HasNext => out.extend_from_slice(if backward { placed } else { slice.more }.to_string().as_bytes()),
        PagePart::HasPrevious => out.extend_from_slice(if backward { slice.more } else { placed }.to_string().as_bytes()),
        PagePart::Start => write_cursor(page.first(), out),
        PagePart::End => write_cursor(page.last(), out),
    });
}

fn write_cursor(cursor: Option<&String>, out: &mut Vec<u8>) {
    match cursor {
        Some(cursor) => write_json_text(cursor, out),
        None => out.extend_from_slice(b"null"),
    }
}

/// The number of records on a page: the query's, within the limit.
pub(crate) fn first(ask: &Ask, connection: &Connection, variables: &Variables) -> Result<u32, &'static str> {
    let most = ask.app().config.limits.page_size;
    let usual = ask.app().collections[connection.collection].page_size.unwrap_or(DEFAULT_PAGE);
    let given = |value: &Option<Value>| input::argument(value.as_ref(), variables).filter(|json| *json != Json::Null);
    match given(&connection.first).or_else(|| given(&connection.last)) {
        None => Ok(usual.min(most)),
        Some(Json::Number(digits)) => match digits.parse::<i64>() {
            Ok(size) if size >= 1 => Ok(u32::try_from(size).unwrap_or(u32::MAX).min(most)),
            _ => Err("`first` and `last` must be at least 1."),
        },
        Some(_) => Err("`first` and `last` must be whole numbers."),
    }
}

/// Most fields of an order.
const MAX_ORDER: usize = 4;

fn order_of(collection: &Collection, order: &[Json]) -> Result<Vec<Order>, input::Wrong> {
    if order.is_empty() {
        return Ok(collection.order.clone());
    }
    let mut found: Vec<Order> = Vec::with_capacity(order.len());
    for part in order {
        let Json::Object(members) = part else { return Err("`order_by` is not well formed.".to_owned()) };
        let word = |name: &str| {
            members.iter().find(|(known, _)| **known == *name).and_then(|(_, json)| if let Json::Text(text) = json { Some(&**text) } else { None })
        };
        let field = word("field").and_then(|name| collection.field(name)).ok_or("`order_by` names no field.")?;
        if found.iter().any(|known| known.column == field) || found.len() == MAX_ORDER {
            return Err(format!("`order_by` names each field once, and at most {MAX_ORDER}."));
        }
        let part = Order::new(field, word("direction") == Some("DESC"));
        found.push(Order { nulls_after: word("nulls").map_or(part.nulls_after, |place| place == "LAST"), ..part });
    }
    Ok(found)
}
