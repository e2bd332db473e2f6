#![forbid(unsafe_code)]
//! From what a crash left to a state and a log that goes on: the whole decision, over any [`Source`] of bytes. The shell
//! gives it files and threads, a test gives it a simulated disk.
//!
//! 1. The epoch record says who we are. Without it, only an empty directory may be used (F13).
//! 2. The newest snapshot that verifies is the base; those that do not are named and left alone (F5).
//! 3. The log is scanned from the segment that holds the base's zxid on, and joined; what stands before its last restart
//!    is void. Damage after the base refuses the start of a single server, which has no other copy (F4). A member starts
//!    with what is intact, without a vote until its ensemble has brought it up to date (R11, [`super::standing`]).
//! 4. What must be written before anything is served comes out as [`Steps`]: what was read and may not be on disk yet is
//!    flushed, the torn tail is zeroed, leftovers of unfinished work go, the next segment is prepared, the epoch record is
//!    written last.
//!
//! Nothing is written before the verdict, so a refused start leaves every byte as it was. Performing the steps twice,
//! or a part of them and then a recovery again, ends in the same place.
//!
//! Data that existed never come up as an empty tree: the first start makes a segment before it makes the epoch record,
//! and later starts demand both.

use std::ops::Range;
use std::sync::OnceLock;

use super::action::FileAction;
use super::aligned::{AlignedBuf, BLOCK_BYTES};
use super::epoch::{self, EpochFault, EpochRecord};
use super::names::{self, FileKind};
use super::snapshot::{self, Part, SnapshotFault, SnapshotIndex};
use super::standing::{self, Found, Lost};
pub use super::standing::{Empty, Mode};
use super::wal::{
    self, BatchKind, Hole, LogFault, PreparedSegment, Scanned, SegmentHeader, SegmentId, SegmentScan, Tail,
    WalLimits, WalWriter,
};
use super::{ClusterId, Identity};
use crate::base::planted::{Bug, planted};
use crate::base::{ServerId, Zxid, limits};

/// A file of a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileEntry {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// One directory, to be read from several threads.
pub trait Source: Sync {
    /// Its files, in any order.
    fn list(&self) -> Result<Vec<FileEntry>, String>;

    /// Exactly `bytes` bytes of a file, or why not.
    fn read(&self, name: &str, offset: u64, bytes: usize) -> Result<AlignedBuf, String>;
}

/// Runs a job for each number below the first argument, on as many threads as it likes, and calls the third argument
/// on its own thread after each.
pub type Runner<'a> = dyn Fn(usize, &(dyn Fn(usize) + Sync), &mut dyn FnMut(usize)) + 'a;

/// One after the other.
pub fn run_in_turn(jobs: usize, job: &(dyn Fn(usize) + Sync), done: &mut dyn FnMut(usize)) {
    for number in 0..jobs {
        job(number);
        done(number);
    }
}

/// What recovery is told.
pub struct Settings<'a> {
    /// This server's id by the configuration.
    pub server: ServerId,
    /// How it will run.
    pub mode: Mode,
    /// Random: the cluster id, should this be the first start.
    pub new_cluster: ClusterId,
    /// Random: the generation of the segment that is prepared.
    pub new_generation: u64,
    /// Bounds of the log.
    pub limits: WalLimits,
    /// Snapshots not to load: an earlier attempt found another digest than their headers'.
    pub distrusted: &'a [Zxid],
    /// How to run the parts.
    pub runner: &'a Runner<'a>,
}

/// How far a long step is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Which step.
    pub stage: Stage,
    /// Bytes done.
    pub done: u64,
    /// Bytes in all.
    pub total: u64,
}

impl Progress {
    /// 0 to 100.
    pub fn percent(&self) -> u8 {
        (u128::from(self.done) * 100 / u128::from(self.total.max(1))).min(100) as u8
    }
}

/// A long step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Reading and verifying a snapshot.
    Snapshot,
    /// Reading and verifying the log.
    Log,
    /// Applying the log.
    Replay,
}

