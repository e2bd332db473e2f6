#![forbid(unsafe_code)]
//! The one writer: applies what txns say, in their order. All that can fail was decided in prep; what is refused here
//! happens only when a log is replayed over a fuzzy image, and then as stock does it (ensemble-protocol §4.2).
//!
//! ```text
//! begin(z) → create / delete / set_data / … → (events) → publish(z) → (doorbells) → reclaim
//! ```
//!
//! A batch of txns may share one round: begin and records of each, then one publish of the last.
//!
//! Lives on: the sequencer. Not here: sessions' lists of ephemerals, watches, quotas (pipeline).

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

use super::acl::Interner;
use super::children::{Children, Cursor};
use super::digest::{self, StoredStat};
use super::image;
use super::index::{Index, PathHasher, Position};
use super::marks::{IMAGE_LANES, Mark};
use super::node::{self, Node};
use super::reader::{Shared, Source, TreeReader, Znode, body_crc, client_stat};
use super::reclaim::{At, Backlog, Grace, Lease, Owned, Ref, Retired, Root, Token, Version, Witness};
use super::record::{Data, Dir, Fields};
use super::snapshot::Feed;
use super::world::{OwnerKind, TreeStats, World};
use crate::base::Zxid;
use crate::wire::{Acl, Stat};

/// Why a change was not made. Never fatal: stock records it in the result and goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TreeError {
    /// The znode or its parent is missing.
    #[error("no such znode")]
    NoNode,
    /// The znode exists; its ACL was replaced.
    #[error("the znode exists")]
    NodeExists,
    /// Not the path of a znode that could be created or deleted.
    #[error("not a path below the root")]
    BadPath,
}

/// A znode to be created.
#[derive(Clone, Copy, Debug)]
pub struct NewZnode<'a> {
    /// Where.
    pub path: &'a [u8],
    /// Null differs from empty.
    pub data: Option<&'a [u8]>,
    /// Its ACL list.
    pub acl: &'a [Acl],
    /// [`OwnerKind::stored`].
    pub stored_owner: i64,
    /// The txn's time, ms since 1970.
    pub time: i64,
    /// The parent's count of creations after this one; -1 for one more than now.
    pub parent_cversion: i32,
    /// Whether the parent's cversion and pzxid are raised even if the znode exists: for txns of type create alone.
    pub raise_parent_if_exists: bool,
}

/// What a deletion took away.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Deleted {
    /// The znode's owner as stored.
    pub stored_owner: i64,
    /// Bytes of its data.
    pub data_length: usize,
    /// Znodes below it, deepest first, with their owners. Empty in order; a log replayed over a fuzzy image may delete
    /// a znode whose later children are there already, and stock would leave them unreachable.
    pub below: Vec<(Vec<u8>, i64)>,
}

/// What a change of data did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DataChanged {
    /// The Stat after it.
    pub stat: Stat,
    /// Bytes of data before it.
    pub data_length_before: usize,
}

/// Bytes and counts of what is not freed yet, and what holds it up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ReclaimBacklog {
    /// What waits.
    pub waiting: Backlog,
    /// Listings out now.
    pub listings: u64,
}

/// The changing side of a tree.
pub struct TreeWriter {
    pub(super) shared: Arc<Shared>,
    pub(super) state: State,
    /// States replaced by [`TreeWriter::adopt`], on their way to nothing.
    old: Vec<Old>,
}

pub(super) struct State {
    pub(super) ground: Ground,
    pub(super) ledger: Ledger,
}

/// What a change looks at.
pub(super) struct Ground {
    pub(super) world: Arc<World>,
    token: Token,
}

/// What a change is entered into.
pub(super) struct Ledger {
    pub(super) grace: Grace<Note>,
    interner: Interner,
    /// The running snapshot.
    feed: Option<Feed>,
    /// Images on their way.
    images: Vec<image::Feed>,
    /// Whether a walker has the lane.
    lanes: [Arc<AtomicBool>; IMAGE_LANES],
    /// What the newest walks have: new nodes are born with it (`marks.rs`).
    pub(super) marks: u32,
    pub(super) digest: i64,
    scratch: Vec<u8>,
}

