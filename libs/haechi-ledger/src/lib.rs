//! A tamper-evident log: entries, a Merkle tree over them, signed checkpoints and proofs. No I/O.
//!
//! * Hashing is that of RFC 9162 §2.1.1: `SHA-256(0x00 ‖ entry)` for leaves, `SHA-256(0x01 ‖ left ‖ right)` for nodes.
//! * Checkpoints are C2SP `tlog-checkpoint` notes signed with Ed25519.
//! * An [`Entry`] commits to its detail by `SHA-256(salt ‖ detail)`: erasing salt and detail keeps every proof valid.
#![warn(missing_docs)]

mod checkpoint;
mod entry;
mod proof;
mod tree;

pub use checkpoint::{Checkpoint, NoteError, Signer, Verifier};
pub use entry::{Entry, EntryError, commitment, event_hash};
pub use proof::{consistency_proof, inclusion_proof, verify_consistency, verify_inclusion};
pub use tree::{Frontier, Hash, leaf_hash, node_hash, root};
