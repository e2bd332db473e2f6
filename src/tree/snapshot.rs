#![forbid(unsafe_code)]
//! The exact image of a tree at one zxid Z, taken while writes go on.
//!
//! The walker goes through the index by hash prefix, a slice at a time, on a thread of its own; the writer goes on
//! changing znodes, whose versions at Z it would retire before the walker comes by. Each node carries the number of the
//! last snapshot that has it, and **whoever is first to raise it to the new number images the node**:
//!
//! - the walker, on meeting the node: it then reads the version ≤ Z. It was pinned before; had the writer
//!   replaced that version before, the writer would have raised the number first; hence the version is retired after the pin and
//!   lives until the slice ends.
//! - the writer, before its first change of the node: the current version is the one at Z, and a copy of it goes into
//!   a queue to the walker, which gives it out with the next slice.
//!
//! Znodes made after Z are born with the number. So each znode of Z comes exactly once, however segments are split and
//! nodes removed meanwhile; the walk is over when as many came as the tree had at Z.
//!
//! A walker that a later snapshot overtook finds higher numbers, leaves them alone, and ends as aborted.
//!
//! Memory: copies of the znodes changed since Z and not walked yet, at most the tree once; [`SnapshotWalker::queued`].
//!
//! Lives on: [`Feed`] on the sequencer, [`SnapshotWalker`] on the disk shard.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};

use super::digest::StoredStat;
use super::index::Position;
use super::marks::Mark;
use super::node::{self, Node};
use super::reader::{Progress, Shared};
use super::reclaim::{At, Witness};
use super::world::World;
use crate::base::Zxid;
use crate::wire::Acl;

/// A znode as a snapshot has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeImage<'a> {
    /// `/` for the root.
    pub path: &'a [u8],
    /// Null differs from empty.
    pub data: Option<&'a [u8]>,
    /// By value: numbers of lists are local.
    pub acl: &'a [Acl],
    /// As stored.
    pub stat: StoredStat,
}

/// A copy of one.
pub(super) struct OwnedImage {
    path: Box<[u8]>,
    data: Option<Box<[u8]>>,
    acl: Box<[Acl]>,
    stat: StoredStat,
}

impl OwnedImage {
    /// Of a live node as the writer has it now.
    pub(super) fn now(
        world: &World,
        node: At<'_, Node>,
        path: &[u8],
        witness: Witness<'_>,
    ) -> Option<OwnedImage> {
        let data = node.head().data.load(witness).filter(|data| !data.is_dead())?;
        Some(OwnedImage {
            path: if path.is_empty() { b"/"[..].into() } else { path.into() },
            data: data.data().map(Box::from),
            acl: world.lists.get(data.acl(), witness).into(),
            stat: data.stored_stat(node.head().dir.load(witness)),
        })
    }

    /// Copies.
    pub(super) fn of(image: NodeImage<'_>) -> OwnedImage {
        OwnedImage {
            path: image.path.into(),
            data: image.data.map(Box::from),
            acl: image.acl.into(),
            stat: image.stat,
        }
    }

    /// What was copied.
    pub(super) fn get(&self) -> NodeImage<'_> {
        NodeImage { path: &self.path, data: self.data.as_deref(), acl: &self.acl, stat: self.stat }
    }

    /// About what it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        size_of::<OwnedImage>() + self.path.len() + self.data.as_ref().map_or(0, |data| data.len())
    }
}

/// Gives a node as it was at `at` to `sink`; false if it was not alive. The caller was pinned when it claimed the node.
pub(super) fn image_at(
    world: &World,
    node: At<'_, Node>,
    at: Zxid,
    witness: Witness<'_>,
    scratch: &mut Vec<u8>,
    sink: &mut dyn FnMut(NodeImage<'_>),
) -> bool {
    let Some(data) = node.head().data.load_at(witness, at).filter(|data| !data.is_dead()) else {
        return false;
    };
    node::path_into(node, witness, scratch);
    sink(NodeImage {
        path: scratch,
        data: data.data(),
        acl: world.lists.get(data.acl(), witness),
        stat: data.stored_stat(node.head().dir.load_at(witness, at)),
    });
    true
}

/// Copies on their way from the writer to a walker.
#[derive(Default)]
pub(super) struct Queue {
    images: AtomicUsize,
    bytes: AtomicUsize,
    /// The walker needs nothing more.
    over: AtomicBool,
}

impl Queue {
    /// One more; how many bytes there are now. Relaxed, here and below: sums for a report; the channel orders the images
    /// themselves.
    pub(super) fn enter(&self, image: &OwnedImage) -> usize {
        self.images.fetch_add(1, Relaxed);
        self.bytes.fetch_add(image.bytes(), Relaxed) + image.bytes()
    }

    /// One less.
    pub(super) fn leave(&self, image: &OwnedImage) {
        self.images.fetch_sub(1, Relaxed);
        self.bytes.fetch_sub(image.bytes(), Relaxed);
    }

    /// How many, and their bytes.
    pub(super) fn len(&self) -> (usize, usize) {
        (self.images.load(Relaxed), self.bytes.load(Relaxed))
    }

    /// Whether the walker needs nothing more. Relaxed: a late look costs one needless copy.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Relaxed)
    }

    /// It needs nothing more.
    pub(super) fn end(&self) {
        self.over.store(true, Relaxed); // The writer may look late.
    }
}

