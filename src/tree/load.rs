#![forbid(unsafe_code)]
//! Filling an empty tree from an image, before anybody reads it: znodes in any order, parents after their children if
//! need be. Lists of children are built at the end, each once, instead of a version for every child.
//!
//! Lives on: whoever recovers, before the sequencer starts; the thread that receives an image.

use super::digest::{self, StoredStat};
use super::marks::Mark;
use super::node::{self, Node};
use super::reader::body_crc;
use super::reclaim::{At, Ref};
use super::record::{Data, Dir, Fields};
use super::snapshot::NodeImage;
use super::writer::{TreeWriter, size, split};
use crate::base::Zxid;

/// Why an image makes no tree.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LoadError {
    /// No absolute path of non-empty names.
    #[error("not a path: {}", .0.escape_ascii())]
    BadPath(Vec<u8>),
    /// The image has children of a znode and not the znode.
    #[error("znode missing: {}", .0.escape_ascii())]
    Missing(Vec<u8>),
    /// The image has a znode twice.
    #[error("znode twice: {}", .0.escape_ascii())]
    Twice(Vec<u8>),
}

/// Retired objects (split segments of the index, 4 KiB each) that are worth a look while loading.
const RECLAIM_AT: usize = 64;

/// A load in progress. What the image does not name of the built-in znodes stays as in an empty database.
pub struct Loader<'w> {
    writer: &'w mut TreeWriter,
    at: Zxid,
    /// Every parent and child in the tree.
    pairs: Vec<(Ref<Node>, Ref<Node>)>,
    /// Siblings often come together.
    last_parent: Option<(Vec<u8>, Ref<Node>)>,
    /// What a znode that came is raised to: that of a snapshot which every one of them is in.
    came: Mark,
}

impl TreeWriter {
    /// Loads an image of zxid `at` into a tree that [`super::new`] made and nobody changed or reads yet.
    pub fn load(&mut self, at: Zxid) -> Loader<'_> {
        debug_assert_eq!(self.applied(), Zxid::ZERO, "an image is loaded into an empty tree");
        let mut pairs = Vec::new();
        let (ground, mut position) = (&self.state.ground, super::index::Position::default());
        let mut visit = |node: At<'_, Node>| pairs.extend(node.parent.map(|parent| (parent, node.to_ref())));
        while ground.world.index.visit(&mut position, ground.witness(), &mut visit) {}
        let came = Mark::snapshot(self.state.ledger.marks).next();
        Loader { writer: self, at, pairs, last_parent: None, came }
    }
}

