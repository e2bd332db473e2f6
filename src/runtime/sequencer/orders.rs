#![forbid(unsafe_code)]
//! What clients ask becomes txns in an order: requests of this server's clients and of its own, prepared at the next
//! zxid, and sessions that come and go. Where another server leads, requests go to it (`learner.rs`).
//!
//! Lives on: the sequencer. Every submission with a ticket gets exactly one outcome: without a leader, at once.

use std::rc::Rc;

use super::local::Local;
use super::{Clocks, Entry, Origin, Sequencer, World};
use crate::base::{ConnectionId, Generation, Millis, SessionId, ShardId, Xid, Zxid, limits};
use crate::pipeline::{Asker, ReplyBody, grows};
use crate::runtime::fatal::{Fatal, fatal};
use crate::runtime::messages::{AttachRequest, Outcome, Serving, Submission, Ticket, WriteRequest};
use crate::sessions::{Attachment, Refused, password};
use crate::wire::request::Request;
use crate::wire::{ErrorCode, OpCode};
use crate::zab::Event;

/// Submissions taken from one shard before the next shard has its turn.
const TAKE_MAX: usize = 256;

/// A request that nobody of this server's clients waits for, until there is a zxid for it.
pub(super) enum Internal {
    /// The session's time is over.
    CloseSession(SessionId),
    /// A container or TTL node is to go.
    DeleteContainer(std::sync::Arc<[u8]>),
}

impl<W: World> Sequencer<W> {
    pub(super) fn take_submissions(&mut self, now: Millis) -> bool {
        let mut busy = false;
        self.run_events(now);
        if self.takes_submissions()
            && let Some((shard, write)) = self.postponed.take()
        {
            busy = true;
            self.write_submitted(shard, write, now);
        }
        for at in 0..self.shards.len() {
            for _ in 0..TAKE_MAX {
                self.run_events(now);
                // Without a free zxid what the shards submit waits in their queues, which their credits bound.
                if !self.takes_submissions() || self.postponed.is_some() {
                    return busy;
                }
                let Some(submission) = self.shards[at].submissions.pop() else { break };
                busy = true;
                self.submitted(ShardId(at as u8), submission, now);
            }
        }
        busy
    }

    /// Whether there is a zxid to give, once zab has heard what waits for it: the role may be over by that.
    pub(super) fn may_order(&mut self, now: Millis) -> bool {
        self.run_events(now);
        self.orders() && self.zab.next_zxid().is_some()
    }

    /// Whether the next submission can be dealt with, whatever it is.
    pub(super) fn takes_submissions(&self) -> bool {
        !self.orders() || self.zab.next_zxid().is_some()
    }

    /// Whether this server gives zxids: it leads, or is alone.
    pub(super) fn orders(&self) -> bool {
        matches!(self.serving, Serving::Alone | Serving::Leading(_))
    }

    fn submitted(&mut self, shard: ShardId, submission: Submission, now: Millis) {
        match submission {
            Submission::Write(write) => self.write_submitted(shard, write, now),
            Submission::Sync { ticket, session, cxid, path } => match self.serving {
                Serving::No => self.moved(shard, ticket),
                Serving::ReadOnly => self.refuse_write(shard, ticket),
                Serving::Alone => self.answer_sync(shard, ticket),
                Serving::Leading(_) | Serving::Following | Serving::Observing => {
                    self.ask_for_sync(shard, ticket, (session, cxid, &path), now);
                }
            },
            Submission::Ephemerals { ticket, session, prefix } => {
                if !self.serving.is_serving() {
                    return self.moved(shard, ticket);
                }
                let entry = Entry::Ephemerals { shard, ticket, session, prefix };
                if self.answers_at_once() { self.answer_entry(entry) } else { self.entries.push_back(entry) }
            }
            Submission::Attach(attach) => self.attach(shard, attach, now),
            Submission::Detach { session, generation, last_heard, .. } => {
                self.pipeline.sessions().detach(session, generation, last_heard);
            }
            Submission::Expire { session, generation } => {
                let sessions = self.pipeline.sessions_ref();
                if sessions.is_local(session) && sessions.is_current(session, generation) {
                    self.expire_local(session);
                    return;
                }
                // Where another server leads, it keeps the clocks.
                if self.orders() && self.pipeline.sessions().expire_attached(session, generation) {
                    self.metrics.session_expired();
                    self.internal.push_back(Internal::CloseSession(session));
                }
            }
            Submission::Touched(touched) => self.touched(&touched),
            Submission::Gather { id, what } => self.gather(id, what),
            Submission::Gathered { id, shard, connection } => {
                let zxid = self.pipeline.applied();
                self.push(ShardId(shard), Outcome::Gathered { zxid, id, connection });
            }
        }
    }

