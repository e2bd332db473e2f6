//! The world that a simulated server runs in: one virtual clock, the machine's disk and sockets, and work beside the
//! sequencer that takes a random time. What is asked of a disk is durable when it is reported, and partly there before.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use ringkeeper::base::{Epoch, Millis, WallMillis, Zxid, limits};
use ringkeeper::runtime::disk::Done;
use ringkeeper::runtime::keeper::KeeperReport;
use ringkeeper::runtime::peers::Sockets;
use ringkeeper::runtime::sequencer::{Batch, Clocks, EpochKeeper, SequencerIo, World};
use ringkeeper::runtime::sys::{Durability, SocketId, Woken};
use ringkeeper::storage::action::FileAction;
use ringkeeper::storage::aligned::AlignedBuf;
use ringkeeper::storage::epoch::EpochRecord;
use ringkeeper::storage::names::{self, FileKind};
use ringkeeper::storage::wal::{LogReader, LogSpan, SegmentId};
use ringkeeper::zab::message::LinkId;

use crate::disk::{Disk, DiskError, Rng};
use crate::folder::{SimDisk, SimImages};
use crate::network::Network;

/// 2023, in ms since 1970: when every run begins.
const BEGINNING: i64 = 1_700_000_000_000;

/// `EIO`.
const IO_ERROR: i32 = 5;

/// Virtual time, ms; all machines share it. What a machine takes for the time of day is its own.
#[derive(Clone, Default)]
pub(crate) struct Time {
    ms: Rc<Cell<u64>>,
    wall_is_off_by: Rc<Cell<i64>>,
}

impl Time {
    pub(crate) fn ms(&self) -> u64 {
        self.ms.get()
    }

    pub(crate) fn advance_to(&self, ms: u64) {
        self.ms.set(self.ms.get().max(ms));
    }

    /// The same time, with a wall clock of its own.
    pub(crate) fn of_a_machine(&self) -> Time {
        Time { ms: self.ms.clone(), wall_is_off_by: Rc::default() }
    }

    /// Somebody sets the wall clock.
    pub(crate) fn step_wall(&self, by_ms: i64) {
        self.wall_is_off_by.set(self.wall_is_off_by.get() + by_ms);
    }
}

impl Clocks for Time {
    fn now(&self) -> Millis {
        Millis(self.ms())
    }
    fn wall(&self) -> WallMillis {
        WallMillis(BEGINNING + self.ms() as i64 + self.wall_is_off_by.get())
    }
}

/// One of these, both ends included.
pub(crate) fn within(rng: &mut Rng, range: &RangeInclusive<u64>) -> u64 {
    range.start() + rng.below(range.end() - range.start() + 1)
}

/// Steps on a disk that are under way, and what is reported when they are done.
struct Work<T> {
    due: u64,
    steps: Vec<FileAction>,
    report: T,
}

/// What follows work of the disk shard.
pub(crate) enum Then {
    Report(Done),
    /// The snapshot at this zxid, of so many bytes, is published.
    Snapshot {
        zxid: Zxid,
        bytes: u64,
    },
    Nothing,
}

/// A write of the log.
pub(crate) struct LogWrite {
    pub(crate) name: String,
    pub(crate) offset: usize,
    pub(crate) length: usize,
    begins: Vec<u8>,
}

impl LogWrite {
    fn of(steps: &[FileAction]) -> LogWrite {
        let [FileAction::Write { name, offset, bytes }, ..] = steps else { unreachable!("it writes") };
        let (name, offset, begins) = (name.clone(), *offset as usize, bytes[..BEGINNING_BYTES].to_vec());
        // Of header and records, says the header; what it is padded with may be anything.
        let length = u64::from_le_bytes(bytes[40..48].try_into().unwrap()) as usize;
        LogWrite { name, offset, length, begins }
    }
}

/// What rots is one of so many batches: older ones are in snapshots, and nobody misses them.
const ROTS_OF_LAST: usize = 12;

/// Of a batch, enough to know it by: its checksum is there.
const BEGINNING_BYTES: usize = 128;

