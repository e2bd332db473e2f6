//! The queue between two cores, and the flag that says its reader sleeps. An unsafe home.
//!
//! Lives on: one end on a shard, the other on the sequencer (or on the accepting shard, which hands sockets over).
//!
//! **The queue** has one producer and one consumer. It is a list of blocks of [`BLOCK_SLOTS`] slots, so that a push
//! never fails and never waits: the sequencer must not block on a shard, nor drop an event, nor publish a txn whose
//! events a shard cannot see yet (DESIGN §2 rules 2 and 3; a private list of the sequencer's for what finds no room
//! would hide events that `applied` already announced). What bounds it are its users: a shard holds credits for
//! outstanding writes ([`crate::base::limits::SHARD_CREDITS`]), and the watchdog ends a process whose shard stands
//! still. In the steady state one spare block goes round and nothing is allocated.
//!
//! ```text
//!   producer ─► tail block [ 0 1 2 … write ]            head block [ read … ] ─► consumer
//!               block.next ◄── set before a slot of the new block is published
//! ```
//!
//! Invariants: a slot below `block.written` is initialised and belongs to the consumer; at or above it, to the
//! producer. `written` only grows within a block's life. A block is freed by the consumer after it left it, or, with what
//! is still in it, when the second of both ends is dropped.
//!
//! **The parked flag.** Reader: store "parked", fence, look once more, sleep. Writer: push, fence, swap "parked"
//! for false; if it was set, ring the bell. Both fences are SeqCst: either the reader's last look sees the push or
//! the writer sees the flag. The loom models below check both, with the fences taken away as planted bugs.

use primitive::{Arc, AtomicBool, AtomicPtr, AtomicUsize, Ordering, UnsafeCell, fence};
use std::mem::MaybeUninit;
use std::ptr;

#[cfg(not(loom))]
mod primitive {
    pub(super) use std::sync::Arc;
    pub(super) use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering, fence};

    /// The part of loom's cell that we use, over std's.
    pub(super) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(super) fn new(value: T) -> Self {
            UnsafeCell(std::cell::UnsafeCell::new(value))
        }
        pub(super) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get())
        }
        pub(super) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }
}

#[cfg(loom)]
mod primitive {
    pub(super) use loom::cell::UnsafeCell;
    pub(super) use loom::sync::Arc;
    pub(super) use loom::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering, fence};
}

/// Slots of a block. Large enough that the hop to the next block is noise, small enough that an idle pair of queues
/// takes a few tens of kilobytes; two under loom, so that the hop is explored.
pub const BLOCK_SLOTS: usize = if cfg!(loom) { 2 } else { 256 };

struct Block<T> {
    slots: [UnsafeCell<MaybeUninit<T>>; BLOCK_SLOTS],
    /// How many slots hold a value that was ever pushed into this block.
    written: AtomicUsize,
    next: AtomicPtr<Block<T>>,
}

impl<T> Block<T> {
    fn boxed() -> Box<Block<T>> {
        Box::new(Block {
            slots: std::array::from_fn(|_| UnsafeCell::new(MaybeUninit::uninit())),
            written: AtomicUsize::new(0),
            next: AtomicPtr::new(ptr::null_mut()),
        })
    }
}

/// What both ends share beside the blocks.
struct Shared<T> {
    /// A block the consumer has left, for the producer to use again.
    spare: AtomicPtr<Block<T>>,
    /// Values popped so far; the producer reads it for [`Producer::len`] only.
    popped: AtomicUsize,
    /// Where the consumer ended: the block, and slots of it that were popped. The blocks behind it hang on it.
    left: AtomicPtr<Block<T>>,
    left_at: AtomicUsize,
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // Both ends are gone: nobody else can touch the spare.
        let spare = self.spare.swap(ptr::null_mut(), Ordering::Relaxed);
        if !spare.is_null() {
            // SAFETY: the consumer put it here after it left it, and never touched it again; whoever takes it out
            // owns it. Its slots hold no values (all were popped).
            drop(unsafe { Box::from_raw(spare) });
        }
        let mut block = self.left.swap(ptr::null_mut(), Ordering::Relaxed);
        let mut at = self.left_at.load(Ordering::Relaxed);
        while !block.is_null() {
            // SAFETY: both ends are gone (dropping their counts of us has ordered all that they did before this), so the
            // blocks from where the consumer ended are ours alone, and each came out of a box.
            let owned = unsafe { Box::from_raw(block) };
            let written = owned.written.load(Ordering::Relaxed);
            for slot in &owned.slots[at..written] {
                slot.with_mut(|slot| {
                    // SAFETY: below `written`, hence initialised, and never popped.
                    unsafe { (*slot).assume_init_drop() };
                });
            }
            (block, at) = (owned.next.load(Ordering::Relaxed), 0);
        }
    }
}

