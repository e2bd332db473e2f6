#![forbid(unsafe_code)]
//! The behaviour behind most commands: a mix of requests on a schedule or as fast as replies come back, or every key
//! once.

use std::collections::VecDeque;
use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use ringkeeper::wire::OpCode;

use crate::codec::{self, Reply};
use crate::engine::{Behaviour, Io, Lost, Turn, Violation};
use crate::keys::{Chooser, Distribution, Layout};
use crate::ledger::{Fate, Ledger, Stamp};
use crate::mix::{Kind, Mix};
use crate::recorder::{Gap, Recorder, Slice, Window};
use crate::schedule::{Nanos, SECOND, Schedule};

const NODE_EXISTS: i32 = -110;
const NO_NODE: i32 = -101;

/// How long a server may take to close the sessions at the end.
const CLOSE_PATIENCE: Nanos = 3 * SECOND;

/// How often a thread that waits for the others looks up.
const GATE_POLL: Nanos = SECOND / 1000;

/// Lost connections a thread tells the coordinator about in words, before the load and during it; all are counted.
const LOST_TOLD_MAX: u32 = 5;

/// When requests leave.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Pace {
    /// On a schedule, so many a second over all threads.
    Open(f64),
    /// As replies come back, with the pipeline always full.
    Closed,
}

/// What is asked for.
#[derive(Clone, PartialEq, Debug)]
pub enum Work {
    /// Requests of this mix until the window ends.
    Mix(Mix),
    /// Each key of the layout created once, or set where it exists; the run ends with the last.
    Fill,
}

/// A load, as every thread needs to know it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What to ask for.
    pub work: Work,
    /// When.
    pub pace: Pace,
    /// On which keys.
    pub layout: Layout,
    /// How they are chosen.
    pub distribution: Distribution,
    /// Bytes of a value.
    pub value_bytes: usize,
    /// setData entries of a multi.
    pub multi_ops: usize,
    /// Requests in flight on a connection, at most.
    pub depth: usize,
    /// Connections of all threads.
    pub connections: usize,
    /// Threads.
    pub threads: usize,
    /// Everything random follows from it.
    pub seed: u64,
    /// Tells the stamps and fresh znodes of this run apart.
    pub run: u32,
    /// Keep a ledger.
    pub verify: bool,
    /// How long to wait for the last replies.
    pub drain: Nanos,
    /// A thread without any session for this long ends the run.
    pub give_up: Nanos,
    /// Longest pause before a lost connection is tried again.
    pub retry_max: Nanos,
}

/// What threads tell the coordinator.
#[derive(Debug)]
pub enum Told {
    /// All of this thread's connections have a session.
    Ready,
    /// An interval is over.
    Slice(Slice),
    /// Why a connection was lost, in words; the first few of each thread.
    Lost(String),
    /// The server lied.
    Violation(Violation),
    /// No connection came up, or none for too long.
    GaveUp(String),
    /// The thread is through.
    Done,
}

/// A request in flight.
#[derive(Debug)]
pub struct Pending {
    kind: Kind,
    intended: Nanos,
    keys: Keys,
    nth: u64,
}

#[derive(Debug)]
enum Keys {
    One(u64),
    Several(Box<[u64]>),
    Path(Box<[u8]>),
    None,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Until every thread is ready.
    Gate,
    Loading,
    /// Until the last replies are there.
    Draining,
    /// closeSession is on its way.
    Closing {
        deadline: Nanos,
        /// Sessions there were.
        up: usize,
    },
}

