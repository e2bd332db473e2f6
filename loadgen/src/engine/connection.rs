#![forbid(unsafe_code)]
//! One connection and the session on it: what is in flight, what waits to be written, what was read of a frame so far.
//! No system call here; the worker moves the bytes.

use std::collections::VecDeque;
use std::net::SocketAddr;

use ringkeeper::wire::connect::{ConnectRequest, PASSWORD_BYTES};
use ringkeeper::wire::jute::{Reader, Writer};
use ringkeeper::wire::{DecodeError, OpCode};

use crate::codec::{self, Reply};
use crate::schedule::Nanos;

/// What no server that keeps the protocol does.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Violation {
    /// A frame no one may send.
    #[error("a frame of {0} bytes")]
    FrameLength(i32),
    /// A record that ends early or holds what it must not.
    #[error("an answer to {what} that cannot be read: {error}")]
    Undecodable {
        /// The request, or what else it answers.
        what: &'static str,
        /// What is wrong with it.
        error: DecodeError,
    },
    /// Replies must leave in the order of the requests.
    #[error("a reply to request {got} where {expected} was due")]
    WrongXid {
        /// The oldest request in flight.
        expected: i32,
        /// What came.
        got: i32,
    },
    /// Nothing was in flight.
    #[error("a reply to request {0}, which nobody sent")]
    Unasked(i32),
    /// A session must never see an older state than it has seen.
    #[error("zxid 0x{after:x} after 0x{before:x} in one session")]
    ZxidBackwards {
        /// The highest zxid this session saw.
        before: i64,
        /// The lower one that followed.
        after: i64,
    },
    /// Found by `--verify`: an answer contradicts what this session was told before.
    #[error("{0}")]
    Stale(String),
}

/// Why a connection is no more.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Lost {
    /// It could not be made.
    #[error("cannot connect to {0}: {1}")]
    Refused(SocketAddr, String),
    /// The server closed it.
    #[error("the server closed the connection")]
    Closed,
    /// It broke.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// Requests were in flight and nothing came for too long.
    #[error("no answer for {0} ms")]
    Stalled(u64),
    /// The server would not renew the session.
    #[error("the session expired")]
    Expired,
    /// The server does not keep the protocol.
    #[error("protocol violation: {0}")]
    Lied(Violation),
}

impl Lost {
    /// A word to count it under.
    pub fn word(&self) -> &'static str {
        match self {
            Lost::Refused(..) => "refused",
            Lost::Closed => "closed",
            Lost::Broken(_) => "broken",
            Lost::Stalled(_) => "stalled",
            Lost::Expired => "expired",
            Lost::Lied(_) => "violation",
        }
    }
}

/// ```text
/// Down ──connect──► Connecting ──► Greeting ──ConnectResponse──► Up
///   ▲                   │             │                          │
///   └───────────────────┴─────────────┴──────── lost ────────────┘
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// No socket.
    Down,
    /// A socket, not yet connected.
    Connecting,
    /// Connected, no session yet.
    Greeting,
    /// A session.
    Up,
}

/// A connection's state beside its socket. `P` is what the behaviour remembers of a request.
#[derive(Debug)]
pub(super) struct Connection<P> {
    pub(super) phase: Phase,
    /// Which of the target's addresses it uses; moves on after a failure.
    pub(super) address: usize,
    pub(super) session_id: i64,
    password: [u8; PASSWORD_BYTES],
    /// Negotiated, ms.
    pub(super) timeout_ms: u64,
    pub(super) zxid_seen: i64,
    next_xid: i32,
    in_flight: VecDeque<(i32, P)>,
    /// Pings in flight: their replies carry no number of their own.
    pings: u32,
    /// closeSession is in flight.
    pub(super) closing: Option<i32>,
    pub(super) output: Vec<u8>,
    pub(super) input: Vec<u8>,
    /// Last time something was sent, or read; the state began.
    pub(super) sent_at: Nanos,
    pub(super) heard_at: Nanos,
    pub(super) failures: u32,
    pub(super) wants_write: bool,
}

