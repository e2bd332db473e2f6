#![forbid(unsafe_code)]
//! The thread that drives connections: epoll, reads, writes, pings, stalls, reconnects.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ringkeeper::wire::OpCode;
use rustix::event::{PollFd, PollFlags, epoll, poll};
use rustix::time::Timespec;
use socket2::{Domain, Protocol, Socket, Type};

use super::connection::{Connection, Lost, Phase, Received, Violation};
use crate::codec::{self, Reply};
use crate::schedule::{Nanos, SECOND};

/// Bytes read at once.
const READ_BYTES: usize = 256 << 10;
/// Events taken from epoll at once.
const EVENTS: usize = 512;
/// Longer waits are in multiples of this, and end early rather than late.
const COARSE_WAIT: Nanos = SECOND / 100;
/// Connections begun at once, before replies are looked at again.
const CONNECTS: usize = 64;
/// How often timers of connections are looked at.
const HOUSEKEEPING: Nanos = SECOND / 20;
/// First pause before a connection is tried again.
const RETRY: Nanos = SECOND / 200;
/// Longest, unless a run says otherwise.
pub const RETRY_MAX: Nanos = SECOND / 2;

/// The time of one run, the same for all its threads.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// Starts at 0 now.
    pub fn start() -> Clock {
        Clock(Instant::now())
    }

    /// Nanoseconds since the start.
    pub fn now(&self) -> Nanos {
        Nanos::try_from(self.0.elapsed().as_nanos()).unwrap_or(Nanos::MAX)
    }
}

/// How connections are made and kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// The servers of the target. Connections are spread over them, and move to the next one after a failure.
    pub addresses: Vec<SocketAddr>,
    /// Session timeout asked for, ms.
    pub session_timeout_ms: i32,
    /// A connection that owes an answer and is silent for this long is closed.
    pub stall: Nanos,
    /// Longest pause before a connection is tried again.
    pub retry_max: Nanos,
    /// Number of the thread's first connection among all of the run's, for the choice of addresses.
    pub first: usize,
    /// How many connections this thread has.
    pub connections: usize,
    /// Set when the run must end early (a signal, or another thread that gave up).
    pub stop: Arc<AtomicBool>,
}

/// What a thread does with its connections.
pub trait Behaviour {
    /// What it remembers of a request until the reply is there.
    type Pending;

    /// A session is there, new or renewed.
    fn connected(&mut self, io: &mut Io<Self::Pending>, connection: usize);

    /// A reply. An error closes the connection for good: the server lied.
    fn replied(
        &mut self,
        io: &mut Io<Self::Pending>,
        connection: usize,
        pending: Self::Pending,
        reply: Reply<'_>,
    ) -> Result<(), Violation>;

    /// A watch fired.
    fn notified(&mut self, _io: &mut Io<Self::Pending>, _connection: usize, _kind: i32, _path: &[u8]) {}

    /// A connection is gone, and what it still owed. It is tried again, unless the server lied.
    fn lost(
        &mut self,
        io: &mut Io<Self::Pending>,
        connection: usize,
        unanswered: Vec<Self::Pending>,
        why: &Lost,
    );

    /// A connection that was to be closed is closed, and its session is no more.
    fn closed(&mut self, _io: &mut Io<Self::Pending>, _connection: usize) {}

    /// Called after every batch of events, and at the time the last turn asked for.
    fn turn(&mut self, io: &mut Io<Self::Pending>) -> Turn;
}

/// When to go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    /// With the next event, or at this time.
    Until(Nanos),
    /// Not at all.
    Done,
}

/// A thread's connections, as its behaviour sees them.
#[derive(Debug)]
pub struct Io<P> {
    options: Options,
    clock: Clock,
    now: Nanos,
    epoll: OwnedFd,
    connections: Vec<Connection<P>>,
    sockets: Vec<Option<TcpStream>>,
    /// Written to since the last flush.
    dirty: Vec<usize>,
    retries: BinaryHeap<Reverse<(Nanos, usize)>>,
    up: usize,
    down_since: Nanos,
    moved: Moved,
}

/// Bytes that went through sockets, headers of TCP and IP apart.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Moved {
    /// To the server.
    pub sent: u64,
    /// From it.
    pub received: u64,
}

