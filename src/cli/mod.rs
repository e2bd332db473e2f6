#![forbid(unsafe_code)]
//! The command line: arguments, environment and files come in here and nowhere else; below, everything is an argument.
//!
//! `args` takes the words apart, `start` makes a checked configuration of them, `serve` runs the server, `inspect`
//! decodes files, `admit` asks an operator about a member's vote. `logging`, `progress` and `banner` are what the outside
//! sees of a start; `exit` has the table of statuses.

mod admit;
mod args;
pub mod banner;
pub mod exit;
mod inspect;
pub mod logging;
pub mod progress;
mod serve;
mod start;
pub mod version;

use std::io::Write;
use std::process::ExitCode;

use crate::storage::decision::Decision;
use args::Command;
use exit::Exit;
use start::{Environment, StartError};

pub use start::{FolderError, prepare_folders, resolve};

/// The whole program: what `main` calls.
pub fn main() -> ExitCode {
    let parsed = match args::parse(std::env::args_os().skip(1)) {
        Ok(parsed) => parsed,
        Err(error) => {
            // Help and version are answers, not errors; a closed output changes neither.
            let _ = error.print();
            return if error.use_stderr() { Exit::Invalid.into() } else { Exit::Finished.into() };
        }
    };
    match parsed.command {
        Command::Inspect(inspect) => inspect::run(&inspect, &mut std::io::stdout().lock()).into(),
        Command::Admit { source, yes, strip } => admit(&source, &parsed.flags, yes, strip).into(),
        Command::Serve { source, check_config } => serve(&source, &parsed.flags, check_config).into(),
    }
}

fn serve(source: &[String], flags: &[String], check_config: bool) -> Exit {
    let environment = Environment::read();
    let checked = match start::load(source, flags, &environment) {
        Ok(checked) => checked,
        Err(error) => return refuse(source, &error),
    };
    if check_config {
        // A reader that left early changes nothing about the verdict.
        let mut notes = std::io::stderr().lock();
        for notice in &checked.notices {
            let _ = writeln!(notes, "{}: {}", notice.level, notice.text);
        }
        let _ = write!(std::io::stdout().lock(), "{}", checked.table);
        return Exit::Finished;
    }
    let own = checked.config.own;
    let filter = environment.log_filter.as_deref();
    let journal = environment.journal_stream.as_deref();
    if let Some(complaint) = logging::start(own.log_level, own.log_format, filter, journal) {
        tracing::warn!(target: logging::UNLIMITED, "{complaint}");
    }
    start::report(&checked);
    let exit = serve::serve(checked.config);
    logging::flush();
    exit
}

fn admit(source: &[String], flags: &[String], yes: bool, strip: bool) -> Exit {
    let checked = match start::load(source, flags, &Environment::read()) {
        Ok(checked) => checked,
        Err(error) => return refuse(source, &error),
    };
    let decision = if strip { Decision::Strip } else { Decision::Admit };
    admit::run(&checked.config, decision, yes, &mut std::io::stdout().lock())
}

/// Stock's line, which scripts look for, then the reason with its file and line.
fn refuse(source: &[String], error: &StartError) -> Exit {
    let what = if source.len() > 1 { "arguments" } else { "config" };
    let _ = writeln!(std::io::stderr(), "Invalid {what}, exiting abnormally\n{error}");
    Exit::Invalid
}
