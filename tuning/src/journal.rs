#![forbid(unsafe_code)]
//! The undo journal: what was there before `apply` changed it.
//!
//! One file, replaced whole and made durable *before* each change, so that whatever happens in between, what is in the
//! journal covers what was changed. An entry is a path: what was there before the first change of it, and what our changes
//! left there.
//!
//! # Format 1
//!
//! ```text
//! line 1   {"ringkeeper-tune-journal":1,"machine":"…","entries":[…]}     JSON, no newline inside
//! line 2   crc32 xxxxxxxx                                              of line 1 without its newline, in hexadecimal
//! ```
//!
//! A journal that does not read back like this is damaged, one of another machine (`/etc/machine-id`) or of a later format
//! is foreign. Neither is used, and neither is written over: it may be the only record of what was here.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::files::Files;
use crate::host::is_missing;

/// Where it is.
pub const PATH: &str = "/var/lib/ringkeeper-tune/undo.json";

const FORMAT: u32 = 1;

/// Why there is no use in a journal.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum JournalError {
    /// It is not as it was written.
    #[error(
        "the undo journal {0} is damaged ({1}); nothing was changed. It may be the only record of earlier values: look into it \
         (it is text), put back by hand what it names, and move it away"
    )]
    Damaged(PathBuf, String),
    /// It is whole, and not ours.
    #[error(
        "the undo journal {0} is foreign ({1}); nothing was changed. Move it away if it came here by mistake"
    )]
    Foreign(PathBuf, String),
    /// It cannot be read or written.
    #[error("the undo journal {0}: {1}; nothing is changed without it")]
    Unusable(PathBuf, String),
    /// Somebody is at it.
    #[error("another ringkeeper-tune is at work here ({0} is locked); nothing was changed")]
    Locked(PathBuf),
}

/// The bytes of a file: as text where they are text.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Contents {
    /// UTF-8.
    Text(String),
    /// Two digits a byte.
    Hex(String),
}

impl Contents {
    /// Of these bytes.
    pub fn new(bytes: Vec<u8>) -> Contents {
        match String::from_utf8(bytes) {
            Ok(text) => Contents::Text(text),
            Err(error) => Contents::Hex(error.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()),
        }
    }

    /// The bytes; `None` when the digits are none.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        match self {
            Contents::Text(text) => Some(text.clone().into_bytes()),
            Contents::Hex(digits) => {
                let pairs = digits.as_bytes().chunks(2);
                pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
            }
        }
    }
}

/// What was at a path.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "was", deny_unknown_fields)]
pub enum Before {
    /// Nothing; we put a file there.
    NoFile,
    /// Nothing; we made a folder.
    NoFolder,
    /// A file on a disk.
    File {
        /// All of it.
        contents: Contents,
        /// Its permissions.
        mode: u32,
    },
    /// A file of the kernel's.
    Kernel {
        /// What it read as.
        contents: Contents,
        /// What to write to make it read so again.
        value: String,
    },
}

/// A path that was changed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// For which setting.
    pub setting: String,
    /// Absolute, below the root.
    pub path: PathBuf,
    /// What was there.
    pub before: Before,
    /// What we left there, or were about to leave when the power failed; nothing for a folder.
    pub after: Vec<Contents>,
}

/// The journal.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Journal {
    #[serde(rename = "ringkeeper-tune-journal")]
    format: u32,
    machine: String,
    /// In the order in which they were first changed.
    pub entries: Vec<Entry>,
}

/// Just enough to tell a later format from damage.
#[derive(Deserialize)]
struct Head {
    #[serde(rename = "ringkeeper-tune-journal")]
    format: u32,
}

impl Journal {
    /// An empty one for this machine.
    pub fn new(files: &dyn Files) -> Journal {
        Journal { format: FORMAT, machine: machine(files), entries: Vec::new() }
    }

