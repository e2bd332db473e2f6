#![forbid(unsafe_code)]
//! The thin, blocking shell around `storage`: opens the data directories, performs its actions, feeds its recovery.
//!
//! Lives on: the main thread at start, later the disk shard. The sequencer writes its segments through its own ring and
//! takes only the descriptors from here.
//!
//! Invariants: one process owns a data directory (an exclusive lock, held as long as [`DataDirs`] lives); no file is
//! opened through a symlink; nothing outside our own directory is written, and but for one mark ([`initialized`]) removed; an action that failed is not retried.
//!
//! Not here: what to write and when (storage), the ring (runtime's sequencer).

use std::collections::BTreeSet;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags};
use rustix::io::{Errno, ReadWriteFlags};

use crate::base::ServerId;
use crate::storage::action::FileAction;
use crate::storage::aligned::{AlignedBuf, BLOCK_BYTES};
use crate::storage::names;
use crate::storage::recovery::{self, FileEntry, Progress, RecoverError, Recovered, Source, Steps};
use crate::storage::wal::{SegmentId, WalLimits, WalWrite};
use crate::storage::{ClusterId, snapshot};

/// Zeros are written this many bytes at a time: a write of the log that comes meanwhile waits behind so many at most.
const ZERO_BYTES: usize = 256 << 10;

/// Writes of the self-test. The median of few is enough to tell a disk with a write cache from one without.
const SELF_TEST_WRITES: usize = 9;

/// Threads that read and verify at start. More wait for the disk.
const RECOVERY_THREADS_MAX: usize = 8;

/// Why a data directory cannot be used. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds the lock.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// Stock's files are there.
    #[error(
        "{} holds the files of a ZooKeeper server and is never touched; choose an empty dataDir and dataLogDir",
        .0.display()
    )]
    StockData(PathBuf),
    /// No server has run here.
    #[error("{} is not there: no server has run on this folder; is its volume mounted?", .0.display())]
    Unused(PathBuf),
    /// A later release used it.
    #[error("{} was made by a newer release", .0.display())]
    NewerLayout(PathBuf),
    /// Something in our place that is not a plain file or directory.
    #[error("{} is a symlink or not a regular file", .0.display())]
    NotPlain(PathBuf),
    /// Not ours alone to write.
    #[error("{} must belong to the user of this process (uid {uid}) and not be writable for others", path.display())]
    Owner {
        /// Which.
        path: PathBuf,
        /// Who we are.
        uid: u32,
    },
    /// The system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Its reason.
        source: io::Error,
    },
}

/// The two directories, locked. One and the same where `dataLogDir` is not set.
#[derive(Debug)]
pub struct DataDirs {
    data: Directory,
    log: Option<Directory>,
    /// Released when the process ends, however it ends.
    _locks: Vec<OwnedFd>,
}

impl DataDirs {
    /// Opens `ringkeeper-1` below both, makes it where it is missing, and locks it. Refuses what reliability M64 lists,
    /// before it makes anything.
    pub fn open(data_dir: &Path, log_dir: &Path) -> Result<DataDirs, OpenError> {
        for parent in [data_dir, log_dir] {
            refuse_foreign(parent)?;
        }
        let data = Directory::open(data_dir)?;
        let log = Directory::open(log_dir)?;
        let log = if log.is_same_as(&data)? { None } else { Some(log) };
        let mut locks = vec![data.lock()?];
        if let Some(log) = &log {
            locks.push(log.lock()?);
        }
        for directory in [Some(&data), log.as_ref()].into_iter().flatten() {
            directory.refuse_unplain()?;
        }
        Ok(DataDirs { data, log, _locks: locks })
    }

    /// The same where a server has run before; makes neither of the two.
    pub fn open_used(data_dir: &Path, log_dir: &Path) -> Result<DataDirs, OpenError> {
        for parent in [data_dir, log_dir] {
            refuse_foreign(parent)?;
            let ours = parent.join(names::DIRECTORY);
            match std::fs::symlink_metadata(&ours) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(OpenError::Unused(ours)),
                Err(source) => return Err(OpenError::Io { path: ours, source }),
            }
        }
        DataDirs::open(data_dir, log_dir)
    }

    /// Snapshots and the epoch record.
    pub fn data(&self) -> &Directory {
        &self.data
    }

    /// Log segments.
    pub fn log(&self) -> &Directory {
        self.log.as_ref().unwrap_or(&self.data)
    }
}

