#![forbid(unsafe_code)]
//! What the tree will be once everything prepared has been applied: one record a touched path, over the committed
//! tree (stock `ZooKeeperServer.outstandingChanges`, `PrepRequestProcessor.getRecordForPath`).
//!
//! Lives on: the sequencer. Invariants: a path is held exactly while some outstanding txn touches it, with the state
//! after the newest of them; `digest` is the tree's after all of them. Unlike stock, `""` and `/` are one node.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::base::Zxid;
use crate::base::planted::{Bug, planted};
use crate::tree::{StoredStat, TreeWriter, digest};
use crate::wire::Acl;

/// A znode as it will be.
#[derive(Clone, Debug)]
pub(super) struct Change {
    /// The newest outstanding txn that touches it.
    pub zxid: Zxid,
    /// False after a delete.
    pub exists: bool,
    pub fields: StoredStat,
    pub child_count: i32,
    pub data_length: usize,
    pub acl: Option<Arc<[Acl]>>,
    /// CRC of path and data, kept so that a parent's data are read once and not for every child.
    body_crc: u32,
}

/// The overlay over the committed tree.
#[derive(Debug)]
pub(super) struct Outstanding {
    changes: HashMap<Arc<[u8]>, Change, ahash::RandomState>,
    /// Which paths each outstanding txn touched, oldest first.
    touched: VecDeque<(Zxid, Vec<Arc<[u8]>>)>,
    /// The txn being prepared: what it touched, and what stood there before.
    undo: Vec<(Arc<[u8]>, Option<Change>)>,
    undo_digest: i64,
    /// Digest of the tree after everything prepared.
    digest: i64,
    with_digest: bool,
}

impl Outstanding {
    /// Nothing outstanding over a tree of this digest. Without `with_digest` none is computed.
    pub(super) fn new(digest: i64, with_digest: bool) -> Self {
        Outstanding {
            // Looked up by key only, never iterated, so the seed does not matter; fixed, for the simulator's sake.
            changes: HashMap::with_hasher(ahash::RandomState::with_seeds(1, 2, 3, 4)),
            touched: VecDeque::new(),
            undo: Vec::new(),
            undo_digest: digest,
            digest,
            with_digest,
        }
    }

    fn body_crc(&self, path: &[u8], data: Option<&[u8]>) -> u32 {
        if self.with_digest { digest::body_crc(path, data) } else { 0 }
    }

    /// Goes on from the tree as it stands, after a log was replayed into it.
    pub(super) fn restart(&mut self, digest: i64) {
        assert!(self.changes.is_empty(), "replay leaves nothing outstanding");
        self.digest = digest;
        self.undo_digest = digest;
    }

    /// Nothing is outstanding any more over a tree of this digest.
    pub(super) fn forget(&mut self, digest: i64) {
        if planted(Bug::PreparedIsKept) {
            (self.digest, self.undo_digest) = (digest, digest);
            return;
        }
        self.changes.clear();
        self.touched.clear();
        assert!(self.undo.is_empty(), "no txn is being prepared");
        self.restart(digest);
    }

    /// Digest after everything prepared; `None` when switched off.
    pub(super) fn digest(&self) -> Option<i64> {
        self.with_digest.then_some(self.digest)
    }

    /// The state of `path` to come; `None` when there will be no such znode.
    pub(super) fn get(&self, tree: &TreeWriter, path: &[u8]) -> Option<Change> {
        let path = if path.is_empty() { b"/" } else { path };
        if let Some(change) = self.changes.get(path) {
            return change.exists.then(|| change.clone());
        }
        let now = tree.get(path)?;
        let body_crc = if self.with_digest { now.body_crc(path) } else { 0 };
        Some(Change {
            zxid: now.mzxid(),
            exists: true,
            fields: now.stored_stat(),
            child_count: i32::try_from(now.child_count()).unwrap_or(i32::MAX),
            data_length: now.data().map_or(0, <[u8]>::len),
            acl: if now.has_open_acl() { None } else { Some(Arc::from(now.acl())) },
            body_crc,
        })
    }

    /// A znode about to be created.
    pub(super) fn created(
        &self,
        path: &[u8],
        data: Option<&[u8]>,
        fields: StoredStat,
        acl: Option<Arc<[Acl]>>,
    ) -> Change {
        Change {
            zxid: Zxid(fields.czxid),
            exists: true,
            fields,
            child_count: 0,
            data_length: data.map_or(0, <[u8]>::len),
            acl,
            body_crc: self.body_crc(path, data),
        }
    }

    /// Replaces the data in a change that [`Outstanding::get`] gave.
    pub(super) fn with_data(&self, mut change: Change, path: &[u8], data: Option<&[u8]>) -> Change {
        change.data_length = data.map_or(0, <[u8]>::len);
        change.body_crc = self.body_crc(path, data);
        change
    }

    /// Records what the txn at `zxid` makes of `path`. `before` is what [`Outstanding::get`] gave, `None` when the
    /// znode is new.
    pub(super) fn put(&mut self, path: &[u8], before: Option<&Change>, mut after: Change, zxid: Zxid) {
        after.zxid = zxid;
        if self.with_digest && digest::counts(path) {
            if let Some(before) = before {
                self.digest = self.digest.wrapping_sub(digest::stat_digest(before.body_crc, &before.fields));
            }
            if after.exists {
                self.digest = self.digest.wrapping_add(digest::stat_digest(after.body_crc, &after.fields));
            }
        }
        let path = if path.is_empty() { b"/" } else { path };
        let key = match self.changes.get_key_value(path) {
            Some((key, _)) => key.clone(),
            None => Arc::from(path),
        };
        let previous = self.changes.insert(key.clone(), after);
        self.undo.push((key, previous));
    }

    /// The txn being prepared stands.
    pub(super) fn keep(&mut self, zxid: Zxid) {
        if !self.undo.is_empty() {
            let paths = self.undo.drain(..).map(|(path, _)| path).collect();
            self.touched.push_back((zxid, paths));
        }
        self.undo_digest = self.digest;
    }

    /// The txn being prepared failed: everything is as before it.
    pub(super) fn roll_back(&mut self) {
        while let Some((path, previous)) = self.undo.pop() {
            match previous {
                Some(change) => self.changes.insert(path, change),
                None => self.changes.remove(&path),
            };
        }
        self.digest = self.undo_digest;
    }

    /// The txn at `zxid` has been applied: forgets what no later one touches.
    pub(super) fn applied(&mut self, zxid: Zxid) {
        while let Some((oldest, _)) = self.touched.front() {
            if *oldest > zxid {
                break;
            }
            let (oldest, paths) = self.touched.pop_front().expect("just seen");
            for path in paths {
                if self.changes.get(&path).is_some_and(|change| change.zxid <= oldest) {
                    self.changes.remove(&path);
                }
            }
        }
    }

    /// Whether every prepared txn has been applied.
    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}
