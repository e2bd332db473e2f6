#![forbid(unsafe_code)]
//! What is beside the log on a simulated machine: snapshots, written by production's code and performed when their time
//! has come; and whole states between servers, by production's encoder and builder.

use std::collections::{BTreeMap, VecDeque};
use std::io;

use ringkeeper::base::planted::{Bug, planted};
use ringkeeper::base::{Millis, ServerId, WallMillis, Zxid};
use ringkeeper::pipeline::{self, Leftover, Pipeline};
use ringkeeper::runtime::disk::{Done, Job};
use ringkeeper::runtime::fatal::{Fatal, fatal};
use ringkeeper::runtime::images::{self, ImageOut, ImageReport, Intake, Txns, receive};
use ringkeeper::runtime::sequencer::{Clocks, DiskShard, ImageMover};
use ringkeeper::runtime::snapshots::{self, Folder, SnapshotJob, snapshots_in};
use ringkeeper::storage::action::FileAction;
use ringkeeper::storage::recovery::{self, run_in_turn};
use ringkeeper::storage::snapshot::{Purge, Received, SnapshotFile, purge};
use ringkeeper::storage::wal::{PreparedSegment, SegmentId};
use ringkeeper::storage::{ClusterId, Identity, names};
use ringkeeper::zab::message::LinkId;

use crate::disk::Disk;
use crate::world::{SharedMachine, Then};

/// Takes down what is to be done to a folder, for later.
struct Recorder {
    disk: Disk,
    steps: Vec<FileAction>,
}

impl Folder for Recorder {
    fn perform(&mut self, action: &FileAction) -> io::Result<()> {
        self.steps.push(action.clone());
        Ok(())
    }
    fn snapshots(&self) -> io::Result<Vec<Zxid>> {
        snapshots_in(&self.disk.view())
    }
}

/// The cluster id that a server makes up before it knows of another.
pub(crate) fn cluster(me: ServerId) -> ClusterId {
    ClusterId([me.0 as u8; 16])
}

/// The disk shard: prepares segments, writes snapshots, removes what is not needed.
pub(crate) struct SimDisk {
    pub(crate) machine: SharedMachine,
    pub(crate) identity: Identity,
    pub(crate) segment_bytes: u64,
    pub(crate) generation: u64,
    pub(crate) snapshots: Vec<SnapshotFile>,
    pub(crate) retain: usize,
    pub(crate) free: Vec<SegmentId>,
}

impl SimDisk {
    fn later(&mut self, steps: Vec<FileAction>, then: Then) {
        let mut machine = self.machine.borrow_mut();
        machine.order(steps, then);
    }

    fn write(&mut self, job: SnapshotJob) {
        let zxid = job.walker.at();
        let mut recorder = Recorder { disk: self.machine.borrow().disk.clone(), steps: Vec::new() };
        let written = snapshots::write(&mut recorder, self.identity, job, None, &mut |_, _| {});
        match written.expect("a list takes everything") {
            Some(bytes) => self.later(recorder.steps, Then::Snapshot { zxid, bytes }),
            // The state was replaced meanwhile.
            None => self.later(recorder.steps, Then::Report(Done::SnapshotFailed)),
        }
    }

    /// It is on disk: it counts, and older ones need not.
    fn written(&mut self, zxid: Zxid, bytes: u64) -> Done {
        let disk = self.machine.borrow().disk.clone();
        let read = recovery::verify_snapshot(&disk.view(), self.identity.cluster, zxid, &run_in_turn);
        read.unwrap_or_else(|fault| panic!("the snapshot {zxid} does not read back: {fault}"));
        self.snapshots.push(SnapshotFile { zxid, verified: true });
        let Purge { snapshots, log_up_to } = purge(&self.snapshots, self.retain);
        snapshots.into_iter().for_each(|old| self.remove(old));
        Done::Snapshot { log_up_to, bytes, took_us: 0 }
    }

    fn abandoned(&mut self, zxid: Zxid) -> Done {
        let mut recorder = Recorder { disk: self.machine.borrow().disk.clone(), steps: Vec::new() };
        snapshots::abandon(&mut recorder, zxid);
        recorder.disk.perform(&recorder.steps).expect("what goes needs no room");
        Done::SnapshotFailed
    }

