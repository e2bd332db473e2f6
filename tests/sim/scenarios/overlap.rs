#![forbid(unsafe_code)]
//! What overlaps when a write is made, on one exact clock.

use crate::cluster::Cluster;

/// A proposal leaves before the leader's own flush has ended (DESIGN §4). So a write is decided when the second of three
/// flushes is known of, each counted from the proposal, whichever disk is slow; and the leader answers after the longer of
/// its own flush and the round trip with a follower's, never their sum. Time is virtual, so this is exact.
pub(super) fn leader_overlap(is_told: bool) {
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
}
