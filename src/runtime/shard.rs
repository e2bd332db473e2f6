#![forbid(unsafe_code)]
//! The driver of a shard: a glommio executor that reads sockets, calls a synchronous [`Logic`], and sends what it
//! produced. All decisions are the logic's; everything that knows glommio is here, so that a second driver is one
//! file (DESIGN §1).
//!
//! Lives on: each shard. One task a connection owns its stream; one task takes outcomes from the sequencer; one
//! ticks; on the first shard one accepts. A read goes into a buffer that all connections of the shard share: an idle
//! connection holds no buffer. Bytes are sent directly when the logic made them; only what the socket does not take
//! at once waits for its task.
//!
//! Invariant: no borrow of the shared state is held across an await (clippy's `await_holding_refcell_ref`, and every
//! borrow here ends within a synchronous function).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_lite::{AsyncRead, AsyncWrite};
use glommio::net::TcpStream;
use glommio::{Latency, LocalExecutorBuilder, Placement, Shares};

use super::Clock;
use super::ring::{Consumer, Parked, Producer};
use super::sequencer::{Doorbell, Shared};
use super::sys;
use super::watchdog::Pulse;
use crate::base::{ConnectionId, Millis};

/// One read takes at most so much; what a pipeline of small requests needs, and far below the limit of a frame.
const READ_BYTES: usize = 64 << 10;

/// How often [`Logic::on_tick`] is called: expiry is at most a tick of the configuration late, and this is far
/// below any.
const TICK: Duration = Duration::from_millis(50);

/// How long the ticking and the accepting task may run on before glommio looks at its rings: longer than either ever
/// does. A shorter time could pass before an executor's very first task, and then it would park for good, before there
/// is an alarm ([`Alarms`]).
const PREEMPT: Duration = Duration::from_secs(10);

/// The same for what serves connections.
const PREEMPT_SERVING: Duration = Duration::from_millis(1);

/// An executor that parked by mistake wakes again within so long ([`Alarms`]).
const ALARM_EVERY: Duration = Duration::from_millis(10);

/// Alarms set ahead, ticks and more: so many mistakes in a row, without a task run in between, are not survived.
const ALARMS_AHEAD: usize = 100;

/// And so many for what comes after a pause.
const FAR_ALARMS: usize = 12;

/// A socket on its way from the accepting shard to the one that will serve it.
pub type Handover = (OwnedFd, SocketAddr);

/// What the logic wants of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Wants {
    /// Read on.
    pub read: bool,
    /// Close, once everything queued has been sent.
    pub close: bool,
    /// Close now, unsent bytes and all.
    pub abort: bool,
}

/// The synchronous part: bytes and outcomes in, bytes and submissions out.
pub trait Logic: 'static {
    /// A connection came. `None` refuses it.
    fn on_accept(&mut self, peer: SocketAddr, now: Millis) -> Option<ConnectionId>;
    /// The client sent bytes.
    fn on_bytes(&mut self, connection: ConnectionId, bytes: &[u8], now: Millis);
    /// The connection is gone, whoever closed it.
    fn on_closed(&mut self, connection: ConnectionId, now: Millis);
    /// Outcomes may have come: take them, and go on with what waited.
    fn on_turn(&mut self, now: Millis);
    /// Whether another turn is due at once: some connection waits for `applied` to advance, or may go on.
    fn must_stay(&self) -> bool;
    /// Time passed.
    fn on_tick(&mut self, now: Millis);
    /// Connections whose output or wishes changed since the last call, each once at least.
    fn take_dirty(&mut self, into: &mut Vec<ConnectionId>);
    /// Unsent bytes of a connection; the driver removes what it sent from the front.
    fn output(&mut self, connection: ConnectionId) -> Option<&mut Output>;
    /// What to do with the connection now.
    fn wants(&self, connection: ConnectionId) -> Wants;
    /// All output of the connection was sent, or some of what had been blocked.
    fn on_sent(&mut self, connection: ConnectionId, now: Millis);
    /// The client's side of the connection is closed: nothing more will come. True when the connection is to stay
    /// until its output is sent.
    fn on_end_of_input(&mut self, connection: ConnectionId, now: Millis) -> bool;
    /// The server stops: take no new requests. True when nothing is left to do.
    fn on_stopping(&mut self, now: Millis) -> bool;
}