/// Why the server does not start. Nothing was changed on disk.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RecoverError {
    /// A directory or the epoch record cannot be read.
    #[error("{name} cannot be read: {reason}")]
    Unreadable {
        /// Which.
        name: String,
        /// What the system says.
        reason: String,
    },
    /// There are data but no record of whose they are.
    #[error(
        "{evidence} exists, but the epoch record {} does not; restore it together with the data",
        names::EPOCH
    )]
    IdentityLost {
        /// A file that holds data.
        evidence: String,
    },
    /// Too few copies of the epoch record agree.
    #[error("the epoch record proves nothing: {0}")]
    Epoch(#[from] EpochFault),
    /// Another server's data.
    #[error("the data belong to server {}, the configuration says {}", recorded.0, configured.0)]
    OtherServer {
        /// By the epoch record.
        recorded: ServerId,
        /// By the configuration.
        configured: ServerId,
    },
    /// Damaged or incomplete data of a member, to be served by a single server.
    #[error(
        "the data belong to a member of an ensemble that lost a part of them and waits to be brought up to date;          start it as a member, or restore a copy"
    )]
    NotAdmitted,
    /// This server ran before, and its log directory is empty: perhaps a volume is not mounted.
    #[error(
        "this server ran before, but there is no log segment in the log directory; is its volume mounted?"
    )]
    LogMissing,
    /// A snapshot that is not for us to judge.
    #[error("{name}: {fault}")]
    Snapshot {
        /// The file.
        name: String,
        /// Another cluster's, or a newer format.
        fault: SnapshotFault,
    },
    /// The log cannot be gone on with.
    #[error("{fault}{}", also_skipped(skipped))]
    Log {
        /// Why.
        fault: LogFault,
        /// The snapshots that did not load, which might have covered it.
        skipped: Vec<(String, SnapshotFault)>,
    },
    /// A segment read again is not what it was.
    #[error("segment {0} changed while it was read")]
    Changed(SegmentId),
}

fn also_skipped(skipped: &[(String, SnapshotFault)]) -> String {
    skipped.iter().map(|(name, fault)| format!("; {name} was not loaded: {fault}")).collect()
}

/// What must be performed, in this order, before anything is served.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Steps {
    /// In the data directory: what the record says of what was lost must be there before the log goes on without it.
    pub record: Vec<FileAction>,
    /// Then in the log directory.
    pub log: Vec<FileAction>,
    /// Then in the data directory.
    pub data: Vec<FileAction>,
}

/// A snapshot, verified and in memory.
#[derive(Clone, Debug)]
pub struct LoadedSnapshot {
    /// What it says of itself, and how much it holds.
    pub index: SnapshotIndex,
    /// ACL lists, sessions, znodes; in this order.
    pub parts: Vec<Part>,
}

/// What was found, for the log and for operators.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct RecoveryReport {
    /// Whether this is the first start.
    pub fresh: bool,
    /// Zxid and bytes of the snapshot that was loaded.
    pub snapshot: Option<(Zxid, u64)>,
    /// Snapshots that did not load.
    pub skipped: Vec<(String, SnapshotFault)>,
    /// How the log ends; `None` when it is clean.
    pub torn: Option<Tail>,
    /// Damage that the snapshot covers.
    pub dropped: Vec<Hole>,
    /// Copies of the epoch record that agree.
    pub epoch_copies: usize,
    /// Files that nothing explains. They are ignored and left alone.
    pub unexplained: Vec<String>,
    /// Bytes of log that were verified.
    pub log_bytes: u64,
    /// The last zxid of the history.
    pub last: Zxid,
    /// Highest commit zxid the log recorded.
    pub committed: Zxid,
    /// Why this server has no vote until its ensemble has brought it up to date (R11).
    pub lost: Option<String>,
}

