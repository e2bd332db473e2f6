#![forbid(unsafe_code)]
//! Arguments in, exit status out.

pub mod args;
pub mod compare;
pub mod context;
pub mod exit;
pub mod failover;
pub mod load;
pub mod report;
pub mod restart;
pub mod scenes;
pub mod sweep;

use clap::Parser;

use args::{Cli, Command};
use context::Context;
use exit::Failure;

use crate::scenes::Recipe;

/// The whole program.
pub fn main() -> std::process::ExitCode {
    // clap ends the process with 2 for wrong arguments, and with 0 for --help.
    let cli = Cli::parse();
    std::process::ExitCode::from(dispatch(&cli.command))
}

fn dispatch(command: &Command) -> u8 {
    match command {
        Command::Run(a) => within("run", &a.target, &a.output, |context| load::run(context, a)),
        Command::Replay(a) => within("replay", &a.target, &a.output, |context| load::replay(context, a)),
        Command::Compare(a) => {
            within("compare", &a.run.target, &a.run.output, |context| compare::compare(context, a))
        }
        Command::Sweep(a) => within("sweep", &a.target, &a.output, |context| sweep::sweep(context, a)),
        Command::Fanout(a) => scene("fanout", &a.scene, |context| scenes::fanout(context, a)),
        Command::Storm(a) => scene("storm", &a.scene, |context| scenes::storm(context, a)),
        Command::Idle(a) => scene("idle", &a.scene, |context| scenes::idle(context, a)),
        Command::Lock(a) => scene("lock", &a.scene, |context| scenes::contend(context, a, Recipe::Lock)),
        Command::Election(a) => {
            scene("election", &a.scene, |context| scenes::contend(context, a, Recipe::Election))
        }
        Command::Failover(a) => {
            within("failover", &a.target, &a.output, |context| failover::failover(context, a))
        }
        Command::Restart(a) => {
            within("restart", &a.fill.target, &a.fill.output, |context| restart::restart(context, a))
        }
        Command::Report(a) => match report::report(a) {
            Ok(()) => 0,
            Err(failure) => failed(&failure),
        },
        Command::Fill(a) => within("fill", &a.target, &a.output, |context| load::fill(context, a)),
    }
}

fn scene(name: &str, scene: &args::SceneArgs, work: impl FnOnce(&mut Context) -> Result<(), Failure>) -> u8 {
    within(name, &scene.target, &scene.output, work)
}

fn within(
    name: &str,
    target: &args::TargetArgs,
    output: &args::OutputArgs,
    work: impl FnOnce(&mut Context) -> Result<(), Failure>,
) -> u8 {
    match Context::open(name, target, output) {
        Ok(mut context) => {
            let result = work(&mut context);
            context.finish(result)
        }
        Err(failure) => failed(&failure),
    }
}

fn failed(failure: &Failure) -> u8 {
    eprintln!("ringkeeper-loadgen: {failure}");
    failure.status()
}
