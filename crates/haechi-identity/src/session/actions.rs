//! Actions on sessions. No HTTP here.

use super::store::{Fresh, MISS_FULL, fresh};
use crate::{
    Context, Identity,
    error::IdentityError,
    password,
    tables::{passwords, sessions},
    throttle::{Attempt, Taken},
};
use haechi_gate::{Caller, CallerKind, Credential, Refusal, SystemError};
use haechi_model::{
    Actor, Collection, Json, Predicate, Row, USERS, Value, person,
    stored::{int, is, text},
};

/// The password was changed, or the person disabled, while it was being verified.
const MISS_STALE: u16 = 100;
/// How often the start of a session is retried when other sessions of the person start at the same time.
const MAX_TRIES: usize = 60;
/// The id that is looked up when there is no such person.
const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

/// A session that was begun.
pub struct Started {
    /// The credential; returned only here.
    pub token: String,
    /// Its hash: how memory and table name it.
    pub hash: String,
    /// When it ends at the latest, UTC milliseconds.
    pub expires_ms: i64,
    /// What its owner sees.
    pub name: String,
    /// Proves later that this device has signed in before.
    pub device: String,
    /// The person.
    pub user: Row,
}

/// A session as its owner sees it.
pub struct SessionView {
    /// Its id; not the credential.
    pub name: String,
    /// When it began.
    pub created_ms: i64,
    /// When it was last used, to about a minute.
    pub seen_ms: i64,
    /// When it ends at the latest.
    pub expires_ms: i64,
    /// The network that it began from.
    pub address: String,
    /// The program that it began from, as that program names itself.
    pub agent: String,
    /// Whether it is the session of this request.
    pub current: bool,
}

/// What a person sends to sign in.
pub(crate) struct Shown {
    pub(crate) email: String,
    pub(crate) password: String,
    pub(crate) device: Option<String>,
    pub(crate) cookie: bool,
}

impl Identity {
    /// Begins a session for the person with this address and password.
    pub(crate) async fn sign_in(&self, shown: &Shown, context: &Context) -> Result<Started, IdentityError> {
        let inner = &*self.0;
        if shown.password.len() > password::MAX_BYTES {
            return Err(IdentityError::field("/password", "too_long", "has more than 1024 bytes"));
        }
        let email = self.canonical_email(&shown.email);
        let user = match &email {
            Some(email) => self.user_by_email(email).await?,
            None => None,
        };
        let id = user.as_ref().map_or(NOBODY, |row| text(row, Collection::ID)).to_owned();
        let known = inner.gate.system_row(inner.tables.passwords, &id).await?;
        let changed = known.as_ref().map_or(0, |row| int(row, passwords::CHANGED));
        let device = shown.device.as_deref().and_then(|device| self.device_of(device, &id, changed));
        let account = email.unwrap_or_else(|| shown.email.to_lowercase());
        let attempt = match &device {
            Some(device) => Attempt::KnownDevice(device),
            None => Attempt::SignIn(&account),
        };
        let taken = inner.attempt(&attempt, context).await?;
        // An unknown person costs the same hash as a known one.
        let stored = known.as_ref().map_or_else(|| password::dummy().to_owned(), |row| text(row, passwords::HASH).to_owned());
        let right = inner.hasher.verify(&shown.password, &stored).await?;
        let disabled = user.as_ref().is_none_or(|row| int(row, person::DISABLED) != 0);
        let (Some(user), Some(_), true, false) = (user, known, right, disabled) else {
            let at = if id == NOBODY { context.request_id.to_string() } else { format!("{}/{id}", context.request_id) };
            inner
                .gate
                .system_refused(&inner.key, Actor { kind: "anonymous", id: "anonymous".into() }, "sign_in", &at)
                .map_err(IdentityError::Refused)?;
            return Err(IdentityError::SignInFailed);
        };
        self.begin(user, &stored, &taken, shown.cookie, context).await
    }

    async fn begin(&self, user: Row, stored: &str, taken: &Taken, cookie: bool, context: &Context) -> Result<Started, IdentityError> {
        for _ in 0..MAX_TRIES {
            match self.try_to_begin(&user, stored, taken, cookie, context).await {
                Err(SystemError::Missed(MISS_STALE)) => return Err(IdentityError::SignInFailed),
                Err(SystemError::Missed(MISS_FULL)) => {}
                Err(error) => return Err(error.into()),
                Ok((session, changed)) => return Ok(self.started(session, user, changed)),
            }
        }
        Err(IdentityError::Busy)
    }

    /// Begins a session; fails when other sessions of the person have begun meanwhile and there is no room.
    async fn try_to_begin(&self, user: &Row, stored: &str, taken: &Taken, cookie: bool, context: &Context) -> Result<(Fresh, i64), SystemError> {
        let inner = &*self.0;
        let id = text(user, Collection::ID).to_owned();
        let mut work = inner.gate.system_work(&inner.key, Actor { kind: "user", id: id.as_str().into() }, &context.request_id);
        // What was verified must still hold when the session begins.
        work.lock(inner.tables.passwords, &id, is(passwords::HASH, stored), MISS_STALE);
        work.lock(inner.tables.users, &id, is(person::DISABLED, 0), MISS_STALE);
        inner.make_room(&mut work, &id).await.map_err(SystemError::Store)?;
        let session = fresh(inner, &mut work, &id, cookie, context);
        inner.give_back(&mut work, taken);
        work.entry("sign_in", Some(&id), None, None, format!("\"session\":\"{}\"", session.name));
        let rows = work.commit().await?;
        let changed = rows.first().map_or(0, |row| int(row, passwords::CHANGED));
        Ok((session, changed))
    }

