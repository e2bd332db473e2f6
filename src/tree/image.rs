#![forbid(unsafe_code)]
//! The exact image of a tree at one zxid Z, taken while writes go on, **parents before children**: for a learner, whose
//! reader refuses a znode without a parent (stock `DataTree.deserialize`).
//!
//! As in `snapshot.rs` whoever is first to claim a node images it: the walker on meeting it, or the writer before its
//! first change, with a copy into a queue. Order comes at no further pass over the tree and no further work of the writer:
//!
//! - The walker, on meeting a node, climbs to the nearest ancestor that was given out already and gives the way down from
//!   there. Each node is climbed over once, so a walk is linear whatever the shape of the tree.
//! - A node that the writer claimed is *handed* until its copy was given out, then *given*. What comes below a node that
//!   is only handed waits for it, as a copy. Its own copy is in the queue or about to be: the claim was made first.
//!
//! ```text
//!                 walker meets it, its parent is given
//!   not yet ───────────────────────────────────────────► given
//!      │  writer changes it first, or                      ▲
//!      │  the walker finds its parent handed               │ its copy is at hand and its parent is given
//!      └──────────────────────► handed ────────────────────┘
//! ```
//!
//! The two numbers are a node's in the lane of this image (`marks.rs`), so that images and snapshots pass through each
//! other. A lane is given back when every node has the second number: a walker that is dropped early sees to it.
//!
//! Memory: copies of znodes changed since Z and not given out yet, up to a bound past which the image is given up; nodes
//! (64 bytes each, not their data) deleted meanwhile, which a lease keeps so that ways up stay whole.
//!
//! Lives on: [`Feed`] on the sequencer, [`ImageWalker`] on a thread of its own.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};

use super::index::Position;
use super::marks::Mark;
use super::node::Node;
use super::reader::{Progress, Shared};
use super::reclaim::{At, Lease, Ref, Witness};
use super::snapshot::{NodeImage, OwnedImage, Queue, image_at};
use super::world::World;
use crate::base::Zxid;

/// A node that was claimed, as it was.
struct Copied {
    node: Ref<Node>,
    image: OwnedImage,
}

/// What both ends share beside the queue.
#[derive(Default)]
struct Both {
    queue: Queue,
    /// More bytes waited than may.
    overrun: AtomicBool,
}

/// The writer's end.
pub(super) struct Feed {
    handed: Mark,
    copies: Sender<Copied>,
    both: Arc<Both>,
    bytes_max: usize,
}

/// The walker's end.
pub struct ImageWalker {
    shared: Arc<Shared>,
    /// Keeps nodes, not their records.
    lease: Lease<World>,
    busy: Arc<AtomicBool>,
    at: Zxid,
    digest: i64,
    handed: Mark,
    position: Position,
    walked: bool,
    count: u64,
    expected: u64,
    copies: Receiver<Copied>,
    both: Arc<Both>,
    /// Nodes found in the index and not looked at yet, a segment of it at most.
    met: VecDeque<Ref<Node>>,
    /// Copies that may be given out.
    ready: VecDeque<Copied>,
    /// Copies whose parent was not given out yet, by the parent's address.
    waiting: HashMap<usize, Vec<Copied>, ahash::RandomState>,
    /// A way up.
    way: Vec<Ref<Node>>,
    scratch: Vec<u8>,
}

/// Both ends, for an image of the leased world as it is; the digest of the tree, and the bytes that may wait.
pub(super) fn begin(
    shared: Arc<Shared>,
    lease: Lease<World>,
    busy: Arc<AtomicBool>,
    handed: Mark,
    (digest, bytes_max): (i64, usize),
) -> (Feed, ImageWalker) {
    let (sender, receiver) = channel();
    let both = Arc::new(Both::default());
    let feed = Feed { handed, copies: sender, both: Arc::clone(&both), bytes_max };
    let world = lease.state();
    let (at, expected) = (world.applied(), world.znodes());
    // Looked up by address, never iterated.
    let waiting = HashMap::with_hasher(world.hasher.state());
    let walker = ImageWalker {
        shared,
        lease,
        busy,
        at,
        digest,
        handed,
        position: Position::default(),
        walked: false,
        count: 0,
        expected,
        copies: receiver,
        both,
        met: VecDeque::new(),
        ready: VecDeque::new(),
        waiting,
        way: Vec::new(),
        scratch: Vec::new(),
    };
    (feed, walker)
}

