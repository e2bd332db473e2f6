#![forbid(unsafe_code)]
//! When the txns were made that are on their way: logged in the present role, and not both decided and durable here. For
//! figures only. Lives on: the sequencer.

use std::collections::VecDeque;

use crate::base::{WallMillis, Zxid};

/// See the module.
#[derive(Default)]
pub(super) struct Underway {
    /// In the order of their zxids.
    txns: VecDeque<(Zxid, WallMillis)>,
    /// So many of them, the oldest, are decided, and so many durable here.
    decided: usize,
    durable: usize,
}

impl Underway {
    /// Whether nothing is.
    pub(super) fn is_empty(&self) -> bool {
        self.txns.is_empty()
    }

    /// A txn is logged.
    pub(super) fn logged(&mut self, zxid: Zxid, made: WallMillis) {
        assert!(self.txns.back().is_none_or(|(last, _)| *last < zxid), "txns are logged in order");
        self.txns.push_back((zxid, made));
    }

    /// When a txn was made that is not decided.
    pub(super) fn undecided(&self, zxid: Zxid) -> Option<WallMillis> {
        let at = self.txns.binary_search_by_key(&zxid, |(zxid, _)| *zxid).ok()?;
        (at >= self.decided).then(|| self.txns[at].1)
    }

    /// Everything up to here is decided: says when what was not was made.
    pub(super) fn decide(&mut self, up_to: Zxid, mut each: impl FnMut(WallMillis)) {
        while let Some((zxid, made)) = self.txns.get(self.decided)
            && *zxid <= up_to
        {
            each(*made);
            self.decided += 1;
        }
        self.forget();
    }

    /// Everything up to here is durable: says when what was not was made, and whether it is undecided.
    pub(super) fn flush(&mut self, up_to: Zxid, mut each: impl FnMut(WallMillis, bool)) {
        while let Some((zxid, made)) = self.txns.get(self.durable)
            && *zxid <= up_to
        {
            each(*made, self.durable >= self.decided);
            self.durable += 1;
        }
        self.forget();
    }

    fn forget(&mut self) {
        let done = self.decided.min(self.durable);
        self.txns.drain(..done);
        self.decided -= done;
        self.durable -= done;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_txn_is_decided_once_and_durable_once_in_either_order() {
        let mut underway = Underway::default();
        for nth in 1..=4 {
            underway.logged(Zxid(nth), WallMillis(nth * 10));
        }
        let (mut decided, mut durable) = (Vec::new(), Vec::new());
        assert_eq!(underway.undecided(Zxid(1)), Some(WallMillis(10)));
        underway.decide(Zxid(2), |made| decided.push(made.0));
        assert_eq!(underway.undecided(Zxid(2)), None);
        assert_eq!(underway.undecided(Zxid(3)), Some(WallMillis(30)));
        assert_eq!(underway.undecided(Zxid(5)), None);
        // The disk is behind the quorum, then ahead of it.
        underway.flush(Zxid(3), |made, undecided| durable.push((made.0, undecided)));
        underway.decide(Zxid(4), |made| decided.push(made.0));
        underway.flush(Zxid(9), |made, undecided| durable.push((made.0, undecided)));
        assert_eq!(decided, [10, 20, 30, 40]);
        assert_eq!(durable, [(10, false), (20, false), (30, true), (40, false)]);
        assert!(underway.is_empty());
    }
}
