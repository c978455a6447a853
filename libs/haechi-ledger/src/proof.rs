//! Inclusion and consistency proofs (RFC 9162 §2.1.3 and §2.1.4).

use crate::tree::{Hash, node_hash, root};

/// The path from one leaf to the root.
#[must_use]
pub fn inclusion_proof(leaves: &[Hash], index: usize) -> Vec<Hash> {
    if leaves.len() <= 1 {
        return Vec::new();
    }
    let split = split(leaves.len());
    let (left, right) = leaves.split_at(split);
    let (mut path, sibling) =
        if index < split { (inclusion_proof(left, index), root(right)) } else { (inclusion_proof(right, index - split), root(left)) };
    path.push(sibling);
    path
}

/// Whether a leaf stands at an index of the tree with this size and root.
#[must_use]
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, path: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut node, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// The nodes that prove that the first `size` leaves have not changed.
#[must_use]
pub fn consistency_proof(leaves: &[Hash], size: usize) -> Vec<Hash> {
    fn sub(leaves: &[Hash], size: usize, whole: bool) -> Vec<Hash> {
        if size == leaves.len() {
            return if whole { Vec::new() } else { vec![root(leaves)] };
        }
        let split = split(leaves.len());
        let (left, right) = leaves.split_at(split);
        let (mut path, sibling) = if size <= split { (sub(left, size, whole), root(right)) } else { (sub(right, size - split, false), root(left)) };
        path.push(sibling);
        path
    }
    if size == 0 || size >= leaves.len() { Vec::new() } else { sub(leaves, size, true) }
}

/// Whether the tree with the new root begins with the tree with the old one.
#[must_use]
pub fn verify_consistency(old_size: u64, old_root: &Hash, new_size: u64, new_root: &Hash, path: &[Hash]) -> bool {
    if old_size == new_size {
        return path.is_empty() && old_root == new_root;
    }
    if old_size == 0 || old_size > new_size {
        return old_size == 0 && path.is_empty();
    }
    let mut nodes = path.iter();
    let first = if old_size.is_power_of_two() { Some(old_root) } else { nodes.next() };
    let Some(first) = first else { return false };
    let (mut node, mut last) = (old_size - 1, new_size - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    let (mut old, mut new) = (*first, *first);
    for sibling in nodes {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            old = node_hash(sibling, &old);
            new = node_hash(sibling, &new);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            new = node_hash(&new, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && old == *old_root && new == *new_root
}

/// The largest power of two below a size.
fn split(size: usize) -> usize {
    size.next_power_of_two() / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::leaf_hash;

    #[test]
    fn proofs_hold_for_every_size_and_fail_when_anything_differs() {
        let leaves: Vec<Hash> = (0..40u8).map(|byte| leaf_hash(&[byte])).collect();
        for size in 1..=leaves.len() {
            let whole = root(&leaves[..size]);
            for index in 0..size {
                let mut path = inclusion_proof(&leaves[..size], index);
                let verify = |leaf: &Hash, path: &[Hash]| verify_inclusion(leaf, index as u64, size as u64, path, &whole);
                assert!(verify(&leaves[index], &path));
                assert!(!verify(&leaf_hash(b"other"), &path));
                if let Some(first) = path.first_mut() {
                    first[0] ^= 1;
                    assert!(!verify(&leaves[index], &path));
                }
            }
            for old in 1..=size {
                let path = consistency_proof(&leaves[..size], old);
                let old_root = root(&leaves[..old]);
                assert!(verify_consistency(old as u64, &old_root, size as u64, &whole, &path), "{old} {size}");
                assert!(!verify_consistency(old as u64, &leaf_hash(b"x"), size as u64, &whole, &path));
            }
        }
    }
}