    fn remove(&mut self, zxid: Zxid) {
        self.snapshots.retain(|kept| kept.zxid != zxid);
        let steps = vec![FileAction::Unlink { name: names::snapshot(zxid) }, FileAction::SyncDirectory];
        self.later(steps, Then::Nothing);
    }
}

impl DiskShard for SimDisk {
    type File = SegmentId;

    fn send(&mut self, job: Job) {
        match job {
            Job::PrepareSegment(segment) => {
                self.generation += 1;
                let generation = self.generation;
                let prepared = PreparedSegment { segment, generation, bytes: self.segment_bytes };
                let steps = match self.free.pop() {
                    Some(old) => prepared.recycle(self.identity, &names::segment(old)),
                    None => prepared.create(self.identity),
                };
                self.later(steps, Then::Report(Done::Segment(prepared)));
            }
            Job::FreeSegments(segments) => self.free.extend(segments),
            Job::Snapshot(job) => self.write(*job),
            Job::Received(zxid) => {
                let snapshots = self.snapshots.iter().map(|file| file.zxid);
                let newer: Vec<Zxid> =
                    snapshots.filter(|other| *other > zxid && !planted(Bug::SupersededStays)).collect();
                newer.into_iter().for_each(|other| self.remove(other));
                self.snapshots.retain(|file| file.zxid < zxid);
                self.snapshots.push(SnapshotFile { zxid, verified: true });
            }
        }
    }
    fn has_report(&mut self) -> bool {
        self.machine.borrow().job_is_done()
    }
    fn take(&mut self) -> Option<Done> {
        loop {
            let (then, done) = self.machine.borrow_mut().finish_job()?;
            match (then, done) {
                (Then::Report(done), Ok(())) => return Some(done),
                (Then::Snapshot { zxid, bytes }, Ok(())) => return Some(self.written(zxid, bytes)),
                (Then::Nothing, Ok(())) => {}
                // As production's disk shard has it, where there is no room.
                (Then::Snapshot { zxid, .. }, Err(_)) => return Some(self.abandoned(zxid)),
                (Then::Report(_) | Then::Nothing, Err(error)) => {
                    fatal(Fatal::Storage, &format!("cannot prepare a log segment: {error:?}"));
                }
            }
        }
    }
    fn take_file(&mut self, segment: SegmentId) -> SegmentId {
        segment
    }
    fn segment(file: &SegmentId) -> SegmentId {
        *file
    }
}

/// A state that comes.
enum Arriving {
    Reading { zxid: Zxid, chunks: Vec<Vec<u8>> },
    Whole(Box<Pipeline>),
    Installing,
}

/// What is reported when the machine has done its steps.
struct Told {
    due: u64,
    steps: Vec<FileAction>,
    report: ImageReport,
}

/// Whole states. What comes of them takes a random time, as on threads.
pub(crate) struct SimImages {
    pub(crate) machine: SharedMachine,
    identity: Identity,
    intake: Intake,
    seed: u64,
    going: BTreeMap<LinkId, VecDeque<(Vec<u8>, bool)>>,
    coming: BTreeMap<LinkId, Arriving>,
    told: VecDeque<Told>,
}

impl SimImages {
    pub(crate) fn new(
        machine: SharedMachine,
        identity: Identity,
        pipeline: pipeline::Settings,
        tick_ms: u64,
        seed: u64,
    ) -> SimImages {
        let intake = Intake { pipeline, tick_ms, element_bytes_max: 1 << 20, image_bytes_max: 1 << 30 };
        let (going, coming, told) = (BTreeMap::new(), BTreeMap::new(), VecDeque::new());
        machine.borrow_mut().sending = 0;
        SimImages { machine, identity, intake, seed, going, coming, told }
    }

    fn now(&self) -> (Millis, WallMillis) {
        let machine = self.machine.borrow();
        (machine.time.now(), machine.time.wall())
    }

    fn tell(&mut self, steps: Vec<FileAction>, report: ImageReport) {
        let mut machine = self.machine.borrow_mut();
        let mut due = machine.image_due(self.told.back().map(|told| told.due));
        if matches!(report, ImageReport::Installed { .. }) {
            due += machine.install_ms;
        }
        machine.wakes.push(due);
        self.told.push_back(Told { due, steps, report });
    }