impl<P> Io<P> {
    fn new(options: Options, clock: Clock) -> std::io::Result<Io<P>> {
        let addresses = options.addresses.len();
        assert!(addresses > 0, "a target has an address");
        let connections: Vec<_> =
            (0..options.connections).map(|nth| Connection::new((options.first + nth) % addresses)).collect();
        Ok(Io {
            now: clock.now(),
            clock,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            sockets: (0..connections.len()).map(|_| None).collect(),
            connections,
            dirty: Vec::new(),
            retries: BinaryHeap::new(),
            up: 0,
            down_since: clock.now(),
            moved: Moved::default(),
            options,
        })
    }

    /// The time of this batch of events: right after the read that brought them.
    pub fn now(&self) -> Nanos {
        self.now
    }

    /// What was moved since the last call.
    pub fn take_moved(&mut self) -> Moved {
        std::mem::take(&mut self.moved)
    }

    /// Looks at the clock, for a behaviour that did something slow.
    pub fn look_at_the_clock(&mut self) {
        self.now = self.clock.now();
    }

    /// How many connections there are.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether there is no connection.
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// How many connections have a session.
    pub fn up(&self) -> usize {
        self.up
    }

    /// For how long no connection has had a session.
    pub fn all_down_for(&self) -> Nanos {
        if self.up > 0 { 0 } else { self.now.saturating_sub(self.down_since) }
    }

    /// Whether this connection has a session.
    pub fn is_up(&self, connection: usize) -> bool {
        self.connections[connection].phase == Phase::Up && self.connections[connection].closing.is_none()
    }

    /// Requests of this connection that are not answered.
    pub fn in_flight(&self, connection: usize) -> usize {
        self.connections[connection].in_flight()
    }

    /// The session on it; 0 when there never was one.
    pub fn session_id(&self, connection: usize) -> i64 {
        self.connections[connection].session_id
    }

    /// Whether the run must end early.
    pub fn is_stopped(&self) -> bool {
        // A flag alone: nothing is published through it.
        self.options.stop.load(Ordering::Relaxed)
    }

    /// Makes a connection. Behaviours call it for each connection they want, at the time they want it.
    pub fn open(&mut self, connection: usize) {
        if self.connections[connection].phase == Phase::Down {
            self.retries.push(Reverse((self.now, connection)));
        }
    }

    /// Sends a request. The connection must be up.
    pub fn send(&mut self, connection: usize, op: OpCode, pending: P, body: impl FnOnce(&mut Vec<u8>)) {
        self.owe(connection);
        self.connections[connection].request(op, pending, body);
        self.dirty.push(connection);
    }

    /// Ends the session; the connection stays down afterwards.
    pub fn close(&mut self, connection: usize) {
        if self.is_up(connection) {
            self.owe(connection);
            self.connections[connection].close_session();
            self.dirty.push(connection);
        }
    }

    /// Everything that is still unanswered, at the end of a run. The connections are of no use afterwards.
    pub fn abandon(&mut self) -> Vec<P> {
        self.connections.iter_mut().flat_map(Connection::abandon).collect()
    }

    /// The server is about to owe an answer; its silence counts from now, unless it owed one already.
    fn owe(&mut self, connection: usize) {
        let state = &mut self.connections[connection];
        if !state.is_owed() {
            state.heard_at = self.now;
        }
    }

    /// Sleeps until an event or a time. rustix's epoll rounds its timeout up to milliseconds (unless a feature is set that
    /// would change the server, which is built with us); `ppoll` does not, and an epoll descriptor can be polled.
    fn wait(&mut self, until: Nanos, events: &mut Vec<epoll::Event>) {
        let rest = until.saturating_sub(self.clock.now());
        let coarse = rest / COARSE_WAIT * COARSE_WAIT;
        if coarse == 0 && rest > 0 {
            let mut epoll = [PollFd::new(&self.epoll, PollFlags::IN)];
            // Interrupted is as good as nothing happened.
            let _interrupted = poll(&mut epoll, Some(&timespec(rest)));
        }
        self.take_events(coarse, events);
        self.now = self.clock.now();
    }

    fn take_events(&self, timeout: Nanos, events: &mut Vec<epoll::Event>) {
        events.clear();
        let _interrupted =
            epoll::wait(&self.epoll, rustix::buffer::spare_capacity(events), Some(&timespec(timeout)));
    }

    fn watch_writability(&mut self, connection: usize, wanted: bool) {
        let state = &mut self.connections[connection];
        if state.wants_write == wanted {
            return;
        }
        state.wants_write = wanted;
        let flags =
            if wanted { epoll::EventFlags::IN | epoll::EventFlags::OUT } else { epoll::EventFlags::IN };
        if let Some(socket) = &self.sockets[connection] {
            epoll::modify(&self.epoll, socket, epoll::EventData::new_u64(connection as u64), flags)
                .expect("the socket was added");
        }
    }

