#![forbid(unsafe_code)]
//! One client's connection: bytes in, frames, the queue of requests that are not answered yet, bytes out.
//!
//! Lives on: its shard, and is a view of this core only. Invariants: replies leave in the order of the requests
//! (auth and sasl excepted, client-protocol §3.6); a read sees every earlier write of the same connection and no later
//! one: `pending` is `awaiting` requests that go by the sequencer (with reads between them that can be answered from the
//! state at which they stand, `passing.rs`), then those that wait here.

use std::net::SocketAddr;

use crate::base::{ConnectionId, Generation, Millis, SessionId, WallMillis, Zxid, limits};
use crate::pipeline::ReplyBody;
use crate::pipeline::acl::Identities;
use crate::runtime::metrics::ConnectionStats;
use crate::runtime::shard::Output;
use crate::server::admission::{Pass, Queue};
use crate::server::jobs::Job;
use crate::server::passing::Passing;
use crate::server::words::Answer;
use crate::wire::OpCode;

/// Where a connection is in its life.
///
/// ```text
/// Fresh ─ connect request ─► Attaching ─ attached ─► Open ─ close, expiry, loss ─► Closing
///   │                            └── refused ──────────────────────────────────────►
///   └─ four-letter word ─► Word ───────────────────────────────────────────────────►
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// Nothing but the socket.
    Fresh,
    /// The sequencer has the handshake; nothing more is read.
    Attaching {
        /// Whether the response carries the readOnly byte.
        read_only_byte: bool,
    },
    /// Serving a session.
    Open(Attachment),
    /// A word is being answered.
    Word,
    /// Nothing more is taken from the client.
    Closing,
}

/// The session a connection serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Attachment {
    pub session: SessionId,
    pub generation: Generation,
    pub timeout_ms: u32,
}

/// A request that is not answered yet.
#[derive(Debug)]
pub(super) enum Pending {
    /// At the sequencer; `done` once its outcome came.
    Submitted(Submitted),
    /// To be answered here, once everything before it is.
    Held(Held),
}

/// A write or a sync at the sequencer.
#[derive(Debug)]
pub(super) struct Submitted {
    pub sequence: u64,
    pub xid: i32,
    pub op: OpCode,
    pub received: Millis,
    /// Bytes of its body.
    pub bytes: usize,
    /// A sync answers with its own path.
    pub echo: Option<Box<[u8]>>,
    /// Kept for its drop.
    pub _pass: Pass,
    pub done: Option<Done>,
}

/// How a write ended.
#[derive(Debug)]
pub(super) struct Done {
    pub zxid: Zxid,
    pub err: i32,
    pub body: ReplyBody,
}

/// A request that waits for its turn: its header and body as they came.
#[derive(Debug)]
pub(super) struct Held {
    pub xid: i32,
    pub op: i32,
    pub body: Box<[u8]>,
    pub received: Millis,
    pub pass: Pass,
    pub passing: Passing,
    /// Who the client was when the request came, if it proved to be somebody else since (stock `Request.authInfo`).
    pub identities: Option<Identities>,
}

/// One connection.
pub(super) struct Connection {
    pub id: ConnectionId,
    pub peer: SocketAddr,
    /// Counted among those of its address that have had no session.
    pub is_sessionless: bool,
    pub phase: Phase,
    /// The attachment that must be given back when the connection is gone, whatever became of its phase.
    pub attached: Option<Attachment>,
    /// The report of [`super::serving::Touches`] that it is in.
    pub touched_in: u64,
    pub accepted: Millis,
    pub established: WallMillis,
    pub last_heard: Millis,
    /// Bytes that came and were not taken yet: the start of a frame, or frames behind a full queue.
    pub input: Vec<u8>,
    /// What `input` was last found to occupy, bytes.
    pub input_counted: usize,
    pub output: Output,
    /// Bytes of events in `output` since it was last empty.
    pub event_bytes: usize,
    pub pending: Queue,
    /// How many at the front of `pending` go by the sequencer: they were submitted, or passed by one that was.
    pub awaiting: usize,
    /// Bytes of the bodies at the sequencer, and how many of them are not small.
    pub own_bytes: usize,
    pub own_large: usize,
    /// Syncs at the sequencer that are not replied to.
    pub own_syncs: usize,
    /// Bytes that the answers of passed reads will take.
    pub passed_bytes: usize,
    /// Bytes of those that are answered here.
    pub held_bytes: usize,
    pub next_sequence: u64,
    pub identities: Identities,
    /// Whom the request that is being answered came from, where that is not `identities`.
    pub asked_as: Option<Identities>,
    pub stats: ConnectionStats,
    /// Steps of a SASL exchange that the client began; nobody here finishes one.
    pub sasl_tokens: u32,
    /// The rest of a long answer to a word.
    pub answer: Option<Answer>,
    /// Close once all output is sent.
    pub close: bool,
    /// Close at once.
    pub abort: bool,
    /// Stands in the shard's list of those with something to send.
    pub dirty: bool,
    /// Stands in the shard's list of those that wait for a credit, of those that may go on.
    pub is_starved: bool,
    pub is_movable: bool,
    /// Parsing stopped before the end of `input`, for want of room or credit.
    pub choked: bool,
    /// What admission said of the frame that is being taken.
    pub pass: Pass,
    /// Since when whole frames of `input` have waited for admission.
    pub waits_since: Option<Millis>,
    /// Stands in the shard's list of those whose intake stalls.
    pub stalls: bool,
    /// The length of the frame at the front of `input` was admitted as that of a large request.
    pub announced: bool,
    /// What makes the answer of the head of `pending`, slice by slice.
    pub job: Option<Box<Job>>,
    /// The head of `pending` waits until `applied` has reached this.
    pub waits_for: Option<Zxid>,
    /// Since when the frame at the front of `input` has been incomplete.
    pub partial_since: Option<Millis>,
    /// Since when the socket has taken no more, and how much it had taken in all by then.
    pub stalled: Option<(Millis, u64)>,
}

