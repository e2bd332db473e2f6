#![forbid(unsafe_code)]
//! Who leads, and who does not.

use ringkeeper::runtime::messages::Serving;
use ringkeeper::storage::epoch::{self, EpochRecord};
use ringkeeper::storage::names;
use ringkeeper::wire::OpCode;
use ringkeeper::zab::membership::Quorum;

use super::disks::PATIENCE_MS;
use super::sessions::{LONG_MS, node};
use crate::cluster::Cluster;
use crate::guest::Heard;

/// `initLimit`.
const INIT_MS: u64 = 10 * 100;

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

/// The leader dies at any step about the end of its epoch's zxids (ZOOKEEPER-1277), and comes back to the next leader's: it
/// has logged none of these.
pub(super) fn s23_leader_dies_at_rollover(is_told: bool) {
    const END: u32 = 30;
    for turns in 0..60 {
        let mut cluster = Cluster::calm(5_100 + turns, 3, 0, is_told).with_counter_max(END);
        let leader = cluster.until_serving();
        let epoch = cluster.logged(leader).epoch();
        cluster.until("the end of the epoch", |cluster| {
            let logged = cluster.logged(leader);
            (logged.epoch(), logged.counter()) >= (epoch, END - 1)
        });
        for _ in 0..turns {
            cluster.step(u64::MAX, false);
        }
        cluster.leave(leader);
        cluster.until("another leader", |cluster| cluster.leads_instead_of(leader));
        cluster.until_writes(5);
        cluster.starts_after(leader, 0);
        cluster.until("it is back", |cluster| cluster.nodes[leader].serving.is_serving());
        cluster.finish();
    }
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

/// A leader that hears nobody is replaced, and decides nothing (reliability S25). It gives up itself, and has a say in who is
/// next all the same: with the highest id it is elected once more, and waited for in vain.
pub(super) fn s25_deaf_leader(is_told: bool) {
    for seed in 0..6 {
        let mut cluster = Cluster::calm(7_000 + seed, 3, 0, is_told);
        let leader = cluster.until_serving();
        cluster.until_writes(10);
        cluster.deafen(leader);
        cluster.is_replaced(leader, PATIENCE_MS + INIT_MS);
        cluster.finish();
    }
}

/// A leader that nobody hears is replaced, and decides nothing.
pub(super) fn s25_mute_leader(is_told: bool) {
    for seed in 0..6 {
        let mut cluster = Cluster::calm(8_000 + seed, 3, 0, is_told);
        let leader = cluster.until_serving();
        cluster.until_writes(10);
        cluster.mute(leader);
        cluster.is_replaced(leader, PATIENCE_MS);
        cluster.finish();
    }
}

impl Cluster {
    /// Somebody leads in its place within so many ms. It decides nothing meanwhile.
    fn is_replaced(&mut self, leader: usize, within_ms: u64) {
        // What was on its way arrives.
        self.for_ms(30);
        let (began, decided) = (self.time.ms(), self.decided(leader));
        self.until("another leader", |cluster| {
            let now = cluster.decided(leader);
            assert!(now == decided, "it decides {now} with nobody, after {decided}");
            cluster.leads_beside(leader).is_some()
        });
        let took = self.time.ms() - began;
        assert!(took <= within_ms, "replaced after {took} ms");
    }

    /// Another one that leads, whatever this one takes itself for.
    fn leads_beside(&self, old: usize) -> Option<usize> {
        let leads = |at: &usize| matches!(self.nodes[*at].serving, Serving::Leading(_));
        self.others(old).into_iter().find(|at| self.nodes[*at].server.is_some() && leads(at))
    }

    /// What its disk says of epochs.
    pub(super) fn record(&self, at: usize) -> EpochRecord {
        let file = self.nodes[at].machine.borrow().disk.contents(names::EPOCH);
        epoch::load(&file).expect("nothing is wrong with its disk").record
    }

    /// Whoever has taken an epoch up has it from a leader whose epoch a quorum of voters has accepted.
    fn epochs_rest_on_voters(&self) {
        let voters = self.plan.voters.len();
        for at in 0..self.nodes.len() {
            let current = self.record(at).current;
            let accepted = (0..voters).filter(|voter| self.record(*voter).accepted >= current).count();
            assert!(
                2 * accepted > voters,
                "{:?} is in {current:?}, which {accepted} of {voters} voters have accepted",
                self.nodes[at].id
            );
        }
    }
}

/// Of the two voters that are left the one that does not lead goes silent at some point of the election; observers answer
/// everything (ZOOKEEPER-2959): nobody takes up an epoch that a quorum of voters has not accepted.
pub(super) fn s21_observers_accept_no_epoch(is_told: bool) {
    for ms in 0..120 {
        let mut cluster = Cluster::calm(4_100 + ms, 3, 3, is_told);
        let leader = cluster.until_serving();
        cluster.until_writes(5);
        cluster.leave(leader);
        cluster.for_ms(ms);
        // The one with the higher id leads next.
        let voter = (0..3).find(|at| *at != leader).expect("there are three");
        cluster.nodes[voter].frozen_until = cluster.time.ms() + 3_000;
        cluster.for_ms(1_000);
        cluster.epochs_rest_on_voters();
        cluster.finish();
    }
}

/// A leader reaches nobody, and hears the last of one that then gives it up: for a while it leads on, and another one leads
/// (ZOOKEEPER-1675). A sync that it is asked for then is not answered with what was true before.
pub(super) fn s57_stale_sync(is_told: bool) {
    let mut met = 0;
    for seed in 0..20 {
        let mut cluster = Cluster::calm(57_000 + seed, 3, 0, is_told);
        let old = cluster.until_serving();
        cluster.until_writes(5);
        let others = cluster.others(old);
        let (asks, speaks) = (cluster.guest(old, LONG_MS), cluster.guest(others[0], LONG_MS));
        cluster.quiet();
        cluster.mute(old);
        cluster.for_ms(420);
        // Nothing that the old leader would have to propose.
        cluster.ask_sync(speaks);
        cluster.for_ms(20);
        cluster.deafen(old);
        cluster.until("another leader", |cluster| cluster.leads_beside(old).is_some());
        let new = cluster.leads_beside(old).expect("it was there a moment ago");
        let writes = cluster.guest(new, LONG_MS);
        let written = cluster.ask(writes, OpCode::Create, node("/new", 0));
        cluster.until("an answer", |cluster| cluster.guests[writes].is_answered());
        assert_eq!(cluster.guests[writes].err(written), Some(0));
        let newest = cluster.nodes[new].applied;
        if matches!(cluster.nodes[old].serving, Serving::Leading(_)) {
            met += 1;
            cluster.ask_sync(asks);
            cluster.until("an answer, or none", |cluster| {
                cluster.guests[asks].is_answered() || cluster.guests[asks].is_closed()
            });
            let answer = cluster.guests[asks].heard.last();
            let is_stale = matches!(answer, Some(Heard::Reply { err: 0, zxid, .. }) if *zxid < newest);
            assert!(!is_stale, "{answer:?}, and {newest} was decided before it asked");
        }
        cluster.set_asking(true);
        cluster.finish();
    }
    assert!(met >= 10, "the old leader was gone, but for {met} times");
}

/// Nine voters in three groups (stock `QuorumHierarchical`): without a whole group, and one of each other, four go on; five
/// do not, of which one group alone has its majority. With weights, two go on that have that of their groups, and six do not
/// that have it of none.
pub(super) fn groups_decide(is_told: bool) {
    for seed in 0..3 {
        let mut cluster = Cluster::calm(13_000 + seed, 9, 0, is_told).with_three_groups(1);
        let leader = cluster.until_serving();
        cluster.until_writes(10);
        let [down, one, other] = [0, 1, 2].map(|after| (leader / 3 + after) % 3 * 3);
        (down..down + 3).for_each(|at| cluster.leave(at));
        cluster.until_writes(10);
        [one, other].into_iter().for_each(|at| cluster.leave(at));
        cluster.until_writes(10);
        cluster.leave(one + 1);
        [down, other].into_iter().for_each(|at| cluster.starts_after(at, 0));
        cluster.nobody_decides();
        cluster.starts_after(one, 0);
        cluster.until_writes(10);
        cluster.finish();

        let mut cluster = Cluster::calm(13_100 + seed, 9, 0, is_told).with_three_groups(3);
        cluster.until_serving();
        cluster.until_writes(10);
        (0..9).filter(|at| ![0, 3].contains(at)).for_each(|at| cluster.leave(at));
        cluster.until_writes(10);
        [0, 3].into_iter().for_each(|at| cluster.leave(at));
        (0..9).filter(|at| at % 3 > 0).for_each(|at| cluster.starts_after(at, 0));
        cluster.nobody_decides();
        cluster.finish();
    }
}

impl Cluster {
    /// Three voters make a group, the first of which has this weight and the others 1.
    fn with_three_groups(mut self, first: i64) -> Cluster {
        let voters = self.plan.voters.clone();
        let group = voters.iter().map(|voter| (*voter, (voter.0 - 1) / 3)).collect();
        let weight = voters.iter().filter(|voter| voter.0 % 3 == 1).map(|voter| (*voter, first)).collect();
        self.plan.quorum = Quorum::Hierarchical { group, weight };
        self
    }

    /// Once whoever led has found out, nobody leads and nothing is acknowledged.
    fn nobody_decides(&mut self) {
        self.for_ms(PATIENCE_MS);
        let writes = self.oracle.acknowledged_writes();
        self.for_ms(5_000);
        assert!(self.leader().is_none(), "leads without a quorum");
        assert!(self.oracle.acknowledged_writes() == writes, "acknowledged without a quorum");
    }
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
