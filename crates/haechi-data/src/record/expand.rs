//! Records that others refer to, shown beside them: `expand=project(name,lead(name)),comments_by_task(20,text)`.

use super::{error::RecordError, rows};
use futures_util::future::BoxFuture;
use haechi_gate::{Ask, ListQuery, Wanted};
use haechi_model::{App, Collection, CollectionId, FieldId, PerParent, RowPage, write_json_text};
use std::collections::HashMap;

/// Most expansions of one request, nested ones included.
const MAX_EXPAND: usize = 8;
/// How deep they are nested.
const MAX_STEPS: usize = 2;
/// Records of a list inside of a record, when the request does not say, and the most of them.
const LISTED: u32 = 20;
const MOST_LISTED: u32 = 100;
/// Most records that the lists inside of one page may have.
const MOST_OF_PAGE: usize = 5_000;
/// The longest text.
const MAX_BYTES: usize = 2_048;

/// What is shown beside a record.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Expansion {
    /// Its key in `_expanded`.
    name: String,
    what: What,
    /// The collection of the records.
    of: CollectionId,
    /// The shown fields; all when `None`.
    fields: Option<Vec<FieldId>>,
    nested: Vec<Expansion>,
}

#[derive(Clone, Debug, PartialEq)]
enum What {
    /// The record, or the records of a list, that a field names.
    Referred(FieldId),
    /// Records that refer to it by a field, and how many of them.
    Referring(FieldId, u32),
}

/// The references that a read must follow.
pub(crate) fn followed(expansions: &[Expansion]) -> Vec<FieldId> {
    expansions.iter().filter_map(|expansion| if let What::Referred(field) = expansion.what { Some(field) } else { None }).collect()
}

/// Reads the parameter.
pub(crate) fn read(text: &str, app: &App, collection: &Collection) -> Result<Vec<Expansion>, RecordError> {
    if text.len() > MAX_BYTES {
        return Err(refuse("is too long"));
    }
    let mut reader = Reader { app, rest: text, count: 0 };
    let found = reader.items(collection, 1)?.expansions;
    if reader.rest.is_empty() { Ok(found) } else { Err(refuse("has a bracket too many")) }
}

fn refuse(what: &'static str) -> RecordError {
    RecordError::Parameter { name: "expand".to_owned(), what }
}

struct Reader<'a> {
    app: &'a App,
    rest: &'a str,
    count: usize,
}

/// What stands in brackets, or in the parameter as a whole.
#[derive(Default)]
struct Items {
    size: Option<u32>,
    fields: Vec<FieldId>,
    expansions: Vec<Expansion>,
}

impl<'a> Reader<'a> {
    /// Items up to a closing bracket or the end. `step`: how deep they are; in brackets, plain names are fields.
    fn items(&mut self, collection: &Collection, step: usize) -> Result<Items, RecordError> {
        let mut items = Items::default();
        loop {
            let word = self.word();
            let open = self.rest.starts_with('(');
            if let Ok(size) = word.parse::<u32>()
                && step > 1
            {
                if items.size.replace(size).is_some() || !(1..=MOST_LISTED).contains(&size) {
                    return Err(refuse("has a number of records that is not from 1 to 100, or has two"));
                }
            } else if step > 1 && !open {
                let field = collection.field(word).ok_or_else(|| refuse("names a field that there is not"))?;
                if !items.fields.contains(&field) {
                    items.fields.push(field);
                }
            } else {
                let expansion = self.expansion(word, collection, step)?;
                if items.expansions.iter().any(|known| known.name == expansion.name) {
                    return Err(refuse("names a reference twice"));
                }
                items.expansions.push(expansion);
            }
            match self.rest.chars().next() {
                Some(',') => self.rest = &self.rest[1..],
                _ => return Ok(items),
            }
        }
    }

