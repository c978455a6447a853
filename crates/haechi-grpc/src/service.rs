//! The methods: requests become actions, records become messages.

use crate::{
    proto::{Entry, Method},
    request::Incoming,
    state::Door,
};
use bytes::Bytes;
use haechi_data::{
    QueryInput, RecordError,
    actions::{self, Listing, Made},
    aggregate::{self, Question, write_result},
    batch::{self, Outcome},
    declared::{self, Target},
    live,
    many::{self, Doing},
};
use haechi_gate::{Ask, Stream, Told, ToldKind, Wanted, WatchItem, reply_order};
use haechi_model::{
    AggregateFunction, Claim, Collection, CollectionId, FieldId, FieldType, Json, RowPage, Shape, Value, field_number, snake, write_bytes,
    write_value, write_varint,
};
use haechi_problem::{Problem, kinds};

/// Most items of a batch.
const MAX_ITEMS: usize = 100;

/// Why a call failed.
pub(crate) struct Failed(pub(crate) Problem);

impl From<RecordError> for Failed {
    fn from(error: RecordError) -> Self {
        Self(error.problem())
    }
}

impl From<Problem> for Failed {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

type Reply = Result<Vec<u8>, Failed>;

/// One call.
pub(crate) struct Call<'a> {
    pub(crate) door: &'a Door,
    pub(crate) ask: &'a Ask,
    pub(crate) entry: &'a Entry,
}

