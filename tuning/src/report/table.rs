#![forbid(unsafe_code)]
//! For people: a line a setting, and under those that fail why they matter, what to do, and how to undo it.

use std::fmt::Write;

use crate::apply::Applied;
use crate::check::Row;
use crate::host::Options;
use crate::setting::{Severity, Verdict};
use crate::undo::{Outcome, Undone};

/// The word of a verdict; what fails stands out.
fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Holds => "ok",
        Verdict::Fails => "FAILS",
        Verdict::Pending => "pending",
        Verdict::Unknown => "unknown",
        Verdict::Absent => "-",
    }
}

/// What was looked at.
pub fn heading(options: &Options, detected: bool, root: &str) -> String {
    let how = if detected { ", guessed: say --profile to choose" } else { "" };
    let data: Vec<String> = options.data.iter().map(|path| path.display().to_string()).collect();
    let data =
        if data.is_empty() { "no data folder".to_owned() } else { format!("data in {}", data.join(", ")) };
    format!("profile {}{how}; root {root}; {data}\n", options.profile.name())
}

/// The whole of `check`. `all`: why also of what holds.
pub fn check(rows: &[Row], all: bool) -> String {
    let mut out = String::new();
    let width = rows.iter().map(|row| row.setting.name.len()).max().unwrap_or(0);
    for row in rows {
        let name = row.setting.name;
        let (state, severity) = (word(row.finding.verdict), row.severity.name());
        let _ = write!(out, "{name:width$}  {state:7}  {severity:8}  ");
        let finding = &row.finding;
        match (finding.verdict, &finding.note) {
            (Verdict::Absent | Verdict::Unknown, Some(why)) => out.push_str(why),
            (Verdict::Holds, _) => out.push_str(&finding.current),
            _ => {
                let _ = write!(out, "{}; wanted: {}", finding.current, finding.wanted);
            }
        }
        out.push('\n');
        let mut detail = |label: &str, text: &str| {
            let _ = writeln!(out, "    {label:8} {text}");
        };
        let is_told = !matches!(finding.verdict, Verdict::Absent | Verdict::Unknown);
        if let Some(note) =
            finding.note.as_ref().filter(|_| is_told && (all || finding.verdict != Verdict::Holds))
        {
            detail("note", note);
        }
        if all || finding.verdict == Verdict::Fails {
            detail("why", row.setting.why);
        }
        if finding.verdict != Verdict::Fails {
            continue;
        }
        // Forty cores are forty edits of one kind.
        for edit in row.change.edits.iter().take(SHOWN) {
            detail("apply", &edit.command());
        }
        if row.change.edits.len() > SHOWN {
            detail("apply", &format!("and {} more like these", row.change.edits.len() - SHOWN));
        }
        if let Some(by_hand) = &row.change.by_hand {
            detail("by hand", by_hand);
        }
        if row.change.edits.is_empty() {
            detail("undo", row.setting.undo);
        } else {
            detail("lasts", row.setting.lasts.words());
            detail("undo", &format!("ringkeeper-tune apply --undo; or {}", row.setting.undo));
        }
    }
    let count = |verdict| rows.iter().filter(|row| row.finding.verdict == verdict).count();
    let fails = |severity| {
        rows.iter().filter(|row| row.finding.verdict == Verdict::Fails && row.severity == severity).count()
    };
    let _ = writeln!(
        out,
        "\n{} hold, {} fail ({} critical, {} warning, {} info), {} pending, {} unknown, {} not here",
        count(Verdict::Holds),
        count(Verdict::Fails),
        fails(Severity::Critical),
        fails(Severity::Warning),
        fails(Severity::Info),
        count(Verdict::Pending),
        count(Verdict::Unknown),
        count(Verdict::Absent),
    );
    if rows.iter().any(|row| !row.change.edits.is_empty()) {
        out.push_str("\"ringkeeper-tune apply\" does what stands behind apply; --dry-run says it first\n");
    }
    out
}

/// Edits of one setting that are shown.
const SHOWN: usize = 4;

/// A setting that `apply` was at.
pub fn applied(applied: &Applied, dry_run: bool) -> String {
    let mut out = String::new();
    let name = applied.setting.name;
    for edit in &applied.edits {
        let from = edit.from.as_deref().unwrap_or("not there");
        let path = edit.path.display();
        let _ = match (&edit.refused, dry_run) {
            (Some(why), _) => writeln!(out, "{name}: REFUSED  {path}: {from} -> {}: {why}", edit.to),
            (None, true) => writeln!(out, "{name}: would change {path}: {from} -> {}", edit.to),
            (None, false) => writeln!(out, "{name}: changed  {path}: {from} -> {}", edit.to),
        };
    }
    if let Some(left) = applied.left.as_ref().filter(|left| left.verdict == Verdict::Fails) {
        let _ = writeln!(out, "{name}: still fails: {}; wanted: {}", left.current, left.wanted);
    }
    if !applied.edits.is_empty() {
        let _ = writeln!(out, "{name}: lasts {}", applied.setting.lasts.words());
    }
    if let Some(by_hand) = &applied.by_hand {
        let _ = writeln!(out, "{name}: by hand: {by_hand}");
    }
    out
}

/// A path that `apply --undo` was at.
pub fn undone(undone: &Undone, dry_run: bool) -> String {
    let path = undone.path.display();
    let name = &undone.setting;
    match &undone.outcome {
        Outcome::Restored if dry_run => format!("{name}: would restore {path}\n"),
        Outcome::Restored => format!("{name}: restored {path}\n"),
        Outcome::WasSo => format!("{name}: {path} is as it was already\n"),
        Outcome::Gone => format!("{name}: {path} is not there any more\n"),
        Outcome::Changed => {
            format!("{name}: LEFT {path}: somebody changed it since; --force takes it back all the same\n")
        }
        Outcome::Refused(why) => format!("{name}: REFUSED {path}: {why}\n"),
    }
}