    /// Reads it; `None` if there is none.
    ///
    /// # Errors
    /// It is damaged, foreign, or cannot be read.
    pub fn load(files: &dyn Files, path: &Path) -> Result<Option<Journal>, JournalError> {
        let bytes = match files.read(path) {
            Ok(bytes) => bytes,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(JournalError::Unusable(path.to_owned(), error.to_string())),
        };
        let damaged = |why: &str| JournalError::Damaged(path.to_owned(), why.to_owned());
        let foreign = |why: String| JournalError::Foreign(path.to_owned(), why);
        let text = String::from_utf8(bytes).map_err(|_| damaged("no text"))?;
        let (line, rest) = text.split_once('\n').ok_or_else(|| damaged("cut short"))?;
        let sum = rest.strip_prefix("crc32 ").and_then(|rest| rest.strip_suffix('\n'));
        let sum = sum.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let sum = sum.ok_or_else(|| damaged("no checksum in its second line"))?;
        if sum != crc32fast::hash(line.as_bytes()) {
            return Err(damaged("its checksum does not match"));
        }
        let head: Head =
            serde_json::from_str(line).map_err(|_| foreign("written by another program".into()))?;
        if head.format != FORMAT {
            return Err(foreign(format!("format {}, this program knows {FORMAT}", head.format)));
        }
        let journal: Journal = serde_json::from_str(line).map_err(|error| damaged(&error.to_string()))?;
        let machine = machine(files);
        if journal.machine != machine {
            return Err(foreign(format!("of machine {:?}, this one is {machine:?}", journal.machine)));
        }
        if journal.entries.iter().any(|entry| !entry.is_sound()) {
            return Err(damaged("an entry without a path or with half a byte"));
        }
        Ok(Some(journal))
    }

    /// Writes it, durably; with its folder, if that is not there.
    ///
    /// # Errors
    /// The old one is still there.
    pub fn save(&self, files: &dyn Files, path: &Path) -> Result<(), JournalError> {
        let line = serde_json::to_string(self).expect("strings and numbers always serialize");
        let text = format!("{line}\ncrc32 {:08x}\n", crc32fast::hash(line.as_bytes()));
        // Not for everybody to read: it holds what files held.
        let saved = files.replace(path, text.as_bytes(), 0o600);
        saved.map_err(|error| JournalError::Unusable(path.to_owned(), error.to_string()))
    }

    /// Writes down that a path, which is now as `before` says, is about to become `after`.
    ///
    /// A path that was changed before keeps what was there first. Unless it is a file that somebody else changed since:
    /// that change is theirs, and gets an entry of its own, so that undo stops at it.
    pub fn note(&mut self, setting: &str, path: &Path, before: Before, after: Option<Contents>) {
        let known = self.entries.iter_mut().rev().find(|entry| entry.path == path);
        match known.filter(|entry| entry.covers(&before)) {
            Some(entry) => entry.add(after),
            None => self.entries.push(Entry {
                setting: setting.to_owned(),
                path: path.to_owned(),
                before,
                after: after.into_iter().collect(),
            }),
        }
    }

    /// Writes down what a path reads as after the change that was noted last.
    pub fn note_after(&mut self, path: &Path, now: Contents) {
        if let Some(entry) = self.entries.iter_mut().rev().find(|entry| entry.path == path) {
            entry.add(Some(now));
        }
    }
}

impl Entry {
    fn is_sound(&self) -> bool {
        let before = match &self.before {
            Before::File { contents, .. } | Before::Kernel { contents, .. } => contents.bytes().is_some(),
            Before::NoFile | Before::NoFolder => true,
        };
        before && self.path.is_absolute() && self.after.iter().all(|after| after.bytes().is_some())
    }

    /// Whether what is there now is what was there first, or our own work. A value of the kernel's has one owner, and one
    /// first value, whoever changed it meanwhile.
    fn covers(&self, now: &Before) -> bool {
        match (&self.before, now) {
            (Before::Kernel { .. }, Before::Kernel { .. }) => true,
            (before, now) if before == now => true,
            (_, Before::File { contents, .. }) => self.after.contains(contents),
            _ => false,
        }
    }

    fn add(&mut self, after: Option<Contents>) {
        self.after.extend(after.filter(|after| !self.after.contains(after)));
    }

    /// Whether these bytes are our work.
    pub fn is_ours(&self, now: &[u8]) -> bool {
        self.after.iter().any(|after| after.bytes().is_some_and(|bytes| bytes == now))
    }
}

