#![forbid(unsafe_code)]
//! How a server that was away, or that knows what nobody else does, is brought up to date.

use ringkeeper::runtime::messages::Serving;
use ringkeeper::wire::OpCode;
use ringkeeper::wire::jute::Writer;

use super::sessions::{LONG_MS, node};
use crate::cluster::Cluster;
use crate::network::SOCKET_BYTES;
use crate::workload::create;

impl Cluster {
    /// Each second of so many has its writes, and the epoch stays what it is.
    fn goes_on(&mut self, seconds: u64) {
        let leader = self.leader().expect("it leads");
        let epoch = self.nodes[leader].applied.epoch();
        for second in 0..seconds {
            let before = self.oracle.acknowledged_writes();
            self.for_ms(1_000);
            let writes = self.oracle.acknowledged_writes() - before;
            assert!(writes > 5, "{writes} writes in second {second}: {}", self.state());
        }
        assert_eq!(
            (self.leader(), self.nodes[leader].applied.epoch()),
            (Some(leader), epoch),
            "another election"
        );
    }

    /// For so long these ask and are answered, within half of what a silent learner is given, though one takes nothing.
    fn are_answered(&mut self, guests: &[usize], stuck: usize, ms: u64) {
        let (end, host) = (self.time.ms() + ms, self.nodes[stuck].id.0);
        let (mut asked, mut waits) = (Vec::new(), 0);
        while self.time.ms() < end {
            let now = self.time.ms();
            for guest in guests {
                let number = self.ask(*guest, OpCode::Create, node(&format!("/asked-{guest}-{now}"), 0));
                asked.push((*guest, number, now));
            }
            self.for_ms(50);
            asked.retain(|(guest, number, _)| self.guests[*guest].err(*number).is_none());
            let longest = asked.first().map_or(0, |(.., at)| self.time.ms() - at);
            assert!(longest <= 250, "a request waits for {longest} ms: {}", self.state());
            waits = waits.max(self.network.borrow().waits_for(host));
        }
        assert!(waits >= SOCKET_BYTES, "{waits} bytes wait for it: nothing was held up");
    }

    fn images(&self, at: usize) -> u64 {
        self.nodes[at].machine.borrow().images
    }

    /// The ensemble has a state of some hundred kilobytes, and no log that goes back for more than some of these.
    pub(super) fn with_much_state(mut self, snap_count: u32) -> (Cluster, usize) {
        self.plan.snap_count = snap_count;
        let leader = self.until_serving();
        let guest = self.guest(leader, LONG_MS);
        for number in 0..200 {
            let mut body = Vec::new();
            create(&format!("/much-{number}"), &[b'm'; 3_000], &mut body);
            self.ask(guest, OpCode::Create, body);
        }
        self.until("much state", |cluster| cluster.guests[guest].is_answered());
        (self, leader)
    }
}

/// A leader that logged alone has to cut so many records and no more, in one process or over a crash at some point, and goes
/// on right behind the cut (ZOOKEEPER-1156, -1489).
pub(super) fn s02_trunc_exact(is_told: bool) {
    for tail in 1..=9 {
        for turns in [None, Some(5), Some(20), Some(40)] {
            let mut cluster = Cluster::calm(2_500 + tail, 3, 0, is_told);
            let leader = cluster.until_serving();
            cluster.until_writes(5);
            cluster.log_alone(leader, tail);
            cluster.until("another leader", |cluster| cluster.leads_instead_of(leader));
            cluster.until_writes(3);
            cluster.network.borrow_mut().mend();
            if let Some(turns) = turns {
                for _ in 0..turns {
                    cluster.step(u64::MAX, false);
                }
                cluster.crash(leader, true);
                cluster.starts_after(leader, 0);
            }
            cluster.until("all serve", |cluster| {
                cluster.nodes.iter().all(|node| node.server.is_some()) && cluster.is_whole()
            });
            assert_eq!(cluster.images(leader), 0, "all that is needed is a cut");
            for number in 0..tail {
                assert!(!cluster.has(leader, &format!("/alone-{number}")), "nobody decided it");
            }
            cluster.finish();
        }
    }
}

