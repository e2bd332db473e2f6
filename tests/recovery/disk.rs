//! A simulated disk: keeps what a running process sees apart from what would survive a power loss, sector by sector
//! and name by name, and loses power (or space) at a chosen operation.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard};

use ringkeeper::storage::action::FileAction;
use ringkeeper::storage::aligned::AlignedBuf;
use ringkeeper::storage::names;
use ringkeeper::storage::recovery::{FileEntry, Source};
use ringkeeper::storage::wal::WalWrite;

const SECTOR: usize = 512;

/// Why an operation did not succeed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DiskError {
    /// The machine is off.
    PowerLoss,
    /// No room.
    NoSpace,
}

/// A small deterministic generator: the same seed loses the same sectors.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Rng {
        Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 11) % n
    }

    pub(crate) fn coin(&mut self) -> bool {
        self.next() >> 63 == 1
    }
}

#[derive(Clone, Default, Debug)]
struct Inode {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// Sectors that differ.
    dirty: BTreeSet<usize>,
}

impl Inode {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if self.live.len() < end {
            self.live.resize(end, 0);
        }
        self.live[offset..end].copy_from_slice(bytes);
        self.dirty.extend(offset / SECTOR..end.div_ceil(SECTOR));
    }

    fn flush(&mut self) {
        self.durable.resize(self.live.len(), 0);
        for sector in std::mem::take(&mut self.dirty) {
            let range = sector * SECTOR..((sector + 1) * SECTOR).min(self.live.len());
            self.durable[range.clone()].copy_from_slice(&self.live[range]);
        }
    }

    /// Each unsynced sector survives or not; so does the length.
    fn lose(&mut self, rng: &mut Rng) {
        if self.dirty.is_empty() && self.live.len() == self.durable.len() {
            return;
        }
        let length = if self.live.len() == self.durable.len() || rng.coin() {
            self.live.len()
        } else {
            self.durable.len()
        };
        let mut after = self.durable.clone();
        after.resize(length, 0);
        for sector in &self.dirty {
            let range = sector * SECTOR..((sector + 1) * SECTOR).min(length);
            if rng.coin() && range.start < range.end && range.end <= self.live.len() {
                after[range.clone()].copy_from_slice(&self.live[range]);
            }
        }
        self.live = after.clone();
        self.durable = after;
        self.dirty.clear();
    }
}

#[derive(Clone, Default, Debug)]
struct State {
    inodes: Vec<Inode>,
    live: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
    /// Operations until the power goes; `None` for never.
    until_power_loss: Option<u64>,
    /// Bytes all files may take together.
    capacity: Option<usize>,
}

/// One directory on one disk.
#[derive(Clone, Default)]
pub(crate) struct Disk(Rc<SharedState>);

#[derive(Default)]
struct SharedState(Mutex<State>);

/// What recovery reads: a [`Disk`] by reference, as `Source` wants to be shared between threads.
pub(crate) struct View<'a>(&'a Mutex<State>);

impl Disk {
    pub(crate) fn new() -> Disk {
        Disk::default()
    }

