#![forbid(unsafe_code)]
//! The logic of a shard: connections, their requests and their watches, as a synchronous state machine that the
//! runtime drives.
//!
//! Lives on: each shard. A turn pins the tree, takes the outcomes up to the zxid it reads at (`outcomes.rs`), and
//! only then answers reads, so that an event always leaves before the data it announces (DESIGN §2 rule 3).
//!
//! Not here: sockets (runtime), what a read answers (`reads.rs`), the handshake (`handshake.rs`), words (`gather.rs`).

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::admission::{Gate, Intake, Pass, outstanding_max};
use super::answers::Answered;
use super::connection::{Attachment, Connection, Framed, Held, Pending, Phase, Submitted, frame};
use super::deadlines::DEADLINE_TICK_MS;
use super::passing::{Anchors, Passing, Turn};
use super::registry::Registry;
use super::serving::Touches;
use super::settings::Settings;
use super::words::{self, Word};
use crate::base::{ConnectionId, Millis, SessionId, ShardId, Xid, Zxid, limits};
use crate::pipeline::acl::{self, Identities};
use crate::pipeline::ip;
use crate::runtime::Clock;
use crate::runtime::messages::{Outcome, Serving, Submission, Ticket, WriteRequest};
use crate::runtime::metrics::ShardMetrics;
use crate::runtime::ring::{Consumer, Producer};
use crate::runtime::sequencer::Shared;
use crate::runtime::shard::{Logic, Output, Wants};
use crate::sessions::ExpiryQueue;
use crate::tree::{TreeReader, View};
use crate::watches::{Hold, WatchTable};
use crate::wire::reply;
use crate::wire::request::{Request, RequestHeader};
use crate::wire::{DecodeError, ErrorCode, OpCode};

/// What a shard is made of.
pub struct ShardParts {
    /// Which one.
    pub id: ShardId,
    /// What it goes by.
    pub settings: Arc<Settings>,
    /// The tree.
    pub tree: TreeReader,
    /// Who waits for what, here.
    pub watches: WatchTable,
    /// From the sequencer.
    pub outcomes: Consumer<Outcome>,
    /// To the sequencer.
    pub submissions: Producer<Submission>,
    /// Its bell.
    pub shared: Arc<Shared>,
    /// What all shards look up.
    pub registry: Arc<Registry>,
    /// Connections of each shard.
    pub loads: Arc<Vec<AtomicUsize>>,
    /// Time.
    pub clock: Clock,
    /// What the server is to its clients until an outcome says otherwise: [`Serving::Alone`], or [`Serving::No`] for a
    /// member.
    pub serving: Serving,
}

/// One shard's state.
pub struct Shard {
    pub(super) id: ShardId,
    pub(super) settings: Arc<Settings>,
    pub(super) tree: std::rc::Rc<TreeReader>,
    pub(super) watches: WatchTable,
    pub(super) outcomes: Consumer<Outcome>,
    submissions: Producer<Submission>,
    pub(super) shared: Arc<Shared>,
    pub(super) registry: Arc<Registry>,
    loads: Arc<Vec<AtomicUsize>>,
    pub(super) clock: Clock,
    /// What the server is to its clients, and since when.
    pub(super) serving: Serving,
    pub(super) serving_since: Millis,
    /// For the leader, while it is not this server.
    pub(super) touches: Touches,
    pub(super) connections: HashMap<ConnectionId, Connection, ahash::RandomState>,
    next_connection: u64,
    /// Sessions by the time they expire.
    pub(super) expiry: ExpiryQueue<ConnectionId>,
    /// Connections without a session by the time they are closed, and (some of them long gone) in order of their
    /// coming.
    pub(super) fresh: ExpiryQueue<ConnectionId>,
    pub(super) arrivals: VecDeque<ConnectionId>,
    /// Connections that owe the rest of a frame or leave output lying, by the time they are looked at again.
    pub(super) deadlines: ExpiryQueue<ConnectionId>,
    /// Connections whose word is being answered, by the time they are closed.
    pub(super) words: ExpiryQueue<ConnectionId>,
    /// Words of this shard being collected, and those that wait for their turn.
    pub(super) words_running: usize,
    pub(super) words_waiting: VecDeque<(ConnectionId, Word)>,
    pub(super) metrics: ShardMetrics,
    /// Requests in process here and elsewhere, and whose intake stalls.
    pub(super) intake: Intake,
    /// Writes the sequencer may still be given, and bytes of those it has.
    credits: usize,
    pub(super) request_bytes: usize,
    /// For reads between writes. `None` only while a turn takes its outcomes.
    anchors: Option<Box<Anchors>>,
    /// Memory of all connections' input, bytes.
    pub(super) input_bytes: usize,
    /// Connections whose next write waits for a credit.
    starved: VecDeque<ConnectionId>,
    /// Connections whose head read waits until `applied` has come further; their watch's interest is armed.
    pub(super) waiting: Vec<(ConnectionId, Vec<Hold>)>,
    /// Connections whose queue of reads may move on.
    pub(super) movable: Vec<ConnectionId>,
    /// Connections with a job, in the order of their turns.
    pub(super) jobs: VecDeque<ConnectionId>,
    pub(super) dirty: Vec<ConnectionId>,
    /// Silent for their whole timeout when last looked at, and when they had been heard then.
    suspects: Vec<(ConnectionId, Millis)>,
    stopping: bool,
    pub(super) scratch: Vec<u8>,
}

