#![forbid(unsafe_code)]
//! The result as JSON lines: one record a line, each with `schema` and `type`.
//!
//! Versions of the schema. A field may be added without a new version; readers ignore what they do not know.
//!
//! | `schema` | what changed |
//! | --- | --- |
//! | `ringkeeper-loadgen/1` | the first |
//!
//! Latencies are in microseconds, sizes in bytes, other times in seconds, rates a second; the names say which.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::codec;
use crate::mix::Kind;
use crate::process::Sample;
use crate::recorder::{Stats, histogram};
use crate::run::{Interval, Outcome};

/// The schema that is written.
pub const SCHEMA: &str = "ringkeeper-loadgen/1";

/// A line.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Line {
    /// [`SCHEMA`].
    pub schema: String,
    /// What it says.
    #[serde(flatten)]
    pub record: Record,
}

/// What a line says.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Record {
    /// Of a file that several programs wrote: what was compared, and on what.
    About(About),
    /// The first line.
    Start(Start),
    /// An interval of a run has ended.
    Interval(IntervalRecord),
    /// A run has ended.
    Summary(Box<Summary>),
    /// A figure of one target by that of another, over the rounds of a comparison.
    Ratio(Ratio),
    /// A rate that was tried by a sweep; one that breaks the bound is tried again.
    Point(Point),
    /// The highest rate that kept the bound.
    Found(Found),
    /// What a failover came to.
    Failover(Failover),
    /// What a storm, a fan-out, idle sessions, locks or elections came to.
    Scene(Scene),
    /// The last line.
    End(End),
}

/// What a program cannot know by itself: versions and flags of the servers, the file system, the commit.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct About {
    /// What, and its value, in the order in which they are shown.
    pub facts: Vec<(String, String)>,
}

/// What was run, and where.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Start {
    /// The subcommand.
    pub command: String,
    /// A heading for it, if one was given. Not in files of before November 2026.
    #[serde(default)]
    pub title: Option<String>,
    /// All arguments as given.
    pub arguments: Vec<String>,
    /// Version of this program.
    pub version: String,
    /// Seconds since 1970.
    pub unix_time_s: f64,
    /// Everything random follows from it.
    pub seed: u64,
    /// Where this program ran; the servers as a rule too.
    pub machine: Machine,
}

/// A machine.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    /// Kernel and its release.
    pub kernel: String,
    /// Model of the processor.
    pub processor: String,
    /// Cores this process may use.
    pub cores: usize,
    /// Memory, bytes.
    pub memory_bytes: u64,
}

