//! Signing up and setting up over HTTP.

use super::actions::NewPerson;
use crate::{
    Identity,
    body::read,
    router::{Asked, Reply, json_reply},
};
use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use serde_json::json;

pub(crate) fn routes() -> Router<Identity> {
    Router::new().route("/auth/v1/sign-up", post(sign_up)).route("/auth/v1/setup", post(set_up))
}

async fn sign_up(State(identity): State<Identity>, asked: Asked, headers: HeaderMap, body: Body) -> Reply {
    asked
        .run(async {
            let mut members = read(&headers, body).await?;
            let (invitation, profile) = (members.optional_text("invitation"), members.take("profile"));
            let new = NewPerson { email: members.text("email"), password: members.text("password"), invitation, profile };
            members.finish()?;
            identity.sign_up(&new, &asked.context).await?;
            Ok(json_reply(StatusCode::ACCEPTED, &json!({ "next": "sign-in" })))
        })
        .await
}

async fn set_up(State(identity): State<Identity>, asked: Asked, headers: HeaderMap, body: Body) -> Reply {
    asked
        .run(async {
            let mut members = read(&headers, body).await?;
            let (code, profile) = (members.text("code"), members.take("profile"));
            let new = NewPerson { email: members.text("email"), password: members.text("password"), invitation: None, profile };
            members.finish()?;
            let id = identity.set_up(&code, &new, &asked.context).await?;
            Ok(json_reply(StatusCode::CREATED, &json!({ "user": id })))
        })
        .await
}
