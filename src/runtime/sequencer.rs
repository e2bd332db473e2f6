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
//! timer, unless one is asked for (`linger.rs`). Invariants: `applied ≤ committed ≤ flushed ≤ last_logged`; nothing is
//! answered before it is durable; the sequencer never waits for a shard (its rings take everything) nor for the disk
//! shard (it prepares segments ahead, and until there is one the log simply collects).
//!
//! Not here: sockets, files, what a request means.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::Clock;
use super::disk::{DiskLink, Done, Job, LogFile, SnapshotPolicy};
use super::fatal::{Fatal, fatal};
use super::linger::Linger;
use super::messages::{AttachRequest, Gather, Outcome, SequencerPart, Submission, Ticket, WriteRequest};
use super::metrics::SequencerMetrics;
use super::pressure::Pressure;
use super::ring::{Consumer, Parked, Producer};
use super::snapshots::SnapshotJob;
use super::sys::{Bell, Buffer, Durability, Ring};
use super::watchdog::Pulse;
use crate::base::{Generation, Millis, SessionId, ShardId, Xid, Zxid};
use crate::pipeline::acl::Identities;
use crate::pipeline::{Asker, Pipeline, ReplyBody, SessionChange, grows};
use crate::sessions::{Attachment, Refused, SessionIds, password};
use crate::storage::wal::{WalWrite, WalWriter};
use crate::watches::{ChangeEvent, InterestTable};
use crate::wire::request::Request;
use crate::wire::{ErrorCode, OpCode};
use crate::zab::{Action, Event, Peer};

/// Submissions taken from one shard before the next shard has its turn.
const TAKE_MAX: usize = 256;

/// Txns applied in one round: bounds the time between two looks at the ring and the shards.
const ROUND_MAX: usize = 1024;

/// A batch is followed by a seal when nothing came for so long (reliability R4).
const SEAL_AFTER_MS: u64 = 50;

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
pub struct Start {
    /// Tree, sessions, prep and apply.
    pub pipeline: Pipeline,
    /// The log, positioned.
    pub wal: WalWriter,
    /// The segment being written, if recovery left one.
    pub log_file: Option<LogFile>,
    /// The shards.
    pub shards: Vec<ShardLink>,
    /// Who waits for which path.
    pub interest: Arc<InterestTable>,
    /// The disk shard.
    pub disk: DiskLink,
    /// What the shards see of us.
    pub shared: Arc<Shared>,
    /// Ids of new sessions.
    pub session_ids: SessionIds,
    /// How a write becomes durable.
    pub durability: Durability,
    /// Flush apart from the write, where the file system knows no `RWF_DSYNC`.
    pub flush_apart: bool,
    /// Both clocks.
    pub clock: Clock,
    /// Snapshots are due after so many txns; drawn anew after each.
    pub snapshots: SnapshotPolicy,
    /// A flush slower than this is logged, ms.
    pub flush_warning_ms: u64,
    /// How long a flush may wait for company, ms; 0: not at all.
    pub flush_delay_ms: u64,
}

/// Something that happens in order behind the txns before it.
enum Entry {
    /// A txn in the log or on its way there.
    Txn { zxid: Zxid, payload: Rc<[u8]>, origin: Option<Origin>, submitted: Millis },
    /// An answer that must not leave before the txns ahead of it.
    Barrier(ShardId, Outcome),
    /// A look at a session's ephemerals, likewise.
    Ephemerals { shard: ShardId, ticket: Ticket, session: SessionId, prefix: Box<[u8]> },
}

/// Who waits for a txn.
enum Origin {
    Request(ShardId, Ticket),
    NewSession(Attachment, u32),
}

/// The buffer that the kernel reads: a batch of the log.
struct Batch(WalWrite);

impl Buffer for Batch {
    fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }
}