struct Old {
    state: State,
    position: Position,
}

/// To be told when the grace of a change is over.
pub(super) enum Note {
    /// The node died at this zxid: take it out of the index if it is still dead by that death.
    Dead(Ref<Node>, Zxid),
    /// A record that named this ACL list is gone.
    Acl(u32),
}

/// Objects freed and notes followed in one call of [`TreeWriter::reclaim`], beside twice what came in since the last:
/// so a burst is worked off and one call stays below about 50 µs.
const RECLAIM_SLICE: usize = 256;

/// Retired objects that are worth a grace period of their own while another is running.
const SEAL_AT: usize = 256;

/// A tree with the built-in znodes of an empty database (client-protocol §5.5) at zxid 0. The seed, drawn at start or
/// given in simulation, keeps clients from finding paths that collide.
pub fn new(seed: u64) -> (TreeWriter, TreeReader) {
    let hasher = PathHasher::new(seed);
    let (token, mut grace, index) = (Token::new(), Grace::new(), Index::new());
    let fields = Fields { stat: StoredStat::default(), acl: super::acl::OPEN };
    let root = Node::new(None, b"", Some(Data::new(Zxid::ZERO, &fields, Some(b""), None)), 0).into_ref();
    index.insert(&token, &mut grace, hasher.hash(b""), root);
    let interner = Interner::new(hasher.state());
    let world = Arc::new(World::new(hasher, index, root));
    world.count_in(0, false);
    let ground = Ground { world: Arc::clone(&world), token };
    let digest = digest::node_digest(b"", Some(b""), &StoredStat::default());
    let ledger = Ledger {
        grace,
        interner,
        feed: None,
        images: Vec::new(),
        lanes: Default::default(),
        marks: 0,
        digest,
        scratch: Vec::new(),
    };
    let shared = Arc::new(Shared { root: Root::new(world) });
    let reader = TreeReader { shared: Arc::clone(&shared) };
    let mut writer = TreeWriter { shared, state: State { ground, ledger }, old: Vec::new() };
    writer.build_in();
    (writer, reader)
}

impl TreeWriter {
    /// Creates what no database is without. All stats are zero, but for the config's aversion of -1.
    fn build_in(&mut self) {
        let config_acl = [Acl { perms: crate::wire::perms::READ, ..Acl::open() }];
        for (path, acl, aversion) in [
            (&b"/zookeeper"[..], super::acl::open(), 0),
            (b"/zookeeper/quota", super::acl::open(), 0),
            (b"/zookeeper/config", &config_acl, -1),
        ] {
            let stat = StoredStat { aversion, ..StoredStat::default() };
            let (ground, ledger) = (&self.state.ground, &mut self.state.ledger);
            let (parent, name) = split(path).expect("written above");
            let parent = ground.alive(parent).expect("parents come first").0;
            let fields =
                Fields { stat, acl: ledger.interner.intern(&ground.world.lists, &ground.token, acl) };
            let node = ledger.insert(
                ground,
                parent,
                name,
                path,
                Some(Data::new(Zxid::ZERO, &fields, Some(b""), None)),
            );
            ledger.digest = ledger.digest.wrapping_add(digest::node_digest(path, Some(b""), &stat));
            ground.world.count_in(path.len(), false);
            let children = ground.children(parent).with(node, ground.token.witness());
            let dir = Dir::new(Zxid::ZERO, 0, 0, children, None);
            ledger.swap_dir(ground, parent, dir);
        }
    }

    /// Whether 0xff-prefixed owners are TTL znodes (`zookeeper.extendedTypesEnabled`; stock: off). To be said before
    /// anything is loaded or read.
    pub fn set_extended_types(&mut self, enabled: bool) {
        self.state.ground.world.set_extended_types(enabled);
    }

