//! Server-Sent Events: `GET /api/v1/COLLECTION:watch`.

use super::actions;
use crate::record::{QueryInput, RecordError};
use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::Response,
};
use futures_util::stream;
use haechi_gate::{Ask, EndReason, Gate, Grant, OpenStream, Told, ToldKind, Watch, WatchItem};
use std::{convert::Infallible, sync::Arc};

const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// Tells proxies that buffer replies not to buffer this one.
const UNBUFFERED: HeaderName = HeaderName::from_static("x-accel-buffering");
const LAST_EVENT_ID: &str = "last-event-id";

/// Opens a stream, and replies with it.
pub(crate) async fn watch(gate: &Gate, ask: &Ask, grant: Grant<Watch>, input: &QueryInput, headers: &HeaderMap) -> Result<Response, RecordError> {
    let query = actions::query(ask, grant.collection().id, input)?;
    let mut after = headers.get_all(LAST_EVENT_ID).iter();
    let position = after.next().map(|value| value.to_str().map_err(|_| RecordError::Position)).transpose()?.filter(|text| !text.is_empty());
    if after.next().is_some() {
        return Err(RecordError::Position);
    }
    let opened = actions::watch(gate, grant, query, position).await?;
    let events = stream::unfold(opened, |mut opened| async move {
        let bytes = message(&opened.next().await?);
        Some((Ok::<_, Infallible>(bytes), opened))
    });
    let mut response = Response::new(Body::from_stream(events));
    response.extensions_mut().insert(OpenStream);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, EVENT_STREAM);
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    headers.insert(UNBUFFERED, HeaderValue::from_static("no"));
    Ok(response)
}

fn message(item: &WatchItem) -> Bytes {
    match item {
        WatchItem::Told(told) => told.rendered.get_or_init(|| change(told)).clone(),
        WatchItem::Ready(position) => format!("id: {position}\nevent: ready\ndata: {{}}\n\n").into(),
        WatchItem::Resync(position) => format!("id: {position}\nevent: resync\ndata: {{}}\n\n").into(),
        // An event without data is not dispatched, but the client remembers its position.
        WatchItem::Beat(position) => format!("id: {position}\n\n").into(),
        WatchItem::End(reason) => format!("event: end\ndata: {{\"reason\":\"{}\"}}\n\n", reason_name(*reason)).into(),
    }
}

fn change(told: &Arc<Told>) -> Bytes {
    let record = told.page.as_ref().map(|page| page.bytes.as_slice()).unwrap_or_default();
    let mut out = Vec::with_capacity(record.len() + 160);
    out.extend_from_slice(b"id: ");
    out.extend_from_slice(told.position.as_bytes());
    out.extend_from_slice(b"\nevent: ");
    out.extend_from_slice(kind_name(told.kind).as_bytes());
    out.extend_from_slice(b"\ndata: {\"id\":\"");
    out.extend_from_slice(told.id.as_bytes());
    out.push(b'"');
    if !record.is_empty() {
        // JSON written here has no line breaks: one line of data.
        out.extend_from_slice(b",\"record\":");
        out.extend_from_slice(record);
    }
    out.extend_from_slice(b"}\n\n");
    out.into()
}

fn kind_name(kind: ToldKind) -> &'static str {
    match kind {
        ToldKind::Create => "create",
        ToldKind::Update => "update",
        ToldKind::Delete => "delete",
    }
}

/// The name of a stream's end on the wire.
pub(crate) fn reason_name(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Caller => "signed_out",
        EndReason::Refused => "refused",
        EndReason::Slow => "slow",
        EndReason::Busy => "busy",
        EndReason::Closing => "closing",
    }
}
