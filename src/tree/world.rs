#![forbid(unsafe_code)]
//! One whole state: index, ACL lists, counters, and the two zxids that order it for readers. Everything a reader sees
//! hangs on one pointer to a `World`, so that a state received from a leader is built beside the old one and swapped in.
//!
//! ```text
//! the writer, for txn z:  begun = z (SeqCst) · fence · records · [events] · applied = z (Release) · fence · retire
//! a shard's turn:         pin · fence · D = applied (Acquire) · read versions ≤ D
//! arming a watch:         set the bit · fence · b = begun · wait until D ≥ b
//! ```
//!
//! `applied ≤ begun`; both only grow in one world.
//!
//! Lives on: written on the sequencer, read on each shard.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, fence};
use std::sync::{Mutex, PoisonError};

use super::acl::Lists;
use super::index::{Index, PathHasher};
use super::node::{self, Node};
use super::reclaim::{At, Attic, Leases, Ref, Witness};
use crate::base::Zxid;

/// Sums over the tree, as stock's words and metrics report them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TreeStats {
    /// Znodes, the root counted twice (stock keeps it under `""` and `/`): 5 on an empty tree.
    pub znode_count: u64,
    /// Bytes of paths and data (stock `approximateDataSize`), 44 on an empty tree.
    pub approximate_data_size: u64,
    /// Plain ephemerals.
    pub ephemerals_count: u64,
}

/// See the module.
pub(super) struct World {
    pub(super) hasher: PathHasher,
    pub(super) index: Index<Node>,
    pub(super) root: Ref<Node>,
    pub(super) lists: Lists,
    pub(super) leases: Leases,
    begun: AtomicI64,
    applied: AtomicI64,
    znodes: AtomicU64,
    data_size: AtomicU64,
    ephemerals: AtomicU64,
    /// Whether 0xff-prefixed owners are TTL znodes (`zookeeper.extendedTypesEnabled`).
    extended_types: AtomicBool,
    /// What the writer had not freed when it went. Last field: dropped after the index, whose objects it may name.
    pub(super) attic: Mutex<Attic>,
}

impl World {
    /// A world with an empty index but for `root`, which the caller has put there.
    pub(super) fn new(hasher: PathHasher, index: Index<Node>, root: Ref<Node>) -> World {
        World {
            hasher,
            index,
            root,
            lists: Lists::new(),
            leases: Leases::default(),
            begun: AtomicI64::new(0),
            applied: AtomicI64::new(0),
            znodes: AtomicU64::new(0),
            data_size: AtomicU64::new(0),
            ephemerals: AtomicU64::new(0),
            extended_types: AtomicBool::new(false),
            attic: Mutex::default(),
        }
    }

    /// The node at `path`, dead or alive. `/` and the empty path are the root.
    pub(super) fn find<'a>(&'a self, path: &[u8], witness: Witness<'a>) -> Option<At<'a, Node>> {
        if path.is_empty() || path == b"/" {
            return Some(self.root.get(witness));
        }
        self.index.find(self.hasher.hash(path), witness, |node| node::is_at(node, path, witness))
    }

    /// The newest txn whose records may be on their way.
    pub(super) fn begun(&self) -> Zxid {
        // SeqCst and the fence before it pair with `begin`: either the writer, which looks for watches after it stored
        // `begun`, finds the bit that the caller set before, or the caller gets this txn here.
        fence(SeqCst);
        Zxid(self.begun.load(SeqCst))
    }

    /// The newest txn that is in the tree entirely.
    pub(super) fn applied(&self) -> Zxid {
        Zxid(self.applied.load(Acquire)) // Pairs with the Release in `publish`: records and events up to it.
    }

    /// The writer's: opens txn `zxid`.
    pub(super) fn begin(&self, zxid: Zxid) {
        self.begun.store(zxid.0, SeqCst); // Pairs with `begun`.
        fence(SeqCst);
    }

    /// The writer's: everything up to `zxid` is in place.
    pub(super) fn publish(&self, zxid: Zxid) {
        self.applied.store(zxid.0, Release); // Pairs with the Acquire in `applied`.
    }

    /// The sums. Relaxed: each by itself, none at a zxid.
    pub(super) fn stats(&self) -> TreeStats {
        TreeStats {
            znode_count: self.znodes.load(Relaxed) + 1,
            approximate_data_size: self.data_size.load(Relaxed) + 1,
            ephemerals_count: self.ephemerals.load(Relaxed),
        }
    }

    /// Znodes, each once.
    pub(super) fn znodes(&self) -> u64 {
        self.znodes.load(Relaxed)
    }

    /// The writer's: one znode of `size` bytes (path and data) more.
    pub(super) fn count_in(&self, size: usize, ephemeral: bool) {
        // Relaxed, load and store: one writer, and readers want no order.
        self.znodes.store(self.znodes.load(Relaxed) + 1, Relaxed);
        self.resize(0, size);
        self.ephemerals.store(self.ephemerals.load(Relaxed) + u64::from(ephemeral), Relaxed);
    }

    /// The writer's: one less.
    pub(super) fn count_out(&self, size: usize, ephemeral: bool) {
        self.znodes.store(self.znodes.load(Relaxed) - 1, Relaxed); // As in `count_in`.
        self.resize(size, 0);
        self.ephemerals.store(self.ephemerals.load(Relaxed) - u64::from(ephemeral), Relaxed);
    }

    /// The writer's: data of `old` bytes became `new`.
    pub(super) fn resize(&self, old: usize, new: usize) {
        self.data_size.store(self.data_size.load(Relaxed) + new as u64 - old as u64, Relaxed); // As in `count_in`.
    }

    /// What the owner of a record says.
    pub(super) fn kind(&self, owner: i64) -> OwnerKind {
        // Relaxed: set before the world is shared.
        OwnerKind::of(owner, self.extended_types.load(Relaxed))
    }

    /// The writer's, before anybody reads.
    pub(super) fn set_extended_types(&self, enabled: bool) {
        self.extended_types.store(enabled, Relaxed); // As in `kind`.
    }

    /// The writer's last act: what it has not freed goes with the world.
    pub(super) fn keep(&self, attic: Attic) {
        *self.attic.lock().unwrap_or_else(PoisonError::into_inner) = attic;
    }
}

impl AsRef<Leases> for World {
    fn as_ref(&self) -> &Leases {
        &self.leases
    }
}

/// What a stored owner says (client-protocol §5.4, stock `EphemeralType`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OwnerKind {
    /// Persistent.
    None,
    /// A plain ephemeral of this session: the only owner that clients see.
    Session(i64),
    /// A container.
    Container,
    /// A TTL znode with its time to live, ms.
    Ttl(i64),
}

const TTL_MASK: i64 = 0xff00_0000_0000_0000_u64 as i64;

impl OwnerKind {
    /// Reads a stored owner. Without extended types a TTL znode's counts as a session, as in stock. Feature bits that
    /// stock refuses as an internal error read as part of the ttl.
    pub fn of(owner: i64, extended_types: bool) -> OwnerKind {
        match owner {
            0 => OwnerKind::None,
            i64::MIN => OwnerKind::Container,
            _ if extended_types && owner & TTL_MASK == TTL_MASK => OwnerKind::Ttl(owner & !TTL_MASK),
            _ => OwnerKind::Session(owner),
        }
    }

    /// What is stored for it.
    pub fn stored(self) -> i64 {
        match self {
            OwnerKind::None => 0,
            OwnerKind::Session(session) => session,
            OwnerKind::Container => i64::MIN,
            OwnerKind::Ttl(ttl) => TTL_MASK | ttl,
        }
    }
}
