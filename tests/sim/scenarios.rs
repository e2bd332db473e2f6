#![forbid(unsafe_code)]
//! Single stories (reliability §5, mission 34 and 35) in the simulator's words. Each ends with everything healed: what was
//! acknowledged is there, and all servers are one.

use ringkeeper::base::Zxid;
use ringkeeper::runtime::messages::Serving;

use crate::cluster::Cluster;

/// A scenario; told, it prints its trace.
pub(crate) type Scenario = fn(bool);

/// All of them.
pub(crate) const ALL: &[(&str, Scenario)] = &[
    ("leader_overlap", leader_overlap),
    ("mission_34_35_leader_dies_at_every_step_of_a_write", leader_dies_at_every_step),
    ("s01_highest_zxid_late", s01_highest_zxid_late),
    ("s03_would_be_leader_crashes_at_every_step", s03_would_be_leader_crashes),
    ("s07_epoch_after_log_at_every_step", s07_epoch_after_log),
    ("s21_observers_are_no_quorum", s21_observers_are_no_quorum),
    ("s23_zxid_rollover", s23_zxid_rollover),
    ("s24_bridge_partition", s24_bridge_partition),
    ("s25_deaf_leader", s25_deaf_leader),
    ("s25_mute_leader", s25_mute_leader),
    ("s30_all_lose_power_mid_batch", s30_all_lose_power),
    ("s34_amnesiac_voter", s34_amnesiac_voter),
];

