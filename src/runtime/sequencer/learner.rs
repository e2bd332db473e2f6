#![forbid(unsafe_code)]
//! Where another server leads: what this server's clients ask, and those of observers it serves, goes to the leader, and
//! comes back as a txn with the session and the number of the request (ensemble-protocol §5, §6; stock
//! `FollowerRequestProcessor`, `CommitProcessor`, `LearnerZooKeeperServer`).
//!
//! Lives on: the sequencer. Whatever waits for the leader is forgotten with the role: each ticket gets its outcome, and
//! the clients, whose connections end, do not learn whether their request was done.

use std::collections::{HashMap, VecDeque};

use super::{Origin, Sequencer, World};
use crate::base::{Millis, SessionId, ShardId, Xid};
use crate::pipeline::{Applied, SessionChange};
use crate::runtime::messages::{AttachRequest, Ticket, Touched, WriteRequest};
use crate::sessions::Attachment;
use crate::wire::OpCode;
use crate::wire::jute::Writer;
use crate::wire::peer::body::{self, ForwardedRequest};
use crate::wire::peer::packet::encode_identities;
use crate::zab::Event;
use crate::zab::event::SyncTag;
use crate::zab::message::{Forwarded, LinkId, Message, Payload};

/// Sessions and tags are given out by servers, so nobody chooses what collides; with given seeds a run can be repeated.
const SEEDED: ahash::RandomState = ahash::RandomState::with_seeds(13, 14, 15, 16);
/// A write on its way through the leader. `refused`: it makes an ephemeral of a local session.
struct Waiting {
    cxid: Xid,
    shard: ShardId,
    ticket: Ticket,
    refused: bool,
}

/// Who came with a session.
enum Revalidating {
    /// A client of this server.
    Client(ShardId, AttachRequest),
    /// One of an observer's that we serve; how long its session lives without a word, ms.
    Observer { link: LinkId, session: SessionId, timeout: i32 },
}

impl Revalidating {
    fn session(&self) -> SessionId {
        match self {
            Revalidating::Client(_, attach) => attach.session,
            Revalidating::Observer { session, .. } => *session,
        }
    }
}

/// What this server's clients wait for that others decide.
pub(super) struct Asked {
    /// Writes on their way through the leader, oldest first.
    writes: HashMap<SessionId, VecDeque<Waiting>, ahash::RandomState>,
    /// Sessions on their way to exist, and whose they are.
    opening: HashMap<SessionId, (Attachment, u32), ahash::RandomState>,
    /// Syncs, also while leading: they wait for a quorum.
    syncs: HashMap<SyncTag, (ShardId, Ticket), ahash::RandomState>,
    last_tag: SyncTag,
    /// Sessions that the leader was asked about, in the order asked.
    revalidating: VecDeque<Revalidating>,
    /// Handshakes with a session whose createSession is decided, or prepared, and not applied here yet.
    early: HashMap<SessionId, Vec<(ShardId, AttachRequest)>, ahash::RandomState>,
    /// Sessions heard of since the last ping, and their timeouts in ms (stock `LearnerSessionTracker.touchTable`).
    touched: HashMap<SessionId, u32, ahash::RandomState>,
}

impl Default for Asked {
    fn default() -> Self {
        Asked {
            writes: HashMap::with_hasher(SEEDED),
            opening: HashMap::with_hasher(SEEDED),
            syncs: HashMap::with_hasher(SEEDED),
            last_tag: 0,
            revalidating: VecDeque::new(),
            early: HashMap::with_hasher(SEEDED),
            touched: HashMap::with_hasher(SEEDED),
        }
    }
}

impl<W: World> Sequencer<W> {
    /// A client's write goes to the leader. The shard found that it decodes; the leader says what comes of it.
    pub(super) fn forward_write(&mut self, shard: ShardId, write: &WriteRequest, refused: bool, now: Millis) {
        let request = ForwardedRequest {
            session: write.session,
            cxid: write.cxid,
            op: write.op as i32,
            record: &write.body,
        };
        let mut identities = Vec::new();
        encode_identities(Some(write.identities.list()), &mut identities);
        let forwarded = forwarded(&request, Some(identities));
        let waiting = self.asked.writes.entry(write.session).or_default();
        waiting.push_back(Waiting { cxid: write.cxid, shard, ticket: write.ticket, refused });
        self.step(now, Event::Forward(forwarded));
    }

    /// A new session of this server's making.
    pub(super) fn forward_session(
        &mut self,
        session: SessionId,
        to: Attachment,
        timeout_ms: u32,
        now: Millis,
    ) {
        self.asked.opening.insert(session, (to, timeout_ms));
        self.forward_create_session(session, i32::try_from(timeout_ms).unwrap_or(i32::MAX), now);
    }

