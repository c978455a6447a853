//! Whether what must be kept is kept: each writer behind the requests says here how it fares, for readiness, metrics and the log.

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

    /// As metrics name it.
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

    /// Whether nothing should be sent here while it fails. A witness is outside: it holds up nobody.
    #[must_use]
    pub fn is_needed(self) -> bool {
        self != Self::Witnesses
    }
}

/// How the writers fare.
#[derive(Default)]
pub(crate) struct Keeping([AtomicBool; Writer::ALL.len()]);

impl Keeping {
    /// Says how a writer has fared; the log is told when that is something else than before.
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