/// What a frame turned out to be.
pub(super) enum Received<'a, P> {
    /// The session is there.
    Greeted,
    /// The oldest request in flight is answered.
    Answered(P, Reply<'a>),
    /// A watch fired: type and path.
    Notified(i32, &'a [u8]),
    /// A ping came back.
    Pong,
    /// closeSession is answered.
    Goodbye,
}

impl<P> Connection<P> {
    pub(super) fn new(address: usize) -> Self {
        Connection {
            phase: Phase::Down,
            address,
            session_id: 0,
            password: [0; PASSWORD_BYTES],
            timeout_ms: 0,
            zxid_seen: 0,
            next_xid: 1,
            in_flight: VecDeque::new(),
            pings: 0,
            closing: None,
            output: Vec::new(),
            input: Vec::new(),
            sent_at: 0,
            heard_at: 0,
            failures: 0,
            wants_write: false,
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether the server owes an answer of any kind.
    pub(super) fn is_owed(&self) -> bool {
        !self.in_flight.is_empty() || self.pings > 0 || self.closing.is_some() || self.phase != Phase::Up
    }

    /// Writes the first frame: a renewal if there is a session.
    pub(super) fn greet(&mut self, timeout_ms: i32) {
        let at = self.output.len();
        self.output.int(0);
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: self.zxid_seen,
            timeout: timeout_ms,
            session_id: self.session_id,
            password: Some(&self.password),
            read_only: Some(false),
        };
        request.encode(&mut self.output);
        let length = i32::try_from(self.output.len() - at - 4).expect("45 bytes");
        self.output[at..at + 4].copy_from_slice(&length.to_be_bytes());
    }

    /// Writes a request and remembers it.
    pub(super) fn request(&mut self, op: OpCode, pending: P, body: impl FnOnce(&mut Vec<u8>)) {
        assert!(self.phase == Phase::Up, "a request on a connection without a session");
        let xid = self.take_xid();
        codec::request(&mut self.output, xid, op, body);
        self.in_flight.push_back((xid, pending));
    }

    pub(super) fn ping(&mut self) {
        codec::request(&mut self.output, codec::XID_PING, OpCode::Ping, |_| {});
        self.pings += 1;
    }

    pub(super) fn close_session(&mut self) {
        let xid = self.take_xid();
        codec::request(&mut self.output, xid, OpCode::CloseSession, |_| {});
        self.closing = Some(xid);
    }

    fn take_xid(&mut self) -> i32 {
        let xid = self.next_xid;
        // Negative numbers are the protocol's own.
        self.next_xid = if xid == i32::MAX { 1 } else { xid + 1 };
        xid
    }

    /// Takes in one frame.
    pub(super) fn receive<'a>(&mut self, frame: &'a [u8]) -> Result<Received<'a, P>, Lost> {
        if self.phase == Phase::Greeting {
            return self.greeted(frame);
        }
        let undecodable = |what| move |error| Lost::Lied(Violation::Undecodable { what, error });
        let reply = Reply::decode(frame).map_err(undecodable("a request"))?;
        match reply.xid {
            codec::XID_NOTIFICATION => {
                let (kind, path) = codec::event(reply.body).map_err(undecodable("a watch"))?;
                return Ok(Received::Notified(kind, path));
            }
            codec::XID_PING if self.pings > 0 => {
                self.pings -= 1;
                return Ok(Received::Pong);
            }
            _ => {}
        }
        if reply.zxid < self.zxid_seen && reply.zxid > 0 {
            let (before, after) = (self.zxid_seen, reply.zxid);
            return Err(Lost::Lied(Violation::ZxidBackwards { before, after }));
        }
        self.zxid_seen = self.zxid_seen.max(reply.zxid);
        match self.in_flight.pop_front() {
            Some((xid, pending)) if xid == reply.xid => Ok(Received::Answered(pending, reply)),
            Some((expected, pending)) => {
                // It stays unanswered.
                self.in_flight.push_front((expected, pending));
                Err(Lost::Lied(Violation::WrongXid { expected, got: reply.xid }))
            }
            None if self.closing == Some(reply.xid) => Ok(Received::Goodbye),
            None => Err(Lost::Lied(Violation::Unasked(reply.xid))),
        }
    }

    fn greeted<'a>(&mut self, frame: &'a [u8]) -> Result<Received<'a, P>, Lost> {
        let read = || -> Result<(i32, i64, [u8; PASSWORD_BYTES]), DecodeError> {
            let mut r = Reader::new(frame);
            let (_version, timeout, id) = (r.int()?, r.int()?, r.long()?);
            let password = r.buffer()?.unwrap_or_default();
            Ok((timeout, id, password.try_into().map_err(|_| DecodeError::Malformed("password"))?))
        };
        let (timeout, id, password) =
            read().map_err(|error| Lost::Lied(Violation::Undecodable { what: "the handshake", error }))?;
        if timeout <= 0 || id == 0 {
            return Err(Lost::Expired);
        }
        (self.session_id, self.password) = (id, password);
        self.timeout_ms = u64::from(timeout.unsigned_abs());
        self.phase = Phase::Up;
        self.failures = 0;
        Ok(Received::Greeted)
    }

    /// Nobody waits for these any more.
    pub(super) fn abandon(&mut self) -> impl Iterator<Item = P> {
        self.in_flight.drain(..).map(|(_, pending)| pending)
    }

    /// The socket is gone. What was in flight stays unanswered for ever; the session may be renewed, unless it expired.
    pub(super) fn drop_down(&mut self, why: &Lost) -> Vec<P> {
        self.phase = Phase::Down;
        self.output.clear();
        self.input.clear();
        self.pings = 0;
        self.closing = None;
        self.wants_write = false;
        self.failures = self.failures.saturating_add(1);
        if *why == Lost::Expired {
            self.forget_session();
        }
        self.in_flight.drain(..).map(|(_, pending)| pending).collect()
    }

    /// The next connection asks for a new session.
    pub(super) fn forget_session(&mut self) {
        self.session_id = 0;
        self.password = [0; PASSWORD_BYTES];
        self.zxid_seen = 0;
    }
}
