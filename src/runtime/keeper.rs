#![forbid(unsafe_code)]
//! The keeper: saves what a member promises (the epoch record), and reads ranges of the log for learners that are far
//! behind.
//!
//! Lives on: two plain threads, one for each of its jobs. An election waits for the record, so it stands behind nothing:
//! not behind a snapshot, and not behind a range that is read. The sequencer never waits for either; what is asked goes
//! out through channels, which hold no more than the record's few writes and one range a learner, and reports come back
//! through queues.

use std::sync::Arc;
use std::sync::mpsc;

use super::fatal::{Fatal, fatal};
use super::files::DataDirs;
use super::ring::{Consumer, Producer};
use super::sequencer::Shared;
use super::sys;
use crate::base::{Epoch, Zxid, limits};
use crate::storage::action::FileAction;
use crate::storage::epoch::EpochRecord;
use crate::storage::names;
use crate::storage::wal::{LogReader, LogSpan};
use crate::zab::message::LinkId;
use crate::zab::settings::Durable;

/// What the disk says to a member at its start: [`Durable`], made on one thread for another, which counts payloads
/// without atomics.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DurableParts {
    /// As in [`Durable::accepted`].
    pub accepted: Epoch,
    /// As in [`Durable::current`].
    pub current: Epoch,
    /// As in [`Durable::last_logged`].
    pub last_logged: Zxid,
    /// As in [`Durable::committed`]; the state is exact at it.
    pub committed: Zxid,
    /// As in [`Durable::confirmed`].
    pub confirmed: Zxid,
    /// As in [`Durable::history`].
    pub history: Vec<(Zxid, Box<[u8]>)>,
    /// As in [`Durable::admitted`].
    pub admitted: bool,
}

impl DurableParts {
    /// On the thread that goes on with it.
    pub fn into_durable(self) -> Durable {
        let DurableParts { accepted, current, last_logged, committed, confirmed, history, admitted } = self;
        let history = history.into_iter().map(|(zxid, payload)| (zxid, payload.into())).collect();
        Durable { accepted, current, last_logged, committed, confirmed, history, admitted }
    }
}

/// What the keeper answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeeperReport {
    /// The record holds these epochs, durably.
    EpochSaved {
        /// Highest epoch accepted.
        accepted: Epoch,
        /// Epoch of the history taken over last.
        current: Epoch,
    },
    /// The record says, durably, that this server may vote.
    Admitted,
    /// The range that was asked for, as [`crate::zab::Event::LogRead`] wants it.
    LogRead {
        /// For whom.
        link: LinkId,
        /// All of it, or nothing.
        txns: Option<Vec<(Zxid, Box<[u8]>)>>,
    },
}

enum Save {
    Epoch { accepted: Epoch, current: Epoch },
    Admit,
}

struct Read {
    link: LinkId,
    span: LogSpan,
    after: Zxid,
    up_to: Zxid,
    bytes_max: usize,
}

/// The sequencer's end.
pub struct Keeper {
    /// `snapshotSizeFactor`.
    range_share: f64,
    saves: mpsc::Sender<Save>,
    reads: mpsc::Sender<Read>,
    saved: Consumer<KeeperReport>,
    read: Consumer<KeeperReport>,
}

impl Keeper {
    /// Makes these the epochs of the record. Neither goes back. Reported as [`KeeperReport::EpochSaved`], in the order
    /// of the calls.
    pub fn save_epoch(&self, accepted: Epoch, current: Epoch) {
        // The threads end only with the process.
        let _ = self.saves.send(Save::Epoch { accepted, current });
    }

    /// Notes in the record that this server may vote. Reported as [`KeeperReport::Admitted`].
    pub fn admit(&self) {
        let _ = self.saves.send(Save::Admit);
    }

    /// Reads all txns after `after` up to `up_to`; `span` is the log's ([`crate::storage::wal::WalWriter::span`]) as of
    /// now, `snapshot_bytes` the size of the newest snapshot, which would be sent instead. Reported as
    /// [`KeeperReport::LogRead`].
    pub fn read_log(&self, link: LinkId, span: LogSpan, after: Zxid, up_to: Zxid, snapshot_bytes: u64) {
        let bytes_max = range_bytes_max(self.range_share, snapshot_bytes);
        let _ = self.reads.send(Read { link, span, after, up_to, bytes_max });
    }

