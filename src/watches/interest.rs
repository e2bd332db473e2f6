#![forbid(unsafe_code)]
//! Which shards may have a watch on a path. Shared by all cores: a shard sets and clears its own bit, the sequencer reads
//! whole words to know where a change must be sent.
//!
//! By path, not by znode: deletion, re-creation and absent znodes need no special case. A slot may be shared by many
//! paths; a bit too many costs a message, a bit too few would cost an event.
//!
//! # Why no event is lost (DESIGN §2, rules 2 and 4)
//!
//! ```text
//! shard                                     sequencer, txn z
//!   set bit          (1)                      begun = z                (5)
//!   fence SeqCst     (2)                      fence SeqCst             (6)
//!   b = begun        (3)                      link records
//!   wait until applied ≥ b, D = applied       look at the bits, send   (7)
//!   read and arm at D (4)                     applied = z
//! ```
//!
//! The two fences are in one order. If (2) comes first, (7) sees the bit and the change is sent; the watch fires if z > D.
//! If (6) comes first, (3) reads begun ≥ z, so D ≥ z, and the data read at (4) hold the change; should it have been sent
//! as well, the watch ignores it since it was armed at D. Clearing needs no order: a set bit that means nothing is only a
//! message too many, and setting it again starts over at (1).
//!
//! The model below runs this under loom, with five ways to break it.

use std::sync::Arc;

#[cfg(loom)]
use loom::sync::atomic::{AtomicU64, Ordering, fence};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::{ChangeKind, PathHasher};
use crate::base::limits::SHARDS_MAX;
use crate::base::{ShardId, StripedMap, Zxid};

/// What a watch covers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Scope {
    /// One path: data, child and persistent watches.
    Exact,
    /// A path and everything below.
    Recursive,
}

/// The words of all shards. One bit a shard.
#[derive(Debug)]
pub struct InterestTable {
    hasher: PathHasher,
    exact: Box<[AtomicU64]>,
    recursive: Box<[AtomicU64]>,
    /// Shards with any recursive watch: while nobody has one, the sequencer looks at no ancestor.
    any_recursive: AtomicU64,
}

impl InterestTable {
    /// Two tables of `slots` words each, a power of two
    /// ([`INTEREST_SLOTS`](crate::base::limits::INTEREST_SLOTS) outside tests).
    pub fn new(slots: usize, hasher: PathHasher) -> InterestTable {
        assert!(slots.is_power_of_two(), "the slot is cut out of the hash");
        let words = || (0..slots).map(|_| AtomicU64::new(0)).collect();
        InterestTable { hasher, exact: words(), recursive: words(), any_recursive: AtomicU64::new(0) }
    }

    /// The hasher of all cores.
    pub fn hasher(&self) -> &PathHasher {
        &self.hasher
    }

    /// The shards to which a change of `kind` at `path` must be sent, bit n for shard n. For the sequencer, after it stored
    /// `begun` and passed the fence behind it.
    pub fn interested(&self, path: &[u8], kind: ChangeKind) -> u64 {
        // Relaxed here and below: the fence after the store of `begun` orders these loads behind it, and pairs with the
        // fence in `InterestCounts::arm`.
        let any_recursive = self.any_recursive.load(Ordering::Relaxed);
        let (mut parent, mut own, mut mask) = (0, 0, 0);
        for prefix in self.hasher.prefixes(path) {
            (parent, own) = (own, prefix.hash);
            if any_recursive != 0 {
                mask |= self.word(Scope::Recursive, prefix.hash).load(Ordering::Relaxed);
            }
        }
        mask |= self.word(Scope::Exact, own).load(Ordering::Relaxed);
        if kind.concerns_parent() {
            mask |= self.word(Scope::Exact, parent).load(Ordering::Relaxed);
        }
        mask
    }

    fn word(&self, scope: Scope, hash: u64) -> &AtomicU64 {
        &self.words(scope)[self.slot(hash) as usize]
    }

    fn words(&self, scope: Scope) -> &[AtomicU64] {
        match scope {
            Scope::Exact => &self.exact,
            Scope::Recursive => &self.recursive,
        }
    }

    fn slot(&self, hash: u64) -> u32 {
        // The low bits choose the bucket in the watch table; these are others.
        (hash >> 32) as u32 & (self.exact.len() - 1) as u32
    }
}

/// One shard's side: how many of its paths hold each slot, and from which zxid on each of its bits counts. Lives on: each
/// shard.
#[derive(Debug)]
pub struct InterestCounts {
    table: Arc<InterestTable>,
    bit: u64,
    exact: StripedMap<u32, Held>,
    recursive: StripedMap<u32, Held>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    count: u32,
    /// `begun` as it was when the bit had been set: from then on changes are sent.
    since: Zxid,
}