/// The writing end.
pub struct Producer<T> {
    shared: Arc<Shared<T>>,
    tail: *mut Block<T>,
    /// Slots of `tail` in use.
    at: usize,
    pushed: usize,
}

/// The reading end.
pub struct Consumer<T> {
    shared: Arc<Shared<T>>,
    head: *mut Block<T>,
    /// Slots of `head` already popped.
    at: usize,
}

// SAFETY: each end is used by one thread at a time (methods take `&mut self`), and values cross threads only through
// a slot published with Release and read with Acquire; so moving an end is sound when the values may move.
unsafe impl<T: Send> Send for Producer<T> {}
// SAFETY: as for Producer.
unsafe impl<T: Send> Send for Consumer<T> {}

/// A new, empty queue.
pub fn queue<T: Send>() -> (Producer<T>, Consumer<T>) {
    let first = Box::into_raw(Block::boxed());
    let shared = Arc::new(Shared {
        spare: AtomicPtr::new(ptr::null_mut()),
        popped: AtomicUsize::new(0),
        left: AtomicPtr::new(ptr::null_mut()),
        left_at: AtomicUsize::new(0),
    });
    let producer = Producer { shared: shared.clone(), tail: first, at: 0, pushed: 0 };
    (producer, Consumer { shared, head: first, at: 0 })
}

impl<T: Send> Producer<T> {
    /// Appends a value; never fails, never waits. Allocates when the consumer is a whole block behind.
    pub fn push(&mut self, value: T) {
        if self.at == BLOCK_SLOTS {
            self.hop();
        }
        // SAFETY: `tail` is ours until `written` reaches BLOCK_SLOTS and the consumer left it, which cannot happen
        // before we hop, since the consumer leaves a block only when `next` is set.
        let block = unsafe { &*self.tail };
        block.slots[self.at].with_mut(|slot| {
            // SAFETY: the slot is at `written`, hence the producer's, and uninitialised.
            unsafe { (*slot).write(value) };
        });
        self.at += 1;
        self.pushed = self.pushed.wrapping_add(1);
        // Release: pairs with the consumer's Acquire of `written`; the value is in its slot before it is announced.
        block.written.store(self.at, Ordering::Release);
    }

    fn hop(&mut self) {
        // Acquire: pairs with the consumer's Release when it hands a spare back; its reads of the block are over.
        let spare = self.shared.spare.swap(ptr::null_mut(), Ordering::Acquire);
        let next = if spare.is_null() {
            Box::into_raw(Block::boxed())
        } else {
            // SAFETY: the consumer gave the block up; nobody else refers to it.
            let block = unsafe { &*spare };
            // Relaxed: published by the Release store of `next` below.
            block.written.store(0, Ordering::Relaxed);
            block.next.store(ptr::null_mut(), Ordering::Relaxed);
            spare
        };
        // SAFETY: `tail` is still alive: the consumer cannot leave it before `next` is set.
        let block = unsafe { &*self.tail };
        // Release: pairs with the consumer's Acquire of `next`; the new block is reset before it is reachable.
        block.next.store(next, Ordering::Release);
        self.tail = next;
        self.at = 0;
    }

    /// Values pushed and not yet popped, as last heard of; never less than the truth.
    pub fn len(&self) -> usize {
        // Relaxed: a statistic; an old value only makes the queue look longer.
        self.pushed.wrapping_sub(self.shared.popped.load(Ordering::Relaxed))
    }

    /// Whether all was popped, as last heard of.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Send> Consumer<T> {
    /// The oldest value, left in place.
    pub fn peek(&mut self) -> Option<&T> {
        self.front().map(|slot| {
            // SAFETY: `front` says that this slot is initialised and ours; the reference keeps `self` borrowed, so
            // it cannot be popped meanwhile.
            unsafe { (*slot).assume_init_ref() }
        })
    }

    /// Takes the oldest value.
    pub fn pop(&mut self) -> Option<T> {
        let slot = self.front()?;
        // SAFETY: `front` says that this slot is initialised and ours; `at` moves past it, so it is read once.
        let value = unsafe { (*slot).assume_init_read() };
        self.at += 1;
        // SAFETY: the block is alive until we leave it.
        let popped = self.shared.popped.load(Ordering::Relaxed).wrapping_add(1);
        // Relaxed: only this end writes it, and the producer takes it as a hint.
        self.shared.popped.store(popped, Ordering::Relaxed);
        Some(value)
    }

