//! From the hash of a path to its node: one writer, any number of readers, no lock and no waiting.
//!
//! ```text
//! hash   63      56 55                          24 23       0
//!        [ branch ][         fragment            ][ unused  ]
//!                   [ prefix: which segment ]...[home bucket: 6 bits]
//! ```
//!
//! 256 branches, each an extendible hash table: a directory of 2^depth pointers to segments of 64 buckets, a bucket one
//! cache line of five entries. An entry is a thin pointer and the 32-bit fragment of its hash, so that a probe touches
//! one line and a split needs no path. Whether a found node is the one wanted, the caller's closure decides by the
//! node's names (the fragment only makes a miss rare).
//!
//! Growth copies one segment (4 KiB, at most 240 entries) into two, and now and then one directory: at 100 million
//! entries that is 16 KiB. Both take a few microseconds, whatever the size; there is no rehash of everything. At an
//! average load of 52 % an entry takes 25 bytes.
//!
//! # What a reader may see
//!
//! Entries never move inside a segment, and a segment that was split stays as it was for those who are in it; it is
//! retired. So a guarded reader finds every entry that was there when it entered and was not removed, and may or may
//! not find later ones: which ones count, the versions behind them say. A removed entry leaves a tombstone if its
//! bucket was ever full, since others may have been put behind it; else an empty place.
//!
//! The index owns its entries: dropped, it frees them.
//!
//! Lives on: changed on the sequencer, read on each shard. Knows nothing of znodes, hashes no iteration order into
//! anything that is kept (the walk goes by hash prefix, which differs from start to start).

use std::ptr::NonNull;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicPtr, AtomicU32};

use super::reclaim::{At, Grace, Object, Ref, Retired, Token, Witness};
use crate::base::splitmix64;

const BRANCHES: usize = 256;
const BUCKETS: usize = 64;
const BUCKET_ENTRIES: usize = 5;
const SEGMENT_ENTRIES: usize = BUCKETS * BUCKET_ENTRIES;

/// Entries, tombstones included, at which a segment is split or cleaned: 75 %. Above it, probes for absent paths grow
/// quickly; some places must stay empty, for they end the probes.
const SEGMENT_FULL: u32 = 240;

/// Live entries below which a full segment is cleaned rather than split.
const SEGMENT_SPARSE: u32 = 160;

/// Prefix bits at most; the home bucket takes the low 6 of the 32. 2^24 segments a branch are 10^12 znodes.
const DEPTH_MAX: u32 = 24;

const _: () = assert!(size_of::<Bucket>() == 64);
const _: () = assert!(SEGMENT_FULL < SEGMENT_ENTRIES as u32);

/// Hashes paths. The seed keeps clients from choosing names that collide.
#[derive(Clone)]
pub(super) struct PathHasher(ahash::RandomState);

impl PathHasher {
    /// Four words of the fixed generator SplitMix64, so that one number is the whole seed.
    pub(super) fn new(seed: u64) -> PathHasher {
        let mut state = seed;
        let mut word = || splitmix64(&mut state);
        PathHasher(ahash::RandomState::with_seeds(word(), word(), word(), word()))
    }

    /// The hash of a path.
    pub(super) fn hash(&self, path: &[u8]) -> u64 {
        self.0.hash_one(path)
    }

    /// A hasher for the writer's own tables, which are looked up and never iterated.
    pub(super) fn state(&self) -> ahash::RandomState {
        self.0.clone()
    }
}

#[repr(C, align(64))]
struct Bucket {
    entries: [AtomicPtr<()>; BUCKET_ENTRIES],
    fragments: [AtomicU32; BUCKET_ENTRIES],
    /// Of the first three buckets: live entries, used places, depth of the segment. Only the writer uses them, but
    /// for the depth, which never changes after publication.
    count: AtomicU32,
}

struct Segment([Bucket; BUCKETS]);

/// Where an entry was removed and probes must go on. Address 1 is never that of an object, which is aligned to 8.
const TOMBSTONE: *mut () = std::ptr::without_provenance_mut(1);

