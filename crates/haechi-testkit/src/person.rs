//! People who send requests.

use axum::{
    body::Body,
    http::{HeaderMap, Method, Request, header},
};
use haechi::http::stack::Stack;
use haechi_layers::Peer;
use haechi_problem::{MEDIA_TYPE, languages};
use http_body_util::BodyExt;
use serde_json::Value;
use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

/// Somebody who sends requests.
#[derive(Clone)]
pub struct Person {
    pub(crate) stack: Arc<Stack>,
    /// Id among the users.
    pub id: String,
    /// The token that is sent.
    pub token: Option<String>,
    pub(crate) address: IpAddr,
}

/// A reply.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub bytes: Vec<u8>,
    /// What came after the body.
    pub trailers: HeaderMap,
}

impl Person {
    pub(crate) fn new(stack: Arc<Stack>, id: &str, token: Option<String>) -> Self {
        Self { stack, id: id.to_owned(), token, address: Ipv4Addr::LOCALHOST.into() }
    }

    /// The same person before another stack.
    #[must_use]
    pub fn at(stack: Arc<Stack>, person: &Self) -> Self {
        Self { stack, ..person.clone() }
    }

    /// The same person at another address.
    #[must_use]
    pub fn from_address(self, address: &str) -> Self {
        Self { address: address.parse().unwrap(), ..self }
    }

    /// Sends a request.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Reply {
        let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).uri(path);
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body)).expect("the request cannot be built");
        let response = self.stack.handle(request, Peer(self.address)).await;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap();
        let trailers = body.trailers().cloned().unwrap_or_default();
        let reply = Reply { status: parts.status.as_u16(), headers: parts.headers, bytes: body.to_bytes().to_vec(), trailers };
        // A length that is not true breaks the connection: its end is taken for the next reply, or is waited for.
        if let (Ok(told), false) = (reply.header("content-length").parse::<usize>(), method == "HEAD") {
            assert_eq!(told, reply.bytes.len(), "{method} {path} tells another length than it has");
        }
        match reply.header("content-type") {
            MEDIA_TYPE if method != "HEAD" && reply.header("content-language") == languages::DEFAULT => known_in_korean(&reply.json(), "detail"),
            "application/json" if path == "/graphql" && headers.iter().all(|(name, _)| *name != "accept-language") => {
                reply.json()["errors"].as_array().into_iter().flatten().for_each(|error| known_in_korean(error, "message"));
            }
            _ => {}
        }
        reply
    }

    /// Opens a stream of Server-Sent Events; the reply itself when there is none.
    ///
    /// # Errors
    /// The reply.
    pub async fn watch(&self, path: &str, last: Option<&str>) -> Result<Events, Reply> {
        let mut request = Request::builder().method("GET").uri(path);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        self.open(request, Body::empty()).await
    }

    /// The same with the query as a body.
    ///
    /// # Errors
    /// The reply.
    pub async fn watch_by(&self, path: &str, body: Vec<u8>) -> Result<Events, Reply> {
        self.open(Request::builder().method("POST").uri(path).header(header::CONTENT_TYPE, "application/json"), Body::from(body)).await
    }

    async fn open(&self, request: axum::http::request::Builder, body: Body) -> Result<Events, Reply> {
        let body = self.stream(request, body).await?;
        Ok(Events { body, text: String::new(), last: String::new() })
    }

    /// The body of a reply that goes on; the reply itself when it is not 200.
    ///
    /// # Errors
    /// The reply.
    pub async fn stream(&self, mut request: axum::http::request::Builder, body: Body) -> Result<Body, Reply> {
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(body).expect("the request cannot be built");
        let response = self.stack.handle(request, Peer(self.address)).await;
        let (parts, body) = response.into_parts();
        // gRPC says in the head what came of it when there is nothing to stream.
        if parts.status != 200 || parts.headers.contains_key("grpc-status") {
            let bytes = body.collect().await.unwrap().to_bytes().to_vec();
            return Err(Reply { status: parts.status.as_u16(), headers: parts.headers, bytes, trailers: HeaderMap::new() });
        }
        Ok(body)
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], Vec::new()).await
    }

    /// POST of JSON.
    pub async fn post(&self, path: &str, json: Value) -> Reply {
        self.send("POST", path, &[("content-type", "application/json")], json.to_string().into_bytes()).await
    }

    /// PATCH of JSON.
    pub async fn patch(&self, path: &str, json: Value) -> Reply {
        self.send("PATCH", path, &[("content-type", "application/json")], json.to_string().into_bytes()).await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Reply {
        self.send("DELETE", path, &[], Vec::new()).await
    }

    /// Creates a record, which must work; its id.
    pub async fn create(&self, collection: &str, json: Value) -> String {
        let reply = self.post(&format!("/api/v1/{collection}"), json).await;
        assert_eq!(reply.status, 201, "{}", reply.text());
        reply.json()["id"].as_str().unwrap().to_owned()
    }
}

/// An open stream of Server-Sent Events.
pub struct Events {
    body: Body,
    text: String,
    /// The position of the last event.
    pub last: String,
}

impl Events {
    /// The next event with data, within some seconds; nothing when the stream has ended.
    pub async fn next(&mut self) -> Option<(String, Value)> {
        let wait = std::time::Duration::from_secs(10);
        tokio::time::timeout(wait, self.read()).await.expect("nothing came within ten seconds")
    }

    /// As [`Events::next`], for longer.
    pub async fn next_within(&mut self, wait: std::time::Duration) -> Option<(String, Value)> {
        tokio::time::timeout(wait, self.read()).await.expect("nothing came")
    }

    /// Whether nothing comes for a while.
    pub async fn silent(&mut self) -> bool {
        tokio::time::timeout(std::time::Duration::from_millis(400), self.read()).await.is_err()
    }

    async fn read(&mut self) -> Option<(String, Value)> {
        loop {
            while let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                let line = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
                if let Some(id) = line("id: ") {
                    self.last = id;
                }
                if let Some(data) = line("data: ") {
                    return Some((line("event: ").unwrap_or_default(), serde_json::from_str(&data).expect("data is JSON")));
                }
            }
            let frame = self.body.frame().await?.ok()?;
            self.text.push_str(std::str::from_utf8(frame.data_ref()?).expect("the stream is UTF-8"));
        }
    }
}

/// Every message that a test receives has a translation in every language, except the reasons in a folder's own policies and the messages
/// of the GraphQL parser.
fn known_in_korean(problem: &Value, told: &str) {
    let more = if told == "message" { &problem["extensions"] } else { problem };
    if more["type"].as_str().is_some_and(|kind| kind.ends_with("/forbidden") || kind.ends_with("/invalid-document")) {
        return;
    }
    // A check may have a message of the folder's own.
    let own = |error: &&Value| error["code"] == "check" && !error["detail"].as_str().is_some_and(|detail| detail.starts_with("must hold: "));
    let places = more["errors"].as_array().into_iter().flatten().filter(|error| !own(error)).filter_map(|error| error["detail"].as_str());
    for detail in problem[told].as_str().into_iter().chain(places) {
        assert_ne!(languages::translated(detail, "ko"), detail, "languages/ko.rs of haechi-problem does not know this");
    }
}

impl Reply {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }

    /// The last part of a problem's type.
    #[must_use]
    pub fn problem(&self) -> String {
        self.json()["type"].as_str().unwrap_or_default().rsplit('/').next().unwrap_or_default().to_owned()
    }

    /// The status, or the whole reply when it is another.
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }

    /// A header.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}
