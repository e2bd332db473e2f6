#![forbid(unsafe_code)]
//! What loading and snapshots count. Lives on: the sequencer, which the disk shard reports to; loading is counted before
//! it runs.

use super::{Summary, Timing};

/// Counts of loading and snapshots. Public for reading; events come in by the verbs.
#[derive(Clone, Debug, Default)]
pub struct DiskMetrics {
    /// Time to write a snapshot.
    pub snapshot: Timing,
    /// Snapshots that failed.
    pub snapshot_errors: u64,
    /// Loading in all: snapshot and log.
    pub load: Timing,
    /// Building the tree from the snapshot.
    pub snapshot_load: Timing,
    /// The rest: reading both files, and replaying the log.
    pub log_load: Timing,
    /// Txns replayed.
    pub txns_loaded: Summary,
}

impl DiskMetrics {
    /// A snapshot is on disk, begun `us` ago.
    pub fn snapshot_written(&mut self, us: u64) {
        self.snapshot.record_us(us);
    }

    /// A snapshot could not be written.
    pub fn snapshot_failed(&mut self) {
        self.snapshot_errors += 1;
    }

    /// The state was loaded: the tree of the snapshot in `snapshot_us`, the rest with `txns` of the log in `log_us`.
    pub fn loaded(&mut self, snapshot_us: u64, log_us: u64, txns: u64) {
        self.load.record_us(snapshot_us.saturating_add(log_us));
        self.snapshot_load.record_us(snapshot_us);
        self.log_load.record_us(log_us);
        self.txns_loaded.record(txns);
    }

    /// `srst`.
    pub fn reset(&mut self) {
        *self = DiskMetrics::default();
    }

    /// Adds other counts.
    pub fn merge(&mut self, other: &DiskMetrics) {
        let DiskMetrics { snapshot, snapshot_errors, load, snapshot_load, log_load, txns_loaded } = other;
        self.snapshot.merge(snapshot);
        self.snapshot_errors += snapshot_errors;
        self.load.merge(load);
        self.snapshot_load.merge(snapshot_load);
        self.log_load.merge(log_load);
        self.txns_loaded.merge(txns_loaded);
    }
}
