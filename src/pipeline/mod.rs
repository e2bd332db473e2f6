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
pub mod digest;
pub mod ip;
mod load;
mod outstanding;
mod prep;
pub mod quota;
mod reaper;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

pub use apply::{Applied, ApplyError, ReplyBody, SessionChange};
pub use load::{Leftover, Loaded, ReplayError, StateLoader};
pub use prep::{Asker, grows};
pub use reaper::ReaperSettings;

use crate::base::{Millis, ServerId, SessionId, WallMillis, Zxid};
use crate::sessions::SessionTable;
use crate::tree::TreeWriter;
use crate::wire::jute::Writer;
use crate::wire::txn::{DIGEST_BYTES, HEADER_BYTES};

/// How many txns apart the digests kept for `hash` are (stock `DataTree.DIGEST_LOG_INTERVAL`).
const DIGEST_INTERVAL: i64 = 128;
/// How many are kept (stock `DataTree.DIGEST_LOG_LIMIT`).
const DIGESTS_KEPT: usize = 1024;

/// Where clients read the configuration document.
const CONFIG_NODE: &[u8] = b"/zookeeper/config";

/// Room that any log has for a payload, bytes: what takes the place of a txn that is too long fits.
pub const PAYLOAD_BYTES_MIN: usize = HEADER_BYTES + 4 + DIGEST_BYTES;

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
    /// Longest payload that prep makes, bytes: what the log takes as one record (reliability §7, "txn record"). At least
    /// [`PAYLOAD_BYTES_MIN`].
    pub payload_bytes_max: usize,
    /// Distinct ACL lists that may be (reliability M25): they stay in memory, and in every snapshot.
    pub acl_lists_max: usize,
    /// What is made of requests of sessions that are not known.
    pub strangers: Strangers,
    /// `digest.enabled`: txns carry the digest of the tree after them.
    pub digest: bool,
    /// Who may do what.
    pub acl: acl::Policy,
    /// Containers and TTL nodes.
    pub reaper: ReaperSettings,
}

/// What prep makes of a request whose session it does not know, unless that must be known to all servers, for an
/// ephemeral: such a one is expired always.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Strangers {
    /// A server alone (stock `SessionTrackerImpl.checkSession`).
    Unknown,
    /// The leader of an ensemble (`LeaderSessionTracker.checkSession`).
    Expired,
    /// The same, where sessions are local: what others than this server made may be theirs. Its own it knows.
    LocalElsewhere(ServerId),
}

/// Paths of prepared creates, with the txn of each.
type PendingPaths = VecDeque<(Zxid, Arc<[u8]>)>;

/// A session whose createSession is prepared and not applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum PendingSession {
    Open,
    /// Its closeSession is prepared behind it.
    Closing,
}

/// The state machine between a request and its reply.
pub struct Pipeline {
    tree: TreeWriter,
    sessions: SessionTable,
    outstanding: outstanding::Outstanding,
    /// Ephemerals prepared and not yet applied, oldest first, by session.
    pending_ephemerals: HashMap<SessionId, PendingPaths, ahash::RandomState>,
    /// Sessions prepared and not yet applied, and whether their end is prepared as well. Another server may have applied
    /// them already, and its clients ask here.
    pending_sessions: HashMap<SessionId, PendingSession, ahash::RandomState>,
    quota: quota::QuotaPaths,
    reaper: reaper::Reaper,
    settings: Settings,
    applied: Zxid,
    /// The newest txn prepared here; behind `applied` when txns come from a log.
    prepared: Zxid,
    /// Retired versions are left to be freed.
    backlog: bool,
    digests: VecDeque<(Zxid, i64)>,
    /// The first znode whose owner is a time to live for whoever has extended types, and a session here.
    misread: Option<Box<[u8]>>,
}

impl Pipeline {
    /// Takes a loaded tree and session table over, which both stand at `applied`; `loaded` is what was met on the way.
    pub fn new(
        tree: TreeWriter,
        sessions: SessionTable,
        loaded: Loaded,
        applied: Zxid,
        settings: Settings,
    ) -> Pipeline {
        assert!(settings.payload_bytes_max >= PAYLOAD_BYTES_MIN, "no room for an error");
        let outstanding = outstanding::Outstanding::new(tree.digest(), settings.digest);
        let mut pipeline = Pipeline {
            tree,
            sessions,
            outstanding,
            // Looked up by key only, never iterated.
            pending_ephemerals: HashMap::with_hasher(ahash::RandomState::with_seeds(5, 6, 7, 8)),
            pending_sessions: HashMap::with_hasher(ahash::RandomState::with_seeds(9, 10, 11, 12)),
            quota: quota::QuotaPaths::default(),
            reaper: reaper::Reaper::new(),
            settings,
            applied,
            prepared: applied,
            backlog: false,
            digests: VecDeque::new(),
            misread: None,
        };
        pipeline.restore(loaded);
        pipeline
    }

