#![forbid(unsafe_code)]
//! The disk shard: prepares log segments ahead of their use, writes snapshots, removes what is no longer needed.
//!
//! Lives on: a plain thread of low priority. All its work is sequential and may block, so an executor would add
//! nothing (glommio's stream writer for files is banned in DESIGN §1, and every step must be performed in order and
//! stop at the first that fails). The sequencer never waits for it: jobs go out through an unbounded channel that
//! holds a handful at most (one segment, one snapshot, what became free), reports come back through a queue.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::files::{DataDirs, WriteMethod, verify_snapshot};
use super::pressure::{self, Gauge, Marks};
use super::ring::{Consumer, Producer};
use super::sequencer::Shared;
use super::snapshots::{self, SnapshotJob};
use super::sys;
use crate::base::planted::{Bug, planted};
use crate::base::{Zxid, limits};
use crate::storage::action::FileAction;
use crate::storage::snapshot::{
    Purge, SinceSnapshot, SnapshotFile, SnapshotLimits, next_to_verify, purge, snapshot_due,
};
use crate::storage::wal::{PreparedSegment, SegmentId};
use crate::storage::{Identity, names};

/// Segments kept for reuse beside the one in use: more than the log needs between two snapshots is given back.
const FREE_SEGMENTS_MAX: usize = 4;

/// What the sequencer asks for.
pub enum Job {
    /// Make this segment and open it.
    PrepareSegment(SegmentId),
    /// These segments hold nothing that is needed.
    FreeSegments(Vec<SegmentId>),
    /// Write this state.
    Snapshot(Box<SnapshotJob>),
    /// A state that came from a leader was published at this zxid and read back: it counts as a snapshot, and those newer
    /// by number go with the history they belonged to.
    Received(Zxid),
}

/// What the disk shard answers.
pub enum Report {
    /// The segment is durable under its name.
    Segment(PreparedSegment, OwnedFd),
    /// A snapshot is durable and verified; the log is needed from here on.
    Snapshot {
        /// Records up to this zxid are in enough snapshots.
        log_up_to: Zxid,
        /// Size of the snapshot, bytes.
        bytes: u64,
        /// From its beginning until it was durable, µs.
        took_us: u64,
    },
    /// It could not be written; serving goes on (reliability S43).
    SnapshotFailed,
    /// A purge between snapshots found that records up to this zxid are in enough of them.
    Purged(Zxid),
}

/// An open segment of the log.
#[derive(Debug)]
pub struct LogFile {
    /// Which.
    pub segment: SegmentId,
    /// Opened as the write method wants it.
    pub fd: OwnedFd,
}

impl LogFile {
    /// The descriptor to write to.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The sequencer's end.
pub struct DiskLink {
    jobs: mpsc::Sender<Job>,
    reports: Consumer<Report>,
    files: HashMap<SegmentId, OwnedFd>,
}

/// What the sequencer has to do after a report.
pub enum Done {
    /// Add the segment to the log.
    Segment(PreparedSegment),
    /// The snapshot is over; free the log up to here.
    Snapshot {
        /// As in [`Report::Snapshot`].
        log_up_to: Zxid,
        /// Size of the snapshot, bytes.
        bytes: u64,
        /// From its beginning until it was durable, µs.
        took_us: u64,
    },
    /// The snapshot is over, without one.
    SnapshotFailed,
    /// Free the log up to here.
    Purged(Zxid),
}

impl DiskLink {
    /// Asks for a job.
    pub fn send(&self, job: Job) {
        // The disk shard ends only with the process.
        let _ = self.jobs.send(job);
    }

    /// Whether a report waits.
    pub fn has_report(&mut self) -> bool {
        self.reports.peek().is_some()
    }

    /// Takes a report; a segment's descriptor stays here until [`DiskLink::take_file`].
    pub fn take(&mut self) -> Option<Done> {
        Some(match self.reports.pop()? {
            Report::Segment(prepared, fd) => {
                self.files.insert(prepared.segment, fd);
                Done::Segment(prepared)
            }
            Report::Snapshot { log_up_to, bytes, took_us } => Done::Snapshot { log_up_to, bytes, took_us },
            Report::SnapshotFailed => Done::SnapshotFailed,
            Report::Purged(log_up_to) => Done::Purged(log_up_to),
        })
    }