impl Cluster {
    /// Goes on until it is so.
    fn until(&mut self, what: &str, holds: impl Fn(&Cluster) -> bool) {
        let deadline = self.time.ms() + 60_000;
        while !holds(self) {
            assert!(self.time.ms() < deadline, "not within a minute: {what}: {}", self.state());
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
        self.until("a leader", |cluster| cluster.leader().is_some() && cluster.is_whole());
        self.leader().unwrap()
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
}

/// A proposal leaves before the leader's own flush has ended (DESIGN §4). So a write is decided when the second of three
/// flushes is known of, each counted from the proposal, whichever disk is slow; and the leader answers after the longer of
/// its own flush and the round trip with a follower's, never their sum. Time is virtual, so this is exact.
fn leader_overlap(is_told: bool) {
    const ONE_WAY_MS: u64 = 1;
    for disks in [[40, 5, 20], [40, 20, 5], [5, 20, 40], [5, 5, 40], [20, 5, 40], [20, 40, 40], [9, 9, 9]] {
        let mut cluster = Cluster::calm(12_000, 3, 0, is_told).with_one_client();
        let leader = cluster.until_serving();
        cluster.until_writes(3);
        let order = [vec![leader], cluster.others(leader)].concat();
        for (at, ms) in order.iter().zip(disks) {
            cluster.nodes[*at].machine.borrow_mut().disk_delay = ms..=ms;
        }
        cluster.network.borrow_mut().set_delay(ONE_WAY_MS..=ONE_WAY_MS);
        for _ in 0..5 {
            // What else is written ends first.
            cluster.set_asking(false);
            cluster.until("an answer", |cluster| !cluster.is_asked());
            cluster.set_asking(false);
            cluster.for_ms(1_000);
            cluster.set_asking(true);
            let times = cluster.follow_write(&order);
            let [own, one, other] = [disks[0], disks[1] + 2 * ONE_WAY_MS, disks[2] + 2 * ONE_WAY_MS];
            assert_eq!(times.began, [0, ONE_WAY_MS, ONE_WAY_MS], "disks of {disks:?} ms: a proposal waited");
            let mut known = [own, one, other];
            known.sort_unstable();
            assert_eq!(times.decided, known[1], "disks of {disks:?} ms");
            assert_eq!(times.applied, own.max(one.min(other)), "disks of {disks:?} ms");
        }
        cluster.set_asking(true);
        cluster.finish();
    }
}

/// When the parts of a write were, ms after the leader began to write it to its log.
struct WriteTimes {
    /// Servers began to write it to theirs, in the order asked for.
    began: [u64; 3],
    /// The leader knew that it is decided.
    decided: u64,
    /// The leader applied it, and answered.
    applied: u64,
}

impl Cluster {
    /// Follows the next write from the leader, the first of `order`, until it has answered. Nothing else may be written.
    fn follow_write(&mut self, order: &[usize]) -> WriteTimes {
        let leader = order[0];
        let (before, applied) = (self.decided(leader), self.nodes[leader].applied);
        let (mut began, mut decided) = ([None; 3], None);
        self.until("a write", |cluster| cluster.nodes[leader].machine.borrow().is_writing());
        self.set_asking(false);
        let start = self.time.ms();
        while self.nodes[leader].applied == applied {
            let after = self.time.ms() - start;
            for (at, began) in order.iter().zip(&mut began) {
                if began.is_none() && self.nodes[*at].machine.borrow().is_writing() {
                    *began = Some(after);
                    let id = self.nodes[*at].id.0;
                    self.note(&format!("{id} writes to its log, {after} ms after the leader began to"));
                }
            }
            if decided.is_none() && self.decided(leader) > before {
                decided = Some(after);
                self.note(&format!("decided, {after} ms after the leader began to write"));
            }
            self.step(u64::MAX, false);
        }
        let applied = self.time.ms() - start;
        self.note(&format!("answered, {applied} ms after the leader began to write"));
        WriteTimes {
            began: began.map(|began| began.expect("every log is written to")),
            decided: decided.unwrap_or(applied),
            applied,
        }
    }

    fn decided(&self, at: usize) -> Zxid {
        self.nodes[at].server.as_ref().map_or(Zxid::ZERO, |server| server.sequencer.standing().decided)
    }
}

/// The leader dies after each number of turns that servers take from the moment a client has asked, from before the
/// proposal to after the last commit: whatever was answered stays, whatever was not is there whole or not at all.
fn leader_dies_at_every_step(is_told: bool) {
    for power in [false, true] {
        for turns in 0..60 {
            let mut cluster = Cluster::calm(1_000 + turns, 3, 0, is_told);
            let leader = cluster.until_serving();
            cluster.until_writes(5);
            cluster.until("a request under way", Cluster::is_asked);
            for _ in 0..turns {
                cluster.step(u64::MAX, false);
            }
            cluster.crash(leader, power);
            cluster.starts_after(leader, 2_000);
            cluster.until("another leader", |cluster| cluster.leader().is_some_and(|other| other != leader));
            cluster.finish();
        }
    }
}

/// A logs what nobody else has, all crash, B and C go on in a new epoch, A returns: its tail is cut (ZOOKEEPER-1154).
fn s01_highest_zxid_late(is_told: bool) {
    for seed in 0..10 {
        let mut cluster = Cluster::calm(2_000 + seed, 3, 1, is_told);
        let leader = cluster.until_serving();
        cluster.until_writes(10);
        for other in cluster.others(leader) {
            cluster.cut(leader, other);
        }
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

/// Whoever is about to lead dies at any point before it does (ZOOKEEPER-790, -335): an epoch has one leader, and what was
/// acknowledged before stays.
fn s03_would_be_leader_crashes(is_told: bool) {
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
fn s07_epoch_after_log(is_told: bool) {
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

/// Observers acknowledge everything, voters are out of reach: nothing is committed, no epoch begins (ZOOKEEPER-2959).
fn s21_observers_are_no_quorum(is_told: bool) {
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
fn s23_zxid_rollover(is_told: bool) {
    let mut cluster = Cluster::calm(5_000, 3, 1, is_told).with_counter_max(30);
    cluster.until_serving();
    cluster.until_writes(200);
    let epoch = cluster.nodes[0].applied.epoch();
    assert!(epoch.0 > 3, "rolled over to {epoch:?} only");
    cluster.finish();
}

/// Five servers of which one alone reaches both halves: somebody leads in the end, and goes on to.
fn s24_bridge_partition(is_told: bool) {
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
fn s25_deaf_leader(is_told: bool) {
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
fn s25_mute_leader(is_told: bool) {
    let mut cluster = Cluster::calm(8_000, 3, 0, is_told);
    let leader = cluster.until_serving();
    cluster.until_writes(10);
    for other in cluster.others(leader) {
        cluster.cut(leader, other);
    }
    cluster.until("another leader", |cluster| cluster.leader().is_some_and(|other| other != leader));
    cluster.finish();
}

/// All lose power with batches half written: all start, and what was acknowledged is there (ZOOKEEPER-2560).
fn s30_all_lose_power(is_told: bool) {
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
fn s34_amnesiac_voter(is_told: bool) {
    let mut cluster = Cluster::calm(10_000, 3, 0, is_told);
    let leader = cluster.until_serving();
    let [away, emptied] = cluster.others(leader)[..] else { unreachable!("there are three") };
    cluster.until_writes(5);
    cluster.crash(away, false);
    cluster.starts_after(away, 60_000);
    cluster.until_writes(20);
    let acknowledged = cluster.nodes[leader].applied;
    cluster.crash(leader, false);
    cluster.starts_after(leader, 60_000);
    cluster.empty(emptied);
    cluster.starts_after(emptied, 0);
    cluster.starts_after(away, 0);
    cluster.for_ms(10_000);
    assert!(
        cluster.leader().is_none(),
        "led by servers that lack what was acknowledged up to {acknowledged}"
    );
    cluster.finish();
}

impl Cluster {
    /// How far a server's log goes, flushed.
    fn logged(&self, at: usize) -> Zxid {
        self.nodes[at].server.as_ref().map_or(Zxid::ZERO, |server| server.sequencer.standing().flushed)
    }
}