impl Call<'_> {
    fn collection(&self) -> &Collection {
        &self.ask.app().collections[self.entry.collection]
    }

    fn id(&self) -> CollectionId {
        self.entry.collection
    }

    /// Answers a unary call.
    pub(crate) async fn answer(&self, bytes: Bytes) -> Reply {
        let request = Incoming::read(&self.entry.request, bytes)?;
        match &self.entry.method {
            Method::Get => self.get(&request).await,
            Method::List => self.list(&request).await,
            Method::Aggregate => self.aggregate(&request).await,
            Method::Create => {
                let collection = self.collection();
                let json = Json::Object(request.object(&snake(&collection.singular), collection)?);
                let made = actions::create(self.ask, self.id(), &json, self.claim(&request)?).await?;
                Ok(self.shown(&made).await)
            }
            Method::Update => {
                let collection = self.collection();
                let (id, json) = request.update(&snake(&collection.singular), collection)?;
                let made = actions::update(self.ask, self.id(), &id, &json, request.number("version"), self.claim(&request)?).await?;
                Ok(self.shown(&made).await)
            }
            Method::Delete => {
                actions::delete(self.ask, self.id(), &request.text("id"), request.number("version"), self.claim(&request)?).await?;
                Ok(Vec::new())
            }
            Method::Upsert => {
                let collection = self.collection();
                let json = Json::Object(request.object(&snake(&collection.singular), collection)?);
                let on: Vec<Json> = request.texts("on").into_iter().map(Json::Text).collect();
                let made = many::upsert_data(self.ask, self.id(), &on, &json, self.claim(&request)?).await?;
                Ok(self.shown(&made).await)
            }
            Method::Many(doing) => self.many(*doing, &request).await,
            Method::BatchGet => self.batch_get(&request).await,
            Method::BatchCreate | Method::BatchUpdate | Method::BatchDelete => self.batch(&request).await,
            Method::Act(name) => self.act(name, &request).await,
            Method::Watch => Err(Problem::new(kinds::MALFORMED, "This method streams.").into()),
        }
    }

    /// Policy refuses before the message is parsed, as with REST.
    pub(crate) fn permitted(&self) -> Result<(), Failed> {
        let (ask, id) = (self.ask, self.id());
        let refused = match &self.entry.method {
            Method::Get | Method::BatchGet => ask.on::<haechi_gate::Read>(id).err(),
            Method::List | Method::Aggregate => ask.on::<haechi_gate::List>(id).err(),
            Method::Create | Method::BatchCreate => ask.on::<haechi_gate::Create>(id).err(),
            Method::Update | Method::BatchUpdate => ask.on::<haechi_gate::Update>(id).err(),
            Method::Delete | Method::BatchDelete => ask.on::<haechi_gate::Delete>(id).err(),
            Method::Upsert => many::may_upsert(ask, id).err(),
            Method::Many(doing) => many::may_do(ask, id, *doing).err(),
            Method::Watch => ask.on::<haechi_gate::Watch>(id).err(),
            Method::Act(_) => None,
        };
        refused.map_or(Ok(()), |refusal| Err(RecordError::Refused(refusal).into()))
    }

    /// An idempotency key, bound to caller, method and what is asked.
    fn claim(&self, request: &Incoming) -> Result<Option<Claim>, Failed> {
        let Some(key) = request.request_id() else { return Ok(None) };
        let value = http::HeaderValue::try_from(key).map_err(|_| RecordError::IdempotencyKey)?;
        let headers = std::iter::once((http::HeaderName::from_static("idempotency-key"), value)).collect();
        let route = format!("grpc/{}/{:?}", self.collection().name, self.entry.method);
        Ok(haechi_data::claim(self.ask, &headers, &http::Method::POST, &route, &request.canonical())?)
    }

    fn shape(&self, fields: Option<&[FieldId]>) -> Shape {
        match fields {
            None => Shape::Message(self.door.numbers[self.id()].clone()),
            Some(fields) => Shape::Message(fields.iter().map(|field| field_number(self.collection(), *field)).collect()),
        }
    }

    /// The fields of a mask, with `id` among them.
    fn masked(&self, request: &Incoming) -> Result<Option<Vec<FieldId>>, Failed> {
        let Some(paths) = request.mask("read_mask").filter(|paths| paths.iter().all(|path| path != "*")) else { return Ok(None) };
        let mut fields = vec![Collection::ID];
        for path in paths {
            let unknown = || RecordError::Parameter { name: "read_mask".to_owned(), what: "names a field that there is not" };
            let field = self.collection().field(&path).ok_or_else(unknown)?;
            if !fields.contains(&field) {
                fields.push(field);
            }
        }
        Ok(Some(fields))
    }

    async fn get(&self, request: &Incoming) -> Reply {
        let fields = self.masked(request)?;
        let wanted = Wanted { fields: fields.as_deref(), follow: &[], shape: self.shape(fields.as_deref()) };
        Ok(actions::row(self.ask, self.id(), &request.text("id"), wanted).await?.bytes)
    }

    fn query(&self, request: &Incoming) -> QueryInput {
        let mut parameters = Vec::new();
        for name in ["filter", "order_by", "page_token"] {
            let text = request.text(name);
            if !text.is_empty() {
                parameters.push((name.to_owned(), text));
            }
        }
        if request.flag("count") {
            parameters.push(("count".to_owned(), "true".to_owned()));
        }
        match request.number("page_size") {
            None | Some(0) => {}
            Some(size) => parameters.push(("page_size".to_owned(), size.to_string())),
        }
        if let Some(paths) = request.mask("read_mask").filter(|paths| paths.iter().all(|path| path != "*")) {
            parameters.push(("fields".to_owned(), paths.join(",")));
        }
        QueryInput { parameters, in_url: false }
    }

    async fn list(&self, request: &Incoming) -> Reply {
        let input = self.query(request);
        let listing = Listing { input: &input, tokens: self.door.gate.page_tokens() };
        let listed = actions::page(self.ask, self.id(), &listing, &|fields| self.shape(fields)).await?;
        let mut out = rows(&listed.page);
        if let Some(token) = &listed.next {
            write_bytes(2, token.as_bytes(), &mut out);
        }
        if let Some(total) = listed.total.filter(|total| *total > 0) {
            out.push(3 << 3);
            write_varint(total.unsigned_abs(), &mut out);
        }
        if let Some(token) = &listed.prev {
            write_bytes(4, token.as_bytes(), &mut out);
        }
        Ok(out)
    }

    async fn aggregate(&self, request: &Incoming) -> Reply {
        let mut parameters = Vec::new();
        for name in ["group_by", "sum", "avg", "min", "max"] {
            let fields = request.texts(name);
            if !fields.is_empty() {
                parameters.push((name.to_owned(), fields.join(",")));
            }
        }
        let filter = request.text("filter");
        if !filter.is_empty() {
            parameters.push(("filter".to_owned(), filter));
        }
        let (question, groups) = aggregate::answer(self.ask, self.id(), &QueryInput { parameters, in_url: false }).await?;
        let mut out = Vec::new();
        for values in &groups {
            write_bytes(1, &self.group(&question, values), &mut out);
        }
        Ok(out)
    }

    /// A group as a message.
    fn group(&self, question: &Question, values: &[Value]) -> Vec<u8> {
        let (declared, mut values, mut out) = (self.collection(), values.iter(), Vec::new());
        let record = |fields: &[FieldId], values: &mut std::slice::Iter<'_, Value>| {
            let mut inner = Vec::new();
            for (field, value) in fields.iter().zip(values) {
                write_value(&declared.fields[*field].ty, field_number(declared, *field), value, &mut inner);
            }
            inner
        };
        write_bytes(1, &record(&question.group_by, &mut values), &mut out);
        out.push(2 << 3);
        write_varint(values.next().and_then(Value::as_int).unwrap_or_default().unsigned_abs(), &mut out);
        for (_, function, fields) in &question.wanted {
            match function {
                AggregateFunction::Min => write_bytes(5, &record(fields, &mut values), &mut out),
                AggregateFunction::Max => write_bytes(6, &record(fields, &mut values), &mut out),
                function => {
                    let number = if *function == AggregateFunction::Sum { 3 } else { 4 };
                    for (field, value) in fields.iter().zip(&mut values) {
                        write_bytes(number, &computed(declared, *field, *function, value), &mut out);
                    }
                }
            }
        }
        out
    }

    async fn batch_get(&self, request: &Incoming) -> Reply {
        let mut ids = request.texts("ids");
        self.counted(ids.len())?;
        // Upper case is the same id.
        ids.iter_mut().for_each(|id| *id = id.to_ascii_lowercase().into());
        let fields = self.masked(request)?;
        let wanted = Wanted { fields: fields.as_deref(), follow: &[], shape: self.shape(fields.as_deref()) };
        let page = actions::several(self.ask, self.id(), &ids, wanted).await?;
        // In the order in which they were asked for.
        let mut out = Vec::with_capacity(page.bytes.len() + ids.len() * 4);
        for id in &ids {
            if let Some(at) = page.ids.iter().position(|found| found == id) {
                write_bytes(1, row(&page, at), &mut out);
            }
        }
        Ok(out)
    }

    fn counted(&self, items: usize) -> Result<(), Failed> {
        if !(1..=MAX_ITEMS).contains(&items) {
            return Err(Problem::new(kinds::MALFORMED, format!("A batch has 1 to {MAX_ITEMS} items.")).into());
        }
        Ok(self.ask.spend(items - 1).map_err(RecordError::Spent)?)
    }

    /// A batch is the same as in REST: the same operations, all or none.
    async fn batch(&self, request: &Incoming) -> Reply {
        let requests = request.requests();
        if !(1..=MAX_ITEMS).contains(&requests.len()) {
            return Err(Problem::new(kinds::MALFORMED, format!("A batch has 1 to {MAX_ITEMS} items.")).into());
        }
        let (collection, name) = (self.collection(), |text: &str| Json::Text(text.into()));
        let single = snake(&collection.singular);
        let mut operations = Vec::with_capacity(requests.len());
        for request in &requests {
            if request.request_id().is_some() {
                return Err(Problem::new(kinds::MALFORMED, "`request_id` belongs to the batch, not to an item.").into());
            }
            let mut members: Vec<(Box<str>, Json)> = Vec::with_capacity(4);
            match self.entry.method {
                Method::BatchCreate => {
                    members.push(("create".into(), name(&collection.name)));
                    members.push(("data".into(), Json::Object(request.object(&single, collection)?)));
                }
                Method::BatchUpdate => {
                    let (id, data) = request.update(&single, collection)?;
                    members.extend([("update".into(), name(&collection.name)), ("id".into(), name(&id)), ("data".into(), data)]);
                }
                _ => members.extend([("delete".into(), name(&collection.name)), ("id".into(), name(&request.text("id")))]),
            }
            if let Some(version) = request.number("version") {
                members.push(("if_match".into(), Json::Number(version.to_string().into())));
            }
            operations.push(Json::Object(members));
        }
        let json = Json::Object(vec![("operations".into(), Json::List(operations))]);
        let (outcomes, _) = batch::run(self.ask, &json, self.claim(request)?).await?;
        let mut out = Vec::new();
        for outcome in &outcomes {
            if let Outcome::Made(made) = outcome {
                write_bytes(1, &self.shown(made).await, &mut out);
            }
        }
        Ok(out)
    }

    async fn many(&self, doing: Doing, request: &Incoming) -> Reply {
        let (collection, filter) = (self.collection(), request.text("filter"));
        // A filter that is left out would mean all records.
        if filter.trim().is_empty() {
            return Err(Problem::new(kinds::MALFORMED, "`filter` must ask for something.").into());
        }
        let filter = many::condition(self.ask, collection, &filter)?;
        let data = match doing {
            Doing::Change => Some(request.changed(&snake(&collection.singular), collection)?),
            Doing::Remove => None,
        };
        let data = data.as_ref().map(|data| (data, ""));
        let many = many::by_condition(self.ask, self.id(), (doing, filter), data, self.claim(request)?).await?;
        let mut out = Vec::new();
        if !many.ids.is_empty() {
            out.push(1 << 3);
            write_varint(many.ids.len() as u64, &mut out);
        }
        many.ids.iter().for_each(|id| write_bytes(2, id.as_bytes(), &mut out));
        Ok(out)
    }

    async fn act(&self, name: &str, request: &Incoming) -> Reply {
        let grant = declared::grant(self.ask, self.id(), name)?;
        let input = request.object("input", &grant.action().input)?;
        let id = request.text("id");
        let target = Target { id: &id, version: request.number("version") };
        let made = declared::act(self.ask, grant, &self.door.handlers, target, Some(&Json::Object(input)), self.claim(request)?).await?;
        Ok(self.shown(&made).await)
    }

    /// A record as its writer may see it: at least its id.
    async fn shown(&self, made: &Made) -> Vec<u8> {
        let wanted = Wanted { fields: None, follow: &[], shape: self.shape(None) };
        match made.shown(self.ask, wanted).await {
            Some(page) => page.bytes,
            None => {
                let mut out = Vec::with_capacity(40);
                write_bytes(1, made.id.as_bytes(), &mut out);
                out
            }
        }
    }

    /// Opens a stream.
    pub(crate) async fn watch(&self, bytes: Bytes) -> Result<Stream, Failed> {
        let request = Incoming::read(&self.entry.request, bytes)?;
        let input = self.query(&request);
        let mut query = live::actions::query(self.ask, self.id(), &input)?;
        query.shape = self.shape(query.fields.as_deref());
        let after = request.text("after");
        let after = (!after.is_empty()).then_some(after);
        let grant = self.ask.on(self.id()).map_err(RecordError::Refused)?;
        Ok(live::actions::watch(&self.door.gate, grant, query, after.as_deref()).await?)
    }
}

