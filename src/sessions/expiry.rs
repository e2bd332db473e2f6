#![forbid(unsafe_code)]
//! Deadlines rounded up to ticks (stock `ExpiryQueue`, client-protocol §7.1): what was touched at `t` with timeout `T`
//! expires when the clock reaches `(floor((t + T) / tick) + 1) * tick`, between T and T + tick later.
//!
//! A touch writes one number: the key stays filed in the bucket it is in, and is filed anew when that bucket comes up.
//! So a key is moved about once a timeout, however often it is touched. Only a touch that brings the deadline
//! *forward* files at once. `filed ≤ deadline` for every key; a bucket may also hold keys that moved on, told by
//! `filed`.

use std::collections::{BTreeMap, VecDeque};
use std::hash::Hash;

use crate::base::{Millis, StripedMap};

/// Keys by the tick at which they expire.
#[derive(Clone, Debug)]
pub struct ExpiryQueue<K> {
    tick_ms: u64,
    entries: StripedMap<K, Entry>,
    buckets: BTreeMap<u64, VecDeque<K>>,
    live: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Bucket at which it expires; `None` once removed. The entry stays until its bucket comes up, so that a key which
    /// comes and goes leaves one copy behind and not one each time.
    deadline: Option<u64>,
    /// Bucket it is filed in.
    filed: u64,
}

impl<K: Copy + Eq + Hash + Ord> ExpiryQueue<K> {
    /// An empty queue of buckets `tick_ms` wide. Panics on 0, which a checked configuration cannot hold.
    pub fn new(tick_ms: u64) -> Self {
        assert!(tick_ms > 0, "a bucket is at least one millisecond wide");
        // A fixed seed: keys are numbers of our own making.
        ExpiryQueue { tick_ms, entries: StripedMap::new(1), buckets: BTreeMap::new(), live: 0 }
    }

    /// Files `key` to expire `timeout_ms` after `heard`, or moves it there. O(1) when the deadline moves backward in
    /// the queue, as it does with every heartbeat.
    pub fn touch(&mut self, key: K, heard: Millis, timeout_ms: u64) {
        let deadline = self.bucket_of(heard.plus(timeout_ms));
        let entry = self.entries.get_or_insert_with(key, || Entry { deadline: None, filed: u64::MAX });
        self.live += usize::from(entry.deadline.is_none());
        entry.deadline = Some(deadline);
        if deadline < entry.filed {
            entry.filed = deadline;
            self.buckets.entry(deadline).or_default().push_back(key);
        }
    }

    /// Takes `key` out; whether it was in.
    pub fn remove(&mut self, key: K) -> bool {
        let Some(entry) = self.entries.get_mut(&key) else { return false };
        let was_in = entry.deadline.take().is_some();
        self.live -= usize::from(was_in);
        was_in
    }

    /// Takes out all whose bucket `now` has reached, earliest bucket first, in the order they were filed.
    pub fn poll(&mut self, now: Millis) -> Vec<K> {
        self.poll_some(now, usize::MAX)
    }

    /// [`poll`](Self::poll) that looks at `keys_max` keys at most, so that a bucket of a million goes in slices. When
    /// [`next_poll`](Self::next_poll) is not after `now` there is more to do.
    pub fn poll_some(&mut self, now: Millis, keys_max: usize) -> Vec<K> {
        let mut expired = Vec::new();
        let mut looked_at = 0;
        while looked_at < keys_max {
            let Some(mut first) = self.buckets.first_entry().filter(|first| *first.key() <= now.0) else {
                break;
            };
            let bucket = *first.key();
            let Some(key) = first.get_mut().pop_front() else {
                first.remove();
                continue;
            };
            looked_at += 1;
            let Some(entry) = self.entries.get_mut(&key).filter(|entry| entry.filed == bucket) else {
                continue;
            };
            match entry.deadline {
                Some(deadline) if deadline > bucket => {
                    entry.filed = deadline;
                    self.buckets.entry(deadline).or_default().push_back(key);
                }
                Some(_) => {
                    self.entries.remove(&key);
                    self.live -= 1;
                    expired.push(key);
                }
                None => {
                    self.entries.remove(&key);
                }
            }
        }
        // The last bucket looked at may be empty now.
        while let Some(first) = self.buckets.first_entry().filter(|first| first.get().is_empty()) {
            first.remove();
        }
        expired
    }

    /// When [`poll`](Self::poll) is next worth calling: no later than the first expiry, and at most a few times early
    /// for each key. `None` when empty.
    pub fn next_poll(&self) -> Option<Millis> {
        self.buckets.first_key_value().map(|(&bucket, _)| Millis(bucket))
    }

    /// When `key` expires unless it is touched.
    pub fn deadline(&self, key: K) -> Option<Millis> {
        self.entries.get(&key)?.deadline.map(Millis)
    }

