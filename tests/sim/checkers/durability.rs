#![forbid(unsafe_code)]
//! What is committed is durable on a quorum at that instant (L2), and what a server applies is durable on itself (L3).
//! A log counts as far as the last write that its server took for flushed; whether a flush did flush is not asked here:
//! power cuts and the oracle tell (`FlushIsForgotten`).
//!
//! Has caught: `AckBeforeFlush`, `OwnAckBeforeFlush`, `MinorityCommits`.

use std::collections::BTreeMap;

use ringkeeper::base::{ServerId, Zxid};

/// How far each server's disk goes, and how far it ever went: clients hear of a commit later than it happens, and a disk
/// may be taken away in between.
#[derive(Default)]
pub(crate) struct Checker(BTreeMap<ServerId, (Zxid, Zxid)>);

impl Checker {
    /// The server's disk goes that far now.
    pub(crate) fn stores(&mut self, server: ServerId, zxid: Zxid) {
        let ever = self.0.get(&server).map_or(zxid, |(_, ever)| zxid.max(*ever));
        self.0.insert(server, (zxid, ever));
    }

    /// A client was told that this is done.
    pub(crate) fn acknowledged(&self, voters: &[ServerId], zxid: Zxid) {
        let have: Vec<ServerId> = voters
            .iter()
            .copied()
            .filter(|voter| self.0.get(voter).is_some_and(|(_, ever)| *ever >= zxid))
            .collect();
        assert!(
            2 * have.len() > voters.len(),
            "durability: {zxid} is acknowledged, and durable on {have:?} alone"
        );
    }

    /// The server applied this.
    pub(crate) fn applied(&self, server: ServerId, zxid: Zxid) {
        let stored = self.0.get(&server).map_or(Zxid::ZERO, |(stored, _)| *stored);
        assert!(zxid <= stored, "durability: {server:?} applied {zxid}, and its disk ends at {stored}");
    }
}
