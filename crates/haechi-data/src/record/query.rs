//! The query of a list, from a URL or a body: names, types and limits are checked here.

use super::{
    error::RecordError,
    expand::{self, Expansion},
};
use haechi_model::filter::{read_filter_through, read_order, restriction};
use haechi_model::{App, Collection, CollectionId, FieldId, FieldType, Json, Order, Predicate};

/// Records of a page when the request does not say.
const DEFAULT_PAGE: u32 = 20;

/// A query as written: name and text of each parameter.
#[derive(Clone, Debug, Default)]
pub struct QueryInput {
    /// Parameters in order.
    pub parameters: Vec<(String, String)>,
    /// Whether they stood in a URL.
    pub in_url: bool,
}

/// A query that can be asked.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    pub(crate) filter: Predicate,
    pub(crate) order: Vec<Order>,
    pub(crate) page_size: u32,
    pub(crate) page_token: Option<String>,
    pub(crate) fields: Option<Vec<FieldId>>,
    pub(crate) expand: Vec<Expansion>,
    /// Whether the number of all rows is wanted.
    pub(crate) count: bool,
    /// What a page token is bound to, beside the caller.
    pub(crate) fingerprint: String,
}

impl QueryInput {
    /// From the query part of a URL. Names that stand twice are refused.
    ///
    /// # Errors
    /// When it is not well formed.
    pub fn from_url(query: &str) -> Result<Self, RecordError> {
        let mut parameters: Vec<(String, String)> = Vec::new();
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            if parameters.iter().any(|(known, _)| *known == name) {
                return Err(RecordError::Parameter { name, what: "stands twice" });
            }
            parameters.push((name, value));
        }
        Ok(Self { parameters, in_url: true })
    }

    /// The value of the only parameter that is known.
    pub(crate) fn only(self, known: &str) -> Result<Option<String>, RecordError> {
        let mut found = None;
        for (name, value) in self.parameters {
            if name != known {
                return Err(RecordError::Parameter { name, what: "is not known here" });
            }
            found = Some(value);
        }
        Ok(found)
    }

    /// From the body of `:query`.
    pub(crate) fn from_json(json: Json) -> Result<Self, RecordError> {
        let Json::Object(members) = json else { return Err(RecordError::Shape("The body must be a JSON object.")) };
        let mut parameters = Vec::with_capacity(members.len());
        for (name, json) in members {
            let text = match json {
                Json::Text(text) => text.into(),
                Json::Number(digits) => digits.into(),
                Json::Bool(flag) => flag.to_string(),
                Json::List(items) if matches!(&*name, "fields" | "expand" | "group_by" | "sum" | "avg" | "min" | "max") => {
                    let texts: Option<Vec<String>> =
                        items.into_iter().map(|item| if let Json::Text(text) = item { Some(text.into()) } else { None }).collect();
                    texts.ok_or_else(|| RecordError::Parameter { name: name.to_string(), what: "must be a list of names" })?.join(",")
                }
                _ => return Err(RecordError::Parameter { name: name.into(), what: "must be a string, a number, true or false" }),
            };
            parameters.push((name.into(), text));
        }
        Ok(Self { parameters, in_url: false })
    }

    /// URLs are logged on their way: personal fields do not stand there, neither those of the collection nor those that a filter looks at
    /// through references.
    pub(crate) fn not_personal(
        &self,
        app: &App,
        collection: &Collection,
        used: &[FieldId],
        through: &[(CollectionId, FieldId)],
    ) -> Result<(), RecordError> {
        let personal = |of: &Collection, field: FieldId| self.in_url && app.classes[of.fields[field].class].guarded();
        if let Some(field) = used.iter().find(|field| personal(collection, **field)) {
            return Err(RecordError::UseQueryBody(collection.fields[*field].name.clone()));
        }
        match through.iter().map(|(of, field)| (&app.collections[*of], *field)).find(|(of, field)| personal(of, *field)) {
            Some((of, field)) => Err(RecordError::UseQueryBody(format!("{}.{}", of.name, of.fields[field].name))),
            None => Ok(()),
        }
    }

    /// Checks a query against a collection.
    pub(crate) fn resolve(&self, app: &App, collection: &Collection, me: Option<&str>) -> Result<Query, RecordError> {
        let mut query = Query {
            filter: Predicate::True,
            order: collection.order.clone(),
            page_size: collection.page_size.unwrap_or(DEFAULT_PAGE).min(app.config.limits.page_size),
            page_token: None,
            fields: None,
            expand: Vec::new(),
            count: false,
            fingerprint: String::new(),
        };
        let mut used: Vec<FieldId> = Vec::new();
        let (mut filters, mut through) = (Vec::new(), Vec::new());
        for (name, value) in &self.parameters {
            match name.as_str() {
                "filter" => {
                    let filter = read_filter_through(value, &app.collections, collection, me).map_err(RecordError::Filter)?;
                    used.extend(filter.fields);
                    through.extend(filter.through);
                    filters.push(filter.predicate);
                }
                "order_by" => {
                    query.order = read_order(value, collection).map_err(RecordError::Order)?;
                    used.extend(query.order.iter().map(|part| part.column));
                }
                "page_size" => query.page_size = page_size(value, app.config.limits.page_size)?,
                "page_token" if value.is_empty() => {}
                "page_token" => query.page_token = Some(value.clone()),
                "fields" => query.fields = Some(fields(value, collection)?),
                "count" => query.count = flag("count", value)?,
                "expand" => query.expand = expand::read(value, app, collection)?,
                _ => {
                    let (field, predicate) = equality(name, value, collection, me)?;
                    used.push(field);
                    filters.push(predicate);
                }
            }
        }
        self.not_personal(app, collection, &used, &through)?;
        query.filter = Predicate::all(filters);
        let mut fields = query.fields.clone();
        fields.iter_mut().for_each(|fields| fields.sort_unstable());
        query.fingerprint = format!("{}\0{fields:?}", fingerprint(collection, &query.filter, &query.order));
        Ok(query)
    }
}

