#![forbid(unsafe_code)]
//! One of the two servers of `differential`: the program's sessions on it, and what it answers once everything that
//! may differ between two servers has been taken out (the list stands there).

use super::program::{SESSIONS, Step};
use crate::support::PATIENCE;
use crate::support::client::{Incoming, err, op, request};
use crate::support::jute::{In, STAT_BYTES, out};
use crate::support::raw::{Got, Hello, Raw, Session, shake};
use crate::support::server::Server;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// One server and the program's sessions on it.
pub(super) struct Side<'a> {
    pub server: &'a Server,
    links: Vec<Link>,
    /// Session id to the number of the session in order of creation, from 1.
    numbers: HashMap<i64, i64>,
}

struct Link {
    raw: Raw,
    session: Session,
    /// When it was renewed lately.
    renewed: VecDeque<Instant>,
}

/// Renewals of one session a second: ours shuts out a session that moves ten times in one (reliability M12).
const RENEWALS_MAX: usize = 8;

/// What a server sent, with all taken out that may differ.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Item {
    Welcome {
        timeout: i32,
        session: i64,
        bytes: usize,
    },
    Reply {
        xid: i32,
        zxid: i64,
        err: i32,
        body: Vec<u8>,
    },
    Event {
        zxid: i64,
        kind: i32,
        state: i32,
        path: Vec<u8>,
    },
    Closed,
    /// Nothing came in the time allowed, and something was due.
    Silence,
}

impl std::fmt::Debug for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Item::Welcome { timeout, session, bytes } => {
                write!(f, "welcome: session {session}, {timeout} ms, {bytes} bytes")
            }
            Item::Reply { xid, zxid, err, body } => {
                write!(f, "reply to {xid}: zxid {zxid}, err {err}, body {}", body.escape_ascii())
            }
            Item::Event { zxid, kind, state, path } => {
                write!(f, "event {kind} at {zxid}, state {state}: {}", path.escape_ascii())
            }
            Item::Closed => write!(f, "closed"),
            Item::Silence => write!(f, "silence"),
        }
    }
}

/// Session (of the program) and what it received.
pub(super) type Answers = Vec<(usize, Item)>;

