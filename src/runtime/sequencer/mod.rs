#![forbid(unsafe_code)]
//! The core that orders: one plain thread, the only writer of the tree, with the log's ring and its own bell.
//!
//! Lives on: the sequencer. One turn, read aloud:
//!
//! ```text
//! take what the shards submitted ─► prep ─► zab ─► the log collects
//! if no write is in flight, hand the collected batch to the ring
//! one system call: submit, and sleep unless there is work or a result
//! a write came back ─► flushed ─► zab commits ─► apply the round:
//!     begun = last of the round ─► records ─► events and replies into the rings ─► applied ─► doorbells ─► retire
//! ```
//!
//! Group commit follows from the disk's own pace: what arrives during a flush leaves with the next one; there is no
//! timer, unless one is asked for (`linger.rs`). Invariants: `applied ≤ committed ≤ last_logged` and `applied ≤ flushed`;
//! nothing is answered before it is durable; the sequencer never waits for a shard (its rings take everything) nor for
//! the disk shard (it prepares segments ahead, and until there is one the log simply collects).
//!
//! - `orders.rs`: requests and sessions of this server's clients; `apply.rs`: what is decided becomes state.
//! - `world.rs`: what all of it stands on, and where a simulator stands instead.
//! - `local.rs`: sessions that only this server knows; `read_only.rs`: what it serves without a leader.
//! - `member.rs`: zab's actions, and what links, keeper and images report; `leader.rs` and `learner.rs`: requests that
//!   travel between servers.
//!
//! A member's sockets are in the same ring as the log: what it sends in a turn leaves with the turn's one system call, a
//! proposal beside the write of its own log.
//!
//! Not here: the bytes on a link (`peers`), files, what a request means.

mod apply;
mod leader;
mod learner;
mod local;
mod member;
mod orders;
mod read_only;
mod refused;
mod underway;
mod world;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use self::leader::Requested;
use self::learner::Asked;
pub use self::local::LocalSessions;
use self::member::Member;
use self::orders::Internal;
use self::read_only::Patience;
use self::underway::Underway;
pub use self::world::{Clocks, DiskShard, EpochKeeper, ImageMover, Machine, SequencerIo, World};
use super::disk::{Done, Job, SnapshotPolicy};
use super::fatal::{Fatal, fatal};
use super::linger::Linger;
use super::messages::{Gather, Outcome, SequencerPart, Serving, Submission, Ticket, WriteRequest};
use super::metrics::{DiskMetrics, SequencerMetrics};
use super::peers;
use super::pressure::Pressure;
use super::ring::{Consumer, Parked, Producer};
use super::snapshots::SnapshotJob;
use super::sys::{Bell, Buffer, Durability, Ring};
use super::watchdog::Pulse;
use crate::base::planted::{Bug, planted};
use crate::base::{Millis, SessionId, ShardId, Zxid};
use crate::pipeline::Pipeline;
use crate::pipeline::acl::Identities;
use crate::sessions::{Attachment, SessionIds};
use crate::storage::wal::{BatchKind, WalWrite, WalWriter};
use crate::watches::InterestTable;
use crate::zab::membership::Membership;
use crate::zab::message::{LinkId, Payload};
use crate::zab::settings::{Durable, Settings as ZabSettings};
use crate::zab::{Action, Event, Peer};

/// A batch is followed by a seal when nothing came for so long (reliability R4).
const SEAL_AFTER_MS: u64 = 50;

/// How long a server that stops waits for others to have heard what it said last, ms.
const LAST_WORDS_MS: u64 = 500;

/// How a shard is reached.
pub struct ShardLink {
    /// What it submits.
    pub submissions: Consumer<Submission>,
    /// What it gets back.
    pub outcomes: Producer<Outcome>,
    /// Whether it sleeps.
    pub parked: Arc<Parked>,
    /// Wakes it.
    pub doorbell: Doorbell,
}

/// Wakes a shard's executor: the waker of a task of its own, once that task has run.
#[derive(Clone, Debug, Default)]
pub struct Doorbell {
    waker: Arc<std::sync::OnceLock<std::task::Waker>>,
}

impl Doorbell {
    /// The shard's task introduces itself.
    pub fn install(&self, waker: &std::task::Waker) {
        // The task lives as long as the thread, and so does its waker: the first one stays valid.
        let _ = self.waker.set(waker.clone());
    }

    /// Wakes the shard; before it has started there is nobody to wake.
    pub fn ring(&self) {
        if let Some(waker) = self.waker.get() {
            waker.wake_by_ref();
        }
    }
}