/// A state to build and a log to go on with.
pub struct Recovered {
    /// Who we are.
    pub epoch: EpochRecord,
    /// The base; `None` to begin with an empty tree.
    pub snapshot: Option<LoadedSnapshot>,
    /// The records after it.
    pub replay: Replay,
    /// What is known to be committed: a member applies no further, the rest is for its leader to decide (R1). Of a single
    /// server, everything.
    pub committed: Zxid,
    /// The same, but for a state that came whole from a leader that was not established since
    /// (`zab::settings::Durable::confirmed`).
    pub confirmed: Zxid,
    /// The log, ready once the steps are performed. If it needed a segment, that one is among the steps.
    pub wal: WalWriter,
    /// To be performed before anything is served.
    pub steps: Steps,
    /// What was found.
    pub report: RecoveryReport,
}

/// Recovers from the data directory and the log directory, which may be one.
pub fn recover(
    data: &dyn Source,
    log: &dyn Source,
    settings: &Settings<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Recovered, RecoverError> {
    let data_files = Listing::read(data, "the data directory")?;
    let log_files = Listing::read(log, "the log directory")?;
    let heads = read_heads(log, &log_files);
    let mut report =
        RecoveryReport { unexplained: data_files.unexplained.clone(), ..RecoveryReport::default() };
    report.unexplained.extend(log_files.unexplained.iter().cloned());
    let mut steps = Steps {
        record: Vec::new(),
        log: unlink_all(&log_files.log_parts),
        data: unlink_all(&data_files.data_parts),
    };

    let found = match &data_files.epoch {
        Some(file) => {
            if log_files.segments.is_empty() {
                return Err(RecoverError::LogMissing);
            }
            standing::found(read_epoch(data, file), &heads, settings)?
        }
        None => {
            refuse_data_without_identity(&data_files, &heads)?;
            Found::Nothing
        }
    };
    report.fresh = matches!(found, Found::Nothing);
    report.epoch_copies = found.equal_copies();
    let cluster = found.identity(settings).cluster;

    let snapshot = load_newest(data, &data_files, cluster, settings, progress, &mut report)?;
    let base = snapshot.as_ref().map_or(Zxid::ZERO, |snapshot| snapshot.index.meta.zxid);
    let received = snapshot.as_ref().and_then(|snapshot| snapshot.index.meta.received);

    // Segments of a first start that was cut short carry the cluster id it had drawn: they are removed, not read.
    let heads = if report.fresh {
        let leftovers: Vec<String> = heads.iter().filter(|head| head.is_unused()).map(Head::name).collect();
        steps.log.extend(unlink_all(&leftovers));
        heads.into_iter().filter(|head| !head.is_unused()).collect()
    } else {
        heads
    };
    // What stands before the newest restart is void; a received snapshot is one, even if the power went before the log
    // itself said so.
    let restarted = heads.iter().rfind(|head| head.is_of(cluster) && head.restarts);
    let from = restarted.map(|head| head.segment).max(received.map(|received| received.log_from));
    let from = from.unwrap_or(SegmentId(0));
    let (void, after): (Vec<&Head>, Vec<&Head>) = heads.iter().partition(|head| head.segment < from);
    let scanned = scan_log(log, &void, &after, cluster, base, settings, progress, &mut report)?;
    let below = scanned.below.last().map_or(SegmentId(0), |closed| closed.segment);
    let (mut joined, lost) = match wal::join(cluster, base, below, &scanned.segments) {
        Ok(joined) => {
            let lost = standing::is_cut_short(&report.skipped, joined.position.last);
            (joined, lost.filter(|_| settings.mode != Mode::Alone).map(Lost::End))
        }
        // Whoever begins has nothing to lose: what is there is nobody's.
        Err(fault) if settings.mode != Mode::Alone && !report.fresh && standing::is_loss(&fault) => {
            let next = SegmentId(heads.last().map_or(0, |head| head.segment.0)).next();
            (standing::without_log(base, next), Some(Lost::Log(fault.to_string())))
        }
        Err(fault) => return Err(RecoverError::Log { fault, skipped: report.skipped.clone() }),
    };
    let is_empty = joined.position.active.is_none() && joined.position.closed.is_empty();
    let restart = match &lost {
        Some(Lost::Log(_)) => true,
        _ => received.is_some() && is_empty && scanned.below.iter().all(|closed| closed.segment < from),
    };
    if matches!(lost, Some(Lost::Log(_))) {
        let active = after.iter().filter(|head| head.is_of(cluster) && !head.is_unused());
        let read = active.filter(|head| below < head.segment);
        let closed = read.map(|head| wal::ClosedSegment { segment: head.segment, last: base });
        joined.position.closed.extend(closed);
    }
    joined.position.closed.splice(0..0, scanned.below.iter().copied());
    joined.position.next_segment = joined.position.next_segment.max(from);
    joined.position.from = from;
    joined.free.extend(&scanned.unused_below);

    report.torn = Some(joined.tail).filter(|tail| *tail != Tail::Clean);
    report.dropped = std::mem::take(&mut joined.dropped);
    report.unexplained.extend(joined.unexplained.iter().map(|segment| names::segment(*segment)));
    report.committed = joined.committed;
    report.last = joined.position.last;
    if let Tail::Torn { segment, batch } = joined.tail {
        let name = names::segment(segment);
        steps.log.push(FileAction::Zero { name: name.clone(), offset: batch.offset, bytes: batch.bytes });
        steps.log.push(FileAction::Flush { name });
    }

    if !planted(Bug::ReadIsDurable) {
        make_durable(&heads, cluster, snapshot.is_some(), &mut steps);
    }

    let last = joined.position.last;
    let epoch = found.record(settings, last, lost.is_some(), &mut steps);
    report.lost = standing::why_without_vote(&found, &epoch, lost);
    let (committed, confirmed) = match settings.mode {
        Mode::Alone => (last, last),
        Mode::Member { .. } => standing::known(&epoch, joined.committed, base, received, last),
    };
    let needs_segment = joined.position.active.is_none() || !joined.free.is_empty();
    let mut wal = WalWriter::new(epoch.identity, settings.limits, joined.position);
    if needs_segment {
        prepare_segment(&mut wal, epoch.identity, settings, &joined.free, &heads, &mut steps);
    }
    if restart {
        restart_log(&mut wal, base, confirmed, &mut steps);
    }
    let replay = Replay { segments: scanned.replay(&joined.replay), cuts: joined.cuts, after: base };
    Ok(Recovered { epoch, snapshot, replay, committed, confirmed, wal, steps, report })
}

/// What was read is not on disk for that: whoever wrote it may have been killed before its flush, and the machine went on
/// (F1, then F2). It counts as durable from here on. Of the log that is its last batch (R2), in the newest segment; of the
/// snapshots their names.
fn make_durable(heads: &[Head], cluster: ClusterId, has_snapshot: bool, steps: &mut Steps) {
    if let Some(newest) = heads.iter().rfind(|head| head.is_of(cluster) && !head.is_unused()) {
        steps.log.insert(0, FileAction::Flush { name: newest.name() });
    }
    if has_snapshot {
        steps.record.insert(0, FileAction::SyncDirectory);
    }
}

/// Lets the log go on from the snapshot at `base` alone, before anything else is written to it.
fn restart_log(wal: &mut WalWriter, base: Zxid, confirmed: Zxid, steps: &mut Steps) {
    wal.restart(base);
    let write = wal.next_write(confirmed).expect("a segment was just prepared, and nothing is in flight");
    let name = names::segment(write.segment);
    let bytes = AlignedBuf::copy_of(write.bytes());
    let written = bytes.len();
    steps.log.push(FileAction::Write { name: name.clone(), offset: write.offset, bytes });
    steps.log.push(FileAction::Flush { name });
    wal.completed(write, written).expect("all of it is among the steps");
}

/// Reads a snapshot back whole, as loading would: a published one counts as verified only then (R7).
pub fn verify_snapshot(
    data: &dyn Source,
    cluster: ClusterId,
    zxid: Zxid,
    runner: &Runner<'_>,
) -> Result<SnapshotIndex, SnapshotFault> {
    let name = names::snapshot(zxid);
    let unreadable = |reason| SnapshotFault::Unreadable { offset: 0, reason };
    let files = data.list().map_err(unreadable)?;
    let bytes = files.iter().find(|file| file.name == name).map(|file| file.bytes);
    let bytes = bytes.ok_or_else(|| unreadable("no such file".to_owned()))?;
    let index = read_index(data, &name, bytes, cluster, zxid)?;
    let first_fault = OnceLock::new();
    let job = |number: usize| {
        if let Err(fault) = read_part(data, &name, &index, number) {
            // Any one will do.
            let _ = first_fault.set(fault);
        }
    };
    runner(index.chunks.len(), &job, &mut |_| {});
    match first_fault.into_inner() {
        Some(fault) => Err(fault),
        None => Ok(index),
    }
}

/// The records after the snapshot. Segments beyond [`limits::RECOVERY_KEEP_BYTES`] are read again.
pub struct Replay {
    segments: Vec<ScannedSegment>,
    cuts: Vec<wal::Cut>,
    after: Zxid,
}

impl Replay {
    /// Hands each record to `apply`, in order and without a gap, and frees what was handed out. Gives the last zxid.
    pub fn run(
        self,
        log: &dyn Source,
        apply: &mut dyn FnMut(Zxid, &[u8]),
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Zxid, RecoverError> {
        let total = self.segments.iter().map(|segment| segment.scan.end).sum();
        let (mut done, mut last) = (0, self.after);
        for ScannedSegment { cluster, scan, bytes, file_bytes } in self.segments {
            let segment = scan.header.segment;
            let bytes = match bytes {
                Some(bytes) => bytes,
                None => match read_segment(log, cluster, segment, file_bytes) {
                    (Scanned::Active(again), bytes) if again == scan => bytes,
                    _ => return Err(RecoverError::Changed(segment)),
                },
            };
            for (zxid, payload) in scan.records(&bytes, self.after, &self.cuts) {
                assert!(last == Zxid::ZERO || zxid > last, "replay of {zxid} after {last}");
                apply(zxid, payload);
                last = zxid;
            }
            done += scan.end;
            progress(Progress { stage: Stage::Replay, done, total });
        }
        Ok(last)
    }

    /// Whether there is nothing to replay.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }
}

/// A directory's files by kind.
#[derive(Default)]
struct Listing {
    /// Ascending by number.
    segments: Vec<(SegmentId, u64)>,
    log_parts: Vec<String>,
    /// Newest first, with their lengths.
    snapshots: Vec<(Zxid, u64)>,
    data_parts: Vec<String>,
    epoch: Option<FileEntry>,
    unexplained: Vec<String>,
}

impl Listing {
    fn read(source: &dyn Source, what: &str) -> Result<Listing, RecoverError> {
        let unreadable = |reason| RecoverError::Unreadable { name: what.to_owned(), reason };
        let mut files = source.list().map_err(unreadable)?;
        files.sort_by(|a, b| a.name.cmp(&b.name));
        let mut listing = Listing::default();
        for file in files {
            match names::parse(&file.name) {
                FileKind::Segment(segment) => listing.segments.push((segment, file.bytes)),
                FileKind::SegmentPart => listing.log_parts.push(file.name),
                FileKind::Snapshot(zxid) => listing.snapshots.push((zxid, file.bytes)),
                FileKind::SnapshotPart | FileKind::EpochPart => listing.data_parts.push(file.name),
                FileKind::Epoch => listing.epoch = Some(file),
                FileKind::Lock => {}
                FileKind::Unexplained => listing.unexplained.push(file.name),
            }
        }
        listing.segments.sort_unstable();
        listing.snapshots.sort_unstable_by_key(|(zxid, _)| std::cmp::Reverse(*zxid));
        Ok(listing)
    }
}

fn unlink_all(files: &[String]) -> Vec<FileAction> {
    let mut steps: Vec<_> = files.iter().map(|name| FileAction::Unlink { name: name.clone() }).collect();
    if !steps.is_empty() {
        steps.push(FileAction::SyncDirectory);
    }
    steps
}

fn read_epoch(data: &dyn Source, file: &FileEntry) -> Result<epoch::Loaded, RecoverError> {
    let (bytes, _) = read_around_errors(data, &file.name, file.bytes.min(epoch::FILE_BYTES as u64));
    Ok(epoch::load(&bytes)?)
}

fn refuse_data_without_identity(data: &Listing, heads: &[Head]) -> Result<(), RecoverError> {
    let snapshot = data.snapshots.first().map(|(zxid, _)| names::snapshot(*zxid));
    let segment = || heads.iter().find(|head| head.header.is_some_and(|h| h.start.is_some())).map(Head::name);
    match snapshot.or_else(segment) {
        Some(evidence) => Err(RecoverError::IdentityLost { evidence }),
        None => Ok(()),
    }
}

fn load_newest(
    data: &dyn Source,
    files: &Listing,
    cluster: ClusterId,
    settings: &Settings<'_>,
    progress: &mut dyn FnMut(Progress),
    report: &mut RecoveryReport,
) -> Result<Option<LoadedSnapshot>, RecoverError> {
    for &(zxid, bytes) in &files.snapshots {
        let name = names::snapshot(zxid);
        if settings.distrusted.contains(&zxid) {
            report.skipped.push((name, SnapshotFault::Digest));
            continue;
        }
        match load_snapshot(data, &name, bytes, cluster, zxid, settings.runner, progress) {
            Ok(snapshot) => {
                report.snapshot = Some((zxid, bytes));
                return Ok(Some(snapshot));
            }
            Err(fault @ (SnapshotFault::Foreign(_) | SnapshotFault::Newer(_))) => {
                return Err(RecoverError::Snapshot { name, fault });
            }
            Err(fault) => report.skipped.push((name, fault)),
        }
    }
    Ok(None)
}

fn load_snapshot(
    data: &dyn Source,
    name: &str,
    bytes: u64,
    cluster: ClusterId,
    zxid: Zxid,
    runner: &Runner<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<LoadedSnapshot, SnapshotFault> {
    let index = read_index(data, name, bytes, cluster, zxid)?;
    let slots: Vec<OnceLock<Result<Part, SnapshotFault>>> =
        index.chunks.iter().map(|_| OnceLock::new()).collect();
    let mut done = 0;
    let job = |number: usize| {
        let fresh = slots[number].set(read_part(data, name, &index, number));
        assert!(fresh.is_ok(), "each part is read once");
    };
    runner(index.chunks.len(), &job, &mut |number| {
        done += index.chunks[number].bytes;
        progress(Progress { stage: Stage::Snapshot, done, total: bytes });
    });
    let parts = slots.into_iter().map(|slot| slot.into_inner().expect("the runner ran every job"));
    let parts = parts.collect::<Result<Vec<Part>, SnapshotFault>>()?;
    Ok(LoadedSnapshot { index, parts })
}

fn read_index(
    data: &dyn Source,
    name: &str,
    bytes: u64,
    cluster: ClusterId,
    zxid: Zxid,
) -> Result<SnapshotIndex, SnapshotFault> {
    let index = snapshot::index(cluster, bytes, &mut |offset, bytes| data.read(name, offset, bytes))?;
    match index.meta.zxid {
        found if found == zxid => Ok(index),
        found => Err(SnapshotFault::Misnamed { named: zxid, found }),
    }
}

fn read_part(
    data: &dyn Source,
    name: &str,
    index: &SnapshotIndex,
    number: usize,
) -> Result<Part, SnapshotFault> {
    let span = &index.chunks[number];
    let unreadable = |reason| SnapshotFault::Unreadable { offset: span.offset, reason };
    let length = usize::try_from(span.bytes).map_err(|_| unreadable("too large".to_owned()))?;
    let bytes = data.read(name, span.offset, length).map_err(unreadable)?;
    index.part(span, bytes)
}

/// The beginning of a file under a segment's name.
pub(super) struct Head {
    segment: SegmentId,
    bytes: u64,
    pub(super) header: Option<SegmentHeader>,
    /// Whether its first batch is there, and a restart.
    restarts: bool,
}

impl Head {
    fn name(&self) -> String {
        names::segment(self.segment)
    }

    fn is_unused(&self) -> bool {
        self.header.is_some_and(|header| header.start.is_none() && header.segment == self.segment)
    }

    fn is_of(&self, cluster: ClusterId) -> bool {
        self.header.is_some_and(|header| header.identity.cluster == cluster && header.segment == self.segment)
    }
}

fn read_heads(log: &dyn Source, files: &Listing) -> Vec<Head> {
    let read = |&(segment, bytes): &(SegmentId, u64)| {
        let length = bytes.min(BLOCK_BYTES as u64) as usize;
        let name = names::segment(segment);
        let block = log.read(&name, 0, length).ok();
        let header = block.and_then(|block| SegmentHeader::decode(&block).ok());
        let begins = header.filter(|header| header.start.is_some() && bytes > BLOCK_BYTES as u64);
        let first = begins.and_then(|header| {
            // A restart is one block, the first behind the header.
            let block = log.read(&name, BLOCK_BYTES as u64, BLOCK_BYTES).ok()?;
            wal::first_batch(&header, &block)
        });
        let restarts = first.is_some_and(|batch| batch.kind == BatchKind::Restart);
        Head { segment, bytes, header, restarts }
    };
    files.segments.iter().map(read).collect()
}

struct ScannedSegment {
    cluster: ClusterId,
    scan: SegmentScan,
    bytes: Option<AlignedBuf>,
    file_bytes: u64,
}

struct ScannedLog {
    cluster: ClusterId,
    /// Segments wholly below the base that were not read.
    below: Vec<wal::ClosedSegment>,
    unused_below: Vec<SegmentId>,
    segments: Vec<(SegmentId, Scanned)>,
    /// The same order as `segments`: bytes kept, length of the file.
    kept: Vec<(Option<AlignedBuf>, u64)>,
}

impl ScannedLog {
    fn replay(self, wanted: &[SegmentId]) -> Vec<ScannedSegment> {
        let cluster = self.cluster;
        let segments = self.segments.into_iter().zip(self.kept);
        segments
            .filter_map(|((segment, scanned), (bytes, file_bytes))| match scanned {
                Scanned::Active(scan) if wanted.contains(&segment) => {
                    Some(ScannedSegment { cluster, scan, bytes, file_bytes })
                }
                _ => None,
            })
            .collect()
    }
}

#[allow(clippy::too_many_arguments)] // What recovery knows by now, in its own order.
fn scan_log(
    log: &dyn Source,
    void: &[&Head],
    heads: &[&Head],
    cluster: ClusterId,
    base: Zxid,
    settings: &Settings<'_>,
    progress: &mut dyn FnMut(Progress),
    report: &mut RecoveryReport,
) -> Result<ScannedLog, RecoverError> {
    let ours = |head: &&Head| head.header.filter(|_| head.is_of(cluster)).and_then(|header| header.start);
    // All before the last segment that begins at or below the base is in the snapshot.
    let from =
        heads.iter().rposition(|head| ours(head).is_some_and(|start| start.previous <= base)).unwrap_or(0);
    let (below, heads) = heads.split_at(from);
    let mut scanned = ScannedLog {
        cluster,
        below: Vec::new(),
        unused_below: Vec::new(),
        segments: Vec::new(),
        kept: Vec::new(),
    };
    for (at, head) in void.iter().chain(below).enumerate() {
        let is_void = at < void.len();
        if ours(head).is_some() {
            // What is void is needed for no longer than the snapshots before this one.
            let next = || below[at - void.len() + 1..].iter().chain(heads).find_map(ours);
            let last =
                if is_void { base } else { next().expect("the first not below begins there").previous };
            scanned.below.push(wal::ClosedSegment { segment: head.segment, last });
        } else if head.is_unused() && head.header.is_some_and(|header| header.identity.cluster == cluster) {
            scanned.unused_below.push(head.segment);
        } else {
            report.unexplained.push(head.name());
        }
    }

    let lengths: Vec<u64> = heads.iter().map(|head| head.bytes.min(wal::SEGMENT_BYTES_MAX)).collect();
    let total: u64 = lengths.iter().sum();
    // The newest segments are the ones to replay: they are kept.
    let mut budget = limits::RECOVERY_KEEP_BYTES;
    let mut keep: Vec<bool> = lengths
        .iter()
        .rev()
        .map(|length| {
            let kept = *length <= budget;
            budget = budget.saturating_sub(*length);
            kept
        })
        .collect();
    keep.reverse();

    let slots: Vec<OnceLock<(Scanned, Option<AlignedBuf>)>> = heads.iter().map(|_| OnceLock::new()).collect();
    let job = |number: usize| {
        let (scanned, bytes) = read_segment(log, cluster, heads[number].segment, lengths[number]);
        let fresh = slots[number].set((scanned, keep[number].then_some(bytes)));
        assert!(fresh.is_ok(), "each segment is scanned once");
    };
    let mut done = 0;
    (settings.runner)(heads.len(), &job, &mut |number| {
        done += lengths[number];
        progress(Progress { stage: Stage::Log, done, total });
    });
    for ((head, slot), length) in heads.iter().zip(slots).zip(lengths) {
        let (result, bytes) = slot.into_inner().expect("the runner ran every job");
        scanned.segments.push((head.segment, result));
        scanned.kept.push((bytes, length));
    }
    report.log_bytes = total;
    Ok(scanned)
}

/// Makes the next segment out of a file that holds nothing, or anew; other such files go. A file that is recycled has
/// no name for a moment: the only segment there is stays until the new one is there, or a crash in between would leave
/// a directory that looks as if its log had been taken away.
fn prepare_segment(
    wal: &mut WalWriter,
    identity: Identity,
    settings: &Settings<'_>,
    free: &[SegmentId],
    heads: &[Head],
    steps: &mut Steps,
) {
    let segment = wal.wants_segment().expect("a log that was just opened has none ahead");
    let bytes = wal.segment_bytes();
    let prepared = PreparedSegment { segment, generation: settings.new_generation, bytes };
    let fits =
        |candidate: &SegmentId| heads.iter().any(|head| head.segment == *candidate && head.bytes == bytes);
    let reused = free.iter().copied().find(fits).filter(|_| wal.log_bytes() > 0);
    // Where it is made anew under the name of one of them, it takes that one's place.
    let others = free.iter().filter(|file| Some(**file) != reused && **file != segment);
    let others: Vec<String> = others.map(|file| names::segment(*file)).collect();
    steps.log.extend(match reused {
        Some(old) => prepared.recycle(identity, &names::segment(old)),
        None => prepared.create(identity),
    });
    steps.log.extend(unlink_all(&others));
    wal.add_segment(prepared);
}

/// Reads a segment of the log and says what is in it; what cannot be read is never taken for the end of the log.
fn read_segment(
    log: &dyn Source,
    cluster: ClusterId,
    segment: SegmentId,
    bytes: u64,
) -> (Scanned, AlignedBuf) {
    let (bytes, unreadable) = read_around_errors(log, &names::segment(segment), bytes);
    (wal::scan(cluster, segment, &bytes).without(&unreadable), bytes)
}

/// Reads a whole file; blocks that cannot be read come as zeros, which do not verify, so that a bad sector costs what
/// is on it and nothing else (F8). Which they are comes along, ascending.
fn read_around_errors(source: &dyn Source, name: &str, bytes: u64) -> (AlignedBuf, Vec<Range<u64>>) {
    let length = usize::try_from(bytes).expect("files are read up to a bound");
    if let Ok(whole) = source.read(name, 0, length) {
        return (whole, Vec::new());
    }
    let mut out = AlignedBuf::zeroed(length);
    let mut unreadable = Vec::new();
    for (at, block) in out.chunks_mut(BLOCK_BYTES).enumerate() {
        let offset = (at * BLOCK_BYTES) as u64;
        match source.read(name, offset, block.len()) {
            Ok(read) => block.copy_from_slice(&read),
            Err(_) => unreadable.push(offset..offset + block.len() as u64),
        }
    }
    (out, unreadable)
}