/// The query that a page token is bound to: its meaning without the order of its parameters, and the types of the fields that it is ordered
/// by. A place among values of another type is invalid.
#[must_use]
pub fn fingerprint(collection: &Collection, filter: &Predicate, order: &[Order]) -> String {
    let parts = if let Predicate::All(parts) = filter { parts } else { std::slice::from_ref(filter) };
    let mut parts: Vec<String> = parts.iter().map(|filter| format!("{filter:?}")).collect();
    parts.sort_unstable();
    let order: Vec<_> = order.iter().map(|part| (part, &collection.fields[part.column].ty)).collect();
    format!("{}\0{parts:?}\0{order:?}", collection.name)
}

/// Percent-decodes once; what is not UTF-8 afterwards is refused.
fn decode(text: &str) -> Result<String, RecordError> {
    let refuse = || RecordError::Shape("The query part of the URL is not well formed.");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16)).map(|digit| digit as u8).ok_or_else(refuse);
                digit(rest.next())? << 4 | digit(rest.next())?
            }
            byte => byte,
        });
    }
    let text = String::from_utf8(bytes).map_err(|_| refuse())?;
    if text.contains('\0') { Err(refuse()) } else { Ok(text) }
}

fn flag(name: &str, value: &str) -> Result<bool, RecordError> {
    value.parse().map_err(|_| RecordError::Parameter { name: name.to_owned(), what: "must be true or false" })
}

fn page_size(value: &str, most: u32) -> Result<u32, RecordError> {
    match value.parse::<u32>() {
        Ok(size) if size >= 1 => Ok(size.min(most)),
        _ => Err(RecordError::Parameter { name: "page_size".to_owned(), what: "must be a whole number from 1" }),
    }
}

/// The named fields, in the order of a reply; `id` is always among them.
fn fields(value: &str, collection: &Collection) -> Result<Vec<FieldId>, RecordError> {
    let mut named = vec![Collection::ID];
    for name in value.split(',') {
        let field = collection
            .field(name.trim())
            .ok_or_else(|| RecordError::Parameter { name: "fields".to_owned(), what: "names a field that there is not" })?;
        if !named.contains(&field) {
            named.push(field);
        }
    }
    Ok(named)
}

/// Fields of a kind, each once.
pub(crate) fn names(
    parameter: &str,
    value: &str,
    collection: &Collection,
    fits: &dyn Fn(&FieldType) -> bool,
    most: usize,
) -> Result<Vec<FieldId>, RecordError> {
    let refuse = |what| RecordError::Parameter { name: parameter.to_owned(), what };
    let mut named = Vec::new();
    for name in value.split(',') {
        let field = collection.field(name.trim()).ok_or_else(|| refuse("names a field that there is not"))?;
        if !fits(&collection.fields[field].ty) {
            return Err(refuse("names a field whose type does not allow that"));
        }
        if !named.contains(&field) {
            named.push(field);
        }
    }
    if named.len() > most { Err(refuse("names too many fields")) } else { Ok(named) }
}

pub(crate) fn equality(name: &str, value: &str, collection: &Collection, me: Option<&str>) -> Result<(FieldId, Predicate), RecordError> {
    let unknown = || RecordError::Parameter {
        name: name.to_owned(),
        what: "is neither a field nor one of filter, order_by, page_size, page_token, fields, expand, count",
    };
    let id = collection.field(name).ok_or_else(unknown)?;
    if !collection.fields[id].ty.comparable() {
        return Err(RecordError::Parameter { name: name.to_owned(), what: "cannot be compared; use filter with `:`" });
    }
    let wrong = |_| RecordError::Parameter { name: name.to_owned(), what: "has a value that the field cannot hold" };
    Ok((id, restriction(collection, id, "=", Some(value), me).map_err(wrong)?))
}