    /// Keeps the descriptor of a segment that was prepared before the disk shard started.
    pub fn put_file(&mut self, segment: SegmentId, fd: OwnedFd) {
        self.files.insert(segment, fd);
    }

    /// The descriptor of a prepared segment, when the log begins to write it.
    pub fn take_file(&mut self, segment: SegmentId) -> LogFile {
        let fd = self.files.remove(&segment).expect("a segment is written only after it was prepared");
        LogFile { segment, fd }
    }
}

/// When snapshots are taken.
#[derive(Debug)]
pub struct SnapshotPolicy {
    since: SinceSnapshot,
    limits: SnapshotLimits,
    roll: u32,
    running: bool,
    /// A small generator for the jitter; its seed is given.
    state: u64,
}

impl SnapshotPolicy {
    /// Nothing logged since the last snapshot but what was replayed behind it.
    pub fn new(limits: SnapshotLimits, seed: u64, since: SinceSnapshot) -> SnapshotPolicy {
        let mut policy = SnapshotPolicy { since, limits, roll: 0, running: false, state: seed | 1 };
        policy.draw();
        policy
    }

    fn draw(&mut self) {
        // xorshift64: the jitter only has to differ between servers.
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.roll = (self.state >> 32) as u32;
    }

    /// A txn of so many bytes was applied.
    pub fn applied(&mut self, bytes: usize) {
        self.since.txns += 1;
        self.since.log_bytes += bytes as u64;
    }

    /// Size of the newest snapshot, bytes; 0 before the first.
    pub fn snapshot_bytes(&self) -> u64 {
        self.since.snapshot_bytes
    }

    /// Whether one should start now.
    pub fn due(&self) -> bool {
        !self.running && snapshot_due(&self.since, &self.limits, self.roll)
    }

    /// One has started.
    pub fn started(&mut self) {
        self.running = true;
        self.since.txns = 0;
        self.since.log_bytes = 0;
        self.draw();
    }

    /// A leader's state took the place of all that was logged, in a snapshot of this size.
    pub fn installed(&mut self, bytes: u64) {
        self.since = SinceSnapshot { txns: 0, log_bytes: 0, snapshot_bytes: bytes };
    }