/// What shards share with the sequencer beside the queues.
#[derive(Debug)]
pub struct Shared {
    /// Whether the sequencer sleeps.
    pub parked: Parked,
    /// Wakes it.
    pub bell: Bell,
    /// The server is on its way out: shards take no new requests.
    pub stopping: AtomicBool,
    /// Shards that have nothing left to do, when stopping.
    pub shards_done: AtomicUsize,
    /// The sequencer's sign of life.
    pub pulse: Arc<Pulse>,
    /// Whether the state may grow.
    pub pressure: Pressure,
}

impl Shared {
    /// After a push into a submission queue.
    pub fn wake_sequencer(&self) {
        if self.parked.must_wake() {
            self.bell.ring();
        }
    }
}

/// Everything the sequencer starts with.
pub struct Start<W: World = Machine> {
    /// Tree, sessions, prep and apply.
    pub pipeline: Pipeline,
    /// The log, positioned.
    pub wal: WalWriter,
    /// The segment being written, if recovery left one.
    pub log_file: Option<<W::Disk as DiskShard>::File>,
    /// The shards.
    pub shards: Vec<ShardLink>,
    /// Who waits for which path.
    pub interest: Arc<InterestTable>,
    /// The disk shard.
    pub disk: W::Disk,
    /// What the shards see of us.
    pub shared: Arc<Shared>,
    /// Ids of new sessions.
    pub session_ids: SessionIds,
    /// How a write becomes durable.
    pub durability: Durability,
    /// Flush apart from the write, where the file system knows no `RWF_DSYNC`.
    pub flush_apart: bool,
    /// Both clocks.
    pub clock: W::Clock,
    /// Snapshots are due after so many txns; drawn anew after each.
    pub snapshots: SnapshotPolicy,
    /// A flush slower than this is logged, ms.
    pub flush_warning_ms: u64,
    /// How long a flush may wait for company, ms; 0: not at all.
    pub flush_delay_ms: u64,
    /// What loading the state has counted.
    pub loaded: DiskMetrics,
    /// What a member of an ensemble has besides.
    pub member: Option<MemberStart<W>>,
}

/// What a member of an ensemble starts with.
pub struct MemberStart<W: World = Machine> {
    /// Where the others are.
    pub peers: peers::Settings,
    /// Saves epochs, reads the log.
    pub keeper: W::Keeper,
    /// Sends and receives whole states.
    pub images: W::Images,
    /// What zab starts with, made on the thread that runs it.
    pub zab: Box<dyn FnOnce() -> (ZabSettings, Membership, Durable) + Send>,
    /// Whether new sessions are this server's own.
    pub local_sessions: Option<LocalSessions>,
    /// Whether it lets clients read while there is no leader.
    pub read_only: bool,
}

/// See [`Sequencer::standing`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// Durable up to here.
    pub flushed: Zxid,
    /// Known to be decided up to here.
    pub decided: Zxid,
    /// Applied up to here; above `decided` it is a state that a leader sent which was not established since.
    pub applied: Zxid,
    /// Digest of the tree at `applied`.
    pub digest: i64,
}

/// Something that happens in order behind the txns before it.
enum Entry {
    /// A txn in the log or on its way there.
    Txn { zxid: Zxid, payload: Payload, origin: Option<Origin>, submitted: Millis },
    /// An answer that must not leave before the txns ahead of it.
    Barrier(ShardId, Outcome),
    /// A look at a session's ephemerals, likewise.
    Ephemerals { shard: ShardId, ticket: Ticket, session: SessionId, prefix: Box<[u8]> },
}

/// Who waits for a txn.
enum Origin {
    Request(ShardId, Ticket),
    /// The same, of an ephemeral that its local session may not have.
    Ephemeral(ShardId, Ticket),
    NewSession(Attachment, u32),
}

/// The buffer that the kernel reads: a batch of the log.
pub struct Batch(WalWrite);

impl Batch {
    /// What is to be written, and where.
    pub fn write(&self) -> &WalWrite {
        &self.0
    }
}

impl Buffer for Batch {
    fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }
}