/// A leader is deposed with txns on their way to its disk that nobody else has, and finds the next one before they are there
/// (ZOOKEEPER-4712): it keeps still until they are, says so, and cuts them.
pub(super) fn s11_zombie_log_writer(is_told: bool) {
    for flush_ms in (200..4_000).step_by(200) {
        let mut cluster = Cluster::calm(11_500 + flush_ms, 3, 0, is_told);
        let leader = cluster.until_serving();
        cluster.until_writes(5);
        let guest = cluster.guest(leader, LONG_MS);
        cluster.until("its disk rests", |cluster| !cluster.nodes[leader].machine.borrow().is_writing());
        cluster.mute(leader);
        cluster.nodes[leader].machine.borrow_mut().disk_delay = flush_ms..=flush_ms;
        for number in 0..3 {
            cluster.ask(guest, OpCode::Create, node(&format!("/alone-{number}"), 1));
        }
        cluster.until("a write", |cluster| cluster.nodes[leader].machine.borrow().is_writing());
        cluster.nodes[leader].machine.borrow_mut().disk_delay = 0..=5;
        cluster.until("another leader", |cluster| cluster.leads_instead_of(leader));
        cluster.network.borrow_mut().mend();
        cluster.until("it is back", |cluster| cluster.nodes[leader].serving == Serving::Following);
        for number in 0..3 {
            assert!(!cluster.has(leader, &format!("/alone-{number}")), "nobody decided it");
        }
        cluster.finish();
    }
}

/// A server that was away is brought up to date with txns, leads next, and brings another one up to date that was away for
/// as long (ZOOKEEPER-4925), before anything else is written or after: what it was sent, it sends.
pub(super) fn s12_committed_log_hole(is_told: bool) {
    for (seed, more) in [(0, 0), (1, 0), (2, 3), (3, 10)] {
        let mut cluster = Cluster::calm(12_100 + seed, 5, 0, is_told);
        cluster.plan.history_txns = 1_000;
        let old = cluster.until_serving();
        let [away, .., next] = cluster.others(old)[..] else { unreachable!("there are four") };
        cluster.until_writes(5);
        cluster.leave(away);
        cluster.leave(next);
        cluster.until_writes(10);
        cluster.starts_after(next, 0);
        cluster.until("it is back", |cluster| cluster.nodes[next].serving == Serving::Following);
        // Of those that have the same, the one with the highest id leads.
        cluster.quiet();
        cluster.leave(old);
        cluster.set_asking(more > 0);
        cluster.until("it leads", |cluster| cluster.leader() == Some(next));
        cluster.until_writes(more);
        let before = cluster.images(away);
        cluster.starts_after(away, 0);
        cluster.until("it is back too", |cluster| cluster.nodes[away].serving == Serving::Following);
        assert_eq!(cluster.images(away), before, "txns are all that it lacks");
        cluster.set_asking(true);
        cluster.until_writes(5);
        cluster.finish();
    }
}

/// Who is about to lead sends its state to a server that is far behind, with a tail that nobody decided, and is gone before
/// it leads. The next leader's state ends before that tail (ZOOKEEPER-4837): the snapshot with the tail goes, and the
/// ephemeral in it does not come back, wherever the server loses its power meanwhile, and when it starts again.
pub(super) fn s17_snapshot_above_trunc(is_told: bool) {
    for turns in [None].into_iter().chain((0..100).step_by(5).map(Some)) {
        let (mut cluster, old) = Cluster::calm(17_000, 5, 0, is_told).with_much_state(40);
        let [behind, accepts, one, other] = cluster.others(old)[..] else { unreachable!("there are four") };
        cluster.leave(behind);
        cluster.until_writes(150);
        let guest = cluster.guest(old, LONG_MS);
        cluster.quiet();
        let decided = cluster.logged(old);
        for at in [accepts, one, other] {
            cluster.cut(old, at);
        }
        cluster.ask(guest, OpCode::Create, node("/mayfly", 1));
        cluster.until("a tail", |cluster| cluster.logged(old) > decided);
        for at in [old, accepts, one, other] {
            cluster.leave(at);
        }
        cluster.set_asking(false);
        cluster.network.borrow_mut().mend();
        for at in [old, accepts, behind] {
            cluster.starts_after(at, 0);
        }
        // One of those that accept its epoch hears no more of it.
        let epoch = cluster.record(old).accepted;
        cluster.until("a quorum accepts", |cluster| cluster.record(accepts).accepted > epoch);
        cluster.cut(old, accepts);
        cluster.until("the state has come", |cluster| cluster.nodes[behind].applied > decided);
        assert_eq!(cluster.logged(accepts), decided, "a quorum has the tail");
        for at in [old, accepts, behind] {
            cluster.leave(at);
        }
        cluster.network.borrow_mut().mend();
        for at in [accepts, one, other] {
            cluster.starts_after(at, 0);
        }
        cluster.until("another leader", |cluster| cluster.leader().is_some());
        cluster.starts_after(behind, 0);
        cluster.until("another state", |cluster| cluster.images(behind) == 2);
        cluster.set_asking(true);
        if let Some(turns) = turns {
            for _ in 0..turns {
                cluster.step(u64::MAX, false);
            }
            cluster.crash(behind, true);
            cluster.starts_after(behind, 0);
        }
        cluster.until("it is back", |cluster| cluster.nodes[behind].serving.is_serving());
        assert!(!cluster.has(behind, "/mayfly"), "nobody decided it");
        cluster.until_writes(3);
        cluster.crash(behind, true);
        cluster.starts_after(behind, 0);
        cluster.until("it is back again", |cluster| cluster.nodes[behind].serving.is_serving());
        assert!(!cluster.has(behind, "/mayfly"), "it has come back");
        cluster.finish();
    }
}

