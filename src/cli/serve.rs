#![forbid(unsafe_code)]
//! `ringkeeper serve`: folders, the server, the banner, and the way down.

use std::io::Write;
use std::time::Duration;

use super::banner::{Banner, Flushing, Recovery};
use super::exit::{Exit, fatal};
use super::progress::Stages;
use super::start::{prepare_folders, resolve};
use super::{logging, version};
use crate::config::Config;
use crate::runtime::fatal::{Fatal, on_fatal};
use crate::server::start::{self, Facts, Running, StartError};

/// What is under way when a signal to stop comes is finished within this (issue 3: exit within a second).
const STOP_WITHIN: Duration = Duration::from_millis(900);

pub(super) fn serve(config: Config) -> Exit {
    if let Err(error) = prepare_folders(&config.folders) {
        let _ = writeln!(std::io::stderr(), "Unable to access datadir, exiting abnormally");
        fatal(Exit::DataFolder, error);
    }
    on_fatal(|reason, words| {
        let exit = match reason {
            Fatal::Storage => Exit::Storage,
            Fatal::Invariant => Exit::Invariant,
            Fatal::Stalled => Exit::Stalled,
        };
        fatal(exit, words)
    });
    // A panic on one core must not leave the others serving half alive, in any build (reliability F24).
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        hook(panic);
        std::process::abort();
    }));
    // Blocked from here on in every thread, and taken by the one that waits for them: nothing is missed while loading.
    let mut signals = match signal_hook::iterator::Signals::new([
        signal_hook::consts::SIGTERM,
        signal_hook::consts::SIGINT,
    ]) {
        Ok(signals) => signals,
        Err(error) => fatal(Exit::Unexpected, format_args!("cannot wait for signals: {error}")),
    };
    let running = run(&config);
    say(&running.facts, &config);
    if !config.storage.force_sync {
        tracing::error!(
            "forceSync=no: writes are acknowledged before they are on the disk; a power failure loses them"
        );
    }
    notify(&[sd_notify::NotifyState::Ready, sd_notify::NotifyState::Status("serving")]);
    let signal = signals.forever().next();
    tracing::info!(signal = signal.unwrap_or_default(), "stopping: finishing what is under way");
    notify(&[sd_notify::NotifyState::Stopping]);
    if running.stop(STOP_WITHIN) {
        tracing::info!("stopped; everything acknowledged is on the disk");
    } else {
        tracing::warn!(
            "stopped before everything under way was finished; what was acknowledged is on the disk"
        );
    }
    logging::flush();
    Exit::Finished
}

fn run(config: &Config) -> Running {
    let addresses = match config.net.client.as_ref().map(resolve) {
        None => {
            tracing::warn!("no clientPort: nobody can be served");
            Vec::new()
        }
        Some(Ok(addresses)) => addresses,
        Some(Err(error)) => {
            fatal(Exit::Unexpected, format_args!("clientPortAddress does not resolve: {error}"))
        }
    };
    let text = version::full(config.own.build_date_style);
    let mut stages = Stages::default();
    let mut on_progress = |label, done, total| stages.update(label, done, total);
    let started =
        start::start(config, &addresses, crate::server::words::Version::of_text(text), &mut on_progress);
    stages.finish();
    match started {
        Ok(running) => running,
        Err(error) => {
            let exit = match &error {
                StartError::Host(_) => Exit::Ring,
                StartError::Folders(_) | StartError::Recovery(_) => Exit::DataFolder,
                StartError::Bind { .. } | StartError::Thread(_) | StartError::System { .. } => {
                    Exit::Unexpected
                }
            };
            fatal(exit, error)
        }
    }
}

fn say(facts: &Facts, config: &Config) {
    let text = version::full(config.own.build_date_style);
    let address = facts.address.map_or_else(|| "no port".to_owned(), |address| address.to_string());
    let (data, log) = (facts.folders.0.display().to_string(), facts.folders.1.display().to_string());
    let placement = facts.placement.to_string();
    let banner = Banner {
        version: &text,
        address: &address,
        data: &data,
        log: &log,
        recovery: Recovery {
            snapshot: facts.snapshot.map(|zxid| zxid.0),
            replayed: facts.replayed,
            last: facts.last.0,
            znodes: facts.znodes,
            took: facts.took,
            repaired: facts.repaired.as_deref(),
        },
        placement: &placement,
        flushing: Flushing { method: facts.method, file_system: &facts.file_system, latency: facts.flush },
    };
    for line in banner.lines() {
        tracing::info!("{line}");
    }
}

/// Tells the service manager, if there is one.
fn notify(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, states) {
        tracing::debug!(%error, "the service manager cannot be told");
    }
}
