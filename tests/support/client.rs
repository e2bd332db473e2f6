#![forbid(unsafe_code)]
//! A client of one session on one connection: numbered requests, replies in order, events aside. It never
//! reconnects by itself and sends nothing it was not told to, pings included.

use super::PATIENCE;
use super::jute::{Acl, In, Out, Stat, out};
use super::raw::{Got, Hello, Raw, Session, frame, shake};
use super::server::Server;
use std::collections::VecDeque;
use std::time::Duration;

pub mod op {
    //! Opcodes (client-protocol §4.1).
    pub const CREATE: i32 = 1;
    pub const DELETE: i32 = 2;
    pub const EXISTS: i32 = 3;
    pub const GET_DATA: i32 = 4;
    pub const SET_DATA: i32 = 5;
    pub const GET_ACL: i32 = 6;
    pub const SET_ACL: i32 = 7;
    pub const GET_CHILDREN: i32 = 8;
    pub const SYNC: i32 = 9;
    pub const PING: i32 = 11;
    pub const GET_CHILDREN2: i32 = 12;
    pub const CHECK: i32 = 13;
    pub const MULTI: i32 = 14;
    pub const CREATE2: i32 = 15;
    pub const RECONFIG: i32 = 16;
    pub const CHECK_WATCHES: i32 = 17;
    pub const REMOVE_WATCHES: i32 = 18;
    pub const CREATE_CONTAINER: i32 = 19;
    pub const DELETE_CONTAINER: i32 = 20;
    pub const CREATE_TTL: i32 = 21;
    pub const MULTI_READ: i32 = 22;
    pub const AUTH: i32 = 100;
    pub const SET_WATCHES: i32 = 101;
    pub const SASL: i32 = 102;
    pub const GET_EPHEMERALS: i32 = 103;
    pub const GET_ALL_CHILDREN_NUMBER: i32 = 104;
    pub const SET_WATCHES2: i32 = 105;
    pub const ADD_WATCH: i32 = 106;
    pub const WHO_AM_I: i32 = 107;
    pub const CLOSE_SESSION: i32 = -11;
}

pub mod err {
    //! Error codes (client-protocol §9).
    pub const RUNTIME_INCONSISTENCY: i32 = -2;
    pub const MARSHALLING: i32 = -5;
    pub const UNIMPLEMENTED: i32 = -6;
    pub const BAD_ARGUMENTS: i32 = -8;
    pub const NO_NODE: i32 = -101;
    pub const NO_AUTH: i32 = -102;
    pub const BAD_VERSION: i32 = -103;
    pub const NO_CHILDREN_FOR_EPHEMERALS: i32 = -108;
    pub const NODE_EXISTS: i32 = -110;
    pub const NOT_EMPTY: i32 = -111;
    pub const INVALID_ACL: i32 = -114;
    pub const AUTH_FAILED: i32 = -115;
    pub const NO_WATCHER: i32 = -121;
    pub const RECONFIG_DISABLED: i32 = -123;
    pub const SASL_REQUIRED: i32 = -124;
    pub const QUOTA_EXCEEDED: i32 = -125;
}

pub mod flags {
    //! Create modes (client-protocol §4.4).
    pub const PERSISTENT: i32 = 0;
    pub const EPHEMERAL: i32 = 1;
    pub const SEQUENTIAL: i32 = 2;
    pub const EPHEMERAL_SEQUENTIAL: i32 = 3;
    pub const CONTAINER: i32 = 4;
    pub const TTL: i32 = 5;
    pub const SEQUENTIAL_TTL: i32 = 6;
}

/// Reply header and body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    pub xid: i32,
    pub zxid: i64,
    pub err: i32,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn decode(frame: &[u8]) -> Reply {
        let mut input = In(frame);
        Reply { xid: input.int(), zxid: input.long(), err: input.int(), body: input.0.to_vec() }
    }

    /// The body of a success, its error otherwise. An error has no body (client-protocol §3.3).
    pub fn result(&self) -> Result<&[u8], i32> {
        if self.err == 0 {
            return Ok(&self.body);
        }
        assert!(self.body.is_empty(), "error {} came with a body", self.err);
        Err(self.err)
    }

    /// A header alone, with this error.
    #[track_caller]
    pub fn expect_header(&self, err: i32) {
        assert_eq!((self.err, self.body.as_slice()), (err, &[][..]), "{self:?}");
    }
}

