#![forbid(unsafe_code)]
//! Reads result files of `ringkeeper-loadgen`, and refuses what is not one.
//!
//! Repetitions of one workload at one rate, in whichever files, become one run: the median of each figure. So a noisy
//! minute costs one repetition, not the fit.
//!
//! Latencies of a repetition are the medians of its intervals' (the p99 of the median second, as a rule), where it has
//! [`INTERVALS_MIN`] of [`INTERVAL_REQUESTS_MIN`] requests each. The p99 of all of a run of some seconds is decided by
//! whether the machine paused once in it: one pause of 25 ms and the backlog it leaves are a hundredth of four seconds.
//! What pauses add is not lost: [`Run::whole_p99_us`] keeps it, and the results say it beside.

use std::collections::BTreeMap;
use std::path::Path;

use ringkeeper_loadgen::mix::Kind;
use ringkeeper_loadgen::results::read::{ReadError, Records};
use ringkeeper_loadgen::results::records::{IntervalRecord, Latency, Machine, Record, Scene, Start, Summary};
use serde::{Deserialize, Serialize};

/// Of all requests that were due, how many may have stayed unsent; beyond, latencies say less than they should.
const UNSENT_MAX: f64 = 0.01;
/// Intervals that a median of them needs; with fewer, latencies are those of the whole run.
pub const INTERVALS_MIN: usize = 3;
/// Requests an interval needs for its own 99th percentile: ten are above it.
pub const INTERVAL_REQUESTS_MIN: u64 = 1000;

/// Why result files are of no use.
#[derive(Debug, thiserror::Error)]
pub enum RunsError {
    /// A file cannot be read, or is none of results.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Nothing in it.
    #[error("{0} is empty: give ringkeeper-loadgen --json FILE")]
    Empty(String),
    /// Records, but none of them of a load that was measured.
    #[error(
        "{0} holds no run to learn from: wanted are results of ringkeeper-loadgen run, with --pid or --start (for CPU, memory and disk)"
    )]
    NoRun(String),
    /// Figures of one machine say nothing of another.
    #[error(
        "{file}: measured on {other}; the files before on {machine}. A plan is made from runs of one kind of host"
    )]
    OtherMachine {
        /// The file.
        file: String,
        /// Its machine.
        other: String,
        /// The one of the files before.
        machine: String,
    },
}

/// What was asked for. Runs that agree in it are repetitions.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Asked {
    /// Weights by kind.
    pub mix: String,
    /// Requests a second on the schedule; `None` for a closed loop.
    pub rate: Option<f64>,
    /// Connections, a session each.
    pub connections: f64,
    /// In flight on each, at most.
    pub depth: f64,
    /// Bytes of a value.
    pub value_bytes: f64,
    /// Znodes.
    pub znodes: f64,
}

impl Asked {
    /// Whether the other differs in nothing but the rate.
    pub fn is_same_but_rate(&self, other: &Asked) -> bool {
        Asked { rate: None, ..self.clone() } == Asked { rate: None, ..other.clone() }
    }
}

/// A percentile pair of one class of requests, microseconds.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Tail {
    /// Half were at most this.
    pub p50_us: f64,
    /// 99 of a hundred.
    pub p99_us: f64,
}

/// A run, each figure the median of its repetitions.
#[derive(Clone, PartialEq, Debug)]
pub struct Run {
    /// What was asked for.
    pub asked: Asked,
    /// How often it was measured.
    pub repetitions: usize,
    /// Reads a second.
    pub reads: f64,
    /// Writes a second.
    pub writes: f64,
    /// Cores the server kept busy.
    pub cpu: f64,
    /// Cores the load kept busy, on the same machine.
    pub load_cpu: f64,
    /// Resident memory at the end, bytes.
    pub resident: f64,
    /// Bytes a second to the disk, where the kernel told.
    pub written: Option<f64>,
    /// Bytes a second into the server and out of it.
    pub network: Option<(f64, f64)>,
    /// Latencies of reads, if there were any and the loop was open.
    pub read: Option<Tail>,
    /// Latencies of writes.
    pub write: Option<Tail>,
    /// 99th percentile of all requests, µs, of an open loop.
    pub p99_us: Option<f64>,
    /// The same over the whole run, pauses of the machine included: the median of the repetitions.
    pub whole_p99_us: Option<f64>,
    /// The repetitions, where there was more than one: what they differ by, no model can say.
    pub each: Vec<Run>,
}

