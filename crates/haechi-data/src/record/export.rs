//! All rows that a filter finds, as a file: `GET /api/v1/COLLECTION:export`.
//!
//! The rows are read in parts, in the order of their ids: no part sees more than its own moment, and no snapshot is held meanwhile. Each part
//! asks policy again, so an export ends when its caller may not go on.

use super::{error::RecordError, query::QueryInput};
use crate::transfer::{Format, members, write_cell};
use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, header},
    response::Response,
};
use futures_util::{
    future::{self, BoxFuture},
    stream,
};
use haechi_gate::{Ask, Export, Grant, ListQuery, OpenStream, reply_order};
use haechi_model::{Collection, CollectionId, FieldId, Json, Predicate, RowPage, Value, parse_json};
use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, PoisonError},
};

/// Rows of a part.
const PART: u32 = 1_000;
/// Most exports at a time, and of one caller.
const MOST: usize = 8;
const MOST_OF_ONE: usize = 2;
/// The name of the column, and of the member, with the names of masked fields.
const MASKED: &str = "_masked";

/// Says whether the caller's credential is still that of the same caller.
pub type Still = Arc<dyn Fn(Ask) -> BoxFuture<'static, bool> + Send + Sync>;

/// What all exports share.
#[derive(Clone)]
pub struct Exports {
    still: Still,
    taken: Taken,
}

/// How many exports each caller has.
type Taken = Arc<Mutex<HashMap<Box<str>, usize>>>;

impl Exports {
    /// Exports that ask this before each part.
    #[must_use]
    pub fn new(still: Still) -> Self {
        Self { still, taken: Arc::default() }
    }

    fn place(&self, caller: &str) -> Option<Place> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.values().sum::<usize>() >= MOST || taken.get(caller).is_some_and(|own| *own >= MOST_OF_ONE) {
            return None;
        }
        *taken.entry(caller.into()).or_default() += 1;
        Some(Place { taken: self.taken.clone(), caller: caller.into() })
    }
}

/// A place among the exports of this node, free again when it is dropped.
struct Place {
    taken: Taken,
    caller: Box<str>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        match taken.get_mut(&self.caller) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(taken.remove(&self.caller)),
        }
    }
}

/// An export that goes on.
struct Going {
    still: Still,
    ask: Ask,
    collection: CollectionId,
    writer: Arc<Writer>,
    fields: Option<Vec<FieldId>>,
    filter: Predicate,
    /// What was read already.
    page: Option<RowPage>,
    _place: Place,
}

/// Writes rows in a format.
struct Writer {
    declared: Collection,
    format: Format,
    /// The exported fields, in order.
    fields: Vec<FieldId>,
    /// Whether a field may be masked.
    masks: bool,
}

/// Replies with the rows. The first part is read before the reply begins, so what is wrong with the question is a problem.
///
/// # Errors
/// When policy says no, the question is not well formed, or too many exports go on.
pub(crate) async fn export(exports: &Exports, ask: &Ask, collection: CollectionId, mut input: QueryInput) -> Result<Response, RecordError> {
    let grant: Grant<Export> = ask.on(collection).map_err(RecordError::Refused)?;
    let declared = ask.app().collections[collection].clone();
    let format = format(&mut input)?;
    let foreign = |name: &str| matches!(name, "order_by" | "page_size" | "page_token" | "expand" | "count");
    if let Some((name, _)) = input.parameters.iter().find(|(name, _)| foreign(name)) {
        return Err(RecordError::Parameter {
            name: name.clone(),
            what: "does not belong to an export; it takes format, filter, fields and fields of the records",
        });
    }
    let me = (!ask.caller().is_anonymous()).then(|| ask.caller().id());
    let query = input.resolve(ask.app(), &declared, me)?;
    let place = exports.place(ask.caller().id()).ok_or(RecordError::TooManyStreams)?;
    let read = |error| RecordError::read(error, ask.app(), collection);
    let page = grant.part(part(query.fields.clone(), query.filter.clone(), None)).await.map_err(read)?;
    grant.begin(format.ending()).await.map_err(read)?;
    let name = declared.name.clone();
    let fields = query.fields.clone().unwrap_or_else(|| reply_order(&declared).collect());
    let masks = fields.iter().any(|field| ask.app().classes[declared.fields[*field].class].guarded());
    let writer = Writer { declared, format, fields, masks };
    let head = writer.head();
    let going = Going {
        still: exports.still.clone(),
        ask: ask.clone(),
        collection,
        writer: Arc::new(writer),
        fields: query.fields,
        filter: query.filter,
        page: Some(page),
        _place: place,
    };
    let parts = stream::unfold(Some((going, head)), |state| async move {
        let (mut going, mut out) = state?;
        match going.next(&mut out).await {
            Ok(true) => Some((Ok(Bytes::from(out)), Some((going, Vec::new())))),
            Ok(false) => Some((Ok(Bytes::from(out)), None)),
            // The reply has no end then, and its reader notices.
            Err(error) => Some((Err(error), None)),
        }
    });
    let mut response = Response::new(Body::from_stream(parts));
    response.extensions_mut().insert(OpenStream);
    let headers = response.headers_mut();
    let kind = if format == Format::Csv { "text/csv; charset=utf-8; header=present" } else { "application/jsonl" };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    if let Ok(disposition) = HeaderValue::try_from(format!("attachment; filename=\"{name}.{}\"", format.ending())) {
        headers.insert(header::CONTENT_DISPOSITION, disposition);
    }
    Ok(response)
}

