#![forbid(unsafe_code)]
//! Named schedules: the scenarios S of reliability §5, and the bugs of ensemble-protocol §12.1 with us in their place.
//! The laws are checked at every step by the cluster; what is said here is what else has to come out.

use std::collections::BTreeMap;

use super::cluster::{Cluster, Disk, Write, settings};
use super::solo::{payload, txns, z};
use crate::base::{Epoch, ServerId, Zxid};
use crate::zab::event::Role;
use crate::zab::message::Message;

/// Servers 1, 2 and 3, their disks as given: epochs accepted and current, the log, how much of it is committed.
fn three(disks: [(u32, u32, &[Zxid], usize); 3]) -> Cluster {
    let disk = |(accepted, current, log, committed): (u32, u32, &[Zxid], usize)| {
        let committed = log[..committed].last().copied().unwrap_or(Zxid::ZERO);
        Disk {
            accepted: Epoch(accepted),
            current: Epoch(current),
            log: txns(log),
            committed,
            confirmed: committed,
            admitted: true,
        }
    };
    let disks: BTreeMap<i64, Disk> = (1..=3).zip(disks.map(disk)).collect();
    let mut cluster = Cluster::with_disks(&[1, 2, 3], &[], settings(), disks);
    // What the disks hold was broadcast once.
    for zxid in disks_zxids(&cluster) {
        cluster.was_broadcast(zxid, payload(zxid));
    }
    cluster
}

fn disks_zxids(cluster: &Cluster) -> Vec<Zxid> {
    cluster.nodes.values().flat_map(|node| node.disk.log.iter().map(|(zxid, _)| *zxid)).collect()
}

fn zxids(cluster: &Cluster, id: i64) -> Vec<Zxid> {
    cluster.nodes[&id].log.iter().map(|(zxid, _)| *zxid).collect()
}

/// Three servers that serve, and their leader.
fn serving(voters: &[i64], observers: &[i64]) -> (Cluster, i64) {
    let mut cluster = Cluster::new(voters, observers, settings());
    cluster.start_all();
    cluster.run_until("all serve", |c| c.ids().iter().all(|id| c.role(*id) != Role::Looking));
    let leader = cluster.leader().expect("a leader");
    (cluster, leader)
}

fn others(cluster: &Cluster, id: i64) -> Vec<i64> {
    cluster.ids().into_iter().filter(|other| *other != id).collect()
}

/// Delivers every election message that is under way.
fn deliver_mail(cluster: &mut Cluster) {
    let mail: Vec<(i64, i64)> = cluster.mail.keys().copied().collect();
    for (from, to) in mail {
        cluster.deliver_mail(from, to);
    }
}

/// Delivers what is under way to `to` from `from`, one packet; whether there was one.
fn deliver(cluster: &mut Cluster, from: i64, to: i64) -> bool {
    let ends = |c: &super::cluster::Connection| (c.from, c.to) == (from, to) || (c.from, c.to) == (to, from);
    let Some(at) = cluster.connections.iter().position(ends) else { return false };
    let to_opener = cluster.connections[at].from == to;
    cluster.deliver(at, to_opener)
}

/// The newest link of this learner breaks.
fn break_link(cluster: &mut Cluster, learner: i64) {
    let at = cluster.connections.iter().rposition(|c| c.from == learner).expect("a link");
    cluster.break_connection(at);
}

#[test]
fn s1_highest_zxid_late() {
    // 1 alone logged (1,4); the others went on.
    let mut cluster = three([
        (1, 1, &[z(1, 1), z(1, 2), z(1, 3), z(1, 4)], 2),
        (1, 1, &[z(1, 1), z(1, 2), z(1, 3)], 2),
        (1, 1, &[z(1, 1), z(1, 2), z(1, 3)], 2),
    ]);
    cluster.start(2);
    cluster.start(3);
    cluster.run_until("two serve", |c| c.leader().is_some());
    let leader = cluster.leader().expect("a leader");
    cluster.submit(leader);
    cluster.settle();
    cluster.converge();
    assert_eq!(zxids(&cluster, 1)[..4], [z(1, 1), z(1, 2), z(1, 3), z(2, 1)]);
    assert_eq!(cluster.modes.get("trunc"), Some(&1));
}