impl Machine {
    /// This one.
    pub fn here() -> Machine {
        let uname = rustix::system::uname();
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let after = |text: &str, key: &str| -> Option<String> {
            let line = text.lines().find(|line| line.starts_with(key))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let memory = after(&text("/proc/meminfo"), "MemTotal");
        let memory = memory.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        Machine {
            kernel: format!("{} {}", uname.sysname().to_string_lossy(), uname.release().to_string_lossy()),
            processor: after(&text("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown".to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: memory.unwrap_or(0) << 10,
        }
    }
}

/// Latencies of successful replies, microseconds.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Latency {
    /// How many.
    pub count: u64,
    /// Smallest.
    pub min_us: f64,
    /// Mean.
    pub mean_us: f64,
    /// Half were at most this.
    pub p50_us: f64,
    /// Nine of ten.
    pub p90_us: f64,
    /// 99 of a hundred.
    pub p99_us: f64,
    /// 999 of a thousand.
    pub p999_us: f64,
    /// Largest.
    pub max_us: f64,
}

impl Latency {
    /// From nanoseconds.
    pub fn of(histogram: &Histogram<u64>) -> Latency {
        if histogram.is_empty() {
            return Latency::default();
        }
        let us = |ns: u64| ns as f64 / 1e3;
        Latency {
            count: histogram.len(),
            min_us: us(histogram.min()),
            mean_us: histogram.mean() / 1e3,
            p50_us: us(histogram.value_at_quantile(0.5)),
            p90_us: us(histogram.value_at_quantile(0.9)),
            p99_us: us(histogram.value_at_quantile(0.99)),
            p999_us: us(histogram.value_at_quantile(0.999)),
            max_us: us(histogram.max()),
        }
    }
}

/// An interval of a run, all threads.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct IntervalRecord {
    /// Which target.
    pub target: String,
    /// Which of its runs, from 0.
    pub round: u32,
    /// Negative in the warm-up.
    pub number: i64,
    /// When it ended, since the measured time began.
    pub at_s: f64,
    /// How long it was.
    pub length_s: f64,
    /// Successful replies a second.
    pub per_second: f64,
    /// Replies with an error.
    pub failed: u64,
    /// Connections with a session.
    pub connections_up: usize,
    /// Requests that were due and had not left.
    pub behind: u64,
    /// All kinds together.
    pub latency: Latency,
    /// By kind.
    pub kinds: BTreeMap<String, Latency>,
    /// The server, since it began.
    pub server: Option<Sample>,
}

impl IntervalRecord {
    /// An interval of a target's run.
    pub fn new(target: &str, round: u32, interval: &Interval) -> IntervalRecord {
        let per_second =
            if interval.seconds > 0.0 { interval.stats.completed() as f64 / interval.seconds } else { 0.0 };
        IntervalRecord {
            target: target.to_owned(),
            round,
            number: interval.number,
            at_s: interval.at_s,
            length_s: interval.seconds,
            per_second,
            failed: interval.stats.failed(),
            connections_up: interval.up,
            behind: interval.behind,
            latency: Latency::of(&interval.stats.latency()),
            kinds: kinds(&interval.stats),
            server: interval.server,
        }
    }
}

fn kinds(stats: &Stats) -> BTreeMap<String, Latency> {
    let present =
        Kind::ALL.iter().zip(&stats.kinds).filter_map(|(kind, stats)| Some((kind, stats.as_ref()?)));
    present.map(|(kind, stats)| (kind.word().to_owned(), Latency::of(&stats.latency))).collect()
}

/// What was asked of the server.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Workload {
    /// Weights by kind, or `fill`.
    pub mix: String,
    /// Requests a second on the schedule; `None` for a closed loop.
    pub rate: Option<f64>,
    /// Connections.
    pub connections: usize,
    /// In flight on each, at most.
    pub depth: usize,
    /// Threads of this program.
    pub threads: usize,
    /// Bytes of a value.
    pub value_bytes: usize,
    /// Znodes.
    pub keys: u64,
    /// How they are chosen.
    pub distribution: String,
    /// Seconds that were not measured.
    pub warm_up_s: f64,
}

/// What the server used while it was measured.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Usage {
    /// CPU seconds.
    pub cpu_s: f64,
    /// CPU time for one successful request.
    pub cpu_us_per_request: f64,
    /// Resident at the end.
    pub resident_bytes: u64,
    /// Highest since the process began.
    pub resident_peak_bytes: u64,
    /// Handed to the block layer, where the kernel tells.
    pub written_bytes: Option<u64>,
    /// That for one successful request.
    pub written_bytes_per_request: Option<f64>,
}

/// Bytes a second through the sockets.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Network {
    /// To the server.
    pub sent_per_second: f64,
    /// From it.
    pub received_per_second: f64,
}

/// What a run came to.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Summary {
    /// Which target.
    pub target: String,
    /// Which of its runs, from 0.
    pub round: u32,
    /// What was asked.
    pub workload: Workload,
    /// Measured time.
    pub seconds: f64,
    /// Successful replies within it.
    pub completed: u64,
    /// That a second.
    pub per_second: f64,
    /// Bytes of values moved a second.
    pub value_bytes_per_second: f64,
    /// Bytes a second to and from the server, frames and all; headers of TCP and IP apart. Not in files of before
    /// November 2026.
    #[serde(default)]
    pub network: Option<Network>,
    /// Replies with an error, by its name.
    pub errors: BTreeMap<String, u64>,
    /// Connections lost, by reason.
    pub lost: BTreeMap<String, u64>,
    /// Requests that lost connections owed, or that were in flight when the drain was over.
    pub unanswered: u64,
    /// Requests that were due and never left: the server was too slow for the rate, and the latencies say less than
    /// they would have.
    pub unsent: u64,
    /// All kinds together.
    pub latency: Latency,
    /// By kind.
    pub kinds: BTreeMap<String, Latency>,
    /// How late requests left. In an open loop with room in the pipelines this is the generator's own lateness.
    pub late: Latency,
    /// What the server used, if its process is known.
    pub server: Option<Usage>,
    /// CPU seconds of this program.
    pub own_cpu_s: f64,
    /// What `--verify` checked, and what it found.
    pub verified: Option<Verified>,
    /// Why it ended early or must not be trusted.
    pub trouble: Option<String>,
}

