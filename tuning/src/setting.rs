#![forbid(unsafe_code)]
//! What a setting is: a check, and a change that runs only when the check fails.

use std::path::PathBuf;

use crate::host::Host;

/// What a host is for; decides which settings are wanted there, and how much.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// ringkeeper alone: latency before power
    Dedicated,
    /// Other services run here too
    Shared,
    /// A container: what is the host's is not looked at
    Container,
    /// A developer's machine: only what keeps the server from starting or from keeping data
    Laptop,
}

impl Profile {
    /// Its name, as on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Profile::Dedicated => "dedicated",
            Profile::Shared => "shared",
            Profile::Container => "container",
            Profile::Laptop => "laptop",
        }
    }
}

/// How much a setting matters; the least first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A small gain.
    Info,
    /// Pauses, or latency that is not the server's.
    Warning,
    /// The server does not start, or may lose what it acknowledged.
    Critical,
}

impl Severity {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

/// The severity of a setting under each profile; `None`: not wanted there.
#[derive(Clone, Copy, Debug)]
pub struct Severities {
    /// Under [`Profile::Dedicated`].
    pub dedicated: Option<Severity>,
    /// Under [`Profile::Shared`].
    pub shared: Option<Severity>,
    /// Under [`Profile::Container`].
    pub container: Option<Severity>,
    /// Under [`Profile::Laptop`].
    pub laptop: Option<Severity>,
}

impl Severities {
    /// The one of a profile.
    pub fn under(&self, profile: Profile) -> Option<Severity> {
        match profile {
            Profile::Dedicated => self.dedicated,
            Profile::Shared => self.shared,
            Profile::Container => self.container,
            Profile::Laptop => self.laptop,
        }
    }
}

/// How long a change of a setting lasts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lasts {
    /// In force at once, and at every boot by a file.
    Always,
    /// In force at once, lost at the next boot.
    UntilBoot,
    /// In a file, in force when the service starts next.
    FromServiceStart,
    /// Nothing here can change it; what does, says how long.
    ByHand,
}

impl Lasts {
    /// For an operator.
    pub fn words(self) -> &'static str {
        match self {
            Lasts::Always => "at once, and over reboots: the live value and a file in /etc/sysctl.d",
            Lasts::UntilBoot => {
                "at once, until the next boot; ringkeeper-tune.service sets it again at each boot, if enabled"
            }
            Lasts::FromServiceStart => {
                "from the next start of the service (systemctl daemon-reload, restart) or login on, for good"
            }
            Lasts::ByHand => "as long as what you change by hand",
        }
    }
}

/// One thing that a host can be set to.
pub struct Setting {
    /// What it is called in arguments and results.
    pub name: &'static str,
    /// How much it matters where.
    pub profiles: Severities,
    /// Looks.
    pub check: fn(&Host) -> Result<Finding, Stop>,
    /// Says what to do about it; asked only when the check fails. Changes nothing itself: `apply` does, after it wrote
    /// down what was there before.
    pub change: fn(&Host) -> Result<Change, Stop>,
    /// How long a change lasts.
    pub lasts: Lasts,
    /// Why it matters, for an operator.
    pub why: &'static str,
    /// How to undo a change without this program's journal.
    pub undo: &'static str,
}

/// How a setting stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As wanted.
    Holds,
    /// Not as wanted.
    Fails,
    /// Set as wanted in a file that is read when the service starts next.
    Pending,
    /// It cannot be told.
    Unknown,
    /// This host has no such thing.
    Absent,
}

/// What a check found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// The verdict.
    pub verdict: Verdict,
    /// How it is.
    pub current: String,
    /// How it should be.
    pub wanted: String,
    /// What else to know.
    pub note: Option<String>,
}

impl Finding {
    /// Holds or fails.
    pub fn new(holds: bool, current: impl Into<String>, wanted: impl Into<String>) -> Finding {
        let verdict = if holds { Verdict::Holds } else { Verdict::Fails };
        Finding { verdict, current: current.into(), wanted: wanted.into(), note: None }
    }

    /// With a note.
    #[must_use]
    pub fn noting(mut self, note: impl Into<String>) -> Finding {
        self.note = Some(note.into());
        self
    }

    /// What a check that stopped amounts to.
    pub fn stopped(stop: Stop) -> Finding {
        let (verdict, why) = match stop {
            Stop::Absent(why) => (Verdict::Absent, why),
            Stop::Unknown(why) => (Verdict::Unknown, why),
        };
        Finding { verdict, current: "-".into(), wanted: "-".into(), note: Some(why) }
    }
}

/// Why a check cannot say.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Stop {
    /// There is no such thing here; fine.
    #[error("{0}")]
    Absent(String),
    /// There is, but it cannot be read, or makes no sense.
    #[error("{0}")]
    Unknown(String),
}

impl Stop {
    /// Nothing of the kind here.
    pub fn absent(why: impl Into<String>) -> Stop {
        Stop::Absent(why.into())
    }

    /// It cannot be told.
    pub fn unknown(why: impl Into<String>) -> Stop {
        Stop::Unknown(why.into())
    }
}

/// What to do about a setting that fails.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Change {
    /// What `apply` does, in this order.
    pub edits: Vec<Edit>,
    /// What it leaves to the operator.
    pub by_hand: Option<String>,
}

impl Change {
    /// Nothing that a program should do.
    pub fn by_hand(what: impl Into<String>) -> Change {
        Change { edits: Vec::new(), by_hand: Some(what.into()) }
    }

    /// These edits, and nothing by hand.
    pub fn edits(edits: Vec<Edit>) -> Change {
        Change { edits, by_hand: None }
    }
}

/// One change of one file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Edit {
    /// A value for a file that is there and holds one.
    Value {
        /// The file.
        path: PathBuf,
        /// The value, without its newline.
        to: String,
    },
    /// A whole file, made if it is not there, with its folder.
    File {
        /// The file.
        path: PathBuf,
        /// All of it.
        to: String,
        /// What is new in it, for the operator.
        line: String,
    },
}

impl Edit {
    /// The file.
    pub fn path(&self) -> &std::path::Path {
        match self {
            Edit::Value { path, .. } | Edit::File { path, .. } => path,
        }
    }

    /// What an operator would type in its place.
    pub fn command(&self) -> String {
        match self {
            Edit::Value { path, to } => format!("echo {to} > {}", path.display()),
            Edit::File { path, line, .. } => format!("put \"{line}\" into {}", path.display()),
        }
    }
}