impl InterestCounts {
    /// The side of `shard`, with no bit set. At most one for each shard and table.
    pub fn new(table: Arc<InterestTable>, shard: ShardId) -> InterestCounts {
        assert!(usize::from(shard.0) < SHARDS_MAX, "shards have one bit each");
        InterestCounts { table, bit: 1 << shard.0, exact: StripedMap::new(6), recursive: StripedMap::new(7) }
    }

    /// The shared table.
    pub fn table(&self) -> &InterestTable {
        &self.table
    }

    /// Holds the slot of `hash`, setting the shard's bit if it was not set, and gives the zxid up to which `applied` must
    /// have come before a read may arm a watch there. `begun` loads the sequencer's counter, and is called only when the
    /// bit was not set. Each `arm` is undone by one [`release`](Self::release).
    pub fn arm(&mut self, hash: u64, scope: Scope, begun: impl FnOnce() -> Zxid) -> Zxid {
        let slot = self.table.slot(hash);
        if let Some(held) = self.held(scope).get_mut(&slot) {
            held.count += 1;
            return held.since;
        }
        // Relaxed: ordered before the load of `begun` by the fence below, which pairs with the sequencer's fence between
        // its store of `begun` and `interested`.
        if scope == Scope::Recursive && self.recursive.is_empty() {
            self.table.any_recursive.fetch_or(self.bit, Ordering::Relaxed);
        }
        self.table.words(scope)[slot as usize].fetch_or(self.bit, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let since = begun();
        self.held(scope).insert(slot, Held { count: 1, since });
        since
    }

    /// Holds once more a slot that is held already, as a watch does when the read that armed it lets go.
    pub fn hold(&mut self, hash: u64, scope: Scope) {
        let slot = self.table.slot(hash);
        let held = self.held(scope).get_mut(&slot).expect("a watch is added while its arm is held");
        held.count += 1;
    }

    /// Undoes one `arm` or `hold`; the last one clears the bit.
    pub fn release(&mut self, hash: u64, scope: Scope) {
        let slot = self.table.slot(hash);
        let held = self.held(scope).get_mut(&slot).expect("released as often as held");
        held.count -= 1;
        if held.count > 0 {
            return;
        }
        self.held(scope).remove(&slot);
        // Relaxed: the sequencer may see these bits for a while longer, which costs a message.
        self.table.words(scope)[slot as usize].fetch_and(!self.bit, Ordering::Relaxed);
        if scope == Scope::Recursive && self.recursive.is_empty() {
            self.table.any_recursive.fetch_and(!self.bit, Ordering::Relaxed);
        }
    }

    /// Slots held; the bits of this shard that are set.
    pub fn len(&self) -> usize {
        self.exact.len() + self.recursive.len()
    }

    /// Whether no bit is set.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn held(&mut self, scope: Scope) -> &mut StripedMap<u32, Held> {
        match scope {
            Scope::Exact => &mut self.exact,
            Scope::Recursive => &mut self.recursive,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::base::limits::INTEREST_SLOTS;
    use proptest::prelude::*;

    fn table(slots: usize) -> Arc<InterestTable> {
        Arc::new(InterestTable::new(slots, PathHasher::new(1)))
    }

    fn arm(counts: &mut InterestCounts, path: &[u8], scope: Scope, begun: i64) -> Zxid {
        let hash = counts.table.hasher.hash(path);
        counts.arm(hash, scope, || Zxid(begun))
    }

    fn release(counts: &mut InterestCounts, path: &[u8], scope: Scope) {
        let hash = counts.table.hasher.hash(path);
        counts.release(hash, scope);
    }

    #[test]
    fn a_change_goes_to_shards_that_wait_for_it() {
        let table = table(INTEREST_SLOTS);
        let shard = |n| InterestCounts::new(table.clone(), ShardId(n));
        let (mut zero, mut one, mut last) = (shard(0), shard(1), shard(62));
        arm(&mut zero, b"/a/b", Scope::Exact, 0);
        arm(&mut one, b"/a", Scope::Exact, 0);
        arm(&mut last, b"/a", Scope::Recursive, 0);
        const LAST: u64 = 1 << 62;
        for (path, kind, expected) in [
            ("/a/b", ChangeKind::Created, 0b11 | LAST),
            ("/a/b", ChangeKind::Deleted, 0b11 | LAST),
            ("/a/b", ChangeKind::DataChanged, 0b01 | LAST),
            ("/a", ChangeKind::DataChanged, 0b10 | LAST),
            ("/a", ChangeKind::Created, 0b10 | LAST),
            ("/a/b/c", ChangeKind::Created, 0b01 | LAST),
            ("/a/b/c/d", ChangeKind::Created, LAST),
            ("/ab", ChangeKind::Created, 0),
            ("/", ChangeKind::DataChanged, 0),
        ] {
            assert_eq!(table.interested(path.as_bytes(), kind), expected, "{path} {kind:?}");
        }
        arm(&mut one, b"/", Scope::Exact, 0);
        assert_eq!(table.interested(b"/new", ChangeKind::Created), 0b10, "the root is a parent");
        release(&mut last, b"/a", Scope::Recursive);
        assert_eq!(table.any_recursive.load(Ordering::Relaxed), 0);
        assert_eq!(table.interested(b"/a/b/c/d", ChangeKind::Created), 0);
    }

    #[test]
    fn a_bit_set_earlier_brings_its_zxid_along_and_one_set_anew_does_not() {
        let mut counts = InterestCounts::new(table(1), ShardId(5));
        assert_eq!(arm(&mut counts, b"/a", Scope::Exact, 7), Zxid(7));
        assert_eq!(arm(&mut counts, b"/b", Scope::Exact, 9), Zxid(7), "the same slot");
        assert_eq!(arm(&mut counts, b"/a", Scope::Recursive, 9), Zxid(9), "the other table");
        release(&mut counts, b"/a", Scope::Exact);
        assert_eq!(counts.table.interested(b"/x", ChangeKind::DataChanged), 1 << 5);
        release(&mut counts, b"/b", Scope::Exact);
        release(&mut counts, b"/a", Scope::Recursive);
        assert_eq!(counts.table.interested(b"/x", ChangeKind::Deleted), 0);
        assert_eq!(arm(&mut counts, b"/a", Scope::Exact, 11), Zxid(11));
    }

    #[test]
    fn a_very_deep_path_costs_one_pass() {
        let table = table(INTEREST_SLOTS);
        let mut counts = InterestCounts::new(table.clone(), ShardId(0));
        arm(&mut counts, b"/a/a/a", Scope::Recursive, 0);
        let deep = b"/a".repeat(500_000);
        assert_eq!(table.interested(&deep, ChangeKind::Created), 1);
    }

    proptest! {
        #[test]
        fn a_bit_is_set_exactly_while_something_holds_it(
            slots in prop_oneof![Just(1usize), Just(4), Just(64)],
            steps in prop::collection::vec((any::<bool>(), any::<bool>(), 0..2usize, 0..6usize), 1..80),
        ) {
            const PATHS: [&[u8]; 6] = [b"/", b"/a", b"/a/b", b"/b", b"/b/c/d", b"odd"];
            let table = table(slots);
            let mut shards = [0, 1].map(|n| InterestCounts::new(table.clone(), ShardId(n)));
            let mut model: Vec<(usize, Scope, usize)> = vec![];
            for (add, is_recursive, shard, path) in steps {
                let scope = if is_recursive { Scope::Recursive } else { Scope::Exact };
                let entry = (shard, scope, path);
                if add {
                    arm(&mut shards[shard], PATHS[path], scope, 0);
                    model.push(entry);
                } else if let Some(at) = model.iter().position(|e| *e == entry) {
                    model.swap_remove(at);
                    release(&mut shards[shard], PATHS[path], scope);
                }
                let slot_of = |path: &[u8]| table.slot(table.hasher.hash(path));
                for scope in [Scope::Exact, Scope::Recursive] {
                    for slot in 0..slots as u32 {
                        let expected = model.iter().filter(|e| e.1 == scope && slot_of(PATHS[e.2]) == slot)
                            .fold(0u64, |mask, e| mask | 1 << e.0);
                        prop_assert_eq!(table.words(scope)[slot as usize].load(Ordering::Relaxed), expected);
                    }
                }
                let recursive = model.iter().filter(|e| e.1 == Scope::Recursive).fold(0u64, |mask, e| mask | 1 << e.0);
                prop_assert_eq!(table.any_recursive.load(Ordering::Relaxed), recursive);
            }
        }
    }
}

/// Arming against firing, under every interleaving and reordering that loom knows. Run with
/// `RUSTFLAGS="--cfg loom" cargo test --release --lib loom_`.
#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc as LoomArc;
    use loom::thread;

    /// How the protocol is broken; each variant must be caught.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    enum Planted {
        Nothing,
        /// The shard reads at once instead of waiting for `begun`.
        NoWait,
        /// The shard loads `begun` before it set its bit.
        BegunLoadedEarly,
        /// `begun` is stored after the records and the look at the bits.
        BegunAfterRecords,
        /// The sequencer looks before its store of `begun` is ordered.
        NoSequencerFence,
        /// `applied` moves before the change was sent.
        AppliedBeforeEvents,
    }