    pub(crate) fn view(&self) -> View<'_> {
        View(&self.0.0)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().expect("no test panics while it holds the disk")
    }

    /// A disk with the same contents that shares nothing.
    pub(crate) fn copy(&self) -> Disk {
        Disk(Rc::new(SharedState(Mutex::new(self.state().clone()))))
    }

    /// The power goes after so many more operations.
    pub(crate) fn lose_power_after(&self, operations: Option<u64>) {
        self.state().until_power_loss = operations;
    }

    pub(crate) fn limit(&self, capacity: Option<usize>) {
        self.state().capacity = capacity;
    }

    pub(crate) fn used(&self) -> usize {
        let state = self.state();
        state.live.values().map(|inode| state.inodes[*inode].live.len()).sum()
    }

    /// The process is gone and the machine restarts: what was not durable is lost in a random subset. Every name
    /// and every sector decides for itself.
    pub(crate) fn crash(&self, rng: &mut Rng) {
        let mut state = self.state();
        state.until_power_loss = None;
        for inode in &mut state.inodes {
            inode.lose(rng);
        }
        let names: BTreeSet<String> = state.live.keys().chain(state.durable.keys()).cloned().collect();
        for name in names {
            let (live, durable) = (state.live.get(&name).copied(), state.durable.get(&name).copied());
            let survivor = if rng.coin() { live } else { durable };
            match survivor {
                Some(inode) => state.durable.insert(name, inode),
                None => state.durable.remove(&name),
            };
        }
        state.live = state.durable.clone();
        let named: BTreeSet<usize> = state.live.values().copied().collect();
        for (inode, contents) in state.inodes.iter_mut().enumerate() {
            if !named.contains(&inode) {
                *contents = Inode::default();
            }
        }
    }

    /// The process is gone, the machine is not: everything written is still read. It is no more durable than it was: a
    /// power loss may take it yet.
    pub(crate) fn kill(&self) {
        self.state().until_power_loss = None;
    }

    /// A file of such a name that a power loss might not leave as it is, or where it is.
    pub(crate) fn unsafe_file(&self, such: impl Fn(&str) -> bool) -> Option<String> {
        let state = self.state();
        let is_durable = |name: &String, inode: &usize| {
            let contents = &state.inodes[*inode];
            let is_flushed = contents.dirty.is_empty() && contents.live.len() == contents.durable.len();
            is_flushed && state.durable.get(name) == Some(inode)
        };
        let mut such = state.live.iter().filter(|(name, _)| such(name));
        such.find(|(name, inode)| !is_durable(name, inode)).map(|(name, _)| name.clone())
    }

    pub(crate) fn perform(&self, actions: &[FileAction]) -> Result<(), DiskError> {
        actions.iter().try_for_each(|action| self.step(action))
    }

    fn step(&self, action: &FileAction) -> Result<(), DiskError> {
        let mut state = self.state();
        state.tick()?;
        match action {
            FileAction::Create { name } => {
                state.inodes.push(Inode::default());
                let inode = state.inodes.len() - 1;
                state.live.insert(name.clone(), inode);
            }
            FileAction::Zero { name, offset, bytes } => {
                state.write(name, *offset as usize, &vec![0; *bytes as usize])?;
            }
            FileAction::Write { name, offset, bytes } => state.write(name, *offset as usize, bytes)?,
            FileAction::Flush { name } => state.inode(name).flush(),
            FileAction::Rename { from, to } => {
                let inode = state.live.remove(from).expect("a rename names a file");
                state.live.insert(to.clone(), inode);
            }
            FileAction::SyncDirectory => state.durable = state.live.clone(),
            FileAction::Unlink { name } => {
                state.live.remove(name);
            }
        }
        Ok(())
    }

    /// A durable write of the log: it may tear, and the power may go before it is complete, or right after.
    pub(crate) fn write_wal(&self, write: &WalWrite) -> Result<usize, DiskError> {
        let name = names::segment(write.segment);
        let mut state = self.state();
        let writing = state.write(&name, write.offset as usize, write.bytes());
        writing?;
        state.tick()?;
        state.inode(&name).flush();
        state.tick()?;
        Ok(write.bytes().len())
    }

    /// Reads a whole file.
    pub(crate) fn contents(&self, name: &str) -> Vec<u8> {
        self.state().inode(name).live.clone()
    }

    /// Changes a file behind everybody's back.
    pub(crate) fn tamper(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let inode = state.inode(name);
        change(&mut inode.live);
        inode.durable = inode.live.clone();
        inode.dirty.clear();
    }

    /// A byte of a file is another one from now on, whoever reads it and whatever happens.
    pub(crate) fn rot(&self, name: &str, offset: usize) {
        let mut state = self.state();
        let inode = state.inode(name);
        for image in [&mut inode.live, &mut inode.durable] {
            if let Some(byte) = image.get_mut(offset) {
                *byte ^= 1;
            }
        }
    }

    /// Whether there is no more room than a limit leaves.
    pub(crate) fn is_limited(&self) -> bool {
        self.state().capacity.is_some()
    }

    /// Adds a file behind everybody's back.
    pub(crate) fn plant(&self, name: &str, bytes: &[u8]) {
        let mut state = self.state();
        state.inodes.push(Inode { live: bytes.to_vec(), durable: bytes.to_vec(), dirty: BTreeSet::new() });
        let inode = state.inodes.len() - 1;
        state.live.insert(name.to_owned(), inode);
        state.durable.insert(name.to_owned(), inode);
    }

    pub(crate) fn remove(&self, name: &str) {
        let mut state = self.state();
        state.live.remove(name);
        state.durable.remove(name);
    }

    pub(crate) fn files(&self) -> Vec<String> {
        self.state().live.keys().cloned().collect()
    }

    /// Names that begin so, sorted.
    pub(crate) fn files_like(&self, prefix: &str) -> Vec<String> {
        self.files().into_iter().filter(|name| name.starts_with(prefix)).collect()
    }
}

impl State {
    fn tick(&mut self) -> Result<(), DiskError> {
        if let Some(left) = &mut self.until_power_loss {
            if *left == 0 {
                return Err(DiskError::PowerLoss);
            }
            *left -= 1;
        }
        Ok(())
    }

    fn inode(&mut self, name: &str) -> &mut Inode {
        let inode = self.live[name];
        &mut self.inodes[inode]
    }

    fn write(&mut self, name: &str, offset: usize, bytes: &[u8]) -> Result<(), DiskError> {
        let used: usize = self.live.values().map(|inode| self.inodes[*inode].live.len()).sum();
        let growth = (offset + bytes.len()).saturating_sub(self.inode(name).live.len());
        if self.capacity.is_some_and(|capacity| used + growth > capacity) {
            return Err(DiskError::NoSpace);
        }
        self.inode(name).write(offset, bytes);
        Ok(())
    }
}

impl Source for View<'_> {
    fn list(&self) -> Result<Vec<FileEntry>, String> {
        let state = self.0.lock().map_err(|error| error.to_string())?;
        let entry = |(name, inode): (&String, &usize)| FileEntry {
            name: name.clone(),
            bytes: state.inodes[*inode].live.len() as u64,
        };
        Ok(state.live.iter().map(entry).collect())
    }

    fn read(&self, name: &str, offset: u64, bytes: usize) -> Result<AlignedBuf, String> {
        let state = self.0.lock().map_err(|error| error.to_string())?;
        let inode = state.live.get(name).ok_or("no such file")?;
        let file = &state.inodes[*inode].live;
        let part = file.get(offset as usize..).and_then(|rest| rest.get(..bytes));
        part.map(AlignedBuf::copy_of).ok_or_else(|| "the file ends early".to_owned())
    }
}
