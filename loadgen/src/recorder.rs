#![forbid(unsafe_code)]
//! What a thread counts, an interval at a time, and how intervals become totals.
//!
//! A request belongs to the interval in which its reply arrived. Its latency counts from the time at which it was meant
//! to leave. Replies that arrive after the end of the run (the drain) count into the last interval's latencies, so that a
//! stall at the end is not forgotten, but not into its throughput.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use crate::engine::Moved;
use crate::mix::Kind;
use crate::schedule::{Nanos, SECOND};

/// Longest latency told apart, nanoseconds.
const LATENCY_MAX: Nanos = 3600 * SECOND;
/// Smallest difference told apart, nanoseconds.
const LATENCY_STEP: Nanos = 100;

/// An empty histogram of nanoseconds: 100 ns to an hour, three digits.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(LATENCY_STEP, LATENCY_MAX, 3).expect("bounds that hdrhistogram accepts")
}

/// Adds one histogram to another.
pub fn merge(into: &mut Histogram<u64>, from: &Histogram<u64>) {
    into.add(from).expect("all histograms have the same bounds");
}

/// When a run's window begins and how it is cut into intervals.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// First intended time, the warm-up's.
    pub start: Nanos,
    /// The warm-up ends and the measured time begins.
    pub begin: Nanos,
    /// The measured time ends.
    pub end: Nanos,
    /// Length of an interval.
    pub interval: Nanos,
}

impl Window {
    /// The interval of a time; negative in the warm-up. What comes after the end belongs to the last interval.
    pub fn interval_of(&self, at: Nanos) -> i64 {
        let at = at.min(self.end.saturating_sub(1)) as i64;
        (at - self.begin as i64).div_euclid(self.interval as i64)
    }

    /// Number of the last interval.
    pub fn last(&self) -> i64 {
        self.interval_of(self.end)
    }

    /// When an interval ends.
    pub fn end_of(&self, interval: i64) -> Nanos {
        let end = self.begin as i64 + (interval + 1) * self.interval as i64;
        (end.max(0) as Nanos).min(self.end)
    }

    /// Seconds an interval lasts; the last may be short.
    pub fn seconds(&self, interval: i64) -> f64 {
        let begin = (self.begin as i64 + interval * self.interval as i64).max(self.start as i64) as Nanos;
        self.end_of(interval).saturating_sub(begin) as f64 / SECOND as f64
    }
}

/// One kind of request in one interval, or in all.
#[derive(Clone, Debug)]
pub struct KindStats {
    /// Latencies of successful replies, nanoseconds.
    pub latency: Histogram<u64>,
    /// Successful replies inside the interval; those of the drain are not.
    pub completed: u64,
    /// Replies that carry an error.
    pub errors: u64,
}

impl Default for KindStats {
    fn default() -> Self {
        KindStats { latency: histogram(), completed: 0, errors: 0 }
    }
}

/// An interval's counts.
#[derive(Clone, Default, Debug)]
pub struct Stats {
    /// By kind, where it occurred. A histogram takes a quarter of a megabyte.
    pub kinds: [Option<Box<KindStats>>; Kind::ALL.len()],
    /// How late requests left, nanoseconds, if any did: this generator's own fault.
    pub late: Option<Box<Histogram<u64>>>,
    /// Replies by error code.
    pub errors: BTreeMap<i32, u64>,
    /// Lost connections by reason.
    pub lost: BTreeMap<&'static str, u64>,
    /// Requests that a lost connection still owed, or that were in flight when the drain was over.
    pub unanswered: u64,
    /// Bytes of values in successful replies and writes.
    pub bytes: u64,
    /// Bytes moved, frames and all.
    pub moved: Moved,
}

impl Stats {
    /// Adds another thread's or another interval's counts.
    pub fn add(&mut self, other: &Stats) {
        for (into, from) in self.kinds.iter_mut().zip(&other.kinds) {
            if let Some(from) = from {
                let into = into.get_or_insert_default();
                merge(&mut into.latency, &from.latency);
                into.completed += from.completed;
                into.errors += from.errors;
            }
        }
        if let Some(from) = &other.late {
            merge(self.late.get_or_insert_with(|| Box::new(histogram())), from);
        }
        for (code, count) in &other.errors {
            *self.errors.entry(*code).or_default() += count;
        }
        for (why, count) in &other.lost {
            *self.lost.entry(why).or_default() += count;
        }
        self.unanswered += other.unanswered;
        self.bytes += other.bytes;
        self.moved.sent += other.moved.sent;
        self.moved.received += other.moved.received;
    }

