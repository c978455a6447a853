//! Turns a credential's bytes into a caller: the gate remembers verified credentials, the rest is looked up.

use crate::{
    Identity, key,
    session::{self, alive},
    tables::{keys, sessions},
};
use haechi_gate::{Caller, Credential, Known, Pending, Scope, SignedIn, SystemTable};
use haechi_model::{
    Actor, Failure, HOUSEKEEPING, Predicate, Row, Value,
    stored::{at_most, int, is, text},
};

/// How often the time of last use is written down.
const SEEN_EVERY_MS: i64 = 60_000;

/// Why a credential is not accepted. All look alike from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthError {
    /// Malformed, forged, expired, revoked or of a disabled user.
    Invalid,
    /// It could not be checked.
    Unavailable,
}

impl From<Failure> for AuthError {
    fn from(_: Failure) -> Self {
        Self::Unavailable
    }
}

impl Identity {
    /// The caller of a credential that was verified a short time ago; otherwise a credential to verify.
    #[must_use]
    pub fn known(&self, token: &str) -> Known {
        self.0.authenticator.known(token)
    }

    /// Verifies a credential that is not remembered.
    ///
    /// # Errors
    /// When it is not valid, or cannot be checked.
    pub async fn verify(&self, token: &str, pending: Pending) -> Result<Caller, AuthError> {
        let (caller, ends_ms) = if token.starts_with(session::PREFIX) {
            self.session_caller(&pending).await?
        } else if token.starts_with(key::PREFIX) {
            self.key_caller(&pending).await?
        } else {
            self.developer_caller(token).await?
        };
        self.0.authenticator.remember(pending, &caller, ends_ms);
        Ok(caller)
    }

    /// A browser's session is accepted in its cookie only; other credentials are never accepted in a cookie.
    #[must_use]
    pub fn in_place(caller: &Caller, in_cookie: bool) -> bool {
        matches!(caller.credential(), Credential::Session { cookie: true, .. }) == in_cookie
    }

    async fn session_caller(&self, pending: &Pending) -> Result<(Caller, i64), AuthError> {
        let inner = &*self.0;
        let found = inner.gate.system_row_and_owner(inner.tables.sessions, &pending.hash, sessions::USER, inner.tables.users).await?;
        let Some((session, Some(user))) = found else { return Err(AuthError::Invalid) };
        let (now, idle_ms) = (inner.now_ms(), inner.config().session_idle_minutes * 60_000);
        if !alive(&session, now, idle_ms) {
            let ended = Predicate::Any(vec![at_most(sessions::EXPIRES, now), at_most(sessions::SEEN, now - idle_ms)]);
            self.forget_refused(inner.tables.sessions, &pending.hash, ended);
            return Err(AuthError::Invalid);
        }
        let credential = Credential::Session {
            hash: pending.hash.clone(),
            name: text(&session, sessions::NAME).into(),
            auth_time_ms: int(&session, sessions::AUTH_TIME),
            cookie: int(&session, sessions::COOKIE) != 0,
        };
        let caller = inner.authenticator.user(user, SignedIn { credential, scope: None }).ok_or(AuthError::Invalid)?;
        if now - int(&session, sessions::SEEN) >= SEEN_EVERY_MS {
            self.touch(&pending.hash, now);
        }
        Ok((caller, int(&session, sessions::EXPIRES).min(now + idle_ms)))
    }

    /// Writes the time of last use behind the request.
    fn touch(&self, hash: &str, now: i64) {
        let inner = self.0.clone();
        let hash = hash.to_owned();
        tokio::spawn(async move {
            let mut work = inner.gate.system_work(&inner.key, Actor { kind: "system", id: "sessions".into() }, "");
            work.update(inner.tables.sessions, &hash, vec![(sessions::SEEN, Value::Int(now))], 0);
            // When the session ended meanwhile there is nothing to update.
            let _ = work.commit().await;
        });
    }

