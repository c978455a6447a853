//! The REST face of records: extract, act, reply.

use super::{
    actions::{self, Listing, Page},
    aggregate::aggregate,
    batch,
    declared::{self, Handlers, Target},
    error::RecordError,
    export::{Exports, export},
    many::{self, Doing},
    query::QueryInput,
};
use crate::live;
use aws_lc_rs::digest;
use axum::{
    Extension, Router,
    body::{Body, Bytes, HttpBody},
    extract::{Path, RawQuery, State, rejection::PathRejection},
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    response::Response,
    routing::{get, post},
};
use haechi_gate::{Ask, Gate};
use haechi_jobs::Jobs;
use haechi_model::{Claim, Json, parse_json};
use haechi_problem::pointer;
use std::{fmt::Write, sync::Arc};

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub(crate) const PRIVATE: HeaderValue = HeaderValue::from_static("private, no-store");
const MAX_KEY: usize = 255;
/// The end of the path of a collection's stream.
const WATCH: &str = ":watch";
/// The end of the path of counts, sums, extremes and means.
const AGGREGATE: &str = ":aggregate";
/// The end of the path of an export.
const EXPORT: &str = ":export";
/// The end of the path of a query in a body.
const QUERY: &str = ":query";
/// Headers of a reply, those of the stack included.
const HEADERS: usize = 20;

/// The state of the routes.
#[derive(Clone)]
pub struct Data {
    /// The gate.
    pub gate: Gate,
    /// The origin that stands in `Location` and in problem types.
    pub base: Arc<str>,
    /// Largest body.
    pub body_bytes: usize,
    /// Handlers of declared actions.
    pub handlers: Handlers,
    /// Jobs.
    pub jobs: Jobs,
    /// Exports that go on.
    pub exports: Exports,
}

/// All routes of records.
pub fn router(data: Data) -> Router {
    Router::new()
        .route("/api/v1:batch", post(run_batch))
        .route("/api/v1/{collection}", get(list).post(create_or_query))
        .route("/api/v1/{collection}/{id}", get(read).patch(update).delete(delete).post(act))
        .with_state(Arc::new(data))
}

type Reply = Result<Response, Response>;
/// A path that may not decode; it answers 404 then.
type Named<T> = Result<Path<T>, PathRejection>;

fn named<T>(path: Named<T>) -> Result<T, RecordError> {
    path.map(|Path(name)| name).map_err(|_| RecordError::NotFound)
}

/// A query in a body is sent by POST only.
fn wrong_method(data: &Data, ask: &Ask) -> Response {
    let problem = haechi_problem::Problem::new(haechi_problem::kinds::METHOD_NOT_ALLOWED, "See the Allow header.");
    let mut response = problem.response(&data.base, ask.request_id());
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
    response
}

fn refuse(data: &Data, ask: &Ask, error: &RecordError) -> Response {
    error.problem().response(&data.base, ask.request_id())
}