    /// Successful replies of all kinds inside the interval.
    pub fn completed(&self) -> u64 {
        self.kinds.iter().flatten().map(|kind| kind.completed).sum()
    }

    /// Replies with an error.
    pub fn failed(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Latencies of all kinds.
    pub fn latency(&self) -> Histogram<u64> {
        let mut all = histogram();
        self.kinds.iter().flatten().for_each(|kind| merge(&mut all, &kind.latency));
        all
    }
}

/// A finished interval of one thread.
#[derive(Debug)]
pub struct Slice {
    /// Its number; negative in the warm-up.
    pub interval: i64,
    /// Its counts.
    pub stats: Stats,
    /// Connections with a session when it ended.
    pub up: usize,
    /// Requests whose time had come and which had not left.
    pub behind: u64,
}

/// The longest time in which no write was acknowledged.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Gap {
    /// When it began.
    pub from: Nanos,
    /// How long it was.
    pub length: Nanos,
}

/// Finds the longest gap of a thread; it is only a gap of the server when there is but one thread.
#[derive(Clone, Copy, Debug)]
struct GapFinder {
    last: Nanos,
    longest: Gap,
}

impl GapFinder {
    fn acknowledged(&mut self, now: Nanos) {
        let length = now.saturating_sub(self.last);
        if length > self.longest.length {
            self.longest = Gap { from: self.last, length };
        }
        self.last = self.last.max(now);
    }
}

/// A thread's counts, cut into intervals as time passes.
#[derive(Debug)]
pub struct Recorder {
    window: Window,
    interval: i64,
    stats: Stats,
    gaps: GapFinder,
}

impl Recorder {
    /// Starts with the first interval of the warm-up.
    pub fn new(window: Window) -> Recorder {
        let gaps = GapFinder { last: window.begin, longest: Gap::default() };
        Recorder { window, interval: window.interval_of(window.start), stats: Stats::default(), gaps }
    }

    /// The longest time within the measured one, up to `now`, in which no write was acknowledged.
    pub fn longest_gap(&self, now: Nanos) -> Gap {
        let mut gaps = self.gaps;
        gaps.acknowledged(now.min(self.window.end));
        gaps.longest
    }

    /// When the current interval ends.
    pub fn next_end(&self) -> Nanos {
        self.window.end_of(self.interval)
    }

    /// Ends intervals that are over by `now`. The last one stays open for the drain, until [`Recorder::finish`].
    pub fn roll(&mut self, now: Nanos, up: usize, behind: u64, mut take: impl FnMut(Slice)) {
        while self.interval < self.window.interval_of(now) {
            take(Slice { interval: self.interval, stats: std::mem::take(&mut self.stats), up, behind });
            self.interval += 1;
        }
    }

    /// The last interval.
    pub fn finish(&mut self, up: usize, behind: u64) -> Slice {
        Slice { interval: self.interval, stats: std::mem::take(&mut self.stats), up, behind }
    }

    /// A request has left; it was meant to at `intended`.
    pub fn left(&mut self, now: Nanos, intended: Nanos) {
        let late = self.stats.late.get_or_insert_with(|| Box::new(histogram()));
        late.saturating_record(now.saturating_sub(intended));
    }

    /// A reply arrived. `now` must not be behind the interval that [`Recorder::roll`] reached.
    pub fn replied(&mut self, kind: Kind, now: Nanos, intended: Nanos, err: i32, bytes: usize) {
        let stats = self.stats.kinds[kind as usize].get_or_insert_default();
        if err != 0 {
            stats.errors += 1;
            *self.stats.errors.entry(err).or_default() += 1;
            return;
        }
        stats.latency.saturating_record(now.saturating_sub(intended));
        if kind.is_write() && now >= self.window.begin {
            self.gaps.acknowledged(now.min(self.window.end));
        }
        if now < self.window.end {
            stats.completed += 1;
            self.stats.bytes += bytes as u64;
        }
    }

    /// Bytes went through the sockets. As with requests, those of the drain do not count.
    pub fn moved(&mut self, now: Nanos, moved: Moved) {
        if now < self.window.end {
            self.stats.moved.sent += moved.sent;
            self.stats.moved.received += moved.received;
        }
    }

    /// Requests that nobody waits for any more.
    pub fn abandoned(&mut self, unanswered: u64) {
        self.stats.unanswered += unanswered;
    }