/// An ephemeral ends with its session while a server is away; its leader is gone at any point of the diff that tells it so
/// (ZOOKEEPER-2355): it is told by the next.
pub(super) fn s18_stale_ephemeral_after_diff(is_told: bool) {
    for turns in (0..300).step_by(6) {
        let mut cluster = Cluster::calm(18_000 + turns, 3, 0, is_told);
        (cluster.plan.history_txns, cluster.plan.snap_count) = (1_000, u32::MAX);
        let leader = cluster.until_serving();
        cluster.until_writes(5);
        let guest = cluster.guest(leader, LONG_MS);
        cluster.ask(guest, OpCode::Create, node("/mayfly", 1));
        let [behind, other] = cluster.others(leader)[..] else { unreachable!("there are three") };
        cluster.until("a mayfly", |cluster| cluster.has(behind, "/mayfly"));
        cluster.leave(behind);
        // More than one piece of the link takes.
        for number in 0..200 {
            let mut body = Vec::new();
            create(&format!("/much-{number}"), &[b'm'; 3_000], &mut body);
            cluster.ask(guest, OpCode::Create, body);
        }
        cluster.ask(guest, OpCode::CloseSession, Vec::new());
        cluster.until("an end", |cluster| cluster.guests[guest].is_answered());
        cluster.quiet();
        cluster.starts_after(behind, 0);
        cluster.until("it runs", |cluster| cluster.nodes[behind].server.is_some());
        for _ in 0..turns {
            cluster.step(u64::MAX, false);
        }
        cluster.leave(leader);
        cluster.set_asking(false);
        cluster.until("both serve", |cluster| {
            [behind, other].iter().all(|at| cluster.nodes[*at].serving.is_serving())
        });
        assert!(!cluster.has(behind, "/mayfly"), "it outlives its session");
        cluster.set_asking(true);
        cluster.until_writes(5);
        cluster.finish();
    }
}

/// One that once cut a branch leads, and its log still goes back to before it (ZOOKEEPER-2846, -4352). Somebody who has the
/// branch comes back and is far behind: the branch is not taken for the history that it was cut from. Somebody who was away
/// before there was a branch comes back: that log is all he needs, and he is not sent the branch.
pub(super) fn s19_txnlog_diff_branch(is_told: bool) {
    for tail in 1..=4 {
        let mut cluster = Cluster::calm(19_000 + tail, 7, 1, is_told);
        // All of the log stays.
        cluster.plan.snap_count = u32::MAX;
        let old = cluster.until_serving();
        cluster.until_writes(10);
        let ([cuts, keeps], away) = ([old - 1, old - 2], 7);
        cluster.crash(away, true);
        cluster.starts_after(away, 600_000);
        // Three of seven have the branch.
        let guest = cluster.guest(old, LONG_MS);
        for other in cluster.others(old).into_iter().filter(|at| ![cuts, keeps].contains(at)) {
            cluster.cut(old, other);
        }
        let before = cluster.logged(old);
        for number in 0..tail {
            cluster.ask(guest, OpCode::Create, node(&format!("/branch-{number}"), 0));
        }
        let end = before.0 + tail as i64;
        cluster.until("a branch", |cluster| [old, cuts, keeps].iter().all(|at| cluster.logged(*at).0 >= end));
        for at in [old, cuts, keeps] {
            cluster.crash(at, true);
            cluster.starts_after(at, 600_000);
        }
        cluster.until("another leader", |cluster| cluster.leads_instead_of(old));
        cluster.until_writes(5);
        cluster.network.borrow_mut().mend();
        cluster.starts_after(cuts, 0);
        cluster.until("it cuts", |cluster| cluster.nodes[cuts].serving.is_serving());
        cluster.until_writes(5);
        // The one that cut leads next.
        let leader = cluster.leader().expect("it leads");
        cluster.crash(leader, true);
        cluster.starts_after(leader, 500);
        cluster.until("the one that cut leads", |cluster| cluster.leader() == Some(cuts));
        cluster.until_writes(120);
        for (at, needs_state) in [(away, false), (keeps, true), (old, true)] {
            let before = cluster.images(at);
            cluster.starts_after(at, 0);
            cluster.until("it is back", |cluster| cluster.nodes[at].serving.is_serving());
            assert!(
                (0..tail).all(|number| !cluster.has(at, &format!("/branch-{number}"))),
                "it has the branch"
            );
            assert_eq!(cluster.images(at) > before, needs_state, "brought up to date in another way");
        }
        cluster.finish();
    }
}