async fn list(
    State(data): State<Arc<Data>>,
    Extension(ask): Extension<Ask>,
    path: Named<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Reply {
    let run = async {
        let name = named(path)?;
        if name.ends_with(QUERY) {
            return Ok(wrong_method(&data, &ask));
        }
        if let Some(name) = name.strip_suffix(WATCH) {
            let input = QueryInput::from_url(query.as_deref().unwrap_or_default())?;
            // Policy refuses before the query is parsed, as everywhere.
            let grant = ask.on(actions::collection(&ask, name)?).map_err(RecordError::Refused)?;
            return Box::pin(live::http::watch(&data.gate, &ask, grant, &input, &headers)).await;
        }
        if let Some(name) = name.strip_suffix(AGGREGATE) {
            let collection = actions::collection(&ask, name)?;
            let _: haechi_gate::Grant<haechi_gate::List> = ask.on(collection).map_err(RecordError::Refused)?;
            let input = QueryInput::from_url(query.as_deref().unwrap_or_default())?;
            return Box::pin(aggregate(&ask, collection, &input)).await.map(ok);
        }
        if let Some(name) = name.strip_suffix(EXPORT) {
            let collection = actions::collection(&ask, name)?;
            let _: haechi_gate::Grant<haechi_gate::Export> = ask.on(collection).map_err(RecordError::Refused)?;
            let input = QueryInput::from_url(query.as_deref().unwrap_or_default())?;
            return Box::pin(export(&data.exports, &ask, collection, input)).await;
        }
        let collection = actions::collection(&ask, &name)?;
        let input = QueryInput::from_url(query.as_deref().unwrap_or_default())?;
        actions::list(&ask, collection, &Listing { input: &input, tokens: data.gate.page_tokens() }).await.map(|page| ok(page.bytes))
    };
    run.await.map_err(|error| refuse(&data, &ask, &error))
}

async fn create_or_query(
    State(data): State<Arc<Data>>,
    Extension(ask): Extension<Ask>,
    path: Named<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Reply {
    let run = async {
        let name = named(path)?;
        no_query(&uri)?;
        let Some((name, verb)) = name.split_once(':') else { return create(&data, &ask, &name, &headers, body).await };
        if verb == "watch" {
            let grant = ask.on(actions::collection(&ask, name)?).map_err(RecordError::Refused)?;
            let (json, _) = read_body(&data, &headers, body).await?;
            return Box::pin(live::http::watch(&data.gate, &ask, grant, &QueryInput::from_json(json)?, &headers)).await;
        }
        if verb == "export" {
            let collection = actions::collection(&ask, name)?;
            let _: haechi_gate::Grant<haechi_gate::Export> = ask.on(collection).map_err(RecordError::Refused)?;
            let (json, _) = read_body(&data, &headers, body).await?;
            return Box::pin(export(&data.exports, &ask, collection, QueryInput::from_json(json)?)).await;
        }
        match verb {
            "upsert" => return Box::pin(upsert(&data, &ask, name, &headers, body)).await,
            "change" => return Box::pin(by_filter(&data, &ask, &uri, &headers, body, Doing::Change)).await,
            "remove" => return Box::pin(by_filter(&data, &ask, &uri, &headers, body, Doing::Remove)).await,
            "query" | "aggregate" => {}
            _ => return Err(RecordError::NotFound),
        }
        let collection = actions::collection(&ask, name)?;
        let _: haechi_gate::Grant<haechi_gate::List> = ask.on(collection).map_err(RecordError::Refused)?;
        let (json, _) = read_body(&data, &headers, body).await?;
        let input = QueryInput::from_json(json)?;
        if verb == "aggregate" {
            return Box::pin(aggregate(&ask, collection, &input)).await.map(ok);
        }
        let page = actions::list(&ask, collection, &Listing { input: &input, tokens: data.gate.page_tokens() }).await?;
        Ok(ok(page.bytes))
    };
    run.await.map_err(|error| refuse(&data, &ask, &error))
}

async fn create(data: &Data, ask: &Ask, name: &str, headers: &HeaderMap, body: Body) -> Result<Response, RecordError> {
    let collection = actions::collection(ask, name)?;
    // Refused before a byte of the body is read.
    let _: haechi_gate::Grant<haechi_gate::Create> = ask.on(collection).map_err(RecordError::Refused)?;
    let (json, bytes) = read_body(data, headers, body).await?;
    let claim = claim(ask, headers, &Method::POST, name, &bytes)?;
    let page = actions::create(ask, collection, &json, claim).await?.record(ask).await;
    let location = format!("{}{}", data.base, pointer(&format!("/api/v1/{name}"), page.id.as_deref().unwrap_or_default()));
    let mut response = record(page);
    *response.status_mut() = StatusCode::CREATED;
    if let Ok(location) = HeaderValue::try_from(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

async fn upsert(data: &Data, ask: &Ask, name: &str, headers: &HeaderMap, body: Body) -> Result<Response, RecordError> {
    let collection = actions::collection(ask, name)?;
    many::may_upsert(ask, collection).map_err(RecordError::Refused)?;
    let (json, bytes) = read_body(data, headers, body).await?;
    let claim = claim(ask, headers, &Method::POST, &format!("{name}:upsert"), &bytes)?;
    let (made, created) = many::upsert(ask, collection, &json, claim).await?;
    let page = made.record(ask).await;
    let id = page.id.clone();
    let mut response = record(page);
    if created {
        *response.status_mut() = StatusCode::CREATED;
        let location = format!("{}{}", data.base, pointer(&format!("/api/v1/{name}"), id.as_deref().unwrap_or_default()));
        if let Ok(location) = HeaderValue::try_from(location) {
            response.headers_mut().insert(header::LOCATION, location);
        }
    }
    Ok(response)
}

/// `POST /api/v1/{collection}:change` and `:remove`.
async fn by_filter(data: &Data, ask: &Ask, uri: &Uri, headers: &HeaderMap, body: Body, doing: Doing) -> Result<Response, RecordError> {
    let path = uri.path();
    let name = path.rsplit('/').next().and_then(|last| last.split(':').next()).unwrap_or_default();
    let collection = actions::collection(ask, name)?;
    many::may_do(ask, collection, doing).map_err(RecordError::Refused)?;
    let (json, bytes) = read_body(data, headers, body).await?;
    let claim = claim(ask, headers, &Method::POST, path, &bytes)?;
    let found = many::by_filter(ask, collection, &json, claim, doing).await?;
    let mut response = ok(many::written(&found.ids));
    mark_replayed(&mut response, found.replayed);
    Ok(response)
}

async fn read(State(data): State<Arc<Data>>, Extension(ask): Extension<Ask>, path: Named<(String, String)>, RawQuery(query): RawQuery) -> Reply {
    let run = async {
        let (name, id) = named(path)?;
        let collection = actions::collection(&ask, &name)?;
        let input = QueryInput::from_url(query.as_deref().unwrap_or_default())?;
        actions::get(&ask, collection, &id, &input).await
    };
    run.await.map(record).map_err(|error| refuse(&data, &ask, &error))
}

async fn update(
    State(data): State<Arc<Data>>,
    Extension(ask): Extension<Ask>,
    path: Named<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Reply {
    let run = async {
        let (name, id) = named(path)?;
        no_query(&uri)?;
        let collection = actions::collection(&ask, &name)?;
        let _: haechi_gate::Grant<haechi_gate::Update> = ask.on(collection).map_err(RecordError::Refused)?;
        let version = if_match(&headers)?;
        let (json, bytes) = read_body(&data, &headers, body).await?;
        let claim = claim(&ask, &headers, &Method::PATCH, uri.path(), &bytes)?;
        Ok(actions::update(&ask, collection, &id, &json, version, claim).await?.record(&ask).await)
    };
    run.await.map(record).map_err(|error| refuse(&data, &ask, &error))
}

async fn delete(State(data): State<Arc<Data>>, Extension(ask): Extension<Ask>, path: Named<(String, String)>, uri: Uri, headers: HeaderMap) -> Reply {
    let run = async {
        let (name, id) = named(path)?;
        no_query(&uri)?;
        let collection = actions::collection(&ask, &name)?;
        let _: haechi_gate::Grant<haechi_gate::Delete> = ask.on(collection).map_err(RecordError::Refused)?;
        let version = if_match(&headers)?;
        let claim = claim(&ask, &headers, &Method::DELETE, uri.path(), b"")?;
        actions::delete(&ask, collection, &id, version, claim).await
    };
    match run.await {
        Ok(replayed) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            mark_replayed(&mut response, replayed);
            Ok(response)
        }
        Err(error) => Err(refuse(&data, &ask, &error)),
    }
}

/// `POST /api/v1/{collection}/{id}:{action}`.
async fn act(
    State(data): State<Arc<Data>>,
    Extension(ask): Extension<Ask>,
    path: Named<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Reply {
    let begin = async {
        let (name, target) = named(path)?;
        no_query(&uri)?;
        let collection = actions::collection(&ask, &name)?;
        let (id, action) = target.split_once(':').ok_or(RecordError::NoAction)?;
        let grant = declared::grant(&ask, collection, action)?;
        let version = if_match(&headers)?;
        let (json, bytes) = if body.is_end_stream() {
            (None, Bytes::new())
        } else {
            read_body(&data, &headers, body).await.map(|(json, bytes)| (Some(json), bytes))?
        };
        let claim = claim(&ask, &headers, &Method::POST, uri.path(), &bytes)?;
        Ok((grant, id.to_owned(), version, json, claim))
    };
    let (grant, id, version, json, claim) = begin.await.map_err(|error| {
        let mut response = refuse(&data, &ask, &error);
        if matches!(error, RecordError::NoAction) {
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET,HEAD,PATCH,DELETE"));
        }
        response
    })?;
    let target = Target { id: &id, version };
    let done = declared::act(&ask, grant, &data.handlers, target, json.as_ref(), claim).await;
    match done {
        Ok(made) => Ok(record(made.record(&ask).await)),
        Err(problem) => Err(problem.response(&data.base, ask.request_id())),
    }
}

async fn run_batch(State(data): State<Arc<Data>>, Extension(ask): Extension<Ask>, uri: Uri, headers: HeaderMap, body: Body) -> Reply {
    let run = async {
        no_query(&uri)?;
        if ask.caller().is_anonymous() && ask.app().anonymous.is_empty() {
            return Err(RecordError::Refused(haechi_gate::Refusal::Unauthenticated));
        }
        let (json, bytes) = read_body(&data, &headers, body).await?;
        let claim = claim(&ask, &headers, &Method::POST, uri.path(), &bytes)?;
        batch::batch(&ask, &json, claim).await
    };
    let (bytes, replayed) = run.await.map_err(|error| refuse(&data, &ask, &error))?;
    let mut response = ok(bytes);
    mark_replayed(&mut response, replayed);
    Ok(response)
}

fn ok(bytes: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(bytes));
    // Room for the headers of every reply at once: a map that grows is rebuilt each time.
    response.headers_mut().reserve(HEADERS);
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response.headers_mut().insert(header::CACHE_CONTROL, PRIVATE);
    response
}

fn record(page: Page) -> Response {
    let mut response = ok(page.bytes);
    if let Some(tag) = page.version.and_then(|version| HeaderValue::try_from(format!("\"{version}\"")).ok()) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    mark_replayed(&mut response, page.replayed);
    response
}

pub(crate) fn mark_replayed(response: &mut Response, replayed: bool) {
    if replayed {
        response.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
    }
}

/// Routes that take no query refuse one, so that nothing is silently ignored.
pub(crate) fn no_query(uri: &Uri) -> Result<(), RecordError> {
    match uri.query().filter(|query| !query.is_empty()) {
        None => Ok(()),
        Some(_) => Err(RecordError::Shape("This route takes no query parameters.")),
    }
}

async fn read_body(data: &Data, headers: &HeaderMap, body: Body) -> Result<(Json, Bytes), RecordError> {
    let bytes = read_bytes(headers, body, data.body_bytes, &["application/json", "application/merge-patch+json"]).await?;
    let json = parse_json(&bytes)?;
    Ok((json, bytes))
}

/// The bytes of a body of one of these media types, in UTF-8, not compressed, and of at most `most` bytes.
///
/// # Errors
/// When it is of another type, larger, or did not arrive whole.
pub async fn read_bytes(headers: &HeaderMap, body: Body, most: usize, media: &[&str]) -> Result<Bytes, RecordError> {
    let mut kinds = headers.get_all(header::CONTENT_TYPE).iter();
    let kind = kinds.next().and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let mut parts = kind.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
    let utf8 = parts.all(|part| part.eq_ignore_ascii_case("charset=utf-8") || part.eq_ignore_ascii_case("charset=\"utf-8\""));
    if kinds.next().is_some() || !utf8 || !media.contains(&essence.as_str()) || headers.contains_key(header::CONTENT_ENCODING) {
        return Err(RecordError::MediaType);
    }
    axum::body::to_bytes(body, most).await.map_err(|error| {
        let too_large = std::error::Error::source(&error).is_some_and(|source| source.is::<http_body_util::LengthLimitError>());
        if too_large { RecordError::TooLarge } else { RecordError::Body }
    })
}

fn if_match(headers: &HeaderMap) -> Result<Option<i64>, RecordError> {
    let mut found = headers.get_all(header::IF_MATCH).iter();
    let Some(value) = found.next() else { return Ok(None) };
    let text = value.to_str().map_err(|_| RecordError::IfMatch)?.trim();
    if found.next().is_some() {
        return Err(RecordError::IfMatch);
    }
    if text == "*" {
        return Ok(None);
    }
    // A proxy that compresses replies makes the tag weak; the version in it is the same.
    let text = text.strip_prefix("W/").unwrap_or(text);
    if text.matches('"').count() != 2 {
        return Err(RecordError::IfMatch);
    }
    let version = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).ok_or(RecordError::IfMatch)?;
    // Another server's tag can never match, so it is a mismatch and not an error.
    Ok(Some(version.parse().ok().filter(|version: &i64| *version > 0 && version.to_string() == text.trim_matches('"')).unwrap_or(-1)))
}

/// The claim on an idempotency key: bound to the caller, the method, the route and the body.
///
/// # Errors
/// When the header is malformed.
pub fn claim(ask: &Ask, headers: &HeaderMap, method: &Method, route: &str, body: &[u8]) -> Result<Option<Claim>, RecordError> {
    let mut found = headers.get_all("idempotency-key").iter();
    let Some(key) = found.next() else { return Ok(None) };
    let visible = key.as_bytes().iter().all(|byte| (0x21..=0x7e).contains(byte));
    if found.next().is_some() || key.is_empty() || key.len() > MAX_KEY || !visible {
        return Err(RecordError::IdempotencyKey);
    }
    let caller = format!("{:?}\0{}\0", ask.caller().kind(), ask.caller().id());
    let key = hash(&[caller.as_bytes(), key.as_bytes()]);
    let digest = hash(&[method.as_str().as_bytes(), b"\0", route.as_bytes(), b"\0", body]);
    Ok(Some(Claim { key, digest, result: "".into() }))
}

fn hash(parts: &[&[u8]]) -> Box<str> {
    let mut context = digest::Context::new(&digest::SHA256);
    parts.iter().for_each(|part| context.update(part));
    let hex = context.finish().as_ref().iter().fold(String::with_capacity(64), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    });
    hex.into()
}