impl Feed {
    /// Before the first change of `node`. Returns false when nobody walks any more.
    pub(super) fn hand_over(
        &self,
        world: &World,
        node: At<'_, Node>,
        path: &[u8],
        witness: Witness<'_>,
    ) -> bool {
        if self.is_over() {
            return false;
        }
        if !self.handed.raise(node) {
            return true;
        }
        let Some(image) = OwnedImage::now(world, node, path, witness) else {
            // Dead at Z: nothing to give, and nothing alive below.
            self.handed.next().raise(node);
            return true;
        };
        if self.both.queue.enter(&image) > self.bytes_max {
            // Relaxed: the walker finds out late at worst; what it lacks it cannot get past.
            self.both.overrun.store(true, Relaxed);
            self.both.queue.end();
        }
        self.copies.send(Copied { node: node.to_ref(), image }).is_ok()
    }

    /// Whether nobody walks any more.
    pub(super) fn is_over(&self) -> bool {
        self.both.queue.is_over()
    }
}

/// What a slice may still give.
struct Budget<'s> {
    nodes: usize,
    bytes: usize,
    sink: &'s mut dyn FnMut(NodeImage<'_>),
}

impl Budget<'_> {
    fn is_spent(&self) -> bool {
        self.nodes == 0 || self.bytes == 0
    }

    fn give(&mut self, image: NodeImage<'_>) {
        let bytes = image.path.len() + image.data.map_or(0, <[u8]>::len);
        self.nodes = self.nodes.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
        (self.sink)(image);
    }
}

impl ImageWalker {
    /// The zxid of the image.
    pub fn at(&self) -> Zxid {
        self.at
    }

    /// Digest of the tree at that zxid.
    pub fn digest(&self) -> i64 {
        self.digest
    }

    /// Znodes of the image, each once.
    pub fn znodes(&self) -> u64 {
        self.expected
    }

    /// Copies made and not given out yet: how many, and their bytes.
    pub fn queued(&self) -> (usize, usize) {
        self.both.queue.len()
    }

    /// Whether it is aborted because too much waited for it.
    pub fn is_overrun(&self) -> bool {
        self.both.overrun.load(Relaxed) // As in `hand_over`.
    }