/// What tells machines apart; empty where nothing does.
fn machine(files: &dyn Files) -> String {
    let id = files.read(Path::new("/etc/machine-id")).unwrap_or_default();
    String::from_utf8_lossy(&id).trim().to_owned()
}

/// Makes the journal's folder if need be, and keeps other processes out while the result lives.
///
/// # Errors
/// Another one is at work, or the folder cannot be had.
pub fn lock(files: &dyn Files, path: &Path) -> Result<std::os::fd::OwnedFd, JournalError> {
    let folder = path.parent().expect("the journal is in a folder");
    let unusable = |error: std::io::Error| JournalError::Unusable(folder.to_owned(), error.to_string());
    let missing: Vec<&Path> = folder.ancestors().take_while(|at| files.kind(at).is_err()).collect();
    for folder in missing.into_iter().rev() {
        files.make_folder(folder).map_err(unusable)?;
    }
    files.lock(folder).map_err(unusable)?.ok_or_else(|| JournalError::Locked(folder.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Rooted;

    fn entry() -> Entry {
        Entry {
            setting: "swappiness".into(),
            path: "/proc/sys/vm/swappiness".into(),
            before: Before::Kernel { contents: Contents::new(vec![0xff, b'\n']), value: "60".into() },
            after: vec![Contents::new(b"1\n".to_vec())],
        }
    }

    /// What loading a journal of these bytes says.
    fn load(bytes: &[u8]) -> Result<Option<Journal>, JournalError> {
        let root = tempfile::tempdir().unwrap();
        let files = Rooted::open(root.path()).unwrap();
        std::fs::write(root.path().join("j"), bytes).unwrap();
        let result = Journal::load(&files, Path::new("/j"));
        assert_eq!(files.read(Path::new("/j")).unwrap(), bytes, "left as it was");
        result
    }

    fn sealed(line: &str) -> String {
        format!("{line}\ncrc32 {:08x}\n", crc32fast::hash(line.as_bytes()))
    }

    #[test]
    fn it_reads_back_and_each_damaged_byte_is_noticed() {
        let root = tempfile::tempdir().unwrap();
        let files = Rooted::open(root.path()).unwrap();
        assert_eq!(Journal::load(&files, Path::new("/j")), Ok(None));
        let mut journal = Journal::new(&files);
        journal.entries.push(entry());
        journal.save(&files, Path::new("/j")).unwrap();
        let bytes = files.read(Path::new("/j")).unwrap();
        assert_eq!(load(&bytes), Ok(Some(journal)));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x01;
            assert!(matches!(load(&damaged), Err(JournalError::Damaged(..))), "byte {at}");
            assert!(matches!(load(&bytes[..at]), Err(JournalError::Damaged(..))), "cut at {at}");
        }
    }

    #[test]
    fn a_foreign_journal_is_named_so() {
        let check = |line: &str, expected: &str| match load(sealed(line).as_bytes()) {
            Err(JournalError::Foreign(_, why)) => assert!(why.contains(expected), "{why}"),
            other => panic!("{line}: {other:?}"),
        };
        check(r#"{"other":1}"#, "another program");
        check(r#"{"ringkeeper-tune-journal":2,"news":[]}"#, "format 2");
        check(r#"{"ringkeeper-tune-journal":1,"machine":"abc","entries":[]}"#, "machine \"abc\"");
    }

    #[test]
    fn a_sealed_journal_that_makes_no_sense_is_damaged() {
        for line in [
            r#"{"ringkeeper-tune-journal":1,"machine":"","entries":[{}]}"#,
            r#"{"ringkeeper-tune-journal":1,"machine":"","entries":[{"setting":"a","path":"b","before":{"was":"no-file"},"after":[]}]}"#,
            r#"{"ringkeeper-tune-journal":1,"machine":"","entries":[{"setting":"a","path":"/b","before":{"was":"no-file"},"after":[{"hex":"zz"}]}]}"#,
        ] {
            assert!(matches!(load(sealed(line).as_bytes()), Err(JournalError::Damaged(..))), "{line}");
        }
    }
}
