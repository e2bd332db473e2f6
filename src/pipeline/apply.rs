#![forbid(unsafe_code)]
//! Txn to state, replies and watch events, after commit (stock `DataTree.processTxn`, `FinalRequestProcessor`).
//!
//! Lives on: the sequencer. Apply is total (DESIGN §2 rule 1, reliability R12): it reads no clock, no random source,
//! no configuration but `extendedTypesEnabled`, which must not differ between servers ([`Pipeline::take_misread`]), and
//! refuses nothing; what does not fit the tree, which happens only while a log is replayed over a state that already holds
//! its effect, is skipped as stock skips it.

use std::sync::Arc;

use smallvec::SmallVec;

use super::quota::{self, Charge, QuotaNode};
use super::{PendingSession, Pipeline};
use crate::base::planted::{Bug, planted};
use crate::base::{Millis, SessionId, Xid, Zxid, path};
use crate::sessions::Attachment;
use crate::tree::{NewZnode, OwnerKind as Kind, Znode};
use crate::watches::{ChangeEvent, ChangeKind};
use crate::wire::jute::Writer;
use crate::wire::reply;
use crate::wire::txn::{Decoded, Lifetime, Txn};
use crate::wire::{Acl, DecodeError, ErrorCode, OpCode};

/// Body of a reply: most are a path, a Stat, or a path and a Stat.
pub type ReplyBody = SmallVec<[u8; 72]>;

/// What a txn did, for those who wait for it.
#[derive(Clone, PartialEq, Debug)]
pub struct Applied {
    /// Its place in the order.
    pub zxid: Zxid,
    /// Who asked; 0 for the server itself.
    pub session: SessionId,
    /// The client's number for the request.
    pub cxid: Xid,
    /// `err` of the reply.
    pub err: i32,
    /// What stands behind the reply's header when `err` is 0.
    pub body: ReplyBody,
    /// What watches may wait for, in the order in which events must leave.
    pub events: SmallVec<[ChangeEvent; 1]>,
    /// The connection that held the session a closeSession ended.
    pub attachment: Option<Attachment>,
    /// The session this txn opened (with its timeout, ms) or closed.
    pub session_change: Option<SessionChange>,
}

/// A session came or went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SessionChange {
    /// createSession, with the timeout in ms.
    Opened(SessionId, i32),
    /// closeSession.
    Closed(SessionId),
}

/// A txn's digest differs from the tree's after it: log and state have come apart (reliability L5, P11).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ApplyError {
    /// The digest in the txn is not that of the tree.
    #[error("digest of the tree after {zxid} is {found:#x}, the txn says {expected:#x}")]
    Digest {
        /// The txn.
        zxid: Zxid,
        /// In the txn.
        expected: i64,
        /// Of the tree.
        found: i64,
    },
}

