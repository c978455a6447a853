//! Changing a password: by showing the old one, or with a one-time value.

use super::acceptable;
use crate::{
    Context, Identity, Started,
    error::IdentityError,
    once::Purpose,
    session,
    session::session_of,
    tables::{keys, once, passwords},
    throttle::Attempt,
};
use haechi_gate::{Caller, SystemError, SystemWork};
use haechi_model::{
    Actor, Value, person,
    stored::{is, text},
};

const MISS_CHANGED: u16 = 100;
const MISS_CODE: u16 = 101;

impl Identity {
    /// Changes the caller's password. All older sessions and keys end, and a new session begins.
    pub(crate) async fn change_password(
        &self,
        caller: &Caller,
        current: &str,
        new: &str,
        cookie: bool,
        context: &Context,
    ) -> Result<Started, IdentityError> {
        let inner = &*self.0;
        let (user, ..) = session_of(caller)?;
        let taken = inner.attempt(&Attempt::Owner(user), context).await?;
        let row = inner.gate.system_row(inner.tables.passwords, user).await?;
        let stored = row.map_or_else(|| super::dummy().to_owned(), |row| text(&row, passwords::HASH).to_owned());
        if current.len() > super::MAX_BYTES || !inner.hasher.verify(current, &stored).await? {
            inner
                .gate
                .system_refused(&inner.key, Actor::clone(caller.actor()), "change_password", &context.request_id)
                .map_err(IdentityError::Refused)?;
            return Err(IdentityError::field("/current_password", "wrong", "is not your password"));
        }
        let row = caller.row();
        acceptable(new, &self.about(text(row, person::EMAIL)), "/new_password")?;
        if new == current {
            return Err(IdentityError::field("/new_password", "unchanged", "is the password that you have"));
        }
        let hash = inner.hasher.hash(new).await?;
        let now = inner.now_ms();
        let mut work = inner.gate.system_work(&inner.key, Actor::clone(caller.actor()), &context.request_id);
        work.lock(inner.tables.passwords, user, is(passwords::HASH, stored.as_str()), MISS_CHANGED);
        work.update(inner.tables.passwords, user, vec![(passwords::HASH, Value::text(hash)), (passwords::CHANGED, Value::Int(now))], MISS_CHANGED);
        self.end_everything(&mut work, user);
        let session = session::fresh(inner, &mut work, user, cookie, context);
        inner.give_back(&mut work, &taken);
        work.entry("change_password", Some(user), None, None, String::new());
        match work.commit().await {
            Ok(_) => Ok(self.started(session, row.clone(), now)),
            Err(SystemError::Missed(MISS_CHANGED)) => Err(IdentityError::Stale),
            Err(error) => Err(error.into()),
        }
    }

    /// Sets the password of the person that a one-time value belongs to.
    pub(crate) async fn set_password(&self, code: &str, new: &str, context: &Context) -> Result<(), IdentityError> {
        let inner = &*self.0;
        inner.attempt(&Attempt::Code, context).await?;
        let user = inner.subject(Purpose::Password, code).await?.ok_or(IdentityError::InvalidCode)?;
        let row = inner.gate.system_row(inner.tables.users, &user).await?.ok_or(IdentityError::InvalidCode)?;
        acceptable(new, &self.about(text(&row, person::EMAIL)), "/new_password")?;
        let hash = inner.hasher.hash(new).await?;
        let mut work = inner.gate.system_work(&inner.key, Actor { kind: "user", id: user.as_str().into() }, &context.request_id);
        let slot = inner.consume(&mut work, Purpose::Password, code, MISS_CODE);
        self.put_password(&mut work, &user, hash);
        self.end_everything(&mut work, &user);
        work.entry("set_password", Some(&user), None, None, String::new());
        match work.commit().await {
            Ok(rows) => {
                debug_assert_eq!(text(&rows[slot], once::SUBJECT), user);
                Ok(())
            }
            Err(SystemError::Missed(MISS_CODE)) => Err(IdentityError::InvalidCode),
            Err(error) => Err(error.into()),
        }
    }

    /// Replaces the stored hash.
    pub(crate) fn put_password(&self, work: &mut SystemWork<haechi_gate::Identity>, user: &str, hash: String) {
        work.clear(self.0.tables.passwords, is(0, user));
        work.insert(self.0.tables.passwords, vec![Value::text(user), Value::text(hash), Value::Int(self.0.now_ms())]);
    }

    /// Ends everything that was issued to a person.
    pub(crate) fn end_everything(&self, work: &mut SystemWork<haechi_gate::Identity>, user: &str) {
        self.0.end_all(work, user, None);
        work.clear(self.0.tables.keys, haechi_model::Predicate::all([is(keys::KIND, "user"), is(keys::OWNER, user)]));
        work.clear(self.0.tables.once, haechi_model::Predicate::all([is(once::PURPOSE, Purpose::Password.name()), is(once::SUBJECT, user)]));
    }

    /// Words that a password must not consist of.
    pub(crate) fn about<'a>(&self, email: &'a str) -> Vec<&'a str> {
        let mut words = vec!["haechi", email];
        words.extend(email.split(['@', '.', '-', '_', '+']));
        words
    }
}
