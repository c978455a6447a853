//! What sealing needs and keeps: the signer, the tree so far, and how a seal is packed.

use crate::{
    keys::{Mac, MasterKey, Purpose},
    ledger::{keeping::Keeping, witness::Witnesses},
};
use haechi_ledger::{Frontier, Hash, Signer, Verifier};
use haechi_model::Witness;
use std::sync::{Arc, atomic::AtomicBool};
use tokio::sync::Mutex;

/// What sealing needs and keeps.
pub(crate) struct SealState {
    pub(super) signer: Signer,
    pub(super) witnesses: Witnesses,
    archive: Mac,
    /// The tree so far; `None` until it was read. The lock lets one task seal at a time.
    pub(super) tree: Mutex<Option<Frontier>>,
    /// Whether an entry is missing.
    pub(super) holed: AtomicBool,
}

impl SealState {
    pub(crate) fn new(master: &MasterKey, witness: Vec<Witness>, keeping: &Arc<Keeping>) -> Option<Self> {
        // The name follows from the key: it does not change with addresses, and it differs between ledgers.
        let name = crate::keys::hex(&master.derive(Purpose::LedgerName)[..8]);
        let signer = Signer::new(&format!("haechi-ledger/{name}"), &master.derive(Purpose::LedgerSignature)).ok()?;
        Some(Self {
            signer,
            witnesses: Witnesses::new(witness, keeping.clone()),
            archive: master.mac(Purpose::LedgerArchive),
            tree: Mutex::new(None),
            holed: AtomicBool::new(false),
        })
    }

    /// Marks where an archive ended.
    pub(crate) fn archive_mac(&self) -> &Mac {
        &self.archive
    }

    pub(crate) fn verifier(&self) -> Verifier {
        self.signer.verifier()
    }
}

/// What a seal keeps beside its note: the tree at its size, then the leaves since the seal before.
pub(crate) fn pack(frontier: &Frontier, leaves: &[Hash]) -> Vec<u8> {
    let tree = frontier.to_bytes();
    let mut out = (tree.len() as u32).to_be_bytes().to_vec();
    out.extend_from_slice(&tree);
    leaves.iter().for_each(|leaf| out.extend_from_slice(leaf));
    out
}

/// The inverse of [`pack`].
pub(crate) fn unpack(bytes: &[u8]) -> Option<(Frontier, Vec<Hash>)> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (tree, leaves) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    let (leaves, left) = leaves.as_chunks::<32>();
    left.is_empty().then_some(())?;
    Some((Frontier::from_bytes(tree)?, leaves.to_vec()))
}
