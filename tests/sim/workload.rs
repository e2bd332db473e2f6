//! Clients: each has a session that it takes from server to server, and one request under way. An answer that does not
//! come leaves it open whether the request was done.

use ringkeeper::base::{ConnectionId, Generation, Millis, SessionId, Xid, Zxid};
use ringkeeper::pipeline::acl::Identities;
use ringkeeper::runtime::messages::{AttachRequest, Outcome, Submission, Ticket, WriteRequest};
use ringkeeper::sessions::password::password_of;
use ringkeeper::wire::jute::Writer;
use ringkeeper::wire::{Acl, OpCode, encode_acls};

use crate::disk::Rng;
use crate::oracle::{Done, Oracle};

/// Where a client is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    Nowhere,
    Asking { server: usize, connection: ConnectionId },
    At { server: usize, connection: ConnectionId, generation: Generation },
}

/// A client.
pub(crate) struct Client {
    name: usize,
    pub(crate) place: Place,
    session: SessionId,
    /// The newest zxid that it was answered with.
    seen: Zxid,
    under_way: Option<Done>,
    sequence: u64,
    /// What its register was last set to, or may have been.
    register: u64,
    has_register: bool,
    pub(crate) next_at: u64,
}

/// Session timeout, ms: longer than any of the faults.
const TIMEOUT_MS: u32 = 120_000;

impl Client {
    pub(crate) fn new(name: usize) -> Client {
        Client {
            name,
            place: Place::Nowhere,
            session: SessionId::NONE,
            seen: Zxid::ZERO,
            under_way: None,
            sequence: 0,
            register: 0,
            has_register: false,
            next_at: 0,
        }
    }

    pub(crate) fn server(&self) -> Option<usize> {
        match self.place {
            Place::Nowhere => None,
            Place::Asking { server, .. } | Place::At { server, .. } => Some(server),
        }
    }

    /// Whether it was not answered yet.
    pub(crate) fn waits(&self) -> bool {
        self.under_way.is_some()
    }

    /// Its connection is gone.
    pub(crate) fn lost(&mut self, now: u64) {
        self.place = Place::Nowhere;
        self.under_way = None;
        self.next_at = now + 10;
    }

    /// Connects to a server whose state is not older than what it has seen, as every client does.
    pub(crate) fn connect(
        &mut self,
        server: usize,
        connection: ConnectionId,
        applied: Zxid,
    ) -> Option<Submission> {
        if applied < self.seen {
            return None;
        }
        self.place = Place::Asking { server, connection };
        let password = match self.session {
            SessionId::NONE => Box::from([0; 16]),
            session => Box::from(password_of(session)),
        };
        Some(Submission::Attach(AttachRequest {
            connection,
            session: self.session,
            password,
            timeout_ms: TIMEOUT_MS,
        }))
    }

