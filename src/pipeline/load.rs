#![forbid(unsafe_code)]
//! A state from what was stored or sent: an image first, txns behind it, and how it takes the place of another.
//!
//! Lives on: whoever recovers or receives; [`Pipeline::adopt`] on the sequencer.

use super::Pipeline;
use super::apply::ApplyError;
use super::quota::QuotaNode;
use crate::base::planted::{Bug, planted};
use crate::base::{Millis, SessionId, Zxid};
use crate::sessions::SessionImage;
use crate::tree::{LoadError, Loader, NodeImage, OwnerKind, TreeWriter};
use crate::wire::DecodeError;
use crate::wire::txn::Txn;

/// What a load met that must be found again: collected while the images pass by.
#[derive(Debug, Default)]
pub struct Loaded {
    pub(super) owned: Vec<(Box<[u8]>, i64)>,
    pub(super) managed: Vec<Box<[u8]>>,
}

impl Loaded {
    /// A znode of the image, with its owner as stored.
    pub fn node(&mut self, path: &[u8], owner: i64) {
        if owner != 0 {
            self.owned.push((path.into(), owner));
        }
        if let Some(QuotaNode::Limits(managed)) = QuotaNode::at(path) {
            self.managed.push(managed.into());
        }
    }
}

/// Fills an empty tree and what goes beside it from an image.
pub struct StateLoader<'w> {
    tree: Loader<'w>,
    sessions: SessionImage,
    loaded: Loaded,
}

impl<'w> StateLoader<'w> {
    /// An image of zxid `at`, into a tree that nobody changed or reads yet.
    pub fn new(tree: &'w mut TreeWriter, at: Zxid) -> StateLoader<'w> {
        StateLoader { tree: tree.load(at), sessions: SessionImage::default(), loaded: Loaded::default() }
    }

    /// A session and its timeout, ms.
    pub fn session(&mut self, session: SessionId, timeout_ms: i32) {
        self.sessions.insert(session, timeout_ms);
    }

    /// A znode of an image of our own: in any order.
    ///
    /// # Errors
    /// As [`Loader::load_node`]; the state is good for nothing then.
    pub fn node(&mut self, image: &NodeImage<'_>) -> Result<(), LoadError> {
        self.loaded.node(image.path, image.stat.owner);
        self.tree.load_node(image)
    }

    /// A znode of an image that was sent: after its parent, and once.
    ///
    /// # Errors
    /// As [`Loader::load_next`]; the state is good for nothing then.
    pub fn next_node(&mut self, image: &NodeImage<'_>) -> Result<(), LoadError> {
        self.tree.load_next(image)?;
        self.loaded.node(image.path, image.stat.owner);
        Ok(())
    }

    /// The image is over: the tree is whole. Gives what [`Pipeline::new`] takes beside it.
    ///
    /// # Errors
    /// [`LoadError::Missing`].
    pub fn finish(self) -> Result<(SessionImage, Loaded), LoadError> {
        self.tree.finish()?;
        Ok((self.sessions, self.loaded))
    }
}

/// Why a txn of a log, or one that was sent behind an image, was not applied.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReplayError {
    /// The bytes are no txn.
    #[error("txn {0}: {1}")]
    Malformed(Zxid, DecodeError),
    /// It is a txn, and not one for this place: of another zxid, or one that opens session 0.
    #[error("what stands for txn {0} is none")]
    Alien(Zxid),
    /// It was applied, and the tree's digest is not the one in it.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

/// What [`Pipeline::adopt`] took out. Letting go of a million sessions takes a while: not on the sequencer.
pub struct Leftover {
    _parts: Box<dyn Send>,
}

impl Pipeline {
    /// Applies a txn that is newer than the state, in a round of its own, and tells nobody.
    ///
    /// # Errors
    /// [`ReplayError::Apply`] comes after the fact: the txn is in the state.
    pub fn replay(&mut self, zxid: Zxid, payload: &[u8], now: Millis) -> Result<(), ReplayError> {
        let decoded = Pipeline::decode(payload).map_err(|error| ReplayError::Malformed(zxid, error))?;
        let (header, txn) = (&decoded.header, &decoded.txn);
        let opens_none = matches!(txn, Txn::CreateSession(_)) && SessionId(header.session) == SessionId::NONE;
        let stops = planted(Bug::ErrorsStopReplay) && matches!(txn, Txn::Error(_));
        if header.zxid != zxid.0 || opens_none || stops {
            return Err(ReplayError::Alien(zxid));
        }
        self.begin(zxid);
        let applied = self.apply(&decoded, now);
        self.publish();
        self.reclaim();
        applied?;
        Ok(())
    }

    /// Ephemerals whose owner is no session: in a state that is in order there are none (ensemble-protocol §12.1, 5010).
    pub fn orphans(&self) -> usize {
        let image = self.sessions.image();
        image.ephemerals().filter(|(owner, _)| image.timeout_ms(*owner).is_none()).count()
    }

    /// Takes over the state of `fresh`, built beside this one. Readers that pin from now on see it; those inside finish in
    /// the old one, which [`Pipeline::reclaim`] takes apart in slices. Nothing may be prepared that was not applied, nor
    /// may a session be attached that is to stay so: attachments end here. Settings and what the cleaner knows of the
    /// clocks stay. Constant time.
    ///
    /// What comes out is large: drop it elsewhere.
    pub fn adopt(&mut self, fresh: Pipeline) -> Leftover {
        let Pipeline {
            tree,
            mut sessions,
            mut outstanding,
            pending_ephemerals,
            pending_sessions,
            quota,
            reaper,
            settings,
            applied,
            prepared,
            backlog: _,
            digests,
            misread,
        } = fresh;
        assert!(outstanding.is_empty(), "a state that was built has nothing outstanding");
        self.tree.adopt(tree);
        sessions.follow(&self.sessions);
        self.applied = applied;
        self.prepared = prepared;
        self.backlog = true;
        self.misread = misread;
        if planted(Bug::PreparedIsKept) {
            std::mem::swap(&mut self.outstanding, &mut outstanding);
            outstanding.forget(self.tree.digest());
        }
        let parts = (
            std::mem::replace(&mut self.sessions, sessions),
            std::mem::replace(&mut self.outstanding, outstanding),
            std::mem::replace(&mut self.pending_ephemerals, pending_ephemerals),
            std::mem::replace(&mut self.pending_sessions, pending_sessions),
            std::mem::replace(&mut self.quota, quota),
            self.reaper.adopt(reaper),
            std::mem::replace(&mut self.digests, digests),
            settings,
        );
        Leftover { _parts: Box::new(parts) }
    }

    /// What a load met, and what each txn makes: the owner's index, the cleaner's lists.
    pub(super) fn restore(&mut self, loaded: Loaded) {
        for (path, owner) in loaded.owned {
            self.created(&path, OwnerKind::of(owner, self.settings.extended_types));
        }
        for managed in loaded.managed {
            self.quota.insert(&managed);
            // After a load all stats are counted anew (client-protocol §10.2).
            self.recount(self.tree.applied(), &managed);
        }
    }
}