/// The sequencer's whole state.
pub struct Sequencer<W: World = Machine> {
    pipeline: Pipeline,
    zab: Peer,
    wal: WalWriter,
    log_file: Option<<W::Disk as DiskShard>::File>,
    io: W::Io,
    shards: Vec<ShardLink>,
    interest: Arc<InterestTable>,
    disk: W::Disk,
    shared: Arc<Shared>,
    session_ids: SessionIds,
    durability: Durability,
    flush_apart: bool,
    clock: W::Clock,
    entries: VecDeque<Entry>,
    /// What zab is to be told, and what it wants done; whether it is being told.
    events: VecDeque<Event>,
    actions: Vec<Action>,
    stepping: bool,
    /// Who asked for the proposal that is being made.
    proposing: Option<Origin>,
    committed: Zxid,
    flushed: Zxid,
    serving: Serving,
    local_sessions: Option<LocalSessions>,
    /// A write behind its session's createSession, until there is a zxid for it.
    postponed: Option<(ShardId, WriteRequest)>,
    member: Option<Box<Member<W>>>,
    /// While learning: what clients wait for. While leading: what learners asked for, and which link holds a session.
    asked: Asked,
    requests: Requested,
    owners: HashMap<SessionId, LinkId, ahash::RandomState>,
    internal: VecDeque<Internal>,
    /// While a member serves.
    underway: Underway,
    metrics: SequencerMetrics,
    disk_metrics: DiskMetrics,
    misread_said: bool,
    /// Stops at this time, whether its links are closed or not.
    ends_at: Option<Millis>,
    /// Shards that got something in this round.
    rung: u64,
    last_batch: Millis,
    /// When this turn was to begin, had the machine let it; and until when no session is over, because it did not.
    due_by: Millis,
    mercy_until: Millis,
    write_began: Millis,
    snapshots: SnapshotPolicy,
    flush_warning_ms: u64,
    linger: Linger,
    nobody: Identities,
}

impl Sequencer {
    /// Puts the parts together on the thread that will run them.
    ///
    /// # Errors
    /// When the kernel refuses the ring, or the port for elections.
    pub fn new(start: Start) -> std::io::Result<Sequencer> {
        let ring = Ring::new(start.shared.bell.clone())?;
        Sequencer::with_io(start, ring)
    }

    /// Runs until the server stops: all shards done, all txns durable and answered.
    pub fn run(mut self) {
        while self.turn() {}
    }
}

impl<W: World> Sequencer<W> {
    /// As [`Sequencer::new`], over what is given.
    ///
    /// # Errors
    /// When the port for elections cannot be had.
    pub fn with_io(start: Start<W>, mut io: W::Io) -> std::io::Result<Sequencer<W>> {
        let last = start.wal.last();
        let mut entries = VecDeque::new();
        let local_sessions = start.member.as_ref().and_then(|member| member.local_sessions);
        let (zab, member, committed) = match start.member {
            None => (Peer::alone(last), None, last),
            Some(member) => {
                let now = start.clock.now();
                let (settings, membership, durable) = (member.zab)();
                let tick_ms = settings.tick_ms;
                // What is logged and not known to be decided: applied when it is, or cut.
                let tail = durable.history.iter().filter(|(zxid, _)| *zxid > durable.committed);
                entries.extend(tail.map(|(zxid, payload)| Entry::Txn {
                    zxid: *zxid,
                    payload: payload.clone(),
                    origin: None,
                    submitted: now,
                }));
                let applied = start.pipeline.applied();
                assert!(applied == durable.committed, "tree at {applied}, decided is {}", durable.committed);
                // A state that came of a leader that was never established is not to be called decided by our log.
                let committed = durable.confirmed;
                let links = peers::Peers::new(member.peers, &mut io, start.shared.bell.clone(), now)?;
                let patience = Patience::new(member.read_only, tick_ms);
                let member =
                    Member::new(links, member.keeper, member.images, tick_ms, patience, &membership, now);
                (Peer::start(settings, membership, durable), Some(Box::new(member)), committed)
            }
        };
        let applied = start.pipeline.applied();
        assert!(applied >= committed, "tree at {applied}, decided is {committed}");
        let mut sequencer = Sequencer {
            pipeline: start.pipeline,
            zab,
            wal: start.wal,
            log_file: start.log_file,
            io,
            shards: start.shards,
            interest: start.interest,
            disk: start.disk,
            shared: start.shared,
            session_ids: start.session_ids,
            durability: start.durability,
            flush_apart: start.flush_apart,
            last_batch: start.clock.now(),
            due_by: start.clock.now(),
            mercy_until: Millis(0),
            write_began: start.clock.now(),
            linger: Linger::new(start.flush_delay_ms, start.clock.now()),
            clock: start.clock,
            entries,
            events: VecDeque::new(),
            actions: Vec::new(),
            stepping: false,
            proposing: None,
            committed,
            flushed: last,
            serving: if member.is_some() { Serving::No } else { Serving::Alone },
            local_sessions,
            postponed: None,
            member,
            asked: Asked::default(),
            requests: Requested::default(),
            // Looked up by key, never iterated.
            owners: HashMap::default(),
            internal: VecDeque::new(),
            underway: Underway::default(),
            metrics: SequencerMetrics::default(),
            disk_metrics: start.loaded,
            misread_said: false,
            ends_at: None,
            rung: 0,
            snapshots: start.snapshots,
            flush_warning_ms: start.flush_warning_ms,
            nobody: Identities::none(),
        };
        sequencer.order_segment();
        Ok(sequencer)
    }

