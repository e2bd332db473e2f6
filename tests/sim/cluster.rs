//! The whole run: servers, clients and faults on one thread and one clock. Whatever is due first goes first; what is due
//! at the same time goes in an order that the seed draws.

use std::any::Any;
use std::cell::RefCell;
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

use ringkeeper::base::{ConnectionId, ServerId, Zxid};
use ringkeeper::runtime::fatal::Fatal;
use ringkeeper::runtime::messages::{Outcome, Serving, Submission};
use ringkeeper::storage::recovery::Empty;
use ringkeeper::storage::wal::WalLimits;
use ringkeeper::zab::membership::Quorum;

use crate::Died;
use crate::checkers::Checkers;
use crate::disk::{Disk, Rng};
use crate::guest::Guest;
use crate::network::Network;
use crate::oracle::Oracle;
use ringkeeper::runtime::sequencer::{Clocks as _, Standing};

use crate::server::{NoStart, Plan, Server};
use crate::workload::{Client, More, Place};
use crate::world::{Machine, SharedMachine, Time};

/// What a run draws from its seed grew with time. A seed that failed once is run as it was drawn then: what came later has
/// a stream of its own, and is left out. 2: deletes and syncs. 3: disks that fail, fill up and rot. 4:
/// wall clocks that are set.
pub(crate) const DRAWS: u32 = 4;

/// At one in so many flushes it is asked what a power cut would leave.
const LOOK_EVERY: u64 = 150;

/// As far as a wall clock is set.
const TEN_YEARS_MS: u64 = 10 * 365 * 86_400_000;

/// How long faults happen at most, ms.
const HURT_MS: u64 = 4_000;
/// How long the healed cluster may take to serve again, ms of its own clock.
const HEAL_MS: u64 = 60_000;

/// Turns of all servers in one ms of the clock; far more than any work takes.
const TURNS_IN_MS_MAX: u32 = 100_000;

/// Which faults a run has.
#[derive(Clone, Copy, Debug)]
struct Mix {
    power_loss: bool,
    kill: bool,
    cuts: bool,
    one_way: bool,
    resets: bool,
    slow_disks: bool,
    freezes: bool,
    emptied: bool,
    stops: bool,
}

/// What disks do in a run.
#[derive(Clone, Copy, Default, Debug)]
struct Harm {
    /// A write of the log fails, or its flush.
    failures: bool,
    /// No room is left for a while.
    no_room: bool,
    /// A byte of a sealed batch, or of a snapshot, is another one.
    rot: bool,
}

impl Harm {
    fn is_any(self) -> bool {
        self.failures || self.no_room || self.rot
    }
}

/// Who sets wall clocks: when and where, and, from a stream of its own, by how much. All else that happens in a run has to
/// be the same whatever that is.
struct Clocks {
    rng: Rng,
    by: Rng,
    next: u64,
}

/// What a run did, for the summary.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Tally {
    pub(crate) decided: usize,
    pub(crate) acknowledged: usize,
    pub(crate) elections: usize,
    pub(crate) crashes: usize,
    pub(crate) faults: usize,
    /// Writes that failed, or found no room; bytes that rotted, and starts that missed something for it.
    pub(crate) ended: usize,
    pub(crate) rotten: usize,
    pub(crate) clocks: usize,
    pub(crate) noticed: usize,
    /// Starts that an operator had to see to.
    pub(crate) refused: usize,
    pub(crate) turns: usize,
}

/// A server and the machine it is on.
pub(crate) struct Node {
    pub(crate) id: ServerId,
    pub(crate) machine: SharedMachine,
    pub(crate) server: Option<Server>,
    pub(crate) serving: Serving,
    /// When it starts again.
    starts_at: u64,
    pub(crate) applied: Zxid,
    decided: Zxid,
    /// How far its log went on disk while it served, and how often that had changed.
    promised: Zxid,
    flushed: Zxid,
    changes: u64,
    /// It does nothing until then.
    pub(crate) frozen_until: u64,
    /// Whether it has ever served as what it is; whether it has since its disk lost something.
    has_served: bool,
    is_doubtful: bool,
    was_hurt: bool,
    /// A part of its disk has rotted since it started.
    rotten: bool,
    /// What its wall clock said when it started first; whether it says so again when it starts next.
    started: Option<i64>,
    starts_as_before: bool,
    /// What it said that its disk had lost, when it started last.
    pub(crate) lost: Option<String>,
    /// What it may end itself for, with which words it did, and when.
    pub(crate) may_end_for: Option<Fatal>,
    pub(crate) ended: Vec<(u64, String)>,
    empty: Empty,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Tally) {
        self.decided += other.decided;
        self.acknowledged += other.acknowledged;
        self.elections += other.elections;
        self.crashes += other.crashes;
        self.faults += other.faults;
        self.ended += other.ended;
        self.rotten += other.rotten;
        self.clocks += other.clocks;
        self.noticed += other.noticed;
        self.refused += other.refused;
        self.turns += other.turns;
    }
}

