//! GraphQL over HTTP: parameters from a body or a URL, the requested media type, the matching status.

use crate::{
    door::{Answer, Door, Place},
    parameters::{Parameters, from_json, malformed},
    socket,
};
use axum::{
    Extension, Router,
    body::Body,
    extract::{
        RawQuery, State,
        ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::Response,
    routing::get,
};
use haechi_data::RecordError;
use haechi_gate::{Ask, Hold, Refusal};
use haechi_model::{Json, parse_json};
use haechi_problem::{Problem, kinds};
use std::sync::Arc;

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
const GRAPHQL: HeaderValue = HeaderValue::from_static("application/graphql-response+json; charset=utf-8");
const PRIVATE: HeaderValue = HeaderValue::from_static("private, no-store");

/// The routes of the door.
pub fn router(door: Arc<Door>) -> Router {
    Router::new().route("/graphql", get(by_url).post(by_body)).with_state(door)
}

/// Which media type a client wants.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// `application/json`: every well-formed request gets 200.
    Json,
    /// `application/graphql-response+json`: a request that was not executed gets its own status.
    Graphql,
}

type Reply = Result<Response, Response>;

/// The handling of one request, for every transport.
struct Exchange<'a> {
    door: &'a Door,
    ask: &'a Ask,
    wanted: Wanted,
}

async fn by_url(
    State(door): State<Arc<Door>>,
    Extension(ask): Extension<Ask>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    hold: Option<Extension<Hold>>,
) -> Reply {
    if let Ok(upgrade) = upgrade {
        return Ok(greet(door, ask, upgrade, hold.map(|Extension(hold)| hold)));
    }
    let exchange = begin(&door, &ask, &headers).map_err(|refused| *refused)?;
    let parameters = from_url(query.as_deref().unwrap_or_default()).map_err(|problem| exchange.refuse(&problem))?;
    let answer = door.execute(&ask, &parameters, Place::Url, None).await;
    Ok(exchange.reply(answer))
}

/// Upgrades a connection, when the client offers the supported protocol.
fn greet(door: Arc<Door>, ask: Ask, upgrade: WebSocketUpgrade, hold: Option<Hold>) -> Response {
    let bytes = door.body_bytes;
    let upgrade = upgrade.protocols([socket::PROTOCOL]).max_message_size(bytes).max_frame_size(bytes);
    if upgrade.selected_protocol().is_none() {
        let exchange = Exchange { door: &door, ask: &ask, wanted: Wanted::Json };
        return exchange.refuse(&malformed("Sec-WebSocket-Protocol must name graphql-transport-ws."));
    }
    upgrade.on_upgrade(move |opened| socket::serve(door, ask, opened, hold))
}

async fn by_body(State(door): State<Arc<Door>>, Extension(ask): Extension<Ask>, headers: HeaderMap, body: Body) -> Reply {
    let exchange = begin(&door, &ask, &headers).map_err(|refused| *refused)?;
    let run = async {
        // Only JSON, which a form of another site cannot send.
        let bytes = haechi_data::read_bytes(&headers, body, door.body_bytes, &["application/json"]).await.map_err(|error| error.problem())?;
        let json = parse_json(&bytes).map_err(|error| RecordError::Json(error).problem())?;
        let claim = haechi_data::claim(&ask, &headers, &Method::POST, "/graphql", &bytes).map_err(|error| error.problem())?;
        let Json::List(many) = json else {
            let parameters = from_json(json)?;
            return Ok(exchange.reply(door.execute(&ask, &parameters, Place::Body, claim).await));
        };
        if claim.is_some() || many.is_empty() || many.len() > door.limits.batch {
            let what = format!("A list holds 1 to {} operations, without Idempotency-Key.", door.limits.batch);
            return Err(Problem::new(kinds::MALFORMED, what));
        }
        ask.spend(many.len() - 1).map_err(|seconds| RecordError::Spent(seconds).problem())?;
        // All operations are parsed before the first is executed.
        let many = many.into_iter().map(from_json).collect::<Result<Vec<_>, _>>()?;
        let mut bytes = vec![b'['];
        for (at, parameters) in many.into_iter().enumerate() {
            if at > 0 {
                bytes.push(b',');
            }
            bytes.extend(door.execute(&ask, &parameters, Place::Body, None).await.bytes);
        }
        bytes.push(b']');
        Ok(exchange.reply(Answer { bytes, refused: None }))
    };
    run.await.map_err(|problem| exchange.refuse(&problem))
}

