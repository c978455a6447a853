//! What operators do with people: add, invite, give roles, disable, reset, end sessions.

use super::actions::Allowed;
use crate::{
    Identity, NewKey, SessionView, Shown,
    error::IdentityError,
    once::Purpose,
    session::view,
    tables::{ISSUED, keys, once},
};
use futures_util::future::BoxFuture;
use haechi_gate::SystemWork;
use haechi_model::{
    Actor, Collection, HOUSEKEEPING, Json, Predicate, Row, Value, format_datetime, person,
    stored::{at_most, int, is, text},
};

/// Most people that an operator's list shows.
const MANY: u32 = 100_000;
const MISS_GONE: u16 = 100;

/// A person as an operator sees them.
#[derive(Clone, Debug)]
pub struct Person {
    /// Id among the users.
    pub id: String,
    /// The address.
    pub email: String,
    /// Names of the roles.
    pub roles: Vec<String>,
    /// Whether the person may not sign in.
    pub disabled: bool,
}

/// An operator: a user of the operating system, recorded in the ledger.
pub struct Operator {
    identity: Identity,
    name: Box<str>,
}

impl Identity {
    /// The actions of an operator; `name` is recorded in the ledger.
    #[must_use]
    pub fn operator(&self, name: &str) -> Operator {
        Operator { identity: self.clone(), name: name.into() }
    }

    /// Deletes what has ended by itself: sessions, one-time values, keys, empty buckets.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn housekeeping(&self) -> BoxFuture<'_, Result<(), IdentityError>> {
        Box::pin(async move {
            let (inner, now) = (&*self.0, self.0.now_ms());
            let mut work = inner.gate.system_work(&inner.key, Actor { kind: "system", id: "housekeeping".into() }, "");
            inner.forget_ended(&mut work);
            inner.forget_empty(&mut work);
            work.clear(inner.tables.once, at_most(once::EXPIRES, now));
            work.clear(inner.tables.keys, at_most(keys::EXPIRES, now));
            work.entry(HOUSEKEEPING, None, None, None, String::new());
            work.commit().await.map(|_| ()).map_err(Into::into)
        })
    }
}