    /// Opens txn `z`: from here on a watch armed at less may miss it, and whoever arms one knows. `z` grows.
    pub fn begin(&mut self, z: Zxid) {
        debug_assert!(z > self.state.ground.world.applied(), "txns are applied in order");
        self.state.ground.world.begin(z);
    }

    /// Everything up to `z` is in the tree: readers that pin from now on see it.
    pub fn publish(&mut self, z: Zxid) {
        self.state.ground.world.publish(z);
    }

    /// The newest published txn.
    pub fn applied(&self) -> Zxid {
        self.state.ground.world.applied()
    }

    /// The znode as the last change left it, published or not: what prep looks at. Needs no pin.
    pub fn get(&self, path: &[u8]) -> Option<Znode<'_>> {
        let (world, witness) = (&self.state.ground.world, self.state.ground.token.witness());
        let node = world.find(path, witness)?;
        Znode::at(Source::Writer(world), node, Zxid::MAX, witness)
    }

    /// Digest of the tree (ensemble-protocol §8).
    pub fn digest(&self) -> i64 {
        self.state.ledger.digest
    }

    /// Sums over the tree.
    pub fn stats(&self) -> TreeStats {
        self.state.ground.world.stats()
    }

    /// Every ACL list that a record names, beside the open one: what a snapshot writes before its znodes.
    pub fn acl_lists(&self) -> Vec<Arc<[Acl]>> {
        self.state.ledger.interner.lists().cloned().collect()
    }

    /// Whether there are `most` distinct ACL lists beside the open one already, and `list` is none of them.
    pub fn is_full_for_acl(&self, list: &[Acl], most: usize) -> bool {
        self.state.ledger.interner.is_full_for(list, most)
    }

    /// Distinct ACL lists beside the open one, and records that name them.
    pub fn acl_totals(&self) -> (usize, u64) {
        self.state.ledger.interner.totals()
    }

    /// Creates a znode. Errors: `BadPath`, `NoNode` for a missing parent, `NodeExists` (then the ACL was replaced, and
    /// the parent raised if asked for).
    pub fn create(&mut self, z: Zxid, new: &NewZnode<'_>) -> Result<Stat, TreeError> {
        let (ground, ledger) = (&self.state.ground, &mut self.state.ledger);
        let witness = ground.token.witness();
        let (parent_path, name) = split(new.path).ok_or(TreeError::BadPath)?;
        let (parent, parent_data) = ground.alive(parent_path).ok_or(TreeError::NoNode)?;
        let parent_dir = parent.head().dir.load(witness);
        let cversion = parent_dir.map_or(0, |dir| dir.cversion);
        let raised = if new.parent_cversion == -1 { cversion.wrapping_add(1) } else { new.parent_cversion };
        let pzxid = parent_dir.map_or(parent_data.czxid(), |dir| dir.pzxid);
        let (pzxid, cversion) = if raised > cversion { (z.0, raised) } else { (pzxid, cversion) };

        let acl = ledger.interner.intern(&ground.world.lists, &ground.token, new.acl);
        let present = ground.world.find(new.path, witness);
        if let Some(node) = present
            && let Some(data) = node.head().data.load(witness).filter(|data| !data.is_dead())
        {
            let fields = Fields { acl, ..data.fields() };
            ledger.put_data(ground, node, new.path, data, Data::new(z, &fields, data.data(), Some(data)));
            if new.raise_parent_if_exists {
                let children = ground.children(parent);
                ledger.put_dir(ground, z, (parent, parent_path, parent_data), pzxid, cversion, children);
            }
            return Err(TreeError::NodeExists);
        }

        let stat = StoredStat {
            czxid: z.0,
            mzxid: z.0,
            pzxid: z.0,
            ctime: new.time,
            mtime: new.time,
            owner: new.stored_owner,
            ..StoredStat::default()
        };
        let fields = Fields { stat, acl };
        let node = match present {
            Some(node) => {
                let dead = node.head().data.load(witness);
                ledger.touch(ground, node, new.path);
                ledger.swap_data(ground, node, Data::new(z, &fields, new.data, dead));
                if let Some(dir) = node.head().dir.load(witness) {
                    let empty = Dir::new(z, z.0, 0, Children::default(), Some(dir));
                    ledger.swap_dir(ground, node, empty);
                }
                node.to_ref()
            }
            None => {
                let data = Data::new(z, &fields, new.data, None);
                ledger.insert(ground, parent, name, new.path, Some(data))
            }
        };
        ledger.add_digest(digest::node_digest(new.path, new.data, &stat));
        ground.world.count_in(size(new.path, new.data), ground.is_ephemeral(new.stored_owner));
        let children = ground.children(parent).with(node, witness);
        ledger.put_dir(ground, z, (parent, parent_path, parent_data), pzxid, cversion, children);
        let node = node.get(witness);
        let data = node.head().data.load(witness).expect("just linked");
        Ok(client_stat(&ground.world, data, None))
    }

    /// Deletes a znode. Errors: `BadPath` (the root too), `NoNode`; a missing znode still raises its parent's pzxid.
    pub fn delete(&mut self, z: Zxid, path: &[u8]) -> Result<Deleted, TreeError> {
        let (ground, ledger) = (&self.state.ground, &mut self.state.ledger);
        let witness = ground.token.witness();
        let (parent_path, _) = split(path).ok_or(TreeError::BadPath)?;
        let (parent, parent_data) = ground.alive(parent_path).ok_or(TreeError::NoNode)?;
        let found = ground.alive(path);

        let dir = parent.head().dir.load(witness);
        let (pzxid, cversion) = dir.map_or((parent_data.czxid(), 0), |dir| (dir.pzxid, dir.cversion));
        let raised = pzxid.max(z.0);
        let children = found.and_then(|(node, _)| dir?.head().children.without(node.to_ref(), witness));
        if raised != pzxid || children.is_some() {
            let children = children.unwrap_or_else(|| ground.children(parent));
            ledger.put_dir(ground, z, (parent, parent_path, parent_data), raised, cversion, children);
        }

        let (node, data) = found.ok_or(TreeError::NoNode)?;
        let below = ledger.bury_below(ground, z, node);
        let deleted =
            Deleted { stored_owner: data.owner(), data_length: data.data().map_or(0, <[u8]>::len), below };
        ledger.bury(ground, z, node, path, data);
        Ok(deleted)
    }

    /// Sets data and data version, mzxid and mtime. Error: `NoNode`.
    pub fn set_data(
        &mut self,
        z: Zxid,
        path: &[u8],
        data: Option<&[u8]>,
        version: i32,
        time: i64,
    ) -> Result<DataChanged, TreeError> {
        self.change_data(z, path, data, |stat| {
            (stat.version, stat.mzxid, stat.mtime) = (version, z.0, time);
        })
    }

    /// Replaces the data and nothing else: no version, no mzxid. For quota statistics, which every server keeps by
    /// itself. It belongs to txn `z`, the one that is applied or, before the first, the published one. Error: `NoNode`.
    pub fn set_stats_data(&mut self, z: Zxid, path: &[u8], data: &[u8]) -> Result<(), TreeError> {
        self.change_data(z, path, Some(data), |_| {}).map(|_| ())
    }

    /// Makes `data` the data of a znode outside of any txn, with that data version, mzxid and mtime: for what every
    /// server writes by itself and the digest leaves out. It belongs to the published txn, of which a reader could see
    /// either: nobody may be served meanwhile. Error: `NoNode`.
    pub fn set_own_data(
        &mut self,
        path: &[u8],
        data: &[u8],
        version: i32,
        mzxid: i64,
        time: i64,
    ) -> Result<(), TreeError> {
        debug_assert!(!digest::counts(path), "servers would disagree");
        let changed = self.change_data(self.applied(), path, Some(data), |stat| {
            (stat.version, stat.mzxid, stat.mtime) = (version, mzxid, time);
        });
        changed.map(|_| ())
    }

    fn change_data(
        &mut self,
        z: Zxid,
        path: &[u8],
        data: Option<&[u8]>,
        change: impl FnOnce(&mut StoredStat),
    ) -> Result<DataChanged, TreeError> {
        let (ground, ledger) = (&self.state.ground, &mut self.state.ledger);
        let (node, before) = ground.alive(path).ok_or(TreeError::NoNode)?;
        let mut fields = before.fields();
        change(&mut fields.stat);
        ledger.interner.keep(fields.acl);
        let data_length_before = before.data().map_or(0, <[u8]>::len);
        ledger.put_data(ground, node, path, before, Data::new(z, &fields, data, Some(before)));
        ground.world.resize(data_length_before, data.map_or(0, <[u8]>::len));
        Ok(DataChanged { stat: ground.stat(node), data_length_before })
    }

    /// Sets the ACL list and its version. Error: `NoNode`.
    pub fn set_acl(&mut self, z: Zxid, path: &[u8], acl: &[Acl], version: i32) -> Result<Stat, TreeError> {
        let (ground, ledger) = (&self.state.ground, &mut self.state.ledger);
        let (node, before) = ground.alive(path).ok_or(TreeError::NoNode)?;
        let mut fields = before.fields();
        fields.stat.aversion = version;
        fields.acl = ledger.interner.intern(&ground.world.lists, &ground.token, acl);
        ledger.put_data(ground, node, path, before, Data::new(z, &fields, before.data(), Some(before)));
        Ok(ground.stat(node))
    }

    /// Retires what the published txns replaced, and frees, a slice at a time, what no reader can see any more. Between
    /// begin and publish it does nothing. Returns whether something is left, so that an idle writer calls again.
    pub fn reclaim(&mut self) -> bool {
        let State { ground, ledger } = &mut self.state;
        if ground.world.begun() == ground.world.applied() {
            let came_in = ledger.grace.open_len();
            if ledger.grace.sealed_len() == 0 || came_in >= SEAL_AT {
                ledger.grace.seal();
            } else {
                ledger.grace.advance();
            }
            let budget = RECLAIM_SLICE + 2 * came_in;
            for _ in 0..budget {
                let Some(note) = ledger.grace.next_note() else { break };
                ledger.follow(ground, note);
            }
            ledger.grace.free(&mut ground.token, &ground.world.leases, budget);
        }
        self.old.retain_mut(Old::step);
        let grace = &self.state.ledger.grace;
        // A sealed batch may be down to its notes: its grace can end between looking for them and freeing.
        grace.open_len() > 0 || grace.sealed_len() > 0 || grace.backlog().objects > 0 || !self.old.is_empty()
    }

    /// What is retired and not freed. Grows while a reader stays pinned or a listing is kept (reliability S64).
    pub fn reclaim_backlog(&self) -> ReclaimBacklog {
        ReclaimBacklog {
            waiting: self.state.ledger.grace.backlog(),
            listings: self.state.ground.world.leases.count(),
        }
    }

    /// Takes over the state of `fresh`, built beside this one (a snapshot received from a leader). Readers that pin from
    /// now on see it whole; those inside finish in the old state, which is then dismantled in slices by
    /// [`TreeWriter::reclaim`]. Not between begin and publish.
    pub fn adopt(&mut self, fresh: TreeWriter) {
        debug_assert_eq!(self.state.ground.world.begun(), self.applied(), "adopt between txns");
        let TreeWriter { shared: _, state, old } = fresh;
        let mut replaced = std::mem::replace(&mut self.state, state);
        self.shared.root.replace(Arc::clone(&self.state.ground.world), &mut replaced.ledger.grace);
        replaced.ledger.feed = None;
        replaced.ledger.images.clear();
        replaced.ledger.grace.seal();
        self.old.push(Old { state: replaced, position: Position::default() });
        self.old.extend(old);
    }

    /// Starts an image of the tree as it is now; see [`super::snapshot`]. One at a time: an earlier walker is told that
    /// it was aborted. Between rounds only.
    pub fn begin_snapshot(&mut self) -> super::SnapshotWalker {
        let State { ground, ledger } = &mut self.state;
        debug_assert_eq!(ground.world.begun(), ground.world.applied(), "a snapshot begins between txns");
        let mark = Mark::snapshot(ledger.marks).next();
        ledger.marks = mark.put(ledger.marks);
        let (feed, walker) =
            super::snapshot::begin(Arc::clone(&self.shared), Arc::clone(&ground.world), mark, ledger.digest);
        ledger.feed = Some(feed);
        walker
    }

    /// Starts an image of the tree as it is now whose parents come before their children; see [`super::image`]. Several
    /// may be on their way, beside a snapshot; `None` when that many are. Of changed znodes at most `copies_bytes_max`
    /// are kept for a walker that comes late; past it it is told that it was aborted. Between rounds only.
    pub fn begin_image(&mut self, copies_bytes_max: usize) -> Option<super::ImageWalker> {
        let State { ground, ledger } = &mut self.state;
        debug_assert_eq!(ground.world.begun(), ground.world.applied(), "an image begins between txns");
        // Acquire pairs with the Release of the walker before: every node has its last number.
        let lane = ledger.lanes.iter().position(|busy| !busy.load(Acquire))?;
        let handed = Mark::image(lane, ledger.marks).next();
        ledger.marks = handed.next().put(ledger.marks);
        ledger.lanes[lane].store(true, Relaxed); // This walker's until it ends.
        ledger.images.retain(|feed| !feed.is_over());
        let (feed, walker) = image::begin(
            Arc::clone(&self.shared),
            Lease::new(Arc::clone(&ground.world), ground.token.witness()),
            Arc::clone(&ledger.lanes[lane]),
            handed,
            (ledger.digest, copies_bytes_max),
        );
        ledger.images.push(feed);
        Some(walker)
    }
}