/// The writer's end.
pub(super) struct Feed {
    mark: Mark,
    images: Sender<OwnedImage>,
    queue: Arc<Queue>,
}

/// The walker's end.
pub struct SnapshotWalker {
    shared: Arc<Shared>,
    world: Arc<World>,
    at: Zxid,
    digest: i64,
    mark: Mark,
    position: Position,
    walked: bool,
    given: u64,
    expected: u64,
    images: Receiver<OwnedImage>,
    queue: Arc<Queue>,
    scratch: Vec<u8>,
}

/// Both ends, for an image of `world` as it is.
pub(super) fn begin(
    shared: Arc<Shared>,
    world: Arc<World>,
    mark: Mark,
    digest: i64,
) -> (Feed, SnapshotWalker) {
    let (sender, receiver) = channel();
    let queue = Arc::new(Queue::default());
    let feed = Feed { mark, images: sender, queue: Arc::clone(&queue) };
    let (at, expected) = (world.applied(), world.znodes());
    let walker = SnapshotWalker {
        shared,
        world,
        at,
        digest,
        mark,
        position: Position::default(),
        walked: false,
        given: 0,
        expected,
        images: receiver,
        queue,
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
        if self.queue.is_over() {
            return false;
        }
        if !self.mark.raise(node) {
            return true;
        }
        let Some(image) = OwnedImage::now(world, node, path, witness) else { return true };
        self.queue.enter(&image);
        self.images.send(image).is_ok()
    }
}

impl SnapshotWalker {
    /// The zxid of the image.
    pub fn at(&self) -> Zxid {
        self.at
    }

    /// Digest of the tree at that zxid, to be stored with the image.
    pub fn digest(&self) -> i64 {
        self.digest
    }

    /// Znodes of the image, each once.
    pub fn znodes(&self) -> u64 {
        self.expected
    }

    /// Copies handed over and not given out yet: how many, and their bytes.
    pub fn queued(&self) -> (usize, usize) {
        self.queue.len()
    }

    /// Gives about `max` further znodes to `sink`, in no order: a parent may come after its children. `More` with none
    /// given is possible, while the writer is about to hand one over. Pins only inside the call.
    pub fn next_slice(&mut self, max: usize, sink: &mut dyn FnMut(NodeImage<'_>)) -> Progress {
        let mut left = max.max(1);
        let mut writer_left = false;
        while left > 0 {
            match self.images.try_recv() {
                Ok(image) => {
                    self.queue.leave(&image);
                    left -= 1;
                    self.given += 1;
                    sink(image.get());
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    writer_left = true;
                    break;
                }
            }
        }
        if left > 0 && !self.walked && !self.walk(left, sink) {
            return Progress::Aborted;
        }
        assert!(self.given <= self.expected, "a znode was imaged twice");
        if self.given == self.expected {
            // From here on every node has the number: the writer has nothing to hand over.
            self.queue.end();
            return Progress::Done;
        }
        // Without the writer's copies the image cannot become whole.
        if writer_left { Progress::Aborted } else { Progress::More }
    }

    /// Visits segments until `left` znodes were given. False if the state was replaced.
    fn walk(&mut self, left: usize, sink: &mut dyn FnMut(NodeImage<'_>)) -> bool {
        let pinned = self.shared.root.pin();
        if !std::ptr::eq(pinned.state(), Arc::as_ptr(&self.world)) {
            return false;
        }
        let (world, witness) = (pinned.state(), pinned.witness());
        let mut given = 0;
        while !self.walked && given < left {
            let more = world.index.visit(&mut self.position, witness, |node| {
                if self.mark.raise(node) && image_at(world, node, self.at, witness, &mut self.scratch, sink) {
                    given += 1;
                }
            });
            self.walked = !more;
        }
        self.given += given as u64;
        true
    }
}

impl Drop for SnapshotWalker {
    fn drop(&mut self) {
        self.queue.end();
    }
}
