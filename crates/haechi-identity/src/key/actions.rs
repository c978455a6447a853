//! Actions on keys. No HTTP here.

use super::PREFIX;
use crate::{
    Context, Identity,
    error::IdentityError,
    once::secret,
    session::session_of,
    tables::{keys, sessions},
};
use haechi_gate::{Caller, Refusal, Scope, SystemError, SystemWork, credential_hash};
use haechi_model::{
    Actor, Predicate, Row, Value, person,
    stored::{above, int, is, text},
};

const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60 * MINUTE;
/// How long a key lives by default.
const DEFAULT_LIFE: i64 = 90 * DAY;
/// How long a key may live.
const MAX_LIFE: i64 = 365 * DAY;
/// Keys of one owner.
const MAX_KEYS: u32 = 50;
const MAX_LABEL: usize = 100;
/// Most keys that an operator's list shows.
const MANY: u32 = 100_000;
const MISS_ENDED: u16 = 100;
const MISS_FULL: u16 = 101;
/// Characters of a key that its owner sees later, to tell which is which.
const HINT: usize = PREFIX.len() + 4;

/// A key to be made.
#[derive(Clone, Debug, Default)]
pub struct NewKey {
    /// What its owner calls it.
    pub label: String,
    /// `COLLECTION:ACTION`, either may be `*`.
    pub scopes: Vec<String>,
    /// When it ends, UTC milliseconds.
    pub expires_ms: Option<i64>,
}

/// A key as its owner sees it.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Its id; not the credential.
    pub name: String,
    /// What its owner calls it.
    pub label: String,
    /// How it begins.
    pub hint: String,
    /// Whose it is.
    pub owner: String,
    /// Whether that is a service, not a person.
    pub service: bool,
    /// A service's roles; a person's key has those of its person.
    pub roles: Vec<String>,
    /// What it is limited to.
    pub scopes: Vec<String>,
    /// When it was made.
    pub created_ms: i64,
    /// When it ends.
    pub expires_ms: i64,
}

impl Identity {
    /// Makes a key for the caller; the credential is returned only here.
    pub(crate) async fn create_key(&self, caller: &Caller, new: &NewKey, context: &Context) -> Result<(String, Shown), IdentityError> {
        let (user, session, _, auth_time_ms) = session_of(caller)?;
        if self.0.now_ms() - auth_time_ms > self.0.config().fresh_minutes * MINUTE {
            return Err(IdentityError::Stale);
        }
        if new.scopes.is_empty() {
            return Err(IdentityError::field("/scopes", "required", "name what it may do, e.g. \"patients:read\""));
        }
        let mut work = self.0.gate.system_work(&self.0.key, Actor::clone(caller.actor()), &context.request_id);
        // The session and its owner must be valid when the key is made, not only when the request began: ending them ends keys, too.
        work.lock(self.0.tables.sessions, session, is(sessions::USER, user), MISS_ENDED);
        work.lock(self.0.tables.users, user, is(person::DISABLED, 0), MISS_ENDED);
        let theirs = Predicate::all([is(keys::KIND, "user"), is(keys::OWNER, user), above(keys::EXPIRES, self.0.now_ms())]);
        work.fewer(self.0.tables.keys, theirs, MAX_KEYS, MISS_FULL);
        self.put_key(work, ("user", user), new, &[], Some(user)).await
    }

    /// A key for a service with roles of its own.
    pub(crate) async fn service_key(
        &self,
        work: SystemWork<haechi_gate::Identity>,
        service: &str,
        roles: &[String],
        new: &NewKey,
    ) -> Result<(String, Shown), IdentityError> {
        let app = &self.0.gate.revision().app;
        if let Some(unknown) = roles.iter().find(|role| !app.roles.contains(role)) {
            return Err(IdentityError::field("/roles", "unknown_role", &format!("no role is named `{unknown}`; roles: {}", app.roles.join(", "))));
        }
        let good = !service.is_empty()
            && service.len() <= 48
            && service.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if !good {
            return Err(IdentityError::field("/service", "bad_name", "a service's name has 1 to 48 of a-z, 0-9 and -"));
        }
        self.put_key(work, ("service", service), new, roles, None).await
    }