    /// A session is to exist for all servers.
    pub(super) fn forward_create_session(&mut self, session: SessionId, timeout_ms: i32, now: Millis) {
        let mut record = Vec::new();
        record.int(timeout_ms);
        let op = OpCode::CreateSession as i32;
        let request = ForwardedRequest { session, cxid: Xid(0), op, record: &record };
        self.step(now, Event::Forward(forwarded(&request, None)));
    }

    /// A client's sync; while leading as well, since a leader that was replaced must not answer (reliability P5).
    pub(super) fn ask_for_sync(
        &mut self,
        shard: ShardId,
        ticket: Ticket,
        (session, cxid, path): (SessionId, Xid, &[u8]),
        now: Millis,
    ) {
        let mut record = Vec::new();
        record.string(path);
        let request = ForwardedRequest { session, cxid, op: OpCode::Sync as i32, record: &record };
        let request = forwarded(&request, None);
        self.asked.last_tag += 1;
        let tag = self.asked.last_tag;
        self.asked.syncs.insert(tag, (shard, ticket));
        self.step(now, Event::SyncAsked { tag, request });
    }

    /// Everything before this sync was decided and handed out.
    pub(super) fn synced(&mut self, tag: SyncTag) {
        if let Some((shard, ticket)) = self.asked.syncs.remove(&tag) {
            self.answer_sync(shard, ticket);
        }
    }

    /// A client came with a session and its password: the leader knows whether it still is one.
    pub(super) fn revalidate(&mut self, shard: ShardId, attach: AttachRequest, now: Millis) {
        let Some(link) = self.leader_link() else { return self.hang_up(shard, attach.connection) };
        let timeout = i32::try_from(attach.timeout_ms).unwrap_or(i32::MAX);
        let mut question = Vec::new();
        body::Revalidate { session: attach.session, timeout }.encode(&mut question);
        self.asked.revalidating.push_back(Revalidating::Client(shard, attach));
        self.step(now, Event::Send { link, message: Message::Revalidate { body: question.into() } });
    }

    /// The leader's answer.
    pub(super) fn revalidated(&mut self, answer: &[u8], now: Millis) {
        let Ok(body::Revalidated { session, valid }) = body::Revalidated::decode(Some(answer)) else {
            tracing::warn!("the leader's answer about a session does not decode; it is ignored");
            return;
        };
        let waiting = &mut self.asked.revalidating;
        let Some(at) = waiting.iter().position(|waiting| waiting.session() == session) else { return };
        match waiting.remove(at) {
            Some(Revalidating::Client(shard, attach)) if valid => self.attach_here(shard, attach, now),
            Some(Revalidating::Client(shard, attach)) => self.refuse_renewal(shard, &attach),
            Some(Revalidating::Observer { link, timeout, .. }) => {
                self.observer_revalidated(link, session, valid.then_some(timeout), answer, now);
            }
            None => {}
        }
    }

    /// The session exists by what the leader decided, or is about to, and was not applied here.
    pub(super) fn attach_when_applied(&mut self, shard: ShardId, attach: AttachRequest) {
        self.asked.early.entry(attach.session).or_default().push((shard, attach));
    }

    /// Whose request the applied txn answers, if a client of this server waits for it (stock
    /// `CommitProcessor.processCommitted`: the head of what is asked, by session and number).
    pub(super) fn claim(&mut self, applied: &Applied) -> Option<Origin> {
        if let Some(SessionChange::Opened(session, _)) = applied.session_change {
            return self.asked.opening.remove(&session).map(|(to, ms)| Origin::NewSession(to, ms));
        }
        let waiting = self.asked.writes.get_mut(&applied.session)?;
        if waiting.front().is_none_or(|waiting| waiting.cxid != applied.cxid) {
            return None;
        }
        let Waiting { shard, ticket, refused, .. } = waiting.pop_front()?;
        if waiting.is_empty() {
            self.asked.writes.remove(&applied.session);
        }
        Some(if refused { Origin::Ephemeral(shard, ticket) } else { Origin::Request(shard, ticket) })
    }

    /// A session exists now: who waited for it gets it.
    pub(super) fn session_came(&mut self, session: SessionId, now: Millis) {
        for (shard, attach) in self.asked.early.remove(&session).unwrap_or_default() {
            self.attach_here(shard, attach, now);
        }
    }

    /// A session is gone: what was asked for it and not answered never will be.
    pub(super) fn session_gone(&mut self, session: SessionId) {
        self.owners.remove(&session);
        for Waiting { shard, ticket, .. } in self.asked.writes.remove(&session).unwrap_or_default() {
            self.moved(shard, ticket);
        }
        for (shard, attach) in self.asked.early.remove(&session).unwrap_or_default() {
            self.refuse_renewal(shard, &attach);
        }
    }

