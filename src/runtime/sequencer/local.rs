#![forbid(unsafe_code)]
//! Sessions that live on this server alone (stock `QuorumZooKeeperServer.checkUpgradeSession`, `setLocalSessionFlag`,
//! `UpgradeableSessionTracker`; client-protocol §7.8): made and ended without a txn, by this server, whoever leads. The
//! first ephemeral makes such a session one of all servers, where that is allowed: its createSession goes ahead of the
//! request. All of them end with the role.
//!
//! Lives on: the sequencer. A server that has no local session pays a look at an empty map for each write.

use super::{Sequencer, World};
use crate::base::{Millis, SessionId, ShardId, Xid};
use crate::pipeline::{Asker, ReplyBody};
use crate::runtime::messages::{AttachRequest, Outcome, WriteRequest};
use crate::wire::OpCode;
use crate::wire::request::{MultiOp, Request};

/// How a member keeps sessions of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LocalSessions {
    /// `localSessionsUpgradingEnabled`: the first ephemeral makes a session one of all servers.
    pub upgrade: bool,
}

/// What becomes of a write because its session is local.
pub(super) enum Local {
    /// Nothing: it goes on as any other.
    GoesOn,
    /// It goes on behind the createSession of its session.
    Upgraded,
    /// It goes on, and is an ephemeral that its session may not have: another server that leads will refuse it for want of
    /// a session, and the client is told the reason (stock `FinalRequestProcessor`).
    Refused,
    /// The session was closed, and the client answered.
    Closed,
}

impl<W: World> Sequencer<W> {
    /// A client comes without a session where new ones are local.
    pub(super) fn new_local(&mut self, shard: ShardId, attach: AttachRequest, now: Millis) {
        let sessions = self.pipeline.sessions_ref();
        let session = self.session_ids.next(|id| sessions.contains(id));
        let timeout_ms = i32::try_from(attach.timeout_ms).unwrap_or(i32::MAX);
        self.pipeline.sessions().open_local(session, timeout_ms, now);
        self.attach_here(shard, AttachRequest { session, ..attach }, now);
    }

    /// A write of a session that may be local, before anything else is done about it.
    pub(super) fn of_local(&mut self, shard: ShardId, write: &WriteRequest, now: Millis) -> Local {
        if !self.pipeline.sessions_ref().is_local(write.session) {
            return Local::GoesOn;
        }
        match write.op {
            OpCode::CloseSession => {
                self.close_local(shard, write);
                Local::Closed
            }
            OpCode::Create | OpCode::Create2 | OpCode::Multi if makes_ephemerals(write) => {
                if !self.local_sessions.is_some_and(|local| local.upgrade) {
                    return Local::Refused;
                }
                self.upgrade(write.session, now);
                Local::Upgraded
            }
            _ => Local::GoesOn,
        }
    }

    /// The client ends its session: nobody else knows of it.
    pub(super) fn close_local(&mut self, shard: ShardId, write: &WriteRequest) {
        // The connection is closed by its shard, behind this reply.
        self.pipeline.sessions().end_local(write.session);
        let zxid = self.pipeline.applied();
        let ticket = write.ticket;
        self.behind_all(shard, Outcome::Reply { zxid, ticket, err: 0, body: ReplyBody::new() });
    }

    /// A local session's time is over.
    pub(super) fn expire_local(&mut self, session: SessionId) {
        self.metrics.session_expired();
        if let Some(held) = self.pipeline.sessions().end_local(session) {
            self.hang_up(held.shard, held.connection);
            self.ring_doorbells();
        }
    }

    /// The session is to exist for all servers.
    fn upgrade(&mut self, session: SessionId, now: Millis) {
        let Some(timeout_ms) = self.pipeline.sessions().begin_upgrade(session) else { return };
        tracing::info!(%session, "a local session becomes one of all servers");
        if self.serving.learns() {
            return self.forward_create_session(session, timeout_ms, now);
        }
        let nobody = self.nobody.clone();
        let asker = Asker { session, cxid: Xid(0), identities: &nobody };
        self.propose(asker, OpCode::CreateSession, &Request::CreateSession(timeout_ms), None, now);
    }

    /// Local sessions attached nowhere whose time is over.
    pub(super) fn tick_local(&mut self, now: Millis) {
        let is_due = |poll: Millis| poll.max(self.mercy_until) <= now;
        if self.pipeline.sessions_ref().next_local_poll().is_some_and(is_due) {
            for session in self.pipeline.sessions().poll_local(now) {
                tracing::info!(%session, "local session expired: its client was silent");
                self.metrics.session_expired();
            }
        }
    }
}

/// Whether the request would make an ephemeral (stock `checkUpgradeSession`, which looks at create and create2 alone).
fn makes_ephemerals(write: &WriteRequest) -> bool {
    // `CreateMode.fromFlag`: EPHEMERAL and EPHEMERAL_SEQUENTIAL.
    let ephemeral = |flags: i32| matches!(flags, 1 | 3);
    match Request::decode(write.op, &write.body) {
        Ok(Request::Create(OpCode::Create | OpCode::Create2, create)) => ephemeral(create.flags),
        Ok(Request::Multi(ops)) => ops.iter().any(|op| {
            matches!(op, MultiOp::Create(OpCode::Create | OpCode::Create2, create) if ephemeral(create.flags))
        }),
        _ => false,
    }
}
