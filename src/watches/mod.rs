#![forbid(unsafe_code)]
//! Who waits for what, and what a change fires (client-protocol §6). A watch belongs to one connection of one shard
//! and dies with it; nothing is replicated.
//!
//! - [`WatchTable`]: one shard's watches. Lives on: each shard.
//! - [`InterestTable`]: which shards may have a watch on a path, so that the sequencer sends a change only where somebody
//!   waits for it. Shared by all cores; [`InterestCounts`] is a shard's own side of it.
//! - [`ChangeEvent`]: what travels from the sequencer to those shards.
//!
//! Invariants: a path with a watch in a shard's table has that shard's bit set (exact or recursive); a change with zxid
//! z fires only watches armed before z; a connection gets one event at most for one firing.
//!
//! Not here: the READ filter (pipeline::acl; the event carries the lists it needs), frames (wire), queues (runtime).

mod event;
mod interest;
mod path_hash;
mod set_watches;
mod slab;
mod table;

pub use event::{ChangeEvent, ChangeKind};
pub use interest::{InterestCounts, InterestTable, Scope};
pub use path_hash::{PathHasher, Prefix};
pub use set_watches::{NodeZxids, Progress, Rearm, SetWatchesList, SetWatchesRun};
pub use table::{Hold, TooManyWatches, Watch, WatchCounts, WatchTable, WatchType};