impl Pipeline {
    /// Reads a payload that prep made, or that a log held.
    ///
    /// # Errors
    /// When the bytes are no txn; for bytes of our own log that passed their checksum, a newer format.
    pub fn decode(payload: &[u8]) -> Result<Decoded<'_>, DecodeError> {
        crate::wire::txn::decode(payload)
    }

    /// Applies a committed txn. The caller has announced it ([`Pipeline::begin`]) and publishes it afterwards
    /// ([`Pipeline::publish`]), once the results are where shards find them.
    ///
    /// `now` starts the clock of a session that the txn opens; the tree knows nothing of it.
    ///
    /// # Errors
    /// [`ApplyError::Digest`]: the server must stop, not guess.
    pub fn apply(&mut self, decoded: &Decoded<'_>, now: Millis) -> Result<Applied, ApplyError> {
        let header = &decoded.header;
        let zxid = Zxid(header.zxid);
        assert!(zxid > self.applied, "txn {zxid} applied after {}", self.applied);
        let mut applied = Applied {
            zxid,
            session: SessionId(header.session),
            cxid: Xid(header.cxid),
            err: 0,
            body: ReplyBody::new(),
            events: SmallVec::new(),
            attachment: None,
            session_change: None,
        };
        let at = At { zxid, session: applied.session, time: header.time };
        match &decoded.txn {
            Txn::Multi(txns) => self.apply_multi(&at, txns, &mut applied),
            Txn::CreateSession(timeout) => {
                self.sessions.open(at.session, *timeout, now);
                if self.pending_sessions.remove(&at.session) == Some(PendingSession::Closing) {
                    self.sessions.mark_closing(at.session);
                }
                applied.session_change = Some(SessionChange::Opened(at.session, *timeout));
            }
            Txn::CloseSession(paths) => self.apply_close_session(&at, paths.as_deref(), &mut applied),
            Txn::Error(code) => applied.err = *code,
            txn => match self.apply_one(&at, txn, &mut applied.events) {
                Ok(()) => self.reply_to_one(txn, &mut applied.body),
                Err(code) => applied.err = code.code(),
            },
        }
        self.applied = zxid;
        self.outstanding.applied(zxid);
        self.forget_pending(at.session, zxid);
        self.note_digest(zxid);
        match decoded.digest {
            Some(expected) if expected != self.tree.digest() => {
                Err(ApplyError::Digest { zxid, expected, found: self.tree.digest() })
            }
            _ => Ok(applied),
        }
    }

    fn apply_multi(&mut self, at: &At, txns: &[Txn<'_>], applied: &mut Applied) {
        let failed = txns.iter().any(|txn| matches!(txn, Txn::Error(_)));
        let mut body = ReplyBody::new();
        for txn in txns {
            let code = match txn {
                Txn::Error(code) => *code,
                _ if failed => 0,
                txn => match self.apply_one(at, txn, &mut applied.events) {
                    Ok(()) => {
                        let op = match txn.op() {
                            OpCode::Create => OpCode::Create,
                            OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => OpCode::Create2,
                            op => op,
                        };
                        reply::multi_header(&mut body, op, false, 0);
                        self.reply_to_one(txn, &mut body);
                        continue;
                    }
                    Err(code) => code.code(),
                },
            };
            reply::multi_error(&mut body, code);
        }
        reply::multi_end(&mut body);
        applied.body = body;
    }

    /// client-protocol §7.6: the listed paths in order, then whatever the session still owns.
    fn apply_close_session(
        &mut self,
        at: &At,
        paths: Option<&[std::borrow::Cow<'_, [u8]>]>,
        applied: &mut Applied,
    ) {
        let stay = planted(Bug::EphemeralsStay);
        for path in paths.unwrap_or(&[]).iter().filter(|_| !stay) {
            // Missing nodes are ignored.
            let _ = self.apply_delete(at, path, &mut applied.events);
        }
        let rest: Vec<Arc<[u8]>> = self.sessions.image().ephemerals_of(at.session).cloned().collect();
        for path in rest.into_iter().filter(|_| !stay) {
            let _ = self.apply_delete(at, &path, &mut applied.events);
        }
        applied.attachment = self.sessions.close(at.session);
        self.pending_ephemerals.remove(&at.session);
        applied.session_change = Some(SessionChange::Closed(at.session));
    }

    /// A single change, or one of a multi.
    fn apply_one(&mut self, at: &At, txn: &Txn<'_>, events: &mut Events) -> Result<(), ErrorCode> {
        match txn {
            Txn::Create { op, path, data, acl, lifetime, parent_cversion } => {
                let kind = match lifetime {
                    Lifetime::Persistent => Kind::None,
                    Lifetime::Ephemeral => Kind::Session(at.session.0),
                    Lifetime::Container => Kind::Container,
                    Lifetime::Ttl(ttl) => Kind::Ttl(*ttl),
                };
                let node = NewZnode {
                    path,
                    data: *data,
                    acl,
                    stored_owner: kind.stored(),
                    time: at.time,
                    parent_cversion: *parent_cversion,
                    raise_parent_if_exists: *op == OpCode::Create,
                };
                self.tree.create(at.zxid, &node).map_err(|_| self.create_refused(path))?;
                // As a load would read it; stock's `DataTree.createNode` does.
                self.created(path, Kind::of(kind.stored(), self.settings.extended_types));
                self.account(at.zxid, path, Charge::create(data.map_or(0, <[u8]>::len)));
                self.note_quota_node_created(at.zxid, path);
                self.push_event(at.zxid, ChangeKind::Created, path, events);
                Ok(())
            }
            Txn::Delete { path, .. } => self.apply_delete(at, path, events),
            Txn::SetData { path, data, version, .. } => {
                let before = self.tree.get(path).ok_or(ErrorCode::NoNode)?.data().map_or(0, <[u8]>::len);
                self.tree.set_data(at.zxid, path, *data, *version, at.time).map_err(|_| ErrorCode::NoNode)?;
                self.account(at.zxid, path, Charge::set_data(before, data.map_or(0, <[u8]>::len)));
                self.push_event(at.zxid, ChangeKind::DataChanged, path, events);
                Ok(())
            }
            Txn::SetAcl { path, acl, version } => {
                self.tree.set_acl(at.zxid, path, acl, *version).map(|_| ()).map_err(|_| ErrorCode::NoNode)
            }
            // What a check found was decided in prep; inside the others it cannot be.
            Txn::Check { .. } => Ok(()),
            Txn::Multi(_) | Txn::CreateSession(_) | Txn::CloseSession(_) | Txn::Error(_) => {
                Err(ErrorCode::MarshallingError)
            }
        }
    }

    /// Only replay over a state that holds the effect already gets here.
    fn create_refused(&self, path: &[u8]) -> ErrorCode {
        if self.tree.get(path).is_some() { ErrorCode::NodeExists } else { ErrorCode::NoNode }
    }

    fn apply_delete(&mut self, at: &At, path: &[u8], events: &mut Events) -> Result<(), ErrorCode> {
        let gone = self.tree.get(path).map(|node| {
            let kind = Kind::of(node.stored_owner(), self.settings.extended_types);
            (kind, node.data().map_or(0, <[u8]>::len), shared_acl(&node))
        });
        self.tree.delete(at.zxid, path).map_err(|_| ErrorCode::NoNode)?;
        let (kind, bytes, acl) = gone.ok_or(ErrorCode::NoNode)?;
        let shared: Arc<[u8]> = Arc::from(path);
        match kind {
            Kind::Session(owner) => {
                self.sessions.remove_ephemeral(SessionId(owner), &shared);
            }
            Kind::Container | Kind::Ttl(_) => self.reaper.forget(path),
            Kind::None => {}
        }
        self.account(at.zxid, path, Charge::delete(bytes));
        self.note_quota_node_deleted(path);
        let parent = path::parent(path).unwrap_or(b"/");
        events.push(ChangeEvent {
            zxid: at.zxid,
            kind: ChangeKind::Deleted,
            path: shared,
            acl,
            parent_acl: self.tree.get(parent).and_then(|node| shared_acl(&node)),
        });
        Ok(())
    }

    fn push_event(&self, zxid: Zxid, kind: ChangeKind, path: &[u8], events: &mut Events) {
        let parent_acl = match kind {
            ChangeKind::DataChanged => None,
            _ => self.tree.get(path::parent(path).unwrap_or(b"/")).and_then(|node| shared_acl(&node)),
        };
        let acl = self.tree.get(path).and_then(|node| shared_acl(&node));
        events.push(ChangeEvent { zxid, kind, path: Arc::from(path), acl, parent_acl });
    }

    /// The body of a successful reply, with the Stat right after the operation.
    fn reply_to_one(&self, txn: &Txn<'_>, body: &mut ReplyBody) {
        match txn {
            Txn::Create { op, path, .. } => {
                body.string(path);
                if *op != OpCode::Create {
                    self.append_stat(path, body);
                }
            }
            Txn::SetData { path, .. } | Txn::SetAcl { path, .. } => self.append_stat(path, body),
            _ => {}
        }
    }

    fn append_stat(&self, path: &[u8], body: &mut ReplyBody) {
        if let Some(node) = self.tree.get(path) {
            node.stat().encode(body);
        }
    }

    /// The owner's index, the cleaner's lists.
    pub(super) fn created(&mut self, path: &[u8], kind: Kind) {
        match kind {
            Kind::Session(owner) => {
                // A session may have such a number too, of a server whose own is 255; but then it is there.
                let is_misread = matches!(Kind::of(owner, true), Kind::Ttl(_))
                    && !self.sessions.contains(SessionId(owner));
                if is_misread && self.misread.is_none() {
                    self.misread = Some(path.into());
                }
                self.sessions.add_ephemeral(SessionId(owner), Arc::from(path));
            }
            Kind::Container | Kind::Ttl(_) => self.reaper.remember(path),
            Kind::None => {}
        }
    }

    /// Charges the deepest quota-managed ancestor (client-protocol §10.2): data of its stats node only.
    fn account(&mut self, zxid: Zxid, path: &[u8], charge: Charge) {
        let Some(managed) = self.quota.deepest(path) else { return };
        let stats_path = quota::stats_path(managed);
        let Some(stats) = self.tree.get(&stats_path) else { return };
        if let Some(after) = quota::recharge(stats.data(), charge) {
            let _ = self.tree.set_stats_data(zxid, &stats_path, &after);
        }
    }

    /// `zookeeper_limits` makes a subtree managed, `zookeeper_stats` has it counted at once.
    fn note_quota_node_created(&mut self, zxid: Zxid, path: &[u8]) {
        match QuotaNode::at(path) {
            Some(QuotaNode::Limits(managed)) => {
                self.quota.insert(managed);
            }
            Some(QuotaNode::Stats(managed)) => self.recount(zxid, managed),
            None => {}
        }
    }

    fn note_quota_node_deleted(&mut self, path: &[u8]) {
        if let Some(QuotaNode::Limits(managed)) = QuotaNode::at(path) {
            self.quota.remove(managed);
        }
    }

    fn forget_pending(&mut self, session: SessionId, zxid: Zxid) {
        if let Some(pending) = self.pending_ephemerals.get_mut(&session) {
            while pending.front().is_some_and(|(of, _)| *of <= zxid) {
                pending.pop_front();
            }
            if pending.is_empty() {
                self.pending_ephemerals.remove(&session);
            }
        }
    }
}

/// The ACL as events carry it: nothing for the open one.
fn shared_acl(node: &Znode<'_>) -> Option<Arc<[Acl]>> {
    if node.has_open_acl() { None } else { Some(Arc::from(node.acl())) }
}

type Events = SmallVec<[ChangeEvent; 1]>;

/// What all parts of a txn share.
struct At {
    zxid: Zxid,
    session: SessionId,
    time: i64,
}