impl Segment {
    fn new(depth: u32) -> Box<Segment> {
        // In place: a segment built on the stack would be copied.
        let buckets: Box<[Bucket]> = (0..BUCKETS).map(|_| Bucket::empty()).collect();
        let raw = Box::into_raw(buckets).cast::<Segment>();
        // SAFETY: a boxed slice of BUCKETS buckets has the layout of the array `Segment` wraps.
        let segment = unsafe { Box::from_raw(raw) };
        segment.depth_cell().store(depth, Relaxed); // Not yet published.
        segment
    }

    fn live(&self) -> &AtomicU32 {
        &self.0[0].count
    }

    fn used(&self) -> &AtomicU32 {
        &self.0[1].count
    }

    fn depth_cell(&self) -> &AtomicU32 {
        &self.0[2].count
    }

    fn depth(&self) -> u32 {
        self.depth_cell().load(Relaxed) // Written before publication, never after.
    }

    /// Puts an entry into the first free place from its home on. The writer's; there is a free place.
    fn put(&self, fragment: u32, pointer: *mut ()) {
        let home = home(fragment);
        for step in 0..BUCKETS {
            let bucket = &self.0[(home + step) % BUCKETS];
            for (entry, stored) in bucket.entries.iter().zip(&bucket.fragments) {
                let old = entry.load(Relaxed); // Only the writer stores.
                if old.is_null() || old == TOMBSTONE {
                    // Relaxed: published by the entry. A reader that sees a fragment too new or too old either takes
                    // a tombstone for what it is or compares the path and finds it different.
                    stored.store(fragment, Relaxed);
                    // Release pairs with the Acquire in `find` and `visit`.
                    entry.store(pointer, Release);
                    self.live().store(self.live().load(Relaxed) + 1, Relaxed);
                    if old.is_null() {
                        self.used().store(self.used().load(Relaxed) + 1, Relaxed);
                    }
                    return;
                }
            }
        }
        unreachable!("a segment is split at {SEGMENT_FULL} of {SEGMENT_ENTRIES} places");
    }

    fn find<R>(
        &self,
        fragment: u32,
        mut accept: impl FnMut(NonNull<()>, &AtomicPtr<()>) -> Option<R>,
    ) -> Option<R> {
        let home = home(fragment);
        for step in 0..BUCKETS {
            let bucket = &self.0[(home + step) % BUCKETS];
            for (entry, stored) in bucket.entries.iter().zip(&bucket.fragments) {
                // Acquire pairs with the Release in `put`: the fragment before it, and the object behind it.
                let pointer = entry.load(Acquire);
                // An empty place ends the probe.
                let pointer = NonNull::new(pointer)?;
                if stored.load(Relaxed) == fragment
                    && pointer.as_ptr() != TOMBSTONE
                    && let Some(found) = accept(pointer, entry)
                {
                    return Some(found);
                }
            }
        }
        None
    }

    fn entries(&self) -> impl Iterator<Item = (u32, NonNull<()>)> + '_ {
        self.0.iter().flat_map(|bucket| bucket.entries.iter().zip(&bucket.fragments)).filter_map(
            |(entry, stored)| {
                let pointer = NonNull::new(entry.load(Acquire))?; // Pairs with the Release in `put`.
                (pointer.as_ptr() != TOMBSTONE).then(|| (stored.load(Relaxed), pointer))
            },
        )
    }
}

impl Bucket {
    fn empty() -> Bucket {
        Bucket {
            entries: std::array::from_fn(|_| AtomicPtr::new(std::ptr::null_mut())),
            fragments: std::array::from_fn(|_| AtomicU32::new(0)),
            count: AtomicU32::new(0),
        }
    }
}

struct Directory {
    depth: u32,
    segments: Box<[AtomicPtr<Segment>]>,
}

impl Directory {
    fn slot(&self, fragment: u32) -> &AtomicPtr<Segment> {
        &self.segments[prefix(fragment, self.depth)]
    }

    fn segment(&self, fragment: u32) -> &Segment {
        // SAFETY: a directory never holds null; segments are retired after every directory that readers entering later
        // could use stopped naming them, and freed with the index.
        unsafe { &*self.slot(fragment).load(Acquire) } // Pairs with the Release in `replace`.
    }