    /// What is asked cannot be done here any more: the connection is closed without a word.
    pub(super) fn moved(&mut self, shard: ShardId, ticket: Ticket) {
        let zxid = self.pipeline.applied();
        self.push(shard, Outcome::Moved { zxid, ticket });
    }

    fn write_submitted(&mut self, shard: ShardId, write: WriteRequest, now: Millis) {
        if !self.serving.is_serving() {
            return self.moved(shard, write.ticket);
        }
        // An attachment that is no longer the session's: nothing of it may land (DESIGN §2 rule 7). A session that is
        // closing is told so by prep.
        let sessions = self.pipeline.sessions_ref();
        if sessions.is_open(write.session) && !sessions.is_current(write.session, write.generation) {
            let zxid = self.pipeline.applied();
            return self.behind_all(shard, Outcome::Moved { zxid, ticket: write.ticket });
        }
        if self.serving == Serving::ReadOnly {
            return self.write_to_read_only(shard, &write);
        }
        if self.local_sessions.is_some() && !sessions.contains(write.session) && self.serving.learns() {
            // It was this server's own, and has ended: a leader could take it for another server's.
            return self.moved(shard, write.ticket);
        }
        self.metrics.request_queued(self.entries.len());
        let local = self.of_local(shard, &write, now);
        match local {
            Local::Closed => return,
            // The createSession took a zxid, perhaps the last for now.
            Local::Upgraded if self.orders() && self.zab.next_zxid().is_none() => {
                self.postponed = Some((shard, write));
                return;
            }
            Local::GoesOn | Local::Upgraded | Local::Refused => {}
        }
        if self.serving.learns() {
            let refused = matches!(local, Local::Refused);
            return self.forward_write(shard, &write, refused, now);
        }
        let request = match Request::decode(write.op, &write.body) {
            Ok(request) => Ok(request),
            // It takes its place all the same.
            Err(_) if write.op == OpCode::Multi => Err(ErrorCode::MarshallingError),
            // The shard decoded it already.
            Err(_) => {
                fatal(Fatal::Invariant, "a write that decoded on the shard does not decode on the sequencer")
            }
        };
        let asker = Asker { session: write.session, cxid: write.cxid, identities: &write.identities };
        self.propose_checked(asker, write.op, request, Some(Origin::Request(shard, write.ticket)), now);
    }

    /// Proposes the request, or the error that stands for it.
    pub(super) fn propose_checked(
        &mut self,
        asker: Asker<'_>,
        op: OpCode,
        request: Result<Request<'_>, ErrorCode>,
        origin: Option<Origin>,
        now: Millis,
    ) {
        let request = match (request, self.shared.pressure.check()) {
            (Ok(request), Err(code)) if grows(&request) => Err(code),
            (request, _) => request,
        };
        match request {
            Ok(request) => self.propose(asker, op, &request, origin, now),
            Err(code) => {
                let zxid = self.next_zxid();
                let payload = self.pipeline.prepare_refused(zxid, self.clock.wall(), asker, code);
                self.proposed(op, zxid, payload, origin, now);
            }
        }
    }