#[test]
fn s3_early_last_zxid() {
    // A candidate with a tail crashes before a quorum acknowledged NEWLEADER.
    let mut cluster = three([(1, 1, &[z(1, 1), z(1, 2)], 1), (1, 1, &[z(1, 1)], 1), (1, 1, &[z(1, 1)], 1)]);
    cluster.start(1);
    cluster.start(2);
    for _ in 0..200 {
        let leads = cluster.nodes[&1].disk.current == Epoch(2);
        if leads {
            break;
        }
        deliver_mail(&mut cluster);
        cluster.flush(1, 9);
        cluster.flush(2, 9);
        deliver(&mut cluster, 1, 2);
        deliver(&mut cluster, 2, 1);
        cluster.pass(20);
    }
    assert_eq!((cluster.nodes[&1].disk.current, cluster.nodes[&2].disk.current), (Epoch(2), Epoch(1)));
    cluster.crash(1, 0);
    cluster.start(3);
    cluster.run_until("the others serve", |c| c.leader().is_some());
    assert_eq!(zxids(&cluster, 2), [z(1, 1)]);
    cluster.converge();
    assert!(!zxids(&cluster, 1).contains(&z(1, 2)));
}

#[test]
fn s4_same_zxid_two_leaders() {
    // The leader dies with proposals that reached nobody, again and again.
    let (mut cluster, mut leader) = serving(&[1, 2, 3], &[]);
    for _ in 0..4 {
        // `submit` fails when a zxid is given twice.
        cluster.submit(leader);
        cluster.submit(leader);
        cluster.crash(leader, 9);
        let dead = leader;
        cluster.run_until("another leads", |c| c.leader().is_some());
        leader = cluster.leader().expect("a leader");
        cluster.start(dead);
        cluster.run_until("it is back", |c| c.role(dead) != Role::Looking);
    }
    cluster.converge();
    assert!(cluster.reigns >= 5);
}

#[test]
fn s5_load_uncommitted() {
    let mut cluster =
        three([(2, 1, &[z(1, 1), z(1, 2), z(1, 3)], 1), (2, 2, &[z(1, 1)], 1), (2, 2, &[z(1, 1)], 1)]);
    cluster.start_all();
    cluster.converge();
    for id in [1, 2, 3] {
        assert_eq!(zxids(&cluster, id)[..2], [z(1, 1), z(3, 1)]);
    }
}

/// S6, S8 and their bugs: what was acknowledged with NEWLEADER survives the power.
#[test]
fn s6_s8_diff_ack_durable_3911_4646() {
    for crash_after in 0..40 {
        let log = [z(1, 1), z(1, 2), z(1, 3)];
        let mut cluster = three([(1, 1, &log[..1], 1), (1, 1, &log[..1], 1), (1, 1, &log, 1)]);
        cluster.start_all();
        // Writers are slow: one thing at a time.
        for step in 0..crash_after {
            deliver_mail(&mut cluster);
            cluster.flush(1 + step % 3, 1);
            for (from, to) in [(3, 1), (1, 3), (3, 2), (2, 3)] {
                deliver(&mut cluster, from, to);
            }
            cluster.pass(5);
        }
        let served = cluster.decided.clone();
        for id in [1, 2, 3] {
            cluster.crash(id, 0);
        }
        cluster.start(1);
        cluster.start(2);
        cluster.run_until("the followers serve", |c| c.leader().is_some());
        assert!(cluster.decided.starts_with(&served), "lost after {crash_after}");
        cluster.converge();
    }
}

#[test]
fn s7_epoch_after_log_4643_4785() {
    // A follower crashes at every write of its synchronization, and meets the third server.
    for written in 0..6 {
        let log = [z(1, 1), z(1, 2), z(1, 3)];
        let mut cluster = three([(1, 1, &log[..1], 1), (1, 1, &log[..2], 2), (1, 1, &log, 2)]);
        cluster.start(1);
        cluster.start(3);
        let mut crashed = false;
        for _ in 0..300 {
            deliver_mail(&mut cluster);
            cluster.flush(3, 9);
            deliver(&mut cluster, 1, 3);
            deliver(&mut cluster, 3, 1);
            let accepts =
                |write: &Write| matches!(write, Write::SaveEpoch(accepted, current) if accepted != current);
            if cluster.nodes[&1].writes.front().is_some_and(accepts) {
                cluster.flush(1, 1);
            }
            if cluster.nodes[&1].writes.len() >= 2 {
                cluster.crash(1, written);
                crashed = true;
                break;
            }
            cluster.pass(5);
        }
        assert!(crashed);
        cluster.crash(3, 9);
        cluster.start(1);
        cluster.start(2);
        cluster.run_until("they serve", |c| c.leader().is_some());
        let leader = cluster.leader().expect("a leader");
        assert!(zxids(&cluster, leader).starts_with(&log[..2]), "committed txns lost after {written} writes");
        cluster.converge();
    }
}

