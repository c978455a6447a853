//! Invoices, served by a program of one's own: `cargo run -p example-embedded`.
//!
//! It does the action `approve`, which `app/collections/invoices.toml` declares and `app/policies` gives to managers, and
//! adds `GET /open`: the sum of the drafts that the caller may list. Both ask the same gate that REST asks.

use axum::{Extension, body::Body, http::Response, response::IntoResponse, routing::get};
use haechi::{
    Act, Acted, Ask, Haechi, ServeError,
    gate::{List, ListQuery, ReadError},
    model::{Comparison, Operand, Predicate, Value},
    problem::{Problem, kinds},
};
use serde_json::json;

/// Most drafts that are summed.
const MOST: u32 = 1000;

#[tokio::main]
async fn main() -> Result<(), ServeError> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "examples/embedded/app".to_owned());
    println!("http://127.0.0.1:8080/open   (with a token: haechi token lee -C {folder})");
    Haechi::open(folder)?.development().action("invoices", "approve", approve).route("/open", get(open))?.serve().await
}

/// Policy has said yes: a manager, and a draft that somebody else wrote.
async fn approve(act: Act) -> Result<Acted, Problem> {
    let note = act.input("note").and_then(Value::as_text).map(str::to_owned);
    let approver = act.ask().caller().id().to_owned();
    act.change(&json!({ "status": "approved", "approver": approver, "note": note })).await
}

async fn open(Extension(ask): Extension<Ask>) -> Response<Body> {
    match drafts(&ask).await {
        Ok(rows) => {
            let cents = |row: &serde_json::Value| row["amount"].as_str()?.replace('.', "").parse::<i64>().ok();
            axum::Json(json!({ "drafts": rows.len(), "cents": rows.iter().filter_map(cents).sum::<i64>() })).into_response()
        }
        Err(ReadError::Refused(_)) => Problem::new(kinds::FORBIDDEN, "No policy lets you list invoices.").response("", ask.request_id()),
        Err(_) => Problem::new(kinds::UNAVAILABLE, "The sum is not available now.").retry_after(2).response("", ask.request_id()),
    }
}

async fn drafts(ask: &Ask) -> Result<Vec<serde_json::Value>, ReadError> {
    let invoices = ask.app().collection("invoices").ok_or(ReadError::NotLocal)?;
    let (status, amount) = (invoices.field("status").unwrap_or_default(), invoices.field("amount").unwrap_or_default());
    let filter = Predicate::Compare(Operand::Column(status), Comparison::Equal, Operand::Constant(Value::text("draft")));
    let query = ListQuery { fields: Some(vec![amount]), filter, scan: true, ..ListQuery::new(MOST) };
    let page = ask.on::<List>(invoices.id).map_err(ReadError::Refused)?.list(query).await?;
    Ok(serde_json::from_slice(&[b"[", &page.bytes[..], b"]"].concat()).unwrap_or_default())
}
