#![forbid(unsafe_code)]
//! The laws that are tried: what each figure of a server may depend on, and how.
//!
//! | Figure | Forms |
//! | --- | --- |
//! | CPU | a cost for each request, byte and session; the same, and a cost for each turn of the threads, which gets rarer a request as load grows; and one for each batch of the log |
//! | memory | the empty server, each znode, each byte of a value, each session; the same, and what writes leave behind |
//! | disk | batches in whole blocks and seals (`flush.rs`); a cost for each write and byte |
//! | network | frames and bytes, each way |
//! | p50, p99 of reads, of writes | a base and a queue, `ρ / (1 - ρ)` (M/G/1); the same with the queue in units of the mean service time; a base that grows by `e^(βρ)`; a base and the length of a turn, `1 / (1 - w)`; the same with a call for each connection that speaks; a base alone |
//!
//! `ρ` is the share of the host's cores that is busy, with the load's own if it ran there. `w` is the part of it that
//! each request adds. The two differ because a server that wakes for each request of a light load is busy long before
//! it is full: what waking costs is shared by more requests as load grows. A turn that begins with waking, `t`, and
//! then takes up what arrived during the one before, takes `t + λcT`, so `T = t / (1 - λc)`: `w`, not `ρ`, is what
//! makes it long.

use super::flush::{self, Log};
use super::forms::Form;
use super::workload::VALUE_BYTES_MAX;

/// What one server is asked for.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Demand {
    /// Reads a second.
    pub reads: f64,
    /// Writes a second.
    pub writes: f64,
    /// Bytes of a value.
    pub value_bytes: f64,
    /// Znodes.
    pub znodes: f64,
    /// Connections that ask for something.
    pub connections: f64,
}

impl Demand {
    /// Requests a second.
    pub fn rate(&self) -> f64 {
        self.reads + self.writes
    }

    /// Of the connections, how many ask for something within so many seconds; each by itself, at any time.
    fn speaking(&self, seconds: f64) -> f64 {
        let connections = self.connections.max(1.0);
        connections * (1.0 - (-self.rate() / connections * seconds).exp())
    }

    fn kilobytes(&self) -> f64 {
        self.value_bytes.min(VALUE_BYTES_MAX) / 1024.0
    }
}

/// A server at work.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Point {
    /// What it is asked for.
    pub demand: Demand,
    /// Its log.
    pub log: Log,
    /// Cores it keeps busy; 0 where that is what is asked.
    pub cpu: f64,
    /// Share of the host's cores that is busy.
    pub busy: f64,
    /// The part of it that grows with each request: without what the threads' turns cost, whatever they find.
    pub work: f64,
}

/// Beyond, a queue has no length: what is said of such a host is that it does not keep up.
pub const BUSY_MAX: f64 = 0.97;

impl Point {
    /// ρ / (1 - ρ).
    fn queue(&self) -> f64 {
        let busy = self.busy.clamp(0.0, BUSY_MAX);
        busy / (1.0 - busy)
    }

    /// 1 / (1 - w): a turn's length, in turns that find nothing.
    fn turn(&self) -> f64 {
        1.0 / (1.0 - self.work.clamp(0.0, BUSY_MAX))
    }

    /// Mean CPU time of a request, µs.
    fn service_us(&self) -> f64 {
        if self.demand.rate() > 0.0 { self.cpu / self.demand.rate() * 1e6 } else { 0.0 }
    }

    /// The chance that a read finds an earlier write of its own connection unanswered, which it must wait for.
    fn behind(&self, wait_s: f64) -> f64 {
        1.0 - (-self.demand.writes / self.demand.connections.max(1.0) * wait_s).exp()
    }
}

/// Turns a second of threads that sleep when there is nothing to do, and take up what arrived during the last turn.
fn turns(rate: f64, turn_s: f64) -> f64 {
    rate / (1.0 + rate * turn_s)
}