/// Takes the format out of the parameters.
fn format(input: &mut QueryInput) -> Result<Format, RecordError> {
    let Some(at) = input.parameters.iter().position(|(name, _)| name == "format") else { return Ok(Format::JsonLines) };
    match &*input.parameters.remove(at).1 {
        "csv" => Ok(Format::Csv),
        "jsonl" => Ok(Format::JsonLines),
        _ => Err(RecordError::Parameter { name: "format".to_owned(), what: "must be csv or jsonl" }),
    }
}

fn part(fields: Option<Vec<FieldId>>, filter: Predicate, after: Option<&str>) -> ListQuery {
    let after = after.map(|id| vec![Value::text(id)]);
    ListQuery { fields, filter, after, scan: true, ..ListQuery::new(PART) }
}

impl Going {
    /// Appends a part; whether more may follow. The next part is read meanwhile.
    async fn next(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        let Some(page) = self.page.take() else { return Ok(false) };
        let whole = page.ids.len() < PART as usize && !page.cut;
        let Some(last) = page.ids.last().filter(|_| !whole) else {
            self.writer.write(&page, out);
            return Ok(false);
        };
        let cut = |what: &str| io::Error::other(format!("the export cannot go on: {what}"));
        let ask = self.ask.renewed();
        if !(self.still)(ask.clone()).await {
            return Err(cut("the caller's credential has ended"));
        }
        // The filter may look at any collection, by its place.
        if !self.ask.app().same_model(ask.app()) {
            return Err(cut("the model is another one now"));
        }
        let grant: Grant<Export> = ask.on(self.collection).map_err(|_| cut("policy says no"))?;
        let query = part(self.fields.clone(), self.filter.clone(), Some(last));
        // On another thread: on PostgreSQL this one takes the rows as they come.
        let writer = self.writer.clone();
        let writing = tokio::task::spawn_blocking(move || {
            let mut part = Vec::with_capacity(page.bytes.len());
            writer.write(&page, &mut part);
            part
        });
        let (next, written) = future::join(grant.part(query), writing).await;
        out.extend(written.map_err(|_| cut("its rows cannot be written"))?);
        self.page = Some(next.map_err(|_| cut("its rows cannot be read"))?);
        self.ask = ask;
        Ok(true)
    }
}

impl Writer {
    /// What comes before the first row.
    fn head(&self) -> Vec<u8> {
        if self.format != Format::Csv {
            return Vec::new();
        }
        let mut names: Vec<&str> = self.fields.iter().map(|field| self.declared.fields[*field].name.as_str()).collect();
        if self.masks {
            names.push(MASKED);
        }
        format!("{}\r\n", names.join(",")).into_bytes()
    }

    fn write(&self, page: &RowPage, out: &mut Vec<u8>) {
        let mut start = 0;
        for end in &page.ends {
            let row = &page.bytes[start..*end];
            start = end + 1;
            if self.format == Format::JsonLines {
                out.extend_from_slice(row);
                out.push(b'\n');
                continue;
            }
            let mut given = members(row);
            for (at, field) in self.fields.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                let declared = &self.declared.fields[*field];
                // Members come in the order of the fields; those that are masked are left out.
                let mut rest = given.clone();
                if let Some((_, json)) = rest.next().filter(|(name, _)| *name == declared.name.as_bytes()) {
                    given = rest;
                    write_cell(&declared.ty, json, out);
                }
            }
            if self.masks {
                out.push(b',');
                let masked = given.next().filter(|(name, _)| *name == MASKED.as_bytes());
                if let Some(Json::List(names)) = masked.and_then(|(_, names)| parse_json(names).ok()) {
                    let names: Vec<&str> = names.iter().filter_map(|name| if let Json::Text(name) = name { Some(&**name) } else { None }).collect();
                    out.extend_from_slice(names.join(" ").as_bytes());
                }
            }
            out.extend_from_slice(b"\r\n");
        }
    }
}