#[test]
fn s10_commit_before_uptodate_in_every_interleaving() {
    // A learner joins under load; its packets, its disk and the other's acks in all orders of eight steps.
    for order in 0..6561u32 {
        let (mut cluster, leader) = serving(&[1, 2, 3], &[]);
        let (slow, other) = (others(&cluster, leader)[0], others(&cluster, leader)[1]);
        break_link(&mut cluster, slow);
        cluster.submit(leader);
        for _ in 0..40 {
            let waits = cluster.connections.iter().any(|c| {
                c.from == slow
                    && c.to_opener
                        .iter()
                        .any(|p| matches!(p, super::cluster::Packet::Message(Message::NewLeader { .. })))
            });
            if waits {
                break;
            }
            deliver_mail(&mut cluster);
            cluster.flush(slow, 9);
            deliver(&mut cluster, slow, leader);
            if cluster.connections.iter().any(|c| c.from == slow && c.to_opener.len() == 1) {
                deliver(&mut cluster, leader, slow);
            }
            cluster.pass(10);
        }
        cluster.submit(leader);
        let mut order = order;
        for _ in 0..8 {
            match order % 3 {
                0 => {
                    deliver(&mut cluster, leader, slow);
                    deliver(&mut cluster, slow, leader);
                }
                1 => {
                    cluster.flush(slow, 1);
                    cluster.flush(leader, 1);
                }
                _ => {
                    deliver(&mut cluster, leader, other);
                    cluster.flush(other, 9);
                    deliver(&mut cluster, other, leader);
                }
            }
            order /= 3;
        }
        cluster.settle();
        cluster.run_until("it serves", |c| c.role(slow) == Role::Following(ServerId(leader)));
        assert_eq!(zxids(&cluster, slow), [z(1, 1), z(1, 2)]);
        assert_eq!(cluster.nodes[&slow].committed, z(1, 2));
    }
}

#[test]
fn s11_zombie_log_writer_4712_4541_4502() {
    // A follower loses its leader while its log is at work: what is on its way is there before it looks.
    let (mut cluster, leader) = serving(&[1, 2, 3], &[]);
    let slow = others(&cluster, leader)[0];
    for _ in 0..3 {
        cluster.submit(leader);
    }
    while deliver(&mut cluster, leader, slow) {}
    assert_eq!(cluster.nodes[&slow].writes.len(), 3);
    cluster.crash(leader, 0);
    let silent = |cluster: &Cluster| cluster.mail.keys().all(|(from, _)| *from != slow);
    assert!(silent(&cluster));
    cluster.flush(slow, 2);
    assert!(silent(&cluster));
    cluster.flush(slow, 1);
    assert!(!silent(&cluster));
    cluster.converge();
}

#[test]
fn s12_committed_log_hole_4925() {
    // 2 learns by DIFF, leads, and gives it to 3.
    let log = [z(1, 1), z(1, 2), z(1, 3)];
    let mut cluster = three([(1, 1, &log, 1), (1, 1, &log[..1], 1), (1, 1, &log[..1], 1)]);
    cluster.start(1);
    cluster.start(2);
    cluster.run_until("they serve", |c| c.role(2) == Role::Following(ServerId(1)));
    cluster.crash(1, 0);
    cluster.start(3);
    cluster.run_until("they serve", |c| c.role(3) == Role::Following(ServerId(2)));
    assert_eq!(zxids(&cluster, 3), log);
    assert_eq!(cluster.modes.get("diff"), Some(&2));
    cluster.converge();
}