    /// Deletes a credential that was refused as ended, behind the request: it stays refused, even if the clock is set back.
    fn forget_refused(&self, table: SystemTable<haechi_gate::Identity>, hash: &str, ended: Predicate) {
        let (inner, filter) = (self.0.clone(), Predicate::all([is(0, hash), ended]));
        tokio::spawn(async move {
            let mut work = inner.gate.system_work(&inner.key, Actor { kind: "system", id: "housekeeping".into() }, "");
            work.clear(table, filter);
            work.entry(HOUSEKEEPING, None, None, None, String::new());
            if let Err(error) = work.commit().await {
                tracing::warn!(target: "haechi::identity", ?error, "what has ended could not be deleted");
            }
        });
    }

    async fn key_caller(&self, pending: &Pending) -> Result<(Caller, i64), AuthError> {
        self.key_of(&pending.hash).await
    }

    async fn key_of(&self, hash: &str) -> Result<(Caller, i64), AuthError> {
        let inner = &*self.0;
        let found = inner.gate.system_row_and_owner(inner.tables.keys, hash, keys::OWNER, inner.tables.users).await?;
        let Some((key, user)) = found else { return Err(AuthError::Invalid) };
        let ends_ms = int(&key, keys::EXPIRES);
        let now = inner.now_ms();
        if now >= ends_ms {
            self.forget_refused(inner.tables.keys, hash, at_most(keys::EXPIRES, now));
            return Err(AuthError::Invalid);
        }
        let signed_in = SignedIn { credential: Credential::Key { name: text(&key, keys::NAME).into() }, scope: self.scope_of(&key)? };
        let caller = match (text(&key, keys::KIND), user) {
            ("user", Some(user)) => inner.authenticator.user(user, signed_in).ok_or(AuthError::Invalid)?,
            ("service", _) => {
                let roles: Vec<String> = serde_json::from_str(text(&key, keys::ROLES)).map_err(|_| AuthError::Invalid)?;
                inner.authenticator.service(text(&key, keys::OWNER), roles.into_iter().map(Into::into).collect(), signed_in)
            }
            _ => return Err(AuthError::Invalid),
        };
        Ok((caller, ends_ms))
    }

    /// A person or service again, with the rights of now: for work that goes on after their request. With the name of a key, as that key.
    ///
    /// # Errors
    /// `Invalid` when they are disabled or gone, or their key is.
    pub async fn again(&self, kind: &str, id: &str, key: Option<&str>) -> Result<Caller, AuthError> {
        let inner = &*self.0;
        if let Some(name) = key {
            let found = inner.gate.system_find(inner.tables.keys, Predicate::all([is(keys::NAME, name), is(keys::OWNER, id)]), 1).await?;
            let hash: Box<str> = found.first().map(|row| text(row, 0).into()).ok_or(AuthError::Invalid)?;
            return Ok(self.key_of(&hash).await?.0);
        }
        if kind != "user" {
            return Err(AuthError::Invalid);
        }
        let row = inner.gate.system_row(inner.tables.users, id).await?.ok_or(AuthError::Invalid)?;
        inner.authenticator.user(row, SignedIn { credential: Credential::None, scope: None }).ok_or(AuthError::Invalid)
    }

    /// A service whose roles the folder declares.
    #[must_use]
    pub fn declared_service(&self, name: &str, roles: &[String]) -> Caller {
        let roles = roles.iter().map(|role| role.as_str().into()).collect();
        self.0.authenticator.service(name, roles, SignedIn { credential: Credential::None, scope: None })
    }

    /// The scope of a key. Parts that the app no longer has are ignored.
    fn scope_of(&self, key: &Row) -> Result<Option<Scope>, AuthError> {
        let texts: Vec<String> = serde_json::from_str(text(key, keys::SCOPES)).map_err(|_| AuthError::Invalid)?;
        if texts.is_empty() && text(key, keys::KIND) == "service" {
            return Ok(None);
        }
        Ok(Some(Scope::stored(&self.0.gate.revision().app, &texts)))
    }

    async fn developer_caller(&self, token: &str) -> Result<(Caller, i64), AuthError> {
        let inner = &*self.0;
        let (user, ends_ms) = inner.authenticator.developer(token).ok_or(AuthError::Invalid)?;
        let row = inner.gate.system_row(inner.tables.users, &user).await?.ok_or(AuthError::Invalid)?;
        let signed_in = SignedIn { credential: Credential::Developer, scope: None };
        Ok((inner.authenticator.user(row, signed_in).ok_or(AuthError::Invalid)?, ends_ms))
    }
}