    /// It is over; its size, if there is one.
    pub fn finished(&mut self, bytes: Option<u64>) {
        self.running = false;
        if let Some(bytes) = bytes {
            self.since.snapshot_bytes = bytes;
        }
    }
}

/// What the disk shard starts with.
pub struct DiskStart {
    /// The folders, locked.
    pub dirs: Arc<DataDirs>,
    /// Whose data these are.
    pub identity: Identity,
    /// How log segments are opened.
    pub method: WriteMethod,
    /// Size of a segment, bytes.
    pub segment_bytes: u64,
    /// Snapshots kept.
    pub retain: usize,
    /// Between two purges beside those after each snapshot, the first of which is at the start; `None`: only those.
    pub purge_interval: Option<Duration>,
    /// Random: generations of segments.
    pub seed: u64,
    /// Snapshots on disk; verified is the one that recovery loaded.
    pub snapshots: Vec<SnapshotFile>,
    /// Where memory and disk count as short.
    pub marks: Marks,
    /// Called about once a second while a snapshot is written: znodes written, znodes in all.
    pub progress: Box<dyn FnMut(u64, u64) + Send>,
}

/// Starts the thread and gives the sequencer's end.
///
/// # Errors
/// When the system has no thread to give.
pub fn spawn(start: DiskStart, shared: Arc<Shared>) -> std::io::Result<DiskLink> {
    let (jobs, inbox) = mpsc::channel();
    let (reports, reports_end) = super::ring::queue();
    let mut gauge = Gauge::new(start.marks);
    gauge.look(&start.dirs, &shared.pressure);
    let mut disk = DiskShard {
        start,
        reports,
        shared,
        free: VecDeque::new(),
        generation: 0,
        faulty: BTreeSet::new(),
        purged: Zxid::ZERO,
        looked: Instant::now(),
        gauge,
    };
    std::thread::Builder::new().name("disk-shard".into()).spawn(move || {
        sys::lower_priority();
        disk.run(&inbox);
    })?;
    Ok(DiskLink { jobs, reports: reports_end, files: HashMap::new() })
}

struct DiskShard {
    start: DiskStart,
    reports: Producer<Report>,
    shared: Arc<Shared>,
    /// Segments to be used again.
    free: VecDeque<SegmentId>,
    generation: u64,
    /// Snapshots of earlier starts that do not read back.
    faulty: BTreeSet<Zxid>,
    /// How far the sequencer was told that the log may go, between snapshots.
    purged: Zxid,
    /// When memory and disk were looked at last.
    looked: Instant,
    gauge: Gauge,
}

impl DiskShard {
    /// Jobs as they come, a look at memory and disk between them, and a purge when nothing is to be done and its time
    /// has come.
    fn run(&mut self, inbox: &mpsc::Receiver<Job>) {
        let interval = self.start.purge_interval;
        let mut due = (interval.is_some() || self.is_crowded()).then(Instant::now);
        loop {
            self.look();
            let look_due = self.looked + pressure::LOOK_EVERY;
            let next = due.map_or(look_due, |due| due.min(look_due));
            match inbox.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(job) => {
                    let is_snapshot = matches!(job, Job::Snapshot(_));
                    self.perform(job);
                    if is_snapshot && self.is_crowded() {
                        due = Some(Instant::now());
                    }
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    if due.is_none_or(|due| due > Instant::now()) {
                        continue;
                    }
                    // Until it is over each step is due at once, but behind the jobs that came meanwhile.
                    if self.purge_step() {
                        due = interval.and_then(|interval| Instant::now().checked_add(interval));
                    }
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Whether more snapshots are there than are to be kept. Those of earlier starts go once enough were read back, so
    /// a server that starts often and writes little has to read some: without that they would pile up.
    fn is_crowded(&self) -> bool {
        self.start.snapshots.len() > self.start.retain.max(limits::SNAPSHOTS_KEPT_MIN)
    }

    /// Looks at memory and disk, if the last look is old enough.
    fn look(&mut self) {
        if self.looked.elapsed() >= pressure::LOOK_EVERY {
            self.looked = Instant::now();
            self.gauge.look(&self.start.dirs, &self.shared.pressure);
        }
    }

    fn perform(&mut self, job: Job) {
        let report = match job {
            Job::PrepareSegment(segment) => match self.prepare(segment) {
                Ok((prepared, fd)) => Report::Segment(prepared, fd),
                Err(error) => super::fatal::fatal(
                    super::fatal::Fatal::Storage,
                    &format!(
                        "cannot prepare log segment {segment} in {}: {error}; free space or repair the disk, then restart. Nothing acknowledged is lost",
                        self.start.dirs.log().path().display()
                    ),
                ),
            },
            Job::FreeSegments(segments) => return self.free(segments),
            Job::Received(zxid) => return self.received(zxid),
            Job::Snapshot(job) => self.snapshot(*job),
        };
        self.reports.push(report);
        self.shared.wake_sequencer();
    }

    /// What has a higher number is of a history that this one supersedes; the snapshot of the state before may have been
    /// finished only now (scenario S17).
    fn received(&mut self, zxid: Zxid) {
        let snapshots = self.start.snapshots.iter().map(|file| file.zxid);
        let superseded: Vec<Zxid> =
            snapshots.filter(|other| *other > zxid && !planted(Bug::SupersededStays)).collect();
        for other in superseded {
            self.remove_snapshot(other);
        }
        self.start.snapshots.retain(|file| file.zxid < zxid);
        self.faulty.remove(&zxid);
        self.start.snapshots.push(SnapshotFile { zxid, verified: true });
    }

    fn prepare(&mut self, segment: SegmentId) -> std::io::Result<(PreparedSegment, OwnedFd)> {
        self.generation += 1;
        // The seed is random for each start; the segment's number makes each generation its own.
        let generation = self.start.seed ^ (segment.0 << 20) ^ self.generation;
        let prepared = PreparedSegment { segment, generation, bytes: self.start.segment_bytes };
        let steps = match self.take_free() {
            Some(old) => prepared.recycle(self.start.identity, &names::segment(old)),
            None => prepared.create(self.start.identity),
        };
        let log = self.start.dirs.log();
        log.perform(&steps)?;
        let fd = log.open_segment(segment, self.start.method)?;
        Ok((prepared, fd))
    }

    fn free(&mut self, segments: Vec<SegmentId>) {
        for segment in segments {
            if self.free.len() < FREE_SEGMENTS_MAX {
                self.free.push_back(segment);
            } else {
                self.remove_segment(segment);
            }
        }
    }

    /// A segment to be used again. Those of another size are of an earlier start, with other settings: they go.
    fn take_free(&mut self) -> Option<SegmentId> {
        while let Some(segment) = self.free.pop_front() {
            let bytes = self.start.dirs.log().bytes_of(&names::segment(segment));
            if bytes == Some(self.start.segment_bytes) {
                return Some(segment);
            }
            self.remove_segment(segment);
        }
        None
    }

    fn remove_segment(&self, segment: SegmentId) {
        let steps = [FileAction::Unlink { name: names::segment(segment) }, FileAction::SyncDirectory];
        if let Err(error) = self.start.dirs.log().perform(&steps) {
            tracing::warn!(%segment, %error, "cannot remove a log segment that is no longer needed");
        }
    }

    fn snapshot(&mut self, job: SnapshotJob) -> Report {
        let zxid = job.walker.at();
        let began = std::time::Instant::now();
        match self.write_snapshot(job) {
            Ok(Some(bytes)) => {
                let took_us = began.elapsed().as_micros() as u64;
                tracing::info!(%zxid, bytes, took_ms = took_us / 1000, "snapshot written");
                match verify_snapshot(self.start.dirs.data(), self.start.identity.cluster, zxid) {
                    Ok(_) => self.start.snapshots.push(SnapshotFile { zxid, verified: true }),
                    Err(error) => {
                        self.start.snapshots.push(SnapshotFile { zxid, verified: false });
                        tracing::error!(%zxid, %error, "the snapshot just written does not read back; it is kept apart from those that do");
                        return Report::SnapshotFailed;
                    }
                }
                let log_up_to = self.purge();
                Report::Snapshot { log_up_to, bytes, took_us }
            }
            Ok(None) => Report::SnapshotFailed,
            Err(error) => {
                tracing::error!(
                    %zxid, %error,
                    folder = %self.start.dirs.data().path().display(),
                    "snapshot abandoned; serving goes on, the log grows until one succeeds. Is the disk full?"
                );
                snapshots::abandon(&mut self.start.dirs.data().performer(), zxid);
                Report::SnapshotFailed
            }
        }
    }

    /// Bytes written; `None` when the state was replaced meanwhile.
    fn write_snapshot(&mut self, job: SnapshotJob) -> std::io::Result<Option<u64>> {
        let dirs = self.start.dirs.clone();
        let mut told = Instant::now();
        snapshots::write(
            &mut dirs.data().performer(),
            self.start.identity,
            job,
            None,
            &mut |written, total| {
                self.look();
                if told.elapsed().as_secs() >= 1 {
                    told = Instant::now();
                    (self.start.progress)(written, total);
                }
            },
        )
    }

    /// A step of a purge between snapshots: reads back one that an earlier start has left, or, when enough have been,
    /// removes what is old. Whether it is over.
    fn purge_step(&mut self) -> bool {
        let Some(zxid) = next_to_verify(&self.start.snapshots, &self.faulty, self.start.retain) else {
            let log_up_to = self.purge();
            if log_up_to > self.purged {
                self.purged = log_up_to;
                self.reports.push(Report::Purged(log_up_to));
                self.shared.wake_sequencer();
            }
            return true;
        };
        match verify_snapshot(self.start.dirs.data(), self.start.identity.cluster, zxid) {
            Ok(_) => {
                let files = self.start.snapshots.iter_mut().filter(|file| file.zxid == zxid);
                files.for_each(|file| file.verified = true);
            }
            Err(error) => {
                tracing::warn!(%zxid, %error, "a snapshot of an earlier start does not read back; it counts for nothing");
                self.faulty.insert(zxid);
            }
        }
        false
    }

    /// Removes snapshots beyond those to keep; gives how far the log may go.
    fn purge(&mut self) -> Zxid {
        let Purge { snapshots, log_up_to } = purge(&self.start.snapshots, self.start.retain);
        for zxid in snapshots {
            self.remove_snapshot(zxid);
        }
        log_up_to
    }

    fn remove_snapshot(&mut self, zxid: Zxid) {
        let steps = [FileAction::Unlink { name: names::snapshot(zxid) }, FileAction::SyncDirectory];
        match self.start.dirs.data().perform(&steps) {
            Ok(()) => {
                tracing::info!(%zxid, "old snapshot removed");
                self.start.snapshots.retain(|kept| kept.zxid != zxid);
            }
            Err(error) => tracing::warn!(%zxid, %error, "cannot remove an old snapshot"),
        }
    }
}
