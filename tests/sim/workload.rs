//! Clients: each has a session that it takes from server to server, and one request under way. An answer that does not
//! come leaves it open whether the request was done.

use ringkeeper::base::{ConnectionId, Generation, Millis, ServerId, SessionId, Xid, Zxid};
use ringkeeper::pipeline::acl::Identities;
use ringkeeper::runtime::messages::{AttachRequest, Outcome, Submission, Ticket, WriteRequest};
use ringkeeper::sessions::password::password_of;
use ringkeeper::tree::TreeReader;
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

/// Requests that came to the workload later, and their random numbers, so that what was there before is drawn as it was.
pub(crate) struct More {
    pub(crate) rng: Rng,
    pub(crate) deletes: bool,
    pub(crate) syncs: bool,
}

impl More {
    fn wants_sync(&mut self) -> bool {
        self.syncs && self.rng.below(6) == 0
    }

    fn wants_delete(&mut self) -> bool {
        self.deletes && self.rng.below(4) == 0
    }
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
    /// What it has made and not deleted yet, one request's znodes together; and what ends with its session.
    made: Vec<Vec<String>>,
    ephemerals: Vec<Vec<String>>,
    pub(crate) next_at: u64,
}

/// `err` of replies.
const NO_NODE: i32 = -101;
const BAD_VERSION: i32 = -103;
const NODE_EXISTS: i32 = -110;
/// That of a part of a multi behind the one that failed.
const RUNTIME_INCONSISTENCY: i32 = -2;

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
            made: Vec::new(),
            ephemerals: Vec::new(),
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
    pub(crate) fn ask(
        &mut self,
        now: u64,
        rng: &mut Rng,
        more: &mut More,
        oracle: &mut Oracle,
    ) -> Option<Submission> {
        let Place::At { connection, generation, .. } = self.place else { return None };
        if self.under_way.is_some() {
            return None;
        }
        self.sequence += 1;
        let (session, cxid) = (self.session, Xid(self.sequence as i32));
        if self.has_register && more.wants_sync() {
            let ticket = Ticket { connection, sequence: self.sequence, bytes: 0 };
            self.under_way = Some(Done::Synced(oracle.now()));
            return Some(Submission::Sync { ticket, session, cxid, path: Box::from(&b"/"[..]) });
        }
        let mut body = Vec::new();
        let deletes = self.has_register && more.wants_delete();
        let delete = if deletes { self.delete(&mut more.rng, oracle, &mut body) } else { None };
        let (op, done) = match delete {
            Some(delete) => delete,
            None => self.change(rng, oracle, &mut body),
        };
        let ticket = Ticket { connection, sequence: self.sequence, bytes: body.len() as u32 };
        self.under_way = Some(done);
        Some(Submission::Write(WriteRequest {
            ticket,
            session,
            generation,
            cxid,
            op,
            body: body.into(),
            identities: Identities::none(),
            received: Millis(now),
        }))
    }

    /// Something new, or the end of the session.
    fn change(&mut self, rng: &mut Rng, oracle: &mut Oracle, body: &mut Vec<u8>) -> (OpCode, Done) {
        let (name, number) = (self.name, self.sequence);
        let register = format!("/register-{name}");
        if !self.has_register {
            self.register += 1;
            create(&register, self.register.to_string().as_bytes(), body);
            return (OpCode::Create, Done::Set(register, self.register));
        }
        match rng.below(20) {
            0 => {
                oracle.closing(self.session);
                (OpCode::CloseSession, Done::Closed)
            }
            1..=4 => {
                let path = format!("/e{name}-{number}");
                create_as(&path, b"z", 1, body);
                (OpCode::Create, Done::Ephemeral(path))
            }
            5..=9 => {
                let path = format!("/c{name}-{number}");
                create(&path, b"x", body);
                (OpCode::Create, Done::Created(vec![path]))
            }
            10..=13 => {
                let pair = [format!("/m{name}-{number}-a"), format!("/m{name}-{number}-b")];
                for path in &pair {
                    multi_header(OpCode::Create as i32, false, body);
                    create(path, b"y", body);
                }
                multi_header(-1, true, body);
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
    }

    /// The end of something that it has made: by its version, by any, or by one that it has not. What one request has made,
    /// one request ends.
    fn delete(&self, rng: &mut Rng, oracle: &mut Oracle, body: &mut Vec<u8>) -> Option<(OpCode, Done)> {
        let all = self.made.len() + self.ephemerals.len();
        let at = rng.below(all.max(1) as u64) as usize;
        let paths = self.made.iter().chain(&self.ephemerals).nth(at)?.clone();
        let version = [0, -1, 1][rng.below(3) as usize];
        let is_kept = version == 1;
        if !is_kept {
            oracle.deleting(&paths);
        }
        if let [path] = &paths[..] {
            delete(path, version, body);
            return Some((OpCode::Delete, if is_kept { Done::Kept(paths) } else { Done::Deleted(paths) }));
        }
        for (at, path) in paths.iter().enumerate() {
            multi_header(OpCode::Delete as i32, false, body);
            // The last part alone is wrong, and the first one must not happen either.
            delete(path, if at == 0 { -1 } else { version }, body);
        }
        multi_header(-1, true, body);
        Some((OpCode::Multi, if is_kept { Done::Kept(paths) } else { Done::Deleted(paths) }))
    }

    /// What its server says to it, whose tree is read by the way. Only of its current connection.
    pub(crate) fn hears(
        &mut self,
        outcome: &Outcome,
        now: u64,
        oracle: &mut Oracle,
        (server, tree): (ServerId, &TreeReader),
    ) {
        match outcome {
            Outcome::Attached { zxid, connection, session, generation, .. } => {
                let Place::Asking { server, .. } = self.place else { panic!("attached twice") };
                assert!(self.session == SessionId::NONE || self.session == *session, "another session");
                if self.session == SessionId::NONE {
                    oracle.opened(*session);
                }
                self.session = *session;
                self.saw(*zxid);
                self.place = Place::At { server, connection: *connection, generation: *generation };
            }
            Outcome::Reply { zxid, ticket, err, body } => {
                assert!(ticket.sequence == self.sequence, "an answer to a request that was answered");
                let done = self.under_way.take().expect("an answer to what was asked");
                self.saw(*zxid);
                if let Done::Synced(before) = done {
                    assert!(*err == 0, "a sync is refused with {err}");
                    return oracle.synced(server, before, *zxid, tree);
                }
                self.answered(*zxid, done, error_in(*err, body), now, oracle);
            }
            Outcome::Refused { .. } if oracle.may_be_over(self.session) => self.session_is_over(now),
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

    /// A change was made, or refused.
    fn answered(&mut self, zxid: Zxid, done: Done, err: i32, now: u64, oracle: &mut Oracle) {
        match (&done, err) {
            (Done::Set(..), 0) => self.has_register = true,
            // An earlier attempt, which nobody answered, was done.
            (Done::Set(..), NODE_EXISTS) if !self.has_register => {
                self.has_register = true;
                return;
            }
            (Done::Created(paths), 0) => self.made.push(paths.clone()),
            (Done::Ephemeral(path), 0) => self.ephemerals.push(vec![path.clone()]),
            (Done::Deleted(paths), 0) => self.forget(paths),
            // Here too.
            (Done::Deleted(paths) | Done::Kept(paths), NO_NODE) if oracle.may_be_deleted(&paths[0]) => {
                self.forget(paths);
                return oracle.acknowledged(zxid, self.session, Done::Deleted(paths.clone()));
            }
            (Done::Kept(_), BAD_VERSION) => {}
            (Done::Closed, 0) => {}
            (done, err) => panic!("client {}: {done:?} is answered with {err}", self.name),
        }
        let session = self.session;
        if done == Done::Closed {
            self.session_is_over(now);
        }
        oracle.acknowledged(zxid, session, done);
    }

    fn forget(&mut self, paths: &[String]) {
        self.made.retain(|made| made != paths);
        self.ephemerals.retain(|made| made != paths);
    }

    /// Its next connection is the first of another session.
    fn session_is_over(&mut self, now: u64) {
        self.session = SessionId::NONE;
        self.ephemerals.clear();
        self.lost(now);
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

fn delete(path: &str, version: i32, body: &mut Vec<u8>) {
    body.string(path.as_bytes());
    body.int(version);
}

/// The error that a reply tells of: that of a multi is in its parts, where the one that failed has it.
fn error_in(err: i32, body: &[u8]) -> i32 {
    let Some((op, parts)) = body.split_first_chunk().filter(|_| err == 0) else { return err };
    if i32::from_be_bytes(*op) != -1 {
        return 0;
    }
    // Each part: -1, whether it is the end, and the error twice.
    let errors = parts.chunks(13).filter_map(|part| part.get(5..9)?.try_into().ok()).map(i32::from_be_bytes);
    errors.into_iter().find(|err| ![0, RUNTIME_INCONSISTENCY].contains(err)).unwrap_or(0)
}

/// What stands before each part of a multi, and at its end.
pub(crate) fn multi_header(op: i32, done: bool, body: &mut Vec<u8>) {
    body.int(op);
    body.boolean(done);
    body.int(-1);
}
