#![forbid(unsafe_code)]
//! Latency histograms: the only place that knows hdrhistogram. One core records, nobody locks; whoever reports
//! merges copies.

/// Counts of latencies in microseconds, 1 µs to 1 h, two significant digits (32 KiB at most).
#[derive(Clone, Debug)]
pub struct Latencies {
    inner: hdrhistogram::Histogram<u32>,
    sum_us: u64,
}

const MAX_US: u64 = 3_600_000_000;

impl Default for Latencies {
    fn default() -> Self {
        Self::new()
    }
}

impl Latencies {
    /// An empty histogram.
    pub fn new() -> Self {
        let inner = hdrhistogram::Histogram::new_with_bounds(1, MAX_US, 2)
            .expect("bounds are constants that hdrhistogram accepts");
        Latencies { inner, sum_us: 0 }
    }

    /// Counts one latency in microseconds; values past an hour count as an hour.
    pub fn record(&mut self, us: u64) {
        self.inner.saturating_record(us);
        self.sum_us = self.sum_us.saturating_add(us);
    }

    /// Adds another core's counts.
    pub fn merge(&mut self, other: &Latencies) {
        self.inner.add(&other.inner).expect("both histograms have the same bounds");
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
    }

    /// How many were recorded.
    pub fn count(&self) -> u64 {
        self.inner.len()
    }

    /// Sum of all recorded values, microseconds.
    pub fn sum_us(&self) -> u64 {
        self.sum_us
    }

    /// Smallest, largest and mean in microseconds; zeros when empty.
    pub fn min_us(&self) -> u64 {
        if self.inner.is_empty() { 0 } else { self.inner.min() }
    }

    /// Largest value in microseconds, 0 when empty.
    pub fn max_us(&self) -> u64 {
        self.inner.max()
    }

    /// Mean in microseconds, 0.0 when empty.
    pub fn mean_us(&self) -> f64 {
        if self.inner.is_empty() { 0.0 } else { self.sum_us as f64 / self.inner.len() as f64 }
    }

    /// The value at quantile `q` (0.0..=1.0), microseconds.
    pub fn quantile_us(&self, q: f64) -> u64 {
        self.inner.value_at_quantile(q)
    }

    /// Forgets everything (`srst`, `crst`).
    pub fn reset(&mut self) {
        self.inner.reset();
        self.sum_us = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_histograms_count_what_both_counted() {
        let mut a = Latencies::new();
        let mut b = Latencies::new();
        a.record(100);
        b.record(300);
        a.merge(&b);
        assert_eq!((a.count(), a.sum_us(), a.max_us() / 100), (2, 400, 3));
        a.reset();
        assert_eq!((a.count(), a.min_us(), a.mean_us() as u64), (0, 0, 0));
    }
}