    fn expansion(&mut self, name: &str, collection: &Collection, step: usize) -> Result<Expansion, RecordError> {
        if step > MAX_STEPS {
            return Err(refuse("is nested too deeply: two steps at most"));
        }
        self.count += 1;
        if self.count > MAX_EXPAND {
            return Err(refuse("names too many references"));
        }
        let referred = collection.field(name).and_then(|field| Some((What::Referred(field), collection.fields[field].ty.refers()?.0)));
        let referring = || {
            let mut all = self.app.referrers(collection.id);
            all.find_map(|(of, field)| {
                (format!("{}_by_{}", of.name, of.fields[field].name) == name).then_some((What::Referring(field, LISTED), of.id))
            })
        };
        let (mut what, of) =
            referred.or_else(referring).ok_or_else(|| refuse("names no reference of this collection, and none to it (COLLECTION_by_FIELD)"))?;
        let mut items = Items::default();
        if let Some(rest) = self.rest.strip_prefix('(') {
            self.rest = rest;
            items = self.items(&self.app.collections[of], step + 1)?;
            self.rest = self.rest.strip_prefix(')').ok_or_else(|| refuse("lacks a closing bracket"))?;
        }
        match (&mut what, items.size) {
            (What::Referring(_, most), Some(size)) => *most = size,
            (What::Referred(_), Some(_)) => return Err(refuse("has a number of records, which only lists (COLLECTION_by_FIELD) have")),
            _ => {}
        }
        let fields = (!items.fields.is_empty()).then(|| {
            let id = Collection::ID;
            std::iter::once(id).chain(items.fields.into_iter().filter(|field| *field != id)).collect()
        });
        Ok(Expansion { name: name.to_owned(), what, of, fields, nested: items.expansions })
    }

    fn word(&mut self) -> &'a str {
        let end = self.rest.find([',', '(', ')']).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word.trim()
    }
}

/// The records of one expansion, for a page: finished JSON.
pub(crate) enum Filled {
    /// By their ids.
    Referred(FieldId, HashMap<Box<str>, Vec<u8>>),
    /// By the record that they refer to: the finished list.
    Referring(HashMap<Box<str>, Vec<u8>>),
}

/// Reads what is shown beside the records of a page, as far as the caller may read it. `None` stands for what policy refuses as a whole.
pub(crate) fn fill<'a>(
    ask: &'a Ask,
    declared: &'a Collection,
    expansions: &'a [Expansion],
    page: &'a RowPage,
) -> BoxFuture<'a, Result<Vec<Option<Filled>>, RecordError>> {
    Box::pin(async move {
        let mut filled = Vec::with_capacity(expansions.len());
        let mut followed = 0;
        for expansion in expansions {
            filled.push(match expansion.what {
                What::Referred(field) => {
                    followed += 1;
                    let ids = rows::named_by(&declared.fields[field].ty, followed - 1, page);
                    Some(Filled::Referred(field, referred(ask, expansion, &ids).await?))
                }
                What::Referring(field, most) => referring(ask, expansion, (field, most), &page.ids).await?.map(Filled::Referring),
            });
        }
        Ok(filled)
    })
}

async fn referred(ask: &Ask, expansion: &Expansion, ids: &[Box<str>]) -> Result<HashMap<Box<str>, Vec<u8>>, RecordError> {
    let follow = self::followed(&expansion.nested);
    let wanted = Wanted { fields: expansion.fields.as_deref(), follow: &follow, ..Wanted::default() };
    let rows = rows::referred(ask, expansion.of, ids, wanted).await?;
    let records = finished(ask, expansion, &rows).await?;
    Ok(rows.ids.into_iter().zip(records).collect())
}

async fn referring(
    ask: &Ask,
    expansion: &Expansion,
    (by, most): (FieldId, u32),
    parents: &[Box<str>],
) -> Result<Option<HashMap<Box<str>, Vec<u8>>>, RecordError> {
    if parents.is_empty() {
        return Ok(Some(HashMap::new()));
    }
    if parents.len() * most as usize > MOST_OF_PAGE {
        return Err(RecordError::TooLong);
    }
    let query = ListQuery {
        fields: expansion.fields.clone(),
        order: ask.app().collections[expansion.of].order.clone(),
        follow: followed(&expansion.nested),
        per: Some(PerParent { column: by, ids: parents.to_vec() }),
        ..ListQuery::new(most)
    };
    let rows = match rows::found(ask, expansion.of, query).await {
        Err(RecordError::Refused(_)) => return Ok(None),
        rows => rows?,
    };
    let records = finished(ask, expansion, &rows).await?;
    let mut lists: Vec<Vec<u8>> = vec![b"{\"items\":[".to_vec(); parents.len()];
    let empty = lists[0].len();
    for (parent, record) in rows.parents.iter().zip(records) {
        let list = &mut lists[*parent];
        if list.len() > empty {
            list.push(b',');
        }
        list.extend_from_slice(&record);
    }
    for (at, list) in lists.iter_mut().enumerate() {
        let more = rows.more.get(at).copied().unwrap_or_default();
        list.extend_from_slice(format!("],\"more\":{more}}}").as_bytes());
    }
    Ok(Some(parents.iter().cloned().zip(lists).collect()))
}