    /// Clients of ours were heard of.
    pub(super) fn touched(&mut self, touched: &[Touched]) {
        if self.serving.learns() {
            let sessions = self.pipeline.sessions_ref();
            let others = touched.iter().filter(|touch| !sessions.is_local(touch.session));
            self.asked.touched.extend(others.map(|touch| (touch.session, touch.timeout_ms)));
        }
    }

    /// A client of an observer that we serve asks for this: the leader orders it (stock
    /// `FollowerZooKeeperServer.processObserverRequest`).
    pub(super) fn pass_on_request(&mut self, link: LinkId, forwarded: Forwarded) {
        let op = ForwardedRequest::decode(Some(&forwarded.body)).ok().map(|request| request.op);
        match op {
            Some(op) if op == OpCode::Sync as i32 => {
                self.later(Event::LearnerSync { link, request: forwarded });
            }
            Some(_) => self.later(Event::Forward(forwarded)),
            None => {
                tracing::warn!(?link, "an observer forwards what does not decode: its link is closed");
                self.lose_link(link);
            }
        }
    }

    /// A client came to such an observer with a session: the leader knows (stock `ObserverMaster.revalidateSession`).
    pub(super) fn pass_on_revalidation(&mut self, link: LinkId, question: &Payload) {
        let Ok(body::Revalidate { session, timeout }) = body::Revalidate::decode(Some(question)) else {
            tracing::warn!(
                ?link,
                "an observer asks about a session in a way that does not decode: its link is closed"
            );
            return self.lose_link(link);
        };
        let Some(leader) = self.leader_link() else { return };
        self.asked.revalidating.push_back(Revalidating::Observer { link, session, timeout });
        self.later(Event::Send { link: leader, message: Message::Revalidate { body: question.clone() } });
    }

    /// The leader's answer, for an observer; a session that is valid has the time that is given (stock
    /// `ObserverMaster.revalidateLearnerSession`).
    fn observer_revalidated(
        &mut self,
        link: LinkId,
        session: SessionId,
        timeout: Option<i32>,
        answer: &[u8],
        now: Millis,
    ) {
        if let Some(timeout) = timeout {
            self.asked.touched.insert(session, u32::try_from(timeout).unwrap_or(0));
            // To the leader both came by our link: it cannot tell that the client left us for the observer.
            if let Some(held) = self.pipeline.sessions().take_away(session, now) {
                self.hang_up(held.shard, held.connection);
                self.ring_doorbells();
            }
        }
        self.later(Event::Send { link, message: Message::Revalidate { body: answer.into() } });
    }

    /// Sessions that an observer heard of.
    pub(super) fn pass_on_touched(&mut self, touched: Vec<(SessionId, i32)>) {
        let touched = touched.into_iter().map(|(session, ms)| (session, u32::try_from(ms).unwrap_or(0)));
        self.asked.touched.extend(touched);
    }

    /// The leader pings: it is told who was heard of.
    pub(super) fn answer_ping(&mut self, link: LinkId, zxid: crate::base::Zxid) -> Event {
        let mut touched = Vec::with_capacity(body::TOUCHED_BYTES * self.asked.touched.len());
        for (session, timeout_ms) in self.asked.touched.drain() {
            body::encode_touched(session, i32::try_from(timeout_ms).unwrap_or(i32::MAX), &mut touched);
        }
        Event::Send { link, message: Message::Ping { zxid, touched: touched.into() } }
    }

    /// The role is over: nobody will answer what was asked.
    pub(super) fn forget_asked(&mut self) {
        let asked = std::mem::take(&mut self.asked);
        self.asked.last_tag = asked.last_tag;
        let writes = asked.writes.into_values().flatten().map(|waiting| (waiting.shard, waiting.ticket));
        let tickets: Vec<(ShardId, Ticket)> = writes.chain(asked.syncs.into_values()).collect();
        for (shard, ticket) in tickets {
            self.moved(shard, ticket);
        }
        for (to, _) in asked.opening.into_values() {
            self.hang_up(to.shard, to.connection);
        }
        let revalidating = asked.revalidating.into_iter().filter_map(|waiting| match waiting {
            Revalidating::Client(shard, attach) => Some((shard, attach)),
            // Its link is closed.
            Revalidating::Observer { .. } => None,
        });
        for (shard, attach) in revalidating.chain(asked.early.into_values().flatten()) {
            self.hang_up(shard, attach.connection);
        }
    }
}

fn forwarded(request: &ForwardedRequest<'_>, identities: Option<Vec<u8>>) -> Forwarded {
    let mut body = Vec::new();
    request.encode(&mut body);
    Forwarded { body: body.into(), identities: identities.map(Into::into) }
}
