#![forbid(unsafe_code)]
//! When requests leave. In an open loop they leave on a schedule that was fixed beforehand and does not look at the
//! server; latency counts from the time on the schedule, so that a stall is paid for by every request it delayed
//! (no coordinated omission). In a closed loop a request leaves when an earlier one came back, and its latency counts
//! from there; a server that stalls is then asked less, which hides the stall.

/// Nanoseconds since the run's clock started.
pub type Nanos = u64;

/// One second.
pub const SECOND: Nanos = 1_000_000_000;

/// Evenly spaced times, without drift: the nth is `start + n / rate`, computed anew each time.
#[derive(Clone, Debug)]
pub struct Schedule {
    start: Nanos,
    /// Requests a second, of all threads.
    rate: f64,
    /// This thread takes every `step`th time from `next` on.
    next: u64,
    step: u64,
}

impl Schedule {
    /// The share of thread `thread` of `threads` in `rate` requests a second from `start` on. The threads' times
    /// interleave: together they are one even sequence.
    pub fn new(start: Nanos, rate: f64, thread: usize, threads: usize) -> Schedule {
        assert!(rate.is_finite() && rate > 0.0, "rate {rate}");
        assert!(thread < threads, "thread {thread} of {threads}");
        Schedule { start, rate, next: thread as u64, step: threads as u64 }
    }

    /// When the next request is meant to leave.
    pub fn next_at(&self) -> Nanos {
        self.start + (self.next as f64 * (SECOND as f64 / self.rate)) as Nanos
    }

    /// That request has left.
    pub fn advance(&mut self) {
        self.next += self.step;
    }

    /// How many times of this thread lie before `end` and have not been taken.
    pub fn left_before(&self, end: Nanos) -> u64 {
        if self.next_at() >= end {
            return 0;
        }
        let total = ((end - self.start) as f64 * self.rate / SECOND as f64).ceil() as u64;
        total.saturating_sub(self.next).div_ceil(self.step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threads_together_make_one_even_sequence_without_drift() {
        let (rate, threads) = (30_000.0, 3);
        let mut times: Vec<Nanos> = Vec::new();
        for thread in 0..threads {
            let mut schedule = Schedule::new(5, rate, thread, threads);
            for _ in 0..10_000 {
                times.push(schedule.next_at());
                schedule.advance();
            }
        }
        times.sort_unstable();
        assert_eq!(times[0], 5);
        for (nth, pair) in times.windows(2).enumerate() {
            assert!((33_333..=33_334).contains(&(pair[1] - pair[0])), "after {nth}: {pair:?}");
        }
        // A third of a nanosecond an interval would have summed up to 10 µs.
        assert_eq!(*times.last().unwrap(), 5 + (29_999.0 * (1e9 / rate)) as u64);
    }

    #[test]
    fn what_is_left_is_what_would_still_be_taken() {
        let mut schedule = Schedule::new(100, 1000.0, 1, 4);
        for end in [0, 100, 1_000_100, 5_000_100, 10_000_100, 10_000_101, SECOND] {
            let mut rest = schedule.clone();
            let mut count = 0;
            while rest.next_at() < end {
                rest.advance();
                count += 1;
            }
            assert_eq!(schedule.left_before(end), count, "before {end}");
        }
        while schedule.next_at() < SECOND {
            schedule.advance();
        }
        assert_eq!(schedule.left_before(SECOND), 0);
    }
}