/// Looks at a directory we were pointed to, without changing it.
fn refuse_foreign(parent: &Path) -> Result<(), OpenError> {
    let stock = parent.join(names::STOCK_DIRECTORY);
    if stock.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(OpenError::StockData(stock));
    }
    // What is missing is made later; what cannot be read fails there.
    let Ok(entries) = parent.read_dir() else { return Ok(()) };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let layout = name.to_str().and_then(|name| name.strip_prefix("ringkeeper-")?.parse::<u32>().ok());
        if layout.is_some_and(|layout| layout > 1) {
            return Err(OpenError::NewerLayout(entry.path()));
        }
    }
    Ok(())
}

/// A directory of ours.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    fd: OwnedFd,
}

impl Directory {
    fn open(parent: &Path) -> Result<Directory, OpenError> {
        let path = parent.join(names::DIRECTORY);
        let failed = |source: io::Error| OpenError::Io { path: path.clone(), source };
        std::fs::create_dir_all(parent).map_err(failed)?;
        match rustix::fs::mkdir(&path, Mode::from_raw_mode(0o750)) {
            // Its name must be durable before anything in it counts.
            Ok(()) => std::fs::File::open(parent).and_then(|parent| parent.sync_all()).map_err(failed)?,
            Err(Errno::EXIST) => {}
            Err(error) => return Err(failed(error.into())),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = match rustix::fs::open(&path, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::LOOP | Errno::NOTDIR) => return Err(OpenError::NotPlain(path)),
            Err(error) => return Err(failed(error.into())),
        };
        let stat = rustix::fs::fstat(&fd).map_err(|error| failed(error.into()))?;
        let uid = rustix::process::geteuid().as_raw();
        if stat.st_uid != uid || Mode::from_raw_mode(stat.st_mode).contains(Mode::WOTH) {
            return Err(OpenError::Owner { path, uid });
        }
        Ok(Directory { path, fd })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn failed(&self, name: &str, error: Errno) -> OpenError {
        OpenError::Io { path: self.path.join(name), source: error.into() }
    }

    fn is_same_as(&self, other: &Directory) -> Result<bool, OpenError> {
        let stat = |dir: &Directory| rustix::fs::fstat(&dir.fd).map_err(|error| dir.failed("", error));
        let (a, b) = (stat(self)?, stat(other)?);
        Ok((a.st_dev, a.st_ino) == (b.st_dev, b.st_ino))
    }

    fn lock(&self) -> Result<OwnedFd, OpenError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.fd, names::LOCK, flags, Mode::from_raw_mode(0o640));
        let file = match file {
            Ok(file) => file,
            Err(Errno::LOOP) => return Err(OpenError::NotPlain(self.path.join(names::LOCK))),
            Err(error) => return Err(self.failed(names::LOCK, error)),
        };
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(file),
            Err(Errno::WOULDBLOCK) => Err(OpenError::InUse(self.path.clone())),
            Err(error) => Err(self.failed(names::LOCK, error)),
        }
    }

    fn refuse_unplain(&self) -> Result<(), OpenError> {
        let entries = self.names().map_err(|error| self.failed("", error))?;
        for name in entries {
            let ours = names::parse(&name) != names::FileKind::Unexplained;
            if ours && self.length_of(&name).map_err(|error| self.failed(&name, error))?.is_none() {
                return Err(OpenError::NotPlain(self.path.join(name)));
            }
        }
        Ok(())
    }

    fn names(&self) -> rustix::io::Result<BTreeSet<String>> {
        let mut names = BTreeSet::new();
        for entry in rustix::fs::Dir::read_from(&self.fd)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name != "." && name != ".." {
                names.insert(name);
            }
        }
        Ok(names)
    }

    /// Length of a regular file; `None` for anything else.
    fn length_of(&self, name: &str) -> rustix::io::Result<Option<u64>> {
        let stat = rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        Ok(regular.then(|| stat.st_size.cast_unsigned()))
    }

    /// Length of a file of ours; `None` when it is not there, or cannot be looked at.
    pub fn bytes_of(&self, name: &str) -> Option<u64> {
        self.length_of(name).ok().flatten()
    }

    fn open_file(&self, name: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.fd, name, flags, Mode::from_raw_mode(0o640))?)
    }

    /// Opens a segment for the log's writes.
    pub fn open_segment(&self, segment: SegmentId, method: WriteMethod) -> io::Result<OwnedFd> {
        self.open_file(&names::segment(segment), OFlags::WRONLY | method.open_flags())
    }

    /// Performs the actions in order; stops at the first error, which is not retried.
    pub fn perform(&self, actions: &[FileAction]) -> io::Result<()> {
        let mut performer = Performer { directory: self, open: None };
        actions.iter().try_for_each(|action| performer.perform(action))
    }

    /// For one action after the other, where making all of them at once would take too much memory.
    pub fn performer(&self) -> Performer<'_> {
        Performer { directory: self, open: None }
    }
}