    /// Whether a report waits.
    pub fn has_report(&mut self) -> bool {
        self.saved.peek().is_some() || self.read.peek().is_some()
    }

    /// Takes a report.
    pub fn take(&mut self) -> Option<KeeperReport> {
        self.saved.pop().or_else(|| self.read.pop())
    }
}

/// Payload bytes of a range that is worth sending instead of an image of so many bytes: a share of them, since txns have
/// to be logged and applied one by one. Below 0: none is.
fn range_bytes_max(share: f64, snapshot_bytes: u64) -> usize {
    if share < 0.0 {
        return 0;
    }
    // Saturates.
    ((snapshot_bytes as f64 * share) as usize).clamp(limits::RANGE_BYTES_MIN, limits::RANGE_BYTES_MAX)
}

/// Starts the threads and gives the sequencer's end. `record` is what recovery left on disk.
///
/// # Errors
/// When the system has no thread to give.
pub fn spawn(
    dirs: Arc<DataDirs>,
    record: EpochRecord,
    shared: Arc<Shared>,
    range_share: f64,
) -> std::io::Result<Keeper> {
    let (saves, save_inbox) = mpsc::channel();
    let (reads, read_inbox) = mpsc::channel();
    let (saved_in, saved) = super::ring::queue();
    let (read_in, read) = super::ring::queue();
    let mut recorder =
        Recorder { dirs: dirs.clone(), record, reports: Reports { queue: saved_in, shared: shared.clone() } };
    std::thread::Builder::new().name("keeper".into()).spawn(move || {
        save_inbox.iter().for_each(|save| recorder.save(&save));
    })?;
    let mut reports = Reports { queue: read_in, shared };
    std::thread::Builder::new().name("log-reader".into()).spawn(move || {
        sys::lower_priority();
        for Read { link, span, after, up_to, bytes_max } in read_inbox {
            let txns = LogReader::read(dirs.log(), &span, after, up_to, bytes_max);
            reports.push(KeeperReport::LogRead { link, txns });
        }
    })?;
    Ok(Keeper { range_share, saves, reads, saved, read })
}

struct Reports {
    queue: Producer<KeeperReport>,
    shared: Arc<Shared>,
}

impl Reports {
    fn push(&mut self, report: KeeperReport) {
        self.queue.push(report);
        self.shared.wake_sequencer();
    }
}

struct Recorder {
    dirs: Arc<DataDirs>,
    record: EpochRecord,
    reports: Reports,
}

impl Recorder {
    fn save(&mut self, save: &Save) {
        let EpochRecord { accepted, current, admitted, .. } = self.record;
        let (record, report) = match *save {
            Save::Epoch { accepted, current } => (
                self.record.advance(accepted, current, admitted),
                KeeperReport::EpochSaved { accepted, current },
            ),
            Save::Admit => (self.record.advance(accepted, current, true), KeeperReport::Admitted),
        };
        self.write(&record.rewrite());
        self.record = record;
        self.reports.push(report);
    }