/// The sequencer's whole state.
pub struct Sequencer {
    pipeline: Pipeline,
    zab: Peer,
    wal: WalWriter,
    log_file: Option<LogFile>,
    ring: Ring<Batch>,
    shards: Vec<ShardLink>,
    interest: Arc<InterestTable>,
    disk: DiskLink,
    shared: Arc<Shared>,
    session_ids: SessionIds,
    durability: Durability,
    flush_apart: bool,
    clock: Clock,
    entries: VecDeque<Entry>,
    actions: Vec<Action>,
    committed: Zxid,
    metrics: SequencerMetrics,
    /// Shards that got something in this round.
    rung: u64,
    last_batch: Millis,
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
    /// When the kernel refuses the ring.
    pub fn new(start: Start) -> std::io::Result<Sequencer> {
        let last = start.wal.last();
        assert!(start.pipeline.applied() == last, "tree at {}, log at {last}", start.pipeline.applied());
        let ring = Ring::new(start.shared.bell.clone())?;
        Ok(Sequencer {
            pipeline: start.pipeline,
            zab: Peer::alone(last),
            wal: start.wal,
            log_file: start.log_file,
            ring,
            shards: start.shards,
            interest: start.interest,
            disk: start.disk,
            shared: start.shared,
            session_ids: start.session_ids,
            durability: start.durability,
            flush_apart: start.flush_apart,
            last_batch: start.clock.now(),
            write_began: start.clock.now(),
            linger: Linger::new(start.flush_delay_ms, start.clock.now()),
            clock: start.clock,
            entries: VecDeque::new(),
            actions: Vec::new(),
            committed: last,
            metrics: SequencerMetrics::default(),
            rung: 0,
            snapshots: start.snapshots,
            flush_warning_ms: start.flush_warning_ms,
            nobody: Identities::none(),
        })
    }

    /// Runs until the server stops: all shards done, all txns durable and answered.
    pub fn run(mut self) {
        self.order_segment();
        loop {
            self.shared.pulse.beat();
            let now = self.clock.now();
            let mut busy = self.take_submissions(now);
            busy |= self.take_disk_reports();
            self.tick(now);
            self.start_write(now);
            busy |= self.apply_committed(now);
            self.pipeline.reclaim();
            if self.may_stop() {
                return;
            }
            let wait = if busy { Some(Duration::ZERO) } else { self.wait(now) };
            self.turn(wait);
        }
    }

    /// Sleeps in the ring, or only submits to it; takes a finished write.
    fn turn(&mut self, wait: Option<Duration>) {
        let mut wait = wait;
        if wait != Some(Duration::ZERO) {
            self.shared.parked.park();
            if self.shards.iter_mut().any(|shard| shard.submissions.peek().is_some())
                || self.disk.has_report()
            {
                wait = Some(Duration::ZERO);
            }
        }
        let woken = match self.ring.turn(wait) {
            Ok(woken) => woken,
            Err(error) => fatal(Fatal::Invariant, &format!("the sequencer's ring failed: {error}")),
        };
        self.shared.parked.unpark();
        if let Some(result) = woken.write {
            self.write_done(result);
        }
    }

    /// How long nothing is due: until the next bucket of sessions, the next look at containers, the seal.
    fn wait(&self, now: Millis) -> Option<Duration> {
        let mut ms = 1_000;
        if let Some(poll) = self.pipeline.sessions_ref().next_poll() {
            ms = ms.min(poll.since(now));
        }
        if self.wal.seal_due() {
            ms = ms.min(self.last_batch.plus(SEAL_AFTER_MS).since(now));
        }
        if let Some(linger_ms) = self.lingers(now) {
            ms = ms.min(linger_ms);
        }
        if self.pipeline.has_backlog() {
            ms = ms.min(5);
        }
        Some(Duration::from_millis(ms.max(1)))
    }

    fn take_submissions(&mut self, now: Millis) -> bool {
        let mut busy = false;
        for at in 0..self.shards.len() {
            for _ in 0..TAKE_MAX {
                let Some(submission) = self.shards[at].submissions.pop() else { break };
                busy = true;
                self.submitted(ShardId(at as u8), submission, now);
            }
        }
        busy
    }

