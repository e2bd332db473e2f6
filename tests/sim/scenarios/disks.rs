#![forbid(unsafe_code)]
//! Disks that fail, fill up, limp, rot, or are another day's.

use std::ops::RangeInclusive;

use ringkeeper::runtime::fatal::Fatal;
use ringkeeper::wire::OpCode;

use crate::cluster::Cluster;
use crate::workload::create;

/// Ticks after which an ensemble that may serve does: twice `syncLimit` (reliability P17).
pub(super) const PATIENCE_MS: u64 = 2 * 5 * 100;

/// The leader's log takes one write more, or some, and then no other; its network is fine (ZOOKEEPER-2247): it ends, at
/// once another one leads, and what it had not written was acknowledged to nobody.
pub(super) fn s40_leader_log_dead(is_told: bool) {
    for writes in 0..20 {
        let mut cluster = Cluster::calm(40_000 + writes, 3, 1, is_told);
        let leader = cluster.until_serving();
        cluster.until_writes(3);
        cluster.fails_after(leader, writes);
        let ended = cluster.until_it_ends(leader);
        cluster.starts_after(leader, 30_000);
        cluster.until("another leader", |cluster| cluster.leader().is_some());
        let took = cluster.time.ms() - ended;
        assert!(took <= PATIENCE_MS, "{took} ms without a leader");
        cluster.until_writes(5);
        cluster.finish();
    }
}

/// One flush of a follower fails and later ones would not: it ends, acknowledges nothing of it, and nobody else notices.
pub(super) fn s41_fsync_once(is_told: bool) {
    for writes in 0..20 {
        let mut cluster = Cluster::calm(41_000 + writes, 3, 0, is_told);
        let leader = cluster.until_serving();
        let follower = cluster.others(leader)[0];
        cluster.until_writes(3);
        let epoch = cluster.nodes[leader].applied.epoch();
        cluster.fails_after(follower, writes);
        cluster.until_it_ends(follower);
        cluster.until_writes(10);
        cluster.until("all serve", Cluster::is_whole);
        assert_eq!(cluster.leader(), Some(leader));
        assert_eq!(cluster.nodes[leader].applied.epoch(), epoch, "the leader was elected again");
        cluster.finish();
    }
}

/// A deposed leader has to cut its tail, and its disk takes no write any more, from the first one or a later one on
/// (ZOOKEEPER-3701): it ends before it serves, and comes back without the tail.
pub(super) fn s42_disk_full_trunc(is_told: bool) {
    let mut ended = 0;
    for tail in 1..=5 {
        for writes in 0..4 {
            let mut cluster = Cluster::calm(42_000 + 10 * tail + writes, 3, 0, is_told);
            let leader = cluster.until_serving();
            cluster.until_writes(5);
            cluster.log_alone(leader, tail);
            cluster.until("another leader", |cluster| cluster.leads_instead_of(leader));
            cluster.until_writes(5);
            cluster.fails_after(leader, writes);
            cluster.network.borrow_mut().mend();
            cluster.until("it ends or serves", |cluster| {
                let node = &cluster.nodes[leader];
                node.serving.is_serving() || !node.ended.is_empty()
            });
            ended += usize::from(!cluster.nodes[leader].serving.is_serving());
            cluster.finish();
        }
    }
    assert!(ended >= 5, "only {ended} of the cuts met the disk that is full");
}

/// The leader's disk takes 5 s for a flush, then a minute (F12): it gives up, another one leads, and for as long as the
/// disk limps nobody waits for it, though it has the highest id.
pub(super) fn s44_limping_leader(is_told: bool) {
    for (seed, flush_ms) in [(0, 5_000), (1, 60_000)] {
        let mut cluster = Cluster::calm(44_000 + seed, 3, 0, is_told);
        let leader = cluster.until_serving();
        cluster.until_writes(10);
        cluster.nodes[leader].machine.borrow_mut().disk_delay = flush_ms..=flush_ms;
        let began = cluster.time.ms();
        cluster.until("another leader", |cluster| cluster.leads_instead_of(leader));
        let took = cluster.time.ms() - began;
        assert!(took <= 2 * PATIENCE_MS, "a leader whose disk stands still stays for {took} ms");
        cluster.until_writes(1);
        let other = cluster.leader().expect("it was there a moment ago");
        let epoch = cluster.nodes[other].applied.epoch();
        for second in 0..60 {
            let before = cluster.oracle.acknowledged_writes();
            cluster.for_ms(1_000);
            let writes = cluster.oracle.acknowledged_writes() - before;
            assert!(writes > 5, "{writes} writes in second {second} of a disk of {flush_ms} ms elsewhere");
        }
        assert_eq!(cluster.nodes[other].applied.epoch(), epoch, "another election, and another");
        cluster.finish();
    }
}

