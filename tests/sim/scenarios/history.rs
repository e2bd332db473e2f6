#![forbid(unsafe_code)]
//! What a server holds when its leader, its power or its disk is gone.

use std::collections::BTreeSet;

use ringkeeper::base::planted::{Bug, planted};

use super::disks::PATIENCE_MS;
use crate::cluster::Cluster;

/// The leader dies after each number of turns that servers take from the moment a client has asked, from before the
/// proposal to after the last commit: whatever was answered stays, whatever was not is there whole or not at all.
pub(super) fn leader_dies_at_every_step(is_told: bool) {
    let mut met = BTreeSet::new();
    for power in [false, true] {
        for turns in 0..60 {
            let mut cluster = Cluster::calm(1_000 + turns, 3, 0, is_told);
            let leader = cluster.until_serving();
            cluster.until_writes(5);
            cluster.until("a request under way", Cluster::is_asked);
            let before = (0..3).map(|at| cluster.logged(at)).max().expect("there are three");
            for _ in 0..turns {
                cluster.step(u64::MAX, false);
            }
            let logged = (0..3).filter(|at| cluster.logged(*at) > before).count();
            let decided = (0..3).filter(|at| cluster.decided(*at) > before).count();
            met.insert(match (cluster.logged(leader) > before, logged, decided) {
                (_, 0, _) => "nobody has it",
                (true, 1, _) => "its leader alone has it",
                (false, _, 0) => "others have it, and not its leader",
                (true, _, 0) => "a quorum has it, and does not know",
                (_, _, 1 | 2) => "some know that it is decided",
                _ => "all know",
            });
            cluster.crash(leader, power);
            cluster.starts_after(leader, 2_000);
            cluster.until("another leader", |cluster| cluster.leader().is_some_and(|other| other != leader));
            cluster.finish();
        }
    }
    let is_planted = Bug::ALL.into_iter().any(planted);
    assert!(is_planted || met.len() == 6, "not every step was met: {met:?}");
}

/// A logs what nobody else has, all crash, B and C go on in a new epoch, A returns: its tail is cut (ZOOKEEPER-1154).
pub(super) fn s01_highest_zxid_late(is_told: bool) {
    for seed in 0..10 {
        let mut cluster = Cluster::calm(2_000 + seed, 3, 1, is_told);
        let leader = cluster.until_serving();
        cluster.until_writes(10);
        cluster.mute(leader);
        let before = cluster.logged(leader);
        cluster.until("a txn that one server has", |cluster| cluster.logged(leader) > before);
        for at in 0..cluster.nodes.len() {
            cluster.crash(at, true);
        }
        cluster.starts_after(leader, 20_000);
        cluster.network.borrow_mut().mend();
        cluster.until_writes(10);
        cluster.finish();
    }
}

/// A leader that is killed comes back, with what nobody else has, to a slow disk: it seals its log while the new leader has
/// it cut.
pub(super) fn cut_meets_seal(is_told: bool) {
    for seed in 0..40 {
        let mut cluster = Cluster::calm(2_100 + seed, 3, 0, is_told);
        let leader = cluster.until_serving();
        cluster.until_writes(5);
        cluster.log_alone(leader, 2);
        cluster.crash(leader, false);
        cluster.starts_after(leader, 60_000);
        cluster.network.borrow_mut().mend();
        cluster.until_writes(5);
        cluster.nodes[leader].machine.borrow_mut().disk_delay = 0..=120;
        cluster.starts_after(leader, 0);
        cluster.until("it is back", |cluster| cluster.nodes[leader].serving.is_serving());
        cluster.finish();
    }
}

