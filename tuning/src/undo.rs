#![forbid(unsafe_code)]
//! `apply --undo`: puts back what the journal says was there, the last change first.
//!
//! What somebody else changed since is left alone and named, unless forced: it is theirs now. An entry leaves the journal
//! when its path is as it was, so an undo that is interrupted goes on where it was; with the last entry the journal goes.

use std::path::{Path, PathBuf};

use crate::files::Files;
use crate::host::{chosen, is_missing};
use crate::journal::{self, Before, Contents, Entry, Journal, JournalError};

/// What became of a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// As it was before.
    Restored,
    /// It was so already: a reboot, or somebody by hand.
    WasSo,
    /// It is not there any more: a card that was unplugged.
    Gone,
    /// Somebody else changed it since.
    Changed,
    /// The system said no.
    Refused(String),
}

impl Outcome {
    /// Whether the entry can be forgotten.
    fn is_over(&self) -> bool {
        matches!(self, Outcome::Restored | Outcome::WasSo | Outcome::Gone)
    }
}

/// A path that was in the journal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Undone {
    /// For which setting it was changed.
    pub setting: String,
    /// The path.
    pub path: PathBuf,
    /// What became of it; what would, in a dry run.
    pub outcome: Outcome,
}

impl Undone {
    /// Whether it is as it was.
    pub fn is_over(&self) -> bool {
        self.outcome.is_over()
    }
}

/// Undoes everything that the journal holds. `force` takes back also what others changed since.
///
/// # Errors
/// The journal is damaged, foreign, in use, or cannot be written.
pub fn undo(
    files: &dyn Files,
    journal_path: &Path,
    dry_run: bool,
    force: bool,
    said: &mut dyn FnMut(Undone),
) -> Result<(), JournalError> {
    if Journal::load(files, journal_path)?.is_none() {
        return Ok(());
    }
    let lock = if dry_run { None } else { Some(journal::lock(files, journal_path)?) };
    let Some(mut journal) = Journal::load(files, journal_path)? else { return Ok(()) };
    for at in (0..journal.entries.len()).rev() {
        let entry = &journal.entries[at];
        let outcome = restore(files, entry, dry_run, force).unwrap_or_else(|error| {
            if is_missing(&error) { Outcome::Gone } else { Outcome::Refused(error.to_string()) }
        });
        let undone = Undone { setting: entry.setting.clone(), path: entry.path.clone(), outcome };
        if undone.is_over() && !dry_run {
            journal.entries.remove(at);
            if !journal.entries.is_empty() {
                journal.save(files, journal_path)?;
            }
        }
        said(undone);
    }
    if journal.entries.is_empty() && !dry_run {
        let unusable =
            |error: std::io::Error| JournalError::Unusable(journal_path.to_owned(), error.to_string());
        files.remove(journal_path).map_err(unusable)?;
        // Its folder is ours too; somebody may keep notes in it.
        let _ = files.remove_folder(journal_path.parent().expect("the journal is in a folder"));
    }
    drop(lock);
    Ok(())
}

fn restore(files: &dyn Files, entry: &Entry, dry_run: bool, force: bool) -> std::io::Result<Outcome> {
    let path = &entry.path;
    if entry.before == Before::NoFolder {
        return match files.names(path) {
            Err(error) if is_missing(&error) => Ok(Outcome::WasSo),
            Err(error) => Err(error),
            // In a dry run our own file is still in it.
            Ok(_) if dry_run => Ok(Outcome::Restored),
            Ok(names) if names.is_empty() => files.remove_folder(path).map(|()| Outcome::Restored),
            Ok(_) => Ok(Outcome::Changed),
        };
    }
    let now = match files.read(path) {
        Ok(bytes) => Some(bytes),
        Err(error) if is_missing(&error) => None,
        Err(error) => return Err(error),
    };
    let is_ours = |now: &[u8]| entry.is_ours(now);
    match (&entry.before, now) {
        (Before::NoFile, None) => Ok(Outcome::WasSo),
        (Before::NoFile, Some(now)) if is_ours(&now) || force => {
            if !dry_run {
                files.remove(path)?;
            }
            Ok(Outcome::Restored)
        }
        (Before::File { contents, mode }, now) => {
            let bytes = contents.bytes().expect("a loaded journal is sound");
            match now {
                Some(now) if now == bytes => Ok(Outcome::WasSo),
                now => {
                    if !force && !now.as_deref().is_some_and(is_ours) {
                        return Ok(Outcome::Changed);
                    }
                    if !dry_run {
                        files.replace(path, &bytes, *mode)?;
                    }
                    Ok(Outcome::Restored)
                }
            }
        }
        (Before::Kernel { .. }, None) => Ok(Outcome::Gone),
        (Before::Kernel { contents, value }, Some(now)) => {
            if contents.bytes().is_some_and(|before| before == now) {
                return Ok(Outcome::WasSo);
            }
            // Between our write and the journal's second look only the value is known.
            let text = String::from_utf8_lossy(&now);
            let wrote = entry.after.iter().filter_map(Contents::bytes);
            let same_value = wrote.into_iter().any(|w| chosen(&String::from_utf8_lossy(&w)) == chosen(&text));
            if !is_ours(&now) && !same_value && !force {
                return Ok(Outcome::Changed);
            }
            if !dry_run {
                files.write_value(path, value)?;
            }
            Ok(Outcome::Restored)
        }
        (Before::NoFile, Some(_)) => Ok(Outcome::Changed),
        (Before::NoFolder, _) => unreachable!("answered above"),
    }
}
