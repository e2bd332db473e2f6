#![forbid(unsafe_code)]
//! What the own disk was told, and what it said: the log with its watermarks, and the epochs. Outlives roles.
//!
//! Watermarks: `confirmed ≤ committed ≤ last_logged`, `flushed ≤ last_logged`. A txn may be committed before the own
//! flush returns, so `committed` and `flushed` are not ordered; what is applied is below both.

use std::collections::VecDeque;

use super::event::Action;
use super::history::History;
use super::message::{LinkId, Payload};
use super::settings::Durable;
use crate::base::planted::{Bug, planted};
use crate::base::{Epoch, Zxid};

/// The own log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Log {
    history: History,
    history_txns_max: usize,
    history_bytes_max: usize,
    flushed: Zxid,
    committed: Zxid,
    confirmed: Zxid,
    /// Cuts that are on their way to the disk.
    cuts: VecDeque<Zxid>,
    /// An image that is on its way to the disk.
    installing: Option<Installing>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Installing {
    link: LinkId,
    image: Zxid,
    zxid: Zxid,
    txns: Vec<(Zxid, Payload)>,
}

impl Log {
    pub(super) fn new(durable: Durable, history_txns_max: usize, history_bytes_max: usize) -> Log {
        let Durable { last_logged, committed, confirmed, history, .. } = durable;
        let log = Log {
            history: History::new(last_logged, committed, history),
            history_txns_max,
            history_bytes_max,
            flushed: last_logged,
            committed,
            confirmed,
            cuts: VecDeque::new(),
            installing: None,
        };
        log.invariants();
        log
    }

    /// The newest txn handed out for logging.
    pub(super) fn last(&self) -> Zxid {
        self.history.end()
    }

    pub(super) fn flushed(&self) -> Zxid {
        self.flushed
    }

    pub(super) fn committed(&self) -> Zxid {
        self.committed
    }

    /// What some established leader said is committed. A state received of a leader that was not yet established is
    /// above it.
    pub(super) fn confirmed(&self) -> Zxid {
        self.confirmed
    }

    pub(super) fn history(&self) -> &History {
        &self.history
    }

    /// Whether the disk has reported everything it was told.
    pub(super) fn is_idle(&self) -> bool {
        let is_flushed = self.flushed == self.last() || planted(Bug::RolesOverlap);
        is_flushed && self.cuts.is_empty() && self.installing.is_none()
    }

    /// Whether the log holds everything up to here, durably, and nothing that was cut.
    pub(super) fn is_stored(&self, up_to: Zxid) -> bool {
        self.flushed >= up_to && self.cuts.is_empty() && self.installing.is_none()
    }

    pub(super) fn append(&mut self, zxid: Zxid, payload: Payload, actions: &mut Vec<Action>) {
        assert!(self.installing.is_none(), "txn {zxid} appended behind an image that is not the state yet");
        self.history.push(zxid, payload.clone());
        actions.push(Action::Append { zxid, payload });
    }

    pub(super) fn on_flushed(&mut self, zxid: Zxid) {
        assert!(zxid <= self.last(), "flushed {zxid} beyond last logged {}", self.last());
        assert!(zxid >= self.flushed, "flushed {zxid} goes back from {}", self.flushed);
        assert!(self.cuts.is_empty(), "flushed {zxid} reported before an earlier cut");
        self.flushed = zxid;
    }

    /// The quorum has decided everything up to here, and an established leader knows it.
    pub(super) fn commit(&mut self, zxid: Zxid, actions: &mut Vec<Action>) {
        assert!(zxid >= self.committed, "commit {zxid} goes back from {}", self.committed);
        assert!(zxid <= self.last(), "commit {zxid} beyond last logged {}", self.last());
        if zxid > self.confirmed {
            assert!(self.history.holds(zxid), "commit {zxid}, which is no position of the log");
            self.committed = zxid;
            self.confirmed = zxid;
            actions.push(Action::Commit(zxid));
        }
        // What is not flushed has not been acknowledged either: it is still needed.
        self.history.trim(self.committed.min(self.flushed), self.history_txns_max, self.history_bytes_max);
    }