    fn bytes(&self) -> usize {
        size_of::<Directory>() + size_of_val(&*self.segments)
    }
}

fn prefix(fragment: u32, depth: u32) -> usize {
    (u64::from(fragment) >> (32 - depth)) as usize
}

fn home(fragment: u32) -> usize {
    fragment as usize % BUCKETS
}

fn branch_of(hash: u64) -> usize {
    (hash >> 56) as usize
}

fn fragment_of(hash: u64) -> u32 {
    (hash >> 24) as u32
}

/// The table. `H` is the fixed part of the objects it owns.
pub(super) struct Index<H: Object> {
    branches: Box<[AtomicPtr<Directory>]>,
    entries: std::marker::PhantomData<H>,
}

/// How far a walk by hash prefix has come. Holds no pointer: it stays good while the index changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Position {
    branch: usize,
    /// Fragments below it are behind; 2^32 when the branch is done.
    fragment: u64,
}

impl<H: Object> Index<H> {
    /// An empty table of 2 KiB.
    pub(super) fn new() -> Index<H> {
        let branches = (0..BRANCHES).map(|_| AtomicPtr::new(std::ptr::null_mut())).collect();
        Index { branches, entries: std::marker::PhantomData }
    }

    fn directory(&self, branch: usize) -> Option<&Directory> {
        // SAFETY: the reader's guard was pinned before, and a directory is retired only after the branch points to the
        // next one; the writer itself frees nothing while it borrows the index (the token's `&mut`).
        unsafe { self.branches[branch].load(Acquire).as_ref() } // Pairs with the Release in `insert`.
    }

