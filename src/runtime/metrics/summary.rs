#![forbid(unsafe_code)]
//! Samples in sum: count, total, smallest, largest, and with percentiles (stock `AvgMinMaxCounter`,
//! `AvgMinMaxPercentileCounter`).

use crate::base::histogram::Latencies;

/// Samples without a unit: sizes, counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    count: u64,
    sum: u64,
    min: u64,
    max: u64,
}

impl Summary {
    /// Counts a sample.
    pub fn record(&mut self, value: u64) {
        self.min = if self.count == 0 { value } else { self.min.min(value) };
        self.max = self.max.max(value);
        self.count += 1;
        self.sum = self.sum.saturating_add(value);
    }

    /// Counts a sample so many times.
    pub fn record_many(&mut self, value: u64, times: u64) {
        let sum = value.saturating_mul(times);
        self.merge(&Summary { count: times, sum, min: value, max: value });
    }

    /// Adds another core's samples.
    pub fn merge(&mut self, other: &Summary) {
        if other.count == 0 {
            return;
        }
        self.min = if self.count == 0 { other.min } else { self.min.min(other.min) };
        self.max = self.max.max(other.max);
        self.count += other.count;
        self.sum = self.sum.saturating_add(other.sum);
    }

    /// How many samples.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their sum.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The smallest, 0 without any.
    pub fn min(&self) -> u64 {
        self.min
    }

    /// The largest, 0 without any.
    pub fn max(&self) -> u64 {
        self.max
    }
}

/// Sizes of messages in bytes: last, smallest, largest (stock `BufferStats`); `None` before the first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sizes {
    /// Of the last one.
    pub last: Option<u64>,
    /// Of the smallest.
    pub min: Option<u64>,
    /// Of the largest.
    pub max: Option<u64>,
}

impl Sizes {
    /// Counts a message.
    pub fn record(&mut self, bytes: u64) {
        self.last = Some(bytes);
        self.min = Some(self.min.map_or(bytes, |min| min.min(bytes)));
        self.max = self.max.max(Some(bytes));
    }

    /// Which core had the last one is not known; the other's word is taken where there is one.
    pub fn merge(&mut self, other: &Sizes) {
        self.last = other.last.or(self.last);
        self.min = self.min.into_iter().chain(other.min).min();
        self.max = self.max.max(other.max);
    }
}

/// Durations, recorded in microseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Timing {
    us: Summary,
}

impl Timing {
    /// Counts a duration in microseconds.
    pub fn record_us(&mut self, us: u64) {
        self.us.record(us);
    }

    /// Adds another core's durations.
    pub fn merge(&mut self, other: &Timing) {
        self.us.merge(&other.us);
    }

    /// In microseconds.
    pub fn us(&self) -> &Summary {
        &self.us
    }

    /// The shortest, ms.
    pub fn min_ms(&self) -> u64 {
        us_to_ms(self.us.min)
    }

    /// The longest, ms.
    pub fn max_ms(&self) -> u64 {
        us_to_ms(self.us.max)
    }
}

/// Microseconds to milliseconds, rounded half up.
pub(crate) fn us_to_ms(us: u64) -> u64 {
    us / 1000 + u64::from(us % 1000 >= 500)
}

/// Durations with percentiles: some 13 KiB each, so only for stages that exist.
#[derive(Clone, Debug, Default)]
pub struct Distribution {
    timing: Timing,
    latencies: Latencies,
}

impl Distribution {
    /// Counts a duration in microseconds.
    pub fn record_us(&mut self, us: u64) {
        self.timing.record_us(us);
        self.latencies.record(us);
    }

    /// Adds another core's durations.
    pub fn merge(&mut self, other: &Distribution) {
        self.timing.merge(&other.timing);
        self.latencies.merge(&other.latencies);
    }

    /// Count, sum, extremes.
    pub fn timing(&self) -> &Timing {
        &self.timing
    }

    /// The duration at `quantile` (0.0 to 1.0), ms.
    pub fn quantile_ms(&self, quantile: f64) -> u64 {
        us_to_ms(self.latencies.quantile_us(quantile))
    }
}
