#![forbid(unsafe_code)]
//! `failover`: writes on a schedule while a server dies, and the longest time in which none was acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::args::{self, FailoverArgs};
use super::context::Context;
use super::exit::Failure;
use super::load::{measure, prepare};
use crate::load::Pace;
use crate::process::Started;
use crate::results::html::Table;
use crate::results::records::{Failover, Record};
use crate::schedule::SECOND;

/// Lost connections are tried again after this at the latest: it is part of every gap that is measured.
const RETRY_MAX: u64 = SECOND / 100;

/// Whom to kill.
enum Victim {
    Nobody,
    Process(rustix::process::Pid),
    /// The server of this `--start`, and the command that starts it again.
    Ours(Started, Option<String>),
}

/// `failover`.
pub fn failover(context: &mut Context, arguments: &FailoverArgs) -> Result<(), Failure> {
    let target = context.only_target()?;
    let mut load = arguments.load.clone();
    // A gap of one thread is a gap of the server only if there is but one.
    load.connections.threads = 1;
    let times = args::times(&load, &arguments.target)?;
    if arguments.kill.is_some() && arguments.kill_after >= load.duration {
        return Err(Failure::Usage("--kill-after must lie within --duration".to_owned()));
    }
    let mix = "write".parse().map_err(Failure::Usage)?;
    let pace = Pace::Open(args::rate(arguments.rate)?);
    let mut plan = args::plan(&load, &arguments.target, &mix, pace, context.seed)?;
    plan.retry_max = RETRY_MAX;
    prepare(context, &target, &load, times)?;

    let victim = victim(context, arguments)?;
    let is_over = Arc::new(AtomicBool::new(false));
    // The gate opens a few milliseconds after the threads are connected, and the warm-up follows.
    let wait = load.warm_up + arguments.kill_after;
    let watched = is_over.clone();
    let killer = std::thread::spawn(move || kill(victim, wait, &watched));
    let measured = measure(context, &target, plan, times, 0);
    is_over.store(true, Ordering::Relaxed);
    let killed =
        killer.join().map_err(|_| Failure::local("the killing thread panicked"))?.map_err(Failure::local)?;
    context.started.extend(killed.restarted);
    let measured = measured?;

    let gap = measured.outcome.gap;
    let result = Failover {
        gap_ms: gap.length as f64 / 1e6,
        at_s: measured.outcome.gap_at_s(),
        killed_at_s: killed.after.map(|after| (after.saturating_sub(load.warm_up)).as_secs_f64()),
        unanswered: measured.outcome.total.unanswered,
    };
    let text = format!(
        "longest time without an acknowledged write: {:.1} ms, from {:.2} s on; {} writes unanswered",
        result.gap_ms, result.at_s, result.unanswered
    );
    context.say(&format!("{text}\n"));
    context.page.note(text);
    let killed_at = result.killed_at_s.map_or("by others".to_owned(), |at| format!("{at:.2} s"));
    context.page.table(Table {
        title: "Failover".to_owned(),
        head: ["", "longest gap", "from", "killed", "unanswered"].map(str::to_owned).into(),
        rows: vec![vec![
            target.name.clone(),
            format!("{:.1} ms", result.gap_ms),
            format!("{:.2} s", result.at_s),
            killed_at,
            result.unanswered.to_string(),
        ]],
    });
    let gap_ms = result.gap_ms;
    context.record(Record::Failover(result))?;
    measured.into_result()?;
    match arguments.bound {
        Some(bound) if gap_ms > bound.as_secs_f64() * 1e3 => Err(Failure::Bound(format!(
            "{gap_ms:.1} ms without an acknowledged write; the bound is {bound:?}"
        ))),
        _ => Ok(()),
    }
}

fn victim(context: &mut Context, arguments: &FailoverArgs) -> Result<Victim, Failure> {
    match arguments.kill.as_deref() {
        None if arguments.restart => Err(Failure::Usage("--restart needs --kill started".to_owned())),
        None => Ok(Victim::Nobody),
        Some("started") => {
            let Some((command, started)) = context.started.pop() else {
                return Err(Failure::Usage("--kill started needs --start".to_owned()));
            };
            Ok(Victim::Ours(started, arguments.restart.then_some(command)))
        }
        Some(_) if arguments.restart => Err(Failure::Usage("--restart needs --kill started".to_owned())),
        Some(pid) => {
            let pid = pid.parse().ok().filter(|pid| *pid > 1).and_then(rustix::process::Pid::from_raw);
            pid.map(Victim::Process).ok_or_else(|| Failure::Usage("--kill takes a process id".to_owned()))
        }
    }
}

/// What the killing thread did.
#[derive(Default)]
struct Killed {
    /// When, since it was told to wait.
    after: Option<Duration>,
    restarted: Option<(String, Started)>,
}

fn kill(victim: Victim, wait: Duration, is_over: &AtomicBool) -> std::io::Result<Killed> {
    let began = Instant::now();
    while began.elapsed() < wait {
        // A run that ended early needs no death any more.
        if is_over.load(Ordering::Relaxed) {
            return Ok(Killed::default());
        }
        std::thread::sleep(Duration::from_millis(5).min(wait.saturating_sub(began.elapsed())));
    }
    let after = Some(began.elapsed());
    match victim {
        Victim::Nobody => Ok(Killed::default()),
        Victim::Process(pid) => {
            rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
            Ok(Killed { after, restarted: None })
        }
        Victim::Ours(mut started, restart) => {
            started.kill();
            let restarted = match restart {
                Some(command) => Some((command.clone(), Started::run(&command)?)),
                None => None,
            };
            Ok(Killed { after, restarted })
        }
    }
}