    fn connect(&mut self, connection: usize) -> Result<(), Lost> {
        let address = self.options.addresses[self.connections[connection].address];
        let refused = |error: std::io::Error| Lost::Refused(address, error.to_string());
        let socket =
            Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP)).map_err(refused)?;
        socket.set_nonblocking(true).map_err(refused)?;
        socket.set_tcp_nodelay(true).map_err(refused)?;
        match socket.connect(&address.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
            Err(error) => return Err(refused(error)),
        }
        let socket = TcpStream::from(socket);
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT;
        epoll::add(&self.epoll, &socket, epoll::EventData::new_u64(connection as u64), flags)
            .map_err(|error| refused(error.into()))?;
        self.sockets[connection] = Some(socket);
        let state = &mut self.connections[connection];
        state.wants_write = true;
        state.phase = Phase::Connecting;
        state.heard_at = self.now;
        state.sent_at = self.now;
        Ok(())
    }

    /// The socket says that it can be written to for the first time: connected, or refused.
    fn finish_connect(&mut self, connection: usize) -> Result<(), Lost> {
        let state = &mut self.connections[connection];
        let address = self.options.addresses[state.address];
        let Some(socket) = &self.sockets[connection] else { return Ok(()) };
        match socket.take_error() {
            Ok(None) => {}
            Ok(Some(error)) | Err(error) => return Err(Lost::Refused(address, error.to_string())),
        }
        state.phase = Phase::Greeting;
        state.greet(self.options.session_timeout_ms);
        self.flush(connection)
    }

    fn flush(&mut self, connection: usize) -> Result<(), Lost> {
        let state = &mut self.connections[connection];
        let Some(socket) = &mut self.sockets[connection] else { return Ok(()) };
        let mut written = 0;
        while written < state.output.len() {
            match socket.write(&state.output[written..]) {
                Ok(bytes) => written += bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Lost::Broken(error.to_string())),
            }
        }
        state.output.drain(..written);
        self.moved.sent += written as u64;
        if written > 0 {
            state.sent_at = self.now;
        }
        let unsent = !state.output.is_empty();
        self.watch_writability(connection, unsent);
        Ok(())
    }
}

fn timespec(nanos: Nanos) -> Timespec {
    Timespec { tv_sec: (nanos / SECOND) as i64, tv_nsec: (nanos % SECOND) as _ }
}

/// Runs a behaviour on its connections until it is done.
///
/// # Errors
/// What the kernel refuses before a connection exists; everything later goes to the behaviour.
pub fn drive<B: Behaviour>(options: Options, clock: Clock, behaviour: &mut B) -> std::io::Result<()> {
    // The default slack of 50 µs would show in every latency of a scheduled request.
    let _kept_as_it_was = rustix::thread::set_current_timer_slack(NonZeroU64::new(1_000));
    let io = Io::new(options, clock)?;
    let mut worker = Worker { io, behaviour, scratch: vec![0; READ_BYTES] };
    worker.run();
    Ok(())
}

struct Worker<'b, B: Behaviour> {
    io: Io<B::Pending>,
    behaviour: &'b mut B,
    scratch: Vec<u8>,
}

