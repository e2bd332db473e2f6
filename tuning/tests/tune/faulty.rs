#![forbid(unsafe_code)]
//! Files that fail: some paths always, or all of them from the nth change on, as when the power goes.

use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use ringkeeper_tuning::files::{Files, Kind, Rooted};

pub(crate) struct Faulty {
    pub(crate) inner: Rooted,
    /// These cannot be read.
    pub(crate) unreadable: Vec<PathBuf>,
    /// These cannot be changed.
    pub(crate) unwritable: Vec<PathBuf>,
    /// So many changes, and then none.
    pub(crate) changes_left: Rc<Cell<usize>>,
    /// Whether the change at which the power goes still reaches the disk.
    pub(crate) last_one_lands: bool,
}

impl Faulty {
    pub(crate) fn new(inner: Rooted) -> Faulty {
        let changes_left = Rc::new(Cell::new(usize::MAX));
        Faulty { inner, unreadable: vec![], unwritable: vec![], changes_left, last_one_lands: false }
    }

    fn seen(&self, path: &Path) -> io::Result<()> {
        match self.unreadable.iter().any(|bad| path == bad) {
            true => Err(io::Error::from_raw_os_error(13)),
            false => Ok(()),
        }
    }

    fn change(&self, path: &Path, change: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if self.unwritable.iter().any(|bad| path == bad) {
            return Err(io::Error::from_raw_os_error(30));
        }
        let Some(left) = self.changes_left.get().checked_sub(1) else {
            return Err(io::Error::from_raw_os_error(5));
        };
        self.changes_left.set(left);
        if left == 0 && self.last_one_lands {
            change()?;
            return Err(io::Error::from_raw_os_error(5));
        }
        if left == 0 { Err(io::Error::from_raw_os_error(5)) } else { change() }
    }
}

impl Files for Faulty {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.seen(path)?;
        self.inner.read(path)
    }
    fn names(&self, path: &Path) -> io::Result<Vec<String>> {
        self.seen(path)?;
        self.inner.names(path)
    }
    fn link(&self, path: &Path) -> io::Result<PathBuf> {
        self.seen(path)?;
        self.inner.link(path)
    }
    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        self.seen(path)?;
        self.inner.resolve(path)
    }
    fn kind(&self, path: &Path) -> io::Result<Kind> {
        self.inner.kind(path)
    }
    fn write_value(&self, path: &Path, value: &str) -> io::Result<()> {
        self.change(path, || self.inner.write_value(path, value))
    }
    fn replace(&self, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
        self.change(path, || self.inner.replace(path, bytes, mode))
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change(path, || self.inner.remove(path))
    }
    fn make_folder(&self, path: &Path) -> io::Result<()> {
        self.change(path, || self.inner.make_folder(path))
    }
    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.change(path, || self.inner.remove_folder(path))
    }
    fn lock(&self, path: &Path) -> io::Result<Option<OwnedFd>> {
        self.inner.lock(path)
    }
}
