#![forbid(unsafe_code)]
//! `check`: every setting that the profile wants, looked at. Changes nothing.

use crate::host::Host;
use crate::setting::{Change, Finding, Setting, Severity, Verdict};
use crate::settings;

/// Which settings to look at; all, unless the operator named some.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Only these, if there are any.
    pub only: Vec<String>,
    /// Not these.
    pub skip: Vec<String>,
}

impl Selection {
    fn takes(&self, setting: &Setting) -> bool {
        let named = |names: &[String]| names.iter().any(|name| name == setting.name);
        (self.only.is_empty() || named(&self.only)) && !named(&self.skip)
    }
}

/// A setting that was looked at.
pub struct Row {
    /// The setting.
    pub setting: &'static Setting,
    /// How much it matters under the profile.
    pub severity: Severity,
    /// How it stands.
    pub finding: Finding,
    /// What to do about it, if it fails.
    pub change: Change,
}

impl Row {
    /// Looks at one setting.
    pub fn of(host: &Host, setting: &'static Setting, severity: Severity) -> Row {
        let finding = (setting.check)(host).unwrap_or_else(Finding::stopped);
        let change = match finding.verdict {
            Verdict::Fails => (setting.change)(host).unwrap_or_else(|stop| Change::by_hand(stop.to_string())),
            _ => Change::default(),
        };
        Row { setting, severity, finding, change }
    }

    /// Whether it is a matter for the exit status: it fails, or nobody can tell.
    pub fn is_wrong(&self) -> bool {
        matches!(self.finding.verdict, Verdict::Fails | Verdict::Unknown)
    }
}

/// The settings that a profile wants and the operator asks for, with their severities.
pub fn wanted(host: &Host, selection: &Selection) -> Vec<(&'static Setting, Severity)> {
    let asked = settings::ALL.iter().filter(|setting| selection.takes(setting));
    asked.filter_map(|setting| Some((*setting, setting.profiles.under(host.options.profile)?))).collect()
}

/// Looks at all of them.
pub fn check(host: &Host, selection: &Selection) -> Vec<Row> {
    let wanted = wanted(host, selection).into_iter();
    wanted.map(|(setting, severity)| Row::of(host, setting, severity)).collect()
}

/// The worst of what fails. What cannot be told counts as a warning at most: it may be fine.
pub fn worst(rows: &[Row]) -> Option<Severity> {
    let wrong = rows.iter().filter(|row| row.is_wrong());
    wrong
        .map(|row| match row.finding.verdict {
            Verdict::Unknown => row.severity.min(Severity::Warning),
            _ => row.severity,
        })
        .max()
}
