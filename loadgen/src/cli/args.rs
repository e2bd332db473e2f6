#![forbid(unsafe_code)]
//! Arguments, as given and as checked.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use super::exit::{self, Failure};
use crate::client::{Patience, RETRY};
use crate::engine::RETRY_MAX;
use crate::keys::{Distribution, Layout};
use crate::ledger::STAMP_BYTES;
use crate::load::{Pace, Plan, Work};
use crate::mix::{self, Mix};
use crate::results::records::Workload;
use crate::run::Times;
use crate::schedule::Nanos;

/// Load for any server that speaks ZooKeeper's client protocol, with latencies that count from the time a request was
/// meant to leave.
#[derive(Parser, Debug)]
#[command(name = "ringkeeper-loadgen", version, args_override_self = true, after_long_help = exit::HELP, after_help = exit::HELP)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Load one target; by default 10,000 requests a second, two reads to one write, 1 KiB values, 10,000 znodes
    Run(RunArgs),
    /// Run a named mix: default, read, write, or raftkeeper (1 % create, 8 % set, 45 % get, 45 % list, 1 % delete)
    Replay(ReplayArgs),
    /// Make the znodes and leave them there
    Fill(FillArgs),
    /// Load two or more targets in alternation, A B A B, and report ratios to the first
    Compare(CompareArgs),
    /// Find the highest rate that keeps the 99th percentile under a bound: doubling, then bisection
    Sweep(SweepArgs),
    /// One writer, many watchers of one znode: the time until the last of them knows
    Fanout(FanoutArgs),
    /// Many sessions at once: the time until all are there
    Storm(StormArgs),
    /// Many sessions that do nothing: what each costs a fresh server (needs --pid or --start)
    ///
    /// Memory counts from before the sessions to when they are all there, so what a server kept from earlier sessions is
    /// not seen: take a fresh one.
    Idle(IdleArgs),
    /// Contenders for a lock (sequential ephemerals, each watching the one before): handovers a second
    Lock(ContendArgs),
    /// Contenders for leadership; each leader ends its session at once: the time until the next knows
    Election(ContendArgs),
    /// Write through a server's death and report the longest time without an acknowledged write
    Failover(FailoverArgs),
    /// Make znodes, kill the server, start it again: the time until it answers with them (needs --start)
    Restart(RestartArgs),
    /// Make one HTML report of the JSON lines that other commands wrote
    Report(ReportArgs),
}

/// The server or servers, and how to reach them.
#[derive(Args, Clone, Debug)]
pub struct TargetArgs {
    /// [NAME=]HOST:PORT[,HOST:PORT…]: the servers of one ensemble, under a name for the results
    #[arg(required = true, value_name = "TARGET")]
    pub targets: Vec<String>,
    /// Report CPU time, memory and bytes written of this process; once for each server of an ensemble
    #[arg(long, value_name = "[NAME=]PID")]
    pub pid: Vec<String>,
    /// Start the server with this shell command, watch its process, end it afterwards
    #[arg(long, value_name = "[NAME=]COMMAND")]
    pub start: Vec<String>,
    /// How long to wait for sessions at the start
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub connect_timeout: Duration,
    /// Session timeout to ask for
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub session_timeout: Duration,
    /// Close a connection that owes an answer and is silent for this long
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub stall: Duration,
    /// End the run when a thread has had no session, or no reply, for this long
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub give_up: Duration,
    /// Everything random follows from it [default: from the clock]
    #[arg(long)]
    pub seed: Option<u64>,
}

/// Where results go.
#[derive(Args, Clone, Debug, Default)]
pub struct OutputArgs {
    /// Write JSON lines (schema ringkeeper-loadgen/1); - is standard output
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write a report with charts: one file that needs nothing else
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Write every interval's histograms as an HdrHistogram log (V2)
    #[arg(long, value_name = "FILE")]
    pub hdr: Option<PathBuf>,
    /// A heading for the results
    #[arg(long, value_name = "TEXT")]
    pub title: Option<String>,
    /// No progress on standard error
    #[arg(long, short)]
    pub quiet: bool,
    /// Progress in plain lines, on a terminal too
    #[arg(long)]
    pub plain: bool,
}