    pub(super) fn propose(
        &mut self,
        asker: Asker<'_>,
        op: OpCode,
        request: &Request<'_>,
        origin: Option<Origin>,
        now: Millis,
    ) {
        let zxid = self.next_zxid();
        let payload = self.pipeline.prepare(zxid, self.clock.wall(), asker, request);
        self.proposed(op, zxid, payload, origin, now);
    }

    fn next_zxid(&self) -> Zxid {
        self.zab.next_zxid().expect("nothing is taken up without a zxid for it")
    }

    fn proposed(&mut self, op: OpCode, zxid: Zxid, payload: Vec<u8>, origin: Option<Origin>, now: Millis) {
        let payload: Rc<[u8]> = payload.into();
        self.metrics.prepared(op, 0, 0);
        self.proposing = origin;
        self.step(now, Event::Submitted { zxid, payload });
        assert!(self.proposing.is_none(), "a proposal is appended at once");
        self.linger.arrived(now);
    }

    /// Proposes what the server itself asks for, as far as there are zxids.
    pub(super) fn propose_internal(&mut self, now: Millis) -> bool {
        let mut busy = false;
        while self.may_order(now)
            && let Some(internal) = self.internal.pop_front()
        {
            busy = true;
            let nobody = self.nobody.clone();
            let asker = |session| Asker { session, cxid: Xid(0), identities: &nobody };
            match internal {
                Internal::CloseSession(session) => {
                    self.propose(asker(session), OpCode::CloseSession, &Request::CloseSession, None, now);
                }
                Internal::DeleteContainer(path) => {
                    let request = Request::DeleteContainer(Some(&path));
                    self.propose(asker(SessionId::NONE), OpCode::DeleteContainer, &request, None, now);
                }
            }
        }
        busy
    }

    /// The sync is answered behind everything that was decided before it.
    pub(super) fn answer_sync(&mut self, shard: ShardId, ticket: Ticket) {
        let zxid = self.pipeline.applied();
        self.behind_all(shard, Outcome::Reply { zxid, ticket, err: 0, body: ReplyBody::new() });
    }

    fn attach(&mut self, shard: ShardId, attach: AttachRequest, now: Millis) {
        if !self.serving.is_serving() {
            return self.hang_up(shard, attach.connection);
        }
        if self.serving == Serving::ReadOnly {
            return self.attach_reader(shard, attach, now);
        }
        if attach.session == SessionId::NONE && self.local_sessions.is_some() {
            return self.new_local(shard, attach, now);
        }
        if attach.session == SessionId::NONE {
            let to = Attachment { shard, connection: attach.connection };
            let sessions = self.pipeline.sessions_ref();
            let session = self.session_ids.next(|id| sessions.contains(id));
            if self.serving.learns() {
                return self.forward_session(session, to, attach.timeout_ms, now);
            }
            let timeout = i32::try_from(attach.timeout_ms).unwrap_or(i32::MAX);
            let nobody = self.nobody.clone();
            let asker = Asker { session, cxid: Xid(0), identities: &nobody };
            let origin = Some(Origin::NewSession(to, attach.timeout_ms));
            return self.propose(asker, OpCode::CreateSession, &Request::CreateSession(timeout), origin, now);
        }
        // The password first: a wrong one leaves a live connection alone (reliability M9, S52).
        if !self.proves(&attach) {
            return self.refuse_renewal(shard, &attach);
        }
        if self.serving.learns() && !self.pipeline.sessions_ref().is_local(attach.session) {
            return self.revalidate(shard, attach, now);
        }
        self.attach_here(shard, attach, now);
    }

    /// Whether the client has the session's password.
    pub(super) fn proves(&self, attach: &AttachRequest) -> bool {
        password::verifies(attach.session, Some(&attach.password))
    }