const STRAIGHT: &[f64] = &[0.0];
const TURNS: &[f64] = &[1e-5, 2e-5, 4e-5, 8e-5, 1.6e-4, 3.2e-4, 6.4e-4];
const FLUSHES: &[f64] = &[
    5e-5, 7e-5, 1e-4, 1.4e-4, 2e-4, 2.8e-4, 4e-4, 5.6e-4, 8e-4, 1.1e-3, 1.6e-3, 2.2e-3, 3.2e-3, 4.5e-3,
    6.4e-3, 9e-3, 1.3e-2,
];
const GROWTHS: &[f64] = &[0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0];

/// Terms of the CPU's laws that each request adds; the others are there anyway, or get rarer.
pub const WORK: [&str; 4] = ["read", "write", "read KiB", "write KiB"];

fn straight_cpu(demand: &Demand) -> Vec<f64> {
    let kilobytes = demand.kilobytes();
    let (reads, writes) = (demand.reads, demand.writes);
    vec![1.0, reads, writes, reads * kilobytes, writes * kilobytes, demand.connections]
}

/// CPU: cores kept busy.
pub static CPU: &[Form<Point>] = &[
    Form {
        name: "a cost each",
        terms: &["base", "read", "write", "read KiB", "write KiB", "session"],
        bends: STRAIGHT,
        features: |point, _| straight_cpu(&point.demand),
    },
    Form {
        name: "a cost each, and each turn",
        terms: &["base", "read", "write", "read KiB", "write KiB", "session", "turn"],
        bends: TURNS,
        features: |point, turn_s| {
            let mut features = straight_cpu(&point.demand);
            features.push(turns(point.demand.rate(), turn_s));
            features
        },
    },
    Form {
        name: "a cost each, each turn and each batch",
        terms: &["base", "read", "write", "read KiB", "write KiB", "session", "turn", "batch"],
        bends: TURNS,
        features: |point, turn_s| {
            let mut features = straight_cpu(&point.demand);
            features.extend([turns(point.demand.rate(), turn_s), point.log.batches]);
            features
        },
    },
];

/// Resident memory, bytes.
pub static MEMORY: &[Form<Point>] = &[
    Form {
        name: "the tree",
        terms: &["base", "znode", "value KiB", "session"],
        bends: STRAIGHT,
        features: |point, _| tree(&point.demand),
    },
    Form {
        name: "the tree, and what writes leave behind",
        terms: &["base", "znode", "value KiB", "session", "write KiB"],
        bends: STRAIGHT,
        features: |point, _| {
            let mut features = tree(&point.demand);
            features.push(point.demand.writes * point.demand.kilobytes());
            features
        },
    },
];

fn tree(demand: &Demand) -> Vec<f64> {
    vec![1.0, demand.znodes, demand.znodes * demand.kilobytes(), demand.connections]
}

/// Disk: bytes a second. The first form finds the time of a flush.
pub static DISK: &[Form<Point>] = &[
    Form {
        name: "batches in blocks",
        terms: &["batch byte", "seal byte"],
        bends: FLUSHES,
        features: |point, flush_s| {
            let log = flush::log(point.demand.writes, point.demand.value_bytes, flush_s);
            vec![log.batch_bytes, log.seals * flush::BLOCK_BYTES]
        },
    },
    Form {
        name: "a cost each",
        terms: &["write", "write KiB"],
        bends: STRAIGHT,
        features: |point, _| vec![point.demand.writes, point.demand.writes * point.demand.kilobytes()],
    },
];

/// Network into the server: bytes a second.
pub static RECEIVED: &[Form<Point>] = &[Form {
    name: "frames and bytes",
    terms: &["read", "write", "write KiB"],
    bends: STRAIGHT,
    features: |point, _| {
        let demand = &point.demand;
        vec![demand.reads, demand.writes, demand.writes * demand.kilobytes()]
    },
}];

