//! Each writer behind the requests reports here whether it works, for readiness, metrics and the log.

use std::sync::atomic::{AtomicBool, Ordering};

/// A writer behind the requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// Who saw personal fields, and who was refused.
    Access,
    /// Seals of the ledger.
    Seals,
    /// Changes that streams can go on from, and how long they are kept.
    Changes,
    /// Witnesses of the ledger.
    Witnesses,
}

impl Writer {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Access, Self::Seals, Self::Changes, Self::Witnesses];

    /// Its name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Seals => "seals",
            Self::Changes => "changes",
            Self::Witnesses => "witnesses",
        }
    }

    /// What is wrong when it fails.
    #[must_use]
    pub fn failed(self) -> &'static str {
        match self {
            Self::Access => "access entries cannot be written: what would need one is answered 503",
            Self::Seals => "entries of the ledger cannot be sealed",
            Self::Changes => "old changes cannot be forgotten",
            Self::Witnesses => "a witness cannot be told of checkpoints",
        }
    }

    /// Whether this node should get no requests while the writer fails. A witness is outside and holds up nothing.
    #[must_use]
    pub fn is_needed(self) -> bool {
        self != Self::Witnesses
    }
}

/// The state of the writers.
#[derive(Default)]
pub(crate) struct Keeping([AtomicBool; Writer::ALL.len()]);

impl Keeping {
    /// Records how a writer fares; logs a change.
    pub(crate) fn fares(&self, writer: Writer, well: bool) {
        let failed_before = self.0[writer as usize].swap(!well, Ordering::AcqRel);
        match (failed_before, well) {
            (false, false) => tracing::error!(target: "haechi::ledger", writer = writer.name(), "{}", writer.failed()),
            (true, true) => tracing::info!(target: "haechi::ledger", writer = writer.name(), "it is written again"),
            _ => {}
        }
    }

    pub(crate) fn fails(&self, writer: Writer) -> bool {
        self.0[writer as usize].load(Ordering::Acquire)
    }
}
