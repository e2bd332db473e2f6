#![forbid(unsafe_code)]
//! The smallest ensemble that holds the bound with some of its servers down.
//!
//! # From one server to several
//!
//! What is fitted is one server. An ensemble of `n` with `d` down is reasoned, not measured:
//!
//! - `n ≥ 2d + 1`, or the rest decides nothing. Even numbers tolerate no more than the odd one below, so `n` is odd.
//! - Clients and their reads are spread evenly over the `n - d` that are left. Each of them logs and applies every write.
//! - The one looked at is the leader: it sends each write to the others and hears of each, a frame each way a server, at
//!   the CPU cost of a read.
//! - An acknowledgement takes a round trip between servers more than alone, and a flush elsewhere at the same time.

use ringkeeper_loadgen::results::terminal::time;
use serde::{Deserialize, Serialize};

use super::laws::{BUSY_MAX, Demand};
use super::predict::{Figures, Model};
use super::workload::Workload;

/// Most servers that are tried; each write waits for more than half of them.
const SERVERS_MAX: u32 = 9;
/// Writes are prepared, logged and applied by one thread. How much of a write's cost is that thread's was not measured,
/// so all of it is taken, and this much of one core.
const ORDERED_MAX: f64 = 0.8;
/// Bytes a proposal takes beside the value, about; an acknowledgement takes fewer.
const PROPOSAL_BYTES: f64 = 150.0;
/// Snapshots kept, and the one being written.
const SNAPSHOTS: f64 = 4.0;
/// The log reaches back to the second-newest snapshot, and goes on to the next.
const LOGS: f64 = 3.0;
/// Beside the log: the segment that is written and the one made ahead, bytes (`preAllocSize`).
const SEGMENTS: f64 = (2 * (64 << 20)) as f64;
/// The log behind a snapshot starts another one when it outgrows this, or the snapshot, bytes.
const LOG_BYTES_MIN: f64 = (256 << 20) as f64;
/// Snapshots start somewhere between half and all of `snapCount`.
const SNAP_SHARE: f64 = 0.75;
/// Bytes of a znode in a snapshot beside its value, about: path, Stat, ACL id.
const SNAPSHOT_ZNODE_BYTES: f64 = 160.0;
/// Bytes of a watch, about: its path's entry and the connection's.
const WATCH_BYTES: f64 = 250.0;
/// Room for what was not measured (a snapshot in progress holds old records; allocators keep some).
const MEMORY_ROOM: f64 = 1.25;

/// What one server needs.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Server {
    /// Cores.
    pub cores: u32,
    /// Share of them that is busy.
    pub busy: f64,
    /// Memory, bytes, with room.
    pub memory_bytes: f64,
    /// Disk space, bytes: snapshots and log.
    pub disk_bytes: f64,
    /// Bytes a second to the disk: the log, and snapshots on average. `None` if no run knew.
    pub disk_bytes_per_second: Option<f64>,
    /// Bytes a second into it.
    pub received_per_second: Option<f64>,
    /// Bytes a second out of it.
    pub sent_per_second: Option<f64>,
}

/// An ensemble that was looked at.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Ensemble {
    /// Servers.
    pub servers: u32,
    /// Those that are up while the bound must hold.
    pub up: u32,
    /// What each needs then.
    pub server: Server,
    /// 99th percentile of all requests then, µs.
    pub p99_us: Option<f64>,
    /// Of reads.
    pub read_p99_us: Option<f64>,
    /// Of writes.
    pub write_p99_us: Option<f64>,
    /// Why it does not hold; `None` if it does.
    pub broken: Option<String>,
    /// Whether it is made of what was measured alone: one server.
    pub is_measured: bool,
}

impl Ensemble {
    /// Whether its cores are enough, whatever the latency.
    pub fn keeps_up(&self) -> bool {
        self.server.busy < BUSY_MAX
    }
}

/// An input outside of what was fitted.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Extrapolated {
    /// The input.
    pub input: String,
    /// What the plan asks for.
    pub value: f64,
    /// Smallest fitted.
    pub low: f64,
    /// Largest.
    pub high: f64,
}