/// How a request came.
struct Came {
    received: Millis,
    pass: Pass,
    /// From whom, where that is not who the client is now.
    identities: Option<Identities>,
}

impl Shard {
    /// A shard without connections.
    pub fn new(parts: ShardParts) -> Shard {
        let tick = u64::from(parts.settings.tick_ms);
        let sessionless = u64::from(parts.settings.sessionless_timeout_ms.max(1));
        let mut requests = parts.settings.requests;
        requests.outstanding_max = outstanding_max(requests.outstanding_max, parts.settings.voters);
        let intake = Intake::new(&requests, parts.settings.own.syncs_max, parts.loads.len());
        Shard {
            id: parts.id,
            tree: std::rc::Rc::new(parts.tree),
            watches: parts.watches,
            outcomes: parts.outcomes,
            submissions: parts.submissions,
            shared: parts.shared,
            registry: parts.registry,
            loads: parts.loads,
            serving: parts.serving,
            serving_since: parts.clock.now(),
            touches: Touches::default(),
            clock: parts.clock,
            // Looked up by ids of our own making.
            connections: HashMap::with_hasher(ahash::RandomState::with_seeds(17, 18, 19, 20)),
            next_connection: 0,
            expiry: ExpiryQueue::new(tick),
            fresh: ExpiryQueue::new(sessionless),
            arrivals: VecDeque::new(),
            deadlines: ExpiryQueue::new(DEADLINE_TICK_MS),
            words: ExpiryQueue::new(DEADLINE_TICK_MS),
            words_running: 0,
            words_waiting: VecDeque::new(),
            metrics: ShardMetrics::default(),
            intake,
            credits: limits::SHARD_CREDITS,
            request_bytes: 0,
            anchors: Some(Box::default()),
            input_bytes: 0,
            starved: VecDeque::new(),
            waiting: Vec::new(),
            movable: Vec::new(),
            jobs: VecDeque::new(),
            dirty: Vec::new(),
            suspects: Vec::new(),
            stopping: false,
            scratch: Vec::new(),
            settings: parts.settings,
        }
    }

    /// Something of the connection's output or wishes changed.
    pub(super) fn touch_output(dirty: &mut Vec<ConnectionId>, connection: &mut Connection) {
        if !connection.dirty {
            connection.dirty = true;
            dirty.push(connection.id);
        }
    }