/// One thread's part of a load.
pub struct Load {
    plan: Arc<Plan>,
    thread: usize,
    first: usize,
    /// Set by the coordinator once all threads are ready.
    window: Arc<OnceLock<Window>>,
    tell: Sender<Told>,
    phase: Phase,
    is_open: bool,
    is_ready: bool,
    random: SmallRng,
    chooser: Chooser,
    schedule: Option<Schedule>,
    recorder: Option<Recorder>,
    value: Vec<u8>,
    nth: u64,
    next_fresh: u64,
    next_fill: u64,
    /// Fill: keys to go through again, since a lost connection owed them or they exist already.
    again: VecDeque<(u64, Kind)>,
    /// Connections with room in their pipeline, each at most once.
    free: VecDeque<usize>,
    is_free: Vec<bool>,
    /// Znodes each connection created and may delete, and the session that owns them if they are ephemeral.
    created: Vec<VecDeque<(Box<[u8]>, i64)>>,
    in_flight: usize,
    /// When the first request left that nobody has answered, nor any after it; connections may come and go meanwhile.
    waiting_since: Option<Nanos>,
    last_lost: String,
    lost_told: u32,
    /// The longest time in which this thread got no write acknowledged, once it is through.
    pub gap: Gap,
    /// The ledger, for the coordinator to take at the end.
    pub ledger: Option<Ledger>,
}

