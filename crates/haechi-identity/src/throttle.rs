//! Attempts are counted in the database before anything is computed. Nobody can lock another person out.
//!
//! A device that has signed in before has its own bucket, which strangers cannot fill. All others share the buckets of the account and of
//! the address.

use crate::{Context, Inner, error::IdentityError, tables::buckets};
use haechi_gate::{SystemError, SystemWork};
use haechi_model::{
    Actor, Predicate,
    stored::{at_most, is},
};

const MINUTE: i64 = 60_000;

/// How fast a bucket drains and how much it holds.
#[derive(Clone, Copy)]
struct Rate {
    name: &'static str,
    attempts: i64,
    per_ms: i64,
}

const DEVICE: Rate = Rate { name: "device", attempts: 10, per_ms: 15 * MINUTE };
const PAIR: Rate = Rate { name: "pair", attempts: 10, per_ms: 15 * MINUTE };
const ADDRESS: Rate = Rate { name: "address", attempts: 30, per_ms: 15 * MINUTE };
const ACCOUNT: Rate = Rate { name: "account", attempts: 100, per_ms: 60 * MINUTE };
const SIGN_UPS: Rate = Rate { name: "sign-ups", attempts: 10, per_ms: 60 * MINUTE };
const CODES: Rate = Rate { name: "codes", attempts: 20, per_ms: 15 * MINUTE };
const OWNER: Rate = Rate { name: "owner", attempts: 10, per_ms: 15 * MINUTE };

/// Buckets that an attempt has filled: a success gives them back.
pub(crate) struct Taken(Vec<(Rate, String)>);

/// The kind of an attempt.
pub(crate) enum Attempt<'a> {
    /// A sign-in at this account, from a device that has signed in there before.
    KnownDevice(&'a str),
    /// A sign-in at this account.
    SignIn(&'a str),
    /// A sign-up.
    SignUp,
    /// A one-time value.
    Code,
    /// A signed-in person enters their password again.
    Owner(&'a str),
}

impl Inner {
    /// Counts an attempt, or refuses it.
    pub(crate) async fn attempt(&self, attempt: &Attempt<'_>, context: &Context) -> Result<Taken, IdentityError> {
        let network = context.network();
        let buckets: Vec<(Rate, String)> = match attempt {
            Attempt::KnownDevice(device) => vec![(DEVICE, (*device).to_owned())],
            Attempt::SignIn(account) => {
                vec![(PAIR, format!("{account} {network}")), (ADDRESS, network), (ACCOUNT, (*account).to_owned())]
            }
            Attempt::SignUp => vec![(SIGN_UPS, network)],
            Attempt::Code => vec![(CODES, network)],
            Attempt::Owner(user) => vec![(OWNER, (*user).to_owned())],
        };
        let taken = Taken(buckets);
        let mut work = self.gate.system_work(&self.key, Actor { kind: "system", id: "throttle".into() }, &context.request_id);
        for (miss, (rate, name)) in (0..).zip(&taken.0) {
            work.take(self.tables.buckets, &self.bucket(*rate, name), rate.per_ms / rate.attempts, rate.per_ms, miss);
        }
        match work.commit().await {
            Ok(_) => Ok(taken),
            Err(SystemError::Missed(miss)) => {
                let rate = taken.0.get(usize::from(miss)).map_or(PAIR, |(rate, _)| *rate);
                let retry_after_s = u32::try_from(rate.per_ms / rate.attempts / 1000 + 1).unwrap_or(60);
                Err(IdentityError::TooManyAttempts { retry_after_s, signs_in: matches!(attempt, Attempt::SignIn(_)) })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Gives back what a successful attempt took.
    pub(crate) fn give_back(&self, work: &mut SystemWork<haechi_gate::Identity>, taken: &Taken) {
        for (rate, name) in &taken.0 {
            let id = self.bucket(*rate, name);
            match rate.name {
                "pair" | "device" | "owner" => work.clear(self.tables.buckets, is(0, id.as_str())),
                _ => work.take(self.tables.buckets, &id, -(rate.per_ms / rate.attempts), rate.per_ms, 0),
            }
        }
    }

    /// Deletes empty buckets.
    pub(crate) fn forget_empty(&self, work: &mut SystemWork<haechi_gate::Identity>) {
        work.clear(self.tables.buckets, Predicate::all([at_most(buckets::UNTIL, self.now_ms())]));
    }

    fn bucket(&self, rate: Rate, name: &str) -> String {
        self.buckets.hex(format!("{} {name}", rate.name).as_bytes())
    }
}