    /// The txn up to which its log or a received state is durable, what is decided of that, and the state's digest where
    /// it stands: for whoever watches a server from outside.
    pub fn standing(&self) -> Standing {
        let applied = self.pipeline.applied();
        Standing { flushed: self.flushed, decided: self.committed, applied, digest: self.pipeline.digest() }
    }

    /// Does what there is to do, then sleeps until there is more. Whether the server goes on.
    pub fn turn(&mut self) -> bool {
        self.shared.pulse.beat();
        let now = self.clock.now();
        self.notice_standstill(now);
        let mut busy = self.member_turn(now);
        busy |= self.take_requests(now);
        busy |= self.take_submissions(now);
        busy |= self.take_disk_reports();
        self.tick(now);
        busy |= self.propose_internal(now);
        self.start_write(now);
        busy |= self.apply_committed(now);
        self.pipeline.reclaim();
        if self.may_stop(now) && (planted(Bug::LeaderHangsUp) || self.has_said_all(now)) {
            return false;
        }
        self.flush_links();
        // What others left for us to tell zab is told first.
        busy |= !self.events.is_empty();
        let wait = if busy { Some(Duration::ZERO) } else { self.wait(now) };
        self.due_by = now.plus(wait.map_or(0, |wait| wait.as_millis() as u64));
        self.sleep(wait);
        true
    }

    /// Sleeps in the ring, or only submits to it; takes a finished write.
    fn sleep(&mut self, wait: Option<Duration>) {
        let mut wait = wait;
        if wait != Some(Duration::ZERO) {
            self.shared.parked.park();
            let submitted = self.takes_submissions()
                && self.shards.iter_mut().any(|shard| shard.submissions.peek().is_some());
            if submitted || self.disk.has_report() || self.has_report() {
                wait = Some(Duration::ZERO);
            }
        }
        let woken = match self.io.turn(wait) {
            Ok(woken) => woken,
            Err(error) => fatal(Fatal::Invariant, &format!("the sequencer's ring failed: {error}")),
        };
        self.shared.parked.unpark();
        if let Some(result) = woken.write {
            self.write_done(result);
        }
        self.on_sockets(woken.sockets);
    }

    /// How long nothing is due: until the next bucket of sessions, the next look at containers, the seal.
    fn wait(&self, now: Millis) -> Option<Duration> {
        let mut ms = 1_000;
        if let (true, Some(poll)) = (self.orders(), self.pipeline.sessions_ref().next_poll()) {
            ms = ms.min(poll.max(self.mercy_until).since(now));
        }
        if let Some(poll) = self.pipeline.sessions_ref().next_local_poll() {
            ms = ms.min(poll.max(self.mercy_until).since(now));
        }
        if let Some(due) = self.member_due() {
            ms = ms.min(due.since(now));
        }
        if self.wal.seal_due() {
            ms = ms.min(self.last_batch.plus(SEAL_AFTER_MS).since(now));
        }
        if let Some(linger_ms) = self.lingers(now) {
            ms = ms.min(linger_ms);
        }
        if let Some(ends_at) = self.ends_at {
            ms = ms.min(ends_at.since(now));
        }
        if W::WAKES_TO_RECLAIM && self.pipeline.has_backlog() {
            ms = ms.min(5);
        }
        Some(Duration::from_millis(ms.max(1)))
    }

