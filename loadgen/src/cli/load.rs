#![forbid(unsafe_code)]
//! `run`, `replay` and `fill`, and the steps other commands share with them.

use super::args::{self, ConnectionArgs, FillArgs, KeyArgs, LoadArgs, ReplayArgs, RunArgs};
use super::context::Context;
use super::exit::Failure;
use crate::client::{make_folders, read_back};
use crate::engine::Lost;
use crate::keys::Layout;
use crate::ledger::Ledger;
use crate::load::{Plan, Work};
use crate::results::records::{Summary, Verified};
use crate::run::{self, Outcome, Target, Times, Trouble};
use crate::schedule::SECOND;

/// How often reading back is begun.
const READ_BACK_ATTEMPTS: u32 = 3;

/// `run`.
pub fn run(context: &mut Context, arguments: &RunArgs) -> Result<(), Failure> {
    let target = context.only_target()?;
    let times = args::times(&arguments.load, &arguments.target)?;
    let pace = arguments.pace.pace()?;
    let plan = args::plan(&arguments.load, &arguments.target, &arguments.mix, pace, context.seed)?;
    prepare(context, &target, &arguments.load, times)?;
    measure(context, &target, plan, times, 0)?.into_result()
}

/// `replay`.
pub fn replay(context: &mut Context, arguments: &ReplayArgs) -> Result<(), Failure> {
    let ReplayArgs { name, target, load, pace, output } = arguments.clone();
    run(context, &RunArgs { target, load, pace, mix: name, output })
}

/// `fill`.
pub fn fill(context: &mut Context, arguments: &FillArgs) -> Result<(), Failure> {
    let target = context.only_target()?;
    fill_one(context, &target, arguments).map(drop)
}

/// Fills one target, measured.
pub fn fill_one(context: &mut Context, target: &Target, arguments: &FillArgs) -> Result<Summary, Failure> {
    let plan = args::fill_plan(&arguments.keys, &arguments.connections, &arguments.target, context.seed)?;
    let times = fill_times(context, &arguments.connections);
    folders(context, target, &plan)?;
    let measured = measure(context, target, plan, times, 0)?;
    let summary = measured.summary.clone();
    measured.into_result().map(|()| summary)
}

fn fill_times(context: &Context, connections: &ConnectionArgs) -> Times {
    Times {
        warm_up: 0,
        duration: 0,
        interval: args::nanos(connections.interval),
        connect: args::nanos(context.options.connect_timeout),
        stall: args::nanos(context.options.stall),
        session_timeout_ms: context.options.session_timeout_ms(),
    }
}

fn folders(context: &mut Context, target: &Target, plan: &Plan) -> Result<(), Failure> {
    let mut client = context.client(target)?;
    make_folders(&mut client, &plan.layout).map_err(|why| Failure::lost(&target.name, &why))?;
    client.close();
    Ok(())
}

/// Makes the znodes that a load needs, unless they are said to be there.
pub fn prepare(context: &mut Context, target: &Target, load: &LoadArgs, times: Times) -> Result<(), Failure> {
    if load.no_fill {
        return Ok(());
    }
    context.live.note(&format!(
        "{}: making {} znodes of {} bytes",
        target.name, load.keys.keys, load.keys.value_size
    ));
    fill_quietly(context, target, &load.keys, &load.connections, times)
}

fn fill_quietly(
    context: &mut Context,
    target: &Target,
    keys: &KeyArgs,
    connections: &ConnectionArgs,
    times: Times,
) -> Result<(), Failure> {
    // As many in flight as make a fill fast, whatever the load will have.
    let connections = ConnectionArgs { connections: 8, depth: 32, threads: 1, ..connections.clone() };
    let plan = args::fill_plan(keys, &connections, &context.options, context.seed)?;
    folders(context, target, &plan)?;
    let times = Times { warm_up: 0, ..times };
    let (live, stop) = (&mut context.live, &context.stop);
    let mut made = 0;
    let count = plan.layout.count;
    let outcome = run::run(target, plan, times, stop, &mut |interval| {
        made += interval.stats.completed();
        live.progress(&format!("{}: {made} of {count} znodes", target.name));
    })?;
    outcome.trouble.map_or(Ok(()), |trouble| Err(trouble.into()))
}

/// A run that was measured and reported, and what is wrong with it.
pub struct Measured {
    /// As reported.
    pub summary: Summary,
    /// All of it.
    pub outcome: Outcome,
}

impl Measured {
    /// An error if it must not be trusted.
    pub fn into_result(self) -> Result<(), Failure> {
        self.outcome.trouble.map_or(Ok(()), |trouble| Err(trouble.into()))
    }
}

/// Runs a plan once, reports its intervals and its summary, and reads back what it must have left.
pub fn measure(
    context: &mut Context,
    target: &Target,
    plan: Plan,
    times: Times,
    round: u32,
) -> Result<Measured, Failure> {
    let workload = args::workload(&plan, times.warm_up);
    let layout = plan.layout.clone();
    let total_s = match plan.work {
        Work::Mix(_) => Some(times.duration as f64 / SECOND as f64),
        Work::Fill => None,
    };
    let stop = context.stop.clone();
    let mut written = Ok(());
    let mut outcome = run::run(target, plan, times, &stop, &mut |interval| {
        if let Err(failure) = context.interval(&target.name, round, interval, total_s) {
            written = Err(failure);
        }
    })?;
    written?;
    let mut verified = None;
    if let Some(ledger) = &outcome.ledger
        && matches!(outcome.trouble, None | Some(Trouble::Died(..) | Trouble::Interrupted))
    {
        // A server that died may have been restarted: what it acknowledged must be there.
        match read_back_patiently(context, target, &layout, ledger) {
            Ok(found) => {
                if found.wrong > 0 {
                    let said = found.findings.first().cloned().unwrap_or_default();
                    let said = format!("{} of {} checks failed: {said}", found.wrong, found.checked);
                    outcome.trouble = Some(Trouble::Lied(target.name.clone(), said));
                }
                verified = Some(found);
            }
            // Then there is nothing to read back, and the run has failed anyhow.
            Err(_) if outcome.trouble.is_some() => {}
            Err(failure) => return Err(failure),
        }
    }
    let summary = Summary::new(&target.name, round, workload, &outcome, verified);
    context.summary(summary.clone(), &outcome.total.latency())?;
    Ok(Measured { summary, outcome })
}

/// Reads back, again if the connection is lost: reading twice does no harm.
fn read_back_patiently(
    context: &Context,
    target: &Target,
    layout: &Layout,
    ledger: &Ledger,
) -> Result<Verified, Failure> {
    let mut attempt = 1;
    loop {
        let mut client = context.client(target)?;
        match read_back(&mut client, layout, ledger) {
            Ok((findings, wrong, checked)) => {
                client.close();
                return Ok(Verified { checked, wrong, findings });
            }
            Err(why) if attempt == READ_BACK_ATTEMPTS || matches!(why, Lost::Lied(_)) => {
                return Err(Failure::lost(&target.name, &why));
            }
            Err(_) => attempt += 1,
        }
    }
}
