#![forbid(unsafe_code)]
//! How the process ends itself: a failure on one core stops the server (STYLE §6). The statuses are those of the table
//! in `--help`, which the binary checks against this enumeration.

use std::sync::OnceLock;

/// Why the server cannot go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fatal {
    /// The log could not be written or flushed: what the disk holds is unknown until recovery reads it (R5).
    Storage,
    /// A law of our own was broken (P11).
    Invariant,
    /// A core stopped (F23).
    Stalled,
}

static LAST_WORDS: OnceLock<fn(Fatal, &str) -> !> = OnceLock::new();

/// Says who ends the process: called once, by whoever owns the exit statuses and the log.
pub fn on_fatal(end: fn(Fatal, &str) -> !) {
    // A second caller would be a second server in one process; the first one's way is good enough.
    let _ = LAST_WORDS.set(end);
}

/// Ends the process with one line that says what happened and what to do.
pub fn fatal(fatal: Fatal, reason: &str) -> ! {
    match LAST_WORDS.get() {
        Some(end) => end(fatal, reason),
        None => panic!("{fatal:?}: {reason}"),
    }
}
