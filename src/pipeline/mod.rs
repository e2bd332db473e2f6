#![forbid(unsafe_code)]
//! Where tree, sessions and watches meet: `prep.rs` turns a request into a txn before broadcast, `apply.rs` turns a
//! committed txn into state, replies and watch events. Deterministic: time comes in as an argument, nothing goes out
//! but values.
//!
//! Lives on: the sequencer, the only writer of the tree. Invariants: a zxid is prepared once and applied once, in
//! order; after everything prepared has been applied, the outstanding changes are empty and their digest is the
//! tree's.
//!
//! Not here: who decides that a txn is committed (zab), where it is kept (storage), who waits for it (runtime).

pub mod acl;
mod apply;
mod outstanding;
pub mod owner;
mod prep;
pub mod quota;
mod reaper;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

pub use apply::{Applied, ApplyError, ReplyBody, SessionChange};
pub use prep::Asker;
pub use reaper::ReaperSettings;

use crate::base::{Millis, SessionId, WallMillis, Zxid};
use crate::sessions::SessionTable;
use crate::tree::TreeWriter;

/// How many txns apart the digests kept for `hash` are (stock `DataTree.DIGEST_LOG_INTERVAL`).
const DIGEST_INTERVAL: u64 = 128;
/// How many are kept (stock `DataTree.DIGEST_LOG_LIMIT`).
const DIGESTS_KEPT: usize = 1024;

/// What prep goes by. Must be equal on all servers of an ensemble.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `extendedTypesEnabled`: TTL nodes.
    pub extended_types: bool,
    /// `reconfigEnabled`.
    pub reconfig_enabled: bool,
    /// `closeSessionTxn.enabled`: the txn lists the paths to delete.
    pub close_session_txn: bool,
    /// `enforceQuota`: hard quotas refuse.
    pub enforce_quota: bool,
    /// `digest.enabled`: txns carry the digest of the tree after them.
    pub digest: bool,
    /// Who may do what.
    pub acl: acl::Policy,
    /// Containers and TTL nodes.
    pub reaper: ReaperSettings,
}

/// The state machine between a request and its reply.
#[derive(Debug)]
pub struct Pipeline {
    tree: TreeWriter,
    sessions: SessionTable,
    outstanding: outstanding::Outstanding,
    /// Ephemerals prepared and not yet applied, oldest first, by session.
    pending_ephemerals: HashMap<SessionId, VecDeque<(Zxid, Arc<[u8]>)>, ahash::RandomState>,
    quota: quota::QuotaPaths,
    reaper: reaper::Reaper,
    settings: Settings,
    applied: Zxid,
    digests: VecDeque<(Zxid, i64)>,
    since_digest: u64,
}

impl Pipeline {
    /// Takes a loaded tree and session table over, which both stand at `applied`. Indexes what the tree holds:
    /// ephemerals by owner, containers, quotas.
    pub fn new(tree: TreeWriter, sessions: SessionTable, applied: Zxid, settings: Settings) -> Pipeline {
        let outstanding = outstanding::Outstanding::new(tree.digest(), settings.digest);
        let mut pipeline = Pipeline {
            tree,
            sessions,
            outstanding,
            // Looked up by key only, never iterated.
            pending_ephemerals: HashMap::with_hasher(ahash::RandomState::with_seeds(5, 6, 7, 8)),
            quota: quota::QuotaPaths::default(),
            reaper: reaper::Reaper::new(),
            settings,
            applied,
            digests: VecDeque::new(),
            since_digest: 0,
        };
        pipeline.index_tree();
        pipeline
    }

    fn index_tree(&mut self) {
        let mut owned = Vec::new();
        let mut limits = Vec::new();
        self.tree.for_each(&mut |path, owner| {
            if owner != 0 {
                owned.push((Box::<[u8]>::from(path), owner));
            }
            if let Some(managed) = quota::limits_of(path) {
                limits.push(Box::<[u8]>::from(managed));
            }
        });
        for (path, owner) in owned {
            self.created(&path, owner::Kind::of(owner, self.settings.extended_types));
        }
        for managed in limits {
            self.quota.add(&managed);
            // After a load all stats are counted anew (client-protocol §10.2).
            let stats_path = quota::stats_path(&managed);
            if self.tree.get(&stats_path).is_some() {
                let (bytes, count) = self.tree.subtree_totals(&managed);
                let text = quota::after(Some(b"count=0,bytes=0"), bytes, count);
                self.tree.set_stats_data(&stats_path, &text);
            }
        }
    }

    /// The newest applied txn.
    pub fn applied(&self) -> Zxid {
        self.applied
    }

    /// The tree, for counts and snapshots.
    pub fn tree(&mut self) -> &mut TreeWriter {
        &mut self.tree
    }

    /// The sessions.
    pub fn sessions(&mut self) -> &mut SessionTable {
        &mut self.sessions
    }

    /// The sessions, to look at.
    pub fn sessions_ref(&self) -> &SessionTable {
        &self.sessions
    }

    /// Announces that txns up to `zxid` are about to be applied (DESIGN §2 rule 2, first step).
    pub fn begin(&mut self, zxid: Zxid) {
        self.tree.begin(zxid);
    }

    /// Everything up to the last applied txn may be read: results are where shards find them.
    pub fn publish(&mut self) {
        self.tree.publish(self.applied);
    }

    /// Frees what published txns replaced, as far as no reader can still see it. Bounded work.
    pub fn reclaim(&mut self) {
        self.tree.reclaim();
    }

    /// Containers and TTL nodes to remove now; each goes through prep as a deleteContainer of no session.
    pub fn reap(&mut self, now: Millis, wall: WallMillis) -> Vec<Arc<[u8]>> {
        self.reaper.due(now, wall, &self.settings.reaper, &self.tree)
    }

    /// Digests kept for `hash`, oldest first.
    pub fn digests(&self) -> impl Iterator<Item = (Zxid, i64)> + '_ {
        self.digests.iter().copied()
    }

    fn note_digest(&mut self, zxid: Zxid) {
        self.since_digest += 1;
        if self.settings.digest && self.since_digest >= DIGEST_INTERVAL {
            self.since_digest = 0;
            if self.digests.len() == DIGESTS_KEPT {
                self.digests.pop_front();
            }
            self.digests.push_back((zxid, self.tree.digest()));
        }
    }

    /// Checks what must hold when everything prepared has been applied.
    pub fn invariants_when_idle(&self) {
        assert!(self.outstanding.is_empty(), "changes outstanding with nothing prepared");
        if let Some(digest) = self.outstanding.digest() {
            assert!(digest == self.tree.digest(), "digest of the outstanding view differs from the tree's");
        }
    }
}