    fn submitted(&mut self, shard: ShardId, submission: Submission, now: Millis) {
        match submission {
            Submission::Write(write) => self.write_submitted(shard, write, now),
            Submission::Sync(ticket) => {
                let zxid = self.zab.last_logged();
                self.behind_all(shard, Outcome::Reply { zxid, ticket, err: 0, body: ReplyBody::new() });
            }
            Submission::Ephemerals { ticket, session, prefix } => {
                let entry = Entry::Ephemerals { shard, ticket, session, prefix };
                if self.entries.is_empty() { self.answer_entry(entry) } else { self.entries.push_back(entry) }
            }
            Submission::Attach(attach) => self.attach(shard, attach, now),
            Submission::Detach { session, generation, last_heard, .. } => {
                self.pipeline.sessions().detach(session, generation, last_heard);
            }
            Submission::Expire { session, generation } => {
                if self.pipeline.sessions().expire_attached(session, generation) {
                    self.metrics.session_expired();
                    self.close_session(session, now);
                }
            }
            // Alone, nobody else keeps the clocks.
            Submission::Touched(_) => {}
            Submission::Gather { id, what } => self.gather(id, what),
            Submission::Gathered { id, shard, connection } => {
                let zxid = self.pipeline.applied();
                self.push(ShardId(shard), Outcome::Gathered { zxid, id, connection });
            }
        }
    }

    fn write_submitted(&mut self, shard: ShardId, write: WriteRequest, now: Millis) {
        // An attachment that is no longer the session's: nothing of it may land (DESIGN §2 rule 7). A session that is
        // closing is told so by prep.
        let sessions = self.pipeline.sessions_ref();
        if sessions.is_open(write.session) && !sessions.is_current(write.session, write.generation) {
            let zxid = self.zab.last_logged();
            return self.behind_all(shard, Outcome::Moved { zxid, ticket: write.ticket });
        }
        let request = match Request::decode(write.op, &write.body) {
            Ok(request) => match self.shared.pressure.check() {
                Err(code) if grows(&request) => Err(code),
                _ => Ok(request),
            },
            // It takes its place all the same.
            Err(_) if write.op == OpCode::Multi => Err(ErrorCode::MarshallingError),
            // The shard decoded it already.
            Err(_) => {
                fatal(Fatal::Invariant, "a write that decoded on the shard does not decode on the sequencer")
            }
        };
        let asker = Asker { session: write.session, cxid: write.cxid, identities: &write.identities };
        self.metrics.request_queued(self.entries.len());
        let origin = Some(Origin::Request(shard, write.ticket));
        match request {
            Ok(request) => self.propose(asker, write.op, &request, origin, now),
            Err(code) => {
                let zxid = self.next_zxid();
                let payload = self.pipeline.prepare_refused(zxid, self.clock.wall(), asker, code);
                self.proposed(write.op, zxid, payload, origin, now);
            }
        }
    }

    fn propose(
        &mut self,
        asker: Asker<'_>,
        op: OpCode,
        request: &Request<'_>,
        origin: Option<Origin>,
        now: Millis,
    ) {
        let zxid = self.next_zxid();
        let payload = self.pipeline.prepare(zxid, self.clock.wall(), asker, request);
        self.proposed(op, zxid, payload, origin, now);
    }

    fn next_zxid(&self) -> Zxid {
        self.zab.next_zxid().expect("a server without an ensemble may always propose")
    }

    fn proposed(&mut self, op: OpCode, zxid: Zxid, payload: Vec<u8>, origin: Option<Origin>, now: Millis) {
        let payload: Rc<[u8]> = payload.into();
        self.metrics.prepared(op, 0, 0);
        self.zab.step(now, Event::Submitted { zxid, payload: payload.clone() }, &mut self.actions);
        self.entries.push_back(Entry::Txn { zxid, payload, origin, submitted: now });
        self.linger.arrived(now);
        self.act();
    }

