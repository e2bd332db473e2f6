#![forbid(unsafe_code)]
//! The children of a znode: a set of nodes in the order of their names, of which every version is immutable.
//!
//! Up to six stand in the record itself. Beyond that they gather in a B-tree of pages shared by versions: a change copies
//! the pages on its way down, never the whole list. The six places in the record go on as a buffer in front of the tree,
//! so that a page is copied for every sixth creation only; a set is the merge of both. At most 60 children a page,
//! about 10 bytes a child.
//!
//! A page is alive while a version names it (a reference count), so whoever clones a set keeps its pages, but not the
//! nodes named there: those need a guard or a lease.
//!
//! Lives on: changed on the sequencer, read on each shard.

use std::cmp::Ordering;
use std::sync::Arc;

use smallvec::SmallVec;

use super::node::Node;
use super::reclaim::{At, Ref, Witness};

type Child = Ref<Node>;

const BUFFER: usize = 6;
/// With the count and the tag a page is 512 bytes behind its reference counts: a size class of the allocator.
const LEAF_MAX: usize = 60;
const INNER_MAX: usize = 30;
/// Below it a page looks for a neighbour to join.
const LEAF_MIN: usize = LEAF_MAX / 4;
const INNER_MIN: usize = INNER_MAX / 4;
/// Pages built by a load are left some room.
const LEAF_LOADED: usize = 54;
const INNER_LOADED: usize = 27;
/// Levels: a new root takes more than 30 half-full pages below it, so eight stand for more children than memory.
const LEVELS: usize = 10;

/// One version of a set.
#[derive(Clone, Default)]
pub(super) struct Children {
    buffer: [Option<Child>; BUFFER],
    count: u32,
    tree: Option<Arc<Page>>,
}

#[derive(Clone)]
enum Page {
    Leaf(SmallVec<[Child; LEAF_MAX]>),
    /// Each page below with its first child.
    Inner(SmallVec<[(Child, Arc<Page>); INNER_MAX]>),
}

const _: () = assert!(size_of::<Page>() <= 512 - 16);

impl Children {
    /// Children.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Builds a set from distinct children sorted by name.
    pub(super) fn from_sorted(children: &[Child]) -> Children {
        let count = u32::try_from(children.len()).expect("fewer children than memory holds");
        let mut set = Children { count, ..Children::default() };
        if children.len() <= BUFFER {
            for (place, child) in set.buffer.iter_mut().zip(children) {
                *place = Some(*child);
            }
            return set;
        }
        let mut level: Vec<(Child, Arc<Page>)> = children
            .chunks(LEAF_LOADED)
            .map(|chunk| (chunk[0], Arc::new(Page::Leaf(SmallVec::from_slice(chunk)))))
            .collect();
        while level.len() > 1 {
            let inner = level.chunks(INNER_LOADED);
            level = inner
                .map(|chunk| (chunk[0].0, Arc::new(Page::Inner(chunk.iter().cloned().collect()))))
                .collect();
        }
        set.tree = level.pop().map(|(_, page)| page);
        set
    }

    /// This set and `child`, which is not in it.
    pub(super) fn with(&self, child: Child, witness: Witness<'_>) -> Children {
        let mut set = self.clone();
        set.count += 1;
        let used = set.buffer.iter().flatten().count();
        let name = child.get(witness).bytes();
        if used < BUFFER {
            let at = set.buffer[..used]
                .partition_point(|other| other.is_some_and(|other| other.get(witness).bytes() < name));
            set.buffer[at..=used].rotate_right(1);
            set.buffer[at] = Some(child);
            return set;
        }
        let tree = set.tree.get_or_insert_with(|| Arc::new(Page::Leaf(SmallVec::new())));
        for child in set.buffer.iter_mut().filter_map(Option::take).chain([child]) {
            if let Some(right) = insert(tree, child, witness) {
                let left = std::mem::replace(tree, Arc::new(Page::Leaf(SmallVec::new())));
                let entries = [(left.first(), left), (right.first(), right)];
                *tree = Arc::new(Page::Inner(SmallVec::from_iter(entries)));
            }
        }
        set
    }