/// What `--verify` came to.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Verified {
    /// Keys and znodes read back.
    pub checked: u64,
    /// How many were wrong.
    pub wrong: u64,
    /// The first few in words.
    pub findings: Vec<String>,
}

impl Summary {
    /// From an outcome.
    pub fn new(
        target: &str,
        round: u32,
        workload: Workload,
        outcome: &Outcome,
        verified: Option<Verified>,
    ) -> Summary {
        let total = &outcome.total;
        let completed = total.completed();
        let usage = |(before, after): (Sample, Sample)| {
            let written = after.written.zip(before.written).map(|(a, b)| a.saturating_sub(b));
            let each = |amount: f64| if completed > 0 { amount / completed as f64 } else { 0.0 };
            Usage {
                cpu_s: after.cpu_s - before.cpu_s,
                cpu_us_per_request: each((after.cpu_s - before.cpu_s) * 1e6),
                resident_bytes: after.resident,
                resident_peak_bytes: after.resident_peak,
                written_bytes: written,
                written_bytes_per_request: written.map(|bytes| each(bytes as f64)),
            }
        };
        let owned = |(why, count): (&&str, &u64)| ((*why).to_owned(), *count);
        Summary {
            target: target.to_owned(),
            round,
            workload,
            seconds: outcome.seconds,
            completed,
            per_second: outcome.per_second(),
            value_bytes_per_second: if outcome.seconds > 0.0 {
                total.bytes as f64 / outcome.seconds
            } else {
                0.0
            },
            network: (outcome.seconds > 0.0).then(|| Network {
                sent_per_second: total.moved.sent as f64 / outcome.seconds,
                received_per_second: total.moved.received as f64 / outcome.seconds,
            }),
            errors: total.errors.iter().map(|(code, count)| (codec::error_name(*code), *count)).collect(),
            lost: total.lost.iter().map(owned).collect(),
            unanswered: total.unanswered,
            unsent: outcome.unsent,
            latency: Latency::of(&total.latency()),
            kinds: kinds(total),
            late: Latency::of(total.late.as_deref().unwrap_or(&histogram())),
            server: outcome.server.map(usage),
            own_cpu_s: outcome.own_cpu_s,
            verified,
            trouble: outcome.trouble.as_ref().map(ToString::to_string),
        }
    }
}

/// One figure of `target` divided by that of `base`, round by round.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Ratio {
    /// Above the line.
    pub target: String,
    /// Below it.
    pub base: String,
    /// `per_second`, `p50_us`, …
    pub figure: String,
    /// Median of the target's rounds.
    pub value: f64,
    /// Median of the base's rounds.
    pub base_value: f64,
    /// Median of the ratios of neighbours.
    pub median: f64,
    /// Smallest of them.
    pub low: f64,
    /// Largest of them.
    pub high: f64,
    /// How many.
    pub rounds: usize,
}

/// A rate that was tried.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Point {
    /// Requests a second on the schedule.
    pub rate: f64,
    /// Successful replies a second.
    pub per_second: f64,
    /// 99th percentile, microseconds.
    pub p99_us: f64,
    /// Whether the bound was kept: p99 under it, and 99 of a hundred requests sent and answered in time.
    pub kept: bool,
}

/// What a sweep found.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Found {
    /// The bound, microseconds.
    pub p99_bound_us: f64,
    /// The highest rate that kept it, if any did.
    pub rate: Option<f64>,
    /// The lowest rate that did not, if one was tried.
    pub broken_at: Option<f64>,
}

/// What a failover came to.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Failover {
    /// Longest time without an acknowledged write, milliseconds.
    pub gap_ms: f64,
    /// When it began, from the beginning of the measured time on.
    pub at_s: f64,
    /// When the process was killed, if we did it.
    pub killed_at_s: Option<f64>,
    /// Writes that were never answered.
    pub unanswered: u64,
}

/// A scene: everything that is not a mix of requests.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Scene {
    /// The subcommand.
    pub scene: String,
    /// Which target.
    pub target: String,
    /// Which of its runs, from 0.
    pub round: u32,
    /// Sessions, watchers or contenders.
    pub count: usize,
    /// Figures by name; the names say the unit.
    pub figures: BTreeMap<String, f64>,
    /// Latencies by what was waited for.
    pub latencies: BTreeMap<String, Latency>,
}

/// How it ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct End {
    /// The exit status; `--help` says what each means.
    pub exit: u8,
    /// Why, unless 0.
    pub message: Option<String>,
}
