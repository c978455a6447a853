//! Signing in and out, and sessions, over HTTP.

use super::{
    Started,
    actions::Shown,
    cookie::{self, csrf_token},
};
use crate::{
    Identity,
    body::read,
    error::IdentityError,
    router::{Asked, Reply, caller_json, json_reply, named, no_content},
};
use axum::{
    Router,
    body::Body,
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderMap, HeaderValue, Response, StatusCode, header},
    routing::{delete, get, post},
};
use haechi_gate::Credential;
use haechi_model::{Collection, format_datetime, stored::text};
use serde_json::json;

pub(crate) fn routes() -> Router<Identity> {
    Router::new()
        .route("/auth/v1/sign-in", post(sign_in))
        .route("/auth/v1/sign-out", post(sign_out))
        .route("/auth/v1/me", get(me))
        .route("/auth/v1/sessions", get(list).delete(end_others))
        .route("/auth/v1/sessions/{id}", delete(end))
}

async fn sign_in(State(identity): State<Identity>, asked: Asked, headers: HeaderMap, body: Body) -> Reply {
    asked
        .run(async {
            let mut members = read(&headers, body).await?;
            let device = members.optional_text("device");
            let shown = Shown { email: members.text("email"), password: members.text("password"), cookie: members.flag("cookie"), device };
            members.finish()?;
            let from_cookie = cookie::from_cookies(&headers, cookie::DEVICE)?.map(str::to_owned);
            let shown = Shown { device: shown.device.or(from_cookie), ..shown };
            // A caller who is already signed in gets a new session, too: an old identifier is never reused.
            let started = identity.sign_in(&shown, &asked.context).await?;
            Ok(started_reply(&identity, &started, shown.cookie))
        })
        .await
}

/// The credential: in a cookie that scripts cannot read, or in the body, never in both.
pub(crate) fn started_reply(identity: &Identity, started: &Started, in_cookie: bool) -> Response<Body> {
    let mut body = json!({
        "session": started.name,
        "expire_time": format_datetime(started.expires_ms),
        "user": text(&started.user, Collection::ID),
    });
    if in_cookie {
        body["csrf_token"] = csrf_token(&identity.0, &started.hash).into();
    } else {
        body["token"] = started.token.clone().into();
        body["device"] = started.device.clone().into();
    }
    let mut response = json_reply(StatusCode::OK, &body);
    if in_cookie {
        let life_s = (started.expires_ms - identity.0.now_ms()) / 1000;
        for cookie in [cookie::set(cookie::SESSION, &started.token, life_s), cookie::device(&started.device)] {
            if let Ok(value) = HeaderValue::try_from(cookie) {
                response.headers_mut().append(header::SET_COOKIE, value);
            }
        }
    }
    response
}

async fn sign_out(State(identity): State<Identity>, asked: Asked, headers: HeaderMap) -> Reply {
    asked
        .run(async {
            let dead_cookie = asked.ask.caller().is_anonymous() && cookie::from_cookies(&headers, cookie::SESSION)?.is_some();
            if !dead_cookie {
                identity.sign_out(asked.ask.caller(), &asked.context).await?;
            }
            let mut response = no_content();
            if (dead_cookie || matches!(asked.ask.caller().credential(), Credential::Session { cookie: true, .. }))
                && let Ok(value) = HeaderValue::try_from(cookie::set(cookie::SESSION, "", 0))
            {
                response.headers_mut().append(header::SET_COOKIE, value);
                response.headers_mut().insert("clear-site-data", HeaderValue::from_static("\"cache\", \"storage\""));
            }
            Ok(response)
        })
        .await
}

async fn me(State(identity): State<Identity>, asked: Asked) -> Reply {
    asked
        .run(async {
            let caller = asked.ask.caller();
            if caller.is_anonymous() {
                return Err(IdentityError::Refused(haechi_gate::Refusal::Unauthenticated));
            }
            let mut body = caller_json(caller);
            if let Credential::Session { hash, name, auth_time_ms, cookie } = caller.credential() {
                body["session"] = name.to_string().into();
                body["auth_time"] = format_datetime(*auth_time_ms).into();
                if *cookie {
                    body["csrf_token"] = csrf_token(&identity.0, hash).into();
                }
            }
            Ok(json_reply(StatusCode::OK, &body))
        })
        .await
}

async fn list(State(identity): State<Identity>, asked: Asked) -> Reply {
    asked.run(async {
        let items: Vec<serde_json::Value> = identity
            .sessions(asked.ask.caller())
            .await?
            .into_iter()
            .map(|session| {
                json!({
                    "id": session.name, "create_time": format_datetime(session.created_ms), "seen_time": format_datetime(session.seen_ms),
                    "expire_time": format_datetime(session.expires_ms), "address": session.address, "agent": session.agent, "current": session.current,
                })
            })
            .collect();
        Ok(json_reply(StatusCode::OK, &json!({ "items": items })))
    })
    .await
}

async fn end(State(identity): State<Identity>, asked: Asked, path: Result<Path<String>, PathRejection>) -> Reply {
    asked.run(async { identity.end_session(asked.ask.caller(), &named(path)?, &asked.context).await.map(|()| no_content()) }).await
}

async fn end_others(State(identity): State<Identity>, asked: Asked) -> Reply {
    asked.run(async { identity.end_other_sessions(asked.ask.caller(), &asked.context).await.map(|()| no_content()) }).await
}
