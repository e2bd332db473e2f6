#![forbid(unsafe_code)]
//! How long the ensemble takes with a txn, from the time that its leader gave it (stock `Request.logLatency`,
//! `Follower.processPacket`). Lives on: the sequencer.
//!
//! The times are by the wall clocks of two servers: where they differ, so do the figures, and what would be negative is
//! not counted, as in stock.

use std::collections::BTreeMap;

use super::Distribution;
use crate::base::{ServerId, WallMillis};

/// Latencies of the broadcast. A role that does not take part in a stage leaves it empty.
#[derive(Clone, Debug, Default)]
pub struct BroadcastMetrics {
    /// As a follower: until the proposal came.
    pub proposal: Distribution,
    /// Until it was durable here and could be acknowledged.
    pub ack_creation: Distribution,
    /// As a leader: until a quorum had acknowledged it.
    pub quorum_ack: Distribution,
    /// As a learner: until its commit came.
    pub commit: Distribution,
    /// As a follower that serves observers: what a proposal of the leader took, by our own clock, and what a commit did,
    /// until it was on its way to all of them (stock `om_proposal_process_time_ms`, `om_commit_process_time_ms`).
    pub relayed_proposal: Distribution,
    /// See `relayed_proposal`.
    pub relayed_commit: Distribution,
    acks: BTreeMap<ServerId, Distribution>,
}

/// Counts the time from `made` to `now`.
fn record(distribution: &mut Distribution, made: WallMillis, now: WallMillis) {
    if let Ok(ms) = u64::try_from(now.0.saturating_sub(made.0)) {
        distribution.record_us(ms.saturating_mul(1000));
    }
}

impl BroadcastMetrics {
    /// A proposal of that time came from the leader.
    pub fn proposal_received(&mut self, made: WallMillis, now: WallMillis) {
        record(&mut self.proposal, made, now);
    }

    /// One is durable here.
    pub fn durable(&mut self, made: WallMillis, now: WallMillis) {
        record(&mut self.ack_creation, made, now);
    }

    /// A voter acknowledged one that was not decided yet.
    pub fn acknowledged(&mut self, voter: ServerId, made: WallMillis, now: WallMillis) {
        record(self.acks.entry(voter).or_default(), made, now);
    }

    /// A quorum has one of ours.
    pub fn decided(&mut self, made: WallMillis, now: WallMillis) {
        record(&mut self.quorum_ack, made, now);
    }

    /// The leader said that one is decided.
    pub fn commit_received(&mut self, made: WallMillis, now: WallMillis) {
        record(&mut self.commit, made, now);
    }

    /// As a leader: until a voter, the leader among them, had acknowledged it.
    pub fn acks(&self) -> impl Iterator<Item = (ServerId, &Distribution)> {
        self.acks.iter().map(|(voter, distribution)| (*voter, distribution))
    }

    /// Adds other counts.
    pub fn merge(&mut self, other: &BroadcastMetrics) {
        // Taken apart in full, so that a field forgotten here does not compile.
        let BroadcastMetrics {
            proposal,
            ack_creation,
            quorum_ack,
            commit,
            relayed_proposal,
            relayed_commit,
            acks,
        } = other;
        self.proposal.merge(proposal);
        self.ack_creation.merge(ack_creation);
        self.quorum_ack.merge(quorum_ack);
        self.commit.merge(commit);
        self.relayed_proposal.merge(relayed_proposal);
        self.relayed_commit.merge(relayed_commit);
        for (voter, distribution) in acks {
            self.acks.entry(*voter).or_default().merge(distribution);
        }
    }
}