/// A notification (client-protocol §6.4).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    pub zxid: i64,
    pub kind: i32,
    pub state: i32,
    pub path: String,
}

pub const CREATED: i32 = 1;
pub const DELETED: i32 = 2;
pub const DATA_CHANGED: i32 = 3;
pub const CHILDREN_CHANGED: i32 = 4;

impl Event {
    /// Type and path: what most tests look at.
    pub fn brief(&self) -> (i32, &str) {
        (self.kind, &self.path)
    }
}

/// What arrives behind the handshake.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Incoming {
    Reply(Reply),
    Event(Event),
}

impl Incoming {
    pub fn decode(frame: &[u8]) -> Incoming {
        let reply = Reply::decode(frame);
        if reply.xid != -1 {
            return Incoming::Reply(reply);
        }
        assert_eq!(reply.err, 0, "an event with an error: {reply:?}");
        let mut body = In(&reply.body);
        let event = Event { zxid: reply.zxid, kind: body.int(), state: body.int(), path: body.str() };
        body.end();
        Incoming::Event(event)
    }
}

/// One session on one connection.
pub struct Client {
    pub raw: Raw,
    pub session: Session,
    /// zxid of the latest reply.
    pub zxid: i64,
    events: VecDeque<Event>,
    next_xid: i32,
    is_over: bool,
}

impl Client {
    /// A new session of a minute, or what the server makes of it: it must outlive whatever its test does meanwhile,
    /// however slow the machine.
    pub fn open(server: &Server) -> Client {
        Client::with_timeout(server, 60_000)
    }

    pub fn with_timeout(server: &Server, timeout: i32) -> Client {
        Client::greet(server, &Hello { timeout, ..Hello::default() }).expect("a session")
    }

    /// The same session on a new connection, which the server must grant.
    pub fn resume(server: &Server, session: &Session) -> Client {
        let client = Client::greet(server, &Hello::renewal(session)).expect("the session is still there");
        assert_eq!((client.session.id, &client.session.password), (session.id, &session.password));
        client
    }

    /// The same session on a new connection, with another time-out. What is to end by silence does all it has to do as
    /// a long session, and is short at the last: a slow machine then cannot end it too early.
    pub fn shortened(self, server: &Server, timeout: i32) -> Client {
        let session = self.abandon();
        let hello = Hello { timeout, ..Hello::renewal(&session) };
        let client = Client::greet(server, &hello).expect("the session is still there");
        assert_eq!((client.session.id, client.session.timeout), (session.id, timeout));
        client
    }

    /// `None` when the server closes or refuses.
    pub fn greet(server: &Server, hello: &Hello) -> Option<Client> {
        let (raw, welcome) = shake(server.address(), hello);
        let welcome = welcome.filter(|welcome| !welcome.is_refusal())?;
        Some(Client::on(raw, welcome.session))
    }

    /// Takes over a connection that has shaken hands.
    pub fn on(raw: Raw, session: Session) -> Client {
        Client { raw, session, zxid: 0, events: VecDeque::new(), next_xid: 1, is_over: false }
    }

    /// Sends a request under the next xid, and returns that.
    pub fn send(&mut self, opcode: i32, body: &[u8]) -> i32 {
        let xid = self.next_xid;
        self.next_xid += 1;
        self.send_as(xid, opcode, body);
        xid
    }

    pub fn send_as(&mut self, xid: i32, opcode: i32, body: &[u8]) {
        self.raw.send(&request(xid, opcode, body));
    }

    /// The next reply. Events that come before it are kept for [`Client::event`].
    pub fn reply(&mut self) -> Reply {
        self.try_reply().expect("a reply, not a close")
    }

