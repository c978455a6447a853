//! Subscriptions: a stream of the actions; each item becomes a response of the operation.

use crate::{
    door::{Door, Prepared},
    error::{GraphqlError, Path, write_list},
    execute::Run,
    input,
    plan::{ChangePart, Keyed, RootStep, Selection, Step},
};
use haechi_data::{RecordError, live};
use haechi_gate::{Ask, EndReason, Stream, ToldKind, WatchItem, WatchQuery};
use haechi_model::{CollectionId, Json, RowPage, Shape, write_json_text};
use haechi_problem::{Problem, kinds};
use std::sync::{Arc, Mutex, PoisonError};

/// An open subscription.
pub(crate) struct Subscription {
    door: Arc<Door>,
    prepared: Prepared,
    stream: Stream,
}

/// The next message of a subscription.
pub(crate) enum Next {
    /// A response.
    Data(Vec<u8>),
    /// The end, with its errors, and whether the caller's credential or account has ended or changed.
    End(Vec<u8>, bool),
}

/// The content of a message.
#[derive(Clone, Copy)]
struct Message<'a> {
    kind: &'a str,
    position: &'a str,
    id: Option<&'a str>,
    page: Option<&'a RowPage>,
}

/// The selected parts of each change.
struct Wanted<'a> {
    root: &'a RootStep,
    collection: CollectionId,
    parts: &'a [Keyed<ChangePart>],
}

fn wanted(prepared: &Prepared) -> Option<Wanted<'_>> {
    let root = prepared.plan.roots.first()?;
    match &root.step {
        Step::Watch { collection, parts, .. } => Some(Wanted { root, collection: *collection, parts }),
        _ => None,
    }
}

/// The selection of the record, if any.
fn selection(parts: &[Keyed<ChangePart>]) -> Option<&Selection> {
    parts.iter().find_map(|part| if let Some(ChangePart::Record(selection)) = part.what() { Some(selection) } else { None })
}

impl Subscription {
    /// Opens a prepared subscription.
    pub(crate) async fn open(door: &Arc<Door>, ask: &Ask, prepared: Prepared) -> Result<Self, Vec<GraphqlError>> {
        let one = |problem: Problem| vec![GraphqlError::of_request(problem)];
        let Some(Wanted { root, collection, parts }) = wanted(&prepared) else {
            return Err(one(Problem::new(kinds::MALFORMED, "A subscription names one collection.")));
        };
        if prepared.plan.roots.len() != 1 || parts.iter().filter(|part| matches!(part.what(), Some(ChangePart::Record(_)))).count() > 1 {
            return Err(one(Problem::new(kinds::MALFORMED, "A subscription has one root field, which shows `record` once.")));
        }
        let path = Path { parent: None, key: &root.key, index: None };
        let Step::Watch { filter, after, .. } = &root.step else { return Err(Vec::new()) };
        let declared = &ask.app().collections[collection];
        let wrong = |what: String| vec![GraphqlError::input(&path, what)];
        let filter = input::typed(&door.types, filter.as_ref(), &prepared.variables, &format!("{}Filter", declared.singular)).map_err(wrong)?;
        let run = door.run(ask, &prepared.variables);
        let filter = run.condition(declared, filter.as_ref()).map_err(wrong)?.predicate;
        let after = match input::argument(after.as_ref(), &prepared.variables) {
            Some(Json::Text(token)) => Some(token.to_string()),
            _ => None,
        };
        let shown = selection(parts);
        let query = WatchQuery {
            fields: Some(shown.map_or_else(Vec::new, |selection| selection.fields.clone())),
            filter,
            shape: shown.map_or_else(|| Shape::Object(Arc::from(Vec::new())), |selection| selection.shape.clone()),
            follow: shown.map_or_else(Vec::new, |selection| selection.follow.clone()),
        };
        let refused = |error: RecordError| vec![GraphqlError::record(&path, &error)];
        let grant = ask.on(collection).map_err(|refusal| refused(RecordError::Refused(refusal)))?;
        let stream = live::actions::watch(&door.gate, grant, query, after.as_deref()).await.map_err(refused)?;
        drop(run);
        Ok(Self { door: door.clone(), prepared, stream })
    }

    /// The next message; `None` after the end.
    pub(crate) async fn next(&mut self) -> Option<Next> {
        loop {
            return Some(match self.stream.next().await? {
                WatchItem::Ready(position) => Next::Data(self.response(Message { kind: "READY", position: &position, id: None, page: None }).await),
                WatchItem::Resync(position) => Next::Data(self.response(Message { kind: "RESYNC", position: &position, id: None, page: None }).await),
                WatchItem::Beat(_) => continue,
                WatchItem::End(reason) => self.ended(reason),
                WatchItem::Told(told) => {
                    let kind = match told.kind {
                        ToldKind::Create => "CREATE",
                        ToldKind::Update => "UPDATE",
                        ToldKind::Delete => "DELETE",
                    };
                    let message = Message { kind, position: &told.position, id: Some(&told.id), page: told.page.as_ref() };
                    // Further reads for a change have the time limit of a request.
                    match tokio::time::timeout(self.door.timeout, self.response(message)).await {
                        Ok(bytes) => Next::Data(bytes),
                        Err(_) => self.ended(EndReason::Busy),
                    }
                }
            });
        }
    }

    fn ended(&self, reason: EndReason) -> Next {
        let problem = live::actions::ended(reason);
        let mut errors = Vec::new();
        write_list(&[GraphqlError::of_request(problem)], &self.door.base, &self.stream.ask(), &mut errors);
        Next::End(errors, reason == EndReason::Caller)
    }

    async fn response(&self, message: Message<'_>) -> Vec<u8> {
        let ask = self.stream.ask().renewed();
        let run = self.door.run(&ask, &self.prepared.variables);
        let mut out = Vec::from(&b"{\"data\":{"[..]);
        if let Some(Wanted { root, parts, .. }) = wanted(&self.prepared) {
            let path = Path { parent: None, key: &root.key, index: None };
            write_json_text(&root.key, &mut out);
            out.extend_from_slice(b":{");
            for (at, part) in parts.iter().enumerate() {
                if let Some(part) = part.begin(at == 0, &mut out) {
                    write_part(part, message, &run, &path, &mut out).await;
                }
            }
            out.push(b'}');
        }
        out.push(b'}');
        let errors = run.errors.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.door.write_errors(&ask, &errors, &mut out);
        out.push(b'}');
        out
    }
}

async fn write_part(part: &ChangePart, message: Message<'_>, run: &Run<'_>, path: &Path<'_>, out: &mut Vec<u8>) {
    let text = match part {
        ChangePart::Type => Some(message.kind),
        ChangePart::Position => Some(message.position),
        ChangePart::Id => message.id,
        ChangePart::Record(selection) => {
            return match message.page {
                Some(page) => out.extend(Box::pin(run.only(selection, page.clone(), path)).await),
                None => out.extend_from_slice(b"null"),
            };
        }
    };
    match text {
        Some(text) => write_json_text(text, out),
        None => out.extend_from_slice(b"null"),
    }
}

impl Door {
    /// A run without an HTTP request.
    pub(crate) fn run<'a>(&'a self, ask: &'a Ask, variables: &'a input::Variables) -> Run<'a> {
        Run { ask, types: &self.types, tokens: self.gate.page_tokens(), variables, errors: Mutex::default(), in_url: false }
    }
}