/// A sum or a mean, with its field.
fn computed(declared: &Collection, field: FieldId, function: AggregateFunction, value: &Value) -> Vec<u8> {
    let (mut out, mut json) = (Vec::new(), Vec::new());
    write_bytes(1, declared.fields[field].name.as_bytes(), &mut out);
    if value.is_null() {
        return out;
    }
    write_result(&declared.fields[field].ty, function, value, &mut json);
    let text = String::from_utf8_lossy(&json);
    let digits = text.trim_matches('"');
    if function == AggregateFunction::Sum {
        write_bytes(2, digits.as_bytes(), &mut out);
    } else {
        let mean = FieldType::Float { min: f64::MIN, max: f64::MAX };
        write_value(&mean, 2, &Value::Real(digits.parse().unwrap_or_default()), &mut out);
    }
    out
}

/// The numbers of all fields, in the order in which a whole record is read.
pub(crate) fn numbers(collection: &Collection) -> std::sync::Arc<[u32]> {
    reply_order(collection).map(|field| field_number(collection, field)).collect()
}

fn row(page: &RowPage, at: usize) -> &[u8] {
    let start = at.checked_sub(1).map_or(0, |before| page.ends[before]);
    &page.bytes[start..page.ends[at]]
}

fn rows(page: &RowPage) -> Vec<u8> {
    let mut out = Vec::with_capacity(page.bytes.len() + page.ends.len() * 4 + 256);
    for at in 0..page.ends.len() {
        write_bytes(1, row(page, at), &mut out);
    }
    out
}

