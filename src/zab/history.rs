#![forbid(unsafe_code)]
//! The newest part of the own log, in memory: what learners that are a little behind are given, and everything that is
//! not known to be committed. Contiguous, or it is nothing (ZOOKEEPER-4925, -2418).

use std::collections::VecDeque;

use super::message::Payload;
use crate::base::Zxid;

/// Txns of the log without a gap, from somewhere to its end.
///
/// A *position* is a zxid at which the log can be cut or continued: that of an entry, or `base`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct History {
    /// The position before the first entry; unknown where an epoch begins with the first entry.
    base: Option<Zxid>,
    entries: VecDeque<(Zxid, Payload)>,
    bytes: usize,
}

impl History {
    /// What recovery read: the log's newest txns, at least all above `committed`, up to `last_logged`.
    pub(super) fn new(last_logged: Zxid, committed: Zxid, newest: Vec<(Zxid, Payload)>) -> History {
        let mut entries = newest.into_iter();
        let Some((zxid, payload)) = entries.next() else {
            assert!(last_logged == committed, "no txns between committed {committed} and {last_logged}");
            return History { base: Some(last_logged), entries: VecDeque::new(), bytes: 0 };
        };
        assert!(
            zxid <= committed || zxid.follows(committed),
            "txns between committed {committed} and {zxid} lack"
        );
        let known = (zxid.counter() > 1).then(|| Zxid(zxid.0 - 1));
        let base = if zxid > committed { Some(committed) } else { known };
        let bytes = payload.len();
        let mut history = History { base, entries: VecDeque::from([(zxid, payload)]), bytes };
        for (zxid, payload) in entries {
            history.push(zxid, payload);
        }
        assert!(history.end() == last_logged, "history ends at {}, the log at {last_logged}", history.end());
        history
    }

    /// The log's end.
    pub(super) fn end(&self) -> Zxid {
        match (self.entries.back(), self.base) {
            (Some((zxid, _)), _) => *zxid,
            (None, Some(base)) => base,
            (None, None) => unreachable!("an empty history has a base"),
        }
    }

    /// The oldest position known.
    pub(super) fn start(&self) -> Zxid {
        match (self.base, self.entries.front()) {
            (Some(base), _) => base,
            (None, Some((zxid, _))) => *zxid,
            (None, None) => unreachable!("an empty history has a base"),
        }
    }

    /// Adds the log's next txn.
    pub(super) fn push(&mut self, zxid: Zxid, payload: Payload) {
        assert!(zxid.follows(self.end()), "txn {zxid} leaves a gap after {}", self.end());
        self.bytes += payload.len();
        self.entries.push_back((zxid, payload));
    }

    /// Forgets everything behind `to`, which is a position.
    pub(super) fn truncate(&mut self, to: Zxid) {
        assert!(self.holds(to), "cut at {to}, which is no position of the log");
        while self.entries.back().is_some_and(|(zxid, _)| *zxid > to) {
            self.pop(false);
        }
    }

    /// Forgets the oldest entries up to `committed` while there are more than these.
    pub(super) fn trim(&mut self, committed: Zxid, txns_max: usize, bytes_max: usize) {
        while self.entries.len() > txns_max || self.bytes > bytes_max {
            match self.entries.front() {
                Some((zxid, _)) if *zxid <= committed => {
                    self.base = Some(*zxid);
                    self.pop(true);
                }
                _ => break,
            }
        }
    }

    fn pop(&mut self, front: bool) {
        let popped = if front { self.entries.pop_front() } else { self.entries.pop_back() };
        self.bytes -= popped.map_or(0, |(_, payload)| payload.len());
    }

    /// Whether this is a position.
    pub(super) fn holds(&self, zxid: Zxid) -> bool {
        self.base == Some(zxid) || self.get(zxid).is_some()
    }

    /// The bytes at this zxid.
    pub(super) fn get(&self, zxid: Zxid) -> Option<&Payload> {
        let at = self.entries.partition_point(|(other, _)| *other < zxid);
        self.entries.get(at).filter(|(other, _)| *other == zxid).map(|(_, payload)| payload)
    }

    /// The entry after this zxid.
    pub(super) fn next(&self, zxid: Zxid) -> Option<Zxid> {
        self.after(zxid).next().map(|(zxid, _)| *zxid)
    }

    /// The newest position at or before this zxid.
    pub(super) fn floor(&self, zxid: Zxid) -> Option<Zxid> {
        let at = self.entries.partition_point(|(other, _)| *other <= zxid);
        let entry = at.checked_sub(1).and_then(|at| self.entries.get(at)).map(|(zxid, _)| *zxid);
        entry.or(self.base.filter(|base| *base <= zxid))
    }

    /// The entries after this zxid, oldest first.
    pub(super) fn after(&self, zxid: Zxid) -> impl Iterator<Item = &(Zxid, Payload)> {
        let at = self.entries.partition_point(|(other, _)| *other <= zxid);
        self.entries.range(at..)
    }

    /// Number of entries.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    fn z(epoch: u32, counter: u32) -> Zxid {
        Zxid::from_parts(crate::base::Epoch(epoch), counter)
    }

    fn history(entries: &[Zxid]) -> History {
        let last = entries.last().copied().unwrap_or(Zxid::ZERO);
        History::new(last, last, entries.iter().map(|zxid| (*zxid, Rc::from([0u8; 10]))).collect())
    }

    #[test]
    fn positions_are_entries_and_what_lies_directly_before_them() {
        let history = history(&[z(1, 3), z(1, 4), z(3, 1)]);
        let holds: Vec<bool> = [z(1, 1), z(1, 2), z(1, 3), z(1, 4), z(1, 5), z(3, 0), z(3, 1), z(3, 2)]
            .map(|at| history.holds(at))
            .into();
        assert_eq!(holds, [false, true, true, true, false, false, true, false]);
        assert_eq!(history.floor(z(1, 1)), None);
        assert_eq!(history.floor(z(1, 2)), Some(z(1, 2)));
        assert_eq!(history.floor(z(2, 9)), Some(z(1, 4)));
        assert_eq!(history.next(z(1, 4)), Some(z(3, 1)));
        assert_eq!(history.next(z(3, 1)), None);
    }

    #[test]
    fn what_lies_before_the_first_txn_of_an_epoch_is_not_guessed() {
        let history = history(&[z(2, 1), z(2, 2)]);
        assert!(!history.holds(z(2, 0)));
        assert_eq!(history.start(), z(2, 1));
        assert_eq!(history.floor(z(2, 0)), None);
    }

    #[test]
    fn trimming_spares_what_is_not_committed() {
        let mut history = history(&[z(1, 1), z(1, 2), z(1, 3), z(1, 4)]);
        history.trim(z(1, 2), 1, usize::MAX);
        assert_eq!((history.start(), history.end(), history.len()), (z(1, 2), z(1, 4), 2));
        history.trim(z(1, 3), 9, 15);
        assert_eq!((history.start(), history.len()), (z(1, 3), 1));
        history.truncate(z(1, 3));
        assert_eq!((history.start(), history.end(), history.bytes), (z(1, 3), z(1, 3), 0));
    }

    #[test]
    #[should_panic(expected = "leaves a gap")]
    fn a_hole_is_a_contradiction_4925() {
        history(&[z(1, 1), z(1, 3)]);
    }

    #[test]
    #[should_panic(expected = "no position")]
    fn a_cut_between_positions_is_a_contradiction() {
        history(&[z(1, 1), z(1, 2)]).truncate(z(1, 5));
    }
}