impl Old {
    /// A little of the way to nothing; false at the end.
    fn step(&mut self) -> bool {
        let State { ground, ledger } = &mut self.state;
        ledger.grace.advance();
        while ledger.grace.next_note().is_some() {}
        ledger.grace.free(&mut ground.token, &ground.world.leases, RECLAIM_SLICE);
        if ledger.grace.sealed_len() > 0 || ledger.grace.backlog().objects > 0 {
            return true;
        }
        // The last count but ours goes with the grace, or with the last listing or walker.
        match Arc::get_mut(&mut ground.world) {
            Some(world) => world.index.dismantle(&mut self.position),
            None => true,
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        let grace = std::mem::replace(&mut self.ledger.grace, Grace::new());
        self.ground.world.keep(grace.into_attic());
    }
}

impl Ground {
    pub(super) fn witness(&self) -> Witness<'_> {
        self.token.witness()
    }

    /// The live node at `path`, with its record.
    fn alive(&self, path: &[u8]) -> Option<(At<'_, Node>, At<'_, Data>)> {
        let node = self.world.find(path, self.witness())?;
        let data = node.head().data.load(self.witness())?;
        (!data.is_dead()).then_some((node, data))
    }

    /// The newest version of a node's children.
    fn children(&self, node: At<'_, Node>) -> Children {
        node.head().dir.load(self.witness()).map_or_else(Children::default, |dir| dir.head().children.clone())
    }