    /// Moves to the next block if need be and finds the oldest initialised slot.
    fn front(&mut self) -> Option<*const MaybeUninit<T>> {
        if self.at == BLOCK_SLOTS {
            // SAFETY: the head block is alive until we hand it back below.
            let block = unsafe { &*self.head };
            // Acquire: pairs with the producer's Release in `hop`.
            let next = block.next.load(Ordering::Acquire);
            if next.is_null() {
                return None;
            }
            let left = std::mem::replace(&mut self.head, next);
            self.at = 0;
            self.give_back(left);
        }
        // SAFETY: as above.
        let block = unsafe { &*self.head };
        // Acquire: pairs with the producer's Release of `written`.
        if self.at < block.written.load(Ordering::Acquire) {
            Some(block.slots[self.at].with(|slot| slot))
        } else {
            None
        }
    }

    fn give_back(&mut self, left: *mut Block<T>) {
        // Release: pairs with the producer's Acquire in `hop`; our reads of the block are over.
        let unused = self.shared.spare.swap(left, Ordering::AcqRel);
        if !unused.is_null() {
            // SAFETY: a spare that nobody took is ours again: we put it there.
            drop(unsafe { Box::from_raw(unused) });
        }
    }
}

impl<T> Drop for Consumer<T> {
    fn drop(&mut self) {
        // Values still inside are dropped, and blocks up to the tail freed. The producer may go on writing into that one,
        // and behind it: those are freed when it has ended too.
        loop {
            // SAFETY: the head block is alive: only we free blocks that were left.
            let block = unsafe { &*self.head };
            let written = block.written.load(Ordering::Acquire);
            while self.at < written {
                block.slots[self.at].with_mut(|slot| {
                    // SAFETY: initialised, not popped, and popped only here.
                    unsafe { (*slot).assume_init_drop() };
                });
                self.at += 1;
            }
            let next = block.next.load(Ordering::Acquire);
            if self.at < BLOCK_SLOTS || next.is_null() {
                // Relaxed: read when both ends are gone, which the count of them orders.
                self.shared.left.store(self.head, Ordering::Relaxed);
                self.shared.left_at.store(self.at, Ordering::Relaxed);
                return;
            }
            let left = std::mem::replace(&mut self.head, next);
            self.at = 0;
            // SAFETY: the producer has hopped past it (`next` is set) and never goes back.
            drop(unsafe { Box::from_raw(left) });
        }
    }
}

/// Says whether the reader of some queues sleeps, and wakes it once.
#[derive(Debug)]
pub struct Parked {
    flag: AtomicBool,
}

impl Default for Parked {
    fn default() -> Self {
        Self::new()
    }
}

impl Parked {
    /// Awake.
    pub fn new() -> Self {
        Parked { flag: AtomicBool::new(false) }
    }

    /// Reader: about to sleep. Look at every queue once more after this, and sleep only if all are empty.
    pub fn park(&self) {
        self.flag.store(true, Ordering::Relaxed);
        // SeqCst fence: pairs with the one in `must_wake`. In the total order of the two fences, if ours is first
        // the writer sees the flag, if theirs is first our last look sees the push.
        fence(Ordering::SeqCst);
    }

    /// Reader: awake again, whoever woke it.
    pub fn unpark(&self) {
        // Relaxed: a bell rung in vain is harmless.
        self.flag.store(false, Ordering::Relaxed);
    }