/// Whoever is about to lead dies at any point before it does (ZOOKEEPER-790, -335): an epoch has one leader, and what was
/// acknowledged before stays.
pub(super) fn s03_would_be_leader_crashes(is_told: bool) {
    for turns in (0..200).step_by(5) {
        let mut cluster = Cluster::calm(3_000 + turns, 3, 0, is_told);
        let leader = cluster.until_serving();
        cluster.until_writes(5);
        cluster.crash(leader, true);
        cluster.starts_after(leader, 300);
        for _ in 0..turns {
            cluster.step(u64::MAX, false);
        }
        // The one with the higher id of those that are left is the next.
        let next = cluster.others(leader).into_iter().max().unwrap();
        cluster.crash(next, true);
        cluster.starts_after(next, 300);
        cluster.finish();
    }
}

/// A follower dies at any point of its synchronization, and its leader with it: of those that are left, the one that holds
/// what was acknowledged leads, whatever epoch the other has heard of (ZOOKEEPER-4643, -3911).
pub(super) fn s07_epoch_after_log(is_told: bool) {
    for turns in (0..240).step_by(3) {
        let mut cluster = Cluster::calm(11_000 + turns, 3, 0, is_told);
        let leader = cluster.until_serving();
        let [behind, holder] = cluster.others(leader)[..] else { unreachable!("there are three") };
        cluster.until_writes(5);
        cluster.crash(behind, true);
        cluster.starts_after(behind, 60_000);
        cluster.until_writes(15);
        // The leader goes on with the one that is behind.
        cluster.crash(holder, true);
        cluster.starts_after(holder, 60_000);
        cluster.crash(leader, true);
        cluster.starts_after(leader, 0);
        cluster.starts_after(behind, 0);
        cluster.until("both run", |cluster| {
            [leader, behind].iter().all(|at| cluster.nodes[*at].server.is_some())
        });
        for _ in 0..turns {
            cluster.step(u64::MAX, false);
        }
        for at in [leader, behind] {
            cluster.crash(at, true);
        }
        cluster.starts_after(leader, 60_000);
        cluster.starts_after(behind, 0);
        cluster.starts_after(holder, 0);
        cluster.until("the two lead", |cluster| {
            [behind, holder].iter().all(|at| cluster.nodes[*at].serving.is_serving())
        });
        cluster.until_writes(5);
        cluster.finish();
    }
}

/// All lose power with batches half written: all start, and what was acknowledged is there (ZOOKEEPER-2560).
pub(super) fn s30_all_lose_power(is_told: bool) {
    for seed in 0..30 {
        let mut cluster = Cluster::calm(9_000 + seed, 3, 1, is_told);
        cluster.until_serving();
        cluster.until_writes(seed as usize + 3);
        cluster.until("a request under way", Cluster::is_asked);
        for _ in 0..seed {
            cluster.step(u64::MAX, false);
        }
        for at in 0..cluster.nodes.len() {
            cluster.crash(at, true);
        }
        cluster.finish();
    }
}

/// A voter with an empty disk and a voter that was away are all there is: nobody leads until one that holds everything is
/// back (reliability R11).
pub(super) fn s34_amnesiac_voter(is_told: bool) {
    for seed in 0..6 {
        let mut cluster = Cluster::calm(10_000 + seed, 3, 0, is_told);
        let leader = cluster.until_serving();
        let [away, emptied] = cluster.others(leader)[..] else { unreachable!("there are three") };
        cluster.until_writes(5);
        cluster.leave(away);
        cluster.until_writes(20);
        cluster.leave(leader);
        cluster.empty(emptied);
        cluster.holder_is_waited_for([away, emptied], leader);
        cluster.finish();
    }
}

impl Cluster {
    /// These two of three lack what was acknowledged: neither leads, for as long as the third, who has it, is not there.
    pub(super) fn holder_is_waited_for(&mut self, lack: [usize; 2], holder: usize) {
        for at in lack {
            self.starts_after(at, 0);
        }
        self.for_ms(10_000);
        assert!(self.leader().is_none(), "led by servers that lack what was acknowledged");
        self.starts_after(holder, 0);
        let began = self.time.ms();
        self.until("a leader", |cluster| cluster.leader().is_some());
        let took = self.time.ms() - began;
        assert!(took <= PATIENCE_MS, "{took} ms without a leader, though a quorum is there");
        self.set_asking(true);
    }
}
