//! The clinic, served by a program of one's own: `cargo run -p example-embedded`.
//!
//! It adds `GET /report`: how many patients there are, by status. The report counts what its caller may list and read,
//! because it asks the same gate that REST asks; who may list nobody is refused, and what is personal is never shown.

use axum::{Extension, body::Body, http::Response, response::IntoResponse, routing::get};
use haechi::{
    Ask, Haechi, ServeError,
    gate::{List, ListQuery, ReadError},
    model::Predicate,
    problem::{Problem, kinds},
};
use std::collections::BTreeMap;

/// Rows that are read at a time.
const PAGE: u32 = 200;

#[tokio::main]
async fn main() -> Result<(), ServeError> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "examples/clinic".to_owned());
    println!("http://127.0.0.1:8080/report   (with a token: haechi token NAME -C {folder})");
    Haechi::open(folder)?.development().route("/report", get(report))?.serve().await
}

async fn report(Extension(ask): Extension<Ask>) -> Response<Body> {
    match count(&ask).await {
        Ok(counts) => axum::Json(counts).into_response(),
        Err(ReadError::Refused(_)) => Problem::new(kinds::FORBIDDEN, "No policy lets you list patients.").response("", ask.request_id()),
        Err(_) => Problem::new(kinds::UNAVAILABLE, "The report cannot be made now.").retry_after(2).response("", ask.request_id()),
    }
}

async fn count(ask: &Ask) -> Result<BTreeMap<String, u64>, ReadError> {
    let mut counts = BTreeMap::new();
    let Some((patients, status)) = ask.app().collection("patients").and_then(|found| Some((found.id, found.field("status")?))) else {
        return Ok(counts);
    };
    let grant = ask.on::<List>(patients).map_err(ReadError::Refused)?;
    let mut after = None;
    loop {
        let query =
            ListQuery { fields: Some(vec![status]), filter: Predicate::True, order: Vec::new(), after, limit: PAGE, follow: Vec::new(), scan: true };
        let page = grant.list(query).await?;
        let rows: Vec<serde_json::Value> = serde_json::from_slice(&[b"[", &page.bytes[..], b"]"].concat()).unwrap_or_default();
        for row in rows {
            *counts.entry(row["status"].as_str().unwrap_or("none").to_owned()).or_default() += 1;
        }
        let Some(next) = page.next else { return Ok(counts) };
        after = Some(next);
    }
}