/// The znodes.
#[derive(Args, Clone, Debug)]
pub struct KeyArgs {
    /// How many znodes
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub keys: u64,
    /// Znodes in one folder, which is what a list answers
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub fan: u64,
    /// Bytes of a value
    #[arg(long, value_name = "BYTES", default_value_t = 1024)]
    pub value_size: usize,
    /// Where the znodes are
    #[arg(long, value_name = "PATH", default_value = "/loadgen")]
    pub root: String,
}

/// How connections are used.
#[derive(Args, Clone, Debug)]
pub struct ConnectionArgs {
    /// Connections, each with a session of its own
    #[arg(long, short, value_name = "N", default_value_t = 32)]
    pub connections: usize,
    /// Requests in flight on a connection, at most
    #[arg(long, short, value_name = "N", default_value_t = 8)]
    pub depth: usize,
    /// Threads of this program
    #[arg(long, short, value_name = "N", default_value_t = 1)]
    pub threads: usize,
    /// Length of an interval in the results
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub interval: Duration,
}

/// The load.
#[derive(Args, Clone, Debug)]
pub struct LoadArgs {
    /// The znodes.
    #[command(flatten)]
    pub keys: KeyArgs,
    /// The connections.
    #[command(flatten)]
    pub connections: ConnectionArgs,
    /// uniform, zipf (exponent 0.99) or zipf=EXPONENT
    #[arg(long, value_name = "HOW", default_value = "uniform")]
    pub distribution: Distribution,
    /// setData entries of a multi
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub multi_ops: usize,
    /// Measured time
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub duration: Duration,
    /// Time before it that is not measured
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration)]
    pub warm_up: Duration,
    /// How long to wait for the last replies
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub drain: Duration,
    /// The znodes are there already, with a value of this size
    #[arg(long)]
    pub no_fill: bool,
    /// Check that no session sees a znode older than before, and read everything back at the end: no acknowledged write
    /// may be missing
    #[arg(long)]
    pub verify: bool,
}

/// When requests leave.
#[derive(Args, Clone, Debug)]
pub struct PaceArgs {
    /// Requests a second, on a schedule that does not wait for the server
    #[arg(long, short, value_name = "N", default_value_t = 10_000.0)]
    pub rate: f64,
    /// No schedule: a request leaves when an earlier one came back (hides stalls; finds the ceiling)
    #[arg(long, conflicts_with = "rate")]
    pub saturate: bool,
}

/// `run`.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// The target.
    #[command(flatten)]
    pub target: TargetArgs,
    /// The load.
    #[command(flatten)]
    pub load: LoadArgs,
    /// The pace.
    #[command(flatten)]
    pub pace: PaceArgs,
    /// KIND=WEIGHT,… of create delete set get exists list multi ephemeral; or default, read, write, raftkeeper
    #[arg(long, short, value_name = "MIX", default_value = "default")]
    pub mix: Mix,
    /// The results.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `replay`.