/// S13, S14, S44 of §13: a synchronization of each kind breaks at every packet, and the learner comes back, or crashes
/// and comes back.
#[test]
fn s13_s14_interrupted_at_every_packet_5094_3642_2872() {
    let long: Vec<Zxid> = (1..=9).map(|counter| z(2, counter)).collect();
    let tail = [z(2, 1), z(2, 2), z(2, 3)];
    let mut shorter = long[..2].to_vec();
    shorter.push(z(3, 1));
    let other = [z(1, 1)];
    // The learner's log and the leader's, and the way.
    let cases: [(&[Zxid], &[Zxid], &str); 3] =
        [(&long[..1], &long, "diff"), (&tail, &shorter, "trunc"), (&other, &long, "snap")];
    for (learner, leader, mode) in cases {
        for packets in 0..24 {
            for crash in [false, true] {
                let mut cluster = three([(3, 2, learner, 0), (3, 3, leader, 0), (3, 3, leader, 0)]);
                cluster.start(2);
                cluster.start(3);
                cluster.run_until("they serve", |c| c.leader().is_some());
                let leader = cluster.leader().expect("a leader");
                cluster.start(1);
                let mut delivered = 0;
                for _ in 0..60 {
                    deliver_mail(&mut cluster);
                    if delivered < packets && deliver(&mut cluster, leader, 1) {
                        delivered += 1;
                    }
                    deliver(&mut cluster, 1, leader);
                    if packets % 2 == 0 {
                        cluster.flush(1, 1);
                    }
                    cluster.read(leader);
                }
                if crash {
                    cluster.crash(1, packets % 3);
                    cluster.start(1);
                } else if cluster.connections.iter().any(|c| c.from == 1) {
                    break_link(&mut cluster, 1);
                }
                cluster.converge();
                assert!(cluster.modes.contains_key(mode), "{mode}: {:?}", cluster.modes);
                let log = zxids(&cluster, 1);
                assert!(log.windows(2).all(|pair| pair[1].follows(pair[0])), "{log:?}");
            }
        }
    }
}

#[test]
fn s15_newleader_overtakes_snap_3104() {
    // Committed while the image is under way: acknowledged only with everything.
    let long: Vec<Zxid> = (1..=9).map(|counter| z(1, counter)).collect();
    let mut cluster = three([(1, 0, &[], 0), (1, 1, &long, 9), (1, 1, &long, 9)]);
    cluster.start(2);
    cluster.start(3);
    cluster.run_until("they serve", |c| c.leader().is_some());
    let leader = cluster.leader().expect("a leader");
    let other = 5 - leader;
    cluster.start(1);
    for _ in 0..30 {
        deliver_mail(&mut cluster);
        let image = |p: &super::cluster::Packet| matches!(p, super::cluster::Packet::Image(_));
        if cluster.connections.iter().any(|c| c.from == 1 && c.to_opener.iter().any(image)) {
            break;
        }
        deliver(&mut cluster, leader, 1);
        cluster.flush(1, 1);
        deliver(&mut cluster, 1, leader);
    }
    for _ in 0..3 {
        cluster.submit(leader);
        cluster.flush(leader, 9);
        while deliver(&mut cluster, leader, other) {}
        cluster.flush(other, 9);
        while deliver(&mut cluster, other, leader) {}
    }
    assert_eq!(cluster.decided.len(), 12);
    cluster.run_until("it serves", |c| c.role(1) == Role::Following(ServerId(leader)));
    assert_eq!(cluster.nodes[&1].disk.log, cluster.decided);
    cluster.converge();
}

#[test]
fn s16_retained_memory_2845() {
    // A follower has a tail in memory and on disk, the next leader has not.
    let (mut cluster, leader) = serving(&[1, 2, 3], &[]);
    let (one, two) = (others(&cluster, leader)[0], others(&cluster, leader)[1]);
    cluster.submit(leader);
    deliver(&mut cluster, leader, one);
    cluster.flush(one, 9);
    cluster.isolate(one);
    cluster.crash(leader, 0);
    // Nothing of it is on the leader's disk.
    cluster.start(leader);
    cluster.run_until("two serve", |c| c.leader().is_some());
    assert!(zxids(&cluster, two).is_empty());
    cluster.converge();
    assert!(!zxids(&cluster, one).contains(&z(1, 1)));
}

#[test]
fn s18_what_was_never_committed_is_gone_after_any_way_5010_2355() {
    for leader_log in [&[z(1, 1), z(1, 2)][..], &[z(1, 1), z(2, 1)][..], &[z(2, 1), z(2, 2)][..]] {
        let mut cluster =
            three([(2, 1, &[z(1, 1), z(1, 2), z(1, 3)], 0), (2, 2, leader_log, 0), (2, 2, leader_log, 0)]);
        cluster.start_all();
        cluster.converge();
        assert_eq!(zxids(&cluster, 1)[..2], *leader_log);
        assert!(!zxids(&cluster, 1).contains(&z(1, 3)));
    }
}

