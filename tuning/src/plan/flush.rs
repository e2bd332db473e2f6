#![forbid(unsafe_code)]
//! How writes become batches of the log, and what a batch costs on the disk.
//!
//! One batch is in flight; what arrives meanwhile leaves with the next, padded to the block; when nothing arrived, a
//! seal of one block follows (`storage/wal` of the server). With a flush of `F` seconds and writes that arrive at random,
//! `λ` a second, a flush ends with nothing waiting with the chance `e^(-λF)`, and the log then sleeps `1/λ`. So
//!
//! ```text
//! batches a second = 1 / (F + e^(-λF) / λ)
//! writes in one    = as many as arrive in F (Poisson), at least one
//! seals a second   = batches × e^(-λF)
//! ```

/// Bytes of a block of the log.
pub const BLOCK_BYTES: f64 = 4096.0;
/// Bytes of a batch's header; of a record beside its value, about: its header, the txn, a path of 25 bytes.
const BATCH_BYTES: f64 = 128.0;
const RECORD_BYTES: f64 = 110.0;

/// What the log does in a second.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Log {
    /// Batches.
    pub batches: f64,
    /// Bytes of batches, padded.
    pub batch_bytes: f64,
    /// Seals.
    pub seals: f64,
    /// Share of the time in which a flush is under way.
    pub busy: f64,
}

/// The log under `writes` a second of values of `value_bytes`, where a flush takes `flush_s`.
pub fn log(writes: f64, value_bytes: f64, flush_s: f64) -> Log {
    if writes <= 0.0 {
        return Log::default();
    }
    let during = writes * flush_s;
    let none = (-during).exp();
    let batches = 1.0 / (flush_s + none / writes);
    let record = value_bytes + RECORD_BYTES;
    Log {
        batches,
        batch_bytes: batches * padded(during, record),
        seals: batches * none,
        busy: batches * flush_s,
    }
}

/// Mean bytes of a batch in whole blocks: the records that arrive during a flush, `mean` on average, at least one.
fn padded(mean: f64, record: f64) -> f64 {
    let blocks = |count: f64| ((count * record + BATCH_BYTES) / BLOCK_BYTES).ceil() * BLOCK_BYTES;
    // Far from 0 the ends of the blocks are met evenly.
    if mean > 200.0 {
        return mean * record + BATCH_BYTES + BLOCK_BYTES / 2.0;
    }
    let mut chance = (-mean).exp();
    let mut sum = chance * blocks(1.0);
    for count in 1..600 {
        chance *= mean / f64::from(count);
        sum += chance * blocks(f64::from(count));
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_writes_are_a_batch_and_a_seal_each() {
        let log = log(10.0, 100.0, 1e-4);
        assert!((log.batches - 10.0).abs() < 0.05 && (log.seals - 10.0).abs() < 0.05, "{log:?}");
        assert!((log.batch_bytes / log.batches - BLOCK_BYTES).abs() < 10.0 && log.busy < 0.002, "{log:?}");
        assert_eq!(super::log(0.0, 100.0, 1e-4), Log::default());
    }

    #[test]
    fn many_writes_keep_the_disk_busy_and_leave_no_room_for_seals() {
        let log = log(1e5, 1024.0, 1e-3);
        assert!((log.batches - 1e3).abs() < 1e-3 && log.seals < 1e-9 && log.busy > 0.999, "{log:?}");
        let bytes = 1e5 * (1024.0 + RECORD_BYTES) + 1e3 * (BATCH_BYTES + BLOCK_BYTES / 2.0);
        assert!((log.batch_bytes / bytes - 1.0).abs() < 1e-3, "{log:?}");
    }

    #[test]
    fn the_sum_and_its_limit_agree_where_they_meet() {
        let (below, above) = (padded(199.0, 1000.0), padded(201.0, 1000.0));
        assert!(above > below && (above - below - 2000.0).abs() < 100.0, "{below} {above}");
    }

    #[test]
    fn more_writes_never_mean_fewer_batches_or_bytes() {
        let mut last = Log::default();
        for step in 0..60 {
            let next = log(10f64.powf(f64::from(step) / 10.0), 500.0, 5e-4);
            assert!(next.batches >= last.batches && next.batch_bytes > last.batch_bytes, "{last:?} {next:?}");
            assert!((0.0..=1.0).contains(&next.busy));
            last = next;
        }
    }
}