/// A state takes many times `initLimit` to get to a learner, under load (ZOOKEEPER-1697, -2678): the learner catches up,
/// nobody else waits, and nobody is elected.
pub(super) fn s29_big_sync(is_told: bool) {
    for seed in 0..3 {
        let (mut cluster, leader) = Cluster::calm(29_000 + seed, 3, 0, is_told).with_much_state(40);
        let behind = cluster.others(leader)[seed as usize % 2];
        cluster.empty(behind);
        // Each piece within `initLimit`, and all of them not.
        cluster.nodes[leader].machine.borrow_mut().image_delay = Some(500..=600);
        cluster.starts_after(behind, 0);
        let began = cluster.time.ms();
        while !cluster.nodes[behind].serving.is_serving() {
            assert!(cluster.time.ms() - began < 120_000, "it never catches up: {}", cluster.state());
            cluster.goes_on(1);
        }
        let took = cluster.time.ms() - began;
        assert!(took > 2 * 10 * 100, "a state that comes within {took} ms is none that is slow");
        cluster.goes_on(3);
        cluster.finish();
    }
}

/// A leader loses its power to lead while a state goes out: that ends with its role, so that others can be sent one.
pub(super) fn states_end_with_roles(is_told: bool) {
    for seed in 0..3 {
        let (mut cluster, leader) = Cluster::calm(29_200 + seed, 3, 0, is_told).with_much_state(40);
        let others = cluster.others(leader);
        let (behind, follower) = (others[seed as usize % 2], others[1 - seed as usize % 2]);
        cluster.empty(behind);
        cluster.nodes[leader].machine.borrow_mut().image_delay = Some(500..=600);
        cluster.starts_after(behind, 0);
        cluster.until("a state goes out", |cluster| cluster.nodes[leader].machine.borrow().sending == 1);
        cluster.crash(follower, true);
        cluster.starts_after(follower, 2_000);
        cluster.until("it leads no more", |cluster| cluster.nodes[leader].serving == Serving::No);
        assert_eq!(cluster.nodes[leader].machine.borrow().sending, 0, "it goes on for nobody");
        cluster.finish();
    }
}

/// A learner stops reading while a state, or txns, come to it (ZOOKEEPER-2201, -3531): the others go on, nobody waits for it,
/// and it comes back.
pub(super) fn s62_stuck_receiver(is_told: bool) {
    for takes_image in [false, true] {
        for seed in 0..2 {
            let (mut cluster, leader) = Cluster::calm(62_000 + seed, 3, 1, is_told).with_much_state(40);
            let stuck = cluster.others(leader)[2 * seed as usize];
            let others = cluster.others(stuck);
            let guests: Vec<usize> = others.into_iter().map(|at| cluster.guest(at, LONG_MS)).collect();
            if takes_image {
                cluster.empty(stuck);
                cluster.nodes[leader].machine.borrow_mut().image_delay = Some(200..=300);
                cluster.starts_after(stuck, 0);
                let host = cluster.nodes[stuck].id.0;
                cluster.until("it is sent", |cluster| cluster.network.borrow().waits_for(host) > 100_000);
                cluster.for_ms(150 * seed);
            }
            assert!(!takes_image || !cluster.nodes[stuck].serving.is_serving(), "its state is already there");
            cluster.nodes[stuck].frozen_until = cluster.time.ms() + 5_000;
            // More than its socket takes before it is given up.
            for number in 0..if takes_image { 0 } else { 30 } {
                let mut body = Vec::new();
                create(&format!("/long-{number}"), &[b'l'; 16_000], &mut body);
                cluster.ask(guests[0], OpCode::Create, body);
            }
            cluster.are_answered(&guests, stuck, 1_500);
            cluster.goes_on(3);
            cluster.until("it is back", |cluster| cluster.nodes[stuck].serving.is_serving());
            cluster.finish();
        }
    }
}