    /// Writer: after a push. True when the reader sleeps and the caller must ring its bell; for one caller only.
    pub fn must_wake(&self) -> bool {
        // SeqCst fence: see `park`.
        fence(Ordering::SeqCst);
        // Relaxed: the fence orders it; the swap only elects one caller.
        self.flag.load(Ordering::Relaxed) && self.flag.swap(false, Ordering::Relaxed)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn values_come_out_in_order_across_blocks_and_threads() {
        let (mut producer, mut consumer) = queue::<Box<u64>>();
        let count = 10 * BLOCK_SLOTS as u64 + 7;
        let writer = std::thread::spawn(move || {
            for i in 0..count {
                producer.push(Box::new(i));
            }
            producer
        });
        let mut expected = 0;
        while expected < count {
            if let Some(value) = consumer.pop() {
                assert_eq!(*value, expected);
                expected += 1;
            } else {
                std::thread::yield_now();
            }
        }
        let producer = writer.join().expect("the writer does not panic");
        assert!(consumer.peek().is_none());
        assert!(producer.is_empty());
    }

    #[test]
    fn values_left_inside_are_dropped_with_the_consumer() {
        let alive = std::sync::Arc::new(());
        let (mut producer, mut consumer) = queue();
        for _ in 0..3 * BLOCK_SLOTS {
            producer.push(alive.clone());
        }
        drop(consumer.pop());
        drop(consumer);
        assert_eq!(std::sync::Arc::strong_count(&alive), 1);
    }

    // A campaign of the simulator, which makes a million queues, ran out of memory: each had left a block behind.
    #[test]
    fn what_comes_after_the_consumer_is_dropped_with_the_producer() {
        let alive = std::sync::Arc::new(());
        for before in [0, 1, BLOCK_SLOTS, BLOCK_SLOTS + 1] {
            let (mut producer, mut consumer) = queue();
            for _ in 0..before {
                producer.push(alive.clone());
            }
            while consumer.pop().is_some() {}
            drop(consumer);
            for _ in 0..2 * BLOCK_SLOTS {
                producer.push(alive.clone());
            }
            assert_eq!(std::sync::Arc::strong_count(&alive), 1 + 2 * BLOCK_SLOTS);
            drop(producer);
            assert_eq!(std::sync::Arc::strong_count(&alive), 1);
        }
    }

    #[test]
    fn only_one_writer_rings_the_bell() {
        let parked = Parked::new();
        assert!(!parked.must_wake());
        parked.park();
        assert!(parked.must_wake());
        assert!(!parked.must_wake());
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;

    #[test]
    fn loom_a_push_is_seen_whole_and_in_order_across_a_hop() {
        loom::model(|| {
            let (mut producer, mut consumer) = queue::<Box<usize>>();
            let writer = loom::thread::spawn(move || {
                for i in 0..3 {
                    producer.push(Box::new(i));
                }
                producer
            });
            let mut seen = 0;
            for _ in 0..4 {
                if let Some(value) = consumer.pop() {
                    assert_eq!(*value, seen);
                    seen += 1;
                }
            }
            let producer = writer.join().expect("the writer does not panic");
            while let Some(value) = consumer.pop() {
                assert_eq!(*value, seen);
                seen += 1;
            }
            assert_eq!(seen, 3);
            drop((consumer, producer));
        });
    }

    /// Both ends go at the same time, with values inside: loom sees no leak, and nothing freed twice.
    #[test]
    fn loom_both_ends_are_dropped_at_once() {
        loom::model(|| {
            let (mut producer, mut consumer) = queue::<Arc<usize>>();
            let value = Arc::new(7);
            let pushed = value.clone();
            let writer = loom::thread::spawn(move || {
                for _ in 0..3 {
                    producer.push(pushed.clone());
                }
            });
            consumer.pop();
            drop(consumer);
            writer.join().expect("the writer does not panic");
            assert_eq!(Arc::strong_count(&value), 1);
        });
    }

    /// The reader sleeps only when nothing was pushed, or a bell is due.
    #[test]
    fn loom_no_wake_up_is_lost() {
        loom::model(|| {
            let parked = Arc::new(Parked::new());
            let pushed = Arc::new(AtomicUsize::new(0));
            let (p, q) = (parked.clone(), pushed.clone());
            let writer = loom::thread::spawn(move || {
                q.store(1, Ordering::Relaxed);
                p.must_wake()
            });
            parked.park();
            let slept = pushed.load(Ordering::Relaxed) == 0;
            let rung = writer.join().expect("the writer does not panic");
            assert!(!slept || rung, "asleep with a value in the queue and no bell");
        });
    }

    /// The same without the fences: loom must find the lost wake-up, or the model proves nothing.
    #[test]
    #[should_panic(expected = "asleep")]
    fn loom_planted_bug_without_fences_is_caught() {
        loom::model(|| {
            let flag = Arc::new(AtomicBool::new(false));
            let pushed = Arc::new(AtomicUsize::new(0));
            let (f, q) = (flag.clone(), pushed.clone());
            let writer = loom::thread::spawn(move || {
                q.store(1, Ordering::Relaxed);
                f.load(Ordering::Relaxed)
            });
            flag.store(true, Ordering::Relaxed);
            let slept = pushed.load(Ordering::Relaxed) == 0;
            let rung = writer.join().expect("the writer does not panic");
            assert!(!slept || rung, "asleep with a value in the queue and no bell");
        });
    }
}