/// A run of one seed.
pub(crate) struct Cluster {
    pub(crate) plan: Plan,
    mix: Mix,
    harm: Harm,
    next_harm: u64,
    clocks: Clocks,
    pub(crate) time: Time,
    pub(crate) network: Rc<RefCell<Network>>,
    pub(crate) nodes: Vec<Node>,
    clients: Vec<Client>,
    pub(crate) guests: Vec<Guest>,
    pub(crate) oracle: Oracle,
    pub(crate) checkers: Checkers,
    rng: Rng,
    more: More,
    /// For looks at what would be, which change nothing.
    looks: Rng,
    pub(crate) connections: u64,
    next_fault: u64,
    hurt_ms: u64,
    tally: Tally,
    trace: String,
    is_told: bool,
    /// Turns since the clock moved.
    turns_in_ms: u32,
}

impl Cluster {
    /// Draws everything about the run from its seed; `is_told` prints the trace as it grows.
    pub(crate) fn new(seed: u64, draws: u32, is_told: bool) -> Cluster {
        let mut rng = Rng::new(seed);
        // Half of the runs have what came with these draws, each kind by itself.
        let later =
            |came_with: u32, number: u64| draws >= came_with && Rng::new(seed ^ (number << 40)).below(2) == 0;
        let more = More { rng: Rng::new(seed ^ (1 << 40)), deletes: later(2, 2), syncs: later(2, 3) };
        let voters = [3, 3, 3, 5][rng.below(4) as usize];
        let observers = rng.below(3) as i64;
        // Two runs in three have a kind of fault; a few have nearly none.
        let mut mix = || rng.below(2) == 0;
        let mix = Mix {
            power_loss: mix(),
            kill: mix(),
            cuts: mix(),
            one_way: mix(),
            resets: mix(),
            slow_disks: mix(),
            freezes: mix(),
            emptied: mix(),
            stops: mix(),
        };
        let plan = Plan {
            voters: (1..=voters).map(ServerId).collect(),
            observers: (voters + 1..=voters + observers).map(ServerId).collect(),
            quorum: Quorum::Majority,
            tick_ms: [50, 100, 200][rng.below(3) as usize],
            wal: WalLimits {
                segment_bytes: (4 + rng.below(12)) * 4096,
                batch_bytes_max: 2 * 4096,
                batch_txns_max: 1 + rng.below(8) as usize,
            },
            history_txns: 1 + rng.below(50) as usize,
            counter_max: [20 + rng.below(200) as u32, u32::MAX - (1 << 20)][rng.below(4).min(1) as usize],
            // A third of the runs take none.
            snap_count: [3 + rng.below(200) as u32, 50 + rng.below(1_000) as u32, u32::MAX]
                [rng.below(3) as usize],
        };
        let mut cluster = Cluster::build(rng, more, plan, mix, is_told);
        cluster.harm = Harm { failures: later(3, 4), no_room: later(3, 5), rot: later(3, 6) };
        if cluster.harm.is_any() {
            cluster.next_harm = 400;
            cluster.note(&format!("{:?}", cluster.harm));
        }
        let (rng, by) = (Rng::new(seed ^ (7 << 40)), Rng::new(seed ^ (8 << 40)));
        cluster.clocks = Clocks { rng, by, next: if later(4, 9) { 200 } else { u64::MAX } };
        cluster
    }

    /// The same run, but for what its wall clocks are set to.
    pub(crate) fn with_other_clocks(mut self) -> Cluster {
        self.clocks.by = Rng::new(self.clocks.by.next());
        self
    }