    /// As [`Client::reply`]; `None` once the server has closed.
    pub fn try_reply(&mut self) -> Option<Reply> {
        loop {
            match Incoming::decode(&self.raw.frame()?) {
                Incoming::Reply(reply) => {
                    self.zxid = reply.zxid;
                    return Some(reply);
                }
                Incoming::Event(event) => self.events.push_back(event),
            }
        }
    }

    /// A request and its reply.
    pub fn call(&mut self, opcode: i32, body: &[u8]) -> Reply {
        let xid = self.send(opcode, body);
        let reply = self.reply();
        assert_eq!(reply.xid, xid, "replies keep the order of requests: {reply:?}");
        reply
    }

    /// The next event, waited for; events that were read on the way to a reply come first.
    pub fn event(&mut self) -> Event {
        if let Some(event) = self.events.pop_front() {
            return event;
        }
        match Incoming::decode(&self.raw.frame().expect("an event, not a close")) {
            Incoming::Event(event) => event,
            Incoming::Reply(reply) => panic!("an event was due, and a reply came: {reply:?}"),
        }
    }

    /// Every event that the server queued before it answered a ping sent now. A change whose own reply somebody has
    /// seen was announced before that (client-protocol §3.6), so what is not here now does not come later.
    pub fn events(&mut self) -> Vec<Event> {
        self.ping();
        self.events.drain(..).collect()
    }

    /// Events that came before the latest reply, without asking the server.
    pub fn events_so_far(&mut self) -> Vec<Event> {
        self.events.drain(..).collect()
    }

    /// [`Client::events`] by type and path.
    pub fn briefs(&mut self) -> Vec<(i32, String)> {
        self.events().into_iter().map(|event| (event.kind, event.path)).collect()
    }

    /// A ping and its reply.
    pub fn ping(&mut self) -> Reply {
        self.send_as(-2, op::PING, &[]);
        let reply = self.reply();
        assert_eq!((reply.xid, reply.err), (-2, 0));
        reply
    }

    /// Closes the session and waits until the server has closed the connection. Events before the reply are kept.
    pub fn close(&mut self) -> Reply {
        let reply = self.call(op::CLOSE_SESSION, &[]);
        self.raw.expect_close();
        self.is_over = true;
        reply
    }

    /// Drops the connection and leaves the session to time out.
    pub fn abandon(mut self) -> Session {
        self.is_over = true;
        self.session.clone()
    }

    /// The connection is closed by the server, without another byte.
    #[track_caller]
    pub fn expect_close(&mut self) {
        self.is_over = true;
        self.raw.expect_close();
    }

    pub fn frame_within(&mut self, wait: Duration) -> Got {
        self.raw.frame_within(wait)
    }
}

/// A session that a test leaves open is closed: the next test on the same server may count zxids.
impl Drop for Client {
    fn drop(&mut self) {
        if !self.is_over && !std::thread::panicking() {
            self.send(op::CLOSE_SESSION, &[]);
            while let Got::Frame(_) = self.raw.frame_within(PATIENCE) {}
        }
    }
}

/// One request, framed.
pub fn request(xid: i32, opcode: i32, body: &[u8]) -> Vec<u8> {
    frame(&out().int(xid).int(opcode).bytes(body).done())
}

/// A write and its zxid, or its error.
impl Client {
    pub fn create(&mut self, path: impl AsRef<[u8]>, data: &[u8]) -> Result<String, i32> {
        self.create_with(path, data, &super::jute::open(), flags::PERSISTENT)
    }

    pub fn create_with(
        &mut self,
        path: impl AsRef<[u8]>,
        data: &[u8],
        acl: &[Acl],
        flags: i32,
    ) -> Result<String, i32> {
        let reply = self.call(op::CREATE, &body::create(path, Some(data), acl, flags));
        let mut input = In(reply.result()?);
        let path = input.str();
        input.end();
        Ok(path)
    }