    async fn put_key(
        &self,
        mut work: SystemWork<haechi_gate::Identity>,
        (kind, owner): (&str, &str),
        new: &NewKey,
        roles: &[String],
        user: Option<&str>,
    ) -> Result<(String, Shown), IdentityError> {
        let now = self.0.now_ms();
        if new.label.is_empty() || new.label.chars().count() > MAX_LABEL || new.label.chars().any(char::is_control) {
            return Err(IdentityError::field("/label", "length", "must have 1 to 100 characters, none of them a control character"));
        }
        let expires_ms = new.expires_ms.unwrap_or(now + DEFAULT_LIFE);
        if !(now + MINUTE..=now + MAX_LIFE).contains(&expires_ms) {
            return Err(IdentityError::field("/expire_time", "out_of_range", "must be between a minute and 365 days from now"));
        }
        if let Err(unknown) = Scope::parse(&self.0.gate.revision().app, new.scopes.iter().map(String::as_str)) {
            return Err(IdentityError::field(
                "/scopes",
                "unknown_scope",
                &format!("`{}` names no collection and action, e.g. patients:read", unknown.0),
            ));
        }
        let token = secret(PREFIX);
        let name = uuid::Uuid::now_v7().hyphenated().to_string();
        let json = |texts: &[String]| Value::text(serde_json::Value::from(texts.to_vec()).to_string());
        let row = vec![
            Value::text(credential_hash(&token)),
            Value::text(kind),
            Value::text(owner),
            Value::text(&*name),
            Value::text(&*new.label),
            Value::text(&token[..HINT]),
            json(&new.scopes),
            json(roles),
            Value::Int(now),
            Value::Int(expires_ms),
        ];
        let shown = shown(&row);
        work.insert(self.0.tables.keys, row);
        work.entry("create_key", user, None, None, format!("\"key\":\"{name}\",\"owner\":\"{owner}\""));
        match work.commit().await {
            Ok(_) => Ok((token, shown)),
            Err(SystemError::Missed(MISS_ENDED)) => Err(IdentityError::Refused(Refusal::Unauthenticated)),
            Err(SystemError::Missed(MISS_FULL)) => Err(IdentityError::field("/label", "too_many", "you have 50 keys; revoke some first")),
            Err(error) => Err(error.into()),
        }
    }

    /// The caller's keys that have not ended.
    pub(crate) async fn keys(&self, caller: &Caller) -> Result<Vec<Shown>, IdentityError> {
        let (user, ..) = session_of(caller)?;
        self.keys_of("user", user).await
    }

    async fn keys_of(&self, kind: &str, owner: &str) -> Result<Vec<Shown>, IdentityError> {
        let theirs = Predicate::all([is(keys::KIND, kind), is(keys::OWNER, owner), above(keys::EXPIRES, self.0.now_ms())]);
        let rows = self.0.gate.system_find(self.0.tables.keys, theirs, MANY).await?;
        Ok(rows.iter().map(shown).collect())
    }

    /// All keys that have not ended.
    pub(crate) async fn all_keys(&self) -> Result<Vec<Shown>, IdentityError> {
        let rows = self.0.gate.system_find(self.0.tables.keys, above(keys::EXPIRES, self.0.now_ms()), MANY).await?;
        Ok(rows.iter().map(shown).collect())
    }

    /// Revokes one of the caller's keys.
    pub(crate) async fn revoke_own_key(&self, caller: &Caller, name: &str, context: &Context) -> Result<(), IdentityError> {
        let (user, ..) = session_of(caller)?;
        let theirs = Predicate::all([is(keys::KIND, "user"), is(keys::OWNER, user), is(keys::NAME, name)]);
        let work = self.0.gate.system_work(&self.0.key, Actor::clone(caller.actor()), &context.request_id);
        self.end_key(work, theirs, Some(user)).await
    }

    pub(crate) async fn end_key(
        &self,
        mut work: SystemWork<haechi_gate::Identity>,
        which: Predicate,
        user: Option<&str>,
    ) -> Result<(), IdentityError> {
        let found = self.0.gate.system_find(self.0.tables.keys, which, 1).await?;
        let row = found.first().ok_or(IdentityError::NotFound)?;
        work.clear(self.0.tables.keys, is(0, text(row, 0)));
        work.revoke_credential(text(row, 0));
        work.entry("revoke_key", user, None, None, format!("\"key\":\"{}\"", text(row, keys::NAME)));
        work.commit().await.map(|_| ()).map_err(Into::into)
    }
}

fn shown(row: &Row) -> Shown {
    Shown {
        name: text(row, keys::NAME).to_owned(),
        label: text(row, keys::LABEL).to_owned(),
        hint: text(row, keys::HINT).to_owned(),
        owner: text(row, keys::OWNER).to_owned(),
        service: text(row, keys::KIND) == "service",
        roles: serde_json::from_str(text(row, keys::ROLES)).unwrap_or_default(),
        scopes: serde_json::from_str(text(row, keys::SCOPES)).unwrap_or_default(),
        created_ms: int(row, keys::CREATED),
        expires_ms: int(row, keys::EXPIRES),
    }
}