    /// Counts a managed subtree and stores the result in its stats node, if it has one.
    fn recount(&mut self, zxid: Zxid, managed: &[u8]) {
        let stats_path = quota::stats_path(managed);
        if self.tree.get(&stats_path).is_some() {
            let (bytes, count) = self.subtree_totals(managed);
            let after = quota::QuotaText::usage(count, bytes).format();
            // The node was just seen.
            let _ = self.tree.set_stats_data(zxid, &stats_path, &after);
        }
    }

    /// Data bytes and znodes of a subtree, its root included.
    fn subtree_totals(&self, root: &[u8]) -> (i64, i64) {
        let (mut bytes, mut count) = (0, 0);
        let mut paths = vec![root.to_vec()];
        while let Some(path) = paths.pop() {
            let Some(znode) = self.tree.get(&path) else { continue };
            bytes += znode.data().map_or(0, |data| data.len() as i64);
            count += 1;
            paths.extend(znode.children().map(|name| [&path, &b"/"[..], name].concat()));
        }
        (bytes, count)
    }

    /// Writes the configuration document into `/zookeeper/config` (stock `ZKDatabase.initConfigInZKDatabase`): a member
    /// does so once its log is replayed, and again when a state that a leader sent has taken the place of its own, in
    /// either case before it serves. `version` is the document's, the zxid of the change that made it or 0. No txn says
    /// it and no digest covers it, and mtime is this server's clock: only the document must be equal on all servers.
    pub fn set_config_node(&mut self, document: &str, version: i64, now: WallMillis) {
        debug_assert!(self.tree.applied() == self.applied, "between rounds");
        // It is built in, and no request can delete it; where a log did all the same there is nothing to write.
        let _ = self.tree.set_own_data(CONFIG_NODE, document.as_bytes(), -1, version, now.0);
    }

    /// The log has been replayed into the tree: prep goes on from there.
    pub fn replayed(&mut self) {
        self.outstanding.restart(self.tree.digest());
    }

    /// Nothing that was prepared and not applied will be: the role in which it was is over. Prep goes on from the tree.
    pub fn forget_prepared(&mut self) {
        self.outstanding.forget(self.tree.digest());
        self.pending_ephemerals.clear();
        self.pending_sessions.clear();
        self.prepared = self.applied;
    }

    /// Whether the session exists, or will once everything prepared is applied, and is not closing: what prep asks (stock
    /// `SessionTrackerImpl.checkSession`, which knows a session from its prep on).
    pub fn is_open(&self, session: SessionId) -> bool {
        self.sessions.is_open(session) || self.pending_sessions.get(&session) == Some(&PendingSession::Open)
    }

    /// The same, of sessions that exist for all servers: what a leader asks for another server's client, or an ephemeral
    /// needs (stock `checkGlobalSession`).
    pub fn is_open_for_all(&self, session: SessionId) -> bool {
        self.sessions.is_open_for_all(session)
            || self.pending_sessions.get(&session) == Some(&PendingSession::Open)
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

    /// Digest of the tree as applied.
    pub fn digest(&self) -> i64 {
        self.tree.digest()
    }

    /// Frees what published txns replaced, as far as no reader can still see it. Bounded work.
    pub fn reclaim(&mut self) {
        self.backlog = self.tree.reclaim();
    }

    /// Whether [`Pipeline::reclaim`] has more to do soon.
    pub fn has_backlog(&self) -> bool {
        self.backlog
    }

    /// Appends the body of getEphemerals: the session's paths that begin with `prefix`, by characters, not components; a
    /// blank prefix or `/` gives all (client-protocol §4.18).
    pub fn ephemerals_below(&self, session: SessionId, prefix: &[u8], body: &mut ReplyBody) {
        let all = prefix.iter().all(|&b| b <= b' ');
        let paths =
            self.sessions.image().ephemerals_of(session).filter(|path| all || path.starts_with(prefix));
        let paths: Vec<&Arc<[u8]>> = paths.collect();
        body.int(i32::try_from(paths.len()).unwrap_or(i32::MAX));
        for path in paths {
            body.string(path);
        }
    }

    /// Containers and TTL nodes to remove now; each goes through prep as a deleteContainer of no session.
    pub fn reap(&mut self, now: Millis, wall: WallMillis) -> Vec<Arc<[u8]>> {
        let marks = reaper::Watermarks { applied: self.applied, prepared: self.prepared };
        self.reaper.due(now, wall, marks, &self.settings.reaper, &self.tree)
    }

    /// The first znode, since the last call, that another server made with a time to live, which extended types turned
    /// off make a session's ephemeral here: the ensemble does not agree about `extendedTypesEnabled`.
    pub fn take_misread(&mut self) -> Option<Box<[u8]>> {
        self.misread.take()
    }

    /// Digests kept for `hash`, oldest first.
    pub fn digests(&self) -> impl Iterator<Item = (Zxid, i64)> + '_ {
        self.digests.iter().copied()
    }

    fn note_digest(&mut self, zxid: Zxid) {
        if self.settings.digest && zxid.0 % DIGEST_INTERVAL == 0 {
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