    /// Hands the collected batch to the ring, or the seal when nothing came for a while.
    fn start_write(&mut self, now: Millis) {
        if self.io.is_writing() || self.lingers(now).is_some() {
            return;
        }
        let write = match self.wal.next_write(self.committed) {
            Some(write) => {
                self.last_batch = now;
                self.metrics.batch_cut(self.entries.len(), 0);
                write
            }
            None if self.wal.seal_due() && now.since(self.last_batch) >= SEAL_AFTER_MS => {
                match self.wal.seal(self.committed) {
                    Some(write) => write,
                    None => return,
                }
            }
            None => return self.order_segment(),
        };
        if self.log_file.as_ref().is_none_or(|file| W::Disk::segment(file) != write.segment) {
            self.log_file = Some(self.disk.take_file(write.segment));
        }
        let file = self.log_file.as_ref().expect("just set");
        self.write_began = now;
        let durability = if planted(Bug::FlushIsForgotten) { Durability::None } else { self.durability };
        self.io.write(file, Batch(write), durability);
        self.order_segment();
    }

    /// For how long the collected batch waits for company yet, ms; `None` when it does not.
    fn lingers(&self, now: Millis) -> Option<u64> {
        let may = self.linger.is_on()
            && !self.io.is_writing()
            && self.wal.collected_bytes() > 0
            && !self.wal.is_batch_full();
        may.then(|| self.linger.wait_ms(now)).filter(|ms| *ms > 0)
    }

    fn order_segment(&mut self) {
        if let Some(segment) = self.wal.wants_segment() {
            self.disk.send(Job::PrepareSegment(segment));
        }
    }

    fn write_done(&mut self, result: Result<usize, i32>) {
        let Batch(write) = self.io.take_buffer().expect("a completed write has its buffer");
        let (segment, offset) = (write.segment, write.offset);
        let written = match result {
            Ok(written) => written,
            Err(_) if planted(Bug::FailedWritesCount) => write.bytes().len(),
            Err(errno) => {
                self.wal.failed(write);
                let error = std::io::Error::from_raw_os_error(errno);
                fatal(
                    Fatal::Storage,
                    &format!(
                        "writing log segment {segment} at {offset} failed: {error}; nothing unflushed was acknowledged. Check the disk, then restart: recovery verifies what is on it"
                    ),
                );
            }
        };
        if self.flush_apart {
            self.flush_apart(segment.to_string());
        }
        let bytes = write.bytes().len();
        match self.wal.completed(write, written) {
            Ok(flushed) => {
                let took = self.clock.now().since(self.write_began);
                let slow = took >= self.flush_warning_ms;
                self.metrics.flushed(bytes, took * 1000, slow);
                if slow {
                    tracing::warn!(
                        took_ms = took,
                        bytes,
                        "slow flush: the disk took longer than fsync.warningthresholdms"
                    );
                }
                if flushed.kind == BatchKind::Seal && !planted(Bug::SealsAreNews) {
                    return;
                }
                let now = self.clock.now();
                if flushed.up_to > self.committed {
                    self.linger.flushed(now);
                }
                self.count_durable(flushed.up_to, now);
                self.flushed = flushed.up_to;
                match flushed.kind {
                    BatchKind::Restart => self.log_restarted(now),
                    BatchKind::Cut => self.step(now, Event::Truncated(flushed.up_to)),
                    BatchKind::Batch | BatchKind::Seal => {
                        self.member_flushed(flushed.up_to);
                        self.step(now, Event::Flushed(flushed.up_to));
                    }
                }
            }
            Err(error) => fatal(Fatal::Storage, &format!("{error}; nothing unflushed was acknowledged")),
        }
    }

    /// How long those waited that have become durable: for their batch, and for the disk with it.
    fn count_durable(&mut self, up_to: Zxid, now: Millis) {
        if !self.serving.is_serving() {
            return;
        }
        for entry in self.entries.iter().rev() {
            let Entry::Txn { zxid, submitted, .. } = entry else { continue };
            if *zxid <= self.flushed {
                break;
            }
            if *zxid <= up_to {
                let (waited, flushed) = (self.write_began.since(*submitted), now.since(*submitted));
                self.metrics.txn_durable(waited * 1000, flushed * 1000);
            }
        }
    }

    fn flush_apart(&mut self, segment: String) {
        let file = self.log_file.as_ref().expect("a write was in flight");
        self.shared.pulse.waits(true);
        let flushed = self.io.flush(file);
        self.shared.pulse.waits(false);
        if let Err(error) = flushed {
            fatal(
                Fatal::Storage,
                &format!("flushing log segment {segment} failed: {error}; it is not tried again"),
            );
        }
    }