    /// create2, createContainer: those that answer with a Stat.
    pub fn create_as(
        &mut self,
        opcode: i32,
        path: impl AsRef<[u8]>,
        data: &[u8],
        flags: i32,
    ) -> Result<(String, Stat), i32> {
        let reply = self.call(opcode, &body::create(path, Some(data), &super::jute::open(), flags));
        path_and_stat(reply)
    }

    pub fn create_ttl(
        &mut self,
        path: impl AsRef<[u8]>,
        flags: i32,
        ttl: i64,
    ) -> Result<(String, Stat), i32> {
        let reply = self.call(op::CREATE_TTL, &body::create_ttl(path, b"", &super::jute::open(), flags, ttl));
        path_and_stat(reply)
    }

    pub fn delete(&mut self, path: impl AsRef<[u8]>, version: i32) -> Result<(), i32> {
        let reply = self.call(op::DELETE, &body::versioned(path, version));
        reply.result().map(|body| assert!(body.is_empty()))
    }

    pub fn set(&mut self, path: impl AsRef<[u8]>, data: &[u8], version: i32) -> Result<Stat, i32> {
        let reply = self.call(op::SET_DATA, &body::set(path, Some(data), version));
        Ok(only_stat(reply.result()?))
    }

    pub fn set_acl(&mut self, path: impl AsRef<[u8]>, acl: &[Acl], version: i32) -> Result<Stat, i32> {
        let reply = self.call(op::SET_ACL, &out().str(path).acl(acl).int(version).done());
        Ok(only_stat(reply.result()?))
    }

    pub fn exists(&mut self, path: impl AsRef<[u8]>, watch: bool) -> Result<Stat, i32> {
        let reply = self.call(op::EXISTS, &body::read(path, watch));
        Ok(only_stat(reply.result()?))
    }

    pub fn get(&mut self, path: impl AsRef<[u8]>, watch: bool) -> Result<(Option<Vec<u8>>, Stat), i32> {
        let reply = self.call(op::GET_DATA, &body::read(path, watch));
        let mut input = In(reply.result()?);
        let found = (input.buffer(), input.stat());
        input.end();
        Ok(found)
    }

    pub fn acl(&mut self, path: impl AsRef<[u8]>) -> Result<(Vec<Acl>, Stat), i32> {
        let reply = self.call(op::GET_ACL, &out().str(path).done());
        let mut input = In(reply.result()?);
        let found = (input.acl(), input.stat());
        input.end();
        Ok(found)
    }

    /// Names in the order of the alphabet; the server's own order means nothing.
    pub fn children(&mut self, path: impl AsRef<[u8]>, watch: bool) -> Result<Vec<String>, i32> {
        let reply = self.call(op::GET_CHILDREN, &body::read(path, watch));
        let mut input = In(reply.result()?);
        let mut names = input.strings();
        input.end();
        names.sort_unstable();
        Ok(names)
    }

    pub fn children2(&mut self, path: impl AsRef<[u8]>, watch: bool) -> Result<(Vec<String>, Stat), i32> {
        let reply = self.call(op::GET_CHILDREN2, &body::read(path, watch));
        let mut input = In(reply.result()?);
        let (mut names, stat) = (input.strings(), input.stat());
        input.end();
        names.sort_unstable();
        Ok((names, stat))
    }

    pub fn count_below(&mut self, path: impl AsRef<[u8]>) -> Result<i32, i32> {
        let reply = self.call(op::GET_ALL_CHILDREN_NUMBER, &out().str(path).done());
        let mut input = In(reply.result()?);
        let count = input.int();
        input.end();
        Ok(count)
    }

    pub fn ephemerals(&mut self, prefix: Option<&str>) -> Result<Vec<String>, i32> {
        let reply = self.call(op::GET_EPHEMERALS, &out().buffer(prefix.map(str::as_bytes)).done());
        let mut input = In(reply.result()?);
        let mut paths = input.strings();
        input.end();
        paths.sort_unstable();
        Ok(paths)
    }

    /// Scheme and user, an identity each.
    pub fn who_am_i(&mut self) -> Vec<(String, String)> {
        let reply = self.call(op::WHO_AM_I, &[]);
        let mut input = In(reply.result().expect("whoAmI"));
        let mut identities: Vec<_> = (0..input.int()).map(|_| (input.str(), input.str())).collect();
        input.end();
        identities.sort_unstable();
        identities
    }