    const PATH: &[u8] = b"/a";
    const TXNS: u64 = 2;

    /// What the sequencer publishes. The data are one cell, since versions newer than D are skipped by their zxid: a read
    /// at D sees exactly what was changed up to D.
    struct Shared {
        interest: Arc<InterestTable>,
        begun: AtomicU64,
        applied: AtomicU64,
        newest_record: AtomicU64,
        /// Bit z: the change of txn z was sent to the shard.
        sent: AtomicU64,
    }

    fn sequencer(shared: &Shared, planted: Planted) {
        for z in 1..=TXNS {
            if planted != Planted::BegunAfterRecords {
                let order =
                    if planted == Planted::NoSequencerFence { Ordering::Relaxed } else { Ordering::SeqCst };
                shared.begun.store(z, order);
                if planted != Planted::NoSequencerFence {
                    fence(Ordering::SeqCst);
                }
            }
            // Release: a reader that sees the record sees what it holds.
            shared.newest_record.store(z, Ordering::Release);
            if planted == Planted::AppliedBeforeEvents {
                shared.applied.store(z, Ordering::Release);
            }
            if shared.interest.interested(PATH, ChangeKind::DataChanged) != 0 {
                shared.sent.fetch_or(1 << z, Ordering::Relaxed);
            }
            if planted == Planted::BegunAfterRecords {
                shared.begun.store(z, Ordering::SeqCst);
                fence(Ordering::SeqCst);
            }
            // Release: pairs with the shard's load of `applied`; records and events up to z are there.
            shared.applied.store(z, Ordering::Release);
        }
    }