#[test]
fn s21_observers_are_no_quorum_2959_1551() {
    let (mut cluster, leader) = serving(&[1, 2, 3], &[7, 8, 9]);
    let followers: Vec<i64> = others(&cluster, leader).into_iter().filter(|id| *id < 4).collect();
    let zxid = cluster.submit(leader).expect("it leads");
    cluster.flush(leader, 9);
    for observer in [7, 8, 9] {
        while deliver(&mut cluster, leader, observer) {}
        cluster.flush(observer, 9);
        while deliver(&mut cluster, observer, leader) {}
    }
    assert!(cluster.decided.is_empty());
    cluster.settle();
    assert_eq!(cluster.decided.len(), 1);
    assert!(cluster.nodes.values().all(|node| node.committed == zxid));
    // Nor do they keep a leader, or make one.
    for id in followers {
        cluster.crash(id, 0);
    }
    cluster.settle();
    assert_eq!(cluster.leader(), None);
    for _ in 0..200 {
        cluster.pass(500);
        cluster.settle();
        assert_eq!(cluster.leader(), None);
    }
    cluster.converge();
}

#[test]
fn s23_zxid_rollover_1277() {
    let mut settings = settings();
    settings.counter_max = 5;
    let mut cluster = Cluster::new(&[1, 2, 3], &[9], settings);
    cluster.start_all();
    let mut submitted = 0;
    cluster.run_until("twenty txns", |cluster| {
        if let Some(leader) = cluster.leader() {
            while cluster.submit(leader).is_some() {
                submitted += 1;
            }
        }
        cluster.settle();
        cluster.decided.len() >= 20
    });
    assert_eq!(cluster.decided.len(), submitted);
    assert!(cluster.reigns >= 4);
    cluster.converge();
}

#[test]
fn s25_deaf_and_mute_leaders_are_replaced() {
    for (deaf, mute) in [(true, false), (false, true)] {
        let (mut cluster, leader) = serving(&[1, 2, 3], &[]);
        for other in others(&cluster, leader) {
            if deaf {
                cluster.silent.insert((other, leader));
            }
            if mute {
                cluster.silent.insert((leader, other));
            }
        }
        let began = cluster.now;
        cluster.run_until("another leads", |c| c.leader().is_some_and(|id| id != leader));
        // Within syncLimit, and an election that has to wait for one that is silent.
        assert!(cluster.now.since(began) <= 2000, "{} ms", cluster.now.since(began));
        cluster.converge();
    }
}

/// A leader is stopped after it got a sync; a new one commits; it goes on.
#[test]
fn s57_stale_sync_1675() {
    for resumed_first in [false, true] {
        let (mut cluster, leader) = serving(&[1, 2, 3], &[]);
        let tag = if resumed_first { None } else { Some(cluster.ask_sync(leader)) };
        cluster.node(leader).paused = true;
        cluster.run_until("another leads", |c| c.leader().is_some_and(|id| id != leader));
        let new = cluster.leader().expect("a leader");
        cluster.submit(new);
        cluster.settle();
        assert_eq!(cluster.decided.len(), 1);
        cluster.node(leader).paused = false;
        assert!(matches!(cluster.role(leader), Role::Leading(_)), "it does not know yet");
        let tag = tag.unwrap_or_else(|| cluster.ask_sync(leader));
        cluster.settle();
        // The cluster checks that an answered sync is fresh.
        assert!(!cluster.nodes[&leader].synced.contains(&tag));
        cluster.converge();
    }
}

#[test]
fn syncs_are_answered_everywhere_53() {
    let (mut cluster, leader) = serving(&[1, 2, 3], &[9]);
    cluster.submit(leader);
    for id in cluster.ids() {
        cluster.ask_sync(id);
        cluster.forward(id);
        cluster.ask_sync(id);
    }
    cluster.settle();
    assert_eq!(cluster.answered, 8);
    for node in cluster.nodes.values() {
        assert!(node.synced.is_sorted());
    }
}

#[test]
fn an_epoch_has_one_leader_though_it_was_offered_twice() {
    // 3 offers epoch 1 to 2, who accepts it and loses the link; 1 and 2 then make an epoch of their own.
    let mut cluster = Cluster::new(&[1, 2, 3], &[], settings());
    cluster.start(2);
    cluster.start(3);
    for _ in 0..100 {
        if cluster.nodes[&2].disk.accepted == Epoch(1) {
            break;
        }
        deliver_mail(&mut cluster);
        cluster.flush(2, 9);
        cluster.flush(3, 9);
        deliver(&mut cluster, 2, 3);
        deliver(&mut cluster, 3, 2);
        cluster.pass(20);
    }
    assert_eq!(cluster.nodes[&2].disk.accepted, Epoch(1));
    cluster.crash(3, 0);
    cluster.start(1);
    cluster.run_until("they serve", |c| c.leader().is_some());
    assert_eq!(cluster.role(cluster.leader().expect("a leader")), Role::Leading(Epoch(2)));
    cluster.converge();
}