    /// This set without `child`; `None` if it is not in it.
    pub(super) fn without(&self, child: Child, witness: Witness<'_>) -> Option<Children> {
        let mut set = self.clone();
        if let Some(at) = set.buffer.iter().position(|other| *other == Some(child)) {
            set.buffer[at] = None;
            set.buffer[at..].rotate_left(1);
        } else {
            let tree = set.tree.as_mut()?;
            if !remove(tree, child, witness) {
                return None;
            }
            let shrunk = match &**tree {
                Page::Leaf(children) if children.is_empty() => Some(None),
                Page::Inner(entries) if entries.len() == 1 => Some(Some(Arc::clone(&entries[0].1))),
                _ => None,
            };
            if let Some(shrunk) = shrunk {
                set.tree = shrunk;
            }
        }
        set.count -= 1;
        Some(set)
    }

    /// The children by name, from where `cursor` stands.
    pub(super) fn iter<'a>(&'a self, cursor: Cursor, witness: Witness<'a>) -> Iter<'a> {
        Iter { set: self, pages: Pages::seek(self.tree.as_deref(), &cursor), cursor, witness }
    }

    #[cfg(test)]
    fn check(&self, witness: Witness<'_>) {
        let names: Vec<_> = self.iter(Cursor::default(), witness).map(|child| child.bytes()).collect();
        assert!(names.is_sorted() && names.len() == self.count as usize);
        if let Some(tree) = &self.tree {
            tree.check();
        }
    }
}

impl Page {
    fn first(&self) -> Child {
        match self {
            Page::Leaf(children) => children[0],
            Page::Inner(entries) => entries[0].0,
        }
    }

    fn len(&self) -> usize {
        match self {
            Page::Leaf(children) => children.len(),
            Page::Inner(entries) => entries.len(),
        }
    }

    fn is_small(&self) -> bool {
        match self {
            Page::Leaf(children) => children.len() < LEAF_MIN,
            Page::Inner(entries) => entries.len() < INNER_MIN,
        }
    }

    /// Which page below holds `name`, or would.
    fn below(entries: &[(Child, Arc<Page>)], name: &[u8], witness: Witness<'_>) -> usize {
        entries.partition_point(|(first, _)| first.get(witness).bytes() <= name).saturating_sub(1)
    }

    #[cfg(test)]
    fn check(&self) -> usize {
        match self {
            Page::Leaf(children) => {
                assert!(!children.is_empty() && children.len() <= LEAF_MAX && !children.spilled());
                1
            }
            Page::Inner(entries) => {
                assert!(entries.len() <= INNER_MAX && !entries.spilled());
                assert!(entries.iter().all(|(first, page)| *first == page.first()));
                let levels: Vec<usize> = entries.iter().map(|(_, page)| page.check()).collect();
                assert!(levels.iter().all(|level| *level == levels[0]));
                levels[0] + 1
            }
        }
    }
}

/// Adds `child` below `page`. A full page is split, and the right half is given back for the level above. A page that
/// no other version names is changed in place.
fn insert(page: &mut Arc<Page>, child: Child, witness: Witness<'_>) -> Option<Arc<Page>> {
    let name = child.get(witness).bytes();
    match Arc::make_mut(page) {
        Page::Leaf(children) => {
            let at = children.partition_point(|other| other.get(witness).bytes() < name);
            if children.len() < LEAF_MAX {
                children.insert(at, child);
                return None;
            }
            let mut right = split_off(children, at);
            if at > children.len() || children.len() == LEAF_MAX {
                right.insert(at - children.len(), child);
            } else {
                children.insert(at, child);
            }
            Some(Arc::new(Page::Leaf(right)))
        }
        Page::Inner(entries) => {
            let at = Page::below(entries, name, witness);
            let split = insert(&mut entries[at].1, child, witness);
            entries[at].0 = entries[at].1.first();
            let right = split?;
            let (at, entry) = (at + 1, (right.first(), right));
            if entries.len() < INNER_MAX {
                entries.insert(at, entry);
                return None;
            }
            let mut right = split_off(entries, at);
            if at > entries.len() || entries.len() == INNER_MAX {
                right.insert(at - entries.len(), entry);
            } else {
                entries.insert(at, entry);
            }
            Some(Arc::new(Page::Inner(right)))
        }
    }
}

/// Splits a full page for an insertion at `at`: in half, but at the very end when the insertion is there, so that names
/// that come in order (sequential nodes) leave full pages behind.
fn split_off<A: smallvec::Array>(full: &mut SmallVec<A>, at: usize) -> SmallVec<A> {
    let middle = if at == full.len() { full.len() } else { full.len() / 2 };
    full.drain(middle..).collect()
}

