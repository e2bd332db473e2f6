#![forbid(unsafe_code)]
//! How a leader brings a learner up to date: the decision (ensemble-protocol §3.4; stock
//! `LearnerHandler.syncFollower`). Pure: what is in memory, and where the learner stands.
//!
//! The learner's log is its leader's of some epoch, cut somewhere. Whatever it shares with ours is a prefix of both, and
//! within one epoch equal zxids name equal txns, so that a position of ours in the epoch of its last txn is one of its
//! own. That is why nothing is cut across epochs: in between, the two may have gone different ways.
//!
//! Where this is not stock's way: a tail of an older epoch that we never had is cut where our history has an earlier txn
//! of that epoch; stock sends the whole state.

use super::history::History;
use crate::base::planted::{Bug, planted};
use crate::base::{Epoch, Zxid};

/// The way to bring a learner up to date.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Decision {
    /// What comes after its last txn.
    Diff,
    /// Cut to this position, and what comes after it.
    Trunc(Zxid),
    /// Everything.
    Snap,
    /// What it has, we have too, and it is not decided: wait until it is.
    Wait,
    /// It may stand in the part of our log that is on disk only: read that, and decide then.
    Read,
}

/// Decides for a learner whose log ends at `last`. `horizon` is the end of what is committed or will be before we
/// serve; `history` goes further by what is proposed in our own `epoch` and not decided.
pub(super) fn decide(history: &History, horizon: Zxid, epoch: Epoch, last: Zxid) -> Decision {
    let new_epoch = last.counter() == 0;
    if last == horizon {
        return Decision::Diff;
    }
    // An empty database is no position of an epoch (ZOOKEEPER-4352), and before its first txn others may differ.
    if last <= Zxid::ZERO {
        return Decision::Snap;
    }
    if last > horizon {
        if last.epoch() == epoch && history.holds(last) {
            // A stock learner takes everything it logged for committed as soon as it is synchronized. To have it cut would
            // take txns from a disk that may just now be decided by it.
            return Decision::Wait;
        }
        let same = last.epoch() == horizon.epoch() && !new_epoch;
        if planted(Bug::TailIsKept) {
            return Decision::Diff;
        }
        return if same { Decision::Trunc(horizon) } else { Decision::Snap };
    }
    if last < history.start() {
        // Whoever stands at the beginning of an epoch has no txn there to be found by.
        return if new_epoch { Decision::Snap } else { Decision::Read };
    }
    // An epoch's beginning: only an established leader, or who got its state, stands there, and has all that is older.
    if history.holds(last) || new_epoch {
        return Decision::Diff;
    }
    match history.floor(last) {
        Some(floor) if floor.epoch() == last.epoch() => Decision::Trunc(floor),
        _ => Decision::Snap,
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    fn z(epoch: u32, counter: u32) -> Zxid {
        Zxid::from_parts(Epoch(epoch), counter)
    }

    /// Our log: (1,5) on disk only, then these; we lead epoch 5, and (5,1) is not decided.
    fn check(last: Zxid, expected: Decision) {
        let entries = [z(1, 6), z(1, 7), z(3, 1), z(3, 2), z(5, 1)];
        let history = History::new(z(5, 1), z(3, 2), entries.map(|zxid| (zxid, Rc::from([]))).into());
        assert_eq!(decide(&history, z(3, 2), Epoch(5), last), expected, "{last}");
    }

    #[test]
    fn the_table_of_3_4() {
        check(z(3, 2), Decision::Diff);
        check(z(3, 1), Decision::Diff);
        check(z(1, 6), Decision::Diff);
        check(z(1, 5), Decision::Diff);
        // Below what is in memory.
        check(z(1, 4), Decision::Read);
        check(z(1, 0), Decision::Snap);
        // Empty (ZOOKEEPER-4352).
        check(z(0, 0), Decision::Snap);
        check(Zxid(-1), Decision::Snap);
        // A tail we never had.
        check(z(3, 9), Decision::Trunc(z(3, 2)));
        check(z(1, 9), Decision::Trunc(z(1, 7)));
        check(z(2, 3), Decision::Snap);
        check(z(4, 2), Decision::Snap);
        // At the beginning of an epoch.
        check(z(3, 0), Decision::Diff);
        check(z(2, 0), Decision::Diff);
        check(z(4, 0), Decision::Snap);
        // Our own, not decided; and of ours what we never proposed.
        check(z(5, 1), Decision::Wait);
        check(z(5, 2), Decision::Snap);
    }

    #[test]
    fn two_empty_logs_are_equal() {
        let empty = History::new(Zxid::ZERO, Zxid::ZERO, Vec::new());
        assert_eq!(decide(&empty, Zxid::ZERO, Epoch(1), Zxid::ZERO), Decision::Diff);
    }
}
