#![forbid(unsafe_code)]
//! What comes over the links between servers is not what was sent.

use crate::cluster::Cluster;
use crate::server::QUORUM_PORT;

/// Bits turn over on the way, past TCP's checksum, in packets and in states: whoever finds it closes the link and comes back;
/// nobody acts on what was not sent, no server ends, and in the end all have the same.
pub(super) fn s26_bit_flip_in_proposal(is_told: bool) {
    for seed in 0..8 {
        let (mut cluster, leader) = Cluster::calm(26_000 + seed, 3, 1, is_told).with_much_state(40);
        for node in &cluster.nodes {
            node.machine.borrow_mut().takes_bad_images = true;
        }
        cluster.network.borrow_mut().alter(QUORUM_PORT, 30, 12);
        if seed % 2 == 1 {
            let behind = cluster.others(leader)[0];
            cluster.empty(behind);
            cluster.starts_after(behind, 0);
        }
        cluster.until("bits that turn over", |cluster| cluster.network.borrow().alters() == 0);
        cluster.until_writes(5);
        cluster.finish();
    }
}
