//! What clients were promised: no acknowledged write is lost, a multi is done whole or not at all, an ephemeral lives as
//! long as its session and no longer. An answer that did not come promises nothing.
//!
//! Has caught: `CutIsForgotten`, `EmptiedVotes`, `JoiningAreLeftOut`.

use std::collections::BTreeSet;

use ringkeeper::base::{ServerId, SessionId, Zxid};
use ringkeeper::tree::TreeReader;

/// What a client was told is done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Done {
    /// These znodes were made by this txn and stay for ever.
    Created(Vec<String>),
    /// The client's own register holds at least this number from then on.
    Set(String, u64),
    /// This znode was made and lives as long as the session.
    Ephemeral(String),
    /// The session is over.
    Closed,
}

/// The record of a run.
#[derive(Default)]
pub(crate) struct Oracle {
    acknowledged: Vec<(Zxid, Done)>,
    /// Pairs of znodes that one multi makes, acknowledged or not.
    pairs: Vec<[String; 2]>,
    /// Ephemerals that were acknowledged, with their owner; sessions that were closed, acknowledged.
    ephemerals: Vec<(String, SessionId)>,
    closed: BTreeSet<SessionId>,
    /// Sessions whose end was asked for and not answered: they may be over.
    unsure: BTreeSet<SessionId>,
}

impl Oracle {
    pub(crate) fn acknowledged_writes(&self) -> usize {
        self.acknowledged.len()
    }

    pub(crate) fn acknowledged(&mut self, zxid: Zxid, session: SessionId, done: Done) {
        match &done {
            Done::Ephemeral(path) => self.ephemerals.push((path.clone(), session)),
            Done::Closed => {
                self.closed.insert(session);
            }
            Done::Created(_) | Done::Set(..) => {}
        }
        self.acknowledged.push((zxid, done));
    }

    /// The newest acknowledged zxid, if there are more than so many.
    pub(crate) fn newest(&self, before: usize) -> Option<Zxid> {
        self.acknowledged.get(before..)?.last().map(|(zxid, _)| *zxid)
    }

    pub(crate) fn closing(&mut self, session: SessionId) {
        self.unsure.insert(session);
    }

    /// Whether the session may be over.
    pub(crate) fn may_be_over(&self, session: SessionId) -> bool {
        self.unsure.contains(&session)
    }

    pub(crate) fn pair(&mut self, pair: [String; 2]) {
        self.pairs.push(pair);
    }

    /// No acknowledged write is lost, and a multi is done whole or not at all.
    pub(crate) fn holds_everything(&self, server: ServerId, tree: &TreeReader) {
        let view = tree.pin();
        let exists = |path: &str| view.find(path.as_bytes());
        for (zxid, done) in &self.acknowledged {
            match done {
                Done::Created(paths) => {
                    for path in paths {
                        let found = exists(path).map(|znode| znode.czxid());
                        assert!(found == Some(*zxid), "{server:?}: {path} was made at {zxid}: {found:?}");
                    }
                }
                Done::Set(path, number) => {
                    let znode = exists(path).unwrap_or_else(|| panic!("{server:?} lost {path}"));
                    let text = std::str::from_utf8(znode.data().unwrap()).unwrap();
                    let now: u64 = text.parse().unwrap();
                    assert!(now >= *number, "{server:?}: {path} is {now}, {number} was acknowledged");
                }
                Done::Ephemeral(_) | Done::Closed => {}
            }
        }
        for [first, second] in &self.pairs {
            let both = (exists(first).map(|znode| znode.czxid()), exists(second).map(|znode| znode.czxid()));
            assert!(both.0 == both.1, "{server:?}: half of a multi: {first} {second}: {both:?}");
        }
        for (path, owner) in &self.ephemerals {
            let found = exists(path).map(|znode| znode.czxid());
            let is_over = self.closed.contains(owner);
            assert!(found.is_none() || !is_over, "{server:?}: {path} outlived its session {owner:?}");
            assert!(found.is_some() || self.may_be_over(*owner), "{server:?} lost the ephemeral {path}");
        }
    }
}