impl Load {
    /// Thread `thread` of the plan; its first connection is number `first` of the run.
    pub fn new(
        plan: Arc<Plan>,
        thread: usize,
        (first, connections): (usize, usize),
        window: Arc<OnceLock<Window>>,
        tell: Sender<Told>,
    ) -> Load {
        let mut random =
            SmallRng::seed_from_u64(plan.seed ^ (thread as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut value = vec![0; plan.value_bytes];
        random.fill(&mut value[..]);
        Load {
            chooser: Chooser::new(plan.distribution, plan.layout.count.max(1)),
            gap: Gap::default(),
            ledger: plan.verify.then(Ledger::default),
            next_fill: thread as u64,
            thread,
            first,
            window,
            tell,
            phase: Phase::Gate,
            is_open: false,
            is_ready: false,
            random,
            schedule: None,
            recorder: None,
            value,
            nth: 0,
            next_fresh: 0,
            again: VecDeque::new(),
            free: VecDeque::new(),
            is_free: vec![false; connections],
            created: (0..connections).map(|_| VecDeque::new()).collect(),
            in_flight: 0,
            waiting_since: None,
            last_lost: String::new(),
            lost_told: 0,
            plan,
        }
    }

    fn say(&self, told: Told) {
        // The coordinator listens until every thread is through.
        let _coordinator_gone = self.tell.send(told);
    }

    fn begin(&mut self, window: Window) {
        self.phase = Phase::Loading;
        self.lost_told = 0;
        self.recorder = Some(Recorder::new(window));
        if let Pace::Open(rate) = self.plan.pace {
            self.schedule = Some(Schedule::new(window.start, rate, self.thread, self.plan.threads));
        }
    }

    fn roll(&mut self, io: &mut Io<Pending>) {
        let (now, up, moved) = (io.now(), io.up(), io.take_moved());
        let Some(recorder) = &mut self.recorder else { return };
        let behind = self.schedule.as_ref().map_or(0, |schedule| schedule.left_before(now));
        let tell = &self.tell;
        recorder.roll(now, up, behind, |slice| {
            let _coordinator_gone = tell.send(Told::Slice(slice));
        });
        recorder.moved(now, moved);
    }

    fn mark_free(&mut self, io: &Io<Pending>, connection: usize) {
        let has_room = io.is_up(connection) && io.in_flight(connection) < self.plan.depth;
        if has_room && !self.is_free[connection] {
            self.is_free[connection] = true;
            self.free.push_back(connection);
        }
    }

    fn take_free(&mut self, io: &Io<Pending>) -> Option<usize> {
        while let Some(connection) = self.free.pop_front() {
            self.is_free[connection] = false;
            if io.is_up(connection) && io.in_flight(connection) < self.plan.depth {
                return Some(connection);
            }
        }
        None
    }

    /// Sends what is due. Whether there is nothing more to send, ever.
    fn send_due(&mut self, io: &mut Io<Pending>, end: Nanos) -> bool {
        loop {
            let now = io.now();
            let intended = match &self.schedule {
                Some(schedule) => schedule.next_at(),
                None => now,
            };
            let is_over = match self.plan.work {
                Work::Mix(_) => intended >= end || now >= end,
                Work::Fill => self.again.is_empty() && self.next_fill >= self.plan.layout.count,
            };
            if is_over {
                return true;
            }
            if intended > now {
                return false;
            }
            let Some(connection) = self.take_free(io) else { return false };
            self.ask(io, connection, intended);
            if let Some(schedule) = &mut self.schedule {
                schedule.advance();
            }
            if let Some(recorder) = &mut self.recorder {
                recorder.left(now, intended);
            }
            self.mark_free(io, connection);
        }
    }

    /// Sends the next request.
    fn ask(&mut self, io: &mut Io<Pending>, connection: usize, intended: Nanos) {
        self.waiting_since.get_or_insert(io.now());
        match &self.plan.work {
            Work::Mix(mix) => {
                let kind = mix.choose(&mut self.random);
                self.ask_kind(io, connection, intended, kind);
            }
            Work::Fill => {
                let (key, kind) = self.again.pop_front().unwrap_or_else(|| {
                    let key = self.next_fill;
                    self.next_fill += self.plan.threads as u64;
                    (key, Kind::Create)
                });
                self.ask_fill(io, connection, intended, key, kind);
            }
        }
    }

    fn stamp(&mut self, connection: usize) -> Stamp {
        self.nth += 1;
        let stamp = Stamp { run: self.plan.run, writer: (self.first + connection) as u32, nth: self.nth };
        stamp.write(&mut self.value);
        stamp
    }

    fn ask_fill(&mut self, io: &mut Io<Pending>, connection: usize, intended: Nanos, key: u64, kind: Kind) {
        let nth = self.stamp(connection).nth;
        let path = self.plan.layout.key(key);
        let pending = Pending { kind, intended, keys: Keys::One(key), nth };
        self.in_flight += 1;
        if kind == Kind::Create {
            io.send(connection, OpCode::Create, pending, |out| {
                codec::create(out, path.as_bytes(), &self.value, 0);
            });
        } else {
            io.send(connection, OpCode::SetData, pending, |out| {
                codec::set_data(out, path.as_bytes(), &self.value);
            });
        }
    }

    fn ask_kind(&mut self, io: &mut Io<Pending>, connection: usize, intended: Nanos, kind: Kind) {
        let layout = &self.plan.layout;
        self.in_flight += 1;
        match kind {
            Kind::Get | Kind::Exists | Kind::List => {
                let key = self.chooser.choose(&mut self.random);
                let (op, path) = match kind {
                    Kind::Get => (OpCode::GetData, layout.key(key)),
                    Kind::Exists => (OpCode::Exists, layout.key(key)),
                    _ => (OpCode::GetChildren, layout.folder(key / layout.fan)),
                };
                let pending = Pending { kind, intended, keys: Keys::One(key), nth: 0 };
                io.send(connection, op, pending, |out| codec::path_watch(out, path.as_bytes(), false));
            }
            Kind::Set => {
                let key = self.chooser.choose(&mut self.random);
                let path = layout.key(key);
                let nth = self.stamp(connection).nth;
                let pending = Pending { kind, intended, keys: Keys::One(key), nth };
                io.send(connection, OpCode::SetData, pending, |out| {
                    codec::set_data(out, path.as_bytes(), &self.value);
                });
            }
            Kind::Multi => {
                let keys: Box<[u64]> =
                    (0..self.plan.multi_ops).map(|_| self.chooser.choose(&mut self.random)).collect();
                let paths: Vec<String> = keys.iter().map(|key| layout.key(*key)).collect();
                let nth = self.stamp(connection).nth;
                let pending = Pending { kind, intended, keys: Keys::Several(keys), nth };
                io.send(connection, OpCode::Multi, pending, |out| {
                    codec::multi_set(out, paths.iter().map(String::as_bytes), &self.value);
                });
            }
            Kind::Delete => {
                if let Some((path, _owner)) = self.created[connection].pop_front() {
                    let keys = Keys::Path(path.clone());
                    let pending = Pending { kind, intended, keys, nth: 0 };
                    io.send(connection, OpCode::Delete, pending, |out| codec::delete(out, &path));
                } else {
                    self.ask_create(io, connection, intended, Kind::Create);
                }
            }
            Kind::Create | Kind::Ephemeral => self.ask_create(io, connection, intended, kind),
        }
    }

    fn ask_create(&mut self, io: &mut Io<Pending>, connection: usize, intended: Nanos, kind: Kind) {
        let nth = self.stamp(connection).nth;
        let (path, flags, keys) = if kind == Kind::Ephemeral {
            let path = format!("{}/e-", self.plan.layout.ephemerals());
            (path, codec::EPHEMERAL | codec::SEQUENTIAL, Keys::None)
        } else {
            let path = self.plan.layout.fresh(self.plan.run, self.thread, self.next_fresh);
            self.next_fresh += 1;
            let keys = Keys::Path(path.as_bytes().into());
            (path, 0, keys)
        };
        let pending = Pending { kind, intended, keys, nth };
        io.send(connection, OpCode::Create, pending, |out| {
            codec::create(out, path.as_bytes(), &self.value, flags);
        });
    }

    /// Looks into an answer that is not an error: how many bytes of values it moved.
    fn take_in(
        &mut self,
        io: &Io<Pending>,
        connection: usize,
        pending: Pending,
        reply: Reply<'_>,
    ) -> Result<usize, Violation> {
        let undecodable = |what| move |error| Violation::Undecodable { what, error };
        let writer = (self.first + connection) as u32;
        let stamp = Stamp { run: self.plan.run, writer, nth: pending.nth };
        match (pending.kind, pending.keys) {
            (Kind::Get, Keys::One(key)) => {
                let (data, stat) = reply.data_and_stat().map_err(undecodable("getData"))?;
                if let Some(ledger) = &mut self.ledger {
                    ledger.tell(writer, key, stat.mzxid)?;
                    if stat.data_length as usize != data.len() {
                        let (says, is) = (stat.data_length, data.len());
                        return Err(Violation::Stale(format!("key {key}: {is} bytes, its Stat says {says}")));
                    }
                }
                Ok(data.len())
            }
            (Kind::Exists, Keys::One(key)) => {
                let stat = reply.stat().map_err(undecodable("exists"))?;
                if let Some(ledger) = &mut self.ledger {
                    ledger.tell(writer, key, stat.mzxid)?;
                }
                Ok(0)
            }
            (Kind::Set, Keys::One(key)) => {
                let stat = reply.stat().map_err(undecodable("setData"))?;
                if let Some(ledger) = &mut self.ledger {
                    ledger.written(writer, key, stamp, &stat)?;
                }
                Ok(self.value.len())
            }
            (Kind::Multi, Keys::Several(keys)) => {
                let stats = reply.multi_stats().map_err(undecodable("multi"))?;
                let stats = stats.map_err(|code| {
                    Violation::Stale(format!(
                        "a multi without an error that holds {}",
                        codec::error_name(code)
                    ))
                })?;
                if stats.len() != keys.len() {
                    let (asked, answered) = (keys.len(), stats.len());
                    return Err(Violation::Stale(format!("{answered} answers to a multi of {asked}")));
                }
                if let Some(ledger) = &mut self.ledger {
                    for (key, stat) in keys.iter().zip(&stats) {
                        ledger.written(writer, *key, stamp, stat)?;
                    }
                }
                Ok(self.value.len() * keys.len())
            }
            (Kind::Create, Keys::Path(path)) => {
                reply.path().map_err(undecodable("create"))?;
                if let Some(ledger) = &mut self.ledger {
                    ledger.fate(&path, Fate::Exists);
                }
                self.created[connection].push_back((path, 0));
                Ok(self.value.len())
            }
            (Kind::Ephemeral, _) => {
                let path = reply.path().map_err(undecodable("create"))?;
                self.created[connection].push_back((path.into(), io.session_id(connection)));
                Ok(self.value.len())
            }
            (Kind::Delete, Keys::Path(path)) => {
                if let Some(ledger) = &mut self.ledger {
                    // Ephemerals are not in the ledger: they go with their session anyhow.
                    if !path.starts_with(self.plan.layout.ephemerals().as_bytes()) {
                        ledger.fate(&path, Fate::Gone);
                    }
                }
                Ok(0)
            }
            (Kind::List, _) => {
                let children = reply.children().map_err(undecodable("getChildren"))?;
                Ok(children.iter().map(|name| name.len()).sum())
            }
            _ => Ok(self.value.len()),
        }
    }

    fn unanswered(&mut self, pending: &Pending) {
        self.in_flight -= 1;
        let Some(ledger) = &mut self.ledger else { return };
        match &pending.keys {
            _ if !pending.kind.is_write() => {}
            Keys::One(key) => ledger.unknown(*key),
            Keys::Several(keys) => keys.iter().for_each(|key| ledger.unknown(*key)),
            Keys::Path(path) => ledger.fate(path, Fate::Unknown),
            Keys::None => {}
        }
    }

    fn close_all(&mut self, io: &mut Io<Pending>) {
        let up = io.up();
        (0..io.len()).for_each(|connection| io.close(connection));
        self.phase = Phase::Closing { deadline: io.now() + CLOSE_PATIENCE, up };
    }

    fn give_up(&mut self, io: &mut Io<Pending>, why: String) -> Turn {
        self.say(Told::GaveUp(why));
        self.finish(io)
    }

    fn finish(&mut self, io: &mut Io<Pending>) -> Turn {
        let abandoned = io.abandon();
        abandoned.iter().for_each(|pending| self.unanswered(pending));
        if let Some(mut recorder) = self.recorder.take() {
            self.gap = recorder.longest_gap(io.now());
            recorder.abandoned(abandoned.len() as u64);
            let end = self.window.get().map_or(io.now(), |window| window.end);
            let behind = match self.plan.work {
                Work::Mix(_) => {
                    self.schedule.as_ref().map_or(0, |schedule| schedule.left_before(end.min(io.now())))
                }
                Work::Fill => 0,
            };
            let up = if let Phase::Closing { up, .. } = self.phase { up } else { io.up() };
            self.say(Told::Slice(recorder.finish(up, behind)));
        }
        self.say(Told::Done);
        Turn::Done
    }
}

impl Behaviour for Load {
    type Pending = Pending;

    fn connected(&mut self, io: &mut Io<Pending>, connection: usize) {
        if !self.is_ready && io.up() == io.len() {
            self.is_ready = true;
            self.say(Told::Ready);
        }
        // An ephemeral of an older session went with it.
        let session = io.session_id(connection);
        self.created[connection].retain(|(_, owner)| *owner == 0 || *owner == session);
        self.mark_free(io, connection);
    }

    fn replied(
        &mut self,
        io: &mut Io<Pending>,
        connection: usize,
        pending: Pending,
        reply: Reply<'_>,
    ) -> Result<(), Violation> {
        let now = io.now();
        self.in_flight -= 1;
        self.waiting_since = None;
        self.roll(io);
        let (kind, intended) = (pending.kind, pending.intended);
        if self.plan.work == Work::Fill {
            if let Keys::One(key) = pending.keys {
                match (kind, reply.err) {
                    (Kind::Create, NODE_EXISTS) => {
                        self.again.push_back((key, Kind::Set));
                        self.mark_free(io, connection);
                        return Ok(());
                    }
                    (Kind::Set, NO_NODE) => self.again.push_back((key, Kind::Create)),
                    _ => {}
                }
            }
            if let Some(recorder) = &mut self.recorder {
                recorder.replied(kind, now, intended, reply.err, self.value.len());
            }
            self.mark_free(io, connection);
            return Ok(());
        }
        let bytes = if reply.err == 0 { self.take_in(io, connection, pending, reply)? } else { 0 };
        if let Some(recorder) = &mut self.recorder {
            recorder.replied(kind, now, intended, reply.err, bytes);
        }
        self.mark_free(io, connection);
        // In a closed loop the next request leaves with this read, not after the whole batch of events.
        if self.phase == Phase::Loading
            && self.schedule.is_none()
            && let Some(window) = self.window.get()
        {
            let _more_with_the_next_turn = self.send_due(io, window.end);
        }
        Ok(())
    }

    fn lost(&mut self, io: &mut Io<Pending>, connection: usize, unanswered: Vec<Pending>, why: &Lost) {
        self.roll(io);
        if let Some(recorder) = &mut self.recorder
            && !matches!(self.phase, Phase::Closing { .. })
        {
            recorder.lost(why.word(), unanswered.len() as u64);
        }
        if *why == Lost::Expired
            && let Some(ledger) = &mut self.ledger
        {
            ledger.forget_session((self.first + connection) as u32);
        }
        for pending in unanswered {
            self.unanswered(&pending);
            if let (Work::Fill, Keys::One(key)) = (&self.plan.work, &pending.keys) {
                self.again.push_back((*key, pending.kind));
            }
        }
        self.last_lost = why.to_string();
        if let Lost::Lied(violation) = why {
            self.say(Told::Violation(violation.clone()));
        } else if self.lost_told < LOST_TOLD_MAX && !matches!(self.phase, Phase::Closing { .. }) {
            self.lost_told += 1;
            self.say(Told::Lost(why.to_string()));
        }
    }

    fn turn(&mut self, io: &mut Io<Pending>) -> Turn {
        let now = io.now();
        if let Phase::Closing { deadline, .. } = self.phase {
            if io.up() == 0 || now >= deadline {
                return self.finish(io);
            }
            return Turn::Until(deadline);
        }
        let silent_for = self.waiting_since.map_or(0, |since| now.saturating_sub(since));
        if io.all_down_for().max(silent_for) > self.plan.give_up {
            let why =
                if self.last_lost.is_empty() { "no connection".to_owned() } else { self.last_lost.clone() };
            return self.give_up(io, why);
        }
        if io.is_stopped() {
            self.close_all(io);
            return Turn::Until(now);
        }
        if self.phase == Phase::Gate {
            let Some(window) = self.window.get().copied() else {
                if !std::mem::replace(&mut self.is_open, true) {
                    (0..io.len()).for_each(|connection| io.open(connection));
                }
                return Turn::Until(now + GATE_POLL);
            };
            // Handshakes are no load.
            let _of_handshakes = io.take_moved();
            self.begin(window);
        }
        let window = *self.window.get().expect("the gate is open");
        self.roll(io);
        if self.phase == Phase::Loading && self.send_due(io, window.end) {
            if self.plan.work == Work::Fill && self.in_flight > 0 {
                // A lost connection may still hand some keys back.
                return Turn::Until(now + SECOND / 10);
            }
            self.phase = Phase::Draining;
        }
        if self.phase == Phase::Draining {
            let over = match self.plan.work {
                Work::Mix(_) => now >= window.end + self.plan.drain,
                Work::Fill => true,
            };
            if self.in_flight == 0 || over {
                self.close_all(io);
                return Turn::Until(now);
            }
            return Turn::Until(window.end + self.plan.drain);
        }
        let next_interval = self.recorder.as_ref().map_or(Nanos::MAX, Recorder::next_end);
        let next_interval = if next_interval <= now { Nanos::MAX } else { next_interval };
        let next_send = match &self.schedule {
            // With no room anywhere only a reply helps.
            Some(schedule) if !self.free.is_empty() => schedule.next_at(),
            _ => Nanos::MAX,
        };
        Turn::Until(next_send.min(next_interval).min(window.end.max(now + GATE_POLL)).min(now + SECOND / 5))
    }
}