#[test]
fn a_follower_behind_memory_learns_from_the_log_while_it_grows_2418() {
    let log: Vec<Zxid> = (1..=30).map(|counter| z(1, counter)).collect();
    let mut cluster = three([(1, 1, &log[..2], 2), (1, 1, &log, 30), (1, 1, &log, 30)]);
    cluster.start(2);
    cluster.start(3);
    cluster.run_until("they serve", |c| c.leader().is_some());
    let leader = cluster.leader().expect("a leader");
    let other = 5 - leader;
    cluster.start(1);
    for _ in 0..60 {
        deliver_mail(&mut cluster);
        cluster.flush(1, 1);
        deliver(&mut cluster, 1, leader);
        deliver(&mut cluster, leader, 1);
        // Memory moves on faster than the log is read.
        for _ in 0..6 {
            cluster.submit(leader);
            cluster.flush(leader, 9);
            deliver(&mut cluster, leader, other);
            cluster.flush(other, 9);
            while deliver(&mut cluster, other, leader) {}
            while deliver(&mut cluster, leader, other) {}
        }
        cluster.read(leader);
    }
    cluster.run_until("it serves", |c| c.role(1) == Role::Following(ServerId(leader)));
    assert_eq!(zxids(&cluster, 1), zxids(&cluster, leader));
    cluster.converge();
}

#[test]
fn an_unadmitted_server_learns_before_it_votes_r11() {
    let log = [z(1, 1), z(1, 2)];
    let mut cluster = three([(0, 0, &[], 0), (1, 1, &log, 1), (1, 1, &log, 1)]);
    cluster.node(1).disk.admitted = false;
    // With one of the others it makes no quorum.
    cluster.start(1);
    cluster.start(2);
    for _ in 0..50 {
        cluster.pass(500);
        cluster.settle();
    }
    assert_eq!(cluster.leader(), None);
    cluster.start(3);
    cluster
        .run_until("it has a vote", |c| c.nodes[&1].disk.admitted && matches!(c.role(1), Role::Following(_)));
    cluster.converge();
    // And counts.
    let leader = cluster.leader().expect("a leader");
    let other = others(&cluster, leader).into_iter().find(|id| *id != 1).expect("a third server");
    cluster.crash(other, 0);
    cluster.settle();
    let zxid = cluster.submit(leader).expect("it leads");
    cluster.settle();
    assert_eq!(cluster.nodes[&1].committed, zxid);
}

#[test]
fn a_leader_that_resigns_leaves_everything_behind() {
    let (mut cluster, leader) = serving(&[1, 2, 3], &[]);
    for _ in 0..5 {
        cluster.submit(leader);
    }
    cluster.feed(leader, crate::zab::Event::Resign);
    assert_eq!(cluster.submit(leader), None);
    cluster.run_until("another leads", |c| c.leader().is_some_and(|id| id != leader));
    assert_eq!(cluster.decided.len(), 5);
    cluster.crash(leader, 0);
    cluster.converge();
}

#[test]
fn one_voter_is_a_quorum() {
    let (mut cluster, leader) = serving(&[1], &[9]);
    assert_eq!(leader, 1);
    let zxid = cluster.submit(1).expect("it leads");
    cluster.settle();
    assert_eq!(cluster.nodes[&9].committed, zxid);
    let tag = cluster.ask_sync(9);
    cluster.settle();
    assert_eq!(cluster.nodes[&9].synced, [tag]);
    cluster.converge();
}

/// 2 alone logged a txn; 1 and 3 elected twice without it, and wrote nothing.
#[test]
fn a_tail_older_than_two_elections_is_cut_2832() {
    let mut cluster = three([(3, 3, &[z(1, 1)], 1), (1, 1, &[z(1, 1), z(1, 2)], 1), (3, 3, &[z(1, 1)], 1)]);
    cluster.start(2);
    cluster.start(3);
    cluster.run_until("they serve", |c| c.role(2) == Role::Following(ServerId(3)));
    assert_eq!(zxids(&cluster, 2), [z(1, 1)]);
    cluster.converge();
}
