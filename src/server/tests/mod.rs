#![forbid(unsafe_code)]
//! A shard without sockets and threads: the test is the client, the driver and the sequencer.

mod neighbours;
mod roles;
mod words;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::limits::{Bounds, Rates};
use super::registry::{AcceptLimits, Registry};
use super::settings::Settings;
use super::shard::{Shard, ShardParts};
use super::words::tests::{environment, version};
use super::words::{ConfView, Whitelist};
use crate::base::{ConnectionId, Generation, Millis, SessionId, ShardId, Zxid, limits};
use crate::pipeline::acl::Policy;
use crate::runtime::Clock;
use crate::runtime::messages::{Outcome, Serving, Submission};
use crate::runtime::pressure::Pressure;
use crate::runtime::ring::{self, Consumer, Parked, Producer};
use crate::runtime::sequencer::Shared;
use crate::runtime::shard::Logic;
use crate::runtime::sys::Bell;
use crate::sessions::password;
use crate::tree::TreeWriter;
use crate::watches::{InterestCounts, InterestTable, PathHasher, WatchTable};
use crate::wire::OpCode;
use crate::wire::jute::Writer;

const TICK_MS: u32 = 2000;
const TIMEOUT_MS: u32 = 8000;
const ONE: SessionId = SessionId(0x100);
const TWO: SessionId = SessionId(0x200);

struct Rig {
    shard: Shard,
    tree: TreeWriter,
    outcomes: Producer<Outcome>,
    submissions: Consumer<Submission>,
    registry: Arc<Registry>,
    interest: Arc<InterestTable>,
    loads: Arc<Vec<AtomicUsize>>,
    now: Millis,
    /// What each connection got and the test has not looked at.
    received: Vec<(ConnectionId, Vec<u8>)>,
    closed: Vec<ConnectionId>,
    ports: u16,
    generation: u64,
}

/// A member's settings; whether anybody is served is the shard's.
fn settings() -> Settings {
    let mut raw = crate::config::Raw::default();
    raw.set("dataDir", "/d", crate::config::Origin::Argument);
    let config = crate::config::check(&crate::config::Inputs::from(raw)).expect("accepted").config;
    Settings {
        tick_ms: TICK_MS,
        timeout_ms_min: 2 * TICK_MS,
        timeout_ms_max: 20 * TICK_MS,
        frame_bytes_max: 1 << 20,
        requests: config.requests,
        own: config.own,
        bounds: Bounds::new(&config.own),
        sessionless_timeout_ms: 10_000,
        policy: Policy::default(),
        whitelist: Whitelist::parse(Some("*"), false),
        conf: ConfView {
            client_port: 2181,
            secure_client_port: -1,
            data_dir: b"/d".to_vec(),
            data_dir_bytes: 0,
            data_log_dir: b"/d".to_vec(),
            data_log_bytes: 0,
            tick_time_ms: TICK_MS,
            max_client_cnxns: 0,
            min_session_timeout_ms: 2 * TICK_MS,
            max_session_timeout_ms: 20 * TICK_MS,
            client_port_listen_backlog: -1,
            server_id: 1,
            member: None,
        },
        env: environment(),
        version: version(),
        folders: ("/nonexistent/data".into(), "/nonexistent/log".into()),
        shards: 1,
        voters: Some(3),
    }
}

impl Rig {
    fn new(serving: Serving) -> Rig {
        Rig::with(serving, settings())
    }

    fn with(serving: Serving, settings: Settings) -> Rig {
        let (tree, reader) = crate::tree::new(7);
        let (submissions_in, submissions) = ring::queue();
        let (outcomes, outcomes_out) = ring::queue();
        let shared = Arc::new(Shared {
            parked: Parked::new(),
            bell: Bell::new().expect("an eventfd"),
            stopping: AtomicBool::new(false),
            shards_done: AtomicUsize::new(0),
            pulse: Arc::default(),
            pressure: Pressure::default(),
        });
        let registry = Arc::new(Registry::new(None, Rates::default()));
        let loads = Arc::new(vec![AtomicUsize::new(0)]);
        let interest = Arc::new(InterestTable::new(limits::INTEREST_SLOTS, PathHasher::new(7)));
        let shard = Shard::new(ShardParts {
            id: ShardId(0),
            settings: Arc::new(settings),
            tree: reader,
            watches: WatchTable::new(InterestCounts::new(interest.clone(), ShardId(0))),
            outcomes: outcomes_out,
            submissions: submissions_in,
            shared,
            registry: registry.clone(),
            loads: loads.clone(),
            clock: Clock::start(),
            serving,
        });
        Rig {
            shard,
            tree,
            outcomes,
            submissions,
            registry,
            interest,
            loads,
            now: Millis(1_000_000),
            received: Vec::new(),
            closed: Vec::new(),
            ports: 0,
            generation: 0,
        }
    }

    /// A client connects.
    fn connect(&mut self) -> ConnectionId {
        self.ports += 1;
        let peer = SocketAddr::from(([127, 0, 0, 1], self.ports));
        let nothing = AcceptLimits {
            per_address: None,
            in_all: None,
            sessionless_per_address: None,
            descriptors: None,
        };
        assert_eq!(self.registry.admit(peer, nothing), Ok(()));
        self.loads[0].fetch_add(1, Ordering::Relaxed);
        self.shard.on_accept(peer, self.now).expect("taken")
    }