impl Runs {
    /// Says that the server had `cores` to itself and the load others (`taskset`): the load's time is not held against
    /// the server's cores.
    pub fn apart(&mut self, cores: usize) {
        self.machine.cores = cores;
        for run in &mut self.runs {
            run.load_cpu = 0.0;
            run.each.iter_mut().for_each(|one| one.load_cpu = 0.0);
        }
    }
}

/// What one idle session costs.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct SessionCost {
    /// Resident bytes.
    pub bytes: f64,
    /// CPU seconds a second.
    pub cpu: f64,
}

/// All that was read.
#[derive(Clone, PartialEq, Debug)]
pub struct Runs {
    /// Where.
    pub machine: Machine,
    /// The runs that can be used.
    pub runs: Vec<Run>,
    /// Of `idle`.
    pub session: Option<SessionCost>,
    /// CPU seconds for one event to one watcher, of `fanout`.
    pub event_cpu: Option<f64>,
    /// What was left out, and why.
    pub left_out: Vec<String>,
}

/// What a file held.
#[derive(Default)]
struct Found {
    machine: Option<(String, Machine)>,
    repetitions: Vec<Run>,
    sessions: Vec<SessionCost>,
    events: Vec<f64>,
    left_out: Vec<String>,
}

/// Reads files.
///
/// # Errors
/// The first file that cannot be used; a run that cannot be trusted is left out and named.
pub fn read(paths: &[impl AsRef<Path>]) -> Result<Runs, RunsError> {
    let mut found = Found::default();
    for path in paths {
        let path = path.as_ref();
        read_one(&path.display().to_string(), path, &mut found)?;
    }
    let Some((_, machine)) = found.machine else { return Err(RunsError::Empty("the list of files".into())) };
    let mut groups: Vec<Vec<Run>> = Vec::new();
    for run in found.repetitions {
        match groups.iter_mut().find(|group| group[0].asked == run.asked) {
            Some(group) => group.push(run),
            None => groups.push(vec![run]),
        }
    }
    let session = (!found.sessions.is_empty()).then(|| SessionCost {
        bytes: median(found.sessions.iter().map(|cost| cost.bytes)),
        cpu: median(found.sessions.iter().map(|cost| cost.cpu)),
    });
    Ok(Runs {
        machine,
        runs: groups.iter().map(|group| together(group)).collect(),
        session,
        event_cpu: (!found.events.is_empty()).then(|| median(found.events.iter().copied())),
        left_out: found.left_out,
    })
}

fn read_one(name: &str, path: &Path, found: &mut Found) -> Result<(), RunsError> {
    let mut records = Records::open(path)?;
    let mut useful = 0;
    let mut intervals: Vec<IntervalRecord> = Vec::new();
    while let Some(record) = records.next() {
        match record? {
            // Of the whole file, and says nothing of a run.
            Record::About(_) => {}
            Record::Start(start) => {
                intervals.clear();
                same_machine(name, &start, found)?;
            }
            _ if found.machine.is_none() => return Err(records.foreign("no start record before it").into()),
            Record::Summary(summary) if summary.workload.mix != "fill" => {
                let (mix, rate) = (&summary.workload.mix, summary.per_second);
                let label = format!("{name}:{}: {mix} at {rate:.0}/s", records.line());
                let is_of = |interval: &IntervalRecord| {
                    interval.target == summary.target && interval.round == summary.round
                };
                let (own, others) = intervals.into_iter().partition(is_of);
                intervals = others;
                match repetition(&summary, own) {
                    Ok(run) => {
                        useful += 1;
                        found.repetitions.push(run);
                    }
                    Err(why) => found.left_out.push(format!("{label}: {why}")),
                }
            }
            // The warm-up's are negative.
            Record::Interval(interval) if interval.number >= 0 => intervals.push(interval),
            Record::Scene(scene) => useful += usize::from(take_scene(&scene, found)),
            _ => {}
        }
    }
    match (records.line(), useful) {
        (0, _) => Err(RunsError::Empty(name.to_owned())),
        (_, 0) => Err(RunsError::NoRun(name.to_owned())),
        _ => Ok(()),
    }
}