    /// A run in which nothing happens but what is asked for: three servers, three observers at most.
    pub(crate) fn calm(seed: u64, voters: i64, observers: i64, is_told: bool) -> Cluster {
        let none = Mix {
            power_loss: false,
            kill: false,
            cuts: false,
            one_way: false,
            resets: false,
            slow_disks: false,
            freezes: false,
            emptied: false,
            stops: false,
        };
        let plan = Plan {
            voters: (1..=voters).map(ServerId).collect(),
            observers: (voters + 1..=voters + observers).map(ServerId).collect(),
            quorum: Quorum::Majority,
            tick_ms: 100,
            wal: WalLimits { segment_bytes: 8 * 4096, batch_bytes_max: 2 * 4096, batch_txns_max: 4 },
            history_txns: 20,
            counter_max: u32::MAX - (1 << 20),
            snap_count: 60,
        };
        let more = More { rng: Rng::new(seed), deletes: false, syncs: false };
        Cluster::build(Rng::new(seed), more, plan, none, is_told)
    }

    fn build(mut rng: Rng, more: More, plan: Plan, mix: Mix, is_told: bool) -> Cluster {
        let time = Time::default();
        let network = Rc::new(RefCell::new(Network::new(rng.next(), 0..=rng.below(8))));
        let disk_delay = 0..=rng.below(6);
        let nodes = plan.servers().map(|id| Node {
            id,
            machine: Machine::new(time.of_a_machine(), rng.next(), disk_delay.clone()),
            server: None,
            serving: Serving::No,
            starts_at: 0,
            applied: Zxid::ZERO,
            decided: Zxid::ZERO,
            promised: Zxid::ZERO,
            flushed: Zxid::ZERO,
            changes: 0,
            frozen_until: 0,
            has_served: false,
            is_doubtful: false,
            was_hurt: false,
            rotten: false,
            started: None,
            starts_as_before: false,
            lost: None,
            may_end_for: None,
            ended: Vec::new(),
            empty: Empty::Unsaid,
        });
        let nodes: Vec<Node> = nodes.collect();
        let rng_share = rng.below(HURT_MS / 2);
        let clients = (0..2 + rng.below(4) as usize).map(Client::new).collect();
        let mut cluster = Cluster {
            plan,
            mix,
            harm: Harm::default(),
            next_harm: u64::MAX,
            clocks: Clocks { rng: Rng::new(0), by: Rng::new(0), next: u64::MAX },
            time,
            network,
            nodes,
            clients,
            guests: Vec::new(),
            oracle: Oracle::default(),
            checkers: Checkers::default(),
            rng,
            more,
            looks: Rng::new(0),
            connections: 0,
            next_fault: 300,
            hurt_ms: HURT_MS / 2 + rng_share,
            tally: Tally::default(),
            trace: String::new(),
            is_told,
            turns_in_ms: 0,
        };
        let about = format!("{:?} {:?}", cluster.plan, cluster.mix);
        cluster.note(&about);
        cluster
    }

    /// Hurts, heals, and judges. Gives what it did, and the trace.
    pub(crate) fn run(mut self) -> (Tally, String) {
        self.run_until(self.hurt_ms, true);
        self.finish()
    }

    /// Heals, and judges.
    pub(crate) fn finish(mut self) -> (Tally, String) {
        self.heal();
        let deadline = self.time.ms() + HEAL_MS;
        let wanted = self.oracle.acknowledged_writes() + 5 * self.clients.len();
        while !(self.oracle.acknowledged_writes() >= wanted && self.is_whole()) {
            assert!(self.time.ms() < deadline, "the healed cluster does not serve: {}", self.state());
            self.step(u64::MAX, false);
        }
        self.come_to_one_end();
        // Once more, of what the disks hold: nobody is left who remembers.
        for at in 0..self.nodes.len() {
            self.crash(at, true);
        }
        for at in 0..self.nodes.len() {
            self.start(at);
        }
        self.come_to_one_end();
        self.tally.decided = self.checkers.prefix_consistency.txns();
        self.tally.acknowledged = self.oracle.acknowledged_writes();
        self.tally.elections = self.checkers.primary_integrity.epochs();
        (self.tally, self.trace)
    }

