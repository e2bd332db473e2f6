#![forbid(unsafe_code)]
//! Arguments, and the way from a subcommand to an exit status.

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// Checks and changes a host's settings for ringkeeper.
#[derive(Parser, Debug)]
#[command(name = "ringkeeper-tune", version)]
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
}

/// Arguments of `check`.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {}

/// Arguments of `apply`.
#[derive(Args, Clone, Debug)]
pub struct ApplyArgs {}

/// Reads the arguments of the process and does what they say.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Check(CheckArgs {}) | Command::Apply(ApplyArgs {}) => ExitCode::SUCCESS,
    }
}
