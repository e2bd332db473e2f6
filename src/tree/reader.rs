#![forbid(unsafe_code)]
//! What a shard sees: the tree at one zxid. No lock, no allocation, no waiting on this path.
//!
//! A turn is `let view = reader.pin()`, then any number of lookups at [`View::at`], then the view is dropped. Every
//! answer of a view is from that zxid exactly, multis whole, absence included, however far the writer has gone on.
//!
//! Lives on: each shard. Not here: permissions, watches, formatting of replies.

use std::sync::Arc;

use super::children::{self, Children, Cursor};
use super::digest::{self, StoredStat};
use super::node::Node;
use super::reclaim::{At, Lease, Pinned, Post, Root, Witness};
use super::record::{Data, Dir};
use super::world::{OwnerKind, TreeStats, World};
use crate::base::Zxid;
use crate::wire::{Acl, Stat};

/// What writer, readers and walkers of a tree share.
pub(super) struct Shared {
    pub(super) root: Root<World>,
}

/// The way in for readers; one for each shard, or clones.
#[derive(Clone)]
pub struct TreeReader {
    pub(super) shared: Arc<Shared>,
}

impl TreeReader {
    /// Pins the tree for one turn.
    pub fn pin(&self) -> View<'_> {
        let pinned = self.shared.root.pin();
        let at = pinned.state().applied();
        View { pinned, at }
    }

    /// The newest txn whose change may be on its way. Fences first: whoever arms a watch sets its bit in the interest
    /// table and then calls this (DESIGN §2 rule 4).
    pub fn begun(&self) -> Zxid {
        self.shared.root.pin().state().begun()
    }

    /// The newest txn that every view pinned from now on holds entirely.
    pub fn applied(&self) -> Zxid {
        self.shared.root.pin().state().applied()
    }

    /// Sums over the tree, at no zxid in particular.
    pub fn stats(&self) -> TreeStats {
        self.shared.root.pin().state().stats()
    }
}

/// What a reader holds from one turn to the next, so that it may still read at the zxids between the two.
///
/// ```text
/// turn k:    set (pin · D₀ = applied) ……                              held while the shard sleeps
/// turn k+1:  pin · D = applied (Acquire) · [`View::earlier`] at any D₀ ≤ z ≤ D · let go
/// ```
///
/// Hold it no longer than that: like a [`View`] it keeps everything retired meanwhile.
pub struct Anchor {
    post: Post,
    /// Which state, by its address, and its newest zxid when the post was pinned. `None`: not set.
    ground: Option<(usize, Zxid)>,
}

impl Default for Anchor {
    fn default() -> Anchor {
        Anchor { post: Post::new(), ground: None }
    }
}

impl Anchor {
    /// Holds what readers of `tree` at its present zxid or later need.
    pub fn set(&mut self, tree: &TreeReader) {
        // Pinned before the zxid is loaded, as a view is.
        self.post.pin();
        let pinned = tree.shared.root.pin();
        self.ground = Some((std::ptr::from_ref(pinned.state()).addr(), pinned.state().applied()));
    }

    /// Lets go.
    pub fn lift(&mut self) {
        self.ground = None;
        self.post.unpin();
    }

    /// Whether it holds.
    pub fn is_set(&self) -> bool {
        self.ground.is_some()
    }
}

/// The tree at one zxid. Keep it for one turn, never across an await: it holds up reclamation for everybody, and it is
/// not `Send`.
pub struct View<'r> {
    pinned: Pinned<'r, World>,
    at: Zxid,
}

impl View<'_> {
    /// The zxid all answers are from.
    pub fn at(&self) -> Zxid {
        self.at
    }

    /// As [`TreeReader::begun`], for the state this view is in.
    pub fn begun(&self) -> Zxid {
        self.pinned.state().begun()
    }

    /// The tree as it was at `at`, between the zxid at which `anchor` was set and this view's own. `None` when the anchor
    /// holds another state (a leader's took its place), or nothing.
    ///
    /// # Panics
    /// When `at` is not between the two.
    pub fn earlier<'v>(&'v self, anchor: &'v Anchor, at: Zxid) -> Option<View<'v>> {
        let (state, from) = anchor.ground?;
        // A guard within this view's own: the state is the same unless it was replaced this very moment.
        let pinned = self.pinned.again();
        if std::ptr::from_ref(pinned.state()).addr() != state
            || !std::ptr::eq(pinned.state(), self.pinned.state())
        {
            return None;
        }
        assert!(from <= at && at <= self.at, "{at} is not between {from} and {}", self.at);
        Some(View { pinned, at })
    }

    /// Begins the next turn: lets go of what was retired and moves to the newest zxid.
    pub fn refresh(&mut self) {
        self.pinned.repin();
        self.at = self.pinned.state().applied();
    }

    /// The znode at `path`; `/` and the empty path are the root (client-protocol §4.2).
    pub fn find(&self, path: &[u8]) -> Option<Znode<'_>> {
        let (world, witness) = (self.pinned.state(), self.pinned.witness());
        let node = world.find(path, witness)?;
        Znode::at(Source::View(self), node, self.at, witness)
    }

    fn is_in(&self, world: &Arc<World>) -> bool {
        std::ptr::eq(self.pinned.state(), Arc::as_ptr(world))
    }
}

