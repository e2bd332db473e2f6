#![forbid(unsafe_code)]
//! For scripts: one object on one line for each command. These types are the schema; `schema` counts up when a field
//! changes its meaning or goes, not when one comes.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::apply::Applied;
use crate::check::Row;
use crate::setting::{Finding, Lasts, Profile, Severity, Verdict};
use crate::undo::{Outcome, Undone};

/// The version of what is below.
pub const SCHEMA: u32 = 1;

/// What `check --json` says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// [`SCHEMA`].
    pub schema: u32,
    /// `check`.
    pub kind: String,
    /// Of this program.
    pub version: String,
    /// The profile.
    pub profile: Profile,
    /// Whether it was guessed.
    pub profile_guessed: bool,
    /// The worst of what fails.
    pub worst: Option<Severity>,
    /// Every setting that the profile wants.
    pub settings: Vec<Checked>,
}

/// A setting.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checked {
    /// Its name.
    pub name: String,
    /// How it stands.
    pub verdict: Verdict,
    /// How much it matters under the profile.
    pub severity: Severity,
    /// How it is.
    pub current: String,
    /// How it should be.
    pub wanted: String,
    /// What else to know; of `unknown` and `absent` the reason.
    pub note: Option<String>,
    /// Why it matters.
    pub why: String,
    /// How long a change lasts.
    pub lasts: Lasts,
    /// How to undo a change by hand.
    pub undo: String,
    /// What `apply` would do; empty unless it fails.
    pub changes: Vec<ChangeTo>,
    /// What `apply` leaves to the operator.
    pub by_hand: Option<String>,
}

/// A change of a file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeTo {
    /// The file.
    pub path: PathBuf,
    /// The same as a command or an instruction.
    pub command: String,
}

/// What `apply --json` says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Apply {
    /// [`SCHEMA`].
    pub schema: u32,
    /// `apply`.
    pub kind: String,
    /// Of this program.
    pub version: String,
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// Why it ended early, if it did.
    pub error: Option<String>,
    /// The settings that failed.
    pub settings: Vec<AppliedSetting>,
}

/// A setting that failed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppliedSetting {
    /// Its name.
    pub name: String,
    /// How much it matters.
    pub severity: Severity,
    /// How it was.
    pub current: String,
    /// How it should be.
    pub wanted: String,
    /// How it stands now; `null` when nothing was changed.
    pub verdict: Option<Verdict>,
    /// What was done.
    pub edits: Vec<EditDone>,
    /// What is left to the operator.
    pub by_hand: Option<String>,
}

/// A change of a file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EditDone {
    /// The file.
    pub path: PathBuf,
    /// What it said; `null` when it was not there.
    pub from: Option<String>,
    /// What it says now.
    pub to: String,
    /// Why not.
    pub refused: Option<String>,
}

/// What `apply --undo --json` says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Undo {
    /// [`SCHEMA`].
    pub schema: u32,
    /// `undo`.
    pub kind: String,
    /// Of this program.
    pub version: String,
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// Why it ended early, if it did.
    pub error: Option<String>,
    /// The paths of the journal, the last first.
    pub paths: Vec<UndonePath>,
}

/// A path.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UndonePath {
    /// For which setting it was changed.
    pub setting: String,
    /// The path.
    pub path: PathBuf,
    /// `restored`, `was-so`, `gone`, `changed` or `refused`.
    pub outcome: String,
    /// Why it was refused.
    pub refused: Option<String>,
}

/// Of this program.
pub fn version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

impl Checked {
    /// Of a row.
    pub fn of(row: &Row) -> Checked {
        let Finding { verdict, current, wanted, note } = row.finding.clone();
        let changes = row.change.edits.iter();
        Checked {
            name: row.setting.name.to_owned(),
            verdict,
            severity: row.severity,
            current,
            wanted,
            note,
            why: row.setting.why.to_owned(),
            lasts: row.setting.lasts,
            undo: row.setting.undo.to_owned(),
            changes: changes
                .map(|edit| ChangeTo { path: edit.path().to_owned(), command: edit.command() })
                .collect(),
            by_hand: row.change.by_hand.clone(),
        }
    }
}

impl AppliedSetting {
    /// Of a setting that was changed.
    pub fn of(applied: &Applied) -> AppliedSetting {
        let edits = applied.edits.iter().cloned();
        AppliedSetting {
            name: applied.setting.name.to_owned(),
            severity: applied.severity,
            current: applied.found.current.clone(),
            wanted: applied.found.wanted.clone(),
            verdict: applied.left.as_ref().map(|left| left.verdict),
            edits: edits
                .map(|edit| EditDone { path: edit.path, from: edit.from, to: edit.to, refused: edit.refused })
                .collect(),
            by_hand: applied.by_hand.clone(),
        }
    }
}

impl UndonePath {
    /// Of a path that was undone.
    pub fn of(undone: &Undone) -> UndonePath {
        let (outcome, refused) = match &undone.outcome {
            Outcome::Restored => ("restored", None),
            Outcome::WasSo => ("was-so", None),
            Outcome::Gone => ("gone", None),
            Outcome::Changed => ("changed", None),
            Outcome::Refused(why) => ("refused", Some(why.clone())),
        };
        UndonePath {
            setting: undone.setting.clone(),
            path: undone.path.clone(),
            outcome: outcome.to_owned(),
            refused,
        }
    }
}