    fn stat(&self, node: At<'_, Node>) -> Stat {
        let data = node.head().data.load(self.witness()).expect("the caller linked it");
        client_stat(&self.world, data, node.head().dir.load(self.witness()))
    }

    pub(super) fn is_ephemeral(&self, owner: i64) -> bool {
        matches!(self.world.kind(owner), OwnerKind::Session(_))
    }
}

impl Ledger {
    pub(super) fn add_digest(&mut self, digest: i64) {
        self.digest = self.digest.wrapping_add(digest);
    }

    /// Before the first change of a node: the running snapshot and images get it as it was.
    fn touch(&mut self, ground: &Ground, node: At<'_, Node>, path: &[u8]) {
        if !self.images.is_empty() {
            self.images.retain(|feed| feed.hand_over(&ground.world, node, path, ground.witness()));
        }
        if let Some(feed) = &self.feed
            && !feed.hand_over(&ground.world, node, path, ground.witness())
        {
            self.feed = None;
        }
    }

    /// Makes a node and puts it into the index. The caller counts it, and its parent names it.
    pub(super) fn insert(
        &mut self,
        ground: &Ground,
        parent: At<'_, Node>,
        name: &[u8],
        path: &[u8],
        data: Option<Owned<Data>>,
    ) -> Ref<Node> {
        // Born with the numbers of the running walks, which are of before.
        let node = Node::new(Some(parent.to_ref()), name, data, self.marks).into_ref();
        ground.world.index.insert(&ground.token, &mut self.grace, ground.world.hasher.hash(path), node);
        node
    }

