#![forbid(unsafe_code)]
//! A client that a scenario speaks for: it asks what it is told to, many things at once if need be, and keeps what it
//! hears. Its shard is the scenario too: who was heard of, and who left, is said by name.
//!
//! Judged whatever the scenario is about: a request is answered once at most, and writes are answered in the order in which
//! they were asked (reliability L10). A sync may be known before or after its neighbours; the shard puts it in its place.

use std::collections::BTreeSet;

use ringkeeper::base::{ConnectionId, Generation, Millis, SessionId, Xid, Zxid};
use ringkeeper::pipeline::acl::Identities;
use ringkeeper::runtime::messages::{AttachRequest, Outcome, Submission, Ticket, Touched, WriteRequest};
use ringkeeper::sessions::password::password_of;
use ringkeeper::wire::OpCode;

use crate::cluster::Cluster;

/// What a guest was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Heard {
    /// It has its session.
    Attached,
    /// Its session is over.
    Refused,
    /// Its connection is closed, or its server is gone.
    Closed,
    /// The request of this number was done, or failed with this.
    Reply { number: u64, err: i32, zxid: Zxid },
    /// The request of this number came to nothing here.
    Moved { number: u64 },
}

/// A client, one connection long.
pub(crate) struct Guest {
    pub(crate) at: usize,
    connection: ConnectionId,
    pub(crate) session: SessionId,
    generation: Option<Generation>,
    timeout_ms: u32,
    asked: u64,
    /// Requests that were not answered, and those of them that are writes.
    open: BTreeSet<u64>,
    writes: BTreeSet<u64>,
    pub(crate) heard: Vec<Heard>,
}

impl Guest {
    /// Whether it has its session on an open connection.
    pub(crate) fn is_attached(&self) -> bool {
        self.generation.is_some() && !self.is_closed()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.heard.iter().any(|heard| matches!(heard, Heard::Closed | Heard::Refused))
    }

    /// Whether everything that it asked was answered.
    pub(crate) fn is_answered(&self) -> bool {
        self.open.is_empty()
    }

    /// The error with which a request was answered.
    pub(crate) fn err(&self, asked: u64) -> Option<i32> {
        self.heard.iter().find_map(|heard| match heard {
            Heard::Reply { number, err, .. } if *number == asked => Some(*err),
            _ => None,
        })
    }

    /// Its server is gone, or serves nobody any more.
    pub(crate) fn lost(&mut self) {
        if !self.is_closed() {
            self.heard.push(Heard::Closed);
        }
    }

    /// What its server says to it.
    fn hears(&mut self, outcome: &Outcome) {
        let heard = match outcome {
            Outcome::Attached { session, generation, .. } => {
                assert!(self.generation.replace(*generation).is_none(), "attached twice");
                self.session = *session;
                Heard::Attached
            }
            Outcome::Refused { .. } => Heard::Refused,
            Outcome::Close { .. } => Heard::Closed,
            Outcome::Reply { ticket, err, zxid, .. } => {
                assert!(self.open.remove(&ticket.sequence), "{} is answered twice", ticket.sequence);
                if self.writes.contains(&ticket.sequence) {
                    assert_eq!(self.writes.pop_first(), Some(ticket.sequence), "out of the order of writes");
                }
                Heard::Reply { number: ticket.sequence, err: *err, zxid: *zxid }
            }
            Outcome::Moved { ticket, .. } => {
                assert!(self.open.remove(&ticket.sequence), "{} is answered twice", ticket.sequence);
                self.writes.remove(&ticket.sequence);
                Heard::Moved { number: ticket.sequence }
            }
            Outcome::Event(_)
            | Outcome::Serving { .. }
            | Outcome::Gather { .. }
            | Outcome::Gathered { .. } => return,
        };
        self.heard.push(heard);
    }
}

impl Cluster {
    /// A client comes to a server, with a session or for a new one. Gives its number.
    pub(crate) fn greet(&mut self, at: usize, session: SessionId, timeout_ms: u32) -> usize {
        self.connections += 1;
        let connection = ConnectionId(self.connections);
        let password = match session {
            SessionId::NONE => Box::from([0; 16]),
            session => Box::from(password_of(session)),
        };
        self.submit(at, Submission::Attach(AttachRequest { connection, session, password, timeout_ms }));
        self.guests.push(Guest {
            at,
            connection,
            session,
            generation: None,
            timeout_ms,
            asked: 0,
            open: BTreeSet::new(),
            writes: BTreeSet::new(),
            heard: Vec::new(),
        });
        if self.nodes[at].server.is_none() {
            self.guests.last_mut().expect("it came just now").lost();
        }
        self.guests.len() - 1
    }

    /// A client with a session of its own on a server that serves.
    pub(crate) fn guest(&mut self, at: usize, timeout_ms: u32) -> usize {
        let guest = self.greet(at, SessionId::NONE, timeout_ms);
        self.until("a session", |cluster| cluster.guests[guest].is_attached());
        guest
    }

    /// It asks for a change. Gives the number of the request.
    pub(crate) fn ask(&mut self, guest: usize, op: OpCode, body: Vec<u8>) -> u64 {
        self.ask_as(guest, op, body, Identities::none())
    }

    /// The same, as somebody.
    pub(crate) fn ask_as(&mut self, guest: usize, op: OpCode, body: Vec<u8>, identities: Identities) -> u64 {
        let received = Millis(self.time.ms());
        let guest = &mut self.guests[guest];
        let generation = guest.generation.expect("it has its session");
        let ticket = guest.ticket(body.len());
        guest.writes.insert(ticket.sequence);
        let (at, session, cxid) = (guest.at, guest.session, Xid(ticket.sequence as i32));
        let body = body.into();
        let write = WriteRequest { ticket, session, generation, cxid, op, body, identities, received };
        self.submit(at, Submission::Write(write));
        ticket.sequence
    }

    /// It asks for a sync.
    pub(crate) fn ask_sync(&mut self, guest: usize) -> u64 {
        let guest = &mut self.guests[guest];
        let ticket = guest.ticket(0);
        let (at, session, cxid) = (guest.at, guest.session, Xid(ticket.sequence as i32));
        self.submit(at, Submission::Sync { ticket, session, cxid, path: Box::from(&b"/"[..]) });
        ticket.sequence
    }

    /// Its shard has heard of it: a read, or a ping.
    pub(crate) fn touch(&mut self, guest: usize) {
        let Guest { at, session, timeout_ms, .. } = self.guests[guest];
        self.submit(at, Submission::Touched(vec![Touched { session, timeout_ms }]));
    }

    /// Its shard finds that it was silent for its whole timeout.
    pub(crate) fn expire(&mut self, guest: usize) {
        let Guest { at, session, generation, .. } = self.guests[guest];
        let generation = generation.expect("it had its session");
        self.submit(at, Submission::Expire { session, generation });
    }

    pub(crate) fn tell_guest(&mut self, to: ConnectionId, outcome: &Outcome) {
        if let Some(guest) = self.guests.iter_mut().find(|guest| guest.connection == to) {
            guest.hears(outcome);
        }
    }
}

impl Guest {
    fn ticket(&mut self, bytes: usize) -> Ticket {
        self.asked += 1;
        self.open.insert(self.asked);
        Ticket { connection: self.connection, sequence: self.asked, bytes: bytes as u32 }
    }
}
