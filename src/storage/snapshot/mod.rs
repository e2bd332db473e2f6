#![forbid(unsafe_code)]
//! Snapshots: the whole state, exact at one zxid. `format` has the byte tables, `encoder` makes the bytes and the steps
//! that publish them, `load` reads and verifies, `purge` decides what may go and when the next one is due.
//!
//! Not here: how the state is walked while writes go on (tree), and the digest of a tree, which whoever builds the tree
//! computes and compares with [`SnapshotMeta::digest`].

mod encoder;
mod format;
mod load;
mod purge;

pub use crate::storage::archive::NodeView;
pub use encoder::{Chunk, Publication, SnapshotEncoder};
pub use format::{ChunkKind, FORMAT_VERSION, Received, SnapshotFault, SnapshotMeta, Totals};
pub use load::{ChunkSpan, Part, SnapshotIndex, index};
pub use purge::{Purge, SinceSnapshot, SnapshotFile, SnapshotLimits, next_to_verify, purge, snapshot_due};