    /// Links a changed record of a live znode.
    fn put_data(
        &mut self,
        ground: &Ground,
        node: At<'_, Node>,
        path: &[u8],
        before: At<'_, Data>,
        data: Owned<Data>,
    ) {
        self.touch(ground, node, path);
        if digest::counts(path) {
            let dir = node.head().dir.load(ground.witness());
            let old = digest::stat_digest(body_crc(path, before, dir), &before.stored_stat(dir));
            let new = digest::node_digest(path, data.at().data(), &data.at().stored_stat(dir));
            self.add_digest(new.wrapping_sub(old));
        }
        self.swap_data(ground, node, data);
    }

    /// Links a changed list of children of a live znode (node, path, record).
    fn put_dir(
        &mut self,
        ground: &Ground,
        z: Zxid,
        (node, path, data): (At<'_, Node>, &[u8], At<'_, Data>),
        pzxid: i64,
        cversion: i32,
        children: Children,
    ) {
        self.touch(ground, node, path);
        let before = node.head().dir.load(ground.witness());
        let mut dir = Dir::new(z, pzxid, cversion, children, before);
        if digest::counts(path) {
            let body = body_crc(path, data, before);
            let mut stat = data.stored_stat(before);
            self.digest = self.digest.wrapping_sub(digest::stat_digest(body, &stat));
            (stat.pzxid, stat.cversion) = (pzxid, cversion);
            self.digest = self.digest.wrapping_add(digest::stat_digest(body, &stat));
            // Not while this very txn may change the data again.
            if data.zxid() < z {
                (dir.body_crc, dir.body_zxid) = (body, data.zxid().0);
            }
        }
        self.swap_dir(ground, node, dir);
    }

