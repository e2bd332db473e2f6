#![forbid(unsafe_code)]
//! How long a write of the log waits for company, where that is asked for (`flushDelay`; stock
//! `SyncRequestProcessor.run`, `shouldFlush`).
//!
//! Lives on: the sequencer. Off, group commit follows the disk's own pace alone. On, a batch leaves when the last flush
//! is as long ago as set, or nothing came for a third of that, or it is full, whichever is first: fewer flushes, where a
//! volume counts them, for a longer wait of each write.

use crate::base::Millis;

/// When the collected batch leaves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Linger {
    delay_ms: u64,
    flushed: Millis,
    arrived: Millis,
}

impl Linger {
    /// `delay_ms` 0 is off.
    pub(super) fn new(delay_ms: u64, now: Millis) -> Linger {
        Linger { delay_ms, flushed: now, arrived: now }
    }

    /// Whether writes wait at all.
    pub(super) fn is_on(&self) -> bool {
        self.delay_ms > 0
    }

    /// A txn was collected.
    pub(super) fn arrived(&mut self, now: Millis) {
        self.arrived = now;
    }

    /// Txns became durable.
    pub(super) fn flushed(&mut self, now: Millis) {
        self.flushed = now;
    }

    /// For how long a batch that is not full waits yet, ms; 0 when it leaves now.
    pub(super) fn wait_ms(&self, now: Millis) -> u64 {
        let until_flush = self.delay_ms.saturating_sub(now.since(self.flushed));
        let until_quiet = (self.delay_ms / 3).saturating_sub(now.since(self.arrived));
        until_flush.min(until_quiet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_waits_for_the_delay_since_the_last_flush_or_a_third_of_it_in_silence() {
        let mut linger = Linger::new(30, Millis(1000));
        let check = |linger: &Linger, now, ms| assert_eq!(linger.wait_ms(Millis(now)), ms, "at {now}");
        linger.arrived(Millis(1005));
        check(&linger, 1005, 10);
        check(&linger, 1014, 1);
        check(&linger, 1015, 0);
        linger.arrived(Millis(1014));
        check(&linger, 1015, 9);
        // Whatever else comes, no longer than this after the flush before.
        linger.arrived(Millis(1028));
        check(&linger, 1028, 2);
        check(&linger, 1030, 0);
        linger.flushed(Millis(1031));
        linger.arrived(Millis(1032));
        check(&linger, 1032, 10);
        // The last flush is long ago: at once.
        linger.arrived(Millis(1100));
        check(&linger, 1100, 0);
    }

    #[test]
    fn without_a_delay_nothing_waits() {
        let mut linger = Linger::new(0, Millis(1000));
        linger.arrived(Millis(1000));
        assert!(!linger.is_on());
        assert_eq!(linger.wait_ms(Millis(1000)), 0);
    }
}