/// A machine with one process: what its parts share.
pub(crate) struct Machine {
    pub(crate) disk: Disk,
    pub(crate) time: Time,
    rng: Rng,
    /// How long a step of the disk may take, ms.
    pub(crate) disk_delay: RangeInclusive<u64>,
    /// How long a piece of a state between servers may take, ms; as a step of the disk if nothing else is said.
    pub(crate) image_delay: Option<RangeInclusive<u64>>,
    /// How much longer it takes until a whole state has taken the place of its own, ms.
    pub(crate) install_ms: u64,
    /// Whether a state may come that is not what was sent.
    pub(crate) takes_bad_images: bool,
    /// After so many more writes of the log one fails; those behind it would succeed.
    pub(crate) fails_after: Option<u64>,
    /// Writes of the log that succeeded, oldest first: where they are, and how they begin.
    pub(crate) batches: Vec<LogWrite>,
    /// Files with a rotten byte: nobody may have to know them as what they were.
    pub(crate) rotten: Vec<String>,
    /// Writes of the log and whole states that were begun.
    pub(crate) changes: u64,
    /// Whole states that were put in place of its own.
    pub(crate) images: u64,
    /// Whole states that are being sent.
    pub(crate) sending: usize,
    pub(crate) wake_at: u64,
    /// When else the process has something to look at.
    pub(crate) wakes: Vec<u64>,
    write: Option<Work<usize>>,
    jobs: VecDeque<Work<Then>>,
    saves: VecDeque<Work<KeeperReport>>,
}

pub(crate) type SharedMachine = Rc<RefCell<Machine>>;

impl Machine {
    pub(crate) fn new(time: Time, seed: u64, disk_delay: RangeInclusive<u64>) -> SharedMachine {
        Rc::new(RefCell::new(Machine {
            disk: Disk::new(),
            time,
            rng: Rng::new(seed),
            disk_delay,
            image_delay: None,
            install_ms: 0,
            takes_bad_images: false,
            fails_after: None,
            batches: Vec::new(),
            rotten: Vec::new(),
            changes: 0,
            images: 0,
            sending: 0,
            wake_at: 0,
            wakes: Vec::new(),
            write: None,
            jobs: VecDeque::new(),
            saves: VecDeque::new(),
        }))
    }

    /// When something that begins now is done, which is not before `after`.
    pub(crate) fn due(&mut self, after: Option<u64>) -> u64 {
        let due = self.time.ms() + within(&mut self.rng, &self.disk_delay);
        due.max(after.unwrap_or(0))
    }

    /// The same of a piece of a state.
    pub(crate) fn image_due(&mut self, after: Option<u64>) -> u64 {
        let delay = self.image_delay.as_ref().unwrap_or(&self.disk_delay);
        let due = self.time.ms() + within(&mut self.rng, delay);
        due.max(after.unwrap_or(0))
    }

    /// Whether this write of the log is the one that fails.
    fn fails(&mut self) -> bool {
        let Some(left) = self.fails_after.take() else { return false };
        self.fails_after = left.checked_sub(1);
        left == 0
    }

    /// When the process has something to do.
    pub(crate) fn next_due(&self) -> u64 {
        let write = self.write.as_ref().map(|work| work.due);
        let jobs = self.jobs.front().map(|work| work.due);
        let saves = self.saves.front().map(|work| work.due);
        let wakes = self.wakes.iter().copied();
        write.into_iter().chain(jobs).chain(saves).chain(wakes).fold(self.wake_at, u64::min)
    }

    /// Whether a power loss would leave the log as it is.
    pub(crate) fn log_is_durable(&self) -> bool {
        self.unsafe_start(Zxid::ZERO).is_none()
    }

    /// What it would not leave of what a server starts from: its log, and the snapshot.
    pub(crate) fn unsafe_start(&self, snapshot: Zxid) -> Option<String> {
        self.disk.unsafe_file(|name| match names::parse(name) {
            FileKind::Segment(_) => !self.rotten.iter().any(|rotten| rotten == name),
            FileKind::Snapshot(zxid) => zxid == snapshot,
            _ => false,
        })
    }

    /// Whether a batch of the log is on its way to the disk.
    pub(crate) fn is_writing(&self) -> bool {
        self.write.is_some()
    }

    /// The process ends; with `power`, the machine as well. Of what was under way a part is done.
    pub(crate) fn crash(&mut self, power: bool) {
        let write = self.write.take().map(|work| work.steps);
        let jobs = std::mem::take(&mut self.jobs).into_iter().map(|work| work.steps);
        let saves = std::mem::take(&mut self.saves).into_iter().map(|work| work.steps);
        let under_way: Vec<Vec<FileAction>> = write.into_iter().chain(jobs).chain(saves).collect();
        for steps in under_way {
            let done = self.rng.below(steps.len() as u64 + 1) as usize;
            let performed = self.disk.perform(&steps[..done]);
            if performed.is_err() || done < steps.len() {
                break;
            }
        }
        if power {
            let mut rng = Rng::new(self.rng.next());
            self.disk.crash(&mut rng);
        } else {
            self.disk.kill();
        }
        self.wakes.clear();
        self.wake_at = 0;
    }

    /// Work for the disk shard, behind what it has to do already.
    pub(crate) fn order(&mut self, steps: Vec<FileAction>, report: Then) {
        let after = self.jobs.back().map(|work| work.due);
        let due = self.due(after);
        self.jobs.push_back(Work { due, steps, report });
    }