#[derive(Args, Clone, Debug)]
pub struct ReplayArgs {
    /// Name of the mix
    #[arg(value_name = "NAME", value_parser = named_mix)]
    pub name: Mix,
    /// The target.
    #[command(flatten)]
    pub target: TargetArgs,
    /// The load.
    #[command(flatten)]
    pub load: LoadArgs,
    /// The pace.
    #[command(flatten)]
    pub pace: PaceArgs,
    /// The results.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `compare`.
#[derive(Args, Clone, Debug)]
pub struct CompareArgs {
    /// How often each target is loaded
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub rounds: u32,
    /// Additional warm-up of each target's first round; a JVM compiles what runs often
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub warm_first: Duration,
    /// As `run`'s.
    #[command(flatten)]
    pub run: RunArgs,
}

/// `sweep`.
#[derive(Args, Clone, Debug)]
pub struct SweepArgs {
    /// The bound on the 99th percentile
    #[arg(long, value_name = "TIME", default_value = "10ms", value_parser = duration)]
    pub p99: Duration,
    /// First rate tried
    #[arg(long, value_name = "RATE", default_value_t = 1000.0)]
    pub from: f64,
    /// Highest rate tried
    #[arg(long, value_name = "RATE", default_value_t = 1_000_000.0)]
    pub to: f64,
    /// Stop when the rate is known this well
    #[arg(long, value_name = "SHARE", default_value_t = 0.05)]
    pub precision: f64,
    /// A rate has broken the bound when it did so in this many tries; others may use the machine, too
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub tries: u32,
    /// KIND=WEIGHT,… or a named mix
    #[arg(long, short, value_name = "MIX", default_value = "default")]
    pub mix: Mix,
    /// The target.
    #[command(flatten)]
    pub target: TargetArgs,
    /// The load.
    #[command(flatten)]
    pub load: LoadArgs,
    /// The results.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `failover`.
#[derive(Args, Clone, Debug)]
pub struct FailoverArgs {
    /// Send SIGKILL to this process; `started` is the last one that --start made. Without it somebody else does
    #[arg(long, value_name = "PID|started")]
    pub kill: Option<String>,
    /// When, from the beginning of the measured time on
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = duration)]
    pub kill_after: Duration,
    /// Start it again at once with the same command
    #[arg(long)]
    pub restart: bool,
    /// Exit with 6 if the gap is longer
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub bound: Option<Duration>,
    /// Writes a second
    #[arg(long, short, value_name = "N", default_value_t = 2000.0)]
    pub rate: f64,
    /// The target.
    #[command(flatten)]
    pub target: TargetArgs,
    /// The load.
    #[command(flatten)]
    pub load: LoadArgs,
    /// The results.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `restart`.
#[derive(Args, Clone, Debug)]
pub struct RestartArgs {
    /// How often each target is killed
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub rounds: u32,
    /// How long a server may take to come back
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = duration)]
    pub patience: Duration,
    /// As `fill`'s.
    #[command(flatten)]
    pub fill: FillArgs,
}

/// `report`.
#[derive(Args, Clone, Debug)]
pub struct ReportArgs {
    /// Files that --json wrote, several commands' one after the other
    #[arg(required = true, value_name = "RESULTS")]
    pub results: Vec<PathBuf>,
    /// The report: one file that needs nothing else
    #[arg(long, value_name = "FILE")]
    pub html: PathBuf,
    /// Its heading
    #[arg(long, value_name = "TEXT", default_value = "ringkeeper-loadgen")]
    pub title: String,
}

/// `fanout`.
#[derive(Args, Clone, Debug)]
pub struct FanoutArgs {
    /// Watchers, each on a connection of its own
    #[arg(long, short, value_name = "N", default_value_t = 1000)]
    pub watchers: usize,
    /// How often the znode is set
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub writes: u32,
    /// Bytes of its value
    #[arg(long, value_name = "BYTES", default_value_t = 128)]
    pub value_size: usize,
    /// As every scene's.
    #[command(flatten)]
    pub scene: SceneArgs,
}

/// `storm`.
#[derive(Args, Clone, Debug)]
pub struct StormArgs {
    /// Sessions
    #[arg(long, short, value_name = "N", default_value_t = 5000)]
    pub sessions: usize,
    /// As every scene's.
    #[command(flatten)]
    pub scene: SceneArgs,
}

/// `idle`.
#[derive(Args, Clone, Debug)]
pub struct IdleArgs {
    /// Sessions
    #[arg(long, short, value_name = "N", default_value_t = 5000)]
    pub sessions: usize,
    /// How long they are kept
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub hold: Duration,
    /// As every scene's.
    #[command(flatten)]
    pub scene: SceneArgs,
}