/// An item of a stream as a message; `None` when it needs no message, an error at the end.
pub(crate) fn item(item: &WatchItem) -> Result<Option<Bytes>, Failed> {
    match item {
        WatchItem::Ready(position) => Ok(Some(change(1, position, None).into())),
        WatchItem::Resync(position) => Ok(Some(change(5, position, None).into())),
        WatchItem::Beat(_) => Ok(None),
        WatchItem::Told(told) => Ok(Some(told.rendered.get_or_init(|| told_change(told).into()).clone())),
        WatchItem::End(reason) => Err(Failed(live::actions::ended(*reason))),
    }
}

fn told_change(told: &Told) -> Vec<u8> {
    let kind = match told.kind {
        ToldKind::Create => 2,
        ToldKind::Update => 3,
        ToldKind::Delete => 4,
    };
    change(kind, &told.position, Some((&told.id, told.page.as_ref())))
}

fn change(kind: u64, position: &str, told: Option<(&str, Option<&RowPage>)>) -> Vec<u8> {
    let mut out = vec![0x08];
    write_varint(kind, &mut out);
    write_bytes(2, position.as_bytes(), &mut out);
    if let Some((id, page)) = told {
        write_bytes(3, id.as_bytes(), &mut out);
        if let Some(page) = page {
            write_bytes(4, &page.bytes, &mut out);
        }
    }
    out
}
