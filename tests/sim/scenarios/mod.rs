#![forbid(unsafe_code)]
//! Single stories (reliability §5, mission 34 and 35) in the simulator's words. Each ends with everything healed: what was
//! acknowledged is there, and all servers are one.

mod disks;
mod elections;
mod history;
mod links;
mod overlap;
mod poison;
mod sessions;
mod syncs;

use ringkeeper::base::Zxid;
use ringkeeper::runtime::messages::Serving;

use crate::cluster::Cluster;

/// A scenario; told, it prints its trace.
pub(crate) type Scenario = fn(bool);

/// All of them.
pub(crate) const ALL: &[(&str, Scenario)] = &[
    ("handover_says_all", elections::handover_says_all),
    ("leader_overlap", overlap::leader_overlap),
    ("mission_34_35_leader_dies_at_every_step_of_a_write", history::leader_dies_at_every_step),
    ("s01_highest_zxid_late", history::s01_highest_zxid_late),
    ("cut_meets_seal", history::cut_meets_seal),
    ("s02_trunc_exact", syncs::s02_trunc_exact),
    ("s03_would_be_leader_crashes_at_every_step", history::s03_would_be_leader_crashes),
    ("s07_epoch_after_log_at_every_step", history::s07_epoch_after_log),
    ("s11_zombie_log_writer", syncs::s11_zombie_log_writer),
    ("s12_committed_log_hole", syncs::s12_committed_log_hole),
    ("s17_snapshot_above_trunc_at_every_step", syncs::s17_snapshot_above_trunc),
    ("s18_stale_ephemeral_after_diff_at_every_step", syncs::s18_stale_ephemeral_after_diff),
    ("s19_txnlog_diff_branch", syncs::s19_txnlog_diff_branch),
    ("s21_observers_are_no_quorum", elections::s21_observers_are_no_quorum),
    ("s21_observers_accept_no_epoch_at_every_ms", elections::s21_observers_accept_no_epoch),
    ("s23_zxid_rollover", elections::s23_zxid_rollover),
    ("s23_leader_dies_at_rollover_at_every_step", elections::s23_leader_dies_at_rollover),
    ("s24_bridge_partition", elections::s24_bridge_partition),
    ("s25_deaf_leader", elections::s25_deaf_leader),
    ("s25_mute_leader", elections::s25_mute_leader),
    ("s26_bit_flip_in_proposal", links::s26_bit_flip_in_proposal),
    ("s29_big_sync_metastable", syncs::s29_big_sync),
    ("s30_all_lose_power_mid_batch", history::s30_all_lose_power),
    ("s33_sealed_damage", disks::s33_sealed_damage),
    ("s34_amnesiac_voter", history::s34_amnesiac_voter),
    ("s34_amnesiac_voter_of_a_damaged_log", disks::s34_damaged_voter),
    ("s39_unsynced_diff_snapshot_at_every_step", disks::s39_unsynced_diff_snapshot),
    ("s40_leader_log_dead_at_every_write", disks::s40_leader_log_dead),
    ("s41_fsync_once_at_every_write", disks::s41_fsync_once),
    ("s42_disk_full_trunc", disks::s42_disk_full_trunc),
    ("s44_limping_leader", disks::s44_limping_leader),
    ("s45_restored_backup", disks::s45_restored_backup),
    ("s50_ephemeral_vs_close_in_each_role", sessions::s50_ephemeral_vs_close),
    ("s51_read_only_client", sessions::s51_read_only_client),
    ("s53_late_request_after_close", sessions::s53_late_request_after_close),
    ("s54_connect_at_leader_change_at_every_step", sessions::s54_connect_at_leader_change),
    ("s57_stale_sync", elections::s57_stale_sync),
    ("s58_clock_step", sessions::s58_clock_step),
    ("s59_poison_entries", poison::s59_poison_entries),
    ("s60_auth_in_log_at_every_step", sessions::s60_auth_in_log),
    ("s61_preprocess_then_snapshot", syncs::s61_preprocess_then_snapshot),
    ("s62_stuck_receiver", syncs::s62_stuck_receiver),
    ("s66_reply_order_at_every_step", sessions::s66_reply_order),
    ("groups_decide", elections::groups_decide),
    ("slow_install_comes_once", syncs::slow_install),
    ("states_end_with_roles", syncs::states_end_with_roles),
];

impl Cluster {
    /// Goes on until it is so.
    pub(crate) fn until(&mut self, what: &str, holds: impl Fn(&Cluster) -> bool) {
        let deadline = self.time.ms() + 60_000;
        while !holds(self) {
            assert!(
                self.time.ms() < deadline,
                "not within a minute: {what}: {}{:?}",
                self.state(),
                self.guests.iter().map(|guest| &guest.heard).collect::<Vec<_>>()
            );
            self.step(u64::MAX, false);
        }
    }

    /// So many more writes are acknowledged.
    fn until_writes(&mut self, more: usize) {
        let wanted = self.oracle.acknowledged_writes() + more;
        self.until("writes", |cluster| cluster.oracle.acknowledged_writes() >= wanted);
    }

    fn leader(&self) -> Option<usize> {
        self.nodes
            .iter()
            .position(|node| node.server.is_some() && matches!(node.serving, Serving::Leading(_)))
    }

    fn until_serving(&mut self) -> usize {
        // A voter that comes too late to be one of the first is brought up to date before it has its vote.
        let voters = self.plan.voters.len();
        self.until("a leader", |cluster| {
            let votes = cluster.nodes[..voters].iter().all(|node| node.serving != Serving::Observing);
            cluster.leader().is_some() && cluster.is_whole() && votes
        });
        self.leader().unwrap()
    }

    /// Clients ask for nothing any more, and what they asked is known everywhere.
    fn quiet(&mut self) {
        self.set_asking(false);
        self.until("an answer", |cluster| !cluster.is_asked());
        self.set_asking(false);
        self.for_ms(500);
    }

    /// It is killed, and comes back when it is told to; its clients wait for that.
    fn leave(&mut self, at: usize) {
        self.crash(at, false);
        self.starts_after(at, 600_000);
    }

    fn for_ms(&mut self, ms: u64) {
        self.run_until(self.time.ms() + ms, false);
    }

    /// Nothing gets from one to the other.
    fn cut(&mut self, from: usize, to: usize) {
        let (from, to) = (self.nodes[from].id.0, self.nodes[to].id.0);
        self.note(&format!("{from} does not reach {to}"));
        self.network.borrow_mut().cut(from, to);
    }

    fn others(&self, than: usize) -> Vec<usize> {
        (0..self.nodes.len()).filter(|at| *at != than).collect()
    }

    /// Nobody hears it any more.
    fn mute(&mut self, at: usize) {
        self.others(at).into_iter().for_each(|other| self.cut(at, other));
    }

    /// It hears nobody any more.
    fn deafen(&mut self, at: usize) {
        self.others(at).into_iter().for_each(|other| self.cut(other, at));
    }

    /// How far a server's log goes, flushed.
    fn logged(&self, at: usize) -> Zxid {
        self.nodes[at].server.as_ref().map_or(Zxid::ZERO, |server| server.sequencer.standing().flushed)
    }

    fn decided(&self, at: usize) -> Zxid {
        self.nodes[at].server.as_ref().map_or(Zxid::ZERO, |server| server.sequencer.standing().decided)
    }
}