    pub(crate) fn started(&self, session: Fresh, user: Row, password_changed: i64) -> Started {
        let device = self.new_device(text(&user, Collection::ID), password_changed);
        Started { token: session.token, hash: session.hash, expires_ms: session.expires_ms, name: session.name, device, user }
    }

    /// Ends the session of the caller.
    pub(crate) async fn sign_out(&self, caller: &Caller, context: &Context) -> Result<(), IdentityError> {
        let (user, hash, ..) = session_of(caller)?;
        let mut work = self.0.gate.system_work(&self.0.key, Actor::clone(caller.actor()), &context.request_id);
        self.0.end(&mut work, hash);
        work.entry("sign_out", Some(user), None, None, String::new());
        work.commit().await.map(|_| ()).map_err(Into::into)
    }

    /// The caller's sessions, newest first.
    pub(crate) async fn sessions(&self, caller: &Caller) -> Result<Vec<SessionView>, IdentityError> {
        let (user, current, ..) = session_of(caller)?;
        Ok(self.0.sessions_of(user).await?.iter().map(|row| view(row, current)).collect())
    }

    /// Ends one of the caller's sessions.
    pub(crate) async fn end_session(&self, caller: &Caller, name: &str, context: &Context) -> Result<(), IdentityError> {
        let (user, ..) = session_of(caller)?;
        let theirs = Predicate::all([is(sessions::USER, user), is(sessions::NAME, name)]);
        let found = self.0.gate.system_find(self.0.tables.sessions, theirs, 1).await?;
        let hash = found.first().map(|row| text(row, 0).to_owned()).ok_or(IdentityError::NotFound)?;
        let mut work = self.0.gate.system_work(&self.0.key, Actor::clone(caller.actor()), &context.request_id);
        self.0.end(&mut work, &hash);
        work.entry("end_session", Some(user), None, None, format!("\"session\":\"{}\"", text(&found[0], sessions::NAME)));
        work.commit().await.map(|_| ()).map_err(Into::into)
    }

    /// Ends all other sessions of the caller.
    pub(crate) async fn end_other_sessions(&self, caller: &Caller, context: &Context) -> Result<(), IdentityError> {
        let (user, hash, ..) = session_of(caller)?;
        let mut work = self.0.gate.system_work(&self.0.key, Actor::clone(caller.actor()), &context.request_id);
        self.0.end_all(&mut work, user, Some(hash));
        work.entry("end_sessions", Some(user), None, None, String::new());
        work.commit().await.map(|_| ()).map_err(Into::into)
    }

    /// The canonical form of an address; `None` when it is no address.
    pub(crate) fn canonical_email(&self, text: &str) -> Option<String> {
        let revision = self.0.gate.revision();
        let users = &revision.app.collections[USERS];
        let field = &users.fields[person::EMAIL];
        let value = field.ty.read(&Json::Text(text.into())).ok()?;
        field.ty.folded(value).as_text().map(str::to_owned)
    }

    /// The person with an address in its canonical form.
    pub(crate) async fn user_by_email(&self, canonical: &str) -> Result<Option<Row>, IdentityError> {
        let revision = self.0.gate.revision();
        let users = &revision.app.collections[USERS];
        let column = users.fields[person::EMAIL].shadow.unwrap_or(person::EMAIL);
        Ok(self.0.gate.system_find(self.0.tables.users, is(column, canonical), 1).await?.pop())
    }

    /// Proof that a device has signed in; it ends with the password.
    fn new_device(&self, user: &str, password_changed: i64) -> String {
        let nonce = haechi_gate::random_hex::<16>();
        let tag = self.0.devices.hex(format!("{user} {password_changed} {nonce}").as_bytes());
        format!("haechi_d_{nonce}.{tag}")
    }

    /// The device's own name, when its proof is genuine for this person.
    fn device_of(&self, device: &str, user: &str, password_changed: i64) -> Option<String> {
        let (nonce, tag) = device.strip_prefix("haechi_d_")?.split_once('.')?;
        let genuine = self.0.devices.is_hex(format!("{user} {password_changed} {nonce}").as_bytes(), tag);
        (genuine && user != NOBODY).then(|| nonce.to_owned())
    }
}

/// User, hash, name and time of proof of the caller's session.
pub(crate) fn session_of(caller: &Caller) -> Result<(&str, &str, &str, i64), IdentityError> {
    match (caller.kind(), caller.credential()) {
        (CallerKind::Anonymous, _) => Err(IdentityError::Refused(Refusal::Unauthenticated)),
        (CallerKind::User, Credential::Session { hash, name, auth_time_ms, .. }) => Ok((caller.id(), hash, name, *auth_time_ms)),
        _ => Err(IdentityError::WrongCredential("This needs a session: sign in with a password.")),
    }
}

/// A session as its owner sees it; `current` is the hash of the caller's session, or empty.
pub(crate) fn view(row: &[Value], current: &str) -> SessionView {
    SessionView {
        name: text(row, sessions::NAME).to_owned(),
        created_ms: int(row, sessions::CREATED),
        seen_ms: int(row, sessions::SEEN),
        expires_ms: int(row, sessions::EXPIRES),
        address: text(row, sessions::ADDRESS).to_owned(),
        agent: text(row, sessions::AGENT).to_owned(),
        current: text(row, 0) == current,
    }
}