/// Bytes on their way out.
#[derive(Debug, Default)]
pub struct Output {
    bytes: Vec<u8>,
    sent: usize,
    sent_in_all: u64,
}

impl Output {
    /// Where replies are appended.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Bytes not sent yet.
    pub fn unsent(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// Bytes that the socket has taken since the connection began.
    pub fn sent_in_all(&self) -> u64 {
        self.sent_in_all
    }

    /// Removes what was sent. An idle connection keeps no buffer.
    pub fn consume(&mut self, sent: usize) {
        self.sent += sent;
        self.sent_in_all += sent as u64;
        assert!(self.sent <= self.bytes.len());
        if self.sent == self.bytes.len() {
            self.sent = 0;
            // A buffer of ordinary size is freed too: idle connections are many, and the allocator's size classes
            // make the next one cheap.
            self.bytes = Vec::new();
        } else if self.sent >= 1 << 20 {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }
}

/// What a shard is started with.
pub struct ShardStart {
    /// Which one.
    pub index: usize,
    /// The core to stay on, if threads are pinned.
    pub core: Option<usize>,
    /// Sockets handed over by the accepting shard.
    pub handovers: Consumer<Handover>,
    /// Whether this shard sleeps, for whoever pushes to it.
    pub parked: Arc<Parked>,
    /// Wakes it.
    pub doorbell: Doorbell,
    /// The sequencer's bell and the word to stop.
    pub shared: Arc<Shared>,
    /// Time.
    pub clock: Clock,
    /// This shard's sign of life.
    pub pulse: Arc<Pulse>,
}

/// What the accepting shard has beside.
pub struct AcceptStart {
    /// The listening socket.
    pub listener: OwnedFd,
    /// The other ends: sockets for each shard, its flag and its doorbell; the first is this shard itself.
    pub shards: Vec<(Producer<Handover>, Arc<Parked>, Doorbell)>,
    /// Connections each shard has, as last heard.
    pub loads: Arc<Vec<AtomicUsize>>,
    /// Whether a peer may connect (limits for each address and in all); counts it in if so.
    pub admit: Box<dyn FnMut(SocketAddr) -> bool + Send>,
    /// `clientTcpKeepAlive`.
    pub keep_alive: bool,
}

/// Everything the tasks of one shard share.
struct State<L> {
    logic: L,
    links: std::collections::HashMap<ConnectionId, Link>,
    dirty: Vec<ConnectionId>,
    scratch: Vec<u8>,
    /// Wakes the task that takes outcomes.
    outcomes: Option<Waker>,
}

/// The driver's side of a connection.
#[derive(Default)]
struct Link {
    fd: Option<Rc<TcpFd>>,
    waker: Option<Waker>,
    /// The socket took less than we had.
    blocked: bool,
    /// Its task waits without reading, since the logic wanted none.
    paused: bool,
}

/// A descriptor borrowed from a stream that its task owns.
struct TcpFd(std::os::fd::RawFd);

impl std::os::fd::AsRawFd for TcpFd {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.0
    }
}

/// Starts the executor of a shard on a thread of its own; `make` builds the logic there.
///
/// # Errors
/// When glommio cannot start an executor.
pub fn spawn<L: Logic>(
    start: ShardStart,
    accept: Option<AcceptStart>,
    make: impl FnOnce() -> L + Send + 'static,
) -> Result<std::thread::JoinHandle<()>, String> {
    let name = format!("shard-{}", start.index);
    let placement = start.core.map_or(Placement::Unbound, Placement::Fixed);
    let (started, wait) = std::sync::mpsc::channel();
    let builder = std::thread::Builder::new().name(name.clone());
    let handle = builder.spawn(move || {
        let executor = LocalExecutorBuilder::new(placement)
            .name(&name)
            .io_memory(64 << 10)
            .preempt_timer(PREEMPT)
            .make();
        match executor {
            Ok(executor) => {
                let _ = started.send(Ok(()));
                executor.run(run(start, accept, make()));
            }
            Err(error) => {
                let _ = started.send(Err(error.to_string()));
            }
        }
    });
    let handle = handle.map_err(|error| error.to_string())?;
    match wait.recv() {
        Ok(Ok(())) => Ok(handle),
        Ok(Err(error)) => Err(error),
        Err(_) => Err("the thread ended before it started".into()),
    }
}

async fn run<L: Logic>(start: ShardStart, accept: Option<AcceptStart>, logic: L) {
    let state = Rc::new(RefCell::new(State {
        logic,
        links: std::collections::HashMap::new(),
        dirty: Vec::new(),
        scratch: vec![0; READ_BYTES],
        outcomes: None,
    }));
    let executor = glommio::executor();
    let urgent = executor.create_task_queue(Shares::default(), Latency::Matters(PREEMPT_SERVING), "outcomes");
    let shared = start.shared.clone();
    let clock = start.clock.clone();
    let index = start.index;
    let pulse = start.pulse.clone();
    if let Some(accept) = accept {
        glommio::spawn_local(accept_loop(accept, shared.clone())).detach();
    }
    let outcomes = glommio::spawn_local_into(outcome_loop(start, state.clone()), urgent);
    match outcomes {
        Ok(task) => {
            task.detach();
        }
        Err(error) => super::fatal::fatal(super::fatal::Fatal::Invariant, &format!("no task queue: {error}")),
    }
    // The ticking task ends the executor when the server stops.
    let mut done = false;
    let mut alarms = Alarms::new();
    loop {
        alarms.set();
        pulse.beat();
        glommio::timer::sleep(TICK).await;
        let now = clock.now();
        {
            let mut state = state.borrow_mut();
            state.logic.on_tick(now);
            state.turn(now);
            // Acquire: pairs with the Release of whoever stops the server.
            if shared.stopping.load(Ordering::Acquire) && !done && state.logic.on_stopping(now) {
                done = true;
                // Release: our last submissions are in the queue before the sequencer counts us.
                shared.shards_done.fetch_add(1, Ordering::Release);
                shared.bell.ring();
            }
        }
        if done {
            tracing::debug!(shard = index, "shard has nothing left to do");
            return;
        }
    }
}

/// Timers that nobody waits for, so that the executor never sleeps long.
///
/// glommio 0.9 takes "preempted before the first task" for "nothing to run" (`LocalExecutor::run_task_queues`): when
/// the kernel takes the core away between its look at the rings and its first task, for longer than the preemption
/// timer, it parks although tasks are runnable, the ticking one perhaps among them, and nothing but outside events
/// wakes it. glommio's pull request 53 mends that and is in no release yet. An alarm ends such a sleep: it counts as an
/// event, and the executor goes through its queues once more.
///
/// A pause of the whole process (SIGSTOP, a frozen machine) lets all of them go off at once: some stand far apart.
struct Alarms {
    timers: VecDeque<glommio::timer::Timer>,
    /// The n-th goes off 2ⁿ seconds after it was set.
    far: [Option<glommio::timer::Timer>; FAR_ALARMS],
    /// When the last of them goes off, from `since`.
    last: Duration,
    since: std::time::Instant,
}

impl Alarms {
    fn new() -> Alarms {
        let far = [const { None }; FAR_ALARMS];
        Alarms { timers: VecDeque::new(), far, last: Duration::ZERO, since: std::time::Instant::now() }
    }

