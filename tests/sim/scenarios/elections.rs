#![forbid(unsafe_code)]
//! Who leads, and who does not.

use ringkeeper::wire::OpCode;

use super::sessions::{LONG_MS, node};
use crate::cluster::Cluster;

/// Observers acknowledge everything, voters are out of reach: nothing is committed, no epoch begins (ZOOKEEPER-2959).
pub(super) fn s21_observers_are_no_quorum(is_told: bool) {
    let mut cluster = Cluster::calm(4_000, 3, 3, is_told);
    let leader = cluster.until_serving();
    cluster.until_writes(10);
    for voter in (0..3).filter(|at| *at != leader) {
        cluster.crash(voter, false);
        cluster.starts_after(voter, 30_000);
    }
    cluster.for_ms(2_000);
    let writes = cluster.oracle.acknowledged_writes();
    cluster.for_ms(5_000);
    assert!(cluster.oracle.acknowledged_writes() == writes, "acknowledged without a quorum");
    assert!(cluster.leader().is_none(), "leads observers");
    cluster.finish();
}

/// The counter comes to its end under load (ZOOKEEPER-1277): a new epoch, nothing lost, no zxid twice.
pub(super) fn s23_zxid_rollover(is_told: bool) {
    let mut cluster = Cluster::calm(5_000, 3, 1, is_told).with_counter_max(30);
    cluster.until_serving();
    cluster.until_writes(200);
    let epoch = cluster.nodes[0].applied.epoch();
    assert!(epoch.0 > 3, "rolled over to {epoch:?} only");
    cluster.finish();
}

/// Five servers of which one alone reaches both halves: somebody leads in the end, and goes on to.
pub(super) fn s24_bridge_partition(is_told: bool) {
    let mut cluster = Cluster::calm(6_000, 5, 0, is_told);
    cluster.until_serving();
    cluster.until_writes(10);
    for one in [0, 1] {
        for other in [3, 4] {
            cluster.cut(one, other);
            cluster.cut(other, one);
        }
    }
    cluster.until_writes(50);
    cluster.finish();
}

/// A leader that hears nobody is replaced, and commits nothing (reliability S25).
pub(super) fn s25_deaf_leader(is_told: bool) {
    let mut cluster = Cluster::calm(7_000, 3, 0, is_told);
    let leader = cluster.until_serving();
    cluster.until_writes(10);
    for other in cluster.others(leader) {
        cluster.cut(other, leader);
    }
    cluster.until("another leader", |cluster| cluster.leader().is_some_and(|other| other != leader));
    cluster.finish();
}

/// A leader that nobody hears is replaced.
pub(super) fn s25_mute_leader(is_told: bool) {
    let mut cluster = Cluster::calm(8_000, 3, 0, is_told);
    let leader = cluster.until_serving();
    cluster.until_writes(10);
    for other in cluster.others(leader) {
        cluster.cut(leader, other);
    }
    cluster.until("another leader", |cluster| cluster.leader().is_some_and(|other| other != leader));
    cluster.finish();
}

/// A leader is told to stop with a proposal of another server's client under way, which is on the disks of both: it decides
/// it, everybody hears of that, and the client is answered. Then another leads.
pub(super) fn handover_says_all(is_told: bool) {
    let mut undecided = 0;
    for seed in 0..40 {
        let mut cluster = Cluster::calm(36_100 + seed, 3, 0, is_told);
        let leader = cluster.until_serving();
        let follower = cluster.others(leader)[seed as usize % 2];
        let guest = cluster.guest(follower, LONG_MS);
        cluster.set_asking(false);
        cluster.until("everything to be decided", |cluster| {
            let end = cluster.decided(leader);
            (0..3).all(|at| cluster.logged(at) == end && cluster.nodes[at].applied == end)
                && !cluster.is_asked()
        });
        let before = cluster.logged(leader);
        let asked = cluster.ask(guest, OpCode::Create, node("/said", 0));
        cluster.until("a proposal", |cluster| {
            [leader, follower].into_iter().all(|at| cluster.logged(at) > before)
        });
        undecided += usize::from(cluster.decided(leader) == before);
        cluster.stop(leader);
        cluster.starts_after(leader, 60_000);
        cluster.until("an end", |cluster| {
            cluster.guests[guest].is_answered() || cluster.guests[guest].is_closed()
        });
        assert_eq!(cluster.guests[guest].err(asked), Some(0), "its client was left without an answer");
        cluster.set_asking(true);
        cluster.until("another leader", |cluster| cluster.leader().is_some_and(|other| other != leader));
        cluster.finish();
    }
    assert!(undecided >= 10, "it was decided already, but for {undecided} times");
}