    fn installed(&mut self, link: LinkId, zxid: Zxid, txns: &Txns, received: Received, state: Pipeline) {
        let (now, wall) = self.now();
        let mut state = match receive::apply(state, zxid, txns, now) {
            Ok(state) => state,
            Err(why) => {
                self.coming.remove(&link);
                return self.tell(Vec::new(), ImageReport::Bad { link, why });
            }
        };
        let mut recorder = Recorder { disk: self.machine.borrow().disk.clone(), steps: Vec::new() };
        let bytes = receive::write(&mut recorder, self.identity, &mut state, received, wall);
        let snapshot_bytes = bytes.expect("a list takes everything");
        let report = ImageReport::Installed { link, zxid, state: Box::new(state), snapshot_bytes };
        let mut machine = self.machine.borrow_mut();
        machine.images += 1;
        machine.changes += 1;
        drop(machine);
        self.tell(recorder.steps, report);
    }
}

impl ImageMover for SimImages {
    fn send(&mut self, link: LinkId, out: ImageOut) {
        let mut chunks = VecDeque::new();
        let made = images::send::write(out, &mut |bytes, last| {
            chunks.push_back((bytes, last));
            Ok(())
        });
        made.expect("nobody changes the state meanwhile");
        self.going.insert(link, chunks);
        self.machine.borrow_mut().sending = self.going.len();
    }
    fn room(&mut self, link: LinkId) {
        let Some((bytes, last)) = self.going.get_mut(&link).and_then(VecDeque::pop_front) else { return };
        if last {
            self.going.remove(&link);
            self.machine.borrow_mut().sending = self.going.len();
        }
        self.tell(Vec::new(), ImageReport::Chunk { link, bytes, last });
    }
    fn receive(&mut self, link: LinkId, zxid: Zxid) {
        self.coming.insert(link, Arriving::Reading { zxid, chunks: Vec::new() });
    }
    fn bytes(&mut self, link: LinkId, bytes: Vec<u8>) {
        let now = self.now().0;
        let Some(Arriving::Reading { zxid, chunks }) = self.coming.get_mut(&link) else { return };
        chunks.push(bytes);
        let mut all = chunks.iter().cloned();
        match receive::build(&self.intake, *zxid, self.seed, now, &mut || all.next()) {
            Ok(None) => self.tell(Vec::new(), ImageReport::Taken { link }),
            Ok(Some((state, rest))) => {
                self.coming.insert(link, Arriving::Whole(Box::new(state)));
                self.tell(Vec::new(), ImageReport::Received { link, rest });
            }
            Err(why) if self.machine.borrow().takes_bad_images => {
                self.coming.remove(&link);
                self.tell(Vec::new(), ImageReport::Bad { link, why });
            }
            Err(why) => panic!("a state that a server sent is bad: {why}"),
        }
    }
    fn install(&mut self, link: LinkId, zxid: Zxid, txns: Txns, received: Received) {
        match self.coming.insert(link, Arriving::Installing) {
            Some(Arriving::Whole(state)) => self.installed(link, zxid, &txns, received, *state),
            _ => unreachable!("what is installed was received"),
        }
    }
    fn drop_image(&mut self, link: LinkId) {
        self.going.remove(&link);
        self.machine.borrow_mut().sending = self.going.len();
        if matches!(self.coming.get(&link), Some(Arriving::Installing)) {
            return;
        }
        self.coming.remove(&link);
        self.told.retain(|told| told.report.link() != link);
    }
    fn has_report(&mut self) -> bool {
        let now = self.now().0.0;
        self.told.front().is_some_and(|told| told.due <= now)
    }
    fn take(&mut self) -> Option<ImageReport> {
        let now = self.now().0.0;
        self.told.front().filter(|told| told.due <= now)?;
        let Told { steps, mut report, .. } = self.told.pop_front()?;
        if let Err(error) = self.machine.borrow().disk.perform(&steps) {
            report = ImageReport::InstallFailed { link: report.link(), why: format!("{error:?}") };
        }
        if matches!(report, ImageReport::Installed { .. } | ImageReport::Bad { .. }) {
            self.coming.remove(&report.link());
        }
        Some(report)
    }
    fn discard(&mut self, leftover: Leftover) {
        drop(leftover);
    }
}