    pub(super) fn swap_data(&mut self, ground: &Ground, node: At<'_, Node>, data: Owned<Data>) {
        if let Some(old) = node.head().data.load(ground.witness())
            && old.acl() != super::acl::OPEN
        {
            self.grace.note(Note::Acl(old.acl()));
        }
        self.retire(node.head().data.store(&ground.token, Some(data)));
    }

    pub(super) fn swap_dir(&mut self, ground: &Ground, node: At<'_, Node>, dir: Dir) {
        self.retire(node.head().dir.store(&ground.token, Some(dir.into_owned())));
    }

    fn retire<H: super::reclaim::Object>(&mut self, old: Option<Retired<H>>) {
        if let Some(old) = old {
            self.grace.retire(old, false);
        }
    }

    pub(super) fn intern(&mut self, ground: &Ground, acl: &[Acl]) -> u32 {
        self.interner.intern(&ground.world.lists, &ground.token, acl)
    }

    /// Links a tombstone.
    fn bury(&mut self, ground: &Ground, z: Zxid, node: At<'_, Node>, path: &[u8], data: At<'_, Data>) {
        self.touch(ground, node, path);
        if digest::counts(path) {
            let dir = node.head().dir.load(ground.witness());
            let old = digest::stat_digest(body_crc(path, data, dir), &data.stored_stat(dir));
            self.add_digest(old.wrapping_neg());
        }
        ground.world.count_out(size(path, data.data()), ground.is_ephemeral(data.owner()));
        self.swap_data(ground, node, Data::tombstone(z, data));
        self.grace.note(Note::Dead(node.to_ref(), z));
    }