    pub(super) fn mark(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id) {
            Self::touch_output(&mut self.dirty, connection);
        }
    }

    pub(super) fn submit(&mut self, submission: Submission) {
        self.submissions.push(submission);
        self.shared.wake_sequencer();
    }

    /// Closes without a further byte.
    pub(super) fn abort(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.abort = true;
            Self::touch_output(&mut self.dirty, connection);
        }
    }

    /// Sends what is queued, then closes.
    pub(super) fn finish(&mut self, id: ConnectionId) {
        self.forget_waiting(id);
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.finish();
            Self::touch_output(&mut self.dirty, connection);
        }
    }

    /// Runs `f` with this turn's view, after everything it may show has been announced.
    fn with_view<R>(&mut self, now: Millis, f: impl FnOnce(&mut Self, &View<'_>) -> R) -> R {
        let tree = self.tree.clone();
        let mut anchors = self.anchors.take().expect("there is no turn within a turn");
        if !self.is_idle() {
            anchors.next.set(&tree);
        }
        let view = tree.pin();
        self.intake.exchange(&self.registry.load);
        self.take_outcomes(&Turn { view: &view, anchor: &anchors.held }, now);
        anchors.turn();
        self.anchors = Some(anchors);
        let result = f(self, &view);
        self.move_on(&view, now);
        if self.is_idle()
            && let Some(anchors) = &mut self.anchors
        {
            anchors.held.lift();
        }
        self.intake.exchange(&self.registry.load);
        result
    }

    /// Goes on with the connections whose reads were held back, and with those that had no room or no credit.
    fn move_on(&mut self, view: &View<'_>, now: Millis) {
        if self.intake.has_stalled() {
            self.resume_stalled(view, now);
        }
        // Who waits for a credit comes first: otherwise those that get one back would take it again, for ever.
        while self.may_submit()
            && let Some(id) = self.starved.pop_front()
        {
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.is_starved = false;
            }
            self.drain(id, view, now);
            self.take_frames(id, view, now);
        }
        while let Some(id) = self.movable.pop() {
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.is_movable = false;
            }
            self.drain(id, view, now);
            self.take_frames(id, view, now);
        }
    }

    /// The connection's next write waits for a credit.
    fn starve(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id)
            && !std::mem::replace(&mut connection.is_starved, true)
        {
            self.starved.push_back(id);
        }
    }

    /// The connection's queue may go on.
    pub(super) fn may_move(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id)
            && !std::mem::replace(&mut connection.is_movable, true)
        {
            self.movable.push(id);
        }
    }

    /// Takes whole frames from the connection's input as long as there is room for their requests.
    pub(super) fn take_frames(&mut self, id: ConnectionId, view: &View<'_>, now: Millis) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.input.is_empty() {
            if std::mem::replace(&mut connection.choked, false) {
                // The driver may have stopped reading.
                Self::touch_output(&mut self.dirty, connection);
            }
            return;
        }
        let input = std::mem::take(&mut connection.input);
        let taken = self.take_frames_from(id, &input, view, now);
        if let Some(connection) = self.connections.get_mut(&id)
            && !matches!(connection.phase, Phase::Closing)
        {
            connection.input = input;
            connection.input.drain(..taken);
            if connection.input.is_empty() {
                connection.input = Vec::new();
            }
        }
        self.count_input(id);
    }

    /// The same over `bytes`; gives how many were taken.
    fn take_frames_from(&mut self, id: ConnectionId, bytes: &[u8], view: &View<'_>, now: Millis) -> usize {
        let mut taken = 0;
        loop {
            let Some(connection) = self.connections.get_mut(&id) else { return taken };
            let was_choked = std::mem::replace(&mut connection.choked, false);
            match connection.phase {
                Phase::Fresh | Phase::Open(_) => {}
                // What comes behind a handshake waits for its end.
                Phase::Attaching { .. } => {
                    connection.choked = true;
                    return taken;
                }
                Phase::Word | Phase::Closing => return bytes.len(),
            }
            if taken == bytes.len() {
                connection.waits_since = None;
                return taken;
            }
            let crowded = !connection.pending.is_empty() && self.intake.is_crowded();
            if self.stopping || crowded || !connection.has_room() {
                connection.choked = true;
                return taken;
            }
            let rest = &bytes[taken..];
            if connection.phase == Phase::Fresh
                && let Some(first) = rest.first_chunk::<4>()
                && let Some(opening) = words::recognise(*first)
            {
                let Some(used) = self.word(id, opening, rest, now) else { return taken };
                taken += used;
                continue;
            }
            if connection.phase == Phase::Fresh && rest.len() >= 4 && !self.serving.is_serving() {
                self.turn_away(id);
                return bytes.len();
            }
            if self.intake.is_on {
                match self.admit(id, rest, now) {
                    Gate::Open => {}
                    Gate::Stalled => return taken,
                    Gate::Closed => return bytes.len(),
                }
            }
            let Some(connection) = self.connections.get_mut(&id) else { return taken };
            let longest = match connection.phase {
                Phase::Fresh => limits::HANDSHAKE_FRAME_BYTES_MAX.min(self.settings.frame_bytes_max),
                _ => self.settings.frame_bytes_max,
            };
            match frame(rest, longest) {
                Framed::Frame(frame, used) => {
                    connection.partial_since = None;
                    if !self.frame(id, frame, view, now) {
                        // No credit: the frame stays where it is.
                        self.starve(id);
                        if let Some(connection) = self.connections.get_mut(&id) {
                            connection.choked = true;
                            connection.waits_since.get_or_insert(now);
                        }
                        return taken;
                    }
                    taken += used;
                }
                Framed::Partial => {
                    if was_choked {
                        Self::touch_output(&mut self.dirty, connection);
                    }
                    if !rest.is_empty() {
                        self.frame_begun(id, now);
                    }
                    return taken;
                }
                Framed::Oversize => {
                    tracing::debug!(peer = %connection.peer, "closing: frame length out of bounds");
                    self.metrics.connection_dropped();
                    self.abort(id);
                    return bytes.len();
                }
            }
        }
    }

    /// One frame; false when it needs a credit and there is none.
    fn frame(&mut self, id: ConnectionId, frame: &[u8], view: &View<'_>, now: Millis) -> bool {
        let Some(connection) = self.connections.get_mut(&id) else { return true };
        match connection.phase {
            Phase::Fresh => {
                self.metrics.packet_received(frame.len() + 4);
                connection.stats.packet_received();
                self.handshake(id, frame, view);
                true
            }
            Phase::Open(_) => {
                let Ok((header, body)) = RequestHeader::split(frame) else {
                    // Too short for a header (client-protocol §1.4).
                    self.abort(id);
                    return true;
                };
                self.request(id, header, body, view, now)
            }
            _ => true,
        }
    }

    /// One request, in the order of client-protocol §3.4.
    fn request(
        &mut self,
        id: ConnectionId,
        header: RequestHeader,
        body: &[u8],
        view: &View<'_>,
        now: Millis,
    ) -> bool {
        let may_submit = self.may_submit();
        let Some(connection) = self.connections.get_mut(&id) else { return true };
        let op = OpCode::from_i32(header.op);
        let admitted = acl::is_admitted(&connection.identities, &self.settings.policy);
        if self.settings.bounds.is_on && op.is_some_and(|op| self.settings.bounds.refuse(op, body)) {
            connection.pass.refusal.get_or_insert(ErrorCode::BadArguments);
        }
        let refused = connection.pass.refusal.is_some();
        let submits = admitted && !refused && op.is_some_and(|op| submits(op, body));
        // Behind what waits here nothing is submitted, unless that can be passed.
        let last = connection.pending.len();
        let submits = submits && connection.may_submit_at(last, op, view);
        if submits && !may_submit {
            return false;
        }
        let pass = std::mem::take(&mut connection.pass);
        self.metrics.packet_received(body.len() + 12);
        connection.stats.packet_received();
        match op {
            Some(OpCode::Auth) => {
                self.auth(id, header.xid, body);
                return true;
            }
            Some(OpCode::Sasl) => {
                self.sasl(id, header.xid, body);
                return true;
            }
            _ => {}
        }
        if !admitted {
            reply::header_only(
                connection.output.buffer(),
                header.xid,
                0,
                Some(ErrorCode::SessionClosedRequireSaslAuth),
            );
            connection.stats.packet_sent();
            self.metrics.reply_sent(20);
            self.finish(id);
            return true;
        }
        if let (true, Some(op)) = (submits, op) {
            if let Some(submitted) =
                self.submit_request(id, header, op, body, Came { received: now, pass, identities: None })
                && let Some(connection) = self.connections.get_mut(&id)
            {
                connection.pending.push_back(Pending::Submitted(submitted));
                connection.submitted_at(last);
            }
            return true;
        }
        let passing = Passing::Unknown;
        let held = Held {
            xid: header.xid,
            op: header.op,
            body: Box::default(),
            received: now,
            pass,
            passing,
            identities: None,
        };
        if connection.pending.is_empty() {
            match self.answer(id, &held, body, view, now) {
                Answered::Yes => return true,
                Answered::NotBefore(zxid, holds) => self.wait_for(id, zxid, holds),
                Answered::Later => {}
            }
        }
        if let Some(connection) = self.connections.get_mut(&id)
            && connection.phase != Phase::Closing
        {
            connection.hold(Held { body: body.into(), ..held });
        }
        true
    }

    /// Hands a write, a sync or a look at the session's ephemerals to the sequencer. It decodes ([`submits`] said so).
    fn submit_request(
        &mut self,
        id: ConnectionId,
        header: RequestHeader,
        op: OpCode,
        body: &[u8],
        came: Came,
    ) -> Option<Submitted> {
        let Came { received, pass, identities } = came;
        let connection = self.connections.get_mut(&id)?;
        let attachment = connection.attachment()?;
        let bytes = body.len() as u32;
        let ticket = Ticket { connection: id, sequence: connection.next_sequence, bytes };
        let mut echo = None;
        let submission = match Request::decode(op, body) {
            Ok(Request::Sync(path)) => {
                let path: Box<[u8]> = path.unwrap_or_default().into();
                echo = Some(path.clone());
                let (session, cxid) = (attachment.session, Xid(header.xid));
                Submission::Sync { ticket, session, cxid, path }
            }
            Ok(Request::GetEphemerals(prefix)) => Submission::Ephemerals {
                ticket,
                session: attachment.session,
                prefix: prefix.unwrap_or_default().into(),
            },
            _ => Submission::Write(WriteRequest {
                ticket,
                session: attachment.session,
                generation: attachment.generation,
                cxid: Xid(header.xid),
                op,
                body: body.into(),
                identities: identities.unwrap_or_else(|| connection.identities.clone()),
                received,
            }),
        };
        connection.next_sequence += 1;
        if let Some(anchors) = &mut self.anchors {
            anchors.hold(&self.tree);
        }
        self.credits -= 1;
        self.request_bytes += body.len();
        self.submit(submission);
        let sequence = ticket.sequence;
        let bytes = body.len();
        Some(Submitted { sequence, xid: header.xid, op, received, bytes, echo, _pass: pass, done: None })
    }

    /// Moves the queue on: what is decided is replied to, writes are submitted up to the first read, a read at the head
    /// is answered.
    fn drain(&mut self, id: ConnectionId, view: &View<'_>, now: Millis) {
        loop {
            let may_submit = self.may_submit();
            let Some(connection) = self.connections.get_mut(&id) else { return };
            if connection.job.is_some() || connection.waits_for.is_some_and(|zxid| view.at() < zxid) {
                return;
            }
            let at = connection.next_to_submit(view);
            let Some(Pending::Held(held)) = connection.pending.get_mut(at) else { return };
            let op = OpCode::from_i32(held.op)
                .filter(|op| held.pass.refusal.is_none() && submits(*op, &held.body));
            if let Some(op) = op {
                if !may_submit {
                    self.starve(id);
                    return;
                }
                let header = RequestHeader { xid: held.xid, op: held.op };
                let (body, pass) = (std::mem::take(&mut held.body), std::mem::take(&mut held.pass));
                let came = Came { received: held.received, pass, identities: held.identities.take() };
                let submitted = self.submit_request(id, header, op, &body, came);
                let Some(submitted) = submitted else { return };
                if let Some(connection) = self.connections.get_mut(&id) {
                    connection.held_bytes -= body.len();
                    connection.pending[at] = Pending::Submitted(submitted);
                    connection.submitted_at(at);
                }
                continue;
            }
            if at > 0 {
                return;
            }
            let may_answer = connection.may_answer();
            connection.pending.waits_for_reader(!may_answer);
            if !may_answer {
                return;
            }
            let Some(Pending::Held(held)) = connection.pending.pop_front() else { return };
            connection.held_bytes -= held.body.len();
            match self.answer(id, &held, &held.body, view, now) {
                Answered::Yes => continue,
                Answered::NotBefore(zxid, holds) => self.wait_for(id, zxid, holds),
                Answered::Later => {}
            }
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.held_bytes += held.body.len();
                connection.pending.push_front(Pending::Held(held));
            }
            return;
        }
    }

    /// The newest txn readers see.
    pub(super) fn applied(&self) -> Zxid {
        self.tree.applied()
    }

    /// Sums over the tree.
    pub(super) fn tree_stats(&self) -> crate::tree::TreeStats {
        self.tree.stats()
    }

    /// Whether the sequencer may be given another request.
    fn may_submit(&self) -> bool {
        self.credits > 0 && self.request_bytes < limits::SHARD_REQUEST_BYTES_MAX
    }

    /// A credit came back.
    pub(super) fn credit(&mut self, ticket: Ticket) {
        self.credits += 1;
        self.request_bytes -= ticket.bytes as usize;
    }

    /// Whether every connection's writes were answered.
    pub(super) fn is_idle(&self) -> bool {
        self.credits == limits::SHARD_CREDITS
    }
}