    /// Without new requests all servers reach the same end, and it has everything.
    fn come_to_one_end(&mut self) {
        let deadline = self.time.ms() + HEAL_MS;
        self.clients.iter_mut().for_each(|client| client.next_at = u64::MAX);
        while !self.is_level() {
            assert!(self.time.ms() < deadline, "the servers do not come to one end: {}", self.state());
            self.step(u64::MAX, false);
        }
        for node in &self.nodes {
            let server = node.server.as_ref().expect("all run");
            self.oracle.holds_everything(node.id, &server.reader);
            assert!(node.machine.borrow().sending == 0, "{:?} sends states to nobody", node.id);
        }
    }

    pub(crate) fn note(&mut self, what: &str) {
        if self.is_told {
            println!("{:>7} {what}", self.time.ms());
        }
        writeln!(self.trace, "{:>7} {what}", self.time.ms()).expect("a string takes everything");
    }

    pub(crate) fn state(&self) -> String {
        let nodes =
            self.nodes.iter().map(|node| format!("{:?} {:?} at {}", node.id, node.serving, node.applied));
        nodes.collect::<Vec<_>>().join(", ")
    }

    /// It starts again so many ms from now.
    pub(crate) fn starts_after(&mut self, at: usize, ms: u64) {
        self.nodes[at].starts_at = self.time.ms() + ms;
    }

    /// Epochs end after so many txns.
    pub(crate) fn with_counter_max(mut self, counter_max: u32) -> Cluster {
        self.plan.counter_max = counter_max;
        self
    }

    /// One client alone goes on, and only when it is told to.
    pub(crate) fn with_one_client(mut self) -> Cluster {
        self.clients.truncate(1);
        self
    }

    /// Whether clients ask anything of their own accord from now on.
    pub(crate) fn set_asking(&mut self, is_asking: bool) {
        let at = if is_asking { self.time.ms() } else { u64::MAX };
        self.clients.iter_mut().for_each(|client| client.next_at = at);
    }

    /// Whether a client waits for an answer.
    pub(crate) fn is_asked(&self) -> bool {
        self.clients.iter().any(Client::waits)
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.nodes.iter().all(|node| node.server.is_some() && node.serving.is_serving())
    }

    fn is_level(&self) -> bool {
        let idle = self.clients.iter().all(|client| !matches!(client.place, Place::Asking { .. }));
        self.is_whole() && idle && self.nodes.iter().all(|node| node.applied == self.nodes[0].applied)
    }

    pub(crate) fn run_until(&mut self, end: u64, hurt: bool) {
        while self.time.ms() < end {
            self.step(end, hurt);
        }
    }

    /// The next thing that is due, whoever's it is.
    pub(crate) fn step(&mut self, end: u64, hurt: bool) {
        let now = self.time.ms();
        let dues: Vec<u64> = (0..self.nodes.len()).map(|at| self.node_due(at)).collect();
        let ready: Vec<usize> = (0..dues.len()).filter(|at| dues[*at] <= now).collect();
        let client = (0..self.clients.len()).find(|at| self.clients[*at].next_at <= now);
        if hurt && self.next_fault <= now {
            self.fault();
        } else if hurt && self.next_harm <= now {
            self.harm();
        } else if hurt && self.clocks.next <= now {
            self.set_clock();
        } else if let Some(at) = client {
            self.client_turn(at);
        } else if !ready.is_empty() {
            let at = ready[self.rng.below(ready.len() as u64) as usize];
            self.node_turn(at);
        } else {
            let clients = self.clients.iter().map(|client| client.next_at);
            let fault = hurt.then_some(self.next_fault.min(self.next_harm).min(self.clocks.next));
            let next = dues.into_iter().chain(clients).chain(fault).min().unwrap_or(end);
            self.turns_in_ms = 0;
            self.time.advance_to(next.min(end).max(now + 1));
        }
    }

    fn node_due(&self, at: usize) -> u64 {
        let node = &self.nodes[at];
        if node.server.is_none() {
            return node.starts_at;
        }
        let network = self.network.borrow().next_due(node.id.0);
        network.into_iter().fold(node.machine.borrow().next_due(), u64::min).max(node.frozen_until)
    }

