#![forbid(unsafe_code)]
//! `apply`: changes what fails, one setting after the other; what was there before goes into the journal first.
//!
//! A change that is refused does not stop the others: settings do not depend on each other, and the operator is told of
//! each. A journal that cannot be written stops everything, because nothing is changed that could not be undone.

use std::path::{Path, PathBuf};

use crate::check::{Row, Selection, wanted};
use crate::files::{Files, Kind};
use crate::host::{Host, chosen, is_missing};
use crate::journal::{self, Before, Contents, Journal, JournalError};
use crate::setting::{Edit, Finding, Setting, Severity, Verdict};

/// One edit of a setting, done, refused or only said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Done {
    /// The file.
    pub path: PathBuf,
    /// What it said before; `None` when it was not there.
    pub from: Option<String>,
    /// The value, or the line, that it has now.
    pub to: String,
    /// Why it was refused.
    pub refused: Option<String>,
}

/// What became of a setting that failed.
pub struct Applied {
    /// The setting.
    pub setting: &'static Setting,
    /// How much it matters under the profile.
    pub severity: Severity,
    /// Before.
    pub found: Finding,
    /// In the order in which they were done.
    pub edits: Vec<Done>,
    /// What is left to the operator.
    pub by_hand: Option<String>,
    /// Looked at again; `None` when nothing was changed.
    pub left: Option<Finding>,
}

impl Applied {
    /// Whether something that should have been changed was not: it was refused, or it took and changed nothing.
    pub fn is_refused(&self) -> bool {
        let without_effect = self.left.as_ref().is_some_and(|left| left.verdict == Verdict::Fails);
        self.edits.iter().any(|edit| edit.refused.is_some()) || (without_effect && self.by_hand.is_none())
    }
}

/// Changes what fails. `said` hears of each failing setting when it is done with, so that nothing is lost if this ends
/// early; `dry_run` only says what would be done.
///
/// # Errors
/// The journal is damaged, foreign, in use, or cannot be written. What was changed until then was said and is in it.
pub fn apply(
    host: &Host,
    selection: &Selection,
    journal_path: &Path,
    dry_run: bool,
    said: &mut dyn FnMut(Applied),
) -> Result<(), JournalError> {
    let files = &*host.files;
    // Looked at before the lock makes a folder: where nothing fails, nothing is made.
    let mut journal = Journal::load(files, journal_path)?;
    let mut locked = None;
    for (setting, severity) in wanted(host, selection) {
        let Row { finding, change, .. } = Row::of(host, setting, severity);
        if finding.verdict != Verdict::Fails {
            continue;
        }
        let mut applied = Applied {
            setting,
            severity,
            found: finding,
            edits: Vec::new(),
            by_hand: change.by_hand,
            left: None,
        };
        if change.edits.is_empty() && applied.by_hand.is_none() {
            applied.by_hand = Some("nothing that could be set here makes it hold".into());
        }
        if dry_run {
            applied.edits = change.edits.iter().map(|edit| preview(files, edit)).collect();
            said(applied);
            continue;
        }
        let mut broken = None;
        for edit in &change.edits {
            if locked.is_none() {
                locked = Some(journal::lock(files, journal_path)?);
                // Another process may have been at it since.
                journal = Some(Journal::load(files, journal_path)?.unwrap_or_else(|| Journal::new(files)));
            }
            let journal = journal.as_mut().expect("loaded with the lock");
            let mut done = preview(files, edit);
            match perform(files, journal, journal_path, setting.name, edit) {
                Ok(()) => {}
                Err(Failure::Refused(why)) => done.refused = Some(why),
                Err(Failure::Journal(error)) => {
                    done.refused = Some(error.to_string());
                    broken = Some(error);
                }
            }
            applied.edits.push(done);
            if broken.is_some() {
                break;
            }
        }
        if !applied.edits.is_empty() {
            applied.left = Some((setting.check)(host).unwrap_or_else(Finding::stopped));
        }
        said(applied);
        if let Some(error) = broken {
            return Err(error);
        }
    }
    Ok(())
}