/// Takes `child` out from below `page`; whether it was there. May leave `page` small or empty, for the level above to
/// repair.
fn remove(page: &mut Arc<Page>, child: Child, witness: Witness<'_>) -> bool {
    let name = child.get(witness).bytes();
    // Looked up before anything is copied.
    let at = match &**page {
        Page::Leaf(children) => children.iter().position(|other| *other == child),
        Page::Inner(entries) => Some(Page::below(entries, name, witness)),
    };
    let Some(at) = at else { return false };
    match Arc::make_mut(page) {
        Page::Leaf(children) => drop(children.remove(at)),
        Page::Inner(entries) => {
            if !remove(&mut entries[at].1, child, witness) {
                return false;
            }
            if entries[at].1.len() == 0 {
                entries.remove(at);
                return true;
            }
            entries[at].0 = entries[at].1.first();
            if entries[at].1.is_small() && entries.len() > 1 {
                join(entries, at.min(entries.len() - 2));
            }
        }
    }
    true
}

/// Joins the pages at `at` and behind it if they fit in one with room to spare.
fn join(entries: &mut SmallVec<[(Child, Arc<Page>); INNER_MAX]>, at: usize) {
    let right = Arc::clone(&entries[at + 1].1);
    let joined = match (Arc::make_mut(&mut entries[at].1), &*right) {
        (Page::Leaf(left), Page::Leaf(right)) if left.len() + right.len() <= LEAF_MAX * 3 / 4 => {
            left.extend_from_slice(right);
            true
        }
        (Page::Inner(left), Page::Inner(right)) if left.len() + right.len() <= INNER_MAX * 3 / 4 => {
            left.extend(right.iter().cloned());
            true
        }
        _ => false,
    };
    if joined {
        entries.remove(at + 1);
    }
}

/// How far an iteration has come: good for the same version only.
#[derive(Clone, Copy, Default)]
pub(super) struct Cursor {
    buffer: u8,
    /// The place on each level, the root's first.
    tree: [u8; LEVELS],
    ended: bool,
}

/// Allocates nothing: the way down stands in an array.
#[derive(Clone)]
pub(super) struct Iter<'a> {
    set: &'a Children,
    pages: Pages<'a>,
    cursor: Cursor,
    witness: Witness<'a>,
}

#[derive(Clone)]
struct Pages<'a> {
    way: [Option<&'a Page>; LEVELS],
    depth: usize,
}

