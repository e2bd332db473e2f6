#![forbid(unsafe_code)]
//! Exit statuses, for scripts.

use crate::engine::Lost;
use crate::run::Trouble;

/// What `--help` says about them.
pub const HELP: &str = "\
Exit status:
  0    done; what was measured can be trusted
  1    a problem of this program or machine: a file that cannot be written, too few descriptors
  2    wrong arguments
  3    the server could not be reached, or gave no session, in time (--connect-timeout)
  4    the server died, closed or stalled and was not back in time (--give-up), or failed every
       request
  5    the server lied: it broke the protocol (bad frame, wrong xid, zxid going back), or
       --verify found an acknowledged write missing
  6    a bound was not met: sweep found no rate that keeps it, failover's gap was longer
  130  interrupted; what was measured until then is written

The last line on standard error says why; with --json the last record has it as well.";

/// A failure, with its exit status.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Failure {
    /// Status 2.
    #[error("{0}")]
    Usage(String),
    /// Status 6.
    #[error("{0}")]
    Bound(String),
    /// Status 1, 3, 4, 5 or 130.
    #[error(transparent)]
    Trouble(#[from] Trouble),
}

impl Failure {
    /// Something of ours.
    pub fn local(what: impl std::fmt::Display) -> Failure {
        Failure::Trouble(Trouble::Local(what.to_string()))
    }

    /// A connection of a target that was lost outside a measured run.
    pub fn lost(target: &str, why: &Lost) -> Failure {
        let name = target.to_owned();
        Failure::Trouble(match why {
            Lost::Refused(..) => Trouble::Unreachable(name, why.to_string()),
            Lost::Lied(violation) => Trouble::Lied(name, violation.to_string()),
            _ => Trouble::Died(name, why.to_string()),
        })
    }

    /// A connection that never came about.
    pub fn unreachable(target: &str, why: &Lost) -> Failure {
        match why {
            Lost::Lied(_) => Failure::lost(target, why),
            _ => Failure::Trouble(Trouble::Unreachable(target.to_owned(), why.to_string())),
        }
    }

    /// The exit status.
    pub fn status(&self) -> u8 {
        match self {
            Failure::Usage(_) => 2,
            Failure::Bound(_) => 6,
            Failure::Trouble(trouble) => match trouble {
                Trouble::Local(_) => 1,
                Trouble::Unreachable(..) => 3,
                Trouble::Died(..) => 4,
                Trouble::Lied(..) => 5,
                Trouble::Interrupted => 130,
            },
        }
    }
}