/// `lock` and `election`.
#[derive(Args, Clone, Debug)]
pub struct ContendArgs {
    /// Contenders, each on a connection of its own
    #[arg(long, short, value_name = "N", default_value_t = 10)]
    pub contenders: usize,
    /// Measured time
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub duration: Duration,
    /// As every scene's.
    #[command(flatten)]
    pub scene: SceneArgs,
}

/// What every scene takes. With several targets they take turns, and ratios to the first are reported.
#[derive(Args, Clone, Debug)]
pub struct SceneArgs {
    /// The targets.
    #[command(flatten)]
    pub target: TargetArgs,
    /// How often each target has its turn
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub rounds: u32,
    /// Where its znodes are made
    #[arg(long, value_name = "PATH", default_value = "/loadgen")]
    pub root: String,
    /// The results.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `fill`.
#[derive(Args, Clone, Debug)]
pub struct FillArgs {
    /// The target.
    #[command(flatten)]
    pub target: TargetArgs,
    /// The znodes.
    #[command(flatten)]
    pub keys: KeyArgs,
    /// The connections.
    #[command(flatten)]
    pub connections: ConnectionArgs,
    /// The results.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// A mix by its name alone.
fn named_mix(text: &str) -> Result<Mix, String> {
    if mix::NAMED.iter().any(|(name, ..)| *name == text) {
        text.parse()
    } else {
        let known: Vec<_> = mix::NAMED.iter().map(|(name, _, what)| format!("{name} ({what})")).collect();
        Err(format!("no such mix; there are {}", known.join(", ")))
    }
}

/// `10s`, `500ms`, `2m`, `1h`; a bare number is seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let number: f64 = number.parse().map_err(|_| format!("{text:?} is not a time such as 10s or 500ms"))?;
    let seconds = match unit.trim() {
        "" | "s" => number,
        "us" => number / 1e6,
        "ms" => number / 1e3,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        _ => return Err(format!("{unit:?} is no unit of time (us, ms, s, m, h)")),
    };
    // Ten years; beyond, nanoseconds would not fit.
    if seconds > 315_360_000.0 {
        return Err(format!("{text} is too long"));
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// Nanoseconds of a time that [`duration`] admitted.
pub fn nanos(duration: Duration) -> Nanos {
    Nanos::try_from(duration.as_nanos()).expect("times are at most ten years")
}

fn usage(text: impl Into<String>) -> Failure {
    Failure::Usage(text.into())
}

/// `[NAME=]HOST:PORT[,HOST:PORT…]`, resolved.
pub fn target(text: &str) -> Result<(String, Vec<SocketAddr>), Failure> {
    let (name, hosts) = text.split_once('=').unwrap_or((text, text));
    let mut addresses = Vec::new();
    for host in hosts.split(',') {
        let resolved = host.trim().to_socket_addrs();
        let resolved = resolved.map_err(|error| usage(format!("{host:?} is not HOST:PORT: {error}")))?;
        addresses.push(resolved.into_iter().next().ok_or_else(|| usage(format!("{host:?} has no address")))?);
    }
    Ok((name.to_owned(), addresses))
}

impl TargetArgs {
    /// Splits `[NAME=]VALUE`: the index of the target and the value.
    pub fn of_target<'a>(&self, text: &'a str, names: &[String]) -> Result<(usize, &'a str), Failure> {
        let named = text
            .split_once('=')
            .and_then(|(name, value)| Some((names.iter().position(|known| known == name)?, value)));
        match named {
            Some(found) => Ok(found),
            // A command may hold an = of its own.
            None if names.len() == 1 => Ok((0, text)),
            None => Err(usage(format!("{text:?} must begin with NAME=, one of {}", names.join(", ")))),
        }
    }

    /// Limits of the plain client.
    pub fn patience(&self) -> Patience {
        Patience {
            connect: self.connect_timeout,
            answer: self.stall.max(Duration::from_millis(1)),
            retry: RETRY,
            session_timeout_ms: self.session_timeout_ms(),
        }
    }

    /// For the handshake.
    pub fn session_timeout_ms(&self) -> i32 {
        i32::try_from(self.session_timeout.as_millis()).unwrap_or(i32::MAX)
    }

    /// The seed given, or one from the clock.
    pub fn seed(&self) -> u64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        self.seed.unwrap_or_else(|| since.map_or(1, |since| since.as_nanos() as u64))
    }
}

impl KeyArgs {
    /// Checked.
    pub fn layout(&self) -> Result<Layout, Failure> {
        if self.keys == 0 || self.fan == 0 {
            return Err(usage("--keys and --fan must be at least 1"));
        }
        let root = root(&self.root)?;
        // The server's limit on a frame, less what a request carries beside the value.
        if self.value_size > ringkeeper::base::limits::FRAME_BYTES_MAX - 1024 {
            return Err(usage("--value-size must fit a frame of 1 MiB"));
        }
        Ok(Layout { root, count: self.keys, fan: self.fan })
    }
}

impl ConnectionArgs {
    fn check(&self) -> Result<(), Failure> {
        if self.connections == 0 || self.depth == 0 || self.threads == 0 {
            return Err(usage("--connections, --depth and --threads must be at least 1"));
        }
        if self.threads > self.connections {
            return Err(usage("--threads: each needs a connection of its own"));
        }
        if self.interval < Duration::from_millis(10) {
            return Err(usage("--interval must be at least 10ms"));
        }
        Ok(())
    }
}

impl PaceArgs {
    /// Checked.
    pub fn pace(&self) -> Result<Pace, Failure> {
        if self.saturate {
            return Ok(Pace::Closed);
        }
        rate(self.rate).map(Pace::Open)
    }
}

/// A path below `/`, without a slash at its end.
pub fn root(text: &str) -> Result<String, Failure> {
    let root = text.trim_end_matches('/');
    if root.starts_with('/') && ringkeeper::base::path::is_valid(root.as_bytes()) {
        Ok(root.to_owned())
    } else {
        Err(usage(format!("--root {text:?} is not a path below /")))
    }
}

/// A rate that can be scheduled.
pub fn rate(rate: f64) -> Result<f64, Failure> {
    // Beyond, times would be a nanosecond apart.
    if rate.is_finite() && (0.001..=100_000_000.0).contains(&rate) {
        Ok(rate)
    } else {
        Err(usage(format!("a rate lies between 0.001 and 100,000,000, not {rate}")))
    }
}

/// Times of a load.
pub fn times(load: &LoadArgs, target: &TargetArgs) -> Result<Times, Failure> {
    if load.duration.is_zero() {
        return Err(usage("--duration must not be 0"));
    }
    Ok(Times {
        warm_up: nanos(load.warm_up),
        duration: nanos(load.duration),
        interval: nanos(load.connections.interval),
        connect: nanos(target.connect_timeout),
        stall: nanos(target.stall),
        session_timeout_ms: target.session_timeout_ms(),
    })
}

/// The plan of a mix.
pub fn plan(load: &LoadArgs, target: &TargetArgs, mix: &Mix, pace: Pace, seed: u64) -> Result<Plan, Failure> {
    load.connections.check()?;
    if load.verify && load.keys.value_size < STAMP_BYTES {
        return Err(usage(format!(
            "--verify needs --value-size {STAMP_BYTES} at least: values carry a stamp"
        )));
    }
    if load.multi_ops == 0 {
        return Err(usage("--multi-ops must be at least 1"));
    }
    Ok(Plan {
        work: Work::Mix(mix.clone()),
        pace,
        layout: load.keys.layout()?,
        distribution: load.distribution,
        value_bytes: load.keys.value_size,
        multi_ops: load.multi_ops,
        depth: load.connections.depth,
        connections: load.connections.connections,
        threads: load.connections.threads,
        seed,
        run: (seed ^ (seed >> 32)) as u32,
        verify: load.verify,
        drain: nanos(load.drain),
        give_up: nanos(target.give_up),
        retry_max: RETRY_MAX,
    })
}

/// The plan that makes the znodes.
pub fn fill_plan(
    keys: &KeyArgs,
    connections: &ConnectionArgs,
    target: &TargetArgs,
    seed: u64,
) -> Result<Plan, Failure> {
    connections.check()?;
    Ok(Plan {
        work: Work::Fill,
        pace: Pace::Closed,
        layout: keys.layout()?,
        distribution: Distribution::Uniform,
        value_bytes: keys.value_size,
        multi_ops: 1,
        depth: connections.depth,
        connections: connections.connections,
        threads: connections.threads,
        seed,
        run: (seed ^ (seed >> 32)) as u32,
        verify: false,
        drain: 0,
        give_up: nanos(target.give_up),
        retry_max: RETRY_MAX,
    })
}

/// A plan, for the results.
pub fn workload(plan: &Plan, warm_up: Nanos) -> Workload {
    Workload {
        mix: match &plan.work {
            Work::Mix(mix) => mix.to_string(),
            Work::Fill => "fill".to_owned(),
        },
        rate: match plan.pace {
            Pace::Open(rate) => Some(rate),
            Pace::Closed => None,
        },
        connections: plan.connections,
        depth: plan.depth,
        threads: plan.threads,
        value_bytes: plan.value_bytes,
        keys: plan.layout.count,
        distribution: plan.distribution.to_string(),
        warm_up_s: warm_up as f64 / 1e9,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn times_are_read_with_their_units() {
        for (text, ms) in
            [("10s", 10_000), ("500ms", 500), ("2m", 120_000), ("1.5", 1_500), ("1h", 3_600_000), ("0", 0)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for wrong in ["", "s", "-1s", "10d", "1e99", "99999999h", "1.2.3s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_target_has_a_name_and_addresses() {
        let (name, addresses) = target("ours=127.0.0.1:1,127.0.0.1:2").unwrap();
        assert_eq!((name.as_str(), addresses.len(), addresses[1].port()), ("ours", 2, 2));
        assert_eq!(target("127.0.0.1:9").unwrap().0, "127.0.0.1:9");
        for wrong in ["", "localhost", "x=", "a=127.0.0.1:99999"] {
            assert_eq!(target(wrong).unwrap_err().status(), 2, "{wrong}");
        }
    }

    #[test]
    fn values_for_one_of_several_targets_carry_its_name() {
        let Command::Run(run) = Cli::parse_from(["x", "run", "a=127.0.0.1:1"]).command else { panic!() };
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let of = |text, known: &[&str]| {
            run.target.of_target(text, &names(known)).map(|(at, value)| (at, value.to_owned()))
        };
        assert_eq!(of("b=7", &["a", "b"]).unwrap(), (1, "7".to_owned()));
        assert_eq!(of("java -Dx=y", &["a"]).unwrap(), (0, "java -Dx=y".to_owned()));
        assert_eq!(of("a=java -Dx=y", &["a"]).unwrap(), (0, "java -Dx=y".to_owned()));
        assert!(of("7", &["a", "b"]).is_err());
    }

    #[test]
    fn nonsense_is_refused_before_anything_is_sent() {
        for (arguments, said) in [
            (&["--connections", "0"][..], "at least 1"),
            (&["--threads", "64"], "--threads"),
            (&["--root", "x"], "--root"),
            (&["--root", "/"], "--root"),
            (&["--verify", "--value-size", "8"], "--verify"),
            (&["--value-size", "2000000"], "1 MiB"),
            (&["--keys", "0"], "--keys"),
        ] {
            let all = ["x", "run", "127.0.0.1:1"].iter().chain(arguments);
            let Command::Run(run) = Cli::parse_from(all).command else { panic!() };
            let failure = plan(&run.load, &run.target, &run.mix, Pace::Closed, 1).unwrap_err();
            assert!(failure.status() == 2 && failure.to_string().contains(said), "{arguments:?}: {failure}");
        }
        assert!(rate(0.0).is_err() && rate(f64::NAN).is_err() && rate(1e9).is_err() && rate(5e4).is_ok());
    }
}
