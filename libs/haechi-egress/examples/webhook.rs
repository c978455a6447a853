//! Sends a small JSON body to an address that somebody chose: `cargo run -p haechi-egress --example webhook -- https://localhost/hook`
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example speaks")]

use haechi_egress::{Client, Destination, Error, Request};
use http::{HeaderValue, header};
use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Some(url) = std::env::args().nth(1) else {
        eprintln!("give an address, such as https://localhost/hook");
        return ExitCode::from(2);
    };
    let request = Request::post(&url, r#"{"hello":"world"}"#).header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    match Client::new().send(&Destination::public("webhooks"), request).await {
        Ok(reply) => {
            println!("{} answered {} with {} bytes", reply.address, reply.status, reply.body.len());
            ExitCode::SUCCESS
        }
        Err(refused) => {
            let meaning = if refused.is_refusal() { "refused, nothing was sent" } else { "no answer" };
            eprintln!("{meaning}: {}", said(&refused));
            ExitCode::FAILURE
        }
    }
}

/// The error with what is behind it.
fn said(error: &Error) -> String {
    let source = std::error::Error::source(error);
    source.map_or_else(|| error.to_string(), |source| format!("{error} ({source})"))
}
