#![forbid(unsafe_code)]
//! What is committed is durable on a quorum at that instant (L2), and what a server applies is durable on itself (L3).
//! The server's word does not count: its log goes as far as a power cut would leave it, says the model of its disk; now and
//! then the power is cut on a copy, and recovery says what is left. What was there while it served is there when it starts
//! again, or it says that it has lost something.
//!
//! Has caught: `AckBeforeFlush`, `FlushIsForgotten`, `OwnAckBeforeFlush`, `MinorityCommits`, `ReadIsDurable`.

use std::collections::{BTreeMap, BTreeSet};

use ringkeeper::base::{ServerId, Zxid};
use ringkeeper::zab::membership::Membership;

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

    /// From its disk a server has recovered this much, of what it had promised to keep.
    pub(crate) fn found(&self, server: ServerId, promised: Zxid, last: Zxid, lost: Option<&str>) {
        assert!(
            last >= promised || lost.is_some(),
            "durability: {server:?} had {promised} on its disk, finds its log to end at {last}, and does not miss the rest"
        );
    }

    /// A client was told that this is done.
    pub(crate) fn acknowledged(&self, membership: &Membership, zxid: Zxid) {
        let have: BTreeSet<ServerId> = membership
            .voters
            .iter()
            .copied()
            .filter(|voter| self.0.get(voter).is_some_and(|(_, ever)| *ever >= zxid))
            .collect();
        assert!(
            membership.is_quorum(&have),
            "durability: {zxid} is acknowledged, and durable on {have:?} alone"
        );
    }

    /// The server applied this.
    pub(crate) fn applied(&self, server: ServerId, zxid: Zxid) {
        let stored = self.0.get(&server).map_or(Zxid::ZERO, |(stored, _)| *stored);
        assert!(zxid <= stored, "durability: {server:?} applied {zxid}, and its disk ends at {stored}");
    }
}