/// A learner is brought up to date by a diff, takes snapshots as it goes, and loses its power at any point: between what
/// its snapshots and its log hold nothing is missing (ZOOKEEPER-2310).
pub(super) fn s39_unsynced_diff_snapshot(is_told: bool) {
    for turns in (0..240).step_by(4) {
        let mut cluster = Cluster::calm(39_000 + turns, 3, 0, is_told);
        cluster.plan.snap_count = 4;
        let leader = cluster.until_serving();
        let behind = cluster.others(leader)[0];
        cluster.until_writes(3);
        cluster.crash(behind, true);
        cluster.starts_after(behind, 60_000);
        cluster.until_writes(12);
        cluster.starts_after(behind, 0);
        for _ in 0..turns {
            cluster.step(u64::MAX, false);
        }
        cluster.crash(behind, true);
        cluster.starts_after(behind, 100);
        cluster.until_writes(3);
        cluster.finish();
    }
}

/// Where the blocks of a server's log lie that hold something, oldest first.
fn log_blocks(cluster: &Cluster, at: usize) -> Vec<(String, usize)> {
    let machine = cluster.nodes[at].machine.borrow();
    let mut blocks = Vec::new();
    for name in machine.disk.files_like("wal-") {
        let file = machine.disk.contents(&name);
        // The first one is the header of the segment.
        let holds = |block: &usize| file[block * BLOCK..][..BLOCK].iter().any(|byte| *byte != 0);
        blocks.extend((1..file.len() / BLOCK).filter(holds).map(|block| (name.clone(), block * BLOCK)));
    }
    blocks
}

const BLOCK: usize = 4096;
/// What may be the last batch, which nobody can tell from one that was torn.
const LAST_BLOCKS: usize = 3;

impl Cluster {
    fn rot(&mut self, at: usize, (name, offset): &(String, usize)) {
        self.note(&format!("{} finds a byte of {name} changed at {offset}", self.nodes[at].id.0));
        self.nodes[at].machine.borrow().disk.tamper(name, |file| file[offset + 20] ^= 1);
        self.hurt(at);
    }
}

/// A bit of any batch of one voter's log is wrong when it starts: it has no vote, is brought up to date as a learner, and
/// has one again. With the same batch bad on all three nobody leads, and each says what is damaged.
pub(super) fn s33_sealed_damage(is_told: bool) {
    let stopped = |victims: RangeInclusive<usize>| {
        let mut cluster = Cluster::calm(33_000, 3, 0, is_told);
        cluster.until_serving();
        cluster.until_writes(25);
        // What is idle is sealed.
        cluster.set_asking(false);
        cluster.until("an answer", |cluster| !cluster.is_asked());
        cluster.set_asking(false);
        cluster.for_ms(1_000);
        for at in victims {
            cluster.crash(at, false);
            cluster.starts_after(at, 0);
        }
        cluster.set_asking(true);
        cluster
    };
    let blocks = log_blocks(&stopped(0..=0), 0);
    assert!(blocks.len() > 2 * LAST_BLOCKS, "the log has only {} blocks", blocks.len());
    let sealed = &blocks[..blocks.len() - LAST_BLOCKS];
    for block in sealed {
        let mut cluster = stopped(0..=0);
        cluster.rot(0, block);
        cluster.until("it is started", |cluster| cluster.nodes[0].server.is_some());
        assert!(cluster.nodes[0].lost.as_ref().is_some_and(|lost| lost.contains("damaged")), "{block:?}");
        cluster.until("it serves", |cluster| cluster.nodes[0].serving.is_serving());
        // And counts: with one of the others it is a quorum.
        cluster.until_writes(5);
        cluster.crash(1, true);
        cluster.starts_after(1, 30_000);
        cluster.until_writes(5);
        cluster.finish();
    }
    for block in sealed.iter().step_by(sealed.len() / 4) {
        let mut cluster = stopped(0..=2);
        for at in 0..3 {
            let same = log_blocks(&cluster, at).contains(block);
            assert!(same, "all have the same blocks");
            cluster.rot(at, block);
        }
        cluster.for_ms(20_000);
        assert_eq!(cluster.leader(), None, "led by servers that lost {block:?}");
        assert!(cluster.nodes.iter().all(|node| node.lost.is_some()));
    }
}