    /// The entry with this hash that `matches`.
    pub(super) fn find<'a>(
        &'a self,
        hash: u64,
        witness: Witness<'a>,
        mut matches: impl FnMut(At<'a, H>) -> bool,
    ) -> Option<At<'a, H>> {
        let fragment = fragment_of(hash);
        self.directory(branch_of(hash))?.segment(fragment).find(fragment, |pointer, _| {
            // SAFETY: entries were made by `insert` from a `Ref<H>`.
            let object = unsafe { Ref::<H>::from_pointer(pointer) }.get(witness);
            matches(object).then_some(object)
        })
    }

    /// Adds an object, which the index owns from now on. It is not in yet.
    pub(super) fn insert<N>(&self, _: &Token, grace: &mut Grace<N>, hash: u64, object: Ref<H>) {
        let (branch, fragment) = (branch_of(hash), fragment_of(hash));
        if self.directory(branch).is_none() {
            let segment = AtomicPtr::new(Box::into_raw(Segment::new(0)));
            let directory = Box::new(Directory { depth: 0, segments: Box::new([segment]) });
            // Release pairs with the Acquire in `directory`.
            self.branches[branch].store(Box::into_raw(directory), Release);
        }
        loop {
            let directory = self.directory(branch).expect("just put there");
            let segment = directory.segment(fragment);
            if segment.used().load(Relaxed) < SEGMENT_FULL {
                return segment.put(fragment, object.into_pointer());
            }
            self.grow(grace, branch, fragment);
        }
    }

    /// Takes an object out. Gives it back to be retired, or nothing if it is not in.
    pub(super) fn remove(&self, _: &Token, hash: u64, object: Ref<H>) -> Option<Retired<H>> {
        let fragment = fragment_of(hash);
        let segment = self.directory(branch_of(hash))?.segment(fragment);
        let entry = segment.find(fragment, |pointer, entry| {
            (pointer.as_ptr() == object.into_pointer()).then_some(std::ptr::from_ref(entry))
        })?;
        segment.live().store(segment.live().load(Relaxed) - 1, Relaxed);
        let bucket = segment
            .0
            .iter()
            .find(|bucket| bucket.entries.as_ptr_range().contains(&entry))
            .expect("the entry was found in this segment");
        let place =
            bucket.entries.iter().find(|place| std::ptr::from_ref(*place) == entry).expect("as above");
        // A bucket with an empty place was never full: nothing was put behind it, and the place may be empty again.
        // But places fill from the front and probes stop at the first empty one, so only the last used one may.
        let next = bucket.entries.iter().skip_while(|other| !std::ptr::eq(*other, place)).nth(1);
        let last = next.is_some_and(|next| next.load(Relaxed).is_null());
        if last {
            segment.used().store(segment.used().load(Relaxed) - 1, Relaxed);
        }
        // Relaxed: a reader may still find the object, which lives until its guard is gone.
        place.store(if last { std::ptr::null_mut() } else { TOMBSTONE }, Relaxed);
        // SAFETY: the entry was the way to it; that no link leads there, the caller's two-step deletion says.
        Some(unsafe { Retired::from_ref(object) })
    }

    /// Splits or cleans the full segment of `fragment`.
    fn grow<N>(&self, grace: &mut Grace<N>, branch: usize, fragment: u32) {
        let directory = self.directory(branch).expect("it has a full segment");
        // Relaxed: only this thread stores. The pointer itself is kept, since a box is freed through it.
        let retiring = directory.slot(fragment).load(Relaxed);
        let old = directory.segment(fragment);
        let depth = old.depth();
        if old.live().load(Relaxed) < SEGMENT_SPARSE {
            let clean = Segment::new(depth);
            for (fragment, pointer) in old.entries() {
                clean.put(fragment, pointer.as_ptr());
            }
            let clean = Box::into_raw(clean);
            return self.replace(grace, directory, fragment, retiring, [clean, clean]);
        }
        assert!(depth < DEPTH_MAX, "more than {SEGMENT_FULL} paths share 32 bits of a seeded hash");
        let halves = [Segment::new(depth + 1), Segment::new(depth + 1)];
        for (fragment, pointer) in old.entries() {
            halves[prefix(fragment, depth + 1) & 1].put(fragment, pointer.as_ptr());
        }
        let halves = halves.map(Box::into_raw);
        if depth < directory.depth {
            return self.replace(grace, directory, fragment, retiring, halves);
        }
        // Relaxed: only this thread stores.
        let doubled = directory.segments.iter().flat_map(|slot| {
            let segment = slot.load(Relaxed);
            [AtomicPtr::new(segment), AtomicPtr::new(segment)]
        });
        let doubled = Box::new(Directory { depth: depth + 1, segments: doubled.collect() });
        let at = prefix(fragment, depth) * 2;
        doubled.segments[at].store(halves[0], Relaxed); // Published by the next line.
        doubled.segments[at + 1].store(halves[1], Relaxed);
        // Release pairs with the Acquire in `directory`.
        let before = self.branches[branch].swap(Box::into_raw(doubled), Release);
        let bytes = directory.bytes();
        // SAFETY: both came from `Box::into_raw`. The branch points to the new directory, which does not name the old
        // segment; the old directory does, but who enters from now on does not find it.
        unsafe {
            grace.retire_box(NonNull::new_unchecked(before), bytes);
            grace.retire_box(NonNull::new_unchecked(retiring), size_of::<Segment>());
        }
    }

    /// Names `new` in each place of `directory` that names `old`, by halves, and retires `old`.
    fn replace<N>(
        &self,
        grace: &mut Grace<N>,
        directory: &Directory,
        fragment: u32,
        old: *mut Segment,
        new: [*mut Segment; 2],
    ) {
        let span = 1 << (directory.depth - directory.segment(fragment).depth());
        let first = prefix(fragment, directory.depth) & !(span - 1);
        for place in 0..span {
            // Release pairs with the Acquire in `segment`.
            directory.segments[first + place].store(new[usize::from(place >= span.div_ceil(2))], Release);
        }
        // SAFETY: it came from `Box::into_raw`, and no place of the present directory names it any more.
        unsafe { grace.retire_box(NonNull::new_unchecked(old), size_of::<Segment>()) }
    }

    /// Visits the next segment of a walk: at most 320 objects. Returns whether there may be more. A walk from the
    /// default position to the end, under a guard for each call, visits every object that was in all the time, some of
    /// them twice if their segment is split meanwhile.
    pub(super) fn visit<'a>(
        &'a self,
        position: &mut Position,
        witness: Witness<'a>,
        mut visit: impl FnMut(At<'a, H>),
    ) -> bool {
        while position.branch < BRANCHES {
            if let (Some(directory), true) =
                (self.directory(position.branch), position.fragment <= u64::from(u32::MAX))
            {
                let segment = directory.segment(position.fragment as u32);
                let span_bits = 32 - segment.depth();
                position.fragment = ((position.fragment >> span_bits) + 1) << span_bits;
                for (_, pointer) in segment.entries() {
                    // SAFETY: entries were made by `insert` from a `Ref<H>`.
                    visit(unsafe { Ref::<H>::from_pointer(pointer) }.get(witness));
                }
                return true;
            }
            *position = Position { branch: position.branch + 1, fragment: 0 };
        }
        false
    }

    /// Frees the objects of the next segment of a walk over a table that nobody reads any more. Returns whether there
    /// is more to free.
    pub(super) fn dismantle(&mut self, position: &mut Position) -> bool {
        while position.branch < BRANCHES {
            let branch = self.branches[position.branch].get_mut();
            if let (Some(directory), true) = (NonNull::new(*branch), position.fragment <= u64::from(u32::MAX))
            {
                // SAFETY: `&mut self`: nobody else is in the table. Each segment is met once, at the first prefix
                // it stands for; its objects are the index's own.
                unsafe {
                    let segment = directory.as_ref().segment(position.fragment as u32);
                    let span_bits = 32 - segment.depth();
                    position.fragment = ((position.fragment >> span_bits) + 1) << span_bits;
                    for bucket in &segment.0 {
                        for entry in &bucket.entries {
                            let pointer = entry.swap(std::ptr::null_mut(), Relaxed); // Nobody else is in.
                            if let Some(pointer) = NonNull::new(pointer)
                                && pointer.as_ptr() != TOMBSTONE
                            {
                                Retired::from_ref(Ref::<H>::from_pointer(pointer)).free_now();
                            }
                        }
                    }
                }
                return true;
            }
            if let Some(directory) = NonNull::new(std::mem::replace(branch, std::ptr::null_mut())) {
                // SAFETY: as above; the objects are gone, now the segments (each named by a run of places) and the
                // directory itself.
                unsafe {
                    let directory = Box::from_raw(directory.as_ptr());
                    let mut last = std::ptr::null_mut();
                    for slot in &directory.segments {
                        let segment = slot.load(Relaxed); // Nobody else is in.
                        if segment != last {
                            drop(Box::from_raw(segment));
                            last = segment;
                        }
                    }
                }
            }
            *position = Position { branch: position.branch + 1, fragment: 0 };
        }
        false
    }
}