impl<B: Behaviour> Worker<'_, B> {
    fn run(&mut self) {
        let mut events = Vec::with_capacity(EVENTS);
        let mut housekeeping_at = 0;
        loop {
            self.io.now = self.io.clock.now();
            let Turn::Until(wanted) = self.behaviour.turn(&mut self.io) else { return };
            self.flush_dirty();
            if self.io.now >= housekeeping_at {
                self.housekeep();
                housekeeping_at = self.io.now + HOUSEKEEPING;
            }
            self.retry();
            let retry_at = self.io.retries.peek().map_or(Nanos::MAX, |Reverse((at, _))| *at);
            self.io.wait(wanted.min(housekeeping_at).min(retry_at), &mut events);
            for event in &events {
                let (connection, flags) = (event.data.u64() as usize, event.flags);
                if let Err(why) = self.handle(connection, flags) {
                    self.lose(connection, &why);
                }
            }
        }
    }

    fn handle(&mut self, connection: usize, flags: epoll::EventFlags) -> Result<(), Lost> {
        // An earlier event of the batch may have closed it.
        if self.io.sockets[connection].is_none() {
            return Ok(());
        }
        if self.io.connections[connection].phase == Phase::Connecting {
            return self.io.finish_connect(connection);
        }
        if flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR) {
            self.read(connection)?;
        }
        self.io.flush(connection)
    }

    fn read(&mut self, connection: usize) -> Result<(), Lost> {
        let Some(socket) = &mut self.io.sockets[connection] else { return Ok(()) };
        let bytes = match socket.read(&mut self.scratch) {
            Ok(0) => return Err(Lost::Closed),
            Ok(bytes) => bytes,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Ok(());
            }
            Err(error) => return Err(Lost::Broken(error.to_string())),
        };
        self.io.now = self.io.clock.now();
        self.io.moved.received += bytes as u64;
        let state = &mut self.io.connections[connection];
        state.heard_at = self.io.now;
        let mut input = std::mem::take(&mut state.input);
        input.extend_from_slice(&self.scratch[..bytes]);
        let mut at = 0;
        loop {
            let frame =
                codec::next_frame(&input, at).map_err(|length| Lost::Lied(Violation::FrameLength(length)))?;
            let Some(frame) = frame else { break };
            at = frame.end;
            self.frame(connection, &input[frame])?;
        }
        input.drain(..at);
        self.io.connections[connection].input = input;
        Ok(())
    }

    fn frame(&mut self, connection: usize, frame: &[u8]) -> Result<(), Lost> {
        match self.io.connections[connection].receive(frame)? {
            Received::Greeted => {
                self.io.up += 1;
                self.behaviour.connected(&mut self.io, connection);
            }
            Received::Answered(pending, reply) => {
                let answered = self.behaviour.replied(&mut self.io, connection, pending, reply);
                answered.map_err(Lost::Lied)?;
            }
            Received::Notified(kind, path) => self.behaviour.notified(&mut self.io, connection, kind, path),
            Received::Pong => {}
            // The server closes the socket next, which is not a loss.
            Received::Goodbye => return Err(Lost::Closed),
        }
        Ok(())
    }

    /// Drops a connection, tells the behaviour, and plans the next attempt.
    fn lose(&mut self, connection: usize, why: &Lost) {
        let io = &mut self.io;
        let state = &mut io.connections[connection];
        let was_up = state.phase == Phase::Up;
        let farewell = state.closing.is_some();
        let unanswered = state.drop_down(why);
        // Dropping the socket takes it out of epoll.
        io.sockets[connection] = None;
        if was_up {
            io.up -= 1;
            if io.up == 0 {
                io.down_since = io.now;
            }
        }
        if farewell && unanswered.is_empty() {
            io.connections[connection].forget_session();
            self.behaviour.closed(io, connection);
            return;
        }
        if !matches!(why, Lost::Lied(_)) {
            let state = &mut io.connections[connection];
            state.address = (state.address + 1) % io.options.addresses.len();
            let pause = (RETRY << state.failures.saturating_sub(1).min(10)).min(io.options.retry_max);
            io.retries.push(Reverse((io.now + pause, connection)));
        }
        self.behaviour.lost(io, connection, unanswered, why);
    }

    fn flush_dirty(&mut self) {
        while let Some(connection) = self.io.dirty.pop() {
            if let Err(why) = self.io.flush(connection) {
                self.lose(connection, &why);
            }
        }
    }

    fn retry(&mut self) {
        for _ in 0..CONNECTS {
            let Some(&Reverse((at, connection))) = self.io.retries.peek() else { return };
            if at > self.io.now {
                return;
            }
            self.io.retries.pop();
            if self.io.connections[connection].phase == Phase::Down
                && let Err(why) = self.io.connect(connection)
            {
                self.lose(connection, &why);
            }
        }
    }

    /// Pings sessions that are silent, and gives up on servers that are.
    fn housekeep(&mut self) {
        let now = self.io.now;
        for connection in 0..self.io.connections.len() {
            let state = &mut self.io.connections[connection];
            if state.phase == Phase::Down {
                continue;
            }
            let silent = now.saturating_sub(state.heard_at);
            if state.is_owed() && silent > self.io.options.stall {
                let stalled = Duration::from_nanos(silent).as_millis() as u64;
                self.lose(connection, &Lost::Stalled(stalled));
                continue;
            }
            let ping_after = state.timeout_ms * 1_000_000 / 3;
            if state.phase == Phase::Up && now.saturating_sub(state.sent_at) > ping_after {
                self.io.owe(connection);
                self.io.connections[connection].ping();
                self.io.dirty.push(connection);
            }
        }
    }
}
