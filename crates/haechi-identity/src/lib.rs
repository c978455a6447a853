//! People: how they sign up, sign in and are signed out.
//!
//! All code here asks the gate with the key of its area; none of it knows a database.

mod authenticate;
mod body;
mod context;
mod error;
mod key;
mod once;
pub mod openapi;
mod password;
mod router;
mod session;
mod tables;
mod throttle;
mod user;

pub use authenticate::AuthError;
pub use context::{ClientAddress, Context};
pub use error::IdentityError;
pub use key::{NewKey, Shown};
pub use router::{router, routes};
pub use session::{SessionView, Started};
pub use tables::{ISSUED, tables};
pub use user::{Operator, Person};

use haechi_gate::{Authenticator, Gate, Identity as Area, Mac, MasterKey, Purpose, System};
use password::Hasher;
use std::sync::Arc;
use tables::Tables;

/// People, their credentials and their sessions. Cheap to clone.
#[derive(Clone)]
pub struct Identity(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) gate: Gate,
    pub(crate) key: System<Area>,
    pub(crate) authenticator: Authenticator,
    pub(crate) tables: Tables,
    pub(crate) hasher: Hasher,
    /// Proves that a device has signed in before.
    pub(crate) devices: Mac,
    /// Names buckets, so that the table holds no addresses of people.
    pub(crate) buckets: Mac,
    /// Proves that our own page made a request with a cookie.
    pub(crate) csrf: Mac,
}

impl Identity {
    /// Takes the keys of its area from a gate that was opened with [`tables()`]; `None` when they were taken before.
    #[must_use]
    pub fn open(gate: &Gate, keys: &mut haechi_gate::SystemKeys, master: &MasterKey) -> Option<Self> {
        let (key, authenticator) = keys.identity.take()?;
        let inner = Inner {
            tables: Tables::of(gate, &key)?,
            hasher: Hasher::start()?,
            devices: master.mac(Purpose::KnownDevice),
            buckets: master.mac(Purpose::ThrottleBucket),
            csrf: master.mac(Purpose::CsrfToken),
            gate: gate.clone(),
            key,
            authenticator,
        };
        Some(Self(Arc::new(inner)))
    }
}

impl Inner {
    /// Now, UTC milliseconds.
    pub(crate) fn now_ms(&self) -> i64 {
        self.gate.clock().now_ms()
    }

    pub(crate) fn config(&self) -> haechi_model::AuthConfig {
        self.gate.revision().app.config.auth.clone()
    }
}

impl Identity {
    /// Whether a request with a cookie carries the CSRF token of its session.
    #[must_use]
    pub fn proven(&self, caller: &haechi_gate::Caller, headers: &http::HeaderMap) -> bool {
        session::proven(&self.0, caller, headers)
    }

    /// The session in a browser's cookie.
    ///
    /// # Errors
    /// When the header is broken or names it twice.
    pub fn from_cookies(headers: &http::HeaderMap) -> Result<Option<&str>, IdentityError> {
        session::from_cookies(headers, session::SESSION)
    }
}