    fn node_turn(&mut self, at: usize) {
        if self.nodes[at].server.is_none() {
            return self.start(at);
        }
        self.tally.turns += 1;
        self.turns_in_ms += 1;
        assert!(self.turns_in_ms < TURNS_IN_MS_MAX, "a server is busy for ever: {}", self.state());
        let node = &mut self.nodes[at];
        let server = node.server.as_mut().expect("looked at above");
        let goes_on = match catch_unwind(AssertUnwindSafe(|| server.sequencer.turn())) {
            Ok(goes_on) => goes_on,
            Err(what) => return self.ended(at, what),
        };
        let Standing { flushed, decided, applied, digest } = server.sequencer.standing();
        // What a leader sent that was not established since may be taken back; nothing else is.
        let bound = node.applied.min(node.decided);
        assert!(applied >= bound, "{:?} goes from {bound} back to {applied}", node.id);
        let moved = applied != node.applied;
        (node.applied, node.decided) = (applied, decided);
        let machine = node.machine.borrow();
        if flushed != node.flushed && machine.log_is_durable() {
            node.flushed = flushed;
            self.checkers.durability.stores(node.id, flushed);
            if node.serving.is_serving() {
                node.promised = flushed;
                if !node.rotten && self.looks.below(LOOK_EVERY) == 0 {
                    let disk = machine.disk.copy();
                    disk.crash(&mut self.looks);
                    let (last, lost) = self.plan.recovers(node.id, &disk);
                    self.checkers.durability.found(node.id, flushed, last, lost.as_deref());
                    let may_lose = node.was_hurt || !node.has_served;
                    assert!(lost.is_none() || may_lose, "{:?} would lose a part: {lost:?}", node.id);
                }
            }
        }
        drop(machine);
        if moved {
            self.checkers.durability.applied(node.id, applied);
        }
        if moved && applied <= decided {
            self.checkers.agreement.delivered(node.id, applied, digest);
        }
        let mut outcomes = Vec::new();
        while let Some(outcome) = server.outcomes.pop() {
            outcomes.push(outcome);
        }
        let id = node.id;
        if moved {
            self.note(&format!("{} applied {applied}", id.0));
        }
        for outcome in outcomes {
            self.heard(at, &outcome);
        }
        let node = &mut self.nodes[at];
        let changes = node.machine.borrow().changes;
        // What is logged while it does not serve may void what was there.
        if !node.serving.is_serving() && changes != node.changes {
            node.promised = Zxid::ZERO;
        }
        node.changes = changes;
        if !goes_on {
            self.note(&format!("{} has stopped", id.0));
            self.end(at, false);
        }
    }

    fn heard(&mut self, at: usize, outcome: &Outcome) {
        let id = self.nodes[at].id;
        if let Outcome::Serving { serving, .. } = outcome {
            self.note(&format!("{} is {serving:?}", id.0));
            self.nodes[at].serving = *serving;
            if let Serving::Leading(epoch) = serving {
                self.checkers.primary_integrity.leads(id, *epoch);
            }
            // A voter that serves without its vote, because it came when the others had begun, is not known to its disk yet.
            let is_itself = *serving != Serving::Observing || !self.plan.voters.contains(&id);
            if serving.is_serving() && is_itself {
                (self.nodes[at].has_served, self.nodes[at].is_doubtful) = (true, false);
            }
            if !serving.is_serving() {
                self.lose_clients(at);
            }
            return;
        }
        let to = match outcome {
            Outcome::Reply { ticket, .. } | Outcome::Moved { ticket, .. } => ticket.connection,
            Outcome::Attached { connection, .. }
            | Outcome::Refused { connection, .. }
            | Outcome::Close { connection, .. } => *connection,
            Outcome::Event(_)
            | Outcome::Serving { .. }
            | Outcome::Gather { .. }
            | Outcome::Gathered { .. } => return,
        };
        let now = self.time.ms();
        let holds = |client: &Client| match client.place {
            Place::Nowhere => false,
            Place::Asking { connection, .. } | Place::At { connection, .. } => connection == to,
        };
        self.tell_guest(to, outcome);
        if let Some(client) = self.clients.iter_mut().find(|client| holds(client)) {
            let before = self.oracle.acknowledged_writes();
            let server = self.nodes[at].server.as_ref().expect("it speaks");
            client.hears(outcome, now, &mut self.oracle, (id, &server.reader));
            if let Some(zxid) = self.oracle.newest(before) {
                self.checkers.durability.acknowledged(&self.plan.membership().into_membership(), zxid);
            }
        }
    }

    fn lose_clients(&mut self, at: usize) {
        let now = self.time.ms();
        for client in self.clients.iter_mut().filter(|client| client.server() == Some(at)) {
            client.lost(now);
        }
        self.guests.iter_mut().filter(|guest| guest.at == at).for_each(Guest::lost);
    }