impl<'a> Pages<'a> {
    fn seek(root: Option<&'a Page>, cursor: &Cursor) -> Pages<'a> {
        let mut pages = Pages { way: [None; LEVELS], depth: 0 };
        pages.descend(root, cursor);
        pages
    }

    fn descend(&mut self, mut page: Option<&'a Page>, cursor: &Cursor) {
        while let Some(here) = page {
            assert!(self.depth < LEVELS, "a B-tree of {LEVELS} levels holds more than memory");
            self.way[self.depth] = page;
            page = match here {
                Page::Leaf(_) => None,
                Page::Inner(entries) => {
                    entries.get(usize::from(cursor.tree[self.depth])).map(|(_, page)| &**page)
                }
            };
            self.depth += 1;
        }
    }

    fn current(&self, cursor: &Cursor) -> Option<Child> {
        let level = self.depth.checked_sub(1)?;
        match self.way[level]? {
            Page::Leaf(children) => children.get(usize::from(cursor.tree[level])).copied(),
            Page::Inner(_) => None,
        }
    }

    fn step(&mut self, cursor: &mut Cursor) {
        while let Some(level) = self.depth.checked_sub(1) {
            cursor.tree[level] += 1;
            let Some(page) = self.way[level] else { break };
            if usize::from(cursor.tree[level]) < page.len() {
                if let Page::Inner(entries) = page {
                    let below = &entries[usize::from(cursor.tree[level])].1;
                    self.descend(Some(below), cursor);
                }
                return;
            }
            cursor.tree[level] = 0;
            self.depth = level;
        }
        cursor.ended = true;
    }
}

impl Iter<'_> {
    /// Where the iteration stands, to go on from later.
    pub(super) fn cursor(&self) -> Cursor {
        self.cursor
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = At<'a, Node>;

    fn next(&mut self) -> Option<At<'a, Node>> {
        let buffered = self.set.buffer.get(usize::from(self.cursor.buffer)).copied().flatten();
        let paged = if self.cursor.ended { None } else { self.pages.current(&self.cursor) };
        let (buffered, paged) =
            (buffered.map(|child| child.get(self.witness)), paged.map(|child| child.get(self.witness)));
        let from_buffer = match (buffered, paged) {
            (None, None) => return None,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(buffered), Some(paged)) => buffered.bytes().cmp(paged.bytes()) == Ordering::Less,
        };
        if from_buffer {
            self.cursor.buffer += 1;
            buffered
        } else {
            self.pages.step(&mut self.cursor);
            paged
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tree::reclaim::{Owned, Token};

    fn nodes(count: usize) -> Vec<Owned<Node>> {
        let mut names: Vec<String> = (0..count).map(|n| format!("{:05}", n * 7919 % 100_003)).collect();
        names.sort();
        names.iter().map(|name| Node::new(None, name.as_bytes(), None, 0)).collect()
    }

    fn read(set: &Children, token: &Token) -> Vec<Vec<u8>> {
        set.iter(Cursor::default(), token.witness()).map(|node| node.bytes().to_vec()).collect()
    }

    #[test]
    fn sorted_names_fill_their_pages() {
        let (nodes, token) = (nodes(50_000), Token::new());
        let children: Vec<Child> = nodes.iter().map(|node| node.at().to_ref()).collect();
        let mut set = Children::default();
        for child in &children {
            set = set.with(*child, token.witness());
        }
        set.check(token.witness());
        let pages = |set: &Children| {
            let mut stack = vec![Arc::clone(set.tree.as_ref().unwrap())];
            let mut pages = 0;
            while let Some(page) = stack.pop() {
                pages += 1;
                if let Page::Inner(entries) = &*page {
                    stack.extend(entries.iter().map(|(_, page)| Arc::clone(page)));
                }
            }
            pages
        };
        // 512 bytes a page: below 10 bytes a child.
        assert!(pages(&set) * 512 < 50_000 * 10, "{} pages", pages(&set));
        let loaded = Children::from_sorted(&children);
        loaded.check(token.witness());
        assert!(pages(&loaded) * 512 < 50_000 * 10, "{} pages", pages(&loaded));
        assert_eq!(read(&set, &token), read(&loaded, &token));
    }

    #[test]
    fn an_emptied_set_gives_its_pages_back() {
        let (nodes, token) = (nodes(5000), Token::new());
        let children: Vec<Child> = nodes.iter().map(|node| node.at().to_ref()).collect();
        let mut set = Children::from_sorted(&children);
        for (step, at) in (0..5000).map(|n| n * 1237 % 5000).enumerate() {
            set = set.without(children[at], token.witness()).unwrap();
            assert!(set.without(children[at], token.witness()).is_none());
            if step % 100 == 0 {
                set.check(token.witness());
            }
        }
        assert_eq!(set.count(), 0);
        assert!(set.tree.is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

        /// Creations and deletions in random order, versions kept, and a cursor that stops anywhere.
        #[test]
        fn versions_of_a_set_do_not_disturb_each_other(
            loaded in 0usize..700,
            steps in prop::collection::vec(0usize..700, 0..900),
            stop in 0usize..700,
        ) {
            let (nodes, token) = (nodes(700), Token::new());
            let witness = token.witness();
            let children: Vec<Child> = nodes.iter().map(|node| node.at().to_ref()).collect();
            let mut set = Children::from_sorted(&children[..loaded]);
            let mut model: std::collections::BTreeSet<usize> = (0..loaded).collect();
            let mut kept = vec![];
            for (step, at) in steps.into_iter().enumerate() {
                set = if model.remove(&at) {
                    set.without(children[at], witness).unwrap()
                } else {
                    model.insert(at);
                    set.with(children[at], witness)
                };
                if step % 100 == 0 {
                    kept.push((set.clone(), model.clone()));
                }
            }
            kept.push((set, model));
            for (set, model) in &kept {
                set.check(witness);
                let expected: Vec<Vec<u8>> = model.iter().map(|at| nodes[*at].at().bytes().to_vec()).collect();
                prop_assert_eq!(&read(set, &token), &expected);
                let mut iter = set.iter(Cursor::default(), witness);
                let mut names: Vec<Vec<u8>> = iter.by_ref().take(stop).map(|node| node.bytes().to_vec()).collect();
                names.extend(set.iter(iter.cursor(), witness).map(|node| node.bytes().to_vec()));
                prop_assert_eq!(&names, &expected);
            }
        }
    }
}