/// The records of a page, each with what is nested in it.
async fn finished(ask: &Ask, expansion: &Expansion, rows: &RowPage) -> Result<Vec<Vec<u8>>, RecordError> {
    let declared = &ask.app().collections[expansion.of];
    let nested = fill(ask, declared, &expansion.nested, rows).await?;
    copies_fit(ask, declared, rows, &nested)?;
    let one = |at: usize| {
        let mut out = Vec::new();
        write_record(declared, &expansion.nested, rows, at, &nested, &mut out);
        out
    };
    Ok((0..rows.ends.len()).map(one).collect())
}

/// A record that many others refer to is copied into each of them: all of it must fit into the reply.
pub(crate) fn copies_fit(ask: &Ask, declared: &Collection, page: &RowPage, filled: &[Option<Filled>]) -> Result<(), RecordError> {
    let (mut copied, mut known, mut followed) = (0, 0, 0);
    for filled in filled.iter().flatten() {
        let Filled::Referred(field, found) = filled else { continue };
        known += found.values().map(Vec::len).sum::<usize>();
        for stored in page.followed.iter().filter_map(|row| row.get(followed)?.as_deref()) {
            copied += declared.fields[*field].ty.ids(stored).iter().filter_map(|id| found.get(id)).map(Vec::len).sum::<usize>();
        }
        followed += 1;
    }
    if copied <= known || ask.shows(copied - known) { Ok(()) } else { Err(RecordError::TooLong) }
}

/// All records of a page.
pub(crate) fn write(declared: &Collection, expansions: &[Expansion], page: &RowPage, filled: &[Option<Filled>], out: &mut Vec<u8>) {
    if expansions.is_empty() {
        out.extend_from_slice(&page.bytes);
        return;
    }
    for at in 0..page.ends.len() {
        if at > 0 {
            out.push(b',');
        }
        write_record(declared, expansions, page, at, filled, out);
    }
}

/// One record of a page, with `_expanded` before its closing brace.
fn write_record(declared: &Collection, expansions: &[Expansion], page: &RowPage, at: usize, filled: &[Option<Filled>], out: &mut Vec<u8>) {
    let start = if at == 0 { 0 } else { page.ends[at - 1] + 1 };
    if expansions.is_empty() {
        return out.extend_from_slice(&page.bytes[start..page.ends[at]]);
    }
    out.extend_from_slice(&page.bytes[start..page.ends[at] - 1]);
    out.extend_from_slice(b",\"_expanded\":{");
    let (mut first, mut followed) = (true, 0);
    for (expansion, filled) in expansions.iter().zip(filled) {
        let shown = match filled {
            Some(Filled::Referred(field, found)) => {
                let stored = page.followed.get(at).and_then(|row| row.get(followed)?.as_deref());
                followed += 1;
                stored.and_then(|stored| named(declared, *field, stored, found))
            }
            Some(Filled::Referring(lists)) => page.ids.get(at).and_then(|id| lists.get(id)).cloned(),
            None => None,
        };
        let Some(shown) = shown else { continue };
        if !first {
            out.push(b',');
        }
        first = false;
        write_json_text(&expansion.name, out);
        out.push(b':');
        out.extend_from_slice(&shown);
    }
    out.extend_from_slice(b"}}");
}

/// The record that a reference names, when the caller may read it; of a list, all that they may read.
fn named(declared: &Collection, field: FieldId, stored: &str, found: &HashMap<Box<str>, Vec<u8>>) -> Option<Vec<u8>> {
    let ty = &declared.fields[field].ty;
    let ids = ty.ids(stored);
    let records: Vec<&[u8]> = ids.iter().filter_map(|id| found.get(id).map(Vec::as_slice)).collect();
    match ty.lists() {
        Some(_) => Some([b"[", records.join(&b","[..]).as_slice(), b"]"].concat()),
        None => records.first().map(|record| record.to_vec()),
    }
}
