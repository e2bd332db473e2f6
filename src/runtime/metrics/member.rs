#![forbid(unsafe_code)]
//! What a member of an ensemble counts. Lives on: the sequencer.

use super::{Sizes, Summary, Timing};
use crate::zab::event::{DISLOYAL, Observation, Role, SyncMode};

/// Counts of a member. Public for reading; events come in by the verbs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MemberMetrics {
    /// Elections that began here.
    pub elections_begun: u64,
    /// Leaderships given up before they began, because voters looked for another leader.
    pub disloyal: u64,
    /// How long they took.
    pub election: Timing,
    /// From the loss of a role, or the start, until this server served again; and where it then led.
    pub unavailable: Timing,
    /// See `unavailable`.
    pub leader_unavailable: Timing,
    /// From a leader's first word about synchronization until this server served, as a follower and as an observer.
    pub follower_sync: Timing,
    /// See `follower_sync`.
    pub observer_sync: Timing,
    /// Proposals made.
    pub proposals: u64,
    /// Their sizes, since this server leads.
    pub proposal_sizes: Sizes,
    /// Proposals of ours that were committed.
    pub commits: u64,
    /// Learners brought up to date with a whole state.
    pub snaps: u64,
    /// Learners brought up to date with txns, or by cutting some.
    pub diffs: u64,
    /// Learners that were being brought up to date with a state, whenever that began or ended; and with txns.
    pub inflight_snaps: Summary,
    /// See `inflight_snaps`.
    pub inflight_diffs: Summary,
    /// Servers that were not taken in, as often as they came.
    pub refused: u64,
    /// Sessions that learners asked about.
    pub revalidations: u64,
    /// Proposals received from a leader.
    pub proposals_received: u64,
    /// Commits received from a leader.
    pub commits_received: u64,
}

impl MemberMetrics {
    /// Zab saw something; so many learners are brought up to date with a state now, and with txns.
    pub fn observed(&mut self, observation: &Observation, snaps: usize, diffs: usize) {
        if let Observation::LearnerSyncing { mode, .. } | Observation::LearnerSynced { mode, .. } =
            observation
        {
            match mode {
                SyncMode::Snap => self.inflight_snaps.record(snaps as u64),
                SyncMode::Diff | SyncMode::Trunc => self.inflight_diffs.record(diffs as u64),
            }
        }
        match observation {
            Observation::ElectionStarted { .. } => self.elections_begun += 1,
            Observation::Elected { took_ms, .. } => self.election.record_us(took_ms.saturating_mul(1000)),
            Observation::LearnerSyncing { mode: SyncMode::Snap, .. } => self.snaps += 1,
            // Stock counts a cut among these (`LearnerHandler.run`).
            Observation::LearnerSyncing { mode: SyncMode::Diff | SyncMode::Trunc, .. } => self.diffs += 1,
            Observation::LearnerRefused { .. } => self.refused += 1,
            Observation::SteppedDown { reason } if *reason == DISLOYAL => self.disloyal += 1,
            _ => {}
        }
    }

    /// This server serves, after so many ms without a role, of which so many were synchronization.
    pub fn serves(&mut self, role: Role, unavailable_ms: u64, sync_ms: u64) {
        self.unavailable.record_us(unavailable_ms.saturating_mul(1000));
        let (timing, ms) = match role {
            Role::Looking => return,
            Role::Leading(_) => (&mut self.leader_unavailable, unavailable_ms),
            Role::Following(_) => (&mut self.follower_sync, sync_ms),
            Role::Observing(_) => (&mut self.observer_sync, sync_ms),
        };
        timing.record_us(ms.saturating_mul(1000));
    }

    /// This server leads from now on: sizes are those of a leader's own time.
    pub fn led(&mut self) {
        self.proposal_sizes = Sizes::default();
    }

    /// A leader proposed a txn of so many bytes.
    pub fn proposed(&mut self, bytes: usize) {
        self.proposals += 1;
        self.proposal_sizes.record(bytes as u64);
    }

    /// A quorum has so many more of our proposals.
    pub fn committed(&mut self, txns: u64) {
        self.commits += txns;
    }

    /// So many more servers were refused where elections are spoken of.
    pub fn refused(&mut self, servers: u64) {
        self.refused += servers;
    }

    /// A learner asked about a session.
    pub fn revalidated(&mut self) {
        self.revalidations += 1;
    }

    /// A leader proposed.
    pub fn proposal_received(&mut self) {
        self.proposals_received += 1;
    }

    /// A leader committed.
    pub fn commit_received(&mut self) {
        self.commits_received += 1;
    }

    /// Adds other counts.
    pub fn merge(&mut self, other: &MemberMetrics) {
        // Taken apart in full, so that a field forgotten here does not compile.
        let MemberMetrics {
            elections_begun,
            disloyal,
            election,
            unavailable,
            leader_unavailable,
            follower_sync,
            observer_sync,
            proposals,
            proposal_sizes,
            commits,
            snaps,
            diffs,
            inflight_snaps,
            inflight_diffs,
            refused,
            revalidations,
            proposals_received,
            commits_received,
        } = other;
        self.elections_begun += elections_begun;
        self.disloyal += disloyal;
        self.election.merge(election);
        self.unavailable.merge(unavailable);
        self.leader_unavailable.merge(leader_unavailable);
        self.follower_sync.merge(follower_sync);
        self.observer_sync.merge(observer_sync);
        self.proposals += proposals;
        self.proposal_sizes.merge(proposal_sizes);
        self.commits += commits;
        self.snaps += snaps;
        self.diffs += diffs;
        self.inflight_snaps.merge(inflight_snaps);
        self.inflight_diffs.merge(inflight_diffs);
        self.refused += refused;
        self.revalidations += revalidations;
        self.proposals_received += proposals_received;
        self.commits_received += commits_received;
    }
}
