#![forbid(unsafe_code)]
//! Arguments, and the way from a subcommand to an exit status.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::apply::apply;
use crate::check::{Selection, check, worst};
use crate::files::{Files, Rooted};
use crate::host::{Host, Options};
use crate::journal;
use crate::plan::{self, workload::Workload};
use crate::probe::{Machine, Probe};
use crate::report::{json, table};
use crate::setting::{Profile, Severity};
use crate::settings;
use crate::undo::undo;

/// What `--help` says about exit statuses.
const EXIT_HELP: &str = "\
Exit status of check and apply:
  0  check: everything holds, or what fails is only info. apply: what fails and can be changed
     was changed (by hand may remain: look with check). apply --undo: all is as it was
  1  a problem of this program or machine: no such root, output that cannot be written
  2  wrong arguments
  3  check: a warning fails, or a setting cannot be told
  4  check: a critical setting fails
  5  apply: something could not be changed, or has no effect. --undo: something was not put back
     (changed by somebody else since, or refused). The rest was done
  6  the undo journal is damaged, foreign, in use, or cannot be written
Exit status of plan:
  0  an ensemble holds the bound, within what was measured
  1  result files that cannot be read or fitted, output that cannot be written
  2  wrong arguments
  3  an ensemble holds the bound, but the answer extrapolates
  4  no ensemble within the limits holds the bound";

/// Checks and changes a host's settings for ringkeeper, and says how many servers a workload needs.
#[derive(Parser, Debug)]
#[command(name = "ringkeeper-tune", version, after_help = EXIT_HELP, after_long_help = EXIT_HELP)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Say what this host is set to, what it should be set to, and why; changes nothing
    Check(CheckArgs),
    /// Change what `check` finds failing, and keep a journal from which it can be undone
    Apply(ApplyArgs),
    /// Say how many servers of what size a workload needs, from results of ringkeeper-loadgen on such a host
    Plan(PlanArgs),
}

/// Which host, and what it is for.
#[derive(Args, Clone, Debug)]
pub struct HostArgs {
    /// What the host is for; guessed if not said: container, laptop, else shared (never dedicated)
    #[arg(long)]
    pub profile: Option<Profile>,
    /// Look at the files of another system, mounted or unpacked here; nothing is measured then
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub root: PathBuf,
    /// dataDir, dataLogDir [default: /var/lib/zookeeper, if it is there]
    #[arg(long, value_name = "DIR", value_parser = absolute)]
    pub data: Vec<PathBuf>,
    /// A server that runs: look at its limits and its place
    #[arg(long)]
    pub pid: Option<u32>,
    /// The server's unit
    #[arg(long, default_value = "ringkeeper.service", value_parser = plain_name)]
    pub unit: String,
    /// Who runs the server where there is no unit
    #[arg(long, default_value = "zookeeper", value_parser = plain_name)]
    pub user: String,
    /// Only these settings
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = setting_name)]
    pub only: Vec<String>,
    /// Not these settings
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = setting_name)]
    pub skip: Vec<String>,
    /// Try nothing: no ring, and no writes into a file without a name in the data folder
    #[arg(long)]
    pub no_measure: bool,
    /// JSON, one object on one line
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `check`.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// Which host.
    #[command(flatten)]
    pub host: HostArgs,
    /// Say of each setting why it matters, not just of those that fail
    #[arg(long, short)]
    pub verbose: bool,
}

/// Arguments of `apply`.
#[derive(Args, Clone, Debug)]
pub struct ApplyArgs {
    /// Which host.
    #[command(flatten)]
    pub host: HostArgs,
    /// Say what would be changed, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Put everything back that apply changed
    #[arg(long)]
    pub undo: bool,
    /// With --undo: also what somebody else changed since
    #[arg(long, requires = "undo")]
    pub force: bool,
}

/// Arguments of `plan`.
#[derive(Args, Clone, Debug)]
pub struct PlanArgs {
    /// Results of ringkeeper-loadgen (--json FILE, with --pid or --start), measured on such a host
    #[arg(required = true, value_name = "RESULTS")]
    pub results: Vec<PathBuf>,
    /// Results that are not fitted, but compared with what the model says of them
    #[arg(long, value_name = "RESULTS")]
    pub held_out: Vec<PathBuf>,
    /// Cores that the server had to itself, if the load ran on others of the same host (taskset) [default: all, shared
    /// with the load]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub server_cores: Option<u32>,
    /// Clients that ask for something
    #[arg(long, value_name = "N")]
    pub clients: f64,
    /// Reads a second, of all clients
    #[arg(long, value_name = "N")]
    pub reads: f64,
    /// Writes a second, of all clients
    #[arg(long, value_name = "N")]
    pub writes: f64,
    /// Bytes of a value
    #[arg(long, value_name = "BYTES", default_value_t = 1024.0)]
    pub value_size: f64,
    /// Znodes
    #[arg(long, value_name = "N", default_value_t = 10_000.0)]
    pub znodes: f64,
    /// Watches set at one time, of all clients
    #[arg(long, value_name = "N", default_value_t = 0.0)]
    pub watches: f64,
    /// All sessions, idle ones included [default: the clients]
    #[arg(long, value_name = "N")]
    pub sessions: Option<f64>,
    /// What everything but the value size will be multiplied by
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    pub growth: f64,
    /// Servers that may be down while the bound is kept; 0 plans a single server
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub down: u32,
    /// The bound on the 99th percentile
    #[arg(long, value_name = "TIME", default_value = "10ms", value_parser = ringkeeper_loadgen::cli::args::duration)]
    pub p99: Duration,
    /// Most cores a server may have [default: as many as were measured]
    #[arg(long, value_name = "N")]
    pub cores: Option<u32>,
    /// Between two servers and back
    #[arg(long, value_name = "TIME", default_value = "500us", value_parser = ringkeeper_loadgen::cli::args::duration)]
    pub round_trip: Duration,
    /// snapCount of the servers
    #[arg(long, value_name = "N", default_value_t = 100_000.0)]
    pub snap_count: f64,
    /// Write the plan with charts: one file that needs nothing else
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// JSON, one object on one line
    #[arg(long)]
    pub json: bool,
}