    /// Drops those that went off and sets as many anew.
    fn set(&mut self) {
        let now = self.since.elapsed();
        let mut nobody = Context::from_waker(Waker::noop());
        while let Some(first) = self.timers.front_mut() {
            if Pin::new(first).poll(&mut nobody).is_pending() {
                break;
            }
            self.timers.pop_front();
        }
        for (n, far) in self.far.iter_mut().enumerate() {
            let timer = far.get_or_insert_with(|| glommio::timer::Timer::new(Duration::from_secs(1 << n)));
            if Pin::new(timer).poll(&mut nobody).is_ready() {
                *far = None;
            }
        }
        self.last = self.last.max(now);
        while self.timers.len() < ALARMS_AHEAD {
            self.last += ALARM_EVERY;
            let mut timer = glommio::timer::Timer::new(self.last - now);
            // The first poll registers it.
            if Pin::new(&mut timer).poll(&mut nobody).is_pending() {
                self.timers.push_back(timer);
            }
        }
    }
}

/// Takes sockets and outcomes; sleeps with the flag up.
async fn outcome_loop<L: Logic>(start: ShardStart, state: Rc<RefCell<State<L>>>) {
    let ShardStart { mut handovers, parked, doorbell, clock, .. } = start;
    let this = state.clone();
    poll_fn(move |cx| {
        doorbell.install(cx.waker());
        parked.unpark();
        let mut arrived = Vec::new();
        let mut state_ref = this.borrow_mut();
        state_ref.outcomes.get_or_insert_with(|| cx.waker().clone());
        let now = clock.now();
        loop {
            while let Some(handover) = handovers.pop() {
                arrived.push(handover);
            }
            let must_stay = state_ref.turn(now);
            if must_stay {
                // A connection waits for `applied`, which is microseconds away: look again after the others ran.
                cx.waker().wake_by_ref();
                break;
            }
            parked.park();
            // Once more, now that whoever pushes will ring.
            if handovers.peek().is_none() && !state_ref.turn(now) {
                break;
            }
            parked.unpark();
        }
        drop(state_ref);
        for (fd, peer) in arrived.drain(..) {
            glommio::spawn_local(connection(this.clone(), fd, peer, clock.clone())).detach();
        }
        Poll::<()>::Pending
    })
    .await;
}

impl<L: Logic> State<L> {
    /// Lets the logic take outcomes and sends what came of it. True when the shard must not sleep.
    fn turn(&mut self, now: Millis) -> bool {
        self.logic.on_turn(now);
        self.flush(now);
        self.logic.must_stay()
    }

