//! What clients were promised: no acknowledged write is lost, a multi is done whole or not at all, an ephemeral lives as
//! long as its session and no longer, and a read behind a sync sees what was acknowledged to anybody before the sync was
//! asked (reliability P5). An answer that did not come promises nothing.
//!
//! Has caught: `CutIsForgotten`, `EmptiedVotes`, `JoiningAreLeftOut`, `SyncsAskNobody`, `VersionsAreIgnored`.

use std::collections::BTreeSet;

use ringkeeper::base::{ServerId, SessionId, Zxid};
use ringkeeper::tree::{TreeReader, View};

/// What a client was told is done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Done {
    /// These znodes were made by this txn and stay for ever.
    Created(Vec<String>),
    /// The client's own register holds at least this number from then on.
    Set(String, u64),
    /// This znode was made and lives as long as the session.
    Ephemeral(String),
    /// These znodes are no more, and nobody makes them again.
    Deleted(Vec<String>),
    /// A delete of these by another version than they have: refused, so that they are as before.
    Kept(Vec<String>),
    /// Everything is seen that was acknowledged before the sync was asked.
    Synced(Before),
    /// The session is over.
    Closed,
}

/// What was acknowledged at some time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Before {
    writes: usize,
    newest: Zxid,
}

/// Acknowledged writes that a read behind a sync looks at, the last ones: of older ones its zxid tells.
const READS: usize = 10;

/// The record of a run.
#[derive(Default)]
pub(crate) struct Oracle {
    acknowledged: Vec<(Zxid, Done)>,
    newest: Zxid,
    /// Znodes whose end was asked for, answered or not.
    deleted: BTreeSet<String>,
    /// Pairs of znodes that one multi makes, acknowledged or not.
    pairs: Vec<[String; 2]>,
    /// Ephemerals that were acknowledged, with their owner; sessions that were closed, acknowledged.
    ephemerals: Vec<(String, SessionId)>,
    closed: BTreeSet<SessionId>,
    /// All that there were.
    sessions: BTreeSet<SessionId>,
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
            Done::Created(_) | Done::Set(..) | Done::Deleted(_) | Done::Kept(_) => {}
            Done::Synced(_) => unreachable!("a sync changes nothing"),
        }
        self.newest = self.newest.max(zxid);
        self.acknowledged.push((zxid, done));
    }

    /// The newest acknowledged zxid, if there are more than so many.
    pub(crate) fn newest(&self, before: usize) -> Option<Zxid> {
        self.acknowledged.get(before..)?.last().map(|(zxid, _)| *zxid)
    }

    /// A new session has this id, which no other ever had.
    pub(crate) fn opened(&mut self, session: SessionId) {
        assert!(self.sessions.insert(session), "two sessions have the id {session:?}");
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

    pub(crate) fn deleting(&mut self, paths: &[String]) {
        self.deleted.extend(paths.iter().cloned());
    }

    /// Whether the znode may be no more.
    pub(crate) fn may_be_deleted(&self, path: &str) -> bool {
        self.deleted.contains(path)
    }

    /// Everything that is acknowledged by now.
    pub(crate) fn now(&self) -> Before {
        Before { writes: self.acknowledged.len(), newest: self.newest }
    }

    /// A sync that was asked then is answered with this zxid; a client reads what its server shows.
    pub(crate) fn synced(&self, server: ServerId, before: Before, zxid: Zxid, tree: &TreeReader) {
        let Before { writes, newest } = before;
        assert!(zxid >= newest, "{server:?}: a sync leads to {zxid}, {newest} was acknowledged before");
        let view = tree.pin();
        let last = &self.acknowledged[writes.saturating_sub(READS)..writes];
        last.iter().for_each(|(zxid, done)| self.shows(server, &view, *zxid, done));
    }

    /// What was acknowledged is there.
    fn shows(&self, server: ServerId, view: &View<'_>, zxid: Zxid, done: &Done) {
        let exists = |path: &str| view.find(path.as_bytes());
        match done {
            Done::Created(paths) => {
                for path in paths {
                    let found = exists(path).map(|znode| znode.czxid());
                    let is_fine = found == Some(zxid) || found.is_none() && self.may_be_deleted(path);
                    assert!(is_fine, "{server:?}: {path} was made at {zxid}: {found:?}");
                }
            }
            Done::Set(path, number) => {
                let znode = exists(path).unwrap_or_else(|| panic!("{server:?} lost {path}"));
                let text = std::str::from_utf8(znode.data().unwrap()).unwrap();
                let now: u64 = text.parse().unwrap();
                assert!(now >= *number, "{server:?}: {path} is {now}, {number} was acknowledged");
            }
            Done::Deleted(paths) => {
                let left = paths.iter().find(|path| exists(path).is_some());
                assert!(left.is_none(), "{server:?}: {left:?} was deleted at {zxid}");
            }
            Done::Ephemeral(_) | Done::Closed | Done::Kept(_) | Done::Synced(_) => {}
        }
    }

    /// No acknowledged write is lost, and a multi is done whole or not at all.
    pub(crate) fn holds_everything(&self, server: ServerId, tree: &TreeReader) {
        let view = tree.pin();
        let exists = |path: &str| view.find(path.as_bytes());
        self.acknowledged.iter().for_each(|(zxid, done)| self.shows(server, &view, *zxid, done));
        for [first, second] in &self.pairs {
            let both = (exists(first).map(|znode| znode.czxid()), exists(second).map(|znode| znode.czxid()));
            assert!(both.0 == both.1, "{server:?}: half of a multi: {first} {second}: {both:?}");
        }
        for (path, owner) in &self.ephemerals {
            let found = exists(path).map(|znode| znode.czxid());
            let is_over = self.closed.contains(owner);
            assert!(found.is_none() || !is_over, "{server:?}: {path} outlived its session {owner:?}");
            let may_be_gone = self.may_be_over(*owner) || self.may_be_deleted(path);
            assert!(found.is_some() || may_be_gone, "{server:?} lost the ephemeral {path}");
        }
    }
}