/// Whether the request goes through the sequencer: a write, a sync, a look at the session's ephemerals that decodes.
/// One that does not decode is answered here, in its turn.
fn submits(op: OpCode, body: &[u8]) -> bool {
    let crosses = op.is_write() || matches!(op, OpCode::Sync | OpCode::GetEphemerals);
    crosses
        && is_request(op)
        && match Request::decode(op, body) {
            Ok(_) => true,
            // A multi that does not decode takes a zxid all the same, unless it is a null that stock's decoder trips
            // over (3.9.5 `PrepRequestProcessor.pRequestHelper`).
            Err(error) => op == OpCode::Multi && error != DecodeError::Null,
        }
}

/// The scope of a link-local IPv6 peer, which Java prints behind the address.
fn scope(peer: SocketAddr) -> u32 {
    match peer {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(peer) => peer.scope_id(),
    }
}

/// Whether clients may send it at all (client-protocol §4.1); check is part of a multi only, and createSession, which
/// stock takes from anybody, is the server's own (reliability M14).
pub(super) fn is_request(op: OpCode) -> bool {
    !matches!(op, OpCode::Check | OpCode::Error | OpCode::CreateSession)
}

impl Logic for Shard {
    fn on_accept(&mut self, peer: SocketAddr, now: Millis) -> Option<ConnectionId> {
        if self.stopping {
            self.registry.left(peer, true);
            self.loads[usize::from(self.id.0)].fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let id = ConnectionId(self.next_connection);
        self.next_connection += 1;
        let identities = Identities::of_peer(&ip::host_address(peer.ip(), scope(peer)));
        let mut connection = Connection::new(id, peer, identities, now, self.clock.wall());
        connection.pending = self.intake.queue();
        self.connections.insert(id, connection);
        self.arrived(id, now);
        Some(id)
    }

    fn on_bytes(&mut self, id: ConnectionId, bytes: &[u8], now: Millis) {
        self.with_view(now, |shard, view| {
            let Some(connection) = shard.connections.get_mut(&id) else { return };
            connection.last_heard = now;
            if let Some(attachment) = connection.attachment() {
                shard.expiry.touch(id, now, u64::from(attachment.timeout_ms));
                if shard.serving.learns() {
                    shard.touches.heard(connection, now);
                }
            }
            if connection.input.is_empty() && !connection.choked {
                let taken = shard.take_frames_from(id, bytes, view, now);
                if let Some(connection) = shard.connections.get_mut(&id)
                    && taken < bytes.len()
                    && connection.phase != Phase::Closing
                {
                    connection.input.extend_from_slice(&bytes[taken..]);
                }
            } else {
                connection.input.extend_from_slice(bytes);
                if !connection.choked {
                    shard.take_frames(id, view, now);
                }
            }
            shard.count_input(id);
        });
    }

    fn on_closed(&mut self, id: ConnectionId, now: Millis) {
        let Some(mut connection) = self.connections.remove(&id) else { return };
        if let Some(job) = connection.job.take() {
            self.end_job(*job);
        }
        self.count_dropped(&connection);
        // Its requests are in process no longer.
        connection.pending.clear();
        self.intake.exchange(&self.registry.load);
        self.watches.remove_connection(id);
        self.forget_waiting(id);
        self.expiry.remove(id);
        self.input_bytes -= connection.input_counted;
        self.fresh.remove(id);
        self.deadlines.remove(id);
        self.words.remove(id);
        if let Some(attachment) = connection.attached {
            self.registry.detached(attachment.session, self.id, id);
            self.submit(Submission::Detach {
                session: attachment.session,
                generation: attachment.generation,
                last_heard: connection.last_heard,
                timeout_ms: attachment.timeout_ms,
            });
        }
        self.registry.left(connection.peer, connection.is_sessionless);
        // Relaxed: a rough balance is enough.
        self.loads[usize::from(self.id.0)].fetch_sub(1, Ordering::Relaxed);
        self.metrics.socket_closed(now.since(now));
    }

    fn on_turn(&mut self, now: Millis) {
        let waits = !self.waiting.is_empty() || !self.movable.is_empty() || !self.jobs.is_empty();
        if waits || self.outcomes.peek().is_some() {
            self.with_view(now, |shard, view| {
                shard.continue_jobs(view, now);
                for (id, _) in &shard.waiting {
                    let ready = shard.connections.get(id).and_then(|c| c.waits_for);
                    if ready.is_none_or(|zxid| zxid <= view.at()) {
                        shard.movable.push(*id);
                    }
                }
            });
        }
    }

    fn must_stay(&self) -> bool {
        !self.waiting.is_empty() || !self.movable.is_empty() || !self.jobs.is_empty()
    }

    fn on_tick(&mut self, now: Millis) {
        // Requests of other shards may have ended, of which nobody tells this one.
        if self.intake.has_stalled() {
            self.with_view(now, |_, _| {});
        }
        self.expire(now);
        self.close_the_late(now);
        self.report_touches(now);
    }

    fn take_dirty(&mut self, into: &mut Vec<ConnectionId>) {
        for id in self.dirty.drain(..) {
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.dirty = false;
                into.push(id);
            }
        }
    }