/// What is answered.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// The smallest that holds, if one does.
    pub smallest: Option<Ensemble>,
    /// All that were looked at, smallest first; of each number of servers the one with the fewest cores that holds, or
    /// the one with the most.
    pub tried: Vec<Ensemble>,
    /// Inputs of the answer (or of the last that was tried) outside of the fitted range.
    pub extrapolated: Vec<Extrapolated>,
}

/// Finds the smallest ensemble for a workload that was checked and has grown.
pub fn answer(model: &Model, workload: &Workload) -> Answer {
    let least = 2 * workload.down + 1;
    let mut tried: Vec<Ensemble> = Vec::new();
    for servers in (least..=SERVERS_MAX.max(least)).step_by(2) {
        let each = (1..=cores_max(model, workload)).map(|cores| ensemble(model, workload, servers, cores));
        // The most cores if none is enough.
        let mut last = None;
        for ensemble in each {
            let holds = ensemble.broken.is_none();
            last = Some(ensemble);
            if holds {
                break;
            }
        }
        tried.extend(last);
        if tried.last().is_some_and(|ensemble| ensemble.broken.is_none()) {
            break;
        }
    }
    let smallest = tried.last().filter(|ensemble| ensemble.broken.is_none()).cloned();
    let about = tried.last().expect("at least one is tried");
    Answer { extrapolated: extrapolated(model, workload, about), smallest, tried }
}

/// Most cores that are tried.
pub(super) fn cores_max(model: &Model, workload: &Workload) -> u32 {
    workload.cores_max.unwrap_or(model.cores as u32).max(1)
}

/// What one of the servers that are up is asked for.
fn demand(workload: &Workload, up: u32) -> Demand {
    Demand {
        reads: workload.reads_per_second / f64::from(up),
        writes: workload.writes_per_second,
        value_bytes: workload.value_bytes,
        znodes: workload.znodes,
        connections: (workload.clients / f64::from(up)).max(1.0),
    }
}

/// CPU beside the requests: idle sessions, watch events, the others of the ensemble.
fn extra_cpu(model: &Model, workload: &Workload, servers: u32, up: u32) -> f64 {
    let idle = (workload.sessions - workload.clients) / f64::from(up);
    let session = model.session.map_or_else(|| model.cpu_of("session"), |cost| cost.cpu);
    // A watch fires with the next write to its znode, and is set again.
    let events = workload.writes_per_second * (workload.watches / workload.znodes) / f64::from(up);
    let event = model.event_cpu.unwrap_or_else(|| model.cpu_of("read"));
    let frames = 2.0 * f64::from(servers - 1) * workload.writes_per_second;
    idle * session + events * event + frames * model.cpu_of("read")
}

/// An ensemble of so many servers and cores.
pub(super) fn ensemble(model: &Model, workload: &Workload, servers: u32, cores: u32) -> Ensemble {
    let up = servers - workload.down;
    let demand = demand(workload, up);
    let others = f64::from(servers - 1);
    let figures = model.at(&demand, f64::from(cores), extra_cpu(model, workload, servers, up), 0.0);
    let trip = if servers > 1 { workload.round_trip_us } else { 0.0 };
    let slower = |p99_us: Option<f64>| p99_us.map(|p99_us| p99_us + trip);
    let write_p99_us = slower(figures.write_p99_us);
    // A trip more for writes is at most a trip more for all.
    let p99_us = if workload.writes_per_second > 0.0 { slower(figures.p99_us) } else { figures.p99_us };
    let server = server(model, workload, &figures, cores, (up, others));
    let ordered = workload.writes_per_second
        * (model.cpu_of("write") + model.cpu_of("write KiB") * workload.value_bytes / 1024.0);
    let broken = if server.busy >= BUSY_MAX {
        Some(format!("{cores} cores do not keep up: {:.1} are wanted", figures.cpu))
    } else if ordered > ORDERED_MAX {
        Some(format!("one thread orders all writes, and these would take {ordered:.1} cores"))
    } else {
        match p99_us {
            None => Some("no run tells the latency of such requests".to_owned()),
            Some(p99_us) if p99_us > workload.p99_bound_us => Some(format!("p99 {}", time(p99_us).trim())),
            Some(_) => None,
        }
    };
    Ensemble {
        servers,
        up,
        server,
        p99_us,
        read_p99_us: figures.read_p99_us,
        write_p99_us,
        broken,
        is_measured: servers == 1,
    }
}