/// A voter whose log is damaged near its end and a voter that was away are all there is: nobody leads until one that holds
/// everything is back (reliability S34).
pub(super) fn s34_damaged_voter(is_told: bool) {
    for back in 0..4 {
        let mut cluster = Cluster::calm(34_000 + back, 3, 0, is_told);
        cluster.plan.snap_count = u32::MAX;
        let leader = cluster.until_serving();
        let [away, damaged] = cluster.others(leader)[..] else { unreachable!("there are three") };
        cluster.until_writes(5);
        cluster.leave(away);
        cluster.until_writes(20);
        // What is idle is sealed.
        cluster.quiet();
        cluster.for_ms(500);
        for at in [leader, damaged] {
            cluster.leave(at);
        }
        let blocks = log_blocks(&cluster, damaged);
        cluster.rot(damaged, &blocks[blocks.len() - LAST_BLOCKS - 1 - back as usize]);
        cluster.holder_is_waited_for([away, damaged], leader);
        assert!(cluster.nodes[damaged].lost.as_ref().is_some_and(|lost| lost.contains("damaged")));
        cluster.finish();
    }
}

/// A voter comes back with yesterday's disk while its leader lives, who knows what it had acknowledged: it is brought up to
/// date before it counts, so that with one that was away it loses nothing when the leader dies.
pub(super) fn s45_restored_backup(is_told: bool) {
    for turns in (0..60).step_by(3) {
        let mut cluster = Cluster::calm(45_000 + turns, 3, 0, is_told);
        let leader = cluster.until_serving();
        let [restored, away] = cluster.others(leader)[..] else { unreachable!("there are three") };
        cluster.until_writes(5);
        let copy = cluster.nodes[restored].machine.borrow().disk.copy();
        cluster.until_writes(5);
        cluster.crash(away, false);
        cluster.starts_after(away, 60_000);
        // By the leader and the one whose disk will forget them.
        cluster.until_writes(20);
        cluster.crash(restored, false);
        cluster.nodes[restored].machine.borrow_mut().disk = copy;
        cluster.hurt(restored);
        cluster.starts_after(restored, 0);
        cluster.until("it serves", |cluster| cluster.nodes[restored].serving.is_serving());
        for _ in 0..turns {
            cluster.step(u64::MAX, false);
        }
        cluster.crash(leader, false);
        cluster.starts_after(leader, 60_000);
        cluster.starts_after(away, 0);
        cluster.until_writes(5);
        cluster.finish();
    }
}

impl Cluster {
    fn fails_after(&mut self, at: usize, writes: u64) {
        let node = &mut self.nodes[at];
        node.may_end_for = Some(Fatal::Storage);
        node.machine.borrow_mut().fails_after = Some(writes);
    }

    /// Gives when it did.
    fn until_it_ends(&mut self, at: usize) -> u64 {
        self.until("it ends", |cluster| !cluster.nodes[at].ended.is_empty());
        let (ended, reason) = &self.nodes[at].ended[0];
        assert!(reason.contains("nothing unflushed was acknowledged"), "{reason}");
        *ended
    }

    pub(super) fn leads_instead_of(&self, at: usize) -> bool {
        self.leader().is_some_and(|leader| leader != at)
    }

    /// The leader logs so many txns that nobody else hears of.
    pub(super) fn log_alone(&mut self, leader: usize, txns: u64) {
        let guest = self.guest(leader, 60_000);
        self.mute(leader);
        let before = self.logged(leader);
        for number in 0..txns {
            let mut body = Vec::new();
            create(&format!("/alone-{number}"), b"nobody has heard of it", &mut body);
            self.ask(guest, OpCode::Create, body);
        }
        let end = before.0 + txns as i64;
        self.until("its own log", |cluster| cluster.logged(leader).0 >= end);
    }
}