    /// Arms a watch and gives the zxid it was armed at.
    fn shard(shared: &Shared, planted: Planted) -> u64 {
        let mut counts = InterestCounts::new(shared.interest.clone(), ShardId(3));
        let hash = shared.interest.hasher().hash(PATH);
        let begun = || Zxid(shared.begun.load(Ordering::Relaxed) as i64);
        let since = if planted == Planted::BegunLoadedEarly {
            let early = begun();
            counts.arm(hash, Scope::Exact, || early)
        } else {
            counts.arm(hash, Scope::Exact, begun)
        };
        let since = since.0 as u64;
        // Acquire: pairs with the sequencer's store; all up to D is there.
        let mut at = shared.applied.load(Ordering::Acquire);
        while planted != Planted::NoWait && at < since {
            thread::yield_now();
            at = shared.applied.load(Ordering::Acquire);
        }
        assert!(shared.newest_record.load(Ordering::Acquire) >= at, "a read at {at} misses a record");
        if at > since && planted != Planted::BegunLoadedEarly {
            // The bit was set before txn `since + 1` began, so events up to `at` must have arrived with `applied`.
            for z in since + 1..=at {
                assert!(
                    shared.sent.load(Ordering::Relaxed) & 1 << z != 0,
                    "{at} was published before its events"
                );
            }
        }
        at
    }

    fn check(planted: Planted) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(4);
        model.check(move || {
            let shared = LoomArc::new(Shared {
                interest: Arc::new(InterestTable::new(1, PathHasher::new(1))),
                begun: AtomicU64::new(0),
                applied: AtomicU64::new(0),
                newest_record: AtomicU64::new(0),
                sent: AtomicU64::new(0),
            });
            let writer = {
                let shared = shared.clone();
                thread::spawn(move || sequencer(&shared, planted))
            };
            let armed_at = shard(&shared, planted);
            writer.join().expect("the sequencer ends");
            // A change is in the data that were read, or it is sent.
            for z in armed_at + 1..=TXNS {
                assert!(
                    shared.sent.load(Ordering::Relaxed) & 1 << z != 0,
                    "change {z} lost, armed at {armed_at}"
                );
            }
        });
    }

    #[test]
    fn loom_no_change_is_lost_between_a_read_and_its_watch() {
        check(Planted::Nothing);
    }

    #[test]
    #[should_panic(expected = "lost")]
    fn loom_catches_arming_without_waiting_for_begun() {
        check(Planted::NoWait);
    }

    #[test]
    #[should_panic(expected = "lost")]
    fn loom_catches_begun_loaded_before_the_bit_is_set() {
        check(Planted::BegunLoadedEarly);
    }

    #[test]
    #[should_panic(expected = "lost")]
    fn loom_catches_begun_stored_after_the_records() {
        check(Planted::BegunAfterRecords);
    }

    #[test]
    #[should_panic(expected = "lost")]
    fn loom_catches_a_missing_fence_of_the_sequencer() {
        check(Planted::NoSequencerFence);
    }

    #[test]
    #[should_panic(expected = "published before its events")]
    fn loom_catches_applied_stored_before_the_events() {
        check(Planted::AppliedBeforeEvents);
    }
}
