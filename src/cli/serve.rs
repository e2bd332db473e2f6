#![forbid(unsafe_code)]
//! `ringkeeper serve`: folders, then the server.

use std::io::Write;

use super::exit::{Exit, fatal};
use super::start::prepare_folders;
use crate::config::Config;

/// Runs the server until it is asked to stop, or cannot go on.
pub(super) fn serve(config: Config) -> Exit {
    if let Err(error) = prepare_folders(&config.folders) {
        let _ = writeln!(std::io::stderr(), "Unable to access datadir, exiting abnormally");
        fatal(Exit::DataFolder, error);
    }
    run(config)
}

/// The seam to `crate::server`.
fn run(_config: Config) -> Exit {
    tracing::error!("this build has no server in it");
    Exit::Unexpected
}