    pub fn sync(&mut self, path: impl AsRef<[u8]>) -> Result<String, i32> {
        let reply = self.call(op::SYNC, &out().str(path).done());
        let mut input = In(reply.result()?);
        let path = input.str();
        input.end();
        Ok(path)
    }

    /// An auth packet as clients send it, under xid -4.
    pub fn add_auth(&mut self, scheme: &str, data: Option<&[u8]>) -> Reply {
        self.send_as(-4, op::AUTH, &out().int(0).str(scheme).buffer(data).done());
        let reply = self.reply();
        assert_eq!(reply.xid, -4);
        reply
    }

    /// A digest identity, which always succeeds.
    pub fn log_in(&mut self, user_and_password: &str) {
        self.add_auth("digest", Some(user_and_password.as_bytes())).expect_header(0);
    }

    pub fn add_watch(&mut self, path: impl AsRef<[u8]>, mode: i32) -> Result<(), i32> {
        let reply = self.call(op::ADD_WATCH, &body::versioned(path, mode));
        reply.result().map(|body| assert_eq!(body, [0; 4]))
    }

    pub fn remove_watches(&mut self, path: impl AsRef<[u8]>, kind: i32) -> Result<(), i32> {
        let reply = self.call(op::REMOVE_WATCHES, &body::versioned(path, kind));
        reply.result().map(|body| assert!(body.is_empty()))
    }

    pub fn check_watches(&mut self, path: impl AsRef<[u8]>, kind: i32) -> Result<(), i32> {
        let reply = self.call(op::CHECK_WATCHES, &body::versioned(path, kind));
        reply.result().map(|body| assert!(body.is_empty()))
    }

    /// setWatches: the three lists of one-shot watches. Events it causes come before its reply.
    pub fn set_watches(&mut self, since: i64, data: &[&str], exist: &[&str], child: &[&str]) -> Reply {
        self.send_as(
            -8,
            op::SET_WATCHES,
            &out().long(since).strings(data).strings(exist).strings(child).done(),
        );
        let reply = self.reply();
        assert_eq!(reply.xid, -8);
        reply
    }

    /// setWatches2: only the persistent lists.
    pub fn set_persistent_watches(&mut self, since: i64, persistent: &[&str], recursive: &[&str]) -> Reply {
        let none: &[&str] = &[];
        let body = out().long(since).strings(none).strings(none).strings(none);
        self.send_as(-8, op::SET_WATCHES2, &body.strings(persistent).strings(recursive).done());
        let reply = self.reply();
        assert_eq!(reply.xid, -8);
        reply
    }

    pub fn multi(&mut self, ops: &[Part]) -> Result<Vec<Entry>, i32> {
        let reply = self.call(op::MULTI, &body::multi(ops));
        reply.result().map(entries)
    }

    pub fn multi_read(&mut self, ops: &[Part]) -> Result<Vec<Entry>, i32> {
        let reply = self.call(op::MULTI_READ, &body::multi(ops));
        reply.result().map(entries)
    }
}

fn only_stat(body: &[u8]) -> Stat {
    let mut input = In(body);
    let stat = input.stat();
    input.end();
    stat
}

fn path_and_stat(reply: Reply) -> Result<(String, Stat), i32> {
    let mut input = In(reply.result()?);
    let found = (input.str(), input.stat());
    input.end();
    Ok(found)
}

/// One operation of a multi: its type and its record.
#[derive(Clone, Debug)]
pub struct Part(pub i32, pub Vec<u8>);