    /// A request of the server's own, which nobody waits for.
    fn propose_internal(&mut self, session: SessionId, op: OpCode, request: &Request<'_>, now: Millis) {
        let nobody = self.nobody.clone();
        let asker = Asker { session, cxid: Xid(0), identities: &nobody };
        self.propose(asker, op, request, None, now);
    }

    fn close_session(&mut self, session: SessionId, now: Millis) {
        self.propose_internal(session, OpCode::CloseSession, &Request::CloseSession, now);
    }

    fn attach(&mut self, shard: ShardId, attach: AttachRequest, now: Millis) {
        let to = Attachment { shard, connection: attach.connection };
        if attach.session == SessionId::NONE {
            let sessions = self.pipeline.sessions_ref();
            let session = self.session_ids.next(|id| sessions.contains(id));
            let timeout = i32::try_from(attach.timeout_ms).unwrap_or(i32::MAX);
            let nobody = self.nobody.clone();
            let asker = Asker { session, cxid: Xid(0), identities: &nobody };
            let origin = Some(Origin::NewSession(to, attach.timeout_ms));
            return self.propose(asker, OpCode::CreateSession, &Request::CreateSession(timeout), origin, now);
        }
        let zxid = self.zab.last_logged();
        let refused = Outcome::Refused { zxid, connection: attach.connection };
        // The password first: a wrong one leaves a live connection alone (reliability M9, S52).
        if !password::verifies(attach.session, Some(&attach.password)) {
            return self.behind_all(shard, refused);
        }
        match self.pipeline.sessions().attach(attach.session, to, u64::from(attach.timeout_ms), now) {
            Ok(attached) => {
                if let Some(previous) = attached.previous {
                    // Whatever generation the old connection had, it is older than the new one.
                    self.push(
                        previous.shard,
                        Outcome::Close {
                            zxid: self.pipeline.applied(),
                            connection: previous.connection,
                            generation: attached.generation,
                        },
                    );
                }
                self.behind_all(
                    shard,
                    Outcome::Attached {
                        zxid,
                        connection: attach.connection,
                        session: attach.session,
                        generation: attached.generation,
                        timeout_ms: attach.timeout_ms,
                    },
                );
            }
            Err(Refused::Expired) => self.behind_all(shard, refused),
            Err(Refused::Fought { holder }) => {
                let applied = self.pipeline.applied();
                for held in holder.into_iter().chain([to]) {
                    self.push(
                        held.shard,
                        Outcome::Close {
                            zxid: applied,
                            connection: held.connection,
                            generation: Generation(u64::MAX),
                        },
                    );
                }
            }
        }
    }

    /// Sends an outcome once everything proposed before it has been applied.
    fn behind_all(&mut self, shard: ShardId, outcome: Outcome) {
        if self.entries.is_empty() {
            self.push(shard, outcome);
            self.ring_doorbells();
        } else {
            self.entries.push_back(Entry::Barrier(shard, outcome));
        }
    }

    fn act(&mut self) {
        let mut actions = std::mem::take(&mut self.actions);
        for action in actions.drain(..) {
            match action {
                Action::Append { zxid, payload } => self.wal.append(zxid, &payload),
                Action::Commit(zxid) => self.committed = zxid,
                _ => fatal(
                    Fatal::Invariant,
                    "a server without an ensemble does what only a member of one does",
                ),
            }
        }
        self.actions = actions;
    }

