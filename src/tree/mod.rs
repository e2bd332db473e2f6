#![deny(unsafe_code)] // Not `forbid`, which the two homes of unsafe code below could not lift.
//! The tree of znodes: many readers, one writer.
//!
//! A shard pins a [`View`] for a turn and reads znodes as they were at one zxid, without a lock, an allocation or a
//! retry; the sequencer changes the tree through the [`TreeWriter`] meanwhile. Every change makes a new immutable
//! version of a record; what it replaces is freed when no reader can need it.
//!
//! ```text
//! reclaim.rs   guards, links, grace periods           (unsafe; knows crossbeam-epoch)
//! index.rs     path → node                             (unsafe; knows ahash)
//! node.rs      a place: parent, name, two chains
//! record.rs    versions: data, and list of children
//! children.rs  the list: a persistent B-tree
//! acl.rs       ACL lists, each kept once
//! digest.rs    stock's digest of the tree
//! world.rs     one whole state, and the two zxids
//! reader.rs    View, Anchor, Znode, Listing, Descendants
//! writer.rs    TreeWriter: what txns do
//! load.rs      an image in
//! snapshot.rs  an image out, while writes go on
//! image.rs     the same, parents before children
//! marks.rs     which of them have a node
//! ```
//!
//! Only this folder knows crossbeam-epoch. Not here: what a request may do, who is told of a change, what is written to
//! disk, who owns which ephemeral; time, seeds and zxids are arguments.
//!
//! ```
//! use ringkeeper::base::Zxid;
//! use ringkeeper::tree::{NewZnode, acl_open};
//!
//! let (mut writer, reader) = ringkeeper::tree::new(7);
//! let znode = NewZnode {
//!     path: b"/a",
//!     data: Some(b"x"),
//!     acl: acl_open(),
//!     stored_owner: 0,
//!     time: 1,
//!     parent_cversion: 1,
//!     raise_parent_if_exists: true,
//! };
//! writer.begin(Zxid(1));
//! writer.create(Zxid(1), &znode)?;
//! assert!(reader.pin().find(b"/a").is_none()); // Not published yet.
//! writer.publish(Zxid(1));
//! writer.reclaim();
//! assert_eq!(reader.pin().find(b"/a").and_then(|znode| znode.data()), Some(&b"x"[..]));
//! # Ok::<(), ringkeeper::tree::TreeError>(())
//! ```

mod acl;
mod children;
pub mod digest;
mod image;
#[allow(unsafe_code)]
mod index;
mod load;
#[cfg(test)]
#[cfg(loom)]
mod loom_models;
mod marks;
mod node;
mod reader;
#[allow(unsafe_code)]
mod reclaim;
mod record;
mod snapshot;
#[cfg(test)]
#[cfg(not(loom))]
mod tests;
mod world;
mod writer;

pub use acl::open as acl_open;
pub use digest::StoredStat;
pub use image::ImageWalker;
pub use load::{LoadError, Loader};
pub use reader::{Anchor, ChildNames, Descendants, Listing, Progress, TreeReader, View, Znode};
pub use reclaim::Backlog;
pub use snapshot::{NodeImage, SnapshotWalker};
pub use world::{OwnerKind, TreeStats};
pub use writer::{DataChanged, Deleted, NewZnode, ReclaimBacklog, TreeError, TreeWriter, new};