const LOCAL: u8 = 1;
const USAGE: u8 = 2;
const WARNING: u8 = 3;
const CRITICAL: u8 = 4;
const NOT_ALL: u8 = 5;
const JOURNAL: u8 = 6;
const EXTRAPOLATES: u8 = 3;
const NONE_HOLDS: u8 = 4;

/// Reads the arguments of the process and does what they say.
pub fn main() -> ExitCode {
    // clap ends the process with 2 for wrong arguments, and with 0 for --help.
    let status = match Cli::parse().command {
        Command::Check(args) => run_check(&args),
        Command::Apply(args) if args.undo => run_undo(&args),
        Command::Apply(args) => run_apply(&args),
        Command::Plan(args) => run_plan(&args),
    };
    match status {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            // Nobody may be left to read it.
            let _ = writeln!(std::io::stderr(), "ringkeeper-tune: {error}");
            ExitCode::from(LOCAL)
        }
    }
}

/// A name that is part of a path, or of a line of a file of the system's.
fn plain_name(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-@".contains(c);
    match !text.is_empty() && !text.starts_with('.') && text.chars().all(is_plain) {
        true => Ok(text.to_owned()),
        false => Err("letters, digits and . _ - @ only".into()),
    }
}

fn absolute(text: &str) -> Result<PathBuf, String> {
    match Path::new(text).is_absolute() {
        true => Ok(PathBuf::from(text)),
        false => Err("an absolute path is wanted".into()),
    }
}

fn setting_name(text: &str) -> Result<String, String> {
    let names: Vec<&str> = settings::ALL.iter().map(|setting| setting.name).collect();
    match names.contains(&text) {
        true => Ok(text.to_owned()),
        false => Err(format!("no such setting; there are {}", names.join(", "))),
    }
}

/// A host, and whether its profile was guessed.
fn open(args: &HostArgs) -> Result<(Host, bool), String> {
    let files = Rooted::open(&args.root).map_err(|error| format!("root {}: {error}", args.root.display()))?;
    let probe: Option<Box<dyn Probe>> = match files.is_this_machine() && !args.no_measure {
        true => Some(Box::new(Machine)),
        false => None,
    };
    let profile = args.profile.unwrap_or_else(|| guess(&files));
    let mut data = args.data.clone();
    let usual = Path::new("/var/lib/zookeeper");
    if data.is_empty() && files.kind(usual).is_ok() {
        data.push(usual.to_owned());
    }
    let (unit, user) = (args.unit.clone(), args.user.clone());
    let options = Options { profile, data, pid: args.pid, unit, user };
    Ok((Host::new(Box::new(files), probe, options), args.profile.is_none()))
}

/// The mildest profile that fits. Never dedicated: that one costs power, and other programs their cores.
fn guess(files: &dyn Files) -> Profile {
    let is_there = |path: &str| files.kind(Path::new(path)).is_ok();
    if ["/.dockerenv", "/run/.containerenv", "/run/systemd/container"].into_iter().any(is_there) {
        return Profile::Container;
    }
    let supplies = files.names(Path::new("/sys/class/power_supply")).unwrap_or_default();
    match supplies.iter().any(|name| name.starts_with("BAT")) {
        true => Profile::Laptop,
        false => Profile::Shared,
    }
}

fn selection(args: &HostArgs) -> Selection {
    Selection { only: args.only.clone(), skip: args.skip.clone() }
}

fn print(text: &str) -> Result<(), String> {
    let written = std::io::stdout().write_all(text.as_bytes());
    written.map_err(|error| format!("writing the result: {error}"))
}

fn print_json(value: &impl serde::Serialize) -> Result<(), String> {
    let line = serde_json::to_string(value).map_err(|error| error.to_string())?;
    print(&format!("{line}\n"))
}