    /// Cuts the log behind a position that is not below what is committed.
    pub(super) fn truncate(&mut self, to: Zxid, actions: &mut Vec<Action>) {
        assert!(to >= self.committed, "cut at {to}, below what is committed, {}", self.committed);
        assert!(self.is_idle(), "a cut at {to} while the disk is at work");
        self.history.truncate(to);
        self.flushed = self.flushed.min(to);
        self.cuts.push_back(to);
        actions.push(Action::Truncate(to));
    }

    pub(super) fn on_truncated(&mut self, to: Zxid) {
        let asked = self.cuts.pop_front();
        assert!(asked == Some(to), "cut at {to} reported, {asked:?} was asked for");
    }

    /// Lets a received image, exact at `image`, with these committed txns behind it take the state's place.
    pub(super) fn install(
        &mut self,
        link: LinkId,
        image: Zxid,
        txns: Vec<(Zxid, Payload)>,
        actions: &mut Vec<Action>,
    ) {
        assert!(self.is_idle(), "an image at {image} while the disk is at work");
        let zxid = txns.last().map_or(image, |(zxid, _)| *zxid);
        assert!(zxid >= self.confirmed, "state at {zxid} would lose what is committed, {}", self.confirmed);
        actions.push(Action::InstallSnap { link, zxid, txns: txns.clone() });
        self.installing = Some(Installing { link, image, zxid, txns });
    }

    pub(super) fn on_installed(&mut self, link: LinkId, zxid: Zxid) {
        let asked = self.installing.take().map(|asked| {
            self.history = History::new(asked.image, asked.image, Vec::new());
            for (zxid, payload) in asked.txns {
                self.history.push(zxid, payload);
            }
            (asked.link, asked.zxid)
        });
        assert!(asked == Some((link, zxid)), "state at {zxid} reported, {asked:?} was asked for");
        self.flushed = zxid;
        self.committed = zxid;
        self.history.trim(zxid, self.history_txns_max, self.history_bytes_max);
    }

    /// Whether an image is on its way to the disk.
    pub(super) fn is_installing(&self) -> bool {
        self.installing.is_some()
    }

    pub(super) fn invariants(&self) {
        let Log { flushed, committed, confirmed, .. } = self;
        let last = self.last();
        assert!(confirmed <= committed, "confirmed {confirmed} beyond committed {committed}");
        assert!(*committed <= last, "committed {committed} beyond last logged {last}");
        assert!(*flushed <= last, "flushed {flushed} beyond last logged {last}");
        debug_assert!(self.history.holds(*committed) || self.history.start() > *committed);
    }
}

/// The epochs of the record on disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Epochs {
    /// Highest epoch accepted, durably.
    accepted: Epoch,
    /// Epoch of the history taken over last, durably.
    current: Epoch,
    /// What is on its way to the disk.
    asked: VecDeque<(Epoch, Epoch)>,
}

impl Epochs {
    pub(super) fn new(accepted: Epoch, current: Epoch) -> Epochs {
        assert!(accepted >= current, "accepted epoch {accepted:?} below current {current:?}");
        Epochs { accepted, current, asked: VecDeque::new() }
    }

    pub(super) fn accepted(&self) -> Epoch {
        self.accepted
    }

    pub(super) fn current(&self) -> Epoch {
        self.current
    }

    pub(super) fn is_idle(&self) -> bool {
        self.asked.is_empty()
    }

    /// Makes these durable.
    pub(super) fn save(&mut self, accepted: Epoch, current: Epoch, actions: &mut Vec<Action>) {
        let newest = self.asked.back().copied().unwrap_or((self.accepted, self.current));
        assert!(accepted >= newest.0, "accepted epoch {accepted:?} goes back from {:?}", newest.0);
        assert!(current >= newest.1, "current epoch {current:?} goes back from {:?}", newest.1);
        assert!(accepted >= current, "accepted epoch {accepted:?} below current {current:?}");
        self.asked.push_back((accepted, current));
        actions.push(Action::SaveEpoch { accepted, current });
    }

    pub(super) fn on_saved(&mut self, accepted: Epoch, current: Epoch) {
        let asked = self.asked.pop_front();
        assert!(
            asked == Some((accepted, current)),
            "epochs {accepted:?} {current:?} reported, {asked:?} asked for"
        );
        (self.accepted, self.current) = (accepted, current);
    }
}