    /// Gives further znodes to `sink`, each after its parent: `nodes_max`, or fewer when their paths and data come to
    /// `bytes_max` (the one that crosses it is given). `More` with none given is possible, while the writer is about to
    /// hand one over. Pins only inside the call.
    pub fn next_slice(
        &mut self,
        nodes_max: usize,
        bytes_max: usize,
        sink: &mut dyn FnMut(NodeImage<'_>),
    ) -> Progress {
        // Its own handle, for the guard borrows it.
        let shared = Arc::clone(&self.shared);
        let pinned = shared.root.pin();
        if self.is_overrun() || !std::ptr::eq(pinned.state(), Arc::as_ptr(self.lease.state())) {
            return Progress::Aborted;
        }
        let (world, witness) = (pinned.state(), pinned.witness());
        let mut budget = Budget { nodes: nodes_max.max(1), bytes: bytes_max.max(1), sink };
        let mut writer_left = false;
        while !budget.is_spent() && self.count < self.expected {
            if let Some(copied) = self.ready.pop_front() {
                self.give_copy(copied, witness, &mut budget);
                continue;
            }
            match self.copies.try_recv() {
                Ok(copied) => {
                    self.arrange(copied, witness);
                    continue;
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => writer_left = true,
            }
            if let Some(node) = self.met.pop_front() {
                if !self.look_at(world, node.get(witness), witness, &mut budget) {
                    // The writer was faster somewhere on the way: once its copies are here it goes on.
                    self.met.push_back(node);
                    break;
                }
            } else if self.walked {
                // Without the writer's copies the image cannot become whole.
                return if writer_left { Progress::Aborted } else { Progress::More };
            } else {
                let met = &mut self.met;
                self.walked =
                    !world.index.visit(&mut self.position, witness, |node| met.push_back(node.to_ref()));
            }
        }
        assert!(self.count <= self.expected, "a znode was imaged twice");
        if self.count < self.expected {
            return Progress::More;
        }
        self.both.queue.end();
        Progress::Done
    }

    fn given(&self) -> Mark {
        self.handed.next()
    }

    /// A copy came: it is given out after its parent.
    fn arrange(&mut self, copied: Copied, witness: Witness<'_>) {
        let parent = copied.node.get(witness).parent;
        let Some(parent) = parent.filter(|parent| self.given().is_ahead_of(parent.get(witness).meta()))
        else {
            return self.ready.push_back(copied);
        };
        self.waiting.entry(parent.address()).or_default().push(copied);
        if self.handed.is_ahead_of(parent.get(witness).meta()) {
            self.met.push_front(parent);
        }
    }

    fn give_copy(&mut self, copied: Copied, witness: Witness<'_>, budget: &mut Budget<'_>) {
        self.both.queue.leave(&copied.image);
        budget.give(copied.image.get());
        self.count += 1;
        self.given().raise(copied.node.get(witness));
        self.release(copied.node);
    }

    /// What waited for this node may follow.
    fn release(&mut self, node: Ref<Node>) {
        if let Some(copies) = self.waiting.remove(&node.address()) {
            self.ready.extend(copies);
        }
    }

    /// Gives out `node` and what must come before it, as far as nobody has. False if it has to be looked at again.
    fn look_at(
        &mut self,
        world: &World,
        node: At<'_, Node>,
        witness: Witness<'_>,
        budget: &mut Budget<'_>,
    ) -> bool {
        self.way.clear();
        let mut top = Some(node);
        while let Some(node) = top.filter(|node| self.handed.is_ahead_of(node.meta())) {
            self.way.push(node.to_ref());
            top = node.parent.map(|parent| parent.get(witness));
        }
        if top.is_some_and(|top| self.given().is_ahead_of(top.meta())) {
            // Below a node whose copy is on its way: these follow it, as copies.
            let mut way = std::mem::take(&mut self.way);
            for node in way.drain(..).rev() {
                self.copy_below(world, node.get(witness), witness);
            }
            self.way = way;
            return true;
        }
        while let Some(node) = self.way.pop() {
            if budget.is_spent() || !self.given().raise_from(self.handed, node.get(witness)) {
                return false;
            }
            let sink = &mut |image: NodeImage<'_>| budget.give(image);
            if image_at(world, node.get(witness), self.at, witness, &mut self.scratch, sink) {
                self.count += 1;
            }
            self.release(node);
        }
        true
    }

    /// Claims a node as the writer would, and copies it.
    fn copy_below(&mut self, world: &World, node: At<'_, Node>, witness: Witness<'_>) {
        if !self.handed.raise(node) {
            return;
        }
        let mut copy = None;
        let sink = &mut |image: NodeImage<'_>| copy = Some(OwnedImage::of(image));
        image_at(world, node, self.at, witness, &mut self.scratch, sink);
        match copy {
            Some(image) => {
                self.both.queue.enter(&image);
                self.arrange(Copied { node: node.to_ref(), image }, witness);
            }
            None => drop(self.given().raise(node)),
        }
    }

    /// Raises every node to the last number, so that the lane can be used again.
    fn sweep(&mut self) {
        if self.count < self.expected {
            (self.position, self.walked) = (Position::default(), false);
        }
        let given = self.given();
        let shared = Arc::clone(&self.shared);
        for node in self.met.drain(..) {
            given.raise(node.get(self.lease.witness()));
        }
        while !self.walked {
            let pinned = shared.root.pin();
            if !std::ptr::eq(pinned.state(), Arc::as_ptr(self.lease.state())) {
                return; // Nobody asks the numbers of a state that was replaced.
            }
            let visit = |node: At<'_, Node>| {
                given.raise(node);
            };
            self.walked = !pinned.state().index.visit(&mut self.position, pinned.witness(), visit);
        }
    }
}

impl Drop for ImageWalker {
    fn drop(&mut self) {
        self.both.queue.end();
        self.sweep();
        self.busy.store(false, Release); // Pairs with the Acquire in `begin_image`.
    }
}