impl Source for Directory {
    fn list(&self) -> Result<Vec<FileEntry>, String> {
        let names = self.names().map_err(|error| error.to_string())?;
        let mut files = Vec::new();
        for name in names {
            match self.length_of(&name) {
                Ok(bytes) => files.push(FileEntry { name, bytes: bytes.unwrap_or(0) }),
                Err(error) => return Err(format!("{name}: {error}")),
            }
        }
        Ok(files)
    }

    fn read(&self, name: &str, offset: u64, bytes: usize) -> Result<AlignedBuf, String> {
        let file = self.open_file(name, OFlags::RDONLY).map_err(|error| error.to_string())?;
        let mut buffer = AlignedBuf::zeroed(bytes);
        let mut done = 0;
        while done < bytes {
            match rustix::io::pread(&file, &mut buffer[done..], offset + done as u64) {
                Ok(0) => return Err("the file ends early".to_owned()),
                Ok(more) => done += more,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(buffer)
    }
}

/// Performs actions and keeps the file of the last one open: an error of an earlier write is reported to the
/// descriptor that wrote.
#[derive(Debug)]
pub struct Performer<'a> {
    directory: &'a Directory,
    open: Option<(String, OwnedFd)>,
}

impl<'a> Performer<'a> {
    /// Where it performs.
    pub fn directory(&self) -> &'a Directory {
        self.directory
    }