fn same_machine(name: &str, start: &Start, found: &mut Found) -> Result<(), RunsError> {
    let machine = &start.machine;
    match &found.machine {
        None => found.machine = Some((name.to_owned(), machine.clone())),
        // The kernel may be updated between two runs, and a machine's memory be a few pages less.
        Some((_, known)) if (&known.processor, known.cores) == (&machine.processor, machine.cores) => {}
        Some((_, known)) => {
            let words = |machine: &Machine| format!("{} × {}", machine.cores, machine.processor);
            let (file, other) = (name.to_owned(), words(machine));
            return Err(RunsError::OtherMachine { file, other, machine: words(known) });
        }
    }
    Ok(())
}

/// One measurement, or why it cannot be used.
fn repetition(summary: &Summary, intervals: Vec<IntervalRecord>) -> Result<Run, String> {
    if let Some(trouble) = &summary.trouble {
        return Err(trouble.clone());
    }
    let Some(server) = summary.server else {
        return Err("the server's process was not watched: --pid or --start".to_owned());
    };
    if summary.seconds < 1.0 || summary.completed == 0 {
        return Err("less than a second, or nothing completed".to_owned());
    }
    let due = summary.workload.rate.map_or(0.0, |rate| rate * summary.seconds);
    if summary.unsent as f64 > due * UNSENT_MAX && due > 0.0 {
        return Err(format!("{} requests were due and never left: the rate was too high", summary.unsent));
    }
    let errors: u64 = summary.errors.values().sum();
    if errors * 100 > summary.completed {
        return Err(format!("{errors} of {} requests failed", summary.completed));
    }
    let is_open = summary.workload.rate.is_some();
    // Counts of latencies hold the drain's too; shares of what completed do not.
    let count =
        |write: bool| of_class(&summary.kinds, write).map(|latency| latency.count as f64).sum::<f64>();
    let share = count(true) / (count(true) + count(false)).max(1.0);
    let intervals = whole(intervals);
    let tail = |write: bool| {
        let all = class_tail(&summary.kinds, write).filter(|_| is_open)?;
        let each: Vec<Tail> =
            intervals.iter().filter_map(|interval| class_tail(&interval.kinds, write)).collect();
        if each.len() < INTERVALS_MIN {
            return Some(all);
        }
        let p50_us = median(each.iter().map(|tail| tail.p50_us));
        Some(Tail { p50_us, p99_us: median(each.iter().map(|tail| tail.p99_us)) })
    };
    let whole_p99_us = summary.latency.p99_us;
    let p99_us = if intervals.len() < INTERVALS_MIN {
        whole_p99_us
    } else {
        median(intervals.iter().map(|interval| interval.latency.p99_us))
    };
    Ok(Run {
        asked: Asked {
            mix: summary.workload.mix.clone(),
            rate: summary.workload.rate,
            connections: summary.workload.connections as f64,
            depth: summary.workload.depth as f64,
            value_bytes: summary.workload.value_bytes as f64,
            znodes: summary.workload.keys as f64,
        },
        repetitions: 1,
        reads: summary.per_second * (1.0 - share),
        writes: summary.per_second * share,
        cpu: server.cpu_s / summary.seconds,
        load_cpu: summary.own_cpu_s / summary.seconds,
        resident: server.resident_bytes as f64,
        written: server.written_bytes.map(|bytes| bytes as f64 / summary.seconds),
        network: summary.network.map(|network| (network.sent_per_second, network.received_per_second)),
        read: tail(false),
        write: tail(true),
        p99_us: is_open.then_some(p99_us),
        whole_p99_us: is_open.then_some(whole_p99_us),
        each: Vec::new(),
    })
}

