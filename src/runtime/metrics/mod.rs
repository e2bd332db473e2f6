#![forbid(unsafe_code)]
//! What a server counts: plain integers on the core that sees the event, with a verb for each event. Whoever reports
//! takes copies, merges them, and reads the sum; no core locks or uses atomics, and recording a sample neither
//! allocates nor blocks, save for the first sight of a namespace (operations §6.2).
//!
//! | Struct | Lives on | Counts |
//! |---|---|---|
//! | [`ConnectionStats`] | its connection's shard | one connection: what `cons` shows |
//! | [`ShardMetrics`] | each shard | packets, requests, latencies, watches, admissions |
//! | [`SequencerMetrics`] | the sequencer | prep, log, apply, expiry |
//! | [`MemberMetrics`] | the sequencer | elections, proposals, learners |
//! | [`BroadcastMetrics`] | the sequencer | a txn's way through the ensemble |
//! | [`LinkQueues`] | the sequencer | packets that wait for learners |
//! | [`DiskMetrics`] | the sequencer | snapshots and loading |
//! | [`Metrics`] | whoever reports | all of them, merged: what `mntr` shows |
//!
//! Times are recorded in microseconds and shown in milliseconds, the unit of stock's names. Gauges that are facts
//! and not counts (znodes, sessions, file descriptors) are not here: they come with the views of
//! [`crate::server::words`].

mod broadcast;
mod connection;
mod disk;
mod links;
mod member;
mod namespaces;
mod sequencer;
mod shard;
mod summary;

pub use broadcast::BroadcastMetrics;
pub use connection::ConnectionStats;
pub use disk::DiskMetrics;
pub use links::LinkQueues;
pub use member::MemberMetrics;
pub use namespaces::{NAMESPACES_MAX, Namespaces};
pub use sequencer::SequencerMetrics;
pub use shard::ShardMetrics;
pub use summary::{Distribution, Sizes, Summary, Timing};

/// Everything one server counted.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// All shards, merged.
    pub shards: ShardMetrics,
    /// The sequencer.
    pub sequencer: SequencerMetrics,
    /// Loading and snapshots.
    pub disk: DiskMetrics,
}

impl Metrics {
    /// Adds what another core counted.
    pub fn merge(&mut self, other: &Metrics) {
        self.shards.merge(&other.shards);
        self.sequencer.merge(&other.sequencer);
        self.disk.merge(&other.disk);
    }
}

#[cfg(test)]
mod tests;