    /// Performs one action.
    pub fn perform(&mut self, action: &FileAction) -> io::Result<()> {
        let directory = &self.directory.fd;
        match action {
            FileAction::Create { name } => {
                let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC;
                self.open = Some((name.clone(), self.directory.open_file(name, flags)?));
            }
            FileAction::Zero { name, offset, bytes } => {
                let zeros = AlignedBuf::zeroed(ZERO_BYTES);
                let mut direct = self.direct(name, *offset, *bytes);
                let (mut at, end) = (*offset, offset + bytes);
                while at < end {
                    let length = usize::try_from(end - at).unwrap_or(ZERO_BYTES).min(ZERO_BYTES);
                    let written = match &direct {
                        Some(file) => write_all(file, &zeros[..length], at),
                        None => {
                            let file = self.file(name)?;
                            write_all(file, &zeros[..length], at)
                                .and_then(|()| Ok(rustix::fs::fdatasync(file)?))
                        }
                    };
                    match written {
                        Ok(()) => at += length as u64,
                        // The file system opens files so and does not write them.
                        Err(error) if error.kind() == io::ErrorKind::InvalidInput && direct.is_some() => {
                            direct = None;
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
            FileAction::Write { name, offset, bytes } => write_all(self.file(name)?, bytes, *offset)?,
            FileAction::Flush { name } => rustix::fs::fdatasync(self.file(name)?)?,
            FileAction::Rename { from, to } => {
                self.open = None;
                rustix::fs::renameat(directory, from.as_str(), directory, to.as_str())?;
            }
            FileAction::SyncDirectory => rustix::fs::fsync(directory)?,
            FileAction::Unlink { name } => {
                self.open = None;
                match rustix::fs::unlinkat(directory, name.as_str(), AtFlags::empty()) {
                    // It may be a step performed before.
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Another descriptor of the file, past the page cache, if the file system gives one and the range suits it. A segment's
    /// worth of zeros that left the cache in one flush would hold up the log for as long as the disk takes for them.
    fn direct(&self, name: &str, offset: u64, bytes: u64) -> Option<OwnedFd> {
        let block = BLOCK_BYTES as u64;
        if !offset.is_multiple_of(block) || !bytes.is_multiple_of(block) {
            return None;
        }
        self.directory.open_file(name, OFlags::RDWR | OFlags::DIRECT).ok()
    }

    fn file(&mut self, name: &str) -> io::Result<&OwnedFd> {
        if self.open.as_ref().is_none_or(|(open, _)| open != name) {
            self.open = Some((name.to_owned(), self.directory.open_file(name, OFlags::RDWR)?));
        }
        Ok(&self.open.as_ref().expect("it was just opened").1)
    }
}

fn write_all(file: &OwnedFd, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(file, bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = &bytes[written..];
                offset += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// How a write of the log becomes durable, best first (DESIGN §5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WriteMethod {
    /// O_DIRECT and `RWF_DSYNC`: one request, no page cache.
    DirectDsync,
    /// `RWF_DSYNC` through the page cache, where the file system has no O_DIRECT.
    BufferedDsync,
    /// A write, then fdatasync.
    BufferedFdatasync,
}

impl WriteMethod {
    /// Flags to open a segment with.
    pub fn open_flags(self) -> OFlags {
        match self {
            WriteMethod::DirectDsync => OFlags::DIRECT,
            WriteMethod::BufferedDsync | WriteMethod::BufferedFdatasync => OFlags::empty(),
        }
    }

    /// Writes `bytes` durably, blocking. What the sequencer's ring does, for tests, benches and the self-test. Gives the
    /// bytes written, which are fewer than asked for only when something is wrong.
    pub fn write(self, file: &OwnedFd, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let flags = match self {
            WriteMethod::DirectDsync | WriteMethod::BufferedDsync => ReadWriteFlags::DSYNC,
            WriteMethod::BufferedFdatasync => ReadWriteFlags::empty(),
        };
        let written = rustix::io::pwritev2(file, &[IoSlice::new(bytes)], offset, flags)?;
        if self == WriteMethod::BufferedFdatasync {
            rustix::fs::fdatasync(file)?;
        }
        Ok(written)
    }

    /// [`WriteMethod::write`] for a write of the log.
    pub fn write_wal(self, file: &OwnedFd, write: &WalWrite) -> io::Result<usize> {
        self.write(file, write.bytes(), write.offset)
    }
}

/// What the self-test found.
#[derive(Clone, Debug)]
pub struct SelfTest {
    /// The best method that works.
    pub method: WriteMethod,
    /// Median of a durable write of one block over blocks that were written before.
    pub latency: Duration,
    /// The methods that do not work, and why.
    pub refused: Vec<(WriteMethod, String)>,
}

/// Tries the methods on a file of its own in the log directory, and measures the first that works.
pub fn self_test(log: &Directory) -> io::Result<SelfTest> {
    let name = names::segment_part(SegmentId(0));
    let blocks = SELF_TEST_WRITES as u64 * BLOCK_BYTES as u64;
    log.perform(&[
        FileAction::Create { name: name.clone() },
        FileAction::Zero { name: name.clone(), offset: 0, bytes: blocks },
        FileAction::Flush { name: name.clone() },
    ])?;
    let mut refused = Vec::new();
    let methods = [WriteMethod::DirectDsync, WriteMethod::BufferedDsync, WriteMethod::BufferedFdatasync];
    let mut found = Err(io::Error::from(io::ErrorKind::Unsupported));
    for method in methods {
        match measure(log, &name, method) {
            Ok(latency) => {
                found = Ok((method, latency));
                break;
            }
            Err(error) => refused.push((method, error.to_string())),
        }
    }
    log.perform(&[FileAction::Unlink { name }])?;
    let (method, latency) = found?;
    Ok(SelfTest { method, latency, refused })
}

fn measure(log: &Directory, name: &str, method: WriteMethod) -> io::Result<Duration> {
    let file = log.open_file(name, OFlags::WRONLY | method.open_flags())?;
    let block = AlignedBuf::zeroed(BLOCK_BYTES);
    let mut times = Vec::with_capacity(SELF_TEST_WRITES);
    for at in 0..SELF_TEST_WRITES {
        let begun = Instant::now();
        if method.write(&file, &block, (at * BLOCK_BYTES) as u64)? != BLOCK_BYTES {
            return Err(io::ErrorKind::WriteZero.into());
        }
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    Ok(times[times.len() / 2])
}

/// The file in a log folder with which an operator says that empty folders are those of a new server, and not of one that
/// lost everything (stock's `zkServer-initialize.sh` makes it).
const INITIALIZE: &str = "initialize";

/// Whether the operator says so.
pub fn may_initialize(log_dir: &Path) -> bool {
    std::fs::symlink_metadata(log_dir.join(INITIALIZE)).is_ok_and(|file| file.is_file())
}

/// It was said once, and counts once: the one file that is removed outside of our own directories.
///
/// # Errors
/// The system's; then folders that come up empty another time would be taken for new ones.
pub fn initialized(log_dir: &Path) -> io::Result<()> {
    match std::fs::remove_file(log_dir.join(INITIALIZE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What [`recover`] is told. The random values come from the caller, which owns the source of randomness.
pub struct RecoverSettings<'a> {
    /// This server's id by the configuration.
    pub server: ServerId,
    /// How it will run.
    pub mode: recovery::Mode,
    /// Random: the cluster id, should this be the first start.
    pub new_cluster: ClusterId,
    /// Random: the generation of the segment that is prepared.
    pub new_generation: u64,
    /// Bounds of the log.
    pub limits: WalLimits,
    /// Snapshots not to load: an earlier attempt found another digest than their headers'.
    pub distrusted: &'a [crate::base::Zxid],
}

/// Why there is no state.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What is on disk cannot be used; nothing was changed.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// A step failed. Starting again is safe.
    #[error("{}: {source}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// Recovers and performs what recovery asks for: afterwards the log may be written and the records replayed.
pub fn recover(
    dirs: &DataDirs,
    settings: &RecoverSettings<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Recovered, StartError> {
    let recovered = examine(dirs, settings, progress)?;
    perform(dirs, &recovered.steps)?;
    Ok(recovered)
}

/// Recovers and changes nothing: what recovery asks for is among its steps, for [`perform`]. The records may be replayed.
pub fn examine(
    dirs: &DataDirs,
    settings: &RecoverSettings<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Recovered, RecoverError> {
    let settings = recovery::Settings {
        server: settings.server,
        mode: settings.mode,
        new_cluster: settings.new_cluster,
        new_generation: settings.new_generation,
        limits: settings.limits,
        distrusted: settings.distrusted,
        runner: &run_on_threads,
    };
    recovery::recover(dirs.data(), dirs.log(), &settings, progress)
}

/// Performs what recovery asks for, in its order.
///
/// # Errors
/// The first step that failed. Performing them again, or recovering again, is safe.
pub fn perform(dirs: &DataDirs, steps: &Steps) -> Result<(), StartError> {
    let Steps { record, log, data } = steps;
    for (directory, steps) in [(dirs.data(), record), (dirs.log(), log), (dirs.data(), data)] {
        let failed = |source| StartError::Io { path: directory.path.clone(), source };
        directory.perform(steps).map_err(failed)?;
    }
    Ok(())
}

/// Reads a snapshot that was just published back whole: only then does it count as verified.
pub fn verify_snapshot(
    data: &Directory,
    cluster: ClusterId,
    zxid: crate::base::Zxid,
) -> Result<snapshot::SnapshotIndex, snapshot::SnapshotFault> {
    recovery::verify_snapshot(data, cluster, zxid, &run_on_threads)
}

/// Runs jobs on as many threads as there are cores for.
pub fn run_on_threads(jobs: usize, job: &(dyn Fn(usize) + Sync), done: &mut dyn FnMut(usize)) {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let threads = cores.min(RECOVERY_THREADS_MAX).min(jobs);
    if threads <= 1 {
        return recovery::run_in_turn(jobs, job, done);
    }
    let next = AtomicUsize::new(0);
    let (finished, finishes) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (next, finished) = (&next, finished.clone());
            scope.spawn(move || {
                loop {
                    // Relaxed: the number alone is shared; results are published by the jobs' own cells and the
                    // channel.
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= jobs {
                        break;
                    }
                    job(number);
                    if finished.send(number).is_err() {
                        break;
                    }
                }
            });
        }
        drop(finished);
        finishes.iter().for_each(done);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{SessionId, WallMillis, Zxid};
    use crate::storage::snapshot::{NodeView, Publication, SnapshotEncoder, SnapshotMeta};
    use crate::storage::wal::WalWriter;

    const CLUSTER: ClusterId = ClusterId([5; 16]);

    fn settings() -> RecoverSettings<'static> {
        RecoverSettings {
            server: ServerId(1),
            mode: recovery::Mode::Alone,
            new_cluster: CLUSTER,
            new_generation: 11,
            limits: WalLimits::for_segments_of(1 << 20, 100_000),
            distrusted: &[],
        }
    }

    fn start(dirs: &DataDirs) -> (Vec<(Zxid, Vec<u8>)>, usize, WalWriter) {
        let recovered = recover(dirs, &settings(), &mut |_| {}).unwrap();
        let nodes = recovered.snapshot.iter().flat_map(|snapshot| &snapshot.parts);
        let nodes = nodes.map(|part| part.nodes().count()).sum();
        let mut records = Vec::new();
        let mut apply = |zxid: Zxid, payload: &[u8]| records.push((zxid, payload.to_vec()));
        recovered.replay.run(dirs.log(), &mut apply, &mut |_| {}).unwrap();
        (records, nodes, recovered.wal)
    }

    fn write(dirs: &DataDirs, wal: &mut WalWriter, method: WriteMethod, payload: &[u8]) {
        wal.append(wal.last().next(), payload);
        let write = wal.next_write(Zxid::ZERO).expect("recovery prepared a segment");
        let file = dirs.log().open_segment(write.segment, method).unwrap();
        let written = method.write_wal(&file, &write).unwrap();
        wal.completed(write, written).unwrap();
    }

    #[test]
    fn what_was_written_comes_back_from_one_directory_or_two() {
        for two in [false, true] {
            let temporary = tempfile::tempdir().unwrap();
            let data = temporary.path().join("data");
            let log = if two { temporary.path().join("log") } else { data.clone() };
            let open = || DataDirs::open(&data, &log).unwrap();

            let dirs = open();
            let method = self_test(dirs.log()).unwrap().method;
            let (records, nodes, mut wal) = start(&dirs);
            assert_eq!((records.len(), nodes), (0, 0));
            write(&dirs, &mut wal, method, b"one");
            write(&dirs, &mut wal, WriteMethod::BufferedFdatasync, b"two");
            drop(dirs);

            let dirs = open();
            let (records, _, wal) = start(&dirs);
            assert_eq!(records, [(Zxid(1), b"one".to_vec()), (Zxid(2), b"two".to_vec())]);

            publish_snapshot(&dirs, wal.last());
            let index = verify_snapshot(dirs.data(), CLUSTER, Zxid(2)).unwrap();
            assert_eq!(index.totals.sessions, 1);
            drop(dirs);
            let (records, nodes, wal) = start(&open());
            assert_eq!((records.len(), nodes, wal.last()), (0, 1, Zxid(2)));
        }
    }

    fn publish_snapshot(dirs: &DataDirs, zxid: Zxid) {
        let identity = crate::storage::Identity { cluster: CLUSTER, server: ServerId(1) };
        let taken = WallMillis(0);
        let mut encoder = SnapshotEncoder::new(SnapshotMeta {
            identity,
            zxid,
            digest: 0,
            digest_version: 2,
            taken,
            received: None,
        });
        encoder.session(SessionId(1), 30_000);
        encoder.node(&NodeView {
            path: b"/",
            data: None,
            acl: 0,
            czxid: 0,
            mzxid: 0,
            pzxid: 0,
            ctime: 0,
            mtime: 0,
            version: 0,
            cversion: 0,
            aversion: 0,
            owner: 0,
        });
        let publication = Publication::new(zxid);
        let mut performer = dirs.data().performer();
        performer.perform(&publication.create()).unwrap();
        for chunk in encoder.finish() {
            performer.perform(&publication.write(chunk)).unwrap();
        }
        publication.publish().iter().for_each(|action| performer.perform(action).unwrap());
    }

    #[test]
    fn the_self_test_leaves_nothing_behind_and_measures() {
        let temporary = tempfile::tempdir().unwrap();
        let dirs = DataDirs::open(temporary.path(), temporary.path()).unwrap();
        let found = self_test(dirs.log()).unwrap();
        assert!(found.latency > Duration::ZERO);
        assert_eq!(found.refused.len(), found.method as usize, "methods before the chosen one were refused");
        let names: Vec<String> = dirs.log().list().unwrap().into_iter().map(|file| file.name).collect();
        assert_eq!(names, [names::LOCK]);
    }

    #[test]
    fn a_second_process_is_refused_until_the_first_is_gone() {
        let temporary = tempfile::tempdir().unwrap();
        let open = || DataDirs::open(&temporary.path().join("d"), &temporary.path().join("l"));
        let first = open().unwrap();
        assert!(matches!(open(), Err(OpenError::InUse(_))));
        drop(first);
        assert!(open().is_ok());
    }

    #[test]
    fn where_no_server_has_run_nothing_is_made_unless_it_is_asked_for() {
        let temporary = tempfile::tempdir().unwrap();
        let (data, log) = (temporary.path().join("d"), temporary.path().join("l"));
        let unused = |below: &Path| match DataDirs::open_used(&data, &log) {
            Err(OpenError::Unused(path)) => assert_eq!(path, below.join(names::DIRECTORY)),
            other => panic!("{other:?}"),
        };
        unused(&data);
        drop(DataDirs::open(&data, &data).unwrap());
        unused(&log);
        assert!(!log.exists());
        drop(DataDirs::open(&data, &log).unwrap());
        let held = DataDirs::open_used(&data, &log).unwrap();
        assert!(matches!(DataDirs::open_used(&data, &log), Err(OpenError::InUse(_))));
        drop(held);
    }

    #[test]
    fn stocks_files_are_refused_and_nothing_is_made_beside_them() {
        let temporary = tempfile::tempdir().unwrap();
        let stock = temporary.path().join("version-2");
        std::fs::create_dir(&stock).unwrap();
        assert!(
            DataDirs::open(temporary.path(), temporary.path()).is_ok(),
            "an empty one is nothing to refuse"
        );
        std::fs::remove_dir_all(temporary.path().join(names::DIRECTORY)).unwrap();
        std::fs::write(stock.join("log.1"), b"stock's").unwrap();
        let error = DataDirs::open(temporary.path(), temporary.path()).unwrap_err();
        assert!(matches!(&error, OpenError::StockData(path) if *path == stock), "{error}");
        assert!(!temporary.path().join(names::DIRECTORY).exists());
    }

    #[test]
    fn symlinks_newer_layouts_and_open_doors_are_refused() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path();
        let ours = root.join(names::DIRECTORY);
        let open = || DataDirs::open(root, root).map(drop);

        std::fs::create_dir(root.join("elsewhere")).unwrap();
        symlink(root.join("elsewhere"), &ours).unwrap();
        assert!(matches!(open(), Err(OpenError::NotPlain(_))));
        std::fs::remove_file(&ours).unwrap();

        open().unwrap();
        let snapshot = ours.join(names::snapshot(Zxid(1)));
        symlink(root.join("elsewhere"), &snapshot).unwrap();
        assert!(matches!(open(), Err(OpenError::NotPlain(path)) if path == snapshot));
        std::fs::remove_file(&snapshot).unwrap();

        std::fs::set_permissions(&ours, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(open(), Err(OpenError::Owner { .. })));
        std::fs::set_permissions(&ours, std::fs::Permissions::from_mode(0o750)).unwrap();

        std::fs::create_dir(root.join("ringkeeper-2")).unwrap();
        assert!(matches!(open(), Err(OpenError::NewerLayout(_))));
    }

    #[test]
    fn every_job_runs_once_and_is_reported_once() {
        for jobs in [0, 1, 2, 100] {
            let runs: Vec<AtomicUsize> = (0..jobs).map(|_| AtomicUsize::new(0)).collect();
            let mut reported = vec![0; jobs];
            // Relaxed: the threads are joined before the counts are read.
            let job = |number: usize| {
                runs[number].fetch_add(1, Ordering::Relaxed);
            };
            run_on_threads(jobs, &job, &mut |number| reported[number] += 1);
            assert!(runs.iter().all(|count| count.load(Ordering::Relaxed) == 1));
            assert_eq!(reported, vec![1; jobs]);
        }
    }
}
