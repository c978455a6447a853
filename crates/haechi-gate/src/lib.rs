//! The gate: who asks, may they, and the only way to the store.
//!
//! A feature holds a [`Gate`] and a [`Caller`]; it gets an [`Ask`], from that a grant, and only a grant makes statements.
//! The store is private to this crate and nothing of it is re-exported.

mod access;
mod ask;
mod audit;
mod authenticate;
mod caller;
mod clock;
mod gate;
mod grant;
mod import;
mod journal;
mod keys;
mod revision;
mod seal;
mod system;
mod work;

pub use access::AccessFull;
pub use ask::{Ask, Refusal};
pub use audit::{Finding as AuditFinding, Report as AuditReport};
pub use authenticate::{AuthError, dev_token};
pub use caller::{Caller, CallerKind};
pub use clock::{Clock, SystemClock, TestClock};
pub use gate::{Database, Gate, OpenError, Options};
pub use grant::{Create, Delete, Grant, List, ListQuery, Read, ReadError, Update, Verb};
pub use import::{ImportError, ImportRow};
pub use keys::{MasterKey, Sealer, Unsealed};
pub use revision::{Reach, Revision, RevisionError};
pub use system::{Area, System, SystemKeys};
pub use work::{Done, Meaning, Work, WorkError, WriteError};