    /// A shard of this server says something to its sequencer.
    pub(crate) fn submit(&mut self, at: usize, submission: Submission) {
        if let Some(running) = &mut self.nodes[at].server {
            running.submissions.push(submission);
            self.wake(at);
        }
    }

    fn client_turn(&mut self, at: usize) {
        let now = self.time.ms();
        let client = &mut self.clients[at];
        client.next_at = now + 5 + self.rng.below(40);
        let (server, submission) = match client.place {
            Place::Nowhere => {
                let to = self.rng.below(self.nodes.len() as u64) as usize;
                let node = &self.nodes[to];
                if node.server.is_none() || !node.serving.is_serving() {
                    return;
                }
                self.connections += 1;
                (to, client.connect(to, ConnectionId(self.connections), node.applied))
            }
            // Now and then it leaves without a word, with a request under way or not.
            Place::At { .. } if self.rng.below(50) == 0 => return client.lost(now),
            Place::At { server, .. } => {
                (server, client.ask(now, &mut self.rng, &mut self.more, &mut self.oracle))
            }
            Place::Asking { .. } => return,
        };
        if let Some(submission) = submission {
            self.submit(server, submission);
        }
    }

    fn start(&mut self, at: usize) {
        let (id, seed) = (self.nodes[at].id, self.rng.next() >> 24);
        let node = &mut self.nodes[at];
        let time = node.machine.borrow().time.clone();
        let began = *node.started.get_or_insert(time.wall().0);
        if std::mem::take(&mut node.starts_as_before) {
            time.step_wall(began - time.wall().0);
        }
        let started = Server::start(&self.plan, id, &node.machine, &self.network, node.empty, seed);
        let (server, found) = match started {
            Ok(started) => started,
            Err(why) => return self.does_not_start(at, &why),
        };
        self.note(&format!("{} starts: decided {}, {} txns", id.0, found.decided, found.history.len()));
        self.checkers.prefix_consistency.found(id, &found);
        self.checkers.epochs.found(id, &found.record);
        let node = &mut self.nodes[at];
        assert!(
            found.lost.is_none() || node.was_hurt || !node.has_served,
            "{id:?} lost a part: {:?}",
            found.lost
        );
        node.is_doubtful |= found.lost.is_some();
        node.lost = found.lost.clone();
        let standing = server.sequencer.standing();
        self.checkers.durability.found(id, node.promised, found.last, found.lost.as_deref());
        if node.rotten {
            node.rotten = false;
            self.tally.noticed += usize::from(found.lost.is_some());
        }
        if found.lost.is_some() {
            node.promised = Zxid::ZERO;
        }
        let left = node.machine.borrow().unsafe_start(found.base);
        assert!(left.is_none(), "durability: {id:?} takes what it read in {left:?} for what is on disk");
        node.flushed = standing.flushed;
        self.checkers.durability.stores(id, standing.flushed);
        if standing.applied <= standing.decided {
            self.checkers.agreement.delivered(id, standing.applied, standing.digest);
            self.checkers.agreement.recovered(id, standing.applied, found.state);
        }
        let node = &mut self.nodes[at];
        (node.applied, node.decided) = (standing.applied, standing.decided);
        node.server = Some(server);
    }

    /// It has no room for what a start writes, and tries again; or its operator gives it a new disk.
    fn does_not_start(&mut self, at: usize, why: &NoStart) {
        let node = &mut self.nodes[at];
        let may_be = match why {
            NoStart::NoRoom => node.machine.borrow().disk.is_limited(),
            NoStart::Refused(_) => node.rotten,
        };
        assert!(may_be, "{:?} does not start: {why:?}", node.id);
        node.starts_at = self.time.ms() + 500;
        let note = format!("{} does not start: {why:?}", node.id.0);
        self.note(&note);
        if matches!(why, NoStart::Refused(_)) {
            self.tally.refused += 1;
            self.empty(at);
        }
    }

    pub(crate) fn crash(&mut self, at: usize, power: bool) {
        let id = self.nodes[at].id;
        self.note(&format!("{} {}", id.0, if power { "loses power" } else { "is killed" }));
        self.tally.crashes += 1;
        self.end(at, power);
    }

