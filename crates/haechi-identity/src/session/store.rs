//! The table of sessions: one function a query.

use super::PREFIX;
use crate::{Context, Inner, once::secret, tables::sessions};
use haechi_gate::{Identity, SystemWork, credential_hash};
use haechi_model::{
    Failure, Predicate, Row, Value,
    stored::{above, at_most, int, is, is_not, text},
};

/// Other sessions of the same person have begun meanwhile.
pub(crate) const MISS_FULL: u16 = 101;
/// More sessions than any person may have.
const MANY: u32 = 1_001;

/// A session that was just begun.
pub(crate) struct Fresh {
    pub(crate) token: String,
    pub(crate) hash: String,
    pub(crate) name: String,
    pub(crate) expires_ms: i64,
}

/// Adds a session to a change.
pub(crate) fn fresh(inner: &Inner, work: &mut SystemWork<Identity>, user: &str, cookie: bool, context: &Context) -> Fresh {
    let (now, config) = (inner.now_ms(), inner.config());
    let token = secret(PREFIX);
    let (hash, name) = (credential_hash(&token), uuid::Uuid::now_v7().hyphenated().to_string());
    let expires_ms = now + config.session_minutes * 60_000;
    let row = vec![
        Value::text(&*hash),
        Value::text(user),
        Value::text(&*name),
        Value::Int(now),
        Value::Int(now),
        Value::Int(expires_ms),
        Value::Int(now),
        Value::Int(i64::from(cookie)),
        Value::text(context.network()),
        Value::text(&*context.agent),
    ];
    work.insert(inner.tables.sessions, row);
    Fresh { token, hash, name, expires_ms }
}

impl Inner {
    /// All sessions of a person that have not ended, newest first.
    pub(crate) async fn sessions_of(&self, user: &str) -> Result<Vec<Row>, Failure> {
        let now = self.now_ms();
        let idle_ms = self.config().session_idle_minutes * 60_000;
        let mut rows = self.gate.system_find(self.tables.sessions, is(sessions::USER, user), MANY).await?;
        rows.retain(|row| alive(row, now, idle_ms));
        rows.sort_by_key(|row| std::cmp::Reverse(int(row, sessions::CREATED)));
        Ok(rows)
    }

    /// Ends the oldest sessions beyond a person's limit, counting the one that is being begun.
    pub(crate) async fn make_room(&self, work: &mut SystemWork<Identity>, user: &str) -> Result<(), Failure> {
        let room = usize::try_from(self.config().sessions - 1).unwrap_or_default();
        for row in self.sessions_of(user).await?.iter().skip(room) {
            self.end(work, text(row, 0));
        }
        // Another session may have begun since they were read: then the change is tried again.
        let now = self.now_ms();
        let idle_ms = self.config().session_idle_minutes * 60_000;
        let alive = Predicate::all([is(sessions::USER, user), above(sessions::EXPIRES, now), above(sessions::SEEN, now - idle_ms)]);
        work.fewer(self.tables.sessions, alive, u32::try_from(room + 1).unwrap_or(u32::MAX), MISS_FULL);
        Ok(())
    }

    /// Ends one session.
    pub(crate) fn end(&self, work: &mut SystemWork<Identity>, hash: &str) {
        work.clear(self.tables.sessions, is(0, hash));
        work.revoke_credential(hash);
    }

    /// Ends all sessions of a person, except one.
    pub(crate) fn end_all(&self, work: &mut SystemWork<Identity>, user: &str, except: Option<&str>) {
        let theirs = is(sessions::USER, user);
        let filter = match except {
            Some(hash) => Predicate::all([theirs, is_not(0, hash)]),
            None => theirs,
        };
        work.clear(self.tables.sessions, filter);
        work.revoke_user(user);
    }

    /// Deletes sessions that have ended by themselves.
    pub(crate) fn forget_ended(&self, work: &mut SystemWork<Identity>) {
        let now = self.now_ms();
        let idle_ms = self.config().session_idle_minutes * 60_000;
        work.clear(self.tables.sessions, Predicate::Any(vec![at_most(sessions::EXPIRES, now), at_most(sessions::SEEN, now - idle_ms)]));
    }
}

/// Whether a session is neither idle for too long nor past its end.
pub(crate) fn alive(row: &Row, now: i64, idle_ms: i64) -> bool {
    now < int(row, sessions::EXPIRES) && now < int(row, sessions::SEEN) + idle_ms
}
