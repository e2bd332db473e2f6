#![forbid(unsafe_code)]
//! A place in the tree: parent, own name, and the two chains of versions that hang on it.
//!
//! A `Node` outlives the znodes that come and go at its path: a deletion links a tombstone, and only when no reader can
//! be at a zxid before it (a grace period later) does the writer take the node out of the index. A path created again
//! sooner goes on with the same node and the same chains.
//!
//! Invariants: a node in the index has a parent in the index (the root has none); its parent's death is not earlier
//! than its own, so it leaves the index first. Names hold no `/`.
//!
//! Lives on: made and linked on the sequencer, read on each shard.

use super::reclaim::{At, Link, Object, Owned, Ref, Witness};
use super::record::{Data, Dir};

/// The fixed part; the name follows it. `meta` is the number of the last snapshot that has this node (`snapshot.rs`).
pub(super) struct Node {
    /// `None` for the root.
    pub(super) parent: Option<Ref<Node>>,
    /// What the znode is. `None` only while a load has met children of it and not itself.
    pub(super) data: Link<Data>,
    /// Its children; `None` while it never had any.
    pub(super) dir: Link<Dir>,
}

impl Object for Node {
    type Extension = ();
}

impl Node {
    /// A node that is in no index yet. `mark` as for `meta`.
    pub(super) fn new(
        parent: Option<Ref<Node>>,
        name: &[u8],
        data: Option<Owned<Data>>,
        mark: u32,
    ) -> Owned<Node> {
        Owned::new(Node { parent, data: Link::new(data), dir: Link::new(None) }, None, mark, name)
    }
}

/// Whether `node` is the one at `path`. `b""` is the root's; a path that is not one (`/a/`, `a`) is nobody's.
pub(super) fn is_at(node: At<'_, Node>, mut path: &[u8], witness: Witness<'_>) -> bool {
    let mut node = node;
    while let Some(parent) = node.parent {
        let Some(rest) = path.strip_suffix(node.bytes()) else { return false };
        let Some(rest) = rest.strip_suffix(b"/") else { return false };
        path = rest;
        node = parent.get(witness);
    }
    path.is_empty()
}

/// Writes the path of `node` over `out`; `/` for the root.
pub(super) fn path_into(node: At<'_, Node>, witness: Witness<'_>, out: &mut Vec<u8>) {
    out.clear();
    let mut next = node;
    let mut length = 0;
    while let Some(parent) = next.parent {
        length += 1 + next.bytes().len();
        next = parent.get(witness);
    }
    if length == 0 {
        return out.push(b'/');
    }
    out.resize(length, b'/');
    let (mut next, mut end) = (node, length);
    while let Some(parent) = next.parent {
        let start = end - next.bytes().len();
        out[start..end].copy_from_slice(next.bytes());
        end = start - 1;
        next = parent.get(witness);
    }
}