    /// Its next request, if it may have one.
    pub(crate) fn ask(&mut self, now: u64, rng: &mut Rng, oracle: &mut Oracle) -> Option<Submission> {
        let Place::At { connection, generation, .. } = self.place else { return None };
        if self.under_way.is_some() {
            return None;
        }
        self.sequence += 1;
        let (name, number) = (self.name, self.sequence);
        let register = format!("/register-{name}");
        let mut body = Vec::new();
        let (op, done) = if !self.has_register {
            self.register += 1;
            create(&register, self.register.to_string().as_bytes(), &mut body);
            (OpCode::Create, Done::Set(register, self.register))
        } else {
            match rng.below(20) {
                0 => {
                    oracle.closing(self.session);
                    (OpCode::CloseSession, Done::Closed)
                }
                1..=4 => {
                    let path = format!("/e{name}-{number}");
                    create_as(&path, b"z", 1, &mut body);
                    (OpCode::Create, Done::Ephemeral(path))
                }
                5..=9 => {
                    let path = format!("/c{name}-{number}");
                    create(&path, b"x", &mut body);
                    (OpCode::Create, Done::Created(vec![path]))
                }
                10..=13 => {
                    let pair = [format!("/m{name}-{number}-a"), format!("/m{name}-{number}-b")];
                    for path in &pair {
                        multi_header(OpCode::Create as i32, false, &mut body);
                        create(path, b"y", &mut body);
                    }
                    multi_header(-1, true, &mut body);
                    oracle.pair(pair.clone());
                    (OpCode::Multi, Done::Created(pair.into()))
                }
                _ => {
                    self.register += 1;
                    body.string(register.as_bytes());
                    body.buffer(Some(self.register.to_string().as_bytes()));
                    body.int(-1);
                    (OpCode::SetData, Done::Set(register, self.register))
                }
            }
        };
        self.under_way = Some(done);
        Some(Submission::Write(WriteRequest {
            ticket: Ticket { connection, sequence: self.sequence, bytes: body.len() as u32 },
            session: self.session,
            generation,
            cxid: Xid(self.sequence as i32),
            op,
            body: body.into(),
            identities: Identities::none(),
            received: Millis(now),
        }))
    }

    /// What its server says to it. Only of its current connection.
    pub(crate) fn hears(&mut self, outcome: &Outcome, now: u64, oracle: &mut Oracle) {
        match outcome {
            Outcome::Attached { zxid, connection, session, generation, .. } => {
                let Place::Asking { server, .. } = self.place else { panic!("attached twice") };
                assert!(self.session == SessionId::NONE || self.session == *session, "another session");
                self.session = *session;
                self.saw(*zxid);
                self.place = Place::At { server, connection: *connection, generation: *generation };
            }
            Outcome::Reply { zxid, ticket, err, .. } => {
                assert!(ticket.sequence == self.sequence, "an answer to a request that was answered");
                let done = self.under_way.take().expect("an answer to what was asked");
                self.saw(*zxid);
                match (&done, err) {
                    (Done::Set(..), 0) => self.has_register = true,
                    // An earlier attempt, which nobody answered, was done.
                    (Done::Set(..), -110) if !self.has_register => {
                        self.has_register = true;
                        return;
                    }
                    (_, 0) => {}
                    (done, err) => panic!("client {}: {done:?} is refused with {err}", self.name),
                }
                let session = self.session;
                if done == Done::Closed {
                    // Its next connection is the first of another session.
                    self.session = SessionId::NONE;
                    self.lost(now);
                }
                oracle.acknowledged(*zxid, session, done);
            }
            Outcome::Refused { .. } if oracle.may_be_over(self.session) => {
                self.session = SessionId::NONE;
                self.lost(now);
            }
            Outcome::Refused { .. } => {
                panic!("session {:?} is refused, and its time is not over", self.session)
            }
            Outcome::Moved { .. } | Outcome::Close { .. } => self.lost(now),
            Outcome::Event(_)
            | Outcome::Serving { .. }
            | Outcome::Gather { .. }
            | Outcome::Gathered { .. } => {}
        }
    }

    /// A session never sees an older zxid, wherever it goes.
    fn saw(&mut self, zxid: Zxid) {
        assert!(zxid >= self.seen, "client {} sees {zxid} after {}", self.name, self.seen);
        self.seen = zxid;
    }
}

pub(crate) fn create(path: &str, data: &[u8], body: &mut Vec<u8>) {
    create_as(path, data, 0, body);
}

pub(crate) fn create_as(path: &str, data: &[u8], flags: i32, body: &mut Vec<u8>) {
    body.string(path.as_bytes());
    body.buffer(Some(data));
    encode_acls(&[Acl::open()], body);
    body.int(flags);
}

/// What stands before each part of a multi, and at its end.
pub(crate) fn multi_header(op: i32, done: bool, body: &mut Vec<u8>) {
    body.int(op);
    body.boolean(done);
    body.int(-1);
}