    fn take_disk_reports(&mut self) -> bool {
        let mut busy = false;
        while let Some(report) = self.disk.take() {
            busy = true;
            match report {
                Done::Segment(prepared) => self.wal.add_segment(prepared),
                Done::Snapshot { log_up_to, bytes, took_us } => {
                    self.disk_metrics.snapshot_written(took_us);
                    self.snapshots.finished(Some(bytes));
                    self.free_log(log_up_to);
                }
                Done::SnapshotFailed => {
                    self.disk_metrics.snapshot_failed();
                    self.snapshots.finished(None);
                }
                Done::Purged(log_up_to) => self.free_log(log_up_to),
            }
        }
        busy
    }

    fn free_log(&mut self, up_to: Zxid) {
        let free = self.wal.retire_before(up_to.next());
        if !free.is_empty() {
            self.disk.send(Job::FreeSegments(free));
        }
    }

    fn snapshot_if_due(&mut self) {
        if self.snapshots.due() {
            self.snapshots.started();
            let sessions = self.pipeline.sessions_ref().image().clone();
            let tree = self.pipeline.tree();
            let (acls, walker) = (tree.acl_lists(), tree.begin_snapshot());
            let taken = self.clock.wall();
            self.disk.send(Job::Snapshot(Box::new(SnapshotJob { walker, acls, sessions, taken })));
        }
    }

    fn gather(&mut self, id: u64, what: Gather) {
        let mut part = SequencerPart { taken: self.clock.wall(), ..SequencerPart::default() };
        let sessions = self.pipeline.sessions_ref();
        part.sessions = sessions.image().len() as u64;
        part.local_sessions = sessions.local_count() as u64;
        (part.serving, part.figures, part.master) = (self.serving, self.zab.figures(), self.zab.master());
        match what {
            Gather::Shards => {}
            Gather::Metrics => {
                if let Some(member) = &mut self.member {
                    self.metrics.member.refused(member.peers.take_refused());
                }
                part.metrics = self.metrics.clone();
                part.disk = self.disk_metrics.clone();
                if let Some(member) = &self.member {
                    part.metrics.links = member.peers.queues().clone();
                }
            }
            Gather::Reset => {
                self.metrics.reset();
                self.disk_metrics.reset();
                if let Some(member) = &mut self.member {
                    member.peers.reset_queues();
                    member.peers.take_refused();
                }
            }
            Gather::Sessions => {
                part.locals = self.local_sessions.map(|_| sessions.locals().collect());
                if self.serving.learns() || self.serving == Serving::ReadOnly {
                    part.timeouts = sessions.image().sessions().collect();
                }
                for (deadline, session) in sessions.by_deadline() {
                    match part.buckets.last_mut() {
                        Some((at, members)) if *at == deadline => members.push(session),
                        _ => part.buckets.push((deadline, vec![session])),
                    }
                }
                for (owner, path) in sessions.image().ephemerals() {
                    match part.ephemerals.last_mut() {
                        Some((of, paths)) if of == owner => paths.push(path.clone()),
                        _ => part.ephemerals.push((*owner, vec![path.clone()])),
                    }
                }
            }
            Gather::Digests => part.digests = self.pipeline.digests().collect(),
        }
        let part = Arc::new(part);
        let zxid = self.pipeline.applied();
        for at in 0..self.shards.len() {
            self.push(ShardId(at as u8), Outcome::Gather { zxid, id, part: part.clone() });
        }
        self.ring_doorbells();
    }

    /// Whether the others have closed the links of the role that has ended, and so have what a leader that hands over said
    /// last: a process that ends before takes back what is on its way.
    fn has_said_all(&mut self, now: Millis) -> bool {
        if !self.member.as_ref().is_some_and(|member| member.peers.is_closing()) {
            return true;
        }
        now >= *self.ends_at.get_or_insert(now.plus(LAST_WORDS_MS))
    }

    /// All shards have nothing left to ask, everything asked is durable and answered, and a leader has handed over.
    fn may_stop(&mut self, now: Millis) -> bool {
        // Acquire: pairs with the shards' Release; what they submitted before they were done is in the queues.
        let done = self.shared.stopping.load(Ordering::Acquire)
            && self.shared.shards_done.load(Ordering::Acquire) >= self.shards.len();
        let idle = |entry: &Entry| matches!(entry, Entry::Txn { origin: None, .. });
        done && (self.entries.is_empty() || self.member.is_some() && self.entries.iter().all(idle))
            && !self.io.is_writing()
            && self.shards.iter_mut().all(|shard| shard.submissions.peek().is_none())
            && self.resign(now)
    }
}