    pub(crate) fn job_is_done(&self) -> bool {
        self.jobs.front().is_some_and(|work| work.due <= self.time.ms())
    }

    /// Work that is over, and whether the disk had room for it.
    pub(crate) fn finish_job(&mut self) -> Option<(Then, Result<(), DiskError>)> {
        Machine::finish(&self.disk, self.time.ms(), &mut self.jobs)
    }

    fn finish<T>(disk: &Disk, now: u64, queue: &mut VecDeque<Work<T>>) -> Option<(T, Result<(), DiskError>)> {
        queue.front().filter(|work| work.due <= now)?;
        let work = queue.pop_front()?;
        let done = disk.perform(&work.steps);
        Some((work.report, done))
    }

    /// Somewhere in what the log holds, but for its last batch, which nobody can tell from one that was torn.
    pub(crate) fn sealed_batch(&self, rng: &mut Rng) -> Option<(String, usize)> {
        let (_, sealed) = self.batches.split_last()?;
        let sealed = &sealed[sealed.len().saturating_sub(ROTS_OF_LAST)..];
        let files = self.disk.files_like("wal-");
        let is_there = |write: &&LogWrite| {
            files.contains(&write.name)
                && self.disk.contents(&write.name)[write.offset..].starts_with(&write.begins)
        };
        let there: Vec<&LogWrite> = sealed.iter().filter(is_there).collect();
        let write = there.get(rng.below(there.len().max(1) as u64) as usize)?;
        Some((write.name.clone(), write.offset + rng.below(write.length as u64) as usize))
    }

    /// Somewhere in a snapshot.
    pub(crate) fn in_snapshot(&self, rng: &mut Rng) -> Option<(String, usize)> {
        let files = self.disk.files_like("snapshot-");
        let is_published = |name: &&String| matches!(names::parse(name), FileKind::Snapshot(_));
        let there: Vec<&String> = files.iter().filter(is_published).collect();
        let name = there.get(rng.below(there.len().max(1) as u64) as usize)?;
        let bytes = self.disk.contents(name).len();
        Some(((*name).clone(), rng.below(bytes as u64) as usize))
    }
}

/// The simulated world.
pub(crate) enum Simulated {}

impl World for Simulated {
    type Io = Io;
    type Disk = SimDisk;
    type Keeper = Keeper;
    type Images = SimImages;
    type Clock = Time;
    const WAKES_TO_RECLAIM: bool = false;
}

/// The sequencer's ring.
pub(crate) struct Io {
    pub(crate) host: i64,
    pub(crate) machine: SharedMachine,
    pub(crate) network: Rc<RefCell<Network>>,
    in_flight: Option<Batch>,
    /// The bytes that the sockets' last receives brought.
    received: std::collections::BTreeMap<u64, Vec<u8>>,
}

impl Io {
    pub(crate) fn new(host: i64, machine: SharedMachine, network: Rc<RefCell<Network>>) -> Io {
        Io { host, machine, network, in_flight: None, received: std::collections::BTreeMap::new() }
    }

    fn now(&self) -> u64 {
        self.machine.borrow().time.ms()
    }

    fn number(id: SocketId) -> u64 {
        id.number()
    }
}

impl SequencerIo for Io {
    type File = SegmentId;

    fn is_writing(&self) -> bool {
        self.machine.borrow().is_writing()
    }

    fn write(&mut self, _: &SegmentId, batch: Batch, durability: Durability) {
        let mut machine = self.machine.borrow_mut();
        assert!(machine.write.is_none(), "one batch in flight at most");
        let write = batch.write();
        let name = names::segment(write.segment);
        let bytes = AlignedBuf::copy_of(write.bytes());
        let length = write.bytes().len();
        let mut steps = vec![FileAction::Write { name: name.clone(), offset: write.offset, bytes }];
        if durability == Durability::Dsync {
            steps.push(FileAction::Flush { name });
        }
        let due = machine.due(None);
        machine.changes += 1;
        machine.write = Some(Work { due, steps, report: length });
        self.in_flight = Some(batch);
    }

    fn flush(&mut self, _: &SegmentId) -> io::Result<()> {
        Ok(())
    }

    fn take_buffer(&mut self) -> Option<Batch> {
        self.in_flight.take()
    }

