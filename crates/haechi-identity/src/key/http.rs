//! Keys over HTTP.

use super::actions::{NewKey, Shown};
use crate::{
    Identity,
    body::read,
    router::{Asked, Reply, json_reply, named, no_content},
    session::session_of,
};
use axum::{
    Router,
    body::Body,
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderMap, StatusCode},
    routing::{delete, get},
};
use haechi_model::{format_datetime, parse_datetime};
use serde_json::{Value, json};

pub(crate) fn routes() -> Router<Identity> {
    Router::new().route("/auth/v1/keys", get(list).post(create)).route("/auth/v1/keys/{id}", delete(revoke))
}

fn view(key: &Shown) -> Value {
    json!({
        "id": key.name, "label": key.label, "hint": key.hint, "scopes": key.scopes,
        "create_time": format_datetime(key.created_ms), "expire_time": format_datetime(key.expires_ms),
    })
}

async fn create(State(identity): State<Identity>, asked: Asked, headers: HeaderMap, body: Body) -> Reply {
    asked
        .run(async {
            // Refused before a byte of the body is read.
            session_of(asked.ask.caller())?;
            let mut members = read(&headers, body).await?;
            let time = members.optional_text("expire_time");
            let expires_ms = time.as_deref().and_then(parse_datetime);
            if time.is_some() && expires_ms.is_none() {
                members.wrong("expire_time", "not_a_datetime", "must be a time such as 2026-12-31T12:00:00Z");
            }
            let new = NewKey { label: members.text("label"), scopes: members.texts("scopes"), expires_ms };
            members.finish()?;
            let (token, shown) = identity.create_key(asked.ask.caller(), &new, &asked.context).await?;
            let mut body = view(&shown);
            body["key"] = token.into();
            Ok(json_reply(StatusCode::CREATED, &body))
        })
        .await
}

async fn list(State(identity): State<Identity>, asked: Asked) -> Reply {
    asked
        .run(async {
            let items: Vec<Value> = identity.keys(asked.ask.caller()).await?.iter().map(view).collect();
            Ok(json_reply(StatusCode::OK, &json!({ "items": items })))
        })
        .await
}

async fn revoke(State(identity): State<Identity>, asked: Asked, path: Result<Path<String>, PathRejection>) -> Reply {
    asked.run(async { identity.revoke_own_key(asked.ask.caller(), &named(path)?, &asked.context).await.map(|()| no_content()) }).await
}