#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    View(&'a View<'a>),
    Writer(&'a Arc<World>),
}

impl<'a> Source<'a> {
    fn world(self) -> &'a World {
        match self {
            Source::View(view) => view.pinned.state(),
            Source::Writer(world) => world,
        }
    }

    fn to_arc(self) -> Arc<World> {
        match self {
            Source::View(view) => view.pinned.to_arc(),
            Source::Writer(world) => Arc::clone(world),
        }
    }
}

/// A znode in a view, or as the writer has it.
#[derive(Clone, Copy)]
pub struct Znode<'a> {
    source: Source<'a>,
    witness: Witness<'a>,
    at: Zxid,
    node: At<'a, Node>,
    data: At<'a, Data>,
}

impl<'a> Znode<'a> {
    pub(super) fn at(
        source: Source<'a>,
        node: At<'a, Node>,
        at: Zxid,
        witness: Witness<'a>,
    ) -> Option<Znode<'a>> {
        let data = node.head().data.load_at(witness, at)?;
        (!data.is_dead()).then_some(Znode { source, witness, at, node, data })
    }

    fn dir(&self) -> Option<At<'a, Dir>> {
        self.node.head().dir.load_at(self.witness, self.at)
    }

    /// As clients see it (client-protocol §5.1).
    pub fn stat(&self) -> Stat {
        client_stat(self.source.world(), self.data, self.dir())
    }

    /// As stored, sent in snapshots and digested.
    pub fn stored_stat(&self) -> StoredStat {
        self.data.stored_stat(self.dir())
    }

    /// The data; null differs from empty.
    pub fn data(&self) -> Option<&'a [u8]> {
        self.data.data()
    }

    /// Whether the ACL is the open list, so that no check is needed.
    pub fn has_open_acl(&self) -> bool {
        self.data.acl() == super::acl::OPEN
    }

    /// The ACL list.
    pub fn acl(&self) -> &'a [Acl] {
        self.source.world().lists.get(self.data.acl(), self.witness)
    }

    /// zxid of the creation.
    pub fn czxid(&self) -> Zxid {
        Zxid(self.data.czxid())
    }

    /// zxid of the last data change.
    pub fn mzxid(&self) -> Zxid {
        Zxid(self.data.mzxid())
    }

    /// zxid of the last creation or deletion of a direct child; czxid before any.
    pub fn pzxid(&self) -> Zxid {
        Zxid(self.dir().map_or(self.data.czxid(), |dir| dir.pzxid))
    }

    /// Children ever created: what sequence numbers are made of, not what clients see.
    pub fn raw_cversion(&self) -> i32 {
        self.dir().map_or(0, |dir| dir.cversion)
    }

    /// Owner as stored.
    pub fn stored_owner(&self) -> i64 {
        self.data.owner()
    }

    /// What the stored owner says.
    pub fn owner_kind(&self) -> OwnerKind {
        self.source.world().kind(self.data.owner())
    }

    /// Direct children.
    pub fn child_count(&self) -> u32 {
        self.dir().map_or(0, |dir| dir.head().children.count())
    }

    /// Names of the direct children, sorted, without an allocation. For long lists see [`Znode::listing`].
    pub fn children(&self) -> ChildNames<'a> {
        let witness = self.witness;
        ChildNames(self.dir().map(|dir| dir.head().children.iter(Cursor::default(), witness)))
    }

    /// The same names, to be read in several turns: keeps this version of the list alive, not the guard.
    pub fn listing(&self) -> Listing {
        let children = self.dir().map_or_else(Children::default, |dir| dir.head().children.clone());
        let lease = Lease::new(self.source.to_arc(), self.witness);
        Listing { children, cursor: Cursor::default(), lease }
    }

    /// CRC of path and data, for [`digest::stat_digest`]; `path` is this znode's. Cheap for a parent whose children come
    /// and go, whatever its data.
    pub fn body_crc(&self, path: &[u8]) -> u32 {
        body_crc(path, self.data, self.dir())
    }
}