    fn output(&mut self, id: ConnectionId) -> Option<&mut Output> {
        self.connections.get_mut(&id).map(|connection| &mut connection.output)
    }

    fn wants(&self, id: ConnectionId) -> Wants {
        match self.connections.get(&id) {
            Some(connection) => Wants {
                read: connection.wants_input() && !self.stopping,
                close: connection.close && connection.answer.is_none(),
                abort: connection.abort,
            },
            None => Wants { abort: true, ..Wants::default() },
        }
    }

    fn on_sent(&mut self, id: ConnectionId, now: Millis) {
        self.output_sent(id, now);
    }

    fn on_end_of_input(&mut self, id: ConnectionId, _now: Millis) -> bool {
        // `echo ruok | nc` closes its side before the answer is there.
        self.connections.get(&id).is_some_and(|connection| matches!(connection.phase, Phase::Word))
    }

    fn on_stopping(&mut self, _now: Millis) -> bool {
        self.stopping = true;
        self.is_idle()
    }
}

impl Shard {
    /// Sessions whose client was silent for their whole timeout. A first finding only raises suspicion: the socket is
    /// read once more, by the next tick of the driver, before the session is given up (DESIGN §2 rule 8). A learner
    /// gives up the connection only: the session may have moved, and whether it is over is the leader's to say.
    fn expire(&mut self, now: Millis) {
        for (id, heard) in std::mem::take(&mut self.suspects) {
            let Some(connection) = self.connections.get(&id) else { continue };
            let Some(attachment) = connection.attachment().filter(|_| connection.last_heard == heard) else {
                continue;
            };
            if self.serving.learns() {
                tracing::debug!(
                    session = %attachment.session,
                    peer = %connection.peer,
                    "closing a connection whose client was silent for the session's whole timeout"
                );
                self.abort(id);
                continue;
            }
            tracing::info!(
                session = %attachment.session,
                timeout_ms = attachment.timeout_ms,
                "session expired: its client was silent"
            );
            let Attachment { session, generation, timeout_ms } = attachment;
            self.submit(Submission::Expire { session, generation });
            // Asked again should the session still be here by then.
            self.expiry.touch(id, now, u64::from(timeout_ms));
        }
        for id in self.expiry.poll(now) {
            if let Some(connection) = self.connections.get(&id) {
                self.suspects.push((id, connection.last_heard));
            }
        }
    }

    /// Output went out: there may be room for requests, and for the rest of a long answer.
    fn output_sent(&mut self, id: ConnectionId, now: Millis) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.output.unsent().is_empty() {
            connection.event_bytes = 0;
            if let Some(answer) = &mut connection.answer
                && !answer.next_slice(connection.output.buffer())
            {
                connection.answer = None;
            }
            if !connection.output.unsent().is_empty() {
                Self::touch_output(&mut self.dirty, connection);
            }
        }
        if connection.can_move() {
            self.may_move(id);
        }
        self.output_left(id, now);
    }

    /// Who is attached where, for a handshake that succeeded after its connection died.
    pub(super) fn give_back(
        &mut self,
        session: SessionId,
        generation: crate::base::Generation,
        timeout_ms: u32,
        now: Millis,
    ) {
        self.submit(Submission::Detach { session, generation, last_heard: now, timeout_ms });
    }
}