enum Failure {
    Refused(String),
    Journal(JournalError),
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Failure {
        Failure::Journal(error)
    }
}

fn refused(error: std::io::Error) -> Failure {
    Failure::Refused(error.to_string())
}

fn preview(files: &dyn Files, edit: &Edit) -> Done {
    let (path, to) = match edit {
        Edit::Value { path, to } => (path, to),
        Edit::File { path, line, .. } => (path, line),
    };
    let text = files.read(path).ok().map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned());
    let from = match edit {
        Edit::Value { .. } => text.map(|text| chosen(&text).to_owned()),
        // What else is in a file stays as it is.
        Edit::File { .. } => text.map(|_| "without the line".to_owned()),
    };
    Done { path: path.clone(), from, to: to.clone(), refused: None }
}

/// Writes down what is there, then changes it, then writes down what the kernel made of it.
fn perform(
    files: &dyn Files,
    journal: &mut Journal,
    journal_path: &Path,
    setting: &str,
    edit: &Edit,
) -> Result<(), Failure> {
    let path = edit.path();
    if files.link(path).is_ok() {
        // Whoever put it there manages what it points to; a file in its place would part the two.
        return Err(Failure::Refused("a symbolic link is there, somebody else's".into()));
    }
    let before = look(files, path)?;
    let is_kernel = matches!(before, Before::Kernel { .. });
    let text = match edit {
        Edit::Value { .. } if before == Before::NoFile => {
            return Err(Failure::Refused("it is gone".into()));
        }
        Edit::Value { to, .. } => format!("{to}\n"),
        Edit::File { to, .. } => to.clone(),
    };
    let mode = if let Before::File { mode, .. } = &before { *mode } else { 0o644 };
    for folder in missing_folders(files, path) {
        journal.note(setting, &folder, Before::NoFolder, None);
        journal.save(files, journal_path)?;
        files.make_folder(&folder).map_err(refused)?;
    }
    journal.note(setting, path, before, Some(Contents::new(text.clone().into_bytes())));
    journal.save(files, journal_path)?;
    match edit {
        Edit::Value { to, .. } if is_kernel => files.write_value(path, to).map_err(refused)?,
        _ => files.replace(path, text.as_bytes(), mode).map_err(refused)?,
    }
    let now = files.read(path).map_err(refused)?;
    if now != text.as_bytes() {
        // "always [never]" where we wrote "never": undo must know its own work again.
        journal.note_after(path, Contents::new(now));
        journal.save(files, journal_path)?;
    }
    Ok(())
}

/// What is at a path now.
fn look(files: &dyn Files, path: &Path) -> Result<Before, Failure> {
    let kind = match files.kind(path) {
        Ok(kind) => kind,
        Err(error) if is_missing(&error) => return Ok(Before::NoFile),
        Err(error) => return Err(refused(error)),
    };
    let contents = || files.read(path).map_err(refused);
    match kind {
        Kind::Regular { mode } => Ok(Before::File { contents: Contents::new(contents()?), mode }),
        Kind::Kernel => {
            let bytes = contents()?;
            let value = chosen(&String::from_utf8_lossy(&bytes)).to_owned();
            Ok(Before::Kernel { contents: Contents::new(bytes), value })
        }
        Kind::Folder | Kind::Other => Err(Failure::Refused("no file is there, but something else".into())),
    }
}

/// The folders above a path that are not there, the topmost first.
fn missing_folders(files: &dyn Files, path: &Path) -> Vec<PathBuf> {
    let above = path.ancestors().skip(1);
    let missing = above.take_while(|at| files.kind(at).is_err_and(|error| is_missing(&error)));
    let mut missing: Vec<PathBuf> = missing.map(Path::to_owned).collect();
    missing.reverse();
    missing
}