/// Network out of the server: bytes a second.
pub static SENT: &[Form<Point>] = &[Form {
    name: "frames and bytes",
    terms: &["read", "read KiB", "write"],
    bends: STRAIGHT,
    features: |point, _| {
        let demand = &point.demand;
        vec![demand.reads, demand.reads * demand.kilobytes(), demand.writes]
    },
}];

/// A turn is waited for; reads wait too where the log keeps the server busy.
const TURN: Form<Point> = Form {
    name: "base and turn",
    terms: &["base", "turn", "log busy"],
    bends: STRAIGHT,
    features: |point, _| vec![1.0, point.turn(), point.log.busy],
};

/// The same, and a turn is longer where the log is busy.
const TURN_BESIDE_LOG: Form<Point> = Form {
    name: "base, turn and turn beside a busy log",
    terms: &["base", "turn", "log busy", "turn × log busy"],
    bends: STRAIGHT,
    features: |point, _| {
        let turn = point.turn();
        vec![1.0, turn, point.log.busy, turn * point.log.busy]
    },
};

/// A turn begins with waking, and with a call into the kernel for each connection that has something to say. How many
/// have, by chance, depends on how long a turn is: the number this bends by, in seconds.
const TURN_OF_CONNECTIONS: Form<Point> = Form {
    name: "base, and turn of those who speak",
    terms: &["base", "turn", "log busy", "turn × connection that speaks"],
    bends: &[1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2],
    features: |point, turn_s| {
        let turn = point.turn();
        vec![1.0, turn, point.log.busy, turn * point.demand.speaking(turn_s)]
    },
};

/// A tail of the machine's that the load hardly moves.
const BASE: Form<Point> = Form {
    name: "base alone",
    terms: &["base", "log busy"],
    bends: STRAIGHT,
    features: |point, _| vec![1.0, point.log.busy],
};

/// Latency of reads, µs.
pub static READ: &[Form<Point>] = &[
    Form {
        name: "base and queue",
        terms: &["base", "KiB", "queue", "behind a write"],
        bends: STRAIGHT,
        features: |point, _| vec![1.0, point.demand.kilobytes(), point.queue(), point.behind(1e-3)],
    },
    Form {
        name: "base and queue of service times",
        terms: &["base", "KiB", "queue × service", "behind a write"],
        bends: STRAIGHT,
        features: |point, _| {
            vec![1.0, point.demand.kilobytes(), point.queue() * point.service_us(), point.behind(1e-3)]
        },
    },
    Form {
        name: "exponential",
        terms: &["base", "KiB", "behind a write"],
        bends: GROWTHS,
        features: |point, growth| {
            let factor = (growth * point.busy.min(BUSY_MAX)).exp();
            vec![factor, factor * point.demand.kilobytes(), factor * point.behind(1e-3)]
        },
    },
    TURN,
    TURN_BESIDE_LOG,
    TURN_OF_CONNECTIONS,
    BASE,
];

/// Latency of writes, µs. The base holds the flush; `log busy` the wait for the one before.
pub static WRITE: &[Form<Point>] = &[
    Form {
        name: "base and queue",
        terms: &["base", "KiB", "queue", "log busy"],
        bends: STRAIGHT,
        features: |point, _| vec![1.0, point.demand.kilobytes(), point.queue(), point.log.busy],
    },
    Form {
        name: "base and queue of service times",
        terms: &["base", "KiB", "queue × service", "log busy"],
        bends: STRAIGHT,
        features: |point, _| {
            vec![1.0, point.demand.kilobytes(), point.queue() * point.service_us(), point.log.busy]
        },
    },
    Form {
        name: "exponential",
        terms: &["base", "KiB", "log busy"],
        bends: GROWTHS,
        features: |point, growth| {
            let factor = (growth * point.busy.min(BUSY_MAX)).exp();
            vec![factor, factor * point.demand.kilobytes(), factor * point.log.busy]
        },
    },
    TURN,
    TURN_BESIDE_LOG,
    TURN_OF_CONNECTIONS,
    BASE,
];