    /// Keys in the queue.
    pub fn len(&self) -> usize {
        self.live
    }

    /// Whether no key is in.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Keys with their deadlines, by deadline, then key: what `dump` prints as buckets. O(n log n).
    pub fn by_deadline(&self) -> Vec<(Millis, K)> {
        let mut all: Vec<_> =
            self.entries.iter().filter_map(|(&key, e)| e.deadline.map(|at| (Millis(at), key))).collect();
        all.sort_unstable();
        all
    }

    fn bucket_of(&self, deadline: Millis) -> u64 {
        (deadline.0 / self.tick_ms).saturating_add(1).saturating_mul(self.tick_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_deadline_is_rounded_up_to_the_next_tick_never_to_the_same() {
        for (heard, timeout, expected) in [
            (0, 4000, 6000),
            (1, 3999, 6000),
            (1999, 4000, 6000),
            (2000, 4000, 8000),
            (0, 0, 2000),
            (u64::MAX, 4000, u64::MAX),
        ] {
            let mut queue = ExpiryQueue::new(2000);
            queue.touch(1u8, Millis(heard), timeout);
            assert_eq!(queue.deadline(1), Some(Millis(expected)), "{heard} + {timeout}");
        }
    }

    #[test]
    fn touched_in_time_it_never_expires_and_then_it_does_once() {
        let mut queue = ExpiryQueue::new(1000);
        for now in (0..100_000).step_by(500) {
            assert!(queue.poll(Millis(now)).is_empty());
            queue.touch(7u32, Millis(now), 3000);
        }
        assert!(queue.poll(Millis(102_999)).is_empty());
        assert_eq!(queue.poll(Millis(103_000)), vec![7]);
        assert!(queue.poll(Millis(999_999)).is_empty());
        assert!(queue.is_empty());
        assert_eq!(queue.next_poll(), None);
    }

    #[test]
    fn coming_and_going_leaves_one_copy_behind() {
        let mut queue = ExpiryQueue::new(1000);
        for now in 0..900 {
            queue.touch(7u32, Millis(now), 3000);
            assert!(queue.remove(7));
            assert!(!queue.remove(7));
        }
        assert_eq!(queue.buckets.values().map(VecDeque::len).sum::<usize>(), 1);
        assert!(queue.poll(Millis(10_000)).is_empty());
        assert!(queue.entries.is_empty());
    }

    #[test]
    fn a_large_bucket_goes_in_slices() {
        let mut queue = ExpiryQueue::new(1000);
        for key in 0..10u32 {
            queue.touch(key, Millis(0), 500);
        }
        queue.touch(3, Millis(900), 500);
        queue.remove(4);
        assert!(queue.poll_some(Millis(999), 5).is_empty());
        assert_eq!(queue.poll_some(Millis(1000), 6), vec![0, 1, 2, 5]);
        assert_eq!(queue.next_poll(), Some(Millis(1000)), "there is more");
        assert_eq!(queue.poll_some(Millis(1000), 4), vec![6, 7, 8, 9]);
        assert_eq!((queue.next_poll(), queue.len()), (Some(Millis(2000)), 1));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Touch(u8, u64),
        Remove(u8),
        Advance(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..6u8, 0..9000u64).prop_map(|(key, timeout)| Step::Touch(key, timeout)),
            1 => (0..6u8).prop_map(Step::Remove),
            3 => (0..3000u64).prop_map(Step::Advance),
        ]
    }

    proptest! {
        #[test]
        fn nothing_expires_early_or_more_than_a_tick_late(tick in 1..2500u64, steps in prop::collection::vec(step(), 1..120)) {
            let mut queue = ExpiryQueue::new(tick);
            let mut model: BTreeMap<u8, u64> = BTreeMap::new();
            let mut now = 0u64;
            for step in steps {
                match step {
                    Step::Touch(key, timeout) => {
                        queue.touch(key, Millis(now), timeout);
                        model.insert(key, now + timeout);
                    }
                    Step::Remove(key) => prop_assert_eq!(queue.remove(key), model.remove(&key).is_some()),
                    Step::Advance(ms) => now += ms,
                }
                let early = queue.next_poll().is_none_or(|at| at.0 > now);
                let expired = queue.poll(Millis(now));
                prop_assert!(!early || expired.is_empty());
                for key in expired {
                    let due = model.remove(&key);
                    prop_assert!(due.is_some_and(|due| due < now), "early");
                }
                for (key, due) in &model {
                    prop_assert!(due + tick > now, "{} is more than a tick late", key);
                    let filed = queue.deadline(*key).expect("still in").0;
                    prop_assert!(filed > *due && filed <= due + tick && filed % tick == 0);
                }
                prop_assert_eq!(queue.len(), model.len());
                prop_assert_eq!(queue.by_deadline().len(), model.len());
            }
        }
    }
}
