//! The gate: who asks, may they, and the only way to the store.
//!
//! A feature holds a [`Gate`] and a [`Caller`]; it gets an [`Ask`], from that a grant, and only a grant makes statements.
//! The store is private to this crate and nothing of it is re-exported.
//!
//! # What does not compile
//!
//! The intended use of a grant:
//! ```
//! async fn read(ask: &haechi_gate::Ask) -> Option<Vec<u8>> {
//!     let grant = ask.on::<haechi_gate::Read>(0).ok()?;
//!     grant.get("id", haechi_gate::Wanted::default()).await.ok().flatten().map(|page| page.bytes)
//! }
//! fn write(grant: haechi_gate::Grant<haechi_gate::Delete>, work: &mut haechi_gate::Work) {
//!     grant.delete(work, "id", None);
//! }
//! ```
//! A grant to write works once:
//! ```compile_fail,E0382
//! fn twice(grant: haechi_gate::Grant<haechi_gate::Delete>, work: &mut haechi_gate::Work) {
//!     grant.delete(work, "one", None);
//!     grant.delete(work, "two", None);
//! }
//! ```
//! … and is not copied:
//! ```compile_fail,E0599
//! fn copy(grant: &haechi_gate::Grant<haechi_gate::Delete>, work: &mut haechi_gate::Work) {
//!     grant.clone().delete(work, "one", None);
//! }
//! ```
//! A grant for one verb does not work for another:
//! ```compile_fail,E0599
//! fn other(grant: haechi_gate::Grant<haechi_gate::Read>, work: &mut haechi_gate::Work) {
//!     grant.delete(work, "one", None);
//! }
//! ```
//! Other crates cannot make a grant, a caller or a system key:
//! ```compile_fail,E0624
//! fn forge(ask: haechi_gate::Ask) -> haechi_gate::Grant<haechi_gate::Read> {
//!     haechi_gate::Grant::new(ask, 0, haechi_model::Predicate::True)
//! }
//! ```
//! ```compile_fail,E0624
//! let root = haechi_gate::Caller::new(haechi_gate::CallerKind::User, "root", Vec::new(), Vec::new(), todo!());
//! ```
//! ```compile_fail,E0624
//! let key = haechi_gate::System::<haechi_gate::Import>::new();
//! ```
//! … nor another verb, nor another area:
//! ```compile_fail,E0277
//! enum Everything {}
//! impl haechi_gate::Verb for Everything {
//!     const NAME: &'static str = "everything";
//!     fn rows(_: &haechi_gate::Ask, _: usize) -> haechi_model::Predicate {
//!         haechi_model::Predicate::True
//!     }
//! }
//! ```
//! Other crates cannot reach the store:
//! ```compile_fail,E0616
//! fn around(gate: haechi_gate::Gate) {
//!     let _ = gate.0.store;
//! }
//! ```
//! ```compile_fail,E0432
//! use haechi_gate::Store;
//! ```

mod access;
mod ask;
mod authenticate;
mod background;
mod caller;
mod came;
mod clock;
mod declared;
mod developer;
mod gate;
mod grant;
mod import;
mod keys;
#[cfg(haechi_unsafe_lab)]
pub mod lab;
mod ledger;
mod live;
mod memory;
mod migrate;
mod operator;
mod outbound;
mod reads;
mod refusal;
mod revision;
mod shared;
mod show;
mod signs;
mod system;
mod system_work;
mod work;

pub use access::{AccessChange, Advice, Advised, Asker, Examples, Explanation, Looked, Outcome, Pair, Pairs, Reach, Reached, Way, difference};
pub use ask::Ask;
pub use authenticate::{Authenticator, Known, Pending, credential_hash};
pub use caller::{Caller, CallerKind, Credential, Scope, SignedIn, UnknownScope};
pub use came::{Allowance, Doing, Doorkeeper, Waiting};
pub use clock::{CLOCK_BEHIND_MS, Clock, GateClock, LedgerClock, SystemClock, TestClock};
pub use declared::ActionGrant;
pub use developer::dev_token;
pub use gate::{Database, Gate, OpenError, Options, restore};
pub use grant::{AggregateQuery, Create, Delete, Export, Found, Grant, List, ListQuery, Read, Update, Verb, Wanted, Watch};
pub use haechi_store::{Fill, MigrateError, Migration, Plan, Server, Sizes, Unopened, Usage};
pub use import::{ImportError, ImportRow, Imported, Named, ReadRow, Rows, is_key};
pub use keys::{Life, Mac, MasterKey, Purpose, Sealer, Unsealed, random, random_hex};
pub use ledger::Lines;
pub use ledger::access::AccessFull;
pub use ledger::archive::{ArchiveError, ArchiveReport, Part};
pub use ledger::audit::{Finding as AuditFinding, Report as AuditReport};
pub use ledger::keeping::Writer;
pub use ledger::refused::RefusedRequest;
pub use live::{EndReason, Hold, OpenStream, Stream, Told, ToldKind, WatchError, WatchItem, WatchQuery};
pub use outbound::Outbound;
pub use refusal::{ReadError, Refusal};
pub use revision::{Revision, RevisionError};
pub use show::reply_order;
pub use signs::Signs;
pub use system::{Area, Audit, Backup, Identity, Import, Jobs, Schema, System, SystemKeys};
pub use system_work::{Pick, SystemError, SystemTable, SystemWork};
pub use work::{Committed, Done, Meaning, Work, WorkError, WriteError};