    /// A client sends bytes.
    fn send(&mut self, id: ConnectionId, bytes: &[u8]) {
        self.shard.on_bytes(id, bytes, self.now);
        self.drive();
    }

    /// The sequencer sends this.
    fn tell(&mut self, outcomes: impl IntoIterator<Item = Outcome>) {
        outcomes.into_iter().for_each(|outcome| self.outcomes.push(outcome));
        self.turn();
    }

    fn serve(&mut self, serving: Serving) {
        self.tell([Outcome::Serving { zxid: Zxid::ZERO, serving }]);
    }

    fn turn(&mut self) {
        self.shard.on_turn(self.now);
        self.drive();
    }

    /// Time passes, and the driver ticks once at the end of it.
    fn pass(&mut self, ms: u64) {
        self.now = self.now.plus(ms);
        self.shard.on_tick(self.now);
        self.turn();
    }

    /// What the driver does between two calls: sends all output, closes who is to be closed.
    fn drive(&mut self) {
        loop {
            let mut dirty = Vec::new();
            self.shard.take_dirty(&mut dirty);
            if dirty.is_empty() {
                return;
            }
            for id in dirty {
                if let Some(output) = self.shard.output(id) {
                    let bytes = output.unsent().to_vec();
                    output.consume(bytes.len());
                    self.received.push((id, bytes));
                    self.shard.on_sent(id, self.now);
                }
                let wants = self.shard.wants(id);
                let sent = self.shard.output(id).is_some_and(|output| output.unsent().is_empty());
                if wants.abort || (wants.close && sent) {
                    self.shard.on_closed(id, self.now);
                    self.closed.push(id);
                }
            }
        }
    }

    /// What the connection got since the last look.
    fn received(&mut self, id: ConnectionId) -> Vec<u8> {
        let (its, others) = std::mem::take(&mut self.received).into_iter().partition(|(of, _)| *of == id);
        self.received = others;
        let its: Vec<(ConnectionId, Vec<u8>)> = its;
        its.into_iter().flat_map(|(_, bytes)| bytes).collect()
    }

    /// Who was closed since the last look, in the order of their coming.
    fn closed(&mut self) -> Vec<ConnectionId> {
        let mut closed = std::mem::take(&mut self.closed);
        closed.sort_unstable();
        closed
    }

    /// What was submitted since the last look.
    fn submitted(&mut self) -> Vec<Submission> {
        std::iter::from_fn(|| self.submissions.pop()).collect()
    }

    /// Begins a handshake for this session.
    fn shake(&mut self, id: ConnectionId, session: SessionId, seen: Zxid) {
        self.send(id, &handshake(session, seen));
    }

    /// A client that has this session, as far as the sequencer is concerned.
    fn client(&mut self, session: SessionId) -> (ConnectionId, Generation) {
        let id = self.connect();
        self.shake(id, session, Zxid::ZERO);
        let submitted = self.submitted();
        assert!(
            matches!(&submitted[..], [Submission::Attach(attach)] if attach.session == session),
            "{submitted:?}"
        );
        self.generation += 1;
        let generation = Generation(self.generation);
        self.tell([attached(id, session, generation)]);
        assert_eq!(self.received(id).len(), 41, "a ConnectResponse");
        (id, generation)
    }

    /// Nothing of any client is left: every credit came back, every count is down, and no path is waited for.
    fn assert_nothing_is_left(&mut self) {
        assert!(self.shard.is_idle(), "credits are missing");
        assert_eq!(self.shard.request_bytes, 0);
        assert_eq!(self.shard.intake.own(), 0, "requests in process");
        assert_eq!(self.shard.input_bytes, 0);
        assert!(self.shard.connections.is_empty() && self.shard.waiting.is_empty());
        assert_eq!((self.shard.watches.len(), self.shard.expiry.len()), (0, 0));
        assert_eq!((self.registry.connections(), self.registry.sessions()), (0, 0));
        assert_eq!(self.loads[0].load(Ordering::Relaxed), 0);
    }
}

fn attached(connection: ConnectionId, session: SessionId, generation: Generation) -> Outcome {
    Outcome::Attached { zxid: Zxid::ZERO, connection, session, generation, timeout_ms: TIMEOUT_MS }
}

/// A frame around `body`.
fn framed(body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.buffer(Some(body));
    frame
}

fn handshake(session: SessionId, seen: Zxid) -> Vec<u8> {
    let mut body = Vec::new();
    body.int(0);
    body.long(seen.0);
    body.int(TIMEOUT_MS as i32);
    body.long(session.0);
    body.buffer(Some(&password::password_of(session)));
    body.boolean(false);
    framed(&body)
}

fn request(xid: i32, op: OpCode, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.int(xid);
    frame.int(op as i32);
    frame.raw(body);
    framed(&frame)
}

fn ping() -> Vec<u8> {
    request(-2, OpCode::Ping, &[])
}

/// exists, with or without a watch.
fn exists(xid: i32, path: &[u8], watch: bool) -> Vec<u8> {
    let mut body = Vec::new();
    body.string(path);
    body.boolean(watch);
    request(xid, OpCode::Exists, &body)
}

fn set_data(xid: i32, path: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    body.string(path);
    body.buffer(Some(b"x"));
    body.int(-1);
    request(xid, OpCode::SetData, &body)
}