/// Intervals that latencies can be told from: long enough (the last of a run may be cut) and of requests enough. None
/// are used where some of the long ones lack requests: they would be the stalled ones, and the rest look too well.
fn whole(intervals: Vec<IntervalRecord>) -> Vec<IntervalRecord> {
    let longest = intervals.iter().map(|interval| interval.length_s).fold(0.0, f64::max);
    let long = intervals.into_iter().filter(|interval| interval.length_s >= longest / 2.0);
    let long: Vec<IntervalRecord> = long.collect();
    if long.iter().all(|interval| interval.latency.count >= INTERVAL_REQUESTS_MIN) {
        long
    } else {
        Vec::new()
    }
}

/// Latencies of the kinds that occurred, of reads or of writes.
fn of_class(kinds: &BTreeMap<String, Latency>, write: bool) -> impl Iterator<Item = &Latency> {
    let names = Kind::ALL.into_iter().filter(move |kind| kind.is_write() == write);
    names.filter_map(|kind| kinds.get(kind.word())).filter(|latency| latency.count > 0)
}

/// The percentiles of a class, each kind's by how often it occurred.
fn class_tail(kinds: &BTreeMap<String, Latency>, write: bool) -> Option<Tail> {
    let count: f64 = of_class(kinds, write).map(|latency| latency.count as f64).sum();
    let weighted = |figure: fn(&Latency) -> f64| {
        of_class(kinds, write).map(|latency| figure(latency) * latency.count as f64).sum::<f64>() / count
    };
    let tail =
        || Tail { p50_us: weighted(|latency| latency.p50_us), p99_us: weighted(|latency| latency.p99_us) };
    (count > 0.0).then(tail)
}

fn take_scene(scene: &Scene, found: &mut Found) -> bool {
    let figure = |name: &str| scene.figures.get(name).copied().filter(|value| value.is_finite());
    match scene.scene.as_str() {
        "idle" => {
            let (bytes, cpu_us) = (figure("resident_bytes_per_session"), figure("cpu_us_per_session_second"));
            let cost = bytes.zip(cpu_us).map(|(bytes, cpu_us)| SessionCost { bytes, cpu: cpu_us / 1e6 });
            found.sessions.extend(cost);
            cost.is_some()
        }
        "fanout" => {
            let cpu_us = figure("cpu_us_per_event");
            found.events.extend(cpu_us.map(|cpu_us| cpu_us / 1e6));
            cpu_us.is_some()
        }
        _ => false,
    }
}

/// The median of what is there; 0 of nothing.
pub(super) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        length if length % 2 == 1 => values[length / 2],
        length => f64::midpoint(values[length / 2 - 1], values[length / 2]),
    }
}

/// The median of each figure.
pub(super) fn together(group: &[Run]) -> Run {
    let of = |figure: fn(&Run) -> f64| median(group.iter().map(figure));
    // A figure that some repetition lacks is that of the others.
    let maybe = |figure: &dyn Fn(&Run) -> Option<f64>| {
        let values: Vec<f64> = group.iter().filter_map(figure).collect();
        (!values.is_empty()).then(|| median(values.into_iter()))
    };
    let tail = |of: fn(&Run) -> Option<Tail>| {
        let p50_us = maybe(&|run| Some(of(run)?.p50_us))?;
        Some(Tail { p50_us, p99_us: maybe(&|run| Some(of(run)?.p99_us))? })
    };
    Run {
        asked: group[0].asked.clone(),
        repetitions: group.len(),
        reads: of(|run| run.reads),
        writes: of(|run| run.writes),
        cpu: of(|run| run.cpu),
        load_cpu: of(|run| run.load_cpu),
        resident: of(|run| run.resident),
        written: maybe(&|run| run.written),
        network: maybe(&|run| Some(run.network?.0)).zip(maybe(&|run| Some(run.network?.1))),
        read: tail(|run| run.read),
        write: tail(|run| run.write),
        p99_us: maybe(&|run| run.p99_us),
        whole_p99_us: maybe(&|run| run.whole_p99_us),
        each: if group.len() > 1 { group.to_vec() } else { Vec::new() },
    }
}