fn server(
    model: &Model,
    workload: &Workload,
    figures: &Figures,
    cores: u32,
    (up, others): (u32, f64),
) -> Server {
    let idle = (workload.sessions - workload.clients) / f64::from(up);
    let session_bytes = model.session.map_or_else(|| model.memory_of("session"), |cost| cost.bytes);
    let watch_bytes = workload.watches / f64::from(up) * WATCH_BYTES;
    let memory = figures.memory + idle * session_bytes + watch_bytes;
    let snapshot = snapshot_bytes(workload);
    let every = every_log_bytes(workload, figures.disk);
    let writes = workload.writes_per_second;
    let log = if writes > 0.0 { figures.disk } else { Some(0.0) };
    let proposals = writes * (workload.value_bytes + PROPOSAL_BYTES) * others;
    // The others pass on the writes of their clients; acknowledgements are small.
    let passed_on = if others > 0.0 {
        writes * (workload.value_bytes + PROPOSAL_BYTES) * (1.0 - 1.0 / f64::from(up))
            + writes * PROPOSAL_BYTES * others
    } else {
        0.0
    };
    Server {
        cores,
        busy: figures.cpu / f64::from(cores),
        memory_bytes: memory * MEMORY_ROOM,
        disk_bytes: SNAPSHOTS * snapshot + LOGS * every + SEGMENTS,
        disk_bytes_per_second: log.map(|log| log + if every > 0.0 { snapshot * log / every } else { 0.0 }),
        received_per_second: figures.received.map(|bytes| bytes + passed_on),
        sent_per_second: figures.sent.map(|bytes| bytes + proposals),
    }
}

/// Bytes of a snapshot.
fn snapshot_bytes(workload: &Workload) -> f64 {
    workload.znodes * (workload.value_bytes + SNAPSHOT_ZNODE_BYTES)
}

/// Bytes of the log between two snapshots: `snapCount` transactions, or as much as is let grow.
fn every_log_bytes(workload: &Workload, log_bytes_per_second: Option<f64>) -> f64 {
    if workload.writes_per_second <= 0.0 {
        return 0.0;
    }
    let most = LOG_BYTES_MIN.max(snapshot_bytes(workload));
    match log_bytes_per_second {
        Some(bytes) => (bytes / workload.writes_per_second * workload.snap_count * SNAP_SHARE).min(most),
        None => most,
    }
}

fn extrapolated(model: &Model, workload: &Workload, about: &Ensemble) -> Vec<Extrapolated> {
    let demand = demand(workload, about.up);
    let mut found: Vec<Extrapolated> = model
        .ranges
        .iter()
        .filter_map(|range| {
            let value = match range.input.as_str() {
                "requests a second on a server" => demand.rate(),
                "writes a second" => demand.writes,
                "share of writes" => demand.writes / demand.rate(),
                "bytes of a value" => demand.value_bytes,
                "znodes" => demand.znodes,
                "clients on a server" => demand.connections,
                "busy share of the cores" => about.server.busy,
                "cores of a server" => f64::from(about.server.cores),
                other => unreachable!("a range of {other}"),
            };
            // Fewer cores than the host has are a matter of division.
            let is_core = range.input == "cores of a server";
            let is_outside = value > range.high * 1.001 || value < range.low * 0.999 && !is_core;
            is_outside.then(|| Extrapolated {
                input: range.input.clone(),
                value,
                low: range.low,
                high: range.high,
            })
        })
        .collect();
    let mut unmeasured = |is_wanted: bool, is_known: bool, input: &str, value: f64| {
        if is_wanted && !is_known {
            found.push(Extrapolated { input: input.to_owned(), value, low: 0.0, high: 0.0 });
        }
    };
    let idle = workload.sessions - workload.clients;
    unmeasured(
        idle > 0.0,
        model.session.is_some(),
        "idle sessions (no run of ringkeeper-loadgen idle)",
        idle,
    );
    unmeasured(
        workload.watches > 0.0,
        model.event_cpu.is_some(),
        "watches (no run of ringkeeper-loadgen fanout)",
        workload.watches,
    );
    unmeasured(about.servers > 1, false, "servers (the fit is of one)", f64::from(about.servers));
    found
}