    /// The connection ends without an answer: the client tries another server.
    pub(super) fn hang_up(&mut self, shard: ShardId, connection: ConnectionId) {
        let zxid = self.pipeline.applied();
        // Later than any attachment's.
        let generation = Generation(u64::MAX);
        self.push(shard, Outcome::Close { zxid, connection, generation });
    }

    /// The client is told that its session is over.
    pub(super) fn refuse_renewal(&mut self, shard: ShardId, attach: &AttachRequest) {
        let (zxid, connection) = (self.pipeline.applied(), attach.connection);
        self.behind_all(shard, Outcome::Refused { zxid, connection });
    }

    /// The session goes to this connection, if it is one; when it is applied here, should others be ahead.
    pub(super) fn attach_here(&mut self, shard: ShardId, attach: AttachRequest, now: Millis) {
        let is_applied = self.pipeline.sessions_ref().contains(attach.session);
        if !is_applied && (self.serving.learns() || self.pipeline.is_open(attach.session)) {
            return self.attach_when_applied(shard, attach);
        }
        let to = Attachment { shard, connection: attach.connection };
        let zxid = self.pipeline.applied();
        match self.pipeline.sessions().attach(attach.session, to, u64::from(attach.timeout_ms), now) {
            Ok(attached) => {
                self.held_here(attach.session);
                if let Some(previous) = attached.previous {
                    // Whatever generation the old connection had, it is older than the new one.
                    let (connection, generation) = (previous.connection, attached.generation);
                    self.push(previous.shard, Outcome::Close { zxid, connection, generation });
                }
                self.behind_all(
                    shard,
                    Outcome::Attached {
                        zxid,
                        connection: attach.connection,
                        session: attach.session,
                        generation: attached.generation,
                        timeout_ms: attach.timeout_ms,
                    },
                );
            }
            Err(Refused::Expired) => self.refuse_renewal(shard, &attach),
            Err(Refused::Fought { holder }) => {
                for held in holder.into_iter().chain([to]) {
                    self.hang_up(held.shard, held.connection);
                }
            }
        }
    }

    /// Sends an outcome once everything logged before it has been applied.
    pub(super) fn behind_all(&mut self, shard: ShardId, outcome: Outcome) {
        if self.answers_at_once() {
            self.push(shard, outcome);
            self.ring_doorbells();
        } else {
            self.entries.push_back(Entry::Barrier(shard, outcome));
        }
    }

    /// Whether nothing stands before an answer. Read-only, what is logged may never be decided.
    fn answers_at_once(&self) -> bool {
        self.entries.is_empty() || self.serving == Serving::ReadOnly
    }

    /// A machine that stood still heard of nobody meanwhile, and what other servers heard comes with their next answer to a
    /// ping: for as long as it stood still no session is over (reliability F15, S58). Stock's tracker has no such mercy.
    pub(super) fn notice_standstill(&mut self, now: Millis) {
        let late_ms = now.since(self.due_by);
        if late_ms >= limits::STANDSTILL_MS_MIN {
            tracing::info!(late_ms, "this server stood still; sessions have that much longer");
            self.mercy_until = self.mercy_until.max(now.plus(late_ms));
        }
    }

    /// What is due by the clock, where sessions and containers are this server's to end.
    pub(super) fn tick(&mut self, now: Millis) {
        self.tick_local(now);
        if !self.orders() {
            return;
        }
        let is_due = |poll: Millis| poll.max(self.mercy_until) <= now;
        if self.pipeline.sessions_ref().next_poll().is_some_and(is_due) {
            for session in self.pipeline.sessions().poll(now) {
                self.metrics.session_expired();
                self.internal.push_back(Internal::CloseSession(session));
            }
        }
        // Those of the last look are proposed before the next one.
        if self.internal.is_empty() {
            let paths = self.pipeline.reap(now, self.clock.wall());
            self.internal.extend(paths.into_iter().map(Internal::DeleteContainer));
        }
    }
}