    /// A connection is gone, and what it owed.
    pub fn lost(&mut self, why: &'static str, unanswered: u64) {
        *self.stats.lost.entry(why).or_default() += 1;
        self.stats.unanswered += unanswered;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Window = Window { start: 50, begin: 100, end: 125, interval: 10 };

    #[test]
    fn the_window_is_cut_from_the_end_of_the_warm_up_on() {
        let intervals: Vec<i64> =
            [50, 59, 60, 99, 100, 109, 110, 124, 125, 999].map(|at| WINDOW.interval_of(at)).into();
        assert_eq!(intervals, [-5, -5, -4, -1, 0, 0, 1, 2, 2, 2]);
        assert_eq!((WINDOW.end_of(-1), WINDOW.end_of(0), WINDOW.end_of(2)), (100, 110, 125));
        assert_eq!(WINDOW.seconds(2) * SECOND as f64, 5.0);
    }

    #[test]
    fn a_reply_counts_where_it_arrives_and_from_where_it_was_meant_to_leave() {
        let mut recorder = Recorder::new(WINDOW);
        let mut slices = Vec::new();
        recorder.roll(105, 1, 0, |slice| slices.push(slice));
        assert_eq!(slices.iter().map(|slice| slice.interval).collect::<Vec<_>>(), [-5, -4, -3, -2, -1]);
        recorder.replied(Kind::Get, 105, 60, 0, 8);
        recorder.replied(Kind::Get, 106, 60, -101, 0);
        slices.clear();
        recorder.roll(112, 1, 3, |slice| slices.push(slice));
        let stats = &slices[0].stats;
        assert_eq!((slices[0].behind, stats.completed(), stats.failed(), stats.bytes), (3, 1, 1, 8));
        assert_eq!(stats.errors[&-101], 1);
        // The histogram's step is 100 ns, so 45 counts with its neighbours.
        assert_eq!(stats.latency().len(), 1);
    }

    #[test]
    fn the_drain_counts_as_latency_and_not_as_throughput() {
        let mut recorder = Recorder::new(WINDOW);
        recorder.roll(5_000, 0, 0, |_| {});
        recorder.moved(124, Moved { sent: 3, received: 4 });
        recorder.replied(Kind::Set, 5_000, 120, 0, 1);
        recorder.moved(5_000, Moved { sent: 50, received: 60 });
        recorder.lost("closed", 4);
        let last = recorder.finish(0, 2);
        assert_eq!((last.interval, last.stats.completed(), last.stats.latency().len()), (2, 0, 1));
        assert_eq!(last.stats.moved, Moved { sent: 3, received: 4 });
        assert!((4_800..5_000).contains(&last.stats.latency().max()));
        assert_eq!((last.stats.unanswered, last.stats.lost["closed"], last.behind), (4, 1, 2));
    }

    #[test]
    fn the_longest_gap_is_between_writes_and_may_be_open_at_either_end() {
        let window = Window { start: 0, begin: 100, end: 1_000, interval: 1_000 };
        let gap = |acknowledged: &[(Kind, Nanos)], now| {
            let mut recorder = Recorder::new(window);
            acknowledged.iter().for_each(|(kind, at)| recorder.replied(*kind, *at, 0, 0, 0));
            let gap = recorder.longest_gap(now);
            (gap.from, gap.length)
        };
        let writes = [50, 200, 550, 800].map(|at| (Kind::Set, at));
        assert_eq!(gap(&writes, 2_000), (200, 350));
        assert_eq!(gap(&[(Kind::Set, 200), (Kind::Get, 500)], 2_000), (200, 800));
        assert_eq!(gap(&[(Kind::Set, 900)], 950), (100, 800));
        assert_eq!(gap(&[], 600), (100, 500), "no write at all is one gap");
    }

    #[test]
    fn totals_are_the_sum_of_what_was_added() {
        let mut total = Stats::default();
        for (kind, latency) in [(Kind::Get, 1_000), (Kind::Set, 3_000), (Kind::Get, 2_000)] {
            let mut recorder = Recorder::new(Window { start: 0, begin: 0, end: SECOND, interval: SECOND });
            recorder.replied(kind, latency, 0, 0, 10);
            recorder.left(latency, 0);
            total.add(&recorder.finish(1, 0).stats);
        }
        assert_eq!((total.completed(), total.bytes), (3, 30));
        assert_eq!(total.kinds[Kind::Get as usize].as_ref().unwrap().completed, 2);
        assert_eq!(total.late.as_ref().unwrap().len(), 3);
        assert!(total.kinds[Kind::List as usize].is_none());
    }
}