impl Loader<'_> {
    /// Enters one znode. A path that comes twice counts as it came last.
    pub fn load_node(&mut self, image: &NodeImage<'_>) -> Result<(), LoadError> {
        let path = if image.path == b"/" { b"" } else { image.path };
        let node = self.place(path)?;
        self.enter(path, node, image);
        Ok(())
    }

    /// Enters one znode of an image whose parents come before their children and which has none twice: what somebody else
    /// sent.
    pub fn load_next(&mut self, image: &NodeImage<'_>) -> Result<(), LoadError> {
        let path = if image.path == b"/" { b"" } else { image.path };
        let witness = self.writer.state.ground.witness();
        if let Some((parent, _)) = split(path) {
            let came = match &self.last_parent {
                Some((last, _)) if last == parent => true,
                _ => {
                    let found = self.writer.state.ground.world.find(parent, witness);
                    found.is_some_and(|node| !self.came.is_ahead_of(node.meta()))
                }
            };
            if !came {
                return Err(LoadError::Missing(parent.to_vec()));
            }
        }
        let node = self.place(path)?;
        if !self.came.raise(node.get(self.writer.state.ground.witness())) {
            return Err(LoadError::Twice(image.path.to_vec()));
        }
        self.enter(path, node, image);
        Ok(())
    }

    fn enter(&mut self, path: &[u8], node: Ref<Node>, image: &NodeImage<'_>) {
        let (ground, ledger) = (&self.writer.state.ground, &mut self.writer.state.ledger);
        let witness = ground.witness();
        let node = node.get(witness);
        if let Some(before) = node.head().data.load(witness) {
            let dir = node.head().dir.load(witness);
            if digest::counts(path) {
                let old = digest::stat_digest(body_crc(path, before, dir), &before.stored_stat(dir));
                ledger.add_digest(old.wrapping_neg());
            }
            ground.world.count_out(size(path, before.data()), ground.is_ephemeral(before.owner()));
        }
        let fields = Fields { stat: image.stat, acl: ledger.intern(ground, image.acl) };
        // An image that was fuzzy when it was made may be ahead of its zxid, but no reader may miss a znode for that.
        let zxid = Zxid(image.stat.mzxid).min(self.at);
        ledger.swap_data(ground, node, Data::new(zxid, &fields, image.data, None));
        let plain = image.stat.cversion == 0 && image.stat.pzxid == image.stat.czxid;
        if !plain || node.head().dir.load(witness).is_some() {
            let dir = Dir::new(self.at, image.stat.pzxid, image.stat.cversion, Default::default(), None);
            ledger.swap_dir(ground, node, dir);
        }
        ledger.add_digest(digest::node_digest(path, image.data, &image.stat));
        ground.world.count_in(size(path, image.data), ground.is_ephemeral(image.stat.owner));
        // What growing the index leaves behind must not add up. `pairs` names nodes, which no load retires.
        if ledger.grace.open_len() >= RECLAIM_AT {
            self.writer.reclaim();
        }
    }

    /// The node at `path`, made if it is new. So are parents that have not come yet, without a record.
    fn place(&mut self, path: &[u8]) -> Result<Ref<Node>, LoadError> {
        let mut missing: Vec<&[u8]> = Vec::new();
        let mut rest = path;
        let (ground, ledger) = (&self.writer.state.ground, &mut self.writer.state.ledger);
        let mut node = loop {
            if let Some((last, node)) = &self.last_parent
                && last == rest
                && !missing.is_empty()
            {
                break *node;
            }
            if let Some(node) = ground.world.find(rest, ground.witness()) {
                break node.to_ref();
            }
            missing.push(rest);
            rest = split(rest).ok_or_else(|| LoadError::BadPath(path.to_vec()))?.0;
        };
        while let Some(path) = missing.pop() {
            let (parent_path, name) = split(path).expect("split on the way up");
            if self.last_parent.as_ref().is_none_or(|(last, _)| last != parent_path) {
                self.last_parent = Some((parent_path.to_vec(), node));
            }
            let child = ledger.insert(ground, node.get(ground.witness()), name, path, None);
            self.pairs.push((node, child));
            node = child;
        }
        Ok(node)
    }

    /// Builds the lists of children and publishes the image's zxid. On an error the tree is good for nothing.
    pub fn finish(mut self) -> Result<(), LoadError> {
        let (ground, ledger) = (&self.writer.state.ground, &mut self.writer.state.ledger);
        let witness = ground.witness();
        self.pairs.sort_unstable_by_key(|(parent, _)| parent.address());
        let mut keyed: Vec<(u64, Ref<Node>)> = Vec::new();
        let mut children: Vec<Ref<Node>> = Vec::new();
        for family in self.pairs.chunk_by(|a, b| a.0 == b.0) {
            let parent = family[0].0.get(witness);
            let Some(data) = parent.head().data.load(witness) else {
                let mut path = Vec::new();
                node::path_into(parent, witness, &mut path);
                return Err(LoadError::Missing(path));
            };
            // Names of one family often share a long beginning. Compared by the eight bytes behind it, a million of
            // them are sorted without looking at each other.
            let first = family[0].1.get(witness).bytes();
            let shared = family.iter().fold(first.len(), |shared, (_, child)| {
                let same =
                    child.get(witness).bytes().iter().zip(&first[..shared]).take_while(|(a, b)| a == b);
                same.count()
            });
            keyed.clear();
            keyed
                .extend(family.iter().map(|(_, child)| (key(&child.get(witness).bytes()[shared..]), *child)));
            keyed.sort_unstable_by(|a, b| {
                a.0.cmp(&b.0).then_with(|| a.1.get(witness).bytes().cmp(b.1.get(witness).bytes()))
            });
            children.clear();
            children.extend(keyed.iter().map(|(_, child)| *child));
            let set = super::children::Children::from_sorted(&children);
            let before = parent.head().dir.load(witness);
            let (pzxid, cversion) = before.map_or((data.czxid(), 0), |dir| (dir.pzxid, dir.cversion));
            let zxid = before.map_or(Zxid::ZERO, |_| self.at);
            ledger.swap_dir(ground, parent, Dir::new(zxid, pzxid, cversion, set, None));
        }
        let ledger = &mut self.writer.state.ledger;
        ledger.marks = self.came.put(ledger.marks);
        self.writer.begin_loaded(self.at);
        Ok(())
    }
}

impl TreeWriter {
    fn begin_loaded(&mut self, at: Zxid) {
        if at > Zxid::ZERO {
            self.begin(at);
            self.publish(at);
        }
    }
}

/// The first eight bytes as a number that sorts as they do.
fn key(name: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    for (to, from) in bytes.iter_mut().zip(name) {
        *to = *from;
    }
    u64::from_be_bytes(bytes)
}

const _: () = assert!(size_of::<StoredStat>() == 64);