    fn turn(&mut self, wait: Option<Duration>) -> io::Result<Woken> {
        let now = self.now();
        let mut machine = self.machine.borrow_mut();
        machine.wakes.retain(|due| *due > now);
        let mut woken = Woken::default();
        if let Some(work) = machine.write.take_if(|work| work.due <= now) {
            // Of a write that fails the disk may keep any part, until somebody looks.
            let fails = machine.fails();
            let steps = if fails { &work.steps[..1] } else { &work.steps[..] };
            machine.disk.perform(steps).expect("the log's segments are as large as they get");
            if !fails {
                machine.batches.push(LogWrite::of(steps));
            }
            woken.write = Some(if fails { Err(IO_ERROR) } else { Ok(work.report) });
        }
        let mut network = self.network.borrow_mut();
        woken.sockets = network.complete(self.host, now);
        for event in &woken.sockets {
            if let ringkeeper::runtime::sys::SocketEvent::Received(id, Ok(_)) = event {
                let number = Io::number(*id);
                self.received.insert(number, network.take_received(self.host, number));
            }
        }
        let wait = wait.map_or(u64::MAX, |wait| wait.as_millis() as u64);
        let is_awake = woken.write.is_some() || !woken.sockets.is_empty();
        machine.wake_at = if is_awake { now } else { now.saturating_add(wait) };
        Ok(woken)
    }
}

impl Sockets for Io {
    fn listening(&mut self, address: SocketAddr) -> io::Result<OwnedFd> {
        self.network.borrow_mut().listening(address)
    }
    fn fresh(&mut self, _: SocketAddr) -> io::Result<OwnedFd> {
        self.network.borrow_mut().fresh()
    }
    fn add_socket(&mut self, fd: OwnedFd) -> SocketId {
        SocketId::made_up(self.network.borrow_mut().add_socket(self.host, fd))
    }
    fn accept(&mut self, id: SocketId) {
        self.network.borrow_mut().accept(self.host, Io::number(id));
    }
    fn connect(&mut self, id: SocketId, address: SocketAddr) {
        let now = self.now();
        self.network.borrow_mut().connect(self.host, Io::number(id), now, address);
    }
    fn receive(&mut self, id: SocketId) {
        self.network.borrow_mut().receive(self.host, Io::number(id));
    }
    fn received(&self, id: SocketId) -> &[u8] {
        self.received.get(&Io::number(id)).map_or(&[], |bytes| bytes)
    }
    fn send(&mut self, id: SocketId, bytes: Vec<u8>) {
        self.network.borrow_mut().send(self.host, Io::number(id), bytes);
    }
    fn finish(&mut self, id: SocketId) {
        let now = self.now();
        self.network.borrow_mut().finish(self.host, Io::number(id), now);
    }
    fn close(&mut self, id: SocketId) {
        let now = self.now();
        self.received.remove(&Io::number(id));
        self.network.borrow_mut().close(self.host, Io::number(id), now);
    }
    fn peer_address(&self, id: SocketId) -> Option<SocketAddr> {
        self.network.borrow().peer_address(self.host, Io::number(id))
    }
}

/// Saves the epoch record, and reads the log back.
pub(crate) struct Keeper {
    pub(crate) machine: SharedMachine,
    /// As of the last save that was asked for.
    pub(crate) record: EpochRecord,
}

impl Keeper {
    fn save(&mut self, record: EpochRecord, report: KeeperReport) {
        self.record = record;
        self.work(record.rewrite(), report);
    }

    fn work(&mut self, steps: Vec<FileAction>, report: KeeperReport) {
        let mut machine = self.machine.borrow_mut();
        let after = machine.saves.back().map(|work| work.due);
        let due = machine.due(after);
        machine.saves.push_back(Work { due, steps, report });
    }
}

impl EpochKeeper for Keeper {
    fn save_epoch(&mut self, accepted: Epoch, current: Epoch) {
        let record = self.record.advance(accepted, current, self.record.admitted);
        self.save(record, KeeperReport::EpochSaved { accepted, current });
    }
    fn admit(&mut self) {
        let EpochRecord { accepted, current, .. } = self.record;
        self.save(self.record.advance(accepted, current, true), KeeperReport::Admitted);
    }
    fn disown(&mut self) {
        self.save(self.record.unadmitted(), KeeperReport::Disowned);
    }
    fn read_log(&mut self, link: LinkId, span: LogSpan, after: Zxid, up_to: Zxid, _: u64) {
        let disk = self.machine.borrow().disk.clone();
        let txns = LogReader::read(&disk.view(), &span, after, up_to, limits::RANGE_BYTES_MIN);
        self.work(Vec::new(), KeeperReport::LogRead { link, txns });
    }
    fn has_report(&mut self) -> bool {
        let machine = self.machine.borrow();
        machine.saves.front().is_some_and(|work| work.due <= machine.time.ms())
    }
    fn take(&mut self) -> Option<KeeperReport> {
        let machine = &mut *self.machine.borrow_mut();
        let (report, done) = Machine::finish(&machine.disk, machine.time.ms(), &mut machine.saves)?;
        done.expect("records are written in place");
        Some(report)
    }
}