impl<'a> Side<'a> {
    pub(super) fn new(server: &'a Server) -> Side<'a> {
        let mut side = Side { server, links: Vec::new(), numbers: HashMap::new() };
        for _ in 0..SESSIONS {
            let link = side.open();
            side.links.push(link);
        }
        side
    }

    fn open(&mut self) -> Link {
        let hello = Hello { timeout: 60_000, ..Hello::default() };
        let (raw, welcome) = shake(self.server.address(), &hello);
        let session = welcome.expect("a session").session;
        let number = self.numbers.len() as i64 + 1;
        self.numbers.insert(session.id, number);
        Link { raw, session, renewed: VecDeque::new() }
    }

    pub(super) fn plant(&mut self) {
        self.links[0].raw.send(&request(1, op::CREATE, &out().str("/planted").null().acl(&[]).int(0).done()));
        let _its_error = self.links[0].raw.frame();
    }

    pub(super) fn send(&mut self, session: usize, step: &Step, first_xid: i32) {
        let raw = &mut self.links[session].raw;
        match step {
            Step::Batch(requests) => {
                let all: Vec<u8> = requests
                    .iter()
                    .zip(first_xid..)
                    .flat_map(|(request_, xid)| request(xid, request_.opcode, &request_.body))
                    .collect();
                raw.send(&all);
            }
            Step::Auth { scheme, data } => {
                raw.send(&request(-4, op::AUTH, &out().int(0).str(scheme).str(data).done()));
            }
            Step::Fatal(bytes) => raw.send(bytes),
            Step::Reopen => raw.send(&request(first_xid, op::CLOSE_SESSION, &[])),
            Step::Resume(_) => {}
        }
    }

    /// Everything the step made the server say, to all sessions.
    pub(super) fn receive(&mut self, session: usize, step: &Step, first_xid: i32) -> Answers {
        let mut own = match step {
            Step::Batch(requests) => self.replies(session, requests.iter().map(|request| request.opcode)),
            Step::Auth { .. } => self.replies(session, [op::AUTH]),
            Step::Fatal(_) => {
                let mut items = self.until_closed(session);
                items.extend(self.resume(session));
                items
            }
            Step::Resume(watches) => {
                let mut items = self.resume(session);
                self.links[session].raw.send(&request(first_xid, op::SET_WATCHES2, watches));
                items.extend(self.replies(session, [op::SET_WATCHES2]));
                items
            }
            Step::Reopen => {
                let mut items = self.until_closed(session);
                // Its ephemerals go in no promised order; events sort before nothing but each other.
                let events = items.iter().take_while(|item| matches!(item, Item::Event { .. })).count();
                items[..events].sort_unstable();
                self.links[session] = self.open();
                items
            }
        };
        let mut answers: Answers = own.drain(..).map(|item| (session, item)).collect();
        // A ping to everybody else brings what they were told.
        let others = (0..SESSIONS).filter(|other| *other != session);
        others.clone().for_each(|other| self.links[other].raw.send(&request(-2, op::PING, &[])));
        for other in others {
            let mut told = self.replies(other, [op::PING]);
            if matches!(step, Step::Reopen) {
                let events = told.len() - 1;
                told[..events].sort_unstable();
            }
            answers.extend(told.into_iter().map(|item| (other, item)));
        }
        answers
    }

    /// Renews the session on a new connection.
    fn resume(&mut self, session: usize) -> Vec<Item> {
        let link = &mut self.links[session];
        let before = link.session.clone();
        let mut renewed = std::mem::take(&mut link.renewed);
        if renewed.len() == RENEWALS_MAX
            && let Some(early) = renewed.pop_front()
        {
            std::thread::sleep(Duration::from_millis(1_100).saturating_sub(early.elapsed()));
        }
        renewed.push_back(Instant::now());
        let (raw, welcome) = shake(self.server.address(), &Hello::renewal(&before));
        let Some(welcome) = welcome else { return vec![Item::Closed] };
        let session_number = self.numbers.get(&welcome.session.id).copied().unwrap_or_default();
        let item =
            Item::Welcome { timeout: welcome.session.timeout, session: session_number, bytes: welcome.bytes };
        self.links[session] = Link { raw, session: before, renewed };
        vec![item]
    }

    /// Replies to these requests and the events among them.
    fn replies(&mut self, session: usize, opcodes: impl IntoIterator<Item = i32>) -> Vec<Item> {
        let mut items = Vec::new();
        for opcode in opcodes {
            loop {
                let frame = match self.links[session].raw.frame_within(PATIENCE) {
                    Got::Frame(frame) => frame,
                    Got::Closed => {
                        items.push(Item::Closed);
                        return items;
                    }
                    Got::Nothing => {
                        items.push(Item::Silence);
                        return items;
                    }
                };
                let item = self.normalised(opcode, &frame);
                let is_reply = matches!(item, Item::Reply { .. });
                items.push(item);
                if is_reply {
                    break;
                }
            }
        }
        items
    }

    fn until_closed(&mut self, session: usize) -> Vec<Item> {
        let mut items = Vec::new();
        while let Some(frame) = self.links[session].raw.frame() {
            items.push(self.normalised(op::PING, &frame));
        }
        items.push(Item::Closed);
        items
    }

    fn normalised(&self, opcode: i32, frame: &[u8]) -> Item {
        match Incoming::decode(frame) {
            Incoming::Event(event) => {
                // The path as it was sent, not as text.
                let path = In(&frame[24..]).bytes();
                Item::Event { zxid: event.zxid, kind: event.kind, state: event.state, path }
            }
            Incoming::Reply(reply) => {
                let is_undecodable = reply.err == err::MARSHALLING;
                let body = if reply.err == 0 { self.body(opcode, &reply.body) } else { reply.body };
                let zxid = if is_undecodable { 0 } else { reply.zxid };
                Item::Reply { xid: reply.xid, zxid, err: reply.err, body }
            }
        }
    }

    fn body(&self, opcode: i32, body: &[u8]) -> Vec<u8> {
        let mut input = In(body);
        let mut clean = out().0;
        self.record(opcode, &mut input, &mut clean);
        clean.extend(input.0);
        clean
    }

    /// Copies one result record and takes out what may differ.
    fn record(&self, opcode: i32, input: &mut In<'_>, clean: &mut Vec<u8>) {
        match opcode {
            op::CREATE2 | op::CREATE_CONTAINER | op::CREATE_TTL | op::GET_DATA => {
                clean.extend(out().buffer(input.buffer().as_deref()).done());
                self.stat(input, clean);
            }
            op::CREATE => clean.extend(out().buffer(input.buffer().as_deref()).done()),
            op::EXISTS | op::SET_DATA | op::SET_ACL => self.stat(input, clean),
            op::GET_ACL => {
                clean.extend(out().acl(&input.acl()).done());
                self.stat(input, clean);
            }
            op::GET_CHILDREN | op::GET_CHILDREN2 | op::GET_EPHEMERALS => {
                let mut names: Vec<Vec<u8>> = (0..input.int()).map(|_| input.bytes()).collect();
                names.sort_unstable();
                clean.extend(out().strings(&names).done());
                if opcode == op::GET_CHILDREN2 {
                    self.stat(input, clean);
                }
            }
            op::WHO_AM_I => {
                let mut who: Vec<_> = (0..input.int()).map(|_| (input.bytes(), input.bytes())).collect();
                who.sort_unstable();
                who.iter().for_each(|(scheme, user)| clean.extend(out().str(scheme).str(user).done()));
            }
            op::MULTI | op::MULTI_READ => self.entries(input, clean),
            // Nothing in it that may differ: the caller copies it.
            _ => {}
        }
    }

    fn entries(&self, input: &mut In<'_>, clean: &mut Vec<u8>) {
        loop {
            let (kind, is_last, error) = (input.int(), input.byte(), input.int());
            clean.extend(out().int(kind).byte(is_last).int(error).done());
            if is_last != 0 {
                return;
            }
            match kind {
                -1 => clean.extend(input.take(4)),
                op::DELETE | op::CHECK => {}
                _ => self.record(kind, input, clean),
            }
        }
    }

    fn stat(&self, input: &mut In<'_>, clean: &mut Vec<u8>) {
        let mut stat: [u8; STAT_BYTES] = input.take(STAT_BYTES).try_into().expect("as many as asked for");
        for time in [16..24, 24..32] {
            let is_set = stat[time.clone()].iter().any(|byte| *byte != 0);
            stat[time].copy_from_slice(&i64::from(is_set).to_be_bytes());
        }
        let owner = i64::from_be_bytes(stat[44..52].try_into().expect("eight bytes"));
        // An owner nobody was given stays as it is, and so is seen.
        let number = self.numbers.get(&owner).copied().unwrap_or(owner);
        stat[44..52].copy_from_slice(&number.to_be_bytes());
        clean.extend(stat);
    }
}