/// `path` is that of `data`.
pub(super) fn body_crc(path: &[u8], data: At<'_, Data>, dir: Option<At<'_, Dir>>) -> u32 {
    use super::reclaim::Version;
    match dir {
        Some(dir) if dir.body_zxid != 0 && dir.body_zxid == data.zxid().0 => dir.body_crc,
        _ => digest::body_crc(path, data.data()),
    }
}

/// What `DataNode.copyStat` makes of the stored fields.
pub(super) fn client_stat(world: &World, data: At<'_, Data>, dir: Option<At<'_, Dir>>) -> Stat {
    let stored = data.stored_stat(dir);
    let num_children = dir.map_or(0, |dir| dir.head().children.count()) as i32;
    let owner = match world.kind(stored.owner) {
        OwnerKind::Session(session) => session,
        OwnerKind::None | OwnerKind::Container | OwnerKind::Ttl(_) => 0,
    };
    Stat {
        czxid: stored.czxid,
        mzxid: stored.mzxid,
        ctime: stored.ctime,
        mtime: stored.mtime,
        version: stored.version,
        cversion: stored.cversion.wrapping_mul(2).wrapping_sub(num_children),
        aversion: stored.aversion,
        ephemeral_owner: owner,
        data_length: data.data().map_or(0, <[u8]>::len) as i32,
        num_children,
        pzxid: stored.pzxid,
    }
}

/// Names of direct children.
#[derive(Clone)]
pub struct ChildNames<'a>(Option<children::Iter<'a>>);

impl<'a> Iterator for ChildNames<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.0.as_mut()?.next().map(At::bytes)
    }
}

/// One version of a list of children, owned: it may be kept over many turns, and its znodes be deleted meanwhile. What
/// it holds is counted, so finish or drop it: while it lives, the names of znodes deleted since it was made are kept.
pub struct Listing {
    children: Children,
    cursor: Cursor,
    lease: Lease<World>,
}

impl Listing {
    /// Names in all, those already given included.
    pub fn count(&self) -> u32 {
        self.children.count()
    }

    /// Gives up to `max` further names to `sink`. Returns whether there are more.
    pub fn next_slice(&mut self, max: usize, mut sink: impl FnMut(&[u8])) -> bool {
        self.next_nodes(max, |node| sink(node.bytes()))
    }

    fn next_nodes(&mut self, max: usize, mut sink: impl FnMut(At<'_, Node>)) -> bool {
        let mut iter = self.children.iter(self.cursor, self.lease.witness());
        iter.by_ref().take(max).for_each(&mut sink);
        self.cursor = iter.cursor();
        iter.next().is_some()
    }
}

/// Counts the descendants of a znode in slices (`getAllChildrenNumber`). Each list of children is one version; lists
/// met in different slices may be from different zxids, as in stock, which counts a changing map.
pub struct Descendants {
    levels: Vec<Listing>,
    count: u64,
}

/// How far a walk in slices has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// Call again.
    More,
    /// All was visited.
    Done,
    /// The whole state was replaced, or a newer walk began: what this one gave is worth nothing.
    Aborted,
}

impl Descendants {
    /// Of `znode`, itself excluded.
    pub fn of(znode: &Znode<'_>) -> Descendants {
        Descendants { levels: vec![znode.listing()], count: 0 }
    }

    /// What was counted so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Looks at about `max` further znodes.
    pub fn next_slice(&mut self, view: &View<'_>, max: usize) -> Progress {
        let mut left = max.max(1);
        while let Some(mut level) = self.levels.pop() {
            if !view.is_in(level.lease.state()) {
                return Progress::Aborted;
            }
            if left == 0 {
                self.levels.push(level);
                return Progress::More;
            }
            let mut below = None;
            let mut more = true;
            while more && left > 0 && below.is_none() {
                more = level.next_nodes(1, |node| {
                    (left, self.count) = (left - 1, self.count + 1);
                    // The lease keeps the node; what hangs on it is the view's.
                    let witness = view.pinned.witness();
                    let node = node.to_ref().get(witness);
                    let znode = Znode::at(Source::View(view), node, view.at, witness);
                    below = znode.filter(|znode| znode.child_count() > 0).map(|znode| znode.listing());
                });
            }
            if more {
                self.levels.push(level);
            }
            self.levels.extend(below);
        }
        Progress::Done
    }
}