impl Part {
    pub fn create(path: impl AsRef<[u8]>, data: &[u8], flags: i32) -> Part {
        Part(op::CREATE, body::create(path, Some(data), &super::jute::open(), flags))
    }
    pub fn create2(path: impl AsRef<[u8]>, data: &[u8], flags: i32) -> Part {
        Part(op::CREATE2, body::create(path, Some(data), &super::jute::open(), flags))
    }
    pub fn delete(path: impl AsRef<[u8]>, version: i32) -> Part {
        Part(op::DELETE, body::versioned(path, version))
    }
    pub fn set(path: impl AsRef<[u8]>, data: &[u8], version: i32) -> Part {
        Part(op::SET_DATA, body::set(path, Some(data), version))
    }
    pub fn check(path: impl AsRef<[u8]>, version: i32) -> Part {
        Part(op::CHECK, body::versioned(path, version))
    }
    pub fn get(path: impl AsRef<[u8]>, watch: bool) -> Part {
        Part(op::GET_DATA, body::read(path, watch))
    }
    pub fn children(path: impl AsRef<[u8]>, watch: bool) -> Part {
        Part(op::GET_CHILDREN, body::read(path, watch))
    }
}

/// One result of a multi or multiRead.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Entry {
    /// Type 1.
    Create(String),
    /// Type 15: create2, container, TTL.
    Create2(String, Stat),
    /// Type 2.
    Delete,
    /// Type 5.
    Set(Stat),
    /// Type 13.
    Check,
    /// Type 4, multiRead.
    Get(Option<Vec<u8>>, Stat),
    /// Type 8, multiRead; in the order of the alphabet.
    Children(Vec<String>),
    /// Type -1.
    Error(i32),
}

/// A multi's body: entries up to the terminator, and nothing behind it.
pub fn entries(body: &[u8]) -> Vec<Entry> {
    let mut input = In(body);
    let mut found = Vec::new();
    loop {
        let (kind, is_last, err) = (input.int(), input.byte() != 0, input.int());
        if is_last {
            assert_eq!((kind, err), (-1, -1), "the terminator");
            input.end();
            return found;
        }
        assert!(kind == -1 || err == 0, "type {kind} with error {err}");
        found.push(match kind {
            -1 => {
                assert_eq!(input.int(), err, "the error stands twice");
                Entry::Error(err)
            }
            op::CREATE => Entry::Create(input.str()),
            op::CREATE2 => Entry::Create2(input.str(), input.stat()),
            op::DELETE => Entry::Delete,
            op::SET_DATA => Entry::Set(input.stat()),
            op::CHECK => Entry::Check,
            op::GET_DATA => Entry::Get(input.buffer(), input.stat()),
            op::GET_CHILDREN => {
                let mut names = input.strings();
                names.sort_unstable();
                Entry::Children(names)
            }
            _ => panic!("a result of type {kind}"),
        });
    }
}

pub mod body {
    //! Request bodies (client-protocol §1.5).
    use super::{Acl, Out, Part, out};

    pub fn create(path: impl AsRef<[u8]>, data: Option<&[u8]>, acl: &[Acl], flags: i32) -> Vec<u8> {
        out().str(path).buffer(data).acl(acl).int(flags).done()
    }
    pub fn create_ttl(path: impl AsRef<[u8]>, data: &[u8], acl: &[Acl], flags: i32, ttl: i64) -> Vec<u8> {
        out().str(path).str(data).acl(acl).int(flags).long(ttl).done()
    }
    /// Path and int: delete, check, addWatch, checkWatches, removeWatches.
    pub fn versioned(path: impl AsRef<[u8]>, version: i32) -> Vec<u8> {
        out().str(path).int(version).done()
    }
    pub fn set(path: impl AsRef<[u8]>, data: Option<&[u8]>, version: i32) -> Vec<u8> {
        out().str(path).buffer(data).int(version).done()
    }
    /// Path and watch: exists, getData, getChildren, getChildren2.
    pub fn read(path: impl AsRef<[u8]>, watch: bool) -> Vec<u8> {
        out().str(path).bool(watch).done()
    }
    pub fn multi(parts: &[Part]) -> Vec<u8> {
        let start: Out = out();
        let all = parts
            .iter()
            .fold(start, |out, Part(kind, record)| out.int(*kind).bool(false).int(-1).bytes(record));
        all.int(-1).bool(true).int(-1).done()
    }
}