impl<H: Object> Drop for Index<H> {
    fn drop(&mut self) {
        let mut position = Position::default();
        while self.dismantle(&mut position) {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::node::Node;
    use super::super::reclaim::Leases;
    use super::*;

    struct Table {
        index: Index<Node>,
        /// `None` only while it is dropped.
        grace: Option<Grace<()>>,
        token: Token,
        hasher: PathHasher,
    }

    impl Table {
        fn new() -> Table {
            Table {
                index: Index::new(),
                grace: Some(Grace::new()),
                token: Token::new(),
                hasher: PathHasher::new(11),
            }
        }

        fn hash(&self, n: u64) -> u64 {
            self.hasher.hash(&n.to_be_bytes())
        }

        fn insert(&mut self, n: u64) {
            let node = Node::new(None, &n.to_be_bytes(), None, 0).into_ref();
            let hash = self.hash(n);
            self.index.insert(&self.token, self.grace.as_mut().unwrap(), hash, node);
        }

        fn find(&self, n: u64) -> Option<At<'_, Node>> {
            self.index.find(self.hash(n), self.token.witness(), |node| node.bytes() == n.to_be_bytes())
        }

        fn remove(&mut self, n: u64) {
            let node = self.find(n).unwrap().to_ref();
            let removed = self.index.remove(&self.token, self.hasher.hash(&n.to_be_bytes()), node).unwrap();
            self.grace.as_mut().unwrap().retire(removed, false);
            assert!(self.index.remove(&self.token, self.hasher.hash(&n.to_be_bytes()), node).is_none());
        }

        fn walk(&self) -> Vec<u64> {
            let (mut found, mut position) = (Vec::new(), Position::default());
            while self.index.visit(&mut position, self.token.witness(), |node| {
                found.push(u64::from_be_bytes(node.bytes().try_into().unwrap()));
            }) {}
            found.sort_unstable();
            found
        }

        fn segment_bytes(&self) -> usize {
            let mut bytes = 0;
            for branch in 0..BRANCHES {
                let Some(directory) = self.index.directory(branch) else { continue };
                let mut segments: Vec<_> = directory.segments.iter().map(|slot| slot.load(Relaxed)).collect();
                segments.dedup();
                bytes += directory.bytes() + segments.len() * size_of::<Segment>();
            }
            bytes
        }
    }

    impl Drop for Table {
        fn drop(&mut self) {
            // What was retired is nobody's now; the index drops what is in it.
            drop(self.grace.take().map(Grace::into_attic));
        }
    }

    #[test]
    fn everything_is_found_walked_and_small_at_any_size() {
        let mut table = Table::new();
        let mut size = 0;
        for step in [1, 100, 60_000, 61_441, 150_000, 300_000] {
            for n in size..step {
                table.insert(n);
            }
            size = step;
            assert!((0..size).all(|n| table.find(n).is_some()));
            assert!((size..size + 1000).all(|n| table.find(n).is_none()));
            assert_eq!(table.walk(), (0..size).collect::<Vec<_>>());
            if size > 60_000 {
                let bytes = table.segment_bytes() as f64 / size as f64;
                assert!(bytes <= 36.0, "{bytes} bytes an entry at {size}");
            }
        }
    }

    #[test]
    fn entries_that_come_and_go_leave_no_growth_behind() {
        let mut table = Table::new();
        for n in 0..20_000 {
            table.insert(n);
        }
        let before = table.segment_bytes();
        for n in 20_000..400_000 {
            table.remove(n - 20_000);
            table.insert(n);
            if n % 1000 == 0 {
                let grace = table.grace.as_mut().unwrap();
                grace.seal();
                grace.free(&mut table.token, &Leases::default(), usize::MAX);
            }
        }
        assert_eq!(table.walk(), (380_000..400_000).collect::<Vec<_>>());
        assert!((380_000..400_000).all(|n| table.find(n).is_some()));
        assert!((0..380_000).step_by(977).all(|n| table.find(n).is_none()));
        assert!(table.segment_bytes() <= before * 3 / 2, "{} after {before}", table.segment_bytes());
    }

    #[test]
    fn a_walk_misses_nothing_while_segments_split() {
        let mut table = Table::new();
        for n in 0..5000 {
            table.insert(n);
        }
        let (mut found, mut position, mut next) =
            (std::collections::BTreeSet::new(), Position::default(), 5000);
        loop {
            let more = table.index.visit(&mut position, table.token.witness(), |node| {
                found.insert(u64::from_be_bytes(node.bytes().try_into().unwrap()));
            });
            if !more {
                break;
            }
            for _ in 0..500 {
                table.insert(next);
                next += 1;
            }
        }
        assert!((0..5000).all(|n| found.contains(&n)));
        assert!(next > 100_000);
    }

    /// Removed and entered in all orders inside one bucket, with neighbours that overflowed from it.
    #[test]
    fn removals_keep_what_was_put_behind_them_reachable() {
        let segment = Segment::new(0);
        let pointer = |n: usize| std::ptr::without_provenance_mut::<()>(n * 8);
        for n in 1..=12 {
            segment.put(3, pointer(n));
        }
        for n in 1..=12 {
            let found = segment.find(3, |found, _| (found.as_ptr() == pointer(n)).then_some(()));
            assert!(found.is_some(), "{n}");
        }
        assert_eq!(segment.used().load(Relaxed), 12);
        assert_eq!(segment.entries().count(), 12);
        assert!(segment.find(4, |_, _| Some(())).is_none());
    }
}
