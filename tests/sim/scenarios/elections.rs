#![forbid(unsafe_code)]
//! Who leads, and who does not.

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