impl Connection {
    /// Who asks for what is being answered.
    pub(super) fn asker(&self) -> &Identities {
        self.asked_as.as_ref().unwrap_or(&self.identities)
    }

    /// The client proved who it is: requests that came before are still those of whom it was.
    pub(super) fn identify(&mut self, identities: Identities) {
        let before = std::mem::replace(&mut self.identities, identities);
        for pending in self.pending.iter_mut() {
            if let Pending::Held(held) = pending {
                held.identities.get_or_insert_with(|| before.clone());
            }
        }
    }

    pub(super) fn new(
        id: ConnectionId,
        peer: SocketAddr,
        identities: Identities,
        now: Millis,
        wall: WallMillis,
    ) -> Self {
        Connection {
            id,
            peer,
            is_sessionless: true,
            phase: Phase::Fresh,
            attached: None,
            touched_in: 0,
            accepted: now,
            established: wall,
            last_heard: now,
            input: Vec::new(),
            input_counted: 0,
            output: Output::default(),
            event_bytes: 0,
            pending: Queue::default(),
            awaiting: 0,
            own_bytes: 0,
            own_large: 0,
            own_syncs: 0,
            passed_bytes: 0,
            held_bytes: 0,
            next_sequence: 0,
            identities,
            asked_as: None,
            stats: ConnectionStats::default(),
            sasl_tokens: 0,
            answer: None,
            close: false,
            abort: false,
            dirty: false,
            is_starved: false,
            is_movable: false,
            choked: false,
            pass: Pass::default(),
            waits_since: None,
            stalls: false,
            announced: false,
            job: None,
            waits_for: None,
            partial_since: None,
            stalled: None,
        }
    }

    /// The session, while it is served.
    pub(super) fn attachment(&self) -> Option<Attachment> {
        match self.phase {
            Phase::Open(attachment) => Some(attachment),
            _ => None,
        }
    }

    /// Whether another request may be taken: replies are few enough and small enough (reliability M34).
    pub(super) fn has_room(&self) -> bool {
        self.pending.len() < limits::CONNECTION_REQUESTS_MAX
            && self.held_bytes < limits::CONNECTION_HELD_BYTES_MAX
            && self.may_answer()
    }

    /// Whether another reply may be made: a pipeline of large reads is answered as fast as it is read.
    pub(super) fn may_answer(&self) -> bool {
        self.output.unsent().len() < limits::OUTPUT_SOFT_BYTES
    }

    /// Whether room in the output is all that the connection waits for.
    pub(super) fn can_move(&self) -> bool {
        let head_waits = matches!(self.pending.front(), Some(Pending::Held(_)));
        (self.choked && self.has_room()) || (head_waits && self.may_answer())
    }

    /// A request waits here, at the end of the queue.
    pub(super) fn hold(&mut self, held: Held) {
        self.held_bytes += held.body.len();
        self.pending.push_back(Pending::Held(held));
    }

    /// Whether the socket should be read.
    pub(super) fn wants_input(&self) -> bool {
        let talking = matches!(self.phase, Phase::Fresh | Phase::Open(_));
        talking && !self.choked && !self.close && self.has_room()
    }

    /// Requests received and not answered.
    pub(super) fn queued(&self) -> usize {
        self.pending.len()
    }

    /// Nothing more is taken; the connection closes once its output is sent.
    pub(super) fn finish(&mut self) {
        self.phase = Phase::Closing;
        self.close = true;
        self.input = Vec::new();
        self.partial_since = None;
        self.pending.clear();
        self.awaiting = 0;
        self.passed_bytes = 0;
        (self.own_bytes, self.own_large, self.own_syncs) = (0, 0, 0);
        self.held_bytes = 0;
        self.pass = Pass::default();
    }
}

/// A frame at the front of `bytes`, or how it fails to be one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Framed<'a> {
    /// A whole frame, and how many bytes it took with its length.
    Frame(&'a [u8], usize),
    /// More bytes are needed.
    Partial,
    /// The length is negative or beyond the limit: the connection is closed without a byte.
    Oversize,
}

/// Looks for a frame (client-protocol §1.1, §1.3).
pub(super) fn frame(bytes: &[u8], frame_bytes_max: usize) -> Framed<'_> {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return Framed::Partial };
    let length = match usize::try_from(i32::from_be_bytes(*length)) {
        Ok(length) if length <= frame_bytes_max => length,
        _ => return Framed::Oversize,
    };
    match rest.get(..length) {
        Some(frame) => Framed::Frame(frame, 4 + length),
        None => Framed::Partial,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_judged_before_its_bytes_are_there() {
        let check = |bytes: &[u8], expected| assert_eq!(frame(bytes, 1_048_575), expected, "{bytes:?}");
        check(&[], Framed::Partial);
        check(&[0, 0, 0], Framed::Partial);
        check(&[0, 0, 0, 0, 9], Framed::Frame(&[], 4));
        check(&[0, 0, 0, 2, 7, 8, 9], Framed::Frame(&[7, 8], 6));
        check(&[0, 0, 0, 2, 7], Framed::Partial);
        check(&[0, 0x0f, 0xff, 0xff], Framed::Partial);
        check(&[0, 0x10, 0, 0], Framed::Oversize);
        check(&[0xff, 0xff, 0xff, 0xff], Framed::Oversize);
    }
}