/// Refuses, before the body is read, callers who reach nothing and clients that accept neither media type.
fn begin<'a>(door: &'a Door, ask: &'a Ask, headers: &HeaderMap) -> Result<Exchange<'a>, Box<Response>> {
    let wanted = accepted(headers);
    let exchange = Exchange { door, ask, wanted: wanted.unwrap_or(Wanted::Json) };
    if ask.caller().is_anonymous() && ask.app().anonymous.is_empty() {
        return Err(Box::new(exchange.refuse(&RecordError::Refused(Refusal::Unauthenticated).problem())));
    }
    if wanted.is_none() {
        let problem = Problem::new(kinds::NOT_ACCEPTABLE, "Accept application/graphql-response+json or application/json.");
        return Err(Box::new(exchange.refuse(&problem)));
    }
    Ok(exchange)
}

/// The first of the two media types that the client names; `application/json` without a header or for `*/*`.
fn accepted(headers: &HeaderMap) -> Option<Wanted> {
    let mut named = false;
    for value in headers.get_all(header::ACCEPT) {
        for part in value.to_str().unwrap_or_default().split(',') {
            named = true;
            match part.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
                "application/graphql-response+json" => return Some(Wanted::Graphql),
                "application/json" | "application/*" | "*/*" => return Some(Wanted::Json),
                _ => {}
            }
        }
    }
    (!named).then_some(Wanted::Json)
}

/// The parameters of a URL; objects are JSON in it.
fn from_url(query: &str) -> Result<Parameters, Problem> {
    let input = haechi_data::QueryInput::from_url(query).map_err(|error| error.problem())?;
    let mut members: Vec<(Box<str>, Json)> = Vec::with_capacity(input.parameters.len());
    for (name, text) in input.parameters {
        let json = match name.as_str() {
            "variables" | "extensions" if !text.is_empty() => parse_json(text.as_bytes()).map_err(|error| RecordError::Json(error).problem())?,
            "variables" | "extensions" => Json::Null,
            _ => Json::Text(text.into()),
        };
        members.push((name.into(), json));
    }
    from_json(Json::Object(members))
}

impl Exchange<'_> {
    fn reply(&self, answer: Answer) -> Response {
        let Answer { bytes, refused } = answer;
        let mut response = Response::new(Body::from(bytes));
        let wrong_method = refused.as_ref().is_some_and(|problem| problem.kind.status == 405);
        let status = match (self.wanted, &refused) {
            // Every well-formed request.
            (Wanted::Json, Some(problem)) if self.well_formed(problem) => StatusCode::OK,
            (_, Some(problem)) => StatusCode::from_u16(problem.kind.status).unwrap_or(StatusCode::BAD_REQUEST),
            (_, None) => StatusCode::OK,
        };
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, if self.wanted == Wanted::Json { JSON } else { GRAPHQL });
        headers.insert(header::CACHE_CONTROL, PRIVATE);
        if wrong_method {
            headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
        }
        if let Some(seconds) = refused.and_then(|problem| problem.retry_after_s) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }

    fn well_formed(&self, problem: &Problem) -> bool {
        problem.kind == kinds::INVALID_DOCUMENT || problem.kind == kinds::PERSISTED_QUERY_NOT_FOUND
    }

    fn refuse(&self, problem: &Problem) -> Response {
        let answer = self.door.refused(self.ask, &[crate::error::GraphqlError::of_request(problem.clone())]);
        let mut response = self.reply(answer);
        if problem.kind.status == 401 {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
