#![forbid(unsafe_code)]
//! Exit statuses, in one table. The numbers up to 14 are stock's (`org.apache.zookeeper.server.ExitCode`); supervisors
//! restart on everything but 0, and units exclude 2 from restarting.

use std::fmt;
use std::process::ExitCode;

/// Why the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Asked to stop.
    Finished,
    /// None of the other reasons.
    Unexpected,
    /// Bad arguments or configuration. Restarting does not help.
    Invalid,
    /// A data folder cannot be made, read, written or locked.
    DataFolder,
    /// The admin server could not start.
    AdminServer,
    /// A snapshot could not be written.
    Snapshot,
    /// A committed txn is not the one at the head of the queue.
    TxnMismatch,
    /// A quorum packet or a truncation failed.
    Quorum,
    /// The election port cannot be bound.
    ElectionPort,
    /// io_uring is forbidden, or there is too little memory to lock.
    Ring,
    /// Writing or flushing the log failed; what the disk holds is unknown until recovery reads it.
    Storage,
    /// A law of our own was broken; going on could spread the damage.
    Invariant,
    /// One core stopped while the others ran.
    Stalled,
}

impl Exit {
    /// All of them, in order of their numbers.
    pub const ALL: [Exit; 13] = [
        Exit::Finished,
        Exit::Unexpected,
        Exit::Invalid,
        Exit::DataFolder,
        Exit::AdminServer,
        Exit::Snapshot,
        Exit::TxnMismatch,
        Exit::Quorum,
        Exit::ElectionPort,
        Exit::Ring,
        Exit::Storage,
        Exit::Invariant,
        Exit::Stalled,
    ];

    /// The process's exit status.
    pub const fn code(self) -> u8 {
        self.row().0
    }

    /// What the status means, in a few words.
    pub const fn meaning(self) -> &'static str {
        self.row().1
    }

    const fn row(self) -> (u8, &'static str) {
        match self {
            Exit::Finished => (0, "stopped as asked"),
            Exit::Unexpected => (1, "unexpected error"),
            Exit::Invalid => (2, "bad arguments or configuration"),
            Exit::DataFolder => (3, "a data folder cannot be used"),
            Exit::AdminServer => (4, "the admin server could not start"),
            Exit::Snapshot => (10, "a snapshot could not be written"),
            Exit::TxnMismatch => (12, "a committed txn is not the one expected"),
            Exit::Quorum => (13, "a quorum packet or a truncation failed"),
            Exit::ElectionPort => (14, "the election port cannot be bound"),
            Exit::Ring => (20, "io_uring is forbidden here, or lockable memory too small"),
            Exit::Storage => (21, "the log could not be written or flushed"),
            Exit::Invariant => (22, "an internal law was broken"),
            Exit::Stalled => (23, "a core of the server stopped"),
        }
    }

    /// The table of `--help`.
    pub fn table() -> String {
        let mut text = String::from("Exit status:\n");
        for exit in Exit::ALL {
            text.push_str(&format!("  {:>2}  {}\n", exit.code(), exit.meaning()));
        }
        text
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.meaning())
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

/// Ends the process at once: one line with the reason, what the log still holds, then the status. For conditions of
/// the environment; any thread may call it. Nothing is unwound, as after a failed flush nothing more may be written.
pub fn fatal(exit: Exit, reason: impl fmt::Display) -> ! {
    tracing::error!(exit = exit.code(), "{exit}: {reason}");
    super::logging::flush();
    std::process::exit(i32::from(exit.code()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_stocks_and_no_two_are_alike() {
        let codes: Vec<u8> = Exit::ALL.iter().map(|exit| exit.code()).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 10, 12, 13, 14, 20, 21, 22, 23]);
        assert_eq!(Exit::table().lines().count(), codes.len() + 1);
    }
}
