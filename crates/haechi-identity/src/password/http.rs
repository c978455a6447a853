//! Changing a password over HTTP.

use crate::{
    Identity,
    body::read,
    router::{Asked, Reply, no_content},
    session::started_reply,
};
use axum::{Router, body::Body, extract::State, http::HeaderMap, routing::post};
use haechi_gate::Credential;

pub(crate) fn routes() -> Router<Identity> {
    Router::new().route("/auth/v1/password", post(change))
}

/// Takes `current_password` from a signed-in person, or `code` from a person with a code.
async fn change(State(identity): State<Identity>, asked: Asked, headers: HeaderMap, body: Body) -> Reply {
    asked
        .run(async {
            let mut members = read(&headers, body).await?;
            let new = members.text("new_password");
            if members.has("code") {
                let code = members.text("code");
                members.finish()?;
                return identity.set_password(&code, &new, &asked.context).await.map(|()| no_content());
            }
            let current = members.text("current_password");
            members.finish()?;
            let cookie = matches!(asked.ask.caller().credential(), Credential::Session { cookie: true, .. });
            let started = identity.change_password(asked.ask.caller(), &current, &new, cookie, &asked.context).await?;
            Ok(started_reply(&identity, &started, cookie))
        })
        .await
}