/// A deposed leader has prepared what nobody decides, nodes, the end of one, the end of a session, and is sent a whole state
/// (CH-54572): when it leads again, and nothing else has happened, nothing of that is there, nor in the way.
pub(super) fn s61_preprocess_then_snapshot(is_told: bool) {
    for tail in [1, 3, 8] {
        let (mut cluster, leader) = Cluster::calm(61_000 + tail, 3, 0, is_told).with_much_state(40);
        let closes = cluster.guest(leader, LONG_MS);
        let session = cluster.guests[closes].session;
        cluster.log_alone(leader, tail);
        let before = cluster.logged(leader);
        let mut deletes = Vec::new();
        deletes.string(b"/much-0");
        deletes.int(-1);
        cluster.ask(closes, OpCode::Delete, deletes.clone());
        cluster.ask(closes, OpCode::Create, node("/alone-ephemeral", 1));
        cluster.ask(closes, OpCode::CloseSession, Vec::new());
        cluster.until("its own log", |cluster| cluster.logged(leader).0 >= before.0 + 3);
        cluster.until("another leader", |cluster| cluster.leads_instead_of(leader));
        cluster.until_writes(150);
        // The next txn that it applies would hide what is left.
        cluster.set_asking(false);
        cluster.for_ms(500);
        cluster.network.borrow_mut().mend();
        cluster.until("it is back", |cluster| cluster.nodes[leader].serving == Serving::Following);
        assert_eq!(cluster.images(leader), 1, "too far behind for anything but a state");
        // And leads again.
        let other = cluster.leader().expect("it leads");
        cluster.crash(other, false);
        cluster.starts_after(other, 3_000);
        cluster.until("it leads again", |cluster| cluster.leader() == Some(leader));
        let guest = cluster.greet(leader, session, LONG_MS);
        cluster.until("its session", |cluster| cluster.guests[guest].is_attached());
        let nodes = (0..tail).map(|number| (OpCode::Create, node(&format!("/alone-{number}"), 0)));
        let others = [(OpCode::Create, node("/alone-ephemeral", 1)), (OpCode::Delete, deletes)];
        for (op, body) in nodes.chain(others) {
            let asked = cluster.ask(guest, op, body);
            cluster.until("an answer", |cluster| cluster.guests[guest].is_answered());
            assert_eq!(cluster.guests[guest].err(asked), Some(0), "what was never decided is in the way");
        }
        cluster.set_asking(true);
        cluster.finish();
    }
}

/// A whole state takes twice `initLimit` to take the place of a learner's own, after its last byte has come. A leader gives up
/// a link on which nothing comes for so long, as stock does; the learner goes on from what it has, and is not sent all again.
pub(super) fn slow_install(is_told: bool) {
    const INSTALL_MS: u64 = 2 * 10 * 100;
    for seed in 0..3 {
        let (mut cluster, leader) = Cluster::calm(29_100 + seed, 3, 0, is_told).with_much_state(1_000);
        let behind = cluster.others(leader)[seed as usize % 2];
        // The log goes back for some seconds, and not to the beginning.
        cluster.until_writes(4_000);
        cluster.empty(behind);
        cluster.nodes[behind].machine.borrow_mut().install_ms = INSTALL_MS;
        cluster.starts_after(behind, 0);
        let began = cluster.time.ms();
        while !cluster.nodes[behind].serving.is_serving() {
            assert!(cluster.time.ms() - began < 60_000, "it never catches up: {}", cluster.state());
            cluster.goes_on(1);
        }
        assert!(cluster.time.ms() - began > INSTALL_MS, "installed in no time");
        assert_eq!(cluster.images(behind), 1, "it was sent what it had");
        cluster.finish();
    }
}