impl Operator {
    /// All people, in the order of their ids.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn people(&self) -> BoxFuture<'_, Result<Vec<Person>, IdentityError>> {
        Box::pin(async move {
            // Reading past policies leaves an entry.
            let mut work = self.work();
            work.entry("list_people", None, None, None, String::new());
            work.commit().await?;
            let rows = self.identity.0.gate.system_find(self.identity.0.tables.users, Predicate::True, MANY).await?;
            Ok(rows.iter().map(|row| self.person(row)).collect())
        })
    }

    fn person(&self, row: &Row) -> Person {
        Person {
            id: text(row, Collection::ID).to_owned(),
            email: text(row, person::EMAIL).to_owned(),
            roles: serde_json::from_str(text(row, person::ROLES)).unwrap_or_default(),
            disabled: int(row, person::DISABLED) != 0,
        }
    }

    /// The person with this id or address.
    ///
    /// # Errors
    /// When there is none, or the database cannot be reached.
    pub fn find_person<'a>(&'a self, named: &'a str) -> BoxFuture<'a, Result<Person, IdentityError>> {
        Box::pin(async move {
            if let Some(row) = self.identity.0.gate.system_row(self.identity.0.tables.users, named).await? {
                return Ok(self.person(&row));
            }
            let row = match self.identity.canonical_email(named) {
                Some(email) => self.identity.user_by_email(&email).await?,
                None => None,
            };
            row.map(|row| self.person(&row)).ok_or(IdentityError::NotFound)
        })
    }

    /// Adds a person without a password; the one-time value sets it.
    ///
    /// # Errors
    /// When the address is taken, a role is not declared, or the database cannot be reached.
    pub fn add_person<'a>(
        &'a self,
        email: &'a str,
        roles: &'a [String],
        profile: &'a Json,
    ) -> BoxFuture<'a, Result<(Person, String), IdentityError>> {
        Box::pin(async move {
            let mut values = vec![(person::EMAIL, self.identity.read_email(email)?)];
            values.extend(self.identity.profile(Some(profile), Allowed::All, "")?);
            values.push((person::ROLES, self.read_roles(roles)?));
            let mut work = self.work();
            let (id, slot) = work.insert_user(&values);
            work.entry("create", Some(&id), None, Some(slot), "\"by\":\"operator\"".to_owned());
            self.identity.0.no_setup_any_more(&mut work);
            let code = self.identity.0.issue(&mut work, Purpose::Password, &id);
            work.commit().await?;
            Ok((self.find_person(&id).await?, code))
        })
    }

    /// Invites the owner of an address to sign up.
    ///
    /// # Errors
    /// When it is no address, is taken, or the database cannot be reached.
    pub fn invite<'a>(&'a self, email: &'a str) -> BoxFuture<'a, Result<String, IdentityError>> {
        Box::pin(async move {
            self.identity.read_email(email)?;
            let canonical = self.identity.canonical_email(email).ok_or(IdentityError::NotFound)?;
            if self.identity.user_by_email(&canonical).await?.is_some() {
                return Err(IdentityError::Taken { email: true, fields: Vec::new() });
            }
            let mut work = self.work();
            let code = self.identity.0.issue(&mut work, Purpose::Invitation, &canonical);
            work.entry("invite", None, None, None, String::new());
            work.commit().await?;
            Ok(code)
        })
    }

    /// Gives a person these roles and no others.
    ///
    /// # Errors
    /// When a role is not declared, or the database cannot be reached.
    pub fn set_roles<'a>(&'a self, id: &'a str, roles: &'a [String]) -> BoxFuture<'a, Result<(), IdentityError>> {
        Box::pin(async move {
            let roles = self.read_roles(roles)?;
            self.change(id, "update", vec![(person::ROLES, roles)], |_, _| ()).await
        })
    }

    /// Disables a person, or enables them again. Everything that was issued to them ends.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn set_disabled<'a>(&'a self, id: &'a str, disabled: bool) -> BoxFuture<'a, Result<(), IdentityError>> {
        Box::pin(async move {
            let value = Value::Int(i64::from(disabled));
            self.change(id, "update", vec![(person::DISABLED, value)], |identity, work| {
                if disabled {
                    identity.end_everything(work, id);
                }
            })
            .await
        })
    }

    /// Takes a person's password away and returns a one-time value to set a new one. Everything that was issued to them ends.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn reset<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<String, IdentityError>> {
        Box::pin(async move {
            let mut work = self.work();
            work.clear(self.identity.0.tables.passwords, is(0, id));
            self.identity.end_everything(&mut work, id);
            let code = self.identity.0.issue(&mut work, Purpose::Password, id);
            work.entry("reset_password", Some(id), None, None, String::new());
            work.commit().await?;
            Ok(code)
        })
    }

    /// A person's sessions that have not ended, newest first.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn sessions_of<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Vec<SessionView>, IdentityError>> {
        Box::pin(async move { Ok(self.identity.0.sessions_of(id).await?.iter().map(|row| view(row, "")).collect()) })
    }

    /// Ends all of a person's sessions.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn end_sessions<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), IdentityError>> {
        Box::pin(async move {
            let mut work = self.work();
            self.identity.0.end_all(&mut work, id, None);
            work.entry("end_sessions", Some(id), None, None, String::new());
            work.commit().await.map(|_| ()).map_err(Into::into)
        })
    }

    /// A one-time value for the first administrator, when nobody can sign in yet.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn setup_code(&self) -> BoxFuture<'_, Result<Option<String>, IdentityError>> {
        Box::pin(async move {
            let inner = &*self.identity.0;
            let people = inner.gate.system_find(inner.tables.users, Predicate::True, 1).await?;
            if !people.is_empty() {
                return Ok(None);
            }
            let mut work = self.work();
            let code = inner.issue(&mut work, Purpose::Setup, "first");
            work.entry("setup_code", None, None, None, String::new());
            work.commit().await?;
            Ok(Some(code))
        })
    }

    /// Records in the ledger that everything was restored except issued credentials.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn restored(&self) -> BoxFuture<'_, Result<(), IdentityError>> {
        Box::pin(async move {
            let mut work = self.work();
            // Issued credentials were not restored.
            let gone: Vec<String> = ISSUED.iter().map(|table| format!("[\"{table}/*\",null]")).collect();
            work.entry("restore", None, None, None, format!("\"stated\":[{}]", gone.join(",")));
            work.commit().await.map(|_| ()).map_err(Into::into)
        })
    }

    /// Takes the system's time after the clock was wrongly ahead, and ends what was issued under the old time: all sessions, one-time
    /// values and counts of attempts. Returns the time before and after.
    ///
    /// # Errors
    /// When the database cannot be reached: the time stays as before.
    pub fn accept_clock(&self) -> BoxFuture<'_, Result<(i64, i64), IdentityError>> {
        Box::pin(async move {
            let inner = &*self.identity.0;
            let (before_ms, now_ms) = inner.gate.accept_clock(&inner.key);
            let mut work = self.work();
            for table in [inner.tables.sessions, inner.tables.once, inner.tables.buckets] {
                work.clear(table, Predicate::True);
            }
            work.revoke_all();
            let (before, now) = (format_datetime(before_ms), format_datetime(now_ms));
            work.entry("accept_clock", None, None, None, format!("\"before\":\"{before}\",\"now\":\"{now}\""));
            match work.commit().await {
                Ok(_) => Ok((before_ms, now_ms)),
                Err(error) => {
                    inner.gate.keep_clock(&inner.key, before_ms);
                    Err(error.into())
                }
            }
        })
    }

    async fn change(
        &self,
        id: &str,
        action: &str,
        mut set: Vec<(usize, Value)>,
        more: impl FnOnce(&Identity, &mut SystemWork<haechi_gate::Identity>),
    ) -> Result<(), IdentityError> {
        let mut work = self.work();
        let before = work.lock(self.identity.0.tables.users, id, Predicate::True, MISS_GONE);
        set.push((Collection::UPDATE_TIME, Value::Int(self.identity.0.now_ms())));
        let after = work.update(self.identity.0.tables.users, id, set, MISS_GONE);
        more(&self.identity, &mut work);
        work.entry(action, Some(id), Some(before), Some(after), "\"by\":\"operator\"".to_owned());
        work.commit().await.map(|_| ()).map_err(Into::into)
    }

    fn read_roles(&self, roles: &[String]) -> Result<Value, IdentityError> {
        let app = &self.identity.0.gate.revision().app;
        match roles.iter().find(|role| !app.roles.contains(role)) {
            Some(unknown) => {
                Err(IdentityError::field("/roles", "unknown_role", &format!("no role is named `{unknown}`; roles: {}", app.roles.join(", "))))
            }
            None => Ok(Value::text(serde_json::Value::from(roles.to_vec()).to_string())),
        }
    }

    pub(crate) fn work(&self) -> SystemWork<haechi_gate::Identity> {
        self.identity.0.gate.system_work(&self.identity.0.key, Actor { kind: "operator", id: self.name.clone() }, "")
    }

    /// Makes a key for a service with its own roles.
    ///
    /// # Errors
    /// When a role, a scope or the time is not valid, or the database cannot be reached.
    pub fn create_service_key<'a>(
        &'a self,
        service: &'a str,
        roles: &'a [String],
        new: &'a NewKey,
    ) -> BoxFuture<'a, Result<(String, Shown), IdentityError>> {
        Box::pin(async move { self.identity.service_key(self.work(), service, roles, new).await })
    }

    /// All keys that have not ended.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn keys(&self) -> BoxFuture<'_, Result<Vec<Shown>, IdentityError>> {
        Box::pin(async move { self.identity.all_keys().await })
    }

    /// Revokes a key.
    ///
    /// # Errors
    /// When there is no key with this id, or the database cannot be reached.
    pub fn revoke_key<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), IdentityError>> {
        Box::pin(async move { self.identity.end_key(self.work(), is(keys::NAME, name), None).await })
    }
}