    fn write(&self, steps: &[FileAction]) {
        let data = self.dirs.data();
        if let Err(error) = data.perform(steps) {
            fatal(
                Fatal::Storage,
                &format!(
                    "cannot write {} in {}: {error}; repair the disk, then restart. What was promised is kept",
                    names::EPOCH,
                    data.path().display()
                ),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize};
    use std::time::{Duration, Instant};

    use super::*;
    use crate::base::ServerId;
    use crate::runtime::files::{self, RecoverSettings, WriteMethod};
    use crate::runtime::pressure::Pressure;
    use crate::runtime::ring::Parked;
    use crate::runtime::sys::Bell;
    use crate::storage::ClusterId;
    use crate::storage::recovery::{Mode, Recovered};
    use crate::storage::wal::{SegmentId, WalLimits};

    fn recovered(dirs: &DataDirs, may_begin: bool) -> Recovered {
        let settings = RecoverSettings {
            server: ServerId(3),
            mode: Mode::Member { may_begin },
            new_cluster: ClusterId([5; 16]),
            new_generation: 11,
            limits: WalLimits::for_segments_of(1 << 20, 100_000),
            distrusted: &[],
        };
        files::recover(dirs, &settings, &mut |_| {}).unwrap()
    }

    fn shared() -> Arc<Shared> {
        Arc::new(Shared {
            parked: Parked::new(),
            bell: Bell::new().unwrap(),
            stopping: AtomicBool::new(false),
            shards_done: AtomicUsize::new(0),
            pulse: Arc::default(),
            pressure: Pressure::default(),
        })
    }

    fn next(keeper: &mut Keeper) -> KeeperReport {
        let began = Instant::now();
        loop {
            if keeper.has_report() {
                return keeper.take().expect("it was just there");
            }
            assert!(began.elapsed() < Duration::from_secs(60), "no report");
            std::thread::yield_now();
        }
    }

    #[test]
    fn epochs_and_admission_are_durable_when_they_are_reported_and_in_order() {
        let temporary = tempfile::tempdir().unwrap();
        let dirs = Arc::new(DataDirs::open(temporary.path(), temporary.path()).unwrap());
        let record = recovered(&dirs, false).epoch;
        assert_eq!((record.admitted, record.member), (false, true));
        let mut keeper = spawn(dirs.clone(), record, shared(), 0.33).unwrap();
        keeper.save_epoch(Epoch(7), Epoch(2));
        keeper.admit();
        keeper.save_epoch(Epoch(7), Epoch(7));
        let saved = |accepted, current| KeeperReport::EpochSaved { accepted, current };
        assert_eq!(next(&mut keeper), saved(Epoch(7), Epoch(2)));
        assert_eq!(next(&mut keeper), KeeperReport::Admitted);
        assert_eq!(next(&mut keeper), saved(Epoch(7), Epoch(7)));
        let after = recovered(&dirs, false).epoch;
        assert_eq!((after.accepted, after.current, after.admitted), (Epoch(7), Epoch(7), true));
        assert_eq!(after.sequence, record.sequence + 3);
    }

    #[test]
    fn a_range_is_read_back_from_the_files_of_a_log_that_goes_on() {
        let temporary = tempfile::tempdir().unwrap();
        let dirs = Arc::new(DataDirs::open(temporary.path(), temporary.path()).unwrap());
        let Recovered { epoch, mut wal, .. } = recovered(&dirs, true);
        for z in 1..=3 {
            wal.append(Zxid(z), &[z as u8; 5000]);
            let write = wal.next_write(Zxid(0)).expect("recovery prepared a segment");
            let file = dirs.log().open_segment(write.segment, WriteMethod::BufferedFdatasync).unwrap();
            let written = WriteMethod::BufferedFdatasync.write_wal(&file, &write).unwrap();
            wal.completed(write, written).unwrap();
        }
        let mut keeper = spawn(dirs, epoch, shared(), 0.33).unwrap();
        let span = wal.span(Zxid(1));
        assert_eq!(span.segments, [SegmentId(1)]);
        let link = LinkId(9);
        keeper.read_log(link, span.clone(), Zxid(1), Zxid(3), 0);
        let txns = Some((2..=3).map(|z| (Zxid(z), vec![z as u8; 5000].into())).collect());
        assert_eq!(next(&mut keeper), KeeperReport::LogRead { link, txns });
        keeper.read_log(link, span, Zxid(1), Zxid(4), 0);
        assert_eq!(next(&mut keeper), KeeperReport::LogRead { link, txns: None });
    }

    #[test]
    fn a_range_is_worth_half_an_image_within_bounds() {
        assert_eq!(range_bytes_max(0.33, 0), limits::RANGE_BYTES_MIN);
        assert_eq!(range_bytes_max(0.5, 20 << 20), 10 << 20);
        assert_eq!(range_bytes_max(0.5, u64::MAX), limits::RANGE_BYTES_MAX);
        assert_eq!(range_bytes_max(-1.0, 20 << 20), 0);
    }
}