    /// A process has ended itself, or a test has failed.
    fn ended(&mut self, at: usize, what: Box<dyn Any + Send>) {
        let node = &mut self.nodes[at];
        let Some(died) = what.downcast_ref::<Died>().filter(|died| node.may_end_for == Some(died.fatal))
        else {
            resume_unwind(what)
        };
        node.ended.push((self.time.ms(), died.reason.clone()));
        node.starts_at = self.time.ms() + 1_000;
        // What it began in its last turn is as open as what it began without serving.
        if node.machine.borrow().changes != node.changes {
            node.promised = Zxid::ZERO;
        }
        self.tally.ended += 1;
        let note = format!("{} ends: {}", node.id.0, died.reason);
        // What it wrote last is there, or in part, or not.
        node.machine.borrow().disk.crash(&mut self.rng);
        self.note(&note);
        self.end(at, false);
    }

    fn end(&mut self, at: usize, power: bool) {
        let now = self.time.ms();
        let id = self.nodes[at].id;
        let node = &mut self.nodes[at];
        drop(node.server.take());
        node.serving = Serving::No;
        node.machine.borrow_mut().crash(power);
        self.network.borrow_mut().crash(id.0, now, power);
        self.lose_clients(at);
    }

    fn fault(&mut self) {
        let now = self.time.ms();
        self.next_fault = now + 50 + self.rng.below(900);
        let at = self.rng.below(self.nodes.len() as u64) as usize;
        let other = self.rng.below(self.nodes.len() as u64) as usize;
        let (a, b) = (self.nodes[at].id.0, self.nodes[other].id.0);
        let is_up = self.nodes[at].server.is_some();
        match self.rng.below(11) {
            kind @ (0 | 1) if is_up && (kind == 0 && self.mix.power_loss || kind == 1 && self.mix.kill) => {
                self.crash(at, kind == 0);
                self.nodes[at].starts_at = now + self.rng.below(1_500);
            }
            2 if self.mix.cuts && a != b => {
                self.note(&format!("{a} and {b} are cut off"));
                self.network.borrow_mut().cut(a, b);
                self.network.borrow_mut().cut(b, a);
            }
            3 if self.mix.one_way && a != b => {
                self.note(&format!("{a} does not reach {b}"));
                self.network.borrow_mut().cut(a, b);
            }
            4 if self.mix.resets => {
                self.note("a connection is reset");
                self.network.borrow_mut().reset_one(now);
            }
            5 if self.mix.slow_disks => {
                let delay = self.rng.below(150);
                self.note(&format!("{a} has a disk of {delay} ms"));
                self.nodes[at].machine.borrow_mut().disk_delay = 0..=delay;
            }
            6 if self.mix.freezes => {
                let until = now + self.rng.below(2_000);
                self.note(&format!("{a} is frozen until {until}"));
                self.nodes[at].frozen_until = until;
            }
            7 if self.mix.emptied && self.may_be_emptied(at) => {
                self.empty(at);
                self.nodes[at].starts_at = now + self.rng.below(500);
            }
            8 if self.mix.stops && is_up => {
                self.stop(at);
                self.nodes[at].starts_at = now + self.rng.below(1_500);
            }
            _ => {
                self.note("the network is mended");
                self.network.borrow_mut().mend();
                return;
            }
        }
        self.tally.faults += 1;
    }

    /// Something happens to a disk.
    fn harm(&mut self) {
        let now = self.time.ms();
        self.next_harm = now + 50 + self.more.rng.below(900);
        let at = self.more.rng.below(self.nodes.len() as u64) as usize;
        let node = &mut self.nodes[at];
        let id = node.id.0;
        match self.more.rng.below(3) {
            0 if self.harm.failures => {
                let writes = self.more.rng.below(4);
                node.may_end_for = Some(Fatal::Storage);
                node.machine.borrow_mut().fails_after = Some(writes);
                self.note(&format!("{id} fails to write after {writes} more"));
            }
            1 if self.harm.no_room => {
                let disk = node.machine.borrow().disk.clone();
                if disk.is_limited() {
                    disk.limit(None);
                    return self.note(&format!("{id} has room again"));
                }
                node.may_end_for = Some(Fatal::Storage);
                disk.limit(Some(disk.used() + self.more.rng.below(40_000) as usize));
                self.note(&format!("the disk of {id} is full"));
            }
            2 if self.harm.rot && self.may_rot(at) => return self.rots(at),
            _ => return,
        }
        self.tally.faults += 1;
    }

