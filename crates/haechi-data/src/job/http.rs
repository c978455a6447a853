//! `POST /jobs/v1/{name}`, `GET /jobs/v1/runs/{id}` and `POST /jobs/v1/runs/{id}:cancel`.

use super::{enqueue, named};
use crate::record::{Data, JSON, PRIVATE, QueryInput, RecordError, claim, mark_replayed, no_query, read_bytes};
use axum::{
    Extension, Router,
    body::{Body, HttpBody},
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    response::Response,
    routing::{get, post},
};
use haechi_gate::{Ask, Refusal};
use haechi_jobs::{RunError, Shown};
use haechi_model::{Json, format_datetime, parse_datetime, parse_json};
use haechi_problem::{Problem, kinds};
use serde_json::{Value, json};
use std::sync::Arc;

type Reply = Result<Response, Response>;
type Named = Result<Path<String>, PathRejection>;

/// All routes of jobs.
pub fn router(data: Data) -> Router {
    Router::new().route("/jobs/v1/{name}", post(begin)).route("/jobs/v1/runs/{id}", get(show).post(cancel)).with_state(Arc::new(data))
}

async fn begin(State(data): State<Arc<Data>>, Extension(ask): Extension<Ask>, path: Named, uri: Uri, headers: HeaderMap, body: Body) -> Reply {
    let begin = async {
        let name = text(path)?;
        let job = named(&ask, &name)?;
        let run_at = run_at(&uri)?;
        let (json, bytes) = if body.is_end_stream() {
            (Json::Object(Vec::new()), axum::body::Bytes::new())
        } else {
            let bytes = read_bytes(&headers, body, data.body_bytes, &["application/json"]).await?;
            (parse_json(&bytes)?, bytes)
        };
        let route = uri.path_and_query().map_or_else(|| uri.path(), |whole| whole.as_str());
        let claim = claim(&ask, &headers, &Method::POST, route, &bytes)?;
        let (id, replayed) = enqueue((&ask, &data.jobs), job, &json, run_at, claim).await?;
        let mut response = reply(StatusCode::ACCEPTED, &json!({ "id": id, "job": name }));
        let place = format!("{}/jobs/v1/runs/{id}", data.base);
        response.headers_mut().extend(HeaderValue::try_from(place).ok().map(|place| (header::LOCATION, place)));
        mark_replayed(&mut response, replayed);
        Ok(response)
    };
    begin.await.map_err(|error: RecordError| error.problem().response(&data.base, ask.request_id()))
}

async fn show(State(data): State<Arc<Data>>, Extension(ask): Extension<Ask>, path: Named, uri: Uri) -> Reply {
    let show = async {
        no_query(&uri)?;
        data.jobs.run(&ask, &text(path)?).await.map(|run| reply(StatusCode::OK, &view(&run))).map_err(wrong)
    };
    show.await.map_err(|error| error.response(&data.base, ask.request_id()))
}

async fn cancel(State(data): State<Arc<Data>>, Extension(ask): Extension<Ask>, path: Named, uri: Uri, body: Body) -> Reply {
    let with_body = !body.is_end_stream();
    let cancel = async {
        no_query(&uri)?;
        if ask.caller().is_anonymous() {
            return Err(RecordError::Refused(Refusal::Unauthenticated).problem());
        }
        let path = text(path)?;
        let Some(id) = path.strip_suffix(":cancel") else {
            return Err(Problem::new(kinds::METHOD_NOT_ALLOWED, "A run is looked at by GET, and cancelled by POST /jobs/v1/runs/ID:cancel."));
        };
        data.jobs.run(&ask, id).await.map_err(wrong)?;
        if with_body {
            return Err(Problem::new(kinds::MALFORMED, "This route takes no body."));
        }
        data.jobs.cancel(&ask, id).await.map(|run| reply(StatusCode::OK, &view(&run))).map_err(wrong)
    };
    cancel.await.map_err(|error| {
        let not_allowed = error.kind == kinds::METHOD_NOT_ALLOWED;
        let mut response = error.response(&data.base, ask.request_id());
        if not_allowed {
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET,HEAD"));
        }
        response
    })
}

fn text(path: Named) -> Result<String, RecordError> {
    path.ok().map(|Path(text)| text).filter(|text| !text.contains('\0')).ok_or(RecordError::NotFound)
}

impl From<RecordError> for Problem {
    fn from(error: RecordError) -> Self {
        error.problem()
    }
}

/// The only parameter: the time at which the job is to run.
fn run_at(uri: &Uri) -> Result<Option<i64>, RecordError> {
    let Some(text) = QueryInput::from_url(uri.query().unwrap_or_default())?.only("run_at")? else { return Ok(None) };
    let wrong = || RecordError::Parameter { name: "run_at".to_owned(), what: "must be a time such as 2026-12-31T12:00:00Z" };
    parse_datetime(&text).map(Some).ok_or_else(wrong)
}

fn wrong(error: RunError) -> Problem {
    match error {
        RunError::NotFound => RecordError::NotFound.problem(),
        RunError::Refused(refusal) => RecordError::Refused(refusal).problem(),
        RunError::State(state) => Problem::new(kinds::CONFLICT, format!("The run is {}. Nothing was done.", state.name())),
        RunError::Store(failure) => RecordError::Store(failure).problem(),
    }
}

/// A run as JSON.
#[must_use]
fn view(run: &Shown) -> Value {
    let time = |ms: i64| Value::from(format_datetime(ms));
    let json = |text: &Option<String>| text.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null);
    let attempts: Vec<Value> = run
        .attempts
        .iter()
        .map(|(number, began, ended, code)| json!({ "number": number, "begin_time": time(*began), "end_time": time(*ended), "code": code }))
        .collect();
    json!({
        "id": run.id, "job": run.job, "state": run.state.name(), "attempt": run.attempt, "create_time": time(run.created_ms),
        "run_time": run.run_at_ms.map(time), "end_time": run.ended_ms.map(time), "code": run.code, "progress": json(&run.progress),
        "result": json(&run.result), "failed_attempts": attempts,
    })
}

fn reply(status: StatusCode, body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response.headers_mut().insert(header::CACHE_CONTROL, PRIVATE);
    response
}