    /// Buries whatever is below `node`, children before parents, without recursion.
    fn bury_below(&mut self, ground: &Ground, z: Zxid, node: At<'_, Node>) -> Vec<(Vec<u8>, i64)> {
        let witness = ground.witness();
        let mut found: Vec<At<'_, Node>> = Vec::new();
        let mut next = Some(node);
        let mut looked = 0;
        while let Some(node) = next {
            if let Some(dir) = node.head().dir.load(witness) {
                found.extend(dir.head().children.iter(Cursor::default(), witness));
            }
            next = found.get(looked).copied();
            looked += 1;
        }
        let mut buried = Vec::new();
        for node in found.into_iter().rev() {
            let mut path = std::mem::take(&mut self.scratch);
            node::path_into(node, witness, &mut path);
            if let Some(data) = node.head().data.load(witness).filter(|data| !data.is_dead()) {
                buried.push((path.clone(), data.owner()));
                self.bury(ground, z, node, &path, data);
            }
            self.scratch = path;
        }
        buried
    }

    /// A grace period is over.
    fn follow(&mut self, ground: &Ground, note: Note) {
        match note {
            Note::Acl(number) => {
                let list = self.interner.release(&ground.world.lists, &ground.token, number);
                self.retire(list);
            }
            Note::Dead(node, z) => {
                let witness = ground.witness();
                let node = node.get(witness);
                let still =
                    node.head().data.load(witness).is_some_and(|data| data.is_dead() && data.zxid() == z);
                if still {
                    let mut path = std::mem::take(&mut self.scratch);
                    node::path_into(node, witness, &mut path);
                    let hash = ground.world.hasher.hash(&path);
                    self.scratch = path;
                    // Held: a listing may still have to write its name.
                    if let Some(node) = ground.world.index.remove(&ground.token, hash, node.to_ref()) {
                        self.grace.retire(node, true);
                    }
                }
            }
        }
    }
}

/// Parent's path (empty for the root) and own name; `None` where there is no such split.
pub(super) fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let slash = path.iter().rposition(|&byte| byte == b'/')?;
    let (parent, name) = (&path[..slash], &path[slash + 1..]);
    (!name.is_empty()).then_some((parent, name))
}

/// What a znode counts for in `approximate_data_size` (stock `DataTree.getNodeSize`).
pub(super) fn size(path: &[u8], data: Option<&[u8]>) -> usize {
    path.len() + data.map_or(0, <[u8]>::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_that_waits_alone_is_something_left() {
        let (mut writer, reader) = super::super::new(1);
        while writer.reclaim() {
            std::thread::yield_now();
        }
        let root = {
            let ground = &writer.state.ground;
            ground.alive(b"/").expect("the root").0.to_ref()
        };
        let view = reader.pin();
        // Of a death that never was: following it changes nothing.
        writer.state.ledger.grace.note(Note::Dead(root, Zxid(i64::MIN)));
        for _ in 0..100 {
            assert!(writer.reclaim(), "the note waits for a pin");
        }
        assert_eq!(writer.reclaim_backlog().waiting.objects, 0);
        drop(view);
        while writer.reclaim() {
            std::thread::yield_now();
        }
        assert_eq!(writer.state.ledger.grace.sealed_len(), 0);
    }
}