    /// Some server's wall clock is set: by up to ten years either way, by a little, or, with the next start, to the time of
    /// an earlier one.
    fn set_clock(&mut self) {
        self.clocks.next = self.time.ms() + 50 + self.clocks.rng.below(600);
        let at = self.clocks.rng.below(self.nodes.len() as u64) as usize;
        let by = &mut self.clocks.by;
        let most = [TEN_YEARS_MS, 1_000, 0][by.below(3) as usize];
        let step = by.below(2 * most + 1) as i64 - most as i64;
        let node = &mut self.nodes[at];
        node.machine.borrow().time.step_wall(step);
        node.starts_as_before = step == 0;
        let id = node.id.0;
        self.note(&format!("the clock of {id} is set"));
        (self.tally.faults, self.tally.clocks) = (self.tally.faults + 1, self.tally.clocks + 1);
    }

    fn may_rot(&self, at: usize) -> bool {
        let node = &self.nodes[at];
        if self.plan.voters.contains(&node.id) {
            return self.may_be_emptied(at);
        }
        node.has_served && !node.is_doubtful && !node.rotten
    }

    /// A byte of its log or of a snapshot is another one. It goes on with what it has in memory, or is killed at once.
    fn rots(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let mut machine = node.machine.borrow_mut();
        let rng = &mut self.more.rng;
        let place = if rng.below(3) == 0 { machine.in_snapshot(rng) } else { machine.sealed_batch(rng) };
        let Some((name, offset)) = place else { return };
        machine.disk.rot(&name, offset);
        machine.rotten.push(name.clone());
        drop(machine);
        (node.rotten, node.was_hurt) = (true, true);
        let note = format!("{} has a rotten byte in {name} at {offset}", node.id.0);
        self.note(&note);
        self.tally.faults += 1;
        self.tally.rotten += 1;
        if self.nodes[at].server.is_some() && self.more.rng.coin() {
            self.crash(at, false);
            self.nodes[at].starts_at = self.time.ms() + self.more.rng.below(500);
        }
    }

    /// Only one voter at a time may have lost what it promised, and only of an ensemble that has begun: two would be more
    /// than what three copies can bear.
    fn may_be_emptied(&self, at: usize) -> bool {
        let voters = self.nodes.iter().filter(|node| self.plan.voters.contains(&node.id));
        let is_sound = |node: &Node| node.has_served && !node.is_doubtful && !node.rotten;
        self.plan.voters.contains(&self.nodes[at].id) && voters.clone().all(is_sound)
    }

    /// The machine gets a new disk.
    pub(crate) fn empty(&mut self, at: usize) {
        let id = self.nodes[at].id;
        self.crash(at, true);
        self.note(&format!("{} has a new disk", id.0));
        let node = &mut self.nodes[at];
        node.machine.borrow_mut().disk = Disk::new();
        self.hurt(at);
    }

    /// What a server's disk promised may be gone.
    pub(crate) fn hurt(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        (node.applied, node.decided, node.is_doubtful) = (Zxid::ZERO, Zxid::ZERO, true);
        (node.promised, node.flushed) = (Zxid::ZERO, Zxid::ZERO);
        (node.was_hurt, node.rotten) = (true, false);
        self.checkers.epochs.emptied(node.id);
        self.checkers.durability.stores(node.id, Zxid::ZERO);
    }

    /// SIGTERM.
    pub(crate) fn stop(&mut self, at: usize) {
        self.note(&format!("{} is told to stop", self.nodes[at].id.0));
        self.nodes[at].server.as_ref().expect("it is up").stop();
        self.wake(at);
    }

    fn wake(&mut self, at: usize) {
        let now = self.time.ms();
        let mut machine = self.nodes[at].machine.borrow_mut();
        machine.wake_at = machine.wake_at.min(now);
    }

    fn heal(&mut self) {
        self.note("heals");
        self.network.borrow_mut().mend();
        for node in &mut self.nodes {
            node.starts_at = node.starts_at.min(self.time.ms());
            (node.frozen_until, node.may_end_for) = (0, None);
            let mut machine = node.machine.borrow_mut();
            machine.disk.limit(None);
            (machine.disk_delay, machine.image_delay, machine.fails_after) = (0..=5, None, None);
            machine.install_ms = 0;
        }
    }
}
