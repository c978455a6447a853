//! One-time values: stored as a hash, consumed exactly once under any race.

use crate::{Inner, tables::once};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use haechi_gate::{Identity, SystemWork, credential_hash, random};
use haechi_model::{
    Miss, Predicate, Value,
    stored::{above, int, is, text},
};

/// What a one-time value allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Making the first administrator.
    Setup,
    /// Signing up.
    Invitation,
    /// Setting a password.
    Password,
}

impl Purpose {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::Invitation => "invitation",
            Self::Password => "password",
        }
    }

    fn minutes(self) -> i64 {
        match self {
            Self::Setup => 10,
            Self::Invitation => 7 * 24 * 60,
            Self::Password => 24 * 60,
        }
    }
}

/// 256 random bits as text, after a prefix that says what it is.
pub(crate) fn secret(prefix: &str) -> String {
    format!("{prefix}{}", URL_SAFE_NO_PAD.encode(random::<32>()))
}

impl Inner {
    /// Issues a value; earlier ones for the same purpose and subject end.
    pub(crate) fn issue(&self, work: &mut SystemWork<Identity>, purpose: Purpose, subject: &str) -> String {
        let code = secret("haechi_once_");
        work.clear(self.tables.once, Predicate::all([is(once::PURPOSE, purpose.name()), is(once::SUBJECT, subject)]));
        let expires = self.now_ms() + purpose.minutes() * 60_000;
        work.insert(
            self.tables.once,
            vec![Value::text(credential_hash(&code)), Value::text(purpose.name()), Value::text(subject), Value::Int(expires)],
        );
        code
    }

    /// Consumes a value within a change: both happen, or neither does. Returns the slot of its row.
    pub(crate) fn consume(&self, work: &mut SystemWork<Identity>, purpose: Purpose, code: &str, miss: Miss) -> usize {
        let hash = credential_hash(code);
        let alive = Predicate::all([is(once::PURPOSE, purpose.name()), above(once::EXPIRES, self.now_ms())]);
        let slot = work.lock(self.tables.once, &hash, alive, miss);
        work.delete(self.tables.once, &hash, miss);
        slot
    }

    /// Ends the codes for the first administrator: called as soon as there is a person.
    pub(crate) fn no_setup_any_more(&self, work: &mut SystemWork<Identity>) {
        work.clear(self.tables.once, is(once::PURPOSE, Purpose::Setup.name()));
    }

    /// The subject of a value, when it could be consumed now.
    pub(crate) async fn subject(&self, purpose: Purpose, code: &str) -> Result<Option<String>, haechi_model::Failure> {
        let row = self.gate.system_row(self.tables.once, &credential_hash(code)).await?;
        let alive = row.filter(|row| text(row, once::PURPOSE) == purpose.name() && int(row, once::EXPIRES) > self.now_ms());
        Ok(alive.map(|row| text(&row, once::SUBJECT).to_owned()))
    }
}
