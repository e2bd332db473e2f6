#![forbid(unsafe_code)]
//! Agreement and total order (Zab paper, §3; Z3, Z4, L4): what two servers have delivered up to one zxid is the same, in
//! the same order. The digest of the tree after a txn depends on every txn before it, so that it stands for them all; what
//! it does not cover, sessions and access lists, is compared where servers start (L6).
//!
//! Has caught: `AppliesUncommitted`, `EphemeralsStay`, `MinorityCommits`, `TailIsKept`.

use std::collections::BTreeMap;

use ringkeeper::base::{ServerId, Zxid};

/// The state after each txn that somebody delivered.
#[derive(Default)]
pub(crate) struct Checker {
    digests: BTreeMap<Zxid, (ServerId, i64)>,
    states: BTreeMap<Zxid, (ServerId, u64)>,
}

impl Checker {
    /// A server has delivered everything up to here, and its tree has this digest.
    pub(crate) fn delivered(&mut self, server: ServerId, zxid: Zxid, digest: i64) {
        let (other, known) = *self.digests.entry(zxid).or_insert((server, digest));
        assert!(
            known == digest,
            "agreement: {server:?} and {other:?} differ at {zxid}: {digest:x} {known:x}"
        );
    }

    /// A server has recovered this state from its disk.
    pub(crate) fn recovered(&mut self, server: ServerId, zxid: Zxid, state: u64) {
        let (other, known) = *self.states.entry(zxid).or_insert((server, state));
        assert!(
            known == state,
            "agreement: {server:?} and {other:?} have other sessions, access lists or znodes at {zxid}"
        );
    }
}