    /// After a connection's own task did something: sends what came of it, and has the next turn taken if one is due.
    fn after_event(&mut self, now: Millis) {
        self.flush(now);
        if let (true, Some(waker)) = (self.logic.must_stay(), &self.outcomes) {
            waker.wake_by_ref();
        }
    }

    /// Sends what the logic produced, and wakes the tasks of connections that need more than that.
    fn flush(&mut self, now: Millis) {
        let mut dirty = std::mem::take(&mut self.dirty);
        self.logic.take_dirty(&mut dirty);
        for connection in dirty.drain(..) {
            let Some(link) = self.links.get_mut(&connection) else { continue };
            if let (Some(fd), false) = (&link.fd, link.blocked) {
                if let Some(output) = self.logic.output(connection) {
                    while !output.unsent().is_empty() {
                        match sys::send(sys::borrow_fd(&**fd), output.unsent()) {
                            Ok(sent) => output.consume(sent),
                            // Full, or broken: its task finds out which.
                            Err(_) => {
                                link.blocked = true;
                                break;
                            }
                        }
                    }
                }
                self.logic.on_sent(connection, now);
            }
            let wants = self.logic.wants(connection);
            if (link.blocked || wants.close || wants.abort || (link.paused && wants.read))
                && let Some(waker) = link.waker.take()
            {
                waker.wake();
            }
        }
        self.dirty = dirty;
    }
}

/// Why a connection's task stopped waiting.
enum Next {
    /// All that had been blocked is sent: requests that waited for room may go on.
    Sent,
    Read(usize),
    EndOfInput,
    Broken,
    Close,
}

/// One connection, from the hand-over to the close.
async fn connection<L: Logic>(state: Rc<RefCell<State<L>>>, fd: OwnedFd, peer: SocketAddr, clock: Clock) {
    let accepted = state.borrow_mut().logic.on_accept(peer, clock.now());
    let Some(id) = accepted else { return sys::reset(fd) };
    let mut stream = sys::glommio_stream(fd);
    let raw = Rc::new(TcpFd(std::os::fd::AsRawFd::as_raw_fd(&stream)));
    state.borrow_mut().links.insert(id, Link { fd: Some(raw), ..Link::default() });
    let mut input_open = true;
    loop {
        let next = wait(&state, &mut stream, id, input_open, &clock).await;
        let now = clock.now();
        let mut state = state.borrow_mut();
        match next {
            Next::Read(bytes) => {
                let scratch = std::mem::take(&mut state.scratch);
                state.logic.on_bytes(id, &scratch[..bytes], now);
                state.scratch = scratch;
                state.after_event(now);
            }
            Next::Sent => state.after_event(now),
            Next::EndOfInput => {
                input_open = false;
                if !state.logic.on_end_of_input(id, now) {
                    break;
                }
                state.after_event(now);
            }
            Next::Broken | Next::Close => break,
        }
    }
    {
        let mut state = state.borrow_mut();
        state.links.remove(&id);
        let now = clock.now();
        state.logic.on_closed(id, now);
        state.after_event(now);
    }
    sys::shutdown(sys::borrow_fd(&stream));
}

/// Waits until there is something to read, finishing blocked output meanwhile.
async fn wait<L: Logic>(
    state: &Rc<RefCell<State<L>>>,
    stream: &mut TcpStream,
    id: ConnectionId,
    input_open: bool,
    clock: &Clock,
) -> Next {
    poll_fn(|cx| {
        let now = clock.now();
        let mut state = state.borrow_mut();
        let State { logic, links, scratch, .. } = &mut *state;
        let Some(link) = links.get_mut(&id) else { return Poll::Ready(Next::Close) };
        link.waker = Some(cx.waker().clone());
        if let Some(output) = logic.output(id) {
            while !output.unsent().is_empty() {
                match Pin::new(&mut *stream).poll_write(cx, output.unsent()) {
                    Poll::Ready(Ok(0)) | Poll::Ready(Err(_)) => return Poll::Ready(Next::Broken),
                    Poll::Ready(Ok(sent)) => output.consume(sent),
                    Poll::Pending => break,
                }
            }
            let was_blocked = std::mem::replace(&mut link.blocked, !output.unsent().is_empty());
            if was_blocked && !link.blocked {
                logic.on_sent(id, now);
                return Poll::Ready(Next::Sent);
            }
        }
        let wants = logic.wants(id);
        if wants.abort || (wants.close && !link.blocked) || (!input_open && !link.blocked && !wants.read) {
            return Poll::Ready(Next::Close);
        }
        link.paused = !wants.read;
        if link.paused || !input_open {
            return Poll::Pending;
        }
        match Pin::new(&mut *stream).poll_read(cx, scratch) {
            Poll::Ready(Ok(0)) => Poll::Ready(Next::EndOfInput),
            Poll::Ready(Ok(bytes)) => Poll::Ready(Next::Read(bytes)),
            Poll::Ready(Err(_)) => Poll::Ready(Next::Broken),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Takes connections and hands each to the shard with the fewest.
async fn accept_loop(mut accept: AcceptStart, shared: Arc<Shared>) {
    let duplicate = accept.listener.try_clone();
    let listener = sys::glommio_listener(accept.listener);
    // The runtime's listener hides its descriptor; this is the same socket.
    let Ok(raw) = duplicate else {
        super::fatal::fatal(super::fatal::Fatal::Invariant, "no descriptor left for the listener")
    };
    loop {
        let first = listener.shared_accept().await;
        // Acquire: see `run`.
        if shared.stopping.load(Ordering::Acquire) {
            return;
        }
        match first {
            Ok(stream) => {
                let stream = stream.bind_to_executor();
                let duplicate = rustix::io::fcntl_dupfd_cloexec(sys::borrow_fd(&stream), 3);
                let peer = stream.peer_addr();
                if let (Ok(fd), Ok(peer)) = (duplicate, peer) {
                    hand_over(
                        &mut accept.shards,
                        &accept.loads,
                        &mut accept.admit,
                        accept.keep_alive,
                        fd,
                        peer,
                    );
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection; trying again in 100 ms");
                glommio::timer::sleep(Duration::from_millis(100)).await;
                continue;
            }
        }
        // Whatever waits behind it, without a trip through the reactor each.
        while let Ok((fd, peer)) = sys::accept(std::os::fd::AsFd::as_fd(&raw)) {
            hand_over(&mut accept.shards, &accept.loads, &mut accept.admit, accept.keep_alive, fd, peer);
        }
    }
}

fn hand_over(
    shards: &mut [(Producer<Handover>, Arc<Parked>, Doorbell)],
    loads: &[AtomicUsize],
    admit: &mut Box<dyn FnMut(SocketAddr) -> bool + Send>,
    keep_alive: bool,
    fd: OwnedFd,
    peer: SocketAddr,
) {
    if !admit(peer) {
        return sys::reset(fd);
    }
    sys::configure_accepted(std::os::fd::AsFd::as_fd(&fd), keep_alive);
    // Relaxed: a rough balance is enough.
    let least = (0..shards.len()).min_by_key(|&i| loads[i].load(Ordering::Relaxed)).unwrap_or(0);
    loads[least].fetch_add(1, Ordering::Relaxed);
    let (queue, parked, doorbell) = &mut shards[least];
    queue.push((fd, peer));
    if parked.must_wake() {
        doorbell.ring();
    }
}
