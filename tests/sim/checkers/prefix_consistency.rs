#![forbid(unsafe_code)]
//! Prefix consistency (Zab paper, §4; Z3, Z9): a disk that knows a decided txn knows every decided txn before it, with the
//! same bytes. Judged on what recovery reads after each crash.
//!
//! Has caught: `CutTakesOneMore`, `EpochBeforeHistory`, `FlushIsForgotten`, `NewLeaderBeforeHistory`, `VotesIgnoreZxids`.

use std::collections::BTreeMap;

use ringkeeper::base::{ServerId, Zxid};

use crate::server::Found;

/// Txns that some disk called decided.
#[derive(Default)]
pub(crate) struct Checker(BTreeMap<Zxid, Box<[u8]>>);

impl Checker {
    /// What a start found.
    pub(crate) fn found(&mut self, server: ServerId, found: &Found) {
        let end = found.decided;
        let decided = found.history.iter().filter(|(zxid, _)| *zxid <= end);
        let ours: BTreeMap<Zxid, &[u8]> = decided.map(|(zxid, txn)| (*zxid, &**txn)).collect();
        for (zxid, txn) in &ours {
            let known = self.0.entry(*zxid).or_insert_with(|| Box::from(*txn));
            assert!(
                **known == **txn,
                "prefix consistency: {server:?} has another txn {zxid} than was decided"
            );
        }
        // What is in its snapshot is not in its log.
        let beyond = |zxid: Zxid| zxid > found.base && !ours.contains_key(&zxid);
        if let Some(missing) = self.0.range(..=end).map(|(zxid, _)| *zxid).find(|zxid| beyond(*zxid)) {
            panic!(
                "prefix consistency: {server:?} knows txns up to {end} to be decided, and lacks {missing}"
            );
        }
    }

    pub(crate) fn txns(&self) -> usize {
        self.0.len()
    }
}