    /// Hands the collected batch to the ring, or the seal when nothing came for a while.
    fn start_write(&mut self, now: Millis) {
        if self.ring.is_writing() || self.lingers(now).is_some() {
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
        if self.log_file.as_ref().is_none_or(|file| file.segment != write.segment) {
            self.log_file = Some(self.disk.take_file(write.segment));
        }
        let file = self.log_file.as_ref().expect("just set");
        self.write_began = now;
        let offset = write.offset;
        self.ring.write(file.as_fd(), Batch(write), offset, self.durability);
        self.order_segment();
    }

    /// For how long the collected batch waits for company yet, ms; `None` when it does not.
    fn lingers(&self, now: Millis) -> Option<u64> {
        let may = self.linger.is_on()
            && !self.ring.is_writing()
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
        let Batch(write) = self.ring.take_buffer().expect("a completed write has its buffer");
        let (segment, offset) = (write.segment, write.offset);
        let written = match result {
            Ok(written) => written,
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
                if flushed.up_to > self.committed {
                    self.linger.flushed(self.clock.now());
                }
                self.zab.step(self.clock.now(), Event::Flushed(flushed.up_to), &mut self.actions);
                self.act();
            }
            Err(error) => fatal(Fatal::Storage, &format!("{error}; nothing unflushed was acknowledged")),
        }
    }

    fn flush_apart(&self, segment: String) {
        let file = self.log_file.as_ref().expect("a write was in flight");
        self.shared.pulse.waits(true);
        let flushed = rustix::fs::fdatasync(file.as_fd());
        self.shared.pulse.waits(false);
        if let Err(error) = flushed {
            fatal(
                Fatal::Storage,
                &format!("flushing log segment {segment} failed: {error}; it is not tried again"),
            );
        }
    }

    /// Applies what the quorum has decided, a round at a time (DESIGN §2 rule 2).
    fn apply_committed(&mut self, now: Millis) -> bool {
        let round_end = self.round_end();
        if let Some(last) = round_end {
            self.pipeline.begin(last);
        }
        let mut applied = 0;
        while applied < ROUND_MAX {
            match self.entries.front() {
                Some(Entry::Txn { zxid, .. }) if *zxid <= self.committed => {}
                Some(Entry::Barrier(..) | Entry::Ephemerals { .. }) => {}
                _ => break,
            }
            match self.entries.pop_front() {
                Some(Entry::Txn { zxid, payload, origin, submitted }) => {
                    self.apply_one(zxid, &payload, origin, now);
                    self.metrics.applied(now.since(submitted) * 1000);
                    applied += 1;
                }
                Some(entry) => self.answer_entry(entry),
                None => break,
            }
        }
        if round_end.is_some() {
            assert!(round_end == Some(self.pipeline.applied()), "a round ends where it said");
            self.pipeline.publish();
        }
        self.ring_doorbells();
        if applied > 0 {
            self.snapshot_if_due();
        }
        matches!(self.entries.front(), Some(Entry::Txn { zxid, .. }) if *zxid <= self.committed)
    }

    /// Answers what waited for the txns before it.
    fn answer_entry(&mut self, entry: Entry) {
        match entry {
            Entry::Barrier(shard, outcome) => self.push(shard, outcome),
            Entry::Ephemerals { shard, ticket, session, prefix } => {
                let mut body = ReplyBody::new();
                self.pipeline.ephemerals_below(session, &prefix, &mut body);
                let zxid = self.pipeline.applied();
                self.push(shard, Outcome::Reply { zxid, ticket, err: 0, body });
            }
            Entry::Txn { zxid, .. } => unreachable!("txn {zxid} is applied, not answered"),
        }
    }

    /// The last txn of the coming round.
    fn round_end(&self) -> Option<Zxid> {
        let txns = self.entries.iter().filter_map(|entry| match entry {
            Entry::Txn { zxid, .. } => Some(*zxid),
            Entry::Barrier(..) | Entry::Ephemerals { .. } => None,
        });
        txns.take_while(|zxid| *zxid <= self.committed).take(ROUND_MAX).last()
    }