fn run_check(args: &CheckArgs) -> Result<u8, String> {
    let (host, guessed) = open(&args.host)?;
    let rows = check(&host, &selection(&args.host));
    let worst = worst(&rows);
    if args.host.json {
        print_json(&json::Check {
            schema: json::SCHEMA,
            kind: "check".into(),
            version: json::version(),
            profile: host.options.profile,
            profile_guessed: guessed,
            worst,
            settings: rows.iter().map(json::Checked::of).collect(),
        })?;
    } else {
        let heading = table::heading(&host.options, guessed, &args.host.root.display().to_string());
        print(&format!("{heading}\n{}", table::check(&rows, args.verbose)))?;
    }
    Ok(match worst {
        None | Some(Severity::Info) => 0,
        Some(Severity::Warning) => WARNING,
        Some(Severity::Critical) => CRITICAL,
    })
}

fn run_apply(args: &ApplyArgs) -> Result<u8, String> {
    let (host, guessed) = open(&args.host)?;
    let json = args.host.json;
    if !json {
        print(&format!(
            "{}\n",
            table::heading(&host.options, guessed, &args.host.root.display().to_string())
        ))?;
    }
    let mut settings = Vec::new();
    let (mut changed, mut refused, mut unsaid) = (0, false, None);
    let path = Path::new(journal::PATH);
    let result = apply(&host, &selection(&args.host), path, args.dry_run, &mut |applied| {
        changed += applied.edits.iter().filter(|edit| edit.refused.is_none()).count();
        refused |= applied.is_refused();
        if json {
            settings.push(json::AppliedSetting::of(&applied));
        } else if let Err(error) = print(&table::applied(&applied, args.dry_run)) {
            unsaid = Some(error);
        }
    });
    let error = result.err().map(|error| error.to_string());
    if json {
        print_json(&json::Apply {
            schema: json::SCHEMA,
            kind: "apply".into(),
            version: json::version(),
            dry_run: args.dry_run,
            error: error.clone(),
            settings,
        })?;
    } else {
        let undo = format!("ringkeeper-tune apply --undo puts it back (journal {})", journal::PATH);
        print(&match (changed, args.dry_run) {
            (0, _) => "nothing to change\n".to_owned(),
            (count, true) => format!("\n{count} changes would be made\n"),
            (count, false) => format!("\n{count} changes made; {undo}\n"),
        })?;
    }
    finish(error, unsaid, refused)
}

fn run_undo(args: &ApplyArgs) -> Result<u8, String> {
    let (host, _) = open(&args.host)?;
    let json = args.host.json;
    let mut paths = Vec::new();
    let (mut count, mut left, mut unsaid) = (0, false, None);
    let path = Path::new(journal::PATH);
    let result = undo(&*host.files, path, args.dry_run, args.force, &mut |undone| {
        count += 1;
        left |= !undone.is_over();
        if json {
            paths.push(json::UndonePath::of(&undone));
        } else if let Err(error) = print(&table::undone(&undone, args.dry_run)) {
            unsaid = Some(error);
        }
    });
    let error = result.err().map(|error| error.to_string());
    if json {
        print_json(&json::Undo {
            schema: json::SCHEMA,
            kind: "undo".into(),
            version: json::version(),
            dry_run: args.dry_run,
            error: error.clone(),
            paths,
        })?;
    } else if error.is_none() && count == 0 {
        print("nothing to undo: there is no journal\n")?;
    }
    finish(error, unsaid, left)
}

fn run_plan(args: &PlanArgs) -> Result<u8, String> {
    let us = |time: Duration| time.as_secs_f64() * 1e6;
    let workload = Workload {
        clients: args.clients,
        sessions: args.sessions.unwrap_or(args.clients),
        reads_per_second: args.reads,
        writes_per_second: args.writes,
        value_bytes: args.value_size,
        znodes: args.znodes,
        watches: args.watches,
        growth: args.growth,
        down: args.down,
        p99_bound_us: us(args.p99),
        cores_max: args.cores,
        round_trip_us: us(args.round_trip),
        snap_count: args.snap_count,
    };
    let (plan, model) = match plan::plan(&workload, &args.results, &args.held_out, args.server_cores) {
        Ok(made) => made,
        Err(plan::PlanError::Workload(why)) => {
            let _ = writeln!(std::io::stderr(), "ringkeeper-tune: {why}");
            return Ok(USAGE);
        }
        Err(error) => return Err(error.to_string()),
    };
    if let Some(path) = &args.html {
        let written = std::fs::write(path, plan::chart::page(&plan, &model));
        written.map_err(|error| format!("{}: {error}", path.display()))?;
    }
    if args.json {
        print_json(&plan)?
    } else {
        print(&plan::said::text(&plan))?
    }
    Ok(match &plan.answer.smallest {
        None => NONE_HOLDS,
        Some(_) if !plan.answer.extrapolated.is_empty() => EXTRAPOLATES,
        Some(_) => 0,
    })
}

fn finish(error: Option<String>, unsaid: Option<String>, is_partial: bool) -> Result<u8, String> {
    if let Some(error) = error {
        let _ = writeln!(std::io::stderr(), "ringkeeper-tune: {error}");
        return Ok(JOURNAL);
    }
    match unsaid {
        Some(error) => Err(error),
        None => Ok(if is_partial { NOT_ALL } else { 0 }),
    }
}