    fn apply_one(&mut self, zxid: Zxid, payload: &[u8], origin: Option<Origin>, now: Millis) {
        let decoded = match Pipeline::decode(payload) {
            Ok(decoded) => decoded,
            Err(error) => fatal(Fatal::Invariant, &format!("txn {zxid} of our own does not decode: {error}")),
        };
        let applied = match self.pipeline.apply(&decoded, now) {
            Ok(applied) => applied,
            Err(error) => fatal(Fatal::Invariant, &format!("{error}; stopping rather than guessing")),
        };
        self.snapshots.applied(payload.len());
        for event in applied.events {
            self.push_event(event);
        }
        match origin {
            Some(Origin::Request(shard, ticket)) => {
                self.push(shard, Outcome::Reply { zxid, ticket, err: applied.err, body: applied.body });
            }
            Some(Origin::NewSession(to, timeout_ms)) => {
                let attached =
                    self.pipeline.sessions().attach(applied.session, to, u64::from(timeout_ms), now);
                let generation = attached.expect("a session just opened is nobody's").generation;
                self.push(
                    to.shard,
                    Outcome::Attached {
                        zxid,
                        connection: to.connection,
                        session: applied.session,
                        generation,
                        timeout_ms,
                    },
                );
            }
            None => {}
        }
        if let (Some(SessionChange::Closed(_)), Some(held)) = (applied.session_change, applied.attachment) {
            self.push(
                held.shard,
                Outcome::Close { zxid, connection: held.connection, generation: Generation(u64::MAX) },
            );
        }
    }

    /// To every shard with a watch that may match.
    fn push_event(&mut self, event: ChangeEvent) {
        let mut shards = self.interest.interested(&event.path, event.kind);
        if shards == 0 {
            return;
        }
        let event = Arc::new(event);
        while shards != 0 {
            let at = shards.trailing_zeros();
            shards &= shards - 1;
            self.push(ShardId(at as u8), Outcome::Event(event.clone()));
        }
    }

    fn push(&mut self, shard: ShardId, outcome: Outcome) {
        self.shards[usize::from(shard.0)].outcomes.push(outcome);
        self.rung |= 1 << shard.0;
    }

    fn ring_doorbells(&mut self) {
        let mut shards = std::mem::take(&mut self.rung);
        while shards != 0 {
            let shard = &self.shards[shards.trailing_zeros() as usize];
            shards &= shards - 1;
            if shard.parked.must_wake() {
                shard.doorbell.ring();
            }
        }
    }

    fn tick(&mut self, now: Millis) {
        if self.pipeline.sessions_ref().next_poll().is_some_and(|poll| poll <= now) {
            for session in self.pipeline.sessions().poll(now) {
                self.metrics.session_expired();
                self.close_session(session, now);
            }
        }
        for path in self.pipeline.reap(now, self.clock.wall()) {
            let request = Request::DeleteContainer(Some(&path));
            self.propose_internal(SessionId::NONE, OpCode::DeleteContainer, &request, now);
        }
    }

    fn take_disk_reports(&mut self) -> bool {
        let mut busy = false;
        while let Some(report) = self.disk.take() {
            busy = true;
            match report {
                Done::Segment(prepared) => self.wal.add_segment(prepared),
                Done::Snapshot { log_up_to, bytes } => {
                    self.snapshots.finished(Some(bytes));
                    self.free_log(log_up_to);
                }
                Done::SnapshotFailed => self.snapshots.finished(None),
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
        match what {
            Gather::Shards => {}
            Gather::Metrics => part.metrics = self.metrics.clone(),
            Gather::Reset => self.metrics.reset(),
            Gather::Sessions => {
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

    /// All shards have nothing left to ask, everything asked is durable and answered.
    fn may_stop(&mut self) -> bool {
        // Acquire: pairs with the shards' Release; what they submitted before they were done is in the queues.
        let done = self.shared.stopping.load(Ordering::Acquire)
            && self.shared.shards_done.load(Ordering::Acquire) >= self.shards.len();
        done && self.entries.is_empty()
            && !self.ring.is_writing()
            && self.shards.iter_mut().all(|shard| shard.submissions.peek().is_none())
    }
}
